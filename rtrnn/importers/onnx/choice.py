"""Comparisons, logic, Where and casts.

On constants they are computed. On other values a truth value is an f32 that is 0 or 1, which arithmetic on finite
values gives exactly: ``a > b`` is ``relu(sign(a - b))``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from rtrnn.errors import UnsupportedError
from rtrnn.importers.builder import Builder, Sym
from rtrnn.importers.onnx.registry import OPS, Call, op

__all__: list[str] = []

_FOLDED: dict[str, Callable[..., np.ndarray]] = {
    "Equal": np.equal,
    "Less": np.less,
    "Greater": np.greater,
    "LessOrEqual": np.less_equal,
    "GreaterOrEqual": np.greater_equal,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Xor": np.logical_xor,
    "Not": np.logical_not,
    "Mod": np.mod,
    "NonZero": lambda x: np.stack(np.nonzero(x)).astype(np.int64),
}


def _not(b: Builder, x: Sym) -> Sym:
    return b.binary("sub", b.const(1, np.float32), x)


def _greater(b: Builder, x: Sym, y: Sym) -> Sym:
    return b.unary("relu", b.unary("sign", b.binary("sub", x, y)))


def _differ(b: Builder, x: Sym, y: Sym) -> Sym:
    return b.unary("abs", b.unary("sign", b.binary("sub", x, y)))


_COMPUTED: dict[str, Callable[..., Sym]] = {
    "Equal": lambda b, x, y: _not(b, _differ(b, x, y)),
    "Less": lambda b, x, y: _greater(b, y, x),
    "Greater": _greater,
    "LessOrEqual": lambda b, x, y: _not(b, _greater(b, x, y)),
    "GreaterOrEqual": lambda b, x, y: _not(b, _greater(b, y, x)),
    "And": lambda b, x, y: b.binary("mul", x, y),
    "Or": lambda b, x, y: b.binary("max", x, y),
    "Xor": _differ,
    "Not": _not,
}


def _truth(call: Call) -> Sym:
    operands = [call.x(i) for i in range(len(call.inputs))]
    if all(x.const is not None for x in operands):
        return call.b.const(_FOLDED[call.op_type](*(x.const for x in operands)))
    if call.op_type not in _COMPUTED:
        raise UnsupportedError("its operands must be constant, but are computed from the inputs")
    operands = [x if x.const is None else call.b.const(x.const, np.float32) for x in operands]
    result = _COMPUTED[call.op_type](call.b, *operands)
    if result.name is not None:
        call.options.truths[result.name] = (call.op_type, tuple(operands))
    return result


OPS.update(dict.fromkeys(_FOLDED, _truth))


@op("Where")
def where(call: Call) -> Sym:
    b, (condition, x, y) = call.b, (call.x(0), call.x(1), call.x(2))
    if condition.const is None:
        return _guarded_softplus(call, condition, x, y) or _computed_where(b, condition, x, y)
    if x.const is not None and y.const is not None:
        return b.const(np.where(condition.const, x.const, y.const))
    shape = np.broadcast_shapes(condition.shape, x.shape, y.shape)
    if condition.const.all() or not condition.const.any():
        return b.expand(x if condition.const.all() else y, shape)
    size = math.prod(shape)
    both = b.concat([b.reshape(b.expand(part, shape), (size,)) for part in (x, y)], 0)
    index = np.arange(size) + np.where(np.broadcast_to(condition.const, shape), 0, size).ravel()
    return b.reshape(b.gather(both, 0, index), shape)


def _computed_where(b: Builder, condition: Sym, x: Sym, y: Sym) -> Sym:
    parts = []
    for mask, part in ((condition, x), (_not(b, condition), y)):
        if part.const is not None:
            if np.any(part.const):
                parts.append(b.binary("mul", mask, b.const(part.const, np.float32)))
            continue
        # Clipping to plus and minus zero removes an infinity too, where a product with zero would give a NaN.
        bound = b.binary("mul", mask, b.const(np.finfo(np.float32).max))
        parts.append(b.binary("min", b.binary("max", part, b.unary("neg", bound)), bound))
    shape = np.broadcast_shapes(condition.shape, x.shape, y.shape)
    if not parts:
        return b.const(np.zeros(shape, np.float32))
    return b.expand(parts[0] if len(parts) == 1 else b.binary("add", *parts), shape)


def _guarded_softplus(call: Call, condition: Sym, x: Sym, y: Sym) -> Sym | None:
    """PyTorch's softplus as its exporter writes it, ``where(x > threshold, x, softplus(x))``: the Graph's own form."""
    kind, operands = call.options.truths.get(str(condition.name), ("", ()))
    if kind != "Greater" or x.name is None or operands[0].name != x.name or operands[1].const is None:
        return None
    made = call.b.draft.producers().get(str(y.name))
    if made is None or made.op != "softplus" or made.attributes or made.inputs != [x.name] or operands[1].size != 1:
        return None
    return call.b.unary("softplus", x, None, alpha=1.0, beta=float(operands[1].const.reshape(())))


@op("Cast", "CastLike")
def cast(call: Call) -> Sym:
    from onnx import TensorProto, helper

    x = call.x()
    if call.op_type == "CastLike":
        like = call.x(1)
        dtype = like.const.dtype if like.const is not None else np.dtype(np.float32)
    else:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(int(call.attr("to", TensorProto.FLOAT))))
    if dtype.kind in "OSUc":
        raise UnsupportedError(f"a cast to {dtype.name}; expected a type of real numbers")
    if dtype.kind not in "biu" and dtype.itemsize < 4:
        # Halves and the formats below are widened: the Graph's values are f32.
        dtype = np.dtype(np.float32)
    if x.const is not None:
        return call.b.const(x.const.astype(dtype))
    if x.name in call.options.truths or x.name in call.b.draft.inputs or dtype.kind == "f":
        return x
    if dtype.kind == "b":
        return call.b.unary("abs", call.b.unary("sign", x))
    raise UnsupportedError(f"a cast of a computed value to {dtype.name}; expected a float type")
