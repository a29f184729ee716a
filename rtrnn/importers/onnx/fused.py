"""Operators of onnxruntime's own domain, which its optimiser writes in place of several of ONNX (ContribOperators.md)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rtrnn.errors import UnsupportedError
from rtrnn.importers.builder import Sym
from rtrnn.importers.onnx.registry import OPS, Call, op

__all__: list[str] = []

#: Activations of FusedConv and FusedGemm -> the names of their parameters, in the order of `activation_params`.
_PARAMETERS: dict[str, tuple[str, ...]] = {
    "Relu": (),
    "Tanh": (),
    "Sigmoid": (),
    "LeakyRelu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
}


def _as(call: Call, kind: str, **changes: object) -> Sym:
    """What the ONNX operator `kind` makes of the same node."""
    found = OPS[kind](replace(call, op_type=kind, num_outputs=1, **changes))  # type: ignore[arg-type]
    return found[0] if isinstance(found, list) else found


def _activated(call: Call, y: Sym, kind: str, values: list[float]) -> Sym:
    if not kind:
        return y
    if kind not in _PARAMETERS or len(values) not in (0, len(_PARAMETERS[kind])):
        raise UnsupportedError(f"activation {kind!r} with parameters {values}; expected one of {', '.join(_PARAMETERS)}")
    return _as(call, kind, inputs=[y], attributes=dict(zip(_PARAMETERS[kind], values, strict=False)))


@op("com.microsoft::FusedConv")
def fused_conv(call: Call) -> Sym:
    """A convolution, perhaps the sum with another value (operand 3), and an activation."""
    y = _as(call, "Conv", inputs=call.inputs[:3])
    added = call.opt(3)
    if added is not None:
        y = call.b.binary("add", y, added)
    return _activated(call, y, str(call.attr("activation", "")), [float(v) for v in call.attr("activation_params") or ()])


@op("com.microsoft::FusedGemm")
def fused_gemm(call: Call) -> Sym:
    names = ("activation_alpha", "activation_beta", "activation_gamma")
    values = [float(call.attr(name)) for name in names if name in call.attributes]
    return _activated(call, _as(call, "Gemm"), str(call.attr("activation", "")), values)


@op("com.microsoft::FusedMatMul")
def fused_matmul(call: Call) -> Sym:
    """A matrix product of transposed operands, times `alpha`; with transBatch the rows are the first axis, before the batch's."""
    b, operands = call.b, [call.x(0), call.x(1)]
    for i, side in enumerate("AB"):
        rank = operands[i].ndim
        if call.attr(f"transBatch{side}", 0) and rank > 2:
            operands[i] = b.permute(operands[i], [*range(1, rank - 1), 0, rank - 1])
        if call.attr(f"trans{side}", 0) and rank > 1:
            operands[i] = b.permute(operands[i], [*range(rank - 2), rank - 1, rank - 2])
    y, alpha = b.matmul(*operands), float(call.attr("alpha", 1.0))
    return y if alpha == 1 else b.binary("mul", y, b.const(alpha, np.float32))


@op("com.microsoft::QuickGelu")
def quick_gelu(call: Call) -> Sym:
    """``x sigmoid(alpha x)``."""
    return call.b.unary("silu", call.x(), None, alpha=float(call.attr("alpha", 1.702)))


@op("com.microsoft::BiasGelu")
def bias_gelu(call: Call) -> Sym:
    return call.b.unary("gelu", call.b.binary("add", call.x(0), call.x(1)))


@op("com.microsoft::FastGelu")
def fast_gelu(call: Call) -> Sym:
    bias = call.opt(1)
    return call.b.unary("gelu_tanh", call.x() if bias is None else call.b.binary("add", call.x(), bias))


@op("com.microsoft::SkipLayerNormalization")
def skip_layer_normalization(call: Call) -> list[Sym]:
    """Operands x, skip, gamma, beta, bias; outputs the normalised sum, two that inference leaves empty, and the sum."""
    b = call.b
    total, bias = b.binary("add", call.x(0), call.x(1)), call.opt(4)
    if bias is not None:
        total = b.binary("add", total, bias)
    beta = call.opt_const(3, "beta")
    y = b.layer_norm(total, call.const(2, "gamma"), beta, float(call.attr("epsilon", 1e-12)))
    empty = b.const(np.zeros(0, np.float32))
    return [y, empty, empty, total]
