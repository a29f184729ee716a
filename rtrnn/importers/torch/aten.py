"""Lowerings of aten's arithmetic, activations and products; see :mod:`rtrnn.importers.torch.registry`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rtrnn.errors import UnsupportedError
from rtrnn.importers.builder import Builder, Sym
from rtrnn.importers.divisor import check_divisor
from rtrnn.importers.torch.registry import Lowering, constant, lowers


def _sym(b: Builder, x: Any) -> Sym:
    return x if isinstance(x, Sym) else b.const(x)


# -- arithmetic ----------------------------------------------------------------------------------------


def _scaled(b: Builder, x: Any, alpha: Any) -> Sym:
    x = _sym(b, x)
    return x if alpha == 1 else b.binary("mul", x, b.const(float(alpha)))


@lowers("add")
def _add(b: Builder, x: Sym, other: Any, alpha: Any = 1) -> Sym:
    return b.binary("add", _sym(b, x), _scaled(b, other, alpha))


@lowers("sub", "subtract")
def _sub(b: Builder, x: Sym, other: Any, alpha: Any = 1) -> Sym:
    return b.binary("sub", _sym(b, x), _scaled(b, other, alpha))


@lowers("rsub")
def _rsub(b: Builder, x: Sym, other: Any, alpha: Any = 1) -> Sym:
    return b.binary("sub", _sym(b, other), _scaled(b, x, alpha))


@lowers("mul", "multiply")
def _mul(b: Builder, x: Sym, other: Any) -> Sym:
    return b.binary("mul", _sym(b, x), _sym(b, other))


@lowers("div", "divide", "true_divide")
def _div(b: Builder, x: Sym, other: Any, rounding_mode: str | None = None) -> Sym:
    x, other = _sym(b, x), _sym(b, other)
    if other.const is not None:
        # An integer constant would make NumPy's division of two constants an integer one.
        other = b.const(other.const, np.float64)
        check_divisor(b, x, other, "", f"aten::div in {b.hint!r}" if b.hint != "div" else "aten::div")
    y = b.binary("div", x, other)
    if rounding_mode == "floor":
        return b.unary("floor", y)
    if rounding_mode is not None:
        raise UnsupportedError(f"rounding_mode {rounding_mode!r}: expected None or 'floor'")
    return y


@lowers("minimum")
def _minimum(b: Builder, x: Sym, other: Any) -> Sym:
    return b.binary("min", _sym(b, x), _sym(b, other))


@lowers("maximum")
def _maximum(b: Builder, x: Sym, other: Any) -> Sym:
    return b.binary("max", _sym(b, x), _sym(b, other))


@lowers("pow")
def _pow(b: Builder, x: Any, exponent: Any) -> Sym:
    if not isinstance(exponent, Sym) and exponent in (2, 0.5, -1, 1):
        powers: dict[float, Callable[[], Sym]] = {
            2: lambda: b.binary("mul", x, x),
            0.5: lambda: b.unary("sqrt", x),
            -1: lambda: b.unary("reciprocal", x),
            1: lambda: x,
        }
        return powers[exponent]()
    return b.binary("pow", _sym(b, x), _sym(b, exponent))


@lowers("square")
def _square(b: Builder, x: Sym) -> Sym:
    return b.binary("mul", x, x)


@lowers("rsqrt")
def _rsqrt(b: Builder, x: Sym) -> Sym:
    return b.unary("reciprocal", b.unary("sqrt", x))


@lowers("lerp")
def _lerp(b: Builder, x: Sym, end: Sym, weight: Any) -> Sym:
    return b.binary("add", x, b.binary("mul", _sym(b, weight), b.binary("sub", end, x)))


@lowers("addcmul")
def _addcmul(b: Builder, x: Sym, tensor1: Sym, tensor2: Sym, value: Any = 1) -> Sym:
    return b.binary("add", x, _scaled(b, b.binary("mul", tensor1, tensor2), value))


@lowers("addcdiv")
def _addcdiv(b: Builder, x: Sym, tensor1: Sym, tensor2: Sym, value: Any = 1) -> Sym:
    return b.binary("add", x, _scaled(b, _div(b, tensor1, tensor2), value))


@lowers("clamp", "clip", "clamp_min", "clamp_max", "hardtanh")
def _clamp(b: Builder, x: Sym, min: Any = None, max: Any = None, min_val: Any = None, max_val: Any = None) -> Sym:
    low, high = min if min is not None else min_val, max if max is not None else max_val
    if isinstance(low, Sym) or isinstance(high, Sym):
        x = x if low is None else b.binary("max", x, _sym(b, low))
        return x if high is None else b.binary("min", x, _sym(b, high))
    bounds = {"alpha": low, "beta": high}
    return b.unary("clip", x, None, **{key: float(bound) for key, bound in bounds.items() if bound is not None})


@lowers("fill")
def _fill(b: Builder, x: Sym, value: Any) -> Sym:
    return b.expand(_sym(b, value), x.shape)


@lowers("full_like")
def _full_like(b: Builder, x: Sym, fill_value: Any) -> Sym:
    return b.const(np.full(x.shape, fill_value, np.float32))


@lowers("zero", "zeros_like", "new_zeros", "empty_like", "new_empty")
def _zeros(b: Builder, x: Sym, size: Any = None) -> Sym:
    return b.const(np.zeros(x.shape if size is None else size, np.float32))


@lowers("ones_like", "new_ones")
def _ones(b: Builder, x: Sym, size: Any = None) -> Sym:
    return b.const(np.ones(x.shape if size is None else size, np.float32))


@lowers("new_full")
def _new_full(b: Builder, x: Sym, size: Any, fill_value: Any) -> Sym:
    return b.const(np.full(size, fill_value, np.float32))


# -- elementwise functions -----------------------------------------------------------------------------


def _register_unary(names: str, op: str, **attributes: float) -> None:
    def lowering(b: Builder, x: Sym) -> Sym:
        return b.unary(op, x, None, **attributes)

    lowers(*names.split())(lowering)


for _names, _op in {
    "neg negative": "neg",
    "abs absolute": "abs",
    "sqrt": "sqrt",
    "exp": "exp",
    "log": "log",
    "reciprocal": "reciprocal",
    "sign sgn": "sign",
    "erf special_erf": "erf",
    "floor": "floor",
    "ceil": "ceil",
    "relu": "relu",
    "selu": "selu",
    "sigmoid special_expit": "sigmoid",
    "tanh": "tanh",
    "silu": "silu",
    "mish": "mish",
    "hardswish": "hard_swish",
    "softsign": "softsign",
}.items():
    _register_unary(_names, _op)
_register_unary("relu6", "clip", alpha=0.0, beta=6.0)
_register_unary("hardsigmoid", "hard_sigmoid", alpha=1 / 6, beta=0.5)


@lowers("log2")
def _log2(b: Builder, x: Sym) -> Sym:
    return b.unary("affine", b.unary("log", x), alpha=float(1 / np.log(2)), beta=0.0)


@lowers("leaky_relu")
def _leaky_relu(b: Builder, x: Sym, negative_slope: float = 0.01) -> Sym:
    return b.unary("leaky_relu", x, alpha=float(negative_slope))


@lowers("elu")
def _elu(b: Builder, x: Sym, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Sym:
    if input_scale != 1:
        raise UnsupportedError(f"input_scale {input_scale}: expected 1")
    if scale != 1:
        return b.unary("selu", x, alpha=float(alpha), beta=float(scale))
    return b.unary("elu", x, alpha=float(alpha))


@lowers("celu")
def _celu(b: Builder, x: Sym, alpha: float = 1) -> Sym:
    return b.unary("celu", x, alpha=float(alpha))


@lowers("softplus")
def _softplus(b: Builder, x: Sym, beta: float = 1, threshold: float = 20) -> Sym:
    return b.unary("softplus", x, alpha=float(beta), beta=float(threshold))


@lowers("log_sigmoid")
def _log_sigmoid(b: Builder, x: Sym) -> Sym:
    return b.unary("neg", b.unary("softplus", b.unary("neg", x), alpha=1.0, beta=float("inf")))


@lowers("gelu")
def _gelu(b: Builder, x: Sym, approximate: str = "none") -> Sym:
    return b.unary("gelu" if approximate == "none" else "gelu_tanh", x)


@lowers("threshold")
def _threshold(b: Builder, x: Sym, threshold: float, value: float) -> Sym:
    if value != 0:
        raise UnsupportedError(f"value {value}: expected 0")
    return b.unary("thresholded_relu", x, alpha=float(threshold))


@lowers("prelu", "_prelu_kernel")
def _prelu(b: Builder, x: Sym, weight: Sym) -> Sym:
    slope = constant(weight, "the weight")
    assert slope is not None
    if slope.size == 1:
        return b.unary("leaky_relu", x, alpha=float(slope.reshape(())))
    shape = [1] * x.ndim
    shape[1 if x.ndim > 1 else 0] = slope.size
    negative = b.unary("clip", x, beta=0.0)
    return b.binary("add", b.unary("relu", x), b.binary("mul", negative, b.const(slope.reshape(shape))))


@lowers("glu")
def _glu(b: Builder, x: Sym, dim: int = -1) -> Sym:
    axis = x.axis(dim)
    half = x.shape[axis] // 2
    a, gate = b.split(x, axis, [half, half])
    return b.binary("mul", a, b.unary("sigmoid", gate))


# -- reductions and normalisation ----------------------------------------------------------------------


def _axes(dim: Any) -> list[int] | None:
    if dim is None or (isinstance(dim, (list, tuple)) and len(dim) == 0):
        return None
    return list(dim) if isinstance(dim, (list, tuple)) else [dim]


@lowers("sum")
def _sum(b: Builder, x: Sym, dim: Any = None, keepdim: bool = False) -> Sym:
    return b.reduce("reduce_sum", x, _axes(dim), keepdim)


@lowers("mean")
def _mean(b: Builder, x: Sym, dim: Any = None, keepdim: bool = False) -> Sym:
    return b.reduce("reduce_mean", x, _axes(dim), keepdim)


@lowers("amax")
def _amax(b: Builder, x: Sym, dim: Any = None, keepdim: bool = False) -> Sym:
    return b.reduce("reduce_max", x, _axes(dim), keepdim)


@lowers("amin")
def _amin(b: Builder, x: Sym, dim: Any = None, keepdim: bool = False) -> Sym:
    return b.reduce("reduce_min", x, _axes(dim), keepdim)


def _extreme(binary: str, reduce: str) -> Lowering:
    def lowering(b: Builder, x: Sym, other: Any = None, dim: int | None = None, keepdim: bool = False) -> Any:
        if other is not None:
            return b.binary(binary, x, _sym(b, other))
        y = b.reduce(reduce, x, _axes(dim), keepdim)
        # The second result holds indices; a program that uses them fails at that use.
        return y if dim is None else (y, None)

    return lowering


lowers("max")(_extreme("max", "reduce_max"))
lowers("min")(_extreme("min", "reduce_min"))


@lowers("var")
def _var(
    b: Builder, x: Sym, dim: Any = None, unbiased: bool = True, correction: Any = None, keepdim: bool = False
) -> Sym:
    axes = _axes(dim)
    count = int(np.prod([x.shape[a] for a in axes])) if axes is not None else x.size
    free = count - (float(unbiased) if correction is None else float(correction))
    if free <= 0:
        raise UnsupportedError(f"{count} values leave no degree of freedom")
    centred = b.binary("sub", x, b.reduce("reduce_mean", x, axes, True))
    total = b.reduce("reduce_sum", b.binary("mul", centred, centred), axes, keepdim)
    return b.binary("div", total, b.const(free))


@lowers("std")
def _std(
    b: Builder, x: Sym, dim: Any = None, unbiased: bool = True, correction: Any = None, keepdim: bool = False
) -> Sym:
    return b.unary("sqrt", _var(b, x, dim, unbiased, correction, keepdim))


@lowers("norm", "linalg_vector_norm")
def _norm(b: Builder, x: Sym, p: Any = 2, ord: Any = 2, dim: Any = None, keepdim: bool = False) -> Sym:
    order = p if p is not None and p != 2 else ord
    if order == 1:
        return b.reduce("reduce_sum", b.unary("abs", x), _axes(dim), keepdim)
    if order == float("inf"):
        return b.reduce("reduce_max", b.unary("abs", x), _axes(dim), keepdim)
    if order != 2:
        raise UnsupportedError(f"norm of order {order}: expected 1, 2 or inf")
    return b.unary("sqrt", b.reduce("reduce_sum", b.binary("mul", x, x), _axes(dim), keepdim))


@lowers("softmax", "_softmax")
def _softmax(b: Builder, x: Sym, dim: int) -> Sym:
    return b.softmax(x, dim)


@lowers("log_softmax", "_log_softmax")
def _log_softmax(b: Builder, x: Sym, dim: int) -> Sym:
    return b.log_softmax(x, dim)


@lowers("layer_norm")
def _layer_norm(
    b: Builder, x: Sym, normalized_shape: Any, weight: Sym | None = None, bias: Sym | None = None, eps: float = 1e-5
) -> Sym:
    return b.layer_norm(x, constant(weight, "weight"), constant(bias, "bias"), eps, -len(normalized_shape))


@lowers("native_layer_norm")
def _native_layer_norm(b: Builder, x: Sym, normalized_shape: Any, weight: Any, bias: Any, eps: float) -> Any:
    return _layer_norm(b, x, normalized_shape, weight, bias, eps), None, None


@lowers("rms_norm")
def _rms_norm(b: Builder, x: Sym, normalized_shape: Any, weight: Sym | None = None, eps: float | None = None) -> Sym:
    axes = list(range(-len(normalized_shape), 0))
    mean = b.reduce("reduce_mean", b.binary("mul", x, x), axes, True)
    eps = float(np.finfo(np.float32).eps) if eps is None else float(eps)
    y = b.binary("div", x, b.unary("sqrt", b.binary("add", mean, b.const(eps))))
    return y if weight is None else b.binary("mul", y, weight)


# -- products ------------------------------------------------------------------------------------------


@lowers("linear")
def _linear(b: Builder, x: Sym, weight: Sym, bias: Sym | None = None) -> Sym:
    matrix = constant(weight, "the weight of linear")
    if bias is not None and bias.const is None:
        return b.binary("add", b.linear(x, matrix), bias)  # type: ignore[arg-type]
    return b.linear(x, matrix, constant(bias, "bias"))  # type: ignore[arg-type]


@lowers("matmul", "mm", "mv", "bmm", "dot", "linalg_matmul")
def _matmul(b: Builder, x: Sym, other: Any = None, mat2: Any = None, vec: Any = None, tensor: Any = None) -> Sym:
    right = next(v for v in (other, mat2, vec, tensor) if v is not None)
    return b.matmul(x, right)


@lowers("addmm", "addmv")
def _addmm(
    b: Builder,
    x: Sym,
    mat1: Any = None,
    mat2: Any = None,
    mat: Any = None,
    vec: Any = None,
    beta: Any = 1,
    alpha: Any = 1,
) -> Sym:
    left, right = (mat, vec) if mat1 is None else (mat1, mat2)
    if right.const is not None and right.ndim == 2 and x.const is not None and x.ndim == 1:
        return b.linear(left, right.const.T * alpha, x.const * beta)
    return b.binary("add", _scaled(b, x, beta), _scaled(b, b.matmul(left, right), alpha))
