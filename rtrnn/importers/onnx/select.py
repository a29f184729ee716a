"""Operators that pick and place elements at positions which the file fixes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from rtrnn.errors import FileFormatError, UnsupportedError
from rtrnn.importers.builder import Builder, Sym
from rtrnn.importers.onnx.registry import Call, op

__all__: list[str] = []

_REDUCTIONS = {"add": "add", "mul": "mul", "min": "min", "max": "max"}


def _indices(call: Call, i: int = 1) -> np.ndarray:
    found = call.x(i)
    if found.const is None:
        raise UnsupportedError(
            f"its indices (operand {i}, {call.operand(i)}) must be constant, but are computed from the inputs, as in an "
            "embedding of tokens; export the network behind that look-up, with its rows as a float input"
        )
    return found.const.astype(np.int64)


def _numbered(x: Sym) -> np.ndarray:
    return np.arange(x.size).reshape(x.shape)


def _pick(b: Builder, x: Sym, positions: np.ndarray) -> Sym:
    """The elements of `x` at `positions`, which count into the flattened value; shaped as `positions`."""
    return b.gather(b.reshape(x, (x.size,)), 0, positions)


def _in_range(call: Call, indices: np.ndarray, size: int) -> np.ndarray:
    """`indices` with negative ones counted from the front."""
    if indices.size and (indices.min() < -size or indices.max() >= size):
        raise FileFormatError(
            f"{call.op_type} node {call.name!r}: indices {indices.min()}..{indices.max()} for an axis of size {size}"
        )
    return np.where(indices < 0, indices + size, indices)


@op("Gather")
def gather(call: Call) -> Sym:
    return call.b.gather(call.x(), int(call.attr("axis", 0)), _indices(call))


@op("GatherElements")
def gather_elements(call: Call) -> Sym:
    x, indices = call.x(), _indices(call)
    positions = _along(call, x, indices, x.axis(int(call.attr("axis", 0))))
    return _pick(call.b, x, positions)


def _along(call: Call, x: Sym, indices: np.ndarray, axis: int) -> np.ndarray:
    """Flat positions of the elements whose place on `axis` is given and whose other places are those in `indices`."""
    if indices.ndim != x.ndim or any(n > d for i, (n, d) in enumerate(zip(indices.shape, x.shape, strict=True)) if i != axis):
        raise FileFormatError(
            f"{call.op_type} node {call.name!r}: indices of shape {indices.shape} for a value of shape {x.shape} and axis {axis}"
        )
    places: list[np.ndarray] = list(np.indices(indices.shape))
    places[axis] = _in_range(call, indices, x.shape[axis])
    return np.asarray(np.ravel_multi_index(places, x.shape))


@op("GatherND")
def gather_nd(call: Call) -> Sym:
    x, indices, batch = call.x(), _indices(call), int(call.attr("batch_dims", 0))
    numbered = _numbered(x)
    if not 0 <= batch < min(x.ndim, indices.ndim) or indices.shape[-1] > x.ndim - batch:
        raise FileFormatError(
            f"GatherND node {call.name!r}: indices of shape {indices.shape} with batch_dims {batch} for a value of shape {x.shape}"
        )
    lead = x.shape[:batch]
    rows = numbered.reshape(math.prod(lead), *x.shape[batch:])
    flat = indices.reshape(math.prod(lead), -1, indices.shape[-1])
    picked = np.stack([_rows(call, row, index) for row, index in zip(rows, flat, strict=True)])
    return _pick(call.b, x, picked.reshape(*indices.shape[:-1], *x.shape[batch + indices.shape[-1] :]))


def _rows(call: Call, numbered: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """``numbered[i, j, ..]`` for each row (i, j, ..) of `indices` (rows, axes)."""
    places = tuple(_in_range(call, indices[:, k], numbered.shape[k]) for k in range(indices.shape[1]))
    return np.asarray(numbered[places])


@op("ScatterND")
def scatter_nd(call: Call) -> Sym:
    x, indices, updates = call.x(), _indices(call), call.x(2)
    if not indices.ndim or indices.shape[-1] > x.ndim:
        raise FileFormatError(
            f"ScatterND node {call.name!r}: indices of shape {indices.shape} for a value of shape {x.shape}"
        )
    positions = _rows(call, _numbered(x), indices.reshape(-1, indices.shape[-1]))
    return _scatter(call, x, positions, updates)


@op("ScatterElements", "Scatter")
def scatter_elements(call: Call) -> Sym:
    x, indices, updates = call.x(), _indices(call), call.x(2)
    return _scatter(call, x, _along(call, x, indices, x.axis(int(call.attr("axis", 0)))), updates)


def _scatter(call: Call, x: Sym, positions: np.ndarray, updates: Sym) -> Sym:
    b, reduction = call.b, str(call.attr("reduction", "none"))
    if positions.size != updates.size:
        raise FileFormatError(
            f"{call.op_type} node {call.name!r}: updates of shape {updates.shape} for {positions.size} positions"
        )
    positions, updates = positions.ravel(), b.reshape(updates, (updates.size,))
    if reduction == "none":
        return b.scatter(x, positions, updates)
    if reduction not in _REDUCTIONS:
        raise UnsupportedError(f"reduction is {reduction!r}; expected none, add, mul, min or max")
    for round_ in _rounds(positions):
        old = _pick(b, x, positions[round_])
        x = b.scatter(x, positions[round_], b.binary(_REDUCTIONS[reduction], old, b.gather(updates, 0, round_)))
    return x


def _rounds(positions: np.ndarray) -> Iterator[np.ndarray]:
    """Which updates come first at their position, which second, and so on: in one round no position comes twice."""
    left = np.arange(positions.size)
    while left.size:
        _, first = np.unique(positions[left], return_index=True)
        first = np.sort(first)
        yield left[first]
        left = np.delete(left, first)


@op("Trilu")
def trilu(call: Call) -> Sym:
    b, x = call.b, call.x()
    k = call.opt_const(1, "diagonal")
    if x.ndim < 2:
        raise FileFormatError(f"Trilu node {call.name!r}: an operand of shape {x.shape}; expected matrices")
    diagonal = 0 if k is None else int(np.clip(k.reshape(()), -x.size, x.size))
    part = np.triu if call.attr("upper", 1) else np.tril
    if x.const is not None:
        return b.const(part(x.const, diagonal))
    return b.binary("mul", x, b.const(part(np.ones(x.shape[-2:], np.float32), diagonal)))


@op("Compress")
def compress(call: Call) -> Sym:
    b, x = call.b, call.x()
    chosen = np.flatnonzero(call.const(1, "condition"))
    if "axis" not in call.attributes:
        return _pick(b, x, chosen)
    return b.gather(x, int(call.attr("axis")), chosen)


@op("ReverseSequence")
def reverse_sequence(call: Call) -> Sym:
    x, lengths = call.x(), call.const(1, "sequence_lens").astype(np.int64)
    batch, time = x.axis(int(call.attr("batch_axis", 1))), x.axis(int(call.attr("time_axis", 0)))
    if lengths.shape != (x.shape[batch],) or batch == time or lengths.min() < 0 or lengths.max() > x.shape[time]:
        raise FileFormatError(
            f"ReverseSequence node {call.name!r}: lengths {lengths.tolist()} for a value of shape {x.shape}"
        )
    if x.shape[time] == 1:
        return x
    places = np.indices(x.shape)
    lens = lengths[places[batch]]
    places[time] = np.where(places[time] < lens, lens - 1 - places[time], places[time])
    return _pick(call.b, x, np.asarray(np.ravel_multi_index(list(places), x.shape)))


@op("DepthToSpace", "SpaceToDepth")
def blocks(call: Call) -> Sym:
    """Channels to blocks of pixels and back."""
    b, x, n = call.b, call.x(), int(call.attr("blocksize", 0))
    if x.ndim != 4 or n < 1:
        raise FileFormatError(f"{call.op_type} node {call.name!r}: blocksize {n} for a value of shape {x.shape}")
    batch, c, h, w = x.shape
    if call.op_type == "SpaceToDepth":
        order = [0, 3, 5, 1, 2, 4] if call.attr("mode", "DCR") == "DCR" else [0, 1, 3, 5, 2, 4]
        y = b.permute(b.reshape(x, (batch, c, h // n, n, w // n, n)), order)
        return b.reshape(y, (batch, c * n * n, h // n, w // n))
    if call.attr("mode", "DCR") == "DCR":
        y = b.permute(b.reshape(x, (batch, n, n, c // (n * n), h, w)), [0, 3, 4, 1, 5, 2])
    else:
        y = b.permute(b.reshape(x, (batch, c // (n * n), n, n, h, w)), [0, 1, 4, 2, 5, 3])
    return b.reshape(y, (batch, c // (n * n), h * n, w * n))
