"""How far the outputs are from those of f32 weights along a trajectory.

The error of an element of an output is the difference from f32 at the same timestep, each of the two carrying a state of its own,
divided by the element's *spread*: its standard deviation over the trajectory with f32 weights, but at least a hundredth of the
largest such deviation in the same output, so that an element that hardly moves is not blown up. Of an output of which nothing
moves in time, the spread is the deviation among its elements, or else its largest magnitude.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Meter", "OutputError", "floored_spreads"]

_SMALLEST_SPREAD = 0.01

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class OutputError:
    """The error of one output along a trajectory, relative to its elements' spreads; infinite where it stopped being a number."""

    name: str
    #: Of the element that is worst by it: the root of the mean square over time. A budget is about this one.
    rms: float
    #: That element, counted through the output's shape.
    element: int
    #: The root of the mean square over time and all elements.
    rms_of_all: float
    #: The largest of any element at any time, and when.
    largest: float
    step: int


class Meter:
    """Measures against `reference`: for each output the values of f32 weights as (timesteps, elements)."""

    def __init__(self, names: Sequence[str], reference: Sequence[npt.ArrayLike]) -> None:
        self.names = list(names)
        self.reference = [np.asarray(values, np.float64) for values in reference]
        #: Of each output, the spread of its elements.
        self.spreads = [_spreads(values) for values in self.reference]

    def relative(self, found: Sequence[npt.ArrayLike]) -> list[Array]:
        """Of each output the errors (timesteps, elements). `found` may be shorter than the reference."""
        relative = []
        for expected, values, spread in zip(self.reference, found, self.spreads, strict=True):
            given = np.asarray(values, np.float64)
            with np.errstate(invalid="ignore", over="ignore"):
                error = (given - expected[: len(given)]) / spread
            relative.append(np.where(np.isnan(error), np.inf, error))
        return relative

    def squares(self, found: Sequence[npt.ArrayLike]) -> Array:
        """The mean squares over time of all outputs' elements, one after the other."""
        with np.errstate(over="ignore"):
            return np.concatenate([np.mean(np.square(error), 0) for error in self.relative(found)])

    def errors(self, found: Sequence[npt.ArrayLike]) -> tuple[OutputError, ...]:
        """Of each output with elements and timesteps."""
        errors = []
        for name, error in zip(self.names, self.relative(found), strict=True):
            if not error.size:
                continue
            with np.errstate(over="ignore"):
                rms = np.sqrt(np.mean(np.square(error), 0))
            worst = int(np.argmax(rms))
            step = int(np.argmax(np.abs(error).max(1)))
            of_all = float(np.sqrt(np.mean(np.square(rms))))
            errors.append(OutputError(name, float(rms[worst]), worst, of_all, float(np.abs(error[step]).max()), step))
        return tuple(errors)


def _spreads(values: Array) -> Array:
    if not values.size:
        return np.ones(values.shape[1])
    deviations: Array = values.std(0)
    # A constant's deviation is rounding, not zero.
    deviations[np.ptp(values, axis=0) == 0] = 0
    return floored_spreads(deviations, values[0])


def floored_spreads(deviations: Array, values: Array) -> Array:
    """The spreads of an output's elements from their deviations over time; `values` are those at some timestep."""
    if deviations.any():
        spreads: npt.NDArray[np.float64] = np.maximum(deviations, _SMALLEST_SPREAD * deviations.max())
        return spreads
    whole = float(np.ptp(values) and values.std()) or float(np.abs(values).max()) or 1.0
    return np.full_like(deviations, whole)
