"""Truth values of a foreign graph, and the choice between two values.

A truth value that is not constant is an f32 that is 0 or 1, which arithmetic on finite values gives exactly: ``a > b``
is ``relu(sign(a - b))``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from rtrnn.importers.builder import Builder, Sym

__all__ = ["COMPUTED", "choose", "invert"]


def invert(b: Builder, x: Sym) -> Sym:
    """1 where `x` is 0, and 0 where it is 1."""
    return b.binary("sub", b.const(1, np.float32), x)


def _greater(b: Builder, x: Sym, y: Sym) -> Sym:
    return b.unary("relu", b.unary("sign", b.binary("sub", x, y)))


def _differ(b: Builder, x: Sym, y: Sym) -> Sym:
    return b.unary("abs", b.unary("sign", b.binary("sub", x, y)))


#: The comparisons and the logic of values that are not all constant, under their ONNX names; operands are floats.
COMPUTED: dict[str, Callable[..., Sym]] = {
    "Equal": lambda b, x, y: invert(b, _differ(b, x, y)),
    "Less": lambda b, x, y: _greater(b, y, x),
    "Greater": _greater,
    "LessOrEqual": lambda b, x, y: invert(b, _greater(b, x, y)),
    "GreaterOrEqual": lambda b, x, y: invert(b, _greater(b, y, x)),
    "And": lambda b, x, y: b.binary("mul", x, y),
    "Or": lambda b, x, y: b.binary("max", x, y),
    "Xor": _differ,
    "Not": invert,
}


def choose(b: Builder, condition: Sym, x: Sym, y: Sym) -> Sym:
    """`x` where `condition` holds, else `y`, with NumPy broadcasting."""
    shape = np.broadcast_shapes(condition.shape, x.shape, y.shape)
    if condition.const is None:
        return _computed(b, condition, x, y, shape)
    if x.const is not None and y.const is not None:
        return b.const(np.where(condition.const, x.const, y.const))
    if condition.const.all() or not condition.const.any():
        return b.expand(x if condition.const.all() else y, shape)
    size = math.prod(shape)
    both = b.concat([b.reshape(b.expand(part, shape), (size,)) for part in (x, y)], 0)
    index = np.arange(size) + np.where(np.broadcast_to(condition.const, shape), 0, size).ravel()
    return b.reshape(b.gather(both, 0, index), shape)


def _computed(b: Builder, condition: Sym, x: Sym, y: Sym, shape: tuple[int, ...]) -> Sym:
    parts = []
    for mask, part in ((condition, x), (invert(b, condition), y)):
        if part.const is not None:
            if np.any(part.const):
                parts.append(b.binary("mul", mask, b.const(part.const, np.float32)))
            continue
        # Clipping to plus and minus zero removes an infinity too, where a product with zero would give a NaN.
        bound = b.binary("mul", mask, b.const(np.finfo(np.float32).max))
        parts.append(b.binary("min", b.binary("max", part, b.unary("neg", bound)), bound))
    if not parts:
        return b.const(np.zeros(shape, np.float32))
    return b.expand(parts[0] if len(parts) == 1 else b.binary("add", *parts), shape)
