"""Results of episodes, merged by name into one report, the same to the bit in whatever order and however often they came."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from math import prod
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from rtrnn.errors import Error
from rtrnn.precision.errors import floored_spreads
from rtrnn.replay.logs import Schema
from rtrnn.replay.work import LEVELS, Difference, Moments

__all__ = ["EpisodeReport", "Merged", "OutputReport", "Report", "facts", "make_report", "parts_of", "spreads_of"]

Values = npt.NDArray[np.float64]
R = TypeVar("R", Moments, Difference)


class Merged(Generic[R]):
    """The results of all episodes, each once: a task that was done twice, because a worker died after it gave some, changes nothing."""

    def __init__(self, expected: Iterable[str]) -> None:
        self.expected = frozenset(expected)
        self.results: dict[str, R] = {}
        #: Results that came once more.
        self.repeated = 0

    def add(self, result: R) -> int:
        """Its timesteps when it is new, else 0."""
        if result.key not in self.expected:
            raise Error(f"a result of an episode that nobody asked for: {result.key}")
        if result.key in self.results:
            self.repeated += 1
            return 0
        self.results[result.key] = result
        return result.steps

    def in_order(self) -> list[R]:
        """Sorted by name, for sums that do not depend on who was first. Raises :class:`rtrnn.Error` when an episode is missing."""
        missing = sorted(self.expected - self.results.keys())
        if missing:
            raise Error(f"{len(missing)} of {len(self.expected)} episodes have no result, the first is {missing[0]}")
        return [self.results[key] for key in sorted(self.results)]


@dataclass(frozen=True)
class OutputReport:
    """How far one output is from the reference, relative to its elements' spreads, over all episodes."""

    name: str
    #: The root of the mean square over all steps and elements; the same of the element that is worst by it.
    rms: float
    worst_element: int
    worst_rms: float
    #: The largest difference of any element, and where.
    largest: float
    largest_element: int
    largest_episode: str
    largest_step: int
    #: Steps in which any element is beyond the tolerance.
    beyond: int
    beyond_share: float
    #: Of each element: its spread, its RMS and its largest difference.
    spread: tuple[float, ...]
    element_rms: tuple[float, ...]
    element_largest: tuple[float, ...]
    #: Steps by the difference of their worst element, between :data:`rtrnn.replay.work.LEVELS`.
    histogram: tuple[int, ...]


@dataclass(frozen=True)
class EpisodeReport:
    """One episode; `rms`, `largest` and `beyond` of the output that is worst by each."""

    name: str
    steps: int
    rms: float
    largest: float
    beyond: int
    #: The first step in which an output is beyond the tolerance; -1: none.
    first_beyond: int
    #: Why it was not compared.
    failure: str = ""


@dataclass(frozen=True)
class Report:
    """What a replay found; `episodes` are sorted by name."""

    policy: str
    reference: str
    tolerance: float
    outputs: tuple[OutputReport, ...]
    episodes: tuple[EpisodeReport, ...]

    @property
    def steps(self) -> int:
        """Timesteps compared."""
        return sum(episode.steps for episode in self.episodes if not episode.failure)

    @property
    def failures(self) -> tuple[EpisodeReport, ...]:
        return tuple(episode for episode in self.episodes if episode.failure)

    def worst(self, count: int) -> list[EpisodeReport]:
        """The episodes with the largest RMS."""
        good = [episode for episode in self.episodes if not episode.failure]
        return sorted(good, key=lambda episode: (-episode.rms, episode.name))[:count]


def parts_of(schema: Schema) -> list[slice]:
    """Of every output, its elements among all of them."""
    ends = np.cumsum([prod(shape) for shape in schema.outputs.values()])
    return [slice(int(begin), int(end)) for begin, end in zip((0, *ends[:-1]), ends, strict=True)]


def spreads_of(moments: Iterable[Moments], schema: Schema) -> Values:
    """The spread of every element over all episodes, as :mod:`rtrnn.precision.errors` has it.

    Moments are combined pair by pair (Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
    variances", 1979). Raises :class:`rtrnn.Error` when there is no good episode.
    """
    total: Moments | None = None
    for one in moments:
        if one.failure or not one.steps:
            continue
        if total is None:
            total = one
            continue
        steps = total.steps + one.steps
        shift = one.mean - total.mean
        mean = total.mean + shift * (one.steps / steps)
        squares = total.squares + one.squares + np.square(shift) * (total.steps * one.steps / steps)
        total = Moments("", steps, mean, squares, np.minimum(total.low, one.low), np.maximum(total.high, one.high))
    if total is None:
        raise Error("there is no episode that could be compared")
    deviations = np.sqrt(total.squares / total.steps)
    deviations[total.low == total.high] = 0
    return np.concatenate([floored_spreads(deviations[part], total.low[part]) for part in parts_of(schema)])


def make_report(
    differences: Iterable[Difference], schema: Schema, spreads: Values, *, tolerance: float, policy: str, reference: str
) -> Report:
    """`differences` in the order of their names."""
    every = list(differences)
    good = [one for one in every if not one.failure]
    if not good:
        raise Error(f"there is no episode that could be compared; {every[0].key}: {every[0].failure}" if every else "there is no episode")
    steps = sum(one.steps for one in good)
    squares = np.zeros_like(spreads)
    for one in good:
        squares = squares + one.squares
    largest = np.array([one.largest for one in good])
    outputs = [
        _output(name, i, part, good, steps, squares, largest, spreads)
        for i, (name, part) in enumerate(zip(schema.outputs, parts_of(schema), strict=True))
    ]
    episodes = [_episode(one, parts_of(schema)) for one in every]
    return Report(policy, reference, tolerance, tuple(outputs), tuple(episodes))


def _output(
    name: str, i: int, part: slice, good: list[Difference], steps: int, squares: Values, largest: Values, spreads: Values
) -> OutputReport:
    rms = np.sqrt(squares[part] / steps)
    mine = largest[:, part]
    episode, element = np.unravel_index(int(mine.argmax()), mine.shape)
    beyond = sum(int(one.beyond[i]) for one in good)
    worst = int(rms.argmax())
    return OutputReport(
        name,
        float(np.sqrt(np.mean(np.square(rms)))),
        worst,
        float(rms[worst]),
        float(mine[episode, element]),
        int(element),
        good[episode].key,
        int(good[episode].largest_step[part][element]),
        beyond,
        beyond / steps,
        tuple(map(float, spreads[part])),
        tuple(map(float, rms)),
        tuple(map(float, mine.max(0))),
        tuple(int(n) for n in sum(one.histogram[i] for one in good)),
    )


def _episode(one: Difference, parts: list[slice]) -> EpisodeReport:
    if one.failure:
        return EpisodeReport(one.key, one.steps, 0.0, 0.0, 0, -1, one.failure)
    rms = max(float(np.sqrt(one.squares[part].mean() / one.steps)) for part in parts)
    first = one.first_beyond[one.first_beyond >= 0]
    return EpisodeReport(
        one.key, one.steps, rms, float(one.largest.max()), int(one.beyond.max()), int(first.min()) if len(first) else -1
    )


def facts(report: Report) -> Mapping[str, Any]:
    """The report as values that JSON can hold."""
    return {**asdict(report), "steps": report.steps, "histogram_edges": LEVELS.tolist()}
