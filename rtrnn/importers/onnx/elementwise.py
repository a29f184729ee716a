"""Arithmetic and activation functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import reduce

import numpy as np

from rtrnn.errors import UnsupportedError
from rtrnn.importers.builder import Sym
from rtrnn.importers.divisor import check_divisor
from rtrnn.importers.onnx.registry import OPS, Call, op

__all__: list[str] = []

# Graph function and how a constant operand is folded.
_UNARY: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray] | None]] = {
    "Neg": ("neg", np.negative),
    "Abs": ("abs", np.abs),
    "Sqrt": ("sqrt", np.sqrt),
    "Exp": ("exp", np.exp),
    "Log": ("log", np.log),
    "Reciprocal": ("reciprocal", np.reciprocal),
    "Sign": ("sign", np.sign),
    "Floor": ("floor", np.floor),
    "Ceil": ("ceil", np.ceil),
    "Erf": ("erf", None),
    "Relu": ("relu", lambda x: np.maximum(x, 0)),
    "Sigmoid": ("sigmoid", None),
    "Tanh": ("tanh", np.tanh),
    "Softplus": ("softplus", None),
    "Softsign": ("softsign", None),
    "HardSwish": ("hard_swish", None),
    "Mish": ("mish", None),
}

# Graph function; per parameter (alpha, then beta) the operator's attribute and its default.
_PARAMETRIC: dict[str, tuple[str, list[tuple[str, float]]]] = {
    "LeakyRelu": ("leaky_relu", [("alpha", 0.01)]),
    "Elu": ("elu", [("alpha", 1.0)]),
    "Selu": ("selu", [("alpha", 1.67326319217681884765625), ("gamma", 1.05070102214813232421875)]),
    "Celu": ("celu", [("alpha", 1.0)]),
    "HardSigmoid": ("hard_sigmoid", [("alpha", 0.2), ("beta", 0.5)]),
    "ThresholdedRelu": ("thresholded_relu", [("alpha", 1.0)]),
    "Swish": ("silu", [("alpha", 1.0)]),
}

_BINARY = {"Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div"}

_VARIADIC = {"Min": "min", "Max": "max", "Sum": "add"}


def _unary(call: Call) -> Sym:
    name, fold = _UNARY[call.op_type]
    x = call.x()
    if name == "log" and x.name is not None and x.frames is None:
        made = next((node for node in reversed(call.b.draft.nodes) if x.name in node.outputs), None)
        if made is not None and made.op == "sigmoid":
            # As -softplus(-x): where the sigmoid is nearly 0 its logarithm has no digits left.
            before = replace(x, name=made.inputs[0])
            return call.b.unary("neg", call.b.unary("softplus", call.b.unary("neg", before)))
    return call.b.unary(name, x, fold)


def _parametric(call: Call) -> Sym:
    name, parameters = _PARAMETRIC[call.op_type]
    values = {k: float(call.attr(a, d)) for k, (a, d) in zip(("alpha", "beta"), parameters, strict=False)}
    return call.b.unary(name, call.x(), None, **values)


def _old_broadcast(call: Call) -> Sym:
    """Before operator set 7 the second operand's axes were placed by the attribute `axis`."""
    a, b = call.x(0), call.x(1)
    if call.opset < 7 and call.attr("broadcast", 0) and "axis" in call.attributes:
        tail = a.ndim - a.axis(int(call.attr("axis"))) - b.ndim
        return call.b.reshape(b, (*b.shape, *(1,) * tail))
    return b


def _binary(call: Call) -> Sym:
    if call.op_type == "Div":
        name = f"{call.operand(1)} "
        check_divisor(call.b, call.x(0), call.x(1), name, f"{call.op_type} node {call.name!r}")
    return call.b.binary(_BINARY[call.op_type], call.x(0), _old_broadcast(call))


def _variadic(call: Call) -> Sym:
    return reduce(lambda a, b: call.b.binary(_VARIADIC[call.op_type], a, b), call.all())


for _names, _lowering in (
    (_UNARY, _unary),
    (_PARAMETRIC, _parametric),
    (_BINARY, _binary),
    (_VARIADIC, _variadic),
):
    OPS.update(dict.fromkeys(_names, _lowering))


@op("Mean")
def mean(call: Call) -> Sym:
    xs = call.all()
    total = reduce(lambda a, b: call.b.binary("add", a, b), xs)
    return call.b.binary("mul", total, call.b.const(1 / len(xs), np.float32))


@op("Pow")
def power(call: Call) -> Sym:
    x, exponent = call.x(0), _old_broadcast(call)
    if x.const is None and exponent.const is not None and exponent.size == 1 and exponent.ndim <= x.ndim:
        value = float(exponent.const.reshape(()))
        if value == 1:
            return x
        if value == 2:
            return call.b.binary("mul", x, x)
        if value == 0.5:
            return call.b.unary("sqrt", x)
    return call.b.binary("pow", x, exponent)


@op("Clip")
def clip(call: Call) -> Sym:
    if call.opset < 11:
        bounds = [None if call.attr(n) is None else call.b.const(call.attr(n), np.float32) for n in ("min", "max")]
    else:
        bounds = [call.opt(1), call.opt(2)]
    x, (low, high) = call.x(), bounds
    given = [b for b in bounds if b is not None]
    if x.const is None and given and all(b.const is not None and b.size == 1 for b in given):
        pairs = zip(("alpha", "beta"), bounds, strict=True)
        limits = {k: float(np.reshape(bound.const, ())) for k, bound in pairs if bound is not None}  # type: ignore[arg-type]
        return call.b.unary("clip", x, None, **limits)
    if low is not None:
        x = call.b.binary("max", x, low)
    if high is not None:
        x = call.b.binary("min", x, high)
    return x


@op("PRelu")
def prelu(call: Call) -> Sym:
    x, slope = call.x(0), call.x(1)
    if call.opset < 7 and slope.ndim == 1 and slope.size > 1:
        # One slope for each channel (axis 1).
        slope = call.b.reshape(slope, (slope.size, *(1,) * (x.ndim - 2)))
    if slope.const is not None and slope.size == 1:
        return call.b.unary("leaky_relu", x, alpha=float(slope.const.reshape(())))
    negative = call.b.binary("min", x, call.b.const(0, np.float32))
    return call.b.binary("add", call.b.unary("relu", x), call.b.binary("mul", negative, slope))


@op("Round")
def round_(call: Call) -> Sym:
    """To the nearest whole number, halves to the even one."""
    b, x = call.b, call.x()
    if x.const is not None:
        return b.const(np.rint(x.const))
    half, two = b.const(0.5, np.float32), b.const(2, np.float32)
    shifted = b.binary("add", x, half)
    up = b.unary("floor", shifted)
    # 1 where x lies between two whole numbers, of which `up` is the higher; taken back where that one is odd.
    tie = b.binary("sub", b.const(1, np.float32), b.unary("sign", b.binary("sub", shifted, up)))
    odd = b.binary("sub", up, b.binary("mul", two, b.unary("floor", b.binary("mul", up, half))))
    return b.binary("sub", up, b.binary("mul", tie, odd))


@op("Shrink")
def shrink(call: Call) -> Sym:
    b, x = call.b, call.x()
    bias, bound = float(call.attr("bias", 0.0)), float(call.attr("lambd", 0.5))
    if x.const is not None:
        moved = np.where(x.const > bound, x.const - bias, np.where(x.const < -bound, x.const + bias, 0))
        return b.const(moved, x.const.dtype)
    parts = []
    for name, sign in (("above", 1.0), ("below", -1.0)):
        # 1 where sign * x > lambd
        beyond = b.unary("relu", b.unary("sign", b.unary("affine", x, alpha=sign, beta=-bound)))
        moved_x = b.unary("affine", x, alpha=1.0, beta=-sign * bias)
        b.hint = f"{call.name}.{name}"
        parts.append(b.binary("mul", beyond, moved_x))
    return b.binary("add", *parts)


@op("Gelu", "com.microsoft::Gelu")
def gelu(call: Call) -> Sym:
    approximate = call.attr("approximate", "none")
    if approximate not in ("none", "tanh"):
        raise UnsupportedError(f"approximate={approximate!r}; expected 'none' or 'tanh'")
    return call.b.unary("gelu" if approximate == "none" else "gelu_tanh", call.x())
