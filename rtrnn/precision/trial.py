"""Runs of one network over one trajectory with weights of several precisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rtrnn import _core
from rtrnn.precision.errors import Meter, OutputError

if TYPE_CHECKING:
    from rtrnn.model import Model

__all__ = ["Trial"]

Array = npt.NDArray[np.float32]


class Trial:
    """A trajectory and what f32 weights make of it.

    `sequences` holds for each sequence the inputs as (T, size); each starts from the initial state. Raises :class:`rtrnn.NonFiniteError`
    when f32 weights meet a NaN or an infinity.
    """

    def __init__(self, model: Model, sequences: Sequence[Sequence[Array]], isa: str = "") -> None:
        self.graph, self.isa = model.graph, isa
        self.sequences = [list(arrays) for arrays in sequences]
        self.sizes = [int(np.prod(shape)) for shape in model.outputs.values()]
        #: Of each sequence; a network without inputs takes as many timesteps as made-up input would have.
        self.lengths = [len(arrays[0]) if arrays else _WITHOUT_INPUTS for arrays in self.sequences]
        self.meter = Meter(list(model.outputs), self._run("f32", {}, "error"))

    @property
    def steps(self) -> int:
        """Timesteps in all."""
        return sum(self.lengths)

    def first(self, model: Model, steps: int) -> Trial:
        """The trial of the trajectory's first `steps` timesteps; itself where there are no more."""
        if steps >= self.steps:
            return self
        taken, left = [], steps
        for arrays, length in zip(self.sequences, self.lengths, strict=True):
            taken.append([a[:left] for a in arrays])
            left -= length
            if left <= 0:
                break
        return Trial(model, taken, self.isa)

    def outputs(self, default: str = "f32", overrides: Mapping[str, str] | None = None) -> list[Array]:
        """Of each output the values (timesteps, elements) of all sequences, with these weights.

        Raises :class:`rtrnn.UnsupportedError` for weights that the precision cannot hold.
        """
        return self._run(default, dict(overrides or {}), "propagate")

    def errors(self, default: str = "f32", overrides: Mapping[str, str] | None = None) -> tuple[OutputError, ...]:
        """:meth:`outputs` against f32."""
        return self.meter.errors(self.outputs(default, overrides))

    def squares(self, default: str = "f32", overrides: Mapping[str, str] | None = None) -> npt.NDArray[np.float64]:
        """The same as the mean squares of all elements."""
        return self.meter.squares(self.outputs(default, overrides))

    def _run(self, default: str, overrides: dict[str, str], on_nonfinite: str) -> list[Array]:
        sequence = _core.Sequence(self.graph, default, self.isa, on_nonfinite, overrides, limits="")  # errors they would hide count
        runs = [
            sequence.run(arrays, length, self.sizes)
            for arrays, length in zip(self.sequences, self.lengths, strict=True)
        ]
        return [
            np.concatenate([np.reshape(run[i], (-1, size)) for run in runs]) for i, size in enumerate(self.sizes)
        ]


_WITHOUT_INPUTS = 2000
