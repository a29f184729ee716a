"""What the lowerings of Keras layers share: the table of them, the state of one reading, checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rtrnn.errors import FileFormatError, UnsupportedError
from rtrnn.importers.builder import Builder, Sym
from rtrnn.importers.frames import is_time
from rtrnn.importers.keras.config import Layer

__all__ = ["LOWERINGS", "Reading", "lowers", "many", "one", "weight"]

#: (reading, layer, args, keywords) -> the results of one call of the layer.
Lowering = Callable[["Reading", Layer, Sequence[Any], dict[str, Any]], Any]
LOWERINGS: dict[str, Lowering] = {}


class Reading:
    """One reading of a model: the Builder, the file's version of Keras, what a user should know."""

    def __init__(self, version: int) -> None:
        self.b = Builder()
        self.version = version
        #: What a user should know, by the layer it concerns.
        self.notes: list[str] = []
        #: Recurrent layers whose output is that of the sequence's last step.
        self.last_only: list[str] = []
        #: Recurrent layers that begin each sequence anew although the file fixes its length.
        self.windows: list[tuple[str, int]] = []
        #: Inputs of the model that are initial states.
        self.state_inputs: set[str] = set()
        #: Runs another layer: set by the network's reader.
        self.call: Callable[[Layer, Sequence[Any], dict[str, Any]], list[Sym]]

    def is_time(self, x: Sym, axis: int = 1) -> bool:
        """True for the axis of timesteps, which has size 1 here whatever it has in the file."""
        return x.ndim > axis and is_time(self.b, x, axis)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def lowers(*kinds: str) -> Callable[[Lowering], Lowering]:
    """Registers the lowering of these layer classes."""

    def register(function: Lowering) -> Lowering:
        for kind in kinds:
            LOWERINGS[kind] = function
        return function

    return register


def one(layer: Layer, args: Sequence[Any]) -> Sym:
    """The only tensor that the layer is called with."""
    value = args[0] if args else None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, Sym) or any(isinstance(arg, Sym) for arg in args[1:]):
        raise FileFormatError(f"{layer}: called with {_describe(args)}; expected one tensor")
    return value


def many(layer: Layer, args: Sequence[Any]) -> list[Sym]:
    """The tensors that the layer is called with."""
    value = args[0] if args else None
    values = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else list(args)
    if not values or not all(isinstance(v, Sym) for v in values):
        raise FileFormatError(f"{layer}: called with {_describe(args)}; expected tensors")
    return values


def _describe(args: Sequence[Any]) -> str:
    parts = args[0] if len(args) == 1 and isinstance(args[0], list) else args
    return ", ".join(f"shape {p.shape}" if isinstance(p, Sym) else type(p).__name__ for p in parts) or "nothing"


def weight(layer: Layer, name: str, shape: Sequence[int], why: str = "") -> np.ndarray:
    """The layer's weight `name`, which must have this shape. Raises :class:`FileFormatError`."""
    array = layer.weights.get(name)
    if array is None:
        raise FileFormatError(f"{layer}: the file has no weight {name!r} for it; expected one of shape {tuple(shape)}")
    if array.shape != tuple(shape):
        raise FileFormatError(
            f"{layer}: weight {name!r} has shape {array.shape}; expected {tuple(shape)}{' (' + why + ')' if why else ''}"
        )
    return array


def refuse_time(r: Reading, layer: Layer, x: Sym, what: str) -> None:
    if r.is_time(x):
        raise UnsupportedError(
            f"{layer}: {what} over the time axis takes the whole sequence, which a stream has not seen; expected layers that work "
            "on each timestep, or a recurrent layer with return_sequences=False"
        )
