"""Lowerings of aten's shape operators; see :mod:`rtrnn.importers.torch.registry`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rtrnn.errors import UnsupportedError
from rtrnn.importers.builder import Builder, Sym
from rtrnn.importers.onestep import one_timestep
from rtrnn.importers.torch.registry import constant, lowers


@lowers(
    "alias", "clone", "contiguous", "detach", "dropout", "feature_dropout", "alpha_dropout", "to", "_to_copy", "type_as"
)
def _same(b: Builder, x: Sym, train: bool = False, p: float = 0, other: Any = None, device: Any = None) -> Sym:
    if train and p > 0:
        raise UnsupportedError("dropout while training; expected evaluation (module.eval())")
    return x


@lowers(
    "lift_fresh", "lift_fresh_copy", "positive", "float", "resolve_conj", "resolve_neg", "_conj", "cpu", "requires_grad"
)
def _identity(b: Builder, x: Sym) -> Sym:
    return x


# -- questions about the shape -------------------------------------------------------------------------


@lowers("size", "sym_size")
def _size(b: Builder, x: Sym, dim: int | None = None) -> Any:
    return list(x.shape) if dim is None else x.shape[x.axis(dim)]


@lowers("dim")
def _dim(b: Builder, x: Sym) -> int:
    return x.ndim


@lowers("numel", "sym_numel")
def _numel(b: Builder, x: Sym) -> int:
    return x.size


@lowers("len")
def _len(b: Builder, t: Sym) -> int:
    return t.shape[0]


@lowers("is_floating_point")
def _is_floating_point(b: Builder, x: Sym) -> bool:
    return True


# -- the same elements in another shape ----------------------------------------------------------------


def _target(b: Builder, x: Sym, shape: Sequence[int]) -> list[int]:
    """The `shape` that the program asks for, which may be written for other numbers of timesteps and sequences."""
    if b.rebound and x.const is None:
        return one_timestep(shape, x, b.rebound)
    return _resolve(shape, x.size)


def _resolve(shape: Sequence[int], count: int) -> list[int]:
    """`shape` with a -1 replaced."""
    known = int(np.prod([d for d in shape if d != -1], dtype=np.int64))
    return [count // known if d == -1 else int(d) for d in shape]


@lowers("view", "reshape", "_unsafe_view", "_reshape_alias")
def _reshape(b: Builder, x: Sym, size: Any = None, shape: Any = None) -> Sym:
    return b.reshape(x, _target(b, x, size if size is not None else shape))


@lowers("view_as", "reshape_as")
def _reshape_as(b: Builder, x: Sym, other: Sym) -> Sym:
    return b.reshape(x, other.shape)


@lowers("flatten")
def _flatten(b: Builder, x: Sym, start_dim: int = 0, end_dim: int = -1) -> Sym:
    start, stop = x.axis(start_dim), x.axis(end_dim) + 1
    return b.reshape(x, [*x.shape[:start], int(np.prod(x.shape[start:stop], dtype=np.int64)), *x.shape[stop:]])


@lowers("unflatten")
def _unflatten(b: Builder, x: Sym, dim: int, sizes: Sequence[int]) -> Sym:
    axis = x.axis(dim)
    return b.reshape(x, [*x.shape[:axis], *_resolve(sizes, x.shape[axis]), *x.shape[axis + 1 :]])


@lowers("squeeze")
def _squeeze(b: Builder, x: Sym, dim: Any = None) -> Sym:
    if dim is None:
        return b.squeeze(x)
    axes = [x.axis(d) for d in (dim if isinstance(dim, (list, tuple)) else [dim])] if x.ndim else []
    return b.squeeze(x, [a for a in axes if x.shape[a] == 1])


@lowers("unsqueeze")
def _unsqueeze(b: Builder, x: Sym, dim: int) -> Sym:
    return b.unsqueeze(x, [dim])


@lowers("permute")
def _permute(b: Builder, x: Sym, dims: Sequence[int]) -> Sym:
    return b.permute(x, dims)


@lowers("transpose", "swapaxes", "swapdims")
def _transpose(b: Builder, x: Sym, dim0: Any = None, dim1: Any = None, axis0: Any = None, axis1: Any = None) -> Sym:
    first, second = x.axis(dim0 if dim0 is not None else axis0), x.axis(dim1 if dim1 is not None else axis1)
    order = list(range(x.ndim))
    order[first], order[second] = second, first
    return b.permute(x, order)


@lowers("t")
def _t(b: Builder, x: Sym) -> Sym:
    return b.permute(x, range(x.ndim)[::-1])


@lowers("movedim")
def _movedim(b: Builder, x: Sym, source: Any, destination: Any) -> Sym:
    # An array whose axis i has size i shows where each axis goes.
    return b.permute(x, np.moveaxis(np.empty(range(x.ndim)), source, destination).shape)


@lowers("expand")
def _expand(b: Builder, x: Sym, size: Sequence[int]) -> Sym:
    own = (1,) * (len(size) - x.ndim) + x.shape
    origin = (None,) * (len(size) - x.ndim) + x.origin
    kept = [d == -1 or (o is not None and b.rebound.get(o) == d) for d, o in zip(size, origin, strict=True)]
    return b.expand(x, [o if keep else d for d, o, keep in zip(size, own, kept, strict=True)])


@lowers("expand_as")
def _expand_as(b: Builder, x: Sym, other: Sym) -> Sym:
    return b.expand(x, other.shape)


@lowers("repeat")
def _repeat(b: Builder, x: Sym, repeats: Sequence[int]) -> Sym:
    x = b.unsqueeze(x, range(len(repeats) - x.ndim)) if len(repeats) > x.ndim else x
    for axis, count in enumerate(repeats):
        if count != 1:
            x = b.gather(x, axis, np.tile(np.arange(x.shape[axis]), count))
    return x


# -- parts ---------------------------------------------------------------------------------------------


#: The end of a slice that has none, as torch writes it.
_END = 1 << 62


@lowers("slice")
def _slice(b: Builder, x: Sym, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Sym:
    axis = x.axis(dim)
    end = x.shape[axis] if end is None else end
    fixed = b.rebound.get(x.origin[axis]) if x.origin[axis] is not None else None  # type: ignore[arg-type]
    if fixed is not None and x.frames is not None and x.frames.axis == axis and fixed <= end < _END:
        # Counted in the file's own number of frames, of which one is left.
        end -= fixed - 1
    return b.slice(x, axis, 0 if start is None else start, end, step)


@lowers("narrow")
def _narrow(b: Builder, x: Sym, dim: int, start: Any, length: int) -> Sym:
    axis = x.axis(dim)
    start = int(constant(start, "the start of narrow")) if isinstance(start, Sym) else start  # type: ignore[arg-type]
    start = start + x.shape[axis] if start < 0 else start
    return b.slice(x, axis, start, start + length)


@lowers("select")
def _select(b: Builder, x: Sym, dim: int, index: int) -> Sym:
    axis = x.axis(dim)
    if x.origin[axis] is not None and b.rebound.get(x.origin[axis], 0) - 1 == index > 0:  # type: ignore[arg-type]
        index = -1  # the last of the file's timesteps is a stream's present one
    if not -x.shape[axis] <= index < x.shape[axis]:
        raise UnsupportedError(f"index {index} is out of range for axis {axis} of size {x.shape[axis]}")
    index %= x.shape[axis]
    return b.squeeze(b.slice(x, axis, index, index + 1), [axis])


@lowers("index_select")
def _index_select(b: Builder, x: Sym, dim: int, index: Sym) -> Sym:
    at = constant(index, "the index of index_select")
    assert at is not None
    return b.gather(x, dim, np.atleast_1d(at))


@lowers("flip")
def _flip(b: Builder, x: Sym, dims: Sequence[int]) -> Sym:
    for dim in dims:
        x = b.gather(x, dim, np.arange(x.shape[x.axis(dim)])[::-1])
    return x


@lowers("split", "unsafe_split")
def _split(b: Builder, x: Sym, split_size: Any, dim: int = 0) -> list[Sym]:
    axis = x.axis(dim)
    if isinstance(split_size, (list, tuple)):
        return b.split(x, axis, split_size)
    total = x.shape[axis]
    return b.split(x, axis, [min(split_size, total - start) for start in range(0, total, split_size)])


@lowers("split_with_sizes", "unsafe_split_with_sizes")
def _split_with_sizes(b: Builder, x: Sym, split_sizes: Sequence[int], dim: int = 0) -> list[Sym]:
    return b.split(x, x.axis(dim), split_sizes)


@lowers("chunk", "unsafe_chunk")
def _chunk(b: Builder, x: Sym, chunks: int, dim: int = 0) -> list[Sym]:
    return _split(b, x, -(-x.shape[x.axis(dim)] // chunks), dim)


@lowers("tensor_split")
def _tensor_split(
    b: Builder, x: Sym, sections: int = 0, indices: Sequence[int] | None = None, dim: int = 0
) -> list[Sym]:
    axis = x.axis(dim)
    parts = np.array_split(np.arange(x.shape[axis]), sections if indices is None else indices)
    return b.split(x, axis, [len(part) for part in parts])


@lowers("unbind")
def _unbind(b: Builder, x: Sym, dim: int = 0) -> list[Sym]:
    return [_select(b, x, dim, i) for i in range(x.shape[x.axis(dim)])]


# -- joins ---------------------------------------------------------------------------------------------


@lowers("cat", "concat", "concatenate")
def _cat(b: Builder, tensors: Sequence[Sym], dim: int = 0) -> Sym:
    return b.concat([t for t in tensors if t.shape != (0,)], dim)


@lowers("stack")
def _stack(b: Builder, tensors: Sequence[Sym], dim: int = 0) -> Sym:
    return b.concat([b.unsqueeze(t, [dim]) for t in tensors], dim)


@lowers("hstack")
def _hstack(b: Builder, tensors: Sequence[Sym]) -> Sym:
    return b.concat(tensors, 0 if tensors[0].ndim == 1 else 1)
