"""The figure of a grid: time per step over the size of the network, and what share of the machine's limit that is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rtrnn.errors import UnsupportedError
from rtrnn.figures import INK, SERIES, new_figure

__all__ = ["draw"]

#: The limit holds for every engine alike, but only of rtrnn's C++ step is it known what it reads.
_LIMITED = "rtrnn C++ step"
_OURS = ("rtrnn",)
_MARKS = "os^Dv<>p*hX"


def draw(facts: dict[str, Any], path: str | Path) -> None:
    """Draws the steps in `facts` (of :func:`rtrnn.bench.report.grid_facts`) and writes the file `path` names.

    Raises :class:`UnsupportedError` when there is no step to draw, and what :func:`rtrnn.figures.new_figure` raises.
    """
    steps = [r for r in facts["results"] if r["form"] == "step" and r.get("cell") and "median_ns" in r]
    # Networks of one layer: a policy's time is not a matter of its layer's size alone.
    cells = {c: [r for r in steps if r["network"].startswith(f"{c} ")] for c in ("gru", "lstm", "rnn")}
    cells = {cell: rows for cell, rows in cells.items() if rows}
    if not cells:
        raise UnsupportedError("a figure needs results of the form 'step' for at least one cell and size")
    # Of the other precisions one line each is enough.
    drawn = [r for rows in cells.values() for r in rows if r["precision"] == "f32" or r["engine"].startswith(_LIMITED)]
    engines = list(dict.fromkeys(r["engine"] for r in drawn if r["engine"] != "an empty loop"))
    with new_figure(path, 4.6 * len(cells) + 2.4, 7.6) as figure:
        axes = figure.subplots(2, len(cells), squeeze=False, sharey="row", gridspec_kw={"height_ratios": (2, 1)})
        for column, (cell, rows) in enumerate(cells.items()):
            times, shares = axes[0][column], axes[1][column]
            names = list(dict.fromkeys(r["network"] for r in rows))
            sizes = {name: _megabytes(rows, name) for name in names}
            for i, engine in enumerate(engines):
                mine = [r for r in rows if r["engine"] == engine]
                style = {"color": SERIES[i % len(SERIES)], "marker": _MARKS[i % len(_MARKS)], "markersize": 4}
                style["linestyle"] = "-" if engine.startswith(_OURS) else "--"
                times.plot([sizes[r["network"]] for r in mine], [r["median_ns"] for r in mine], label=engine, **style)
                if engine.startswith(_LIMITED):
                    shares.plot(
                        [sizes[r["network"]] for r in mine],
                        [r["read_percent"] for r in mine],
                        label=f"{engine}, reads",
                        **style,
                    )
                    style |= {"linestyle": ":"}
                    shares.plot(
                        [sizes[r["network"]] for r in mine],
                        [r["flop_percent"] for r in mine],
                        label=f"{engine}, multiply-adds",
                        **style,
                    )
            _limit_line(times, facts["limits"], sizes)
            labels = [name.split()[1].replace("x", " x ") for name in names]
            for axis in (times, shares):
                axis.set_xscale("log")
                axis.set_xticks([sizes[name] for name in names], labels, rotation=60, fontsize=8)
                axis.minorticks_off()
                axis.grid()
            times.set_yscale("log")
            times.set_title(cell.upper())
            shares.set_xlabel("input x hidden, spaced by bytes of weights")
        reads = [r["read_percent"] for r in drawn if "read_percent" in r and r["engine"].startswith(_LIMITED)]
        axes[1][0].set_ylim(0, max(110, *(1.05 * percent for percent in reads)))
        axes[0][0].set_ylabel("nanoseconds per step, median")
        axes[1][0].set_ylabel("percent of the machine's limit")
        axes[0][-1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))
        axes[1][-1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))
        machine = facts["machine"]
        figure.suptitle(f"{machine['processor']}, {machine['isa']}, one thread, {machine['date'][:10]}", fontsize=10)


def _megabytes(rows: list[dict[str, Any]], network: str) -> float:
    weight_bytes: int = next(r["weight_bytes"] for r in rows if r["network"] == network and r.get("weight_bytes"))
    return weight_bytes / 1e6


def _limit_line(axis: Any, limits: dict[str, Any], sizes: dict[str, float]) -> None:
    """The time in which the weights can be read from the level they live in."""
    points = []
    for size in sorted(set(sizes.values())):
        level = next((x for x in limits["levels"] if x["capacity"] == 0 or size * 1e6 <= x["capacity"]), None)
        if level:
            points.append((size, size * 1e6 / level["gigabytes_per_second"][0]))
    if points:
        axis.plot(*zip(*points, strict=True), color=INK, linewidth=1, linestyle="-.", label="reading the weights")
