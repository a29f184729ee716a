"""`rtrnn play`: a network as a filter of lines, for scripts, pipes and hands."""

from __future__ import annotations

import argparse
import sys
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from rtrnn.cli.common import UserError, add_loading_arguments, add_weights_argument, load_model, weights_of
from rtrnn.cli.output import painted
from rtrnn.errors import NonFiniteError

if TYPE_CHECKING:
    from rtrnn._stream import Stream

__all__ = ["add_arguments", "run"]

_LINES = """\
a line in: numbers separated by spaces or commas, all inputs one after the other in declared order; or the word 'reset', which goes
back to the initial state and is not answered. Empty lines and what follows a # are passed over.
a line out: the outputs one after the other, separated by spaces, in the fewest digits that give the same float32; written at once.
A line that cannot be taken ends it with status 1 (on a terminal it is refused, and the state stays as it was)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = f"{parser.epilog}\n\n{_LINES}"
    parser.add_argument("file", metavar="FILE", help="a file that rtrnn loads")
    parser.add_argument("--isa", help="force an instruction set; see rtrnn --version")
    parser.add_argument(
        "--on-nonfinite",
        choices=("error", "hold", "propagate"),
        default="error",
        help="what a NaN or an infinity does (default: error)",
    )
    add_weights_argument(parser)
    add_loading_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from rtrnn.cli.rows import format_row, standard_input, text_of

    model = load_model(args.file, args)
    try:
        stream = model.stream(weights_of(args, model), args.isa, args.on_nonfinite)
    except ValueError as error:
        raise UserError(f"{args.file}: {error}") from error
    source = standard_input()
    by_hand = source.isatty()
    if by_hand:
        sizes = " + ".join(f"{prod(shape)} of {name}" for name, shape in model.inputs.items())
        print(f"{sizes or 'an empty line'} -> {', '.join(model.outputs)}; reset; Ctrl-D ends", file=sys.stderr)
    outputs = list(stream.output.values()) if len(model.outputs) > 1 else [stream.output]
    # readline, not iteration: the latter may wait for more than one line.
    for number, line in enumerate(text_of(iter(source.readline, ""), "standard input"), 1):
        try:
            if _take(stream, line):
                print(format_row(outputs, " "), flush=True)
        except (ValueError, NonFiniteError) as error:
            if not by_hand:
                raise UserError(f"standard input, line {number}: {error}") from error
            print(f"{painted('line ' + str(number), 'bad', sys.stderr)}: {error}", file=sys.stderr)
    return 0


def _take(stream: Stream, line: str) -> bool:
    """Takes one line; whether it is to be answered. Raises ValueError."""
    words = line.partition("#")[0].replace(",", " ").split()
    if words == ["reset"]:
        stream.reset()
        return False
    inputs = _buffers(stream.input)
    if not words and inputs:
        return False
    expected = sum(array.size for array in inputs)
    values = [_number(word) for word in words]
    if len(values) != expected:
        raise ValueError(f"expected {expected} numbers or 'reset', found {len(values)}")
    at = 0
    with np.errstate(over="ignore"):  # the step says what is infinite as a float32
        for array in inputs:
            array.flat[:] = np.array(values[at : at + array.size])
            at += array.size
    stream.step()
    return True


def _buffers(arrays: Any) -> list[Any]:
    return list(arrays.values()) if isinstance(arrays, dict) else [arrays]


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ValueError(f"expected numbers or 'reset', found {word!r}") from None
