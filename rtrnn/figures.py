"""What all figures share: colours, a style, and how a file is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtrnn.errors import MissingExtraError, UnsupportedError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ENDINGS", "GUIDE", "INK", "MUTED", "SERIES", "STYLE", "label_axis", "new_figure", "require_matplotlib"]

#: The formats that are offered; matplotlib writes more.
ENDINGS = (".png", ".svg", ".pdf")

INK, MUTED, GUIDE = "#22272e", "#6b737c", "#c9ced4"
#: Of lines and bars, in the order in which they are added; they differ in lightness as well as in hue.
SERIES = ("#1f6fb4", "#c23b3b", "#2d8577", "#b5651d", "#6a4c93", "#8a939c", "#0b3d66", "#d98e2b")

#: The same figure is the same file.
_UNDATED: dict[str, Any] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}

STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": "#4a5159",
    "ytick.color": "#4a5159",
    "legend.frameon": False,
    "grid.alpha": 0.3,
    "svg.hashsalt": "rtrnn",
}


def require_matplotlib() -> None:
    """Raises :class:`MissingExtraError` when nothing can be drawn."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("drawing needs matplotlib: pip install 'rtrnn[tools]'") from error


def label_axis(axis: Any, unit: str = "", scale: float = 1.0) -> None:
    """Labels an x or y axis in plain numbers, times `scale`; a logarithmic one at 1, 2 and 5 where it has few decades."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_formatter(lambda value, _: f"{scale * value:g}{unit}")
    if axis.get_scale() == "log":
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,), numticks=12))
        axis.set_minor_formatter(NullFormatter())


@contextmanager
def new_figure(path: str | Path, width: float, height: float, layout: Any = "constrained") -> Iterator[Figure]:
    """A white figure of this size in inches, written to the file `path` names when the block ends.

    Raises :class:`MissingExtraError` without matplotlib, :class:`UnsupportedError` when the name's ending is none that it writes, OSError.
    """
    require_matplotlib()
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout=layout, facecolor="white")
        FigureCanvasAgg(figure)
        yield figure
        try:
            figure.savefig(str(path), dpi=130, metadata=_UNDATED.get(Path(path).suffix))
        except ValueError as error:
            raise UnsupportedError(f"{path}: {' '.join(str(error).split())}") from error
