"""Small rewrites that make a Draft shorter without changing what it computes.

Products followed by a constant sum become products with a bias, operations that do nothing go away, and chains of
reshapes become one. Only the fold into a bias can change a result, by the rounding of one addition.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rtrnn.importers.draft import Draft, Node

__all__ = ["cleanup"]


def cleanup(draft: Draft) -> int:
    """Applies the rewrites until none fits; returns how many were made. Nodes that nothing reads any more remain
    only if they were unread before."""
    count = 0
    changed = True
    while changed:
        changed = False
        producers = draft.producers()
        for node in list(draft.nodes):
            rewrite = _REWRITES.get(node.op)
            if rewrite is not None and rewrite(draft, node, producers):
                count += 1
                changed = True
    return count


def _bypass(draft: Draft, node: Node, source: str) -> bool:
    """Whoever reads `node` reads `source`, a value of the same shape, instead."""
    if draft.shapes[source] != draft.shapes[node.outputs[0]]:
        return False
    draft.replace_value(node.outputs[0], source)
    draft.nodes.remove(node)
    return True


def _is_constant(draft: Draft, value: str, number: float) -> bool:
    return value in draft.tensors and bool(np.all(draft.tensors[value] == number))


def _neutral(number: float, either_side: bool) -> Callable[[Draft, Node, dict[str, Node]], bool]:
    """A rewrite that drops a binary node whose constant operand changes nothing."""

    def rewrite(draft: Draft, node: Node, producers: dict[str, Node]) -> bool:
        a, b = node.inputs
        if _is_constant(draft, b, number):
            return _bypass(draft, node, a)
        return either_side and _is_constant(draft, a, number) and _bypass(draft, node, b)

    return rewrite


def _fold_bias(draft: Draft, node: Node, producers: dict[str, Node]) -> bool:
    """``linear(x) + constant`` and ``linear(x) - constant``."""
    sides = [(node.inputs[0], node.inputs[1])]
    if node.op == "add":
        sides.append((node.inputs[1], node.inputs[0]))
    for product, constant in sides:
        linear = producers.get(product)
        if linear is None or linear.op != "linear" or constant not in draft.tensors:
            continue
        size = draft.shapes[product][-1]
        added = draft.tensors[constant]
        over_rows = added.size == 1 or (added.size == size and added.shape[-1] == size)
        if not over_rows or draft.shapes[product] != draft.shapes[node.outputs[0]] or not _read_once(draft, product):
            continue
        bias = np.broadcast_to(added.astype(np.float64).ravel(), (size,))
        bias = bias if node.op == "add" else -bias
        if len(linear.inputs) > 2:
            bias = bias + draft.tensors[linear.inputs[2]]
        linear.inputs = [*linear.inputs[:2], draft.add_tensor(bias, f"{linear.name}.bias")]
        return _bypass(draft, node, product)
    return False


def _read_once(draft: Draft, value: str) -> bool:
    reads = sum(node.inputs.count(value) for node in draft.nodes)
    return reads == 1 and value not in draft.roots()


def _add(draft: Draft, node: Node, producers: dict[str, Node]) -> bool:
    return _neutral(0.0, node.op == "add")(draft, node, producers) or _fold_bias(draft, node, producers)


def _affine(draft: Draft, node: Node, producers: dict[str, Node]) -> bool:
    alpha, beta = node.attributes.get("alpha", 1.0), node.attributes.get("beta", 0.0)
    return alpha == 1 and beta == 0 and _bypass(draft, node, node.inputs[0])


def _reshape(draft: Draft, node: Node, producers: dict[str, Node]) -> bool:
    (source,) = node.inputs
    before = producers.get(source)
    if before is not None and before.op == "reshape":
        node.inputs = list(before.inputs)
        if _unread(draft, source):
            draft.nodes.remove(before)
        return True
    return _bypass(draft, node, source)


def _unread(draft: Draft, value: str) -> bool:
    return value not in draft.roots() and not any(value in node.inputs for node in draft.nodes)


def _same_shape(draft: Draft, node: Node, producers: dict[str, Node]) -> bool:
    return _bypass(draft, node, node.inputs[0])


def _single(draft: Draft, node: Node, producers: dict[str, Node]) -> bool:
    return len(node.inputs) == 1 and _bypass(draft, node, node.inputs[0])


_REWRITES: dict[str, Callable[[Draft, Node, dict[str, Node]], bool]] = {
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
