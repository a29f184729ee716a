"""Matrix products."""

from __future__ import annotations

import math

import numpy as np

from rtrnn.errors import UnsupportedError
from rtrnn.importers.builder import Sym
from rtrnn.importers.einsum import einsum
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


@op("Einsum")
def einsum_(call: Call) -> Sym:
    return einsum(call.b, str(call.attr("equation", "")), call.all())
