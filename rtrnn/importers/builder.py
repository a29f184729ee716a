"""What every importer speaks: operations on the values of a foreign graph, lowered to a Draft.

A foreign graph is read *specialised to one timestep*: its time axis and its batch axis have size 1. All its shapes are
then static, shape arithmetic is ordinary arithmetic on constants, and an axis of size 1 changes no element's order,
so the Draft's values simply leave out every axis of size 1 (:func:`strip`).

A :class:`Sym` is one foreign value: either a constant (a NumPy array of any type) or a value of the Draft. Operations
whose operands are all constant are computed here with NumPy, which is the constant folder.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rtrnn.errors import UnsupportedError
from rtrnn.importers.convolution import batch_norm, conv, conv_transpose
from rtrnn.importers.draft import Draft, Shape
from rtrnn.importers.frames import crop, framed, inner, is_time, joined, keeps_zero, refuse, spread, through
from rtrnn.importers.layers import CellWeights, cell, last, layer, require_one, runs_within_step
from rtrnn.importers.pooling import pad, pool, scatter
from rtrnn.importers.sym import Axis, RebindAxis, Sym, merge_origins, reshape_origin, strip

__all__ = ["Axis", "Builder", "CellWeights", "RebindAxis", "Sym", "strip"]

_BINARY: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "min": np.minimum,
    "max": np.maximum,
    "pow": np.power,
}
_REDUCE: dict[str, Callable[..., Any]] = {
    "reduce_sum": np.sum,
    "reduce_mean": np.mean,
    "reduce_max": np.max,
    "reduce_min": np.min,
}

#: A file of a few bytes must not fill the memory: the largest constant that is computed, and the largest value of a step.
MAX_CONSTANT_ELEMENTS = 1 << 26
MAX_VALUE_ELEMENTS = 1 << 24

#: The most multiplications in the product of two computed matrices.
_MAX_PRODUCTS = 1 << 20


def check_size(shape: Sequence[int], limit: int, what: str) -> None:
    """Raises :class:`UnsupportedError` when a value of this shape would have more than `limit` elements."""
    if math.prod(shape) > limit:
        raise UnsupportedError(f"{what} of shape {tuple(shape)}; expected at most {limit} elements")


class Builder:
    """Operations on :class:`Sym` values. Each takes and returns foreign shapes and appends to `draft`."""

    def __init__(self) -> None:
        self.draft = Draft()
        #: what nodes and tensors made from here on are named after; importers set it to the foreign node's name
        self.hint = ""
        #: Input axes that a recurrent layer ran over.
        self.time_axes: set[Axis] = self.draft.time_axes
        #: Input axes that count the sequences side by side of a recurrent layer.
        self.batch_axes: set[Axis] = set()
        #: Whether a recurrent layer ran over an axis of which it is not known where it comes from.
        self.lost_time = False
        #: Input axes whose size the foreign file leaves open.
        self.dynamic_axes: set[Axis] = set()
        #: Input axes that the foreign file has fixed to another size and that are read as 1 -> that size.
        self.rebound: dict[Axis, int] = {}
        #: Input axes that lie within the timestep, although a recurrent layer may run over them: the caller said so.
        self.step_axes: set[Axis] = set()
        #: How many layers have been run within the timestep.
        self.layers = 0
        self._sizes: dict[Axis, int] = {}

    # -- sources ---------------------------------------------------------------------------------------

    def input(self, name: str, shape: Sequence[int]) -> Sym:
        """Declares an input of the foreign graph, time and batch axes already set to 1."""
        shape = tuple(int(d) for d in shape)
        check_size(shape, MAX_VALUE_ELEMENTS, f"input {name!r}")
        self.draft.add_input(name, strip(shape))
        self._sizes.update({(name, i): d for i, d in enumerate(shape)})
        return Sym(shape, name=name, origin=tuple((name, i) for i in range(len(shape))))

    def const(self, value: Any, dtype: Any = None) -> Sym:
        array = np.asarray(value, dtype)
        check_size(array.shape, MAX_CONSTANT_ELEMENTS, "a constant")
        return Sym(array.shape, const=array, origin=(None,) * array.ndim)

    def state(self, hint: str, initial: np.ndarray, origin: str = "") -> Sym:
        """A state that the Stream carries itself, with its initial value; see :meth:`set_next`."""
        initial = np.asarray(initial, np.float32)
        name = self.draft.add_state(hint, strip(initial.shape), initial.reshape(strip(initial.shape)), origin)
        return Sym(initial.shape, name=name, origin=(None,) * initial.ndim)

    def set_next(self, state: Sym, value: Sym) -> None:
        assert state.name is not None
        self.draft.states[state.name].next = self.value(value, strip(state.shape))

    # -- to and from the Draft -------------------------------------------------------------------------

    def value(self, x: Sym, shape: Shape | None = None) -> str:
        """The name of the Draft value that holds `x`, seen with the Draft shape `shape` (default: stripped)."""
        if x.frames is not None:
            raise refuse(x)
        have = strip(x.shape)
        want = have if shape is None else tuple(shape)
        if x.const is not None:
            return self.draft.add_tensor(np.asarray(x.const, np.float32).reshape(want), self.hint or "constant")
        assert x.name is not None
        if want == have:
            return x.name
        return self.draft.add_node("reshape", [x.name], [want], {"shape": list(want)}, f"{x.name}.view")[0]

    def emit(
        self,
        op: str,
        inputs: Sequence[str],
        shape: Sequence[int],
        draft_shape: Sequence[int] | None = None,
        attributes: dict[str, Any] | None = None,
        origin: tuple[Axis | None, ...] | None = None,
    ) -> Sym:
        """Appends a node with one output of foreign shape `shape`; its Draft shape is `draft_shape` or stripped."""
        shape = tuple(int(d) for d in shape)
        check_size(shape, MAX_VALUE_ELEMENTS, f"a value of {op}")
        stripped = strip(shape)
        draft_shape = stripped if draft_shape is None else tuple(draft_shape)
        (name,) = self.draft.add_node(op, list(inputs), [draft_shape], attributes, self.hint)
        if draft_shape != stripped:
            (name,) = self.draft.add_node("reshape", [name], [stripped], {"shape": list(stripped)}, f"{name}.view")
        return Sym(shape, name=name, origin=origin if origin is not None else (None,) * len(shape))

    # -- elementwise -----------------------------------------------------------------------------------

    def unary(
        self, op: str, x: Sym, fold: Callable[[np.ndarray], np.ndarray] | None = None, **attributes: float
    ) -> Sym:
        """A unary function of cpp/README.md; `fold` computes it when `x` is constant."""
        if x.const is not None and fold is not None:
            return self.const(fold(x.const))
        if x.frames is not None:
            return through(x, lambda y: self.unary(op, y, None, **attributes), keeps_fill=keeps_zero(op, x.frames))
        return self.emit(op, [self.value(x)], x.shape, attributes=attributes, origin=x.origin)

    def binary(self, op: str, a: Sym, b: Sym) -> Sym:
        """add, sub, mul, div, min, max, pow with NumPy broadcasting."""
        if a.frames is not None or b.frames is not None:
            return spread(self, op, a, b)
        a, b = self._one_step_of(a, b), self._one_step_of(b, a)
        shape = np.broadcast_shapes(a.shape, b.shape)
        if a.const is not None and b.const is not None:
            return self.const(self._fold_binary(op, a.const, b.const))
        return self.emit(
            op,
            [self._broadcast_view(a, shape), self._broadcast_view(b, shape)],
            shape,
            origin=merge_origins(len(shape), a, b),
        )

    def _one_step_of(self, x: Sym, other: Sym) -> Sym:
        """The part for one timestep of a constant that the file holds for all of its timesteps, if they are alike."""
        array = x.const
        if array is None or other.const is not None:
            return x
        for i in range(1, min(array.ndim, other.ndim) + 1):
            origin = other.origin[-i]
            if origin in self.rebound and other.shape[-i] == 1 and array.shape[-i] == self.rebound[origin]:
                part = array.take([0], -i)
                array = part if np.array_equal(np.broadcast_to(part, array.shape), array) else array
        return x if array is x.const else self.const(array)

    @staticmethod
    def _fold_binary(op: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        if op == "div" and np.issubdtype(np.result_type(a, b), np.integer):
            return np.asarray(np.trunc(a / b), np.result_type(a, b))
        return np.asarray(_BINARY[op](a, b))

    def _broadcast_view(self, x: Sym, shape: Shape) -> str:
        """`x` as a Draft value that broadcasts to ``strip(shape)`` the way x.shape broadcasts to `shape`."""
        padded = (1,) * (len(shape) - x.ndim) + x.shape
        view = [p for p, d in zip(padded, shape, strict=True) if d != 1]
        while view and view[0] == 1:
            view.pop(0)
        return self.value(x, tuple(view) or (1,))

    # -- shape -----------------------------------------------------------------------------------------

    def reshape(self, x: Sym, shape: Sequence[int], origin: tuple[Axis | None, ...] | None = None) -> Sym:
        """`shape` without -1 or 0 left in it; costs nothing at run time."""
        shape = tuple(int(d) for d in shape)
        if int(np.prod(shape, dtype=np.int64)) != x.size:
            raise UnsupportedError(f"cannot reshape a value of shape {x.shape} to {shape}")
        if x.const is not None:
            return self.const(x.const.reshape(shape))
        if origin is None:
            origin = reshape_origin(x, shape)
        return Sym(shape, name=self.value(x, strip(shape)), origin=origin)

    def squeeze(self, x: Sym, axes: Sequence[int] | None = None) -> Sym:
        if axes is None:
            drop = {i for i, d in enumerate(x.shape) if d == 1}
        else:
            drop = {x.axis(int(a)) for a in axes}
        for a in drop:
            if x.shape[a] != 1:
                raise UnsupportedError(f"cannot squeeze axis {a} of a value of shape {x.shape}: its size is not 1")
        keep = [i for i in range(x.ndim) if i not in drop]
        if x.frames is not None:
            return through(x, lambda y: self.squeeze(y, sorted(drop)), axis=keep.index(x.frames.axis))
        return self.reshape(x, [x.shape[i] for i in keep], tuple(x.origin[i] for i in keep))

    def unsqueeze(self, x: Sym, axes: Sequence[int]) -> Sym:
        rank = x.ndim + len(axes)
        if any(not -rank <= int(a) < rank for a in axes) or len({int(a) % rank for a in axes}) != len(axes):
            raise UnsupportedError(f"cannot insert axes {list(axes)} into a value of shape {x.shape}")
        new = {int(a) % rank for a in axes}
        if x.frames is not None:
            kept = [i for i in range(rank) if i not in new]
            return through(x, lambda y: self.unsqueeze(y, axes), axis=kept[x.frames.axis])
        dims, origin = iter(x.shape), iter(x.origin)
        shape: list[int] = []
        tags: list[Axis | None] = []
        for i in range(rank):
            shape.append(1 if i in new else next(dims))
            tags.append(None if i in new else next(origin))
        return self.reshape(x, shape, tuple(tags))

    def permute(self, x: Sym, axes: Sequence[int]) -> Sym:
        axes = [x.axis(int(a)) for a in axes]
        if x.frames is not None:
            return through(x, lambda y: self.permute(y, axes), axis=axes.index(x.frames.axis))
        shape = tuple(x.shape[a] for a in axes)
        origin = tuple(x.origin[a] for a in axes)
        if x.const is not None:
            return self.const(x.const.transpose(axes))
        real = [i for i, d in enumerate(x.shape) if d != 1]
        order = [real.index(a) for a in axes if x.shape[a] != 1]
        if order == sorted(order):
            return Sym(shape, name=x.name, origin=origin)
        return self.emit("permute", [self.value(x)], shape, attributes={"axes": order}, origin=origin)

    def _draft_axis(self, x: Sym, axis: int) -> tuple[str, Shape, int]:
        """`x` as a Draft value in which the foreign `axis` exists even if its size is 1: name, shape, index."""
        kept = [i for i, d in enumerate(x.shape) if d != 1 or i == axis]
        shape = tuple(x.shape[i] for i in kept)
        return self.value(x, shape), shape, kept.index(axis)

    def slice(self, x: Sym, axis: int, start: int, stop: int, step: int = 1) -> Sym:
        """Python slice semantics on one axis; `start` and `stop` may be negative or out of range."""
        axis = x.axis(axis)
        index = range(*slice(start, stop, step).indices(x.shape[axis]))
        if x.frames is not None:
            if axis != x.frames.axis:
                return through(x, lambda y: self.slice(y, axis, start, stop, step))
            if step != 1:
                raise refuse(x)
            return crop(self, x, axis, index.start, x.shape[axis] - index.stop)
        shape = (*x.shape[:axis], len(index), *x.shape[axis + 1 :])
        if x.const is not None:
            return self.const(np.take(x.const, list(index), axis))
        if step < 0:
            self._note_over("a reversal", x, {axis})
        if len(index) == 0:
            raise UnsupportedError(f"slice {start}:{stop}:{step} of an axis of size {x.shape[axis]} is empty")
        # What cuts padding off again leaves the input's axis.
        whole = step == 1 and len(index) == self._sizes.get(x.origin[axis] or ("", 0), x.shape[axis])
        origin = tuple(o if i != axis or whole else None for i, o in enumerate(x.origin))
        if index == range(x.shape[axis]):
            return Sym(shape, name=x.name, origin=origin)
        value, have, at = self._draft_axis(x, axis)
        got = (*have[:at], len(index), *have[at + 1 :])
        attributes = {"axis": at, "start": index.start, "stop": index.stop, "step": index.step}
        if index.step < 0:
            return self.gather(x, axis, np.asarray(index))
        return self.emit("slice", [value], shape, got, attributes, origin)

    def split(self, x: Sym, axis: int, sizes: Sequence[int]) -> list[Sym]:
        axis = x.axis(axis)
        if sum(sizes) != x.shape[axis]:
            raise UnsupportedError(f"split sizes {list(sizes)} do not add up to {x.shape[axis]}")
        ends = np.cumsum([0, *sizes])
        return [self.slice(x, axis, int(a), int(b)) for a, b in itertools.pairwise(ends)]

    def gather(self, x: Sym, axis: int, indices: np.ndarray) -> Sym:
        """Constant `indices` (any shape) along `axis`; a scalar index removes the axis."""
        axis = x.axis(axis)
        indices = np.asarray(indices)
        if x.frames is not None and axis != x.frames.axis and indices.ndim == 1:
            return through(x, lambda y: self.gather(y, axis, indices))
        size = x.shape[axis]
        if indices.size and (indices.min() < -size or indices.max() >= size):
            raise UnsupportedError(f"index out of range: {indices.min()}..{indices.max()} in an axis of size {size}")
        shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
        if x.const is not None:
            return self.const(np.take(x.const, indices, axis))
        flat = np.where(indices < 0, indices + size, indices).ravel()
        tags: tuple[Axis | None, ...] = (None,) * indices.ndim
        origin = (*x.origin[:axis], *tags, *x.origin[axis + 1 :])
        if flat.size and np.array_equal(flat, np.arange(flat[0], flat[0] + flat.size)):
            part = self.slice(x, axis, int(flat[0]), int(flat[0]) + flat.size)
            return self.reshape(part, shape, origin)
        value, have, at = self._draft_axis(x, axis)
        got = (*have[:at], flat.size, *have[at + 1 :])
        return self.emit("gather", [value], shape, got, {"axis": at, "indices": flat.tolist()}, origin)

    def concat(self, xs: Sequence[Sym], axis: int) -> Sym:
        if all(x.const is not None for x in xs):
            return self.const(np.concatenate([x.const for x in xs], axis))
        first = xs[0]
        axis = first.axis(axis)
        xs = [x for x in xs if x.size] or [first]
        if len(xs) == 1:
            return xs[0]
        if any(x.frames is not None for x in xs):
            frames = joined(xs)
            if axis == frames.axis:
                raise refuse(next(x for x in xs if x.frames is not None))
            return framed(self.concat([inner(x) for x in xs], axis), frames)
        total = sum(x.shape[axis] for x in xs)
        shape = (*first.shape[:axis], total, *first.shape[axis + 1 :])
        kept = [i for i, d in enumerate(first.shape) if d != 1 or i == axis]
        values = [self.value(x, tuple(x.shape[i] for i in kept)) for x in xs]
        got = tuple(shape[i] for i in kept)
        origin = tuple(None if i == axis else o for i, o in enumerate(merge_origins(len(shape), *xs)))
        return self.emit("concat", values, shape, got, {"axis": kept.index(axis)}, origin)

    def expand(self, x: Sym, shape: Sequence[int]) -> Sym:
        shape = np.broadcast_shapes(x.shape, tuple(int(d) for d in shape))
        if x.const is not None:
            return self.const(np.broadcast_to(x.const, shape))
        if strip(shape) == strip(x.shape) and x.size == int(np.prod(shape, dtype=np.int64)):
            return self.reshape(x, shape)
        target = strip(shape)
        return self.emit("expand", [self._broadcast_view(x, shape)], shape, attributes={"shape": list(target)})

    # -- products, normalisation, reductions -----------------------------------------------------------

    def linear(self, x: Sym, weight: np.ndarray, bias: np.ndarray | None = None) -> Sym:
        """x (.., I) times `weight` (O, I) transposed plus `bias` (O)."""
        weight = np.asarray(weight)
        if x.ndim == 0 or weight.ndim != 2 or x.shape[-1] != weight.shape[1]:
            raise UnsupportedError(f"linear: input of shape {x.shape} does not fit a weight of shape {weight.shape}")
        shape = (*x.shape[:-1], weight.shape[0])
        if x.const is not None:
            product = x.const @ weight.T
            return self.const(product if bias is None else product + bias)
        lead = tuple(d for d in x.shape[:-1] if d != 1)
        inputs = [self.value(x, (*lead, x.shape[-1])), self.draft.add_tensor(weight, f"{self.hint or 'linear'}.weight")]
        if bias is not None and np.any(bias):
            inputs.append(
                self.draft.add_tensor(np.broadcast_to(bias, weight.shape[:1]), f"{self.hint or 'linear'}.bias")
            )
        return self.emit("linear", inputs, shape, (*lead, weight.shape[0]), origin=(*x.origin[:-1], None))

    def matmul(self, a: Sym, b: Sym) -> Sym:
        """``a @ b``; a side that is a constant matrix makes it a linear, two computed sides at most 2**20 products."""
        if a.const is not None and b.const is not None:
            return self.const(a.const @ b.const)
        if b.const is not None and b.ndim >= 1 and all(d == 1 for d in b.shape[:-2]):
            if b.ndim == 1:
                return self.squeeze(self.linear(a, b.const[None, :]), [-1])
            y = self.linear(a, b.const.reshape(b.shape[-2:]).T)
            extra = b.ndim - max(a.ndim, 2)
            return self.unsqueeze(y, range(extra)) if extra > 0 else y
        if a.const is not None and a.ndim == 2 and b.ndim >= 2:
            swap = [*range(b.ndim - 2), b.ndim - 1, b.ndim - 2]
            return self.permute(self.linear(self.permute(b, swap), a.const), swap)
        if a.const is not None and a.ndim == 2 and b.ndim == 1:
            return self.linear(b, a.const)
        return self._matmul_by_products(a, b)

    def _matmul_by_products(self, a: Sym, b: Sym) -> Sym:
        left = self.unsqueeze(a, [0]) if a.ndim == 1 else a
        right = self.unsqueeze(b, [1]) if b.ndim == 1 else b
        if a.ndim == 0 or b.ndim == 0 or left.shape[-1] != right.shape[-2]:
            raise UnsupportedError(f"matmul of shapes {a.shape} and {b.shape}: the axis that is summed over differs")
        lead = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
        count = math.prod((*lead, left.shape[-2], left.shape[-1], right.shape[-1]))
        if count > _MAX_PRODUCTS:
            raise UnsupportedError(
                f"matmul of shapes {a.shape} and {b.shape}, both computed, takes {count} multiplications: expected at most "
                f"{_MAX_PRODUCTS}, or one side that is a constant matrix"
            )
        # (.., M, K, 1) times (.., 1, K, N), summed over K
        products = self.binary("mul", self.unsqueeze(left, [-1]), self.unsqueeze(right, [-3]))
        y = self.reduce("reduce_sum", products, [-2], False)
        return self.squeeze(y, [axis for axis, x in ((-2, a), (-1, b)) if x.ndim == 1])

    def layer_norm(self, x: Sym, weight: np.ndarray | None, bias: np.ndarray | None, eps: float, axis: int = -1) -> Sym:
        """Over the axes from `axis` to the last."""
        axis = x.axis(axis)
        n = int(np.prod(x.shape[axis:], dtype=np.int64))
        lead = tuple(d for d in x.shape[:axis] if d != 1)
        inputs = [self.value(x, (*lead, n))]
        for role, array in (("weight", weight), ("bias", bias)):
            hint = f"{self.hint or 'norm'}.{role}"
            inputs.append("" if array is None else self.draft.add_tensor(np.asarray(array).reshape(n), hint))
        while inputs[-1] == "":
            inputs.pop()
        return self.emit("layer_norm", inputs, x.shape, (*lead, n), {"eps": float(eps)}, x.origin)

    def softmax(self, x: Sym, axis: int = -1) -> Sym:
        axis = x.axis(axis)
        if x.shape[axis] == 1:
            self._note_over("softmax", x, {axis})
            return self.const(np.ones(x.shape, np.float32))
        if axis != x.ndim - 1:
            order = [i for i in range(x.ndim) if i != axis] + [axis]
            return self.permute(self.softmax(self.permute(x, order)), np.argsort(order).tolist())
        return self.emit("softmax", [self.value(x)], x.shape, origin=x.origin)

    def _note_over(self, op: str, x: Sym, axes: set[int]) -> None:
        """That `op` takes in all of `axes`: which of them is time may show later."""
        text = f"{op} over the time axis takes one timestep only: a stream has no later ones"
        for i in axes:
            if x.const is None and x.shape[i] == 1 and (origin := x.origin[i]) is not None:
                self.draft.over_axes.append((origin, text))

    def log_softmax(self, x: Sym, axis: int = -1) -> Sym:
        axis = x.axis(axis)
        shifted = self.binary("sub", x, self.reduce("reduce_max", x, [axis], True))
        total = self.reduce("reduce_sum", self.unary("exp", shifted, np.exp), [axis], True)
        return self.binary("sub", shifted, self.unary("log", total, np.log))

    def reduce(self, op: str, x: Sym, axes: Sequence[int] | None, keepdims: bool) -> Sym:
        """reduce_sum, reduce_mean, reduce_max, reduce_min over `axes` (None: all)."""
        chosen = set(range(x.ndim)) if axes is None else {x.axis(int(a)) for a in axes}
        self._note_over(op, x, chosen)
        shape = [1 if i in chosen else d for i, d in enumerate(x.shape) if keepdims or i not in chosen]
        if x.const is not None:
            return self.const(np.asarray(_REDUCE[op](x.const, axis=tuple(sorted(chosen)), keepdims=keepdims)))
        origin = tuple(None if i in chosen else o for i, o in enumerate(x.origin) if keepdims or i not in chosen)
        real = [i for i, d in enumerate(x.shape) if d != 1]
        over = [real.index(i) for i in sorted(chosen) if x.shape[i] != 1]
        if not over:
            return self.reshape(x, shape, origin)
        got = tuple(d for i, d in enumerate(strip(x.shape)) if i not in over) or (1,)
        return self.emit(op, [self.value(x)], shape, got, {"axes": over, "keepdims": 0}, origin)

    # -- in files of their own -------------------------------------------------------------------------

    conv = conv
    conv_transpose = conv_transpose
    batch_norm = batch_norm
    pad = pad
    pool = pool
    scatter = scatter
    cell = cell
    layer = layer
    last = last
    require_one = require_one
    runs_within_step = runs_within_step
    is_time = is_time
