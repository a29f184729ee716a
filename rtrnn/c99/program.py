"""The nodes of a Graph that run, in the order in which they run: what cpp/src/plan/program.cpp makes of it.

The one fusion that the bits depend on is the normaliser's: ``(x - mean) / deviation`` is computed as ``(x - mean) * (1 / deviation)``.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rtrnn import _core

__all__ = ["Step", "make_program"]


@dataclass
class Step:
    """One node to run; `state_only` when it depends on states and tensors alone."""

    op: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)
    state_only: bool = False

    def has(self, i: int) -> bool:
        """Whether optional input `i` is there."""
        return i < len(self.inputs) and self.inputs[i] != ""


def make_program(graph: _core.Graph) -> list[Step]:
    """The live nodes of a Graph, normalisers joined, those that can run before the input is known marked."""
    steps = _live(graph)
    steps = _fuse_normalisers(graph, steps)
    known = {state.name for state in graph.states} | set(graph.tensor_names)
    for step in steps:
        step.state_only = all(not value or value in known for value in step.inputs)
        if step.state_only:
            known.update(step.outputs)
    return steps


def _live(graph: _core.Graph) -> list[Step]:
    made_by = {value: node for node in graph.nodes for value in node.outputs}
    live: set[str] = set()
    pending = [port.value for port in graph.outputs] + [state.next for state in graph.states]
    while pending:
        value = pending.pop()
        if value and value not in live:
            live.add(value)
            if value in made_by:
                pending += made_by[value].inputs
    return [
        Step(node.op, node.name, list(node.inputs), list(node.outputs), dict(node.attributes))
        for node in graph.nodes
        if live.intersection(node.outputs)
    ]


def count_uses(graph: _core.Graph, steps: list[Step]) -> Counter[str]:
    """How often each value is read, counting outputs and next states."""
    uses = Counter(value for step in steps for value in step.inputs)
    uses.update(port.value for port in graph.outputs)
    uses.update(state.next for state in graph.states)
    return uses


def _fuse_normalisers(graph: _core.Graph, steps: list[Step]) -> list[Step]:
    uses = count_uses(graph, steps)
    made_by = {value: step for step in steps for value in step.outputs}
    tensors = set(graph.tensor_names)
    gone: list[Step] = []
    for step in steps:
        sub = made_by.get(step.inputs[0]) if step.op in ("div", "mul") else None
        if sub is None or sub.op != "sub" or any(sub is other for other in gone) or uses[step.inputs[0]] != 1:
            continue
        x, mean, deviation = sub.inputs[0], sub.inputs[1], step.inputs[1]
        shapes = {graph.shape(value) for value in (x, mean, deviation)}
        if mean in tensors and deviation in tensors and len(shapes) == 1 and len(graph.shape(x)) == 1:
            gone.append(sub)
            step.op = {"div": "normalize_by_division", "mul": "normalize_by_product"}[step.op]
            step.inputs = [x, mean, deviation]
    return [step for step in steps if not any(step is other for other in gone)]


def size(graph: _core.Graph, value: str) -> int:
    """Elements of a value."""
    return math.prod(graph.shape(value))
