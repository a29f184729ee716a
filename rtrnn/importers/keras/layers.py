"""Lowerings of layers that work on one timestep: dense, merging, shape, identity in inference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np

from rtrnn.errors import FileFormatError, UnsupportedError
from rtrnn.importers.builder import Sym
from rtrnn.importers.keras import activations
from rtrnn.importers.keras.config import Layer
from rtrnn.importers.keras.lowering import Reading, lowers, many, one, refuse_time, weight

__all__: list[str] = []

_MAX_FRAMES = 4096
#: Layers that treat all frames alike by themselves.
_ALIKE = frozenset({"Dense", "Activation", "LeakyReLU", "ELU", "ReLU", "Dropout", "Identity"})


@lowers("Dense")
def _dense(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    x, units = one(layer, args), layer.integer("units")
    kernel = weight(layer, "kernel", (x.shape[-1], units), f"{units} units on {x.shape[-1]} features")
    bias = weight(layer, "bias", (units,)) if layer.flag("use_bias", True) else None
    return activations.apply(r.b, r.b.linear(x, kernel.T, bias), layer, layer.get("activation", None), r.version)


@lowers("Activation", "LeakyReLU", "ELU", "ReLU")
def _activation(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    spec = layer.get("activation", None) if layer.kind == "Activation" else {"class_name": layer.kind, "config": layer.config}
    return activations.apply(r.b, one(layer, args), layer, spec, r.version)


@lowers("Softmax")
def _softmax(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    x = one(layer, args)
    axes = {x.axis(a) for a in layer.integers("axis", None, [-1])}
    if len(axes) != 1:
        raise layer.bad("axis", "one axis", sorted(axes))
    (axis,) = axes
    if r.is_time(x, axis):
        raise UnsupportedError(f"{layer}: softmax over the time axis takes the whole sequence; expected an axis of features")
    return r.b.softmax(x, axis)


@lowers("PReLU")
def _prelu(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    x = one(layer, args)
    shape = list(x.shape[1:])
    for axis in layer.integers("shared_axes") if layer.get("shared_axes", None) is not None else []:
        if not 1 <= axis <= len(shape):
            raise layer.bad("shared_axes", f"axes from 1 to {len(shape)}", axis)
        shape[axis - 1] = 1
    alpha = weight(layer, "alpha", shape)
    below = r.b.unary("clip", x, None, beta=0.0)
    return r.b.binary("add", r.b.unary("relu", x, None), r.b.binary("mul", below, r.b.const(alpha[None])))


@lowers("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianDropout", "GaussianNoise")
@lowers("AlphaDropout", "ActivityRegularization", "Identity")
def _identity(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    """Nothing in inference."""
    return one(layer, args)


@lowers("Masking")
def _masking(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    r.note(
        f"{layer}: frames whose elements all are {layer.number('mask_value', 0.0):g} are padding in the file; a stream takes every "
        "frame that it is given, so give it none of these"
    )
    return one(layer, args)


# -- merging -------------------------------------------------------------------------------------------


def same_rank(r: Reading, values: Sequence[Sym]) -> list[Sym]:
    """Values of lower rank get axes of size 1 behind the batch, as Keras's merging layers do."""
    rank = max(x.ndim for x in values)
    return [r.b.unsqueeze(x, range(1, 1 + rank - x.ndim)) if x.ndim < rank else x for x in values]


@lowers("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")
def _merge(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    values = same_rank(r, many(layer, args))
    if layer.kind == "Subtract" and len(values) != 2:
        raise FileFormatError(f"{layer}: called with {len(values)} tensors; expected 2")
    try:
        np.broadcast_shapes(*(x.shape for x in values))
    except ValueError:
        shapes = ", ".join(str(x.shape) for x in values)
        raise FileFormatError(f"{layer}: called with values of shapes {shapes}, which do not fit together") from None
    kinds = {"Add": "add", "Average": "add", "Subtract": "sub", "Multiply": "mul", "Maximum": "max", "Minimum": "min"}
    y = reduce(lambda a, x: r.b.binary(kinds[layer.kind], a, x), values)
    return r.b.unary("affine", y, None, alpha=1 / len(values), beta=0.0) if layer.kind == "Average" else y


def concatenate(r: Reading, layer: Layer, values: Sequence[Sym], axis: int) -> Sym:
    axis = values[0].axis(axis)
    shapes = ", ".join(str(x.shape) for x in values)
    if len({(*x.shape[:axis], *x.shape[axis + 1 :]) for x in values}) != 1 or len({x.ndim for x in values}) != 1:
        raise FileFormatError(f"{layer}: values of shapes {shapes} cannot be joined along axis {axis}")
    if axis == 0 or any(r.is_time(x, axis) for x in values):
        raise UnsupportedError(f"{layer}: joins values along the {'time' if axis else 'batch'} axis; expected an axis of features")
    return r.b.concat(values, axis)


@lowers("Concatenate")
def _concatenate(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    return concatenate(r, layer, many(layer, args), layer.integer("axis", -1))


# -- shape ---------------------------------------------------------------------------------------------


@lowers("Flatten")
def _flatten(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    x = one(layer, args)
    _refuse_several_frames(r, layer, x, "joins all timesteps into one vector")
    if layer.get("data_format", None) == "channels_first" and x.ndim > 2:
        x = r.b.permute(x, [0, *range(2, x.ndim), 1])
    return r.b.reshape(x, (1, math.prod(x.shape[1:])))


@lowers("Reshape")
def _reshape(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    x, target = one(layer, args), layer.integers("target_shape")
    origin = x.origin[1] if x.ndim > 1 else None
    if r.is_time(x) and frames_of(r, x) != 1:
        frames, rest = frames_of(r, x), target[1:]
        if math.prod(rest) != math.prod(x.shape[2:]) or not target or target[0] not in (-1, frames):
            raise UnsupportedError(
                f"{layer}: takes frames of shape {x.shape[2:]} to target_shape {tuple(target)}, which is not a shape for each "
                "timestep; expected the time axis to be kept, (-1, ..)"
            )
        return r.b.reshape(x, (1, 1, *rest), (None, origin, *[None] * len(rest)))
    known = math.prod(d for d in target if d != -1)
    if -1 in target and known > 0:
        target = [math.prod(x.shape[1:]) // known if d == -1 else d for d in target]
    if math.prod(target) != math.prod(x.shape[1:]) or min(target, default=1) < 1:
        raise FileFormatError(f"{layer}: target_shape {tuple(target)} does not fit a value of shape {x.shape[1:]}")
    keeps = len(target) > 1 and x.ndim > 2 and target[0] == x.shape[1]
    return r.b.reshape(x, (1, *target), (None, origin, *[None] * (len(target) - 1)) if keeps else None)


def frames_of(r: Reading, x: Sym) -> int | None:
    """How many timesteps the file's sequences have on axis 1 of `x`; None where it does not say."""
    origin = x.origin[1]
    if origin is None or origin in r.b.dynamic_axes:
        return None
    return r.b.rebound.get(origin, 1)


def _refuse_several_frames(r: Reading, layer: Layer, x: Sym, what: str) -> None:
    if r.is_time(x) and frames_of(r, x) != 1:
        frames = frames_of(r, x)
        many_frames = f"the file's {frames} timesteps" if frames else "timesteps of any number"
        raise UnsupportedError(
            f"{layer}: {what} ({many_frames}); expected a network that gives its output from one timestep and the state, such as a "
            "recurrent layer with return_sequences=False in front of it"
        )


@lowers("Permute")
def _permute(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    x, dims = one(layer, args), layer.integers("dims")
    if sorted(dims) != list(range(1, x.ndim)):
        raise layer.bad("dims", f"an order of {list(range(1, x.ndim))}", dims)
    return r.b.permute(x, [0, *dims])


@lowers("Cropping1D", "ZeroPadding1D")
def _pad(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    x = one(layer, args)
    sign, key = (-1, "cropping") if layer.kind == "Cropping1D" else (1, "padding")
    begin, end = (sign * n for n in layer.integers(key, 2))
    if sign * begin < 0 or sign * end < 0 or x.ndim != 3:
        raise layer.bad(key, "two numbers that are not negative, on a value of rank 3", [begin, end])
    return r.b.pad(x, [(0, 0), (begin, end), (0, 0)])


@lowers("TimeDistributed")
def _time_distributed(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    """The layer inside on each frame; several frames within one step are taken one after another."""
    x, inner = one(layer, args), layer.children["layer"]
    if inner.kind in _ALIKE and x.ndim >= 3:
        return r.call(inner, [x], keywords)[0]
    if x.ndim < 3:
        raise FileFormatError(f"{layer}: called with a value of shape {x.shape}; expected (batch, time, ..)")
    if x.shape[1] > _MAX_FRAMES:
        raise UnsupportedError(f"{layer}: {x.shape[1]} frames in one step; expected at most {_MAX_FRAMES}")
    ys = []
    for t in range(x.shape[1]):
        frame = r.b.slice(x, 1, t, t + 1)
        (y,) = r.call(inner, [r.b.reshape(frame, (1, *x.shape[2:]), (None, *x.origin[2:]))], keywords)
        ys.append(r.b.unsqueeze(y, [1]))
    y = r.b.concat(ys, 1)
    return replace(y, origin=(None, x.origin[1], *y.origin[2:]))


# -- pooling over everything ---------------------------------------------------------------------------


@lowers("GlobalAveragePooling1D", "GlobalMaxPooling1D", "GlobalAveragePooling2D", "GlobalMaxPooling2D")
@lowers("GlobalAvgPool1D", "GlobalMaxPool1D", "GlobalAvgPool2D", "GlobalMaxPool2D")
def _global_pooling(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    x = one(layer, args)
    first = layer.get("data_format", None) == "channels_first"
    if x.ndim != (4 if "2D" in layer.kind else 3):
        raise FileFormatError(f"{layer}: called with a value of shape {x.shape}")
    axes = list(range(2, x.ndim)) if first else list(range(1, x.ndim - 1))
    for axis in axes:
        if r.is_time(x, axis):
            refuse_time(r, layer, x, "pooling")
    return r.b.reduce("reduce_max" if "Max" in layer.kind else "reduce_mean", x, axes, layer.flag("keepdims", False))
