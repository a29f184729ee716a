"""What the ONNX importer says about files that can be run but may be wrong, and how it takes other number types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="reading ONNX files needs the onnx package")
pytest.importorskip("onnxruntime", reason="the comparison needs onnxruntime")

from onnx import TensorProto, helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402
from onnx_models import compare_steps, load_quietly, model, steppers  # noqa: E402

import rtrnn  # noqa: E402
from rtrnn.errors import UnsupportedError  # noqa: E402

H, N = 4, 3
RNG = np.random.default_rng(3)


def floats(*shape: int) -> np.ndarray:
    return (0.5 * RNG.standard_normal(shape)).astype(np.float32)


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    names = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(kind, names, outputs.split(), **{"name": f"the_{kind.lower()}", **attributes})


def gru_weights() -> dict[str, Any]:
    return {"W": floats(1, 3 * H, N), "R": floats(1, 3 * H, H), "B": floats(1, 6 * H)}


def gru(outputs: list[str], inputs: str = "x W R B", weights: Any = None, **attributes: Any) -> Any:
    """A GRU with a head: x to y, with Y_h as h_out."""
    nodes = [node("GRU", inputs, "Y h_out", hidden_size=H, linear_before_reset=1, **attributes), node("MatMul", "Y V", "y")]
    given = {"x": [1, 1, N]} | ({"h_in": [1, 1, H]} if "h_in" in inputs else {})
    return model(nodes, given, dict.fromkeys(outputs), (weights or gru_weights()) | {"V": floats(H, 2)})


# -- normalisers ---------------------------------------------------------------------------------------


def normaliser(deviation: Any) -> Any:
    nodes = [node("Sub", "x mean", "d"), node("Div", "d deviation", "y")]
    return model(nodes, {"x": [1, 4]}, {"y": None}, {"mean": floats(4), "deviation": np.float32(deviation)})


def test_division_by_a_deviation_of_zero() -> None:
    expected = r"ONNX: Div node 'the_div': its divisor 'deviation' of shape \(4,\) is zero at elements 1, 3; expected"
    with pytest.raises(UnsupportedError, match=expected):
        load_quietly(normaliser([1, 0, 2, 0]))


def test_division_by_a_tiny_deviation() -> None:
    (text,) = load_quietly(normaliser([1, 1e-8, 2, 3])).warnings
    assert text.startswith("Div node 'the_div': its divisor 'deviation' is as small as 1e-08 at elements 1 and as large as 3")
    assert load_quietly(normaliser([1, 1e-4, 2, 3])).warnings == []
    assert load_quietly(normaliser([1e-8, 1e-8, 1e-8, 1e-8])).warnings == []


# -- states --------------------------------------------------------------------------------------------


def test_final_state_that_no_input_feeds() -> None:
    (text,) = load_quietly(gru(["y", "h_out"])).warnings
    assert text.startswith("output 'h_out' is the final state of a recurrent layer, but no input feeds it back")
    assert load_quietly(gru(["y"])).warnings == []
    assert load_quietly(gru(["y", "h_out"], "x W R B - h_in")).warnings == []


def test_output_named_like_a_state() -> None:
    proto = model([node("Neg", "x", "y"), node("Exp", "x", "hidden_state")], {"x": [1, 4]}, {"y": None, "hidden_state": None})
    (text,) = load_quietly(proto).warnings
    assert text.startswith("output 'hidden_state' is named like a state, but no input takes it")


@pytest.mark.parametrize(
    ("made", "said"), [(node("Identity", "h_in", "h_out"), "is the state itself"), (node("Relu", "K", "h_out"), "is constant")]
)
def test_state_that_never_changes(made: Any, said: str) -> None:
    nodes = [made, node("Add", "x h_in", "y")]
    proto = model(nodes, {"x": [1, H], "h_in": [1, H]}, {"y": None, "h_out": None}, {"K": floats(1, H)})
    (text,) = load_quietly(proto, states={"h_in": "h_out"}).warnings
    assert text.startswith(f"the next value of the state 'h_in', output 'h_out', {said}")


def test_delay_line_under_any_names() -> None:
    """Two caches of one shape, crossed in their names: what is shifted into which decides."""
    nodes = [
        node("Slice", "first one three axis", "old_a"), node("Concat", "old_a x", "a", axis=1), node("Neg", "x", "minus"),
        node("Slice", "second one three axis", "old_b", name="p"), node("Concat", "old_b minus", "b", axis=1, name="q"),
        node("Add", "first second", "s"), node("ReduceSum", "s", "y"),
    ]  # fmt: skip
    weights = {"one": np.array([1]), "three": np.array([3]), "axis": np.array([1])}
    shapes = {"x": [1, 1], "first": [1, 3], "second": [1, 3]}
    proto = model(nodes, shapes, {"y": None, "b": None, "a": None}, weights)
    draft = load_quietly(proto)
    assert draft.warnings == []
    compare_steps(draft, proto, {"x": (1, 1)}, pairs={"first": "a", "second": "b"})


# -- cells and weights ---------------------------------------------------------------------------------


def test_unusual_activations() -> None:
    (text,) = load_quietly(gru(["y"], activations=["Tanh", "Relu"])).warnings
    assert text.startswith("GRU node 'the_gru' has the activations tanh, relu where trained networks have sigmoid or hard_sigmoid")
    assert load_quietly(gru(["y"], activations=["HardSigmoid", "Tanh"])).warnings == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(value: float) -> None:
    weights = gru_weights()
    weights["R"][0, 5, 2] = value
    with pytest.raises(UnsupportedError, match=rf"ONNX: tensor 'R' \({value} at \[0, 5, 2\]\): expected finite weights"):
        load_quietly(gru(["y"], weights=weights))


def test_infinite_bound_is_no_weight() -> None:
    proto = model([node("Clip", "x low high", "y")], {"x": [1, 3]}, {"y": None}, {"low": np.float32(-1), "high": np.float32(np.inf)})
    compare_steps(load_quietly(proto), proto, {"x": (1, 3)}, scale=3.0)


def test_constant_that_overflows() -> None:
    nodes = [node("Reciprocal", "std", "scale"), node("Mul", "x scale", "y")]
    proto = model(nodes, {"x": [1, 2]}, {"y": None}, {"std": np.float32([1, 0])})
    with pytest.raises(UnsupportedError, match=r"a constant that is computed from the file's tensors is inf at \[1\]"):
        load_quietly(proto)


def test_notices_are_issued_and_kept(tmp_path: Path) -> None:
    """By rtrnn.load as ModelWarning and in model.warnings; a repaired file is silent."""
    proto = gru(["y"], activations=["Tanh", "Tanh"])
    onnx.save(proto, tmp_path / "net.onnx")
    with pytest.warns(rtrnn.ModelWarning, match="GRU node 'the_gru' has the activations tanh"):
        loaded = rtrnn.load(tmp_path / "net.onnx")
    assert len(loaded.warnings) == 1
    proto = gru(["y"])
    proto.producer_name = "pytorch"
    proto.graph.node[0].attribute[1].i = 0
    onnx.save(proto, tmp_path / "net.onnx")
    with pytest.warns(rtrnn.ModelWarning, match=r"linear_before_reset=0.*gru_reset=.after"):
        rtrnn.load(tmp_path / "net.onnx")
    assert not rtrnn.load(tmp_path / "net.onnx", gru_reset="after").warnings


def test_step_axes_reach_the_importer(tmp_path: Path) -> None:
    """A layer over an axis of features: from zero in every step."""
    proto = gru(["y"])
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 5
    onnx.save(proto, tmp_path / "net.onnx")
    with pytest.warns(rtrnn.ModelWarning, match=r"takes 5 timesteps of input 'x' .*step_axes=\{'x': \[0\]\}"):
        assert rtrnn.load(tmp_path / "net.onnx").inputs == {"x": (N,)}
    within = rtrnn.load(tmp_path / "net.onnx", step_axes={"x": [0]})
    assert within.inputs == {"x": (5, N)}
    assert not within.graph.states
    compare_steps(load_quietly(tmp_path / "net.onnx", step_axes={"x": [0]}), proto, {"x": (5, 1, N)})


def test_metadata_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rtrnn.cli import main

    proto = gru(["y"])
    helper.set_model_props(proto, {"joint_names": "left_hip,left_knee", "default_joint_pos": "0.1,-0.2", "action_scale": "0.25"})
    onnx.save(proto, tmp_path / "net.onnx")
    assert main(["info", str(tmp_path / "net.onnx")]) == 0
    shown = capsys.readouterr().out
    for text in ("joint_names", "left_hip,left_knee", "default_joint_pos", "0.1,-0.2", "action_scale", "0.25"):
        assert text in shown


# -- number types --------------------------------------------------------------------------------------


def typed(proto: Any, kind: int) -> Any:
    """The model with inputs, outputs and weights of another float type."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.elem_type = kind
    for tensor in proto.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if array.dtype.kind == "f":
            tensor.CopyFrom(onnx.numpy_helper.from_array(array.astype(dtype), tensor.name))
    return proto


@pytest.mark.parametrize(("kind", "tolerance"), [(TensorProto.DOUBLE, 2e-6), (TensorProto.FLOAT16, 6e-3)])
def test_networks_of_another_float_type(kind: int, tolerance: float) -> None:
    """The Graph computes in f32 whatever the type; the file is evaluated in its own."""
    proto = typed(gru(["y", "h_out"], "x W R B - h_in"), kind)
    dtype, draft = helper.tensor_dtype_to_np_dtype(kind), load_quietly(proto)
    assert draft.warnings == []
    evaluator, h = ReferenceEvaluator(proto), np.zeros((1, 1, H), dtype)
    runners = steppers(draft)
    for x in RNG.standard_normal((6, 1, 1, N)).astype(dtype):
        want, h = evaluator.run(None, {"x": x, "h_in": h})
        for runner in runners:
            found = runner.step({"x": x.reshape(N).astype(np.float32)})["y"]
            np.testing.assert_allclose(np.ravel(found), want.ravel(), rtol=tolerance, atol=tolerance)


def with_integers(nodes: list[Any], weights: Any = None) -> Any:
    proto = model(nodes, {"x": [1, 4], "k": [1, 4]}, {"y": None}, weights)
    proto.graph.input[1].type.tensor_type.elem_type = TensorProto.INT64
    return proto


def test_integer_inputs() -> None:
    """Commands and one-hot vectors: cast to float, compared, added."""
    nodes = [
        node("Add", "k one", "k1"), node("Cast", "k1", "f", to=TensorProto.FLOAT), node("Mul", "x f", "p"),
        node("Equal", "k one", "m"), node("Where", "m x p", "q"), node("Div", "q f", "y"),
    ]  # fmt: skip
    proto = with_integers(nodes, {"one": np.array([1])})
    runtime, runners = ReferenceEvaluator(proto), steppers(load_quietly(proto))
    for _ in range(4):
        data = {"x": RNG.standard_normal((1, 4)).astype(np.float32), "k": RNG.integers(0, 3, (1, 4))}
        (want,) = runtime.run(None, data)
        for runner in runners:
            found = runner.step({name: value.ravel() for name, value in data.items()})["y"]
            np.testing.assert_allclose(found, want.ravel(), rtol=1e-6)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("Div", "k two", "h"), node("Cast", "h", "f", to=1), node("Mul", "x f", "y")], "Div node 'the_div': its operand 'k' is"),
        ([node("Gather", "table k", "e"), node("ReduceSum", "e", "y")], r"its indices .operand 1, 'k'. must be constant.*embedding"),
        ([node("Cast", "x", "i", to=TensorProto.INT8), node("Cast", "i", "y", to=1)], "a cast of a computed value to INT8"),
        ([node("Cast", "x", "i", to=TensorProto.FLOAT8E5M2), node("Cast", "i", "y", to=1)], "a cast to FLOAT8E5M2; expected one of"),
    ],
)
def test_integers_that_the_graph_cannot_hold(nodes: Any, message: str) -> None:
    with pytest.raises(UnsupportedError, match=f"ONNX: .*{message}"):
        load_quietly(with_integers(nodes, {"two": np.array([2]), "table": floats(5, 4)}))
