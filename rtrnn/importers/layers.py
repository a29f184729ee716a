"""Recurrent cells and layers, as operations of :class:`rtrnn.importers.builder.Builder`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rtrnn.errors import UnsupportedError
from rtrnn.importers.draft import Turn
from rtrnn.importers.frames import refuse
from rtrnn.importers.sym import STEP, RebindAxis, Sym

if TYPE_CHECKING:
    from rtrnn.importers.builder import Builder

__all__ = ["CellWeights", "cell", "last", "layer", "require_one", "runs_within_step"]

_GATES = {"rnn": 1, "gru": 3, "lstm": 4}

#: The most cells that one layer may become.
_MAX_CELLS = 4096


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


def _tensors(b: Builder, kind: str, weights: CellWeights) -> list[str]:
    """The weight operands of a cell's node."""
    optional = {
        "bias_ih": weights.bias_ih,
        "bias_hh": weights.bias_hh,
        "weight_hr": weights.weight_hr,
        "peephole": weights.peephole,
    }
    if kind != "lstm" and (optional.pop("weight_hr") is not None or optional.pop("peephole") is not None):
        raise UnsupportedError(f"{kind}: a projection or peepholes exist only for lstm")
    hint = b.hint or kind
    names = [b.draft.add_tensor(weights.weight_ih, f"{hint}.weight_ih")]
    names.append(b.draft.add_tensor(weights.weight_hh, f"{hint}.weight_hh"))
    for role, array in optional.items():
        names.append("" if array is None else b.draft.add_tensor(array, f"{hint}.{role}"))
    while names[-1] == "":
        names.pop()
    return names


def _cell(
    b: Builder,
    kind: str,
    x: Sym,
    states: Sequence[Sym],
    tensors: Sequence[str],
    attributes: dict[str, Any] | None,
    turn: Turn | None = None,
) -> list[Sym]:
    inputs = [b.value(x, (x.size,)), *(b.value(s, (s.size,)) for s in states), *tensors]
    names = b.draft.add_node(kind, inputs, [(s.size,) for s in states], attributes, b.hint or kind)
    b.draft.nodes[-1].turn = turn
    return [Sym((s.size,), name=n, origin=(None,)) for s, n in zip(states, names, strict=True)]


def cell(
    b: Builder,
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
    return _cell(b, kind, x, states, _tensors(b, kind, weights), attributes)


def layer(
    b: Builder,
    kind: str,
    x: Sym,
    initial: Sequence[Sym],
    directions: Sequence[tuple[CellWeights, dict[str, Any]]],
    time_axis: int,
    batch_axis: int | None,
) -> tuple[Sym, list[Sym]]:
    """One recurrent layer over a sequence of one timestep, or over an axis within the timestep.

    `x` has `time_axis`, perhaps `batch_axis`, and the feature axis, the last; `initial` holds, per state kind, the initial
    states as (directions, batch, size) in any shape with that many elements. Over a sequence an initial state that is constant
    becomes a state which the Stream carries; any other is left to :meth:`rtrnn.importers.states.pair_states`. Over
    an axis within the timestep (:func:`runs_within_step`) the cell runs once for each element, backwards where `direction` is
    reverse, from the initial state in every timestep. A batch axis made within the timestep is as many cells side by side.
    Returns y with x's axes and features concatenated over directions, and the final states, each (directions, size) or, for a
    batch of several, (directions, batch, size).

    Raises :class:`RebindAxis` for an axis that must have size 1, :class:`UnsupportedError` beyond 4096 cells.
    """
    if x.frames is not None:
        raise refuse(x)
    time_axis = x.axis(time_axis)
    batch_axis = None if batch_axis is None else x.axis(batch_axis)
    within = runs_within_step(b, x, time_axis, batch_axis)
    origin = x.origin[time_axis]
    if within and origin is not None and origin != STEP:
        b.step_axes.add(origin)
    if not within and x.shape[time_axis] != 1 and origin is not None:
        raise RebindAxis(origin, "time", x.shape[time_axis])
    if batch_axis is not None:
        require_one(b, x, batch_axis, "batch")
    if not within and origin is not None and origin != STEP:
        b.time_axes.add(origin)
    b.lost_time |= not within and origin is None
    if batch_axis is not None and (sequences := x.origin[batch_axis]) is not None:
        b.batch_axes.add(sequences)
    steps = x.shape[time_axis]
    batch = 1 if batch_axis is None else x.shape[batch_axis]
    count = len(directions)
    if steps * batch * count > _MAX_CELLS:
        raise UnsupportedError(
            f"it runs {steps * batch * count} cells within one timestep ({steps} elements, {batch} side by side, {count} "
            f"directions): expected at most {_MAX_CELLS}"
        )
    front = [time_axis] if batch_axis is None else [time_axis, batch_axis]
    order = [*front, *(a for a in range(x.ndim) if a not in front)]
    features = math.prod(x.shape[a] for a in order[len(front) :])
    rows = b.reshape(b.permute(x, order), (steps * batch, features))
    vectors = [b.reshape(b.slice(rows, 0, i, i + 1), (features,)) for i in range(steps * batch)]

    ys: dict[tuple[int, int, int], Sym] = {}
    finals: list[list[Sym]] = [[] for _ in initial]
    for d, (weights, attributes) in enumerate(directions):
        states = []
        recurrent, hidden = weights.weight_hh.shape[1], weights.weight_hh.shape[0] // _GATES[kind]
        for which, size, state in zip("hc", (recurrent, hidden), initial, strict=False):
            if state.size != count * batch * size:
                raise UnsupportedError(
                    f"its initial {which} has shape {state.shape}: expected {count} directions x {batch} sequences x {size} values"
                )
            part = b.reshape(b.slice(b.reshape(state, (count, batch, size)), 0, d, d + 1), (batch, size))
            if part.const is not None and not within:
                part = b.state(f"{b.hint or kind}.{which}", np.asarray(part.const, np.float32))
            states.append(part)
        tensors = _tensors(b, kind, weights)
        if within:
            backwards = attributes.get("direction") == "reverse"
            attributes = {k: v for k, v in attributes.items() if k != "direction"}
            turns = list(range(steps))[:: -1 if backwards else 1]
            for lane in range(batch):
                held = [b.reshape(b.slice(s, 0, lane, lane + 1), (s.shape[1],)) for s in states]
                b.layers += 1
                for t in turns:
                    turn = Turn(b.layers, t == turns[-1])
                    held = _cell(b, kind, vectors[t * batch + lane], held, tensors, attributes, turn)
                    ys[t, lane, d] = held[0]
                for parts, part in zip(finals, held, strict=True):
                    parts.append(part)
            continue
        nexts: list[list[Sym]] = [[] for _ in states]
        for lane in range(batch):
            held = [b.reshape(b.slice(s, 0, lane, lane + 1), (s.shape[1],)) for s in states]
            held = _cell(b, kind, vectors[lane], held, tensors, attributes)
            ys[0, lane, d] = held[0]
            for following, part in zip(nexts, held, strict=True):
                following.append(part)
        for k, (state, following) in enumerate(zip(states, nexts, strict=True)):
            joined = b.concat(following, 0)
            if state.name in b.draft.states:
                b.set_next(state, joined)
            finals[k].append(last(b, joined))
    keys = [(t, lane, d) for t in range(steps) for lane in range(batch) for d in range(count)]
    size = ys[keys[0]].size
    y = b.concat([ys[key] for key in keys], 0)
    moved = [x.shape[a] for a in order[:-1]]
    y = b.reshape(y, (*moved, count * size), (*(x.origin[a] for a in order[:-1]), None))
    y = b.permute(y, np.argsort(order).tolist())
    lead = (count,) if batch == 1 else (count, batch)
    joined_finals = [b.concat(parts, 0) for parts in finals]
    return y, [b.reshape(f, (*lead, f.size // math.prod(lead))) for f in joined_finals]


def last(b: Builder, x: Sym) -> Sym:
    """`x` after the last step that its producer took; see the node type `last`."""
    return b.emit("last", [b.value(x)], x.shape, origin=x.origin)


def runs_within_step(b: Builder, x: Sym, axis: int, batch_axis: int | None = None) -> bool:
    """True when a recurrent layer over `axis` of `x` runs within one timestep, from its initial state anew each time.

    That is an axis of several elements which is computed, which `Builder.step_axes` names, or which belongs to an input whose
    time is known to be another axis (not the batch axis). Any other axis is time.
    """
    axis = x.axis(axis)
    origin = x.origin[axis]
    if origin in b.step_axes:
        return True
    if x.shape[axis] == 1:
        return False
    if origin is None or origin == STEP:
        return True
    batch = None if batch_axis is None else x.origin[x.axis(batch_axis)]
    known = (b.time_axes | b.dynamic_axes) - {origin, batch}
    return any(name == origin[0] for name, _ in known - b.step_axes)


def require_one(b: Builder, x: Sym, axis: int, role: str) -> None:
    """Makes an axis, time or batch, that comes straight from an input's axis one of size 1: raises :class:`RebindAxis` when it
    has another size. An axis that is computed, or that `Builder.step_axes` names, is left to be what it is within the timestep."""
    axis = x.axis(axis)
    if x.frames is not None and x.frames.axis == axis:
        raise refuse(x)
    origin = x.origin[axis]
    if x.shape[axis] == 1 or origin is None or origin == STEP or origin in b.step_axes:
        return
    if role == "time" and runs_within_step(b, x, axis):
        return
    raise RebindAxis(origin, role, x.shape[axis])
