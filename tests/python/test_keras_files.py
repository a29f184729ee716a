"""Keras 2's layouts and meanings, and the matching of weights, against float64 NumPy; the files are written without Keras."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from keras_files import functional_config, layer, policy, sequential_config, write_h5, write_keras

import rtrnn
from rtrnn.errors import FileFormatError, UnsupportedError

pytest.importorskip("pyfive", reason="the package of the extra 'keras' reads these files")

Array = np.ndarray
I, H, T = 3, 4, 25  # noqa: E741


def random(*shape: int, seed: int = 0) -> Array:
    return (0.7 * np.random.default_rng([seed, *shape]).normal(size=shape)).astype(np.float32)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def hard_sigmoid(x: Array) -> Array:
    return np.clip(0.2 * x + 0.5, 0, 1)


def hard_sigmoid_3(x: Array) -> Array:
    return np.clip(x / 6 + 0.5, 0, 1)


def gru(xs: Array, kernel: Array, recurrent: Array, bias: Array, gate: Any, *, after: bool) -> Array:
    """keras.layers.GRU: gates z, r, h side by side."""
    kernel, recurrent, bias = (a.astype(np.float64) for a in (kernel, recurrent, bias))
    bias_x, bias_h = (bias[0], bias[1]) if after else (bias, np.zeros(3 * H))
    h, ys = np.zeros(H), []
    for x in xs:
        from_x = x @ kernel + bias_x
        from_h = h @ recurrent + bias_h
        z, r = (gate(from_x[i * H : (i + 1) * H] + from_h[i * H : (i + 1) * H]) for i in range(2))
        inner = r * from_h[2 * H :] if after else (r * h) @ recurrent[:, 2 * H :]
        h = z * h + (1 - z) * np.tanh(from_x[2 * H :] + inner)
        ys.append(h)
    return np.array(ys)


def lstm(xs: Array, kernel: Array, recurrent: Array, bias: Array, h: Array, c: Array, gate: Any = sigmoid) -> Array:
    """keras.layers.LSTM: gates i, f, c, o side by side."""
    ys = []
    for x in xs:
        i, f, g, o = np.split((x @ kernel + h @ recurrent + bias).astype(np.float64), 4)
        c = gate(f) * c + gate(i) * np.tanh(g)
        h = gate(o) * np.tanh(c)
        ys.append(h)
    return np.array(ys)


def inputs() -> Array:
    return np.random.default_rng(9).normal(size=(T, I)).astype(np.float32)


def compare(network: rtrnn.Model, wanted: Array, xs: Array | None = None) -> None:
    found = network.stream().process(inputs() if xs is None else xs)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 * max(1, np.abs(wanted).max()))


GRU = {"units": H, "activation": "tanh", "use_bias": True, "return_sequences": True}


@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize(("version", "gate"), [("2.2.4", hard_sigmoid), ("2.15.0", hard_sigmoid), ("3.0.0", hard_sigmoid_3)])
def test_hard_sigmoid_is_the_versions_own(version: str, gate: Any, after: bool, tmp_path: Path) -> None:
    weights = {"kernel": random(I, 3 * H), "recurrent_kernel": random(H, 3 * H), "bias": random(*([2] if after else []), 3 * H)}
    spec = layer("GRU", "gru", **GRU, recurrent_activation="hard_sigmoid", reset_after=after, batch_input_shape=[None, None, I])
    path = write_h5(tmp_path / "m.h5", sequential_config([spec]), {"gru": {f"gru/{k}": v for k, v in weights.items()}}, version)
    compare(rtrnn.load(path), gru(inputs(), *weights.values(), gate, after=after))


def test_reset_before_where_the_file_says_nothing(tmp_path: Path) -> None:
    """Files from before reset_after existed have the reset gate before the product."""
    weights = {"kernel": random(I, 3 * H), "recurrent_kernel": random(H, 3 * H), "bias": random(3 * H)}
    spec = layer("GRU", "gru", **GRU, recurrent_activation="sigmoid", batch_input_shape=[None, None, I])
    path = write_h5(tmp_path / "m.h5", sequential_config([spec]), {"gru": weights}, "2.1.2")
    compare(rtrnn.load(path), gru(inputs(), *weights.values(), sigmoid, after=False))


def states_model() -> tuple[dict[str, Any], dict[str, dict[str, Array]]]:
    """obs, h and c -> the head's output, h', c', in Keras 2's writing of calls."""
    weights = {"kernel": random(I, 4 * H), "recurrent_kernel": random(H, 4 * H), "bias": random(4 * H)}
    recurrent = {"units": H, "activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True}
    layers = [
        layer("InputLayer", "obs", [], batch_input_shape=[None, None, I]),
        layer("InputLayer", "h", [], batch_input_shape=[None, H]),
        layer("InputLayer", "c", [], batch_input_shape=[None, H]),
        layer(
            "LSTM", "memory", [[["obs", 0, 0, {}], ["h", 0, 0, {}], ["c", 0, 0, {}]]],
            **recurrent, return_sequences=True, return_state=True,
        ),
        layer("TFOpLambda", "tf.math.multiply", [["memory", 0, 0, {"y": 2.0, "name": None}]], function="math.multiply"),
        layer("LeakyReLU", "leaky", [[["tf.math.multiply", 0, 0, {}]]], alpha=0.3),
        layer("Dense", "head", [[["leaky", 0, 0, {}]]], units=2, activation="linear", use_bias=True),
    ]  # fmt: skip
    outputs = [["head", 0, 0], ["memory", 0, 1], ["memory", 0, 2]]
    config = functional_config(layers, [["obs", 0, 0], ["h", 0, 0], ["c", 0, 0]], outputs)
    head = {"kernel": random(H, 2), "bias": random(2)}
    empty: dict[str, Array] = {}
    groups = {"obs": empty, "h": empty, "c": empty, "memory": weights, "tf.math.multiply": empty, "leaky": empty, "head": head}
    return config, groups


def test_functional_model_of_keras_2(tmp_path: Path) -> None:
    config, groups = states_model()
    first = {"h": random(H, seed=1), "c": random(H, seed=2)}
    network = rtrnn.load(write_h5(tmp_path / "m.h5", config, groups), initial_states=first)
    assert list(network.states) == ["h", "c"]
    ys = 2 * lstm(inputs(), *groups["memory"].values(), first["h"], first["c"])
    ys = np.where(ys > 0, ys, 0.3 * ys) @ groups["head"]["kernel"] + groups["head"]["bias"]
    compare(network, ys)
    assert network.metadata["source.producer"] == "keras 2.11.0"


def test_functions_of_tensorflow_are_a_list(tmp_path: Path) -> None:
    config, groups = states_model()
    config["config"]["layers"][4]["config"]["function"] = "math.betainc"
    with pytest.raises(UnsupportedError, match=r"'tf\.math\.multiply' \(TFOpLambda\): the TensorFlow function 'math\.betainc'"):
        rtrnn.load(write_h5(tmp_path / "m.h5", config, groups))


def test_keywords_that_change_the_computation(tmp_path: Path) -> None:
    config, groups = states_model()
    recurrent = config["config"]["layers"][3]
    recurrent["inbound_nodes"] = [[["obs", 0, 0, {"initial_state": [["h", 0, 0], ["c", 0, 0]]}]]]
    assert list(rtrnn.load(write_h5(tmp_path / "m.h5", config, groups)).states) == ["h", "c"]
    recurrent["inbound_nodes"] = [[["obs", 0, 0, {"constants": [["h", 0, 0]]}]]]
    with pytest.raises(UnsupportedError, match=r"layer 'memory' \(LSTM\): called with the tensors constants"):
        rtrnn.load(write_h5(tmp_path / "m.h5", config, groups))
    recurrent["config"]["time_major"] = True
    recurrent["inbound_nodes"] = [[["obs", 0, 0, {}]]]
    with pytest.raises(UnsupportedError, match=r"layer 'memory' \(LSTM\): time_major=True"):
        rtrnn.load(write_h5(tmp_path / "m.h5", config, groups))


def test_frozen_layers_come_last(tmp_path: Path) -> None:
    """Within one outermost layer, the weights that are trained come before those that are not."""
    frozen, trained = random(I, I), random(I, I, seed=1)
    dense = {"units": I, "activation": "tanh", "use_bias": False}
    inner = sequential_config(
        [
            layer("InputLayer", "in", batch_input_shape=[None, None, I]),
            layer("Dense", "a", **dense, trainable=False),
            layer("Dense", "b", **dense),
        ]
    )
    inner["config"]["name"] = "inner"
    config = sequential_config([layer("InputLayer", "x", batch_input_shape=[None, None, I]), inner])
    groups = {"inner": {"b/kernel": trained, "a/kernel": frozen}}
    compare(rtrnn.load(write_h5(tmp_path / "m.h5", config, groups)), np.tanh(np.tanh(inputs() @ frozen) @ trained))
    swapped = {"inner": {"a/kernel": frozen, "b/kernel": trained}}
    with pytest.raises(FileFormatError, match="named after another layer"):
        rtrnn.load(write_h5(tmp_path / "m.h5", config, swapped))


def test_long_lists_of_names(tmp_path: Path) -> None:
    """A list of names too long for one attribute is spread over several."""
    spec = layer("Dense", "head", units=2, activation="linear", use_bias=True, batch_input_shape=[None, None, I])
    weights = {"kernel": random(I, 2), "bias": random(2)}
    path = write_h5(tmp_path / "m.h5", sequential_config([spec]), {"head": weights})
    with h5py.File(path, "a") as file:
        attributes = file["model_weights/head"].attrs
        attributes["weight_names0"], attributes["weight_names1"] = attributes["weight_names"][:1], attributes["weight_names"][1:]
        del attributes["weight_names"]
    compare(rtrnn.load(path), inputs() @ weights["kernel"] + weights["bias"])


def test_missing_weights_of_an_old_file(tmp_path: Path) -> None:
    spec = layer("Dense", "head", units=2, activation="linear", use_bias=True, batch_input_shape=[None, None, I])
    groups = {"head": {"kernel": random(I, 2)}, "other": {"kernel": random(1)}}
    with pytest.raises(FileFormatError, match=r"layer 'head' \(Dense\): the file has 1 weights for it .*expected kernel, bias"):
        rtrnn.load(write_h5(tmp_path / "m.h5", sequential_config([spec]), groups))
    groups["head"]["bias"] = random(2)
    with pytest.raises(FileFormatError, match="holds weights of 'other', which is no layer"):
        rtrnn.load(write_h5(tmp_path / "m.h5", sequential_config([spec]), groups))


def test_functional_keras_3(tmp_path: Path) -> None:
    config, weights = policy()
    values = [w.astype(np.float64) for w in weights.values()]
    xs = np.random.default_rng(3).normal(size=(T, 5)).astype(np.float32)
    mean, variance, _, inner, inner_bias, kernel, recurrent, bias, gamma, beta, head, head_bias = values
    x = np.maximum((xs - mean) / np.sqrt(variance) @ inner + inner_bias, 0)
    y = np.concatenate([lstm(x, kernel, recurrent, bias, np.zeros(3), np.zeros(3)), x], axis=1)
    y = (y - y.mean(1, keepdims=True)) / np.sqrt(y.var(1, keepdims=True) + 1e-3) * gamma + beta
    y = y @ head + head_bias
    compare(rtrnn.load(write_keras(tmp_path / "m.keras", config, weights)), np.where(y > 0, y, 0.5 * (np.exp(y) - 1)), xs)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_types_of_weights(dtype: Any, tmp_path: Path) -> None:
    config, weights = policy()
    weights = {name: value.astype(dtype) if value.ndim else value for name, value in weights.items()}
    network = rtrnn.load(write_keras(tmp_path / "m.keras", config, weights))
    assert network.parameters > 0
    integers = {**weights, "layers/dense/vars/0": np.ones((7, 2), np.int8)}
    with pytest.raises(UnsupportedError, match="'kernel' has the type int8"):
        rtrnn.load(write_keras(tmp_path / "n.keras", config, integers))


def test_shared_layers_share_their_weights(tmp_path: Path) -> None:
    """One layer in two places has one `shared_object_id`, and its weights where it stands first."""
    shared = {**layer("Dense", "d", units=I, activation="tanh", use_bias=False), "shared_object_id": 7}
    inner = sequential_config([layer("InputLayer", "in", batch_shape=[None, None, I]), shared])
    inner["config"]["name"] = "inner"
    config = sequential_config([layer("InputLayer", "x", batch_shape=[None, None, I]), shared, inner])
    kernel = random(I, I)
    network = rtrnn.load(write_keras(tmp_path / "m.keras", config, {"layers/dense/vars/0": kernel}))
    compare(network, np.tanh(np.tanh(inputs() @ kernel) @ kernel))


def test_layers_are_counted_by_class(tmp_path: Path) -> None:
    """Keras 3's places are counted by class, whatever the layers are called; the name beside the weights is checked."""
    dense = {"units": I, "activation": "tanh", "use_bias": False}
    layers = [layer("InputLayer", "x", batch_shape=[None, None, I]), layer("Dense", "z", **dense), layer("Dense", "a", **dense)]
    first, second = random(I, I), random(I, I, seed=1)
    weights = {"layers/dense/vars/0": first, "layers/dense_1/vars/0": second}
    compare(rtrnn.load(write_keras(tmp_path / "m.keras", sequential_config(layers), weights)), np.tanh(np.tanh(inputs() @ first) @ second))


@pytest.mark.parametrize("prefix", ["layers\\", "_layer_checkpoint_dependencies/", "_layer_checkpoint_dependencies\\"])
def test_older_paths(prefix: str, tmp_path: Path) -> None:
    """Paths written on Windows, and those of Keras 2.13 and 2.14."""
    dense = {"units": I, "activation": "tanh", "use_bias": False}
    layers = [layer("InputLayer", "x", batch_input_shape=[None, None, I]), layer("Dense", "a", **dense), layer("Dense", "b", **dense)]
    first, second = random(I, I), random(I, I, seed=1)
    weights = {f"{prefix}dense/vars/0": first, f"{prefix}dense_1/vars/0": second}
    network = rtrnn.load(write_keras(tmp_path / "m.keras", sequential_config(layers), weights, "2.14.0"))
    compare(network, np.tanh(np.tanh(inputs() @ first) @ second))


def test_no_input_shape(tmp_path: Path) -> None:
    config = sequential_config([layer("Dense", "d", units=1, use_bias=False)])
    with pytest.raises(FileFormatError, match="does not say what shape its input has"):
        rtrnn.load(write_keras(tmp_path / "m.keras", config, {"layers/dense/vars/0": random(I, 1)}))
    config["config"]["build_input_shape"] = [None, None, I]
    compare(rtrnn.load(write_keras(tmp_path / "m.keras", config, {"layers/dense/vars/0": random(I, 1)})), inputs() @ random(I, 1))


def test_json_as_bytes(tmp_path: Path) -> None:
    spec = layer("Dense", "head", units=2, activation="linear", use_bias=False, batch_input_shape=[None, None, I])
    path = write_h5(tmp_path / "m.h5", sequential_config([spec]), {"head": {"kernel": random(I, 2)}})
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = np.bytes_(json.dumps(sequential_config([spec])))
        file.attrs["keras_version"] = np.bytes_(b"2.1.6-tf")
    compare(rtrnn.load(path), inputs() @ random(I, 2))
