"""What the commands print: tables (with rich on a terminal, plain otherwise), progress, JSON."""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

__all__ = ["Progress", "Table", "format_bytes", "format_count", "plain", "print_json", "show", "status"]

#: Nothing is reported about work that takes less.
QUIET_SECONDS = 2.0


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
    console = Console(highlight=False)  # honours NO_COLOR
    for table in tables:
        titled = any(table.header)
        rich = RichTable(title=Text(table.title, "bold"), title_justify="left", box=SIMPLE_HEAD, show_header=titled)
        for i, name in enumerate(table.header):
            rich.add_column(Text(name), justify="left" if i < table.left else "right", overflow="fold")
        for row in table.rows:
            rich.add_row(*(Text(cell) for cell in row))
        console.print(rich)
    return True


def print_json(value: Any) -> None:
    """Prints standard JSON: NaN and infinities, which it does not have, become null."""
    print(json.dumps(_finite(value), indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
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
        amount = f"{100 * done / self.total:.0f} %" if self.total else format_count(done)
        print(f"\r{self.label}: {amount}\x1b[K", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.visible:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
