"""How each node type becomes calls: the same operations in the same order as cpp/src/ops and cpp/src/kernels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from rtrnn.c99.cells import gates_of
from rtrnn.c99.convolution import lower_conv
from rtrnn.c99.lowering import Lowering
from rtrnn.c99.memory import Place
from rtrnn.c99.program import Step
from rtrnn.c99.unary import UNARY, literal, unary_of

__all__ = ["OPS"]

_BINARY = {
    "add": ("{a} + {b}", ""),
    "sub": ("{a} - {b}", ""),
    "mul": ("{a} * {b}", ""),
    "div": ("{a} / {b}", ""),
    "min": ("RT_min_nan({a}, {b})", "min_nan"),
    "max": ("RT_max_nan({a}, {b})", "max_nan"),
    "pow": ("RT_pow({a}, {b})", "pow"),
}


# -- cells and layers --------------------------------------------------------------------------------------


def _cell(lowering: Lowering, step: Step, gates: int, first: int, kind: str) -> None:
    """rnn, gru and lstm; of a GRU with reset "before" the part up to the reset and update gates."""
    partials = 4 if step.op == "rnn" else 2
    x, h = lowering.place(step.inputs[0]), lowering.place(step.inputs[1])
    tensor = lowering.graph.tensor
    bias_ih, bias_hh = (tensor(step.inputs[i]) if step.has(i) else None for i in (first + 2, first + 3))
    ih = lowering.weights(step, first, gates, partials, label="weight_ih")
    hh = lowering.weights(step, first + 1, gates, partials, recurrent=True, label="weight_hh")
    rows = ih.rows
    before = kind == "reset"
    hn = hh
    if before:
        hn = type(hh)(hh.values[2 * rows :], 1, 2, hh.precision, hh.limit, hh.label)
        hh = type(hh)(hh.values[: 2 * rows], 2, 2, hh.precision, hh.limit, hh.label)
    x_sums, h_sums = lowering.scratch(ih.gates * rows), lowering.scratch(hh.gates * rows)
    phase = lowering.phase
    if lowering.is_known_early(step.inputs[1]):
        lowering.phase = lowering.prepare
    lowering.product(hh, None if bias_hh is None else bias_hh[: hh.gates * rows], h, h_sums)
    lowering.phase = phase
    lowering.product(ih, bias_ih, x, x_sums)

    def apply(kind: str, *places: Place, constants: str = "") -> None:
        name = lowering.gate_function(gates_of(kind, step.op, step.attributes, bool(constants)))
        *ins, last = places
        outs = [last]
        if kind in ("reset", "lstm"):
            outs.insert(0, ins.pop())
        middle = [constants] if constants else []
        lowering.emit(lambda: f"{name}({', '.join(map(str, [*ins, *middle, *outs]))}, {rows});", *places)

    if kind == "rnn":
        apply("rnn", x_sums, h_sums, lowering.new(step.outputs[0]))
    elif kind == "gru":
        apply("gru", x_sums, h_sums, h, lowering.new(step.outputs[0]))
    elif kind == "reset":
        reset_h, update, n_sums = (lowering.scratch(rows) for _ in range(3))
        apply("reset", x_sums, h_sums, h, reset_h, update)
        lowering.product(hn, None if bias_hh is None else bias_hh[2 * rows :], reset_h, n_sums)
        apply("update", x_sums.at(2 * rows), n_sums, h, update, lowering.new(step.outputs[0]))
    else:
        peephole = str(lowering.constant(tensor(step.inputs[8]))) if step.has(8) else ""
        projected = step.has(7)
        h_out = lowering.scratch(rows) if projected else lowering.new(step.outputs[0])
        apply("lstm", x_sums, h_sums, lowering.place(step.inputs[2]), h_out, lowering.new(step.outputs[1]), constants=peephole)
        if projected:
            lowering.product(lowering.weights(step, 7, 1, 4, label="weight_hr"), None, h_out, lowering.new(step.outputs[0]))


def _rnn(lowering: Lowering, step: Step) -> None:
    _cell(lowering, step, 1, 2, "rnn")


def _gru(lowering: Lowering, step: Step) -> None:
    _cell(lowering, step, 3, 2, "gru" if step.attributes.get("reset", "after") == "after" else "reset")


def _lstm(lowering: Lowering, step: Step) -> None:
    _cell(lowering, step, 4, 3, "lstm")


def _linear(lowering: Lowering, step: Step) -> None:
    weights = lowering.weights(step, 1, 1, 4, label="weight")
    bias = lowering.graph.tensor(step.inputs[2]) if step.has(2) else None
    batch = lowering.size(step.inputs[0]) // weights.values.shape[1]
    lowering.product(weights, bias, lowering.place(step.inputs[0]), lowering.new(step.outputs[0]), batch)


# -- elementwise -------------------------------------------------------------------------------------------


def _unary(lowering: Lowering, step: Step) -> None:
    function = unary_of(step.op, step.attributes)
    lowering.need(*function.needs)
    x, y = lowering.place(step.inputs[0]), lowering.result_in_place(step.inputs[0], step.outputs[0])
    lowering.loop(lowering.size(step.outputs[0]), lambda: f"({y})[i] = {function(f'({x})[i]')};", x, y)


def _binary(lowering: Lowering, step: Step) -> None:
    form, function = _BINARY[step.op]
    if function:
        lowering.need(function)
    a, b = lowering.place(step.inputs[0]), lowering.place(step.inputs[1])
    y = lowering.new(step.outputs[0])
    loops = _nest(lowering.shape(step.outputs[0]), *(lowering.shape(value) for value in step.inputs))

    def write() -> str:
        letters = ["i", "j", "k", "l", "m", "n", "o", "p"][: len(loops)]
        at = ["", "", ""]
        for which in range(3):
            strides = [(letter, loop[1 + which]) for letter, loop in zip(letters, loops, strict=True) if loop[1 + which]]
            at[which] = " + ".join(letter if stride == 1 else f"{letter} * {stride}" for letter, stride in strides) or "0"
        text = f"({y})[{at[2]}] = " + form.format(a=f"({a})[{at[0]}]", b=f"({b})[{at[1]}]") + ";"
        for letter, loop in reversed(list(zip(letters, loops, strict=True))):
            text = f"for ({letter} = 0; {letter} < {loop[0]}; ++{letter}) {text}"
        if len(letters) > 1:
            text = f"{{\n    int {', '.join(letters[1:])};\n    {text}\n}}"
        return text

    if len(loops) > 8:
        raise NotImplementedError  # the Graph's shapes have fewer axes
    lowering.emit(write, a, b, y)


def _nest(y: Sequence[int], a: Sequence[int], b: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """Loops over y, outermost first: size, strides of a, b and y; neighbours that walk as one are joined."""
    loops: list[tuple[int, int, int, int]] = []  # innermost first
    strides = [1, 1, 1]
    for axis in range(1, len(y) + 1):
        sizes = [shape[-axis] if axis <= len(shape) else 1 for shape in (a, b, y)]
        loop = (sizes[2], *(0 if n == 1 else s for n, s in zip(sizes, strides, strict=True)))
        strides = [s * n for s, n in zip(strides, sizes, strict=True)]
        if sizes[2] == 1:
            continue
        if loops and all(loop[k] == loops[-1][k] * loops[-1][0] for k in (1, 2, 3)):
            loops[-1] = (loops[-1][0] * loop[0], *loops[-1][1:])
        else:
            loops.append((loop[0], loop[1], loop[2], loop[3]))
    return loops[::-1] or [(1, 1, 1, 1)]


def _normalize(lowering: Lowering, step: Step) -> None:
    deviation = lowering.graph.tensor(step.inputs[2])
    if step.op == "normalize_by_division":
        with np.errstate(all="ignore"):
            deviation = (1.0 / deviation.astype(np.float64)).astype(np.float32)
    x, y = lowering.place(step.inputs[0]), lowering.new(step.outputs[0])
    mean, scale = lowering.place(step.inputs[1]), lowering.constant(deviation)
    lowering.loop(lowering.size(step.outputs[0]), lambda: f"({y})[i] = (({x})[i] - ({mean})[i]) * ({scale})[i];", x, y)


# -- over rows ---------------------------------------------------------------------------------------------


def _rowwise(lowering: Lowering, step: Step, function: str, extra: str) -> None:
    lowering.need(function)
    n = lowering.shape(step.inputs[0])[-1]
    x, y = lowering.place(step.inputs[0]), lowering.new(step.outputs[0])
    rows = lowering.size(step.inputs[0]) // n
    lowering.loop(rows, lambda: f"RT_{function}({x} + i * {n}, {extra}{n}, {y} + i * {n});", x, y)


def _softmax(lowering: Lowering, step: Step) -> None:
    _rowwise(lowering, step, "softmax", "")


def _layer_norm(lowering: Lowering, step: Step) -> None:
    weight, bias = (str(lowering.place(step.inputs[i])) if step.has(i) else "0" for i in (1, 2))
    _rowwise(lowering, step, "layer_norm", f"{weight}, {bias}, {literal(step.attributes.get('eps', 1e-5))}, ")


def _reduce(lowering: Lowering, step: Step) -> None:
    shape = lowering.shape(step.inputs[0])
    axes = sorted(step.attributes["axes"])
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    x, y = lowering.place(step.inputs[0]), lowering.new(step.outputs[0])
    count = math.prod(shape[axis] for axis in axes)
    inner = 1
    if axes[-1] - axes[0] + 1 == len(axes):
        inner = math.prod(shape[axes[-1] + 1 :])
    else:
        x = lowering.gathered(x, np.arange(math.prod(shape)).reshape(shape).transpose([*kept, *axes]).reshape(-1).tolist())
    outer = math.prod(shape) // (count * inner)
    kind = step.op.removeprefix("reduce_")
    mean = f" / {literal(float(count))}" if kind == "mean" else ""
    kind = "sum" if kind == "mean" else kind
    if inner == 1:
        lowering.need(f"reduce_{kind}")
        lowering.loop(outer, lambda: f"({y})[i] = RT_reduce_{kind}({x} + i * {count}, {count}){mean};", x, y)
        return
    if kind != "sum":
        lowering.need(f"{kind}_nan")
    element = f"q[k * {inner}]"
    join = f"v + {element}" if kind == "sum" else f"RT_{kind}_nan(v, {element})"

    def write() -> str:
        lines = [f"for (i = 0; i < {outer * inner}; ++i) {{",
                 f"    const float* q = {x} + i / {inner} * {count * inner} + i % {inner};", "    float v = q[0];", "    int k;",
                 f"    for (k = 1; k < {count}; ++k) v = {join};", f"    ({y})[i] = v{mean};", "}"]  # fmt: skip
        return "\n".join(lines)

    lowering.emit(write, x, y)


# -- rearrangements ----------------------------------------------------------------------------------------


def _rearrange(lowering: Lowering, step: Step) -> None:
    shape, attributes = lowering.shape(step.inputs[0]), step.attributes
    elements = np.arange(math.prod(shape)).reshape(shape)
    if step.op == "permute":
        elements = elements.transpose(attributes["axes"])
    elif step.op == "expand":
        elements = np.broadcast_to(elements, lowering.shape(step.outputs[0]))
    elif step.op == "slice":
        axis = attributes.get("axis", 0)
        taken = range(attributes.get("start", 0), min(attributes.get("stop", 0), shape[axis]), attributes.get("step", 1))
        elements = elements.take(taken, axis=axis)
    elif step.op == "gather":
        elements = elements.take(attributes["indices"], axis=attributes.get("axis", 0))
    lowering.place(step.outputs[0], lowering.gathered(lowering.place(step.inputs[0]), elements.reshape(-1).tolist()))


def _concat(lowering: Lowering, step: Step) -> None:
    shape, axis = lowering.shape(step.outputs[0]), step.attributes.get("axis", 0)
    parts = [lowering.size(value) for value in step.inputs]
    joined = lowering.scratch(sum(parts))
    offset = 0
    for value, count in zip(step.inputs, parts, strict=True):
        _join(lowering, value, count, joined, offset)
        offset += count
    if math.prod(shape[:axis]) > 1:
        starts = np.cumsum([0, *parts[:-1]])
        shapes = [lowering.shape(value) for value in step.inputs]
        pieces = [start + np.arange(math.prod(s)).reshape(s) for start, s in zip(starts, shapes, strict=True)]
        joined = lowering.gathered(joined, np.concatenate(pieces, axis).reshape(-1).tolist())
    lowering.place(step.outputs[0], joined)


def _join(lowering: Lowering, value: str, count: int, joined: Place, offset: int) -> None:
    """Makes a value a part of a joined one: its own memory becomes that part, or it is copied there."""
    place = lowering.place(value)
    buffer = place.buffer
    if buffer.is_temporary and buffer.parent is None and place.offset == 0 and buffer.size == count:
        buffer.parent, buffer.parent_offset = joined.buffer, joined.offset + offset
    else:
        lowering.copy(place, count, joined.at(offset))


OPS: dict[str, Callable[[Lowering, Step], None]] = {
    "rnn": _rnn,
    "gru": _gru,
    "lstm": _lstm,
    "linear": _linear,
    "conv": lower_conv,
    **dict.fromkeys(UNARY, _unary),
    **dict.fromkeys(_BINARY, _binary),
    "normalize_by_division": _normalize,
    "normalize_by_product": _normalize,
    "softmax": _softmax,
    "layer_norm": _layer_norm,
    **dict.fromkeys(("reduce_sum", "reduce_mean", "reduce_max", "reduce_min"), _reduce),
    **dict.fromkeys(("slice", "gather", "permute", "reshape", "expand", "last"), _rearrange),
    "concat": _concat,
}
