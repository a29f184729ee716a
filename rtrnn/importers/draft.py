"""A Graph under construction, in plain Python.

Importers write a :class:`Draft`, passes rewrite it, and :meth:`Draft.build` turns it into the C++ Graph, which
checks everything once more by its own shape rules. A Draft holds one timestep; names are unique over inputs,
states, tensors and node outputs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from rtrnn.errors import GraphError

if TYPE_CHECKING:
    from rtrnn import _core

__all__ = ["CELL_OPS", "VIEW_OPS", "Draft", "Node", "State", "Turn", "depends_on"]

Shape = tuple[int, ...]

CELL_OPS = frozenset({"rnn", "gru", "lstm"})
#: Node types that only rename or rearrange elements.
VIEW_OPS = frozenset({"reshape", "slice", "concat", "permute", "gather", "last"})

#: Positions of the state operands of each cell, in the order of its outputs.
CELL_STATES = {"rnn": (1,), "gru": (1,), "lstm": (1, 2)}


@dataclass(frozen=True)
class Turn:
    """One run of a layer's cell within a timestep: which layer, and whether it is the layer's last one."""

    layer: int
    is_last: bool


@dataclass
class Node:
    """One node: `inputs` and `outputs` are value names; an absent optional input is ``""``."""

    op: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)
    #: Of a cell that a layer runs several times within one timestep.
    turn: Turn | None = None


@dataclass
class State:
    """A value carried from step to step: what `next` was at the step before, `initial` at the first."""

    shape: Shape
    initial: np.ndarray
    next: str | None = None
    origin: str = ""


@dataclass
class Draft:
    """Inputs, outputs, states, tensors and nodes of a Graph that is not finished."""

    inputs: dict[str, Shape] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    states: dict[str, State] = field(default_factory=dict)
    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    #: Axes of foreign inputs that are time, and what takes in all of such an axis: (input, axis) -> a warning, if it is time.
    time_axes: set[tuple[str, int]] = field(default_factory=set)
    over_axes: list[tuple[tuple[str, int], str]] = field(default_factory=list)
    #: Values whose first so many frames in a stream the foreign network does not have -> how many.
    lagging: dict[str, int] = field(default_factory=dict)
    _tensor_by_identity: dict[Any, str] = field(default_factory=dict, repr=False)
    #: The numbers that names like a hint have reached: a search from 1 would take time in proportion to the names there are.
    _counts: dict[str, int] = field(default_factory=dict, repr=False)

    def unique(self, hint: str) -> str:
        """A value name like `hint` that is not taken."""
        name = hint = re.sub(r"\s+", "_", hint.strip()) or "value"
        count = self._counts.get(hint, 1)
        while name in self.shapes:
            count += 1
            name = f"{hint}_{count}"
        self._counts[hint] = count
        return name

    def add_input(self, name: str, shape: Shape) -> str:
        if name in self.shapes:
            raise GraphError(f"input {name!r}: the name is taken")
        self.inputs[name] = self.shapes[name] = tuple(shape)
        return name

    def add_tensor(self, array: np.ndarray, hint: str) -> str:
        """Adds a float tensor (any float type, stored as f32) unless an equal one is there; returns its name."""
        array = np.ascontiguousarray(array, dtype=np.float32)
        key = (array.shape, array.tobytes())
        known = self._tensor_by_identity.get(key)
        if known in self.tensors:  # and has not been pruned since
            return known
        name = self._tensor_by_identity[key] = self.unique(hint)
        self.tensors[name] = array
        self.shapes[name] = array.shape
        return name

    def add_state(self, hint: str, shape: Shape, initial: np.ndarray | None = None, origin: str = "") -> str:
        name = self.unique(hint)
        if initial is None:
            initial = np.zeros(shape, np.float32)
        self.states[name] = State(tuple(shape), np.asarray(initial, np.float32).reshape(shape), None, origin)
        self.shapes[name] = tuple(shape)
        return name

    def add_node(
        self,
        op: str,
        inputs: Sequence[str],
        shapes: Sequence[Shape],
        attributes: dict[str, Any] | None = None,
        hint: str = "",
    ) -> list[str]:
        """Appends a node whose outputs have the given shapes; returns the names of its outputs."""
        hint = hint or op
        outputs: list[str] = []
        for i, shape in enumerate(shapes):
            name = self.unique(hint if len(shapes) == 1 else f"{hint}_{'hc'[i] if op == 'lstm' else i}")
            self.shapes[name] = tuple(shape)
            outputs.append(name)
        self.nodes.append(Node(op, hint, list(inputs), outputs, dict(attributes or {})))
        return outputs

    # -- questions that passes ask ---------------------------------------------------------------------

    def producers(self) -> dict[str, Node]:
        """Value name -> the node that computes it."""
        return {value: node for node in self.nodes for value in node.outputs}

    def users(self) -> dict[str, list[Node]]:
        """Value name -> the nodes that read it, in order."""
        users: dict[str, list[Node]] = {}
        for node in self.nodes:
            for value in dict.fromkeys(node.inputs):
                if value:
                    users.setdefault(value, []).append(node)
        return users

    def depends_on(self, value: str) -> set[str]:
        """See :func:`depends_on`."""
        return depends_on(self.producers(), value)

    def roots(self) -> set[str]:
        """Values that must be computed: the outputs and the states' next values."""
        return set(self.outputs.values()) | {s.next for s in self.states.values() if s.next}

    def replace_value(self, old: str, new: str) -> None:
        """Every reader of `old` (nodes, outputs, states) reads `new` instead."""
        for node in self.nodes:
            node.inputs = [new if value == old else value for value in node.inputs]
        for name, value in self.outputs.items():
            if value == old:
                self.outputs[name] = new
        for state in self.states.values():
            if state.next == old:
                state.next = new

    def prune(self) -> None:
        """Removes nodes, states and tensors that reach no output. Inputs stay: they are the file's interface."""
        producers = self.producers()
        live: set[str] = set()
        pending = list(self.outputs.values())
        while pending:
            value = pending.pop()
            if value in live or not value:
                continue
            live.add(value)
            if value in producers:
                pending.extend(producers[value].inputs)
            elif value in self.states and self.states[value].next:
                pending.append(self.states[value].next)  # type: ignore[arg-type]
        self.nodes = [n for n in self.nodes if any(value in live for value in n.outputs)]
        self.states = {k: s for k, s in self.states.items() if k in live}
        self.tensors = {k: t for k, t in self.tensors.items() if k in live}

    def sort(self) -> None:
        """Puts the nodes in an order in which every value is computed before it is read."""
        producers = self.producers()
        done: set[int] = set()
        ordered: list[Node] = []
        for root in self.nodes:
            stack = [(root, False)]
            while stack:
                node, ready = stack.pop()
                if id(node) in done:
                    continue
                if ready:
                    done.add(id(node))
                    ordered.append(node)
                    continue
                stack.append((node, True))
                stack.extend((producers[v], False) for v in node.inputs if v in producers)
        self.nodes = ordered

    def build(self) -> _core.Graph:
        """The checked C++ Graph.

        Raises :class:`GraphError` when a rule is broken.
        """
        from rtrnn import _core

        graph = _core.Graph()
        for name, shape in self.inputs.items():
            graph.add_input(name, list(shape))
        for name, array in self.tensors.items():
            graph.add_tensor(name, array)
        for name, state in self.states.items():
            initial = ""
            if np.any(state.initial) or np.any(np.signbit(state.initial)):
                initial = self.unique(f"{name}.initial")
                self.shapes[initial] = state.shape
                graph.add_tensor(initial, state.initial)
            graph.add_state(name, list(state.shape), initial)
        for node in self.nodes:
            graph.add_node(node.op, node.name, node.inputs, node.outputs, node.attributes)
        for name, state in self.states.items():
            if not state.next:
                raise GraphError(f"state {name!r}: no value is given for the next step")
            graph.set_next(name, state.next)
        for name, value in self.outputs.items():
            graph.add_output(name, value)
        for key, text in self.metadata.items():
            graph.set_metadata(key, text)
        if self.states:
            origins = {name: state.origin or "the layer's own" for name, state in self.states.items()}
            graph.set_metadata("import.states", json.dumps(origins))
        graph.validate()
        computed = self.producers()
        for value, shape in self.shapes.items():
            if value in computed and tuple(graph.shape(value)) != shape:
                raise GraphError(
                    f"value {value!r}: the importer expected shape {shape}, the Graph says {graph.shape(value)}"
                )
        return graph


def depends_on(producers: Mapping[str, Node], value: str) -> set[str]:
    """Every value that `value` is computed from, itself included; `producers` is :meth:`Draft.producers`."""
    seen: set[str] = set()
    pending = [value]
    while pending:
        at = pending.pop()
        if at and at not in seen:
            seen.add(at)
            if at in producers:
                pending.extend(producers[at].inputs)
    return seen
