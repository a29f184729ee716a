"""What is in a Model: :func:`describe` as plain data, :func:`summarize` as text."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from rtrnn.cli.output import Table, format_bytes, format_count, plain

if TYPE_CHECKING:
    from rtrnn._core import Graph, Node
    from rtrnn.model import Model

__all__ = ["describe", "summarize", "tables"]

_CELLS = ("rnn", "gru", "lstm")
_METADATA_WIDTH = 80


def describe(model: Model) -> dict[str, Any]:
    """Inputs, outputs, states, layers, sizes and metadata, as values that JSON can hold.

    ``flops_per_step`` counts two operations for each multiply-add of linear layers and cells and nothing else.
    ``streamable`` is False for a network with a layer that runs backwards; then ``stream_bytes`` is None.
    """
    graph = model.graph
    layers = [_layer(graph, node) for node in graph.nodes]
    plan = model.plan() if graph.is_causal else None
    return {
        "inputs": {name: list(shape) for name, shape in model.inputs.items()},
        "outputs": {name: list(shape) for name, shape in model.outputs.items()},
        "states": {
            state.name: {"shape": list(state.shape), "initial": "given" if state.initial else "zero"}
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


def _layer(graph: Graph, node: Node) -> dict[str, Any]:
    tensors = [name for name in dict.fromkeys(node.inputs) if name and name in graph.tensor_names]
    return {
        "name": node.name,
        "op": node.op,
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
    ports = [("input", name, _shape(shape), "") for name, shape in facts["inputs"].items()]
    ports += [
        ("state", name, _shape(state["shape"]), "zero" if state["initial"] == "zero" else "given in the file")
        for name, state in facts["states"].items()
    ]
    ports += [("output", name, _shape(shape), "") for name, shape in facts["outputs"].items()]
    shown = [
        Table("One timestep", ("", "name", "shape", "initial value"), ports, left=4),
        Table("Layers", ("op", "name", "from", "to", "parameters", "FLOPs", ""), _layer_rows(facts["layers"]), left=2),
        Table("Sizes", ("", ""), _size_rows(facts)),
    ]
    if facts["metadata"]:
        entries = [(key, _cut(text)) for key, text in sorted(facts["metadata"].items())]
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
        if layer["op"] not in (*_CELLS, "linear", "layer_norm"):
            between.append(layer)
            continue
        close()
        ends = _shape(layer["input"]), _shape(layer["output"])
        flops = format_count(layer["flops"]) if layer["flops"] else ""
        rows.append((layer["op"], layer["name"], *ends, format_count(layer["parameters"]), flops, layer["detail"]))
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
