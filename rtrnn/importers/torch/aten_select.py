"""Lowerings of aten's comparisons, choices, indexing and writes of parts; see :mod:`rtrnn.importers.torch.registry`.

Whatever only picks or moves elements is asked of torch itself: the operator is applied to the elements' numbers, and
the result says where each element comes from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from rtrnn.errors import UnsupportedError
from rtrnn.importers.builder import Builder, Sym
from rtrnn.importers.choice import COMPUTED, choose, invert
from rtrnn.importers.einsum import einsum
from rtrnn.importers.torch.registry import Lowering, constant, lowers


def _float(b: Builder, x: Any) -> Sym:
    """An operand of a comparison as floats."""
    x = x if isinstance(x, Sym) else b.const(x)
    return x if x.const is None else b.const(x.const, np.float32)


# -- comparisons and logic -----------------------------------------------------------------------------


def _comparison(name: str, negated: bool = False) -> Lowering:
    def lowering(b: Builder, x: Any, other: Any = None) -> Sym:
        operands = [_float(b, x)] if other is None else [_float(b, x), _float(b, other)]
        y = COMPUTED[name](b, *operands)
        return invert(b, y) if negated else y

    return lowering


for _names, _name in {
    "eq": "Equal",
    "lt less": "Less",
    "gt greater": "Greater",
    "le less_equal": "LessOrEqual",
    "ge greater_equal": "GreaterOrEqual",
}.items():
    lowers(*_names.split())(_comparison(_name))
lowers("ne", "not_equal")(_comparison("Equal", negated=True))


def _logic(name: str) -> Lowering:
    def lowering(b: Builder, x: Any, other: Any = None) -> Sym:
        operands = [x] if other is None else [x, other]
        return COMPUTED[name](b, *(_truth(b, v) for v in operands))

    return lowering


def _truth(b: Builder, x: Any) -> Sym:
    """0 or 1. Logic on computed values that are no truth values takes all but zero for true."""
    x = x if isinstance(x, Sym) else b.const(x)
    if x.const is not None:
        return b.const(np.asarray(x.const) != 0, np.float32)
    return b.unary("abs", b.unary("sign", x))


lowers("logical_and", "__and__", "bitwise_and")(_logic("And"))
lowers("logical_or", "__or__", "bitwise_or")(_logic("Or"))
lowers("logical_xor", "__xor__", "bitwise_xor")(_logic("Xor"))
lowers("logical_not", "bitwise_not")(_logic("Not"))


@lowers("where")
def _where(b: Builder, condition: Sym, x: Any, other: Any) -> Sym:
    x, other = (v if isinstance(v, Sym) else b.const(v) for v in (x, other))
    return choose(b, condition, x, other)


@lowers("masked_fill")
def _masked_fill(b: Builder, x: Sym, mask: Sym, value: Any) -> Sym:
    return _where(b, mask, value, x)


# -- parts, by the numbers of their elements -------------------------------------------------------------


def _picked(b: Builder, x: Sym, function: Callable[[torch.Tensor], torch.Tensor]) -> Sym:
    """The elements of `x` that `function` leaves of a tensor of its shape, in its order."""
    numbers = function(torch.arange(x.size).reshape(x.shape))
    flat = b.gather(b.reshape(x, (x.size,)), 0, numbers.reshape(-1).numpy())
    return b.reshape(flat, tuple(numbers.shape))


def _indices(values: Sequence[Any]) -> tuple[Any, ...]:
    arrays = [constant(i, "an index") for i in values]
    return tuple(slice(None) if a is None else torch.from_numpy(np.array(a)) for a in arrays)


@lowers("index", "_unsafe_index")
def _index(b: Builder, x: Sym, indices: Sequence[Sym | None]) -> Sym:
    given = _indices(indices)
    places = [(axis, i) for axis, i in enumerate(given) if isinstance(i, torch.Tensor)]
    if len(places) == 1 and (places[0][1].dtype != torch.bool or places[0][1].ndim == 1):
        axis, index = places[0]
        return b.gather(x, axis, (torch.nonzero(index)[:, 0] if index.dtype == torch.bool else index).numpy())
    return _picked(b, x, lambda t: t[given])


@lowers("gather")
def _gather(b: Builder, x: Sym, dim: int, index: Sym) -> Sym:
    at = torch.from_numpy(np.array(constant(index, "the index of gather")))
    return _picked(b, x, lambda t: torch.gather(t, dim, at))


@lowers("take")
def _take(b: Builder, x: Sym, index: Sym) -> Sym:
    at = torch.from_numpy(np.array(constant(index, "the index of take")))
    return _picked(b, x, lambda t: torch.take(t, at))


@lowers("roll")
def _roll(b: Builder, x: Sym, shifts: Any, dims: Any = ()) -> Sym:
    dims = list(dims) if isinstance(dims, (list, tuple)) else [dims]
    shifts = list(shifts) if isinstance(shifts, (list, tuple)) else [shifts]
    if not dims:
        return _picked(b, x, lambda t: torch.roll(t, tuple(shifts)))
    for shift, dim in zip(shifts, dims, strict=True):
        size = x.shape[x.axis(dim)]
        start = -shift % size
        if start:
            x = b.concat([b.slice(x, dim, start, size), b.slice(x, dim, 0, start)], dim)
    return x


@lowers("tile")
def _tile(b: Builder, x: Sym, dims: Sequence[int]) -> Sym:
    return _picked(b, x, lambda t: torch.tile(t, tuple(dims)))


@lowers("repeat_interleave")
def _repeat_interleave(b: Builder, x: Sym, repeats: Any, dim: int | None = None) -> Sym:
    if isinstance(repeats, Sym):
        repeats = torch.from_numpy(np.array(constant(repeats, "the repeats")))
    return _picked(b, x, lambda t: torch.repeat_interleave(t, repeats, dim))


@lowers("unfold")
def _unfold(b: Builder, x: Sym, dimension: int, size: int, step: int) -> Sym:
    return _picked(b, x, lambda t: t.unfold(dimension, size, step))


@lowers("diagonal")
def _diagonal(b: Builder, x: Sym, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Sym:
    return _picked(b, x, lambda t: torch.diagonal(t, offset, dim1, dim2))


@lowers("tril")
def _tril(b: Builder, x: Sym, diagonal: int = 0) -> Sym:
    return b.binary("mul", x, b.const(np.tril(np.ones(x.shape, np.float32), diagonal)))


@lowers("triu")
def _triu(b: Builder, x: Sym, diagonal: int = 0) -> Sym:
    return b.binary("mul", x, b.const(np.triu(np.ones(x.shape, np.float32), diagonal)))


# -- writes of parts -------------------------------------------------------------------------------------


def _written(b: Builder, x: Sym, values: Any, part: Callable[[torch.Tensor], torch.Tensor]) -> Sym:
    """`x` with the elements that `part` picks replaced by `values`, which are repeated to their shape."""
    numbers = part(torch.arange(x.size).reshape(x.shape))
    values = values if isinstance(values, Sym) else b.const(values)
    return b.scatter(x, numbers.reshape(-1).numpy(), b.expand(values, tuple(numbers.shape)))


@lowers("copy")
def _copy(b: Builder, x: Sym, src: Sym) -> Sym:
    return b.expand(src, x.shape)


@lowers("slice_scatter")
def _slice_scatter(
    b: Builder, x: Sym, src: Sym, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Sym:
    axis = x.axis(dim)
    return _written(b, x, src, lambda t: t[(slice(None),) * axis + (slice(start, end, step),)])


@lowers("select_scatter")
def _select_scatter(b: Builder, x: Sym, src: Sym, dim: int, index: int) -> Sym:
    return _written(b, x, src, lambda t: t.select(dim, index))


@lowers("index_put", "_unsafe_index_put")
def _index_put(b: Builder, x: Sym, indices: Sequence[Sym | None], values: Sym, accumulate: bool = False) -> Sym:
    if accumulate:
        raise UnsupportedError("accumulate=True: expected values that replace others")
    given = _indices(indices)
    return _written(b, x, values, lambda t: t[given])


@lowers("index_copy")
def _index_copy(b: Builder, x: Sym, dim: int, index: Sym, source: Sym) -> Sym:
    at = torch.from_numpy(np.array(constant(index, "the index of index_copy")))
    return _written(b, x, source, lambda t: t.index_select(dim, at))


@lowers("scatter")
def _scatter(b: Builder, x: Sym, dim: int, index: Sym, src: Any = None, value: Any = None) -> Sym:
    at = torch.from_numpy(np.array(constant(index, "the index of scatter")))
    source: Any = value
    if src is not None:
        source = src
        for axis, size in enumerate(at.shape):
            source = b.slice(source, axis, 0, size)
    return _written(b, x, source, lambda t: torch.gather(t, dim, at))


# -- products and sums that need several steps -------------------------------------------------------------


@lowers("einsum")
def _einsum(b: Builder, equation: str, tensors: Sequence[Sym]) -> Sym:
    try:
        return einsum(b, equation, tensors)
    except ValueError as error:
        if isinstance(error, UnsupportedError):
            raise
        raise UnsupportedError(str(error)) from error


@lowers("baddbmm")
def _baddbmm(b: Builder, x: Sym, batch1: Sym, batch2: Sym, beta: Any = 1, alpha: Any = 1) -> Sym:
    product = b.matmul(batch1, batch2)
    product = product if alpha == 1 else b.binary("mul", product, b.const(float(alpha)))
    if beta == 0:
        return product
    return b.binary("add", x if beta == 1 else b.binary("mul", x, b.const(float(beta))), product)


@lowers("scaled_dot_product_attention")
def _attention(
    b: Builder,
    query: Sym,
    key: Sym,
    value: Sym,
    attn_mask: Sym | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Sym:
    if is_causal or enable_gqa or dropout_p:
        raise UnsupportedError("is_causal, enable_gqa or dropout_p is set; expected plain attention within one timestep")
    swap = [*range(key.ndim - 2), key.ndim - 1, key.ndim - 2]
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else float(scale)
    scores = b.binary("mul", b.matmul(query, b.permute(key, swap)), b.const(factor))
    if attn_mask is not None:
        mask = constant(attn_mask, "the mask")
        assert mask is not None
        # Minus infinity is no value of a Graph; the softmax of this much less is zero in float32 too.
        mask = np.where(mask, 0.0, -1e30) if mask.dtype == bool else np.maximum(mask, -1e30)
        scores = b.binary("add", scores, b.const(mask, np.float32))
    return b.matmul(b.softmax(scores, -1), value)


@lowers("cumsum")
def _cumsum(b: Builder, x: Sym, dim: int) -> Sym:
    axis = x.axis(dim)
    if b.is_time(x, axis):
        raise UnsupportedError("a sum over the timesteps so far; expected it to be kept as a state")
    order = [*(i for i in range(x.ndim) if i != axis), axis]
    lower = np.tril(np.ones((x.shape[axis],) * 2, np.float32))
    return b.permute(b.linear(b.permute(x, order), lower), np.argsort(order).tolist())


@lowers("hardshrink")
def _hardshrink(b: Builder, x: Sym, lambd: float = 0.5) -> Sym:
    outside = COMPUTED["Greater"](b, b.unary("abs", x), b.const(lambd, np.float32))
    return b.binary("mul", x, outside)


@lowers("softshrink")
def _softshrink(b: Builder, x: Sym, lambd: float = 0.5) -> Sym:
    return b.binary("sub", x, b.unary("clip", x, alpha=-float(lambd), beta=float(lambd)))
