"""Many streams, and many timesteps, at once: the bits of single steps, whatever is computed beside them."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
from engine import model_of, named, plain, random_inputs
from random_graphs import random_draft
from test_golden import GOLDEN, NAMES, Golden

rtrnn = pytest.importorskip("rtrnn")

T = 53  # more than the timesteps that are taken together
SOME = ["f32", "i16", "f16"]


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return np.array_equal(np.asarray(a).view(np.uint32), np.asarray(b).view(np.uint32))


def joined(rows: list[dict[str, np.ndarray]]) -> Any:
    return plain({name: np.stack([row[name] for row in rows]) for name in rows[0]})


@pytest.mark.parametrize("seed", range(60))
def test_random_networks(seed: int) -> None:
    draft = random_draft(1000 + seed)
    model, names = model_of(draft), list(draft.outputs)
    weights = SOME[seed % len(SOME)]
    xs = random_inputs(draft, T, seed)
    try:
        stream = model.stream(weights=weights)
    except rtrnn.UnsupportedError:  # weights that do not fit the precision
        weights = "f32"
        stream = model.stream()
    given = [named(stream.step(plain(x)), names) for x in xs]
    expected = {name: np.stack([y[name] for y in given]) for name in names}
    whole, block = named(model.run(joined(xs), weights=weights), names), model.stream(weights=weights)
    first, rest = (named(block.process(joined(part)), names) for part in (xs[:20], xs[20:]))
    for name in names:
        assert same(whole[name], expected[name]), f"run, {name}"
        assert same(np.concatenate([first[name], rest[name]]), expected[name]), f"process, {name}"
    assert same(block.state_vector(), stream.state_vector())

    count = 6  # stream n sees the sequence from timestep n on
    batch, streams = model.batch(count, weights=weights), [model.stream(weights=weights) for _ in range(count)]
    for t in range(5):
        together = named(batch.step(joined([xs[t + n] for n in range(count)])), names)
        for n in range(count):
            alone = named(streams[n].step(plain(xs[t + n])), names)
            for name in names:
                assert same(together[name][n], alone[name]), f"batch, {name}, stream {n}"
        if t == 2:
            batch.prepare()
    states = batch.state()
    for n in range(count):
        for name, value in streams[n].state().items():
            assert same(states[name][n], value)


@pytest.mark.parametrize("name", NAMES)
def test_goldens(name: str) -> None:
    golden = Golden(name)
    model = rtrnn.load(golden.path)
    for weights in ("f32", "f16", "bf16", "i16", "i8"):
        path = GOLDEN / f"{name}{'' if weights == 'f32' else '.' + weights}.y.f32"
        if not path.exists():
            continue
        expected = golden.apart(np.fromfile(path, "<u4"), golden.outputs)
        block = named(model.stream(weights=weights).process(plain(golden.x)), list(golden.outputs))
        batch, found = model.batch(3, weights=weights), []
        for t in range(golden.length):
            found.append(named(batch.step(plain({k: np.stack([x[t], x[0], x[t]]) for k, x in golden.x.items()})), list(golden.outputs)))
        for output, bits in expected.items():
            assert np.array_equal(block[output].view(np.uint32), bits), f"process, {output}, {weights}"
            for n in (0, 2):
                together = np.stack([y[output][n] for y in found])
                assert np.array_equal(together.view(np.uint32), bits), f"batch, {output}, {weights}"


def policy() -> Any:
    return rtrnn.load(GOLDEN / "policy_gru_encoder.rtrnn")


def inputs_of(model: Any, *lead: int) -> np.ndarray:
    (shape,) = model.inputs.values()
    return np.random.default_rng(5).normal(size=(*lead, *shape)).astype(np.float32)


def test_masks_forks_and_states() -> None:
    model = policy()
    batch, streams = model.batch(5), [model.stream() for _ in range(5)]
    xs = inputs_of(model, 6, 5)
    for x in xs[:3]:
        batch.step(x)
        for stream, row in zip(streams, x, strict=True):
            stream.step(row)
    twin, saved = batch.fork(), batch.state()
    mask = np.array([False, True, False, False, True])
    batch.reset(mask)
    for n in np.flatnonzero(mask):
        streams[n].reset()
    together = batch.step(xs[3])
    for n, stream in enumerate(streams):
        assert same(stream.step(xs[3][n]), together[n])
        for name, value in stream.state().items():
            assert same(batch.state()[name][n], value)
    out = np.empty_like(together)
    assert twin.step(xs[3], out=out) is out
    assert not same(out[1], together[1])
    other = model.batch(5)
    other.set_state(saved)
    assert same(other.step(xs[3]), out)
    batch.reset()
    assert same(batch.step(xs[0]), model.batch(5).step(xs[0]))


def test_a_bad_row() -> None:
    model = policy()
    xs = inputs_of(model, 3, 4)
    bad = xs[1].copy()
    bad[2, 0] = np.nan
    strict, holding, open_ = (model.batch(4, on_nonfinite=p) for p in ("error", "hold", "propagate"))
    first, *_ = [b.step(xs[0]) for b in (strict, holding, open_)]
    state = strict.state()
    with pytest.raises(rtrnn.NonFiniteError, match="stream 2: an input is NaN or infinite; every stream is unchanged"):
        strict.step(bad)
    assert all(same(value, state[name]) for name, value in strict.state().items())
    held, passed, good = holding.step(bad), open_.step(bad), strict.step(xs[1])
    assert same(held[2], first[2])
    assert np.isnan(passed[2]).all()
    for n in (0, 1, 3):
        assert same(held[n], good[n])
        assert same(passed[n], good[n])
    assert holding.nonfinite_count.tolist() == [0, 0, 1, 0]


def test_what_a_batch_refuses() -> None:
    model = policy()
    batch, x = model.batch(4), inputs_of(model, 4)
    with pytest.raises(ValueError, match="expected 4 rows, one per stream, found 3"):
        batch.step(x[:3])
    with pytest.raises(ValueError, match="out for 'y': expected a writable contiguous float32 array of shape"):
        batch.step(x, out=np.empty((4, 1), np.float64))
    with pytest.raises(ValueError, match="mask: expected 4 booleans"):
        batch.reset(np.ones(3, bool))
    with pytest.raises(rtrnn.StateError):
        batch.set_state({})


@pytest.mark.parametrize("call", ["step", "run", "process"])
def test_the_gil_is_released(call: str) -> None:
    model = policy()
    batch, stream = model.batch(20000), model.stream()
    x, xs = inputs_of(model, 20000), inputs_of(model, 60000)
    work = {"step": lambda: batch.step(x), "run": lambda: model.run(xs), "process": lambda: stream.process(xs)}[call]
    turns, done = 0, threading.Event()

    def other() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            time.sleep(0.0002)

    thread = threading.Thread(target=other)
    thread.start()
    most = 0   # turns within one call, of as many calls as a busy machine may need; a call that kept the GIL would leave one or two
    for _ in range(100):
        before = turns
        work()
        most = max(most, turns - before)
        if most > 3:
            break
    done.set()
    thread.join()
    assert most > 3
