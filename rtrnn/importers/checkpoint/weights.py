"""Weights: the tensors of a state dict by key, which remembers what was read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rtrnn.errors import FileFormatError, UnsupportedError
from rtrnn.importers.builder import CellWeights

__all__ = ["CELL_KEY", "Linear", "Recurrent", "Weights", "first_keys"]

#: The parameters of nn.RNN, nn.GRU, nn.LSTM and of their cells.
CELL_KEY = re.compile(r"(weight_ih|weight_hh|weight_hr|bias_ih|bias_hh)(?:_l(\d{1,6})(_reverse)?)?")
_WRAPPERS = ("module.", "_orig_mod.")
_KINDS = {1: "rnn", 3: "gru", 4: "lstm"}


@dataclass(frozen=True)
class Recurrent:
    """One layer of a recurrent module: its forward weights, and the reverse ones of a bidirectional layer."""

    name: str
    kind: str
    directions: tuple[CellWeights, ...]

    @property
    def input_size(self) -> int:
        return int(self.directions[0].weight_ih.shape[1])

    @property
    def output_size(self) -> int:
        return sum(int(d.weight_hh.shape[1]) for d in self.directions)

    def __str__(self) -> str:
        way = "" if len(self.directions) == 1 else "bidirectional "
        return f"{way}{self.kind.upper()} {self.input_size} -> {self.output_size}"


@dataclass(frozen=True)
class Linear:
    """One linear layer; `index` is its place in the ``nn.Sequential`` it belongs to."""

    name: str
    weight: np.ndarray
    bias: np.ndarray | None
    index: int = 0

    def __str__(self) -> str:
        return f"Linear {self.weight.shape[1]} -> {self.weight.shape[0]}"


class Weights:
    """Tensors by key. `where` (the file and the dict in it) begins every message."""

    def __init__(self, arrays: Mapping[str, np.ndarray], where: str) -> None:
        self.where = where
        self.arrays = _unwrapped(arrays)
        self.unread = set(self.arrays)

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    def take(self, key: str) -> np.ndarray:
        """The tensor `key`, which must be there and finite as float32. Raises :class:`FileFormatError`."""
        if key not in self.arrays:
            raise FileFormatError(f"{self.where}: tensor {key!r} is missing; found {first_keys(self.arrays)}")
        array = self.arrays[key]
        with np.errstate(over="ignore"):
            bad = int(np.count_nonzero(~np.isfinite(array.astype(np.float32))))
        if bad:
            raise FileFormatError(
                f"{self.where}: tensor {key!r} of shape {array.shape} holds {bad} values that are NaN or infinite; expected "
                "finite weights: the training diverged, take an earlier checkpoint"
            )
        self.unread.discard(key)
        return array

    def vector(self, key: str) -> np.ndarray:
        """The tensor `key` in float64 without its axes of size 1: (N,)."""
        array = self.take(key).astype(np.float64)
        if max(array.shape, default=1) != array.size:
            raise FileFormatError(f"{self.where}: tensor {key!r} has shape {array.shape}; expected one vector")
        return array.reshape(-1)

    def below(self, prefix: str) -> list[str]:
        """The keys that begin with `prefix`, without it."""
        return [key[len(prefix) :] for key in self.arrays if key.startswith(prefix)]

    def know(self, *prefixes: str) -> None:
        """These keys belong to something else (a critic, a standard deviation): they need not be read."""
        self.unread = {key for key in self.unread if not key.startswith(prefixes)}

    def require_all_read(self, what: str) -> None:
        """Raises :class:`UnsupportedError` when a tensor is left whose part in the network is not known."""
        if self.unread:
            left = [key for key in self.arrays if key in self.unread]
            raise UnsupportedError(
                f"{self.where}: recognised as {what}, but the tensors {first_keys(left)} have no place in it; expected none "
                "beside its layers. Export the network itself (ONNX, TorchScript) or use rtrnn.from_torch"
            )

    # -- layers ----------------------------------------------------------------------------------------

    def recurrent(self, prefix: str) -> list[Recurrent]:
        """The layers of the nn.RNN, nn.GRU or nn.LSTM (or its cell) whose keys begin with `prefix`.

        The kind follows from the rows of weight_hh: 1, 3 or 4 times the hidden size.
        """
        found: dict[int, set[str]] = {}
        single = False
        for rest in self.below(prefix):
            match = CELL_KEY.fullmatch(rest)
            if match:
                single |= match[2] is None
                found.setdefault(int(match[2] or 0), set()).add(match[3] or "")
        if not found or sorted(found) != list(range(len(found))):
            raise FileFormatError(
                f"{self.where}: {prefix}weight_ih_l0 and so on: expected the layers 0, 1, ..; found {sorted(found)}"
            )
        if single and len(found) != 1:
            raise FileFormatError(f"{self.where}: {prefix}weight_ih beside {prefix}weight_ih_l0: a cell and a layer in one")
        layers: list[Recurrent] = []
        for number, ways in sorted(found.items()):
            suffixes = ["" if single else f"_l{number}{way}" for way in sorted(ways)]
            parts = [self._direction(prefix, suffix) for suffix in suffixes]
            kind = parts[0][0]
            if any(k != kind for k, _ in parts) or (layers and layers[0].kind != kind):
                raise FileFormatError(f"{self.where}: {prefix}: the layers are of different kinds; expected one")
            base = prefix.rstrip(".") or kind
            name = base if len(found) == 1 else f"{base}.{number}"
            layers.append(Recurrent(name, kind, tuple(weights for _, weights in parts)))
        return layers

    def _direction(self, prefix: str, suffix: str) -> tuple[str, CellWeights]:
        def optional(role: str) -> np.ndarray | None:
            key = f"{prefix}{role}{suffix}"
            return self.take(key) if key in self else None

        key = f"{prefix}weight_hh{suffix}"
        weight_ih, weight_hh, weight_hr = self.take(f"{prefix}weight_ih{suffix}"), self.take(key), optional("weight_hr")
        if weight_hh.ndim != 2 or weight_ih.ndim != 2 or (weight_hr is not None and weight_hr.ndim != 2):
            raise FileFormatError(f"{self.where}: tensor {key!r} has shape {weight_hh.shape}; expected matrices")
        hidden = weight_hh.shape[1] if weight_hr is None else weight_hr.shape[1]
        gates, rest = divmod(weight_hh.shape[0], max(hidden, 1))
        if rest or gates not in _KINDS or (weight_hr is not None and gates != 4):
            raise FileFormatError(
                f"{self.where}: tensor {key!r} has shape {weight_hh.shape} for a hidden size of {hidden}; expected 1 (RNN), 3 "
                "(GRU) or 4 (LSTM) times as many rows"
            )
        weights = CellWeights(weight_ih, weight_hh, optional("bias_ih"), optional("bias_hh"), weight_hr)
        return _KINDS[gates], weights

    def linear(self, prefix: str, index: int = 0) -> Linear:
        """The ``nn.Linear`` whose weight is `prefix` + "weight"."""
        weight = self.take(f"{prefix}weight")
        if weight.ndim != 2:
            raise UnsupportedError(
                f"{self.where}: tensor {prefix + 'weight'!r} has shape {weight.shape}; expected a linear layer's (outputs, "
                "inputs): normalisation layers and convolutions in a checkpoint are not known. Export the network itself"
            )
        bias = self.take(f"{prefix}bias") if f"{prefix}bias" in self else None
        return Linear(prefix.rstrip("."), weight, bias, index)

    def sequential(self, prefix: str) -> list[Linear]:
        """The linear layers ``<prefix><n>.weight`` of an ``nn.Sequential``, in its order."""
        numbers = {int(m[1]) for rest in self.below(prefix) if (m := re.fullmatch(r"(\d{1,6})\.weight", rest))}
        return [self.linear(f"{prefix}{n}.", n) for n in sorted(numbers)]


def _unwrapped(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Without what DistributedDataParallel and torch.compile put before every key."""
    found = dict(arrays)
    for wrapper in _WRAPPERS * 2:
        if found and all(key.startswith(wrapper) for key in found):
            found = {key[len(wrapper) :]: value for key, value in found.items()}
    return found


def first_keys(keys: Iterable[Any], count: int = 12) -> str:
    names = [repr(key) for key in keys]
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more or "none"
