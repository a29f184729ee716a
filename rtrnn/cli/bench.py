"""`rtrnn bench`: the cost of a step, beside other engines."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rtrnn.cli.common import add_loading_arguments, load_model, number_above_zero, whole_number_above_zero
from rtrnn.cli.output import Progress, Table, format_bytes, print_json, show

if TYPE_CHECKING:
    from rtrnn.bench.suite import Result

__all__ = ["add_arguments", "run"]

_BARS = " ▁▂▃▄▅▆▇█"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a .rtrnn file, an ONNX model or a TorchScript archive")
    parser.add_argument("--seconds", type=number_above_zero, default=3.0, help="length of the measurement (default: 3)")
    parser.add_argument("--rounds", type=whole_number_above_zero, help="number of turns, in place of --seconds")
    parser.add_argument("--cpu", type=int, help="the CPU to run on (default: the last one allowed)")
    parser.add_argument("--no-peers", action="store_true", help="time rtrnn alone")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    add_loading_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from rtrnn.bench import bench

    model = load_model(args.file, args)
    with Progress("measuring", 1.0) as progress:
        result = bench(
            args.file,
            model=model,
            seconds=args.seconds,
            rounds=args.rounds,
            cpu=args.cpu,
            peers=not args.no_peers,
            progress=progress.update,
        )
    if args.json:
        print_json({"file": args.file, **_facts(result)})
    else:
        _show(args.file, result)
    return 0


def _facts(result: Result) -> dict[str, Any]:
    return {
        "processor": result.processor,
        "cpu": result.cpu,
        "isa": result.isa,
        "rounds": result.report.rounds,
        "interrupted": result.report.interrupted,
        "timer_ns": result.report.timer_ns,
        "weight_bytes": result.weight_bytes,
        "gigabytes_per_second": result.gigabytes_per_second,
        "engines": [asdict(figures) for figures in result.report.engines],
        "notes": list(result.notes),
    }


def _show(path: str, result: Result) -> None:
    report = result.report
    rows = [
        (
            f.name + ("" if f.from_blocks else " *"),
            _ns(f.median_ns),
            f"{f.ratio:.2f}",
            _ns(f.low_ns),
            f"{f.low_ratio:.2f}",
            *map(_ns, (f.p50_ns, f.p99_ns, f.p999_ns)),
            f"{f.calls:,}",
        )
        for f in report.engines
    ]
    header = ("nanoseconds per step", "median", "ratio", "low", "ratio", "p50", "p99", "p99.9", "single calls")
    place = f"CPU {result.cpu}" if result.cpu is not None else "not pinned"
    show(Table(f"{path} on {result.processor}, {place}, {result.isa}, one thread", header, rows))
    print(f"median, low (10th percentile): of {report.rounds} blocks of about 1 ms, the engines in turns")
    print(f"ratio: to {report.engines[0].name}")
    if report.interrupted:
        share = f"{100 * report.interrupted:.0f} %"
        print(f"{share} of the blocks are left out: the system ran another process on this CPU meanwhile")
    print(f"p50 to p99.9: single calls, with the timer's own {report.timer_ns:.0f} ns in them")
    if not all(f.from_blocks for f in report.engines):
        print(f"*: only the step is timed, not prepare(); the median is p50 less the timer's {report.timer_ns:.0f} ns")
    rate = f"{result.gigabytes_per_second:.1f} GB/s"
    print(
        f"weights read per step: {format_bytes(result.weight_bytes)}, {rate} at the median of {report.engines[0].name}"
    )
    name = report.engines[0].name
    print(f"single calls of {name}: {_histogram(report.samples_ns[name])}")
    for note in result.notes:
        print(f"note: {note}")


def _ns(value: float) -> str:
    return f"{value:,.0f}"


def _histogram(samples: Any, bins: int = 40) -> str:
    """Counts from the smallest sample to p99.9 as bars on a logarithmic scale, and what lies beyond."""
    import numpy as np

    low, high = float(samples.min()), float(np.percentile(samples, 99.9))
    if high <= low:
        return f"all {_ns(low)} ns"
    counts, _ = np.histogram(samples, bins, (low, high))
    scaled = np.ceil(np.log1p(counts) / np.log1p(counts.max()) * (len(_BARS) - 1)).astype(int)
    bars = "".join(_BARS[i] for i in scaled)
    return f"{_ns(low)} [{bars}] {_ns(high)} ns, largest {_ns(float(samples.max()))} ns (bars: log of the count)"
