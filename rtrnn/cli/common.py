"""What several commands share: the user's error, loading a file with options, inputs from files."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtrnn.cli.output import status
from rtrnn.errors import Error

if TYPE_CHECKING:
    from rtrnn.model import Model

__all__ = [
    "UserError",
    "add_loading_arguments",
    "load_model",
    "named_pairs",
    "number_above_zero",
    "whole_number_above_zero",
]


class UserError(Error):
    """The command cannot be carried out as it was given; the message is what the user reads."""


def add_loading_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of :func:`rtrnn.load`."""
    group = parser.add_argument_group("how a foreign file is read")
    group.add_argument(
        "--states",
        nargs="+",
        metavar="IN=OUT",
        help="pairs of state input and state output, where they are not found; 'name=' says that an input is data",
    )
    group.add_argument(
        "--gru-reset",
        choices=("after", "before"),
        help="ONNX: the form of every GRU, for files whose exporter left out linear_before_reset",
    )
    group.add_argument(
        "--example",
        action="append",
        metavar="SHAPE",
        help="TorchScript: the shape of one argument of a call, as 1,48; repeated for several arguments",
    )


def load_model(path: str, args: argparse.Namespace, *, warn: bool = True) -> Model:
    """The file as a Model, read with the options of :func:`add_loading_arguments`.

    With `warn` the importer's warnings go to stderr.
    """
    import rtrnn

    states: Any = None
    if args.states:
        states = {name: output or None for name, output in named_pairs(args.states, "--states", "IN=OUT").items()}
    example = _example(args.example) if args.example else None
    if os.path.isdir(path):
        raise UserError(f"{path}: a directory; expected a file")
    with status(f"reading {path}"):
        try:
            model = rtrnn.load(path, states=states, example=example, gru_reset=args.gru_reset)
            if model.graph.is_causal:
                model.plan(isa=getattr(args, "isa", None))  # kept by the model; here its errors have a user
        except ValueError as error:
            if isinstance(error, Error):
                raise
            raise UserError(f"{path}: {error}") from error
    for text in model.warnings if warn else ():
        print(f"rtrnn: warning: {text}", file=sys.stderr)
    return model


def _example(texts: Sequence[str]) -> Any:
    import numpy as np

    shapes = []
    for text in texts:
        try:
            shape = tuple(int(part) for part in text.split(","))
        except ValueError:
            shape = ()
        if not shape or min(shape) < 1:
            raise UserError(f"--example {text}: expected sizes of at least 1 separated by commas, such as 1,48")
        shapes.append(shape)
    return tuple(np.zeros(shape, np.float32) for shape in shapes)


def named_pairs(texts: Sequence[str], option: str, form: str) -> dict[str, str]:
    """``["a=b", "c=d"]`` as a dict."""
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UserError(f"{option} {text}: expected {form}")
        if name in pairs:
            raise UserError(f"{option} {text}: {name!r} was already given")
        pairs[name] = value
    return pairs


def number_above_zero(text: str) -> float:
    """An argparse type."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text!r}")
    return value


def whole_number_above_zero(text: str) -> int:
    """An argparse type."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, found {text!r}")
    return value


def file_size(path: str | Path) -> int:
    return os.path.getsize(path)
