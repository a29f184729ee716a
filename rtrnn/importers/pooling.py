"""Padding and pooling, as operations of :class:`rtrnn.importers.builder.Builder`: gathers over constant positions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rtrnn.errors import UnsupportedError
from rtrnn.importers.convolution import Window, refuse_rates, refuse_unknown, windows
from rtrnn.importers.frames import is_time, made_within, pad_frames
from rtrnn.importers.sym import Axis, Sym

if TYPE_CHECKING:
    from rtrnn.importers.builder import Builder

__all__ = ["pad", "pool", "scatter"]

#: Values larger than this many elements are not built.
_MAX_ELEMENTS = 1 << 26

_MODES = ("constant", "reflect", "edge", "wrap")


def pad(b: Builder, x: Sym, pads: Sequence[tuple[int, int]], mode: str = "constant", value: float = 0.0) -> Sym:
    """`x` with elements added before and after each axis, or cut off where a number is negative.

    `pads` holds (begin, end) for each axis; `mode` is constant (`value`), reflect, edge or wrap, as in NumPy. On a time axis the
    elements are frames of a stream's past and future; see :mod:`rtrnn.importers.frames`.

    Raises :class:`UnsupportedError` for pads that do not fit.
    """
    pairs = [(int(p), int(q)) for p, q in pads]
    if len(pairs) != x.ndim or mode not in _MODES:
        raise UnsupportedError(
            f"padding {pairs} of mode {mode!r} for a value of shape {x.shape}: expected (begin, end) for each axis, and a mode of {_MODES}"
        )
    for axis, (begin, end) in enumerate(pairs):
        if begin == end == 0:
            continue
        refuse_unknown(b, x, axis)
        if not is_time(b, x, axis) or x.const is not None:
            continue
        if mode != "constant" and (begin > 0 or end > 0):
            raise UnsupportedError(f"padding of mode {mode!r} on the time axis (axis {axis}): expected mode 'constant'")
        x = pad_frames(b, x, axis, begin, end, float(value))
        pairs[axis] = (0, 0)
    if not any(begin or end for begin, end in pairs):
        return x
    for axis, (begin, end) in enumerate(pairs):
        size = x.shape[axis]
        if begin < 0 or end < 0:
            x = _same_origin(b.slice(x, axis, max(-begin, 0), size - max(-end, 0)), x)
    grown = [(max(begin, 0), max(end, 0)) for begin, end in pairs]
    shape = tuple(n + p + q for n, (p, q) in zip(x.shape, grown, strict=True))
    if math.prod(shape) > _MAX_ELEMENTS:
        raise UnsupportedError(
            f"padding {pairs} makes a value of shape {shape}: expected at most {_MAX_ELEMENTS} elements"
        )
    if not any(p or q for p, q in grown):
        return x
    if mode == "reflect" and any(max(p, q) >= n and (p or q) for n, (p, q) in zip(x.shape, grown, strict=True)):
        raise UnsupportedError(f"padding {pairs} reflects more of a value of shape {x.shape} than there is")
    if x.const is not None:
        options = {"constant_values": value} if mode == "constant" else {}
        return b.const(np.pad(x.const, grown, mode, **options))  # type: ignore[call-overload]
    numbered = np.arange(x.size).reshape(x.shape)
    options = {"constant_values": -1} if mode == "constant" else {}
    places = np.pad(numbered, grown, mode, **options)  # type: ignore[call-overload]
    y = b.reshape(_picked(b, b.reshape(x, (1, x.size)), places.ravel(), value), shape)
    return _with_origin(y, [made_within(o, n) if o is None else o for o, n in zip(x.origin, shape, strict=True)])


def _with_origin(y: Sym, origin: Sequence[Axis | None]) -> Sym:
    return Sym(y.shape, name=y.name, const=y.const, origin=tuple(origin), frames=y.frames)


def _same_origin(y: Sym, x: Sym) -> Sym:
    return _with_origin(y, x.origin)


def _picked(b: Builder, x: Sym, places: np.ndarray, fill: float) -> Sym:
    """x (C, n) -> (C, len(places)): its columns `places`, and `fill` where the place is -1."""
    if np.any(places < 0):
        column = b.const(np.full((x.shape[0], 1), fill, np.float32))
        places = np.where(places < 0, x.shape[1], places)
        x = b.concat([x, column], 1)
    return b.gather(x, 1, places)


# -- pooling -------------------------------------------------------------------------------------------


def pool(
    b: Builder,
    kind: str,
    x: Sym,
    kernel: Sequence[int],
    *,
    strides: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    pads: Sequence[tuple[int, int]] | None = None,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> Sym:
    """x (1, C, spatial..) -> (1, C, spatial..): over each window the maximum ("max"), the mean ("average") or the root of the sum of
    squares ("lp2").

    With `ceil_mode` a last window that begins inside the input or its leading padding counts, though it ends outside. The mean is over
    the elements that the window shares with the input or, with `count_include_pad`, with the padded input.

    Raises :class:`UnsupportedError` for shapes that do not fit and for windows over time.
    """
    walks = windows(kernel, strides, dilations, pads)
    if x.ndim != len(walks) + 2 or kind not in ("max", "average", "lp2"):
        raise UnsupportedError(f"{kind} pooling of a value of shape {x.shape} with a kernel {list(kernel)}")
    b.require_one(x, 0, "batch")
    if x.shape[0] != 1:
        raise UnsupportedError(f"{kind} pooling of a value of shape {x.shape}: expected a first axis, batch, of size 1")
    for axis, walk in enumerate(walks, 2):
        if walk.is_plain:
            continue
        refuse_unknown(b, x, axis)
        if is_time(b, x, axis):
            if walk.stride != 1:
                raise refuse_rates(walk)
            raise UnsupportedError(
                f"{kind} pooling over the time axis with a kernel of {walk.kernel}: expected a kernel of 1. With input_shapes= a block of "
                "several frames becomes one timestep"
            )
    if all(w.is_plain for w in walks):
        return b.unary("abs", x, np.abs) if kind == "lp2" else x
    sizes = [_out(w, n, ceil_mode) for w, n in zip(walks, x.shape[2:], strict=True)]
    channels, taps, positions = x.shape[1], math.prod(kernel), math.prod(sizes)
    if min(sizes) < 1 or channels * taps * positions > _MAX_ELEMENTS:
        raise UnsupportedError(
            f"{kind} pooling of a value of shape {x.shape} with a kernel {list(kernel)} gives {sizes} windows: expected at least one along "
            f"each axis, and at most {_MAX_ELEMENTS} elements in them"
        )
    places, counted = _places(walks, x.shape[2:], sizes)
    if kind == "max":
        inside = places.max(0)
        if np.any(inside < 0):
            raise UnsupportedError(
                f"max pooling with a kernel {list(kernel)}: a window of it lies in the padding alone"
            )
        # An element twice has the maximum of the element once.
        places = np.where(places < 0, inside, places)
    flat = b.reshape(x, (channels, math.prod(x.shape[2:])))
    if kind == "lp2":
        flat = b.binary("mul", flat, flat)
    y = b.reshape(_picked(b, flat, places.ravel(), 0.0), (channels, taps, positions))
    y = b.reduce("reduce_max" if kind == "max" else "reduce_sum", y, [1], False)
    if kind == "lp2":
        y = b.unary("sqrt", y, np.sqrt)
    if kind == "average":
        number = counted if count_include_pad else np.sum(places >= 0, 0)
        if np.any(number == 0):
            raise UnsupportedError(
                f"average pooling with a kernel {list(kernel)}: a window of it lies in the padding alone"
            )
        y = b.binary("div", y, b.const(number if np.ptp(number) else number[:1], np.float32))
    origin: list[Axis | None] = [x.origin[0], x.origin[1]]
    for o, n, w in zip(x.origin[2:], x.shape[2:], walks, strict=True):
        origin.append(o if w.is_plain else made_within(None, n))
    return b.reshape(y, (1, channels, *sizes), tuple(origin))


def _out(walk: Window, size: int, ceil_mode: bool) -> int:
    floor = walk.out(size)
    if not ceil_mode or (size + walk.begin + walk.end - walk.span - 1) % walk.stride == 0:
        return floor
    # A window that would begin in the padding behind the input is left out.
    return floor + 1 if floor * walk.stride < size + walk.begin else floor


def _places(walks: Sequence[Window], shape: Sequence[int], sizes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """For each tap and window (taps, windows) the element that it reads, -1 in the padding; how many elements each window shares with
    the padded input."""
    places: np.ndarray = np.zeros((1, 1), np.int64)
    counted = np.ones(1, np.int64)
    for walk, n, m in zip(walks, shape, sizes, strict=True):
        at = np.arange(walk.kernel)[:, None] * walk.dilation + np.arange(m) * walk.stride - walk.begin
        outside = (at < 0) | (at >= n)
        counts = np.sum(at < n + walk.end, 0)
        here = places[:, None, :, None] * n + np.where(outside, 0, at)[None, :, None, :]
        gone = (places < 0)[:, None, :, None] | outside[None, :, None, :]
        places = np.where(gone, -1, here).reshape(places.shape[0] * walk.kernel, -1)
        counted = (counted[:, None] * counts).ravel()
    return places, counted


# -- scattering ----------------------------------------------------------------------------------------


def scatter(b: Builder, data: Sym, positions: np.ndarray, updates: Sym) -> Sym:
    """`data` with `updates` written over the elements at `positions`, which count into the flattened data; where one comes twice, the
    later update stays."""
    places = np.asarray(positions).ravel()
    if places.size != updates.size or (places.size and (places.min() < 0 or places.max() >= data.size)):
        raise UnsupportedError(
            f"{updates.size} updates for {places.size} positions in a value of shape {data.shape}: expected one for each, "
            f"from 0 to {data.size - 1}"
        )
    if data.const is not None and updates.const is not None:
        result = np.array(data.const, copy=True)
        result.reshape(-1)[places] = updates.const.ravel()
        return b.const(result)
    if not places.size:
        return data
    source = np.arange(data.size)
    source[places] = data.size + np.arange(places.size)
    flat = [b.reshape(x, (x.size,)) for x in (data, updates)]
    if np.all(source >= data.size):
        return b.reshape(b.gather(flat[1], 0, source - data.size), data.shape, data.origin)
    used = np.unique(source)
    if used[-1] < data.size:
        return data
    both = b.concat(flat, 0)
    return b.reshape(b.gather(both, 0, source), data.shape, data.origin)
