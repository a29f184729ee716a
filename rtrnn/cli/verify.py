"""`rtrnn verify`: rtrnn beside the file's own runtime."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from rtrnn.cli.common import UserError, add_loading_arguments, load_model, number_above_zero, whole_number_above_zero
from rtrnn.cli.output import Marked, Progress, Table, painted, print_json, show, status
from rtrnn.errors import UnsupportedError

if TYPE_CHECKING:
    from rtrnn.verify import Report

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a file of a format that has a runtime in Python: ONNX, PyTorch, Keras, ..")
    parser.add_argument(
        "--against",
        metavar="FOREIGN",
        help="run this file in its runtime instead of FILE, for a .rtrnn that was converted from it",
    )
    parser.add_argument("--steps", type=whole_number_above_zero, default=1000, help="timesteps (default: 1000)")
    parser.add_argument(
        "--input",
        action="append",
        metavar="[NAME=]FILE",
        help="inputs as for 'rtrnn run' (default: random, normal with deviation 1)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random inputs (default: 0)")
    parser.add_argument(
        "--tolerance",
        type=number_above_zero,
        default=1e-4,
        help="largest error allowed, relative to the spread of the value over the run (default: 1e-4)",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    add_loading_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from rtrnn.loading import detect_format
    from rtrnn.verify import verify

    foreign = args.against or args.file
    if detect_format(foreign) == "rtrnn":
        hint = "" if args.against else "; name the file it was converted from with --against"
        raise UnsupportedError(f"{foreign}: a .rtrnn file has no runtime of its own{hint}")
    if args.seed < 0:
        raise UserError(f"--seed {args.seed}: expected a number that is not negative")
    model = load_model(args.file, args)
    inputs = None
    if args.input:
        from rtrnn.cli.rows import read_inputs

        inputs = read_inputs(args.input, model.inputs)
        args.steps = len(next(iter(inputs.values()), ()))
    with status(f"verifying {foreign}") if args.json else Progress("verifying", args.steps) as progress:
        report = verify(
            foreign,
            model=model,
            steps=args.steps,
            inputs=inputs,
            seed=args.seed,
            tolerance=args.tolerance,
            progress=progress.update if progress else None,
        )
    if args.json:
        print_json({"file": args.file, "passed": report.passed, "largest_relative": report.largest_relative,
                    **asdict(report)})  # fmt: skip
    else:
        _show(args.file, report)
    return 0 if report.passed else 1


def _show(path: str, report: Report) -> None:
    how = "state carried" if report.steps_per_call == 1 else f"{report.steps_per_call} in one call"
    rows = [
        (
            c.kind,
            c.name,
            f"{c.largest_absolute:.2e}",
            f"{c.largest_relative:.2e}",
            f"{c.spread:.3g}",
            f"step {c.step}, element {c.element}" if c.largest_relative else "",
            Marked("ok", "good") if c.largest_relative <= report.tolerance else Marked("TOO LARGE", "bad"),
        )
        for c in report.comparisons
    ]
    header = ("", "name", "largest error", "of its spread", "spread", "where", "")
    title = f"{path}: rtrnn ({report.isa}) and {report.runtime}, {report.steps} steps, {how}"
    show(Table(title, header, rows, left=2))
    verdict = painted("passed", "good") if report.passed else painted("FAILED", "bad")
    relation = "within" if report.passed else "above"
    print(
        f"{verdict}: the largest error is {report.largest_relative:.2e} of the spread, {relation} {report.tolerance:g}"
    )
