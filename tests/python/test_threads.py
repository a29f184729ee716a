"""Several threads for one step (``Model.stream(threads=)``)."""

import numpy as np
import pytest
import torch

import rtrnn


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return rtrnn.from_torch(torch.nn.GRU(24, 320), torch.zeros(1, 24))


@pytest.mark.numbers
def test_threads_change_no_bit(model):
    xs = np.random.default_rng(0).normal(size=(40, 24)).astype(np.float32)
    for weights in ("f32", "i16"):
        expected = model.stream(weights).process(xs)
        for threads in (2, 3):
            stream = model.stream(weights, threads=threads)
            assert model.plan(weights, threads=threads).divided_calls == 1, "the network is large enough to be divided"
            assert np.array_equal(stream.process(xs), expected)
            stream.reset()
            rows = []
            for x in xs:
                rows.append(stream.step(x))
                stream.prepare()
            assert np.array_equal(rows, expected)
            assert np.array_equal(stream.fork().step(xs[0]), stream.step(xs[0]))


def test_threads_are_off_unless_asked_for_and_for_small_networks(model):
    assert model.plan().threads == 1
    assert model.plan().divided_calls == 0
    small = rtrnn.from_torch(torch.nn.GRU(8, 16), torch.zeros(1, 8))
    assert small.plan(threads=4).divided_calls == 0


def test_thread_options_are_checked(model):
    with pytest.raises(ValueError, match="threads: expected 1 to 64, found 0"):
        model.stream(threads=0)
    with pytest.raises(ValueError, match="cpus: expected 1 processor numbers"):
        model.stream(threads=2, cpus=[0, 1])
    with pytest.raises(rtrnn.Error, match="cannot be pinned to processor 99999"):
        model.stream(threads=2, cpus=[99999])
    with pytest.raises(ValueError, match="spin_ms"):
        model.stream(threads=2, spin_ms=-1)
