"""RNN, GRU and LSTM of the ONNX importer against onnxruntime over all their attributes, and what depends on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("hypothesis")

import reference  # noqa: E402
from hypothesis import HealthCheck, assume, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from onnx import helper  # noqa: E402
from onnx_models import compare_steps, load_quietly, model, session  # noqa: E402

INPUT, HIDDEN, STEPS = 3, 4, 6
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
FUNCTIONS = {"RNN": 1, "GRU": 2, "LSTM": 3}
TAKES = {
    "Relu": "",
    "Tanh": "",
    "Sigmoid": "",
    "Softsign": "",
    "Softplus": "",
    "Affine": "ab",
    "LeakyRelu": "a",
    "ThresholdedRelu": "a",
    "ScaledTanh": "ab",
    "HardSigmoid": "ab",
    "Elu": "a",
}


def weights_of(rng: np.random.Generator, kind: str, d: int = 1, *, bias: bool = True) -> dict[str, np.ndarray]:
    def floats(*shape: int) -> np.ndarray:
        return (0.6 * rng.standard_normal(shape)).astype(np.float32)

    rows = GATES[kind] * HIDDEN
    found = {"W": floats(d, rows, INPUT), "R": floats(d, rows, HIDDEN)}
    if bias:
        found["B"] = floats(d, 2 * rows)
    return found


def cell(kind: str, operands: list[str], outputs: list[str] | None = None, **attributes: Any) -> Any:
    while operands[-1] == "":
        operands.pop()
    names = outputs or ["Y", "Y_h", "Y_c"][: 3 if kind == "LSTM" else 2]
    return helper.make_node(kind, operands, names, name="cell", hidden_size=HIDDEN, **attributes)


def network(kind: str, rng: np.random.Generator, **attributes: Any) -> Any:
    w = weights_of(rng, kind)
    node = cell(kind, ["X", "W", "R", "B"], ["Y"], **attributes)
    return model([node], {"X": [1, 1, INPUT]}, {"Y": None}, w)


@st.composite
def settings_of(draw: Callable[..., Any]) -> dict[str, Any]:
    kind = draw(st.sampled_from(sorted(GATES)))
    direction = draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    d = 2 if direction == "bidirectional" else 1
    attributes: dict[str, Any] = {"direction": direction}
    if draw(st.booleans()):
        names = draw(
            st.lists(st.sampled_from(sorted(TAKES)), min_size=d * FUNCTIONS[kind], max_size=d * FUNCTIONS[kind])
        )
        attributes["activations"] = names
        value = st.sampled_from([0.25, 0.5, 0.75])
        for key, letter in (("activation_alpha", "a"), ("activation_beta", "b")):
            count = sum(letter in TAKES[n] for n in names)
            # onnxruntime takes 0 where the operators of these names default to 1: always given.
            if count and (draw(st.booleans()) or {"Affine", "ScaledTanh", "ThresholdedRelu"} & set(names)):
                attributes[key] = draw(st.lists(value, min_size=count, max_size=count))
    if draw(st.booleans()):
        attributes["clip"] = draw(st.sampled_from([0.2, 0.7]))
    if kind == "GRU":
        attributes["linear_before_reset"] = draw(st.integers(0, 1))
    if kind == "LSTM":
        attributes["input_forget"] = draw(st.integers(0, 1))
    return {
        "kind": kind,
        "attributes": attributes,
        "bias": draw(st.booleans()),
        "initial": draw(st.booleans()),
        "peephole": kind == "LSTM" and draw(st.booleans()),
        "seed": draw(st.integers(0, 1000)),
    }


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(settings_of())
def test_attributes(s: dict[str, Any]) -> None:
    rng = np.random.default_rng(s["seed"])
    d = 2 if s["attributes"]["direction"] == "bidirectional" else 1
    w = weights_of(rng, s["kind"], d, bias=s["bias"])
    operands = ["X", "W", "R", "B" if s["bias"] else "", ""]
    if s["initial"]:
        for name in ["h0", "c0"][: 2 if s["kind"] == "LSTM" else 1]:
            w[name] = rng.standard_normal((d, 1, HIDDEN)).astype(np.float32)
            operands.append(name)
    if s["peephole"]:
        operands += [""] * (7 - len(operands)) + ["P"]
        w["P"] = rng.standard_normal((d, 3 * HIDDEN)).astype(np.float32)
    node = cell(s["kind"], operands, **s["attributes"])
    outputs = dict.fromkeys(node.output)
    proto = model([node], {"X": ["time", "batch", INPUT]}, outputs, w)
    draft = load_quietly(proto)
    xs = rng.standard_normal((STEPS, 1, INPUT)).astype(np.float32)
    expected = session(proto).run(None, {"X": xs})
    # Unbounded gates make some networks diverge; nothing is learnt from comparing those.
    assume(all(np.isfinite(want).all() and np.abs(want).max() < 50 for want in expected))
    found = reference.Evaluator(draft).run({"X": xs[:, 0]})
    for name, want in zip(outputs, expected, strict=True):
        value = found[name] if name == "Y" else found[name][-1]
        np.testing.assert_allclose(value.ravel(), want.ravel(), rtol=2e-5, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("kind", sorted(GATES))
def test_constant_initial_states_are_carried(kind: str) -> None:
    rng = np.random.default_rng(1)
    names = ["h0", "c0"][: 2 if kind == "LSTM" else 1]
    w = weights_of(rng, kind) | {n: np.full((1, 3, HIDDEN), 0.5 + i, np.float32) for i, n in enumerate(names)}
    node = cell(kind, ["X", "W", "R", "B", "", *names], ["Y"])
    draft = load_quietly(model([node], {"X": ["T", 3, INPUT]}, {"Y": None}, w))
    assert [s.initial.tolist() for s in draft.states.values()] == [[0.5 + i] * HIDDEN for i in range(len(names))]


def test_narrow_and_wide_weights() -> None:
    rng = np.random.default_rng(2)
    exact = {k: np.round(v * 8) / 8 for k, v in weights_of(rng, "GRU").items()}
    drafts = []
    for dtype in (np.float16, np.float32, np.float64):
        w = {k: v.astype(dtype) for k, v in exact.items()}
        drafts.append(
            load_quietly(model([cell("GRU", ["X", "W", "R", "B"], ["Y"])], {"X": [1, 1, INPUT]}, {"Y": None}, w))
        )
    for draft in drafts:
        assert all(t.dtype == np.float32 for t in draft.tensors.values())
        assert [t.tobytes() for t in draft.tensors.values()] == [t.tobytes() for t in drafts[1].tensors.values()]


# -- the reset gate of exported GRUs -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("producer", "attribute", "option", "reset", "warned"),
    [
        ("pytorch", 0, None, "before", True),
        ("pytorch", 1, None, "after", False),
        ("pytorch", 0, "after", "after", False),
        ("pytorch", 0, "before", "before", False),
        ("pytorch", 1, "before", "before", False),
        ("tf2onnx", 0, None, "before", False),
    ],
)
def test_gru_reset(producer: str, attribute: int, option: str | None, reset: str, warned: bool) -> None:
    proto = network("GRU", np.random.default_rng(3), linear_before_reset=attribute)
    proto.producer_name = producer
    draft = load_quietly(proto, gru_reset=option)
    assert [n.attributes["reset"] for n in draft.nodes if n.op == "gru"] == [reset]
    assert bool(draft.warnings) == warned
    if warned:
        (text,) = draft.warnings
        assert "'cell'" in text
        assert "0.5.7 to 0.7.0" in text
        assert 'gru_reset="after"' in text


# -- sequence_lens -------------------------------------------------------------------------------------


def test_sequence_lens_as_an_input_is_dropped() -> None:
    rng = np.random.default_rng(4)
    node = cell("LSTM", ["X", "W", "R", "B", "lens"], ["Y"])
    proto = model([node], {"X": ["T", "N", INPUT], "lens": ["N"]}, {"Y": None}, weights_of(rng, "LSTM"))
    proto.graph.input[1].type.tensor_type.elem_type = onnx.TensorProto.INT32
    draft = load_quietly(proto)
    assert list(draft.inputs) == ["X"]
    assert draft.metadata["import.sequence_lens"] == "lens"
    assert draft.warnings == []


@pytest.mark.parametrize(("lens", "noted"), [([5, 5], False), ([5, 3], True)])
def test_constant_sequence_lens(lens: list[int], noted: bool) -> None:
    rng = np.random.default_rng(5)
    node = cell("GRU", ["X", "W", "R", "B", "lens"], ["Y"], linear_before_reset=1)
    w = weights_of(rng, "GRU") | {"lens": np.asarray(lens, np.int32)}
    draft = load_quietly(model([node], {"X": [5, 2, INPUT]}, {"Y": None}, w))
    assert draft.inputs == {"X": (INPUT,)}
    assert any("sequence_lens" in text for text in draft.warnings) == noted


# -- layers over an axis within the timestep -----------------------------------------------------------


@pytest.mark.parametrize("initial", [False, True])
@pytest.mark.parametrize("side_by_side", [1, 3])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("kind", sorted(GATES))
def test_layers_within_a_step(kind: str, direction: str, side_by_side: int, initial: bool) -> None:
    rng = np.random.default_rng(11)
    d = 2 if direction == "bidirectional" else 1
    w = weights_of(rng, kind, d)
    operands = ["X", "W", "R", "B"]
    if initial:
        names = ["h0", "c0"][: 2 if kind == "LSTM" else 1]
        w |= {n: rng.standard_normal((d, side_by_side, HIDDEN)).astype(np.float32) for n in names}
        operands += ["", *names]
    node = cell(kind, operands, direction=direction, **({"linear_before_reset": 1} if kind == "GRU" else {}))
    shape = [STEPS, side_by_side, INPUT]
    proto = model([node], {"X": shape}, dict.fromkeys(node.output), w)
    draft = load_quietly(proto, step_axes={"X": [0, 1]})
    assert not draft.states
    assert len(draft.nodes) >= STEPS * side_by_side * d
    compare_steps(draft, proto, {"X": shape}, steps=3)


@pytest.mark.parametrize("kind", sorted(GATES))
def test_blocks_of_several_frames_with_state(kind: str) -> None:
    """A step takes a block of frames; the state goes from the block's last frame to the next block's first."""
    rng = np.random.default_rng(12)
    states = ["h", "c"][: 2 if kind == "LSTM" else 1]
    outputs = ["Y", *(f"{s}_out" for s in states)]
    node = cell(kind, ["X", "W", "R", "B", "", *(f"{s}_in" for s in states)], outputs)
    inputs = {"X": [STEPS, 1, INPUT]} | {f"{s}_in": [1, 1, HIDDEN] for s in states}
    proto = model([node], inputs, dict.fromkeys(outputs), weights_of(rng, kind))
    draft = load_quietly(proto, step_axes={"X": [0]})
    assert draft.inputs == {"X": (STEPS, INPUT)}
    assert list(draft.outputs) == ["Y"]
    compare_steps(draft, proto, {"X": (STEPS, 1, INPUT)}, pairs={f"{s}_in": f"{s}_out" for s in states})


# -- the forms in which a network meets its cell -------------------------------------------------------


@pytest.mark.parametrize(
    "target", [[5 * 2, HIDDEN], [-1, HIDDEN], [5, 2, HIDDEN], [5, 2, -1], [0, 2, -1], [-1, 2, HIDDEN]]
)
def test_fixed_time_and_batch_reach_reshapes(target: list[int]) -> None:
    """A reshape whose target names the fixed batch and time sizes follows when they become 1."""
    rng = np.random.default_rng(6)
    w = weights_of(rng, "RNN") | {"shape": np.array(target), "out": rng.standard_normal((HIDDEN, 2)).astype("f4")}
    nodes = [
        cell("RNN", ["X", "W", "R", "B"], ["Y"]),
        helper.make_node("Transpose", ["Y"], ["t"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["t", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "out"], ["y"]),
    ]
    fixed = model(nodes, {"X": [5, 2, INPUT]}, {"y": None}, w)
    draft = load_quietly(fixed)
    assert draft.inputs == {"X": (INPUT,)}
    xs = rng.standard_normal((5, 2, INPUT)).astype(np.float32)
    (want,) = session(fixed).run(None, {"X": xs})
    for b in range(2):
        found = reference.Evaluator(draft).run({"X": xs[:, b]})["y"]
        np.testing.assert_allclose(found, want.reshape(5, 2, 2)[:, b], rtol=1e-5, atol=1e-6)


def test_fixed_batch_of_a_state_input() -> None:
    rng = np.random.default_rng(7)
    node = cell("GRU", ["X", "W", "R", "B", "", "h_in"], ["Y", "h_out"], linear_before_reset=1)
    proto = model(
        [node], {"X": [1, 16, INPUT], "h_in": [1, 16, HIDDEN]}, {"Y": None, "h_out": None}, weights_of(rng, "GRU")
    )
    draft = load_quietly(proto)
    assert draft.inputs == {"X": (INPUT,)}
    assert {k: s.shape for k, s in draft.states.items()} == {"h_in": (HIDDEN,)}


def test_one_state_tensor_for_h_and_c() -> None:
    """h and c stacked in one state input, as voice activity networks carry them."""
    rng = np.random.default_rng(8)
    w = weights_of(rng, "LSTM") | {"i0": np.array([0]), "i1": np.array([1])}
    nodes = [
        helper.make_node("Gather", ["state", "i0"], ["h"]),
        helper.make_node("Gather", ["state", "i1"], ["c"]),
        cell("LSTM", ["X", "W", "R", "B", "", "h", "c"], ["Y", "hn", "cn"]),
        helper.make_node("Concat", ["hn", "cn"], ["stateN"], axis=0),
    ]
    proto = model(nodes, {"X": [1, 1, INPUT], "state": [2, 1, HIDDEN]}, {"Y": None, "stateN": None}, w)
    draft = load_quietly(proto)
    assert {k: s.shape for k, s in draft.states.items()} == {"state": (2, HIDDEN)}
    compare_steps(draft, proto, {"X": (1, 1, INPUT)}, pairs={"state": "stateN"})


def test_initial_states_given_by_the_caller() -> None:
    rng = np.random.default_rng(9)
    node = cell("LSTM", ["X", "W", "R", "B", "", "h_in", "c_in"], ["Y", "h_out", "c_out"])
    inputs = {"X": [1, 1, INPUT], "h_in": [1, 1, HIDDEN], "c_in": [1, 1, HIDDEN]}
    proto = model([node], inputs, {"Y": None, "h_out": None, "c_out": None}, weights_of(rng, "LSTM"))
    initial = {n: rng.standard_normal((1, 1, HIDDEN)).astype(np.float32) for n in ("h_in", "c_in")}
    draft = load_quietly(proto, initial_states=initial)
    pairs = {"h_in": "h_out", "c_in": "c_out"}
    compare_steps(draft, proto, {"X": (1, 1, INPUT)}, pairs=pairs, initial=initial)
    with pytest.raises(AssertionError):
        compare_steps(load_quietly(proto), proto, {"X": (1, 1, INPUT)}, pairs=pairs, initial=initial)


def test_functions_of_the_model_are_inlined() -> None:
    rng = np.random.default_rng(10)
    opsets = [helper.make_opsetid("", 18)]
    body = [helper.make_node("Neg", ["a"], ["b"]), helper.make_node("Exp", ["b"], ["c"])]
    call = helper.make_node("Decay", ["Y"], ["y"], domain="local")
    nodes = [cell("RNN", ["X", "W", "R", "B"], ["Y"]), call]
    proto = model(nodes, {"X": [1, 1, INPUT]}, {"y": None}, weights_of(rng, "RNN"))
    proto.functions.append(helper.make_function("local", "Decay", ["a"], ["c"], body, opsets))
    proto.opset_import.append(helper.make_opsetid("local", 1))
    assert [n.op for n in load_quietly(proto).nodes] == ["rnn", "neg", "exp"]
