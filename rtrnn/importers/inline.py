"""A finished Graph as part of a Draft."""

from __future__ import annotations

from collections.abc import Mapping

from rtrnn import _core
from rtrnn.importers.draft import Draft, Node

__all__ = ["inline"]


def inline(draft: Draft, graph: _core.Graph, inputs: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Adds `graph`'s states, tensors and nodes to `draft`, their names after `prefix` and unique.

    `inputs` maps the Graph's inputs to values of the Draft of the same shapes. Returns the Draft's values for the Graph's outputs,
    by name.
    """
    names = dict(inputs)
    read = {value for node in graph.nodes for value in node.inputs}
    read |= {state.next for state in graph.states} | {output.value for output in graph.outputs}
    for name in graph.tensor_names:
        if name in read:  # and is not a state's initial value alone
            names[name] = draft.add_tensor(graph.tensor(name), prefix + name)
    for state in graph.states:
        initial = graph.tensor(state.initial) if state.initial else None
        names[state.name] = draft.add_state(prefix + state.name, state.shape, initial)
    for node in graph.nodes:
        outputs = []
        for value in node.outputs:
            if value:
                names[value] = draft.unique(prefix + value)
                draft.shapes[names[value]] = tuple(graph.shape(value))
            outputs.append(names[value] if value else "")
        operands = [names[value] if value else "" for value in node.inputs]
        draft.nodes.append(Node(node.op, prefix + node.name, operands, outputs, dict(node.attributes)))
    for state in graph.states:
        draft.states[names[state.name]].next = names[state.next]
    return {output.name: names[output.value] for output in graph.outputs}
