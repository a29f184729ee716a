"""Every node type of cpp/README.md, in the engine against the float64 evaluator, on every ISA."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import reference
from engine import EPS, Values, check, random_inputs
from hypothesis import given, settings
from hypothesis import strategies as st

from rtrnn.importers.draft import Draft

settings.register_profile("ops", max_examples=40, deadline=None, derandomize=True)
settings.load_profile("ops")

SHAPES = st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple)
#: Past every vector width, and not a multiple of one.
LONG = st.integers(1, 70).map(lambda n: (n,))
SEEDS = st.integers(0, 2**16)


def one_node(op: str, inputs: dict[str, tuple[int, ...]], result: tuple[int, ...], /, **attributes: Any) -> Draft:
    """A Draft of one node; `result` is the shape of what it gives."""
    draft = Draft()
    for name, size in inputs.items():
        draft.add_input(name, size)
    (y,) = draft.add_node(op, list(inputs), [result], attributes)
    draft.outputs["y"] = y
    return draft


def floats(seed: int, shape: tuple[int, ...], low: float = -2.0, high: float = 2.0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


# -- unary ---------------------------------------------------------------------------------------------

#: Where a function is tried, when not in [-9, 9]: where it is defined and finite.
DOMAIN = {"sqrt": (0.0, 50.0), "log": (1e-6, 50.0), "reciprocal": (0.01, 9.0), "exp": (-80.0, 80.0)}
ALPHAS = {name: alpha for name, (_, alpha, _) in reference.UNARY.items() if alpha is not None}
BETAS = {name: beta for name, (_, _, beta) in reference.UNARY.items() if beta is not None}


@pytest.mark.parametrize("op", sorted(reference.UNARY))
@given(shape=st.one_of(SHAPES, LONG), seed=SEEDS)
def test_unary(op: str, shape: tuple[int, ...], seed: int) -> None:
    low, high = DOMAIN.get(op, (-9.0, 9.0))
    draft = one_node(op, {"x": shape}, shape)
    # The error of an argument is one of the result, times the argument where that is an exponent.
    relative = 100 * EPS if op == "exp" else 32 * EPS
    check(draft, [{"x": floats(seed + k, shape, low, high)} for k in range(2)], relative, 16 * EPS)


@pytest.mark.parametrize("op", sorted(reference.UNARY))
def test_unary_at_marked_points(op: str) -> None:
    """Zeros of both signs, the points where a definition changes, tiny and large values."""
    points = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.5, -2.5, 3.0, -3.0, 20.0, 1e-20, -1e-20, 1e-40, 80.0, -80.0]
    low, high = DOMAIN.get(op, (-math.inf, math.inf))
    x = np.array([p for p in points if low <= p <= high], np.float32)
    draft = one_node(op, {"x": x.shape}, x.shape)
    check(draft, [{"x": x}], 100 * EPS, 16 * EPS)


@pytest.mark.parametrize("op", sorted(set(ALPHAS) | set(BETAS)))
@given(alpha=st.sampled_from([0.25, 0.5, 1.0, 1.5]), beta=st.sampled_from([1.75, 2.0, 8.0]), seed=SEEDS)
def test_unary_parameters(op: str, alpha: float, beta: float, seed: int) -> None:
    parameters = {}
    if op in ALPHAS:
        parameters["alpha"] = alpha
    if op in BETAS:
        parameters["beta"] = beta
    draft = one_node(op, {"x": (19,)}, (19,), **parameters)
    check(draft, [{"x": floats(seed, (19,), -6, 6)}], 32 * EPS, 64 * EPS)


# -- binary --------------------------------------------------------------------------------------------


@st.composite
def broadcast_pairs(draw: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two shapes that broadcast: axes of size 1 on either side, missing leading axes on either side."""
    full = draw(SHAPES)
    pair = []
    for _ in range(2):
        kept = draw(st.integers(1, len(full)))
        pair.append(tuple(1 if draw(st.booleans()) else d for d in full[-kept:]))
    return pair[0], pair[1]


def binary_values(op: str, seed: int, shape: tuple[int, ...], second: bool) -> np.ndarray:
    if op == "pow":
        return floats(seed, shape, -2, 3) if second else floats(seed, shape, 0.1, 4)
    if op == "div" and second:
        return floats(seed, shape, 0.1, 3)
    return floats(seed, shape)


@pytest.mark.parametrize("constant", ["neither", "a", "b"])
@pytest.mark.parametrize("op", ["add", "sub", "mul", "div", "min", "max", "pow"])
@given(shapes=broadcast_pairs(), seed=SEEDS)
def test_binary(op: str, constant: str, shapes: tuple[tuple[int, ...], tuple[int, ...]], seed: int) -> None:
    draft = Draft()
    values: Values = {}
    names = []
    for k, (name, shape) in enumerate(zip("ab", shapes, strict=True)):
        value = binary_values(op, seed + k, shape, k == 1)
        if name == constant:
            names.append(draft.add_tensor(value, name))
        else:
            names.append(draft.add_input(name, shape))
            values[name] = value
    (y,) = draft.add_node(op, names, [np.broadcast_shapes(*shapes)])
    draft.outputs["y"] = y
    check(draft, [values], 64 * EPS if op == "pow" else EPS, 0)


@given(shape=st.one_of(SHAPES, LONG), seed=SEEDS)
def test_one_value_as_both_operands(shape: tuple[int, ...], seed: int) -> None:
    draft = Draft()
    x = draft.add_input("x", shape)
    (square,) = draft.add_node("mul", [x, x], [shape])
    (zero,) = draft.add_node("sub", [square, square], [shape])
    draft.outputs.update(square=square, zero=zero)
    check(draft, [{"x": floats(seed, shape)}], EPS, 0)


# -- products and normalisation ------------------------------------------------------------------------


@given(
    lead=st.lists(st.integers(1, 4), max_size=2).map(tuple),
    columns=st.integers(1, 150),
    rows=st.integers(1, 40),
    bias=st.booleans(),
    seed=SEEDS,
)
def test_linear(lead: tuple[int, ...], columns: int, rows: int, bias: bool, seed: int) -> None:
    draft = Draft()
    weight = draft.add_tensor(floats(seed, (rows, columns)), "weight")
    inputs = [draft.add_input("x", (*lead, columns)), weight]
    if bias:
        inputs.append(draft.add_tensor(floats(seed + 1, (rows,)), "bias"))
    (draft.outputs["y"],) = draft.add_node("linear", inputs, [(*lead, rows)])
    # |error| <= eps * (terms in a chain + sums of chains) * sum |w x|, and a sum has at most 4 per column.
    check(draft, [{"x": floats(seed + 2, (*lead, columns))}], 4 * EPS, 0.5 * EPS * columns)


@st.composite
def convolutions(draw: Any, axes: int) -> Draft:
    """A Draft of one conv of any geometry, perhaps with a function behind it."""
    groups = draw(st.sampled_from([1, 1, 2, 3, 9, 24]))
    channels = groups * draw(st.integers(1, 4))
    outputs = groups * draw(st.integers(1, 5))
    seed = draw(SEEDS)
    sizes, kernel, strides, dilations, begin, end = [], [], [], [], [], []
    for _ in range(axes):
        kernel.append(draw(st.integers(1, 4)))
        strides.append(draw(st.integers(1, 3)))
        dilations.append(draw(st.integers(1, 3)))
        begin.append(draw(st.integers(0, 3)))
        end.append(draw(st.integers(0, 3)))
        least = max(1, (kernel[-1] - 1) * dilations[-1] + 1 - begin[-1] - end[-1])
        sizes.append(least + draw(st.integers(0, 30 if axes == 1 else 6)))
    draft = Draft()
    weight = floats(seed, (outputs, channels // groups, *kernel), -1, 1)
    inputs = [draft.add_input("x", (channels, *sizes)), draft.add_tensor(weight, "weight")]
    if draw(st.booleans()):
        inputs.append(draft.add_tensor(floats(seed + 1, (outputs,)), "bias"))
    walk = zip(sizes, kernel, strides, dilations, begin, end, strict=True)
    result = (outputs, *((n + p + q - (k - 1) * d - 1) // s + 1 for n, k, s, d, p, q in walk))
    attributes: dict[str, Any] = {"groups": groups} if groups > 1 or draw(st.booleans()) else {}
    if draw(st.booleans()) or max(strides) > 1:
        attributes["strides"] = strides
    if draw(st.booleans()) or max(dilations) > 1:
        attributes["dilations"] = dilations
    if draw(st.booleans()) or max(begin + end) > 0:
        attributes["pads"] = begin + end
    (y,) = draft.add_node("conv", inputs, [result], attributes)
    if draw(st.booleans()):
        (y,) = draft.add_node("softsign", [y], [result])
    draft.outputs["y"] = y
    return draft


@pytest.mark.parametrize("axes", [1, 2, 3])
@settings(max_examples=80)
@given(data=st.data(), seed=SEEDS)
def test_conv(axes: int, data: Any, seed: int) -> None:
    draft = data.draw(convolutions(axes))
    terms = math.prod(next(iter(draft.tensors.values())).shape[1:])
    check(draft, random_inputs(draft, 2, seed), 8 * EPS, EPS * (8 + terms))


@given(
    lead=st.lists(st.integers(1, 4), max_size=2).map(tuple),
    size=st.integers(2, 70),
    affine=st.integers(0, 2),
    seed=SEEDS,
)
def test_layer_norm(lead: tuple[int, ...], size: int, affine: int, seed: int) -> None:
    draft = Draft()
    inputs = [draft.add_input("x", (*lead, size))]
    inputs += [draft.add_tensor(floats(seed + k, (size,)), "weight") for k in range(affine)]
    attributes = {"eps": 1e-2} if seed % 2 else {}
    (draft.outputs["y"],) = draft.add_node("layer_norm", inputs, [(*lead, size)], attributes)
    check(draft, [{"x": floats(seed + 5, (*lead, size))}], 32 * EPS, 128 * EPS)


@given(shape=st.one_of(SHAPES, LONG), scale=st.sampled_from([1.0, 30.0]), seed=SEEDS)
def test_softmax(shape: tuple[int, ...], scale: float, seed: int) -> None:
    draft = one_node("softmax", {"x": shape}, shape)
    check(draft, [{"x": scale * floats(seed, shape)}], 4 * scale * 16 * EPS, EPS)


@pytest.mark.parametrize("op", ["reduce_sum", "reduce_mean", "reduce_max", "reduce_min"])
@given(shape=st.lists(st.integers(1, 7), min_size=1, max_size=4).map(tuple), data=st.data(), seed=SEEDS)
def test_reduce(op: str, shape: tuple[int, ...], data: Any, seed: int) -> None:
    axes = data.draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True))
    keep = data.draw(st.booleans())
    result = np.sum(np.zeros(shape), axis=tuple(axes), keepdims=keep).shape or (1,)
    draft = one_node(op, {"x": shape}, result, axes=axes, keepdims=int(keep))
    terms = math.prod(shape[a] for a in axes)
    exact = op in ("reduce_max", "reduce_min")
    check(draft, [{"x": floats(seed, shape)}], 0 if exact else EPS, 0 if exact else EPS * terms)


@given(shape=st.tuples(st.integers(30, 90)), seed=SEEDS)
def test_reduce_of_a_long_vector(shape: tuple[int], seed: int) -> None:
    draft = one_node("reduce_mean", {"x": shape}, (1,), axes=[0], keepdims=0)
    check(draft, [{"x": floats(seed, shape)}], EPS, 4 * EPS)


# -- rearranging ---------------------------------------------------------------------------------------


@given(shape=SHAPES, data=st.data(), seed=SEEDS)
def test_slice(shape: tuple[int, ...], data: Any, seed: int) -> None:
    axis = data.draw(st.integers(0, len(shape) - 1))
    start = data.draw(st.integers(0, shape[axis] - 1))
    stop = data.draw(st.integers(start + 1, shape[axis]))
    step = data.draw(st.integers(1, 3))
    result = (*shape[:axis], len(range(start, stop, step)), *shape[axis + 1 :])
    draft = one_node("slice", {"x": shape}, result, axis=axis, start=start, stop=stop, step=step)
    check(draft, [{"x": floats(seed, shape)}], 0, 0)


@given(shape=SHAPES, data=st.data(), seed=SEEDS)
def test_gather(shape: tuple[int, ...], data: Any, seed: int) -> None:
    axis = data.draw(st.integers(0, len(shape) - 1))
    indices = data.draw(st.lists(st.integers(0, shape[axis] - 1), min_size=1, max_size=12))
    result = (*shape[:axis], len(indices), *shape[axis + 1 :])
    draft = one_node("gather", {"x": shape}, result, axis=axis, indices=indices)
    check(draft, [{"x": floats(seed, shape)}], 0, 0)


@given(shape=st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple), data=st.data(), seed=SEEDS)
def test_permute(shape: tuple[int, ...], data: Any, seed: int) -> None:
    axes = data.draw(st.permutations(range(len(shape))))
    draft = one_node("permute", {"x": shape}, tuple(shape[a] for a in axes), axes=list(axes))
    check(draft, [{"x": floats(seed, shape)}], 0, 0)


@given(shape=SHAPES, data=st.data(), seed=SEEDS)
def test_expand(shape: tuple[int, ...], data: Any, seed: int) -> None:
    lead = data.draw(st.lists(st.integers(1, 4), max_size=2).map(tuple))
    target = (*lead, *(data.draw(st.integers(1, 5)) if d == 1 else d for d in shape))
    draft = one_node("expand", {"x": shape}, target, shape=list(target))
    check(draft, [{"x": floats(seed, shape)}], 0, 0)


@given(shape=SHAPES, seed=SEEDS)
def test_reshape(shape: tuple[int, ...], seed: int) -> None:
    target = (1, math.prod(shape[1:]), shape[0])
    draft = one_node("reshape", {"x": shape}, target, shape=list(target))
    check(draft, [{"x": floats(seed, shape)}], 0, 0)


@given(shape=SHAPES, data=st.data(), seed=SEEDS)
def test_concat(shape: tuple[int, ...], data: Any, seed: int) -> None:
    """Of inputs, of constants, and of one value more than once."""
    axis = data.draw(st.integers(0, len(shape) - 1))
    sizes = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    shapes = [(*shape[:axis], n, *shape[axis + 1 :]) for n in sizes]
    draft, values, parts = Draft(), {}, []
    draft.add_input("unused", (1,))
    values["unused"] = floats(seed, (1,))
    for k, part in enumerate(shapes):
        kind = data.draw(st.sampled_from(["input", "tensor", "computed"]))
        if kind == "tensor":
            parts.append(draft.add_tensor(floats(seed + k, part), "constant"))
            continue
        name = draft.add_input(f"x{k}", part)
        values[name] = floats(seed + k, part)
        parts.append(name if kind == "input" else draft.add_node("neg", [name], [part])[0])
    if data.draw(st.booleans()):
        parts.append(parts[0])
        sizes.append(sizes[0])
    total = (*shape[:axis], sum(sizes), *shape[axis + 1 :])
    (draft.outputs["y"],) = draft.add_node("concat", parts, [total], {"axis": axis})
    check(draft, [values], 0, 0)


@given(shape=SHAPES, seed=SEEDS)
def test_last(shape: tuple[int, ...], seed: int) -> None:
    check(one_node("last", {"x": shape}, shape), [{"x": floats(seed, shape)}], 0, 0)


# -- cells ---------------------------------------------------------------------------------------------

#: Activations a cell may have besides the standard ones; softplus is left out because it has a step at its beta.
ACTIVATIONS = [
    *("sigmoid", "tanh", "relu", "hard_sigmoid", "softsign", "scaled_tanh"),
    *("leaky_relu", "elu", "affine"),
]
GATES = {"rnn": (1, 1), "gru": (3, 2), "lstm": (4, 3)}


@st.composite
def cells(draw: Any, kind: str) -> Draft:
    """A Draft of one cell with everything about it drawn, its states carried and put out."""
    gates, functions = GATES[kind]
    size, hidden = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    seed = draw(SEEDS)
    attributes: dict[str, Any] = {}
    if draw(st.booleans()):
        attributes["activations"] = [draw(st.sampled_from(ACTIVATIONS)) for _ in range(functions)]
        if draw(st.booleans()):
            attributes["alpha"] = [draw(st.sampled_from([0.25, 0.5, 1.0])) for _ in range(functions)]
            attributes["beta"] = [draw(st.sampled_from([0.25, 0.5, 1.0])) for _ in range(functions)]
    if draw(st.booleans()):
        attributes["clip"] = draw(st.sampled_from([0.125, 0.5, 2.0]))
    recurrent = hidden
    if kind == "lstm" and draw(st.booleans()):
        recurrent = draw(st.integers(1, 20))
    if kind == "lstm" and draw(st.booleans()):
        attributes["input_forget"] = 1
    if kind == "gru" and draw(st.booleans()):
        attributes["reset"] = draw(st.sampled_from(["after", "before"]))

    draft = Draft()
    inputs = [draft.add_input("x", (size,))]
    states = {"h": recurrent, "c": hidden} if kind == "lstm" else {"h": hidden}
    inputs += [draft.add_state(name, (n,), floats(seed + n, (n,), -1, 1)) for name, n in states.items()]

    def weights(role: str, shape: tuple[int, ...], optional: bool = True) -> None:
        if optional and not draw(st.booleans()):
            inputs.append("")
        else:
            bound = 1 / math.sqrt(shape[-1])
            inputs.append(draft.add_tensor(floats(seed + len(inputs) + 100, shape, -bound, bound), role))

    weights("weight_ih", (gates * hidden, size), False)
    weights("weight_hh", (gates * hidden, recurrent), False)
    weights("bias_ih", (gates * hidden,))
    weights("bias_hh", (gates * hidden,))
    if kind == "lstm":
        if recurrent != hidden:
            weights("weight_hr", (recurrent, hidden), False)
        else:
            weights("weight_hr", (recurrent, hidden))
        weights("peephole", (3 * hidden,))
    while inputs[-1] == "":
        inputs.pop()
    outputs = draft.add_node(kind, inputs, [(n,) for n in states.values()], attributes)
    for name, value in zip(states, outputs, strict=True):
        draft.states[name].next = value
        draft.outputs[f"{name}_next"] = value
    return draft


@pytest.mark.parametrize("kind", sorted(GATES))
@settings(max_examples=120)
@given(data=st.data(), seed=SEEDS)
def test_cell(kind: str, data: Any, seed: int) -> None:
    draft = data.draw(cells(kind))
    check(draft, random_inputs(draft, 4, seed), 64 * EPS, 64 * EPS)


@pytest.mark.parametrize("kind", sorted(GATES))
@pytest.mark.parametrize("hidden", [8, 16, 17, 31, 64, 100])
def test_plain_cell_of_usual_sizes(kind: str, hidden: int) -> None:
    """The forms that have their own fast path, at sizes on and off the vector widths, for longer."""
    gates, _ = GATES[kind]
    draft = Draft()
    inputs = [draft.add_input("x", (13,))]
    states = ["h", "c"] if kind == "lstm" else ["h"]
    inputs += [draft.add_state(name, (hidden,)) for name in states]
    bound = 1 / math.sqrt(hidden)
    rows = gates * hidden
    for k, shape in enumerate([(rows, 13), (rows, hidden), (rows,), (rows,)]):
        inputs.append(draft.add_tensor(floats(hidden + k, shape, -bound, bound), "weight"))
    for name, value in zip(states, draft.add_node(kind, inputs, [(hidden,)] * len(states)), strict=True):
        draft.states[name].next = value
        draft.outputs[f"{name}_next"] = value
    check(draft, random_inputs(draft, 20, hidden), 64 * EPS, 64 * EPS)
