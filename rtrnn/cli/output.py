"""What the commands print: tables (with rich on a terminal, plain otherwise), bars, progress, JSON.

Colours mean the same in every command and are the terminal's own: :data:`COLOURS`. There are none in a pipe, with NO_COLOR set
(no-color.org) or on a terminal that knows none.
"""

from __future__ import annotations

import json
import math
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

__all__ = [
    "BARS",
    "COLOURS",
    "Marked",
    "Progress",
    "Table",
    "bar",
    "finite",
    "format_bytes",
    "format_count",
    "has_colours",
    "painted",
    "plain",
    "print_json",
    "share",
    "show",
    "status",
]

#: Eighths of a character's height.
BARS = " ▁▂▃▄▅▆▇█"
#: What is marked -> the ANSI code and rich's name of its style.
COLOURS = {
    "title": ("1", "bold"),
    "header": ("36", "cyan"),
    "good": ("32", "green"),
    "bad": ("1;31", "bold red"),
    "note": ("33", "yellow"),
    "faint": ("2", "dim"),
    "bar": ("34", "blue"),
}

#: Nothing is reported about work that takes less.
QUIET_SECONDS = 2.0
_PROGRESS_WIDTH = 24


class Marked(str):
    """Text with a meaning that is a key of :data:`COLOURS`; a cell of a table may be one."""

    mark: str

    def __new__(cls, text: str, mark: str) -> Marked:
        self = super().__new__(cls, text)
        self.mark = mark
        return self


def has_colours(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def painted(text: str, mark: str, stream: TextIO | None = None) -> str:
    """`text` as `stream` (standard output) shows it."""
    return f"\x1b[{COLOURS[mark][0]}m{text}\x1b[0m" if has_colours(stream or sys.stdout) else text


def bar(part: float, width: int) -> str:
    """A bar over this share of `width` characters, to an eighth of one."""
    eighths = round(8 * width * min(max(part, 0.0), 1.0))
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def share(part: float) -> str:
    """A share in percent, in two digits: ``0.043 %``."""
    return f"{100 * part:.2g} %" if abs(part) < 1 else f"{100 * part:,.0f} %"


@dataclass
class Table:
    """Rows of text under a header; the first `left` columns are aligned to the left, the others to the right."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1


def plain(table: Table) -> str:
    """The table as aligned columns of text, without colours or lines."""
    cells = [list(table.header), *(list(row) for row in table.rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(table.header))]

    def line(row: Sequence[str]) -> str:
        pairs = zip(row, widths, strict=True)
        return "  ".join(c.ljust(w) if i < table.left else c.rjust(w) for i, (c, w) in enumerate(pairs)).rstrip()

    lines = [table.title, *([line(table.header)] if any(table.header) else []), *(line(row) for row in table.rows)]
    return "\n  ".join(lines)


def show(*tables: Table) -> None:
    """Prints tables to stdout."""
    if sys.stdout.isatty() and _print_rich(tables):
        return
    for table in tables:
        print(plain(table), end="\n\n")


def _print_rich(tables: Sequence[Table]) -> bool:
    try:
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table as RichTable
        from rich.text import Text
    except ImportError:
        return False
    # color_system None: no escapes at all, not even those for bold.
    console = Console(highlight=False, color_system="auto" if has_colours(sys.stdout) else None)
    for table in tables:
        titled = any(table.header)
        rich = RichTable(title=Text(table.title, COLOURS["title"][1]), title_justify="left", box=SIMPLE_HEAD, show_header=titled)
        for i, name in enumerate(table.header):
            rich.add_column(Text(name, COLOURS["header"][1]), justify="left" if i < table.left else "right", overflow="fold")
        for row in table.rows:
            rich.add_row(*(Text(cell, COLOURS[cell.mark][1] if isinstance(cell, Marked) else "") for cell in row))
        console.print(rich)
    return True


def print_json(value: Any) -> None:
    """Prints standard JSON: NaN and infinities, which it does not have, become null."""
    print(json.dumps(finite(value), indent=2, allow_nan=False))


def finite(value: Any) -> Any:
    """For JSON, which has no NaN and no infinities: null in their place."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


def format_count(number: float) -> str:
    return f"{number:,.0f}"


def format_bytes(number: float) -> str:
    """``118 KB``: powers of 1000."""
    for limit, unit in ((1e3, "B"), (1e6, "KB"), (1e9, "MB")):
        if number < limit:
            value = number / (limit / 1e3)
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
    return f"{number / 1e9:.1f} GB"


class Progress:
    """How far a loop has come, on stderr when that is a terminal; silent for the first two seconds."""

    def __init__(self, label: str, total: float | None) -> None:
        self.label, self.total = label, total
        self.begin = self.shown = time.monotonic()
        self.visible = False

    def update(self, done: float) -> None:
        now = time.monotonic()
        if now - self.begin < QUIET_SECONDS or now - self.shown < 0.2 or not sys.stderr.isatty():
            return
        self.shown, self.visible = now, True
        amount = self._extent(done, now) if self.total else format_count(done)
        print(f"\r{self.label}: {amount}\x1b[K", end="", file=sys.stderr, flush=True)

    def _extent(self, done: float, now: float) -> str:
        """Percent, a bar, and how long the rest will take if it goes on like this."""
        part = min(done / self.total, 1.0) if self.total else 0.0
        left = f" {_duration((now - self.begin) * (1 - part) / part)} left" if part > 0 else ""
        filled = bar(part, _PROGRESS_WIDTH)
        rail = painted("·" * (_PROGRESS_WIDTH - len(filled)), "faint", sys.stderr)
        return f"{100 * part:.0f} % {painted(filled, 'bar', sys.stderr)}{rail}{left}"

    def close(self) -> None:
        if self.visible:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _duration(seconds: float) -> str:
    """``0:07``, ``1:02:03``"""
    minutes, seconds = divmod(math.ceil(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}" if minutes >= 60 else f"{minutes}:{seconds:02}"


@contextmanager
def status(label: str) -> Iterator[None]:
    """Says what is being done when it takes over two seconds and its extent is unknown."""
    if not sys.stderr.isatty():
        yield
        return
    spoken = threading.Event()

    def speak() -> None:
        spoken.set()
        print(f"\r{label} ...\x1b[K", end="", file=sys.stderr, flush=True)

    timer = threading.Timer(QUIET_SECONDS, speak)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        if spoken.is_set():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
