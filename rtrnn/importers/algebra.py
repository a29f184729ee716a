"""Normal forms of a Draft's values, in which the many spellings of one formula become equal.

Three forms, each built on the one before:

- :class:`Lanes`: elements of a value, traced back through nodes that only rearrange elements. Splitting a product
  into gates before or after the activation gives the same Lanes.
- a polynomial over Lanes: sums and products multiplied out. ``(1 - z) * n + z * h`` and ``n + z * (h - n)`` are
  the same polynomial.
- :class:`GateSum`: the argument of a gate as matrices times vectors plus a bias. Separate matrices per gate, one
  matrix for all, and one over ``concat(x, h)`` are the same sum.

Everything is exact in real arithmetic; only the rounding of a float32 evaluation may differ between spellings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

import numpy as np

from rtrnn.importers.draft import Draft, Node

__all__ = ["MAX_LANES", "REARRANGING", "Algebra", "GateSum", "Lanes", "Monomial", "Polynomial"]


class Lanes(NamedTuple):
    """Elements of a value: `indices` count into the flattened value."""

    value: str
    indices: tuple[int, ...]


#: A product of Lanes of equal length, sorted; the empty one stands for 1.
Monomial = tuple[Lanes, ...]
#: Monomial -> its coefficient for each lane.
Polynomial = dict[Monomial, np.ndarray]

#: Larger values are no gates or states of a cell; a convolution's feature maps would only take time.
MAX_LANES = 1 << 14

_MAX_TERMS = 8
_MAX_DEGREE = 3
#: Node types whose outputs are elements of their inputs, in another order or more than once.
REARRANGING = frozenset({"reshape", "slice", "gather", "permute", "expand", "concat"})


@dataclass(eq=False)
class GateSum:
    """``sum(matrix @ source) + sum(scale * lanes) + bias``, and perhaps products of two lanes."""

    size: int
    matrices: dict[Lanes, np.ndarray] = field(default_factory=dict)
    scales: dict[Lanes, np.ndarray] = field(default_factory=dict)
    #: The sources of the product that a bias came with -> bias; () for a constant that came alone.
    biases: dict[tuple[Lanes, ...], np.ndarray] = field(default_factory=dict)
    products: Polynomial = field(default_factory=dict)

    def add_matrix(self, source: Lanes, matrix: np.ndarray) -> None:
        self.matrices[source] = self.matrices.get(source, 0.0) + matrix

    def add_bias(self, sources: tuple[Lanes, ...], bias: np.ndarray) -> None:
        self.biases[sources] = self.biases.get(sources, 0.0) + bias


class Algebra:
    """The normal forms of one Draft, remembered; make a new one when the Draft has changed."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.producers = draft.producers()
        #: Vectors that some product reads, by what they are made of: values that need not be built again.
        self.vectors: dict[tuple[Lanes, ...], str] = {}
        self._polynomials: dict[Lanes, Polynomial] = {}
        self._uses: dict[str, np.ndarray] | None = None

    def all_of(self, value: str) -> Lanes:
        return Lanes(value, tuple(range(int(np.prod(self.draft.shapes[value], dtype=np.int64)))))

    # -- lanes -----------------------------------------------------------------------------------------

    def trace(self, lanes: Lanes) -> tuple[Lanes, ...]:
        """The elements of `lanes`, in order, as runs of elements of values that are computed or given."""
        node = self.producers.get(lanes.value)
        if node is None or node.op not in REARRANGING:
            return (lanes,)
        owners, inner = self._sources_of_elements(node)
        picked = list(lanes.indices)
        runs: list[Lanes] = []
        for owner, group in groupby(picked, key=lambda i: int(owners[i])):
            runs.extend(self.trace(Lanes(node.inputs[owner], tuple(int(inner[i]) for i in group))))
        merged: list[Lanes] = []
        for run in runs:
            if merged and merged[-1].value == run.value:
                run = Lanes(run.value, merged.pop().indices + run.indices)
            merged.append(run)
        return tuple(merged)

    def lanes(self, lanes: Lanes) -> Lanes:
        """`lanes` traced back, or itself when its elements come from several values."""
        runs = self.trace(lanes)
        return runs[0] if len(runs) == 1 else lanes

    def _sources_of_elements(self, node: Node) -> tuple[np.ndarray, np.ndarray]:
        """For each element of a rearranging node's output: which operand it comes from, and from where in it."""
        numbered = [np.arange(len(self.all_of(v).indices)).reshape(self.draft.shapes[v]) for v in node.inputs]
        first, attributes = numbered[0], node.attributes
        if node.op == "concat":
            owners = [np.full(a.shape, i) for i, a in enumerate(numbered)]
            axis = attributes["axis"]
            return np.concatenate(owners, axis).ravel(), np.concatenate(numbered, axis).ravel()
        if node.op == "slice":
            index = range(attributes["start"], attributes["stop"], attributes.get("step", 1))
            moved = np.take(first, list(index), attributes["axis"])
        elif node.op == "gather":
            moved = np.take(first, list(attributes["indices"]), attributes["axis"])
        elif node.op == "permute":
            moved = first.transpose(attributes["axes"])
        elif node.op == "expand":
            moved = np.broadcast_to(first, tuple(attributes["shape"]))
        else:
            moved = first
        return np.zeros(moved.size, int), moved.ravel()

    def operand(self, node: Node, which: int, index: tuple[int, ...]) -> Lanes:
        """The lanes of an elementwise node's operand that its output's lanes `index` are computed from."""
        value = node.inputs[which]
        lanes = self.all_of(value)
        shape = self.draft.shapes[node.outputs[0]]
        numbered = np.arange(len(lanes.indices)).reshape(self.draft.shapes[value])
        spread = np.broadcast_to(numbered, shape).ravel()
        return self.lanes(Lanes(value, tuple(int(spread[i]) for i in index)))

    # -- polynomials -----------------------------------------------------------------------------------

    def polynomial(self, lanes: Lanes) -> Polynomial:
        """`lanes` with sums, differences and products multiplied out.

        A part that is read more than once stays a symbol: it has a meaning of its own, such as the masked state or
        the next cell state which a peephole reads.
        """
        lanes = self.lanes(lanes)
        if lanes not in self._polynomials:
            found = self._expand(lanes)
            small = found is not None and len(found) <= _MAX_TERMS and max(map(len, found), default=0) <= _MAX_DEGREE
            self._polynomials[lanes] = found if found is not None and small else _atom(lanes)
        return self._polynomials[lanes]

    def _part(self, lanes: Lanes) -> Polynomial:
        shared = lanes.value in self.producers and np.any(self.uses(lanes.value)[list(lanes.indices)] > 1)
        return _atom(lanes) if shared else self.polynomial(lanes)

    def uses(self, value: str) -> np.ndarray:
        """How often each element of `value` is read by nodes that compute, by states and by outputs.

        Readers of more than MAX_LANES elements are left out: a part that only looks as if it were read once is found out
        when the cell's nodes are taken out (:func:`rtrnn.importers.fusing.replace`).
        """
        if self._uses is None:
            draft = self.draft
            computed = [v for v in draft.shapes if v not in draft.tensors]
            self._uses = {v: np.zeros(draft.shapes[v], int).ravel() for v in computed}
            computing = [n for n in draft.nodes if n.op not in REARRANGING]
            readers = [v for node in computing for v in node.inputs]
            readers += [*draft.outputs.values(), *(s.next for s in draft.states.values() if s.next)]
            readers = [v for v in readers if v and np.prod(draft.shapes[v], dtype=np.int64) <= MAX_LANES]
            for reader in readers:
                for run in self.trace(self.all_of(reader)) if reader in self._uses else ():
                    if run.value in self._uses:
                        np.add.at(self._uses[run.value], list(run.indices), 1)
        return self._uses[value]

    def _expand(self, lanes: Lanes) -> Polynomial | None:
        value, index = lanes
        if value in self.draft.tensors:
            return {(): self.draft.tensors[value].ravel()[list(index)].astype(np.float64)}
        node = self.producers.get(value)
        if node is None or node.op not in ("add", "sub", "mul", "div", "neg", "affine"):
            return None
        a, *rest = (self._part(self.operand(node, i, index)) for i in range(len(node.inputs)))
        one = np.ones(len(index))
        if node.op == "neg":
            return _combine((a, -one))
        if node.op == "affine":
            shift: Polynomial = {(): node.attributes.get("beta", 0.0) * one}
            return _combine((a, node.attributes.get("alpha", 1.0) * one), (shift, one))
        (b,) = rest
        if node.op == "mul":
            return _combine(*(({(*m, *k): c * d}, one) for m, c in a.items() for k, d in b.items()))
        if node.op == "div":
            return _combine((a, 1 / b[()])) if set(b) == {()} and np.all(b[()]) else None
        return _combine((a, one), (b, one if node.op == "add" else -one))

    # -- gate sums -------------------------------------------------------------------------------------

    def gate_sum(self, lanes: Lanes) -> GateSum | None:
        """The argument of a gate; None when it is not of that form."""
        total = GateSum(len(lanes.indices))
        for monomial, coefficient in self.polynomial(lanes).items():
            if len(monomial) < 2:
                self._add_term(total, monomial, coefficient)
            elif len(monomial) == 2:
                total.products[monomial] = coefficient
            else:
                return None
        return total

    def factored(self, total: GateSum, factor: Lanes) -> GateSum | None:
        """The sum which `factor` multiplies in `total`; None when there are products without it."""
        inner = GateSum(total.size)
        for (a, b), coefficient in total.products.items():
            if factor not in (a, b):
                return None
            self._add_term(inner, (b if a == factor else a,), coefficient)
        return inner

    def _add_term(self, total: GateSum, monomial: Monomial, coefficient: np.ndarray) -> None:
        if not monomial:
            total.add_bias((), coefficient)
            return
        (lanes,) = monomial
        node = self.producers.get(lanes.value)
        if node is None or node.op != "linear":
            total.scales[lanes] = coefficient
            return
        weight = self.draft.tensors.get(node.inputs[1])
        source = self.all_of(node.inputs[0])
        if weight is None or len(source.indices) != weight.shape[1]:
            total.scales[lanes] = coefficient
            return
        rows = list(lanes.indices)
        matrix = coefficient[:, None] * weight[rows].astype(np.float64)
        runs = self.trace(source)
        self.vectors.setdefault(runs, node.inputs[0])
        at = 0
        for run in runs:
            total.add_matrix(run, matrix[:, at : at + len(run.indices)])
            at += len(run.indices)
        if len(node.inputs) > 2 and node.inputs[2]:
            bias = self.draft.tensors[node.inputs[2]][rows].astype(np.float64)
            total.add_bias(runs, coefficient * bias)


def _combine(*terms: tuple[Polynomial, np.ndarray]) -> Polynomial:
    """The sum of polynomials, each times a factor; terms that cancel are dropped."""
    total: Polynomial = {}
    for polynomial, factor in terms:
        for monomial, coefficient in polynomial.items():
            key = tuple(sorted(monomial))
            total[key] = total.get(key, 0.0) + factor * coefficient
    return {m: c for m, c in total.items() if np.any(c)}


def _atom(lanes: Lanes) -> Polynomial:
    return {(lanes,): np.ones(len(lanes.indices))}
