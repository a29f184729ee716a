"""A short soak (tools/check/soak), and that it sees what it is for."""

from __future__ import annotations

import importlib.util
import mmap
import os
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import rtrnn

ROOT = Path(__file__).parents[2]
MODELS = os.environ.get("RTRNN_MODELS")


@pytest.fixture(scope="module")
def soak() -> ModuleType:
    loader = SourceFileLoader("soak", str(ROOT / "tools" / "check" / "soak"))
    spec = importlib.util.spec_from_loader("soak", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture
def model() -> Any:
    return rtrnn.load(ROOT / "rtrnn" / "demo" / "models" / "sine_gru.rtrnn")


def test_a_million_steps(soak: ModuleType, model: Any) -> None:
    assert soak.soak(model, 1_000_000, looks=2) == []


@pytest.mark.skipif(not MODELS, reason="RTRNN_MODELS is not set")
def test_a_million_steps_of_a_quadrotor_policy(soak: ModuleType) -> None:
    assert soak.soak(rtrnn.load(Path(str(MODELS)) / "raptor" / "checkpoint.h5"), 1_000_000, looks=2) == []


def test_other_bits_are_seen(soak: ModuleType, model: Any) -> None:
    (broken,) = soak.soak(model, 60_000, looks=1, blocks=model.stream(weights="f16"))
    assert "outputs in blocks differ" in broken


def test_drift_is_seen(soak: ModuleType, model: Any) -> None:
    (broken,) = soak.soak(model, 60_000, looks=1, alone=model.stream(weights="f16"), blocks=model.stream(weights="f16"))
    assert "from float64" in broken


def test_a_leak_is_seen(soak: ModuleType, model: Any) -> None:
    hoard: list[mmap.mmap] = []   # fresh pages: the allocator may have old ones at hand

    def leak() -> None:
        hoard.append(mmap.mmap(-1, 1 << 21))
        hoard[-1].write(b"1" * (1 << 21))

    (broken,) = soak.soak(model, 160_000, looks=2, beside=leak)
    assert "memory grew" in broken


def test_steps_that_were_not_taken_are_seen(soak: ModuleType, model: Any) -> None:
    ahead = model.stream()
    ahead.step(np.zeros(ahead.input.shape, np.float32))
    ahead.reset()
    (broken,) = soak.soak(model, 60_000, looks=1, blocks=ahead)
    assert "were counted" in broken


def test_a_network_that_does_not_forget_is_not_judged(soak: ModuleType) -> None:
    cartpole = rtrnn.load(ROOT / "rtrnn" / "demo" / "models" / "cartpole_gru.rtrnn")
    with pytest.raises(ValueError, match="left of another beginning"):
        soak.soak(cartpole, 60_000, looks=1)
