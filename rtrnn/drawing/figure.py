"""The picture as a figure: a box for each block, shaded by its share of a step, and states as loops on the left."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtrnn.cli.output import format_bytes, format_count
from rtrnn.drawing.blocks import Block, Picture
from rtrnn.drawing.layout import Row, rows_of
from rtrnn.drawing.text import shape_text
from rtrnn.figures import GUIDE, INK, MUTED, SERIES, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw"]

# Inches.
_ROW, _BOX, _GAP, _MARGIN, _LANE = 0.82, 0.56, 0.3, 0.35, 0.3
_BAR = 0.2  # what a bar of time adds to the height of a box
_TITLE = 0.75
# Size and weight of texts.
_HEAD, _SUBTITLE, _NAME, _SMALL = (13.0, "bold"), (9.5, "normal"), (10.0, "bold"), (8.5, "normal")
_FILL = {"input": "#eef1f4", "output": "#eef1f4", "layer": "#ffffff", "between": "#f7f8f9"}
_HOT = (0.122, 0.435, 0.706)  # SERIES[0]


def draw(picture: Picture, path: str | Path, title: str, subtitle: str) -> None:
    """Writes the file `path` names; errors are those of :func:`rtrnn.figures.new_figure`."""
    rows = rows_of(picture)
    total = picture.step_ns
    with new_figure(path, 4, 4, layout=None) as figure:
        texts = {row.block: _texts(picture.blocks[row.block], total) for row in rows}
        sizes = (_NAME, _SMALL, _SMALL)
        width = max(1.6, *(_width(figure, text, *size) for lines in texts.values() for text, size in zip(lines, sizes, strict=False))) + 0.3
        lanes = _lanes(picture, rows)
        label = max((_width(figure, _state_text(loop.name, loop.shape), *_SMALL) for loop in picture.loops), default=0.0)
        left = _MARGIN + (label + 0.25 + _LANE * (1 + max(lanes.values(), default=0)) if picture.loops else 0.0)
        columns = 1 + max(max((row.column, *row.passing)) for row in rows)
        heading = max(_width(figure, title, *_HEAD), _width(figure, subtitle, *_SUBTITLE)) + 2 * _MARGIN
        whole = max(left + columns * (width + _GAP) + 0.1, heading)
        place = _Place(left, width, _BAR if total else 0.0)
        height = place.middle(len(rows)) - 0.2
        figure.set_size_inches(whole, height)
        axis = figure.add_axes((0, 0, 1, 1))
        axis.set(xlim=(0, whole), ylim=(height, 0))
        axis.set_axis_off()
        axis.text(_MARGIN, 0.3, title, size=_HEAD[0], weight=_HEAD[1], va="center")
        axis.text(_MARGIN, 0.56, subtitle, size=_SUBTITLE[0], color=MUTED, va="center")
        _draw_rails(axis, picture, rows, place)
        for row in rows:
            _draw_box(axis, picture.blocks[row.block], texts[row.block], row, place, rows.index(row), total)
        _draw_loops(axis, picture, rows, place, lanes)


class _Place:
    """Columns and rows in inches."""

    def __init__(self, left: float, width: float, extra: float) -> None:
        self.left, self.width = left, width
        self.row, self.box = _ROW + extra, _BOX + extra

    def x(self, column: int) -> float:
        return self.left + column * (self.width + _GAP)

    def centre(self, column: int) -> float:
        return self.x(column) + self.width / 2

    def middle(self, row: int) -> float:
        return _TITLE + self.row * (row + 0.5)


def _texts(block: Block, total: float | None) -> tuple[str, ...]:
    if block.kind in ("input", "output"):
        return f"{block.kind} {block.name}", shape_text(block.shape)
    sizes = f" · {format_count(block.parameters)} parameters · {format_bytes(4 * block.parameters)}" if block.parameters else ""
    name = f"  {block.name}" if block.kind == "layer" and len(block.name) <= 40 else ""
    texts = f"{block.label}{name}", f"{shape_text(block.shape)}{sizes}"
    return texts if not total or block.ns is None else (*texts, f"{100 * block.ns / total:.0f} % of a step, {block.ns:,.0f} ns")


def _state_text(name: str, shape: tuple[int, ...]) -> str:
    return f"{name} {shape_text(shape)}"


def _width(figure: Figure, text: str, size: float, weight: str) -> float:
    """Inches."""
    made = figure.text(0, 0, text, size=size, weight=weight)
    pixels = made.get_window_extent(figure.canvas.get_renderer()).width  # type: ignore[attr-defined]
    made.remove()
    return float(pixels / figure.dpi)


def _draw_box(axis: Any, block: Block, texts: tuple[str, ...], row: Row, place: _Place, i: int, total: float | None) -> None:
    from matplotlib.patches import FancyBboxPatch

    rounding = place.box / 2 if block.kind in ("input", "output") else 0.07
    fill: Any = _FILL[block.kind]
    if total and block.ns:
        part = 0.45 * (block.ns / total) ** 0.7
        fill = tuple(1 - part * (1 - c) for c in _HOT)
    x, y = place.x(row.column), place.middle(i)
    corner, size = (x + rounding, y - place.box / 2 + rounding), (place.width - 2 * rounding, place.box - 2 * rounding)
    style = f"round,pad={rounding},rounding_size={rounding}"
    axis.add_patch(FancyBboxPatch(corner, *size, boxstyle=style, facecolor=fill, edgecolor=MUTED, linewidth=0.9, zorder=3))
    lines = (-0.2, 0.0, 0.18) if len(texts) > 2 else (-0.1, 0.12)
    for text, line, (size_, weight) in zip(texts, lines, (_NAME, _SMALL, _SMALL), strict=False):
        axis.text(x + place.width / 2, y + line, text, size=size_, weight=weight, ha="center", va="center", zorder=4)
    if total and block.ns is not None:
        most, foot = place.width - 0.24, y + place.box / 2 - 0.06
        axis.barh(foot, most, left=x + 0.12, height=0.05, color=GUIDE, alpha=0.6, zorder=4)
        axis.barh(foot, most * block.ns / total, left=x + 0.12, height=0.05, color=SERIES[0], zorder=5)


def _draw_rails(axis: Any, picture: Picture, rows: list[Row], place: _Place) -> None:
    """From the foot of each block down its column to its last reader; sideways above each reader that stands elsewhere."""
    row_of = {row.block: i for i, row in enumerate(rows)}
    line = {"color": INK, "linewidth": 1.2, "zorder": 1, "solid_capstyle": "round"}
    for i, row in enumerate(rows):
        to_x, to_y = place.centre(row.column), place.middle(i) - place.box / 2
        for source in picture.blocks[row.block].reads:
            j = row_of[source]
            from_x, from_y = place.centre(rows[j].column), place.middle(j) + place.box / 2
            turn = to_y - (place.row - place.box) / 2
            axis.plot([from_x, from_x, to_x, to_x], [from_y, turn, turn, to_y], **line)
        if picture.blocks[row.block].reads:
            _arrow(axis, (to_x, to_y - 0.12), (to_x, to_y), INK)


def _arrow(axis: Any, begin: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    axis.annotate("", end, begin, arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.2, "shrinkA": 0, "shrinkB": 0}, zorder=2)


def _lanes(picture: Picture, rows: list[Row]) -> dict[tuple[int, int], int]:
    """A lane on the left for each pair of blocks that a state connects, so that lines side by side do not touch."""
    row_of = {row.block: i for i, row in enumerate(rows)}
    lanes: dict[tuple[int, int], int] = {}
    spans: list[tuple[int, int, int]] = []
    for loop in picture.loops:
        pair = (loop.written, loop.read)
        if pair in lanes:
            continue
        low, high = sorted((row_of[loop.written], row_of[loop.read]))
        lane = 0
        while any(at == lane and low <= end and begin <= high for begin, end, at in spans):
            lane += 1
        lanes[pair] = lane
        spans.append((low, high, lane))
    return lanes


def _draw_loops(axis: Any, picture: Picture, rows: list[Row], place: _Place, lanes: dict[tuple[int, int], int]) -> None:
    row_of = {row.block: row for row in rows}
    number = {row.block: i for i, row in enumerate(rows)}
    line = {"color": SERIES[1], "linewidth": 1.2, "zorder": 1, "linestyle": (0, (4, 2))}
    for (written, read), lane in lanes.items():
        loops = [loop for loop in picture.loops if (loop.written, loop.read) == (written, read)]
        x = place.left - _LANE * (1 + lane)
        out, into = place.middle(number[written]) + 0.14, place.middle(number[read]) - 0.14
        axis.plot([place.x(row_of[written].column), x, x, place.x(row_of[read].column)], [out, out, into, into], **line)
        end = place.x(row_of[read].column)
        _arrow(axis, (end - 0.12, into), (end, into), SERIES[1])
        texts = [_state_text(loop.name, loop.shape) for loop in loops[:3]] + [".."] * (len(loops) > 3)
        if written == read:
            at, text = (x - 0.07, (out + into) / 2), "\n".join(texts)
            axis.text(*at, text, size=8.5, color=SERIES[1], ha="right", va="center", linespacing=1.25)
        else:  # on the line that leads to the reader
            axis.text(end - 0.15, into - 0.1, ", ".join(texts), size=8.5, color=SERIES[1], ha="right", va="center", zorder=2,
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6})  # fmt: skip
