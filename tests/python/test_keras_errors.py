"""Keras files that cannot be streamed, or that are damaged: one error that names the layer and what was expected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from keras_models import edited, keras, loaded, randomised, saved, zipped

import rtrnn
from rtrnn.errors import FileFormatError, UnsupportedError
from rtrnn.loading import detect_format

#: Keras itself uses what NumPy is going to drop.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

L = keras.layers
F = 5


def sequence_model(*layers: Any, shape: tuple[int | None, ...] = (None, F)) -> Any:
    return randomised(keras.Sequential([keras.Input(shape, name="x"), *layers]))


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A file that loads: GRU, Dense."""
    layers = [L.GRU(4, return_sequences=True, name="memory"), L.Dense(2, name="head")]
    return saved(sequence_model(*layers), tmp_path / "policy.keras")


@keras.saving.register_keras_serializable(package="mine")
class Doubled(keras.layers.Layer):
    def call(self, x):
        return 2 * x


@keras.saving.register_keras_serializable(package="mine")
def bump(x):
    return x * x


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.gru = L.GRU(3)

    def call(self, x):
        return self.gru(x)


def seq2seq() -> Any:
    x, y = keras.Input((None, F)), keras.Input((None, F))
    _, h, c = L.LSTM(4, return_state=True)(x)
    return keras.Model([x, y], L.LSTM(4, return_sequences=True)(y, initial_state=[h, c]))


def summary_in_frames() -> Any:
    x = keras.Input((None, F))
    return keras.Model(x, L.Add()([L.GRU(F)(x)[:, None, :], x]))


def over_a_summary() -> Any:
    x = keras.Input((None, F))
    return keras.Model(x, L.GRU(3)(L.Reshape((1, 4))(L.GRU(4)(x))))


def in_training(layer: Any) -> Any:
    x = keras.Input((None, F))
    return keras.Model(x, layer(x, training=True))


REFUSED = [
    (lambda: in_training(L.Dropout(0.5)), r"layer 'dropout\w*' \(Dropout\): called with training=True"),
    (lambda: in_training(L.GRU(3, recurrent_dropout=0.5)), r"\(GRU\): called with training=True"),
    (lambda: in_training(L.TimeDistributed(L.BatchNormalization())), r"\(BatchNormalization\): called with training=True"),
    (lambda: in_training(keras.Sequential([L.Dense(3), L.Dropout(0.5)])), r"\(Dropout\): called with training=True"),
    (lambda: sequence_model(L.Lambda(lambda x: x)), r"layer 'lambda\w*' \(Lambda\): a Lambda layer holds program code"),
    (lambda: sequence_model(Doubled()), r"layer 'doubled\w*' \(Doubled\): a custom class .*mine>Doubled"),
    (lambda: sequence_model(L.Dense(3, activation=bump)), r"layer 'dense\w*' \(Dense\): its activation is 'mine>bump'"),
    (lambda: sequence_model(L.GRU(3, activation="softmax")), r"layer 'gru\w*' \(GRUCell\): activation: .*'softmax'"),
    (lambda: sequence_model(L.Dense(3, activation="sparsemax")), r"'sparsemax': not supported"),
    (lambda: keras.Sequential([keras.Input((None,)), L.Embedding(10, 4), L.GRU(3)]), r"\(Embedding\): its input is an index"),
    (lambda: keras.Sequential([keras.Input((7,)), L.Embedding(10, 4), L.GRU(3)]), r"\(Embedding\): its input is an index"),
    (lambda: keras.Sequential([keras.Input((F,)), L.RepeatVector(3), L.GRU(2)]), r"\(RepeatVector\)"),
    (lambda: sequence_model(L.GlobalAveragePooling1D()), r"\(GlobalAveragePooling1D\): pooling over the time axis"),
    (lambda: sequence_model(L.Conv1D(3, 3, padding="same"), L.GRU(3)), r"\(\w+\): .*1 frames ahead"),
    (lambda: sequence_model(L.Conv1D(3, 2, strides=2)), r"\(Conv1D\): .*strides of 2"),
    (
        lambda: sequence_model(L.GRU(3, return_sequences=True), L.Flatten(), L.Dense(2), shape=(10, F)),
        r"\(Flatten\): joins all timesteps .*10",
    ),
    (lambda: sequence_model(L.Reshape((-1, 1)), L.GRU(3)), r"\(Reshape\): takes frames"),
    (seq2seq, r"layer 'lstm\w*' \(LSTM\): its initial state is computed by the network"),
    (summary_in_frames, "reads in each timestep what only the end of the sequence gives"),
    (over_a_summary, "reads in each timestep what only the end of the sequence gives"),
    (lambda: sequence_model(L.GRU(3, return_sequences=True), L.Softmax(axis=1)), r"\(Softmax\): softmax over the time axis"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=range(len(REFUSED)))
def test_refused(make: Any, message: str, tmp_path: Path) -> None:
    path = saved(make(), tmp_path / "m.keras")
    with pytest.raises(UnsupportedError, match=message) as caught:
        loaded(path)
    assert str(caught.value).startswith(str(path))


def test_subclassed_model(tmp_path: Path) -> None:
    model = Subclassed()
    model(np.zeros((1, 2, F), np.float32))
    with pytest.raises(UnsupportedError, match=r"a custom class .*Subclassed|class of its own"):
        loaded(saved(model, tmp_path / "m.keras"))


def test_weights_alone(tmp_path: Path) -> None:
    """Weights without the network's structure; what would make them work is said."""
    model = sequence_model(L.GRU(3))
    model.save_weights(tmp_path / "m.weights.h5")
    with pytest.raises(UnsupportedError, match=r"weights of a Keras model without its layers.*model\.save\('model\.keras'\)"):
        rtrnn.load(tmp_path / "m.weights.h5")


def first_layer(config: Any, name: str) -> Any:
    return next(layer["config"] for layer in config["config"]["layers"] if layer["config"]["name"] == name)


def test_shapes_are_named(policy: Path) -> None:
    edited(policy, lambda config: first_layer(config, "memory").update(units=6))
    message = r"'memory' .*'kernel' has shape \(5, 12\); expected \(5, 18\) \(3 gates of 6 units on 5 features\)"
    with pytest.raises(FileFormatError, match=message):
        loaded(policy)


CHANGES = [
    ({"units": "four"}, r"layer 'memory' \(GRUCell\): units is 'four'; expected a whole number"),
    ({"units": 10**9}, r"weight 'kernel' has shape \(5, 12\); expected \(5, 3000000000\)"),
    ({"units": -4}, "weight 'kernel' has shape"),
    ({"return_sequences": 1}, r"return_sequences is 1; expected true or false"),
    ({"activation": 3}, r"activation is 3; expected a name"),
    ({"activation": {"class_name": "function", "config": "mine", "module": "builtins"}}, "its activation is 'mine'"),
    ({"reset_after": False}, r"weight 'bias' has shape \(2, 12\); expected \(12,\)"),
    ({"use_bias": False}, r"holds 'layers/gru/cell/vars/2' of shape \(2, 12\), which no layer"),
    ({"dtype": "int8_from_float32"}, "quantised weights"),
    ({"name": "other"}, r"belong to the layer 'memory'; expected 'other'"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES, ids=str)
def test_changed_configuration(change: dict[str, Any], message: str, policy: Path) -> None:
    edited(policy, lambda config: first_layer(config, "memory").update(change))
    with pytest.raises((FileFormatError, UnsupportedError), match=message) as caught:
        loaded(policy)
    assert str(caught.value).startswith(str(policy))


def test_missing_and_surplus_layers(policy: Path) -> None:
    def without_head(config: Any) -> None:
        config["config"]["layers"].pop()

    def second_head(config: Any) -> None:
        config["config"]["layers"].append(config["config"]["layers"][-1])

    data = policy.read_bytes()
    edited(policy, without_head)
    with pytest.raises(FileFormatError, match=r"holds 'layers/dense/vars/0' of shape \(4, 2\), which no layer of the model accounts for"):
        loaded(policy)
    policy.write_bytes(data)
    edited(policy, second_head)
    message = r"layer 'head' \(Dense\): its weight 'kernel' is missing; expected it at 'layers/dense_1/vars/0'"
    with pytest.raises(FileFormatError, match=message):
        loaded(policy)


@pytest.mark.parametrize("cyclic", [True, False])
def test_wiring(cyclic: bool, tmp_path: Path) -> None:
    x = keras.Input((None, F), name="x")
    model = keras.Model(x, L.Dense(3, name="b")(L.Dense(F, name="a")(x)))

    def change(config: Any) -> None:
        layer = next(layer for layer in config["config"]["layers"] if layer["name"] == "a")
        tensor = layer["inbound_nodes"][0]["args"][0]["config"]
        tensor["keras_history"] = ["b", 0, 0] if cyclic else ["nobody", 0, 0]

    path = edited(saved(model, tmp_path / "m.keras"), change)
    with pytest.raises(FileFormatError, match="computed from itself" if cyclic else "'nobody' is read, which the file does not have"):
        loaded(path)


def test_archives_that_lack_a_part(policy: Path, tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(policy) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    without = {name: data for name, data in parts.items() if name != "model.weights.h5"}
    with pytest.raises(UnsupportedError, match=r"no model\.weights\.h5, but nothing"):
        loaded(zipped(tmp_path / "a.keras", without))
    with pytest.raises(FileFormatError, match=r"config\.json is not JSON"):
        loaded(zipped(tmp_path / "b.keras", {**parts, "config.json": b"{"}))
    with pytest.raises(FileFormatError, match="HDF5"):
        loaded(zipped(tmp_path / "c.keras", {**parts, "model.weights.h5": b"nothing"}))
    bad = json.dumps({"keras_version": 3}).encode()
    with pytest.raises(FileFormatError, match="keras_version is 3"):
        loaded(zipped(tmp_path / "d.keras", {**parts, "metadata.json": bad}))


def test_old_file_with_a_swapped_weight(tmp_path: Path) -> None:
    """In an `.h5` file weights are a list; the names in it are checked."""
    path = saved(sequence_model(L.Dense(F, name="a"), L.LSTM(F, name="b")), tmp_path / "m.h5")
    with h5py.File(path, "a") as file:
        names = file["model_weights/b"].attrs["weight_names"]
        file["model_weights/b"].attrs["weight_names"] = [names[1], names[0], names[2]]
    with pytest.raises(FileFormatError, match=r"'b' .*in the place of its weight 'kernel'"):
        loaded(path)


def test_types(tmp_path: Path) -> None:
    """Types other than float32 are taken, with a warning."""
    model = randomised(keras.Sequential([keras.Input((None, F)), L.GRU(4, dtype="mixed_float16"), L.Dense(2, dtype="float64")]))
    path = saved(model, tmp_path / "m.keras")
    with pytest.warns(rtrnn.ModelWarning, match="the file computes in float64, mixed_float16"):
        rtrnn.load(path)


def test_masking_is_noticed(tmp_path: Path) -> None:
    path = saved(sequence_model(L.Masking(0.0), L.GRU(3)), tmp_path / "m.keras")
    with pytest.warns(rtrnn.ModelWarning, match="padding"):
        rtrnn.load(path)


def test_recognised_by_content(policy: Path, tmp_path: Path) -> None:
    other = policy.rename(tmp_path / "policy.onnx")
    assert detect_format(other) == "keras"
    old = saved(sequence_model(L.GRU(3)), tmp_path / "m.h5").rename(tmp_path / "m.bin")
    assert detect_format(old) == "keras-h5"
    assert list(loaded(old).inputs) == ["x"]
