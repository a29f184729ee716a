"""`rtrnn codegen`: a network as one C99 file and a header."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from rtrnn.cli.common import UserError, add_loading_arguments, load_model
from rtrnn.cli.output import format_bytes

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="any file that rtrnn loads")
    parser.add_argument("-o", "--output", required=True, metavar="NAME.c", help="the source to write; NAME.h is written beside it")
    parser.add_argument("--name", help="what every symbol begins with and the header is called (default: the output's name)")
    parser.add_argument("--weights", default="f32", choices=("f32", "i16", "i8"), help="precision of the matrices (default: f32)")
    layout = parser.add_mutually_exclusive_group()
    layout.add_argument("--tile", type=int, default=16, choices=(8, 16, 32), help="rows computed beside each other (default: 16)")
    layout.add_argument("--small", action="store_true", help="one row after another: the least flash and memory, for microcontrollers")
    parser.add_argument("--no-fma", action="store_true", help="round products and sums apart: not the same bits")
    add_loading_arguments(parser)


def run(args: argparse.Namespace) -> int:
    import rtrnn

    target = Path(args.output)
    name = args.name or re.sub(r"\W", "_", target.stem, flags=re.ASCII)
    if target.suffix != ".c":
        raise UserError(f"{args.output}: expected a file name that ends with .c")
    model = load_model(args.file, args)
    try:
        code = rtrnn.codegen(model, name, weights=args.weights, tile=args.tile, small=args.small, fma=not args.no_fma)
    except ValueError as error:
        if isinstance(error, rtrnn.Error):
            raise
        raise UserError(f"{args.output}: {error}") from error
    source, header = code.write(target)
    print(f"{'wrote':<9} {source} and {header}: {name}_reset, {name}_prepare, {name}_step")
    print(f"{'constants':<9} {format_bytes(code.constant_bytes)}")
    print(f"{'state':<9} {format_bytes(code.state_bytes)} for each sequence, scratch memory included")
    return 0
