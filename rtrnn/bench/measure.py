"""Timing: blocks of calls for the mean cost of a call, single calls for its percentiles."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Protocol

import numpy as np
import numpy.typing as npt

try:
    import resource
except ImportError:  # not a Unix
    resource = None  # type: ignore[assignment]

__all__ = ["Engine", "Figures", "Report", "measure", "timer_overhead_ns"]

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

    def singles(self, count: int) -> list[int]:
        """Takes `count` steps; the nanoseconds of each, from before the call to after it."""

    @property
    def blocks(self) -> bool:
        """Whether what is timed is all that happens in a step, so that a block of steps can be timed."""


@dataclass(frozen=True)
class Figures:
    """What was measured for one engine, in nanoseconds per call."""

    name: str
    #: Median over the blocks of the mean of a block's calls; without blocks p50_ns less the timer's cost.
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
    samples_ns: dict[str, npt.NDArray[np.int64]] = field(repr=False, compare=False, default_factory=dict)


def timer_overhead_ns(count: int = 20_000) -> float:
    """The median of what two reads of the clock with nothing between them show."""
    differences = np.empty(count, np.int64)
    for i in range(count):
        begin = perf_counter_ns()
        differences[i] = perf_counter_ns() - begin
    return float(np.median(differences))


def measure(
    engines: Sequence[Engine],
    *,
    seconds: float = 3.0,
    rounds: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> Report:
    """Times the engines in turns for about `seconds`, or for `rounds` rounds; ratios are to the first engine.

    In each round every engine has one block and one run of single calls of about the same length; the order rotates
    from round to round. The garbage collector is off meanwhile. Blocks during which another process took the CPU
    are left out of the medians, for all engines alike; single calls are all counted.
    """
    counts = [_calls_per_block(engine) for engine in engines]
    clean: list[list[float]] = [[] for _ in engines]
    interrupted: list[list[float]] = [[] for _ in engines]
    singles: list[list[int]] = [[] for _ in engines]
    collecting = gc.isenabled()
    gc.disable()
    try:
        begin = perf_counter_ns()
        done = 0
        while done < rounds if rounds else done < 3 or perf_counter_ns() - begin < seconds * 1e9:
            for k in range(len(engines)):
                i = (k + done) % len(engines)
                _one_turn(engines[i], counts[i], clean[i], interrupted[i], singles[i])
            done += 1
            if progress:
                progress(done / rounds if rounds else min(1.0, (perf_counter_ns() - begin) / (seconds * 1e9)))
    finally:
        if collecting:
            gc.enable()
    timer = timer_overhead_ns()
    share = sum(map(len, interrupted)) / max(1, sum(map(len, clean + interrupted)))
    # An engine without one undisturbed block has to be judged by the others.
    blocks = [good or bad for good, bad in zip(clean, interrupted, strict=True)]
    samples = {engine.name: np.array(each, np.int64) for engine, each in zip(engines, singles, strict=True)}
    figures: list[Figures] = []
    for engine, taken in zip(engines, blocks, strict=True):
        figures.append(_figures(engine, taken, samples[engine.name], timer, figures[0] if figures else None))
    return Report(tuple(figures), timer, done, share, samples)


def _preemptions() -> int:
    """How often the system took the CPU from this thread for something else; always 0 where it does not tell."""
    if not hasattr(resource, "RUSAGE_THREAD"):
        return 0
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw


def _one_turn(engine: Engine, count: int, clean: list[float], interrupted: list[float], singles: list[int]) -> None:
    if engine.blocks:
        engine.block(min(_REFILL_CALLS, count))
        before = _preemptions()
        start = perf_counter_ns()
        engine.block(count)
        taken = perf_counter_ns() - start
        (clean if _preemptions() == before else interrupted).append(taken / count)
    engine.singles(min(_REFILL_CALLS, count))
    singles.extend(engine.singles(count))


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
    engine: Engine, blocks: list[float], singles: npt.NDArray[np.int64], timer: float, reference: Figures | None
) -> Figures:
    p10, p50, p99, p999 = (float(p) for p in np.percentile(singles, (10, 50, 99, 99.9)))
    low, median = map(float, np.percentile(blocks, (10, 50))) if blocks else (max(p - timer, 1.0) for p in (p10, p50))
    return Figures(
        engine.name,
        median,
        low,
        bool(blocks),
        p50,
        p99,
        p999,
        float(singles.max()),
        len(singles),
        median / (reference.median_ns if reference else median),
        low / (reference.low_ns if reference else low),
    )
