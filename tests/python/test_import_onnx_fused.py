"""Files that onnxruntime's optimiser has written compute what they computed before."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="reading ONNX files needs the onnx package")
onnxruntime = pytest.importorskip("onnxruntime", reason="its optimiser writes the files of these tests")

from onnx import helper  # noqa: E402
from onnx_models import compare_steps, load_quietly, model  # noqa: E402

from rtrnn.errors import UnsupportedError  # noqa: E402

N = 6


def optimised(proto: Any, path: Path) -> Any:
    """The model as onnxruntime saves it at its extended level, with its own fused operators."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 4
    onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load(path)


def weights(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: (0.4 * rng.normal(size=shape)).astype(np.float32) for name, shape in shapes.items()}


def fused(proto: Any) -> Counter[str]:
    return Counter(node.op_type for node in proto.graph.node if node.domain == "com.microsoft")


def test_feed_forward(tmp_path: Path) -> None:
    node = helper.make_node
    nodes = [
        node("Gemm", ["x", "w0", "b0"], ["a"]),
        node("LeakyRelu", ["a"], ["b"], alpha=0.2),
        node("MatMul", ["b", "w1"], ["c"]),
        node("Add", ["c", "b1"], ["d"]),
        node("Div", ["d", "root2"], ["e"]),
        node("Erf", ["e"], ["f"]),
        node("Add", ["f", "one"], ["g"]),
        node("Mul", ["d", "g"], ["h"]),
        node("Mul", ["h", "half"], ["i"]),
        node("Mul", ["i", "slope"], ["j"]),
        node("Sigmoid", ["j"], ["k"]),
        node("Mul", ["i", "k"], ["y"]),
    ]
    constants = weights(w0=(N, N), b0=(N,), w1=(N, N), b1=(N,))
    numbers = {"root2": np.sqrt(2), "one": 1, "half": 0.5, "slope": 1.702}
    constants |= {name: np.float32(value) for name, value in numbers.items()}
    proto = optimised(model(nodes, {"x": (1, N)}, {"y": (1, N)}, constants), tmp_path / "net.onnx")
    assert {"FusedGemm", "QuickGelu"} <= fused(proto).keys()
    assert fused(proto).keys() & {"Gelu", "BiasGelu"}
    compare_steps(load_quietly(proto), proto, {"x": (1, N)})


@pytest.mark.parametrize("activation", ["Relu", "LeakyRelu", "Tanh", "Sigmoid"])
def test_convolution(activation: str, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], strides=[2], pads=[1, 1]),
        helper.make_node(activation, ["a"], ["y"]),
    ]
    proto = optimised(model(nodes, {"x": (1, 2, 9)}, {"y": (1, 4, 5)}, weights(w=(4, 2, 3))), tmp_path / "net.onnx")
    assert fused(proto) == {"FusedConv": 1}
    compare_steps(load_quietly(proto), proto, {"x": (1, 2, 9)})


def test_convolution_with_a_sum() -> None:
    nodes = [
        helper.make_node("FusedConv", ["x", "w", "b", "z"], ["y"], domain="com.microsoft", activation="Relu", pads=[1, 1]),
    ]
    shapes = {"x": (1, 4, 5), "z": (1, 4, 5)}
    proto = model(nodes, shapes, {"y": (1, 4, 5)}, weights(w=(4, 4, 3), b=(4,)))
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    compare_steps(load_quietly(proto, states={"z": None}), proto, shapes)


def test_an_unknown_activation_is_refused() -> None:
    nodes = [helper.make_node("FusedConv", ["x", "w"], ["y"], "conv", domain="com.microsoft", activation="Softmax")]
    proto = model(nodes, {"x": (1, 2, 5)}, {"y": (1, 4, 3)}, weights(w=(4, 2, 3)))
    with pytest.raises(UnsupportedError, match="FusedConv node 'conv': activation 'Softmax'"):
        load_quietly(proto)


@pytest.mark.parametrize(("a", "b", "batch_a", "batch_b"), list(itertools.product((0, 1), repeat=4)))
def test_transposed_products(a: int, b: int, batch_a: int, batch_b: int) -> None:
    def shape(rows: int, columns: int, turned: int, batch: int) -> tuple[int, ...]:
        rows, columns = (columns, rows) if turned else (rows, columns)
        return (rows, 2, columns) if batch else (2, rows, columns)

    shapes = {"x": shape(3, 4, a, batch_a), "z": shape(4, 5, b, batch_b)}
    options = {"transA": a, "transB": b, "transBatchA": batch_a, "transBatchB": batch_b, "alpha": 0.3}
    nodes = [helper.make_node("FusedMatMul", ["x", "z"], ["y"], domain="com.microsoft", **options)]
    proto = model(nodes, shapes, {"y": (2, 3, 5)})
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    compare_steps(load_quietly(proto, states={"z": None}), proto, shapes)


@pytest.mark.parametrize("operands", [3, 4, 5])
def test_normalised_sum(operands: int) -> None:
    names = ["x", "z", "gamma", "beta", "bias"][:operands]
    nodes = [
        helper.make_node("SkipLayerNormalization", names, ["y", "", "", "sum"], domain="com.microsoft", epsilon=1e-3),
    ]
    shapes = {"x": (1, 1, N), "z": (1, 1, N)}
    constants = {k: v for k, v in weights(gamma=(N,), beta=(N,), bias=(N,)).items() if k in names}
    proto = model(nodes, shapes, {"y": (1, 1, N), "sum": (1, 1, N)}, constants)
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    compare_steps(load_quietly(proto, states={"z": None}), proto, shapes)


@pytest.mark.parametrize(("kind", "operands"), [("BiasGelu", 2), ("FastGelu", 1), ("FastGelu", 2)])
def test_gelu(kind: str, operands: int) -> None:
    nodes = [helper.make_node(kind, ["x", "bias"][:operands], ["y"], domain="com.microsoft")]
    constants = weights(bias=(N,)) if operands == 2 else {}
    proto = model(nodes, {"x": (1, N)}, {"y": (1, N)}, constants)
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    compare_steps(load_quietly(proto), proto, {"x": (1, N)})


def test_every_operator_of_that_domain_is_tested() -> None:
    from rtrnn.importers.onnx.refused import REFUSED
    from rtrnn.importers.onnx.registry import OPS

    here = {"FusedConv", "FusedGemm", "FusedMatMul", "QuickGelu", "SkipLayerNormalization", "BiasGelu", "FastGelu"}
    known = {kind.removeprefix("com.microsoft::") for kind in OPS.keys() - REFUSED.keys() if kind.startswith("com.microsoft::")}
    assert known == here | {"Gelu"}  # test_import_onnx_ops.py
