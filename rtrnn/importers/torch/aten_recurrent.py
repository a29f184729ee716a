"""Lowerings of aten's recurrent layers and cells; see :mod:`rtrnn.importers.torch.registry`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rtrnn.errors import UnsupportedError
from rtrnn.importers.builder import Builder, CellWeights, Sym
from rtrnn.importers.torch.registry import constant, lowers

_RELU = {"activations": ["relu"]}


def _weight(x: Sym, what: str) -> np.ndarray:
    array = constant(x, what)
    assert array is not None
    return array


def _layer_weights(params: Sequence[Sym], has_biases: bool) -> CellWeights:
    """One direction of one layer from torch's order: weight_ih, weight_hh, [bias_ih, bias_hh], [weight_hr]."""
    arrays = [_weight(p, "a weight of a recurrent layer") for p in params]
    biases = arrays[2:4] if has_biases else [None, None]
    rest = arrays[4:] if has_biases else arrays[2:]
    return CellWeights(arrays[0], arrays[1], biases[0], biases[1], rest[0] if rest else None)


def _run(
    kind: str,
    b: Builder,
    x: Sym,
    states: Sequence[Sym],
    params: Sequence[Sym],
    has_biases: bool,
    num_layers: int,
    bidirectional: bool,
    batch_first: bool,
    attributes: dict[str, Any] | None = None,
) -> tuple[Sym, ...]:
    directions = 2 if bidirectional else 1
    per, rest = divmod(len(params), num_layers * directions)
    if rest or per not in ((4, 5) if has_biases else (2, 3)):
        raise UnsupportedError(
            f"{len(params)} weights for {num_layers} layers of {directions} direction(s): expected "
            f"{'4 or 5' if has_biases else '2 or 3'} for each"
        )
    if x.ndim not in (2, 3):
        raise UnsupportedError(f"an input of shape {x.shape}: expected (time, batch, features) or (time, features)")
    time_axis = 1 if batch_first and x.ndim == 3 else 0
    batch_axis = 1 - time_axis if x.ndim == 3 else None
    b.require_one(x, time_axis, "time")
    if batch_axis is not None:
        b.require_one(x, batch_axis, "batch")
    for state in states:
        if state.ndim == 3:
            b.require_one(state, 1, "batch")
    hint = b.hint or kind
    finals: list[list[Sym]] = [[] for _ in states]
    for layer in range(num_layers):
        b.hint = f"{hint}.{layer}" if num_layers > 1 else hint
        cells = []
        for d in range(directions):
            first = (layer * directions + d) * per
            weights = _layer_weights(params[first : first + per], has_biases)
            cells.append((weights, {**(attributes or {}), **({"direction": "reverse"} if d else {})}))
        initial = [b.slice(s, 0, layer * directions, (layer + 1) * directions) for s in states]
        x, last = b.layer(kind, x, initial, cells, time_axis, batch_axis)
        for parts, part in zip(finals, last, strict=True):
            parts.append(part)
    joined = [b.concat(parts, 0) for parts in finals]
    return x, *(b.reshape(j, s.shape) for j, s in zip(joined, states, strict=True))


def _no_batch_sizes(batch_sizes: Any) -> None:
    if batch_sizes is not None:
        raise UnsupportedError("a packed sequence; expected a tensor (time, batch, features)")


@lowers("lstm")
def _lstm(
    b: Builder,
    x: Sym,
    hx: Sequence[Sym],
    params: Sequence[Sym],
    has_biases: bool,
    num_layers: int,
    bidirectional: bool,
    batch_first: bool = False,
    batch_sizes: Any = None,
) -> tuple[Sym, ...]:
    _no_batch_sizes(batch_sizes)
    return _run("lstm", b, x, hx, params, has_biases, num_layers, bidirectional, batch_first)


def _one_state(kind: str, attributes: dict[str, Any]) -> Any:
    def lowering(
        b: Builder,
        x: Sym,
        hx: Sym,
        params: Sequence[Sym],
        has_biases: bool,
        num_layers: int,
        bidirectional: bool,
        batch_first: bool = False,
        batch_sizes: Any = None,
    ) -> tuple[Sym, ...]:
        _no_batch_sizes(batch_sizes)
        return _run(kind, b, x, [hx], params, has_biases, num_layers, bidirectional, batch_first, attributes)

    return lowering


lowers("gru")(_one_state("gru", {}))
lowers("rnn_tanh")(_one_state("rnn", {}))
lowers("rnn_relu")(_one_state("rnn", _RELU))


# -- cells ---------------------------------------------------------------------------------------------


def _cell(
    kind: str, b: Builder, x: Sym, states: Sequence[Sym], weights: CellWeights, attributes: Any = None
) -> list[Sym]:
    """A cell; like a layer, it carries a state that is constant in the program."""
    if x.ndim == 2:
        b.require_one(x, 0, "batch")
    for state in states:
        if state.ndim == 2:
            b.require_one(state, 0, "batch")
    hint = b.hint or kind
    carried = []
    for which, state in zip("hc", states, strict=False):
        if state.const is not None:
            state = b.state(f"{hint}.{which}", np.asarray(state.const, np.float32))
        carried.append(state)
    nexts = b.cell(kind, x, carried, weights, attributes)
    for state, given, following in zip(carried, states, nexts, strict=True):
        if given.const is not None:
            b.set_next(state, following)
    return [b.reshape(following, given.shape) for following, given in zip(nexts, states, strict=True)]


def _cell_weights(w_ih: Sym, w_hh: Sym, b_ih: Sym | None, b_hh: Sym | None) -> CellWeights:
    weights = _weight(w_ih, "weight_ih"), _weight(w_hh, "weight_hh")
    return CellWeights(*weights, constant(b_ih, "bias_ih"), constant(b_hh, "bias_hh"))


@lowers("lstm_cell")
def _lstm_cell(b: Builder, x: Sym, hx: Sequence[Sym], w_ih: Sym, w_hh: Sym, b_ih: Any = None, b_hh: Any = None) -> Any:
    return tuple(_cell("lstm", b, x, hx, _cell_weights(w_ih, w_hh, b_ih, b_hh)))


def _one_state_cell(kind: str, attributes: dict[str, Any]) -> Any:
    def lowering(b: Builder, x: Sym, hx: Sym, w_ih: Sym, w_hh: Sym, b_ih: Any = None, b_hh: Any = None) -> Sym:
        return _cell(kind, b, x, [hx], _cell_weights(w_ih, w_hh, b_ih, b_hh), attributes)[0]

    return lowering


lowers("gru_cell")(_one_state_cell("gru", {}))
lowers("rnn_tanh_cell")(_one_state_cell("rnn", {}))
lowers("rnn_relu_cell")(_one_state_cell("rnn", _RELU))
