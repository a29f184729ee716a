"""`rtrnn convert`: a foreign file as .rtrnn, with what was recognised in it."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from rtrnn.cli.common import UserError, add_loading_arguments, file_size, load_model, named_pairs
from rtrnn.cli.output import format_bytes, format_count, print_json

if TYPE_CHECKING:
    from rtrnn.model import Model

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", metavar="IN", help="an ONNX model, a TorchScript archive or a .rtrnn file")
    parser.add_argument("output", metavar="OUT", help="the .rtrnn file to write")
    parser.add_argument("--metadata", nargs="+", default=[], metavar="KEY=TEXT", help="entries to add to the metadata")
    parser.add_argument("--json", action="store_true", help="print what was recognised as JSON")
    add_loading_arguments(parser)


def run(args: argparse.Namespace) -> int:
    import rtrnn
    from rtrnn.loading import detect_format
    from rtrnn.summary import describe

    entries = named_pairs(args.metadata, "--metadata", "KEY=TEXT")
    model = load_model(args.input, args, warn=False)
    for key, text in entries.items():
        model.set_metadata(key, text)
    model.save(args.output)
    written = rtrnn.load(args.output)
    if written.graph.fingerprint != model.graph.fingerprint:
        raise UserError(
            f"{args.output}: read back with fingerprint {written.graph.fingerprint}, expected {model.graph.fingerprint}"
        )
    facts = describe(model)
    kind, size = detect_format(args.input), file_size(args.output)
    found = _how_found(model)
    if args.json:
        print_json({"input": args.input, "format": kind, "output": args.output, "file_bytes": size,
                    "states_found": found, **facts})  # fmt: skip
        return 0
    for name, text in _lines(args, kind, facts, found):
        print(f"{name:<9} {text}")
    print(f"{'wrote':<9} {args.output}: {format_bytes(size)}, read back and found equal")
    return 0


def _lines(args: argparse.Namespace, kind: str, facts: dict[str, Any], found: dict[str, str]) -> list[tuple[str, str]]:
    producer = facts["metadata"].get("source.producer", "")
    opset = facts["metadata"].get("source.opset", "")
    origin = ", ".join(part for part in (kind, producer, f"opset {opset}" if opset and kind == "onnx" else "") if part)
    counts = Counter(layer["op"] for layer in facts["layers"])
    lines = [
        ("read", f"{args.input}: {origin}"),
        ("inputs", _ports(facts["inputs"])),
        ("outputs", _ports(facts["outputs"])),
        ("layers", ", ".join(f"{count} {op}" for op, count in counts.items()) or "none"),
        ("weights", f"{format_count(facts['parameters'])} parameters, {format_bytes(facts['weight_bytes'])}"),
    ]
    for name, state in facts["states"].items():
        initial = "" if state["initial"] == "zero" else ", initial value not zero"
        lines.append(("state", f"{_ports({name: state['shape']})}: {found[name]}{initial}"))
    if not facts["states"]:
        lines.append(("states", "none: every step depends on its own input alone"))
    for text in facts["metadata"].get("import.recognised", "").splitlines():
        lines.append(("cell", text))
    lines += [("warning", text) for text in facts["warnings"]]
    return lines


def _ports(ports: dict[str, list[int]]) -> str:
    return ", ".join(f"{name} ({', '.join(map(str, shape))})" for name, shape in ports.items())


def _how_found(model: Model) -> dict[str, str]:
    pairs = json.loads(model.metadata.get("source.states", "{}"))
    return {
        name: f"input {name!r} is carried from output {pairs[name]!r}" if name in pairs else "kept inside the network"
        for name in model.states
    }
