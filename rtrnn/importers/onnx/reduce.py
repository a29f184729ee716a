"""Reductions, and cumulative sums."""

from __future__ import annotations

from functools import reduce as accumulate

import numpy as np

from rtrnn.errors import FileFormatError, UnsupportedError
from rtrnn.importers.builder import Builder, Sym
from rtrnn.importers.onnx.registry import Call, op

__all__: list[str] = []

_KINDS = ("Sum", "Mean", "Max", "Min", "L1", "L2", "SumSquare", "LogSum", "LogSumExp", "Prod")
#: A product is a chain of multiplications, one for each element.
_MAX_FACTORS = 256
#: A running sum is a product with a square matrix.
_MAX_RUNNING = 4096


@op(*(f"Reduce{kind}" for kind in _KINDS))
def reduce_(call: Call) -> Sym:
    b, x = call.b, call.x()
    axes, keepdims = call.ints("axes", 1), bool(call.attr("keepdims", 1))
    if not axes:
        # No axes: all of them, or none of them, when only what surrounds the sum is done (ReduceL1 of x is abs(x)).
        axes = [] if call.attr("noop_with_empty_axes", 0) else list(range(x.ndim))
    axes = sorted({x.axis(a) for a in axes})
    kind = call.op_type.removeprefix("Reduce")
    if kind == "Prod":
        return _product(b, x, axes, keepdims)
    if kind == "LogSumExp":
        return _log_sum_exp(b, x, axes, keepdims)
    if kind == "L1":
        x = b.unary("abs", x, np.abs)
    elif kind in ("L2", "SumSquare"):
        x = b.binary("mul", x, x)
    names = {"Mean": "reduce_mean", "Max": "reduce_max", "Min": "reduce_min"}
    y = b.reduce(names.get(kind, "reduce_sum"), x, axes, keepdims)
    if x.const is not None and y.const is not None:
        y = b.const(y.const, x.const.dtype)
    if kind == "LogSum":
        return b.unary("log", y, np.log)
    return b.unary("sqrt", y, np.sqrt) if kind == "L2" else y


def _log_sum_exp(b: Builder, x: Sym, axes: list[int], keepdims: bool) -> Sym:
    # The largest term is taken out, so that no exponential overflows.
    largest = b.reduce("reduce_max", x, axes, True)
    total = b.reduce("reduce_sum", b.unary("exp", b.binary("sub", x, largest), np.exp), axes, True)
    y = b.binary("add", b.unary("log", total, np.log), largest)
    return y if keepdims else b.squeeze(y, axes)


def _product(b: Builder, x: Sym, axes: list[int], keepdims: bool) -> Sym:
    if x.const is not None:
        return b.const(np.prod(x.const, axis=tuple(axes), keepdims=keepdims), x.const.dtype)
    factors = int(np.prod([x.shape[a] for a in axes], dtype=np.int64))
    if factors > _MAX_FACTORS:
        raise UnsupportedError(f"a product of {factors} computed values; expected at most {_MAX_FACTORS}")
    for a in axes:
        x = accumulate(lambda y, z: b.binary("mul", y, z), b.split(x, a, [1] * x.shape[a]))
    return x if keepdims else b.squeeze(x, axes)


@op("CumSum")
def cumulative_sum(call: Call) -> Sym:
    """As the product with a triangle of ones."""
    b, x = call.b, call.x()
    given = call.const(1, "axis")
    if given.size != 1:
        raise FileFormatError(f"CumSum node {call.name!r}: its axis has shape {given.shape}; expected one number")
    axis = x.axis(int(given.reshape(())))
    n, reverse, exclusive = x.shape[axis], call.attr("reverse", 0), call.attr("exclusive", 0)
    if x.const is not None:
        array = np.flip(x.const, axis) if reverse else x.const
        sums = np.cumsum(array, axis, dtype=array.dtype)
        sums = sums - array if exclusive else sums
        return b.const(np.flip(sums, axis) if reverse else sums)
    if n == 1 and x.origin[axis] is not None:
        raise UnsupportedError(
            f"a running sum over axis {axis}, which is time or batch in the input; expected an axis within one timestep. Keep "
            "the sum as a state input and output"
        )
    if n > _MAX_RUNNING:
        raise UnsupportedError(f"a running sum of {n} computed values; expected at most {_MAX_RUNNING}")
    triangle = np.tril(np.ones((n, n)), -1 if exclusive else 0)
    order = [*(i for i in range(x.ndim) if i != axis), axis]
    y = b.linear(b.permute(x, order), triangle.T if reverse else triangle)
    return b.permute(y, np.argsort(order).tolist())
