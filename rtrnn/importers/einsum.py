"""Einstein's summation over values of a foreign graph: ONNX's Einsum and torch.einsum."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rtrnn.errors import UnsupportedError
from rtrnn.importers.builder import Builder, Sym

__all__ = ["einsum"]

#: The most products that may be needed where it is no plain matrix product.
_MAX_PRODUCTS = 1 << 20


def einsum(b: Builder, equation: str, xs: Sequence[Sym]) -> Sym:
    """One or two operands; each letter stands for one axis of each operand that has it.

    Raises ValueError for an equation that does not fit, :class:`UnsupportedError` for one that is not supported.
    """
    xs = list(xs)
    terms, result = _letters(equation, [x.ndim for x in xs])
    if all(x.const is not None for x in xs):
        return b.const(np.einsum(",".join(terms) + "->" + result, *(np.asarray(x.const) for x in xs)))
    if len(xs) > 2 or any(len(set(term)) != len(term) for term in terms):
        raise UnsupportedError(
            f"equation {equation!r}: expected one or two operands without a letter twice in one of them; export "
            "it as products of two"
        )
    sizes = {c: d for x, term in zip(xs, terms, strict=True) for c, d in zip(term, x.shape, strict=True)}
    origins = {c: o for x, term in zip(xs, terms, strict=True) for c, o in zip(term, x.origin, strict=True) if o}
    for i, term in enumerate(terms):
        # A letter of one operand alone that the result lacks is summed at once; one of size 1 (batch) changes nothing.
        others = "".join(terms[:i] + terms[i + 1 :])
        gone = [c for c in term if sizes[c] == 1 or c not in result + others]
        if gone:
            xs[i] = b.reduce("reduce_sum", xs[i], [term.index(c) for c in gone], False)
            terms[i] = "".join(c for c in term if c not in gone)
    inner = "".join(c for c in result if sizes[c] > 1)
    y, letters = xs[0], terms[0]
    if len(xs) == 2:
        if xs[0].const is not None:
            xs, terms = xs[::-1], terms[::-1]
        shared = [c for c in terms[0] if c in terms[1]]
        product = _as_linear if xs[1].const is not None and not set(shared) & set(inner) else _as_sum
        y, letters = product(b, xs, terms, [c for c in shared if c not in inner], inner)
    y = b.permute(y, [letters.index(c) for c in inner])
    return b.reshape(y, [sizes[c] for c in result], tuple(origins.get(c) for c in result))


def _letters(equation: str, ranks: list[int]) -> tuple[list[str], str]:
    """The letters of each operand and of the result, with ``...`` written out in letters that are free."""
    text = equation.replace(" ", "")
    left, arrow, result = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise ValueError(f"equation {equation!r} is not for {len(ranks)} operands")
    free = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in text]
    hidden = [rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True)]
    dots = "".join(free[: max([n for n, t in zip(hidden, terms, strict=True) if "..." in t], default=0)])
    terms = [t.replace("...", dots[len(dots) - n :]) for n, t in zip(hidden, terms, strict=True)]
    if not arrow:
        counts = "".join(terms)
        result = "..." + "".join(sorted(c for c in set(counts) if counts.count(c) == 1 and c not in dots))
    result = result.replace("...", dots)
    if [len(t) for t in terms] != ranks or any(c not in "".join(terms) for c in result):
        raise ValueError(f"equation {equation!r} does not fit operands of {ranks} axes")
    return terms, result


def _as_linear(b: Builder, xs: list[Sym], terms: list[str], summed: list[str], _: str) -> tuple[Sym, str]:
    x, w = xs
    kept, new = [c for c in terms[0] if c not in summed], [c for c in terms[1] if c not in summed]
    sizes = dict(zip(terms[0] + terms[1], x.shape + w.shape, strict=True))
    assert w.const is not None
    weight = w.const.transpose([terms[1].index(c) for c in (*new, *summed)])
    inner = math.prod(sizes[c] for c in summed)
    rows = b.permute(x, [terms[0].index(c) for c in (*kept, *summed)])
    y = b.linear(b.reshape(rows, (*(sizes[c] for c in kept), inner)), weight.reshape(-1, inner))
    return b.reshape(y, [sizes[c] for c in (*kept, *new)]), "".join((*kept, *new))


def _as_sum(b: Builder, xs: list[Sym], terms: list[str], summed: list[str], result: str) -> tuple[Sym, str]:
    """Products of all pairs, then sums."""
    letters = "".join(dict.fromkeys((*result, *summed)))
    spread = []
    for x, term in zip(xs, terms, strict=True):
        order = sorted(term, key=letters.index)
        x = b.permute(x, [term.index(c) for c in order])
        spread.append(b.reshape(x, [x.shape[order.index(c)] if c in order else 1 for c in letters]))
    products = math.prod(np.broadcast_shapes(*(x.shape for x in spread)))
    if products > _MAX_PRODUCTS:
        raise UnsupportedError(
            f"a product of operands of shapes {xs[0].shape} and {xs[1].shape}, both with axes in common that the result "
            f"keeps, takes {products} multiplications; expected at most {_MAX_PRODUCTS}"
        )
    y = b.binary("mul", *spread)
    return b.reduce("reduce_sum", y, [letters.index(c) for c in summed], False) if summed else y, result
