"""Random Drafts: nodes, views, cells, states and outputs wired together any way the rules allow."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from rtrnn.importers.draft import Draft, Shape

_SHAPES: list[Shape] = [(1,), (5,), (8,), (12,), (17,), (2, 3), (3, 4), (4, 2, 3), (1, 8)]
_SMOOTH = ["tanh", "sigmoid", "softsign", "gelu", "relu", "neg", "abs", "hard_sigmoid"]


class _Writer:
    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.draft = Draft()
        self.values: list[str] = []

    def pick(self, rank: int | None = None) -> str:
        """A value that is there, sooner a late one; of the given rank if there is one, else reshaped."""
        index = len(self.values) - 1 - int(self.rng.integers(0, len(self.values)) * self.rng.random())
        value = self.values[index]
        if rank == 1 and len(self.draft.shapes[value]) != 1:
            size = math.prod(self.draft.shapes[value])
            return self.node("reshape", [value], (size,), shape=[size])
        return value

    def node(self, op: str, inputs: list[str], result: Shape, /, **attributes: object) -> str:
        (value,) = self.draft.add_node(op, inputs, [result], attributes)
        self.values.append(value)
        return value

    def tensor(self, shape: Shape, bound: float) -> str:
        return self.draft.add_tensor(self.rng.uniform(-bound, bound, shape), "weight")

    def shape(self, value: str) -> Shape:
        return self.draft.shapes[value]

    # -- kinds of nodes --------------------------------------------------------------------------------

    def unary(self) -> None:
        x = self.pick()
        self.node(str(self.rng.choice(_SMOOTH)), [x], self.shape(x))

    def binary(self) -> None:
        a, b = self.pick(), self.pick()
        try:
            shape = np.broadcast_shapes(self.shape(a), self.shape(b))
        except ValueError:
            b, shape = a, self.shape(a)
        if math.prod(shape) <= 600:
            total = self.node(str(self.rng.choice(["add", "sub", "mul", "min", "max"])), [a, b], shape)
            self.node("softsign", [total], shape)

    def linear(self) -> None:
        x = self.pick()
        *lead, columns = self.shape(x)
        rows = int(self.rng.integers(1, 20))
        inputs = [x, self.tensor((rows, columns), 1 / math.sqrt(columns))]
        if self.rng.random() < 0.5:
            inputs.append(self.tensor((rows,), 0.5))
        self.node("linear", inputs, (*lead, rows))

    def conv(self) -> None:
        x = self.pick()
        channels, *sizes = self.shape(x)
        if not 1 <= len(sizes) <= 3:
            return
        groups = int(self.rng.choice([1, channels]))
        kernel = [int(self.rng.integers(1, min(n, 3) + 1)) for n in sizes]
        before = [int(self.rng.integers(2)) for _ in sizes]
        outputs = groups * int(self.rng.integers(1, 4))
        weight = (outputs, channels // groups, *kernel)
        inputs = [x, self.tensor(weight, 1 / math.sqrt(math.prod(weight[1:])))]
        result = [n + p - k + 1 for n, p, k in zip(sizes, before, kernel, strict=True)]
        self.node("conv", inputs, (outputs, *result), groups=groups, pads=[*before, *(0 for _ in sizes)])

    def norm(self) -> None:
        x = self.pick()
        if self.shape(x)[-1] > 3:
            self.node("softmax", [x], self.shape(x))

    def reduce(self) -> None:
        x = self.pick()
        axis = int(self.rng.integers(len(self.shape(x))))
        shape = tuple(d for i, d in enumerate(self.shape(x)) if i != axis) or (1,)
        op = str(self.rng.choice(["reduce_mean", "reduce_max", "reduce_min"]))
        self.node(op, [x], shape, axes=[axis], keepdims=0)

    def slice(self) -> None:
        x = self.pick()
        shape = list(self.shape(x))
        axis = int(self.rng.integers(len(shape)))
        start = int(self.rng.integers(shape[axis]))
        stop = int(self.rng.integers(start, shape[axis])) + 1
        step = int(self.rng.integers(1, 3))
        shape[axis] = len(range(start, stop, step))
        self.node("slice", [x], tuple(shape), axis=axis, start=start, stop=stop, step=step)

    def gather(self) -> None:
        x = self.pick()
        shape = list(self.shape(x))
        axis = int(self.rng.integers(len(shape)))
        indices = self.rng.integers(0, shape[axis], int(self.rng.integers(1, 9))).tolist()
        shape[axis] = len(indices)
        self.node("gather", [x], tuple(shape), axis=axis, indices=indices)

    def permute(self) -> None:
        x = self.pick()
        axes = self.rng.permutation(len(self.shape(x))).tolist()
        self.node("permute", [x], tuple(self.shape(x)[a] for a in axes), axes=axes)

    def expand(self) -> None:
        x = self.pick()
        if math.prod(self.shape(x)) <= 100 and len(self.shape(x)) < 4:
            shape = (2, *(3 if d == 1 else d for d in self.shape(x)))
            self.node("expand", [x], shape, shape=list(shape))

    def concat(self) -> None:
        parts = [self.pick(1) for _ in range(int(self.rng.integers(2, 4)))]
        self.node("concat", parts, (sum(self.shape(p)[0] for p in parts),), axis=0)

    def cell(self) -> None:
        kind = str(self.rng.choice(["rnn", "gru", "lstm"]))
        gates = {"rnn": 1, "gru": 3, "lstm": 4}[kind]
        x, h = self.pick(1), self.pick(1)
        (columns,), (hidden,) = self.shape(x), self.shape(h)
        inputs = [x, h]
        if kind == "lstm":
            same = [v for v in self.values if self.shape(v) == (hidden,)]
            inputs.append(str(self.rng.choice(same)))
        inputs.append(self.tensor((gates * hidden, columns), 1 / math.sqrt(columns)))
        inputs.append(self.tensor((gates * hidden, hidden), 1 / math.sqrt(hidden)))
        attributes = {"reset": "before"} if kind == "gru" and self.rng.random() < 0.4 else {}
        shapes = [(hidden,)] * (2 if kind == "lstm" else 1)
        self.values += self.draft.add_node(kind, inputs, shapes, attributes)

    def write(self, length: int) -> Draft:
        rng, draft = self.rng, self.draft
        for k in range(int(rng.integers(1, 4))):
            self.values.append(draft.add_input(f"x{k}", _SHAPES[int(rng.integers(len(_SHAPES)))]))
        for k in range(int(rng.integers(1, 5))):
            shape = _SHAPES[int(rng.integers(len(_SHAPES)))]
            self.values.append(draft.add_state(f"s{k}", shape, rng.uniform(-1, 1, shape)))
        if rng.random() < 0.3:
            self.values.append(self.tensor((5,), 1.0))
        kinds: list[Callable[[], None]] = [
            self.unary, self.binary, self.linear, self.norm, self.reduce, self.slice, self.gather,
            self.permute, self.expand, self.concat, self.concat, self.cell, self.cell, self.conv,
        ]  # fmt: skip
        for _ in range(length):
            kinds[int(rng.integers(len(kinds)))]()
        for name, state in draft.states.items():
            # Any value of the shape, a state or an input among them; the state itself is always one.
            fitting = [v for v in self.values if self.shape(v) == state.shape and v not in draft.tensors]
            late = [v for v in fitting if v not in draft.inputs and v not in draft.states]
            choice = late if late and rng.random() < 0.8 else fitting
            draft.states[name].next = str(rng.choice(choice))
        for k in range(int(rng.integers(1, 5))):
            draft.outputs[f"y{k}"] = self.pick()
        return draft


def random_draft(seed: int, length: int = 12) -> Draft:
    """A valid Draft of about `length` nodes with values of moderate size; the same for the same seed."""
    return _Writer(seed).write(length)
