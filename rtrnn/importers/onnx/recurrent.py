"""RNN, GRU and LSTM: gate order, activations, and the sequence axes of their operands.

Gate order in ONNX and in the Graph: GRU z, r, h to r, z, n; LSTM i, o, f, c to i, f, g, o; peepholes i, o, f to
i, f, o. `B` is the input's biases followed by the recurrent ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rtrnn.errors import FileFormatError, UnsupportedError
from rtrnn.importers.builder import CellWeights, Sym
from rtrnn.importers.onnx.registry import Call, op

__all__ = ["PYTORCH_GRU_WARNING"]

PYTORCH_GRU_WARNING = (
    "GRU node {name!r} has linear_before_reset=0, but PyTorch's GRU applies the reset gate after the recurrent "
    "product: onnxscript 0.5.7 to 0.7.0 exported the right weights with the wrong attribute, so this file gives other "
    'results than the trained network. If it came from such an export, import it with gru_reset="after"; '
    'gru_reset="before" takes the file as it is'
)

#: For each gate of the Graph, its position in ONNX.
_GATES = {"rnn": [0], "gru": [1, 0, 2], "lstm": [0, 2, 3, 1]}
_PEEPHOLES = [0, 2, 1]

#: The functions that trained networks have, for each position.
_USUAL: dict[str, list[tuple[str, ...]]] = {
    "rnn": [("tanh", "relu")],
    "gru": [("sigmoid", "hard_sigmoid"), ("tanh",)],
    "lstm": [("sigmoid", "hard_sigmoid"), ("tanh",), ("tanh",)],
}

_DEFAULT_ACTIVATIONS = {"rnn": ["Tanh"], "gru": ["Sigmoid", "Tanh"], "lstm": ["Sigmoid", "Tanh", "Tanh"]}

#: Name in ONNX, in lower case -> Graph function, which parameters it takes from the lists, alpha, beta.
_ACTIVATIONS: dict[str, tuple[str, str, float, float]] = {
    "relu": ("relu", "", 0.0, 0.0),
    "tanh": ("tanh", "", 0.0, 0.0),
    "sigmoid": ("sigmoid", "", 0.0, 0.0),
    "affine": ("affine", "ab", 1.0, 0.0),
    "leakyrelu": ("leaky_relu", "a", 0.01, 0.0),
    "thresholdedrelu": ("thresholded_relu", "a", 1.0, 0.0),
    "scaledtanh": ("scaled_tanh", "ab", 1.0, 1.0),
    "hardsigmoid": ("hard_sigmoid", "ab", 0.2, 0.5),
    "elu": ("elu", "a", 1.0, 0.0),
    "softsign": ("softsign", "", 0.0, 0.0),
    "softplus": ("softplus", "", 1.0, 20.0),
}


@op("RNN", "GRU", "LSTM")
def recurrent(call: Call) -> list[Sym]:
    b, kind = call.b, call.op_type.lower()
    x, initial_h = call.x(0), call.opt(5)
    initial_c = call.opt(6) if kind == "lstm" else None
    layout = int(call.attr("layout", 0))
    if x.ndim != 3 or layout not in (0, 1):
        raise UnsupportedError(f"X has shape {x.shape} with layout {layout}; expected three axes and layout 0 or 1")
    time_axis, batch_axis = (0, 1) if layout == 0 else (1, 0)
    directions = _directions(call)
    weights = _weights(call, kind, len(directions))
    hidden = weights[0].weight_hh.shape[1]
    attributes = _attributes(call, kind, directions)
    # Before the layer asks for an axis of size 1: a length that fills it says nothing.
    _sequence_lens(call, x, time_axis, batch_axis)
    b.require_one(x, time_axis, "time")
    b.require_one(x, batch_axis, "batch")
    shape = (len(directions), x.shape[batch_axis], hidden)
    initial = [_initial(call, s, shape, layout) for s in (initial_h, initial_c)]
    y, finals = b.layer(
        kind,
        x,
        initial[: 2 if kind == "lstm" else 1],
        list(zip(weights, attributes, strict=True)),
        time_axis,
        batch_axis,
    )
    # Which axis is time and which is batch is kept for the reshapes that name their sizes.
    y = b.reshape(y, (*y.shape[:2], len(directions), hidden), (*y.origin[:2], None, None))
    finals = [b.reshape(final, shape) for final in finals]
    if layout == 0:
        return [b.permute(y, [0, 2, 1, 3]), *finals]
    return [y, *(b.permute(final, [1, 0, 2]) for final in finals)]


def _directions(call: Call) -> list[str]:
    direction = call.attr("direction", "forward")
    if direction not in ("forward", "reverse", "bidirectional"):
        raise FileFormatError(
            f"{call.op_type} node {call.name!r}: direction is {direction!r}; expected forward, reverse or bidirectional"
        )
    return ["forward", "reverse"] if direction == "bidirectional" else [direction]


def _weights(call: Call, kind: str, directions: int) -> list[CellWeights]:
    gates = len(_GATES[kind])
    w, r, bias = call.const(1, "weight W"), call.const(2, "weight R"), call.opt_const(3, "bias B")
    peephole = call.opt_const(7, "peephole P") if kind == "lstm" else None
    hidden = int(call.attr("hidden_size", r.shape[-1]))
    expected = {
        "W": (w, (directions, gates * hidden, call.x(0).shape[-1])),
        "R": (r, (directions, gates * hidden, hidden)),
        "B": (bias, (directions, 2 * gates * hidden)),
        "P": (peephole, (directions, 3 * hidden)),
    }
    for name, (array, shape) in expected.items():
        if array is not None and array.shape != shape:
            raise FileFormatError(
                f"{call.op_type} node {call.name!r}: {name} has shape {array.shape}; expected {shape} (directions "
                f"{directions}, hidden_size {hidden}, input size {call.x(0).shape[-1]})"
            )

    def ordered(array: np.ndarray, order: Sequence[int]) -> np.ndarray:
        parts = array.reshape(len(order), hidden, *array.shape[1:])
        return parts[list(order)].reshape(array.shape)

    order, found = _GATES[kind], []
    for d in range(directions):
        weights = CellWeights(ordered(w[d], order), ordered(r[d], order))
        if bias is not None:
            weights.bias_ih = ordered(bias[d, : gates * hidden], order)
            weights.bias_hh = ordered(bias[d, gates * hidden :], order)
        if peephole is not None:
            weights.peephole = ordered(peephole[d], _PEEPHOLES)
        found.append(weights)
    return found


def _attributes(call: Call, kind: str, directions: list[str]) -> list[dict[str, Any]]:
    common: dict[str, Any] = {}
    clip = float(call.attr("clip", 0.0))
    if clip > 0:
        common["clip"] = clip
    if kind == "lstm" and call.attr("input_forget", 0):
        common["input_forget"] = 1
    if kind == "gru":
        common["reset"] = _gru_reset(call)
    functions = _activations(call, kind, len(directions))
    n = len(functions) // len(directions)
    odd = [name for i, (name, _, _) in enumerate(functions) if name not in _USUAL[kind][i % n]]
    if odd:
        call.b.draft.warnings.append(
            f"{call.op_type} node {call.name!r} has the activations {', '.join(dict.fromkeys(odd))} where trained networks have "
            f"{', '.join(' or '.join(names) for names in _USUAL[kind])}: see whether the export kept the right ones"
        )
    plain = [_ACTIVATIONS[f.lower()][0] for f in _DEFAULT_ACTIVATIONS[kind]]
    per_direction = []
    for d, direction in enumerate(directions):
        attributes = {**common}
        if direction == "reverse":
            attributes["direction"] = "reverse"
        mine = functions[d * n : (d + 1) * n]
        if [name for name, _, _ in mine] != plain:
            attributes["activations"] = [name for name, _, _ in mine]
            attributes["alpha"] = [alpha for _, alpha, _ in mine]
            attributes["beta"] = [beta for _, _, beta in mine]
        per_direction.append(attributes)
    return per_direction


def _activations(call: Call, kind: str, directions: int) -> list[tuple[str, float, float]]:
    """(Graph function, alpha, beta) for each activation; the lists of parameters hold only those that are taken."""
    default = _DEFAULT_ACTIVATIONS[kind] * directions
    names = list(call.attr("activations") or default)
    if len(names) != len(default):
        raise FileFormatError(
            f"{call.op_type} node {call.name!r}: {len(names)} activations {names}; expected {len(default)}"
        )
    alphas = iter(call.attr("activation_alpha") or ())
    betas = iter(call.attr("activation_beta") or ())
    found = []
    for name in names:
        if name.lower() not in _ACTIVATIONS:
            raise UnsupportedError(
                f"activation {name!r}; supported are {sorted(_ACTIVATIONS)}: export the cell as elementary operators"
            )
        function, takes, alpha, beta = _ACTIVATIONS[name.lower()]
        found.append(
            (
                function,
                float(next(alphas, alpha)) if "a" in takes else alpha,
                float(next(betas, beta)) if "b" in takes else beta,
            )
        )
    return found


def _gru_reset(call: Call) -> str:
    if call.options.gru_reset is not None:
        return call.options.gru_reset
    if call.attr("linear_before_reset", 0):
        return "after"
    if call.options.producer.lower() == "pytorch":
        call.b.draft.warnings.append(PYTORCH_GRU_WARNING.format(name=call.name))
    return "before"


def _sequence_lens(call: Call, x: Sym, time_axis: int, batch_axis: int) -> None:
    lens = call.opt(4)
    if lens is None:
        return
    if lens.const is None:
        if lens.name not in call.b.draft.inputs:
            raise UnsupportedError("sequence_lens is computed from the inputs; expected an input or a constant")
        call.options.sequence_lens.add(str(lens.name))
        return
    origin = x.origin[time_axis]
    steps = x.shape[time_axis] if origin is None else call.options.rebound.get(origin, x.shape[time_axis])
    if np.all(lens.const == steps):
        return
    if call.b.runs_within_step(x, time_axis, batch_axis):
        raise UnsupportedError(
            f"its sequence_lens (operand 4, {call.operand(4)}) is {np.ravel(lens.const).tolist()} for an axis of {steps} elements within "
            "one timestep; expected the whole axis"
        )
    call.b.draft.warnings.append(
        f"{call.op_type} node {call.name!r}: the constant sequence_lens {np.ravel(lens.const).tolist()} is not used: a "
        "stream runs for as long as it is stepped"
    )


def _initial(call: Call, state: Sym | None, shape: tuple[int, int, int], layout: int) -> Sym:
    """The initial state as (directions, sequences side by side, hidden size)."""
    b = call.b
    if state is None:
        return b.const(np.zeros(shape, np.float32))
    if state.ndim != 3:
        raise UnsupportedError(f"its initial state has shape {state.shape}; expected three axes")
    if layout == 1:
        state = b.permute(state, [1, 0, 2])
    if shape[1] == 1:
        if state.const is not None:
            first = state.const[:, :1]
            if not np.array_equal(np.broadcast_to(first, state.shape), state.const):
                raise UnsupportedError(
                    f"its constant initial state of shape {state.shape} differs over the batch axis; a stream is one sequence"
                )
            state = b.const(first)
        b.require_one(state, 1, "batch")
    if state.shape != shape:
        raise UnsupportedError(
            f"its initial state has shape {state.shape}; expected {shape}: directions, sequences side by side, hidden size"
        )
    return state
