"""What the ONNX importer refuses, and what it says."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtrnn.errors import FileFormatError, GraphError, MissingExtraError, StateError, UnsupportedError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper  # noqa: E402
from onnx_models import load_quietly, model  # noqa: E402

H, N = 4, 3


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def one(kind: str, *inputs: str, x: Any = (1, 3), opset: int = 18, weights: Any = None, **attributes: Any) -> Any:
    node = helper.make_node(kind, list(inputs) or ["x"], ["y"], name="the_node", **attributes)
    return model([node], {"x": x}, {"y": None}, weights, opset=opset)


def gru(outputs: list[str], **changed: Any) -> Any:
    weights = {"W": floats(1, 3 * H, N), "R": floats(1, 3 * H, H), "B": floats(1, 6 * H)} | changed
    node = helper.make_node(
        "GRU", ["obs", "W", "R", "B", "", "h_in"], ["Y", "h_out"], name="the_gru", hidden_size=H, linear_before_reset=1
    )
    inputs = {"obs": [1, 1, N], "h_in": [1, 1, H]}
    inputs |= {n: [1] for n in weights if weights[n] is None}
    return model([node], inputs, dict.fromkeys(outputs), {k: v for k, v in weights.items() if v is not None})


# -- files ---------------------------------------------------------------------------------------------


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing.onnx"):
        load_quietly(tmp_path / "nothing.onnx")


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(FileFormatError, match=r"empty.onnx: the file is empty"):
        load_quietly(str(tmp_path / "empty.onnx"))


@pytest.mark.parametrize("data", [b"hello, this is text", b"\x00" * 64, b"PK\x03\x04" + b"\x07" * 100, b"\x08\x07"])
def test_no_onnx_file(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(data)
    with pytest.raises(FileFormatError, match="not an ONNX model"):
        load_quietly(tmp_path / "x.onnx")
    with pytest.raises(FileFormatError, match="not an ONNX model"):
        load_quietly(data)


def test_every_truncation_is_refused_with_one_of_our_errors() -> None:
    data = gru(["Y", "h_out"]).SerializeToString()
    load_quietly(data)
    for end in range(0, len(data) - 30, 7):
        with pytest.raises((FileFormatError, UnsupportedError, GraphError, StateError)):
            load_quietly(data[:end])


def test_damaged_bytes_are_refused_with_one_of_our_errors() -> None:
    """Anything but one of our errors, or a Python warning, fails."""
    rng = np.random.default_rng(1)
    data = gru(["Y", "h_out"]).SerializeToString()
    refused = 0
    for _ in range(3000):
        damaged = bytearray(data)
        for at in rng.integers(len(data), size=rng.integers(1, 4)):
            damaged[at] = rng.integers(256)
        try:
            load_quietly(bytes(damaged))
        except (FileFormatError, UnsupportedError, GraphError, StateError):
            refused += 1
    assert refused > 300


def external(path: Path) -> None:
    proto = one("MatMul", "x", "w", weights={"w": floats(3, 64)})
    onnx.save(proto, path, save_as_external_data=True, location="weights.bin", size_threshold=0)


def test_external_data(tmp_path: Path) -> None:
    external(tmp_path / "net.onnx")
    draft = load_quietly(tmp_path / "net.onnx")
    assert any(np.array_equal(t, floats(3, 64).T) for t in draft.tensors.values())
    with pytest.raises(
        FileFormatError, match=r"'w' lies in the external data file 'weights.bin'; load the model by its path"
    ):
        load_quietly((tmp_path / "net.onnx").read_bytes())
    (tmp_path / "weights.bin").write_bytes(b"\x00" * 10)
    with pytest.raises(FileFormatError, match="'w'"):
        load_quietly(tmp_path / "net.onnx")
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(FileFormatError, match=r"tensor 'w' lies in .*weights\.bin', which is missing"):
        load_quietly(tmp_path / "net.onnx")


def test_external_data_outside_the_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    external(tmp_path / "a" / "net.onnx")
    (tmp_path / "a" / "weights.bin").rename(tmp_path / "weights.bin")
    proto = onnx.load(tmp_path / "a" / "net.onnx", load_external_data=False)
    proto.graph.initializer[0].external_data[0].value = "../weights.bin"
    (tmp_path / "a" / "net.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(FileFormatError, match="'w'"):
        load_quietly(tmp_path / "a" / "net.onnx")


def test_without_the_onnx_package(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **kw: Any) -> Any:
        if name == "onnx":
            raise ImportError(name)
        return real(name, *rest, **kw)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pip install 'rtrnn\[onnx\]'"):
        load_quietly("policy.onnx")


# -- operators -----------------------------------------------------------------------------------------


def test_unknown_operator() -> None:
    message = (
        "ONNX: Det node 'the_node': operator not supported; export the network without it, or written in the "
        r"\d+ operators that docs/formats.md lists$"
    )
    with pytest.raises(UnsupportedError, match=message):
        load_quietly(one("Det", x=(3, 3)))


def test_operator_of_another_domain() -> None:
    proto = one("Relu")
    proto.graph.node[0].domain = "com.example"
    with pytest.raises(UnsupportedError, match=r"com.example::Relu node 'the_node'"):
        load_quietly(proto)


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        ("Loop", "it runs over the sequence itself; export the network for one timestep"),
        ("Scan", "it runs over the sequence itself; export the network for one timestep"),
        ("TopK", "it gives depends on the order of values; export the network without it"),
        ("MatMulInteger", "it computes with integers; load the float network"),
        ("QuantizeLinear", "it computes with integers; load the float network"),
        ("RandomNormal", "it gives random numbers; export the network for inference"),
        ("SequenceAt", "a sequence of tensors; export the network with tensors alone"),
        ("DFT", "export the transform as a convolution"),
        ("Attention", "only recurrent networks are stepped"),
    ],
)
def test_operators_refused_by_name(kind: str, advice: str) -> None:
    with pytest.raises(UnsupportedError, match=f"ONNX: {kind} node 'the_node': .*{advice}"):
        load_quietly(one(kind))


@pytest.mark.parametrize("kind", ["Sin", "Cos", "ArgMax"])
def test_functions_of_constants_alone(kind: str) -> None:
    with pytest.raises(UnsupportedError, match=f"{kind} node 'the_node': its operand 'x' is computed from the inputs.*outside"):
        load_quietly(one(kind))


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (one("Gather", "w", "x", weights={"w": floats(5, 2)}), "its indices .operand 1, 'x'. must be constant.* embedding of tokens"),
        (one("Reshape", "w", "x", weights={"w": floats(5, 2)}), "its shape .operand 1, 'x'. must be constant"),
        (one("NonZero", "x"), "its operands must be constant"),
        (one("Mod", "x", "x"), "its operands must be constant"),
        (one("Gelu", "x", opset=20, approximate="magic"), "approximate='magic'; expected 'none' or 'tanh'"),
        (
            one("Reshape", "x", "s", weights={"s": np.array([4, 2])}),
            r"cannot reshape a value of shape \(1, 3\) to \(4, 2\)",
        ),
        (one("Squeeze", "x", "s", weights={"s": np.array([1])}), "cannot squeeze axis 1"),
        (
            one("Add", "x", "w", weights={"w": np.array([1j])}),
            "tensor 'w' has the type complex128; expected real numbers",
        ),
        (one("Concat", "x", axis=5), "axis 5 is out of range"),
        (one("Unsqueeze", "x", "a", weights={"a": np.array([0, 0])}), r"cannot insert axes \[0, 0\]"),
        (one("Cast", to=TensorProto.STRING), "the_node"),
        (one("BatchNormalization", "x", *"wwww", weights={"w": floats(3)}, training_mode=1), "training_mode is 1"),
        (one("Dropout", "x", "r", "t", weights={"r": np.float32(0.5), "t": np.array(True)}), "training_mode is true"),
        (one("Expand", "x", "s", weights={"s": np.array([2**20, 2**20, 3])}), "expected at most"),
        (one("ConstantOfShape", "s", weights={"s": np.array([2**40])}), "expected at most"),
        (one("Range", *"abc", weights=dict(zip("abc", np.float32([0, 1e12, 1]), strict=True))), "expected at most"),
    ],
)
def test_unsupported_uses(proto: Any, message: str) -> None:
    with pytest.raises(UnsupportedError, match=f"node 'the_node': .*{message}|{message}"):
        load_quietly(proto)


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (one("Add", "x", "w", weights={"w": floats(2)}), r"Add node 'the_node' does not fit its operands of shapes"),
        (one("Add", "x", "nothing"), "reads 'nothing', which nothing before it defines"),
        (one("Add", "x"), "operand 1 is missing"),
        (one("Unsqueeze", "x"), "the axes are missing"),
        (one("If", "k", weights={"k": np.array(True)}), "then_branch is missing"),
        (one("Cast", to=999), "Cast node 'the_node' does not fit"),
        (one("Constant", "x"), "expected one attribute"),
        (one("Range", *"aaa", weights={"a": np.float32(0)}), "the delta is 0"),
    ],
)
def test_broken_nodes(proto: Any, message: str) -> None:
    with pytest.raises(FileFormatError, match=message):
        load_quietly(proto)


@pytest.mark.parametrize(
    ("kind", "inputs", "attributes"),
    [
        ("InstanceNormalization", "x s s", {}),
        ("GroupNormalization", "x s s", {"num_groups": 1}),
        ("LayerNormalization", "x one", {"axis": -1}),
        ("GlobalAveragePool", "x", {}),
        ("LpNormalization", "x", {"axis": 2}),
        ("MeanVarianceNormalization", "x", {"axes": [0, 2]}),
    ],
)
def test_statistics_over_a_free_axis(kind: str, inputs: str, attributes: Any) -> None:
    """Over time a stream has no later values; over an axis of the timestep its size is needed."""
    weights = {"s": floats(3), "one": floats(1)}
    proto = one(kind, *inputs.split(), x=[1, 3, "T"], opset=21, weights=weights, **attributes)
    expected = r"ONNX: .*it takes in all of axis 2 of input 'x', which is not fixed.*input_shapes=\{'x': "
    with pytest.raises(UnsupportedError, match=expected):
        load_quietly(proto)
    if kind != "LayerNormalization":
        assert load_quietly(proto, input_shapes={"x": (1, 3, 5)}).inputs == {"x": (3, 5)}


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (one("CumSum", "x", "a", x=["T", 3], weights={"a": np.array(0)}), "a running sum over axis 0, which is time or batch"),
        (one("DequantizeLinear", "x", "s", weights={"s": np.float32(1)}), "load the float network that it was made from"),
        (one("Einsum", "x", x=(3, 3), equation="ii->i"), "without a letter twice"),
        (one("ReduceProd", x=(3, 400)), "a product of 1200 computed values; expected at most 256"),
        (one("CumSum", "x", "a", x=(1, 30000), weights={"a": np.array(1)}), "a running sum of 30000 computed values"),
        (one("Tile", "x", "r", weights={"r": np.array([1, 2**24])}), "expected at most 16777216 elements"),
        (one("Pad", "x", "p", weights={"p": np.array([0, 2**40, 0, 2**40])}), "expected at most"),
        (one("ConvTranspose", "x", "w", x=(1, 3, 8), weights={"w": floats(3, 2, 3)}, strides=[2**40]), "at most 4096"),
        (one("OneHot", *"idv", weights={"i": np.array([1]), "d": np.array(2**40), "v": floats(2)}), "expected at most"),
        (one("Conv", "x", "x", x=(1, 3, 3)), r"its weight W .operand 1, 'x'. must be constant"),
        (one("Resize", "x", "", "s", x=(1, 1, 4), weights={"s": np.float32([1, 1, 2])}, mode="cubic"), "mode is 'cubic'"),
        (one("Pad", "x", "p", weights={"p": np.array([0, 0, 0, 1])}, mode="mirror"), "mode is 'mirror'; expected one of"),
        (one("BatchNormalization", "x", *"wwww", weights={"w": floats(3)}, spatial=0, opset=8), "spatial is 0"),
        (one("ScatterND", "x", "i", "x", weights={"i": np.array([[0]])}, reduction="mean"), "reduction is 'mean'"),
        (one("Sum", "x", "s", weights={"s": np.array(["text"])}), "tensor 's'"),
    ],
)
def test_uses_that_cannot_be_stepped(proto: Any, message: str) -> None:
    with pytest.raises(UnsupportedError, match=f"ONNX: .*{message}"):
        load_quietly(proto)


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (one("Conv", "x", "w", x=(1, 3, 8), weights={"w": floats(2, 3, 3)}, pads=[1]), r"pads is \[1\]; expected 2 numbers"),
        (one("Conv", "x", "w", x=(1, 3, 8), weights={"w": floats(2, 3, 3)}, strides=[0]), r"strides is \[0\]; expected 1 numbers"),
        (one("Conv", "x", "w", x=(1, 3, 8), weights={"w": floats(2, 3, 3)}, kernel_shape=[5]), r"kernel_shape is \[5\], but the"),
        (one("Conv", "x", "w", x=(1, 3, 8), weights={"w": floats(2, 3)}), "expected .batch, channels, axes to convolve"),
        (one("Conv", "x", "w", x=(1, 3, 8), weights={"w": floats(2, 3, 3)}, auto_pad="MIDDLE"), "auto_pad is 'MIDDLE'"),
        (one("GatherElements", "x", "i", weights={"i": np.array([[7]])}, axis=1), r"indices 7..7 for an axis of size 3"),
        (one("GatherND", "x", "i", weights={"i": np.array([[0, 0, 0]])}), "indices of shape"),
        (one("ScatterND", "x", "i", "x", weights={"i": np.array([[0, 9]])}), "indices 9..9 for an axis of size 3"),
        (one("MaxPool", x=(1, 3, 8), kernel_shape=[2, 2]), r"kernel_shape \[2, 2\] for an input of shape"),
        (one("Pad", "x", "p", weights={"p": np.array([1, 2, 3])}), "3 pads for the axes"),
        (one("LpNormalization", p=3), "p is 3; expected 1 or 2"),
        (one("GroupNormalization", "x", "w", "w", x=(1, 3, 4), weights={"w": floats(3)}, num_groups=2), "num_groups is 2"),
    ],
)
def test_nodes_that_do_not_fit(proto: Any, message: str) -> None:
    with pytest.raises(FileFormatError, match=f"ONNX: .*node 'the_node': .*{message}"):
        load_quietly(proto)


def test_output_that_nothing_computes() -> None:
    proto = one("Relu")
    proto.graph.output[0].name = "z"
    with pytest.raises(FileFormatError, match="output 'z': no node computes it"):
        load_quietly(proto)


def test_outputs_of_a_node_that_are_not_computed() -> None:
    node = helper.make_node("MaxPool", ["x"], ["y", "places"], name="the_node", kernel_shape=[2])
    proto = model([node], {"x": [1, 3, 8]}, {"y": None})
    with pytest.raises(UnsupportedError, match=r"its outputs \['places'\] are not supported"):
        load_quietly(proto)


def test_condition_that_the_data_decides() -> None:
    graph = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["b"])], "b", [], [helper.make_tensor_value_info("b", TensorProto.FLOAT, None)]
    )
    with pytest.raises(UnsupportedError, match="its condition is computed from the inputs"):
        load_quietly(one("If", "x", x=[1], then_branch=graph, else_branch=graph))


# -- recurrent operators -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"W": floats(1, 3 * H, N + 1)}, r"GRU node 'the_gru': W has shape \(1, 12, 4\); expected \(1, 12, 3\)"),
        ({"R": floats(1, 4 * H, H)}, r"R has shape \(1, 16, 4\); expected \(1, 12, 4\)"),
        ({"B": floats(1, 3 * H)}, r"B has shape \(1, 12\); expected \(1, 24\)"),
        ({"W": floats(2, 3 * H, N)}, "W has shape"),
    ],
)
def test_weights_that_do_not_fit(changed: Any, message: str) -> None:
    with pytest.raises(FileFormatError, match=message):
        load_quietly(gru(["Y", "h_out"], **changed))


def test_weights_that_are_inputs_need_constants() -> None:
    proto = gru(["Y", "h_out"], W=None)
    with pytest.raises(UnsupportedError, match=r"the_gru.*its weight W .operand 1, 'W'. must be constant"):
        load_quietly(proto)
    assert list(load_quietly(proto, constants={"W": floats(1, 3 * H, N)}).inputs) == ["obs"]


@pytest.mark.parametrize(
    ("attributes", "error", "message"),
    [
        ({"activations": ["Sigmoid", "Cosine"]}, UnsupportedError, "activation 'Cosine'; supported are"),
        ({"activations": ["Sigmoid"]}, FileFormatError, r"1 activations \['Sigmoid'\]; expected 2"),
        (
            {"direction": "sideways"},
            FileFormatError,
            "direction is 'sideways'; expected forward, reverse or bidirectional",
        ),
        ({"layout": 3}, UnsupportedError, "layout 3; expected three axes and layout 0 or 1"),
    ],
)
def test_attributes_of_cells(attributes: Any, error: Any, message: str) -> None:
    proto = gru(["Y", "h_out"])
    proto.graph.node[0].attribute.extend(helper.make_attribute(k, v) for k, v in attributes.items())
    with pytest.raises(error, match=message):
        load_quietly(proto)


def test_initial_state_that_differs_over_the_batch() -> None:
    w = {"W": floats(1, 3 * H, N), "R": floats(1, 3 * H, H), "h": floats(1, 2, H)}
    node = helper.make_node("GRU", ["x", "W", "R", "", "", "h"], ["Y"], hidden_size=H)
    with pytest.raises(UnsupportedError, match=r"initial state of shape \(1, 2, 4\) differs over the batch axis"):
        load_quietly(model([node], {"x": [1, 2, N]}, {"Y": None}, w))


def test_initial_state_that_is_computed() -> None:
    w = {"W": floats(1, 3 * H, H), "R": floats(1, 3 * H, H)}
    nodes = [helper.make_node("Tanh", ["x"], ["h"]), helper.make_node("GRU", ["x", "W", "R", "", "", "h"], ["Y"])]
    with pytest.raises(UnsupportedError, match=r"its initial h is computed from the inputs \['x'\]"):
        load_quietly(model(nodes, {"x": [1, 1, H]}, {"Y": None}, w))


def test_state_output_missing() -> None:
    with pytest.raises(StateError, match=r"'h_in' of shape \(1, 1, 4\).*new state must be an output of the same shape"):
        load_quietly(
            model(
                [*gru(["Y"]).graph.node, helper.make_node("ReduceSum", ["Y"], ["s"])],
                {"obs": [1, 1, N], "h_in": [1, 1, H]},
                {"s": None},
                {"W": floats(1, 3 * H, N), "R": floats(1, 3 * H, H), "B": floats(1, 6 * H)},
            )
        )


# -- inputs and options --------------------------------------------------------------------------------


def test_unknown_rank() -> None:
    proto = one("Relu")
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(UnsupportedError, match=r"'x': the file does not say how many axes.*input_shapes=\{'x'"):
        load_quietly(proto)
    assert load_quietly(proto, input_shapes={"x": (1, 6)}).inputs == {"x": (6,)}


def test_free_features() -> None:
    proto = one("MatMul", "x", "w", x=["N", "features"], weights={"w": floats(4, 2)})
    with pytest.raises(UnsupportedError, match=r"linear: .*last axis of input 'x' is not fixed.*input_shapes="):
        load_quietly(proto)
    assert load_quietly(proto, input_shapes={"x": (1, 4)}).inputs == {"x": (4,)}


def test_input_that_is_no_tensor() -> None:
    proto = one("Relu")
    proto.graph.input[0].CopyFrom(helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, [1]))
    with pytest.raises(UnsupportedError, match="'x' is a sequence_type; expected a tensor"):
        load_quietly(proto)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"constants": {"q": 1}}, r"constants names the input 'q', but the inputs are \['x'\]"),
        ({"input_shapes": {"q": (1,)}}, r"input_shapes names the input 'q', but the inputs are \['x'\]"),
        ({"input_shapes": {"x": (0, 3)}}, r"'x' the shape \(0, 3\); expected sizes of at least 1"),
        ({"gru_reset": "during"}, "gru_reset is 'during'; expected 'after', 'before' or None"),
    ],
)
def test_options(options: Any, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        load_quietly(one("Relu"), **options)


def test_metadata_is_kept() -> None:
    proto = one("Relu")
    helper.set_model_props(proto, {"joint_names": "a,b", "action_scale": "0.25"})
    assert load_quietly(proto).metadata == {
        "joint_names": "a,b",
        "action_scale": "0.25",
        "source.format": "onnx",
        "source.producer": "test",
        "source.opset": "18",
        "source.inputs": '{"x": [1, 3]}',
        "source.states": "{}",
    }


def test_weights_listed_as_inputs() -> None:
    """Files of old exporters repeat every weight among the inputs."""
    proto = one("Add", "x", "w", weights={"w": floats(3)})
    proto.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [3]))
    assert list(load_quietly(proto).inputs) == ["x"]
