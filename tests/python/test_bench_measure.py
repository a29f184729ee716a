"""Timing: figures follow from what was timed, on a real clock and, exactly, on one that only engines move."""

from __future__ import annotations

import gc
import importlib
import time
from typing import Any

import numpy as np
import pytest

from rtrnn.bench import measure
from rtrnn.bench.measure import lower_mean, timer_overhead_ns

#: The module; the package has a function of this name.
measuring = importlib.import_module("rtrnn.bench.measure")


class Sleeper:
    """An engine whose step takes a known time."""

    blocks = True
    native = False
    steps_per_call = 1

    def __init__(self, name: str, seconds: float) -> None:
        self.name, self.seconds, self.calls = name, seconds, 0
        self.collecting: set[bool] = set()

    def _step(self) -> None:
        self.calls += 1
        end = time.perf_counter() + self.seconds
        while time.perf_counter() < end:
            pass

    def block(self, count: int) -> None:
        self.collecting.add(gc.isenabled())
        for _ in range(count):
            self._step()

    def singles(self, count: int) -> list[int]:
        taken = []
        for _ in range(count):
            begin = time.perf_counter_ns()
            self._step()
            taken.append(time.perf_counter_ns() - begin)
        return taken


def test_figures_follow_the_engines() -> None:
    fast, slow = Sleeper("fast", 20e-6), Sleeper("slow", 100e-6)
    seen: list[float] = []
    report = measure([fast, slow], rounds=12, progress=seen.append)
    one, other = report.engines
    assert (one.name, other.name) == ("fast", "slow")
    assert one.ratio == 1
    assert other.ratio == pytest.approx(other.median_ns / one.median_ns)
    assert other.low_ratio == pytest.approx(other.low_ns / one.low_ns)
    # The clock is the lower bound; a busy machine only adds to it.
    assert one.median_ns >= 20_000
    assert other.median_ns >= 100_000
    assert 2.5 < other.ratio < 8
    for figures in report.engines:
        assert figures.low_ns <= figures.median_ns
        assert figures.p50_ns <= figures.p99_ns <= figures.p999_ns <= figures.largest_ns
        assert figures.calls == len(report.samples_ns[figures.name])
    assert report.rounds == 12
    assert seen[-1] == 1
    assert 0 <= report.interrupted <= 1


def test_the_garbage_collector_is_off_while_timing() -> None:
    engine = Sleeper("one", 20e-6)
    measure([engine], rounds=1)
    assert gc.isenabled()
    assert False in engine.collecting  # the warm-up comes before


def test_seconds_bound_the_measurement() -> None:
    begin = time.perf_counter()
    report = measure([Sleeper("one", 20e-6)], seconds=0.3)
    assert report.rounds >= 3
    assert 0.3 <= time.perf_counter() - begin < 20


# With a clock that stands still but for what engines spend, figures are exact.


class Clock:
    """In place of perf_counter_ns: the time that engines have spent."""

    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        return self.ns


class Spender:
    """An engine whose n-th call takes ``cost(n)`` on a :class:`Clock`."""

    native = False
    steps_per_call = 1

    def __init__(self, name: str, clock: Clock, cost: Any, *, blocks: bool = True) -> None:
        self.name, self.clock, self.cost, self.blocks, self.calls = name, clock, cost, blocks, 0

    def _call(self) -> int:
        self.calls += 1
        taken = self.cost(self.calls)
        self.clock.ns += taken
        return taken

    def block(self, count: int) -> None:
        for _ in range(count):
            self._call()

    def singles(self, count: int) -> list[int]:
        return [self._call() for _ in range(count)]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake = Clock()
    monkeypatch.setattr(measuring, "perf_counter_ns", fake)
    monkeypatch.setattr(measuring, "timer_overhead_ns", lambda: 40.0)
    monkeypatch.setattr("rtrnn._core.timer_overhead_ns", lambda: 25.0)
    monkeypatch.setattr(measuring, "_preemptions", lambda: 0)
    return fake


def test_figures_are_exact_on_a_clock_without_noise(clock: Clock) -> None:
    fast, slow = Spender("fast", clock, lambda n: 1000), Spender("slow", clock, lambda n: 4000)
    rounds: list[int] = []
    report = measure([fast, slow], rounds=7, each_round=lambda: rounds.append(clock.ns))
    one, other = report.engines
    assert (one.median_ns, one.low_ns, one.p999_ns, one.ratio) == (1000, 1000, 1000, 1)
    assert (other.median_ns, other.low_ns, other.largest_ns, other.ratio, other.low_ratio) == (4000, 4000, 4000, 4, 4)
    assert report.difference_ns("slow", "fast") == 3000
    assert len(rounds) == 7
    assert len(set(rounds)) == 7  # between the rounds, not all at once
    # A block is about a millisecond.
    assert one.calls == pytest.approx(7 * 1000)


def test_another_engine_begins_each_round(clock: Clock) -> None:
    """What the one before leaves in the caches, and a drift within a round, then meet each of them."""
    engines = [Spender(name, clock, lambda n: 100_000) for name in "abc"]
    begun: list[str] = []
    for each in engines:
        each.block = lambda count, name=each.name, block=each.block: (begun.append(name), block(count))[1]  # type: ignore[method-assign]
    marks: list[int] = []
    measure(engines, rounds=6, each_round=lambda: marks.append(len(begun)))
    assert [begun[mark] for mark in marks] == ["a", "b", "c", "a", "b", "c"]


def test_medians_of_rounds_do_not_see_a_rare_slow_call(clock: Clock) -> None:
    engine = Spender("one", clock, lambda n: 5_000_000 if n % 5000 == 0 else 1000)
    report = measure([engine], rounds=9)
    (figures,) = report.engines
    assert figures.median_ns == 1000
    assert figures.largest_ns == 5_000_000


def test_a_drift_of_the_clock_leaves_ratios_and_differences(clock: Clock) -> None:
    """Every engine becomes slower by the time: taken in turns, all by as much."""
    slower = lambda ns: lambda n: round(ns * (1 + clock.ns / 1e9))  # noqa: E731
    fast, slow = Spender("fast", clock, slower(1000)), Spender("slow", clock, slower(4000))
    report = measure([fast, slow], rounds=40)
    one, other = report.engines
    assert one.median_ns > 1080  # there was a drift
    assert other.ratio == pytest.approx(4, rel=0.01)


def test_many_timesteps_in_a_call_are_divided(clock: Clock) -> None:
    engine = Spender("one", clock, lambda n: 6400)
    engine.steps_per_call = 64
    (figures,) = measure([engine], rounds=3).engines
    assert (figures.median_ns, figures.p50_ns, figures.largest_ns) == (100, 100, 100)


@pytest.mark.parametrize(("native", "timer"), [(False, 40), (True, 25)])
def test_the_timer_is_taken_off_single_calls(native: bool, timer: float, clock: Clock) -> None:
    """The timer that was read around them: Python's, or C++'s."""
    engine = Spender("one", clock, lambda n: 1000, blocks=False)
    engine.native = native
    (figures,) = measure([engine], rounds=3).engines
    assert not figures.from_blocks
    assert (figures.median_ns, figures.p50_ns) == (1000 - timer, 1000)


def test_interrupted_blocks_are_left_out(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Spender("one", clock, lambda n: 1000)
    count = iter(range(10**6))
    # Read before and after each block: 0 0, 1 2, 2 2, 3 4, ..: every other block is interrupted.
    monkeypatch.setattr(measuring, "_preemptions", lambda: [0, 0, 1, 2][next(count) % 4])
    report = measure([engine], rounds=10)
    assert report.interrupted == 0.5
    assert np.isnan(report.rounds_ns["one"]).sum() == 5
    assert report.engines[0].median_ns == 1000


def test_lower_mean_is_of_the_lower_nine_tenths() -> None:
    assert lower_mean([1] * 9 + [10**9]) == 1
    assert lower_mean([5]) == 5
    assert lower_mean(np.r_[np.full(50, 10), np.full(40, 20), np.full(10, 999)]) == pytest.approx(1300 / 90)


def test_timer_overhead_is_plausible() -> None:
    assert 0 < timer_overhead_ns() < 10_000
