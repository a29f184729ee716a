"""`rtrnn run`: rows in, rows out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtrnn.cli.common import UserError, add_loading_arguments, add_weights_argument, load_model, weights_of
from rtrnn.cli.output import Progress
from rtrnn.errors import NonFiniteError

if TYPE_CHECKING:
    from rtrnn._stream import Stream
    from rtrnn.model import Model

__all__ = ["add_arguments", "run"]

#: Timesteps between two reports of progress.
_BLOCK = 4096


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a .rtrnn file, an ONNX model or a TorchScript archive")
    parser.add_argument(
        "--input",
        action="append",
        required=True,
        metavar="[NAME=]FILE",
        help="one row per timestep: CSV (a header is skipped), .npy, .npz, or - for CSV lines on standard input; "
        "once for each input of the network",
    )
    parser.add_argument("--output", default="-", metavar="FILE", help=".csv, .npy, .npz, or - for CSV (default)")
    parser.add_argument("--no-header", action="store_true", help="write CSV without a line of column names")
    parser.add_argument("--isa", help="force an instruction set; see rtrnn --version")
    parser.add_argument(
        "--on-nonfinite",
        choices=("error", "hold", "propagate"),
        default="error",
        help="what a NaN or an infinity does (default: error)",
    )
    parser.add_argument(
        "--hold-steps", type=int, metavar="N", help="with --on-nonfinite hold: after N held timesteps in a row the next is an error"
    )
    parser.add_argument("--no-limits", action="store_true", help="do not apply the limits of outputs that the file has")
    add_weights_argument(parser)
    add_loading_arguments(parser)


def run(args: argparse.Namespace) -> int:
    model = load_model(args.file, args)
    _check_output(args.output, model)
    piped = args.input in (["-"], [f"{next(iter(model.inputs), '')}=-"]) and len(model.inputs) == 1
    if piped and args.output == "-" and model.graph.is_causal:
        _pipe(_stream(model, args), model, header=not args.no_header)
        return 0
    from rtrnn.cli.rows import read_inputs, write_arrays

    inputs = read_inputs(args.input, model.inputs)
    if model.graph.is_causal:
        outputs = _process(_stream(model, args, inputs), model, inputs)
    else:
        outputs = _offline(model, inputs, args)
    write_arrays(args.output, outputs, header=not args.no_header)
    return 0


def _check_output(path: str, model: Model) -> None:
    """Before anything is computed, what can be known not to work."""
    if path == "-":
        return
    if Path(path).is_dir():
        raise UserError(f"{path}: a directory; expected a file to write")
    if not Path(path).parent.is_dir():
        raise UserError(f"{path}: the folder {Path(path).parent} does not exist")
    if Path(path).suffix not in (".csv", ".npy", ".npz", ".txt", ""):
        raise UserError(f"{path}: expected a name ending in .csv, .npy or .npz")


def _stream(model: Model, args: argparse.Namespace, inputs: Any = None) -> Stream:
    try:
        return model.stream(
            weights_of(args, model, inputs),
            args.isa,
            args.on_nonfinite,
            hold_steps=args.hold_steps,
            limits=not args.no_limits,
        )
    except ValueError as error:
        raise UserError(f"{args.file}: {error}") from error


def _pipe(stream: Stream, model: Model, header: bool) -> None:
    """Each output as soon as its input has come."""
    from math import prod

    from rtrnn.cli.rows import column_names, format_row, parse_rows, standard_input

    ((_, shape),) = model.inputs.items()
    if header:
        print(",".join(column_names(model.outputs)), flush=True)
    # readline, not iteration: the latter may wait for more than one line.
    lines = iter(standard_input().readline, "")
    buffers = stream.output if len(model.outputs) > 1 else {"": stream.output}
    for count, row in enumerate(parse_rows(lines, prod(shape), "standard input"), 1):
        stream.input.flat[:] = row
        try:
            stream.step()
        except NonFiniteError as error:
            raise UserError(f"standard input, row {count}: {error}") from error
        print(format_row(buffers.values()), flush=True)


def _process(stream: Stream, model: Model, inputs: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    steps = len(next(iter(inputs.values()))) if inputs else 0
    outputs = {name: np.empty((steps, *shape), np.float32) for name, shape in model.outputs.items()}
    with Progress("running", steps) as progress:
        for begin in range(0, steps, _BLOCK):
            part = slice(begin, begin + _BLOCK)
            try:
                result = stream.process({name: array[part] for name, array in inputs.items()})
            except ValueError as error:
                where = f" (counted from timestep {begin})" if begin else ""
                raise UserError(f"{error}{where}") from error
            for name, value in result.items():
                outputs[name][part] = value
            progress.update(begin + _BLOCK)
    return outputs


def _offline(model: Model, inputs: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """A network that runs backwards needs the whole sequence; an output that exists once becomes one row."""
    if args.hold_steps is not None:
        raise UserError("--hold-steps is for networks that can be streamed, and this one runs backwards")
    try:
        weights = weights_of(args, model, inputs)
        outputs = model.run(
            inputs, weights=weights, isa=args.isa, on_nonfinite=args.on_nonfinite, limits=not args.no_limits
        )
    except ValueError as error:
        raise UserError(f"{args.file}: {error}") from error
    shaped = {n: v if v.ndim > len(model.outputs[n]) else v[None] for n, v in outputs.items()}
    if Path(args.output).suffix not in (".npy", ".npz") and len({len(value) for value in shaped.values()}) > 1:
        raise UserError("the outputs differ in their number of rows; write them to a .npz file")
    return shaped
