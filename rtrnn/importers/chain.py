"""Chain: a network of one input, layer after layer; what formats that list their layers are built with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rtrnn.errors import FileFormatError
from rtrnn.importers.activations import apply_activation
from rtrnn.importers.builder import Builder, CellWeights, Sym
from rtrnn.importers.draft import Draft
from rtrnn.importers.finish import finish

__all__ = ["Chain", "reorder_gates"]


def reorder_gates(array: np.ndarray, have: str, want: str, axis: int = 0) -> np.ndarray:
    """`array`, whose `axis` holds the gates `have` side by side (``"zrn"``), with the gates in the order `want`."""
    if sorted(have) != sorted(want):
        raise ValueError(f"gate order {have!r}: expected an order of {want!r}")
    if array.shape[axis] % len(have):
        raise ValueError(f"an axis of {array.shape[axis]} elements does not hold {len(have)} gates")
    parts = np.split(array, len(have), axis)
    return np.concatenate([parts[have.index(gate)] for gate in want], axis)


class Chain:
    """Layers on a vector. `x` is what the last layer gave, of shape (size,); `b` builds what no method here does."""

    def __init__(self, input_size: int, input_name: str = "x") -> None:
        self.b = Builder()
        self.input_name = input_name
        self.input_size = int(input_size)
        self.x: Sym = self.b.input(input_name, (self.input_size,))

    @property
    def size(self) -> int:
        return self.x.size

    def linear(self, weight: np.ndarray, bias: np.ndarray | None = None, name: str = "linear") -> None:
        """`weight` (O, I), `bias` (O)."""
        self._expect(name, "weight", weight, (None, self.size))
        if bias is not None:
            self._expect(name, "bias", bias, (weight.shape[0],))
        self.b.hint = name
        self.x = self.b.linear(self.x, weight, bias)

    def activation(self, activation: str | None, name: str = "", **keywords: Any) -> None:
        """See :func:`~rtrnn.importers.activations.apply_activation`."""
        self.b.hint = name or activation or ""
        self.x = apply_activation(self.b, self.x, activation, **keywords)

    def normalize(self, mean: np.ndarray, deviation: np.ndarray, name: str = "normalizer") -> None:
        """``(x - mean) / deviation``."""
        self._expect(name, "mean", mean, (self.size,))
        self._expect(name, "deviation", deviation, (self.size,))
        self.b.hint = name
        centred = self.b.binary("sub", self.x, self.b.const(mean, np.float32))
        self.x = self.b.binary("div", centred, self.b.const(deviation, np.float32))

    def affine(self, scale: np.ndarray, offset: np.ndarray, name: str = "affine") -> None:
        """``x * scale + offset``, element by element."""
        self.b.hint = name
        scaled = self.b.binary("mul", self.x, self.b.const(scale, np.float32))
        self.x = self.b.binary("add", scaled, self.b.const(offset, np.float32))

    def cell(
        self,
        kind: str,
        weights: CellWeights,
        name: str,
        *,
        initial: Mapping[str, np.ndarray] | None = None,
        **attributes: Any,
    ) -> list[Sym]:
        """A recurrent layer "rnn", "gru" or "lstm" with states of its own, `initial` by ``"h"`` and ``"c"``.

        `attributes` are those of the Graph node. Returns the next states; `x` becomes the next h.
        """
        gates = {"rnn": 1, "gru": 3, "lstm": 4}[kind]
        hidden, recurrent = weights.weight_hh.shape[0] // gates, weights.weight_hh.shape[-1]
        self._expect(name, "weight_hh", weights.weight_hh, (gates * hidden, recurrent))
        self._expect(name, "weight_ih", weights.weight_ih, (gates * hidden, self.size))
        if weights.weight_hr is None and recurrent != hidden:
            raise FileFormatError(
                f"layer {name!r}: weight_ih {weights.weight_ih.shape} and weight_hh {weights.weight_hh.shape} do not fit "
                f"together; expected weight_hh ({gates * recurrent}, {recurrent})"
            )
        for role, array in (("bias_ih", weights.bias_ih), ("bias_hh", weights.bias_hh)):
            if array is not None:
                self._expect(name, role, array, (gates * hidden,))
        self.b.hint = name
        states = []
        for role, size in zip("hc"[: 2 if kind == "lstm" else 1], (recurrent, hidden), strict=False):
            first = np.zeros(size, np.float32) if initial is None or role not in initial else initial[role]
            self._expect(name, f"initial {role}", np.asarray(first), (size,))
            states.append(self.b.state(f"{name}.{role}", first))
        nexts = self.b.cell(kind, self.x, states, weights, attributes)
        for state, following in zip(states, nexts, strict=True):
            self.b.set_next(state, following)
        self.x = nexts[0]
        return nexts

    def finish(
        self,
        output_name: str = "y",
        *,
        metadata: Mapping[str, str] | None = None,
        initial_states: Mapping[str, npt.ArrayLike] | None = None,
    ) -> Draft:
        """The finished Draft, whose one output is `x`."""
        draft = self.b.draft
        draft.outputs[output_name] = self.b.value(self.x)
        draft.metadata.update(metadata or {})
        finish(
            draft,
            input_shapes={self.input_name: (self.input_size,)},
            output_shapes={output_name: self.x.shape},
            initial_states=initial_states,
        )
        return draft

    def _expect(self, name: str, role: str, array: np.ndarray, shape: Sequence[int | None]) -> None:
        found = np.shape(array)
        if len(found) != len(shape) or any(w is not None and f != w for f, w in zip(found, shape, strict=True)):
            wanted = "(" + ", ".join("any" if d is None else str(d) for d in shape) + ("," if len(shape) == 1 else "") + ")"
            raise FileFormatError(f"layer {name!r}: {role} has shape {tuple(found)}; expected {wanted}")
