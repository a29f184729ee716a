"""Lowerings of recurrent layers: SimpleRNN, GRU, LSTM, cells in an RNN, Bidirectional.

Keras's gate order is z, r, h for a GRU and i, f, c, o for an LSTM; kernels are (features, gates * units). A GRU with
``reset_after`` has two biases, of shape (2, 3 * units), otherwise one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rtrnn.errors import FileFormatError, UnsupportedError
from rtrnn.importers.builder import CellWeights, Sym
from rtrnn.importers.chain import reorder_gates
from rtrnn.importers.keras import activations
from rtrnn.importers.keras.config import Layer
from rtrnn.importers.keras.lowering import Reading, lowers, weight

__all__: list[str] = []

_KINDS = {"SimpleRNNCell": "rnn", "GRUCell": "gru", "LSTMCell": "lstm"}
_GATES = {"rnn": 1, "gru": 3, "lstm": 4}


def _cell(r: Reading, cell: Layer, features: int, version: int) -> tuple[str, int, CellWeights, dict[str, Any]]:
    """(kind, units, weights, attributes of the Graph node) of one cell on `features`."""
    if cell.kind not in _KINDS:
        raise UnsupportedError(f"{cell}: a cell of this class is not supported; expected one of {', '.join(_KINDS)}")
    kind, units = _KINDS[cell.kind], cell.integer("units")
    gates = _GATES[kind]
    why = f"{gates} gates of {units} units on {features} features"
    kernel = weight(cell, "kernel", (features, gates * units), why).T
    recurrent = weight(cell, "recurrent_kernel", (units, gates * units), why).T
    after = kind == "gru" and cell.flag("reset_after", version >= 3)
    bias_ih = bias_hh = None
    if cell.flag("use_bias", True):
        bias = weight(cell, "bias", (2, gates * units) if after else (gates * units,), why)
        bias_ih, bias_hh = (bias[0], bias[1]) if after else (bias, None)
    if kind == "gru":
        kernel, recurrent = (reorder_gates(a, "zrh", "rzh") for a in (kernel, recurrent))
        bias_ih, bias_hh = (None if a is None else reorder_gates(a, "zrh", "rzh") for a in (bias_ih, bias_hh))
    inner = activations.in_cell(cell, "activation", "tanh", version)
    functions = [inner]
    if kind != "rnn":
        outer = activations.in_cell(cell, "recurrent_activation", "hard_sigmoid" if version < 3 else "sigmoid", version)
        functions = [outer, inner] if kind == "gru" else [outer, inner, inner]
    attributes: dict[str, Any] = {"reset": "after" if after else "before"} if kind == "gru" else {}
    if [f[0] for f in functions] != {"rnn": ["tanh"], "gru": ["sigmoid", "tanh"], "lstm": ["sigmoid", "tanh", "tanh"]}[kind]:
        names, alphas, betas = zip(*functions, strict=True)
        attributes |= {"activations": list(names), "alpha": list(alphas), "beta": list(betas)}
    return kind, units, CellWeights(kernel, recurrent, bias_ih, bias_hh), attributes


def _cells(layer: Layer) -> list[Layer]:
    """The cells of a recurrent layer, one after another."""
    cell = layer.children["cell"]
    if cell.kind != "StackedRNNCells":
        return [cell]
    if cell.get("reverse_state_order", False) not in (False, None):
        raise UnsupportedError(f"{cell}: reverse_state_order; expected the states in the order of the cells")
    return cell.layers


def _run(
    r: Reading, layer: Layer, x: Sym, initial: Sequence[Sym] | None, *, reverse: bool
) -> tuple[Sym, list[Sym], Sym]:
    """The layer on `x` (1, time, features): the sequence of its outputs, its final states, its last output."""
    if layer.kind not in ("SimpleRNN", "GRU", "LSTM", "RNN"):
        raise UnsupportedError(f"{layer}: not a recurrent layer that is supported; expected SimpleRNN, GRU, LSTM or RNN")
    if layer.get("time_major", False) is True:
        raise UnsupportedError(f"{layer}: time_major=True; expected sequences of shape (batch, time, features)")
    if x.ndim != 3:
        raise FileFormatError(f"{layer}: called with a value of shape {x.shape}; expected (batch, time, features)")
    b, y = r.b, x
    states: list[Sym] = []
    given = None if initial is None else list(initial)
    last = None
    for cell in _cells(layer):
        kind, units, weights, attributes = _cell(r, cell, y.shape[-1], r.version)
        count = 2 if kind == "lstm" else 1
        first = [b.const(np.zeros((1, 1, units), np.float32))] * count
        if given is not None:
            taken, given = given[:count], given[count:]
            first = [_initial(r, layer, value, units) for value in taken]
            if len(first) != count:
                raise FileFormatError(f"{layer}: too few initial states; expected {count} of shape (1, {units}) for {cell}")
        if reverse:
            attributes = {**attributes, "direction": "reverse"}
        b.hint = layer.name if len(_cells(layer)) == 1 else f"{layer.name}.{cell.name}"
        y, finals = b.layer(kind, y, first, [(weights, attributes)], 1, 0)
        finals = [b.reshape(f, (1, units)) for f in finals]
        states += finals
        last = finals[0]
    if given:
        raise FileFormatError(f"{layer}: {len(given)} more initial states than it has states")
    if initial is None and not layer.flag("stateful", False) and x.shape[1] == 1 and x.origin[1] not in b.dynamic_axes:
        r.windows.append((layer.name, b.rebound.get(x.origin[1], 1) if x.origin[1] else 1))
    assert last is not None
    return y, states, last


def _initial(r: Reading, layer: Layer, value: Sym, units: int) -> Sym:
    """An initial state: an input of the model, or constant. What the network computes is known to no stream beforehand."""
    if not isinstance(value, Sym) or value.size != units:
        shape = value.shape if isinstance(value, Sym) else type(value).__name__
        raise FileFormatError(f"{layer}: an initial state of shape {shape}; expected (1, {units})")
    if value.const is None and value.name not in r.b.draft.inputs:
        raise UnsupportedError(
            f"{layer}: its initial state is computed by the network (as in an encoder and decoder, of which the second begins "
            "when the first has ended), which no stream can do; expected the initial state to be an input of the model, or zero"
        )
    if value.name is not None:
        r.state_inputs.add(value.name)
    return value


def _arguments(layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> tuple[Sym, list[Sym] | None]:
    """The sequence and the initial states of a call; Keras 2 lists the states behind the sequence."""
    values = list(args[0]) if args and isinstance(args[0], list) else list(args[:1])
    initial = keywords.get("initial_state", args[1] if len(args) > 1 else None)
    initial = _flat(initial) if initial is not None else values[1:] or None
    if not values or not isinstance(values[0], Sym) or (initial is not None and not all(isinstance(s, Sym) for s in initial)):
        raise FileFormatError(f"{layer}: called without a tensor as its sequence, or with initial states that are none")
    return values[0], initial


def _flat(value: Any) -> list[Any]:
    return [part for item in value for part in _flat(item)] if isinstance(value, list) else [value]


@lowers("SimpleRNN", "GRU", "LSTM", "RNN")
def _recurrent(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> list[Sym]:
    x, initial = _arguments(layer, args, keywords)
    reverse, sequences = layer.flag("go_backwards", False), layer.flag("return_sequences", False)
    if reverse and sequences:
        raise UnsupportedError(
            f"{layer}: go_backwards=True with return_sequences=True gives its outputs in the reverse order of time; expected a "
            "Bidirectional layer, or return_sequences=False"
        )
    y, states, last = _run(r, layer, x, initial, reverse=reverse)
    if not sequences and not reverse and x.shape[1] == 1:
        r.last_only.append(layer.name)
    return [y if sequences else last, *(states if layer.flag("return_state", False) else [])]


@lowers("Bidirectional")
def _bidirectional(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> list[Sym]:
    x, initial = _arguments(layer, args, keywords)
    if initial is not None:
        raise UnsupportedError(f"{layer}: initial states are given; expected none, as a layer that runs backwards cannot be streamed")
    forward, backward = layer.children["forward_layer"], layer.children["backward_layer"]
    turned = [inner.flag("go_backwards", False) for inner in (forward, backward)]
    sequences = forward.flag("return_sequences", False)
    if turned != [False, True] or backward.flag("return_sequences", False) != sequences:
        raise UnsupportedError(
            f"{layer}: go_backwards is {turned}, return_sequences {sequences} and {backward.flag('return_sequences', False)}; expected a "
            "forward and a backward layer that give the same"
        )
    ahead, ahead_states, ahead_last = _run(r, forward, x, None, reverse=False)
    back, back_states, back_last = _run(r, backward, x, None, reverse=True)
    one, other = (ahead, back) if sequences else (ahead_last, back_last)
    mode, b = layer.get("merge_mode", "concat"), r.b
    b.hint = layer.name
    states = [*ahead_states, *back_states] if forward.flag("return_state", False) else []
    if mode is None:
        return [one, other, *states]
    if mode == "concat":
        return [b.concat([one, other], one.ndim - 1), *states]
    if mode not in ("sum", "ave", "mul"):
        raise layer.bad("merge_mode", "concat, sum, ave, mul or null", mode)
    y = b.binary("mul" if mode == "mul" else "add", one, other)
    return [b.unary("affine", y, None, alpha=0.5, beta=0.0) if mode == "ave" else y, *states]
