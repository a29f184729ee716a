"""Threads in Python: a Stream or a Batch that another thread is in refuses a call, and is not harmed."""

from __future__ import annotations

import threading
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

    for _ in range(20):
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


def test_batch() -> None:
    batch = rtrnn.load(GOLDEN / "gru_100.rtrnn").batch(600)
    xs = np.zeros((600, rtrnn.load(GOLDEN / "gru_100.rtrnn").stream().input.size), np.float32)
    for call in (batch.prepare, batch.reset, batch.fork, batch.state, lambda: batch.step(xs)):
        contend(lambda: [batch.step(xs) for _ in range(20)], call)
