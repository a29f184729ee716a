"""PyTorch modules rebuilt from files that hold their weights alone: one recurrent module, GuitarML's networks, NAM's LSTM.

The modules are PyTorch's own (``nn.LSTM``, ``nn.GRU``, ``nn.RNN``, ``nn.Linear``), or for `.nam` files those of the package
neural-amp-modeler; the file's tensors are loaded into them under the names that they have there.
"""

from __future__ import annotations

import json
import re
import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rtrnn.errors import MissingExtraError, UnsupportedError
from rtrnn.runtimes.base import Arrays, Runtime

if TYPE_CHECKING:
    from rtrnn.model import Model

__all__ = ["GuitarMlRuntime", "NamRuntime", "StateDictRuntime"]

_GATES = {1: "RNN", 3: "GRU", 4: "LSTM"}


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("running this file's modules needs torch: pip install 'rtrnn[torch]'") from error
    return torch


class _Modules(Runtime):
    """One recurrent module of any number of layers, and what follows it; the state is carried from call to call."""

    def __init__(self, path: Path, model: Model) -> None:
        self._torch = _torch()
        super().__init__(path, model)
        self.label = f"torch {self._torch.__version__}"
        try:
            self._recurrent = self._build().eval()
        except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise UnsupportedError(f"{path}: {self.label} cannot build the file's modules: {error}") from error
        self.reset()

    @abstractmethod
    def _build(self) -> Any:
        """The recurrent module, with its weights."""

    def _follow(self, x: Any, y: Any) -> Any:
        """What the network makes of the recurrent module's output `y` (T, 1, hidden) and its input `x`."""
        return y

    # -- what Runtime asks for -------------------------------------------------------------------------

    def declared(self, name: str) -> list[int | None]:
        return list(self.interface.shapes[name])

    def call(self, feeds: Arrays) -> Arrays:
        raise NotImplementedError

    def forgets(self) -> list[str]:
        return [] if self.model.graph.is_causal else list(self.model.states)

    def steps_per_call(self, steps: int) -> int:
        return 1 if self.model.graph.is_causal else steps

    def reset(self) -> None:
        """Back to the states of `model`: by layer h, then c for an LSTM, which is the order in which importers make them."""
        super().reset()
        initial = list(self.model.initial_state.values())
        kinds = 2 if isinstance(self._recurrent, self._torch.nn.LSTM) else 1
        self._state: Any = None
        if self.model.graph.is_causal:
            if len(initial) != kinds * self._recurrent.num_layers:
                raise UnsupportedError(f"{self.path}: the network has the states {list(self.model.states)}, its modules have others")
            parts = [self._torch.from_numpy(np.stack(initial[k::kinds])[:, None].copy()) for k in range(kinds)]
            self._state = tuple(parts) if kinds == 2 else parts[0]

    def inner_states(self) -> Arrays:
        if not self.model.graph.is_causal:
            return {}
        parts = self._state if isinstance(self._state, tuple) else (self._state,)
        found = [part[layer, 0].numpy().copy() for layer in range(parts[0].shape[0]) for part in parts]
        return dict(zip(self.model.states, found, strict=True))

    def advance(self, inputs: Arrays) -> tuple[Arrays, Arrays]:
        ((_, rows),) = inputs.items()
        with self._torch.no_grad(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="LSTM with projections")
            x = self._torch.from_numpy(rows.reshape(len(rows), 1, -1).copy())
            y, state = self._recurrent(x, self._state)
            result = self._follow(x, y).numpy()
        if self.model.graph.is_causal:
            self._state = state
        ((name, shape),) = self.model.outputs.items()
        return {name: result.reshape(len(rows), *shape)}, self.inner_states()

    def _module(self, arrays: Mapping[str, Any], nonlinearity: str = "tanh") -> Any:
        """nn.LSTM, nn.GRU or nn.RNN with these parameters (``weight_ih_l0``, ..)."""
        torch = self._torch
        tensors = {
            key: value.float() if isinstance(value, torch.Tensor) else torch.from_numpy(np.array(value, np.float32))
            for key, value in arrays.items()
        }
        projection = tensors.get("weight_hr_l0")
        outputs = int(tensors["weight_hh_l0"].shape[1])
        hidden = outputs if projection is None else int(projection.shape[1])
        kind = _GATES[int(tensors["weight_hh_l0"].shape[0]) // hidden]
        options: dict[str, Any] = {
            "num_layers": len([key for key in tensors if re.fullmatch(r"weight_ih_l\d+", key)]),
            "bias": "bias_ih_l0" in tensors,
            "bidirectional": "weight_ih_l0_reverse" in tensors,
        }
        if projection is not None:
            options["proj_size"] = outputs
        if kind == "RNN":
            options["nonlinearity"] = nonlinearity
        module = getattr(torch.nn, kind)(int(tensors["weight_ih_l0"].shape[1]), hidden, **options)
        module.load_state_dict(tensors)
        return module


class StateDictRuntime(_Modules):
    """The state dict of one nn.LSTM, nn.GRU, nn.RNN, or of one of their cells: in a checkpoint, a safetensors or a JSON file."""

    def _build(self) -> Any:
        nodes = self.model.graph.nodes
        others = {node.op for node in nodes} - {"rnn", "gru", "lstm", "concat", "slice", "last", "reshape"}
        if others:
            raise UnsupportedError(
                f"{self.path}: the file holds weights alone, of more than one recurrent module: how the library that wrote it calls them "
                "is not in the file, so there is nothing to compare with. Compare with the live module: rtrnn.from_torch"
            )
        nonlinearity = next((node.attributes.get("activations", ["tanh"])[0] for node in nodes if node.op == "rnn"), "tanh")
        return self._module(self._parameters(), nonlinearity)

    def _parameters(self) -> dict[str, Any]:
        from rtrnn.importers.checkpoint.reading import read_json, read_safetensors, read_torch

        read: dict[str, Callable[[Path], Any]] = {"safetensors": read_safetensors, "state-dict-json": read_json}
        tree: Any = read.get(self.model.metadata.get("source.format", ""), read_torch)(self.path)
        for holder in (tree, *tree.values()):
            keys = list(holder) if isinstance(holder, Mapping) else []
            found = next((key for key in keys if re.search(r"(^|\.)weight_ih(_l0)?$", str(key))), None)
            if found is not None:
                prefix = found[: found.rindex("weight_ih")]
                cell = "" if found.endswith("_l0") else "_l0"
                return {key[len(prefix) :] + cell: value for key, value in holder.items() if key.startswith(prefix)}
        raise UnsupportedError(f"{self.path}: no recurrent module's weights are found in it")


class GuitarMlRuntime(_Modules):
    """CoreAudioML's SimpleRNN: ``rec``, ``lin``, and the first `skip` inputs added to the output."""

    def _build(self) -> Any:
        document = json.loads(self.path.read_bytes())
        model, weights = document["model_data"], document["state_dict"]
        if model.get("model", "SimpleRNN") != "SimpleRNN":
            raise UnsupportedError(f"{self.path}: the model {model['model']!r} is not rebuilt; expected 'SimpleRNN'")
        self._skip = int(model.get("skip", 0))
        bias = "lin.bias" in weights
        self._linear = self._torch.nn.Linear(int(model["hidden_size"]), int(model["output_size"]), bias=bias)
        tensor = self._torch.as_tensor
        self._linear.load_state_dict({key[4:]: tensor(value) for key, value in weights.items() if key.startswith("lin.")})
        return self._module({key[4:]: value for key, value in weights.items() if key.startswith("rec.")})

    def _follow(self, x: Any, y: Any) -> Any:
        return self._linear(y) + x[..., : self._skip] if self._skip else self._linear(y)


class NamRuntime(_Modules):
    """The LSTM of the package neural-amp-modeler, which reads the file's weights itself."""

    def _build(self) -> Any:
        try:
            from nam.models import init_from_nam
        except ImportError as error:
            raise MissingExtraError("running a .nam file needs its own package: pip install neural-amp-modeler") from error
        self._net = init_from_nam(json.loads(self.path.read_bytes())).eval()
        self._net._core.batch_first = False
        return self._net._core

    def _follow(self, x: Any, y: Any) -> Any:
        return self._net._head(y)
