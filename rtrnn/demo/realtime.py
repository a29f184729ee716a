"""The control loop of the demo: a policy that keeps time, and the latencies it met."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rtrnn.cli.output import Progress
from rtrnn.demo import cartpole

if TYPE_CHECKING:
    import rtrnn

__all__ = ["Controller", "Timing", "balance", "balance_in_real_time", "format_ns"]

#: A sleeping thread wakes late by up to this on an idle machine: the rest of the wait is spent polling the clock.
SPIN_NS = 200_000

PERCENTILES = {"p50": 50.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}


class Controller:
    """A bundled policy as :func:`cartpole.simulate` wants it: (2,) positions to a force in N.

    Each step is timed from the observation to the action. With `wiped` the state is set back before every step,
    which leaves the same weights without a memory.
    """

    def __init__(self, model: rtrnn.Model, steps: int, wiped: bool = False) -> None:
        self.stream = model.stream()
        self.wiped = wiped
        self.latency_ns = np.zeros(steps, np.int64)
        self.steps = 0
        self._scale = float(model.metadata["action_scale"])
        self._observation = np.zeros_like(self.stream.input)
        self._action = np.zeros_like(self.stream.output)
        self._rehearsal = self.stream.fork()
        self._unused = np.zeros_like(self._action)

    def __call__(self, observation: np.ndarray) -> float:
        if self.wiped:
            self.stream.reset()
        self._observation.flat[:] = observation
        begin = time.perf_counter_ns()
        self.stream.step(self._observation, out=self._action)
        self.latency_ns[self.steps] = time.perf_counter_ns() - begin
        self.steps += 1
        force: float = self._scale * self._action.item()
        return force

    def idle(self) -> None:
        """Between two steps: what of the next one needs no observation, and a step of a twin.

        The twin shares the weights and the code but not the state: its step brings both back into the cache, from
        where the sleeping loop's neighbours have driven them.
        """
        self.stream.prepare()
        self._rehearsal.step(self._observation, out=self._unused)


def format_ns(nanoseconds: float) -> str:
    """A duration in the unit that keeps it short."""
    for limit, unit in ((1e3, "ns"), (1e6, "us"), (1e9, "ms")):
        if nanoseconds < limit:
            value = nanoseconds / (limit / 1e3)
            return f"{value:.0f} {unit}" if unit == "ns" or value >= 100 else f"{value:.1f} {unit}"
    return f"{nanoseconds / 1e9:.1f} s"


@dataclass(frozen=True)
class Timing:
    """Latencies of the steps of a run, observation to action, and the control periods that ended late."""

    latency_ns: np.ndarray
    missed_deadlines: int

    def percentiles(self) -> dict[str, float]:
        """p50, p99, p99.9 and max, in ns."""
        return {name: float(np.percentile(self.latency_ns, q)) for name, q in PERCENTILES.items()}


def balance(model: rtrnn.Model, given: cartpole.Conditions, wiped: bool = False) -> cartpole.Trace:
    """A run as fast as the machine allows."""
    return cartpole.simulate(Controller(model, len(given.push), wiped), given)


def balance_in_real_time(model: rtrnn.Model, given: cartpole.Conditions) -> tuple[cartpole.Trace, Timing]:
    """A run against the clock: step `k` begins at its own deadline, `k / rate` seconds after the start.

    The rest of each period is idle time, in which the stream prepares the next step. A period that ends after its
    deadline is counted and the next one begins at once. The garbage collector is off meanwhile.
    """
    controller = Controller(model, len(given.push))
    clock = time.perf_counter_ns
    period_ns = round(1e9 / given.rate)
    missed = 0

    def wait(index: int) -> None:
        nonlocal missed
        progress.update(index)
        deadline = start + (index + 1) * period_ns
        left = deadline - clock()
        if left < 0:
            missed += 1
            return
        if left > SPIN_NS:
            time.sleep((left - SPIN_NS) * 1e-9)
        # After the sleep, not before it: what this reads is then still in the cache when the step comes.
        controller.idle()
        while clock() < deadline:
            pass

    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        with Progress("cart-pole", len(given.push)) as progress:
            controller.idle()
            start = clock()
            trace = cartpole.simulate(controller, given, wait)
    finally:
        if collecting:
            gc.enable()
    return trace, Timing(controller.latency_ns[: controller.steps], missed)
