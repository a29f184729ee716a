"""GuitarML JSON against the same torch.nn modules in float64, and against their own float32 run."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rtrnn

torch = pytest.importorskip("torch", reason="the reference is torch.nn")

STEPS = 300


class Block(torch.nn.Module):
    """A recurrent unit, a linear layer, and the first input channels added to the result."""

    def __init__(self, unit: str, inputs: int, hidden: int, outputs: int, layers: int, bias: bool, skip: int) -> None:
        super().__init__()
        self.rec = getattr(torch.nn, unit)(inputs, hidden, layers)
        self.lin = torch.nn.Linear(hidden, outputs, bias=bias)
        self.skip = skip

    def forward(self, x: Any) -> Any:
        y = self.lin(self.rec(x)[0])
        return y + x[:, :, 0 : self.skip] if self.skip else y


class Net(torch.nn.Module):
    def __init__(self, blocks: list[Block], skip: int) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential()
        for i, block in enumerate(blocks, 1):
            self.layers.add_module(f"block_{i}", block)
        self.skip = skip

    def forward(self, x: Any) -> Any:
        return self.layers(x) + x[:, :, 0 : self.skip] if self.skip else self.layers(x)


def arrays(module: Any) -> dict[str, Any]:
    return {key: value.tolist() for key, value in module.state_dict().items()}


def simple(unit: str, inputs: int, hidden: int, outputs: int, layers: int, bias: bool, skip: int) -> tuple[Any, Any]:
    torch.manual_seed(hidden + layers)
    module = Block(unit, inputs, hidden, outputs, layers, bias, skip)
    data = {
        "model": "SimpleRNN",
        "input_size": inputs,
        "skip": skip,
        "output_size": outputs,
        "unit_type": unit,
        "num_layers": layers,
        "hidden_size": hidden,
        "bias_fl": bias,
    }
    return module, {"model_data": data, "state_dict": arrays(module)}


def rec_net(sizes: list[tuple[str, int, int, int, int, bool, int]], skip: int) -> tuple[Any, Any]:
    torch.manual_seed(3)
    module = Net([Block(*size) for size in sizes], skip)
    keys = ("block_type", "input_size", "hidden_size", "output_size", "num_layers", "lin_bias", "skip")
    blocks = {str(i): dict(zip(keys, size, strict=True)) for i, size in enumerate(sizes)}
    content = {"model_data": {"model": "RecNet", "skip": skip}, "blocks": blocks, "state_dict": arrays(module)}
    return module, content


def save(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def compare(module: Any, path: Path, inputs: int) -> None:
    """Within twice the error of torch in float32, step by step."""
    x = np.random.default_rng(0).standard_normal((STEPS, inputs)).astype(np.float32)
    with torch.no_grad():
        y = module(torch.from_numpy(x)[:, None]).numpy()[:, 0]
        exact = module.double()(torch.from_numpy(x).double()[:, None]).numpy()[:, 0]
    stream = rtrnn.load(path).stream()
    found = np.array([stream.step(row) for row in x])
    assert found.shape == exact.shape
    assert np.abs(found - exact).max() <= max(2 * np.abs(y - exact).max(), 1e-7 * np.abs(exact).max())


@pytest.mark.parametrize("unit", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize(("layers", "bias", "skip"), [(1, True, 1), (2, False, 0), (3, True, 1)])
def test_simple_rnn(unit: str, layers: int, bias: bool, skip: int, tmp_path: Path):
    module, content = simple(unit, 1, 20, 1, layers, bias, skip)
    # The name says nothing: a file is what it holds.
    path = save(tmp_path / "model.nam", content)
    model = rtrnn.load(path)
    assert model.metadata["source.format"] == "guitarml"
    assert len(model.states) == layers * (2 if unit == "LSTM" else 1)
    compare(module, path, 1)


@pytest.mark.parametrize(("inputs", "outputs", "skip"), [(3, 1, 1), (2, 1, 0), (3, 2, 2), (3, 2, 1), (2, 2, 5)])
def test_controls_and_channels(inputs: int, outputs: int, skip: int, tmp_path: Path):
    module, content = simple("LSTM", inputs, 12, outputs, 1, True, skip)
    compare(module, save(tmp_path / "model.json", content), inputs)


def test_rec_net(tmp_path: Path):
    module, content = rec_net([("LSTM", 1, 8, 1, 1, True, 1), ("GRU", 1, 6, 2, 2, False, 0)], 1)
    path = save(tmp_path / "model.json", content)
    compare(module, path, 1)
    content["model_data"]["skip"] = 0
    with pytest.raises(AssertionError):
        compare(module.float(), save(path, content), 1)


def test_block_defaults(tmp_path: Path):
    """A block that does not say has one layer, no bias and adds the input."""
    module, content = rec_net([("GRU", 1, 6, 1, 1, False, 1)], 0)
    for key in ("num_layers", "lin_bias", "skip"):
        del content["blocks"]["0"][key]
    compare(module, save(tmp_path / "model.json", content), 1)


@pytest.mark.parametrize(
    "key", ["rec.weight_ih_l0", "rec.weight_hh_l0", "rec.bias_ih_l0", "rec.bias_hh_l0", "lin.weight"]
)
def test_a_weight_that_is_lost_is_noticed(key: str, tmp_path: Path):
    module, content = simple("GRU", 1, 8, 1, 1, True, 1)
    content["state_dict"][key] = np.zeros_like(content["state_dict"][key]).tolist()
    with pytest.raises(AssertionError):
        compare(module, save(tmp_path / "model.json", content), 1)


def test_metadata_and_initial_states(tmp_path: Path):
    _, content = simple("LSTM", 1, 2, 1, 2, True, 1)
    content |= {"samplerate": 44100, "metadata": {"name": "Lead"}, "loss": 0.01}
    path = save(tmp_path / "model.json", content)
    model = rtrnn.load(path, initial_states={"rec_1.c": [1, 2]})
    assert list(model.states) == ["rec_0.h", "rec_0.c", "rec_1.h", "rec_1.c"]
    assert model.stream().state()["rec_1.c"].tolist() == [1, 2]
    assert {k: model.metadata.get(k) for k in ("sample_rate", "name", "loss")} == {
        "sample_rate": "44100",
        "name": "Lead",
        "loss": "0.01",
    }


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], type[Exception], list[str]]] = {
    "another model": (
        {"model": "Transformer"},
        {},
        rtrnn.UnsupportedError,
        ["'Transformer'", "'SimpleRNN' or 'RecNet'"],
    ),
    "another unit": ({"unit_type": "QRNN"}, {}, rtrnn.UnsupportedError, ["'unit_type' is 'QRNN'", "RNN, GRU, LSTM"]),
    "a text for a size": ({"hidden_size": "4"}, {}, rtrnn.FileFormatError, ["'hidden_size'", "found '4'"]),
    "huge": ({"hidden_size": 10**9}, {}, rtrnn.FileFormatError, ["'hidden_size'", "1000000000"]),
    "large": (
        {"hidden_size": 2**20},
        {},
        rtrnn.FileFormatError,
        ["'rec.weight_ih_l0' has shape (16, 1)", "(4194304, 1)"],
    ),
    "endless layers": ({"num_layers": 10**6}, {}, rtrnn.FileFormatError, ["'num_layers' is 1000000"]),
    "more layers": ({"num_layers": 2}, {}, rtrnn.FileFormatError, ["'rec.weight_ih_l1' is missing"]),
    "negative skip": ({"skip": -1}, {}, rtrnn.FileFormatError, ["'skip'", "-1"]),
    "no unit": ({"unit_type": None}, {}, rtrnn.FileFormatError, ["'unit_type'", "null"]),
    "bias of text": ({"bias_fl": "yes"}, {}, rtrnn.FileFormatError, ["'bias_fl'", "'yes'"]),
    "left-over bias": ({"bias_fl": False}, {}, rtrnn.UnsupportedError, ["'lin.bias'", "no layer"]),
    "a reverse layer": ({}, {"rec.weight_ih_l0_reverse": [[1.0]]}, rtrnn.UnsupportedError, ["weight_ih_l0_reverse"]),
    "another shape": (
        {},
        {"lin.weight": [[1.0, 2.0]]},
        rtrnn.FileFormatError,
        ["'lin.weight' has shape (1, 2)", "(1, 4)"],
    ),
    "NaN": ({}, {"lin.bias": [math.nan]}, rtrnn.FileFormatError, ["'lin.bias'", "nan"]),
    "an object for an array": ({}, {"lin.bias": {}}, rtrnn.FileFormatError, ["'lin.bias'"]),
    "ragged": ({}, {"lin.weight": [[1.0], 2.0]}, rtrnn.FileFormatError, ["'lin.weight'", "equal length"]),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what: str, tmp_path: Path):
    data, weights, kind, parts = REFUSED[what]
    _, content = simple("LSTM", 1, 4, 1, 1, True, 1)
    content["model_data"] |= data
    content["state_dict"] |= weights
    path = save(tmp_path / "bad.json", content)
    with pytest.raises(kind) as error:
        rtrnn.load(path)
    for part in [str(path), "GuitarML JSON", *parts]:
        assert part in str(error.value)
    assert str(error.value).count(str(path)) == 1


def test_a_file_without_weights(tmp_path: Path):
    """``save_state`` off: the architecture alone."""
    _, content = simple("GRU", 1, 4, 1, 1, True, 1)
    del content["state_dict"]
    with pytest.raises(
        rtrnn.FileFormatError, match="GuitarML JSON: the key 'state_dict' is missing; found 'model_data'"
    ):
        rtrnn.load(save(tmp_path / "bad.json", content))


def test_refused_blocks(tmp_path: Path):
    _, content = rec_net([("GRU", 1, 4, 2, 1, False, 0), ("GRU", 2, 4, 1, 1, False, 0)], 0)
    for changes, message in [
        ({"blocks": {}}, "0 blocks; expected 1 to 100"),
        ({"blocks": {"1": {}}}, "blocks: the key '0' is missing"),
        ({"blocks": {"0": []}}, "block 0: expected an object; found a list"),
        (
            {"blocks": {**content["blocks"], "1": {**content["blocks"]["1"], "input_size": 3}}},
            "'input_size' is 3; expected 2",
        ),
        ({"blocks": {**content["blocks"], "0": {**content["blocks"]["0"], "skip": 1}}}, ""),
    ]:
        path = save(tmp_path / "bad.json", content | changes)
        if not message:
            rtrnn.load(path)  # one channel is added to both
            continue
        with pytest.raises(rtrnn.FileFormatError, match=message):
            rtrnn.load(path)
    _, content = simple("GRU", 3, 4, 3, 1, True, 2)
    with pytest.raises(rtrnn.UnsupportedError, match="'skip' adds 2 inputs to 3 outputs; expected 1 or 3"):
        rtrnn.load(save(tmp_path / "bad.json", content))
