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
from reference import Evaluator

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
        self.x = self.apart(np.fromfile(GOLDEN / f"{name}.x.f32", "<f4"), self.inputs)
        self.bits = self.apart(np.fromfile(GOLDEN / f"{name}.y.f32", "<u4"), self.outputs)
        self.y = self.apart(np.load(GOLDEN / f"{name}.y.f64.npy"), self.outputs)

    def apart(self, flat: np.ndarray, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
        """Name -> (T, *shape)."""
        ends = np.cumsum([self.length * int(np.prod(shape)) for shape in shapes.values()])
        assert flat.size == ends[-1]
        parts = np.split(flat, ends[:-1])
        return {name: part.reshape(self.length, *shapes[name]) for name, part in zip(shapes, parts, strict=True)}

    def results(self, stream: Any, prepare: bool = False) -> dict[str, np.ndarray]:
        """Name -> (T, *shape), as the engine gives them step by step."""
        found = []
        for t in range(self.length):
            if prepare:
                stream.prepare()
            given = {name: np.ascontiguousarray(x[t]) for name, x in self.x.items()}
            found.append(named(stream.step(plain(given)), list(self.outputs)))
        return {name: np.stack([values[name] for values in found]) for name in self.outputs}


def test_there_are_goldens() -> None:
    assert len(NAMES) >= 25
    assert len(list(GOLDEN.glob("*.*.y.f32"))) >= 32


@pytest.mark.parametrize("isa", list(rtrnn.isa_available()))
@pytest.mark.parametrize("name", NAMES)
def test_bits(name: str, isa: str) -> None:
    golden = Golden(name)
    model = rtrnn.load(golden.path)
    for prepare in (False, True):
        found = golden.results(model.stream(isa=isa), prepare)
        for output, bits in golden.bits.items():
            wrong = np.argwhere(found[output].view(np.uint32) != bits)
            assert len(wrong) == 0, f"output {output}: {len(wrong)} of {bits.size} differ, first at {wrong[0]}"


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.*.y.f32")), ids=lambda path: path.name)
def test_bits_of_other_precisions(path: Path) -> None:
    name, weights = path.name.split(".")[:2]
    golden = Golden(name)
    bits = golden.apart(np.fromfile(path, "<u4"), golden.outputs)
    for isa in rtrnn.isa_available():
        found = golden.results(rtrnn.load(golden.path).stream(weights=weights, isa=isa))
        for output, expected in bits.items():
            assert np.array_equal(found[output].view(np.uint32), expected), f"{output}, {isa}"


@pytest.mark.parametrize("name", NAMES)
def test_distance_from_float64(name: str) -> None:
    golden = Golden(name)
    found = golden.results(rtrnn.load(golden.path).stream())
    for output, y in golden.y.items():
        np.testing.assert_allclose(found[output], y, 24 * EPS, 24 * EPS, err_msg=output)


@pytest.mark.parametrize("name", NAMES)
def test_offline_run_gives_the_same_bits(name: str) -> None:
    golden = Golden(name)
    found = named(rtrnn.load(golden.path).run(plain(golden.x)), list(golden.outputs))
    for output, bits in golden.bits.items():
        assert np.array_equal(found[output].view(np.uint32), bits), output


def test_the_graph_of_each_file_is_the_one_its_float64_outputs_are_of() -> None:
    """The evaluator reads the file itself: what was saved is what was described."""
    for name in NAMES:
        golden = Golden(name)
        found = Evaluator(rtrnn.load(golden.path)).run(golden.x)
        for output, y in golden.y.items():
            np.testing.assert_allclose(found[output], y, rtol=0, atol=1e-10 * max(1.0, np.abs(y).max()), err_msg=name)
