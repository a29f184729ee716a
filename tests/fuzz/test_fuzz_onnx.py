"""Damaged and hostile ONNX files: refused in time, within memory, never a crash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import assert_clean, load_all, write_damaged

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402


def test_damaged(foreign: Path, tmp_path: Path) -> None:
    assert_clean(load_all(write_damaged(foreign, tmp_path, 400), imports="onnx"))


def integers(name: str, *values: int) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def model(nodes: list[Any], initializers: list[Any] = [], sizes: tuple[Any, ...] = (1, 4)) -> Any:  # noqa: B006
    """x -> y through `nodes`."""
    graph = helper.make_graph(
        nodes,
        "hostile",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, sizes)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def claimed(dims: list[int], data: bytes = b"") -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, raw_data=data)
    tensor.dims.extend(dims)
    return tensor


def external(location: str, **entries: int) -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    tensor.dims.extend([4, 4])
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def nested_if(depth: int) -> Any:
    def leaf(name: str) -> Any:
        return helper.make_graph([helper.make_node("Neg", ["x"], [name])], "leaf", [], [value(name)])

    graph = leaf("y0")
    for level in range(1, depth + 1):
        out = f"y{level}" if level < depth else "y"
        node = helper.make_node("If", ["yes"], [out], then_branch=graph, else_branch=leaf(f"n{level}"))
        graph = helper.make_graph([node], f"level{level}", [], [value(out)])
    return model([node], [numpy_helper.from_array(np.array(True), "yes")])


def value(name: str) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)


def doubling(op: str, rounds: int) -> Any:
    """A constant that doubles in size with every node."""
    nodes = [helper.make_node(op, [f"c{i}", f"c{i}"], [f"c{i + 1}"], axis=0) for i in range(rounds)]
    nodes.append(helper.make_node("ReduceSum", [f"c{rounds}"], ["sum"], keepdims=0))
    return model(
        [*nodes, helper.make_node("Add", ["x", "sum"], ["y"])], [numpy_helper.from_array(np.ones(1024, np.float32), "c0")]
    )


def grown(op: str, *operands: str) -> list[Any]:
    return [helper.make_node(op, [*operands], ["c"]), helper.make_node("Add", ["x", "c"], ["y"])]


MATMUL = [helper.make_node("MatMul", ["x", "w"], ["y"])]

HOSTILE: dict[str, Callable[[], Any]] = {
    "forty gigabytes claimed": lambda: model(MATMUL, [claimed([100_000, 100_000])]),
    "shape overflows": lambda: model(MATMUL, [claimed([2**62, 8], b"\0" * 64)]),
    "negative shape": lambda: model(MATMUL, [claimed([-4, -4], b"\0" * 64)]),
    "cycle of two": lambda: model(
        [helper.make_node("Add", ["x", "b"], ["y"]), helper.make_node("Neg", ["y"], ["b"])]
    ),
    "reads itself": lambda: model([helper.make_node("Add", ["x", "y"], ["y"])]),
    "no end of a range": lambda: model(
        grown("Range", "zero", "end", "one"), [integers("zero", 0), integers("end", 10**13), integers("one", 1)]
    ),
    "huge ConstantOfShape": lambda: model(grown("ConstantOfShape", "s"), [integers("s", 10**5, 10**6)]),
    "huge Expand": lambda: model(grown("Expand", "x", "s"), [integers("s", 10**6, 10**6, 4)]),
    "huge Tile": lambda: model(grown("Tile", "x", "s"), [integers("s", 10**6, 10**6)]),
    "huge Pad": lambda: model(grown("Pad", "x", "s"), [integers("s", 0, 0, 0, 10**12)]),
    "huge input": lambda: model([helper.make_node("Neg", ["x"], ["y"])], sizes=(1, 2**40)),
    "doubling Concat": lambda: doubling("Concat", 30),
    "deep If": lambda: nested_if(30),
    "outer product of inputs": lambda: model(
        [helper.make_node("Transpose", ["x"], ["t"]), helper.make_node("Mul", ["x", "t"], ["y"])], sizes=(1, 200_000)
    ),
    "external data outside": lambda: model(MATMUL, [external("../../../../../etc/passwd")]),
    "external data absolute": lambda: model(MATMUL, [external("/etc/passwd")]),
    "external data beyond the end": lambda: model(MATMUL, [external("data.bin", offset=2**62, length=64)]),
    "external data of a terabyte": lambda: model(MATMUL, [external("data.bin", offset=0, length=10**12)]),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile(what: str, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(b"\0" * 64)
    path = tmp_path / "hostile.onnx"
    path.write_bytes(HOSTILE[what]().SerializeToString())
    assert_clean(load_all([path], imports="onnx"), refused=what != "deep If")


def test_the_file_they_differ_from_loads(tmp_path: Path) -> None:
    path = tmp_path / "good.onnx"
    path.write_bytes(model(MATMUL, [claimed([4, 4], b"\0" * 64)]).SerializeToString())
    (outcome,) = load_all([path])
    assert outcome.kind == "loaded", outcome.text
