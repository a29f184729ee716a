"""Where each value lives in generated code, and how temporaries share the working memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Buffer", "Call", "Place", "assign"]


@dataclass(eq=False)
class Buffer:
    """A run of floats: named in C when it is an input, the state or a constant; else a part of the working memory."""

    size: int
    expression: str = ""
    parent: Buffer | None = None
    parent_offset: int = 0
    first: int = -1
    last: int = -1
    offset: int = 0

    @property
    def is_temporary(self) -> bool:
        return not self.expression


@dataclass(frozen=True)
class Place:
    """`offset` floats into a buffer."""

    buffer: Buffer
    offset: int = 0

    def at(self, offset: int) -> Place:
        return Place(self.buffer, self.offset + offset)

    def resolved(self) -> Place:
        """The place in the outermost buffer."""
        place = self
        while place.buffer.parent is not None:
            place = Place(place.buffer.parent, place.offset + place.buffer.parent_offset)
        return place

    def __str__(self) -> str:
        """The C expression, once the working memory is laid out."""
        place = self.resolved()
        base = place.buffer.expression or "s->work"
        offset = place.offset + (0 if place.buffer.expression else place.buffer.offset)
        return f"{base} + {offset}" if offset else base


@dataclass
class Call:
    """Statements of C, written when the working memory is laid out, and the places that they read and write."""

    write: Callable[[], str]
    places: list[Place] = field(default_factory=list)


def assign(calls: list[Call], alignment: int) -> int:
    """Gives each temporary its offset, those that live at different times the same memory; returns the floats needed."""
    found: dict[int, Buffer] = {}
    for time, call in enumerate(calls):
        for place in call.places:
            buffer = place.resolved().buffer
            if buffer.is_temporary:
                found[id(buffer)] = buffer
                buffer.first = time if buffer.first < 0 else buffer.first
                buffer.last = time
    placed: list[tuple[int, int, Buffer]] = []
    for buffer in sorted(found.values(), key=lambda b: -b.size):
        size = -(-buffer.size // alignment) * alignment
        begin = 0
        for other_begin, other_end, other in sorted(placed, key=lambda p: p[0]):
            if other.first <= buffer.last and buffer.first <= other.last and other_begin < begin + size:
                begin = max(begin, other_end)
        buffer.offset = begin
        placed.append((begin, begin + size, buffer))
    return max((end for _, end, _ in placed), default=0)
