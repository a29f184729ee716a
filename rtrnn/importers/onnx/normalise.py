"""Normalisations and softmax, for inference."""

from __future__ import annotations

import math

import numpy as np

from rtrnn.errors import FileFormatError, UnsupportedError
from rtrnn.importers.builder import Sym
from rtrnn.importers.onnx.registry import Call, op

__all__ = ["refuse_over_time"]


@op("Softmax", "LogSoftmax")
def softmax(call: Call) -> Sym:
    b, x = call.b, call.x()
    function = b.softmax if call.op_type == "Softmax" else b.log_softmax
    if call.opset >= 13:
        return function(x, int(call.attr("axis", -1)))
    # Up to operator set 12 all axes from `axis` on count as one.
    axis = x.axis(int(call.attr("axis", 1)))
    flat = b.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))
    return b.reshape(function(flat, -1), x.shape)


@op("LayerNormalization")
def layer_normalization(call: Call) -> list[Sym]:
    b, x = call.b, call.x()
    axis = x.axis(int(call.attr("axis", -1)))
    refuse_over_time(call, x, range(axis, x.ndim))
    weight, bias = call.const(1, "scale"), call.opt_const(2, "bias")
    weight = np.broadcast_to(weight, x.shape[axis:])
    bias = None if bias is None else np.broadcast_to(bias, x.shape[axis:])
    eps = float(call.attr("epsilon", 1e-5))
    y = b.layer_norm(x, weight, bias, eps, axis)
    if call.num_outputs == 1:
        return [y]
    axes = list(range(axis, x.ndim))
    mean = b.reduce("reduce_mean", x, axes, True)
    apart = b.binary("sub", x, mean)
    variance = b.reduce("reduce_mean", b.binary("mul", apart, apart), axes, True)
    deviation = b.unary("sqrt", b.binary("add", variance, b.const(eps, np.float32)), np.sqrt)
    return [y, mean, b.unary("reciprocal", deviation, np.reciprocal)]


@op("RMSNormalization", "SimplifiedLayerNormalization")
def rms_normalization(call: Call) -> Sym:
    b, x = call.b, call.x()
    axes = list(range(x.axis(int(call.attr("axis", -1))), x.ndim))
    refuse_over_time(call, x, axes)
    power = b.reduce("reduce_mean", b.binary("mul", x, x), axes, True)
    power = b.binary("add", power, b.const(call.attr("epsilon", 1e-5), np.float32))
    return b.binary("mul", b.binary("div", x, b.unary("sqrt", power, np.sqrt)), call.x(1))


@op("InstanceNormalization")
def instance_normalization(call: Call) -> Sym:
    x = call.x()
    if x.ndim < 3:
        raise UnsupportedError(f"an input of shape {x.shape}; expected (batch, channels, axes to normalise over..)")
    return _by_groups(call, x, x.shape[1], float(call.attr("epsilon", 1e-5)))


@op("GroupNormalization")
def group_normalization(call: Call) -> Sym:
    x, groups = call.x(), int(call.attr("num_groups", 0))
    if x.ndim < 2 or groups < 1 or x.shape[1] % groups:
        raise FileFormatError(
            f"GroupNormalization node {call.name!r}: num_groups is {groups} for an input of shape {x.shape}; expected a "
            "divisor of the channels (axis 1)"
        )
    return _by_groups(call, x, groups, float(call.attr("epsilon", 1e-5)))


def _by_groups(call: Call, x: Sym, groups: int, eps: float) -> Sym:
    """Normalises each group of channels, then one scale and bias for each channel or (operator set 18) for each group."""
    b, channels = call.b, x.shape[1]
    refuse_over_time(call, x, range(2, x.ndim))
    shape = (x.shape[0], groups, math.prod(x.shape[1:]) // groups)
    y = b.reshape(b.layer_norm(b.reshape(x, shape), None, None, eps), x.shape, x.origin)
    for i, (role, function) in enumerate((("scale", "mul"), ("bias", "add")), 1):
        values = call.const(i, role).ravel()
        if values.size not in (channels, groups):
            raise FileFormatError(
                f"{call.op_type} node {call.name!r}: its {role} has {values.size} elements; expected one for each of "
                f"{channels} channels"
            )
        values = np.repeat(values, channels // values.size).reshape(channels, *(1,) * (x.ndim - 2))
        y = b.binary(function, y, b.const(values, np.float32))
    return y


@op("MeanVarianceNormalization")
def mean_variance_normalization(call: Call) -> Sym:
    b, x = call.b, call.x()
    axes = [x.axis(int(a)) for a in call.attr("axes", [0, 2, 3])]
    refuse_over_time(call, x, [a for a in axes if a != 0])
    apart = b.binary("sub", x, b.reduce("reduce_mean", x, axes, True))
    variance = b.reduce("reduce_mean", b.binary("mul", apart, apart), axes, True)
    # The definition of the operator adds this to the deviation.
    return b.binary("div", apart, b.binary("add", b.unary("sqrt", variance, np.sqrt), b.const(1e-9, np.float32)))


@op("LpNormalization")
def lp_normalization(call: Call) -> Sym:
    b, x, p = call.b, call.x(), int(call.attr("p", 2))
    axis = x.axis(int(call.attr("axis", -1)))
    refuse_over_time(call, x, [axis])
    if p not in (1, 2):
        raise FileFormatError(f"LpNormalization node {call.name!r}: p is {p}; expected 1 or 2")
    powers = b.unary("abs", x, np.abs) if p == 1 else b.binary("mul", x, x)
    norm = b.reduce("reduce_sum", powers, [axis], True)
    norm = norm if p == 1 else b.unary("sqrt", norm, np.sqrt)
    # A vector of zeros stays zero.
    return b.binary("div", x, b.binary("max", norm, b.const(np.finfo(np.float32).tiny)))


@op("BatchNormalization")
def batch_normalization(call: Call) -> Sym:
    """Inference: one scale and one shift per channel (axis 1)."""
    b, x = call.b, call.x()
    if call.attr("training_mode", 0) or (call.opset < 7 and not call.attr("is_test", 0)):
        raise UnsupportedError("training_mode is 1; expected a network exported for inference: call eval() before the export")
    if not call.attr("spatial", 1):
        raise UnsupportedError("spatial is 0; expected statistics for each channel (axis 1)")
    roles = ("scale", "bias", "mean", "variance")
    scale, bias, mean, variance = (call.const(i, role) for i, role in enumerate(roles, 1))
    return b.batch_norm(x, scale, bias, mean, variance, float(call.attr("epsilon", 1e-5)), min(1, x.ndim - 1))


def refuse_over_time(call: Call, x: Sym, axes: range | list[int]) -> None:
    """Statistics over a time axis would be those of one timestep alone."""
    steady = call.b.time_axes | call.b.dynamic_axes
    over = [a for a in axes if x.shape[a] == 1 and x.origin[a] in steady]
    if over:
        name, axis = x.origin[over[0]]  # type: ignore[misc]
        raise UnsupportedError(
            f"it takes in all of axis {axis} of input {name!r}, which is not fixed: over time, a stream has no later values. "
            f"If that axis lies within one timestep, fix its size with input_shapes={{{name!r}: (...)}}"
        )
