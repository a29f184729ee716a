"""Neural Amp Modeler files against their recordings and a float64 evaluation."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rtrnn

RECORDED = ["lstm", "BossLSTM-1x16"]


def layers_of(document: dict[str, Any]) -> tuple[list[tuple[np.ndarray, ...]], np.ndarray, np.ndarray]:
    """((4H, I + H) matrix, bias, h, c) of each layer, and the head's matrix and bias, as the file orders them."""
    config, flat = document["config"], np.asarray(document["weights"])
    inputs, hidden, outputs = config["input_size"], config["hidden_size"], config.get("out_channels", 1)
    layers, at = [], 0

    def take(*shape: int) -> np.ndarray:
        nonlocal at
        at += math.prod(shape)
        return flat[at - math.prod(shape) : at].reshape(shape)

    for k in range(config["num_layers"]):
        width = (inputs if k == 0 else hidden) + hidden
        layers.append((take(4 * hidden, width), take(4 * hidden), take(hidden), take(hidden)))
    head = take(outputs, hidden), take(outputs)
    assert at == flat.size
    return layers, *head


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def evaluate(document: dict[str, Any], x: np.ndarray, start: list[np.ndarray] | None = None) -> np.ndarray:
    """In float64, from the file's states or from `start` (h, c of each layer); gates i, f, g, o."""
    layers, head, head_bias = layers_of(document)
    state = [(h, c) for _, _, h, c in layers]
    if start is not None:
        state = list(zip(start[::2], start[1::2], strict=True))
    ys = []
    for row in np.asarray(x, np.float64):
        value = row
        for k, (matrix, bias, _, _) in enumerate(layers):
            h, c = state[k]
            i, f, g, o = np.split(matrix @ np.concatenate([value, h]) + bias, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            value = sigmoid(o) * np.tanh(c)
            state[k] = value, c
        ys.append(head @ value + head_bias)
    return np.array(ys)


def step_all(model: rtrnn.Model, x: np.ndarray) -> np.ndarray:
    stream = model.stream()
    return np.array([stream.step(row) for row in x.astype(np.float32)])


@pytest.mark.models
@pytest.mark.parametrize("name", RECORDED)
@pytest.mark.parametrize("start", ["stored", "zero", "prewarmed"])
def test_recorded(name: str, start: str, models: Path):
    path = models / "nam" / f"{name}.nam"
    document, reference = json.loads(path.read_text(encoding="utf-8")), np.load(models / "nam" / f"{name}_ref.npz")
    x = reference["x"]
    states = None
    if start == "zero":
        states = [np.zeros(reference["h0"].size)] * 2
    elif start == "prewarmed":
        states = [reference["h0_prewarmed"].ravel(), reference["c0_prewarmed"].ravel()]
    given = None if states is None else dict(zip(("lstm_0.h", "lstm_0.c"), states, strict=True))
    model = rtrnn.load(path, initial_states=given)
    exact = evaluate(document, x, states)
    found = step_all(model, x)
    recorded = np.abs(reference["y"] - reference["y_f64"]).max()
    assert np.abs(found - exact).max() <= 2 * recorded
    if start == "stored":
        assert np.abs(exact - reference["y_f64"]).max() < 1e-12
    elif start == "prewarmed":
        assert np.abs(found - reference["y_prewarmed"]).max() <= 4 * recorded
    else:  # another sound: what the stored state is for
        assert np.abs(found - reference["y"]).max() > 0.3


@pytest.mark.models
@pytest.mark.parametrize("name", RECORDED)
def test_the_recorded_states(name: str, models: Path):
    reference = np.load(models / "nam" / f"{name}_ref.npz")
    stream = rtrnn.load(models / "nam" / f"{name}.nam").stream()
    first = stream.state()
    for role, key in (("h", "h0"), ("c", "c0")):
        assert np.allclose(first[f"lstm_0.{role}"], reference[key].ravel(), rtol=1e-6, atol=0)
    for row in reference["x"]:
        stream.step(row)
    for role, key in (("h", "hT"), ("c", "cT")):
        assert np.allclose(stream.state()[f"lstm_0.{role}"], reference[key].ravel(), rtol=2e-5, atol=2e-6)


@pytest.mark.models
def test_metadata(models: Path):
    metadata = rtrnn.load(models / "nam" / "lstm.nam").metadata
    assert metadata["sample_rate"] == "48000"
    assert metadata["name"] == "Test LSTM"
    assert metadata["loudness"] == "-37.8406867980957"
    assert metadata["nam.version"] == "0.5.4"
    assert json.loads(metadata["date"])["year"] == 2024
    assert "sample_rate" not in rtrnn.load(models / "nam" / "BossLSTM-1x16.nam").metadata


def small(
    inputs: int = 1, hidden: int = 4, layers: int = 1, outputs: int = 1, seed: int = 0, **more: Any
) -> dict[str, Any]:
    count = sum(4 * hidden * ((inputs if k == 0 else hidden) + hidden) + 6 * hidden for k in range(layers))
    weights = np.random.default_rng(seed).standard_normal(count + outputs * (hidden + 1)) * 0.4
    config: dict[str, Any] = {"input_size": inputs, "hidden_size": hidden, "num_layers": layers}
    if outputs > 1 or inputs > 1:
        config |= {"in_channels": inputs, "out_channels": outputs}
    found = {"version": "0.5.4", "architecture": "LSTM", "config": config, "weights": weights.round(5).tolist()}
    return {**found, **more}


def save(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(("inputs", "layers", "outputs"), [(1, 1, 1), (1, 3, 1), (2, 2, 3)])
def test_layers_and_channels(inputs: int, layers: int, outputs: int, tmp_path: Path):
    content = small(inputs, 5, layers, outputs)
    # The name says nothing: a file is what it holds.
    model = rtrnn.load(save(tmp_path / "x.json", content))
    assert model.metadata["source.format"] == "nam"
    assert list(model.states) == [f"lstm_{k}.{role}" for k in range(layers) for role in "hc"]
    x = np.random.default_rng(1).standard_normal((200, inputs))
    exact = evaluate(content, x.astype(np.float32))
    assert np.abs(step_all(model, x) - exact).max() < 1e-6
    for index in (0, 4 * 5 * (inputs + 5), 4 * 5 * (inputs + 5) + 4 * 5, -1):
        content["weights"][index] += 0.5
        assert np.abs(step_all(rtrnn.load(save(tmp_path / "x.json", content)), x) - exact).max() > 1e-4
        content["weights"][index] -= 0.5


CONFIG = {"input_size": 1, "hidden_size": 4, "num_layers": 1}
REFUSED: dict[str, tuple[dict[str, Any], type[Exception], list[str]]] = {
    "WaveNet": ({"architecture": "WaveNet"}, rtrnn.UnsupportedError, ["'WaveNet'", "'LSTM'"]),
    "a list for the architecture": ({"architecture": []}, rtrnn.FileFormatError, ["'architecture'", "a list"]),
    "a list for the config": ({"config": [1]}, rtrnn.FileFormatError, ["config: expected an object; found a list"]),
    "no hidden size": (
        {"config": {"input_size": 1, "num_layers": 1}},
        rtrnn.FileFormatError,
        ["'hidden_size' is missing"],
    ),
    "huge": ({"config": {**CONFIG, "hidden_size": 10**9}}, rtrnn.FileFormatError, ["'hidden_size'", "1000000000"]),
    "large": (
        {"config": {**CONFIG, "hidden_size": 2**20}},
        rtrnn.FileFormatError,
        ["holds 109 numbers", "4398058045441"],
    ),
    "endless layers": ({"config": {**CONFIG, "num_layers": 2**20}}, rtrnn.FileFormatError, ["'num_layers' is 1048576"]),
    "another width": (
        {"config": {**CONFIG, "hidden_size": 3}},
        rtrnn.FileFormatError,
        ["holds 109 numbers; expected 70"],
    ),
    "channels": (
        {"config": {**CONFIG, "in_channels": 2}},
        rtrnn.FileFormatError,
        ["'in_channels' is 2", "'input_size' 1"],
    ),
    "too few": ({"weights": [0.5] * 108}, rtrnn.FileFormatError, ["holds 108 numbers; expected 109"]),
    "text": ({"weights": ["0.5"] * 109}, rtrnn.FileFormatError, ["'weights'", "expected numbers"]),
    "lists": ({"weights": [[0.5]] * 109}, rtrnn.FileFormatError, ["'weights' has shape (109, 1); expected (109,)"]),
    "NaN": ({"weights": [0.5] * 108 + [math.nan]}, rtrnn.FileFormatError, ["(108,) is nan"]),
    "an object": ({"weights": {}}, rtrnn.FileFormatError, ["'weights': expected a list"]),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what: str, tmp_path: Path):
    changes, kind, parts = REFUSED[what]
    path = save(tmp_path / "bad.nam", small() | changes)
    with pytest.raises(kind) as error:
        rtrnn.load(path)
    for part in [str(path), "Neural Amp Modeler", *parts]:
        assert part in str(error.value)
    assert str(error.value).count(str(path)) == 1
