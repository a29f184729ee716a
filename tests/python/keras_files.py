"""Small Keras files written without Keras, in the layouts of Keras 2 and 3."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

__all__ = ["functional_config", "layer", "policy", "sequential_config", "write_h5", "write_keras"]

Array = np.ndarray


def layer(kind: str, name: str, inbound: Any = None, **config: Any) -> dict[str, Any]:
    """One layer of a configuration, and its calls in a Functional model."""
    spec = {"module": "keras.layers", "class_name": kind, "config": {"name": name, **config}, "registered_name": None}
    return spec if inbound is None else {**spec, "name": name, "inbound_nodes": inbound}


def sequential_config(layers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    config = {"name": "policy", "layers": list(layers)}
    return {"module": "keras", "class_name": "Sequential", "config": config, "registered_name": None}


def functional_config(layers: Sequence[dict[str, Any]], inputs: Any, outputs: Any) -> dict[str, Any]:
    config = {"name": "policy", "layers": list(layers), "input_layers": inputs, "output_layers": outputs}
    return {"module": "keras", "class_name": "Functional", "config": config, "registered_name": "Functional"}


def write_keras(path: Path, config: Any, weights: Mapping[str, Array], version: str = "3.5.0") -> Path:
    """A `.keras` file; `weights` by their paths in model.weights.h5."""
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        for place, value in weights.items():
            file[place] = value
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": version}))
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", data.getvalue())
    return path


def write_h5(path: Path, config: Any, weights: Mapping[str, Mapping[str, Array]], version: str = "2.11.0") -> Path:
    """A whole-model `.h5` file as Keras 2 writes it on TensorFlow; `weights` by layer, then by name in the file's order."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = version
        file.attrs["backend"] = "tensorflow"
        file.attrs["model_config"] = json.dumps(config)
        group = file.create_group("model_weights")
        group.attrs["keras_version"] = version
        group.attrs["layer_names"] = [name.encode() for name in weights]
        for name, values in weights.items():
            part = group.create_group(name)
            part.attrs["weight_names"] = [f"{name}/{key}:0".encode() for key in values]
            for key, value in values.items():
                part[f"{name}/{key}:0"] = value
    return path


def policy(seed: int = 0) -> tuple[dict[str, Any], dict[str, Array]]:
    """A Functional model with several kinds of layers: (configuration, weights)."""
    rng = np.random.default_rng(seed)

    def random(*shape: int) -> Array:
        return (0.5 * rng.normal(size=shape)).astype(np.float32)

    def of(*refs: tuple[str, int]) -> list[Any]:
        tensors = [
            {"class_name": "__keras_tensor__", "config": {"shape": [None], "dtype": "float32", "keras_history": [name, 0, i]}}
            for name, i in refs
        ]
        return [{"args": [tensors[0] if len(tensors) == 1 else tensors], "kwargs": {}}]

    dense = {"units": 4, "activation": "relu", "use_bias": True}
    lstm = {"units": 3, "activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True, "return_sequences": True}
    layers = [
        layer("InputLayer", "obs", [], batch_shape=[None, None, 5], dtype="float32"),
        layer("Normalization", "norm", of(("obs", 0)), axis=[-1], mean=None, variance=None, invert=False),
        layer("TimeDistributed", "each", of(("norm", 0)), layer=layer("Dense", "inner", **dense)),
        layer("LSTM", "memory", of(("each", 0)), **lstm, return_state=True),
        layer("Concatenate", "join", of(("memory", 0), ("each", 0)), axis=-1),
        layer("LayerNormalization", "scaled", of(("join", 0)), axis=[-1], epsilon=1e-3, center=True, scale=True),
        layer("Dense", "head", of(("scaled", 0)), units=2, activation={"class_name": "ELU", "config": {"alpha": 0.5}}, use_bias=True),
    ]
    weights = {
        "layers/normalization/vars/0": random(5),
        "layers/normalization/vars/1": random(5) ** 2,
        "layers/normalization/vars/2": np.int32(7),
        "layers/time_distributed/layer/vars/0": random(5, 4),
        "layers/time_distributed/layer/vars/1": random(4),
        "layers/lstm/cell/vars/0": random(4, 12),
        "layers/lstm/cell/vars/1": random(3, 12),
        "layers/lstm/cell/vars/2": random(12),
        "layers/layer_normalization/vars/0": random(7),
        "layers/layer_normalization/vars/1": random(7),
        "layers/dense/vars/0": random(7, 2),
        "layers/dense/vars/1": random(2),
    }
    return functional_config(layers, [["obs", 0, 0]], [["head", 0, 0]]), weights
