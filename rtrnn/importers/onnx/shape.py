"""Operators that rearrange, select or make values, and those that compute shapes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import reduce

import numpy as np

from rtrnn.errors import FileFormatError, UnsupportedError
from rtrnn.importers.builder import Axis, Sym
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
        raise UnsupportedError("training_mode is true; expected a network exported for inference")
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


@op("Gather")
def gather(call: Call) -> Sym:
    return call.b.gather(call.x(), int(call.attr("axis", 0)), call.const(1, "indices").astype(np.int64))


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
    return call.b.reshape(x, _one_timestep(target, x, call.options.rebound))


def _one_timestep(target: list[int], x: Sym, rebound: Mapping[Axis, int]) -> list[int]:
    """`target` with its -1 resolved, and with time and batch sizes that the file had fixed taken as 1.

    A size is one of those when it stands where x has that axis, or else when `target` cannot be met otherwise.
    """
    shape = list(target)
    for i, origin in enumerate(x.origin[: len(shape)]):
        if origin is not None and rebound.get(origin) == shape[i]:
            shape[i] = 1
    sizes = {a * b for a in (1, *rebound.values()) for b in (1, *rebound.values())} - {1}
    found = _resolve(shape, x.size)
    for i, d in enumerate(shape):
        if found is None and d in sizes:
            shape[i] = 1
            found = _resolve(shape, x.size)
    return target if found is None else found


def _resolve(shape: list[int], size: int) -> list[int] | None:
    """`shape` without -1 if it has `size` elements."""
    known = math.prod(d for d in shape if d != -1)
    if shape.count(-1) == 1 and known > 0 and size % known == 0:
        return [size // known if d == -1 else d for d in shape]
    return shape if -1 not in shape and known == size else None


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
    limit([d * r for d, r in zip(x.shape, repeats, strict=True)])
    return reduce(lambda y, ir: call.b.concat([y] * ir[1], ir[0]) if ir[1] > 1 else y, enumerate(repeats), x)


@op("Constant")
def constant(call: Call) -> Sym:
    from rtrnn.importers.onnx.reader import to_array

    if len(call.attributes) != 1:
        raise FileFormatError(f"Constant node {call.name!r}: expected one attribute, found {list(call.attributes)}")
    ((name, value),) = call.attributes.items()
    if name == "value":
        return call.b.const(to_array(value))
    if name in ("value_int", "value_ints"):
        return call.b.const(value, np.int64)
    if name in ("value_float", "value_floats"):
        return call.b.const(value, np.float32)
    raise UnsupportedError(f"a constant given by {name!r}; expected a dense tensor or numbers")


@op("ConstantOfShape")
def constant_of_shape(call: Call) -> Sym:
    from rtrnn.importers.onnx.reader import to_array

    value = to_array(call.attr("value")) if "value" in call.attributes else np.zeros(1, np.float32)
    return call.b.const(np.full(limit(call.const(0, "shape").tolist()), value.reshape(())))


@op("Shape")
def shape_(call: Call) -> Sym:
    part = call.x().shape[int(call.attr("start", 0)) : call.attr("end")]
    return call.b.const(part, np.int64)


@op("Size")
def size(call: Call) -> Sym:
    return call.b.const(call.x().size, np.int64)


@op("Range")
def range_(call: Call) -> Sym:
    start, stop, step = (call.const(i, role).reshape(()) for i, role in enumerate(("start", "limit", "delta")))
    if step == 0:
        raise FileFormatError(f"Range node {call.name!r}: the delta is 0")
    limit([max(0, math.ceil((float(stop) - float(start)) / float(step)))])
    return call.b.const(np.arange(start.item(), stop.item(), step.item(), dtype=start.dtype))


@op("If")
def if_(call: Call) -> list[Sym]:
    condition = call.x().const
    if condition is None:
        raise UnsupportedError("its condition is computed from the inputs; expected one that the graph's shapes decide")
    name = "then_branch" if bool(condition.reshape(())) else "else_branch"
    if name not in call.attributes:
        raise FileFormatError(f"If node {call.name!r}: {name} is missing")
    return call.subgraph(call.attributes[name])


@op("Loop", "Scan")
def loop(call: Call) -> Sym:
    raise UnsupportedError(
        f"{call.op_type} runs over the sequence itself; export the network for one timestep, with its state as inputs "
        "and outputs"
    )
