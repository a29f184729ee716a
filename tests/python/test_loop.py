"""rtrnn.Loop: a step per period from the latest observation, whatever Python does meanwhile."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_networks import two_input_rtrnn
from test_stream import policy

import rtrnn
from rtrnn.loop import Action, LoopStats, Times


@pytest.fixture(scope="module")
def model() -> rtrnn.Model:
    return policy("gru")


X = np.linspace(-1, 1, 5, dtype=np.float32)


def wait_for(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.001)


def acted(loop: rtrnn.Loop) -> Action:
    wait_for(loop.action)
    action = loop.action()
    assert action is not None
    return action


def test_every_period_is_a_step(model: rtrnn.Model) -> None:
    with rtrnn.Loop(model, rate=2000, lead=50e-6) as loop:
        assert loop.running
        assert loop.action() is None or loop.action().watchdog
        loop.observe(X)
        wait_for(lambda: loop.stats().step.count >= 50)
    assert not loop.running
    action, stats = loop.action(), loop.stats()
    assert action is not None
    assert (action.watchdog, action.status) == (False, "ok")
    assert action.age > 0
    assert action.sequence == stats.step.count == stats.prepare.count == stats.periods - stats.stale
    assert stats.repeated == stats.step.count - 1
    assert stats.missed == stats.late + stats.skipped
    twin = model.stream()
    for _ in range(stats.step.count):
        expected = twin.step(X)
    np.testing.assert_array_equal(action.values, expected)


def test_it_continues_from_a_stream_and_leaves_it_alone(model: rtrnn.Model) -> None:
    stream = model.stream("f16")
    for _ in range(5):
        stream.step(X)
    before = stream.state_vector()
    loop = rtrnn.Loop(stream, 500)
    loop.observe(X)
    loop.start()
    wait_for(lambda: loop.stats().step.count >= 3)
    loop.stop()
    loop.stop()
    np.testing.assert_array_equal(stream.state_vector(), before)
    count = loop.stats().step.count
    for _ in range(count):
        expected = stream.step(X)
    np.testing.assert_array_equal(acted(loop).values, expected)
    # Again, from the initial state.
    loop.reset()
    with loop:
        wait_for(lambda: loop.stats().step.count > count)
    stream.reset()
    for _ in range(loop.stats().step.count - count):
        expected = stream.step(X)
    np.testing.assert_array_equal(acted(loop).values, expected)


@pytest.mark.skipif(sys.platform == "win32", reason="usleep is a call of Unix")
def test_it_runs_while_c_code_holds_the_gil(model: rtrnn.Model) -> None:
    # A call through PyDLL keeps the GIL; that nothing of Python runs meanwhile is what the counting thread shows.
    hold = ctypes.PyDLL(None).usleep
    counted, done = [0], threading.Event()

    def count() -> None:
        while not done.is_set():
            counted[0] += 1
            time.sleep(0.001)

    python = threading.Thread(target=count)
    with rtrnn.Loop(model, rate=200) as loop:
        loop.observe(X)
        python.start()
        try:
            wait_for(lambda: counted[0] > 10 and loop.stats().periods > 10)
            before, counts = loop.stats(), counted[0]
            hold(500_000)
            after, counts = loop.stats(), counted[0] - counts
        finally:
            done.set()
            python.join()
    assert counts <= 50   # of some 400, before and after the call
    assert after.periods + after.skipped - before.periods - before.skipped >= 98
    # Run, not skipped; on a machine that is too busy for all of them, many.
    assert after.periods - before.periods >= 30


def test_the_watchdog(model: rtrnn.Model) -> None:
    with rtrnn.Loop(model, 1000, stale_after=0.1, watchdog=[7, 8, 9]) as loop:
        assert acted(loop).watchdog
        np.testing.assert_array_equal(acted(loop).values, [7, 8, 9])
        loop.observe(X)
        wait_for(lambda: not acted(loop).watchdog)
        wait_for(lambda: acted(loop).watchdog)
        np.testing.assert_array_equal(acted(loop).values, [7, 8, 9])
    assert loop.stats().stale > 0
    # Held: the last action again.
    with rtrnn.Loop(model, 1000, stale_after=0.05) as loop:
        loop.observe(X)
        wait_for(lambda: loop.action() is not None and acted(loop).watchdog)
        kept = acted(loop)
        wait_for(lambda: acted(loop).sequence > kept.sequence)
        np.testing.assert_array_equal(acted(loop).values, kept.values)


@pytest.mark.parametrize(("on_nonfinite", "status"), [("error", "nonfinite_input"), ("hold", "held"), ("propagate", "ok")])
def test_an_observation_that_is_not_finite(on_nonfinite: str, status: str, model: rtrnn.Model) -> None:
    with rtrnn.Loop(model, 1000, watchdog=np.zeros(3), on_nonfinite=on_nonfinite) as loop:
        loop.observe(X)
        wait_for(lambda: not acted(loop).watchdog)
        before = loop.stats()
        loop.observe(np.array([1, np.nan, 0, 0, 0]))
        wait_for(lambda: acted(loop).status == status and loop.stats().periods > before.periods + 3)
        assert (loop.stats().nonfinite > 0) == (on_nonfinite != "propagate")
        assert acted(loop).watchdog == (on_nonfinite == "error")
        assert np.isfinite(acted(loop).values).all() == (on_nonfinite != "propagate")
        loop.reset()
        loop.observe(X)
        wait_for(lambda: acted(loop).status == "ok" and np.isfinite(acted(loop).values).all())


def test_several_inputs_go_in_declared_order(tmp_path: Path) -> None:
    model = rtrnn.load(two_input_rtrnn(tmp_path / "two.rtrnn"))
    rng = np.random.default_rng(0)
    x = {name: rng.normal(size=shape) for name, shape in model.inputs.items()}
    for given in (x, tuple(x.values()), dict(reversed(x.items()))):
        loop = rtrnn.Loop(model, 200)
        loop.observe(given)
        loop.start()
        wait_for(loop.action)
        loop.stop()
        twin = model.stream()
        for _ in range(loop.stats().step.count):
            expected = twin.step(x)
        values = acted(loop).values
        assert list(values) == list(expected) == ["total", "first"]
        for name in values:
            np.testing.assert_array_equal(values[name], expected[name])
    with pytest.raises(ValueError, match="missing"):
        loop.observe({})


def test_misuse_is_refused(model: rtrnn.Model) -> None:
    loop = rtrnn.Loop(model)
    for bad in (np.zeros(4), np.zeros((2, 5)), []):
        with pytest.raises(ValueError):
            loop.observe(bad)
    with pytest.raises(TypeError):
        loop.observe(np.array(["a"] * 5))
    loop.start()
    with pytest.raises(RuntimeError, match="runs already"):
        loop.start()
    loop.stop()
    refused: list[tuple[dict[str, Any], str]] = [
        ({"rate": 0}, "rate"),
        ({"rate": float("inf")}, "rate"),
        ({"rate": "fast"}, "rate"),
        ({"deadline": 1.0}, "deadline"),
        ({"deadline": 0}, "deadline"),
        ({"lead": 1e-3}, "lead"),
        ({"lead": float("nan")}, "lead"),
        ({"stale_after": 0}, "stale_after"),
        ({"watchdog": [1, 2]}, "watchdog"),
        ({"priority": 100}, "priority"),
        ({"cpu": -3}, "CPU"),
        ({"on_nonfinite": "panic"}, "on_nonfinite"),
    ]
    for options, message in refused:
        with pytest.raises(ValueError, match=message):
            rtrnn.Loop(model, **options)
    with pytest.raises(TypeError, match="Model or a Stream"):
        rtrnn.Loop("policy.onnx")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="weights"):
        rtrnn.Loop(model.stream(), weights="i8")
    with pytest.raises(ValueError, match="abacus"):
        rtrnn.Loop(model, isa="abacus")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no CPU can be asked for")
def test_what_the_system_refuses_is_a_warning(model: rtrnn.Model) -> None:
    loop = rtrnn.Loop(model, cpu=100_000)
    with pytest.warns(RuntimeWarning, match="CPU 100000 was refused"):
        loop.start()
    assert loop.running
    assert "CPU 100000" in loop.notes[0]
    loop.stop()


def test_statistics_from_another_thread_while_it_runs(model: rtrnn.Model) -> None:
    found: list[LoopStats] = []
    with rtrnn.Loop(model, 1000) as loop:
        loop.observe(X)

        def watch() -> None:
            found.extend(loop.stats() for _ in range(50))

        threads = [threading.Thread(target=watch) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_for(lambda: loop.stats().response.count > 10)
    stats = loop.stats()
    assert stats.step.min <= stats.step.p50 <= stats.step.p99 <= stats.step.p999 <= stats.step.p9999 <= stats.step.max
    assert stats.response.max >= stats.step.min
    assert all(0 <= each.periods <= stats.periods for each in found)


def test_times_are_close_to_the_exact_percentiles() -> None:
    samples = np.exp(np.random.default_rng(1).normal(9, 2, 20_000)).astype(np.int64)
    times = Times.of(samples)
    assert times.count == len(samples)
    assert (times.min, times.max) == (samples.min() / 1e9, samples.max() / 1e9)
    assert times.mean == pytest.approx(samples.mean() / 1e9)
    for percent in (0, 1, 50, 99, 99.9, 99.99, 100):
        exact = np.percentile(samples, percent, method="inverted_cdf") / 1e9
        assert exact * (1 - 1e-12) <= times.percentile(percent) <= exact * (1 + 1 / 64)
    uppers, counts = times.histogram
    assert counts.min() > 0
    assert counts.sum() == len(samples)
    assert (np.diff(uppers) > 0).all()
    assert Times.of([]).p99 == 0
    with pytest.raises(ValueError, match="percent"):
        times.percentile(101)


def test_a_loop_that_is_dropped_stops_and_a_fork_does_not_wait_for_it() -> None:
    code = """
import os, sys, warnings
warnings.simplefilter("ignore")
import rtrnn
from test_stream import policy
loop = rtrnn.Loop(policy("gru"), 1000)
loop.start()
child = os.fork() if hasattr(os, "fork") else None
if child == 0:
    loop.stop()
    assert not loop.running
    os._exit(7)
if child:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert loop.running
del loop
kept = rtrnn.Loop(policy("gru"), 1000)
kept.start()   # and is left to run
"""
    environment = [str(Path(__file__).parent)]
    command = [sys.executable, "-I", "-c", f"import sys; sys.path[:0] = {environment}\n{code}"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
