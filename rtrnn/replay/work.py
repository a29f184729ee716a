"""What is measured of one episode. Everything here can be pickled and runs anywhere; an episode's result depends on the episode alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rtrnn.errors import UnsupportedError
from rtrnn.replay.logs import Schema, episodes_of, read

if TYPE_CHECKING:
    from rtrnn.model import Limits, Model, Weights

__all__ = ["LEVELS", "Contents", "Difference", "Differences", "Indexer", "Moments", "Policy", "Spreads", "Task"]

Array = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]

#: Edges between which differences are counted, relative to the spread: ten to a decade. Above the last one is one bin more.
LEVELS = 10.0 ** (np.arange(-60, 21) / 10)
#: Rows of a Parquet file that one task takes, or more where an episode is longer.
_ROWS_PER_TASK = 200_000


@dataclass(frozen=True)
class Policy:
    """A network and how it is run."""

    model: Model
    weights: Weights = "f32"
    limits: Limits = True
    on_nonfinite: str = "error"
    name: str = ""

    def act(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """What it does in an episode, from its initial state: of each output ``(T, *shape)``. Raises as :meth:`rtrnn.Model.run`."""
        options: dict[str, Any] = {"weights": self.weights, "limits": self.limits, "on_nonfinite": self.on_nonfinite}
        return dict(self.model.run(dict(inputs), **options))


@dataclass(frozen=True)
class Task:
    """Some episodes of one log, which are read together."""

    log: str
    names: tuple[str, ...]
    steps: int


@dataclass(frozen=True)
class Contents:
    """What is in a log."""

    log: str
    #: Name and timesteps of each episode.
    episodes: tuple[tuple[str, int], ...]
    recorded: bool

    def tasks(self) -> list[Task]:
        """An .npz is read as a whole; of a Parquet file a part can be read."""
        most = _ROWS_PER_TASK if self.log.endswith(".parquet") else sum(steps for _, steps in self.episodes)
        tasks: list[Task] = []
        for name, steps in self.episodes:
            if tasks and tasks[-1].steps + steps <= most:
                last = tasks.pop()
                tasks.append(Task(self.log, (*last.names, name), last.steps + steps))
            else:
                tasks.append(Task(self.log, (name,), steps))
        return tasks


@dataclass(frozen=True)
class Indexer:
    """Task -> what is in a log. The first of three passes."""

    schema: Schema

    def __call__(self, log: str) -> Contents:
        episodes, recorded = episodes_of(log, self.schema)
        return Contents(log, tuple((episode.name, episode.steps) for episode in episodes), recorded)


@dataclass(frozen=True)
class Moments:
    """Of the reference along one episode: of all outputs' elements, one after the other."""

    key: str
    steps: int
    mean: Values
    #: Sum of squared deviations from the mean.
    squares: Values
    low: Values
    high: Values
    failure: str = ""


@dataclass(frozen=True)
class Difference:
    """Of the policy from the reference along one episode, relative to the spreads of the elements."""

    key: str
    steps: int
    #: Of every element: the sum of squares, the largest magnitude and its step.
    squares: Values
    largest: Values
    largest_step: npt.NDArray[np.int64]
    #: Of every output: steps in which any element is beyond the tolerance, and the first of them (-1: none).
    beyond: npt.NDArray[np.int64]
    first_beyond: npt.NDArray[np.int64]
    #: (outputs, len(LEVELS) + 1): steps by their largest element's difference.
    histogram: npt.NDArray[np.int64]
    failure: str = ""


def _flat(outputs: Mapping[str, Array], schema: Schema) -> Values:
    """(T, all elements). Raises UnsupportedError for an output that exists once in a sequence."""
    parts = []
    for name, shape in schema.outputs.items():
        values = np.asarray(outputs[name], np.float64)
        if values.ndim == len(shape):
            raise UnsupportedError(f"output {name!r} exists once in an episode: there is nothing to compare step by step")
        parts.append(values.reshape(len(values), -1))
    return np.concatenate(parts, 1)


def _checked(recorded: Values) -> Values:
    bad = np.flatnonzero(~np.isfinite(recorded).all(1))
    if len(bad):
        raise ValueError(f"what was recorded is NaN or infinite at timestep {bad[0]}")
    return recorded


@dataclass(frozen=True)
class Spreads:
    """Task -> the moments of the reference, for the spread of each element. The second pass."""

    schema: Schema
    #: None: what was recorded.
    reference: Policy | None

    def __call__(self, task: Task) -> list[Moments]:
        recorded = self.reference is None
        return [
            self._moments(episode.key, episode.steps, x, y)
            for episode, x, y in read(task.log, self.schema, task.names, inputs=not recorded, outputs=recorded)
        ]

    def _moments(self, key: str, steps: int, x: dict[str, Array], y: dict[str, Array]) -> Moments:
        try:
            values = _flat(self.reference.act(x), self.schema) if self.reference else _checked(_flat(y, self.schema))
        except UnsupportedError:
            raise
        except ValueError as error:
            nothing = np.zeros(0)
            return Moments(key, steps, nothing, nothing, nothing, nothing, str(error))
        mean = values.mean(0)
        return Moments(key, steps, mean, np.square(values - mean).sum(0), values.min(0), values.max(0))


@dataclass(frozen=True)
class Differences:
    """Task -> the differences. The third pass."""

    schema: Schema
    policy: Policy
    reference: Policy | None
    #: Of every element.
    spreads: Values
    tolerance: float
    #: Of every output, its elements.
    parts: Sequence[slice]

    def __call__(self, task: Task) -> list[Difference]:
        recorded = self.reference is None
        return [
            self._difference(episode.key, episode.steps, x, y)
            for episode, x, y in read(task.log, self.schema, task.names, outputs=recorded)
        ]

    def _difference(self, key: str, steps: int, x: dict[str, Array], y: dict[str, Array]) -> Difference:
        elements, outputs = len(self.spreads), len(self.parts)
        try:
            expected = _flat(self.reference.act(x), self.schema) if self.reference else _checked(_flat(y, self.schema))
            found = _flat(self.policy.act(x), self.schema)
        except UnsupportedError:
            raise
        except ValueError as error:
            none, zero = np.zeros(elements), np.zeros(outputs, np.int64)
            empty = np.zeros((outputs, len(LEVELS) + 1), np.int64)
            return Difference(key, steps, none, none, none.astype(np.int64), zero, zero - 1, empty, str(error))
        with np.errstate(invalid="ignore", over="ignore"):
            relative = np.abs((found - expected) / self.spreads)
            relative = np.where(np.isnan(relative), np.inf, relative)
            squares = np.square(relative).sum(0)
        at = relative.argmax(0)
        beyond, first, histogram = [], [], []
        for part in self.parts:
            worst = relative[:, part].max(1)
            over = np.flatnonzero(worst > self.tolerance)
            beyond.append(len(over))
            first.append(over[0] if len(over) else -1)
            histogram.append(np.bincount(np.searchsorted(LEVELS, worst), minlength=len(LEVELS) + 1))
        return Difference(
            key,
            steps,
            squares,
            relative[at, np.arange(elements)],
            at.astype(np.int64),
            np.array(beyond, np.int64),
            np.array(first, np.int64),
            np.array(histogram, np.int64),
        )
