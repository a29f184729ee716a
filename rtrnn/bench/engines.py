"""rtrnn's own ways to take a step.

Each loop is written out: a function call in between would cost as much as some of what is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle, islice, repeat
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rtrnn import _core

if TYPE_CHECKING:
    from rtrnn.model import Model, Weights

__all__ = [
    "BatchStep",
    "EmptyLoop",
    "Native",
    "Prepared",
    "Process",
    "Step",
    "StepInPlace",
    "StepOut",
    "engine_suffix",
    "inputs_for",
    "own_engines",
    "timed_calls",
    "trial",
]

_DISTINCT_INPUTS = 64


def inputs_for(model: Model, seed: int = 0) -> list[Any]:
    """Random inputs as ``step`` takes them: an array, or a tuple of arrays where there are several inputs."""
    rng = np.random.default_rng(seed)
    shapes = list(model.inputs.values())
    rows = [tuple(rng.normal(size=shape).astype(np.float32) for shape in shapes) for _ in range(_DISTINCT_INPUTS)]
    return [row[0] if len(row) == 1 else row for row in rows]


def trial(model: Model, count: int) -> npt.NDArray[np.float32]:
    """What every engine has to give for the first `count` inputs, from the initial state: (count, all outputs)."""
    stream = model.stream()
    rows = []
    for x in islice(cycle(inputs_for(model)), count):
        y = stream.step(x)
        rows.append(np.concatenate([np.ravel(part) for part in (y if isinstance(y, tuple) else (y,))]))
    return np.array(rows)


def engine_suffix(weights: Weights) -> str:
    """What names of engines end in: the precision unless it is f32."""
    if isinstance(weights, str):
        return "" if weights == "f32" else f" {weights}"
    return " mixed"


def own_engines(model: Model, form: str = "step", weights: Weights = "f32") -> list[Any]:
    """rtrnn's ways to take a step ("step"), to end one that was prepared ("finish"), or to take many ("run", "batch").

    The reference comes first. Each has a Stream of its own; they share one Plan. Names end in the precision unless it
    is f32.
    """
    engines: list[Any]
    if form == "step":
        engines = [Step(model, weights), StepOut(model, weights), StepInPlace(model, weights), Native(model, weights)]
    elif form == "finish":
        parts = (Native(model, weights, part) for part in ("finish", "prepare"))
        engines = [Prepared(model, weights), *parts]
    elif form == "run":
        engines = [Process(model, weights)]
    else:
        engines = [BatchStep(model, weights)]
    for engine in engines:
        engine.name += engine_suffix(weights)
    return engines


class _Own:
    blocks = True
    steps_per_call = 1
    native = False

    def __init__(self, model: Model, weights: Weights = "f32") -> None:
        self.stream = model.stream(weights)
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

    def __init__(self, model: Model, weights: Weights = "f32") -> None:
        super().__init__(model, weights)
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

    def __init__(self, model: Model, weights: Weights = "f32") -> None:
        super().__init__(model, weights)
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


class NativePlan:
    """A Plan stepped by a loop in C++, on these rows (each all inputs in declared order), over and over."""

    steps_per_call = 1
    native = True
    part = "step"
    blocks = True

    def __init__(self, name: str, plan: _core.Plan, rows: npt.NDArray[np.float32]) -> None:
        self.name = name
        self.timer = _core.StepTimer(plan, np.ravel(rows))

    def block(self, count: int) -> None:
        self.timer.block(count)

    def singles(self, count: int) -> npt.NDArray[np.int64]:
        return self.timer.singles(count, self.part)


class Native(NativePlan):
    """The same Plan stepped by a loop in C++: what is left when Python is away.

    `part` "step" copies an input in, steps and copies the output out; of a prepare and the step after it, "prepare" and
    "finish" time the one or the other.
    """

    def __init__(self, model: Model, weights: Weights = "f32", part: str = "step") -> None:
        name = {
            "step": "rtrnn C++ step",
            "finish": "rtrnn C++ step after prepare",
            "prepare": "rtrnn C++ prepare",
        }[part]
        rows = [np.concatenate([np.ravel(a) for a in (x if isinstance(x, tuple) else (x,))]) for x in inputs_for(model)]
        super().__init__(name, model.plan(weights), np.concatenate(rows))
        self.part, self.blocks = part, part == "step"


def timed_calls(call: Callable[[], Any], count: int) -> list[int]:
    """How long each of `count` calls took, in ns, with the timer's own time in it."""
    clock, taken = perf_counter_ns, [0] * count
    for i in range(count):
        begin = clock()
        call()
        taken[i] = clock() - begin
    return taken


class EmptyLoop:
    """The loop around the calls of the other engines, with nothing in it."""

    name = "an empty loop"
    blocks = True
    steps_per_call = 1
    native = False

    def __init__(self, model: Model) -> None:
        self.inputs = inputs_for(model)

    def block(self, count: int) -> None:
        for _ in islice(cycle(self.inputs), count):
            pass

    def singles(self, count: int) -> list[int]:
        clock, taken = perf_counter_ns, [0] * count
        for i, _ in zip(range(count), cycle(self.inputs)):
            begin = clock()
            taken[i] = clock() - begin
        return taken


class _Block(_Own):
    """An engine whose call takes many timesteps."""

    def block(self, count: int) -> None:
        for _ in repeat(None, count):
            self.call()

    def singles(self, count: int) -> list[int]:
        return timed_calls(self.call, count)

    def call(self) -> Any:
        raise NotImplementedError


class Process(_Block):
    """A sequence at once."""

    name = "rtrnn run(xs)"
    steps_per_call = 4 * _DISTINCT_INPUTS

    def __init__(self, model: Model, weights: Weights = "f32") -> None:
        super().__init__(model, weights)
        rows = self.inputs * (self.steps_per_call // len(self.inputs))
        several = isinstance(rows[0], tuple)
        self.xs: Any = tuple(map(np.stack, zip(*rows, strict=True))) if several else np.stack(rows)
        self.model, self.weights = model, weights

    def call(self) -> Any:
        return self.model.run(self.xs, weights=self.weights)


class BatchStep(_Block):
    """`size` streams in lockstep, each with an input of its own."""

    size = 16
    steps_per_call = size

    def __init__(self, model: Model, weights: Weights = "f32") -> None:
        self.name = f"rtrnn batch of {self.size}"
        rows = inputs_for(model)[: self.size]
        several = isinstance(rows[0], tuple)
        self.x: Any = tuple(map(np.stack, zip(*rows, strict=True))) if several else np.stack(rows)
        self.batch = model.batch(self.size, weights)

    def call(self) -> Any:
        return self.batch.step(self.x)
