"""Shapes that a file has written out for its own number of timesteps and sequences, read at one of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rtrnn.importers.sym import Axis, Sym

__all__ = ["one_timestep"]


def one_timestep(target: Sequence[int], x: Sym, rebound: Mapping[Axis, int]) -> list[int]:
    """`target`, the shape that `x` is to take, with its -1 resolved, and with time and batch sizes that the file had
    fixed (`rebound`: input axis -> its size in the file) taken as 1.

    A size is one of those when it stands where x has that axis, or else when `target` cannot be met otherwise.
    """
    shape = list(target)
    for i, origin in enumerate(x.origin[: len(shape)]):
        if origin is not None and rebound.get(origin) == shape[i]:
            shape[i] = 1
    sizes = {a * b for a in (1, *rebound.values()) for b in (1, *rebound.values())} - {1}
    found = _resolve(shape, x.size)
    for i, d in enumerate(shape):
        if found is None and d in sizes:
            shape[i] = 1
            found = _resolve(shape, x.size)
    return list(target) if found is None else found


def _resolve(shape: list[int], size: int) -> list[int] | None:
    """`shape` without -1 if it has `size` elements."""
    known = math.prod(d for d in shape if d != -1)
    if shape.count(-1) == 1 and known > 0 and size % known == 0:
        return [size // known if d == -1 else d for d in shape]
    return shape if -1 not in shape and known == size else None
