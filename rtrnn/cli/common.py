"""What several commands share: the user's error, loading a file with options, inputs from files."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtrnn.cli.output import painted, status
from rtrnn.errors import Error

if TYPE_CHECKING:
    from rtrnn.model import Model, Weights

__all__ = [
    "PRECISIONS",
    "UserError",
    "add_loading_arguments",
    "add_weights_argument",
    "check_figure",
    "check_folder",
    "load_model",
    "model_and_weights",
    "named_pairs",
    "note",
    "number_above_zero",
    "number_from_zero",
    "weights_of",
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
    group.add_argument(
        "--input-shape",
        action="append",
        default=[],
        metavar="NAME=SHAPE",
        help="ONNX: the shape of one input, as obs=1,48, where the file does not fix it; repeated for several inputs",
    )
    group.add_argument(
        "--activation",
        metavar="NAME",
        help="checkpoints: the function between the layers of a multilayer perceptron, as elu",
    )
    group.add_argument(
        "--normalizer",
        metavar="FILE",
        help="checkpoints: the statistics of the observations, an .npz with mean, std or var, eps, clip, or VecNormalize's .pkl",
    )


def add_weights_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights",
        "--precision",
        action="append",
        metavar="PRECISION",
        help="f32 (default), f16, bf16, i16, i8, i8a14; auto; a file that 'rtrnn quantize --save' wrote; or NODE.ROLE=PRECISION for one "
        "matrix, repeated for several",
    )


def weights_of(args: argparse.Namespace, model: Model, data: Any = None) -> Weights:
    """What :func:`add_weights_argument` was given. A choice that is made here, on `data`, is told on stderr."""
    import rtrnn
    from rtrnn.precision import WeightChoice

    texts: list[str] = args.weights or ["f32"]
    if len(texts) > 1 or "=" in texts[0]:
        return named_pairs(texts, "--weights", "NODE.ROLE=PRECISION")
    if texts[0].endswith(".json"):
        try:
            return WeightChoice.from_json(Path(texts[0]).read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{texts[0]}: {error}") from error
    if texts[0] != "auto":
        return texts[0]
    with status("choosing weights"), warnings.catch_warnings():
        warnings.simplefilter("ignore", rtrnn.ModelWarning)  # the choice says on what it was made
        choice = model.choose_weights(data, isa=getattr(args, "isa", None))
    print(f"rtrnn: {choice}", file=sys.stderr)
    return choice


#: What ``FILE:PRECISION`` may end in.
PRECISIONS = ("f32", "f16", "bf16", "i16", "i8", "i8a14", "auto")


def model_and_weights(text: str, args: argparse.Namespace, data: Any = None) -> tuple[Model, Weights]:
    """``FILE``, ``FILE:PRECISION`` or ``FILE:CHOICE.json`` with the options of :func:`add_loading_arguments`."""
    path, colon, precision = text.rpartition(":")
    if not colon or (precision not in PRECISIONS and not precision.endswith(".json")):
        path, precision = text, "f32"
    model = load_model(path, args)
    return model, weights_of(argparse.Namespace(weights=[precision]), model, data)


def load_model(path: str, args: argparse.Namespace, *, warn: bool = True) -> Model:
    """The file as a Model, read with the options of :func:`add_loading_arguments`.

    With `warn` the importer's warnings go to stderr.
    """
    import rtrnn

    states: Any = None
    if args.states:
        states = {name: output or None for name, output in named_pairs(args.states, "--states", "IN=OUT").items()}
    example = _example(args.example) if args.example else None
    shapes = named_pairs(args.input_shape, "--input-shape", "NAME=SHAPE")
    input_shapes = {name: _shape(text, "--input-shape") for name, text in shapes.items()} or None
    if os.path.isdir(path):
        raise UserError(f"{path}: a directory; expected a file")
    with status(f"reading {path}"), warnings.catch_warnings():
        warnings.simplefilter("ignore", rtrnn.ModelWarning)  # printed below, in this command's own words
        try:
            model = rtrnn.load(
                path,
                states=states,
                example=example,
                gru_reset=args.gru_reset,
                input_shapes=input_shapes,
                activation=args.activation,
                normalizer=args.normalizer,
            )
            if model.graph.is_causal:
                model.plan(isa=getattr(args, "isa", None))  # kept by the model; here its errors have a user
        except ValueError as error:
            if isinstance(error, Error):
                raise
            raise UserError(f"{path}: {error}") from error
    for text in model.warnings if warn else ():
        print(f"{painted('rtrnn: warning:', 'note', sys.stderr)} {text}", file=sys.stderr)
    return model


def _example(texts: Sequence[str]) -> Any:
    import numpy as np

    return tuple(np.zeros(_shape(text, "--example"), np.float32) for text in texts)


def _shape(text: str, option: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise UserError(f"{option} {text}: expected sizes of at least 1 separated by commas, such as 1,48")
    return shape


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


def number_from_zero(text: str) -> float:
    """An argparse type."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number from 0 on, found {text!r}")
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


def check_figure(path: str, option: str = "--figure") -> None:
    """Before anything is computed: that a figure can be drawn and written there."""
    from rtrnn.figures import ENDINGS, require_matplotlib

    if Path(path).suffix not in ENDINGS:
        raise UserError(f"{option} {path}: expected a name that ends in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}")
    check_folder(path)
    require_matplotlib()


def check_folder(path: str) -> None:
    """Before anything is computed: that the folder of a file to be written is there."""
    if not Path(path).absolute().parent.is_dir():
        raise UserError(f"{path}: its folder does not exist")


def note(text: str) -> None:
    """Something a reader of the results should know."""
    print(f"{painted('note:', 'note')} {text}")


def file_size(path: str | Path) -> int:
    return os.path.getsize(path)
