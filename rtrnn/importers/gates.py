"""Notices a network whose exporter has dropped its state.

``torch.onnx.export`` and ``torch.jit.trace`` take a buffer or attribute that forward writes for the constant that it was
at first. What is left of a hand-written cell is a network without a state, and without a name that would say so. What
gives it away is a gate: a product of two values of which neither is a function of the other alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from rtrnn.importers.draft import Draft, Node

__all__ = ["warn_about_dropped_layer", "warn_about_dropped_state"]

_TEXT = (
    "the network has {} but no state: each output depends on that step's inputs alone. If the original keeps its state in "
    "buffers or attributes, its exporter has dropped it: import the live module (rtrnn.from_torch), a scripted module or a "
    ".pt2 file, or make the state an argument and a result of forward"
)
_SQUASHING = frozenset({"sigmoid", "hard_sigmoid", "tanh"})


#: What PyTorch calls the weights of its recurrent layers and cells.
_RECURRENT_WEIGHTS = re.compile(r"(^|\.)(weight|bias)_(ih|hh)(_l\d+)?(_reverse)?$")


def warn_about_dropped_layer(draft: Draft, names: Iterable[str]) -> None:
    """Adds a warning when the file's tensors, by their `names`, are those of a recurrent layer and `draft` has no state:
    a plain recurrent layer has no gates that would give it away."""
    lost = next((name for name in names if _RECURRENT_WEIGHTS.search(name)), None)
    if lost is not None and not draft.states and not any("no state" in text for text in draft.warnings):
        draft.warnings.append(_TEXT.format(f"tensors of a recurrent layer ({lost!r})"))


def warn_about_dropped_state(draft: Draft) -> None:
    """Adds a warning when the finished `draft`, its nodes in order, has gates and no state."""
    if draft.states:
        return
    producers = draft.producers()
    #: values that are computed from inputs, and those of them that a gate's function is among the sources of
    reached = set(draft.inputs)
    squashed: set[str] = set()
    for node in draft.nodes:
        if node.op == "mul" and _is_gate(draft, producers, node, reached, squashed):
            draft.warnings.append(_TEXT.format(f"gates (node {node.name!r})"))
            return
        if reached.intersection(node.inputs):
            reached.update(node.outputs)
        if node.op in _SQUASHING or squashed.intersection(node.inputs):
            squashed.update(node.outputs)


def _is_gate(draft: Draft, producers: dict[str, Node], node: Node, reached: set[str], squashed: set[str]) -> bool:
    a, b = node.inputs
    if draft.shapes[a] != draft.shapes[b]:
        return False
    if not {a, b} <= reached or not {a, b} & squashed:
        return False
    # x * f(x) is an activation such as silu.
    return _source(draft, producers, a) != _source(draft, producers, b)


def _source(draft: Draft, producers: dict[str, Node], value: str) -> str:
    """The value that `value` is an elementwise function of."""
    while value in producers:
        node = producers[value]
        operands = {v for v in node.inputs if v and v not in draft.tensors}
        if node.op == "linear" or len(operands) != 1:
            break
        (value,) = operands
    return value
