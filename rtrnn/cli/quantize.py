"""`rtrnn quantize`: what weights in fewer bits do to the outputs, before anyone has to trust them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtrnn.cli.common import (
    UserError,
    add_loading_arguments,
    check_figure,
    check_folder,
    load_model,
    note,
    number_above_zero,
    number_from_zero,
)
from rtrnn.cli.output import Progress, Table, format_bytes, painted, print_json, show

if TYPE_CHECKING:
    from rtrnn.precision.report import Entry, QuantizeReport

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a .rtrnn file, an ONNX model or a TorchScript archive")
    parser.add_argument(
        "--data",
        action="append",
        metavar="[NAME=]FILE",
        help="inputs recorded where the network works, as for 'rtrnn run' (default: made up, which tells less)",
    )
    parser.add_argument(
        "--budget",
        type=number_above_zero,
        default=0.01,
        help="error that 'auto' may make in any element of an output: RMS over time as a share of its spread (default: 0.01)",
    )
    parser.add_argument("--goal", choices=("speed", "memory"), default="speed", help="of 'auto' (default: speed)")
    parser.add_argument(
        "--delta",
        action="append",
        type=number_from_zero,
        default=[],
        metavar="THRESHOLD",
        help="measure delta updates as well: changes up to this are not followed; may be given several times",
    )
    parser.add_argument("--seconds", type=number_above_zero, default=1.0, help="of timing (default: 1)")
    parser.add_argument("--save", metavar="FILE", help="write the choice as JSON, for --weights of other commands")
    parser.add_argument("--figure", metavar="FILE", help="draw the errors over time (.png, .svg, .pdf)")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    add_loading_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from rtrnn.bench.machine import pinned
    from rtrnn.precision.report import quantize

    if args.figure:
        check_figure(args.figure)
    if args.save:
        check_folder(args.save)
    model = load_model(args.file, args)
    data = None
    if args.data:
        from rtrnn.cli.rows import read_inputs

        data = read_inputs(args.data, model.inputs, "--data")
    try:
        with pinned(None), Progress("measuring", 1.0) as progress:
            report = quantize(model, data, args.budget, goal=args.goal, deltas=args.delta, seconds=args.seconds, progress=progress.update)
    except ValueError as error:
        raise UserError(f"{args.file}: {error}") from error
    if args.save:
        Path(args.save).write_text(report.choice.to_json() + "\n", encoding="utf-8")
    if args.figure:
        from rtrnn.precision.figure import draw

        draw(report, args.figure, Path(args.file).name)
    if args.json:
        print_json(_facts(args.file, report))
    else:
        _show(args, report)
    return 0


def _facts(path: str, report: QuantizeReport) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "file": path,
        "trajectory": report.trajectory,
        "choice": json.loads(report.choice.to_json()),
        "results": [asdict(entry) for entry in report.entries],
    }


def _show(args: argparse.Namespace, report: QuantizeReport) -> None:
    rows = [row for entry in report.entries for row in _rows(entry)]
    header = ("weights", "output", "RMS", "element", "RMS of all", "largest", "timestep", "ns per step", "speed", "memory")
    show(Table(f"{args.file}: difference from f32 weights over {report.trajectory}, in percent of spread", header, rows, left=2))
    print("RMS: over time, of the element that is worst by it; spread: the element's standard deviation with f32 weights")
    for entry in report.entries:
        if entry.failure:
            print(f"{painted('error:', 'bad')} {entry.name}: {entry.failure}")
    print(f"auto: {report.choice}")
    if not args.data:
        note("made-up input; --data with inputs recorded where the network works tells more")


def _rows(entry: Entry) -> list[tuple[str, ...]]:
    speed = (
        f"{entry.step_ns:,.0f}" if entry.step_ns else "",
        f"{entry.speedup:.2f} x" if entry.speedup else "",
        format_bytes(entry.plan_bytes) if entry.plan_bytes is not None else "",
    )
    if entry.name == "f32" or entry.failure or not entry.errors:
        return [(entry.name, "", *[""] * 5, *speed)]
    rows: list[tuple[str, ...]] = []
    for i, e in enumerate(entry.errors):
        numbers = (_percent(e.rms), str(e.element), _percent(e.rms_of_all), _percent(e.largest), str(e.step))
        rows.append((entry.name if i == 0 else "", e.name, *numbers, *(speed if i == 0 else ("", "", ""))))
    return rows


def _percent(share: float) -> str:
    return f"{100 * share:.2g}" if share < 1 else f"{100 * share:.0f}"
