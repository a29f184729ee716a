"""Timing: blocks of calls for the mean cost of a call, single calls for its percentiles."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rtrnn import _core

try:
    import resource
except ImportError:  # not a Unix
    resource = None  # type: ignore[assignment]

__all__ = ["Engine", "Figures", "Report", "lower_mean", "measure", "timer_overhead_ns"]

#: A block takes about this long: long against the timer, short against the scheduler's time slice.
BLOCK_NS = 1_000_000
_WARM_UP_NS = 50_000_000
#: Calls without timing before each block and each run of single calls: the engine before left its data in the caches.
_REFILL_CALLS = 20


class Engine(Protocol):
    """One way to take a step."""

    name: str

    def block(self, count: int) -> None:
        """Takes `count` steps. (Without meaning when `blocks` is False.)"""

    def singles(self, count: int) -> Sequence[int] | npt.NDArray[np.int64]:
        """Takes `count` steps; the nanoseconds of each, from before the call to after it."""

    @property
    def blocks(self) -> bool:
        """Whether what is timed is all that happens in a step, so that a block of steps can be timed."""

    @property
    def steps_per_call(self) -> int:
        """Timesteps that one call takes; figures are per timestep."""

    @property
    def native(self) -> bool:
        """Whether `singles` reads the clock in C++, which takes less than from Python."""


@dataclass(frozen=True)
class Figures:
    """What was measured for one engine, in nanoseconds per timestep."""

    name: str
    #: Median over the rounds of the mean of a block's calls; without blocks that of single calls less the timer's cost.
    median_ns: float
    #: The same at the 10th percentile: close to what a quiet machine would give.
    low_ns: float
    from_blocks: bool
    #: Of single calls, the timer's cost included.
    p50_ns: float
    p99_ns: float
    p999_ns: float
    largest_ns: float
    calls: int
    #: This engine's median divided by that of the first engine.
    ratio: float
    #: The same of low_ns.
    low_ratio: float


@dataclass(frozen=True)
class Report:
    """Figures of all engines, measured in turns."""

    engines: tuple[Figures, ...]
    timer_ns: float
    rounds: int
    #: Share of the blocks during which the system ran something else on the CPU; they are not in the medians.
    interrupted: float
    #: Single calls of each engine, for a histogram.
    samples_ns: dict[str, npt.NDArray[np.float64]] = field(repr=False, compare=False, default_factory=dict)
    #: Of each engine, the mean of every round; NaN for a round that was interrupted.
    rounds_ns: dict[str, npt.NDArray[np.float64]] = field(repr=False, compare=False, default_factory=dict)

    def difference_ns(self, name: str, other: str) -> float:
        """The median over the rounds of what `name` takes more than `other` in the same round."""
        differences = self.rounds_ns[name] - self.rounds_ns[other]
        good = differences[np.isfinite(differences)]
        figures = {each.name: each for each in self.engines}
        # Without one round in which both were undisturbed, what is left are the medians.
        return float(np.median(good)) if len(good) else figures[name].median_ns - figures[other].median_ns


def timer_overhead_ns(count: int = 20_000) -> float:
    """What two reads of the clock with nothing between them show; see :func:`lower_mean`."""
    differences = np.empty(count, np.int64)
    for i in range(count):
        begin = perf_counter_ns()
        differences[i] = perf_counter_ns() - begin
    return lower_mean(differences)


def lower_mean(values: npt.ArrayLike) -> float:
    """The mean of the lower nine tenths: finer than a median where the clock ticks in steps of 10 ns and more."""
    ordered = np.sort(np.asarray(values, np.float64))
    return float(ordered[: max(1, len(ordered) * 9 // 10)].mean())


def measure(
    engines: Sequence[Engine],
    *,
    seconds: float = 3.0,
    rounds: int | None = None,
    progress: Callable[[float], None] | None = None,
    each_round: Callable[[], None] | None = None,
) -> Report:
    """Times the engines in turns for about `seconds`, or for `rounds` rounds; ratios are to the first engine.

    In each round every engine has one block and one run of single calls of about the same length; the order rotates
    from round to round. `each_round` is called between rounds: whatever else should meet the same clock. The garbage
    collector is off meanwhile. Blocks during which another process took the CPU are left out of the medians, for all
    engines alike; single calls are all counted.
    """
    counts = [_calls_per_block(engine) for engine in engines]
    turns: list[list[_Turn]] = [[] for _ in engines]
    collecting = gc.isenabled()
    gc.disable()
    try:
        begin = perf_counter_ns()
        done = 0
        while done < rounds if rounds else done < 3 or perf_counter_ns() - begin < seconds * 1e9:
            if each_round:
                each_round()
            for k in range(len(engines)):
                i = (k + done) % len(engines)
                turns[i].append(_one_turn(engines[i], counts[i]))
            done += 1
            if progress:
                progress(done / rounds if rounds else min(1.0, (perf_counter_ns() - begin) / (seconds * 1e9)))
    finally:
        if collecting:
            gc.enable()
    timer, native_timer = timer_overhead_ns(), _core.timer_overhead_ns()
    interrupted = [turn.interrupted for each in turns for turn in each if turn.interrupted is not None]
    samples, means = {}, {}
    figures: list[Figures] = []
    for engine, each in zip(engines, turns, strict=True):
        steps = engine.steps_per_call
        samples[engine.name] = np.concatenate([turn.singles for turn in each]) / steps
        own_timer = 0.0 if engine.blocks else native_timer if engine.native else timer
        all_means = (np.array([turn.mean for turn in each]) - own_timer) / steps
        clean = np.array([not turn.interrupted for turn in each])
        # An engine without one undisturbed block has to be judged by the others.
        judged = all_means[clean] if clean.any() else all_means
        means[engine.name] = np.where(clean, all_means, np.nan)
        figures.append(_figures(engine, judged, samples[engine.name], figures[0] if figures else None))
    share = sum(interrupted) / max(1, len(interrupted))
    return Report(tuple(figures), timer, done, share, samples, means)


@dataclass(frozen=True)
class _Turn:
    #: Nanoseconds per call, of the block or else of the single calls.
    mean: float
    singles: npt.NDArray[np.int64]
    #: Whether the system ran something else during the block; None without a block.
    interrupted: bool | None


def _preemptions() -> int:
    """How often the system took the CPU from this thread for something else; always 0 where it does not tell."""
    if not hasattr(resource, "RUSAGE_THREAD"):
        return 0
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw


def _one_turn(engine: Engine, count: int) -> _Turn:
    mean, interrupted = 0.0, None
    if engine.blocks:
        engine.block(min(_REFILL_CALLS, count))
        before = _preemptions()
        start = perf_counter_ns()
        engine.block(count)
        mean = (perf_counter_ns() - start) / count
        interrupted = _preemptions() != before
    engine.singles(min(_REFILL_CALLS, count))
    singles = np.asarray(engine.singles(count), np.int64)
    return _Turn(mean if engine.blocks else lower_mean(singles), singles, interrupted)


def _calls_per_block(engine: Engine) -> int:
    """Warms up, and finds how many calls take about BLOCK_NS."""
    run = engine.block if engine.blocks else engine.singles
    begin = perf_counter_ns()
    count = 1
    fastest = float("inf")
    while perf_counter_ns() - begin < _WARM_UP_NS:
        start = perf_counter_ns()
        run(count)
        taken = max(1, perf_counter_ns() - start)
        # The least of many: a block during which the process was interrupted says nothing.
        fastest = min(fastest, taken / count)
        if taken < BLOCK_NS / 2:
            count *= 2
    return max(1, round(BLOCK_NS / fastest))


def _figures(
    engine: Engine, means: npt.NDArray[np.float64], singles: npt.NDArray[np.float64], reference: Figures | None
) -> Figures:
    p50, p99, p999 = (float(p) for p in np.percentile(singles, (50, 99, 99.9)))
    low, median = (max(float(p), 0.1) for p in np.percentile(means, (10, 50)))
    return Figures(
        engine.name,
        median,
        low,
        bool(engine.blocks),
        p50,
        p99,
        p999,
        float(singles.max()),
        len(singles),
        median / (reference.median_ns if reference else median),
        low / (reference.low_ns if reference else low),
    )
