"""The figure of `rtrnn quantize`: the error of each output over time, a line for each way to pack the weights."""

from __future__ import annotations

from pathlib import Path

from rtrnn.errors import MissingExtraError, UnsupportedError
from rtrnn.precision.report import QuantizeReport

__all__ = ["draw"]

_COLOURS = {"f16": "#2d8577", "bf16": "#b5651d", "i16": "#1f6fb4", "i8": "#c23b3b", "auto": "#22272e"}


def draw(report: QuantizeReport, path: str | Path, title: str) -> None:
    """Writes the file `path` names. Raises :class:`MissingExtraError` without matplotlib, :class:`UnsupportedError` when the name's
    ending is none that matplotlib writes."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("drawing needs matplotlib: pip install 'rtrnn[bench]'") from error
    names = [error.name for error in report.choice.errors]
    figure = Figure(figsize=(9, 1.2 + 2.6 * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, output in zip(figure.subplots(len(names), 1, squeeze=False, sharex=True)[:, 0], names, strict=True):
        for way, errors in report.over_time.items():
            values = 100 * errors[output]
            axis.plot(values, label=way, color=_COLOURS[way], linewidth=1.6 if way == "auto" else 0.9)
        axis.axhline(100 * report.choice.budget, color="#6b737c", linestyle="--", linewidth=1, label="budget (of the RMS over time)")
        axis.set_yscale("log")
        axis.set_title(output, loc="left", fontsize=10)
        axis.set_ylabel("% of spread")
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axis.set_xlabel("timestep")
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8, frameon=False)
    figure.suptitle(f"{title}: difference from f32 weights, RMS over the elements", fontsize=11)
    try:
        figure.savefig(str(path), dpi=130)
    except ValueError as error:
        raise UnsupportedError(f"{path}: {' '.join(str(error).split())}") from error
