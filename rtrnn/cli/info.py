"""`rtrnn info`: what is in a file."""

from __future__ import annotations

import argparse

from rtrnn.cli.common import add_loading_arguments, file_size, load_model
from rtrnn.cli.output import format_bytes, print_json, show

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a .rtrnn file, an ONNX model or a TorchScript archive")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    add_loading_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from rtrnn.loading import detect_format
    from rtrnn.summary import describe, tables

    model = load_model(args.file, args, warn=False)
    facts = describe(model)
    kind, size = detect_format(args.file), file_size(args.file)
    if args.json:
        print_json({"file": args.file, "format": kind, "file_bytes": size, **facts})
        return 0
    producer = facts["metadata"].get("source.producer", "")
    print(f"{args.file}: {kind}{f' by {producer}' if producer else ''}, {format_bytes(size)}\n")
    show(*tables(facts))
    return 0
