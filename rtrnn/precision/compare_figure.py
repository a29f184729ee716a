"""The figure of `rtrnn compare`: the difference of each output over time, and beside it latency and memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from rtrnn.cli.output import format_bytes
from rtrnn.figures import MUTED, SERIES, label_axis, new_figure
from rtrnn.precision.compare import Comparison

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure

__all__ = ["draw"]

_PAIR = (SERIES[5], SERIES[0])


def draw(found: Comparison, path: str | Path) -> None:
    """Writes the file `path` names; errors are those of :func:`rtrnn.figures.new_figure`."""
    outputs = list(found.over_time.items())
    with new_figure(path, 12.5, max(4.2, 1.6 + 2.1 * len(outputs))) as figure:
        left, right = cast("tuple[SubFigure, SubFigure]", figure.subfigures(1, 2, width_ratios=(2.1, 1)))
        axes = left.subplots(len(outputs), 1, squeeze=False, sharex=True)[:, 0]
        for axis, (name, values), error in zip(axes, outputs, found.errors, strict=True):
            finite = np.where(np.isfinite(values) & (values > 0), 100 * values, np.nan)
            if np.isfinite(finite).any():
                axis.plot(finite, color=SERIES[0], linewidth=0.9)
                axis.set_yscale("log")
                label_axis(axis.yaxis, " %")
            else:
                axis.text(0.5, 0.5, "no difference", transform=axis.transAxes, ha="center", color=MUTED)
                axis.set_yticks([])
            axis.grid()
            axis.margins(x=0.01)
            axis.set_title(f"{name}: RMS {100 * error.rms:.2g} %, largest {100 * error.largest:.2g} %", fontsize=10)
            axis.set_ylabel("of its spread")
        axes[-1].set_xlabel("timestep")
        bars: list[tuple[str, Any, Any]] = [
            ("time of a step", (found.a.step_ns, found.b.step_ns), lambda value: f"{value:,.0f} ns"),
            ("weights, packed", (found.a.plan_bytes, found.b.plan_bytes), format_bytes),
            ("memory of a Stream", (found.a.stream_bytes, found.b.stream_bytes), format_bytes),
        ]
        bars = [each for each in bars if None not in each[1]]
        if bars:
            for axis, (title, pair, text) in zip(right.subplots(len(bars), 1, squeeze=False)[:, 0], bars, strict=True):
                _draw_pair(axis, title, pair, text)
        figure.suptitle(f"B: {found.b.name} against A: {found.a.name}, over {found.trajectory}", fontsize=11)


def _draw_pair(axis: Any, title: str, pair: tuple[float, float], text: Any) -> None:
    axis.barh([1, 0], pair, color=_PAIR, height=0.62)
    for place, value in zip((1, 0), pair, strict=True):
        axis.text(value, place, f" {text(value)}", va="center", fontsize=9.5)
    axis.set(yticks=[1, 0], yticklabels=["A", "B"], xticks=[], xlim=(0, 1.45 * max(*pair, 1e-9)), title=title)
    axis.spines["bottom"].set_visible(False)
