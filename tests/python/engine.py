"""Drives the engine with a Draft the way :mod:`reference` is driven: dicts in, dicts out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from reference import Evaluator

from rtrnn.importers.draft import Draft

EPS = float(np.finfo(np.float32).eps)

Values = dict[str, np.ndarray]


def model_of(draft: Draft) -> Any:
    rtrnn = pytest.importorskip("rtrnn", reason="the compiled package is not installed")
    return rtrnn.Model(draft.build())


def isas() -> list[str]:
    rtrnn = pytest.importorskip("rtrnn")
    return list(rtrnn.isa_available())


def named(given: Any, names: Sequence[str]) -> Values:
    """A result of `step` or `run` by output name: models with one output return the bare array."""
    if isinstance(given, Mapping):
        return {name: np.array(given[name]) for name in names}
    if len(names) == 1:
        return {names[0]: np.array(given)}
    return {name: np.array(value) for name, value in zip(names, given, strict=True)}


def plain(inputs: Values) -> Any:
    return dict(inputs) if len(inputs) != 1 else next(iter(inputs.values()))


def steps(model: Any, draft: Draft, sequence: Sequence[Values], **options: Any) -> list[Values]:
    """The outputs of each step of a fresh stream."""
    stream = model.stream(**options)
    return [named(stream.step(plain(inputs)), list(draft.outputs)) for inputs in sequence]


def random_inputs(draft: Draft, length: int, seed: int = 0, scale: float = 1.0) -> list[Values]:
    rng = np.random.default_rng(seed)
    shapes = draft.inputs.items()
    return [{k: (scale * rng.normal(size=s)).astype(np.float32) for k, s in shapes} for _ in range(length)]


def check(draft: Draft, sequence: Sequence[Values], rtol: float = 16 * EPS, atol: float = 16 * EPS) -> None:
    """The engine agrees with the evaluator at every step, on every ISA, and all ISAs agree to the bit.

    `atol` is for values up to 1; where an output holds larger ones, it grows with the largest.
    """
    model = model_of(draft)
    evaluator = Evaluator(draft)
    expected = [evaluator.step(inputs) for inputs in sequence]
    first: list[Values] | None = None
    for isa in isas():
        found = steps(model, draft, sequence, isa=isa)
        for t, (want, have) in enumerate(zip(expected, found, strict=True)):
            for name, value in want.items():
                where = f"{isa}, step {t}, output {name}"
                assert have[name].shape == value.shape, where
                assert have[name].dtype == np.float32, where
                near = atol * max(1.0, float(np.abs(value).max()))
                np.testing.assert_allclose(have[name], value, rtol, near, err_msg=where)
        if first is None:
            first = found
        for t, (one, other) in enumerate(zip(first, found, strict=True)):
            for name in one:
                same = np.array_equal(one[name].view(np.uint32), other[name].view(np.uint32))
                assert same, f"{isa}, step {t}, output {name}: bits differ from {isas()[0]}"
