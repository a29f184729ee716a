"""The figures of a replay, one for each output: how often it would have acted how differently, in which elements, in which episodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rtrnn.figures import GUIDE, INK, MUTED, SERIES, label_axis, new_figure
from rtrnn.replay.report import OutputReport, Report
from rtrnn.replay.work import LEVELS

__all__ = ["draw", "paths_of"]

_MOST_NAMED = 3


def paths_of(path: str | Path, report: Report) -> list[Path]:
    """The file of each output's figure: `path`, or several beside it with the outputs' names."""
    base = Path(path)
    if len(report.outputs) == 1:
        return [base]
    names = ["".join(c if c.isalnum() or c in "-_" else "_" for c in output.name) for output in report.outputs]
    return [base.with_name(f"{base.stem}.{name}{base.suffix}") for name in names]


def draw(report: Report, path: str | Path, title: str) -> list[Path]:
    """Writes the figures and gives their names; errors are those of :func:`rtrnn.figures.new_figure`."""
    paths = paths_of(path, report)
    for target, output in zip(paths, report.outputs, strict=True):
        with new_figure(target, 13.5, 4.6) as figure:
            often, elements, episodes = figure.subplots(1, 3, width_ratios=(1.15, 1, 1.15))
            _draw_exceedance(often, output, report)
            _draw_elements(elements, output)
            _draw_episodes(episodes, report)
            extent = f"{report.steps:,} steps of {_episodes(report)}"
            figure.suptitle(f"{title}: {output.name} against {report.reference}, {extent}", fontsize=11)
    return paths


def _episodes(report: Report) -> str:
    count = len(report.episodes) - len(report.failures)
    return "1 episode" if count == 1 else f"{count:,} episodes"


def _draw_exceedance(axis: Any, output: OutputReport, report: Report) -> None:
    counts = np.array(output.histogram, float)
    # Steps above each edge; what is above the last one counts there.
    above = counts[::-1].cumsum()[::-1][1:] / max(counts.sum(), 1)
    shown = above > 0
    low = 1 / max(counts.sum(), 1)
    if shown.any():
        first = max(int(np.argmax(above < above[0] if above[0] < 1 else above < 1)) - 1, 0)
        last = int(np.flatnonzero(shown)[-1]) + 1
        xs, ys = LEVELS[first : last + 1], above[first : last + 1]
        axis.plot(xs, np.maximum(ys, low / 2), color=SERIES[0], linewidth=1.6)
        axis.fill_between(xs, np.maximum(ys, low / 2), low / 2, color=SERIES[0], alpha=0.12, linewidth=0)
        axis.set(xscale="log", yscale="log", ylim=(low / 2, 8))
        axis.set_xlim(xs[0], max(xs[-1], 1.3 * report.tolerance))
        axis.axvline(report.tolerance, color=SERIES[1], linestyle="--", linewidth=1)
        side = "right" if report.tolerance > np.sqrt(xs[0] * xs[-1]) else "left"
        axis.annotate(f" tolerance {100 * report.tolerance:g} %: {_share(output.beyond_share)} beyond ", (report.tolerance, 0.985),
                      xycoords=("data", "axes fraction"), ha=side, va="top", fontsize=9, color=SERIES[1])  # fmt: skip
        axis.set_yticks([10.0**k for k in range(int(np.ceil(np.log10(low))), 1)])
        axis.minorticks_off()
        label_axis(axis.xaxis, " %", 100)
        axis.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    else:
        axis.text(0.5, 0.5, "no difference above 0.0001 %", transform=axis.transAxes, ha="center", color=MUTED)
        axis.set_axis_off()
    axis.grid()
    axis.set(title="How often it differs by more", xlabel="difference of the worst element, of its spread", ylabel="share of steps")


def _share(value: float) -> str:
    return f"{100 * value:.2g} %" if value < 1 else "100 %"


def _draw_elements(axis: Any, output: OutputReport) -> None:
    rms, largest = 100 * np.array(output.element_rms), 100 * np.array(output.element_largest)
    places = np.arange(len(rms))
    positive = rms[(rms > 0) & np.isfinite(rms)]
    axis.bar(places, rms, color=SERIES[0], width=0.75, label="RMS")
    axis.plot(places, largest, "_", color=SERIES[1], markersize=max(3, min(11, 160 / len(rms))), markeredgewidth=2, label="largest")
    if len(positive):
        axis.set_yscale("log")
        axis.set_ylim(bottom=positive.min() / 3)
    if len(rms) <= 16:
        axis.set_xticks(places)
    axis.grid(axis="y")
    axis.set_axisbelow(True)
    axis.set(title="Which elements", xlabel=f"element of {output.name}", ylabel="difference, of its spread")
    top = axis.get_ylim()[1]
    axis.set_ylim(top=top * 4 if axis.get_yscale() == "log" else 1.2 * top)  # room for the legend
    label_axis(axis.yaxis, " %")
    axis.legend(loc="upper right", ncols=2, fontsize=9, borderaxespad=0.2)


def _draw_episodes(axis: Any, report: Report) -> None:
    good = [episode for episode in report.episodes if not episode.failure]
    rms = 100 * np.array([episode.rms for episode in good])
    largest = 100 * np.array([episode.largest for episode in good])
    axis.plot(rms, largest, "o", color=SERIES[0], markersize=5, alpha=0.55, markeredgewidth=0, clip_on=False)
    worst = report.worst(_MOST_NAMED)
    named = [(100 * e.rms, 100 * e.largest, _short(e.name)) for e in worst]
    axis.plot([x for x, _, _ in named], [y for _, y, _ in named], "o", color=SERIES[1], markersize=6, clip_on=False)
    text = "\n".join(f"{name}  {x:.2g} %" for x, _, name in named)
    axis.text(0.03, 0.97, f"worst by RMS\n{text}", transform=axis.transAxes, va="top", fontsize=8.5, color=INK,
              bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": GUIDE, "boxstyle": "round,pad=0.35"}, zorder=5)  # fmt: skip
    highest = float(largest[np.isfinite(largest)].max(initial=0))
    axis.set_ylim(0, max(1.5 * highest, 1e-9))
    axis.set_xlim(0, max(1.08 * float(rms[np.isfinite(rms)].max(initial=0)), 1e-9))
    if 100 * report.tolerance < 1.5 * highest:
        axis.axhline(100 * report.tolerance, color=SERIES[1], linestyle="--", linewidth=1, zorder=0)
    label_axis(axis.xaxis, " %")
    label_axis(axis.yaxis, " %")
    axis.grid()
    axis.set(title="Which episodes", xlabel="RMS of the worst output, of its spread", ylabel="largest difference")


def _short(name: str, most: int = 34) -> str:
    name = Path(name.rpartition("#")[0]).name + "#" + name.rpartition("#")[2]
    return name if len(name) <= most else f"..{name[-most + 2:]}"
