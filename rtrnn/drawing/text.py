"""The picture in text: a row for each block, beside the lines that connect them."""

from __future__ import annotations

from rtrnn.cli.output import Marked, Table, bar, format_bytes, format_count
from rtrnn.drawing.blocks import Block, Picture
from rtrnn.drawing.layout import Row, rows_of

__all__ = ["shape_text", "table"]

_MARKS = {"input": "○", "output": "◇", "layer": "●", "between": "•"}
_BAR = 16
_MOST_NAME = 32


def table(picture: Picture) -> Table:
    """A Table: lines, block, name, shape, parameters, states, and time where it was measured."""
    total = picture.step_ns
    header = ["", "", "name", "shape", "parameters", "f32", "state", *(["ns", "of a step", ""] if total else [])]
    rows: list[tuple[str, ...]] = []
    for row in rows_of(picture):
        sideways = _sideways(row)
        if sideways:
            rows.append((sideways, *[""] * (len(header) - 1)))
        block = picture.blocks[row.block]
        states = ", ".join(
            f"{loop.name} {shape_text(loop.shape)}{'' if loop.read == loop.written else ' from ' + picture.blocks[loop.written].name}"
            for loop in picture.loops
            if loop.read == row.block
        )
        rows.append((_line(row, block), *_cells(block), f"↺ {states}" if states else "", *(_time(block, total) if total else ())))
    if total and picture.around_ns is not None:
        rest = Block("around", "", (), ns=picture.around_ns)
        rows.append(("", Marked("around them", "faint"), *[""] * 5, *_time(rest, total)))
    return Table("Graph of one timestep", header, rows, left=4)


def shape_text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _cells(block: Block) -> tuple[str, ...]:
    name = block.name if len(block.name) <= _MOST_NAME else f"..{block.name[2 - _MOST_NAME:]}"
    sizes = (format_count(block.parameters), format_bytes(4 * block.parameters)) if block.parameters else ("", "")
    return block.label, name if block.kind != "between" else Marked(name, "faint"), shape_text(block.shape), *sizes


def _time(block: Block, total: float) -> tuple[str, str, str]:
    if block.ns is None:
        return "", "", ""
    part = block.ns / total
    return f"{block.ns:,.0f}", f"{100 * part:.0f} %", Marked(f"{bar(part, _BAR):<{_BAR}}", "bar")


def _line(row: Row, block: Block) -> str:
    width = max((row.column, *row.passing)) + 1
    return " ".join(_MARKS[block.kind] if c == row.column else "│" if c in row.passing else " " for c in range(width))


def _sideways(row: Row) -> str:
    """The line above a block that reads other rails than the one it stands in; nothing when it reads that one alone."""
    others = [c for c in row.joins if c != row.column]
    if not others:
        return ""
    low, high = min(*others, row.column), max(*others, row.column)
    cells = []
    for c in range(max(high, *row.passing, 0) + 1 if row.passing else high + 1):
        left, right = low < c <= high, low <= c < high
        up = c in row.passing or c in row.joins
        down = c in row.passing or c == row.column
        cells.append(_CORNERS[(left, right, up, down)] + ("─" if right else " "))
    return "".join(cells).rstrip()


#: (left, right, up, down) -> the character with these arms.
_CORNERS = {
    (False, False, False, False): " ",
    (False, False, True, True): "│",
    (True, True, False, False): "─",
    (True, True, True, True): "┼",
    (True, True, True, False): "┴",
    (True, True, False, True): "┬",
    (False, True, True, True): "├",
    (True, False, True, True): "┤",
    (True, False, True, False): "╯",
    (False, True, True, False): "╰",
    (True, False, False, True): "╮",
    (False, True, False, True): "╭",
}
