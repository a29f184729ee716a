"""Networks from plain arrays: :class:`GRU`, :class:`LSTM`, :class:`RNN`, :class:`Linear` and what joins them, :class:`Sequential`.

Each is a :class:`rtrnn.Model`: it can be stepped, saved and summarised on its own. The equations are PyTorch's
(``torch.nn.GRU``, ``torch.nn.LSTM``, ``torch.nn.RNN``); `gate_order` says how the rows of other tools' matrices stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rtrnn.importers.activations import apply_activation, cell_activation
from rtrnn.importers.builder import Builder, CellWeights, Sym
from rtrnn.importers.chain import reorder_gates
from rtrnn.importers.draft import Draft
from rtrnn.importers.inline import inline
from rtrnn.model import Model

__all__ = ["GRU", "LSTM", "RNN", "Activation", "LayerNorm", "Linear", "Normalizer", "Sequential"]

ArrayLike = npt.ArrayLike
Array = npt.NDArray[np.float32]

#: Other tools' letters: Keras calls a GRU's candidate h and an LSTM's c, TensorFlow 1 calls the latter j.
_GRU_LETTERS = {"h": "n"}
_LSTM_LETTERS = {"c": "g", "j": "g"}


class GRU(Model):
    """One layer of gated recurrent units.

    With `reset` "after" (PyTorch, Keras's reset_after=True, cuDNN)::

        r = sigmoid(W_r x + b_r + U_r h + d_r)
        z = sigmoid(W_z x + b_z + U_z h + d_z)
        n = tanh(W_n x + b_n + r * (U_n h + d_n))
        h' = (1 - z) * n + z * h

    with "before" ("Learning Phrase Representations using RNN Encoder-Decoder", 2014) ``n = tanh(W_n x + b_n + U_n (r * h) + d_n)``.

    `weight_ih` (3*hidden, input) is W, `weight_hh` (3*hidden, hidden) is U, `bias_ih` and `bias_hh` (3*hidden) are b and d, their
    blocks of rows in `gate_order`: a permutation of "rzn", "h" may stand for n (Keras: "zrh"). `initial_h` (hidden) is the
    state before the first step, zero without it. `activations` are those of the gates and of n. Input `x` (input), output `y`
    (hidden), state `h` (hidden).

    Raises ValueError naming the argument for shapes and values that do not fit, :class:`rtrnn.UnsupportedError` for unknown
    activations.
    """

    def __init__(
        self,
        weight_ih: ArrayLike,
        weight_hh: ArrayLike,
        bias_ih: ArrayLike | None = None,
        bias_hh: ArrayLike | None = None,
        *,
        gate_order: str = "rzn",
        reset: str = "after",
        initial_h: ArrayLike | None = None,
        activations: Sequence[str] = ("sigmoid", "tanh"),
        name: str = "gru",
    ) -> None:
        if reset not in ("after", "before"):
            raise ValueError(f"reset is {reset!r}; expected 'after' (PyTorch, Keras's reset_after=True) or 'before'")
        weights = _cell_weights("GRU", gate_order, "rzn", _GRU_LETTERS, weight_ih, weight_hh, bias_ih, bias_hh)
        attributes = {"reset": reset, **_activations(activations, ("sigmoid", "tanh"))}
        super().__init__(_cell("gru", name, weights, {"h": initial_h}, attributes).build())


class LSTM(Model):
    """One layer of long short-term memory::

        i = sigmoid(W_i x + b_i + U_i h + d_i [+ p_i * c])
        f = sigmoid(W_f x + b_f + U_f h + d_f [+ p_f * c])
        g = tanh(W_g x + b_g + U_g h + d_g)
        c' = f * c + i * g
        o = sigmoid(W_o x + b_o + U_o h + d_o [+ p_o * c'])
        h' = o * tanh(c')        with weight_hr: h' = weight_hr (o * tanh(c'))

    `weight_ih` (4*hidden, input) is W, `weight_hh` (4*hidden, recurrent) is U, `bias_ih` and `bias_hh` (4*hidden) are b and d,
    their blocks of rows in `gate_order`: a permutation of "ifgo" in which "c" or "j" may stand for g (Keras: "ifco", ONNX:
    "iofc", TensorFlow 1: "ijfo"). `weight_hr` (recurrent, hidden) projects the output ("Long Short-Term Memory Based Recurrent Neural
    Network Architectures", 2014); without it recurrent is
    hidden. `peephole` (3*hidden) holds p_i, p_f and p_o ("Recurrent Nets that Time and Count", 2000), in this order always. `initial_h`
    (recurrent) and `initial_c` (hidden) are the states before the first step, zero without them. `activations` are those of the
    gates, of g, and of c' in the output. Input `x` (input), output `y` (recurrent), states `h` and `c`. Raises as :class:`GRU`.
    """

    def __init__(
        self,
        weight_ih: ArrayLike,
        weight_hh: ArrayLike,
        bias_ih: ArrayLike | None = None,
        bias_hh: ArrayLike | None = None,
        *,
        gate_order: str = "ifgo",
        weight_hr: ArrayLike | None = None,
        peephole: ArrayLike | None = None,
        initial_h: ArrayLike | None = None,
        initial_c: ArrayLike | None = None,
        activations: Sequence[str] = ("sigmoid", "tanh", "tanh"),
        name: str = "lstm",
    ) -> None:
        weights = _cell_weights(
            "LSTM", gate_order, "ifgo", _LSTM_LETTERS, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, peephole
        )
        attributes = _activations(activations, ("sigmoid", "tanh", "tanh"))
        super().__init__(_cell("lstm", name, weights, {"h": initial_h, "c": initial_c}, attributes).build())


class RNN(Model):
    """One layer of simple recurrent units, ``h' = f(W x + b + U h + d)`` ("Finding Structure in Time", 1990).

    `weight_ih` (hidden, input) is W, `weight_hh` (hidden, hidden) is U, `bias_ih` and `bias_hh` (hidden) are b and d,
    `activation` names f ("tanh", "relu" or another function). Input `x` (input), output `y` (hidden), state `h` (hidden).
    Raises as :class:`GRU`.
    """

    def __init__(
        self,
        weight_ih: ArrayLike,
        weight_hh: ArrayLike,
        bias_ih: ArrayLike | None = None,
        bias_hh: ArrayLike | None = None,
        *,
        activation: str = "tanh",
        initial_h: ArrayLike | None = None,
        name: str = "rnn",
    ) -> None:
        weights = _cell_weights("RNN", "h", "h", {}, weight_ih, weight_hh, bias_ih, bias_hh)
        if not isinstance(activation, str):
            raise TypeError(f"activation is a {type(activation).__name__}; expected the name of a function")
        super().__init__(_cell("rnn", name, weights, {"h": initial_h}, _activations([activation], ["tanh"])).build())


class Linear(Model):
    """``y = weight x + bias``: `weight` (outputs, inputs) as in ``torch.nn.Linear``, `bias` (outputs). Raises ValueError."""

    def __init__(self, weight: ArrayLike, bias: ArrayLike | None = None, *, name: str = "linear") -> None:
        matrix = _array("weight", weight, 2)
        b, x = _start(matrix.shape[1], name)
        vector = None if bias is None else _array("bias", bias, 1)
        if vector is not None and vector.shape != matrix.shape[:1]:
            hint = f" (a kernel of shape {matrix.shape}, as Keras keeps it, is passed as its .T)" if vector.size == matrix.shape[1] else ""
            raise ValueError(f"bias has shape {vector.shape}; expected ({matrix.shape[0]},), one value for each row of weight{hint}")
        super().__init__(_end(b, b.linear(x, matrix, vector)).build())


class Normalizer(Model):
    """``y = (x - mean) / (std + eps)``, element by element: what trainers do to observations.

    `mean` and `std` (N); with the variance given, pass ``np.sqrt(var + eps)`` as `std`. `clip`, when given, bounds y to
    -clip .. clip. Raises ValueError for a deviation of 0.
    """

    def __init__(
        self, mean: ArrayLike, std: ArrayLike, eps: float = 0.0, *, clip: float | None = None, name: str = "normalizer"
    ) -> None:
        centre, spread = _array("mean", mean, 1), np.asarray(_array("std", std, 1), np.float64) + float(eps)
        if centre.shape != spread.shape:
            raise ValueError(f"std has shape {spread.shape}; expected {centre.shape}, the shape of mean")
        if np.any(spread.astype(np.float32) <= 0):
            at = np.flatnonzero(spread.astype(np.float32) <= 0)[:8].tolist()
            raise ValueError(f"std + eps is not above 0 at the elements {at}; expected a deviation that can be divided by")
        if clip is not None and not clip > 0:
            raise ValueError(f"clip is {clip}; expected a number above 0")
        b, x = _start(centre.size, name)
        y = b.binary("div", b.binary("sub", x, b.const(centre, np.float32)), b.const(spread, np.float32))
        super().__init__(_end(b, y if clip is None else b.unary("clip", y, alpha=-float(clip), beta=float(clip))).build())


class LayerNorm(Model):
    """``y = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias`` over the whole vector ("Layer Normalization", 2016).

    `weight` and `bias` (N), as in ``torch.nn.LayerNorm``. Raises ValueError.
    """

    def __init__(
        self, weight: ArrayLike, bias: ArrayLike | None = None, *, eps: float = 1e-5, name: str = "layer_norm"
    ) -> None:
        scale = _array("weight", weight, 1)
        offset = None if bias is None else _array("bias", bias, 1)
        if offset is not None and offset.shape != scale.shape:
            raise ValueError(f"bias has shape {offset.shape}; expected {scale.shape}, the shape of weight")
        if not eps >= 0:
            raise ValueError(f"eps is {eps}; expected a number of at least 0")
        b, x = _start(scale.size, name)
        super().__init__(_end(b, b.layer_norm(x, scale, offset, float(eps))).build())


class Activation:
    """A function between the layers of a :class:`Sequential`: ``Activation("elu", alpha=0.5)``, or just ``"elu"``.

    The names are PyTorch's and Keras's in any case; "softmax" runs over the whole vector. `alpha` and `beta` are the
    function's parameters where it has them (cpp/README.md, "Unary functions"). It has no size of its own, so it is no Model.

    Raises :class:`rtrnn.UnsupportedError` for an unknown name.
    """

    def __init__(self, function: str, *, alpha: float | None = None, beta: float | None = None) -> None:
        if not isinstance(function, str):
            raise TypeError(f"an activation is a {type(function).__name__}; expected its name")
        self.function = function
        self.parameters: dict[str, Any] = {k: float(v) for k, v in (("alpha", alpha), ("beta", beta)) if v is not None}
        self._model(1)  # reports an unknown name where it was written

    def __repr__(self) -> str:
        return f"rtrnn.Activation({', '.join([repr(self.function), *(f'{k}={v:g}' for k, v in self.parameters.items())])})"

    def _model(self, size: int) -> Model:
        b, x = _start(size, self.function)
        return Model(_end(b, apply_activation(b, x, self.function, **self.parameters)).build())


class Sequential(Model):
    """Layers in a row: each takes what the one before it gives.

    `layers` are Models of one input and one output, made here or loaded from a file, and activations by name or as
    :class:`Activation`; the first is a Model. A stacked GRU is ``Sequential(GRU(..), GRU(..))``. States are named after the
    layer's position (``0.h``, ``2.c``), metadata is merged: an entry that belongs to one file (``source.format``), or that two layers
    say differently, gets the position too. Input and output keep the names that the first and the last Model give them.

    Raises TypeError for anything else, ValueError for layers whose sizes do not fit.
    """

    def __init__(self, *layers: Model | Activation | str) -> None:
        draft, warnings = _sequence(layers)
        super().__init__(draft.build(), warnings)


def _sequence(layers: Iterable[Any]) -> tuple[Draft, list[str]]:
    parts = [Activation(layer) if isinstance(layer, str) else layer for layer in layers]
    if not parts:
        raise ValueError("Sequential: no layers; expected at least one Model")
    for i, part in enumerate(parts):
        if not isinstance(part, (Model, Activation)):
            raise TypeError(f"Sequential: layer {i} is a {type(part).__name__}; expected a Model, an Activation or its name")
        if isinstance(part, Model) and (len(part.inputs) != 1 or len(part.outputs) != 1):
            raise ValueError(
                f"Sequential: layer {i} has the inputs {list(part.inputs)} and the outputs {list(part.outputs)}; expected one of each"
            )
    if isinstance(parts[0], Activation):
        raise ValueError(f"Sequential: layer 0 is {parts[0]!r}, which has no size; expected a Model first")
    draft = Draft()
    (first,), (shape,) = parts[0].inputs, parts[0].inputs.values()
    value = draft.add_input(first, shape)
    warnings: list[str] = []
    output = "y"
    for i, part in enumerate(parts):
        size = int(np.prod(draft.shapes[value]))
        model = part._model(size) if isinstance(part, Activation) else part
        (wanted,) = model.inputs.values()
        if int(np.prod(wanted)) != size:
            raise ValueError(f"Sequential: layer {i} takes {wanted} values; expected {size}, what layer {i - 1} gives")
        if wanted != draft.shapes[value]:
            (value,) = draft.add_node("reshape", [value], [wanted], {"shape": list(wanted)}, f"{i}.input")
        (inner,) = model.inputs
        output = output if isinstance(part, Activation) else next(iter(model.outputs))
        (value,) = inline(draft, model.graph, {inner: value}, f"{i}.").values()
        if isinstance(part, Model):
            warnings.extend(f"layer {i}: {text}" for text in part.warnings)
    draft.outputs[output] = value
    draft.metadata.update(_merged({i: p.metadata for i, p in enumerate(parts) if isinstance(p, Model)}))
    return draft, warnings


def _merged(metadata: Mapping[int, Mapping[str, str]]) -> dict[str, str]:
    merged: dict[str, str] = {}
    for i, entries in metadata.items():
        for key, text in entries.items():
            if key in ("import.states", "rtrnn.limits", "source.inputs", "source.states"):
                continue  # written anew for the whole, or true of the part alone
            said = {other[key] for other in metadata.values() if key in other}
            own = key.startswith(("source.", "import.")) or len(said) > 1
            merged[f"{i}.{key}" if own else key] = text
    return merged


# -- arguments -----------------------------------------------------------------------------------------


def _array(name: str, values: ArrayLike, rank: int) -> Array:
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} has dtype {array.dtype}; expected numbers")
    if array.ndim != rank or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}; expected {'a matrix' if rank == 2 else 'a vector'}")
    result = array.astype(np.float32)
    if not np.all(np.isfinite(result)):
        at = np.unravel_index(int(np.argmin(np.isfinite(result))), result.shape)
        raise ValueError(f"{name} is {array[at]} at {tuple(int(i) for i in at)}; expected finite float32 values")
    return result


def _letters(kind: str, gate_order: str, canonical: str, aliases: Mapping[str, str]) -> str:
    order = "".join(aliases.get(letter, letter) for letter in gate_order) if isinstance(gate_order, str) else ""
    if sorted(order) != sorted(canonical):
        others = ", ".join(f"{a} for {b}" for a, b in aliases.items())
        raise ValueError(f"gate_order is {gate_order!r}; expected the letters of a {kind}, {canonical!r}, in any order ({others})")
    return order


def _cell_weights(
    kind: str,
    gate_order: str,
    canonical: str,
    aliases: Mapping[str, str],
    weight_ih: ArrayLike,
    weight_hh: ArrayLike,
    bias_ih: ArrayLike | None,
    bias_hh: ArrayLike | None,
    weight_hr: ArrayLike | None = None,
    peephole: ArrayLike | None = None,
) -> CellWeights:
    order = _letters(kind, gate_order, canonical, aliases)
    gates = len(canonical)
    inner, outer = _array("weight_hh", weight_hh, 2), _array("weight_ih", weight_ih, 2)
    projection = None if weight_hr is None else _array("weight_hr", weight_hr, 2)
    recurrent = inner.shape[1] if projection is None else projection.shape[0]
    hidden = recurrent if projection is None else projection.shape[1]
    rows = gates * hidden
    if projection is None and gates > 1 and inner.shape[1] == gates * inner.shape[0]:
        raise ValueError(
            f"weight_hh has shape {inner.shape}; expected ({gates} * hidden, hidden). This is a transposed matrix, (hidden, {gates} * "
            "hidden), as Keras keeps recurrent kernels: pass weight_hh.T and weight_ih.T"
        )
    if inner.shape != (rows, recurrent):
        columns = "hidden" if projection is None else f"{recurrent}), as many columns as weight_hr has rows"
        raise ValueError(f"weight_hh has shape {inner.shape}; expected ({gates} * hidden, {columns}".rstrip(")") + ")")
    if outer.shape[0] != rows:
        hint = ". This is a transposed matrix, as Keras keeps kernels: pass weight_ih.T" if outer.shape[1] == rows else ""
        raise ValueError(f"weight_ih has shape {outer.shape}; expected ({rows}, input){hint}")
    vectors = {}
    for name, bias in (("bias_ih", bias_ih), ("bias_hh", bias_hh)):
        vectors[name] = None if bias is None else reorder_gates(_sized(name, bias, rows), order, canonical)
    return CellWeights(
        reorder_gates(outer, order, canonical),
        reorder_gates(inner, order, canonical),
        vectors["bias_ih"],
        vectors["bias_hh"],
        projection,
        None if peephole is None else _sized("peephole", peephole, 3 * hidden),
    )


def _sized(name: str, values: ArrayLike, size: int) -> Array:
    array = _array(name, values, 1)
    if array.size != size:
        raise ValueError(f"{name} has shape {array.shape}; expected ({size},)")
    return array


def _activations(names: Sequence[str], standard: Sequence[str]) -> dict[str, Any]:
    """The attributes of a cell node; none for the standard functions."""
    if isinstance(names, str) or len(names) != len(standard) or not all(isinstance(n, str) for n in names):
        raise ValueError(f"activations is {names!r}; expected {len(standard)} names, as {tuple(standard)}")
    found = [cell_activation(name) for name in names]
    if [function for function, _, _ in found] == list(standard):
        return {}
    return {
        "activations": [function for function, _, _ in found],
        "alpha": [alpha for _, alpha, _ in found],
        "beta": [beta for _, _, beta in found],
    }


# -- building ------------------------------------------------------------------------------------------


def _start(size: int, name: str) -> tuple[Builder, Sym]:
    b = Builder()
    x = b.input("x", (size,))
    b.hint = name
    return b, x


def _end(b: Builder, y: Sym) -> Draft:
    b.draft.outputs["y"] = b.value(y)
    return b.draft


def _cell(
    kind: str, name: str, weights: CellWeights, initial: Mapping[str, ArrayLike | None], attributes: Mapping[str, Any]
) -> Draft:
    b, x = _start(weights.weight_ih.shape[1], name)
    hidden = weights.weight_ih.shape[0] // {"rnn": 1, "gru": 3, "lstm": 4}[kind]
    states = []
    for role, values in initial.items():
        size = weights.weight_hh.shape[1] if role == "h" else hidden
        first = np.zeros(size, np.float32) if values is None else _sized(f"initial_{role}", values, size)
        states.append(b.state(role, first))
    nexts = b.cell(kind, x, states, weights, dict(attributes))
    for state, following in zip(states, nexts, strict=True):
        b.set_next(state, following)
    return _end(b, nexts[0])
