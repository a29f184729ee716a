"""`rtrnn verify` on Keras files: Keras carries the state itself where it can, and sees whole sequences where it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_models import keras, loaded, randomised, saved
from test_verify import perturbed

import rtrnn
from rtrnn.errors import MissingExtraError, UnsupportedError
from rtrnn.runtimes import open_runtime
from rtrnn.verify import verify

#: Keras itself uses what NumPy is going to drop; the importer's notices are no subject here.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::rtrnn.ModelWarning"),
]

L = keras.layers
F = 5


def residual(x: Any) -> Any:
    return L.Add()([L.GRU(F, return_sequences=True)(x), x])


def model(*layers: Any, shape: tuple[int | None, ...] = (None, F)) -> Any:
    return randomised(keras.Sequential([keras.Input(shape, name="x"), *layers]))


#: (model, timesteps of one call when 20 are wanted, states compared)
FORMS: list[tuple[Any, int, int]] = [
    (lambda: model(L.GRU(4, return_sequences=True), L.Dense(2)), 1, 1),
    (lambda: model(L.LSTM(4), L.Dense(2)), 1, 2),
    (lambda: model(L.LSTM(4, return_sequences=True), L.SimpleRNN(3), shape=(20, F)), 1, 3),
    (lambda: model(L.RNN([L.LSTMCell(3), L.GRUCell(4)])), 1, 3),
    (lambda: model(L.Bidirectional(L.GRU(3, return_sequences=True))), 20, 0),
    (lambda: model(L.Conv1D(3, 2, padding="causal"), L.GRU(3, return_sequences=True)), 20, 0),
    (lambda: model(L.Dense(3, activation="tanh"), shape=(F,)), 1, 0),
]


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize(("make", "per_call", "states"), FORMS, ids=range(len(FORMS)))
def test_forms(make: Any, per_call: int, states: int, suffix: str, tmp_path: Path) -> None:
    path = saved(make(), tmp_path / f"m{suffix}")
    report = verify(path, steps=20)
    assert report.passed
    assert (report.steps, report.steps_per_call) == (20, per_call)
    assert [c.kind for c in report.comparisons] == ["output"] + ["state"] * states
    assert report.largest_relative < 1e-5
    assert report.runtime.startswith("keras 3")
    assert not verify(path, steps=20, model=perturbed(loaded(path), 0.2)).passed


def test_states_as_inputs(tmp_path: Path) -> None:
    x, h = keras.Input((None, F), name="obs"), keras.Input((4,), name="h_in")
    y, h_out = L.GRU(4, return_sequences=True, return_state=True)(x, initial_state=h)
    path = saved(randomised(keras.Model([x, h], [L.Dense(2)(y), h_out])), tmp_path / "m.keras")
    report = verify(path, steps=20)
    assert report.passed
    assert [(c.kind, c.name) for c in report.comparisons][1:] == [("state", "h_in")]
    started = loaded(path, initial_states={"h_in": np.ones(4)})
    assert verify(path, steps=20, model=started).passed
    assert open_runtime(path, started).steps_per_call(20) == 1


def test_initial_states_of_the_layers_own(tmp_path: Path) -> None:
    """The runtime begins where the compared network begins."""
    path = saved(model(L.GRU(4, name="memory", return_sequences=True)), tmp_path / "m.keras")
    started = loaded(path, initial_states={"memory.h": np.ones(4)})
    assert verify(path, steps=20, model=started).passed


def test_the_wrong_file(tmp_path: Path) -> None:
    path = saved(model(L.GRU(4)), tmp_path / "m.keras")
    other = rtrnn.Model(loaded(path).graph)
    other.set_metadata("source.outputs", "nothing")
    with pytest.raises(UnsupportedError, match=r"source\.outputs"):
        verify(path, model=other)


def test_without_keras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    path = saved(model(L.GRU(4)), tmp_path / "m.keras")
    network = loaded(path)
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(MissingExtraError, match="pip install keras torch"):
        verify(path, model=network)
