"""A loop to run a network in: :class:`Loop`, and what it tells.

>>> with rtrnn.Loop(model, rate=1000, lead=100e-6, priority=80, cpu=1) as loop:
...     loop.observe(x)
...     action = loop.action()
...     print(loop.stats().step.p999)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from rtrnn._loop import Loop

__all__ = ["Action", "Loop", "LoopStats", "Times"]


class Action(NamedTuple):
    """What a loop wrote in one period."""

    #: The output; a dict by name when there are several.
    values: Any
    #: Actions written so far, this one included.
    sequence: int
    #: Seconds since it was written.
    age: float
    #: Not a step's result, since the observation was stale or the step was refused.
    watchdog: bool
    #: Of the step: "ok", "held", "nonfinite_input" or "nonfinite_result".
    status: str


@cache
def _bounds() -> npt.NDArray[np.float64]:
    from rtrnn._loop import histogram_bounds_ns

    return histogram_bounds_ns() / 1e9


@dataclass(frozen=True)
class Times:
    """Durations in seconds; percentiles are at most 1/64 above the exact ones."""

    #: Exact, like `max`; 0 when nothing was measured.
    min: float
    mean: float
    max: float
    #: One for each bucket of the histogram, logarithmic in octaves of 64.
    counts: npt.NDArray[np.uint64] = field(repr=False, compare=False)

    @classmethod
    def of(cls, samples_ns: npt.ArrayLike) -> Times:
        """The times of single measurements in nanoseconds, in the buckets of a loop."""
        samples = np.asarray(samples_ns, np.float64) / 1e9
        buckets = np.minimum(np.searchsorted(_bounds(), samples - 0.5e-9), len(_bounds()) - 1)
        counts = np.bincount(buckets, minlength=len(_bounds())).astype(np.uint64)
        if samples.size == 0:
            return cls(0.0, 0.0, 0.0, counts)
        return cls(float(samples.min()), float(samples.mean()), float(samples.max()), counts)

    @property
    def count(self) -> int:
        """How many were measured."""
        return int(self.counts.sum())

    def percentile(self, percent: float) -> float:
        """The shortest duration that `percent` of all do not exceed. Raises ValueError outside 0 to 100."""
        if not 0 <= percent <= 100:
            raise ValueError(f"percent: expected 0 to 100, found {percent!r}")
        seen = np.cumsum(self.counts)
        if seen[-1] == 0:
            return 0.0
        rank = max(1, int(np.ceil(percent / 100 * float(seen[-1]))))
        return float(np.clip(_bounds()[np.searchsorted(seen, rank)], self.min, self.max))

    @property
    def p50(self) -> float:
        return self.percentile(50)

    @property
    def p99(self) -> float:
        return self.percentile(99)

    @property
    def p999(self) -> float:
        return self.percentile(99.9)

    @property
    def p9999(self) -> float:
        return self.percentile(99.99)

    @property
    def histogram(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint64]]:
        """The buckets that are not empty: the longest duration that each takes, and its count."""
        used = np.flatnonzero(self.counts)
        return _bounds()[used], self.counts[used]


@dataclass(frozen=True)
class LoopStats:
    """What happened in a loop's periods so far. A snapshot; taken while the loop runs, figures may be a period apart."""

    #: Periods in which the loop ran.
    periods: int
    #: Periods whose action came after the deadline,
    late: int
    #: and of these, those whose step alone took longer: not the system's wake-up, but the network.
    late_in_step: int
    #: Periods left out because their deadline was over before they could begin.
    skipped: int
    #: Periods without an observation young enough: not stepped.
    stale: int
    #: Periods stepped on an observation that had been stepped on before.
    repeated: int
    #: Periods whose step was refused or held because of a NaN or an infinity.
    nonfinite: int
    #: Inside the step.
    step: Times
    #: From when the observation was due until the action was written.
    response: Times
    #: From when the thread should have woken up until it did.
    wake_up: Times
    #: Inside prepare.
    prepare: Times

    @property
    def missed(self) -> int:
        """Deadlines without an action in time."""
        return self.late + self.skipped


def __getattr__(name: str) -> Any:
    # The extension needs this module first.
    if name != "Loop":
        raise AttributeError(f"module 'rtrnn.loop' has no attribute {name!r}")
    from rtrnn._loop import Loop

    return Loop
