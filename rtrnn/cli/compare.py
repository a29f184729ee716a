"""`rtrnn compare`: two networks, or one in two precisions, side by side."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtrnn.cli.common import UserError, add_loading_arguments, check_figure, model_and_weights, note, number_above_zero
from rtrnn.cli.output import BARS, Progress, Table, format_bytes, format_count, print_json, share, show

if TYPE_CHECKING:
    import numpy as np

    from rtrnn.precision.compare import Comparison, Side

__all__ = ["add_arguments", "run"]

_COLUMNS = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    for name in ("A", "B"):
        parser.add_argument(
            name.lower(),
            metavar=name,
            help="FILE or FILE:PRECISION, as policy.onnx:i8; PRECISION is f32 (default), f16, bf16, i16, i8, i8a14, auto, "
            "or a file that 'rtrnn quantize --save' wrote",
        )
    parser.add_argument(
        "--data",
        action="append",
        metavar="[NAME=]FILE",
        help="inputs recorded where the network works, as for 'rtrnn run' (default: made up, which tells less)",
    )
    parser.add_argument("--seconds", type=number_above_zero, default=1.0, help="of timing (default: 1)")
    parser.add_argument("--figure", metavar="FILE", help="draw the error over time, latency and memory (.png, .svg, .pdf)")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    add_loading_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from rtrnn.bench.machine import pinned
    from rtrnn.precision.compare import compare

    if args.figure:
        check_figure(args.figure)
    a, b = model_and_weights(args.a, args), model_and_weights(args.b, args)
    data = None
    if args.data:
        from rtrnn.cli.rows import read_inputs

        data = read_inputs(args.data, a[0].inputs, "--data")
    try:
        with pinned(None), Progress("measuring", 1.0) as progress:
            found = compare(a, b, data, seconds=args.seconds, names=_names(args.a, args.b), progress=progress.update)
    except ValueError as error:
        raise UserError(str(error)) from error
    if args.figure:
        from rtrnn.precision.compare_figure import draw

        draw(found, args.figure)
    if args.json:
        facts = asdict(found)
        facts["over_time"] = {name: errors.tolist() for name, errors in found.over_time.items()}
        print_json(facts)
    else:
        _show(found, made_up=not args.data)
        if args.figure:
            print(f"figure: {args.figure}")
    return 0


def _names(a: str, b: str) -> tuple[str, str]:
    """Without folders, unless that makes them the same."""
    short = Path(a).name, Path(b).name
    return short if short[0] != short[1] else (a, b)


def _show(found: Comparison, made_up: bool) -> None:
    sides = (found.a, found.b)
    rows = [
        ("time of a step", *(_ns(side) for side in sides), _ratio(found.a.step_ns, found.b.step_ns)),
        ("weights, packed", *(_bytes(side.plan_bytes) for side in sides), _ratio(found.a.plan_bytes, found.b.plan_bytes)),
        ("a Stream", *(_bytes(side.stream_bytes) for side in sides), _ratio(found.a.stream_bytes, found.b.stream_bytes)),
        ("parameters", *(format_count(side.parameters) for side in sides), _ratio(found.a.parameters, found.b.parameters)),
    ]
    errors = [
        (e.name, share(e.rms), str(e.element), share(e.rms_of_all), share(e.largest), str(e.step)) for e in found.errors
    ]
    title = f"{found.b.name} against {found.a.name}: difference over {found.trajectory}, relative to the spread"
    show(
        Table("Side by side", ("", found.a.name, found.b.name, "B / A"), rows),
        Table(title, ("output", "RMS", "element", "RMS of all", "largest", "timestep"), errors),
    )
    print("difference over time, RMS over the elements:")
    width = max((len(name) for name in found.over_time), default=0)
    for name, values in found.over_time.items():
        print(f"  {name:<{width}} {_line(values)}")
    print("RMS: over time, of the element that is worst by it; spread: the element's standard deviation in A")
    if found.a.step_ns:
        print(f"time: median of a step in C++ on {found.isa}, the two in turns")
    if made_up:
        note("made-up input; --data with inputs recorded where the network works tells more")


def _ns(side: Side) -> str:
    return f"{side.step_ns:,.0f} ns" if side.step_ns else ""


def _bytes(size: int | None) -> str:
    return format_bytes(size) if size is not None else ""


def _ratio(a: float | None, b: float | None) -> str:
    return f"{b / a:.2f}" if a and b is not None else ""


def _line(values: np.ndarray[Any, Any]) -> str:
    """The error over time as a line of bars, on a linear scale."""
    import numpy as np

    parts = [float(part.max()) for part in np.array_split(values, min(_COLUMNS, len(values)))]
    top = max((part for part in parts if np.isfinite(part)), default=0.0)
    if not top:
        return "none" if not any(parts) else "not finite"
    bars = "".join(BARS[min(8, int(np.ceil(8 * part / top)))] if np.isfinite(part) else "!" for part in parts)
    return f"[{bars}] largest {share(top)}"
