"""Every precision of a network side by side: what it does to the outputs, what it takes, how long a step is."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rtrnn import _core
from rtrnn.errors import ModelWarning, UnsupportedError
from rtrnn.precision.calibration import plausible_input, sequences_of
from rtrnn.precision.choice import WeightChoice
from rtrnn.precision.errors import OutputError
from rtrnn.precision.trial import Trial

if TYPE_CHECKING:
    from rtrnn.model import Model

__all__ = ["Entry", "QuantizeReport", "quantize"]


@dataclass(frozen=True)
class Entry:
    """One way to pack the weights, or f32 weights with delta updates of one threshold."""

    name: str
    errors: tuple[OutputError, ...] = ()
    #: Of the Plan: weights, biases and other constants. None for a network that cannot be streamed.
    plan_bytes: int | None = None
    #: Median time of a step in C++ along the trajectory; None where it was not measured.
    step_ns: float | None = None
    #: Of f32 over this one.
    speedup: float | None = None
    #: Why there is nothing to tell: weights that the precision cannot hold.
    failure: str = ""


@dataclass(frozen=True)
class QuantizeReport:
    """What :func:`quantize` found: "f32", the precisions, "auto", then "delta THRESHOLD" for each that was asked for."""

    entries: tuple[Entry, ...]
    choice: WeightChoice
    trajectory: str
    #: Of each output and entry but the first: at each timestep the RMS over the elements, relative to their spreads.
    over_time: dict[str, dict[str, npt.NDArray[np.float64]]]


def quantize(
    model: Model,
    data: Any = None,
    budget: float = 0.01,
    *,
    goal: str = "speed",
    deltas: Sequence[float] = (),
    seconds: float = 1.0,
    progress: Callable[[float], None] | None = None,
) -> QuantizeReport:
    """Measures f16, bf16, i16, i8 and what :meth:`rtrnn.Model.choose_weights` chooses against f32, along one trajectory.

    `data`, `budget` and `goal` as there. `deltas` are thresholds of delta updates (:meth:`rtrnn.Model.stream`) to be measured as well;
    what these save depends on the data. The steps in C++ are timed in turns for about `seconds`, along the trajectory, not at all
    when that is 0 or the network cannot be streamed. Raises what choose_weights and, for `deltas`, Model.stream raise.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelWarning)  # `trajectory` says it
        choice = model.choose_weights(data, budget, goal=goal)
    trial = Trial(model, [plausible_input(model)] if data is None else sequences_of(model, data))
    ways = [_Way(name, name) for name in ("f32", "f16", "bf16", "i16", "i8")] + [_Way("auto", choice)]
    ways += [_Way(f"delta {threshold:g}", "f32", threshold) for threshold in deltas]
    entries, over_time, plans = {}, {}, {}
    for way in ways:
        try:
            outputs = way.outputs(model, trial)
            if model.graph.is_causal:
                plans[way.name] = model.plan(way.weights, delta=way.delta)
        except UnsupportedError as error:
            if way.delta is not None:
                raise
            entries[way.name] = Entry(way.name, failure=str(error))
            continue
        size = plans[way.name].constant_bytes if way.name in plans else None
        entries[way.name] = Entry(way.name, trial.meter.errors(outputs), size)
        if way.name != "f32":
            with np.errstate(over="ignore"):
                errors = [np.sqrt(np.mean(np.square(error), 1)) for error in trial.meter.relative(outputs)]
            over_time[way.name] = dict(zip(model.outputs, errors, strict=True))
    if plans and seconds:
        times = _step_times(plans, trial, seconds, progress)
        for name, ns in times.items():
            entries[name] = replace(entries[name], step_ns=ns, speedup=times["f32"] / ns)
    return QuantizeReport(tuple(entries.values()), choice, choice.trajectory, over_time)


@dataclass(frozen=True)
class _Way:
    name: str
    weights: str | WeightChoice
    delta: float | None = None

    def outputs(self, model: Model, trial: Trial) -> list[npt.NDArray[np.float32]]:
        if self.delta is None:
            chosen = self.weights
            return trial.outputs(chosen) if isinstance(chosen, str) else trial.outputs(chosen.default, chosen.overrides)
        stream = model.stream(delta=self.delta, on_nonfinite="propagate", limits=False)
        runs = []
        for arrays, length in zip(trial.sequences, trial.lengths, strict=True):
            stream.reset()
            xs = {n: a.reshape(length, *shape) for a, (n, shape) in zip(arrays, model.inputs.items(), strict=True)}
            ys = stream.process(xs)  # a dict, as its input
            runs.append([np.reshape(y, (length, -1)) for y in ys.values()])
        return [np.concatenate(of_output) for of_output in zip(*runs, strict=True)]


def _step_times(
    plans: dict[str, _core.Plan], trial: Trial, seconds: float, progress: Callable[[float], None] | None
) -> dict[str, float]:
    from rtrnn.bench.engines import NativePlan
    from rtrnn.bench.measure import measure

    rows = np.concatenate([np.concatenate(arrays, axis=1) for arrays in trial.sequences]) if trial.sequences[0] else np.empty(0, np.float32)
    engines = [NativePlan(name, plan, rows) for name, plan in plans.items()]
    return {f.name: f.median_ns for f in measure(engines, seconds=seconds, progress=progress).engines}
