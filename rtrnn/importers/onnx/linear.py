"""Matrix products, normalisations and reductions."""

from __future__ import annotations

import math

import numpy as np

from rtrnn.errors import UnsupportedError
from rtrnn.importers.builder import Sym
from rtrnn.importers.onnx.registry import Call, op

__all__: list[str] = []


@op("Gemm")
def gemm(call: Call) -> Sym:
    b = call.b
    a, w, c = call.x(0), call.x(1), call.opt(2)
    alpha, beta = float(call.attr("alpha", 1.0)), float(call.attr("beta", 1.0))
    if a.ndim != 2 or w.ndim != 2:
        raise UnsupportedError(f"operands of shapes {a.shape} and {w.shape}; expected two matrices")
    if call.attr("transA", 0):
        a = b.permute(a, [1, 0])
    if call.attr("transB", 0):
        w = b.permute(w, [1, 0])
    if w.const is None or a.const is not None:
        y = b.matmul(a, w)
        y = y if alpha == 1 else b.binary("mul", y, b.const(alpha, np.float32))
        return y if c is None or beta == 0 else b.binary("add", y, _scaled(call, c, beta))
    weight = w.const.T if alpha == 1 else w.const.T * alpha
    if c is None or beta == 0:
        return b.linear(a, weight)
    if c.const is not None and c.shape[-1:] in ((), (1,), weight.shape[:1]) and math.prod(c.shape[:-1]) == 1:
        bias = np.broadcast_to(c.const.reshape(c.shape[-1:]) * beta, weight.shape[:1])
        return b.linear(a, weight, bias)
    return b.binary("add", b.linear(a, weight), _scaled(call, c, beta))


def _scaled(call: Call, c: Sym, beta: float) -> Sym:
    return c if beta == 1 else call.b.binary("mul", c, call.b.const(beta, np.float32))


@op("MatMul")
def matmul(call: Call) -> Sym:
    return call.b.matmul(call.x(0), call.x(1))


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
def layer_normalization(call: Call) -> Sym:
    x = call.x()
    axis = x.axis(int(call.attr("axis", -1)))
    weight, bias = call.const(1, "scale"), call.opt_const(2, "bias")
    weight = np.broadcast_to(weight, x.shape[axis:])
    bias = None if bias is None else np.broadcast_to(bias, x.shape[axis:])
    return call.b.layer_norm(x, weight, bias, float(call.attr("epsilon", 1e-5)), axis)


@op("RMSNormalization")
def rms_normalization(call: Call) -> Sym:
    b, x = call.b, call.x()
    axes = list(range(x.axis(int(call.attr("axis", -1))), x.ndim))
    power = b.reduce("reduce_mean", b.binary("mul", x, x), axes, True)
    power = b.binary("add", power, b.const(call.attr("epsilon", 1e-5), np.float32))
    return b.binary("mul", b.binary("div", x, b.unary("sqrt", power, np.sqrt)), call.x(1))


@op("BatchNormalization")
def batch_normalization(call: Call) -> Sym:
    """Inference: one scale and one shift per channel (axis 1)."""
    b, x = call.b, call.x()
    if call.attr("training_mode", 0):
        raise UnsupportedError("training_mode is 1; expected a network exported for inference")
    roles = ("scale", "bias", "mean", "variance")
    scale, bias, mean, variance = (call.const(i, r).astype(np.float64) for i, r in enumerate(roles, 1))
    scale = scale / np.sqrt(variance + float(call.attr("epsilon", 1e-5)))
    shape = (-1, *(1,) * (x.ndim - 2)) if x.ndim > 1 else (-1,)
    y = b.binary("mul", x, b.const(scale.reshape(shape), np.float32))
    return b.binary("add", y, b.const((bias - mean * scale).reshape(shape), np.float32))


@op("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceProd")
def reduce_(call: Call) -> Sym:
    b, x = call.b, call.x()
    axes, keepdims = call.ints("axes", 1), bool(call.attr("keepdims", 1))
    if not axes:
        if call.attr("noop_with_empty_axes", 0):
            return x
        axes = None
    kind = call.op_type.removeprefix("Reduce")
    if kind == "Prod":
        over = None if axes is None else tuple(axes)
        return b.const(np.asarray(np.prod(call.const(0, "operand"), axis=over, keepdims=keepdims)))
    if kind == "L1":
        x = b.unary("abs", x, np.abs)
    elif kind in ("L2", "SumSquare"):
        x = b.binary("mul", x, x)
    names = {"Mean": "reduce_mean", "Max": "reduce_max", "Min": "reduce_min"}
    y = b.reduce(names.get(kind, "reduce_sum"), x, axes, keepdims)
    return b.unary("sqrt", y, np.sqrt) if kind == "L2" else y
