"""The stored networks: within float32's reach of float64, and the stored bits on every ISA.

tools/golden/make_goldens.py writes the files and says what is in them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine import EPS, named, plain

rtrnn = pytest.importorskip("rtrnn")

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
NAMES = sorted(path.name[: -len(".rtrnn")] for path in GOLDEN.glob("*.rtrnn"))


class Golden:
    def __init__(self, name: str) -> None:
        self.path = GOLDEN / f"{name}.rtrnn"
        about = json.loads((GOLDEN / f"{name}.json").read_text())
        self.length = about["steps"]
        self.inputs: dict[str, tuple[int, ...]] = {k: tuple(v) for k, v in about["inputs"].items()}
        self.outputs: dict[str, tuple[int, ...]] = {k: tuple(v) for k, v in about["outputs"].items()}
        self.x = np.fromfile(GOLDEN / f"{name}.x.f32", "<f4").reshape(self.length, -1)
        self.bits = np.fromfile(GOLDEN / f"{name}.y.f32", "<u4").reshape(self.length, -1)
        self.y = np.load(GOLDEN / f"{name}.y.f64.npy")

    def step_inputs(self, t: int) -> Any:
        given, at = {}, 0
        for name, shape in self.inputs.items():
            size = int(np.prod(shape))
            given[name] = self.x[t, at : at + size].reshape(shape)
            at += size
        return plain(given)

    def results(self, stream: Any, prepare: bool = False) -> np.ndarray:
        """(T, all outputs) as the engine gives them."""
        rows = []
        for t in range(self.length):
            if prepare:
                stream.prepare()
            found = named(stream.step(self.step_inputs(t)), list(self.outputs))
            assert {name: value.shape for name, value in found.items()} == self.outputs
            rows.append(np.concatenate([value.ravel() for value in found.values()]))
        return np.stack(rows)


def test_there_are_goldens() -> None:
    assert len(NAMES) >= 25


@pytest.mark.parametrize("isa", list(rtrnn.isa_available()))
@pytest.mark.parametrize("name", NAMES)
def test_bits(name: str, isa: str) -> None:
    golden = Golden(name)
    model = rtrnn.load(golden.path)
    for prepare in (False, True):
        found = golden.results(model.stream(isa=isa), prepare)
        wrong = np.argwhere(found.view(np.uint32) != golden.bits)
        assert wrong.size == 0, f"first at step {wrong[0][0]}, element {wrong[0][1]}, {len(wrong)} in all"


@pytest.mark.parametrize("name", NAMES)
def test_distance_from_float64(name: str) -> None:
    golden = Golden(name)
    found = golden.results(rtrnn.load(golden.path).stream())
    # Inputs and states of size m in sums of n terms: float32 itself is off by a few eps * m.
    np.testing.assert_allclose(found, golden.y, 24 * EPS, 24 * EPS)
