"""Comparisons, logic, Where and casts.

On constants they are computed; on other values see :mod:`rtrnn.importers.choice`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rtrnn.errors import UnsupportedError
from rtrnn.importers.builder import Sym
from rtrnn.importers.choice import COMPUTED, choose
from rtrnn.importers.onnx.registry import OPS, Call, op

__all__ = ["is_common"]

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


def _truth(call: Call) -> Sym:
    operands = [call.x(i) for i in range(len(call.inputs))]
    constants = [x.const for x in operands if x.const is not None]
    if len(constants) == len(operands):
        function = np.fmod if call.op_type == "Mod" and call.attr("fmod", 0) else _FOLDED[call.op_type]
        return call.b.const(function(*constants))
    if call.op_type not in COMPUTED:
        raise UnsupportedError(
            f"its operands must be constant, but {call.operand(0)} is computed from the inputs; export the network without it"
        )
    operands = [x if x.const is None else call.b.const(x.const, np.float32) for x in operands]
    result = COMPUTED[call.op_type](call.b, *operands)
    if result.name is not None:
        call.options.truths[result.name] = (call.op_type, tuple(operands))
    return result


OPS.update(dict.fromkeys(_FOLDED, _truth))


@op("Where")
def where(call: Call) -> Sym:
    b, (condition, x, y) = call.b, (call.x(0), call.x(1), call.x(2))
    if condition.const is None:
        return _guarded_softplus(call, condition, x, y) or choose(b, condition, x, y)
    return choose(b, condition, x, y)


def _guarded_softplus(call: Call, condition: Sym, x: Sym, y: Sym) -> Sym | None:
    """PyTorch's softplus as its exporter writes it, ``where(x > threshold, x, softplus(x))``: the Graph's own form."""
    kind, operands = call.options.truths.get(str(condition.name), ("", ()))
    if kind != "Greater" or x.name is None or operands[0].name != x.name or operands[1].const is None:
        return None
    # Looked for from the end: it was made a few nodes ago.
    made = next((node for node in reversed(call.b.draft.nodes) if y.name in node.outputs), None)
    if made is None or made.op != "softplus" or made.attributes or made.inputs != [x.name] or operands[1].size != 1:
        return None
    return call.b.unary("softplus", x, None, alpha=1.0, beta=float(operands[1].const.reshape(())))


#: Types that a cast may have, and whether values are rounded to it: the Graph's values are f32, so those of a wider or narrower
#: float type stay what they are; constants are rounded as the file says.
_CASTS = ("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "BOOL")


def is_common(kind: int) -> bool:
    """Whether a type of TensorProto is one of `_CASTS`."""
    from onnx import TensorProto

    return kind in TensorProto.DataType.values() and TensorProto.DataType.Name(kind) in _CASTS


@op("Cast", "CastLike")
def cast(call: Call) -> Sym:
    from onnx import TensorProto, helper

    x = call.x()
    if call.op_type == "CastLike":
        like = call.x(1)
        kind = "FLOAT" if like.const is None else helper.np_dtype_to_tensor_dtype(like.const.dtype)
    else:
        kind = call.attr("to", TensorProto.FLOAT)
    # Up to operator set 5 the type is given by its name.
    name = kind if isinstance(kind, str) else TensorProto.DataType.Name(int(kind))
    if not is_common(TensorProto.DataType.Value(name)):
        raise UnsupportedError(f"a cast to {name}; expected one of {', '.join(_CASTS)}")
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(TensorProto.DataType.Value(name)))
    if x.const is not None:
        array = x.const.astype(dtype)
        return call.b.const(array if array.dtype.kind in "biu" else array.astype(max(dtype, np.dtype("f4"), key=_width)))
    if x.name in call.options.truths or dtype.kind not in "biu" or (call.whole and dtype.itemsize >= 4):
        return x
    if dtype.kind == "b":
        return call.b.unary("abs", call.b.unary("sign", x))
    if dtype.kind == "i" and dtype.itemsize >= 4:
        # Towards zero.
        return call.b.binary("mul", call.b.unary("sign", x), call.b.unary("floor", call.b.unary("abs", x)))
    raise UnsupportedError(
        f"a cast of a computed value to {name}, in which large values wrap; expected a float type, INT32 or INT64"
    )


def _width(dtype: np.dtype) -> int:
    return dtype.itemsize
