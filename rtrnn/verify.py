"""Compares a network, step by step, with the runtime that its file was made for.

The error of a value is measured against its spread: the distance between the smallest and the largest value that
this element took in the file's runtime during the run, but at least a hundredth of the same distance over all elements
of the output or state, so that an element that hardly moves is not blown up. Single precision
gives relative errors of about 1e-6; a wrong weight, gate or activation gives 1e-2 and more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rtrnn.errors import UnsupportedError

if TYPE_CHECKING:
    from rtrnn.model import Model
    from rtrnn.runtimes import Runtime

__all__ = ["DEFAULT_TOLERANCE", "Comparison", "Report", "compare", "random_inputs", "verify"]

#: Largest error relative to the spread: well above what rounding gives, well below what a mistake gives.
DEFAULT_TOLERANCE = 1e-4
_SMALLEST_SPREAD = 0.01

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Comparison:
    """The largest differences of one output or state over the run."""

    kind: str
    name: str
    largest_absolute: float
    #: Relative to the element's spread.
    largest_relative: float
    #: Where the relative error is largest.
    step: int
    element: int
    #: Largest minus smallest value of the file's runtime, over all elements.
    spread: float


@dataclass(frozen=True)
class Report:
    """What :func:`verify` found."""

    runtime: str
    steps: int
    steps_per_call: int
    isa: str
    tolerance: float
    comparisons: tuple[Comparison, ...]

    @property
    def largest_relative(self) -> float:
        return max((c.largest_relative for c in self.comparisons), default=0.0)

    @property
    def passed(self) -> bool:
        return self.largest_relative <= self.tolerance


def verify(
    path: str | Path,
    *,
    model: Model | None = None,
    steps: int = 1000,
    inputs: Mapping[str, npt.ArrayLike] | None = None,
    seed: int = 0,
    tolerance: float = DEFAULT_TOLERANCE,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Runs the file at `path` in its own runtime (:data:`rtrnn.runtimes.RUNTIMES`) beside rtrnn and compares every step.

    `model` is what to compare, by default the file itself as rtrnn loads it. `inputs` (T, *shape) by name take the
    place of `steps` random ones (normal, deviation 1). `progress` is called with the number of steps done.

    Raises :class:`rtrnn.UnsupportedError` when the file has no runtime or cannot be run step by step, :class:`rtrnn.MissingExtraError`
    without its runtime, and what :func:`rtrnn.load` raises.
    """
    import rtrnn
    from rtrnn.runtimes import open_runtime

    model = rtrnn.load(path) if model is None else model
    runtime = open_runtime(path, model)
    if inputs is None:
        given = random_inputs(model, steps, seed)
    else:
        given = {n: np.asarray(inputs[n], np.float32).reshape(-1, *shape) for n, shape in model.inputs.items()}
    return compare(model, runtime, given, tolerance, progress)


def random_inputs(model: Model, steps: int, seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(steps, *shape)).astype(np.float32) for name, shape in model.inputs.items()}


def compare(
    model: Model,
    runtime: Runtime,
    inputs: Mapping[str, Array],
    tolerance: float = DEFAULT_TOLERANCE,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """:func:`verify` on a runtime that is open. Both start from the initial state."""
    inputs = runtime.suited(inputs)
    steps = len(next(iter(inputs.values()))) if inputs else 0
    if steps == 0:
        raise UnsupportedError("there is nothing to compare: expected at least one timestep of input")
    per_call = runtime.steps_per_call(steps)
    if per_call > steps:
        raise UnsupportedError(f"{runtime.path}: one call takes {per_call} timesteps; found an input of {steps}")
    if per_call > 1 and runtime.forgets():
        steps = min(steps, per_call)  # the next call would start from the beginning
    steps -= steps % per_call
    runtime.reset()
    collected: dict[tuple[str, str], _Collected] = {}
    engine = _Engine(model)
    for begin in range(0, steps, per_call):
        part = {name: array[begin : begin + per_call] for name, array in inputs.items()}
        outputs, states = runtime.advance(part)
        found, found_states = engine.advance(part)
        for name, value in outputs.items():
            # The runtime gives one row for what exists at the end only.
            first = begin + per_call - len(value)
            collected.setdefault(("output", name), _Collected()).add(first, value, found[name][-len(value) :])
        for name, value in states.items():
            if name in found_states:
                last = begin + per_call - 1
                collected.setdefault(("state", name), _Collected()).add(last, value[None], found_states[name][None])
        if progress:
            progress(begin + per_call)
    comparisons = tuple(both.compared(kind, name) for (kind, name), both in collected.items())
    return Report(runtime.label, steps, per_call, engine.isa, tolerance, comparisons)


class _Engine:
    """rtrnn as the compared side: a Stream, or a whole offline run where a layer runs backwards."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.stream = model.stream(on_nonfinite="propagate", limits=False) if model.graph.is_causal else None
        self.isa = self.stream.isa if self.stream else "offline"

    def advance(self, part: dict[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        if self.stream:
            return self.stream.process(part), self.stream.state()
        outputs = self.model.run(part, on_nonfinite="propagate", limits=False)
        return {n: v.reshape(-1, *self.model.outputs[n]) for n, v in outputs.items()}, {}


class _Collected:
    """What both sides gave for one output or state."""

    def __init__(self) -> None:
        self.at: list[int] = []
        self.expected: list[Array] = []
        self.found: list[Array] = []

    def add(self, first: int, expected: Array, found: Array) -> None:
        self.at += range(first, first + len(expected))
        self.expected.append(expected.reshape(len(expected), -1))
        self.found.append(np.asarray(found).reshape(len(expected), -1))

    def compared(self, kind: str, name: str) -> Comparison:
        expected = np.concatenate(self.expected).astype(np.float64)
        found = np.concatenate(self.found).astype(np.float64)
        with np.errstate(invalid="ignore"):
            same = (expected == found) | (np.isnan(expected) & np.isnan(found))
            error = np.where(same, 0.0, np.abs(expected - found))
        error = np.where(np.isnan(error), np.inf, error)
        spread, whole = _spread(expected)
        relative = error / spread
        step, element = divmod(int(np.argmax(relative)), prod(relative.shape[1:]))
        return Comparison(kind, name, float(error.max()), float(relative.max()), self.at[step], element, float(whole))


def _spread(values: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], float]:
    """The spread of each element and of all; the size of the values where they never change; never zero."""
    finite = np.where(np.isfinite(values), values, 0.0)
    whole = float(np.ptp(finite)) or float(np.abs(finite).max()) or 1.0
    return np.maximum(np.ptp(finite, axis=0), _SMALLEST_SPREAD * whole), whole
