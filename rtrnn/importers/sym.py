"""Sym: one value of a foreign graph, specialised to one timestep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rtrnn.errors import UnsupportedError
from rtrnn.importers.draft import Shape

__all__ = ["STEP", "Axis", "Frames", "RebindAxis", "Sym", "merge_origins", "reshape_origin", "strip"]

#: The provenance of a dimension: (graph input, axis of that input).
Axis = tuple[str, int]

#: The provenance of a dimension that was made within the timestep: it is not time, even when its size is 1.
STEP: Axis = ("", -1)


class RebindAxis(Exception):
    """Raised while importing when an axis of an input turns out to be time or batch: import again with size 1."""

    def __init__(self, axis: Axis, role: str, size: int) -> None:
        super().__init__(f"axis {axis[1]} of input {axis[0]!r} is the {role} axis but has size {size}")
        self.axis, self.role, self.size = axis, role, size


def strip(shape: Sequence[int]) -> Shape:
    """`shape` without its axes of size 1; ``(1,)`` when nothing is left."""
    return tuple(int(d) for d in shape if d != 1) or (1,)


@dataclass(frozen=True)
class Frames:
    """Frames around the one that streams, on a time axis that a file pads: `before` of them have passed, `after` are to come.

    The foreign axis has the size ``before + 1 + after``; the Draft value holds the streamed frame alone. The frames before it hold
    `fill` everywhere, or, when that is None, something else.
    """

    axis: int
    before: int
    after: int
    fill: float | None = 0.0


@dataclass(frozen=True, eq=False)
class Sym:
    """One value of a foreign graph.

    `shape` is the foreign shape, `origin` tells for each axis which input axis it came from, where that is known.
    Exactly one of `const` and `name` is set; the Draft value `name` has the shape ``strip(shape)``. With `frames` its time
    axis is of size 1 there; see :mod:`rtrnn.importers.frames`.
    """

    shape: Shape
    name: str | None = None
    const: np.ndarray | None = None
    origin: tuple[Axis | None, ...] = ()
    frames: Frames | None = None

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    def axis(self, axis: int) -> int:
        """`axis` counted from the front; raises ValueError when out of range."""
        if not -max(self.ndim, 1) <= axis < max(self.ndim, 1):
            raise UnsupportedError(f"axis {axis} is out of range for a value of shape {self.shape}")
        return axis % max(self.ndim, 1)


def merge_origins(rank: int, *xs: Sym) -> tuple[Axis | None, ...]:
    merged: list[Axis | None] = [None] * rank
    for x in xs:
        for i in range(1, x.ndim + 1):
            if x.origin[-i] is not None and merged[-i] in (None, STEP):
                merged[-i] = x.origin[-i]
    return tuple(merged)


def reshape_origin(x: Sym, shape: Shape) -> tuple[Axis | None, ...]:
    """Axes keep their origin where the elements before and after them stay the same in number."""
    origin: list[Axis | None] = [None] * len(shape)
    before = 1
    at: dict[tuple[int, int], list[Axis | None]] = {}
    for d, o in zip(x.shape, x.origin, strict=True):
        at.setdefault((before, d), []).append(o)
        before *= d
    before = 1
    for i, d in enumerate(shape):
        tags = at.get((before, d))
        if tags:
            origin[i] = tags.pop(0)
        before *= d
    return tuple(origin)
