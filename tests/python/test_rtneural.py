"""RTNeural JSON against its own recorded outputs and a float64 evaluation of the Keras layers that it describes."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rtrnn

RECORDED = ["dense", "gru", "gru_1d", "lstm", "lstm_1d"]

# -- the reference: layers over a whole sequence (time, features) in float64 or float32 -----------------


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "": lambda x: x,
    "linear": lambda x: x,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": sigmoid,
    "elu": elu,
    "softmax": softmax,
}


def gru(x: np.ndarray, weights: list[np.ndarray]) -> np.ndarray:
    kernel, recurrent, bias = weights
    n = recurrent.shape[0]
    h, ys = np.zeros(n, x.dtype), []
    for row in x:
        a, b = row @ kernel + bias[0], h @ recurrent + bias[1]
        z, r = sigmoid(a[:n] + b[:n]), sigmoid(a[n : 2 * n] + b[n : 2 * n])
        h = z * h + (1 - z) * np.tanh(a[2 * n :] + r * b[2 * n :])
        ys.append(h)
    return np.array(ys)


def lstm(x: np.ndarray, weights: list[np.ndarray]) -> np.ndarray:
    kernel, recurrent = weights[:2]
    h = c = np.zeros(recurrent.shape[0], x.dtype)
    ys = []
    for row in x:
        a = row @ kernel + h @ recurrent + (weights[2] if len(weights) == 3 else 0)
        i, f, g, o = np.split(a, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        ys.append(h)
    return np.array(ys)


def conv1d(x: np.ndarray, layer: dict[str, Any], weights: list[np.ndarray]) -> np.ndarray:
    kernel, dilation, groups = weights[0], layer["dilation"][-1], layer.get("groups", 1)
    taps, per_group, units = kernel.shape
    padded = np.concatenate([np.zeros(((taps - 1) * dilation, x.shape[1]), x.dtype), x])
    y = np.zeros((len(x), units), x.dtype)
    for unit in range(units):
        first = unit // (units // groups) * per_group
        for k in range(taps):
            y[:, unit] += padded[k * dilation : k * dilation + len(x), first : first + per_group] @ kernel[k, :, unit]
    return y + (weights[1] if len(weights) == 2 else 0)


def conv2d(x: np.ndarray, layer: dict[str, Any], weights: list[np.ndarray]) -> np.ndarray:
    """Causal over time, "valid" or TensorFlow's "same" over features."""
    kernel, stride, dilation = weights[0], layer["strides"], layer["dilation"]
    taps, width, filters, units = kernel.shape
    features = layer["num_features_in"]
    x = x.reshape(len(x), features, filters)
    if layer["padding"] == "same":
        out = math.ceil(features / stride)
        extra = max((out - 1) * stride + width - features, 0)
        x = np.pad(x, [(0, 0), (extra // 2, extra - extra // 2), (0, 0)])
    out = (x.shape[1] - width) // stride + 1
    x = np.concatenate([np.zeros(((taps - 1) * dilation, *x.shape[1:]), x.dtype), x])
    steps = len(x) - (taps - 1) * dilation
    y = np.zeros((steps, out, units), x.dtype)
    for t in range(taps):
        for w in range(width):
            y += x[t * dilation : t * dilation + steps, w : w + (out - 1) * stride + 1 : stride] @ kernel[t, w]
    return (y + weights[1]).reshape(steps, -1)


def batch_norm(x: np.ndarray, layer: dict[str, Any], weights: list[np.ndarray]) -> np.ndarray:
    shape = x.shape
    if layer["type"] == "batchnorm2d":
        x = x.reshape(len(x), layer["num_features_in"], layer["num_filters_in"])
    mean, variance = weights[-2:]
    x = (x - mean) / np.sqrt(variance + x.dtype.type(layer["epsilon"]))
    return (x * weights[0] + weights[1] if len(weights) == 4 else x).reshape(shape)


def evaluate(document: dict[str, Any], x: np.ndarray, dtype: Any = np.float64) -> np.ndarray:
    """The network over a whole sequence (time, inputs)."""

    def gain(key: str) -> Any:
        return dtype(10 ** (document[key] / 20)) if document.get(key) is not None else dtype(1)

    x = np.asarray(x, dtype).copy()
    x[:, 0] *= gain("in_gain")
    dry = x[:, :1]
    for layer in document["layers"]:
        w = [np.asarray(a, dtype) for a in layer["weights"]]
        kind = layer["type"]
        if kind in ("dense", "time-distributed-dense"):
            x = x @ w[0] + (w[1] if len(w) == 2 else 0)
        elif kind == "prelu":
            x = np.where(x >= 0, x, w[0][0] * x)
        elif kind in ("gru", "lstm"):
            x = {"gru": gru, "lstm": lstm}[kind](x, w)
            continue
        elif kind in ("conv1d", "conv2d"):
            x = {"conv1d": conv1d, "conv2d": conv2d}[kind](x, layer, w)
        elif kind.startswith("batchnorm"):
            x = batch_norm(x, layer, w)
        x = FUNCTIONS[layer.get("activation", "")](x)
    return (x + dry if document.get("in_skip") else x) * gain("out_gain")


# -- documents -----------------------------------------------------------------------------------------

rng = np.random.default_rng(5)


def values(*shape: int, scale: float = 0.5) -> list[Any]:
    return np.round(rng.standard_normal(shape) * scale, 4).tolist()


def layer(kind: str, size: int, weights: list[Any], activation: str = "", **more: Any) -> dict[str, Any]:
    return {"type": kind, "activation": activation, "shape": [None, None, size], "weights": weights, **more}


def dense(n: int, m: int, activation: str = "", bias: bool = True) -> dict[str, Any]:
    return layer("dense", m, [values(n, m), values(m)][: 1 + bias], activation)


def gru_layer(n: int, m: int) -> dict[str, Any]:
    return layer("gru", m, [values(n, 3 * m), values(m, 3 * m), values(2, 3 * m)], "tanh")


def lstm_layer(n: int, m: int, bias: bool = True) -> dict[str, Any]:
    return layer("lstm", m, [values(n, 4 * m), values(m, 4 * m), values(4 * m)][: 2 + bias], "tanh")


def conv_layer(n: int, m: int, taps: int, dilation: int, groups: int = 1, activation: str = "") -> dict[str, Any]:
    weights = [values(taps, n // groups, m), values(m)]
    return layer("conv1d", m, weights, activation, kernel_size=[taps], dilation=[dilation], groups=groups)


def norm(kind: str, filters: int, affine: bool, features: int = 1) -> dict[str, Any]:
    positive = np.abs(values(filters)).tolist()
    weights = [values(filters), values(filters), values(filters), positive][0 if affine else 2 :]
    more = {"num_filters_in": filters, "num_features_in": features} if kind == "batchnorm2d" else {}
    return layer(kind, filters * features, weights, epsilon=0.01, **more)


def conv2d_layer(features: int, filters: int, units: int, out: int, **more: Any) -> dict[str, Any]:
    settings = {
        "kernel_size_time": 3,
        "kernel_size_feature": 3,
        "dilation": 2,
        "strides": 1,
        "padding": "valid",
        **more,
    }
    weights = [values(settings["kernel_size_time"], settings["kernel_size_feature"], filters, units), values(units)]
    found = layer("conv2d", units, weights, "tanh", **settings)
    found |= {"shape": [None, None, out, units], "num_filters_in": filters, "num_features_in": features}
    return {**found, "num_filters_out": units}


def document(layers: list[dict[str, Any]], inputs: int = 1, **more: Any) -> dict[str, Any]:
    return {"in_shape": [None, None, inputs], "layers": layers, **more}


NETWORKS: dict[str, dict[str, Any]] = {
    "every activation": document(
        [dense(2, 4, "tanh"), dense(4, 4, "relu"), dense(4, 5, "sigmoid"), dense(5, 5, "elu"), dense(5, 3, "softmax")],
        2,
    ),
    "activation layers": document(
        [
            dense(3, 4),
            layer("activation", 4, [], "elu"),
            dense(4, 4, bias=False),
            layer("activation", 4, [], "softmax"),
        ],
        3,
    ),
    "time-distributed dense, linear": document([{**dense(1, 3, "linear"), "type": "time-distributed-dense"}]),
    "stacked cells": document([gru_layer(2, 5), lstm_layer(5, 4), lstm_layer(4, 3, bias=False), dense(3, 1)], 2),
    "convolutions": document(
        [dense(1, 6, "tanh"), conv_layer(6, 4, 3, 2), conv_layer(4, 4, 1, 1, activation="tanh"), conv_layer(4, 2, 2, 5)]
    ),
    "grouped convolutions": document([conv_layer(6, 4, 3, 2, groups=2), conv_layer(4, 4, 4, 1, groups=4)], 6),
    "normalised": document(
        [
            dense(1, 4),
            norm("batchnorm", 4, True),
            layer("prelu", 4, [values(1, 4)]),
            conv_layer(4, 4, 3, 1),
            norm("batchnorm", 4, False),
            layer("prelu", 4, [values(1, 1)]),
        ]
    ),
    "two axes": {
        "in_shape": [None, 50, 11, 2],
        "layers": [
            conv2d_layer(11, 2, 3, 9),
            {**norm("batchnorm2d", 3, True, 9), "shape": [None, None, 9, 3]},
            conv2d_layer(9, 3, 4, 5, padding="same", strides=2, kernel_size_time=1, kernel_size_feature=4),
            {**norm("batchnorm2d", 4, False, 5), "shape": [None, None, 5, 4]},
            {**conv2d_layer(5, 4, 1, 2, strides=2, dilation=1), "activation": ""},
        ],
    },
    "amplifier": document([lstm_layer(1, 8), dense(8, 1)], in_skip=1, in_gain=-3.5, out_gain=6.0),
    "amplifier with a control": document([gru_layer(2, 8), dense(8, 1)], 2, in_skip=1, in_gain=12.0),
    "amplifier with two controls": document([lstm_layer(3, 8), dense(8, 1)], 3, in_gain=None, out_gain=-12),
}


def save(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def step_all(model: rtrnn.Model, x: np.ndarray) -> np.ndarray:
    stream = model.stream()
    return np.array([stream.step(row) for row in np.asarray(x, np.float32)])


def compare(model: rtrnn.Model, content: dict[str, Any], x: np.ndarray) -> None:
    """Within twice the error of the same evaluation in float32, or 2e-7 of the largest output."""
    x = np.asarray(x, np.float32)
    exact = evaluate(content, x)
    floor = np.abs(evaluate(content, x, np.float32) - exact).max()
    assert np.abs(step_all(model, x) - exact).max() <= max(2 * floor, 2e-7 * max(np.abs(exact).max(), 1))


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str, tmp_path: Path):
    content = NETWORKS[name]
    inputs = int(np.prod(content["in_shape"][2:]))
    # The name says nothing: a file is what it holds.
    model = rtrnn.load(save(tmp_path / "network.onnx", content))
    assert model.metadata["source.format"] == "rtneural"
    compare(model, content, np.random.default_rng(1).standard_normal((60, inputs)))


def test_ninety_decibels_down_is_silence(tmp_path: Path):
    content = document([dense(1, 1)], in_gain=-90.5)
    (y,) = step_all(rtrnn.load(save(tmp_path / "x", content)), np.ones((1, 1)))
    assert y == np.float32(content["layers"][0]["weights"][1])


@pytest.mark.parametrize("name", ["convolutions", "two axes", "stacked cells"])
def test_a_weight_that_is_lost_is_noticed(name: str, tmp_path: Path):
    """The twin of test_networks: the comparison fails when one weight of any layer is another."""
    content = NETWORKS[name]
    x = np.random.default_rng(1).standard_normal((60, int(np.prod(content["in_shape"][2:]))))
    for index in range(len(content["layers"])):
        broken = copy.deepcopy(content)
        weights = np.array(broken["layers"][index]["weights"][0])
        weights.ravel()[0] += 0.5
        broken["layers"][index]["weights"][0] = weights.tolist()
        with pytest.raises(AssertionError):
            compare(rtrnn.load(save(tmp_path / "x", broken)), content, x)


def test_state_starts_again_and_forks(tmp_path: Path):
    content = NETWORKS["normalised"]
    model = rtrnn.load(save(tmp_path / "x.json", content))
    stream = model.stream()
    x = np.random.default_rng(2).standard_normal((20, 1)).astype(np.float32)
    first = [stream.step(row).copy() for row in x[:10]]
    twin = stream.fork()
    assert np.array_equal([stream.step(row).copy() for row in x[10:]], [twin.step(row).copy() for row in x[10:]])
    stream.reset()
    assert np.array_equal([stream.step(row).copy() for row in x[:10]], first)


# -- the recorded files --------------------------------------------------------------------------------


def recorded(models: Path, name: str) -> tuple[Path, dict[str, Any]]:
    path = models / "rtneural" / f"{name}.json"
    return path, json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.models
@pytest.mark.parametrize("name", RECORDED)
def test_recorded(name: str, models: Path):
    path, content = recorded(models, name)
    x = np.loadtxt(models / "rtneural" / f"{name}_x_python.csv")[:, None]
    y = np.loadtxt(models / "rtneural" / f"{name}_y_python.csv")[:, None]
    exact = evaluate(content, x)
    floor = np.abs(y - exact).max()  # TensorFlow's own distance from float64
    found = step_all(rtrnn.load(path), x)
    assert np.abs(found - exact).max() <= max(2 * floor, 2e-7)
    assert np.abs(found - y).max() <= 3e-7


@pytest.mark.models
def test_the_full_model(models: Path):
    path, content = recorded(models, "full_model")
    model = rtrnn.load(path)
    assert dict(model.states) == {"conv1d_1.past": (4, 8), "gru_2.h": (8,)}
    compare(model, content, 3 * np.sin(np.arange(300) * 0.1)[:, None])


@pytest.mark.models
def test_the_bad_lstm_is_refused(models: Path):
    with pytest.raises(rtrnn.FileFormatError) as error:
        rtrnn.load(models / "rtneural" / "bad_lstm.json")
    for part in ("bad_lstm.json", "RTNeural JSON", "layer 0 (lstm)", "16 units", "(1, 64)", "(1, 80)", "(20, 80)"):
        assert part in str(error.value)


# -- metadata, options, warnings -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "rate"),
    [
        ({"samplerate": "48000"}, "48000"),
        ({"metadata": {"samplerate": 44100.0, "name": "Crunch"}}, "44100"),
        ({"metadata": {"samplerate": "n/a"}}, None),
        ({"metadata": None}, None),
        ({"metadata": ["x"]}, None),
    ],
)
def test_metadata(more: dict[str, Any], rate: str | None, tmp_path: Path):
    metadata = rtrnn.load(save(tmp_path / "x", document([dense(1, 1)], **more, esr=0.004, author="\ud800é"))).metadata
    assert metadata.get("sample_rate") == rate
    assert metadata["esr"] == "0.004"
    assert metadata["author"] == "?é"
    assert ("name" in metadata) == ("name" in str(more))
    assert "layers" not in metadata


def test_initial_states(tmp_path: Path):
    path = save(tmp_path / "x", document([gru_layer(1, 2), dense(2, 1)]))
    model = rtrnn.load(path, initial_states={"gru_0.h": [0.25, -0.5]})
    assert np.array_equal(model.stream().state_vector(), np.float32([0.25, -0.5]))
    with pytest.raises(rtrnn.StateError, match=r"initial_states names 'h', but the states are \['gru_0.h'\]"):
        rtrnn.load(path, initial_states={"h": [0, 0]})
    with pytest.raises(ValueError, match="gru_reset= has no meaning for a RTNeural JSON file"):
        rtrnn.load(path, gru_reset="after")


def test_a_network_trained_on_longer_sequences_is_warned_of(tmp_path: Path):
    content = document([conv_layer(1, 2, 5, 2)])
    content["in_shape"][1], content["layers"][0]["shape"][1] = 100, 92
    with pytest.warns(rtrnn.ModelWarning, match=r"layer 0 \(conv1d\) shortens a sequence by 8 frames"):
        compare(rtrnn.load(save(tmp_path / "x", content)), content, np.ones((30, 1)))
    content = {"in_shape": [None, None, 4, 1], "layers": [conv2d_layer(4, 1, 2, 4, padding="same", kernel_size_time=4)]}
    with pytest.warns(rtrnn.ModelWarning, match="gives each output 3 frames later than the trained network"):
        compare(rtrnn.load(save(tmp_path / "x", content)), content, np.ones((30, 4)))


# -- what is refused -----------------------------------------------------------------------------------

Refusal = tuple[Any, type[Exception], list[str]]
GRU, LSTM, CONV, CONV2D = gru_layer(1, 2), lstm_layer(1, 2), conv_layer(2, 2, 3, 1), conv2d_layer(4, 1, 2, 2)


def changed(base: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return {**base, **keys}


def with_weight(base: dict[str, Any], index: int, weight: Any) -> dict[str, Any]:
    weights = list(base["weights"])
    weights[index] = weight
    return {**base, "weights": weights}


def without(base: dict[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in base.items() if k != key}


FORMAT, UNSUPPORTED = rtrnn.FileFormatError, rtrnn.UnsupportedError
REFUSED: dict[str, Refusal] = {
    "no in_shape": ({"layers": [GRU]}, FORMAT, ["'in_shape' is missing"]),
    "unknown size": ({"in_shape": [None, None], "layers": [GRU]}, FORMAT, ["'in_shape'", "[None, None]"]),
    "negative size": ({"in_shape": [None, -1], "layers": [GRU]}, FORMAT, ["'in_shape'", "[None, -1]"]),
    "huge size": ({"in_shape": [None, 10**9], "layers": [GRU]}, FORMAT, ["'in_shape'", "1000000000"]),
    "huge product": ({"in_shape": [None, 1, 2**15, 2**15], "layers": [GRU]}, FORMAT, ["'in_shape'", str(2**30)]),
    "in_shape of text": ({"in_shape": ["1"], "layers": [GRU]}, FORMAT, ["'in_shape'"]),
    "no layers": (document([]), FORMAT, ["0 layers", "1 to 1000"]),
    "layers of text": ({"in_shape": [1], "layers": "x"}, FORMAT, ["'layers': expected a list; found a string"]),
    "a list for a layer": (document([[]]), FORMAT, ["layer 0: expected an object; found a list"]),
    "no type": (document([without(GRU, "type")]), FORMAT, ["layer 0", "'type' is missing"]),
    "unknown type": (document([GRU, changed(GRU, type="unknown")]), UNSUPPORTED, ["layer 1 (unknown)", "lstm, conv1d"]),
    "no weights": (document([without(GRU, "weights")]), FORMAT, ["layer 0 (gru)", "'weights' is missing"]),
    "no shape": (document([without(GRU, "shape")]), FORMAT, ["layer 0 (gru)", "'shape' is missing"]),
    "too few weights": (document([changed(LSTM, weights=[])]), FORMAT, ["(lstm)", "holds 0 arrays; expected 2 or 3"]),
    "GRU without bias": (
        document([changed(GRU, weights=GRU["weights"][:2])]),
        FORMAT,
        ["(gru)", "2 arrays", "reset_after"],
    ),
    "GRU with the bias of reset_after=False": (
        document([with_weight(GRU, 2, values(6))]),
        FORMAT,
        ["layer 0 (gru)", "the bias has shape (6,); expected (2, 6)"],
    ),
    "other units": (document([changed(GRU, shape=[None, None, 3])]), FORMAT, ["3 units", "(1, 9)", "(1, 6)", "(2, 6)"]),
    "wrong inputs": (document([GRU], 2), FORMAT, ["2 inputs", "(2, 6)", "(1, 6)"]),
    "dense of other size": (
        document([changed(dense(1, 2), shape=[3])]),
        FORMAT,
        ["the kernel has shape (1, 2); expected (1, 3)"],
    ),
    "transposed": (document([changed(dense(3, 2), shape=[3])], 2), FORMAT, ["(3, 2); expected (2, 3)"]),
    "short bias": (document([with_weight(dense(1, 2), 1, [0.5])]), FORMAT, ["the bias has shape (1,); expected (2,)"]),
    "ragged": (
        document([with_weight(dense(1, 2), 0, [[1, 2], [3]])]),
        FORMAT,
        ["(dense)", "the kernel", "equal length"],
    ),
    "text weights": (document([with_weight(dense(1, 2), 0, [["1", "2"]])]), FORMAT, ["the kernel", "expected numbers"]),
    "null weights": (document([with_weight(dense(1, 2), 0, [[1, None]])]), FORMAT, ["the kernel", "expected numbers"]),
    "NaN": (document([with_weight(dense(1, 2), 0, [[1, math.nan]])]), FORMAT, ["the kernel", "(0, 1) is nan"]),
    "too large for float32": (document([with_weight(dense(1, 2), 1, [0, 1e39])]), FORMAT, ["the bias", "1e+39"]),
    "integer beyond float": (document([with_weight(dense(1, 1), 1, [10**400])]), FORMAT, ["the bias"]),
    "empty": (document([with_weight(dense(1, 2), 0, [[]])]), FORMAT, ["the kernel", "found none"]),
    "unknown activation": (document([dense(1, 2, "swish")]), UNSUPPORTED, ["layer 0 (dense)", "'swish'", "tanh, relu"]),
    "softmax of one": (
        document([dense(2, 1, "softmax")], 2),
        UNSUPPORTED,
        ["layer 0 (dense)", "'softmax' of one value"],
    ),
    "activation of a number": (document([changed(dense(1, 2), activation=3)]), FORMAT, ["'activation'", "a number"]),
    "empty activation layer": (document([layer("activation", 1, [])]), FORMAT, ["(activation)", "is empty"]),
    "activation layer of other size": (
        document([layer("activation", 2, [], "relu")]),
        FORMAT,
        ["'shape' says 2 outputs"],
    ),
    "GRU with relu": (document([changed(GRU, activation="relu")]), UNSUPPORTED, ["(gru)", "'relu'", "'tanh'"]),
    "kernel size": (document([changed(CONV, kernel_size=[4])], 2), FORMAT, ["(3, 2, 2); expected (4, 2, 2)"]),
    "no dilation possible": (document([changed(CONV, dilation=[0])], 2), FORMAT, ["'dilation'", "from 1"]),
    "endless dilation": (document([changed(CONV, dilation=[10**12])], 2), FORMAT, ["'dilation'", "1000000000000"]),
    "long memory": (document([changed(conv_layer(40, 1, 2, 1), dilation=2**20)], 40), FORMAT, ["spans 1048576 frames"]),
    "groups": (document([changed(CONV, groups=3)], 2), FORMAT, ["'groups' is 3", "divisor"]),
    "stride over time": (document([changed(CONV, strides=[2])], 2), UNSUPPORTED, ["(conv1d)", "stride"]),
    "conv2d padding": (
        {"in_shape": [None, None, 4, 1], "layers": [changed(CONV2D, padding="full")]},
        UNSUPPORTED,
        ["'full'"],
    ),
    "conv2d of other inputs": (
        {"in_shape": [None, None, 5, 1], "layers": [CONV2D]},
        FORMAT,
        ["4 features of 1", "5 inputs"],
    ),
    "conv2d kernel too wide": (
        {"in_shape": [None, None, 2, 1], "layers": [changed(conv2d_layer(2, 1, 2, 1), num_features_in=2)]},
        UNSUPPORTED,
        ["layer 0 (conv2d)", "spans 3 elements"],
    ),
    "no epsilon": (document([without(norm("batchnorm", 1, True), "epsilon")]), FORMAT, ["(batchnorm)", "'epsilon'"]),
    "three arrays": (document([changed(norm("batchnorm", 1, True), weights=[[1], [1], [1]])]), FORMAT, ["2 or 4"]),
    "negative variance": (document([with_weight(norm("batchnorm", 1, False), 1, [-1])]), FORMAT, ["variance", "-0.99"]),
    "prelu by frame": (document([layer("prelu", 1, [values(5, 1)])]), FORMAT, ["alpha has shape (5, 1)"]),
    "prelu of other size": (document([layer("prelu", 1, [values(1, 2)])]), FORMAT, ["alpha has shape (1, 2)"]),
    "skip of two": (document([dense(1, 1)], in_skip=2), UNSUPPORTED, ["'in_skip' is 2"]),
    "skip to many": (document([dense(1, 2)], in_skip=1), UNSUPPORTED, ["'in_skip' with 2 outputs"]),
    "gain of text": (document([dense(1, 1)], in_gain="loud"), FORMAT, ["'in_gain'", "'loud'"]),
    "endless gain": (document([dense(1, 1)], out_gain=1e30), FORMAT, ["'out_gain'", "1e+30"]),
    "gain NaN": (document([dense(1, 1)], out_gain=math.nan), FORMAT, ["'out_gain'", "nan"]),
    "deep": ('{"layers":' + "[" * 900 + "]" * 900 + ', "in_shape": [1]}', FORMAT, ["layer 0: expected an object"]),
    "deeper": ('{"layers":' + "[" * 10**5 + "]" * 10**5 + "}", FORMAT, ["damaged"]),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what: str, tmp_path: Path):
    content, kind, parts = REFUSED[what]
    path = save(tmp_path / "bad.json", content)
    with pytest.raises(kind) as error:
        rtrnn.load(path)
    message = str(error.value)
    assert type(error.value) is kind
    for part in [str(path), *parts]:
        assert part in message
    assert message.count(str(path)) == 1
    assert "\n" not in message
    assert len(message) < 500
