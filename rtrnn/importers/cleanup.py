"""Small rewrites that make a Draft shorter without changing what it computes.

Products followed by a constant sum become products with a bias, operations that do nothing go away, and chains of
reshapes become one. Only the fold into a bias can change a result, by the rounding of one addition.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from rtrnn.importers.draft import Draft, Node

__all__ = ["cleanup"]


def cleanup(draft: Draft) -> int:
    """Applies the rewrites until none fits; returns how many were made. Nodes that nothing reads any more remain
    only if they were unread before."""
    count = 0
    while made := _Pass(draft).run():
        count += made
    return count


class _Pass:
    """One walk over the nodes. What reads a value that has gone is renamed when the walk comes to it, and once at the
    end for outputs and states: a walk takes time in proportion to the nodes."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.producers = draft.producers()
        self.reads = Counter(value for node in draft.nodes for value in node.inputs)
        self.reads.update(draft.outputs.values())
        self.reads.update(state.next for state in draft.states.values() if state.next)
        self.moved: dict[str, str] = {}
        self.gone: set[int] = set()

    def run(self) -> int:
        draft, count = self.draft, 0
        draft.sort()
        for node in draft.nodes:
            node.inputs = [self.moved.get(value, value) for value in node.inputs]
            rewrite = _REWRITES.get(node.op)
            count += rewrite is not None and rewrite(self, node)
        draft.nodes = [node for node in draft.nodes if id(node) not in self.gone]
        draft.outputs = {name: self.moved.get(value, value) for name, value in draft.outputs.items()}
        for state in draft.states.values():
            if state.next:
                state.next = self.moved.get(state.next, state.next)
        return count

    def bypass(self, node: Node, source: str) -> bool:
        """Whoever reads `node` reads `source`, a value of the same shape, instead."""
        (result,) = node.outputs
        if self.draft.shapes[source] != self.draft.shapes[result]:
            return False
        self.moved[result] = source
        self.reads.subtract(node.inputs)
        self.reads[source] += self.reads.pop(result, 0)
        self.gone.add(id(node))
        return True

    def is_constant(self, value: str, number: float) -> bool:
        return value in self.draft.tensors and bool(np.all(self.draft.tensors[value] == number))


def _neutral(number: float, either_side: bool) -> Callable[[_Pass, Node], bool]:
    """A rewrite that drops a binary node whose constant operand changes nothing."""

    def rewrite(walk: _Pass, node: Node) -> bool:
        a, b = node.inputs
        if walk.is_constant(b, number):
            return walk.bypass(node, a)
        return either_side and walk.is_constant(a, number) and walk.bypass(node, b)

    return rewrite


def _fold_bias(walk: _Pass, node: Node) -> bool:
    """``linear(x) + constant`` and ``linear(x) - constant``."""
    draft = walk.draft
    sides = [(node.inputs[0], node.inputs[1])]
    if node.op == "add":
        sides.append((node.inputs[1], node.inputs[0]))
    for product, constant in sides:
        linear = walk.producers.get(product)
        if linear is None or linear.op != "linear" or constant not in draft.tensors:
            continue
        size = draft.shapes[product][-1]
        added = draft.tensors[constant]
        over_rows = added.size == 1 or (added.size == size and added.shape[-1] == size)
        if not over_rows or draft.shapes[product] != draft.shapes[node.outputs[0]] or walk.reads[product] != 1:
            continue
        bias = np.broadcast_to(added.astype(np.float64).ravel(), (size,))
        bias = bias if node.op == "add" else -bias
        if len(linear.inputs) > 2:
            bias = bias + draft.tensors[linear.inputs[2]]
        linear.inputs = [*linear.inputs[:2], draft.add_tensor(bias, f"{linear.name}.bias")]
        return walk.bypass(node, product)
    return False


def _add(walk: _Pass, node: Node) -> bool:
    return _neutral(0.0, node.op == "add")(walk, node) or _fold_bias(walk, node)


def _affine(walk: _Pass, node: Node) -> bool:
    alpha, beta = node.attributes.get("alpha", 1.0), node.attributes.get("beta", 0.0)
    return alpha == 1 and beta == 0 and walk.bypass(node, node.inputs[0])


def _reshape(walk: _Pass, node: Node) -> bool:
    (source,) = node.inputs
    before = walk.producers.get(source)
    if before is None or before.op != "reshape":
        return walk.bypass(node, source)
    node.inputs = list(before.inputs)
    walk.reads[source] -= 1
    walk.reads[node.inputs[0]] += 1
    if walk.reads[source] == 0:
        walk.reads.subtract(before.inputs)
        walk.gone.add(id(before))
    return True


def _same_shape(walk: _Pass, node: Node) -> bool:
    return walk.bypass(node, node.inputs[0])


def _single(walk: _Pass, node: Node) -> bool:
    return len(node.inputs) == 1 and walk.bypass(node, node.inputs[0])


_REWRITES: dict[str, Callable[[_Pass, Node], bool]] = {
    "add": _add,
    "sub": _add,
    "mul": _neutral(1.0, True),
    "div": _neutral(1.0, False),
    "pow": _neutral(1.0, False),
    "affine": _affine,
    "reshape": _reshape,
    "expand": _same_shape,
    "slice": _same_shape,
    "concat": _single,
}
