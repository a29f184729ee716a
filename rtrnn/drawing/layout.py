"""Where the blocks of a picture stand: one to a row, in columns so that no line runs through a block.

A block hands its value down a rail, a column that is its own until the last reader. It stands in the column of a rail that ends with it, or
else in a free one; what it reads comes to it sideways. A network is nearly a chain, so nearly everything is in column 0.
"""

from __future__ import annotations

from dataclasses import dataclass

from rtrnn.drawing.blocks import Picture

__all__ = ["Row", "rows_of"]


@dataclass(frozen=True)
class Row:
    """One block. Columns count from 0."""

    block: int
    column: int
    #: Rails that run past it, above and below.
    passing: tuple[int, ...]
    #: Rails that are read here, and those of them that end.
    joins: tuple[int, ...]
    ends: tuple[int, ...]


def rows_of(picture: Picture) -> list[Row]:
    readers = [0] * len(picture.blocks)
    for block in picture.blocks:
        for i in block.reads:
            readers[i] += 1
    rails: dict[int, int] = {}  # block -> column
    rows = []
    for i, block in enumerate(picture.blocks):
        joins = sorted(rails[j] for j in block.reads)
        ends = []
        for j in block.reads:
            readers[j] -= 1
            if not readers[j]:
                ends.append(rails.pop(j))
        taken = set(rails.values())
        column = min(ends) if ends else next(c for c in range(len(picture.blocks) + 1) if c not in taken)
        rows.append(Row(i, column, tuple(sorted(taken)), tuple(joins), tuple(sorted(ends))))
        if readers[i]:
            rails[i] = column
    return rows
