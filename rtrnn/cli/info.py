"""`rtrnn info`: what is in a file."""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from rtrnn.cli.common import add_loading_arguments, check_figure, file_size, load_model, note
from rtrnn.cli.output import format_bytes, format_count, print_json, show

if TYPE_CHECKING:
    from rtrnn.drawing import Block

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a .rtrnn file, an ONNX model or a TorchScript archive")
    parser.add_argument("--svg", metavar="FILE", help="draw the graph (.svg, .png, .pdf)")
    parser.add_argument("--no-time", action="store_true", help="do not time the parts of a step (about 0.3 s)")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    add_loading_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from rtrnn.drawing import picture, table
    from rtrnn.loading import detect_format
    from rtrnn.summary import describe, tables

    if args.svg:
        check_figure(args.svg, "--svg")
    model = load_model(args.file, args, warn=False)
    facts = describe(model)
    kind, size = detect_format(args.file), file_size(args.file)
    untimed = ""
    try:
        drawn = picture(model, timed=not args.no_time)
    except ValueError as error:
        drawn, untimed = picture(model, timed=False), str(error)
    if args.svg:
        from rtrnn.drawing.figure import draw

        draw(drawn, args.svg, os.path.basename(args.file), _sizes(facts, drawn.step_ns))
    if args.json:
        graph = {"blocks": [_block_facts(block) for block in drawn.blocks], "states": [asdict(loop) for loop in drawn.loops]}
        times = {"step_ns": drawn.step_ns, "around_ns": drawn.around_ns}
        print_json({"file": args.file, "format": kind, "file_bytes": size, **facts, "graph": {**graph, **times}})
        return 0
    producer = facts["metadata"].get("source.producer", "")
    print(f"{args.file}: {kind}{f' by {producer}' if producer else ''}, {format_bytes(size)}\n")
    shown = tables(facts)
    show(shown[0], table(drawn), *shown[1:])
    if drawn.step_ns:
        print(f"ns: kernel calls timed within whole steps on {facts['isa']} with f32 weights, medians, the clock's own time taken off;")
        print("around them: the input taken in and checked, the new state checked and committed")
    if untimed:
        note(f"not timed: {untimed}")
    if args.svg:
        print(f"figure: {args.svg}")
    return 0


def _sizes(facts: dict[str, Any], step_ns: float | None) -> str:
    texts = [f"{format_count(facts['parameters'])} parameters", f"{format_bytes(facts['weight_bytes'])} of f32 weights"]
    if facts["stream_bytes"] is not None:
        texts.append(f"{format_bytes(facts['stream_bytes'])} per Stream")
    if step_ns:
        texts.append(f"{step_ns:,.0f} ns in a step's kernels on {facts['isa']}")
    return ", ".join(texts)


def _block_facts(block: Block) -> dict[str, Any]:
    return {**asdict(replace(block, nodes=[])), "nodes": [node.name for node in block.nodes], "label": block.label}
