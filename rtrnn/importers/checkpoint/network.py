"""Network: normaliser, linear layers and recurrent layers in a row, with an account of what was recognised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rtrnn.errors import FileFormatError, UnsupportedError
from rtrnn.importers.builder import CellWeights
from rtrnn.importers.chain import Chain
from rtrnn.importers.checkpoint.reading import arrays_of
from rtrnn.importers.checkpoint.statistics import Statistics, given_statistics
from rtrnn.importers.checkpoint.weights import Linear, Recurrent, Weights
from rtrnn.importers.draft import Draft

if TYPE_CHECKING:
    from rtrnn.formats import LoadOptions

__all__ = ["Checkpoint", "Network"]

_ACTIVATIONS = "elu, relu, tanh, selu, celu, leaky_relu, sigmoid, softplus, gelu, silu, mish, identity"


class Checkpoint:
    """What a file holds, as its reader gives it: `tree` maps keys to tensors or to such dicts."""

    def __init__(self, path: Path, tree: Mapping[Any, Any], options: LoadOptions, *, ordered: bool = True) -> None:
        self.path, self.tree, self.options = path, tree, options
        #: Whether the keys stand in the order in which the modules were made.
        self.ordered = ordered

    def weights(self, key: str | None = None) -> Weights:
        """The state dict under `key`, or the file's own tensors; empty when there is none."""
        tree = self.tree if key is None else self.tree.get(key)
        plain = isinstance(tree, Mapping) and all(isinstance(v, np.ndarray) for v in tree.values())
        arrays = {} if not isinstance(tree, Mapping) else dict(tree) if plain else arrays_of(tree)
        return Weights(arrays, f"{self.path}" if key is None else f"{self.path}: {key}")

    def state_dicts(self) -> list[Weights]:
        """The file's own tensors and those of each dict in it, optimizers left out; none that is empty."""
        nested = [k for k, v in self.tree.items() if isinstance(v, Mapping) and "optim" not in str(k)]
        found = [self.weights(), *(self.weights(key) for key in nested)]
        return [weights for weights in found if weights.arrays]


class Network:
    """Builds a :class:`Chain` from a checkpoint's parts and writes down what they are."""

    def __init__(self, checkpoint: Checkpoint, weights: Weights, title: str, first: Recurrent | Linear, name: str) -> None:
        self.checkpoint, self.options, self.weights, self.title = checkpoint, checkpoint.options, weights, title
        size = first.input_size if isinstance(first, Recurrent) else int(first.weight.shape[-1])
        self.chain = Chain(size, name)
        self.parts: list[str] = []
        #: What the file does not say and was taken for granted.
        self.assumed: list[str] = []
        #: The like that any such file leaves open: said in the metadata, not warned of.
        self.noted: list[str] = []
        self.metadata: dict[str, str] = {}
        #: Where the `default` of :meth:`hidden_activation` comes from.
        self.default_source = "the file"
        self._activation_used = False

    @property
    def where(self) -> str:
        return self.weights.where

    # -- parts -----------------------------------------------------------------------------------------

    def normalize(self, own: Statistics | None = None) -> None:
        """`own` statistics of the file, or those of `normalizer=`; not both."""
        if self.options.normalizer is not None:
            if own is not None:
                raise UnsupportedError(
                    f"{self.where}: recognised as {self.title}, which holds statistics of its own; expected no normalizer= beside them"
                )
            own = given_statistics(self.options.normalizer)
        if own is None:
            return
        if own.mean.size != self.chain.size:
            raise FileFormatError(
                f"{self.where}: the normaliser has {own.mean.size} elements; expected {self.chain.size}, the network's input"
            )
        self.chain.normalize(own.mean, own.deviation)
        if own.clip is not None:
            self.chain.x = self.chain.b.unary("clip", self.chain.x, alpha=-own.clip, beta=own.clip)
        self.parts.append(f"normalizer {own.mean.size}")
        self.metadata["import.normalizer"] = own.equation

    def recurrent(self, layers: Sequence[Recurrent]) -> None:
        for layer in layers:
            attributes: dict[str, Any] = {}
            if layer.kind == "rnn":
                attributes = {"activations": [self._rnn_activation(layer)]}
            before, results = self.chain.x, []
            for weights, direction in zip(layer.directions, ("forward", "reverse"), strict=False):
                self.chain.x = before
                name = layer.name if direction == "forward" else f"{layer.name}.reverse"
                self.cell(layer.kind, weights, name, direction, attributes)
                results.append(self.chain.x)
            if len(results) == 2:
                self.chain.x = self.chain.b.concat(results, 0)
            self.parts.append(str(layer))

    def cell(self, kind: str, weights: CellWeights, name: str, direction: str, attributes: Mapping[str, Any]) -> None:
        given = dict(attributes) if direction == "forward" else {**attributes, "direction": direction}
        try:
            self.chain.cell(kind, weights, name, **given)
        except FileFormatError as error:
            raise FileFormatError(f"{self.where}: {error}") from None

    def _rnn_activation(self, layer: Recurrent) -> str:
        name = self.options.activation
        self._activation_used = True
        if name is None:
            text = f"{layer.name}: an nn.RNN whose nonlinearity the file does not say runs tanh, PyTorch's default; pass activation="
            if text not in self.assumed:
                self.assumed.append(text)
        elif name not in ("tanh", "relu"):
            raise UnsupportedError(f"{self.where}: {layer.name}: activation={name!r}; an nn.RNN has 'tanh' or 'relu'")
        return name or "tanh"

    def linear(self, layer: Linear) -> None:
        try:
            self.chain.linear(layer.weight, layer.bias, layer.name)
        except FileFormatError as error:
            raise FileFormatError(f"{self.where}: {error}") from None
        self.parts.append(str(layer))

    def activation(self, name: str, hint: str = "") -> None:
        special = {"crelu": ("celu", {}), "lrelu": ("leaky_relu", {"alpha": 0.01})}
        try:
            self.chain.activation(name, hint, special=special)
        except UnsupportedError as error:
            raise UnsupportedError(f"{self.where}: {error}") from None
        self.parts.append(name)

    def mlp(self, layers: Sequence[Linear], *, default: str | None = None, last: bool = False) -> None:
        """Linear layers with :meth:`hidden_activation` between them, and behind the last one if `last`.

        Neighbours in an ``nn.Sequential`` (0, 1) have no function between them, 0 and 2 have one.
        """
        if layers:
            self._check_first(layers[0])
        for i, layer in enumerate(layers):
            self.linear(layer)
            if i + 1 < len(layers):
                gap = layers[i + 1].index - layer.index
                if gap > 2:
                    raise UnsupportedError(
                        f"{self.where}: {gap - 1} modules without weights stand between {layer.name!r} and {layers[i + 1].name!r}; "
                        "expected one, the activation. Export the network itself (ONNX, TorchScript)"
                    )
                if gap == 2:
                    self.activation(self.hidden_activation(layer.name, default), f"{layer.name}.activation")
            elif last:
                self.activation(self.hidden_activation(layer.name, default), f"{layer.name}.activation")

    def _check_first(self, layer: Linear) -> None:
        """Refuses an nn.Sequential that begins with modules without weights: nobody knows which."""
        parent = layer.name.rpartition(".")[0]
        before = f"{parent}.{layer.index - 1}." if parent else f"{layer.index - 1}."
        if layer.index > 0 and not self.weights.below(before):
            raise UnsupportedError(
                f"{self.where}: modules without weights stand before {layer.name!r}; expected a linear layer first. Export the network "
                "itself (ONNX, TorchScript)"
            )

    def hidden_activation(self, layer: str, default: str | None = None) -> str:
        """`activation=`, or what the file says (`default`). Raises :class:`UnsupportedError` when neither does."""
        self._activation_used = True
        name = self.options.activation or default
        if name is None:
            raise UnsupportedError(
                f"{self.where}: recognised as {self.title}; the function behind the layer {layer!r} is not in the file. Pass "
                f"activation=, one of {_ACTIVATIONS}; the training configuration names it"
            )
        self.metadata["import.activation"] = f"{name}, from {'activation=' if self.options.activation else self.default_source}"
        return name

    # -- the end ---------------------------------------------------------------------------------------

    def finish(self, output: str, **metadata: str) -> Draft:
        """The finished Draft, once every tensor has its place. Raises :class:`UnsupportedError`."""
        self.weights.require_all_read(self.title)
        if self.options.activation is not None and not self._activation_used:
            raise UnsupportedError(f"{self.where}: {self.title} without a hidden layer; expected no activation=")
        draft = self.chain.finish(
            output, metadata={**self.metadata, **metadata}, initial_states=self.options.initial_states
        )
        draft.metadata["import.recognised"] = f"{self.title}: {', '.join(self.parts)}"
        for text in self.assumed:
            draft.warnings.append(f"{self.where}: {text}")
        if self.assumed or self.noted:
            draft.metadata["import.assumed"] = "\n".join(self.assumed + self.noted)
        return draft
