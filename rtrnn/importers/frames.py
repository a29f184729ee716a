"""Time axes that a file pads and crops around its convolutions.

A network over whole sequences pads its time axis before a convolution and perhaps cuts the end off behind it ("chomp"). A stream
has one frame at a time, so padding is kept as a description (:class:`rtrnn.importers.sym.Frames`): frames before the streamed one
become the first contents of the convolution's state, frames after it must be cut off again before anything but an
elementwise function reads the value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rtrnn.errors import UnsupportedError
from rtrnn.importers.draft import Draft
from rtrnn.importers.sym import STEP, Frames, Sym

if TYPE_CHECKING:
    from rtrnn.importers.builder import Builder

__all__ = [
    "PAST",
    "check_lag",
    "crop",
    "framed",
    "inner",
    "is_time",
    "joined",
    "keeps_zero",
    "made_within",
    "may_be_time",
    "pad_frames",
    "refuse",
    "settled",
    "spread",
    "through",
]

#: The origin of a state that holds frames for a convolution.
PAST = "the frames before the newest one, for a convolution"

#: Unary functions that leave a zero as it is.
_KEEP_ZERO = frozenset(
    {"neg", "abs", "sqrt", "sign", "erf", "floor", "ceil", "relu", "leaky_relu", "elu", "selu", "celu", "tanh"}
    | {"softsign", "gelu", "gelu_tanh", "silu", "mish", "hard_swish", "scaled_tanh"}
)


def is_time(b: Builder, x: Sym, axis: int) -> bool:
    """True for an axis along which the stream runs: of one frame here, of any number in the file."""
    if x.frames is not None and x.frames.axis == axis:
        return True
    origin = x.origin[axis]
    known = origin in b.time_axes or origin in b.dynamic_axes or origin in b.rebound
    return x.shape[axis] == 1 and origin is not None and known and origin not in b.step_axes


def may_be_time(b: Builder, x: Sym, axis: int) -> bool:
    """True for an axis of size 1 of which nothing is known, in a network with axes that are not fixed."""
    return x.shape[axis] == 1 and x.origin[axis] is None and bool(b.dynamic_axes or b.rebound) and x.const is None


def refuse(x: Sym) -> UnsupportedError:
    """What is said when a value with frames around the streamed one meets an operation that does not know them."""
    assert x.frames is not None
    if x.frames.after:
        return UnsupportedError(
            f"a convolution over time that looks {x.frames.after} frames ahead cannot be streamed; expected padding of the past "
            "alone (causal), or a slice that cuts these frames off right behind the convolution. With input_shapes= a block of "
            "several frames becomes one timestep"
        )
    return UnsupportedError(
        f"a time axis with {x.frames.before} frames of padding before its first one; expected a convolution to read them"
    )


def inner(x: Sym) -> Sym:
    """`x` without the frames around the streamed one."""
    if x.frames is None:
        return x
    axis = x.frames.axis
    return replace(x, shape=(*x.shape[:axis], 1, *x.shape[axis + 1 :]), frames=None)


def framed(y: Sym, frames: Frames) -> Sym:
    """`y`, of one frame, with `frames` around it."""
    if frames.before == frames.after == 0:
        return y
    axis = frames.axis
    size = frames.before + 1 + frames.after
    return replace(y, shape=(*y.shape[:axis], size, *y.shape[axis + 1 :]), frames=frames)


def through(x: Sym, function: Callable[[Sym], Sym], axis: int | None = None, keeps_fill: bool = True) -> Sym:
    """`function` of the streamed frame; its result has the frames of `x` around it, on `axis` if that is another one."""
    assert x.frames is not None
    frames = x.frames if keeps_fill else replace(x.frames, fill=None)
    return framed(function(inner(x)), frames if axis is None else replace(frames, axis=axis))


def keeps_zero(op: str, frames: Frames) -> bool:
    return frames.fill == 0 and op in _KEEP_ZERO


def pad_frames(b: Builder, x: Sym, axis: int, before: int, after: int, value: float) -> Sym:
    """`x` with frames added to its time axis, or cut off where a number is negative."""
    frames = x.frames or Frames(axis, 0, 0, value)
    if before > 0:
        if frames.before < 0 or (x.name is not None and b.draft.depends_on(x.name) & b.draft.lagging.keys()):
            raise UnsupportedError(
                f"{before} frames of padding on the time axis behind a convolution without padding, whose first outputs a stream "
                "has to make up; expected the padding in front of the first convolution"
            )
        same = frames.before <= 0 or frames.fill == value
        frames = replace(frames, before=frames.before + before, fill=value if same else None)
    frames = replace(frames, after=frames.after + max(after, 0))
    return crop(b, framed(inner(x), frames), axis, max(-before, 0), max(-after, 0))


def crop(b: Builder, x: Sym, axis: int, front: int, end: int) -> Sym:
    """`x` without `front` frames of the start and `end` of the end of its time axis."""
    if front == end == 0:
        return x
    frames = x.frames or Frames(axis, 0, 0)
    frames = replace(frames, before=frames.before - front, after=frames.after - end)
    if frames.after < 0:
        raise UnsupportedError(
            f"{end} frames are cut off the end of the time axis, {-frames.after} more than were padded: a stream would have to wait "
            "for them; expected the end to be left as it is"
        )
    return settled(b, inner(x), frames)


def settled(b: Builder, y: Sym, frames: Frames) -> Sym:
    """`y` with `frames`; where the stream begins before the file's own output would, that is noted once."""
    if frames.before < 0 and frames.after == 0:
        assert y.name is not None
        lagging = b.draft.lagging
        count = max((lagging[v] for v in b.draft.depends_on(y.name) & lagging.keys()), default=0) - frames.before
        lagging[y.name] = count
        b.draft.warnings.append(
            f"{b.hint or 'a convolution'}: the first {count} outputs of a stream are computed from zeros before its start; the network "
            "as exported has none for these steps"
        )
        return y
    if frames.before + frames.after < 0:
        raise refuse(framed(y, replace(frames, before=0)))
    return framed(y, frames)


def check_lag(draft: Draft) -> None:
    """Raises :class:`UnsupportedError` for a state that would remember frames which the foreign network does not have: those of a
    convolution over time before its window is full. Behind another convolution they are gone again after a while."""
    for name, state in draft.states.items():
        if not draft.lagging or state.origin == PAST or state.next is None:
            continue
        for value in draft.depends_on(state.next) & draft.lagging.keys():
            raise UnsupportedError(
                f"the state {name!r} is computed from {value!r}, a convolution over time without padding: the first "
                f"{draft.lagging[value]} outputs of a stream, which the network as exported does not have, would stay in the state; "
                "expected padding in front of the convolution, or its past frames as a state input and output"
            )


def joined(xs: Sequence[Sym]) -> Frames:
    """The frames that values of one shape have in common."""
    first = next(x.frames for x in xs if x.frames is not None)
    for x in xs:
        frames = x.frames
        if frames is None or (frames.axis, frames.before, frames.after) != (first.axis, first.before, first.after):
            raise refuse(framed(inner(x), first))
    fills = {x.frames.fill for x in xs if x.frames is not None}
    return first if len(fills) == 1 else replace(first, fill=None)


def spread(b: Builder, op: str, x: Sym, y: Sym) -> Sym:
    """A binary function of two values, at least one of them with frames; the other is constant over time or has the same."""
    rank = max(x.ndim, y.ndim)
    at = {v.frames.axis - v.ndim for v in (x, y) if v.frames is not None}
    frames = next(v.frames for v in (x, y) if v.frames is not None)
    for v in (x, y):
        axis = min(at) + v.ndim
        same = v.frames is not None and (v.frames.before, v.frames.after) == (frames.before, frames.after)
        steady = v.const is not None and (axis < 0 or v.shape[axis] == 1)
        if len(at) > 1 or not (same or steady):
            raise refuse(x if x.frames is not None else y)
    fills = [v.frames.fill if v.frames is not None else None for v in (x, y)]
    scaled = (op == "mul" and 0 in fills) or (op == "div" and fills[0] == 0 and y.const is not None)
    kept = scaled or (fills == [0, 0] and op in ("add", "sub", "min", "max"))
    result = replace(frames, axis=min(at) + rank, fill=0.0 if kept else None)
    return framed(b.binary(op, inner(x), inner(y)), result)


def made_within(origin: tuple[str, int] | None, size: int) -> tuple[str, int] | None:
    """The provenance of an axis computed from one of `size` elements: known not to be time if there are several."""
    return STEP if size > 1 or origin == STEP else None
