"""The figure of `rtrnn quantize`: the error of each output over time, a line for each way to pack the weights."""

from __future__ import annotations

from pathlib import Path

from rtrnn.figures import INK, MUTED, SERIES, new_figure
from rtrnn.precision.report import QuantizeReport

__all__ = ["draw"]

_COLOURS = dict(zip(("i16", "i8", "f16", "bf16"), SERIES, strict=False)) | {"auto": INK}
_OF_DELTAS = SERIES[4:]


def draw(report: QuantizeReport, path: str | Path, title: str) -> None:
    """Writes the file `path` names; errors are those of :func:`rtrnn.figures.new_figure`."""
    names = [error.name for error in report.choice.errors]
    with new_figure(path, 9, 1.2 + 2.6 * len(names)) as figure:
        for axis, output in zip(figure.subplots(len(names), 1, squeeze=False, sharex=True)[:, 0], names, strict=True):
            deltas = [way for way in report.over_time if way not in _COLOURS]
            for way, errors in report.over_time.items():
                values = 100 * errors[output]
                colour = _OF_DELTAS[deltas.index(way) % len(_OF_DELTAS)] if way in deltas else _COLOURS[way]
                axis.plot(values, label=way, color=colour, linewidth=1.6 if way == "auto" else 0.9)
            axis.axhline(100 * report.choice.budget, color=MUTED, linestyle="--", linewidth=1, label="budget (of the RMS over time)")
            axis.set_yscale("log")
            axis.set_title(output, fontsize=10)
            axis.set_ylabel("% of spread")
            axis.grid()
        axis.set_xlabel("timestep")
        handles, labels = axis.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8)
        figure.suptitle(f"{title}: difference from f32 weights, RMS over the elements", fontsize=11)
