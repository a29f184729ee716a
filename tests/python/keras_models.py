"""Keras models as files, and what Keras computes with them, for the tests of the Keras importer."""

from __future__ import annotations

import json
import os
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rtrnn

pytest.importorskip("torch", reason="Keras runs on torch in these tests")
os.environ.setdefault("KERAS_BACKEND", "torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    keras = pytest.importorskip("keras", minversion="3.0", reason="keras >= 3 writes the files of these tests")

Array = np.ndarray
#: Relative error below which two float32 computations are not told apart.
FLOOR = 4e-7


def randomised(model: Any, seed: int = 0) -> Any:
    """The model with random weights: biases that are not zero, variances that are positive."""
    rng = np.random.default_rng(seed)
    values = []
    for variable in model.weights:
        value = 0.5 * rng.normal(size=variable.shape)
        if variable.name in ("moving_variance", "variance", "gamma", "scale"):
            value = 0.5 + rng.random(variable.shape)
        elif "kernel" in variable.name and len(variable.shape) > 1:
            gain = 0.5 if "recurrent" in variable.name else 1.0
            value = gain * rng.normal(size=variable.shape) / np.sqrt(np.prod(variable.shape[:-1]))
        values.append(value.astype("int32" if "int" in str(variable.dtype) else "float32"))
    model.set_weights(values)
    return model


def saved(model: Any, path: Path) -> Path:
    """Writes the model as the file's suffix says: ``.keras``, ``.h5``."""
    import logging

    logging.getLogger("absl").setLevel(logging.ERROR)  # the .h5 writer says that it is old
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(path)
    return path


def edited(path: Path, change: Callable[[Any], Any]) -> Path:
    """The `.keras` file with its configuration changed in place, or replaced by what `change` returns."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    parts["config.json"] = json.dumps(change(config) or config).encode()
    return zipped(path, parts)


def zipped(path: Path, parts: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return path


def loaded(path: Path, **options: Any) -> rtrnn.Model:
    """The file in rtrnn, what its importer notices being of no interest."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rtrnn.ModelWarning)
        return rtrnn.load(path, **options)


def in_float64(model: Any) -> Any:
    """The same model computing in float64."""
    text = json.dumps(model.get_config()).replace('"float32"', '"float64"')
    made = type(model).from_config(json.loads(text))
    made.set_weights([np.asarray(value, np.float64) for value in model.get_weights()])
    return made


def called(model: Any, feeds: dict[str, Array], dtype: Any) -> list[Array]:
    """All outputs for whole sequences (1, T, ..); a stateful layer begins anew."""
    import torch

    for layer in model._flatten_layers():
        if getattr(layer, "stateful", False) and hasattr(layer, "reset_state"):
            layer.reset_state()
    given: Any = {name: value.astype(dtype) for name, value in feeds.items()}
    if len(given) == 1:
        (given,) = given.values()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = model(given, training=False)
    parts = keras.tree.flatten(result)
    return [keras.ops.convert_to_numpy(part) for part in parts]


def check(model: Any, path: Path, *, steps: int = 40, fixed: bool = False, seed: int = 1) -> rtrnn.Model:
    """Saves `model`, loads it, and compares stream (or offline run) with Keras: per timestep where the model gives sequences,
    else at the end of sequences of several lengths. With `fixed`, sequences have the model's own length `steps`.

    An error may be twice that of Keras in float32.
    """
    network = loaded(saved(model, path))
    rng = np.random.default_rng(seed)
    names = [tensor.name for tensor in model.inputs]
    if set(names) != set(network.inputs):
        names = list(network.inputs)
    timed = [len(tensor.shape) > 2 for tensor in model.inputs]
    rows = {name: rng.normal(size=(steps, *network.inputs[name])).astype(np.float32) for name in names}
    exact = in_float64(model)
    lengths = [steps] if fixed else [1, 5, steps]
    errors, floors, scale = [0.0], [0.0], 1e-3
    for length in lengths:
        feeds = {
            name: (rows[name][:length] if time else rows[name][:1]).reshape(
                1, *([length] if time else []), *[d or 1 for d in tensor.shape[2 if time else 1 :]]
            )
            for name, time, tensor in zip(names, timed, model.inputs, strict=True)
        }
        wanted, single = called(exact, feeds, np.float64), called(model, feeds, np.float32)
        given = {
            name: rows[name][:length] if time else np.repeat(rows[name][:1], length, 0)
            for name, time in zip(names, timed, strict=True)
        }
        found = network.stream().process(given) if network.graph.is_causal else network.run(given)
        outputs = list(found.values()) if isinstance(found, dict) else [found]
        assert len(outputs) == len(wanted)
        for y, y64, y32 in zip(outputs, wanted, single, strict=True):
            per_step = y64.ndim > 2
            last = y[-1] if network.graph.is_causal or y.size > y64.size else y
            got = (y if per_step else last).reshape(y64.shape)
            scale = max(scale, float(np.abs(y64).max()))
            floors.append(float(np.abs(y32 - y64).max()))
            errors.append(float(np.abs(got - y64).max()))
    error, floor = max(errors) / scale, max(floors) / scale
    assert error <= max(2 * floor, FLOOR), f"error {error:.2e}, that of Keras in float32 {floor:.2e}"
    return network
