"""What :meth:`rtrnn.Stream.trace` returns, and how it is computed: by the engine itself.

A second Plan, in the same precisions and on the same instruction set, computes beside the network all that it keeps to itself. Each
gate of a cell becomes a node of its own which forms its sum as the cell does: an lstm node of which only the input gate has
weights, with the identity as that gate's function, a candidate of 1 and a forget gate of 0, so that ``c'`` is the sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from rtrnn import _core
from rtrnn.errors import NonFiniteError, UnsupportedError

if TYPE_CHECKING:
    from rtrnn._stream import Stream

__all__ = ["Trace", "trace"]

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Trace:
    """Everything that some timesteps computed, to the bit. Arrays are float32, ``(T, *shape)``, or ``(*shape)`` of a single one."""

    #: By cell node, each of shape (T, hidden_size). gru: "reset", "update", "candidate"; lstm: "input", "forget", "candidate", "output";
    #: rnn: "pre_activation", what its function is applied to. And the cell's new "h", and an lstm's "c"; "h" of an lstm with a
    #: projection has the projection's size.
    cells: dict[str, dict[str, Array]]
    #: Each state after the timestep, by name.
    states: dict[str, Array]
    #: Each output as the Stream gave it, limits included, by name.
    outputs: dict[str, Array]
    #: What every node computed, by the names of `model.graph`.
    values: dict[str, Array]


def trace(stream: Stream, plan: _core.Plan, x: Any) -> Trace:
    """See :meth:`rtrnn.Stream.trace`."""
    tracer = _tracers.get(plan)
    if tracer is None:
        if plan.delta is not None:
            raise UnsupportedError("trace: expected a Stream without delta updates, whose sums are no longer those of a cell")
        tracer = _tracers[plan] = _Tracer(plan, plan.graph)
    return tracer.run(stream, x)


_tracers: WeakKeyDictionary[_core.Plan, _Tracer] = WeakKeyDictionary()


class _Tracer:
    """The Plan that computes what one Plan keeps to itself."""

    def __init__(self, plan: _core.Plan, graph: _core.Graph) -> None:
        cells = [node for node in graph.nodes if node.op in _GATES]
        if not cells:
            ops = ", ".join(sorted({node.op for node in graph.nodes})) or "no node"
            raise UnsupportedError(f"trace: expected a network with a gru, lstm or rnn node, found {ops}")
        self.inputs = dict(plan.inputs)
        self.state_names = [state.name for state in graph.states]
        probes = _Probes(graph, plan.weights)
        names = [node.name for node in cells]
        self.cells: dict[str, dict[str, str]] = {}
        for node in cells:
            # A layer that runs several times within the timestep is several nodes of one name.
            key = node.name if names.count(node.name) == 1 else node.outputs[0]
            self.cells[key] = {**_GATES[node.op](probes, node), **dict(zip("hc", node.outputs, strict=False))}
        self.values = [value for node in graph.nodes for value in node.outputs]
        wanted = dict.fromkeys([*self.values, *(value for cell in self.cells.values() for value in cell.values())])
        # A Plan makes one call of a normaliser, which rounds differently from a sub and a div, unless somebody else reads the difference.
        read_apart = {node.outputs[0]: probes.node("sub", list(node.inputs)) for node in graph.nodes if node.op == "sub"}
        self.ports = {value: probes.output(read_apart.get(value, value)) for value in wanted}
        self.plan = _core.Plan(probes.graph, "f32", plan.isa, {**plan.weights, **probes.weights}, "")

    def run(self, stream: Stream, x: Any) -> Trace:
        from rtrnn._stream import Stream

        rows, is_sequence = self._rows(stream.input if x is None else x)
        twin = Stream(self.plan, "propagate")
        before = stream.save_state()
        outputs, states, found = [], [], []
        for at, row in enumerate(rows):
            state = stream.state()
            twin.set_state({name: state[name] for name in self.state_names})
            try:
                outputs.append(stream.step(row))
            except NonFiniteError as error:
                stream.restore_state(before)
                raise NonFiniteError(f"timestep {at}: {error}") from None
            states.append(stream.state())
            found.append(twin.step(row))

        def gathered(given: list[dict[str, Array]], key: str) -> Array:
            return np.stack([each[key] for each in given]) if is_sequence else given[0][key]

        by_value = {value: gathered(found, port) for value, port in self.ports.items()}
        return Trace(
            {cell: {gate: by_value[value] for gate, value in gates.items()} for cell, gates in self.cells.items()},
            {name: gathered(states, name) for name in states[0]},
            {name: gathered(outputs, name) for name in outputs[0]},
            {value: by_value[value] for value in self.values},
        )

    def _rows(self, x: Any) -> tuple[list[dict[str, Array]], bool]:
        """The inputs of each timestep by name, and whether `x` had a time axis."""
        given = x if isinstance(x, Mapping) else dict(zip(self.inputs, [x] if len(self.inputs) == 1 else x, strict=False))
        if set(given) != set(self.inputs):
            raise ValueError(f"trace: expected the inputs {list(self.inputs)}, found {list(given)}")
        arrays = {name: np.asarray(value) for name, value in given.items()}
        if all(array.shape == self.inputs[name] for name, array in arrays.items()):
            return [arrays], False
        for name, array in arrays.items():
            shape = self.inputs[name]
            if array.shape[1:] != shape or array.ndim != len(shape) + 1:
                raise ValueError(f"input {name!r}: expected shape {shape} or {('T', *shape)}, found {array.shape}")
        lengths = {len(array) for array in arrays.values()}
        if len(lengths) > 1 or 0 in lengths:
            raise ValueError(f"inputs: expected the same number of timesteps, 1 or more, found {sorted(lengths)}")
        return [{name: array[t] for name, array in arrays.items()} for t in range(lengths.pop())], True


class _Probes:
    """A copy of a Graph that grows by nodes which compute gates."""

    def __init__(self, graph: _core.Graph, precisions: Mapping[str, str]) -> None:
        self.graph = _core.Graph.from_bytes(graph.to_bytes())
        self.weights: dict[str, str] = {}  # of the matrices of added nodes
        self._precisions = precisions
        self._count = 0

    def _name(self) -> str:
        while True:
            self._count += 1
            if not self.graph.has_value(name := f"trace.{self._count}"):
                return name

    def node(self, op: str, inputs: list[str], **attributes: Any) -> str:
        """Adds a node; the name of what it computes (the second value of an lstm)."""
        outputs = [self._name() for _ in range(2 if op == "lstm" else 1)]
        self.graph.add_node(op, outputs[-1], inputs, outputs, attributes)
        return outputs[-1]

    def tensor(self, array: Array) -> str:
        name = self._name()
        self.graph.add_tensor(name, array)
        return name

    def output(self, value: str) -> str:
        name = self._name()
        self.graph.add_output(name, value)
        return name

    def share_precision(self, probe: str, node: _core.Node) -> None:
        for role in ("weight_ih", "weight_hh"):
            self.weights[f"{probe}.{role}"] = self._precisions.get(f"{node.name}.{role}", "f32")

    def fma(self, a: str, b: str, c: str) -> str:
        """a * b + c rounded once, as cells do it: an lstm's ``f * b + i * g`` with f = a, i = 1 and g = c."""
        size = self.graph.shape(a)[0]
        zero, one = np.zeros((size, size), np.float32), np.eye(size, dtype=np.float32)
        from_a, from_c = (self.tensor(np.concatenate(rows)) for rows in ([zero, one, zero, zero], [zero, zero, one, zero]))
        ones = self.tensor(np.repeat(np.array([1, 0], np.float32), (size, 3 * size)))
        return self.node("lstm", [a, c, b, from_a, from_c, ones], activations=["affine"] * 3)

    def activated(self, node: _core.Node, which: int, value: str) -> str:
        default = "tanh" if (which or node.op == "rnn") else "sigmoid"
        names = node.attributes.get("activations") or [default] * (which + 1)
        parameters = {key: node.attributes[key][which] for key in ("alpha", "beta") if node.attributes.get(key)}
        return self.node(names[which], [value], **parameters)

    def gate_sum(
        self,
        node: _core.Node,
        gate: int,
        h: str,
        *,
        parts: str = "xh",
        clipped: bool = True,
        cell_state: str,
        peephole: Array | None = None,
    ) -> str:
        """What the function of a gate is applied to, or its `parts` from the input ("x") or the recurrent state ("h") alone."""
        first = 2 if node.op == "gru" else 3
        operands = [*node.inputs[first:], *[""] * 6]
        gates = 3 if node.op == "gru" else 4
        made = []
        for operand, part in zip(operands[:4], "xhxh", strict=True):
            if not operand:
                made.append("")
                continue
            whole = self.graph.tensor(operand)
            size = len(whole) // gates
            rows = np.zeros((4 * size, *whole.shape[1:]), np.float32)
            if part in parts:
                rows[:size] = whole[gate * size : (gate + 1) * size]
            made.append(self.tensor(rows))
        projection = operands[4] if node.op == "lstm" else ""
        points = ""
        if peephole is not None:
            points = self.tensor(np.concatenate([peephole, np.zeros(2 * len(peephole), np.float32)]))
        clip = node.attributes.get("clip", 0.0) if clipped else 0.0
        probe = self.node(
            "lstm",
            [node.inputs[0], h, cell_state, *made, projection, points],
            activations=["affine"] * 3,
            alpha=[1.0, 0.0, 1.0],
            beta=[0.0, 1.0, 0.0],
            clip=float(clip),
        )
        self.share_precision(probe, node)
        return probe


def _gru(probes: _Probes, node: _core.Node) -> dict[str, str]:
    h = node.inputs[1]
    reset, update = (probes.activated(node, 0, probes.gate_sum(node, gate, h, cell_state=h)) for gate in (0, 1))
    if node.attributes.get("reset", "after") == "before":
        held = probes.node("mul", [reset, h])
        total = probes.gate_sum(node, 2, held, cell_state=h)
    else:
        from_x, from_h = (probes.gate_sum(node, 2, h, parts=part, clipped=False, cell_state=h) for part in "xh")
        total = probes.fma(reset, from_h, from_x)
        if clip := float(node.attributes.get("clip", 0.0)):
            total = probes.node("clip", [total], alpha=-clip, beta=clip)
    return {"reset": reset, "update": update, "candidate": probes.activated(node, 1, total)}


def _lstm(probes: _Probes, node: _core.Node) -> dict[str, str]:
    _, h, c, *_ = node.inputs
    has_peephole = len(node.inputs) > 8 and node.inputs[8]
    points = np.split(probes.graph.tensor(node.inputs[8]), 3) if has_peephole else [None] * 3

    def gate(row: int, function: int, cell_state: str = c, peephole: Array | None = None) -> str:
        return probes.activated(node, function, probes.gate_sum(node, row, h, cell_state=cell_state, peephole=peephole))

    opened = gate(0, 0, c, points[0])
    if node.attributes.get("input_forget"):
        forget = probes.node("affine", [opened], alpha=-1.0, beta=1.0)
    else:
        forget = gate(1, 0, c, points[1])
    return {"input": opened, "forget": forget, "candidate": gate(2, 1), "output": gate(3, 0, node.outputs[1], points[2])}


def _rnn(probes: _Probes, node: _core.Node) -> dict[str, str]:
    clip = float(node.attributes.get("clip", 0.0))
    probe = probes.node("rnn", list(node.inputs), activations=["affine"], alpha=[1.0], beta=[0.0], clip=clip)
    probes.share_precision(probe, node)
    return {"pre_activation": probe}


_GATES = {"gru": _gru, "lstm": _lstm, "rnn": _rnn}
