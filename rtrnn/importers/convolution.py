"""Convolutions: within a timestep, transposed, and over time with a state of their own.

Operations of :class:`rtrnn.importers.builder.Builder`. A value x is (N, C, spatial..) with N = 1; spatial axes are counted from 0.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from rtrnn.errors import UnsupportedError
from rtrnn.importers.frames import PAST, framed, inner, is_time, made_within, may_be_time, pad_frames, settled
from rtrnn.importers.sym import Frames, Sym

if TYPE_CHECKING:
    from rtrnn.importers.builder import Builder

__all__ = ["Window", "batch_norm", "conv", "conv_transpose", "refuse_rates", "refuse_unknown", "time_axis_of"]


#: The most convolutions that a transposed one may become: a small file must not take hours.
_MAX_PHASES = 4096


@dataclass(frozen=True)
class Window:
    """How a kernel walks over one axis: it reads every `dilation`-th element, moves on by `stride`, and zeros (`begin`, `end`) are
    added around the axis."""

    kernel: int
    stride: int = 1
    dilation: int = 1
    begin: int = 0
    end: int = 0

    @property
    def span(self) -> int:
        """Distance from the first to the last element that the kernel reads."""
        return (self.kernel - 1) * self.dilation

    @property
    def is_plain(self) -> bool:
        """Reads one element at a time and all of them."""
        return self.kernel == 1 and self.stride == 1 and self.begin == self.end == 0

    def out(self, size: int) -> int:
        return (size + self.begin + self.end - self.span - 1) // self.stride + 1


def windows(
    kernel: Sequence[int],
    strides: Sequence[int] | None,
    dilations: Sequence[int] | None,
    pads: Sequence[tuple[int, int]] | None,
) -> list[Window]:
    n = len(kernel)
    strides, dilations = list(strides or [1] * n), list(dilations or [1] * n)
    pairs = [(int(p), int(q)) for p, q in (pads or [(0, 0)] * n)]
    if not len(strides) == len(dilations) == len(pairs) == n:
        raise UnsupportedError(
            f"strides {strides}, dilations {dilations}, pads {pairs}: expected one for each axis of the kernel {list(kernel)}"
        )
    if any(int(v) < 1 for v in (*kernel, *strides, *dilations)):
        raise UnsupportedError(f"kernel {list(kernel)}, strides {strides}, dilations {dilations}: expected at least 1")
    rows = zip(kernel, strides, dilations, pairs, strict=True)
    return [Window(int(k), int(s), int(d), p, q) for k, s, d, (p, q) in rows]


def time_axis_of(b: Builder, x: Sym, walks: Sequence[Window]) -> int | None:
    """The spatial axis of `x` that is time, if one is; refuses axes of which that cannot be told."""
    found = [i for i in range(len(walks)) if is_time(b, x, 2 + i)]
    if len(found) > 1:
        raise UnsupportedError(
            f"{len(found)} of its axes have no fixed size in the file; expected one, time: give the input's shape with input_shapes="
        )
    for i, walk in enumerate(walks):
        if walk.span or walk.begin or walk.end:
            refuse_unknown(b, x, 2 + i)
    return found[0] if found else None


def refuse_unknown(b: Builder, x: Sym, axis: int) -> None:
    if may_be_time(b, x, axis):
        raise UnsupportedError(
            f"axis {axis} of its input of shape {x.shape} may be time or an axis of size 1 within the timestep: reshaping has hidden "
            "where it comes from; expected axes that are moved by Unsqueeze, Squeeze and Transpose, or shapes given by input_shapes="
        )


def refuse_rates(walk: Window) -> UnsupportedError:
    return UnsupportedError(
        f"it moves over the time axis in strides of {walk.stride}: the network runs at several rates, and a stream steps at one. "
        "With input_shapes= a block of several frames becomes one timestep"
    )


def conv(
    b: Builder,
    x: Sym,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    strides: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    pads: Sequence[tuple[int, int]] | None = None,
    groups: int = 1,
    channels_last: bool = False,
) -> Sym:
    """x (1, C, spatial..) and `weight` (O, C / groups, kernel..) -> (1, O, spatial..); with `channels_last` x and y have C last.

    `pads` holds (begin, end) for each spatial axis, negative to crop. Over a time axis the convolution is causal and
    keeps the frames that it needs again as a state of the Draft.

    Raises :class:`UnsupportedError` for shapes that do not fit and for convolutions over time that no stream can compute.
    """
    weight = np.asarray(weight)
    if channels_last and x.ndim > 2:
        y = conv(b, b.permute(x, [0, x.ndim - 1, *range(1, x.ndim - 1)]), weight, bias,
                 strides=strides, dilations=dilations, pads=pads, groups=groups)  # fmt: skip
        return b.permute(y, [0, *range(2, y.ndim), 1])
    walks = windows(weight.shape[2:], strides, dilations, pads)
    _check(b, x, weight.shape[0], weight.shape[1] * groups, len(walks), groups, weight.shape)
    bias = None if bias is None or not np.any(bias) else np.broadcast_to(np.asarray(bias), weight.shape[:1])
    at = time_axis_of(b, x, walks)
    if at is not None and x.const is None:
        return _over_time(b, x, weight, bias, walks, groups, at)
    return _within_step(b, x, weight, bias, walks, groups)


def _check(b: Builder, x: Sym, outputs: int, channels: int, axes: int, groups: int, shape: tuple[int, ...]) -> None:
    if x.ndim != axes + 2 or axes < 1 or x.shape[1] != channels or outputs % groups:
        raise UnsupportedError(
            f"a convolution of a value of shape {x.shape} with a weight of shape {shape} in {groups} groups: expected shape "
            f"(1, {channels}, ..) with {axes} axes after the channels"
        )
    b.require_one(x, 0, "batch")
    if x.shape[0] != 1:
        raise UnsupportedError(f"a convolution of a value of shape {x.shape}: expected a first axis, batch, of size 1")


# -- within the timestep -------------------------------------------------------------------------------


def _within_step(
    b: Builder, x: Sym, weight: np.ndarray, bias: np.ndarray | None, walks: Sequence[Window], groups: int
) -> Sym:
    for i, walk in enumerate(walks):
        if walk.out(x.shape[2 + i]) < 1:
            raise UnsupportedError(
                f"its kernel of {walk.kernel} with dilation {walk.dilation} spans {walk.span + 1} elements, but axis {2 + i} of its "
                f"input of shape {x.shape} has {x.shape[2 + i] + walk.begin + walk.end} with padding"
            )
        if walk.begin < 0 or walk.end < 0:
            x = b.slice(x, 2 + i, max(-walk.begin, 0), x.shape[2 + i] - max(-walk.end, 0))
    walks = [replace(w, begin=max(w.begin, 0), end=max(w.end, 0)) for w in walks]
    weight, walks = _without_padded_taps(x, weight, walks)
    sizes = [w.out(n) for w, n in zip(walks, x.shape[2:], strict=True)]
    shape = (1, weight.shape[0], *sizes)
    if x.const is not None:
        return b.const(_folded(x.const, weight, bias, walks, groups))
    origin = [x.origin[0], None]
    for o, n, m, w in zip(x.origin[2:], x.shape[2:], sizes, walks, strict=True):
        origin.append(o if w.stride == 1 and o is not None and (m > 1 or n == 1) else made_within(o, n))

    whole = all(w.kernel == n and m == 1 and w.begin == w.end == 0 for w, n, m in zip(walks, x.shape[2:], sizes, strict=True))
    if whole and groups == 1:
        y = b.linear(b.reshape(x, (x.size,)), weight.reshape(weight.shape[0], -1), bias)
        return b.reshape(y, shape, tuple(origin))
    kept = [i for i, (w, n) in enumerate(zip(walks, x.shape[2:], strict=True)) if n > 1 or not w.is_plain] or [0]
    walks = [walks[i] for i in kept]
    attributes: dict[str, object] = {}
    if any(w.stride != 1 for w in walks):
        attributes["strides"] = [w.stride for w in walks]
    if any(w.dilation != 1 and w.kernel > 1 for w in walks):
        attributes["dilations"] = [w.dilation for w in walks]
    if any(w.begin or w.end for w in walks):
        attributes["pads"] = [w.begin for w in walks] + [w.end for w in walks]
    if groups != 1:
        attributes["groups"] = groups
    hint = b.hint or "conv"
    inputs = [b.value(x, (x.shape[1], *(x.shape[2 + i] for i in kept)))]
    kernel = weight.reshape(*weight.shape[:2], *(w.kernel for w in walks))
    inputs.append(b.draft.add_tensor(kernel, f"{hint}.weight"))
    if bias is not None:
        inputs.append(b.draft.add_tensor(bias, f"{hint}.bias"))
    draft_shape = (weight.shape[0], *(sizes[i] for i in kept))
    return b.emit("conv", inputs, shape, draft_shape, attributes, tuple(origin))


def _without_padded_taps(x: Sym, weight: np.ndarray, walks: Sequence[Window]) -> tuple[np.ndarray, list[Window]]:
    """Drops kernel elements that only ever meet padding."""
    trimmed = []
    for axis, (walk, size) in enumerate(zip(walks, x.shape[2:], strict=True), 2):
        last = (walk.out(size) - 1) * walk.stride - walk.begin
        first = 0
        while first < walk.kernel - 1 and last + first * walk.dilation < 0 and walk.begin >= walk.dilation:
            first += 1
            walk = replace(walk, begin=walk.begin - walk.dilation)
        kernel = walk.kernel - first
        while kernel > 1 and (kernel - 1) * walk.dilation - walk.begin >= size and walk.end >= walk.dilation:
            kernel -= 1
            walk = replace(walk, end=walk.end - walk.dilation)
        weight = weight.take(range(first, first + kernel), axis)
        walk = replace(walk, kernel=kernel)
        # Padding behind the last element that any kernel position reads.
        read = (walk.out(size) - 1) * walk.stride - walk.begin + walk.span + 1
        trimmed.append(replace(walk, end=min(walk.end, max(read - size, 0))))
    return weight, trimmed


def _folded(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, walks: Sequence[Window], groups: int
) -> np.ndarray:
    """The convolution of a constant, in float64."""
    padded = np.pad(x[0].astype(np.float64), [(0, 0), *((w.begin, w.end) for w in walks)])
    sizes = [w.out(n) for w, n in zip(walks, x.shape[2:], strict=True)]
    outputs = weight.shape[0]
    grouped = weight.reshape(groups, outputs // groups, *weight.shape[1:]).astype(np.float64)
    taps = np.moveaxis(grouped, (0, 1, 2), (-3, -2, -1))  # the kernel's axes first
    total = np.zeros((groups, outputs // groups, math.prod(sizes)))
    for tap in itertools.product(*(range(w.kernel) for w in walks)):
        at = [
            slice(k * w.dilation, k * w.dilation + (n - 1) * w.stride + 1, w.stride)
            for k, w, n in zip(tap, walks, sizes, strict=True)
        ]
        every = (slice(None), *at)
        part = padded[every].reshape(groups, -1, math.prod(sizes))
        total += taps[tap] @ part
    y = total.reshape(1, outputs, *sizes)
    if bias is not None:
        y += bias.reshape(-1, *(1,) * len(sizes))
    return y.astype(np.result_type(x.dtype, np.float32))


# -- over time -----------------------------------------------------------------------------------------


def _over_time(
    b: Builder, x: Sym, weight: np.ndarray, bias: np.ndarray | None, walks: list[Window], groups: int, at: int
) -> Sym:
    """The newest output frame from the newest input frame and the `span` frames before it, which are the state."""
    walk, axis = walks[at], 2 + at
    if walk.stride != 1:
        raise refuse_rates(walk)
    if (origin := x.origin[axis]) is not None:
        b.time_axes.add(origin)
    before = x.frames.before if x.frames is not None else 0
    if before or walk.begin or walk.end or x.frames is not None:
        x = pad_frames(b, x, axis, walk.begin, walk.end, 0.0)
    frames = x.frames or Frames(axis, 0, 0)
    if frames.before > 0 and frames.fill is None and walk.span:
        raise UnsupportedError(
            f"the {frames.before} frames before its time axis begins are neither zero nor one constant; expected a padding with one value"
        )
    x = inner(x)
    others = [w for i, w in enumerate(walks) if i != at]
    if walk.span == 0:
        y = _within_step(b, b.squeeze(x, [axis]), weight.squeeze(axis), bias, others, groups) if others else None
        if y is None:
            y = _within_step(b, x, weight, bias, [replace(walk, begin=0, end=0)], groups)
        else:
            y = b.unsqueeze(y, [axis])
    else:
        y = _streamed(b, x, weight, bias, walk, others, groups, axis, frames.fill or 0.0)
    y = replace(y, origin=(*y.origin[:axis], x.origin[axis], *y.origin[axis + 1 :]))
    steady = bias is None and frames.fill == 0
    result = replace(frames, before=frames.before - walk.span, fill=0.0 if steady else None)
    return settled(b, y, result)


def _streamed(
    b: Builder,
    x: Sym,
    weight: np.ndarray,
    bias: np.ndarray | None,
    walk: Window,
    others: list[Window],
    groups: int,
    axis: int,
    fill: float,
) -> Sym:
    channels, rest = x.shape[1], (*x.shape[2:axis], *x.shape[axis + 1 :])
    frame = b.reshape(x, (1, channels, *rest))
    past = b.state(f"{b.hint or 'conv'}.past", np.full((walk.span, channels, *rest), fill, np.float32), PAST)
    window = b.concat([past, frame], 0)
    b.set_next(past, b.slice(window, 0, 1, walk.span + 1))
    taps = b.gather(window, 0, np.arange(0, walk.span + 1, walk.dilation))

    # The frames become channels: those of one group stay together.
    kernel = np.moveaxis(weight, axis, 1)
    outputs, per_group = weight.shape[0], channels // groups
    if groups == channels == outputs and math.prod(rest) == 1 and all(w.out(1) == w.kernel == 1 for w in others):
        factors = kernel.reshape(outputs, walk.kernel).T
        products = b.binary("mul", b.reshape(taps, (walk.kernel, channels)), b.const(factors, np.float32))
        y = b.reduce("reduce_sum", products, [0], False)
        if bias is not None:
            y = b.binary("add", y, b.const(bias, np.float32))
        return b.reshape(y, (1, outputs, *(1,) * (1 + len(others))))
    kernel = kernel.reshape(outputs, walk.kernel * per_group, *kernel.shape[3:])
    if groups > 1:
        taps = b.permute(b.reshape(taps, (walk.kernel, groups, per_group, *rest)), [1, 0, *range(2, 3 + len(rest))])
    taps = b.reshape(taps, (1, walk.kernel * channels, *(rest or (1,))))
    if not others:
        return _within_step(b, taps, kernel[..., None], bias, [Window(1)], groups)
    taps = replace(taps, origin=(None, None, *x.origin[2:axis], *x.origin[axis + 1 :]))
    return b.unsqueeze(_within_step(b, taps, kernel, bias, others, groups), [axis])


# -- transposed ----------------------------------------------------------------------------------------


def conv_transpose(
    b: Builder,
    x: Sym,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    strides: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    pads: Sequence[tuple[int, int]] | None = None,
    output_padding: Sequence[int] | None = None,
    groups: int = 1,
) -> Sym:
    """x (1, C, spatial..) and `weight` (C, O / groups, kernel..) -> (1, O, spatial..): each element of x adds a scaled kernel to y.

    `pads` are cut off y, `output_padding` elements are added at its end. With a stride s each s-th element of y is the
    convolution of x with each s-th element of the kernel: s convolutions, whose results are then put in order.

    Raises :class:`UnsupportedError` for shapes that do not fit and for strides over time.
    """
    weight = np.asarray(weight)
    walks = windows(weight.shape[2:], strides, dilations, pads)
    extra = [int(e) for e in (output_padding or [0] * len(walks))]
    if len(extra) != len(walks):
        raise UnsupportedError(
            f"output_padding {extra}: expected one for each axis of the kernel {list(weight.shape[2:])}"
        )
    _check(b, x, weight.shape[1] * groups, weight.shape[0], len(walks), groups, weight.shape)
    if math.prod(walk.stride for walk in walks) > _MAX_PHASES:
        raise UnsupportedError(f"strides {[walk.stride for walk in walks]}: expected a product of at most {_MAX_PHASES}")
    at = time_axis_of(b, x, walks)
    if at is not None and walks[at].stride != 1:
        raise refuse_rates(walks[at])
    per_group = weight.shape[1]
    # (C, O / groups, ..) to (O, C / groups, ..)
    kernel = (
        weight.reshape(groups, -1, *weight.shape[1:]).swapaxes(1, 2).reshape(groups * per_group, -1, *weight.shape[2:])
    )
    phases = [
        [_whole(w, e)] if w.stride == 1 else _phases(w, n, e) for w, n, e in zip(walks, x.shape[2:], extra, strict=True)
    ]
    sizes = [
        (n - 1) * w.stride + w.span + 1 - w.begin - w.end + e for w, n, e in zip(walks, x.shape[2:], extra, strict=True)
    ]
    if at is None and min(sizes) < 1:
        raise UnsupportedError(f"its output of size {sizes} would be empty: the padding cuts everything off")
    if all(len(p) == 1 for p in phases):
        return _phase(b, x, kernel, bias, [p[0] for p in phases], groups)
    if at is not None:
        sizes[at] = 1
    parts, places, frames = [], [], None
    order = np.arange(math.prod(sizes)).reshape(sizes)
    for chosen in itertools.product(*phases):
        part = _phase(b, x, kernel, bias, chosen, groups)
        frames, part = frames or part.frames, inner(part)
        parts.append(b.reshape(part, (1, part.shape[1], math.prod(part.shape[2:]))))
        every = tuple(slice(p.first, None, w.stride) for p, w in zip(chosen, walks, strict=True))
        places.append(order[every].ravel())
    y = b.gather(b.concat(parts, 2), 2, np.argsort(np.concatenate(places)))
    shape = (1, y.shape[1], *sizes)
    made = [
        o if w.stride == 1 and o is not None else made_within(o, max(n, m))
        for o, w, n, m in zip(x.origin[2:], walks, x.shape[2:], sizes, strict=True)
    ]
    y = b.reshape(y, shape, (x.origin[0], None, *made))
    return y if frames is None else framed(y, frames)


@dataclass(frozen=True)
class Phase:
    """Every stride-th element of one axis of a transposed convolution, from `first` on: `count` outputs of a convolution with the
    kernel's elements `taps`; count -1 stands for as many as there are."""

    first: int
    count: int
    taps: list[int]
    walk: Window


def _whole(walk: Window, extra: int) -> Phase:
    taps = list(range(walk.kernel))[::-1]
    return Phase(0, -1, taps, replace(walk, begin=walk.span - walk.begin, end=walk.span - walk.end + extra))


def _phases(walk: Window, size: int, extra: int) -> list[Phase]:
    """Output o takes input i through tap k where o = i * stride + k * dilation - begin."""
    total = (size - 1) * walk.stride + walk.span + 1 - walk.begin - walk.end + extra
    found = []
    for first in range(min(walk.stride, total)):
        count = -(-(total - first) // walk.stride)
        # Output j of this phase reads, through tap k, the input element j + shift(k); some taps meet none.
        reads = {
            k: (first + walk.begin - k * walk.dilation) // walk.stride
            for k in reversed(range(walk.kernel))
            if (k * walk.dilation - walk.begin - first) % walk.stride == 0
        }
        taps = [k for k, by in reads.items() if -count < by < size]
        if not taps:
            found.append(Phase(first, count, [], Window(1)))
            continue
        shift = [reads[k] for k in taps]
        step = shift[1] - shift[0] if len(taps) > 1 else 1
        begin = -shift[0]
        end = count - 1 + shift[-1] - (size - 1)
        found.append(Phase(first, count, taps, Window(len(taps), 1, step, begin, end)))
    return found


def _phase(
    b: Builder, x: Sym, kernel: np.ndarray, bias: np.ndarray | None, phases: Sequence[Phase], groups: int
) -> Sym:
    if any(not phase.taps for phase in phases):
        # Elements of y that nothing is added to.
        value = np.zeros(kernel.shape[0]) if bias is None else np.broadcast_to(np.asarray(bias), kernel.shape[:1])
        sizes = [
            p.count if p.count >= 0 else 1 if is_time(b, x, i) else p.walk.out(n)
            for i, (p, n) in enumerate(zip(phases, x.shape[2:], strict=True), 2)
        ]
        return b.const(
            np.broadcast_to(value.reshape(1, -1, *(1,) * len(sizes)), (1, kernel.shape[0], *sizes)), np.float32
        )
    for axis, phase in enumerate(phases, 2):
        kernel = kernel.take(phase.taps, axis)
    walks = [phase.walk for phase in phases]
    return conv(
        b, x, kernel, bias,
        dilations=[w.dilation for w in walks], pads=[(w.begin, w.end) for w in walks], groups=groups,
    )  # fmt: skip


# -- what stands behind convolutions -------------------------------------------------------------------


def batch_norm(
    b: Builder,
    x: Sym,
    scale: np.ndarray,
    bias: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    eps: float,
    axis: int = 1,
) -> Sym:
    """``(x - mean) / sqrt(var + eps) * scale + bias`` with stored statistics, one of each per element of `axis`."""
    axis = x.axis(axis)
    factor = np.asarray(scale, np.float64) / np.sqrt(np.asarray(var, np.float64) + eps)
    shift = np.asarray(bias, np.float64) - np.asarray(mean, np.float64) * factor
    shape = (-1, *(1,) * (x.ndim - 1 - axis))
    y = b.binary("mul", x, b.const(factor.reshape(shape), np.float32))
    return b.binary("add", y, b.const(shift.reshape(shape), np.float32))
