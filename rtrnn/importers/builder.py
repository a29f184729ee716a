"""What every importer speaks: operations on the values of a foreign graph, lowered to a Draft.

A foreign graph is read *specialised to one timestep*: its time axis and its batch axis have size 1. All its shapes are
then static, shape arithmetic is ordinary arithmetic on constants, and an axis of size 1 changes no element's order,
so the Draft's values simply leave out every axis of size 1 (:func:`strip`).

A :class:`Sym` is one foreign value: either a constant (a NumPy array of any type) or a value of the Draft. Operations
whose operands are all constant are computed here with NumPy, which is the constant folder.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rtrnn.errors import UnsupportedError
from rtrnn.importers.draft import Draft, Shape
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


@dataclass
class CellWeights:
    """The weights of one direction of one recurrent layer, in the canonical (PyTorch's) gate order.

    Shapes for G gates: `weight_ih` (G*hidden, input), `weight_hh` (G*hidden, recurrent), biases (G*hidden),
    `weight_hr` (projection, hidden), `peephole` (3*hidden) in the order i, f, o.
    """

    weight_ih: np.ndarray
    weight_hh: np.ndarray
    bias_ih: np.ndarray | None = None
    bias_hh: np.ndarray | None = None
    weight_hr: np.ndarray | None = None
    peephole: np.ndarray | None = None


class Builder:
    """Operations on :class:`Sym` values. Each takes and returns foreign shapes and appends to `draft`."""

    def __init__(self) -> None:
        self.draft = Draft()
        #: what nodes and tensors made from here on are named after; importers set it to the foreign node's name
        self.hint = ""
        #: Input axes that a recurrent layer ran over.
        self.time_axes: set[Axis] = set()

    # -- sources ---------------------------------------------------------------------------------------

    def input(self, name: str, shape: Sequence[int]) -> Sym:
        """Declares an input of the foreign graph, time and batch axes already set to 1."""
        shape = tuple(int(d) for d in shape)
        self.draft.add_input(name, strip(shape))
        return Sym(shape, name=name, origin=tuple((name, i) for i in range(len(shape))))

    def const(self, value: Any, dtype: Any = None) -> Sym:
        array = np.asarray(value, dtype)
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
        return self.emit(op, [self.value(x)], x.shape, attributes=attributes, origin=x.origin)

    def binary(self, op: str, a: Sym, b: Sym) -> Sym:
        """add, sub, mul, div, min, max, pow with NumPy broadcasting."""
        shape = np.broadcast_shapes(a.shape, b.shape)
        if a.const is not None and b.const is not None:
            return self.const(self._fold_binary(op, a.const, b.const))
        return self.emit(
            op,
            [self._broadcast_view(a, shape), self._broadcast_view(b, shape)],
            shape,
            origin=merge_origins(len(shape), a, b),
        )

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
        return self.reshape(x, [x.shape[i] for i in keep], tuple(x.origin[i] for i in keep))

    def unsqueeze(self, x: Sym, axes: Sequence[int]) -> Sym:
        rank = x.ndim + len(axes)
        if any(not -rank <= int(a) < rank for a in axes) or len({int(a) % rank for a in axes}) != len(axes):
            raise UnsupportedError(f"cannot insert axes {list(axes)} into a value of shape {x.shape}")
        new = {int(a) % rank for a in axes}
        dims, origin = iter(x.shape), iter(x.origin)
        shape: list[int] = []
        tags: list[Axis | None] = []
        for i in range(rank):
            shape.append(1 if i in new else next(dims))
            tags.append(None if i in new else next(origin))
        return self.reshape(x, shape, tuple(tags))

    def permute(self, x: Sym, axes: Sequence[int]) -> Sym:
        axes = [x.axis(int(a)) for a in axes]
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
        shape = (*x.shape[:axis], len(index), *x.shape[axis + 1 :])
        if x.const is not None:
            return self.const(np.take(x.const, list(index), axis))
        if len(index) == 0:
            raise UnsupportedError(f"slice {start}:{stop}:{step} of an axis of size {x.shape[axis]} is empty")
        origin = tuple(o if i != axis or len(index) == x.shape[axis] else None for i, o in enumerate(x.origin))
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
            return self.const(np.concatenate([x.const for x in xs], axis))  # type: ignore[misc]
        first = xs[0]
        axis = first.axis(axis)
        xs = [x for x in xs if x.size] or [first]
        if len(xs) == 1:
            return xs[0]
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
        """``a @ b`` where one side is constant and at most two-dimensional once its axes of size 1 are gone."""
        if a.const is not None and b.const is not None:
            return self.const(a.const @ b.const)
        if b.const is not None and b.ndim >= 1 and all(d == 1 for d in b.shape[:-2]):
            if b.ndim == 1:
                return self.squeeze(self.linear(a, b.const[None, :]), [-1])
            y = self.linear(a, b.const.reshape(b.shape[-2:]).T)
            extra = b.ndim - y.ndim
            return self.unsqueeze(y, range(extra)) if extra > 0 else y
        if a.const is not None and a.ndim == 2 and b.ndim >= 2:
            swap = [*range(b.ndim - 2), b.ndim - 1, b.ndim - 2]
            return self.permute(self.linear(self.permute(b, swap), a.const), swap)
        if a.const is not None and a.ndim == 2 and b.ndim == 1:
            return self.linear(b, a.const)
        raise UnsupportedError(
            f"matmul of shapes {a.shape} and {b.shape}: one side must be a constant matrix (products of two computed "
            "values are not supported)"
        )

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
            return self.const(np.ones(x.shape, np.float32))
        if axis != x.ndim - 1:
            order = [i for i in range(x.ndim) if i != axis] + [axis]
            return self.permute(self.softmax(self.permute(x, order)), np.argsort(order).tolist())
        return self.emit("softmax", [self.value(x)], x.shape, origin=x.origin)

    def log_softmax(self, x: Sym, axis: int = -1) -> Sym:
        axis = x.axis(axis)
        shifted = self.binary("sub", x, self.reduce("reduce_max", x, [axis], True))
        total = self.reduce("reduce_sum", self.unary("exp", shifted, np.exp), [axis], True)
        return self.binary("sub", shifted, self.unary("log", total, np.log))

    def reduce(self, op: str, x: Sym, axes: Sequence[int] | None, keepdims: bool) -> Sym:
        """reduce_sum, reduce_mean, reduce_max, reduce_min over `axes` (None: all)."""
        chosen = set(range(x.ndim)) if axes is None else {x.axis(int(a)) for a in axes}
        if any(x.origin[i] in self.time_axes for i in chosen):
            self.draft.warnings.append(f"{op} over the time axis takes one timestep only: a stream has no later ones")
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

    # -- recurrent layers ------------------------------------------------------------------------------

    def cell(
        self,
        kind: str,
        x: Sym,
        states: Sequence[Sym],
        weights: CellWeights,
        attributes: dict[str, Any] | None = None,
    ) -> list[Sym]:
        """One step of a cell: x (I), states (H) or (R), (H) -> the next states, as one-dimensional values.

        `attributes` are those of the Graph node (`reset`, `activations`, `alpha`, `beta`, `clip`, `input_forget`,
        `direction`); none that equals its default needs to be given.
        """
        optional = {
            "bias_ih": weights.bias_ih,
            "bias_hh": weights.bias_hh,
            "weight_hr": weights.weight_hr,
            "peephole": weights.peephole,
        }
        if kind != "lstm" and (optional.pop("weight_hr") is not None or optional.pop("peephole") is not None):
            raise UnsupportedError(f"{kind}: a projection or peepholes exist only for lstm")
        inputs = [self.value(x, (x.size,))] + [self.value(s, (s.size,)) for s in states]
        hint = self.hint or kind
        inputs.append(self.draft.add_tensor(weights.weight_ih, f"{hint}.weight_ih"))
        inputs.append(self.draft.add_tensor(weights.weight_hh, f"{hint}.weight_hh"))
        for role, array in optional.items():
            inputs.append("" if array is None else self.draft.add_tensor(array, f"{hint}.{role}"))
        while inputs[-1] == "":
            inputs.pop()
        shapes = [(s.size,) for s in states]
        names = self.draft.add_node(kind, inputs, shapes, attributes, hint)
        return [Sym((s.size,), name=n, origin=(None,)) for s, n in zip(states, names, strict=True)]

    def layer(
        self,
        kind: str,
        x: Sym,
        initial: Sequence[Sym],
        directions: Sequence[tuple[CellWeights, dict[str, Any]]],
        time_axis: int,
        batch_axis: int | None,
    ) -> tuple[Sym, list[Sym]]:
        """One recurrent layer over a sequence of one timestep.

        `x` has `time_axis`, perhaps `batch_axis`, and the feature axis; `initial` holds, per state kind, the
        initial states as (directions, size) in any shape with that many elements. An initial state that is constant becomes a
        state which the Stream carries; any other is left to :meth:`rtrnn.importers.states.pair_states`.
        Returns y with x's axes and features concatenated over directions, and the final states, each (directions, size).
        """
        roles = {time_axis: "time"} if batch_axis is None else {time_axis: "time", batch_axis: "batch"}
        for axis, role in roles.items():
            self.require_one(x, axis, role)
        if (origin := x.origin[time_axis]) is not None:
            self.time_axes.add(origin)
        vector = self.reshape(x, (x.shape[-1],))
        ys: list[Sym] = []
        finals: list[list[Sym]] = [[] for _ in initial]
        for d, (weights, attributes) in enumerate(directions):
            states = []
            for which, state in zip("hc", initial, strict=False):
                size = state.size // len(directions)
                part = self.slice(self.reshape(state, (len(directions), size)), 0, d, d + 1)
                part = self.reshape(part, (size,))
                if part.const is not None:
                    part = self.state(f"{self.hint or kind}.{which}", np.asarray(part.const, np.float32))
                states.append(part)
            nexts = self.cell(kind, vector, states, weights, attributes)
            for k, (state, following) in enumerate(zip(states, nexts, strict=True)):
                if state.name in self.draft.states:
                    self.set_next(state, following)
                finals[k].append(self.unsqueeze(self.last(following), [0]))
            ys.append(nexts[0])
        y = ys[0] if len(ys) == 1 else self.concat(ys, 0)
        shape = (*x.shape[:-1], y.shape[0])
        y = self.reshape(y, shape, (*x.origin[:-1], None))
        return y, [self.concat(parts, 0) for parts in finals]

    def last(self, x: Sym) -> Sym:
        """`x` after the last step that its producer took; see the node type `last`."""
        return self.emit("last", [self.value(x)], x.shape, origin=x.origin)

    def require_one(self, x: Sym, axis: int, role: str) -> None:
        """Raises :class:`RebindAxis` when the axis is not of size 1 and comes straight from an input's axis."""
        axis = x.axis(axis)
        if x.shape[axis] == 1:
            return
        origin = x.origin[axis]
        if origin is None:
            raise UnsupportedError(
                f"the {role} axis (axis {axis}) of a recurrent layer's input of shape {x.shape} is not an axis of the "
                "network's input; only one timestep of one sequence can be streamed"
            )
        raise RebindAxis(origin, role, x.shape[axis])
