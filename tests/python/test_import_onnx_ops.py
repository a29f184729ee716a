"""Every operator of the ONNX importer against onnxruntime, in the operator sets in which its form differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper  # noqa: E402
from onnx_models import NEWEST, compare_steps, load_quietly, model  # noqa: E402

RNG = np.random.default_rng(5)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.asarray(values, np.int64)


class Case(NamedTuple):
    """Nodes from x (and perhaps u) to y."""

    name: str
    opset: int
    nodes: Sequence[Any]
    x: tuple[int, ...]
    weights: Mapping[str, Any]
    u: tuple[int, ...] | None = None
    scale: float = 1.0


CASES: list[Case] = []


def node(kind: str, *inputs: str, out: Sequence[str] = ("y",), **attributes: Any) -> Any:
    domain, _, kind = kind.rpartition("::")
    return helper.make_node(kind, list(inputs), list(out), domain=domain, **attributes)


def case(
    kind: str,
    opset: int | Sequence[int],
    x: tuple[int, ...],
    *inputs: str,
    u: Any = None,
    scale: float = 1.0,
    weights: Mapping[str, Any] | None = None,
    **attributes: Any,
) -> None:
    """One node with x as the first of `inputs` unless they are given."""
    for version in [opset] if isinstance(opset, int) else opset:
        made = node(kind, *(inputs or ("x",)), **attributes)
        CASES.append(Case(f"{kind}-{version}-{len(CASES)}", version, [made], x, weights or {}, u, scale))


def chain(kind: str, opset: int, x: tuple[int, ...], *nodes: Any, **weights: Any) -> None:
    CASES.append(Case(f"{kind}-{opset}-{len(CASES)}", opset, nodes, x, weights))


# One line per case keeps the table readable.
# fmt: off
# -- elementwise
for kind in ("Neg", "Abs", "Exp", "Reciprocal", "Sign", "Floor", "Ceil", "Erf", "Relu", "Sigmoid", "Tanh", "Softplus",
             "Softsign"):
    case(kind, [9, NEWEST], (1, 7), scale=3.0)
for kind in ("Sqrt", "Log"):
    chain(kind, 13, (1, 7), node("Abs", "x", out=["a"]), node(kind, "a"))
for kind, since in (("HardSwish", 14), ("Mish", 18)):
    case(kind, since, (2, 7), scale=3.0)
case("Swish", 24, (2, 7))
case("Gelu", 20, (1, 7))
case("Gelu", 20, (1, 7), approximate="tanh")
for kind, attributes in (
    ("LeakyRelu", {"alpha": 0.3}), ("Elu", {"alpha": 0.7}), ("Selu", {"alpha": 1.1, "gamma": 0.9}),
    ("Celu", {"alpha": 0.6}), ("HardSigmoid", {"alpha": 0.4, "beta": 0.3}), ("ThresholdedRelu", {"alpha": 0.2}),
):
    case(kind, 13, (1, 9))
    case(kind, 13, (1, 9), **attributes)
for kind in ("Add", "Sub", "Mul", "Div"):
    case(kind, [7, 13], (3, 4), "x", "w", weights={"w": floats(4) + 3})
    case(kind, 13, (3, 1), "w", "u", u=(1, 5), weights={"w": floats(2, 1, 1)})
    case(kind, 13, (3, 1), "x", "u", u=(4, 1, 5))
case("PRelu", [9, 16], (1, 6), "x", "w", weights={"w": floats(6)})
case("PRelu", 16, (2, 6), "x", "w", weights={"w": floats(1)})
for exponent in (1.0, 2.0, 3.0, 0.5):
    chain("Pow", 13, (1, 5), node("Abs", "x", out=["a"]), node("Pow", "a", "e"), e=np.float32(exponent))
chain("Pow", 13, (1, 5), node("Abs", "x", out=["a"]), node("Pow", "a", "e"), e=floats(2, 5))
for kind in ("Min", "Max", "Sum", "Mean"):
    case(kind, 8, (2, 4), "x", "u", "w", u=(1, 4), weights={"w": floats(2, 1)})
    case(kind, 13, (2, 4), "x")
case("Clip", 6, (1, 6), min=-0.4, max=0.3)
case("Clip", 6, (1, 6), min=-0.4)
case("Clip", [11, 13], (1, 6), "x", "lo", "hi", weights={"lo": np.float32(-0.4), "hi": np.float32(0.5)})
case("Clip", 13, (1, 6), "x", "", "hi", weights={"hi": np.float32(0.5)})
case("Cast", 13, (1, 3), to=TensorProto.FLOAT)
chain("Cast", 13, (1, 3), node("Cast", "w", out=["f"], to=TensorProto.FLOAT), node("Mul", "x", "f"),
      w=np.arange(3, dtype=np.int64))
chain("CastLike", 15, (1, 3), node("CastLike", "w", "x", out=["f"]), node("Mul", "x", "f"), w=ints(0, 1, 2))
case("Where", 9, (2, 3), "m", "x", "w", weights={"m": np.array([[True, False, True]]), "w": floats(2, 1)})
case("Where", 9, (2, 3), "m", "x", "w", weights={"m": np.array(True), "w": floats(4, 1, 1)})

# -- shape
case("Identity", 13, (2, 3))
for version in (7, 12, 13):
    case("Dropout", version, (2, 3))
for axis in (0, 1, -1):
    case("Concat", 13, (2, 3), "x", "w", "x", weights={"w": floats(2, 3)}, axis=axis)
case("Concat", 13, (1, 3), "x", "u", u=(1, 2), axis=1)
chain("Split", 11, (1, 7), node("Split", "x", out=["a", "b"], axis=1, split=[3, 4]), node("Concat", "b", "a", axis=1))
chain("Split", 13, (7, 1), node("Split", "x", "s", out=["a", "b"]), node("Concat", "b", "a", axis=0), s=ints(2, 5))
chain("Split", 18, (1, 7), node("Split", "x", out=["a", "b", "c"], axis=-1, num_outputs=3),
      node("Concat", "c", "b", "a", axis=1))
chain("Split", 13, (1, 6), node("Split", "x", out=["a", "b"], axis=1), node("Sub", "b", "a"))
case("Slice", 9, (3, 5), starts=[1, 0], ends=[9, -1])
case("Slice", 9, (3, 5), starts=[1], ends=[3], axes=[1])
case("Slice", [10, 13], (3, 5), "x", "s", "e", "a", "t",
     weights={"s": ints(-1, 0), "e": ints(-6, 3), "a": ints(1, 0), "t": ints(-2, 2)})
case("Slice", 13, (3, 5), "x", "s", "e", weights={"s": ints(1), "e": ints(2**62)})
case("Gather", 13, (3, 5), "x", "i", weights={"i": ints(4, 0, -1, 2)}, axis=1)
case("Gather", 13, (3, 5), "x", "i", weights={"i": np.asarray(1)}, axis=0)
case("Gather", 13, (1, 5), "x", "i", weights={"i": np.asarray([[0, 2], [3, 1]])}, axis=-1)
case("Transpose", 13, (2, 3, 4))
case("Transpose", 13, (2, 3, 4), perm=[1, 2, 0])
case("Reshape", 13, (2, 6), "x", "s", weights={"s": ints(0, -1, 3)})
case("Reshape", 14, (2, 6), "x", "s", weights={"s": ints(4, 3)}, allowzero=1)
for axis in (0, 1, 2, -1):
    case("Flatten", 13, (2, 3, 4), axis=axis)
case("Squeeze", [9, 11], (1, 3, 1), axes=[0])
case("Squeeze", 11, (1, 3, 1))
case("Squeeze", 13, (1, 3, 1), "x", "a", weights={"a": ints(-1)})
case("Unsqueeze", 11, (2, 3), axes=[0, 2])
case("Unsqueeze", 13, (2, 3), "x", "a", weights={"a": ints(-1, 1)})
case("Expand", 13, (3, 1), "x", "s", weights={"s": ints(2, 1, 4)})
case("Tile", 13, (2, 3), "x", "r", weights={"r": ints(2, 3)})
for value in ({"value_float": 2.5}, {"value_floats": [1.0, 2.0, 3.0]},
              {"value": helper.make_tensor("v", TensorProto.FLOAT, [3], [1.0, 2.0, 4.0])}):
    chain("Constant", 13, (2, 3), node("Constant", out=["k"], **value), node("Mul", "x", "k"))
chain("ConstantOfShape", 13, (2, 3), node("Shape", "x", out=["s"]), node("ConstantOfShape", "s", out=["o"]),
      node("Add", "x", "o"))
chain("Size", 13, (2, 3), node("Size", "x", out=["n"]), node("Cast", "n", out=["f"], to=1), node("Mul", "x", "f"))
chain("Shape", 15, (2, 3), node("Shape", "x", out=["s"], start=-1), node("ConstantOfShape", "s", out=["o"],
      value=helper.make_tensor("v", TensorProto.FLOAT, [1], [0.5])), node("Add", "x", "o"))
chain("Range", 13, (1, 4), node("Range", "a", "b", "c", out=["r"]), node("Mul", "x", "r"),
      a=np.float32(1), b=np.float32(4.5), c=np.float32(1))
for kind in ("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"):
    chain(kind, 16, (1, 3), node(kind, "a", "b", out=["m"]), node("Where", "m", "x", "w"),
          a=ints(1, 2, 3), b=ints(2, 2, 2),
          w=floats(1, 3))
for kind in ("And", "Or", "Xor"):
    chain(kind, 13, (1, 4), node(kind, "a", "b", out=["m"]), node("Where", "m", "x", "w"),
          a=np.array([True, True, False, False]), b=np.array([True, False, True, False]), w=floats(1, 4))
for kind in ("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"):
    # Whole numbers, so that equal ones occur; where one side is not chosen, it may be infinite.
    chain(kind, 16, (2, 9), node("Floor", "x", out=["a"]), node(kind, "a", "w", out=["m"]), node("Exp", "x", out=["e"]),
          node("Mul", "e", "big", out=["inf"]), node("Where", "m", "x", "inf", out=["p"]), node("Not", "m", out=["n"]),
          node("Where", "n", "inf", "p", out=["q"]), node("Clip", "q", "", "hi"), big=np.float32(3e38),
          w=np.float32([-1, 0, 0, 0, 1, 1, -1, -1, -2]), hi=np.float32(9))
for kind in ("And", "Or", "Xor"):
    chain(kind, 16, (1, 9), node("Greater", "x", "w", out=["a"]), node("Less", "x", "v", out=["b"]),
          node(kind, "a", "b", out=["m"]), node("Cast", "m", out=["f"], to=1), node("Where", "m", "w", "v", out=["c"]),
          node("Sub", "c", "f"), w=floats(9), v=floats(9))
chain("Cast", 13, (1, 6), node("Relu", "x", out=["r"]), node("Cast", "r", out=["m"], to=TensorProto.BOOL),
      node("Where", "m", "w", "x"), w=floats(6))
chain("Not", 13, (1, 2), node("Not", "a", out=["m"]), node("Where", "m", "x", "w"), a=np.array([True, False]),
      w=floats(1, 2))
chain("Mod", 13, (1, 3), node("Mod", "a", "b", out=["m"]), node("Gather", "x", "m", axis=1),
      a=ints(5, 4, 3), b=ints(3, 3, 3))
chain("NonZero", 13, (1, 4), node("NonZero", "a", out=["m"]), node("Squeeze", "m", "z", out=["i"]),
      node("Gather", "x", "i", axis=1), a=ints(0, 1, 0, 1), z=ints(0))


def branch(name: str, kind: str) -> Any:
    out = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
    return helper.make_graph([helper.make_node(kind, ["x"], [name])], name, [], [out])


for flag in (True, False):
    chain("If", 13, (1, 3), node("If", "k", then_branch=branch("p", "Neg"), else_branch=branch("q", "Exp")),
          k=np.array(flag))

# -- products, normalisation, reductions
for attributes in ({}, {"alpha": 0.5, "beta": 2.0}, {"beta": 0.0}):
    case("Gemm", [9, 13], (1, 4), "x", "w", "c", weights={"w": floats(4, 6), "c": floats(6)}, **attributes)
case("Gemm", 13, (1, 4), "x", "w", weights={"w": floats(6, 4)}, transB=1, alpha=2.0)
case("Gemm", 13, (4, 3), "x", "w", "c", weights={"w": floats(4, 6), "c": floats(3, 1)}, transA=1)
case("Gemm", 13, (4, 3), "w", "x", "c", weights={"w": floats(5, 4), "c": floats(1)})
case("Gemm", 13, (1, 4), "x", "w", "u", u=(1, 6), weights={"w": floats(4, 6)}, beta=0.5)
case("MatMul", 13, (1, 4), "x", "w", weights={"w": floats(4, 6)})
case("MatMul", 13, (2, 3, 4), "x", "w", weights={"w": floats(4, 6)})
case("MatMul", 13, (2, 3, 4), "x", "w", weights={"w": floats(4)})
case("MatMul", 13, (4, 3), "w", "x", weights={"w": floats(2, 4)})
case("MatMul", 13, (4,), "w", "x", weights={"w": floats(2, 4)})
for kind in ("Softmax", "LogSoftmax"):
    for axis in (0, 1, 2):
        case(kind, 11, (2, 3, 4), axis=axis)
        case(kind, 13, (2, 3, 4), axis=axis)
    case(kind, [11, 13], (3, 4))
case("LayerNormalization", 17, (2, 6), "x", "w", "c", weights={"w": floats(6), "c": floats(6)}, epsilon=1e-3)
case("LayerNormalization", 17, (2, 3, 4), "x", "w", weights={"w": floats(3, 4)}, axis=1)
case("RMSNormalization", 23, (2, 6), "x", "w", weights={"w": floats(6)})
for shape in ((2, 5), (1, 5, 3)):
    case("BatchNormalization", [9, 15], shape, "x", "s", "b", "m", "v", weights={
        "s": floats(5), "b": floats(5), "m": floats(5), "v": np.abs(floats(5)) + 0.1})
for kind in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare"):
    case(kind, 11, (2, 3, 4), axes=[1], keepdims=0)
    case(kind, 11, (2, 3, 4), axes=[0, -1])
    case(kind, 18, (2, 3, 4), "x", "a", weights={"a": ints(2)}, keepdims=0)
    case(kind, 18, (1, 3, 4))
    case(kind, 18, (1, 3), noop_with_empty_axes=1) if kind in ("ReduceSum", "ReduceMean", "ReduceMax") else None
for kind in ("ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp", "ReduceProd"):
    # No axes at all: the parts of the operator that are no reduction are still done.
    chain(kind, 18, (2, 3), node("Abs", "x", out=["p"]), node(kind, "p", "a", noop_with_empty_axes=1), a=ints())
    chain(kind, 18, (2, 3), node("Abs", "x", out=["p"]), node(kind, "p", "a"), a=ints())
    chain(kind, 13, (2, 3, 4), node("Abs", "x", out=["p"]), node(kind, "p", **(
        {"axes": [-1], "keepdims": 0} if kind != "ReduceSum" else {})))
case("ReduceLogSumExp", 18, (2, 3), "x", "a", weights={"a": ints(1)}, scale=40.0)
for reverse, exclusive in ((0, 0), (1, 0), (0, 1), (1, 1)):
    case("CumSum", [11, 14], (2, 5), "x", "a", weights={"a": np.asarray(1)}, reverse=reverse, exclusive=exclusive)
    chain("CumSum", 14, (1, 4), node("CumSum", "k", "a", out=["c"], reverse=reverse, exclusive=exclusive),
          node("Gather", "x", "c", axis=1), k=ints(0, 1, 0, 1), a=np.asarray(0))
# -- normalisation
for shape in ((1, 4, 6), (1, 4, 3, 5)):
    case("InstanceNormalization", [9, 22], shape, "x", "s", "b", weights={"s": floats(4), "b": floats(4)}, epsilon=1e-3)
    case("GroupNormalization", 21, shape, "x", "s", "b", weights={"s": floats(4), "b": floats(4)}, num_groups=2)
    for p in (1, 2):
        case("LpNormalization", 9, shape, axis=1, p=p)
        case("GlobalLpPool", 9, shape, p=p)
    for kind in ("GlobalAveragePool", "GlobalMaxPool"):
        case(kind, 9, shape)
case("GlobalLpPool", 9, (1, 2, 5), p=3)
case("LpNormalization", 9, (2, 5))
case("MeanVarianceNormalization", 13, (1, 3, 4, 5))
case("MeanVarianceNormalization", 13, (1, 3, 4), axes=[2])
case("SimplifiedLayerNormalization", 13, (2, 6), "x", "w", weights={"w": floats(6)}, axis=-1, epsilon=1e-3)
# -- convolution, padding, pooling
for groups, c in ((1, 4), (2, 4), (4, 4)):
    for extra in ({}, {"pads": [2, 1]}, {"strides": [2], "dilations": [2], "pads": [1, 2]}, {"auto_pad": "SAME_UPPER"},
                  {"auto_pad": "SAME_LOWER", "strides": [2]}, {"auto_pad": "VALID"}):
        w = {"w": floats(8, c // groups, 3), "c": floats(8)}
        case("Conv", 11, (1, c, 9), "x", "w", *(["c"] if extra else []), weights=w, group=groups, **extra)
for extra in ({}, {"pads": [1, 0, 2, 1]}, {"strides": [1, 2], "dilations": [2, 1]}, {"auto_pad": "SAME_LOWER", "strides": [1, 2]}):
    case("Conv", [9, 22], (1, 2, 7, 6), "x", "w", "c", weights={"w": floats(4, 2, 3, 2), "c": floats(4)}, **extra)
    case("Conv", 11, (1, 2, 7, 6), "x", "w", weights={"w": floats(4, 1, 3, 2)}, group=2, kernel_shape=[3, 2], **extra)
case("Conv", 11, (1, 3, 5), "x", "w", weights={"w": floats(6, 3, 1)})
for extra in ({}, {"strides": [2]}, {"strides": [3], "output_padding": [1]}, {"pads": [1, 1], "strides": [2]},
              {"strides": [2], "output_shape": [10]}, {"strides": [2], "auto_pad": "SAME_UPPER"},
              {"strides": [2], "auto_pad": "SAME_LOWER"}, {"dilations": [2]}):
    w = {"w": floats(4, 3, 3), "c": floats(3)}
    case("ConvTranspose", 11, (1, 4, 5), "x", "w", "c", weights=w, **extra)
case("ConvTranspose", 11, (1, 4, 5), "x", "w", weights={"w": floats(4, 2, 3)}, group=2, strides=[2], pads=[1, 0])
for extra in ({"strides": [2, 1]}, {"strides": [1, 2], "pads": [1, 0, 0, 1], "output_padding": [0, 1]}):
    case("ConvTranspose", 11, (1, 2, 4, 3), "x", "w", weights={"w": floats(2, 3, 2, 3)}, **extra)
for mode in ("constant", "reflect", "edge"):
    case("Pad", 9, (2, 5), pads=[0, 2, 0, 3], mode=mode, **({"value": 0.5} if mode == "constant" else {}))
    case("Pad", [11, 18], (2, 5), "x", "p", weights={"p": ints(1, 2, 0, 3)}, mode=mode)
case("Pad", 13, (2, 5), "x", "p", "v", weights={"p": ints(0, -1, 1, 2), "v": np.float32(0.5)})
case("Pad", 18, (2, 5), "x", "p", "v", "a", weights={"p": ints(2, 1), "v": np.float32(-1), "a": ints(-1)})
case("Pad", 19, (2, 5), "x", "p", weights={"p": ints(1, 2, 0, 3)}, mode="wrap")
for kind in ("MaxPool", "AveragePool", "LpPool"):
    for extra in ({"kernel_shape": [3]}, {"kernel_shape": [2], "strides": [2], "pads": [1, 0]},
                  {"kernel_shape": [3], "strides": [2], "auto_pad": "SAME_UPPER"}):
        case(kind, 11, (1, 2, 8), **extra)
        case(kind, 11, (1, 2, 8, 7), **{k: v if k == "auto_pad" else v * 2 for k, v in extra.items()})
case("MaxPool", 11, (1, 2, 8), kernel_shape=[3], dilations=[2], strides=[2], ceil_mode=1)
case("AveragePool", 11, (1, 2, 8), kernel_shape=[3], pads=[1, 1], count_include_pad=1)
case("AveragePool", 19, (1, 2, 8), kernel_shape=[3], strides=[2], ceil_mode=1)
# -- positions that the file fixes
case("GatherElements", 13, (3, 4), "x", "i", weights={"i": np.array([[0, -1, 2], [1, 0, 0]])}, axis=0)
case("GatherElements", 11, (1, 6), "x", "i", weights={"i": np.array([[5, 0, -2, 1]])}, axis=1)
case("GatherND", 13, (3, 4), "x", "i", weights={"i": np.array([[0, 3], [2, -1]])})
case("GatherND", 12, (2, 3, 4), "x", "i", weights={"i": np.array([[2], [0]])}, batch_dims=1)
case("ScatterND", 13, (3, 4), "x", "i", "u", u=(2, 4), weights={"i": np.array([[2], [0]])})
case("ScatterND", 13, (3, 4), "x", "i", "w", weights={"i": np.array([[2, 1], [0, 0]]), "w": floats(2)})
for reduction in ("add", "mul", "min", "max"):
    case("ScatterND", 18, (1, 5), "x", "i", "u", u=(3,), weights={"i": np.array([[0, 4], [0, 1], [0, 4]])}, reduction=reduction)
case("ScatterElements", 11, (3, 4), "x", "i", "u", u=(2, 3), weights={"i": np.array([[0, 2, 1], [2, 0, 2]])}, axis=0)
case("ScatterElements", 18, (1, 5), "x", "i", "u", u=(1, 3), weights={"i": np.array([[4, 1, 4]])}, axis=1, reduction="add")
case("Scatter", 9, (3, 4), "x", "i", "u", u=(1, 4), weights={"i": np.array([[2, 0, 1, 1]])}, axis=0)
for upper in (0, 1):
    case("Trilu", 14, (3, 4), "x", "k", weights={"k": np.asarray(1)}, upper=upper)
    chain("Trilu", 14, (1, 3), node("Trilu", "k", out=["t"], upper=upper), node("MatMul", "x", "t"), k=floats(3, 3))
case("Compress", 11, (3, 4), "x", "m", weights={"m": np.array([True, False, True])}, axis=0)
case("Compress", 11, (2, 3), "x", "m", weights={"m": np.array([False, True, True, False, True])})
case("ReverseSequence", 10, (4, 3), "x", "n", weights={"n": ints(4, 1, 3)}, time_axis=0, batch_axis=1)
for mode in ("DCR", "CRD"):
    case("DepthToSpace", 13, (1, 8, 2, 3), blocksize=2, mode=mode)
case("SpaceToDepth", 13, (1, 2, 4, 6), blocksize=2)
for mode in ("nearest", "linear"):
    case("Upsample", 7, (1, 2, 3, 5), mode=mode, scales=[1.0, 1.0, 2.0, 3.0])
    case("Upsample", 9, (1, 2, 3, 5), "x", "s", weights={"s": np.float32([1, 1, 2, 1.5])}, mode=mode)
    case("Resize", 10, (1, 2, 3, 5), "x", "s", weights={"s": np.float32([1, 1, 2, 3])}, mode=mode)
    for how in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"):
        for nearest in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil") if mode == "nearest" else ("floor",):
            case("Resize", [13, 19], (1, 2, 3, 5), "x", "", "", "n", weights={"n": ints(1, 2, 7, 4)}, mode=mode,
                 coordinate_transformation_mode=how, nearest_mode=nearest)
case("Resize", 11, (1, 2, 5), "x", "roi", "s", weights={"roi": np.float32([]), "s": np.float32([1, 1, 2])}, mode="nearest",
     nearest_mode="floor", coordinate_transformation_mode="asymmetric")
chain("Conv", 11, (1, 12), node("Reshape", "x", "s", out=["r"]), node("Conv", "r", "w", out=["c"], pads=[1, 1]),
      node("Reshape", "c", "t"), s=ints(3, 1, 4), w=floats(2, 1, 3), t=ints(1, -1))
# -- constants
chain("EyeLike", 13, (1, 3), node("EyeLike", "k", out=["e"], k=1), node("MatMul", "x", "e"), k=floats(3, 3))
chain("OneHot", 13, (1, 4), node("OneHot", "i", "n", "v", out=["h"], axis=0), node("MatMul", "x", "h"),
      i=ints(2, 0, -1), n=np.asarray(4), v=np.float32([0.5, 2]))
for block in ({"s": np.float32(0.1), "z": np.int8(3)}, {"s": floats(6), "z": np.arange(6, dtype=np.int8)}):
    chain("DequantizeLinear", 13, (1, 4), node("DequantizeLinear", "q", "s", "z", out=["w"], axis=1), node("MatMul", "x", "w"),
          q=RNG.integers(-128, 127, (4, 6)).astype(np.int8), **block)
chain("DequantizeLinear", 21, (1, 4), node("DequantizeLinear", "q", "s", out=["w"], axis=0, block_size=2),
      node("MatMul", "x", "w"), q=RNG.integers(-128, 127, (4, 6)).astype(np.int8), s=floats(2, 6))
for kind in ("Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Atanh"):
    chain(kind, 13, (1, 3), node(kind, "k", out=["s"]), node("Mul", "x", "s"), k=np.float32([-0.4, 0.1, 0.9]))
chain("Acosh", 13, (1, 3), node("Acosh", "k", out=["s"]), node("Mul", "x", "s"), k=np.float32([1.4, 2, 3.5]))
chain("IsNaN", 13, (1, 3), node("IsNaN", "k", out=["m"]), node("Where", "m", "x", "w"), w=floats(1, 3),
      k=np.float32([np.nan, 0, 1]))
for kind in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
    chain(kind, 18, (1, 4), node(kind, "i", "j", out=["k"]), node("Gather", "x", "k", axis=1), i=ints(1, 2, 3, 0), j=ints(3, 1, 2, 0))
chain("BitwiseNot", 18, (1, 4), node("BitwiseNot", "i", out=["k"]), node("Gather", "x", "k", axis=1), i=ints(0, 1, 3))
for kind in ("ArgMax", "ArgMin"):
    for last in (0, 1):
        chain(kind, 13, (1, 4), node(kind, "k", out=["i"], axis=1, keepdims=0, select_last_index=last),
              node("Gather", "x", "i", axis=1), k=np.float32([[1, 3, 3, 1], [5, 2, 2, 5]]))
case("Round", 13, (2, 9), scale=3.0)
chain("Round", 13, (1, 9), node("Floor", "x", out=["f"]), node("Mul", "f", "h", out=["k"]), node("Round", "k"),
      h=np.float32(0.5))
case("Shrink", 9, (2, 9), scale=2.0, bias=0.3, lambd=0.8)
case("Shrink", 9, (2, 9))
case("PRelu", 16, (2, 6), "x", "u", u=(1, 6))
case("com.microsoft::Gelu", 13, (1, 9), scale=2.0)
chain("Mod", 13, (1, 4), node("Mod", "a", "b", out=["m"], fmod=1), node("Add", "x", "m"),
      a=np.float32([-5, 4.5, 3, -1]), b=np.float32([3, -2, 3, 2]))
chain("Cast", 13, (1, 6), node("Cast", "x", out=["i"], to=TensorProto.INT64), node("Cast", "i", out=["f"], to=1),
      node("Sub", "x", "f"))
chain("Cast", 13, (1, 2), node("Cast", "w", out=["h"], to=TensorProto.FLOAT16), node("Cast", "h", out=["f"], to=1),
      node("Mul", "x", "f"), w=np.float32([0.1, 1 / 3]))
# -- Einsum
for equation, x, w in (
    ("ij,jk->ik", (2, 3), (3, 4)), ("bij,jk->bik", (1, 2, 3), (3, 4)), ("bij,bjk->bik", (1, 2, 3), (1, 3, 4)),
    ("bij,bjk->bik", (2, 2, 3), (2, 3, 4)), ("ij,ij->i", (3, 4), (3, 4)), ("i,i", (4,), (4,)), ("i,j->ij", (3,), (4,)),
    ("...i,ij->...j", (2, 3, 4), (4, 5)), ("bchw,hw->bc", (1, 2, 3, 4), (3, 4)), ("ij,kj->ki", (2, 3), (4, 3)),
    ("btf,fg->btg", (1, 1, 4), (4, 3)),
):
    case("Einsum", 12, x, "x", "w", weights={"w": floats(*w)}, equation=equation)
    case("Einsum", 12, x, "x", "u", u=w, equation=equation)
    case("Einsum", 12, w, "w", "x", weights={"w": floats(*x)}, equation=equation)
case("Einsum", 12, (2, 3, 4), equation="ijk->kj")
case("Einsum", 12, (2, 3, 4), equation="ijk")
case("MatMul", 13, (2, 3), "x", "u", u=(3, 4))
case("MatMul", 13, (2, 4, 3), "x", "u", u=(2, 3, 5))
case("Gemm", 13, (3, 2), "x", "u", u=(4, 3), transA=1, transB=1, alpha=0.5)
chain("ReduceProd", 13, (2, 3), node("Shape", "x", out=["s"]), node("ReduceProd", "s", out=["n"], keepdims=1),
      node("Reshape", "x", "n"))
# fmt: on


@pytest.mark.parametrize("made", CASES, ids=[c.name for c in CASES])
def test_operator(made: Case) -> None:
    data = {"x": made.x} | ({"u": made.u} if made.u is not None else {})
    used = {name for n in made.nodes for name in n.input}
    data = {k: v for k, v in data.items() if k in used or any(a.g.node for n in made.nodes for a in n.attribute)}
    proto = model(made.nodes, data, {"y": None}, made.weights, opset=made.opset)
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    draft = load_quietly(proto, states=dict.fromkeys(data))
    compare_steps(draft, proto, data, scale=made.scale, steps=3, tolerance=1e-5)


def test_every_operator_has_a_case() -> None:
    import rtrnn.importers.onnx.graph  # noqa: F401
    from rtrnn.importers.onnx.refused import REFUSED
    from rtrnn.importers.onnx.registry import OPS

    tried = {f"{n.domain}::{n.op_type}".removeprefix("::") for made in CASES for n in made.nodes}
    elsewhere = {"RNN", "GRU", "LSTM"}  # test_import_onnx.py, test_import_onnx_cells.py
    elsewhere |= {kind for kind in OPS if kind.startswith("com.microsoft::")}  # test_import_onnx_fused.py
    assert tried | elsewhere | REFUSED.keys() == set(OPS)  # test_import_onnx_errors.py has those refused
