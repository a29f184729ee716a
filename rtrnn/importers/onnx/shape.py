"""Operators that rearrange values, those that compute shapes, and If."""

from __future__ import annotations

import math

import numpy as np

from rtrnn.errors import FileFormatError, UnsupportedError
from rtrnn.importers.builder import MAX_VALUE_ELEMENTS, Sym, check_size
from rtrnn.importers.onestep import one_timestep
from rtrnn.importers.onnx.registry import Call, limit, op

__all__: list[str] = []


@op("Identity")
def identity(call: Call) -> Sym:
    return call.x()


@op("Dropout")
def dropout(call: Call) -> list[Sym]:
    """Inference: nothing is dropped."""
    training = call.opt_const(2, "training_mode")
    if training is not None and bool(training):
        raise UnsupportedError(
            "training_mode is true; expected a network exported for inference: call eval() before the export"
        )
    return [call.x(), call.b.const(np.ones(limit(call.x().shape), bool))]


@op("Concat")
def concat(call: Call) -> Sym:
    return call.b.concat(call.all(), int(call.attr("axis", 1)))


@op("Split")
def split(call: Call) -> list[Sym]:
    x = call.x()
    axis = x.axis(int(call.attr("axis", 0)))
    sizes = call.ints("split", 1)
    if sizes is None:
        parts = int(call.attr("num_outputs", call.num_outputs))
        part = math.ceil(x.shape[axis] / parts)
        sizes = [part] * (parts - 1) + [x.shape[axis] - part * (parts - 1)]
    return call.b.split(x, axis, sizes)


@op("Slice")
def slice_(call: Call) -> Sym:
    x = call.x()
    starts, ends = call.ints("starts", 1), call.ints("ends", 2)
    if starts is None or ends is None:
        raise FileFormatError(f"Slice node {call.name!r}: starts or ends is missing")
    axes = call.ints("axes", 3) or list(range(len(starts)))
    steps = call.ints("steps", 4) or [1] * len(starts)
    for start, stop, axis, step in zip(starts, ends, axes, steps, strict=True):
        x = call.b.slice(x, axis, start, stop, step)
    return x


@op("Transpose")
def transpose(call: Call) -> Sym:
    x = call.x()
    return call.b.permute(x, call.attr("perm", list(reversed(range(x.ndim)))))


@op("Reshape")
def reshape(call: Call) -> Sym:
    x = call.x()
    target = call.ints("shape", 1)
    if target is None:
        raise FileFormatError(f"Reshape node {call.name!r}: the shape is missing")
    if not call.attr("allowzero", 0):
        if any(d == 0 and i >= x.ndim for i, d in enumerate(target)):
            raise FileFormatError(f"Reshape node {call.name!r}: shape {target} copies an axis that {x.shape} lacks")
        target = [x.shape[i] if d == 0 else d for i, d in enumerate(target)]
    return call.b.reshape(x, one_timestep(target, x, call.options.rebound))


@op("Flatten")
def flatten(call: Call) -> Sym:
    x = call.x()
    axis = int(call.attr("axis", 1))
    axis = axis + x.ndim if axis < 0 else axis
    return call.b.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


@op("Squeeze")
def squeeze(call: Call) -> Sym:
    return call.b.squeeze(call.x(), call.ints("axes", 1))


@op("Unsqueeze")
def unsqueeze(call: Call) -> Sym:
    axes = call.ints("axes", 1)
    if axes is None:
        raise FileFormatError(f"Unsqueeze node {call.name!r}: the axes are missing")
    return call.b.unsqueeze(call.x(), axes)


@op("Expand")
def expand(call: Call) -> Sym:
    x = call.x()
    shape = call.const(1, "shape")
    return call.b.expand(x, limit(np.broadcast_shapes(x.shape, tuple(int(d) for d in shape))))


@op("Tile")
def tile(call: Call) -> Sym:
    x = call.x()
    repeats = [int(r) for r in call.const(1, "repeats")]
    shape = limit([d * r for d, r in zip(x.shape, repeats, strict=True)])
    check_size(shape, MAX_VALUE_ELEMENTS, "a value")
    for axis, times in enumerate(repeats):
        if times != 1:
            x = call.b.gather(x, axis, np.tile(np.arange(x.shape[axis]), times))
    return x


@op("Shape")
def shape_(call: Call) -> Sym:
    part = call.x().shape[int(call.attr("start", 0)) : call.attr("end")]
    return call.b.const(part, np.int64)


@op("Size")
def size(call: Call) -> Sym:
    return call.b.const(call.x().size, np.int64)


@op("If")
def if_(call: Call) -> list[Sym]:
    condition = call.x().const
    if condition is None:
        raise UnsupportedError("its condition is computed from the inputs; expected one that the graph's shapes decide")
    name = "then_branch" if bool(condition.reshape(())) else "else_branch"
    if name not in call.attributes:
        raise FileFormatError(f"If node {call.name!r}: {name} is missing")
    return call.subgraph(call.attributes[name])
