"""Finds recurrent cells written by hand out of elementary nodes and puts the one fused node in their place.

The equations are matched in the normal forms of :mod:`rtrnn.importers.algebra`, so the order of the gates, the way the
weights are split or joined and the algebraic form do not matter:

    gru    h' = (1 - z) * n + z * h     or, with the update gate the other way round, z * n + (1 - z) * h
    lstm   c' = f * c + i * g           h' = o * tanh(c'), perhaps times a projection; f may be 1 - i
    rnn    h' = tanh(W x + U h + b)     where h is a state and h' its next value

A cell whose inner values are used elsewhere, or which differs in any way from these, stays as it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np

from rtrnn.importers.algebra import MAX_LANES, Algebra, GateSum, Lanes, Monomial, Polynomial
from rtrnn.importers.cleanup import cleanup
from rtrnn.importers.draft import Draft, Node
from rtrnn.importers.fusing import ACTIVATIONS, Cell, Function, Gate, replace

__all__ = ["recognise_cells"]

_T = TypeVar("_T")


def recognise_cells(draft: Draft) -> list[str]:
    """Rewrites hand-written cells of `draft` and removes what no output needs; returns one line for each cell."""
    cleanup(draft)
    # A node that nothing needs would count as another reader of a cell's inner value.
    draft.prune()
    draft.sort()
    lines: list[str] = []
    done: set[str] = set()
    while True:
        found = _first_cell(draft, done)
        if found is None:
            return lines
        lines.append(found)


def _first_cell(draft: Draft, done: set[str]) -> str | None:
    """Replaces the first cell in the order of the nodes; `done` grows by the values that are no cell's result."""
    algebra = Algebra(draft)
    for node in draft.nodes:
        result = node.outputs[0]
        if result in done or np.prod(draft.shapes[result], dtype=np.int64) > MAX_LANES:
            continue
        for match in (_lstm, _gru, _rnn):
            for cell in match(algebra, node):
                count = replace(algebra, cell)
                if count:
                    done.update(cell.results)
                    return f"{cell.kind} from {count} nodes: {' '.join(cell.results)}"
        done.add(result)
    return None


# -- the three cells -----------------------------------------------------------------------------------


def _gru(algebra: Algebra, node: Node) -> Iterator[Cell]:
    for kept, z, other in _interpolations(algebra, node):
        gate = _activation(algebra, z)
        for h, n, keeps_h in ((other, kept, True), (kept, other, False)):
            candidate = _activation(algebra, n)
            if gate is None or candidate is None or (not keeps_h and gate[0].name != "sigmoid"):
                continue
            found = _gru_gates(algebra, h, gate, candidate)
            if found is None:
                continue
            reset, (r_gate, z_gate, n_gate) = found
            z_gate = z_gate if keeps_h else z_gate.negated()
            functions = [gate[0], candidate[0]]
            attributes = {} if reset == "after" else {"reset": reset}
            yield Cell("gru", [h], [node.outputs[0]], [r_gate, z_gate, n_gate], functions, attributes)


def _gru_gates(
    algebra: Algebra, h: Lanes, z: tuple[Function, Lanes], n: tuple[Function, Lanes]
) -> tuple[str, list[Gate]] | None:
    z_sum, n_sum = algebra.gate_sum(z[1]), algebra.gate_sum(n[1])
    if z_sum is None or n_sum is None:
        return None
    for r in dict.fromkeys(lanes for product in n_sum.products for lanes in product):
        # The reset gate multiplies the recurrent part of n.
        reset, inner_sum = _activation(algebra, r), algebra.factored(n_sum, r)
        inner = None if inner_sum is None else _split(inner_sum, h)
        if reset is None or reset[0] != z[0] or inner is None or inner.x or inner.h is None:
            continue
        # A bias of the recurrent part that was added on its own comes out as the bare reset gate times it.
        lone = n_sum.scales.get(r)
        outer = GateSum(n_sum.size, n_sum.matrices, {k: s for k, s in n_sum.scales.items() if k != r}, n_sum.biases)
        gates = _all(_split(s, h) for s in (algebra.gate_sum(reset[1]), z_sum, outer))
        if gates is not None and gates[2].h is None:
            gates[2] = Gate(gates[2].x, inner.h, None, gates[2].bias_x, _total(inner.bias_x, inner.bias_h, lone))
            return "after", gates
    for source in n_sum.matrices:
        # The recurrent part of n is a product with r * h.
        pair = _monomial(algebra.polynomial(source))
        for r, _ in (p for p in _ordered(pair) if p[1] == h):
            reset = _activation(algebra, r)
            if reset is None or reset[0] != z[0]:
                continue
            gates = _all([_split(algebra.gate_sum(reset[1]), h), _split(z_sum, h), _split(n_sum, source)])
            if gates is not None:
                return "before", gates
    return None


def _lstm(algebra: Algebra, node: Node) -> Iterator[Cell]:
    if node.op != "mul":
        return
    for o, output in _ordered(_monomial(algebra.polynomial(algebra.all_of(node.outputs[0])))):
        o_gate, h_function = _activation(algebra, o), _activation(algebra, output)
        if o_gate is None or h_function is None:
            continue
        c_next = h_function[1]
        if c_next.value not in algebra.producers or c_next != algebra.all_of(c_next.value):
            continue
        for i, f, g, c in _lstm_updates(algebra, c_next):
            gates = _all([*(_activation(algebra, gate) for gate in (i, f, g)), o_gate])
            if gates is None or not gates[0][0] == gates[1][0] == o_gate[0]:
                continue
            functions = [o_gate[0], gates[2][0], h_function[0]]
            sums = _all(algebra.gate_sum(argument) for _, argument in gates)
            for h, result, weight_hr in _lstm_states(algebra, node, sums or []):
                # A peephole of the output gate looks at the next cell state, the others at the present one.
                split = _all(_split(s, h, p) for s, p in zip(sums or [], (c, c, None, c_next), strict=True))
                if split is not None:
                    yield Cell("lstm", [h, c], [result, c_next.value], split, functions, weight_hr=weight_hr)
        yield from _coupled_lstm(algebra, node, c_next, o_gate, h_function[0])


def _coupled_lstm(
    algebra: Algebra, node: Node, c_next: Lanes, o: tuple[Function, Lanes], h_function: Function
) -> Iterator[Cell]:
    """The cell whose forget gate is ``1 - i``: c' = (1 - i) * c + i * g, or f * c + (1 - f) * g."""
    for kept, gate, added in _interpolations(algebra, algebra.producers[c_next.value]):
        for c, g, is_input in ((kept, added, True), (added, kept, False)):
            gates = _all([_activation(algebra, gate), _activation(algebra, g), o])
            if gates is None or gates[0][0] != o[0] or (not is_input and o[0].name != "sigmoid"):
                continue
            if c.value in algebra.producers and not _is_next(algebra, c, c_next.value):
                continue
            sums = _all(algebra.gate_sum(argument) for _, argument in gates)
            for h, result, weight_hr in _lstm_states(algebra, node, sums or []):
                split = _all(_split(s, h, p) for s, p in zip(sums or [], (c, None, c_next), strict=True))
                if split is not None:
                    # 1 - sigmoid(x) is sigmoid(-x).
                    split[0] = split[0] if is_input else split[0].negated()
                    ordered = [split[0], Gate(), *split[1:]]
                    functions = [o[0], gates[1][0], h_function]
                    attributes = {"input_forget": 1}
                    yield Cell("lstm", [h, c], [result, c_next.value], ordered, functions, attributes, weight_hr)


def _lstm_updates(algebra: Algebra, c_next: Lanes) -> list[tuple[Lanes, Lanes, Lanes, Lanes]]:
    """The ways to read c' as f * c + i * g, as (i, f, g, c), the likeliest first."""
    terms = algebra.polynomial(c_next)
    if len(terms) != 2 or not all(len(m) == 2 and _is_one(c) for m, c in terms.items()):
        return []
    pairs = itertools.permutations(terms)
    ways = [(i, f, g, c) for kept, added in pairs for f, c in _ordered(kept) for i, g in _ordered(added)]
    states = algebra.draft.states
    return sorted(ways, key=lambda way: (not _is_next(algebra, way[3], c_next.value), way[3].value not in states))


def _lstm_states(algebra: Algebra, node: Node, sums: list[GateSum]) -> Iterator[tuple[Lanes, str, np.ndarray | None]]:
    """The ways to choose h: (h, the value that is h', the projection)."""
    result = node.outputs[0]
    users = algebra.draft.users().get(result, [])
    sources = list(dict.fromkeys(source for s in sums for source in s.matrices))
    if len(users) == 1 and users[0].op == "linear" and len(users[0].inputs) == 2:
        weight = algebra.draft.tensors.get(users[0].inputs[1])
        projected = users[0].outputs[0]
        if weight is not None:
            for h in sources:
                if _is_next(algebra, h, projected):
                    yield h, projected, weight
    yield from ((h, result, None) for h in _by_likelihood(algebra, sources, result))


def _rnn(algebra: Algebra, node: Node) -> Iterator[Cell]:
    found = _activation(algebra, algebra.all_of(node.outputs[0]))
    total = None if found is None else algebra.gate_sum(found[1])
    if found is None or total is None or len(total.matrices) < 2:
        return
    for h in total.matrices:
        gate = _split(total, h) if _is_next(algebra, h, node.outputs[0]) else None
        if gate is not None:
            yield Cell("rnn", [h], [node.outputs[0]], [gate], [found[0]])


# -- parts of equations --------------------------------------------------------------------------------


def _is_one(coefficient: np.ndarray) -> bool:
    return bool(np.all(coefficient == 1))


def _monomial(terms: Polynomial) -> Monomial:
    """The only product, with coefficient 1, that `terms` consists of, else ()."""
    return next((m for m, c in terms.items() if len(terms) == 1 and _is_one(c)), ())


def _ordered(pair: Monomial) -> tuple[Monomial, ...]:
    return (pair, pair[::-1]) if len(pair) == 2 else ()


def _interpolations(algebra: Algebra, node: Node) -> Iterator[tuple[Lanes, Lanes, Lanes]]:
    """The ways to read a value as (1 - z) * a + z * b, as (a, z, b)."""
    if node.op not in ("add", "sub"):
        return
    terms = algebra.polynomial(algebra.all_of(node.outputs[0]))
    alone = [m for m in terms if len(m) == 1]
    if len(terms) != 3 or len(alone) != 1 or not _is_one(terms[alone[0]]):
        return
    (a,) = alone[0]
    minus = [m for m, c in terms.items() if len(m) == 2 and a in m and np.all(c == -1)]
    plus = [m for m, c in terms.items() if len(m) == 2 and _is_one(c)]
    if len(minus) == len(plus) == 1:
        z = minus[0][0] if minus[0][1] == a else minus[0][1]
        if z in plus[0]:
            yield a, z, plus[0][0] if plus[0][1] == z else plus[0][1]


def _activation(algebra: Algebra, lanes: Lanes) -> tuple[Function, Lanes] | None:
    """The function that computes `lanes` and the lanes of its argument."""
    node = algebra.producers.get(lanes.value)
    if node is None or node.op not in ACTIVATIONS:
        return None
    alpha, beta = ACTIVATIONS[node.op]
    function = Function(node.op, node.attributes.get("alpha", alpha), node.attributes.get("beta", beta))
    return function, algebra.operand(node, 0, lanes.indices)


def _split(total: GateSum | None, h: Lanes, c: Lanes | None = None) -> Gate | None:
    """`total` as W x + U h (+ p * c); None when there is anything else in it."""
    if total is None or total.products or set(total.scales) - {c}:
        return None
    x = {source: matrix for source, matrix in total.matrices.items() if source != h}
    bias_x = _total(*(bias for sources, bias in total.biases.items() if sources != (h,)))
    return Gate(x, total.matrices.get(h), None if c is None else total.scales.get(c), bias_x, total.biases.get((h,)))


def _total(*parts: np.ndarray | None) -> np.ndarray | None:
    given = [p for p in parts if p is not None]
    return np.sum(given, axis=0) if given else None


def _all(items: Iterable[_T | None]) -> list[_T] | None:
    """The items as a list; None when one of them is None."""
    found = list(items)
    return None if any(item is None for item in found) else found  # type: ignore[return-value]


def _is_next(algebra: Algebra, h: Lanes, result: str) -> bool:
    """Whether `h` is (part of) a state and `result` is what it holds at the next step."""
    state = algebra.draft.states.get(h.value)
    if state is None or state.next is None:
        return False
    return algebra.trace(Lanes(state.next, h.indices)) == algebra.trace(algebra.all_of(result))


def _by_likelihood(algebra: Algebra, sources: list[Lanes], result: str) -> list[Lanes]:
    """The sources that have the size of h', the likeliest h first: W x + U h cannot tell x from h."""
    fitting = [s for s in sources if len(s.indices) == len(algebra.all_of(result).indices)]
    return sorted(fitting, key=lambda s: (not _is_next(algebra, s, result), s.value not in algebra.draft.states))
