"""The demo's picture: what the networks did and how long each step took."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rtrnn.demo import cartpole, sine
from rtrnn.demo.realtime import Timing, format_ns
from rtrnn.figures import GUIDE, INK, MUTED, SERIES, STYLE, require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw"]

TRUTH = "#9aa3ad"
PREDICTED = {"RNN": SERIES[3], "GRU": SERIES[0], "LSTM": SERIES[4]}
MEMORY, WIPED, LATENCY = SERIES[:3]

#: Sine of the evaluation that is drawn.
SHOWN_SINE = 0


def draw(
    path: Path,
    waves: Mapping[str, sine.Continuation],
    given: cartpole.Conditions,
    remembered: cartpole.Trace,
    wiped: cartpole.Trace,
    timing: Timing,
) -> None:
    """Write the figure, 1600 by 1200 pixels, to `path`."""
    require_matplotlib()
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE | {"font.size": 10.5, "axes.titlesize": 12}):
        figure = Figure(figsize=(40 / 3, 10), dpi=120, facecolor="white")
        outer = figure.add_gridspec(
            2, 1, height_ratios=(1, 1.25), left=0.075, right=0.98, top=0.87, bottom=0.06, hspace=0.32
        )
        figure.text(0.075, 0.955, "Trained recurrent networks, one timestep at a time", size=18, weight="bold")
        subtitle = (
            f"Top: {sine.WARM_UP_STEPS} samples of a sine are given, then the network runs on its own output.  "
            f"Bottom: a policy balances a pole in real time at {given.rate} Hz and sees no velocity."
        )
        figure.text(0.075, 0.925, subtitle, size=10, color=MUTED)
        _draw_sines(figure, outer[0], waves)
        lower = outer[1].subgridspec(2, 2, width_ratios=(1.9, 1), hspace=0.16, wspace=0.2)
        angle, position = figure.add_subplot(lower[0, 0]), figure.add_subplot(lower[1, 0])
        position.sharex(angle)
        _draw_balance(angle, position, given, remembered, wiped)
        _draw_latency(figure.add_subplot(lower[:, 1]), timing, given.rate)
        figure.savefig(path, format="png")


def _draw_sines(figure: Figure, place: Any, waves: Mapping[str, sine.Continuation]) -> None:
    grid = place.subgridspec(2, len(waves), height_ratios=(2.6, 1), hspace=0.14, wspace=0.09)
    errors = {
        name: wave.predicted[SHOWN_SINE] - wave.truth[SHOWN_SINE, sine.WARM_UP_STEPS :] for name, wave in waves.items()
    }
    largest = 1.15 * max(np.abs(error).max() for error in errors.values())
    steps = np.arange(sine.WARM_UP_STEPS + sine.FREE_STEPS) - sine.WARM_UP_STEPS
    free = steps[sine.WARM_UP_STEPS :]
    for column, (name, wave) in enumerate(waves.items()):
        top, below = figure.add_subplot(grid[0, column]), figure.add_subplot(grid[1, column])
        top.axvspan(steps[0], 0, color="#f1f3f5", lw=0)
        top.plot(steps, wave.truth[SHOWN_SINE], color=TRUTH, lw=4, alpha=0.7, solid_capstyle="round", label="truth")
        top.plot(free, wave.predicted[SHOWN_SINE], color=PREDICTED[name], lw=1.5, label="predicted")
        top.set_title(f"{name}: RMS error {wave.rms_error:.3f} ({len(wave.truth)} sines)")
        top.set(xlim=(steps[0], steps[-1]), ylim=(-1.15, 1.15))
        top.tick_params(labelbottom=False)
        below.plot(free, errors[name], color=PREDICTED[name], lw=1.2)
        below.axhline(0, color=GUIDE, lw=0.8, zorder=0)
        below.set(xlim=(steps[0], steps[-1]), ylim=(-largest, largest), xlabel="step since it runs on its own output")
        if column:
            top.tick_params(labelleft=False)
            below.tick_params(labelleft=False)
        else:
            top.set_ylabel("sample")
            below.set_ylabel("error")
            top.text(steps[0] + 4, -1.08, "warm-up", size=9, color=MUTED)
        top.legend(loc="lower right", ncols=2, fontsize=9, borderaxespad=0, handlelength=1.4, columnspacing=1.2)


def _draw_balance(
    angle: Axes, position: Axes, given: cartpole.Conditions, remembered: cartpole.Trace, wiped: cartpole.Trace
) -> None:
    for trace, color, name in ((wiped, WIPED, "state wiped every step"), (remembered, MEMORY, "with its state")):
        seconds = np.arange(1, len(trace.states) + 1) / trace.rate
        label = f"{name}: {'fell after' if trace.fell else 'up for'} {trace.seconds:.1f} s"
        for axes, values in ((angle, np.degrees(trace.states[:, 2])), (position, trace.states[:, 0])):
            axes.plot(seconds, values, color=color, lw=1.6, label=label)
            if trace.fell:
                axes.plot(seconds[-1], values[-1], "x", color=color, ms=9, mew=2.4, clip_on=False, zorder=5)
    changes = np.flatnonzero(np.diff(given.push != 0, prepend=False, append=False)).reshape(-1, 2) / given.rate
    reach = 1.5 * max(np.abs(trace.states[:, 0]).max() for trace in (remembered, wiped))
    for axes, bound, view in (
        (angle, np.degrees(cartpole.ANGLE_LIMIT), 1.55 * np.degrees(cartpole.ANGLE_LIMIT)),
        (position, cartpole.TRACK_LIMIT, min(reach, 1.12 * cartpole.TRACK_LIMIT)),
    ):
        axes.axhline(0, color=GUIDE, lw=0.8, zorder=0)
        for sign in (-1, 1):
            axes.axhline(sign * bound, color=MUTED, lw=0.9, ls=(0, (4, 3)), zorder=0)
        for begin, end in changes:
            axes.axvspan(begin, end, color="#f0dfc0", lw=0, zorder=-1)
        axes.set_ylim(-view, view)
    angle.set_title("Cart-pole from positions alone: one GRU policy, with and without its memory")
    angle.set_ylabel("pole angle (deg)")
    angle.legend(loc="lower right", ncols=2, fontsize=9.5, borderaxespad=0.1)
    angle.text(0.995, 0.845, "fallen", size=9, color=MUTED, transform=angle.transAxes, ha="right")
    angle.tick_params(labelbottom=False)
    position.text(0.995, 0.02, "shaded: pushes", size=9, color="#8a6a25", transform=position.transAxes, ha="right")
    end = max(remembered.seconds, wiped.seconds)
    position.set(xlim=(0, end), xlabel="time (s)", ylabel="cart position (m)")


def _draw_latency(axes: Axes, timing: Timing, rate: int) -> None:
    latency = np.maximum(timing.latency_ns, 1)
    low, high = latency.min() * 0.8, max(latency.max() * 1.3, 10 * latency.min())
    counts, *_ = axes.hist(latency, bins=np.geomspace(low, high, 60).tolist(), color=LATENCY, alpha=0.85)
    axes.set(xscale="log", yscale="log", xlim=(low, high))
    axes.set_ylim(0.7, 40 * np.max(counts))
    leading = (1, 3) if high < 300 * low else (1,)
    ticks = [first * 10**decade for decade in range(1, 10) for first in leading]
    ticks = [tick for tick in ticks if low <= tick <= high]
    axes.set_xticks(ticks, [format_ns(tick).replace(".0 ", " ").replace(" us", " µs") for tick in ticks])
    axes.minorticks_off()
    percentiles = timing.percentiles()
    for name, height in (("p50", 0.74), ("p99", 0.7), ("p99.9", 0.66)):
        axes.axvline(percentiles[name], color=INK, lw=0.9, ls=(0, (2, 2)), ymax=height)
        axes.text(percentiles[name], height, f" {name}", transform=axes.get_xaxis_transform(), size=9, va="top")
    lines = [f"{name:>5}  {format_ns(value).replace(' us', ' µs'):>8}" for name, value in percentiles.items()]
    lines += [f"{len(latency)} steps at {rate} Hz", f"{timing.missed_deadlines} missed deadlines"]
    text = "\n".join(lines)
    axes.text(0.99, 0.985, text, transform=axes.transAxes, ha="right", va="top", family="monospace", size=9.5)
    axes.set_title("Latency, observation to action")
    axes.set(xlabel="one step, called from Python", ylabel="steps")
