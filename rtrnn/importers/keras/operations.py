"""Lowerings of functions of keras.ops (and of TensorFlow, in Keras 2 files) that a Functional model calls on its tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from rtrnn.errors import FileFormatError, UnsupportedError
from rtrnn.importers.builder import Sym
from rtrnn.importers.keras import activations
from rtrnn.importers.keras.config import Layer
from rtrnn.importers.keras.layers import concatenate, frames_of
from rtrnn.importers.keras.lowering import Reading, lowers, many, one

__all__: list[str] = []

_BINARY = {
    "Add": "add",
    "Subtract": "sub",
    "Multiply": "mul",
    "Divide": "div",
    "TrueDivide": "div",
    "Maximum": "max",
    "Minimum": "min",
    "Power": "pow",
}
_UNARY = {
    "Negative": "neg",
    "Absolute": "abs",
    "Abs": "abs",
    "Sqrt": "sqrt",
    "Exp": "exp",
    "Log": "log",
    "Reciprocal": "reciprocal",
    "Sign": "sign",
    "Floor": "floor",
    "Ceil": "ceil",
}
#: Functions that are activations without parameters.
_ACTIVATIONS = {
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "Relu": "relu",
    "Relu6": "relu6",
    "Silu": "silu",
    "Softsign": "softsign",
    "Softplus": "softplus",
    "Selu": "selu",
    "HardSigmoid": "hard_sigmoid",
    "HardSilu": "hard_silu",
    "HardTanh": "hard_tanh",
}
_PARAMETERS = {
    "LeakyRelu": ("leaky_relu", "negative_slope", 0.2),
    "Elu": ("elu", "alpha", 1.0),
    "Celu": ("celu", "alpha", 1.0),
}
#: Keras 2's TFOpLambda by its function -> the name in keras.ops, and the keywords of its operands.
_TENSORFLOW = {
    "math.add": "Add",
    "__operators__.add": "Add",
    "math.subtract": "Subtract",
    "math.multiply": "Multiply",
    "math.truediv": "TrueDivide",
    "math.divide": "Divide",
    "math.maximum": "Maximum",
    "math.minimum": "Minimum",
    "math.negative": "Negative",
    "math.abs": "Absolute",
    "math.exp": "Exp",
    "math.log": "Log",
    "math.sqrt": "Sqrt",
    "math.tanh": "Tanh",
    "math.sigmoid": "Sigmoid",
    "nn.relu": "Relu",
    "nn.tanh": "Tanh",
    "nn.sigmoid": "Sigmoid",
    "nn.silu": "Silu",
    "nn.softplus": "Softplus",
}


def _operand(r: Reading, layer: Layer, value: Any) -> Sym:
    if isinstance(value, Sym):
        return value
    if type(value) in (int, float) or isinstance(value, (list, np.ndarray)):
        try:
            array = np.asarray(value, np.float32)
        except (ValueError, TypeError, OverflowError):
            array = np.full(1, np.nan, np.float32)
        if np.isfinite(array).all():
            return r.b.const(array)
    raise FileFormatError(f"{layer}: called with {str(value)[:80]!r}; expected a tensor or numbers")


def _operands(layer: Layer, args: Sequence[Any], keywords: dict[str, Any], names: Sequence[str]) -> list[Any]:
    values = list(args)
    for name in names[len(values) :]:
        if name in keywords:
            values.append(keywords[name])
    if len(values) < len(names):
        raise FileFormatError(f"{layer}: called with {len(values)} operands; expected {len(names)}")
    return values[: len(names)]


@lowers(*(f"ops.{name}" for name in _BINARY))
def _binary(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    names = ("x", "y") if layer.kind == "TFOpLambda" else ("x1", "x2")
    a, c = (_operand(r, layer, v) for v in _operands(layer, args, keywords, names))
    try:
        np.broadcast_shapes(a.shape, c.shape)
    except ValueError:
        raise FileFormatError(f"{layer}: values of shapes {a.shape} and {c.shape} do not fit together") from None
    return r.b.binary(_BINARY[_name(layer)], a, c)


@lowers(*(f"ops.{name}" for name in _UNARY))
def _unary(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    return r.b.unary(_UNARY[_name(layer)], one(layer, args), None)


@lowers("ops.Square")
def _square(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    x = one(layer, args)
    return r.b.binary("mul", x, x)


@lowers(*(f"ops.{name}" for name in _ACTIVATIONS))
def _activation(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    return activations.apply(r.b, one(layer, args), layer, _ACTIVATIONS[_name(layer)], r.version)


@lowers(*(f"ops.{name}" for name in _PARAMETERS))
def _with_parameter(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    op, key, default = _PARAMETERS[_name(layer)]
    return r.b.unary(op, one(layer, args), None, alpha=layer.number(key, default))


@lowers("ops.Gelu")
def _gelu(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    return r.b.unary("gelu_tanh" if layer.flag("approximate", True) else "gelu", one(layer, args), None)


@lowers("ops.Softmax")
def _softmax(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    x = one(layer, args)
    axis = x.axis(layer.integer("axis", -1))
    if axis == 0 or r.is_time(x, axis):
        raise UnsupportedError(f"{layer}: softmax over axis {axis}; expected an axis of features")
    return r.b.softmax(x, axis)


@lowers("ops.Clip")
def _clip(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    return r.b.unary("clip", one(layer, args), None, alpha=layer.number("x_min"), beta=layer.number("x_max"))


@lowers("ops.Concatenate")
def _concatenate(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    return concatenate(r, layer, many(layer, args), layer.integer("axis", 0))


@lowers("ops.ExpandDims")
def _expand_dims(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    x = one(layer, args)
    return r.b.unsqueeze(x, [layer.integer("axis")])


@lowers("ops.Squeeze")
def _squeeze(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    x = one(layer, args)
    axes = list(range(x.ndim)) if layer.get("axis", None) is None else [x.axis(a) for a in layer.integers("axis")]
    axes = [a for a in axes if layer.get("axis", None) is not None or x.shape[a] == 1]
    if any(r.is_time(x, a) and frames_of(r, x) != 1 for a in axes):
        raise UnsupportedError(f"{layer}: removes the time axis, which has more than one timestep in the file")
    return r.b.squeeze(x, axes)


@lowers("ops.Reshape")
def _reshape(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    x = one(layer, args)
    target = layer.integers("newshape")
    if not target or target[0] not in (-1, 1) or (r.is_time(x) and frames_of(r, x) != 1):
        raise UnsupportedError(
            f"{layer}: reshapes {x.shape} to {tuple(target)}; expected the batch and the time axis to be kept: use layers.Reshape"
        )
    rest = target[1:]
    known = math.prod(d for d in rest if d != -1)
    if -1 in rest and known > 0:
        rest = [x.size // known if d == -1 else d for d in rest]
    return r.b.reshape(x, (1, *rest))


@lowers("ops.GetItem")
def _get_item(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    """Indices and slices; on the time axis only all of it, or its last step: what the network gives if the sequence ends there."""
    if len(args) != 2 or not isinstance(args[0], Sym):
        raise FileFormatError(f"{layer}: called with {len(args)} operands; expected a tensor and an index")
    x, b = args[0], r.b
    keys = list(args[1]) if isinstance(args[1], list) else [args[1]]
    if any(k is not None and not isinstance(k, slice) and k is not Ellipsis and type(k) is not int for k in keys):
        raise UnsupportedError(f"{layer}: indexed by {str(keys)[:80]}; expected whole numbers and slices")
    given = sum(k is not None and k is not Ellipsis for k in keys)
    if keys.count(Ellipsis) > 1 or given > x.ndim:
        raise FileFormatError(f"{layer}: {given} indices for a value of shape {x.shape}")
    at = keys.index(Ellipsis) if Ellipsis in keys else len(keys)
    keys = [*keys[:at], *[slice(None)] * (x.ndim - given), *keys[at + 1 :]]
    gone = []
    for axis, key in enumerate(k for k in keys if k is not None):
        if isinstance(key, int):
            gone.append(axis)
        if key != slice(None):
            x = _part(r, layer, x, axis, key)
    x = b.squeeze(x, gone) if gone else x
    new = [i for i, key in enumerate(k for k in keys if not isinstance(k, int)) if key is None]
    return b.unsqueeze(x, new) if new else x


def _part(r: Reading, layer: Layer, x: Sym, axis: int, key: Any) -> Sym:
    """`key`, a whole number or a slice, of one axis, which stays."""
    if axis == 0:
        raise UnsupportedError(f"{layer}: takes a part of the batch axis; expected ':' there")
    if r.is_time(x, axis):
        if key == -1:
            r.last_only.append(layer.name)
            return r.b.last(x)
        if key == slice(-1, None) or (frames_of(r, x) == 1 and key == 0):
            return x
        raise UnsupportedError(f"{layer}: takes {key} of the time axis; expected ':' or the last timestep, -1")
    size = x.shape[axis]
    if isinstance(key, slice):
        if key.step == 0:
            raise FileFormatError(f"{layer}: a slice with the step 0")
        return r.b.slice(x, axis, *_bounds(key, size))
    if not -size <= key < size:
        raise FileFormatError(f"{layer}: index {key} on an axis of {size}")
    return r.b.slice(x, axis, key % size, key % size + 1)


def _bounds(key: slice, size: int) -> tuple[int, int, int]:
    start, stop, step = key.indices(size)
    # A stop of -1 after indices() means "to the front", which Builder.slice would take for the last element.
    return start, stop if stop >= 0 else -size - 1, step


def _name(layer: Layer) -> str:
    if layer.kind == "TFOpLambda":
        return _TENSORFLOW[layer.text("function")]
    return layer.kind.removeprefix("ops.")


@lowers("TFOpLambda")
def _tensorflow(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    function = layer.text("function")
    name = _TENSORFLOW.get(function)
    if name is None:
        raise UnsupportedError(f"{layer}: the TensorFlow function {function!r} is not supported; expected one of {', '.join(_TENSORFLOW)}")
    lowering = _binary if name in _BINARY else _unary if name in _UNARY else _activation
    result: Sym = lowering(r, layer, args, keywords)
    return result
