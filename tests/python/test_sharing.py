"""Threads in Python: a Stream or a Batch that another thread is in refuses a call, and is not harmed."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

import rtrnn

GOLDEN = Path(__file__).parents[1] / "golden"


def contend(long_call: Any, short_call: Any) -> tuple[int, int]:
    """`long_call` in a thread of its own and `short_call` here meanwhile; how often each was taken. At least one was refused."""
    taken, refused = [0, 0], 0

    def work() -> None:
        while not taken[0]:
            try:
                long_call()
                taken[0] += 1
            except rtrnn.BusyError:
                pass

    until = time.monotonic() + 60   # on a busy machine they may miss each other for long
    while time.monotonic() < until:
        before = taken[0]
        taken[0] = 0
        thread = threading.Thread(target=work)
        thread.start()
        while thread.is_alive():
            try:
                short_call()
                taken[1] += 1
            except rtrnn.BusyError:
                refused += 1
        thread.join()
        taken[0] += before
        if refused:
            return taken[0], taken[1]
    raise AssertionError("two threads never met")


def test_stream() -> None:
    model = rtrnn.load(GOLDEN / "gru_100.rtrnn")
    stream, alone = model.stream(), model.stream()
    xs = np.zeros((2000, stream.input.size), np.float32)
    blocks, steps = contend(lambda: stream.process(xs), stream.step)
    assert stream.steps == 2000 * blocks + steps
    alone.process(np.zeros((stream.steps, stream.input.size), np.float32))
    assert np.array_equal(stream.state_vector(), alone.state_vector())


def test_every_call_of_a_stream() -> None:
    model = rtrnn.load(GOLDEN / "gru_100.rtrnn")
    stream = model.stream()
    xs = np.zeros((2000, stream.input.size), np.float32)
    state = stream.state_vector()
    x = np.zeros(stream.input.size, np.float32)
    for call in (
        stream.prepare, stream.reset, stream.fork, stream.state, lambda: stream.set_state(state),
        lambda: stream.step(x), lambda: stream.process(xs[:2]),
    ):  # fmt: skip
        contend(lambda: stream.process(xs), call)


def test_a_refused_step_leaves_the_input_alone() -> None:
    """A list passes another way than an array; it must not become the input of the call that is under way."""
    stream = rtrnn.load(GOLDEN / "gru_100.rtrnn").stream()
    xs = np.zeros((2000, stream.input.size), np.float32)
    ones = [1.0] * stream.input.size

    def step() -> None:
        try:
            stream.step(ones)
        except rtrnn.BusyError:
            assert not stream.input.any()
            raise
        stream.input[:] = 0

    contend(lambda: stream.process(xs), step)


def test_a_batch_is_read_and_set_whole() -> None:
    """Its calls on all streams are several of the core's: none may be refused half-way."""
    batch = rtrnn.load(GOLDEN / "gru_8.rtrnn").batch(100)
    xs = np.zeros((100, rtrnn.load(GOLDEN / "gru_8.rtrnn").stream().input.size), np.float32)
    marked = {name: np.full_like(values, 0.5) for name, values in batch.state().items()}
    done = threading.Event()

    def step() -> None:
        while not done.is_set():
            for _ in range(20):
                with contextlib.suppress(rtrnn.BusyError):
                    batch.step(xs)
            time.sleep(1e-4)   # else every other call may come during a step

    thread = threading.Thread(target=step)
    thread.start()
    taken = refused = 0
    for _ in range(100000):
        try:
            state = batch.state()
            taken += 1
            # All streams began alike and get the same inputs.
            assert all((values == values[0]).all() for values in state.values())
            batch.set_state(marked)
        except rtrnn.BusyError:
            refused += 1
        if taken >= 300 and refused >= 300:
            break
    done.set()
    thread.join()
    assert taken
    assert refused


def test_the_calls_that_are_checked_in_c_are_all_there_are() -> None:
    root = Path(__file__).parents[2]
    header = (root / "cpp" / "include" / "rtrnn" / "rtrnn.h").read_text()
    declared = re.findall(r"^RTRNN_API rtrnn_status (\w+)\((?:const )?rtrnn_(?:stream|batch)\*", header, re.MULTILINE)
    assert len(declared) > 20
    checked = (root / "tests" / "cpp" / "sharing.cpp").read_text()
    assert [name for name in declared if f"{name}(" not in checked] == []


def test_batch() -> None:
    batch = rtrnn.load(GOLDEN / "gru_100.rtrnn").batch(600)
    xs = np.zeros((600, rtrnn.load(GOLDEN / "gru_100.rtrnn").stream().input.size), np.float32)
    for call in (batch.prepare, batch.reset, batch.fork, batch.state, lambda: batch.step(xs)):
        contend(lambda: [batch.step(xs) for _ in range(20)], call)
