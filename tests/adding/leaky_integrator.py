"""A leaky integrator against NumPy, and in generated C."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from generated import STRICT, Generated, assert_same_bits, compiled

import rtrnn
from rtrnn.importers.draft import Draft

RATE = np.float32(0.3)


def integrator(size: int, rate: float = float(RATE)) -> rtrnn.Model:
    draft = Draft()
    draft.add_input("x", (size,))
    state = draft.add_state("h", (size,), np.linspace(-1, 1, size))
    (h,) = draft.add_node("leaky_integrator", ["x", state], [(size,)], {"rate": rate})
    draft.states[state].next = draft.outputs["y"] = h
    return rtrnn.Model(draft.build())


def expected(xs: np.ndarray) -> np.ndarray:
    h = np.linspace(-1, 1, xs.shape[1]).astype(np.float32)
    rows = []
    for x in xs:
        h = h + RATE * (x - h)
        rows.append(h)
    return np.array(rows)


@pytest.mark.parametrize("size", [1, 7, 8, 33])
@pytest.mark.parametrize("isa", rtrnn.isa_available())
def test_numpys_bits(isa: str, size: int) -> None:
    xs = np.random.default_rng(size).normal(size=(50, size)).astype(np.float32)
    stream = integrator(size).stream(isa=isa)
    found = []
    for x in xs:
        found.append(stream.step(x))
        stream.prepare()
    assert_same_bits([np.array(found)], [expected(xs)])


def test_every_form_and_a_file(tmp_path: Path) -> None:
    xs = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
    integrator(7).save(tmp_path / "net.rtrnn")
    model = rtrnn.load(tmp_path / "net.rtrnn")
    assert_same_bits([model.run(xs), model.stream().process(xs)], [expected(xs)] * 2)
    batch = model.batch(3)
    assert_same_bits([np.array([batch.step(np.tile(x, (3, 1)))[2] for x in xs])], [expected(xs)])


def test_bad_rate() -> None:
    with pytest.raises(rtrnn.GraphError, match=r"rate must be in \[0, 1\]"):
        integrator(4, 1.5)


@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
def test_generated_c(tmp_path: Path) -> None:
    xs = np.random.default_rng(1).normal(size=(50, 7)).astype(np.float32)
    model = integrator(7)
    code = rtrnn.codegen(model, "net")
    generated = Generated(compiled(code, tmp_path, ["gcc", *STRICT, "-O2"]), "net", model, code.state_bytes)
    assert_same_bits(generated.rows([xs]), [expected(xs)])
