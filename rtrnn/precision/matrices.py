"""The matrices of a network that can be packed in fewer bits."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rtrnn._core import Graph, Node

__all__ = ["Matrix", "cell_rows", "matrices_of"]

#: Node type -> role and position among the node's inputs.
_ROLES = {
    "rnn": {"weight_ih": 2, "weight_hh": 3},
    "gru": {"weight_ih": 2, "weight_hh": 3},
    "lstm": {"weight_ih": 3, "weight_hh": 4, "weight_hr": 7},
    "linear": {"weight": 1},
}


@dataclass(frozen=True)
class Matrix:
    """One tensor (rows, cols), and the nodes that multiply by it: they share what is packed, and so its precision."""

    names: tuple[str, ...]
    rows: int
    cols: int
    #: Products in a timestep.
    products: int
    #: Multiplied by a state: i8 quantises the operand to 8 bits, and i8a14 does not.
    is_recurrent: bool

    @property
    def name(self) -> str:
        """The first of the names, each ``NODE.ROLE``."""
        return self.names[0]


def matrices_of(graph: Graph) -> list[Matrix]:
    """Every matrix of rnn, gru, lstm and linear nodes that an output or a state depends on, in the order of the nodes."""
    users: dict[str, list[tuple[str, int]]] = {}
    for node in _live(graph):
        for role, position in _ROLES.get(node.op, {}).items():
            if position < len(node.inputs) and node.inputs[position]:
                times = prod(graph.shape(node.inputs[0])[:-1]) if node.op == "linear" else 1
                users.setdefault(node.inputs[position], []).append((f"{node.name}.{role}", times))
    matrices = []
    for tensor, found in users.items():
        rows, cols = graph.shape(tensor)
        matrices.append(Matrix(tuple(name for name, _ in found), rows, cols, sum(times for _, times in found), _recurrent(found)))
    return matrices


def _recurrent(users: list[tuple[str, int]]) -> bool:
    return all(name.endswith(".weight_hh") for name, _ in users)


def cell_rows(graph: Graph) -> int:
    """The rows of all cells' gates: each ends in an activation."""
    first = {"rnn": 2, "gru": 2, "lstm": 3}
    return sum(graph.shape(node.inputs[first[node.op]])[0] for node in _live(graph) if node.op in first)


def _live(graph: Graph) -> list[Node]:
    """The nodes that a Plan keeps: those that an output or any state's next value depends on."""
    made_by = {value: node for node in graph.nodes for value in node.outputs}
    pending = [output.value for output in graph.outputs] + [state.next for state in graph.states]
    live: set[str] = set()
    while pending:
        value = pending.pop()
        if value in live:
            continue
        live.add(value)
        if value in made_by:
            pending += made_by[value].inputs
    return [node for node in graph.nodes if not live.isdisjoint(node.outputs)]
