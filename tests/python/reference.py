"""A second implementation of the Graph, in NumPy and float64, straight from the definitions in cpp/README.md.

It is slow, shares no code with the engine, and is what the engine's results are compared with. It evaluates a Draft
(`rtrnn.importers.draft.Draft`), a C++ Graph (`rtrnn._core.Graph`) or anything that has such a Graph as `.graph`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray
Shape = tuple[int, ...]

# -- unary functions -----------------------------------------------------------------------------------

_erf = np.vectorize(math.erf, otypes=[np.float64])


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def _softplus(x: Array, alpha: float = 1.0, beta: float = 20.0) -> Array:
    return np.where(alpha * x > beta, x, np.log1p(np.exp(np.minimum(alpha * x, beta))) / alpha)


def _elu(x: Array, alpha: float = 1.0) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _hard_sigmoid(x: Array, alpha: float = 0.2, beta: float = 0.5) -> Array:
    return np.clip(alpha * x + beta, 0, 1)


#: Name -> (function of x and, as far as the function has them, alpha and beta; default alpha; default beta).
UNARY: dict[str, tuple[Callable[..., Any], float | None, float | None]] = {
    "neg": (np.negative, None, None),
    "abs": (np.abs, None, None),
    "sqrt": (np.sqrt, None, None),
    "exp": (np.exp, None, None),
    "log": (np.log, None, None),
    "reciprocal": (lambda x: 1 / x, None, None),
    "sign": (np.sign, None, None),
    "erf": (_erf, None, None),
    "floor": (np.floor, None, None),
    "ceil": (np.ceil, None, None),
    "relu": (lambda x: np.maximum(x, 0), None, None),
    "leaky_relu": (lambda x, a: np.where(x >= 0, x, a * x), 0.01, None),
    "elu": (_elu, 1.0, None),
    "selu": (lambda x, a, b: b * _elu(x, a), 1.67326319217681884765625, 1.05070102214813232421875),
    "celu": (lambda x, a: np.maximum(x, 0) + np.minimum(0, a * np.expm1(np.minimum(x / a, 0))), 1.0, None),
    "sigmoid": (_sigmoid, None, None),
    "tanh": (np.tanh, None, None),
    "softplus": (_softplus, 1.0, 20.0),
    "softsign": (lambda x: x / (1 + np.abs(x)), None, None),
    "gelu": (lambda x: x * 0.5 * (1 + _erf(x / math.sqrt(2))), None, None),
    "gelu_tanh": (lambda x: x * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))), None, None),
    "silu": (lambda x, a: x * _sigmoid(a * x), 1.0, None),
    "mish": (lambda x: x * np.tanh(_softplus(x)), None, None),
    "hard_sigmoid": (_hard_sigmoid, 0.2, 0.5),
    "hard_swish": (lambda x: x * np.clip(x / 6 + 0.5, 0, 1), None, None),
    "thresholded_relu": (lambda x, a: np.where(x > a, x, 0), 1.0, None),
    "scaled_tanh": (lambda x, a, b: a * np.tanh(b * x), 1.0, 1.0),
    "affine": (lambda x, a, b: a * x + b, 1.0, 0.0),
    "clip": (lambda x, a, b: np.minimum(np.maximum(x, a), b), -math.inf, math.inf),
}


def unary(name: str, x: Array, alpha: float | None = None, beta: float | None = None) -> Array:
    """One unary function; a parameter that is None has its default."""
    function, default_alpha, default_beta = UNARY[name]
    given = [g if g is not None else d for g, d in ((alpha, default_alpha), (beta, default_beta)) if d is not None]
    return function(x, *given)


# -- cells ---------------------------------------------------------------------------------------------


class _Cell:
    """The gate activations and the clip of one cell node."""

    def __init__(self, attributes: Mapping[str, Any], defaults: list[str]) -> None:
        self.names = list(attributes.get("activations") or defaults)
        self.alpha = list(attributes.get("alpha") or [None] * len(self.names))
        self.beta = list(attributes.get("beta") or [None] * len(self.names))
        self.limit = float(attributes.get("clip") or 0)

    def clipped(self, x: Array) -> Array:
        return np.clip(x, -self.limit, self.limit) if self.limit else x

    def plain(self, which: int, x: Array) -> Array:
        return unary(self.names[which], x, self.alpha[which], self.beta[which])

    def __call__(self, which: int, x: Array) -> Array:
        return self.plain(which, self.clipped(x))


def _operands(inputs: list[Array | None], count: int) -> list[Array | None]:
    return inputs + [None] * (count - len(inputs))


def _or_zero(bias: Array | None) -> Array | float:
    return 0.0 if bias is None else bias


def _rnn(inputs: list[Any], attributes: Mapping[str, Any]) -> list[Array]:
    x, h, w_ih, w_hh, b_ih, b_hh = _operands(inputs, 6)
    act = _Cell(attributes, ["tanh"])
    return [act(0, w_ih @ x + _or_zero(b_ih) + w_hh @ h + _or_zero(b_hh))]


def _gru(inputs: list[Any], attributes: Mapping[str, Any]) -> list[Array]:
    x, h, w_ih, w_hh, b_ih, b_hh = _operands(inputs, 6)
    act = _Cell(attributes, ["sigmoid", "tanh"])
    reset = attributes.get("reset", "after")
    b_hh = np.zeros(len(w_hh)) if b_hh is None else b_hh
    x_r, x_z, x_n = np.split(w_ih @ x + _or_zero(b_ih), 3)
    w_r, w_z, w_n = np.split(w_hh, 3)
    b_r, b_z, b_n = np.split(b_hh, 3)
    r = act(0, x_r + w_r @ h + b_r)
    z = act(0, x_z + w_z @ h + b_z)
    if reset == "after":
        n = act(1, x_n + r * (w_n @ h + b_n))
    elif reset == "before":
        n = act(1, x_n + w_n @ (r * h) + b_n)
    else:
        raise ValueError(f"gru: reset is {reset!r}, expected 'after' or 'before'")
    return [(1 - z) * n + z * h]


def _lstm(inputs: list[Any], attributes: Mapping[str, Any]) -> list[Array]:
    x, h, c, w_ih, w_hh, b_ih, b_hh, w_hr, peephole = _operands(inputs, 9)
    act = _Cell(attributes, ["sigmoid", "tanh", "tanh"])
    i, f, g, o = np.split(w_ih @ x + _or_zero(b_ih) + w_hh @ h + _or_zero(b_hh), 4)
    p_i, p_f, p_o = (0.0, 0.0, 0.0) if peephole is None else np.split(peephole, 3)
    i = act(0, i + p_i * c)
    f = 1 - i if attributes.get("input_forget") else act(0, f + p_f * c)
    c_next = f * c + i * act(1, g)
    o = act(0, o + p_o * c_next)
    h_next = o * act.plain(2, c_next)
    return [h_next if w_hr is None else w_hr @ h_next, c_next]


# -- other nodes ---------------------------------------------------------------------------------------


def _linear(inputs: list[Any], attributes: Mapping[str, Any]) -> list[Array]:
    x, weight, bias = _operands(inputs, 3)
    return [x @ weight.T + _or_zero(bias)]


def _conv(inputs: list[Any], attributes: Mapping[str, Any]) -> list[Array]:
    """Tap by tap: each output position takes the element that the tap lies on, or zero outside x."""
    x, weight, bias = _operands(inputs, 3)
    n = x.ndim - 1
    strides = list(attributes.get("strides") or [1] * n)
    dilations = list(attributes.get("dilations") or [1] * n)
    pads = list(attributes.get("pads") or [0] * 2 * n)
    groups = int(attributes.get("groups", 1))
    padded = np.pad(x, [(0, 0), *((pads[i], pads[n + i]) for i in range(n))])
    kernel = weight.shape[2:]
    sizes = [
        (d - (k - 1) * e - 1) // s + 1 for d, k, e, s in zip(padded.shape[1:], kernel, dilations, strides, strict=True)
    ]
    y = np.zeros((len(weight), *sizes))
    for o in range(len(weight)):
        first = o // (len(weight) // groups) * weight.shape[1]
        for c in range(weight.shape[1]):
            for tap in np.ndindex(*kernel):
                walk = [
                    slice(k * e, k * e + (m - 1) * s + 1, s)
                    for k, e, m, s in zip(tap, dilations, sizes, strides, strict=True)
                ]
                y[o] += weight[(o, c, *tap)] * padded[(first + c, *walk)]
    return [y if bias is None else y + bias.reshape(-1, *[1] * n)]


def _layer_norm(inputs: list[Any], attributes: Mapping[str, Any]) -> list[Array]:
    x, weight, bias = _operands(inputs, 3)
    centred = x - x.mean(-1, keepdims=True)
    y = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + attributes.get("eps", 1e-5))
    return [y * (1.0 if weight is None else weight) + _or_zero(bias)]


def _softmax(inputs: list[Any], attributes: Mapping[str, Any]) -> list[Array]:
    e = np.exp(inputs[0] - inputs[0].max(-1, keepdims=True))
    return [e / e.sum(-1, keepdims=True)]


def _slice(inputs: list[Any], attributes: Mapping[str, Any]) -> list[Array]:
    index = range(attributes["start"], attributes["stop"], attributes.get("step", 1))
    return [np.take(inputs[0], list(index), attributes["axis"])]


def _delta_linear(inputs: list[Any], attributes: Mapping[str, Any]) -> list[Array]:
    x, used, y, weight = inputs
    changed = np.abs(x - used) > attributes.get("threshold", 0)
    return [y + weight @ np.where(changed, x - used, 0), np.where(changed, x, used)]


_BINARY = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "min": np.minimum,
    "max": np.maximum,
    "pow": np.power,
}
_REDUCE = {"reduce_sum": np.sum, "reduce_mean": np.mean, "reduce_max": np.max, "reduce_min": np.min}
_OTHER: dict[str, Callable[[list[Any], Mapping[str, Any]], list[Array]]] = {
    "rnn": _rnn,
    "gru": _gru,
    "lstm": _lstm,
    "linear": _linear,
    "conv": _conv,
    "layer_norm": _layer_norm,
    "softmax": _softmax,
    "slice": _slice,
    "concat": lambda xs, a: [np.concatenate(xs, a["axis"])],
    "gather": lambda xs, a: [np.take(xs[0], list(a["indices"]), a["axis"])],
    "permute": lambda xs, a: [np.transpose(xs[0], list(a["axes"]))],
    "reshape": lambda xs, a: [np.reshape(xs[0], list(a["shape"]))],
    "expand": lambda xs, a: [np.broadcast_to(xs[0], list(a["shape"]))],
    "delta_linear": _delta_linear,
    "last": lambda xs, a: [xs[0]],
}
OPS = frozenset(UNARY) | frozenset(_BINARY) | frozenset(_REDUCE) | frozenset(_OTHER)


def apply(op: str, inputs: list[Array | None], attributes: Mapping[str, Any]) -> list[Array]:
    """The outputs of one node; an absent optional input is None."""
    if op in UNARY:
        return [unary(op, inputs[0], attributes.get("alpha"), attributes.get("beta"))]
    if op in _BINARY:
        return [_BINARY[op](*inputs)]
    if op in _REDUCE:
        y = _REDUCE[op](inputs[0], axis=tuple(attributes["axes"]), keepdims=bool(attributes.get("keepdims", 0)))
        return [np.atleast_1d(y)]
    if op in _OTHER:
        return _OTHER[op](inputs, attributes)
    raise ValueError(f"node type {op!r} is not one of those in cpp/README.md")


# -- graphs --------------------------------------------------------------------------------------------


@dataclass
class _Graph:
    """What the evaluator needs of a Draft or of a C++ Graph."""

    inputs: dict[str, Shape]
    outputs: dict[str, str]
    tensors: dict[str, Array]
    nodes: list[Any]
    initial: dict[str, Array] = field(default_factory=dict)
    next: dict[str, str] = field(default_factory=dict)


def _adapt(graph: Any) -> _Graph:
    graph = getattr(graph, "graph", graph)  # of a Model
    if isinstance(graph.inputs, dict):  # a Draft
        plain = _Graph(graph.inputs, graph.outputs, graph.tensors, graph.nodes)
        for name, state in graph.states.items():
            if state.next is None:
                raise ValueError(f"state {name!r} has no next value")
            plain.initial[name], plain.next[name] = np.reshape(state.initial, state.shape), state.next
        return plain
    plain = _Graph(
        {i.name: tuple(i.shape) for i in graph.inputs},
        {o.name: o.value for o in graph.outputs},
        {name: np.asarray(graph.tensor(name)) for name in graph.tensor_names},
        list(graph.nodes),
    )
    for state in graph.states:
        initial = state.initial
        if isinstance(initial, str):
            initial = plain.tensors[initial] if initial else None
        plain.initial[state.name] = np.zeros(state.shape) if initial is None else np.reshape(initial, state.shape)
        plain.next[state.name] = state.next
    return plain


class Evaluator:
    """Runs a Graph step by step (`step`) or over a whole sequence (`run`), in `dtype`."""

    def __init__(self, graph: Any, dtype: Any = np.float64) -> None:
        self.graph = _adapt(graph)
        self.dtype = dtype
        self.tensors = {name: np.asarray(t, dtype) for name, t in self.graph.tensors.items()}
        self.state: dict[str, Array] = {}
        self.reset()

    def reset(self) -> None:
        self.state = {name: np.asarray(value, self.dtype) for name, value in self.graph.initial.items()}

    def _node(self, node: Any, values: dict[str, Array]) -> None:
        operands = [values[name] if name else None for name in node.inputs]
        for name, value in zip(node.outputs, apply(node.op, operands, node.attributes), strict=True):
            values[name] = np.asarray(value, self.dtype)

    def _given(self, inputs: Mapping[str, Any], lead: Shape = ()) -> dict[str, Array]:
        if missing := set(self.graph.inputs) - set(inputs):
            raise ValueError(f"no value for inputs {sorted(missing)}; got {sorted(inputs)}")
        shapes = self.graph.inputs.items()
        return {name: np.asarray(inputs[name], self.dtype).reshape((*lead, *shape)) for name, shape in shapes}

    def values(self, inputs: Mapping[str, Any]) -> dict[str, Array]:
        """Every value of one step, by name; the state stays as it is."""
        values = {**self.tensors, **self.state, **self._given(inputs)}
        for node in self.graph.nodes:
            self._node(node, values)
        return values

    def step(self, inputs: Mapping[str, Any]) -> dict[str, Array]:
        """One timestep: inputs by name (any shape with the right number of elements) -> outputs by name."""
        values = self.values(inputs)
        self.state = {name: values[source] for name, source in self.graph.next.items()}
        return {name: values[source] for name, source in self.graph.outputs.items()}

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Array]:
        """A whole sequence from the initial state: (T, ..) by name -> (T, ..) by name; reverse cells are allowed.

        A loop is a set of nodes and states that feed each other. Loops run one after the other, each over the whole
        sequence: backwards if it holds a reverse cell, else forwards. A `last` node gives its one value at every step.
        """
        streamed = not any(n.attributes.get("direction") == "reverse" for n in self.graph.nodes)
        length = len(next(iter(inputs.values())))
        whole = self._given(inputs, (length,))
        for name, tensor in self.tensors.items():
            whole[name] = np.broadcast_to(tensor, (length, *tensor.shape))
        for loop in self._loops():
            nodes = [n for n in self.graph.nodes if loop & set(n.outputs)]
            states = [name for name in self.graph.next if name in loop]
            if not streamed and len(nodes) == 1 and nodes[0].op == "last":
                (source,) = nodes[0].inputs
                kept = whole[source][0 if self._reversed(source) else -1]
                whole[nodes[0].outputs[0]] = np.broadcast_to(kept, (length, *kept.shape))
                continue
            reverse = any(n.attributes.get("direction") == "reverse" for n in nodes)
            held = {name: np.asarray(self.graph.initial[name], self.dtype) for name in states}
            taken: dict[str, list[Array]] = {name: [] for name in loop}
            for t in reversed(range(length)) if reverse else range(length):
                values = {name: value[t] for name, value in whole.items()} | held
                for node in nodes:
                    self._node(node, values)
                for name, steps in taken.items():
                    steps.append(values[name])
                held = {name: values[self.graph.next[name]] for name in states}
            for name, steps in taken.items():
                whole[name] = np.stack(steps[::-1] if reverse else steps)
        return {name: whole[source] for name, source in self.graph.outputs.items()}

    def _reversed(self, value: str) -> bool:
        return any(value in n.outputs and n.attributes.get("direction") == "reverse" for n in self.graph.nodes)

    def _loops(self) -> list[set[str]]:
        """The strongly connected sets of node outputs and states, in an order in which each is ready to run."""
        reads: dict[str, list[str]] = {name: [source] for name, source in self.graph.next.items()}
        for node in self.graph.nodes:
            for name in node.outputs:
                # The outputs of one node belong together: a node is evaluated once.
                reads[name] = [v for v in node.inputs if v] + [v for v in node.outputs if v != name]
        readers: dict[str, list[str]] = {name: [] for name in reads}
        for name, sources in reads.items():
            for source in sources:
                if source in reads:
                    readers[source].append(name)
        done: set[str] = set()
        order = [name for start in readers for name in _postorder(start, readers, done)]
        done = set()
        loops: list[set[str]] = []
        for name in reversed(order):
            if name not in done:
                loops.append(set(_postorder(name, reads, done)))
        return loops


def _postorder(start: str, edges: Mapping[str, Iterable[str]], done: set[str]) -> list[str]:
    """The names reached from `start` and not in `done` (which grows), each after those it leads to."""
    if start in done:
        return []
    done.add(start)
    order: list[str] = []
    stack = [(start, iter(edges[start]))]
    while stack:
        name, rest = stack[-1]
        for following in rest:
            if following in edges and following not in done:
                done.add(following)
                stack.append((following, iter(edges[following])))
                break
        else:
            order.append(name)
            stack.pop()
    return order
