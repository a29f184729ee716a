"""Puts a fused cell node in the place of the nodes that :mod:`rtrnn.importers.recognise` found to be one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rtrnn.importers.algebra import REARRANGING, Algebra, Lanes
from rtrnn.importers.draft import Node

__all__ = ["ACTIVATIONS", "Cell", "Function", "Gate", "replace"]

#: The functions a cell node may use, with the parameters they have when a node names none.
ACTIVATIONS: dict[str, tuple[float, float]] = {
    "sigmoid": (0.0, 0.0),
    "tanh": (0.0, 0.0),
    "relu": (0.0, 0.0),
    "softsign": (0.0, 0.0),
    "hard_sigmoid": (0.2, 0.5),
    "leaky_relu": (0.01, 0.0),
    "elu": (1.0, 0.0),
    "thresholded_relu": (1.0, 0.0),
    "scaled_tanh": (1.0, 1.0),
}


@dataclass(frozen=True)
class Function:
    """A gate's activation: name and parameters."""

    name: str
    alpha: float
    beta: float


@dataclass(eq=False)
class Gate:
    """The argument of one gate, split by the cell's operands."""

    x: dict[Lanes, np.ndarray] = field(default_factory=dict)
    h: np.ndarray | None = None
    peephole: np.ndarray | None = None
    bias_x: np.ndarray | None = None
    bias_h: np.ndarray | None = None

    def negated(self) -> Gate:
        flipped = (None if a is None else -a for a in (self.h, self.peephole, self.bias_x, self.bias_h))
        return Gate({k: -m for k, m in self.x.items()}, *flipped)


@dataclass
class Cell:
    """A recognised cell, ready to be put in place of its nodes."""

    kind: str
    states: list[Lanes]
    #: The values that the cell's outputs replace.
    results: list[str]
    gates: list[Gate]
    functions: list[Function]
    attributes: dict[str, Any] = field(default_factory=dict)
    weight_hr: np.ndarray | None = None


def replace(algebra: Algebra, cell: Cell) -> int:
    """Puts the fused node in place; returns the number of nodes it replaced, 0 when it may not replace them."""
    draft = algebra.draft
    parts = list(dict.fromkeys(part for gate in cell.gates for part in gate.x))
    if not parts or all(gate.h is None for gate in cell.gates):
        return 0
    inner = _inner_nodes(algebra, cell, parts)
    if inner is None:
        return 0
    hidden = cell.states[-1].indices
    size, recurrent = len(hidden), len(cell.states[0].indices)

    def joined(arrays: list[np.ndarray | None], shape: tuple[int, ...]) -> np.ndarray | None:
        if all(a is None for a in arrays):
            return None
        return np.concatenate([np.zeros(shape) if a is None else a for a in arrays])

    def weight_ih(gate: Gate) -> np.ndarray:
        return np.concatenate([gate.x.get(part, np.zeros((size, len(part.indices)))) for part in parts], axis=1)

    gates = cell.gates
    weights = {
        "weight_ih": np.concatenate([weight_ih(gate) for gate in gates]),
        "weight_hh": joined([gate.h for gate in gates], (size, recurrent)),
        "bias_ih": joined([gate.bias_x for gate in gates], (size,)),
        "bias_hh": joined([gate.bias_h for gate in gates], (size,)),
        "weight_hr": cell.weight_hr,
    }
    if cell.kind == "lstm":
        weights["peephole"] = joined([gates[k].peephole for k in (0, 1, 3)], (size,))
    inputs = [_vector(algebra, tuple(parts)), *(_vector(algebra, (state,)) for state in cell.states)]
    for role, array in weights.items():
        inputs.append("" if array is None else draft.add_tensor(array, f"{cell.kind}.{role}"))
    while inputs[-1] == "":
        inputs.pop()
    shapes = [(len(state.indices),) for state in cell.states]
    outputs = draft.add_node(cell.kind, inputs, shapes, _attributes(cell), cell.kind)
    for old, new in zip(cell.results, outputs, strict=True):
        if draft.shapes[old] != draft.shapes[new]:
            shape = draft.shapes[old]
            (new,) = draft.add_node("reshape", [new], [shape], {"shape": list(shape)}, f"{new}.view")
        draft.replace_value(old, new)
    draft.prune()
    draft.sort()
    return len(inner)


def _attributes(cell: Cell) -> dict[str, Any]:
    attributes = dict(cell.attributes)
    functions = cell.functions
    usual = {"rnn": ["tanh"], "gru": ["sigmoid", "tanh"], "lstm": ["sigmoid", "tanh", "tanh"]}[cell.kind]
    if [f.name for f in functions] != usual:
        attributes["activations"] = [f.name for f in functions]
    if any((f.alpha, f.beta) != ACTIVATIONS[f.name] for f in functions):
        attributes["alpha"] = [f.alpha for f in functions]
        attributes["beta"] = [f.beta for f in functions]
    return attributes


def _inner_nodes(algebra: Algebra, cell: Cell, parts: list[Lanes]) -> list[Node] | None:
    """The nodes between the cell's operands and its results; None when one of them is needed elsewhere."""
    draft = algebra.draft
    operands = {lanes.value for lanes in (*parts, *cell.states)}
    if operands & set(cell.results):
        return None
    visited = _upstream(algebra, cell.results, operands)
    # Nodes that only rearrange the operands stay for whoever else reads them.
    views: set[str] = set()
    inner: list[Node] = []
    for node in draft.nodes:
        if not visited.intersection(node.outputs):
            continue
        if all(v in operands or v in views or v in draft.tensors for v in node.inputs) and _is_view(node):
            views.update(node.outputs)
        else:
            inner.append(node)
    made = {value for node in inner for value in node.outputs}
    inside = {id(node) for node in inner}
    users, roots = draft.users(), draft.roots()
    for value in made - set(cell.results):
        if value in roots or any(id(user) not in inside for user in users.get(value, [])):
            return None
    if _upstream(algebra, list(operands), set()) & made:
        return None
    return inner


def _is_view(node: Node) -> bool:
    return node.op in REARRANGING


def _upstream(algebra: Algebra, values: list[str], stop: set[str]) -> set[str]:
    """The computed values that `values` are computed from, themselves included, no further than `stop`."""
    seen: set[str] = set()
    pending = list(values)
    while pending:
        value = pending.pop()
        if value not in seen and value not in stop and value in algebra.producers:
            seen.add(value)
            pending.extend(algebra.producers[value].inputs)
    return seen


def _vector(algebra: Algebra, parts: tuple[Lanes, ...]) -> str:
    """A one-dimensional value made of `parts`; one that is there already where possible."""
    draft = algebra.draft
    size = sum(len(part.indices) for part in parts)
    if parts == (algebra.all_of(parts[0].value),) and draft.shapes[parts[0].value] == (size,):
        return parts[0].value
    known = algebra.vectors.get(parts)
    if known is not None and draft.shapes[known] == (size,):
        return known
    if len(parts) > 1:
        return draft.add_node("concat", [_vector(algebra, (p,)) for p in parts], [(size,)], {"axis": 0})[0]
    (part,) = parts
    value, whole = part.value, len(algebra.all_of(part.value).indices)
    if draft.shapes[value] != (whole,):
        (value,) = draft.add_node("reshape", [value], [(whole,)], {"shape": [whole]}, f"{value}.view")
    first = part.indices[0]
    if part.indices == tuple(range(whole)):
        return value
    if part.indices == tuple(range(first, first + size)):
        attributes: dict[str, Any] = {"axis": 0, "start": first, "stop": first + size, "step": 1}
        return draft.add_node("slice", [value], [(size,)], attributes)[0]
    return draft.add_node("gather", [value], [(size,)], {"axis": 0, "indices": list(part.indices)})[0]
