"""What is in a Model: :func:`describe` as plain data, :func:`summarize` as text."""

from __future__ import annotations

import json
from math import prod
from typing import TYPE_CHECKING, Any

from rtrnn.cli.output import Table, format_bytes, format_count, plain

if TYPE_CHECKING:
    from rtrnn._core import Graph, Node
    from rtrnn.model import Model

__all__ = ["describe", "summarize", "tables"]

_CELLS = ("rnn", "gru", "lstm")
#: Node types whose weights several nodes may share -> the first input that is a weight.
_PRODUCTS = {"rnn": 2, "gru": 2, "lstm": 3, "linear": 1, "conv": 1}
_METADATA_WIDTH = 80
#: Metadata that the other tables show, or that only :mod:`rtrnn.verify` reads.
_TOLD_ELSEWHERE = frozenset({"import.recognised", "import.states", "source.inputs", "source.states"})


def describe(model: Model) -> dict[str, Any]:
    """Inputs, outputs, states, layers, sizes and metadata, as values that JSON can hold.

    ``flops_per_step`` counts two operations for each multiply-add of linear layers, convolutions and cells and nothing else.
    Nodes that are one layer run several times within the timestep, with the same weights, are one entry of ``layers``: `count`
    says how many they are, and its FLOPs are those of all of them.
    ``streamable`` is False for a network with a layer that runs backwards; then ``stream_bytes`` is None.
    """
    graph = model.graph
    layers = _layers(graph)
    found = _found_states(model)
    plan = model.plan() if graph.is_causal else None
    return {
        "inputs": {name: list(shape) for name, shape in model.inputs.items()},
        "outputs": {name: list(shape) for name, shape in model.outputs.items()},
        "states": {
            state.name: {
                "shape": list(state.shape),
                "initial": "given" if state.initial else "zero",
                "found": found.get(state.name, ""),
            }
            for state in graph.states
        },
        "layers": layers,
        "parameters": model.parameters,
        "weight_bytes": 4 * model.parameters,
        "flops_per_step": sum(layer["flops"] for layer in layers),
        "streamable": plan is not None,
        "isa": plan.isa if plan else None,
        "plan_bytes": plan.constant_bytes if plan else None,
        "stream_bytes": plan.stream_bytes if plan else None,
        "metadata": dict(model.metadata),
        "warnings": list(model.warnings),
        "fingerprint": str(graph.fingerprint),
    }


def _found_states(model: Model) -> dict[str, str]:
    """How the importer found each state; nothing for a Graph that no importer made."""
    try:
        found = json.loads(model.metadata.get("import.states", "{}"))
    except ValueError:  # metadata is free text
        return {}
    return {str(name): str(how) for name, how in found.items()} if isinstance(found, dict) else {}


def _layers(graph: Graph) -> list[dict[str, Any]]:
    tensors = frozenset(graph.tensor_names)
    layers: list[dict[str, Any]] = []
    shared: dict[tuple[str, ...], dict[str, Any]] = {}
    for node in graph.nodes:
        operands = node.inputs[_PRODUCTS.get(node.op, 0) :]
        weights = [name for name in dict.fromkeys(operands) if name in tensors]
        layer = _layer(graph, node, weights)
        key = (node.op, layer["detail"], *weights)
        if weights and node.op in _PRODUCTS and key in shared:
            shared[key]["count"] += 1
            shared[key]["flops"] += layer["flops"]
            continue
        shared[key] = layer
        layers.append(layer)
    return layers


def _layer(graph: Graph, node: Node, tensors: list[str]) -> dict[str, Any]:
    return {
        "name": node.name,
        "op": node.op,
        "count": 1,
        "input": list(graph.shape(node.inputs[0])) if node.inputs and node.inputs[0] else [],
        "output": list(graph.shape(node.outputs[0])),
        "detail": _detail(node),
        "parameters": sum(prod(graph.shape(name)) for name in tensors),
        "flops": _flops(graph, node),
    }


def _detail(node: Node) -> str:
    attributes = node.attributes
    words = []
    if node.op == "gru":
        words.append(f"reset {attributes.get('reset', 'after')}")
    for key in ("strides", "dilations"):
        if node.op == "conv" and max(attributes.get(key) or [1]) > 1:
            words.append(f"{key} {' x '.join(map(str, attributes[key]))}")
    if node.op == "conv" and attributes.get("groups", 1) > 1:
        words.append(f"{attributes['groups']} groups")
    if attributes.get("direction", "forward") != "forward":
        words.append(str(attributes["direction"]))
    if attributes.get("clip"):
        words.append(f"clip {attributes['clip']:g}")
    if "activations" in attributes and node.op in _CELLS:
        words.append(" ".join(attributes["activations"]))
    return ", ".join(words)


def _flops(graph: Graph, node: Node) -> int:
    """Two operations for each weight of a matrix product, for each row that it is applied to."""
    if node.op == "linear":
        return 2 * prod(graph.shape(node.inputs[0])[:-1]) * prod(graph.shape(node.inputs[1]))
    if node.op == "conv":
        return 2 * prod(graph.shape(node.outputs[0])[1:]) * prod(graph.shape(node.inputs[1]))
    if node.op not in _CELLS:
        return 0
    first = 3 if node.op == "lstm" else 2
    matrices = [node.inputs[first], node.inputs[first + 1]]
    if node.op == "lstm" and len(node.inputs) > 7 and node.inputs[7]:
        matrices.append(node.inputs[7])  # the projection
    return 2 * sum(prod(graph.shape(name)) for name in matrices)


def summarize(model: Model) -> str:
    """A table of inputs, states, layers and outputs, as :meth:`rtrnn.Model.summary` gives it."""
    return "\n\n".join(plain(table) for table in tables(describe(model)))


def tables(facts: dict[str, Any]) -> list[Table]:
    """The tables for what :func:`describe` found."""
    ports = [("input", name, _shape(shape), "", "") for name, shape in facts["inputs"].items()]
    ports += [
        (
            "state",
            name,
            _shape(state["shape"]),
            "zero" if state["initial"] == "zero" else "given in the file",
            state["found"],
        )
        for name, state in facts["states"].items()
    ]
    ports += [("output", name, _shape(shape), "", "") for name, shape in facts["outputs"].items()]
    shown = [
        Table("One timestep", ("", "name", "shape", "initial value", "found as"), ports, left=5),
        Table("Layers", ("op", "name", "from", "to", "parameters", "FLOPs", ""), _layer_rows(facts["layers"]), left=2),
        Table("Sizes", ("", ""), _size_rows(facts)),
    ]
    recognised = facts["metadata"].get("import.recognised", "")
    if recognised:
        shown.append(Table("Recognised", ("",), [(line,) for line in recognised.splitlines()]))
    entries = [(key, _cut(text)) for key, text in sorted(facts["metadata"].items()) if key not in _TOLD_ELSEWHERE]
    if entries:
        shown.append(Table("Metadata", ("", ""), entries, left=2))
    if facts["warnings"]:
        shown.append(Table("Warnings", ("",), [(text,) for text in facts["warnings"]]))
    return shown


def _layer_rows(layers: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """A row for each layer with weights of its own; what lies between two of them shares one."""
    rows: list[tuple[str, ...]] = []
    between: list[dict[str, Any]] = []

    def close() -> None:
        if between:
            ops = [layer["op"] for layer in between]
            name = ", ".join(ops if len(ops) <= 6 else [*ops[:5], f".. ({len(ops)} in all)"])
            ends = _shape(between[0]["input"]), _shape(between[-1]["output"])
            parameters = sum(layer["parameters"] for layer in between)
            rows.append(("elementwise", name, *ends, format_count(parameters), "", ""))
            between.clear()

    for layer in layers:
        if layer["op"] not in (*_PRODUCTS, "layer_norm"):
            between.append(layer)
            continue
        close()
        ends = _shape(layer["input"]), _shape(layer["output"])
        flops = format_count(layer["flops"]) if layer["flops"] else ""
        op = layer["op"] if layer["count"] == 1 else f"{layer['op']} x{layer['count']}"
        rows.append((op, layer["name"], *ends, format_count(layer["parameters"]), flops, layer["detail"]))
    close()
    return rows


def _size_rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [
        ("parameters", format_count(facts["parameters"])),
        ("weights (f32)", format_bytes(facts["weight_bytes"])),
        ("FLOPs per step", format_count(facts["flops_per_step"])),
    ]
    if facts["streamable"]:
        rows.append((f"plan on {facts['isa']}, shared", format_bytes(facts["plan_bytes"])))
        rows.append(("memory per Stream", format_bytes(facts["stream_bytes"])))
        rows.append(("runs", "one timestep at a time, and offline"))
    else:
        rows.append(("runs", "offline only (a layer runs backwards in time)"))
    return rows


def _shape(shape: list[int]) -> str:
    return " x ".join(map(str, shape)) if shape else "scalar"


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _METADATA_WIDTH else f"{text[: _METADATA_WIDTH - 4]} ..."
