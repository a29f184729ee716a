"""What step(x) returns: arrays that never change once somebody holds them, though a loop that lets go of them allocates none."""

from __future__ import annotations

import sys
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import rtrnn


def policy(inputs: int = 5, outputs: int = 3, hidden: int = 6) -> rtrnn.Model:
    rng = np.random.default_rng(0)
    gru = rtrnn.GRU(rng.normal(size=(3 * hidden, inputs)), rng.normal(size=(3 * hidden, hidden)))
    return rtrnn.Sequential(gru, rtrnn.Linear(rng.normal(size=(outputs, hidden)) / 4))


@pytest.fixture
def model() -> rtrnn.Model:
    return policy()


def rows(model: rtrnn.Model, count: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(count, 5)).astype(np.float32)


def keep_itself(y: np.ndarray) -> Any:
    return y


def keep_view(y: np.ndarray) -> Any:
    return y[1:]


def keep_memory(y: np.ndarray) -> Any:
    return memoryview(y)


def keep_tensor(y: np.ndarray) -> Any:
    return pytest.importorskip("torch", reason="torch is not installed").from_numpy(y)


def keep_nested(y: np.ndarray) -> Any:
    return [{"action": (y,)}]


def contents(kept: Any) -> np.ndarray:
    if isinstance(kept, list):
        kept = kept[0]["action"][0]
    return np.asarray(kept).copy()


@pytest.mark.parametrize("keep", [keep_itself, keep_view, keep_memory, keep_tensor, keep_nested], ids=lambda keep: keep.__name__)
def test_what_is_held_never_changes(model: rtrnn.Model, keep: Callable[[np.ndarray], Any]) -> None:
    stream = model.stream()
    kept, before = [], []
    for x in rows(model, 12):
        kept.append(keep(stream.step(x)))
        before.append(contents(kept[-1]))
    for value, expected in zip(kept, before, strict=True):
        np.testing.assert_array_equal(contents(value), expected)
    assert len({before[i].tobytes() for i in range(len(before))}) == len(before)   # the steps did differ


def test_a_weak_reference_keeps_it_from_being_used_again(model: rtrnn.Model) -> None:
    stream = model.stream()
    x = rows(model, 1)[0]
    y = stream.step(x)
    watched = weakref.ref(y)
    before = y.copy()
    del y
    for _ in range(5):
        again = stream.step(x)
        if watched() is not None:
            np.testing.assert_array_equal(watched(), before)
        assert again is not watched()


@pytest.mark.parametrize("change", ["flags", "shape"])
def test_what_its_holder_has_changed_in_place_is_not_used_again(model: rtrnn.Model, change: str) -> None:
    reference = model.stream()
    stream = model.stream()
    for x in rows(model, 8):
        y = stream.step(x)
        expected = reference.step(x, out=np.empty_like(y))
        assert y.flags.writeable
        assert y.flags.c_contiguous
        assert y.flags.owndata
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y, expected)
        if change == "flags":
            y.flags.writeable = False
        else:
            y.resize((1, y.size), refcheck=False)
        del y


@pytest.mark.skipif(not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="a build without the GIL makes a new array each time")
def test_a_loop_that_lets_go_of_its_results_allocates_none(model: rtrnn.Model) -> None:
    stream = model.stream()
    xs = list(rows(model, 4))
    addresses = set()
    for i in range(100):
        y = stream.step(xs[i % 4])
        addresses.add(y.ctypes.data)
    assert len(addresses) == 2
    tracemalloc.start()
    try:
        y = stream.step(xs[0])
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for i in range(1000):
            y = stream.step(xs[i % 4])
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert y.shape == (3,)
    assert peak < 4 * y.nbytes + 1000   # twins: a thousand results held would be far more, and so would be one array a step


def test_its_own_result_can_be_the_next_input() -> None:
    model = policy(4, 4)
    stream, reference = model.stream(), model.stream()
    y, expected = np.ones(4, np.float32), np.ones(4, np.float32)
    for _ in range(20):
        y = stream.step(y)
        expected = reference.step(expected.copy(), out=np.empty(4, np.float32))
        np.testing.assert_array_equal(y, expected)
