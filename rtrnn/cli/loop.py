"""`rtrnn loop`: a network in a periodic loop, beside onnxruntime in the same loop."""

from __future__ import annotations

import argparse
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from rtrnn.cli.common import UserError, add_loading_arguments, check_figure, load_model, note, number_above_zero
from rtrnn.cli.output import BARS, Progress, Table, format_count, print_json, show

if TYPE_CHECKING:
    from rtrnn.bench.periodic import LoopResult
    from rtrnn.loop import LoopStats, Times

__all__ = ["add_arguments", "run"]

_COLUMNS = 60

_COMPARED = """\
what is compared, in turns of a second on one CPU with one priority and one grid of absolute deadlines (clock_nanosleep):
  rtrnn Loop                rtrnn's own thread, which wakes up --lead early and warms the caches; the time inside the step
  rtrnn from Python         a Python loop; the time of one stream.step() on its own buffers, prepare() in the idle time
  onnxruntime from Python   the same Python loop; the time of one run_with_iobinding on bound buffers (ONNX files)
The Python loops have the same precise timers as rtrnn's thread and no garbage collection, and copy no observation.
A deadline is missed when the action comes later than a period after its observation was due."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = f"{parser.epilog}\n\n{_COMPARED}"
    parser.add_argument("file", metavar="FILE", help="a file that rtrnn loads; onnxruntime is timed with an ONNX model")
    parser.add_argument("--rate", type=number_above_zero, default=1000.0, help="periods per second (default: 1000)")
    parser.add_argument(
        "--seconds", type=number_above_zero, default=10.0, help="how long each engine's loop runs (default: 10)"
    )
    parser.add_argument(
        "--load", action="store_true", help="with background load on every CPU: memory streams and arithmetic"
    )
    parser.add_argument("--weights", default="f32", help="precision of rtrnn's weights (default: f32)")
    parser.add_argument(
        "--priority", type=int, default=80, help="SCHED_FIFO from 1 to 99, or 0 for none (default: 80, where permitted)"
    )
    parser.add_argument("--cpu", type=int, help="the CPU to run on (default: the last one allowed; -1: any)")
    parser.add_argument(
        "--lead",
        type=float,
        default=100.0,
        metavar="US",
        help="microseconds that rtrnn's loop wakes up early, to warm the caches (default: 100; 0: cold)",
    )
    parser.add_argument("--no-peers", action="store_true", help="run rtrnn alone")
    parser.add_argument("--json", action="store_true", help="print the figures and the histograms as JSON")
    parser.add_argument("--figure", metavar="FILE", help="draw the histograms (.png, .svg, .pdf)")
    add_loading_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from rtrnn.bench.load import Load
    from rtrnn.bench.periodic import Settings, measure_loops

    cpu = _cpu(args.cpu)
    if not 0 <= args.priority <= 99:
        raise UserError(f"--priority {args.priority}: expected 0 to 99")
    if not 0 <= args.lead < 1e6 / args.rate:
        raise UserError(f"--lead {args.lead:g}: expected microseconds from 0 to less than a period")
    if args.figure:
        check_figure(args.figure)
    settings = Settings(args.rate, args.seconds, args.weights, args.priority, cpu, args.lead * 1e-6)
    model = load_model(args.file, args)
    with ExitStack() as stack:
        if args.load:
            stack.enter_context(Load())
        progress = stack.enter_context(Progress("running", 1.0))
        result = measure_loops(args.file, model, settings, peers=not args.no_peers, progress=progress.update)
    title = _title(args, settings.cpu)
    if args.figure:
        from rtrnn.bench.loop_figure import draw_loops

        draw_loops(result.rows, title, args.rate, args.figure)
    if args.json:
        print_json(_facts(args, settings.cpu, result))
    else:
        _show(title, result)
    return 0


def _cpu(wanted: int | None) -> int | None:
    if not hasattr(os, "sched_getaffinity"):
        if wanted is not None and wanted >= 0:
            raise UserError("this system cannot pin a thread to a CPU; expected no --cpu")
        return None
    allowed = os.sched_getaffinity(0)
    if wanted is None:
        return max(allowed)
    if wanted < 0:
        return None
    if wanted not in allowed:
        raise UserError(f"CPU {wanted} cannot be used; expected one of {sorted(allowed)}, or -1 for any")
    return wanted


def _title(args: argparse.Namespace, cpu: int | None) -> str:
    from rtrnn.bench.machine import cpu_name

    place = f"CPU {cpu}" if cpu is not None else "any CPU"
    load = "with background load" if args.load else "without background load"
    return f"{os.path.basename(args.file)} at {args.rate:g} Hz {load}, {cpu_name()}, {place}"


def _show(title: str, result: LoopResult) -> None:
    rows = result.rows
    names = ("p50", "p99", "p99.9", "p99.99", "max")
    step = [(name, *map(_us, _percentiles(s.step)), format_count(s.step.count)) for name, s in rows.items()]
    others = [
        (
            name,
            *(_us(t) for times in (s.wake_up, s.response) for t in (times.p50, times.p999, times.max)),
            *(format_count(n) for n in (s.missed, s.late_in_step, s.skipped)),
        )
        for name, s in rows.items()
    ]
    header = ("us", *(f"{what} {p}" for what in ("wake-up", "response") for p in ("p50", "p99.9", "max")))
    show(
        Table(f"{title}\nmicroseconds inside the step", ("", *names, "steps"), step),
        Table("microseconds late at wake-up, and from due to done", (*header, "missed", "in step", "skipped"), others),
    )
    print("\n".join(_histogram(rows)))
    ours = next(iter(rows.values())).step.p999
    for name, stats in list(rows.items())[1:]:
        if ours > 0:
            print(f"p99.9 of the step: {name} takes {stats.step.p999 / ours:.1f} times as long as {next(iter(rows))}")
    print("missed: deadlines without an action in time; in step: of these, those whose step alone took a period;")
    print(f"skipped: of these, periods that could not begin in time. {result.turns} turns of each, one after the other")
    for text in result.notes:
        note(text)


def _percentiles(times: Times) -> tuple[float, ...]:
    return times.p50, times.p99, times.p999, times.p9999, times.max


def _us(seconds: float) -> str:
    value = seconds * 1e6
    return f"{value:,.2f}" if value < 100 else f"{value:,.0f}"


def _histogram(rows: dict[str, LoopStats]) -> list[str]:
    """One line of bars for each engine over one logarithmic axis of microseconds."""
    import numpy as np

    from rtrnn.bench.loop_figure import binned

    steps = {name: s.step for name, s in rows.items() if s.step.count}
    if not steps:
        return []
    low, high = min(t.min for t in steps.values()), max(t.max for t in steps.values())
    edges = np.geomspace(max(low, 1e-9) * 0.95, high * 1.05, _COLUMNS + 1)
    width = max(map(len, steps))
    lines = []
    for name, times in steps.items():
        counts = binned(times, edges)
        scaled = np.ceil(np.log1p(counts) / np.log1p(counts.max()) * (len(BARS) - 1)).astype(int)
        lines.append(f"{name:<{width}} [{''.join(BARS[i] for i in scaled)}]")
    axis, labels = [" "] * _COLUMNS, [" "] * (_COLUMNS + 8)
    decades = range(int(np.ceil(np.log10(edges[0] * 1e6))), int(np.floor(np.log10(edges[-1] * 1e6))) + 1)
    for decade in decades:
        at = min(int(np.searchsorted(edges, 10.0**decade * 1e-6)) - 1, _COLUMNS - 1)
        axis[at] = "|"
        labels[at : at + 8] = f"{10.0**decade:g}".ljust(8)
    lines.append(f"{'':<{width}}  {''.join(axis).rstrip()}")
    lines.append(f"{'us, bars: log of the count':<{width}.{width}}  {''.join(labels).rstrip()}")
    return lines


def _facts(args: argparse.Namespace, cpu: int | None, result: LoopResult) -> dict[str, Any]:
    return {
        "file": args.file,
        "rate": args.rate,
        "seconds": args.seconds,
        "load": args.load,
        "weights": args.weights,
        "priority": args.priority,
        "cpu": cpu,
        "lead_us": args.lead,
        "turns": result.turns,
        "results": [_row(name, stats) for name, stats in result.rows.items()],
        "notes": list(result.notes),
    }


def _row(name: str, stats: LoopStats) -> dict[str, Any]:
    counters = ("periods", "missed", "late", "late_in_step", "skipped", "stale", "repeated", "nonfinite")
    times = {what: getattr(stats, what) for what in ("step", "response", "wake_up", "prepare")}
    return {
        "engine": name,
        **{counter: getattr(stats, counter) for counter in counters},
        **{what: _time_facts(each) for what, each in times.items()},
    }


def _time_facts(times: Times) -> dict[str, Any]:
    uppers, counts = times.histogram
    return {
        "count": times.count,
        **dict(zip(("p50_us", "p99_us", "p999_us", "p9999_us", "max_us"), (1e6 * t for t in _percentiles(times)), strict=True)),
        "min_us": 1e6 * times.min,
        "mean_us": 1e6 * times.mean,
        "histogram": [[float(1e6 * upper), int(count)] for upper, count in zip(uppers, counts, strict=True)],
    }
