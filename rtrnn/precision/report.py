"""Every precision of a network side by side: what it does to the outputs, what it takes, how long a step is."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

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
    """One way to pack the weights."""

    name: str
    errors: tuple[OutputError, ...] = ()
    #: Of the Plan: weights, biases and other constants. None for a network that cannot be streamed.
    plan_bytes: int | None = None
    #: Median time of a step in C++; None where it was not measured.
    step_ns: float | None = None
    #: Of f32 over this one.
    speedup: float | None = None
    #: Why there is nothing to tell: weights that the precision cannot hold.
    failure: str = ""


@dataclass(frozen=True)
class QuantizeReport:
    """What :func:`quantize` found; the first entry is f32, the last one "auto"."""

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
    seconds: float = 1.0,
    progress: Callable[[float], None] | None = None,
) -> QuantizeReport:
    """Measures f16, bf16, i16, i8 and what :meth:`rtrnn.Model.choose_weights` chooses against f32, along one trajectory.

    `data`, `budget` and `goal` as there. The steps in C++ are timed in turns for about `seconds`, not at all when that is 0 or the
    network cannot be streamed. Raises what choose_weights raises.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelWarning)  # `trajectory` says it
        choice = model.choose_weights(data, budget, goal=goal)
    trial = Trial(model, [plausible_input(model)] if data is None else sequences_of(model, data))
    ways: dict[str, Any] = {name: name for name in ("f32", "f16", "bf16", "i16", "i8")} | {"auto": choice}
    entries, over_time = {}, {}
    for name, way in ways.items():
        default, overrides = (way, {}) if isinstance(way, str) else (way.default, way.overrides)
        try:
            outputs = trial.outputs(default, overrides)
            size = model.plan(way).constant_bytes if model.graph.is_causal else None
        except UnsupportedError as error:
            entries[name] = Entry(name, failure=str(error))
            continue
        entries[name] = Entry(name, trial.meter.errors(outputs), size)
        if name != "f32":
            with np.errstate(over="ignore"):
                errors = [np.sqrt(np.mean(np.square(error), 1)) for error in trial.meter.relative(outputs)]
            over_time[name] = dict(zip(model.outputs, errors, strict=True))
    if model.graph.is_causal and seconds:
        good = {name: way for name, way in ways.items() if not entries[name].failure}
        times = _step_times(model, good, seconds, progress)
        for name, ns in times.items():
            e = entries[name]
            entries[name] = Entry(name, e.errors, e.plan_bytes, ns, times["f32"] / ns)
    return QuantizeReport(tuple(entries.values()), choice, choice.trajectory, over_time)


def _step_times(
    model: Model, ways: dict[str, Any], seconds: float, progress: Callable[[float], None] | None
) -> dict[str, float]:
    from rtrnn.bench.engines import Native
    from rtrnn.bench.measure import measure

    engines = []
    for name, way in ways.items():
        engine = Native(model, way)
        engine.name = name
        engines.append(engine)
    return {f.name: f.median_ns for f in measure(engines, seconds=seconds, progress=progress).engines}
