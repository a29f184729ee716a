"""The figure of ``rtrnn loop``: how long steps take in a periodic loop, how rare the long ones are, and how late threads wake up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rtrnn.figures import INK, SERIES, new_figure

if TYPE_CHECKING:
    from rtrnn.loop import LoopStats, Times

__all__ = ["binned", "draw_loops"]


def binned(times: Times, edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Counts between the `edges` (seconds); a bucket counts where its middle lies."""
    uppers, counts = times.histogram
    # Buckets are 1/64 wide at most.
    middles = np.clip(uppers * (1 - 1 / 160), times.min, times.max)
    return np.histogram(middles, edges, weights=counts.astype(float))[0]


def draw_loops(rows: dict[str, LoopStats], title: str, rate: float, path: str | Path) -> None:
    """Draws the loops and writes the file `path` names; errors are those of :func:`rtrnn.figures.new_figure`."""
    with new_figure(path, 13.5, 4.8) as figure:
        from matplotlib.ticker import LogLocator

        histogram, tail, wake_up = figure.subplots(1, 3)
        colours = dict(zip(rows, SERIES, strict=False))
        steps = {name: stats.step for name, stats in rows.items() if stats.step.count}
        low = min((t.min for t in steps.values()), default=1e-7)
        high = max((t.max for t in steps.values()), default=1e-3)
        edges = np.geomspace(low * 0.9, high * 1.1, 90)
        for name, times in steps.items():
            counts = binned(times, edges)
            histogram.stairs(counts, edges * 1e6, fill=True, alpha=0.3, color=colours[name])
            label = f"{name}: p50 {_us(times.p50)}, p99.9 {_us(times.p999)}, max {_us(times.max)} us"
            histogram.stairs(counts, edges * 1e6, color=colours[name], linewidth=1.3, label=label)
            histogram.axvline(times.p999 * 1e6, color=colours[name], linestyle=":", linewidth=1.3)
            _longer(tail, times, colours[name])
        for name, stats in rows.items():
            if stats.wake_up.count:
                _longer(wake_up, stats.wake_up, colours[name])
        histogram.set_yscale("log")
        histogram.set_ylim(bottom=0.7)
        histogram.set(title="time inside the step (dotted: p99.9)", xlabel="microseconds", ylabel="periods")
        tail.set(title="how rare longer steps are", xlabel="microseconds inside the step", ylabel="share of periods")
        wake_up.set(title="how late the thread woke up", xlabel="microseconds late", ylabel="share of periods")
        if high >= 0.2 / rate:
            for axis in (histogram, tail):
                axis.axvline(1e6 / rate, color=INK, linewidth=0.8, linestyle="--")
                axis.annotate("period", (1e6 / rate, 0.98), xycoords=("data", "axes fraction"), rotation=90, fontsize=8,
                              ha="right", va="top")  # fmt: skip
        for axis in (histogram, tail, wake_up):
            axis.set_xscale("log")
            axis.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
            # Between the decades only where there are few.
            low, high = axis.get_xlim()
            between = (2, 5) if high < 100 * low else ()
            axis.xaxis.set_minor_locator(LogLocator(subs=between))
            axis.xaxis.set_minor_formatter(lambda x, _: f"{x:g}")
            axis.grid()
        figure.legend(loc="outside lower center", ncols=len(steps), fontsize=9)
        figure.suptitle(title, fontsize=10)


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:,.2f}" if seconds < 10e-6 else f"{seconds * 1e6:,.0f}"


def _longer(axis: Any, times: Times, colour: str) -> None:
    """The share of durations that are longer, down to one of all, over the duration."""
    uppers, counts = times.histogram
    seen = np.cumsum(counts).astype(float)
    total = seen[-1]
    # The last bucket holds the longest, which nothing exceeds: its share is that of itself.
    longer = np.maximum(total - seen, 1) / total
    x = np.clip(uppers, times.min, times.max)
    axis.step(np.concatenate([[times.min], x]) * 1e6, np.concatenate([[1.0], longer]), where="post", color=colour)
    axis.plot([times.max * 1e6], [1 / total], "o", color=colour, markersize=4)
    axis.set_yscale("log")
