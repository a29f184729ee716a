"""Operators that make constants, and those that are computed on constants alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from rtrnn.errors import FileFormatError, UnsupportedError
from rtrnn.importers.builder import Sym
from rtrnn.importers.onnx.registry import OPS, Call, limit, op

__all__: list[str] = []

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
    raise UnsupportedError(f"a constant given by {name!r}; expected a dense tensor (value) or numbers (value_float, value_ints, ..)")


@op("ConstantOfShape")
def constant_of_shape(call: Call) -> Sym:
    from rtrnn.importers.onnx.reader import to_array

    value = to_array(call.attr("value")) if "value" in call.attributes else np.zeros(1, np.float32)
    return call.b.const(np.full(limit(call.const(0, "shape").tolist()), value.reshape(())))


@op("Range")
def range_(call: Call) -> Sym:
    start, stop, step = (call.const(i, role).reshape(()) for i, role in enumerate(("start", "limit", "delta")))
    if step == 0:
        raise FileFormatError(f"Range node {call.name!r}: the delta is 0")
    limit([max(0, math.ceil((float(stop) - float(start)) / float(step)))])
    return call.b.const(np.arange(start.item(), stop.item(), step.item(), dtype=start.dtype))


@op("EyeLike")
def eye_like(call: Call) -> Sym:
    from onnx import helper

    x = call.x()
    if x.ndim != 2:
        raise FileFormatError(f"EyeLike node {call.name!r}: an operand of shape {x.shape}; expected a matrix")
    rows, columns = limit(x.shape)
    like = np.dtype(np.float32) if x.const is None else x.const.dtype
    dtype: Any = helper.tensor_dtype_to_np_dtype(int(call.attr("dtype"))) if "dtype" in call.attributes else like
    return call.b.const(np.eye(rows, columns, int(call.attr("k", 0)), dtype))


@op("OneHot")
def one_hot(call: Call) -> Sym:
    indices, depth, values = (call.const(i, role) for i, role in enumerate(("indices", "depth", "values")))
    n, rank = int(depth.reshape(())), indices.ndim + 1
    limit((*indices.shape, n))
    axis = int(call.attr("axis", -1))
    if not -rank <= axis < rank or values.size != 2:
        raise FileFormatError(f"OneHot node {call.name!r}: axis {axis} for indices of shape {indices.shape}")
    off, on = values.ravel()
    indices = np.expand_dims(np.trunc(indices).astype(np.int64), axis % rank)
    there = (indices >= -n) & (indices < n)
    place = np.arange(n).reshape([n if i == axis % rank else 1 for i in range(rank)])
    return call.b.const(np.where(there & (indices % max(n, 1) == place), on, off), values.dtype)


@op("DequantizeLinear")
def dequantize(call: Call) -> Sym:
    """Integer weights as floats: ``(x - zero_point) * scale``, per tensor, per axis or per block of an axis."""
    x = call.x()
    if x.const is None:
        raise UnsupportedError(
            "it reads a computed value: a network whose values are integers; load the float network that it was made from"
        )
    scale, zero = call.const(1, "scale"), call.opt_const(2, "zero point")
    block = int(call.attr("block_size", 0))
    axis = x.axis(int(call.attr("axis", 1))) if scale.size > 1 or block else 0

    def spread(array: np.ndarray) -> np.ndarray:
        array = array.astype(np.float32)
        if block:
            return array.take(np.arange(x.shape[axis]) // block, axis)
        return array.reshape(()) if array.size == 1 else array.reshape([-1 if i == axis else 1 for i in range(x.ndim)])

    offset = 0.0 if zero is None else spread(zero)
    return call.b.const((x.const.astype(np.float32) - offset) * spread(scale), np.float32)


#: Operator -> how it is computed on constants. The Graph has none of these functions.
_ON_CONSTANTS: dict[str, Callable[..., np.ndarray]] = {
    "Sin": np.sin,
    "Cos": np.cos,
    "Tan": np.tan,
    "Asin": np.arcsin,
    "Acos": np.arccos,
    "Atan": np.arctan,
    "Sinh": np.sinh,
    "Cosh": np.cosh,
    "Asinh": np.arcsinh,
    "Acosh": np.arccosh,
    "Atanh": np.arctanh,
    "IsNaN": np.isnan,
    "BitwiseAnd": np.bitwise_and,
    "BitwiseOr": np.bitwise_or,
    "BitwiseXor": np.bitwise_xor,
    "BitwiseNot": np.bitwise_not,
}


def _on_constants(call: Call) -> Sym:
    operands = [call.x(i) for i in range(len(call.inputs))]
    arrays = [x.const for x in operands if x.const is not None]
    if len(arrays) != len(operands):
        raise UnsupportedError(
            f"its operand {call.operand(0)} is computed from the inputs, and the Graph has no such function; compute it "
            "outside the network and give it as an input, or export without it"
        )
    return call.b.const(_ON_CONSTANTS[call.op_type](*arrays))


OPS.update(dict.fromkeys(_ON_CONSTANTS, _on_constants))


@op("ArgMax", "ArgMin")
def arg_extreme(call: Call) -> Sym:
    x = call.x()
    if x.const is None:
        raise UnsupportedError(
            f"its operand {call.operand(0)} is computed from the inputs: the choice of one of several values is made outside "
            "the network; export the values themselves as an output"
        )
    axis, function = x.axis(int(call.attr("axis", 0))), np.argmax if call.op_type == "ArgMax" else np.argmin
    if call.attr("select_last_index", 0):
        found = x.shape[axis] - 1 - function(np.flip(x.const, axis), axis)
    else:
        found = function(x.const, axis)
    return call.b.const(np.expand_dims(found, axis) if call.attr("keepdims", 1) else found, np.int64)
