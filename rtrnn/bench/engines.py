"""rtrnn's own ways to take a step.

Each loop is written out: a function call in between would cost as much as some of what is timed.
"""

from __future__ import annotations

from itertools import cycle, islice, repeat
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from rtrnn.model import Model

__all__ = ["Prepared", "Step", "StepInPlace", "StepOut", "inputs_for", "own_engines"]

_DISTINCT_INPUTS = 64


def inputs_for(model: Model, seed: int = 0) -> list[Any]:
    """Random inputs as ``step`` takes them: an array, or a tuple of arrays where there are several inputs."""
    rng = np.random.default_rng(seed)
    shapes = list(model.inputs.values())
    rows = [tuple(rng.normal(size=shape).astype(np.float32) for shape in shapes) for _ in range(_DISTINCT_INPUTS)]
    return [row[0] if len(row) == 1 else row for row in rows]


def own_engines(model: Model) -> list[Any]:
    """The reference, ``step(x)``, comes first. Each has a Stream of its own; they share one Plan."""
    return [Step(model), StepOut(model), StepInPlace(model), Prepared(model)]


class _Own:
    blocks = True

    def __init__(self, model: Model) -> None:
        self.stream = model.stream()
        self.inputs = inputs_for(model)


class Step(_Own):
    name = "rtrnn step(x)"

    def block(self, count: int) -> None:
        step = self.stream.step
        for x in islice(cycle(self.inputs), count):
            step(x)

    def singles(self, count: int) -> list[int]:
        step, clock, taken = self.stream.step, perf_counter_ns, [0] * count
        for i, x in zip(range(count), cycle(self.inputs)):
            begin = clock()
            step(x)
            taken[i] = clock() - begin
        return taken


class StepOut(_Own):
    name = "rtrnn step(x, out=y)"

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        outputs = tuple(np.empty(shape, np.float32) for shape in model.outputs.values())
        self.out = outputs[0] if len(outputs) == 1 else outputs

    def block(self, count: int) -> None:
        step, y = self.stream.step, self.out
        for x in islice(cycle(self.inputs), count):
            step(x, out=y)

    def singles(self, count: int) -> list[int]:
        step, y, clock, taken = self.stream.step, self.out, perf_counter_ns, [0] * count
        for i, x in zip(range(count), cycle(self.inputs)):
            begin = clock()
            step(x, out=y)
            taken[i] = clock() - begin
        return taken


class StepInPlace(_Own):
    """The caller has already written the input where the Stream reads it."""

    name = "rtrnn step()"

    def __init__(self, model: Model) -> None:
        super().__init__(model)
        self.stream.step(self.inputs[0])

    def block(self, count: int) -> None:
        step = self.stream.step
        for _ in repeat(None, count):
            step()

    def singles(self, count: int) -> list[int]:
        step, clock, taken = self.stream.step, perf_counter_ns, [0] * count
        for i in range(count):
            begin = clock()
            step()
            taken[i] = clock() - begin
        return taken


class Prepared(_Own):
    """The delay from observation to action when ``prepare`` ran in the control loop's idle time: it is not timed."""

    name = "rtrnn step(x) after prepare()"
    blocks = False

    def block(self, count: int) -> None:
        raise NotImplementedError("prepare would be timed with the step")

    def singles(self, count: int) -> list[int]:
        step, prepare, clock, taken = self.stream.step, self.stream.prepare, perf_counter_ns, [0] * count
        for i, x in zip(range(count), cycle(self.inputs)):
            prepare()
            begin = clock()
            step(x)
            taken[i] = clock() - begin
        return taken
