"""What the machine can do at best, measured between the rounds of the engines, and figures as shares of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rtrnn import _core

__all__ = ["Limits", "Probes", "ReadLimit", "Shares"]


@dataclass(frozen=True)
class ReadLimit:
    """Reading a working set from end to end, again and again, with the widest vectors that pay."""

    #: "L1", "L2", "L3", "memory"; "same size" for a working set that was asked for.
    name: str
    #: Bytes of the cache; 0 for memory and for a size that was asked for.
    capacity: int
    working_set: int
    #: Median over the rounds, and 90th percentile.
    gigabytes_per_second: tuple[float, float]


@dataclass(frozen=True)
class Shares:
    """What a step reads and computes per second, in percent of the limits; medians against medians."""

    level: str
    read_percent: float
    flop_percent: float


@dataclass(frozen=True)
class Limits:
    """The machine's limits on one thread."""

    levels: tuple[ReadLimit, ...]
    sizes: tuple[ReadLimit, ...]
    #: f32 multiply-adds, each counted as two operations; median over the rounds, and 90th percentile.
    gigaflops: tuple[float, float]
    #: Two reads of the clock in C++ with nothing between them.
    timer_ns: float
    turns: int

    @classmethod
    def of(cls, measured: dict[str, Any]) -> Limits:
        """From what ``_core.LimitProbes.medians`` gives."""
        levels, sizes = (tuple(ReadLimit(**each) for each in measured[key]) for key in ("levels", "sizes"))
        return cls(levels, sizes, measured["gigaflops"], measured["timer_ns"], measured["turns"])

    def level_of(self, size: int) -> ReadLimit | None:
        """Where `size` bytes that are read in every step live: the smallest cache that holds them, else memory."""
        for level in self.levels:
            if level.capacity == 0 or size <= level.capacity:
                return level
        return self.levels[-1] if self.levels else None

    def shares(self, weight_bytes: int, operations: int, ns: float) -> Shares:
        """Of a step that reads so many bytes, does so many operations and takes so long."""
        level = self.level_of(weight_bytes)
        read = 100 * weight_bytes / ns / level.gigabytes_per_second[0] if level else 0.0
        return Shares(level.name if level else "", read, 100 * operations / ns / self.gigaflops[0])


class Probes:
    """Measures the limits: :meth:`one_turn` between rounds, :meth:`limits` at the end. Takes up to 256 MB."""

    def __init__(self, working_sets: Sequence[int] = ()) -> None:
        self._probes = _core.LimitProbes(list(working_sets))

    def one_turn(self) -> None:
        self._probes.one_turn()

    def limits(self) -> Limits:
        return Limits.of(self._probes.medians())
