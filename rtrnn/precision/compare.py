"""Two networks, or one in two precisions, side by side: how far their outputs are apart over time, what a step takes, what they occupy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rtrnn.errors import UnsupportedError
from rtrnn.precision.calibration import MADE_UP, plausible_input, sequences_of
from rtrnn.precision.errors import Meter, OutputError

if TYPE_CHECKING:
    from rtrnn.model import Model, Weights

__all__ = ["Comparison", "Side", "compare"]

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Side:
    """One of the two. What needs a Stream is None for a network that cannot be streamed."""

    name: str
    parameters: int
    #: Of the Plan: weights as they are packed, biases and other constants.
    plan_bytes: int | None
    stream_bytes: int | None
    #: Median time of a step in C++.
    step_ns: float | None


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` found; B is measured against A."""

    a: Side
    b: Side
    isa: str
    trajectory: str
    #: Of each output, relative to the spread of A's elements.
    errors: tuple[OutputError, ...]
    #: Of each output at each timestep: the RMS over the elements.
    over_time: dict[str, npt.NDArray[np.float64]]


def compare(
    a: tuple[Model, Weights],
    b: tuple[Model, Weights],
    data: Any = None,
    *,
    seconds: float = 1.0,
    names: tuple[str, str] = ("A", "B"),
    progress: Callable[[float], None] | None = None,
) -> Comparison:
    """Runs both over `data`, of the kinds that :meth:`rtrnn.Model.run` takes, or over input made up for A, each from its initial state.

    They need inputs and outputs of the same shapes in the same order; names may differ, and A's are used. Limits of outputs act, as they
    would in a Stream. Steps in C++ are timed in turns for about `seconds`, not at all when that is 0.

    Raises :class:`rtrnn.UnsupportedError` for networks that do not fit, TypeError, ValueError (data), :class:`rtrnn.NonFiniteError` for
    data that A cannot take.
    """
    for what, of_a, of_b in (("inputs", a[0].inputs, b[0].inputs), ("outputs", a[0].outputs, b[0].outputs)):
        if list(of_a.values()) != list(of_b.values()):
            raise UnsupportedError(f"the two cannot be compared: {names[0]} has the {what} {of_a}, {names[1]} has {of_b}")
    sequences = [plausible_input(a[0])] if data is None else sequences_of(a[0], data)
    steps = sum(len(arrays[0]) for arrays in sequences if arrays)
    meter = Meter(list(a[0].outputs), _outputs(a, sequences, "error"))
    found = _outputs(b, sequences, "propagate")
    with np.errstate(over="ignore"):
        over_time = [np.sqrt(np.mean(np.square(error), 1)) for error in meter.relative(found)]
    times = _step_times(a, b, seconds, progress) if seconds and a[0].graph.is_causal and b[0].graph.is_causal else (None, None)
    plan = a[0].plan(a[1]) if a[0].graph.is_causal else None
    return Comparison(
        _side(names[0], *a, times[0]),
        _side(names[1], *b, times[1]),
        plan.isa if plan else "",
        MADE_UP if data is None else f"{steps} timesteps of data",
        meter.errors(found),
        dict(zip(a[0].outputs, over_time, strict=True)),
    )


def _outputs(side: tuple[Model, Weights], sequences: list[list[Array]], on_nonfinite: str) -> list[Array]:
    """Of each output (timesteps, elements) of all sequences."""
    model, weights = side
    shapes = list(model.inputs.items())
    runs = []
    for arrays in sequences:
        given = {name: array.reshape(len(array), *shape) for (name, shape), array in zip(shapes, arrays, strict=True)}
        runs.append(model.run(given, weights=weights, on_nonfinite=on_nonfinite))
    flat = []
    for name, shape in model.outputs.items():
        parts = [np.asarray(run[name]) for run in runs]
        flat.append(np.concatenate([part.reshape(-1, int(np.prod(shape))) for part in parts]))
    return flat


def _side(name: str, model: Model, weights: Weights, step_ns: float | None) -> Side:
    plan = model.plan(weights) if model.graph.is_causal else None
    return Side(name, model.parameters, plan.constant_bytes if plan else None, plan.stream_bytes if plan else None, step_ns)


def _step_times(
    a: tuple[Model, Weights], b: tuple[Model, Weights], seconds: float, progress: Callable[[float], None] | None
) -> tuple[float, float]:
    from rtrnn.bench.engines import Native
    from rtrnn.bench.measure import measure

    engines = [Native(*a), Native(*b)]
    engines[0].name, engines[1].name = "A", "B"
    first, second = measure(engines, seconds=seconds, progress=progress).engines
    return first.median_ns, second.median_ns
