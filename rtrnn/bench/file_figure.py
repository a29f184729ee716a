"""The figure of ``rtrnn bench FILE``: what a step takes with each engine, and how rare longer steps are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rtrnn.bench.engines import EmptyLoop
from rtrnn.bench.suite import Result
from rtrnn.figures import GUIDE, INK, MUTED, SERIES, label_axis, new_figure

__all__ = ["draw_bench"]


#: Of rtrnn's own engines, those whose single calls are drawn, in the colour of their bars.
_TRACED = ("rtrnn step(x)", "rtrnn C++ step")


def draw_bench(result: Result, title: str, path: str | Path) -> None:
    """Writes the file `path` names; errors are those of :func:`rtrnn.figures.new_figure`."""
    engines = [each for each in result.report.engines if each.name != EmptyLoop.name]
    traced = [each for each in engines if each.name.startswith(_TRACED) or not each.name.startswith("rtrnn")]
    traced = traced[: len(SERIES)]
    colours = {each.name: SERIES[i % len(SERIES)] for i, each in enumerate(traced)}
    with new_figure(path, 13.5, max(4.4, 1.7 + 0.42 * len(engines))) as figure:
        medians, tail = figure.subplots(1, 2, width_ratios=(1.15, 1))
        _draw_medians(medians, engines, colours, _limit_ns(result))
        for each in traced:
            _longer(tail, np.asarray(result.report.samples_ns[each.name], float), colours[each.name])
        tail.set(xscale="log", yscale="log", title="How rare longer steps are", xlabel="a single call (the timer's time in it)",
                 ylabel="share of calls that take longer")  # fmt: skip
        label_axis(tail.xaxis, " µs", 1e-3)
        tail.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
        tail.grid()
        figure.suptitle(title, fontsize=11)


def _limit_ns(result: Result) -> float | None:
    """In which the weights can be read from the level that they live in."""
    size = result.weight_bytes
    level = next((x for x in result.limits.levels if x.capacity == 0 or size <= x.capacity), None)
    return size / level.gigabytes_per_second[0] if level and size else None


def _draw_medians(axis: Any, engines: list[Any], colours: dict[str, str], limit: float | None) -> None:
    places = np.arange(len(engines))[::-1]
    low = min(each.low_ns for each in engines)
    start = 0.5 * min(low, limit or low)
    widths = [each.median_ns - start for each in engines]
    axis.barh(places, widths, left=start, color=[colours.get(each.name, GUIDE) for each in engines], height=0.66)
    for place, each in zip(places, engines, strict=True):
        axis.text(each.median_ns, place, f"  {_duration(each.median_ns)}", va="center", fontsize=9, color=INK,
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5})  # fmt: skip
    if limit:
        axis.axvline(limit, color=INK, linestyle="-.", linewidth=1)
        axis.text(limit, -0.62, " reading the weights", fontsize=8.5, color=MUTED, va="top", ha="left")
    axis.set_yticks(places, [each.name for each in engines], fontsize=9)
    axis.set(xscale="log", xlim=(start, 2.6 * max(each.median_ns for each in engines)), ylim=(-1.25, len(engines) - 0.4))
    axis.set(title="A step, median", xlabel="time, logarithmic")
    label_axis(axis.xaxis, " µs", 1e-3)
    axis.grid(axis="x", color=GUIDE)
    axis.set_axisbelow(True)
    axis.tick_params(axis="y", length=0)


def _duration(ns: float) -> str:
    return f"{ns:,.0f} ns" if ns < 1e4 else f"{ns / 1e3:,.0f} µs"


def _longer(axis: Any, samples: Any, colour: str) -> None:
    ordered = np.sort(samples)
    share = 1 - np.arange(len(ordered)) / len(ordered)
    # A line of a hundred thousand points is drawn with few.
    ranks = np.geomspace(1, len(ordered), 400).astype(int)
    kept = np.unique(np.concatenate([ranks - 1, len(ordered) - ranks]))
    axis.plot(ordered[kept], share[kept], color=colour, linewidth=1.4)
