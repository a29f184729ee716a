"""Random networks: every ISA, precision and way of stepping gives the bits of the scalar step.

RTRNN_EXAMPLES is the number of networks; the default fits a run of all tests.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
from engine import model_of, named, plain, random_inputs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_graphs import random_draft
from test_batch import joined, same

rtrnn = pytest.importorskip("rtrnn")


@settings(max_examples=int(os.environ.get("RTRNN_EXAMPLES", "40")), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 2**31),
    length=st.integers(1, 20),
    weights=st.sampled_from(["f32", "f16", "bf16", "i16", "i8"]),
    count=st.integers(1, 20),
    exponent=st.sampled_from([0, 0, 0, -20, -42, 6]),
)
def test_random_networks(seed: int, length: int, weights: str, count: int, exponent: int) -> None:
    """Inputs are scaled by 10^exponent: -42 makes them denormal."""
    draft = random_draft(seed, length)
    model, names = model_of(draft), list(draft.outputs)
    xs = [
        {name: (np.float64(10.0**exponent) * x).astype(np.float32) for name, x in row.items()}
        for row in random_inputs(draft, count + 8, seed)
    ]

    def steps(isa: str, prepare: bool = False) -> tuple[dict[str, np.ndarray], np.ndarray]:
        stream = model.stream(weights=weights, isa=isa, on_nonfinite="hold")
        rows = []
        for x in xs:
            rows.append({name: y.copy() for name, y in named(stream.step(plain(x)), names).items()})
            if prepare:
                stream.prepare()
        return {name: np.stack([row[name] for row in rows]) for name in names}, stream.state_vector()

    try:
        expected, state = steps("scalar")
    except rtrnn.UnsupportedError:  # weights that do not fit the precision
        weights = "f32"
        expected, state = steps("scalar")
    for isa in rtrnn.isa_available():
        for prepare in (False, True):
            found, last = steps(isa, prepare)
            assert same(last, state), f"{isa}, prepare {prepare}: states"
            for name in names:
                assert same(found[name], expected[name]), f"{isa}, prepare {prepare}: {name}"
        stream = model.stream(weights=weights, isa=isa, on_nonfinite="hold")
        block = named(stream.process(joined(xs)), names)
        assert same(stream.state_vector(), state), f"{isa}, process: states"
        batch = model.batch(count, weights=weights, isa=isa, on_nonfinite="hold")
        for t in range(8):  # stream n is n timesteps ahead, and so has a state of its own
            together = named(batch.step(joined([xs[t + n] for n in range(count)])), names)
            if t == 0:
                for name in names:
                    assert same(together[name][0], expected[name][0]), f"{isa}, batch: {name}"
        alone = model.stream(weights=weights, isa="scalar", on_nonfinite="hold")
        for t in range(8):
            y = named(alone.step(plain(xs[t + count - 1])), names)
        for name in names:
            assert same(block[name], expected[name]), f"{isa}, process: {name}"
            assert same(together[name][count - 1], y[name]), f"{isa}, batch of {count}: {name}"
