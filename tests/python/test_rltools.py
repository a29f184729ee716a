"""RLtools checkpoints against recordings, the example that a checkpoint carries, and float64 evaluations."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rtrnn

pytest.importorskip("pyfive", reason="HDF5 files are read with it")
h5py = pytest.importorskip("h5py", reason="the tests write HDF5 files with it")

CHECKPOINT = "raptor/checkpoint.h5"


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


# -- the recorded quadrotor policy ---------------------------------------------------------------------


def floor_of(reference: Any) -> float:
    return float(np.abs(reference["y"] - reference["y_f64"]).max())


@pytest.mark.models
def test_the_network(models: Path):
    model = rtrnn.load(models / CHECKPOINT)
    assert [node.op for node in model.graph.nodes] == ["linear", "relu", "gru", "linear"]
    assert (dict(model.inputs), dict(model.outputs), dict(model.states)) == (
        {"x": (22,)},
        {"y": (4,)},
        {"gru_1.h": (16,)},
    )
    assert model.metadata["checkpoint_name"].startswith("logs/")
    assert "OrientationRotationMatrix" in model.metadata["meta"]


@pytest.mark.models
def test_recorded(models: Path):
    model, reference = rtrnn.load(models / CHECKPOINT), np.load(models / "raptor" / "ref.npz")
    batch, streams = model.batch(2), [model.stream() for _ in range(2)]
    ys, hs = [], []
    for x in reference["x"]:
        y = batch.step(x)
        assert np.array_equal(y, np.stack([s.step(row) for s, row in zip(streams, x, strict=True)]))
        ys.append(y.copy())
        hs.append([s.state_vector() for s in streams])
    assert np.abs(np.array(ys) - reference["y_f64"]).max() <= 2 * floor_of(reference)
    assert np.abs(np.array(hs) - reference["h"]).max() < 2e-6


@pytest.mark.models
def test_the_example_in_the_file(models: Path):
    with h5py.File(models / CHECKPOINT) as file:
        x, y = file["example/input"][()], file["example/output"][()]
    streams = [rtrnn.load(models / CHECKPOINT).stream() for _ in range(2)]
    found = np.array([[s.step(row) for s, row in zip(streams, step, strict=True)] for step in x])
    assert np.abs(found - y).max() < 3e-6


class Policy:
    """A stream as the callable that the recorded simulation takes."""

    def __init__(self, model: rtrnn.Model) -> None:
        self.stream = model.stream()

    def reset(self) -> None:
        self.stream.reset()

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        return self.stream.step(obs)


def target(t: float) -> np.ndarray:
    """Where the recorded flight was sent: from 3 s on to one side and up, and to and fro."""
    return np.zeros(3) if t < 3 - 1e-9 else np.array([0.3 * np.sin(1.2 * (t - 3)), 0.2, 0.1])


def fly(policy: Callable[[np.ndarray], np.ndarray], models: Path, seconds: float = 10.0) -> dict[str, np.ndarray]:
    spec = importlib.util.spec_from_file_location("closed_loop_raptor", models / "raptor" / "closed_loop.py")
    simulation = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(simulation)
    return simulation.run(policy, seconds, target=target)


@pytest.mark.models
def test_it_flies_as_recorded(models: Path, tmp_path: Path):
    """Open loop the original is 6e-7 from float64; a float32 evaluation in the loop ends 1.5e-6 from the recording."""
    reference = np.load(models / "raptor" / "ref_closedloop_10s.npz")
    places = np.array([target(n * float(reference["dt"])) for n in range(1000)])
    assert np.abs(reference["pos"] - places - reference["x"][:, :3]).max() < 1e-7
    log = fly(Policy(rtrnn.load(models / CHECKPOINT)), models)
    assert log["action"].shape == reference["y"].shape == (1000, 4)
    assert np.abs(log["action"] - np.clip(reference["y"], -1, 1)).max() < 2e-6
    assert np.abs(log["pos"] - reference["pos"]).max() < 1e-6


@pytest.mark.models
def test_without_its_recurrent_bias_it_flies_otherwise(models: Path, tmp_path: Path):
    """The twin: it stays up, so only the comparison can tell."""
    path = tmp_path / "broken.h5"
    path.write_bytes((models / CHECKPOINT).read_bytes())
    with h5py.File(path, "r+") as file:
        file["actor/layers/1/biases_hidden/parameters"][...] = 0
    reference = np.load(models / "raptor" / "ref_closedloop_10s.npz")
    log = fly(Policy(rtrnn.load(path)), models, 2.0)
    assert log["R"][-1][2, 2] > 0.99
    assert np.abs(log["action"] - np.clip(reference["y"][:200], -1, 1)).max() > 0.1


# -- files written here --------------------------------------------------------------------------------

rng = np.random.default_rng(2)


def values(*shape: int) -> np.ndarray:
    return (rng.standard_normal(shape) * 0.5).astype(np.float32)


Write = Callable[[Any], None]


def put(group: Any, name: str, array: np.ndarray) -> None:
    group.create_group(name).create_dataset("parameters", data=array)


def dense(weight: np.ndarray, bias: np.ndarray, function: str = "IDENTITY") -> Write:
    def write(group: Any) -> None:
        group.attrs["type"], group.attrs["activation_function"] = "dense", function
        put(group, "weights", weight)
        put(group, "biases", bias[None])

    return write


def gru(arrays: dict[str, np.ndarray]) -> Write:
    def write(group: Any) -> None:
        group.attrs["type"] = "gru"
        for name, array in arrays.items():
            put(group, name, array)

    return write


def gru_arrays(inputs: int, hidden: int) -> dict[str, np.ndarray]:
    return {
        "weights_input": values(3 * hidden, inputs),
        "biases_input": values(3 * hidden),
        "weights_hidden": values(3 * hidden, hidden),
        "biases_hidden": values(3 * hidden),
        "initial_hidden_state": values(hidden),
    }


def standardize(mean: np.ndarray, precision: np.ndarray) -> Write:
    def write(group: Any) -> None:
        group.attrs["type"] = "standardize"
        put(group, "mean", mean[None])
        put(group, "precision", precision[None])

    return write


def squash(group: Any) -> None:
    group.attrs["type"] = "sample_and_squash"
    group.create_dataset("noise", data=values(2, 2))


def sequential(*layers: Write) -> Write:
    def write(group: Any) -> None:
        group.attrs["type"] = "sequential"
        below = group.create_group("layers")
        for i, layer in enumerate(layers):
            layer(below.create_group(str(i)))

    return write


def mlp(first: Write, hidden: list[Write], last: Write) -> Write:
    def write(group: Any) -> None:
        group.attrs["type"], group.attrs["num_layers"] = "mlp", str(len(hidden) + 2)
        first(group.create_group("input_layer"))
        below = group.create_group("hidden_layers")
        for i, layer in enumerate(hidden):
            layer(below.create_group(str(i)))
        last(group.create_group("output_layer"))

    return write


def save(path: Path, write: Write, where: str = "actor") -> Path:
    with h5py.File(path, "w") as file:
        write(file.create_group(where) if where else file)
        if where:
            file.create_group("critic").attrs["type"] = "unknown"
    return path


def run(path: Path, x: np.ndarray) -> np.ndarray:
    stream = rtrnn.load(path).stream()
    return np.array([stream.step(row) for row in x.astype(np.float32)])


def gru_reference(x: np.ndarray, a: dict[str, np.ndarray]) -> np.ndarray:
    n, h, ys = a["initial_hidden_state"].size, a["initial_hidden_state"].astype(np.float64), []
    for row in x:
        i, j = a["weights_input"] @ row + a["biases_input"], a["weights_hidden"] @ h + a["biases_hidden"]
        r, z = sigmoid(i[:n] + j[:n]), sigmoid(i[n : 2 * n] + j[n : 2 * n])
        h = (1 - z) * np.tanh(i[2 * n :] + r * j[2 * n :]) + z * h
        ys.append(h)
    return np.array(ys)


def fast_tanh(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, -3, 3)
    return x * (27 + x**2) / (27 + 9 * x**2)


FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "IDENTITY": lambda x: x,
    "RELU": lambda x: np.maximum(x, 0),
    "TANH": np.tanh,
    "SIGMOID": sigmoid,
    "FAST_TANH": fast_tanh,
}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("where", ["actor", ""])
def test_dense(function: str, where: str, tmp_path: Path):
    weight, bias = 3 * values(5, 3), values(5)
    # The name says nothing: a file is what it holds.
    path = save(tmp_path / "x.onnx", dense(weight, bias, function), where)
    assert rtrnn.load(path).metadata["source.format"] == "rltools"
    x = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32).astype(np.float64)
    assert np.abs(run(path, x) - FUNCTIONS[function](x @ weight.T.astype(np.float64) + bias)).max() < 2e-6


def test_a_whole_policy(tmp_path: Path):
    """standardize, dense, GRU with a trained first state, an MLP, the mean action."""
    mean, precision = values(4), np.array([2, 0.5, 0, 1], np.float32)
    arrays, w = (
        gru_arrays(6, 5),
        [values(6, 4), values(6), values(7, 5), values(7), values(7, 7), values(7), values(4, 7), values(4)],
    )
    head = mlp(dense(w[2], w[3], "RELU"), [dense(w[4], w[5], "TANH")], dense(w[6], w[7]))
    path = save(
        tmp_path / "x",
        sequential(standardize(mean, precision), sequential(dense(w[0], w[1]), gru(arrays)), head, squash),
    )
    x = np.random.default_rng(1).standard_normal((100, 4)).astype(np.float32).astype(np.float64)
    y = (x - mean) * np.where(precision == 0, 1, precision)
    y = gru_reference(y @ w[0].T + w[1], arrays)
    y = np.tanh(np.maximum(y @ w[2].T + w[3], 0) @ w[4].T + w[5]) @ w[6].T + w[7]
    assert np.abs(run(path, x) - np.tanh(y[:, :2])).max() < 1e-6
    assert list(rtrnn.load(path).states) == ["gru_11.h"]
    model = rtrnn.load(path, initial_states={"gru_11.h": np.zeros(5)})
    arrays["initial_hidden_state"] = np.zeros(5)
    first = gru_reference((((x - mean) * np.where(precision == 0, 1, precision)) @ w[0].T + w[1])[:1], arrays)
    stream = model.stream()
    stream.step(x[0].astype(np.float32))
    assert np.abs(stream.state_vector() - first[0]).max() < 1e-6


@pytest.mark.parametrize(
    "name", ["weights_input", "biases_input", "weights_hidden", "biases_hidden", "initial_hidden_state"]
)
def test_a_weight_that_is_lost_is_noticed(name: str, tmp_path: Path):
    arrays = gru_arrays(3, 4)
    x = np.random.default_rng(1).standard_normal((20, 3)).astype(np.float32).astype(np.float64)
    exact = gru_reference(x, arrays)
    assert np.abs(run(save(tmp_path / "x", sequential(gru(arrays))), x) - exact).max() < 1e-6
    broken = {**arrays, name: np.zeros_like(arrays[name])}
    assert np.abs(run(save(tmp_path / "x", sequential(gru(broken))), x) - exact).max() > 1e-2


def text_of(key: str, text: str, write: Write) -> Write:
    def changed(group: Any) -> None:
        write(group)
        group.attrs[key] = text

    return changed


def nothing(group: Any) -> None:
    pass


def numbered(group: Any) -> None:
    group.attrs["type"] = "sequential"
    dense(values(2, 2), values(2))(group.create_group("layers").create_group("1"))


LINE = dense(values(2, 3), values(2))
GRU = gru_arrays(3, 4)
REFUSED: dict[str, tuple[Write, type[Exception], list[str]]] = {
    "no type": (nothing, rtrnn.UnsupportedError, ["'/actor': no type", "dense, gru"]),
    "an embedding": (
        sequential(text_of("type", "embedding", nothing)),
        rtrnn.UnsupportedError,
        ["'/actor/layers/0'", "'embedding'"],
    ),
    "nothing in it": (sequential(), rtrnn.FileFormatError, ["'/actor' holds no layer"]),
    "without layers": (
        text_of("type", "sequential", nothing),
        rtrnn.FileFormatError,
        ["'/actor' has no entry 'layers'"],
    ),
    "numbered from 1": (numbered, rtrnn.FileFormatError, ["'/actor/layers' holds 1", "layers 0, 1, 2"]),
    "unknown function": (text_of("activation_function", "GELU", LINE), rtrnn.UnsupportedError, ["'GELU'", "RELU"]),
    "no function": (text_of("activation_function", "", LINE), rtrnn.UnsupportedError, ["activation_function ''"]),
    "sizes that do not fit": (
        sequential(LINE, dense(values(2, 3), values(2))),
        rtrnn.FileFormatError,
        ["'/actor/layers/1'", "weights has shape (2, 3); expected (any, 2)"],
    ),
    "short bias": (dense(values(2, 3), values(1)), rtrnn.FileFormatError, ["biases has shape (1, 1); expected (2,)"]),
    "NaN": (dense(values(2, 3), np.float32([1, np.nan])), rtrnn.FileFormatError, ["biases holds NaN"]),
    "text": (dense(np.array([[b"a"]]), values(1)), rtrnn.FileFormatError, ["weights/parameters' has the type"]),
    "a scalar": (dense(np.float32(3), values(1)), rtrnn.FileFormatError, ["weights has shape (); expected (any, any)"]),
    "empty": (dense(np.zeros((0, 3), np.float32), values(0)), rtrnn.FileFormatError, ["weights has shape (0, 3)"]),
    "two gates": (
        gru({**GRU, "biases_input": values(8)}),
        rtrnn.FileFormatError,
        ["biases_input has shape (8,); expected (12,)"],
    ),
    "no first state": (
        gru({k: v for k, v in GRU.items() if k != "initial_hidden_state"}),
        rtrnn.FileFormatError,
        ["'/actor' has no entry 'initial_hidden_state'"],
    ),
    "squash first": (squash, rtrnn.FileFormatError, ["sample_and_squash with no inputs"]),
    "squash of three": (
        sequential(dense(values(3, 3), values(3)), squash),
        rtrnn.FileFormatError,
        ["with 3 inputs", "even"],
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what: str, tmp_path: Path):
    write, kind, parts = REFUSED[what]
    path = save(tmp_path / "bad.h5", write)
    with pytest.raises(kind) as error:
        rtrnn.load(path)
    for part in [str(path), "RLtools HDF5", *parts]:
        assert part in str(error.value)
    assert str(error.value).count(str(path)) == 1


def test_networks_in_a_circle_are_refused(tmp_path: Path):
    def write(group: Any) -> None:
        group.attrs["type"] = "sequential"
        group.create_group("layers")["0"] = group

    with pytest.raises(rtrnn.UnsupportedError, match="more than 8 networks inside each other"):
        rtrnn.load(save(tmp_path / "bad.h5", write))
