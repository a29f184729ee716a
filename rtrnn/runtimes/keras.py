"""Keras itself, on one of its backends.

A file whose layers all begin each call with zeros is rebuilt with ``stateful=True`` for sequences of one timestep, so that Keras
carries the state and gives the output of each timestep, also where the layers' return_sequences is False. Where that cannot be done
(layers that run backwards, convolutions over time, layers that are called twice), the file runs as it is on the whole sequence.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rtrnn.errors import MissingExtraError, UnsupportedError
from rtrnn.runtimes.base import Arrays, Runtime

if TYPE_CHECKING:
    from rtrnn.model import Model

__all__ = ["KerasRuntime"]

_RECURRENT = frozenset({"SimpleRNN", "GRU", "LSTM", "RNN"})
_SUFFIX = {"keras": ".keras", "keras-h5": ".h5"}


def _keras() -> Any:
    """The package, on the backend that is chosen or installed."""
    if "keras" not in sys.modules and "KERAS_BACKEND" not in os.environ:
        found = next((name for name in ("torch", "tensorflow", "jax") if find_spec(name)), None)
        if found:
            os.environ["KERAS_BACKEND"] = found
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import keras
    except ImportError as error:
        raise MissingExtraError("running a Keras file needs Keras and one of its backends: pip install keras torch") from error
    return keras


class KerasRuntime(Runtime):
    """A `.keras` or `.h5` file in Keras."""

    def __init__(self, path: Path, model: Model) -> None:
        self._keras = _keras()
        super().__init__(path, model)
        self.label = f"keras {self._keras.__version__} ({self._keras.backend.backend()})"
        self._whole = self._load(model.metadata.get("source.format", "keras"))
        try:
            self._names: list[str] = json.loads(model.metadata["source.outputs"])
        except (KeyError, ValueError):
            raise UnsupportedError(f"{path}: the network's metadata does not name the file's outputs (source.outputs)") from None
        self._network, self._layers = self._whole, self._stateful(self._whole)
        single = self._single_steps() if model.graph.is_causal else None
        if single is not None:
            layers = self._stateful(single)
            if set(model.states) <= set(self.carried) | set(layers):
                self._network, self._layers = single, layers
        self.reset()

    def _load(self, kind: str) -> Any:
        # Keras goes by the file's name.
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            copied = Path(folder) / f"model{_SUFFIX.get(kind, '.keras')}"
            shutil.copyfile(self.path, copied)
            try:
                return self._keras.saving.load_model(copied, compile=False, safe_mode=True)
            except Exception as error:  # whatever the layers raise
                reason = str(error).strip().splitlines() or [type(error).__name__]
                raise UnsupportedError(f"{self.path}: {self.label} cannot load it: {reason[0]}") from error

    # -- one timestep at a time ------------------------------------------------------------------------

    def _single_steps(self) -> Any:
        """The network for sequences of one timestep, with layers that keep their state; None where Keras cannot build it."""
        config = copy.deepcopy(self._whole.get_config())
        named = dict(zip((tensor.name for tensor in self._whole.inputs), self.interface.shapes.values(), strict=True))
        if not _retuned(config, named):
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made = type(self._whole).from_config(config)
                made.set_weights(self._whole.get_weights())
        except Exception:  # whatever the layers raise: the whole sequence is run then
            return None
        return made

    def _stateful(self, model: Any) -> dict[str, Any]:
        """The Graph's state names -> Keras's variables; a name that two layers have stands for none."""
        found: dict[str, Any] = {}
        for layer in _recurrent_layers(model):
            if not layer.stateful or layer.states is None:
                continue
            cells = getattr(layer.cell, "cells", None)
            names = []
            for cell in cells or [layer.cell]:
                prefix = f"{layer.name}.{cell.name}" if cells and len(cells) > 1 else layer.name
                names += [f"{prefix}.{which}" for which in ("hc" if "LSTM" in type(cell).__name__ else "h")]
            for name, variable in zip(names, self._keras.tree.flatten(layer.states), strict=True):
                found[name] = None if name in found else variable
        return {name: variable for name, variable in found.items() if variable is not None}

    # -- what Runtime asks for -------------------------------------------------------------------------

    def reset(self) -> None:
        super().reset()
        initial = self.model.initial_state
        for name, variable in getattr(self, "_layers", {}).items():
            value = np.asarray(initial.get(name, np.zeros(variable.shape[1:])), np.float32)
            variable.assign(np.broadcast_to(value.reshape(1, -1), variable.shape))

    def declared(self, name: str) -> list[int | None]:
        position = list(self.interface.shapes).index(name)
        return [None if d is None else int(d) for d in self._network.inputs[position].shape]

    def inner_states(self) -> Arrays:
        return {
            name: np.asarray(self._keras.ops.convert_to_numpy(self._layers[name]), np.float32)[0].reshape(shape)
            for name, shape in self.model.states.items()
            if name in self._layers
        }

    def call(self, feeds: Arrays) -> Arrays:
        values = [feeds[name] for name in self.interface.shapes]
        given = self._keras.tree.pack_sequence_as(self._network.input, values) if len(values) > 1 else values[0]
        try:
            with warnings.catch_warnings(), _no_gradients(self._keras):
                warnings.simplefilter("ignore")
                result = self._network(given, training=False)
        except Exception as error:  # whatever the layers raise
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise UnsupportedError(f"{self.path}: {self.label} cannot run it: {reason[0]}") from error
        parts = [np.asarray(self._keras.ops.convert_to_numpy(part), np.float32) for part in self._keras.tree.flatten(result)]
        return dict(zip(self._names, parts, strict=True))


def _recurrent_layers(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _recurrent_layers(layer)
        elif type(layer).__name__ in _RECURRENT:
            yield layer


def _retuned(config: Any, shapes: dict[str, tuple[int, ...]]) -> bool:
    """Changes a network's configuration to single timesteps and layers with state; False if it has what that cannot serve.

    `shapes` are the network's own inputs; an input of a network inside has any free axis set to 1.
    """
    if isinstance(config, list):
        parts = [_retuned(part, shapes) for part in config]
        return all(parts)
    if not isinstance(config, dict):
        return True
    for key in ("build_config", "build_input_shape"):  # of the sequences that the file was made for
        config.pop(key, None)
    kind, inner = config.get("class_name"), config.get("config")
    if kind == "InputLayer" and isinstance(inner, dict):
        inner["batch_shape"] = list(shapes.get(inner["name"], [d or 1 for d in inner["batch_shape"]]))
        return True
    if kind in _RECURRENT and isinstance(inner, dict):
        inner["stateful"] = True
        return not inner.get("go_backwards", False)
    parts = [_retuned(value, shapes) for key, value in config.items() if key != "inbound_nodes"]
    return kind != "Bidirectional" and all(parts)


def _no_gradients(keras: Any) -> Any:
    if keras.backend.backend() == "torch":
        import torch

        return torch.no_grad()
    return warnings.catch_warnings()
