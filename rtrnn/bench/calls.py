"""Where the time of a step goes: each kernel call, timed within whole steps."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rtrnn import _core
from rtrnn.bench.engines import inputs_for

if TYPE_CHECKING:
    from rtrnn.model import Model, Weights

__all__ = ["node_times"]

_BLOCK = 200


def node_times(model: Model, weights: Weights = "f32", seconds: float = 0.2) -> tuple[dict[str, float], float]:
    """Nanoseconds that the calls of each node take in a step, by its first output, and of what surrounds them: medians, with the
    clock's own time taken off.

    Of nodes that were fused the first one has the time. The clock is read between calls, by a copy of the step that only this uses.
    Raises ValueError for a network that does not stay finite.
    """
    rows = [np.concatenate([np.ravel(part) for part in (x if isinstance(x, tuple) else (x,))]) for x in inputs_for(model)]
    timer = _core.CallTimer(model.plan(weights), np.concatenate(rows))
    timer.steps(_BLOCK)  # warm
    taken: list[npt.NDArray[np.int64]] = []
    end = monotonic() + seconds
    while not taken or monotonic() < end:
        taken.append(timer.steps(_BLOCK))
    clock = _core.timer_overhead_ns()
    median = np.median(np.concatenate(taken), 0)
    times: dict[str, float] = {}
    for node, ns in zip(timer.nodes, median[:-1], strict=True):
        times[node] = times.get(node, 0.0) + max(0.0, float(ns) - clock)
    return times, max(0.0, float(median[-1]) - 2 * clock) + times.pop("", 0.0)
