"""`rtrnn verify` runs foreign runtimes rightly, measures errors rightly, and fails a network that is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_networks import H, I, draft, gru_onnx, gru_rtrnn, observations, torchscript

import rtrnn
from rtrnn.cli import main
from rtrnn.errors import UnsupportedError
from rtrnn.formats import FORMATS
from rtrnn.runtimes import RUNTIMES, Interface, open_runtime
from rtrnn.verify import Comparison, _Collected, compare, random_inputs, verify


def perturbed(model: rtrnn.Model, by: float = 0.02, tensor: int = 0) -> rtrnn.Model:
    """The same Graph with one element of one weight changed."""
    source = model.graph
    made = rtrnn._core.Graph()
    for port in source.inputs:
        made.add_input(port.name, list(port.shape))
    for position, name in enumerate(source.tensor_names):
        array = np.array(source.tensor(name))
        if position == tensor:
            array.flat[0] += by
        made.add_tensor(name, array)
    for state in source.states:
        made.add_state(state.name, list(state.shape), state.initial)
    for node in source.nodes:
        made.add_node(node.op, node.name, node.inputs, node.outputs, node.attributes)
    for state in source.states:
        made.set_next(state.name, state.next)
    for port in source.outputs:
        made.add_output(port.name, port.value)
    for key, text in source.metadata.items():
        made.set_metadata(key, text)
    return rtrnn.Model(made)


def onnx_file(folder: Path, **options: Any) -> Path:
    pytest.importorskip("onnxruntime")
    return gru_onnx(folder / "gru.onnx", **options)


#: What may be fixed and free in a file: (options, steps of one call when 50 are wanted, states that are compared).
ONNX_FORMS = [
    ({}, 1, 1),
    ({"time": "t", "batch": "b"}, 1, 1),
    ({"batch": 4}, 1, 1),
    ({"time": 5}, 5, 1),
    ({"time": 5, "batch": 4}, 5, 1),
    ({"carried": False, "time": "t"}, 50, 0),
    ({"carried": False, "time": "t", "batch": "b"}, 50, 0),
    ({"carried": False, "time": "t", "batch": 3}, 50, 0),
    ({"carried": False, "time": 5}, 5, 0),
    ({"carried": False, "time": "t", "directions": 2}, 50, 0),
]


@pytest.mark.filterwarnings("ignore:the file takes 5 timesteps:rtrnn.ModelWarning")
@pytest.mark.parametrize(("options", "per_call", "states"), ONNX_FORMS)
def test_onnx(options: dict[str, Any], per_call: int, states: int, tmp_path: Path) -> None:
    path = onnx_file(tmp_path, **options)
    report = verify(path, steps=50)
    assert report.passed
    assert report.steps_per_call == per_call
    # A file that starts anew in each call and fixes the length of a call can be followed for one call only.
    assert report.steps == (per_call if per_call == 5 and not options.get("carried", True) else 50)
    assert [c.kind for c in report.comparisons] == ["output"] + ["state"] * states
    assert report.largest_relative < 1e-5
    assert "onnxruntime" in report.runtime
    assert not verify(path, steps=50, model=perturbed(rtrnn.load(path))).passed


TORCH_FORMS = [("passed", 1, 1, 1), ("buffer", 1, 1, 1), ("bare", 1, 50, 0), ("bare", 2, 50, 0)]


@pytest.mark.parametrize(("form", "directions", "per_call", "states"), TORCH_FORMS)
def test_torchscript(form: str, directions: int, per_call: int, states: int, tmp_path: Path) -> None:
    path = torchscript(tmp_path / "gru.pt", form, directions)
    report = verify(path, steps=50)
    assert report.passed
    assert (report.steps, report.steps_per_call) == (50, per_call)
    assert [c.kind for c in report.comparisons] == ["output"] + ["state"] * states
    assert report.largest_relative < 1e-5
    assert "torch" in report.runtime
    assert not verify(path, steps=50, model=perturbed(rtrnn.load(path))).passed


def test_no_way_to_carry_a_state(tmp_path: Path) -> None:
    """One timestep per call, and every call from the initial state."""
    path = onnx_file(tmp_path, carried=False)
    with pytest.raises(
        UnsupportedError, match=r"starts each call of this file from the initial state of .*no time axis"
    ):
        verify(path)


def test_a_wrong_initial_state_is_found(tmp_path: Path) -> None:
    """The runtime starts from the file's state, not from the compared model's."""
    path = torchscript(tmp_path / "gru.pt", "buffer")
    model = rtrnn.load(path, initial_states={"hidden_state": np.zeros((1, 1, H))})
    report = verify(path, model=model, steps=50)
    assert not report.passed
    assert report.comparisons[0].step < 5


def test_given_inputs_are_used(tmp_path: Path) -> None:
    path = onnx_file(tmp_path)
    zeros = verify(path, inputs={"obs": np.zeros((20, I))})
    random = verify(path, inputs={"obs": observations(20)})
    assert zeros.steps == random.steps == 20
    assert zeros.comparisons[0].spread < random.comparisons[0].spread


def test_the_seed_decides(tmp_path: Path) -> None:
    model = rtrnn.Model(draft().build())
    first = random_inputs(model, 5, 0)["obs"]
    np.testing.assert_array_equal(first, random_inputs(model, 5, 0)["obs"])
    assert not np.array_equal(first, random_inputs(model, 5, 1)["obs"])


def test_runtime_carries_and_resets(tmp_path: Path) -> None:
    path = onnx_file(tmp_path)
    runtime = open_runtime(path, rtrnn.load(path))
    x = {"obs": observations(1)}
    first, _ = runtime.advance(x)
    second, _ = runtime.advance(x)
    assert not np.array_equal(first["actions"], second["actions"])
    runtime.reset()
    again, _ = runtime.advance(x)
    np.testing.assert_array_equal(first["actions"], again["actions"])


def test_twins_of_different_files_do_not_fit(tmp_path: Path) -> None:
    """The interface in the metadata has to be that of the file."""
    path = onnx_file(tmp_path)
    other = gru_onnx(tmp_path / "other.onnx", carried=False, time="t")
    with pytest.raises(UnsupportedError, match="inputs are"):
        verify(other, model=rtrnn.load(path))
    with pytest.raises(UnsupportedError, match=r"source\.inputs"):
        Interface.of(rtrnn.Model(draft().build()))


# -- files that hold weights alone, and Keras --------------------------------------------------------------


def state_dict(kind: str, **options: Any) -> dict[str, Any]:
    torch = pytest.importorskip("torch", reason="it rebuilds the modules of state dicts")
    torch.manual_seed(0)
    return getattr(torch.nn, kind)(I, H, **options).state_dict()


def written(tensors: dict[str, Any], path: Path) -> Path:
    import torch

    if path.suffix == ".json":
        path.write_text(json.dumps({key: value.tolist() for key, value in tensors.items()}))
    elif path.suffix == ".safetensors":
        pytest.importorskip("safetensors.torch", reason="it writes the file").save_file(tensors, path)
    else:
        torch.save(tensors, path)
    return path


MODULES = [
    ("GRU", {"num_layers": 2}, ".pt", 2),
    ("GRU", {"bias": False}, ".json", 1),
    ("LSTM", {"num_layers": 2, "proj_size": 4}, ".safetensors", 4),
    ("LSTM", {"bidirectional": True}, ".pt", 0),
    ("LSTMCell", {}, ".pt", 2),
]


@pytest.mark.filterwarnings("ignore::rtrnn.ModelWarning")
@pytest.mark.parametrize(("kind", "options", "suffix", "states"), MODULES)
def test_state_dicts(kind: str, options: dict[str, Any], suffix: str, states: int, tmp_path: Path) -> None:
    """The modules of a state dict are rebuilt from the names and shapes in it."""
    path = written(state_dict(kind, **options), tmp_path / f"weights{suffix}")
    report = verify(path, steps=30)
    assert report.passed
    assert [c.kind for c in report.comparisons] == ["output"] + ["state"] * states
    assert not verify(path, steps=30, model=perturbed(rtrnn.load(path), 0.1)).passed


@pytest.mark.filterwarnings("ignore::rtrnn.ModelWarning")
def test_checkpoints_of_whole_policies(tmp_path: Path) -> None:
    """Weights alone do not say how a library calls them."""
    tensors = {f"rnn.{key}": value for key, value in state_dict("GRU").items()}
    import torch

    tensors |= {"head.weight": torch.ones(2, H), "head.bias": torch.ones(2)}
    path = written(tensors, tmp_path / "policy.pt")
    model = rtrnn.load(path)
    with pytest.raises(UnsupportedError, match=r"weights alone, of more than one recurrent module.*rtrnn\.from_torch"):
        verify(path, model=model)


@pytest.mark.parametrize("skip", [0, 1])
def test_guitarml(skip: int, tmp_path: Path) -> None:
    import torch

    torch.manual_seed(0)
    parts = {"rec": torch.nn.LSTM(1, H, num_layers=2), "lin": torch.nn.Linear(H, 1)}
    weights = {f"{name}.{key}": value.tolist() for name, part in parts.items() for key, value in part.state_dict().items()}
    data = {"model": "SimpleRNN", "input_size": 1, "skip": skip, "output_size": 1, "unit_type": "LSTM", "num_layers": 2}
    path = tmp_path / "amp.json"
    path.write_text(json.dumps({"model_data": {**data, "hidden_size": H, "bias_fl": True}, "state_dict": weights}))
    report = verify(path, steps=50)
    assert report.passed
    assert len(report.comparisons) == 5
    assert not verify(path, steps=50, model=perturbed(rtrnn.load(path), 0.1)).passed


def test_every_format_has_a_runtime_or_a_reason() -> None:
    assert set(RUNTIMES) == {kind.name for kind in FORMATS}
    for origin in RUNTIMES.values():
        assert bool(origin.opener) == bool(origin.runtime) != bool(origin.why)


def test_a_format_without_a_runtime(tmp_path: Path) -> None:
    path = tmp_path / "net.json"
    weights = [[[1.0]], [0.0]]
    path.write_text(json.dumps({"in_shape": [None, None, 1], "layers": [{"type": "dense", "shape": [None, None, 1], "weights": weights}]}))
    with pytest.raises(UnsupportedError, match=r"'rtneural' has no runtime in Python to compare with: RTNeural is a C\+\+ library"):
        open_runtime(path, rtrnn.Model(draft().build()))


def test_nam(models: Path) -> None:
    pytest.importorskip("nam.models", reason="the package neural-amp-modeler, which needs many others, runs .nam files")
    path = models / "nam" / "lstm.nam"
    assert verify(path, steps=200).passed
    assert not verify(path, steps=200, model=perturbed(rtrnn.load(path), 0.1)).passed


# -- measuring -----------------------------------------------------------------------------------------


def compared(expected: Any, found: Any) -> Comparison:
    both = _Collected()
    both.add(0, np.float32(expected), np.float32(found))
    return both.compared("output", "y")


def test_error_is_relative_to_the_elements_own_spread() -> None:
    """One element moves over 100, the other over 2: the smaller error of the second weighs more."""
    result = compared([[0, -1], [100, 1], [50, 0]], [[0, -1], [100.5, 1], [50, 0.25]])
    assert result.largest_absolute == pytest.approx(0.5)
    assert result.largest_relative == pytest.approx(0.125)
    assert (result.step, result.element) == (2, 1)
    assert result.spread == pytest.approx(101)


def test_an_element_that_hardly_moves_is_not_blown_up() -> None:
    result = compared([[0, 1], [100, 1]], [[0, 1], [100, 1.01]])
    assert result.largest_relative == pytest.approx(0.01, rel=1e-4)


def test_constant_values_are_measured_by_their_size() -> None:
    assert compared([[4], [4]], [[4], [5]]).largest_relative == pytest.approx(1 / (0.01 * 4))
    assert compared([[0], [0]], [[0], [0]]).largest_relative == 0


@pytest.mark.parametrize(
    ("expected", "found"), [(1, np.nan), (np.nan, 1), (np.inf, 1), (1, -np.inf), (np.inf, -np.inf)]
)
def test_nan_and_infinity_fail(expected: float, found: float) -> None:
    assert compared([[0], [expected]], [[0], [found]]).largest_relative == np.inf


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_equal_nan_and_infinity_are_equal(value: float) -> None:
    assert compared([[0], [value]], [[0], [value]]).largest_relative == 0


def test_a_late_mistake_is_found(tmp_path: Path) -> None:
    """An error at the last of many steps is as good as one at the first."""
    path = onnx_file(tmp_path)
    model = rtrnn.load(path)
    runtime = open_runtime(path, model)
    advance, count = runtime.advance, [0]

    def late(inputs: dict[str, np.ndarray]) -> Any:
        outputs, states = advance(inputs)
        count[0] += 1
        return ({k: v + 0.1 * (count[0] == 40) for k, v in outputs.items()}, states)

    runtime.advance = late  # type: ignore[method-assign]
    report = compare(model, runtime, {"obs": observations(40)})
    assert not report.passed
    assert [c.step for c in report.comparisons if c.kind == "output"] == [39]


# -- the command ---------------------------------------------------------------------------------------


def test_command_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = onnx_file(tmp_path)
    assert main(["verify", str(path), "--steps", "30"]) == 0
    text = capsys.readouterr().out
    assert "30 steps, state carried" in text
    assert "passed: " in text
    for name in ("actions", "h_in"):
        assert name in text


def test_command_fails_above_the_tolerance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = onnx_file(tmp_path)
    assert main(["verify", str(path), "--steps", "30", "--tolerance", "1e-12"]) == 1
    text = capsys.readouterr().out
    assert "FAILED: " in text
    assert "TOO LARGE" in text


def test_command_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = onnx_file(tmp_path)
    assert main(["verify", str(path), "--steps", "30", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["passed"] is True
    assert facts["steps"] == 30
    assert [(c["kind"], c["name"]) for c in facts["comparisons"]] == [("output", "actions"), ("state", "h_in")]


def test_converted_file_against_its_original(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = onnx_file(tmp_path)
    converted = tmp_path / "gru.rtrnn"
    assert main(["convert", str(path), str(converted)]) == 0
    assert main(["verify", str(converted), "--against", str(path), "--steps", "30"]) == 0
    perturbed(rtrnn.load(converted)).save(converted)
    assert main(["verify", str(converted), "--against", str(path), "--steps", "30"]) == 1
    assert "FAILED: " in capsys.readouterr().out


def test_command_with_recorded_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = onnx_file(tmp_path)
    np.save(tmp_path / "x.npy", observations(12))
    assert main(["verify", str(path), "--input", str(tmp_path / "x.npy")]) == 0
    assert "12 steps" in capsys.readouterr().out


def test_hand_written_network_without_a_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = onnx_file(tmp_path)
    assert main(["verify", str(gru_rtrnn(tmp_path / "own.rtrnn")), "--against", str(path)]) == 1
    assert "source.inputs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "package"),
    [
        ("unitree_g1/motion_legacy_opset11.onnx", "onnxruntime"),
        ("unitree_g1/motion_dynamo_opset18.onnx", "onnxruntime"),
        ("unitree_g1/motion.pt", "torch"),
        ("anydrive/anydrive_v3_lstm.pt", "torch"),
    ],
)
def test_real_networks(models: Path, file: str, package: str) -> None:
    pytest.importorskip(package)
    report = verify(models / file, steps=300)
    assert report.passed
    assert [c.kind for c in report.comparisons] == ["output", "state", "state"]
    assert not verify(models / file, steps=300, model=perturbed(rtrnn.load(models / file), 0.05)).passed
