"""Delta updates (``Model.stream(delta=)``)."""

import numpy as np
import pytest
import torch

import rtrnn


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return rtrnn.from_torch(torch.nn.LSTM(6, 40), torch.zeros(1, 6))


def _slow(steps):
    return np.sin(0.01 * np.arange(steps)[:, None] + np.arange(6)).astype(np.float32)


@pytest.mark.numbers
def test_the_error_grows_with_the_threshold(model):
    xs = _slow(500)
    expected = model.stream().process(xs)
    errors = [np.abs(model.stream(delta=delta).process(xs) - expected).max() for delta in (0.0, 0.003, 0.03)]
    assert errors[0] < 1e-6
    assert errors[0] < errors[1] < errors[2] < 0.1


def test_what_was_used_and_summed_are_states(model):
    stream = model.stream(delta=0.01)
    names = set(stream.state())
    assert len(names) == len(model.states) + 4
    assert sum(".delta_" in name for name in names) == 4
    stream.process(_slow(20))
    resumed = model.stream(delta=0.01)
    resumed.set_state(stream.state())
    x = _slow(1)[0]
    assert np.array_equal(resumed.step(x), stream.step(x))
    assert not any(".delta_" in name for name in model.stream().state())


@pytest.mark.parametrize("delta", [-0.1, float("nan"), float("inf")])
def test_a_threshold_is_a_number_from_0_on(model, delta):
    with pytest.raises(ValueError, match="delta: expected a threshold from 0 on"):
        model.stream(delta=delta)
