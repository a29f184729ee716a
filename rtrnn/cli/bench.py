"""`rtrnn bench`: the cost of a step, beside other engines and the machine's limits."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from rtrnn.cli.common import (
    UserError,
    add_loading_arguments,
    add_weights_argument,
    check_figure,
    load_model,
    note,
    number_above_zero,
    weights_of,
    whole_number_above_zero,
)
from rtrnn.cli.output import BARS, Progress, Table, format_bytes, painted, print_json, show

if TYPE_CHECKING:
    from rtrnn.bench.limits import Limits
    from rtrnn.bench.suite import Result

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", nargs="?", help="a .rtrnn file, an ONNX model or a TorchScript archive")
    parser.add_argument(
        "--seconds", type=number_above_zero, help="length of a measurement (default: 3; grid: 0.5 each)"
    )
    parser.add_argument("--rounds", type=whole_number_above_zero, help="number of turns, in place of --seconds")
    parser.add_argument("--cpu", type=int, help="the CPU to run on (default: the last one allowed)")
    parser.add_argument("--no-peers", action="store_true", help="time rtrnn alone")
    parser.add_argument("--figure", metavar="FILE", help="draw the steps (.png, .svg, .pdf)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    add_weights_argument(parser)
    group = parser.add_argument_group("many networks in place of a file")
    group.add_argument("--grid", action="store_true", help="time every cell at every size, and policies")
    group.add_argument("--cells", metavar="LIST", help="some of gru,lstm,rnn")
    group.add_argument("--sizes", metavar="LIST", help="input x hidden, as 8,64x128")
    group.add_argument("--precisions", metavar="LIST", help="of the weights, as f32,i8 (default: all there are)")
    group.add_argument("--forms", metavar="LIST", help="some of step,finish,run,batch")
    group.add_argument("--peers", metavar="LIST", help="some of onnxruntime,openvino,torch,torchscript,torch.compile")
    group.add_argument(
        "--no-policies", action="store_true", help="without real policies (two shapes, files in RTRNN_MODELS)"
    )
    group.add_argument("--save", metavar="FILE", help="write the figures as JSON to a file")
    add_loading_arguments(parser)


def run(args: argparse.Namespace) -> int:
    only_grid = ("cells", "sizes", "precisions", "forms", "peers", "no_policies", "save")
    given = [name for name in only_grid if getattr(args, name)]
    if args.grid:
        if args.weights:
            raise UserError("--weights belongs to a file; a grid has --precisions")
        if args.file:
            raise UserError(f"--grid times networks of its own; expected no file, found {args.file}")
        from rtrnn.cli.bench_grid import run_grid

        return run_grid(args)
    if given:
        raise UserError(f"--{given[0].replace('_', '-')} belongs to --grid")
    if not args.file:
        raise UserError("expected a file, or --grid")
    return _run_file(args)


def _run_file(args: argparse.Namespace) -> int:
    from rtrnn.bench import bench

    if args.figure:
        check_figure(args.figure)
    model = load_model(args.file, args)
    weights = weights_of(args, model)
    with Progress("measuring", 1.0) as progress:
        result = bench(
            args.file,
            model=model,
            weights=weights,
            seconds=args.seconds or 3.0,
            rounds=args.rounds,
            cpu=args.cpu,
            peers=not args.no_peers,
            progress=progress.update,
        )
    if args.figure:
        from rtrnn.bench.file_figure import draw_bench

        draw_bench(result, f"{os.path.basename(args.file)} on {place(result.machine)}", args.figure)
    if args.json:
        from rtrnn.bench.report import file_facts

        print_json(file_facts(args.file, result))
    else:
        _show(args.file, result)
    return 0


def place(machine: dict[str, Any]) -> str:
    """On what the figures were measured."""
    cpu = f"CPU {machine['cpu']}" if machine["cpu"] is not None else "not pinned"
    return f"{machine['processor']}, {cpu}, {machine['isa']}, one thread"


def limits_text(limits: Limits) -> str:
    """``reads L1 230 GB/s, L2 112, L3 80, memory 16; multiply-add 580 GFLOP/s``"""
    reads = ", ".join(f"{level.name} {level.gigabytes_per_second[0]:.0f}" for level in limits.levels)
    return f"reads in GB/s: {reads or 'unknown'}; f32 multiply-adds: {limits.gigaflops[0]:.0f} GFLOP/s"


def _show(path: str, result: Result) -> None:
    report = result.report
    rows = [
        (
            f.name + ("" if f.from_blocks else " *"),
            ns(f.median_ns),
            f"{f.ratio:.2f}",
            ns(f.low_ns),
            f"{f.low_ratio:.2f}",
            *map(ns, (f.p50_ns, f.p99_ns, f.p999_ns)),
            f"{f.calls:,}",
        )
        for f in report.engines
    ]
    rows += [(failure.name, "error", *[""] * 7) for failure in result.failures]
    header = ("nanoseconds per step", "median", "ratio", "low", "ratio", "p50", "p99", "p99.9", "single calls")
    show(Table(f"{path} on {place(result.machine)}", header, rows))
    print(f"median, low (10th percentile): of {report.rounds} rounds' means over about 1 ms, the engines in turns")
    print(f"ratio: to {report.engines[0].name}")
    if report.interrupted:
        share = f"{100 * report.interrupted:.0f} %"
        print(f"{share} of the blocks are left out: the system ran another process on this CPU meanwhile")
    print(f"p50 to p99.9: single calls, with the timer's own {report.timer_ns:.0f} ns in them")
    if not all(f.from_blocks for f in report.engines):
        print(
            f"*: of single calls, a prepare or the step after it alone; the timer's {report.timer_ns:.0f} ns taken off"
        )
    limits, shares = result.limits, result.shares
    print(f"limits of this CPU, median of {limits.turns} turns between the rounds: {limits_text(limits)}")
    rate = f"{result.gigabytes_per_second:.1f} GB/s at the median of the C++ step"
    print(f"weights read per step: {format_bytes(result.weight_bytes)}, {rate}: {share_text(shares)}")
    for same in limits.sizes:
        print(f"just reading as many bytes: {same.gigabytes_per_second[0]:.0f} GB/s")
    costs = ", ".join(f"{call} {median:+.0f} ({low:+.0f}) ns" for call, (median, low) in result.over_native_ns.items())
    print(f"over the C++ step, the loop in Python taken off, median (of the low figures): {costs}")
    name = report.engines[0].name
    print(f"single calls of {name}: {_histogram(report.samples_ns[name])}")
    for failure in result.failures:
        print(f"{painted('error:', 'bad')} {failure.name} is not timed: {failure.reason}")
    for text in result.notes:
        note(text)


def share_text(shares: Any) -> str:
    level = f"{shares.read_percent:.0f} % of {shares.level}'s limit" if shares.level else "the caches are unknown"
    return f"{level}, {shares.flop_percent:.0f} % of the multiply-adds'"


def ns(value: float) -> str:
    """Nanoseconds, with a decimal where that is more than a percent."""
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _histogram(samples: Any, bins: int = 40) -> str:
    """Counts from the smallest sample to p99.9 as bars on a logarithmic scale, and what lies beyond."""
    import numpy as np

    low, high = float(samples.min()), float(np.percentile(samples, 99.9))
    if high <= low:
        return f"all {ns(low)} ns"
    counts, _ = np.histogram(samples, bins, (low, high))
    scaled = np.ceil(np.log1p(counts) / np.log1p(counts.max()) * (len(BARS) - 1)).astype(int)
    bars = "".join(BARS[i] for i in scaled)
    return f"{ns(low)} [{bars}] {ns(high)} ns, largest {ns(float(samples.max()))} ns (bars: log of the count)"
