"""Hand-written cells become fused nodes, and the fused node computes what the nodes did."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from reference import Evaluator

from rtrnn.importers.builder import Builder, Sym
from rtrnn.importers.cleanup import cleanup
from rtrnn.importers.draft import Draft
from rtrnn.importers.recognise import recognise_cells

INPUT, HIDDEN = 3, 5


class Net(Builder):
    """A Builder with operators' names short enough to write equations with, and weights whose sums are exact."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.rng = np.random.default_rng(seed)

    def weights(self, *shape: int) -> np.ndarray:
        return self.rng.integers(-32, 33, shape) / 32.0

    def vector(self, name: str, size: int) -> Sym:
        return self.input(name, (size,))

    def carried(self, name: str, size: int = HIDDEN) -> Sym:
        return self.state(name, self.weights(size))

    def product(self, x: Sym, rows: int, bias: bool = True) -> Sym:
        return self.linear(x, self.weights(rows, x.size), self.weights(rows) if bias else None)

    def add(self, *xs: Sym) -> Sym:
        total = xs[0]
        for x in xs[1:]:
            total = self.binary("add", total, x)
        return total

    def mul(self, a: Sym, b: Sym) -> Sym:
        return self.binary("mul", a, b)

    def sub(self, a: Sym, b: Sym) -> Sym:
        return self.binary("sub", a, b)

    def sigmoid(self, x: Sym) -> Sym:
        return self.unary("sigmoid", x)

    def tanh(self, x: Sym) -> Sym:
        return self.unary("tanh", x)

    def twice(self, x: Sym) -> Sym:
        return self.mul(x, self.const(np.float32(2)))

    def one_minus(self, x: Sym) -> Sym:
        return self.sub(self.const(np.float32(1)), x)

    def parts(self, x: Sym, count: int) -> list[Sym]:
        return self.split(x, 0, [x.size // count] * count)

    def finish(self, **outputs: Sym) -> Draft:
        for name, value in outputs.items():
            self.draft.outputs[name] = self.value(value)
        return self.draft


def trajectory(draft: Draft, steps: int = 6) -> dict[str, np.ndarray]:
    evaluator = Evaluator(draft)
    rng = np.random.default_rng(7)
    ys: dict[str, list[np.ndarray]] = {name: [] for name in draft.outputs}
    for _ in range(steps):
        y = evaluator.step({name: rng.normal(size=shape) for name, shape in draft.inputs.items()})
        for name, value in y.items():
            ys[name].append(value)
    return {name: np.stack(values) for name, values in ys.items()}


def recognised(draft: Draft) -> tuple[Draft, list[str]]:
    """The rewritten draft and its lines, having checked that both forms compute the same."""
    before = trajectory(draft)
    fused = copy.deepcopy(draft)
    lines = recognise_cells(fused)
    after = trajectory(fused)
    assert before.keys() == after.keys()
    for name in before:
        assert np.abs(before[name]).max() > 1e-3, "a test of zeros would prove nothing"
        np.testing.assert_allclose(after[name], before[name], rtol=0, atol=1e-12)
    return fused, lines


def ops(draft: Draft) -> list[str]:
    return [node.op for node in draft.nodes]


# -- gru -----------------------------------------------------------------------------------------------

Blend = Callable[[Net, Sym, Sym, Sym], Sym]
BLENDS: dict[str, Blend] = {
    "(1-z)n + zh": lambda b, z, n, h: b.add(b.mul(b.one_minus(z), n), b.mul(z, h)),
    "zh + (1-z)n": lambda b, z, n, h: b.add(b.mul(h, z), b.mul(n, b.one_minus(z))),
    "n + z(h-n)": lambda b, z, n, h: b.add(n, b.mul(z, b.sub(h, n))),
    "n - zn + zh": lambda b, z, n, h: b.add(b.sub(n, b.mul(z, n)), b.mul(z, h)),
    "n - z(n-h)": lambda b, z, n, h: b.sub(n, b.mul(z, b.sub(n, h))),
    "zn + (1-z)h": lambda b, z, n, h: b.add(b.mul(z, n), b.mul(b.one_minus(z), h)),
    "h + z(n-h)": lambda b, z, n, h: b.add(h, b.mul(z, b.sub(n, h))),
    "(n + h - h) - zn + zh": lambda b, z, n, h: b.add(b.sub(b.sub(b.add(n, h), h), b.mul(z, n)), b.mul(z, h)),
    "affine(z) n + zh": lambda b, z, n, h: b.add(b.mul(b.unary("affine", z, alpha=-1.0, beta=1.0), n), b.mul(z, h)),
    "h - zh + zn": lambda b, z, n, h: b.add(b.sub(h, b.mul(h, z)), b.mul(n, z)),
}


def gru_two_products(b: Net, x: Sym, h: Sym, order: str = "rzn") -> dict[str, Sym]:
    size = h.size
    gi = dict(zip(order, b.parts(b.product(x, 3 * size), 3), strict=True))
    gh = dict(zip(order, b.parts(b.product(h, 3 * size), 3), strict=True))
    r, z = (b.sigmoid(b.add(gi[k], gh[k])) for k in "rz")
    return {"z": z, "n": b.tanh(b.add(gi["n"], b.mul(r, gh["n"])))}


def gru_joint_sigmoid(b: Net, x: Sym, h: Sym) -> dict[str, Sym]:
    size = h.size
    gi, gh = b.product(x, 3 * size), b.product(h, 3 * size)
    joint = b.sigmoid(b.add(b.slice(gi, 0, 0, 2 * size), b.slice(gh, 0, 0, 2 * size)))
    r, z = b.parts(joint, 2)
    return {"z": z, "n": b.tanh(b.add(b.mul(b.slice(gh, 0, -size, 3 * size), r), b.slice(gi, 0, -size, 3 * size)))}


def gru_six_products(b: Net, x: Sym, h: Sym, bias: bool = True) -> dict[str, Sym]:
    size = h.size
    r, z = (b.sigmoid(b.add(b.product(x, size, bias), b.product(h, size, bias))) for _ in range(2))
    return {"z": z, "n": b.tanh(b.add(b.product(x, size, bias), b.mul(r, b.product(h, size, bias))))}


def gru_split_bias(b: Net, x: Sym, h: Sym) -> dict[str, Sym]:
    size = h.size
    gi = b.add(b.product(x, 3 * size, False), b.const(b.weights(3 * size)))
    gh = b.add(b.const(b.weights(3 * size)), b.product(h, 3 * size, False))
    r, z = (b.sigmoid(b.add(b.slice(gi, 0, k * size, (k + 1) * size), b.slice(gh, 0, k * size, (k + 1) * size)))
            for k in range(2))  # fmt: skip
    n = b.tanh(b.add(b.slice(gi, 0, 2 * size, 3 * size), b.mul(r, b.slice(gh, 0, 2 * size, 3 * size))))
    return {"z": z, "n": n}


def gru_bias_inside_product(b: Net, x: Sym, h: Sym) -> dict[str, Sym]:
    """The recurrent bias of n added after the split, where it cannot be folded into one product."""
    size = h.size
    gh = b.parts(b.product(h, 3 * size, False), 3)
    r, z = (b.sigmoid(b.add(b.product(x, size), gh[k])) for k in range(2))
    return {"z": z, "n": b.tanh(b.add(b.product(x, size), b.mul(r, b.add(gh[2], b.const(b.weights(size))))))}


def gru_reset_before(b: Net, x: Sym, h: Sym) -> dict[str, Sym]:
    size = h.size
    r, z = b.parts(b.sigmoid(b.product(b.concat([x, h], 0), 2 * size)), 2)
    return {"z": z, "n": b.tanh(b.product(b.concat([x, b.mul(r, h)], 0), size))}


def gru_reset_before_split(b: Net, x: Sym, h: Sym) -> dict[str, Sym]:
    size = h.size
    r, z = (b.sigmoid(b.add(b.product(x, size), b.product(h, size, False))) for _ in range(2))
    return {"z": z, "n": b.tanh(b.add(b.product(x, size), b.product(b.mul(h, r), size)))}


GRU_GATES: dict[str, Callable[[Net, Sym, Sym], dict[str, Sym]]] = {
    "two products": gru_two_products,
    "two products, z r n": lambda b, x, h: gru_two_products(b, x, h, "zrn"),
    "two products, n z r": lambda b, x, h: gru_two_products(b, x, h, "nzr"),
    "joint sigmoid": gru_joint_sigmoid,
    "six products": gru_six_products,
    "six products without bias": lambda b, x, h: gru_six_products(b, x, h, False),
    "bias added": gru_split_bias,
    "bias inside product": gru_bias_inside_product,
    "reset before": gru_reset_before,
    "reset before, split": gru_reset_before_split,
}


def hand_gru(gates: Callable[[Net, Sym, Sym], dict[str, Sym]], blend: Blend, hidden: int = HIDDEN) -> Draft:
    b = Net()
    x, h = b.vector("x", INPUT), b.carried("h", hidden)
    made = gates(b, x, h)
    following = blend(b, made["z"], made["n"], h)
    b.set_next(h, following)
    return b.finish(y=following)


@pytest.mark.parametrize("blend", BLENDS)
@pytest.mark.parametrize("gates", GRU_GATES)
def test_gru(gates: str, blend: str) -> None:
    fused, lines = recognised(hand_gru(GRU_GATES[gates], BLENDS[blend]))
    assert ops(fused) == ["gru"]
    assert len(lines) == 1
    assert lines[0].startswith("gru from ")
    assert fused.nodes[0].attributes.get("reset", "after") == ("before" if "before" in gates else "after")


def test_state_taken_apart_and_joined_again() -> None:
    def gates(b: Net, x: Sym, h: Sym) -> dict[str, Sym]:
        return gru_two_products(b, x, b.concat([b.slice(h, 0, 0, 2), b.slice(h, 0, 2, HIDDEN)], 0))

    fused, _ = recognised(hand_gru(gates, BLENDS["(1-z)n + zh"]))
    assert ops(fused) == ["gru"]


def test_sums_made_row_by_row_stay() -> None:
    """One matrix used for several rows of an input is no matrix of the cell."""

    def gates(b: Net, x: Sym, h: Sym) -> dict[str, Sym]:
        rows = b.linear(b.reshape(b.concat([x, x], 0), (3, 2)), b.weights(HIDDEN, 2))
        gi, gh = b.parts(b.reshape(rows, (3 * HIDDEN,)), 3), b.parts(b.product(h, 3 * HIDDEN), 3)
        r, z = (b.sigmoid(b.add(gi[k], gh[k])) for k in range(2))
        return {"z": z, "n": b.tanh(b.add(gi[2], b.mul(r, gh[2])))}

    fused, lines = recognised(hand_gru(gates, BLENDS["(1-z)n + zh"]))
    assert lines == []
    assert "gru" not in ops(fused)


def test_gru_of_one_unit() -> None:
    fused, _ = recognised(hand_gru(gru_two_products, BLENDS["n + z(h-n)"], hidden=1))
    assert ops(fused) == ["gru"]


def test_node_that_nothing_needs_is_no_reader() -> None:
    def gates(b: Net, x: Sym, h: Sym) -> dict[str, Sym]:
        made = gru_two_products(b, x, h)
        b.tanh(made["z"])
        return made

    fused, _ = recognised(hand_gru(gates, BLENDS["n + z(h-n)"]))
    assert ops(fused) == ["gru"]


def test_gru_weights_are_in_canonical_order() -> None:
    draft = hand_gru(lambda b, x, h: gru_two_products(b, x, h, "zrn"), BLENDS["(1-z)n + zh"])
    linear = next(node for node in draft.nodes if node.op == "linear")
    z, r, n = np.split(draft.tensors[linear.inputs[1]], 3)
    fused, _ = recognised(draft)
    np.testing.assert_array_equal(fused.tensors[fused.nodes[0].inputs[2]], np.concatenate([r, z, n]))


# -- lstm ----------------------------------------------------------------------------------------------


def lstm_gates_two(b: Net, x: Sym, h: Sym, order: str) -> dict[str, Sym]:
    total = b.add(b.product(x, 4 * h.size), b.product(h, 4 * h.size))
    return dict(zip(order, b.parts(total, 4), strict=True))


def lstm_gates_joint(b: Net, parts: list[Sym], size: int, order: str) -> dict[str, Sym]:
    return dict(zip(order, b.parts(b.product(b.concat(parts, 0), 4 * size), 4), strict=True))


def lstm_gates_separate(b: Net, x: Sym, h: Sym, bias: bool) -> dict[str, Sym]:
    return {k: b.add(b.product(x, h.size, bias), b.product(h, h.size, bias)) for k in "ifgo"}


def lstm_gates_eight_biases(b: Net, x: Sym, h: Sym) -> dict[str, Sym]:
    gates = lstm_gates_separate(b, x, h, False)
    return {k: b.add(b.const(b.weights(h.size)), gate) for k, gate in gates.items()}


LSTM_GATES: dict[str, Callable[[Net, Sym, Sym], dict[str, Sym]]] = {
    **{order: lambda b, x, h, order=order: lstm_gates_two(b, x, h, order) for order in ("ifgo", "iofg", "gifo")},
    "concat(x, h)": lambda b, x, h: lstm_gates_joint(b, [x, h], h.size, "ifgo"),
    "concat(h, x)": lambda b, x, h: lstm_gates_joint(b, [h, x], h.size, "fiog"),
    "separate": lambda b, x, h: lstm_gates_separate(b, x, h, True),
    "separate without bias": lambda b, x, h: lstm_gates_separate(b, x, h, False),
    "separate, bias added": lstm_gates_eight_biases,
}


def lstm_step(b: Net, gates: dict[str, Sym], c: Sym, forget: float = 0.0) -> tuple[Sym, Sym]:
    if forget:
        gates["f"] = b.add(gates["f"], b.const(np.float32(forget)))
    i, f, o = (b.sigmoid(gates[k]) for k in "ifo")
    c_next = b.add(b.mul(f, c), b.mul(i, b.tanh(gates["g"])))
    return b.mul(o, b.tanh(c_next)), c_next


@pytest.mark.parametrize("forget", [0.0, 1.0])
@pytest.mark.parametrize("form", LSTM_GATES)
def test_lstm(form: str, forget: float) -> None:
    b = Net()
    x, h, c = b.vector("x", INPUT), b.carried("h"), b.carried("c")
    h_next, c_next = lstm_step(b, LSTM_GATES[form](b, x, h), c, forget)
    b.set_next(h, h_next)
    b.set_next(c, c_next)
    fused, lines = recognised(b.finish(y=h_next, cell=c_next))
    assert ops(fused) == ["lstm"]
    assert len(lines) == 1
    node = fused.nodes[0]
    assert node.inputs[:3] == ["x", "h", "c"]
    assert not node.attributes
    assert [fused.states[k].next for k in "hc"] == node.outputs


def test_lstm_joint_sigmoid_before_the_split() -> None:
    b = Net()
    x, h, c = b.vector("x", INPUT), b.carried("h"), b.carried("c")
    total = b.product(b.concat([x, h], 0), 4 * HIDDEN)
    i, f, o = b.parts(b.sigmoid(b.slice(total, 0, 0, 3 * HIDDEN)), 3)
    c_next = b.add(b.mul(i, b.tanh(b.slice(total, 0, 3 * HIDDEN, 4 * HIDDEN))), b.mul(c, f))
    h_next = b.mul(b.tanh(c_next), o)
    b.set_next(h, h_next)
    b.set_next(c, c_next)
    fused, _ = recognised(b.finish(y=h_next))
    assert ops(fused) == ["lstm"]


def test_lstm_with_peepholes() -> None:
    b = Net()
    x, h, c = b.vector("x", INPUT), b.carried("h"), b.carried("c")
    gates = lstm_gates_two(b, x, h, "ifgo")
    i, f = (b.sigmoid(b.add(gates[k], b.mul(c, b.const(b.weights(HIDDEN))))) for k in "if")
    c_next = b.add(b.mul(f, c), b.mul(i, b.tanh(gates["g"])))
    o = b.sigmoid(b.add(gates["o"], b.mul(b.const(b.weights(HIDDEN)), c_next)))
    h_next = b.mul(o, b.tanh(c_next))
    b.set_next(h, h_next)
    b.set_next(c, c_next)
    fused, _ = recognised(b.finish(y=h_next))
    assert ops(fused) == ["lstm"]
    assert fused.shapes[fused.nodes[0].inputs[8]] == (3 * HIDDEN,)


def test_lstm_with_projection() -> None:
    b = Net()
    x, h, c = b.vector("x", INPUT), b.carried("h", 2), b.carried("c")
    gates = dict(zip("ifgo", b.parts(b.product(b.concat([x, h], 0), 4 * HIDDEN), 4), strict=True))
    full, c_next = lstm_step(b, gates, c)
    h_next = b.product(full, 2, bias=False)
    b.set_next(h, h_next)
    b.set_next(c, c_next)
    fused, _ = recognised(b.finish(y=h_next))
    assert ops(fused) == ["lstm"]
    assert fused.shapes[fused.nodes[0].inputs[7]] == (2, HIDDEN)


def test_lstm_with_other_activations() -> None:
    b = Net()
    x, h, c = b.vector("x", INPUT), b.carried("h"), b.carried("c")
    gates = lstm_gates_two(b, x, h, "ifgo")
    i, f, o = (b.unary("hard_sigmoid", gates[k], alpha=0.25) for k in "ifo")
    c_next = b.add(b.mul(f, c), b.mul(i, b.unary("softsign", gates["g"])))
    h_next = b.mul(o, b.tanh(c_next))
    b.set_next(h, h_next)
    b.set_next(c, c_next)
    fused, _ = recognised(b.finish(y=h_next))
    assert ops(fused) == ["lstm"]
    assert fused.nodes[0].attributes == {
        "activations": ["hard_sigmoid", "softsign", "tanh"],
        "alpha": [0.25, 0.0, 0.0],
        "beta": [0.5, 0.0, 0.0],
    }


# -- rnn -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["tanh", "relu"])
@pytest.mark.parametrize("joint", [False, True])
def test_rnn(function: str, joint: bool) -> None:
    b = Net()
    x, h = b.vector("x", INPUT), b.carried("h")
    total = b.product(b.concat([x, h], 0), HIDDEN) if joint else b.add(b.product(x, HIDDEN), b.product(h, HIDDEN))
    h_next = b.unary(function, b.mul(total, b.const(np.float32(0.25))))
    b.set_next(h, h_next)
    fused, _ = recognised(b.finish(y=b.product(h_next, 2)))
    assert ops(fused) == ["rnn", "linear"]


def test_a_head_is_not_an_rnn() -> None:
    b = Net()
    x, h = b.vector("x", INPUT), b.carried("h")
    b.set_next(h, b.tanh(b.product(x, HIDDEN)))
    fused, lines = recognised(b.finish(y=b.tanh(b.add(b.product(x, HIDDEN), b.product(h, HIDDEN)))))
    assert lines == []
    assert "rnn" not in ops(fused)


# -- networks ------------------------------------------------------------------------------------------


def test_stack_over_one_state_tensor() -> None:
    """Two layers whose states are the rows of one state, as exporters write them."""
    b = Net()
    x = b.vector("x", INPUT)
    h = b.state("h_in", b.weights(2, HIDDEN))
    rows = [b.gather(h, 0, np.asarray(k)) for k in range(2)]
    y, nexts = x, []
    for row in rows:
        made = gru_two_products(b, y, row)
        y = BLENDS["n + z(h-n)"](b, made["z"], made["n"], row)
        nexts.append(b.unsqueeze(y, [0]))
    b.set_next(h, b.concat(nexts, 0))
    fused, lines = recognised(b.finish(y=b.product(y, 2)))
    assert len(lines) == 2
    assert ops(fused).count("gru") == 2
    assert set(ops(fused)) == {"gru", "slice", "reshape", "concat", "linear"}


def test_two_inputs_are_joined() -> None:
    b = Net()
    x, a, h = b.vector("x", INPUT), b.vector("a", 2), b.carried("h")
    r, z = (b.sigmoid(b.add(b.product(x, HIDDEN), b.product(a, HIDDEN), b.product(h, HIDDEN))) for _ in range(2))
    n = b.tanh(b.add(b.product(x, HIDDEN), b.mul(r, b.product(h, HIDDEN))))
    h_next = BLENDS["(1-z)n + zh"](b, z, n, h)
    b.set_next(h, h_next)
    fused, _ = recognised(b.finish(y=h_next))
    assert ops(fused) == ["concat", "gru"]


def test_masked_state() -> None:
    """The cell reads h times a mask, a value that is no state itself."""
    b = Net()
    x, mask, state = b.vector("x", INPUT), b.vector("mask", 1), b.carried("h")
    h = b.mul(state, mask)
    made = gru_two_products(b, x, h)
    h_next = BLENDS["(1-z)n + zh"](b, made["z"], made["n"], h)
    b.set_next(state, h_next)
    fused, _ = recognised(b.finish(y=h_next))
    assert ops(fused) == ["mul", "gru"]


def test_cell_after_an_encoder_keeps_the_encoder() -> None:
    b = Net()
    x, h = b.product(b.vector("x", INPUT), 4), b.carried("h")
    made = gru_two_products(b, x, h)
    h_next = BLENDS["(1-z)n + zh"](b, made["z"], made["n"], h)
    b.set_next(h, h_next)
    fused, _ = recognised(b.finish(y=h_next))
    assert ops(fused) == ["linear", "gru"]


# -- what must stay composed ---------------------------------------------------------------------------


def composed(build: Callable[[Net, Sym, Sym], tuple[Sym, dict[str, Sym]]]) -> None:
    b = Net()
    x, h = b.vector("x", INPUT), b.carried("h")
    h_next, outputs = build(b, x, h)
    b.set_next(h, h_next)
    fused, lines = recognised(b.finish(y=h_next, **outputs))
    assert lines == []
    assert not {"gru", "lstm", "rnn"} & set(ops(fused))


def test_gate_that_is_an_output_stays() -> None:
    def build(b: Net, x: Sym, h: Sym) -> tuple[Sym, dict[str, Sym]]:
        made = gru_two_products(b, x, h)
        return BLENDS["(1-z)n + zh"](b, made["z"], made["n"], h), {"gate": made["z"]}

    composed(build)


def test_gate_that_is_read_elsewhere_stays() -> None:
    def build(b: Net, x: Sym, h: Sym) -> tuple[Sym, dict[str, Sym]]:
        made = gru_two_products(b, x, h)
        return BLENDS["(1-z)n + zh"](b, made["z"], made["n"], h), {"other": b.product(made["n"], 2)}

    composed(build)


def test_layer_norm_inside_stays() -> None:
    def build(b: Net, x: Sym, h: Sym) -> tuple[Sym, dict[str, Sym]]:
        total = b.add(b.layer_norm(b.product(x, 2 * HIDDEN), None, None, 1e-5), b.product(h, 2 * HIDDEN))
        r, z = b.parts(b.sigmoid(total), 2)
        n = b.tanh(b.add(b.product(x, HIDDEN), b.mul(r, b.product(h, HIDDEN))))
        return BLENDS["(1-z)n + zh"](b, z, n, h), {}

    composed(build)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda b, z, n, h: b.add(b.mul(z, n), b.mul(z, h)),
        lambda b, z, n, h: b.add(b.mul(b.one_minus(z), h), b.mul(z, h)),
        lambda b, z, n, h: b.add(b.mul(b.sub(b.const(np.float32(2)), z), n), b.mul(z, h)),
        lambda b, z, n, h: b.sub(b.mul(b.one_minus(z), n), b.mul(z, h)),
        lambda b, z, n, h: b.add(b.sub(n, b.mul(z, b.twice(n))), b.mul(z, h)),
        lambda b, z, n, h: b.add(b.sub(n, b.mul(z, n)), b.mul(z, b.twice(h))),
        lambda b, z, n, h: b.add(b.sub(b.twice(n), b.mul(z, n)), b.mul(z, h)),
    ],
)
def test_other_blends_stay(wrong: Blend) -> None:
    def build(b: Net, x: Sym, h: Sym) -> tuple[Sym, dict[str, Sym]]:
        made = gru_two_products(b, x, h)
        return wrong(b, made["z"], made["n"], h), {}

    composed(build)


def test_reset_of_another_activation_stays() -> None:
    def build(b: Net, x: Sym, h: Sym) -> tuple[Sym, dict[str, Sym]]:
        r = b.unary("hard_sigmoid", b.add(b.product(x, HIDDEN), b.product(h, HIDDEN)))
        z = b.sigmoid(b.add(b.product(x, HIDDEN), b.product(h, HIDDEN)))
        n = b.tanh(b.add(b.product(x, HIDDEN), b.mul(r, b.product(h, HIDDEN))))
        return BLENDS["(1-z)n + zh"](b, z, n, h), {}

    composed(build)


def test_flipped_gate_that_is_not_a_sigmoid_stays() -> None:
    """sigmoid(-a) = 1 - sigmoid(a) is what allows the flip; relu has no such rule."""

    def build(b: Net, x: Sym, h: Sym) -> tuple[Sym, dict[str, Sym]]:
        scale = b.const(np.float32(1 / 16))
        r, z = (b.unary("relu", b.mul(b.add(b.product(x, HIDDEN), b.product(h, HIDDEN)), scale)) for _ in range(2))
        n = b.tanh(b.add(b.product(x, HIDDEN), b.mul(r, b.product(h, HIDDEN))))
        return BLENDS["zn + (1-z)h"](b, z, n, h), {}

    composed(build)


@pytest.mark.parametrize("extra", ["h outside the product", "x inside the product", "two products"])
def test_candidate_of_another_form_stays(extra: str) -> None:
    def build(b: Net, x: Sym, h: Sym) -> tuple[Sym, dict[str, Sym]]:
        r, z = (b.sigmoid(b.add(b.product(x, HIDDEN), b.product(h, HIDDEN))) for _ in range(2))
        outside, inside = b.product(x, HIDDEN), b.product(h, HIDDEN)
        if extra == "h outside the product":
            outside = b.add(outside, b.product(h, HIDDEN))
        elif extra == "two products":
            outside = b.add(outside, b.mul(b.sigmoid(b.product(x, HIDDEN)), b.product(h, HIDDEN)))
        else:
            inside = b.add(inside, b.product(x, HIDDEN))
        return BLENDS["(1-z)n + zh"](b, z, b.tanh(b.add(outside, b.mul(r, inside))), h), {}

    composed(build)


@pytest.mark.parametrize("wrong", ["forget activation", "c' sign", "h' scale"])
def test_other_lstms_stay(wrong: str) -> None:
    b = Net()
    x, h, c = b.vector("x", INPUT), b.carried("h"), b.carried("c")
    gates = lstm_gates_two(b, x, h, "ifgo")
    i, o = b.sigmoid(gates["i"]), b.sigmoid(gates["o"])
    f = b.unary("hard_sigmoid" if wrong == "forget activation" else "sigmoid", gates["f"])
    joining = b.sub if wrong == "c' sign" else b.add
    c_next = joining(b.mul(f, c), b.mul(i, b.tanh(gates["g"])))
    squashed = b.tanh(c_next)
    h_next = b.mul(o, b.twice(squashed) if wrong == "h' scale" else squashed)
    b.set_next(h, h_next)
    b.set_next(c, c_next)
    fused, lines = recognised(b.finish(y=h_next))
    assert lines == []
    assert "lstm" not in ops(fused)


@pytest.mark.parametrize("first", ["x", "h"])
def test_state_is_told_from_an_input_of_its_size(first: str) -> None:
    """W x + U h is symmetric; only a state's product can be computed ahead of the input."""
    b = Net()
    x, h, c = b.vector("x", HIDDEN), b.carried("h"), b.carried("c")
    parts = [x, h] if first == "x" else [h, x]
    h_next, c_next = lstm_step(b, lstm_gates_joint(b, parts, HIDDEN, "ifgo"), c)
    b.set_next(h, h_next)
    b.set_next(c, c_next)
    fused, _ = recognised(b.finish(y=h_next))
    assert fused.nodes[0].inputs[:3] == ["x", "h", "c"]


def test_cell_over_rows() -> None:
    """Values of shape (1, size), as an importer that kept the batch axis would leave them."""
    rng = np.random.default_rng(0)
    draft = Draft()
    size = 3 * HIDDEN
    x, h = draft.add_input("x", (1, INPUT)), draft.add_state("h", (1, HIDDEN), rng.normal(size=HIDDEN))

    def node(op: str, *inputs: str, **attributes: Any) -> str:
        shape = (1, size) if op == "linear" else (1, HIDDEN)
        return draft.add_node(op, list(inputs), [shape], attributes)[0]

    parts = []
    for source in (x, h):
        weight = draft.add_tensor(rng.integers(-8, 9, (size, draft.shapes[source][1])) / 16, "weight")
        total = node("linear", source, weight)
        ends = range(0, size, HIDDEN)
        parts.append([node("slice", total, axis=1, start=k, stop=k + HIDDEN, step=1) for k in ends])
    (i_r, i_z, i_n), (h_r, h_z, h_n) = parts
    r, z = node("sigmoid", node("add", i_r, h_r)), node("sigmoid", node("add", i_z, h_z))
    n = node("tanh", node("add", i_n, node("mul", r, h_n)))
    following = node("add", n, node("mul", z, node("sub", h, n)))
    draft.states["h"].next = draft.outputs["y"] = following
    fused, lines = recognised(draft)
    assert len(lines) == 1
    assert set(ops(fused)) == {"gru", "reshape"}


def test_input_that_depends_on_the_cell_itself_stays() -> None:
    """The output gate reads a product with c': fusing would make the node its own input."""
    b = Net()
    x, h, c = b.vector("x", INPUT), b.carried("h"), b.carried("c")
    gates = lstm_gates_two(b, x, h, "ifgo")
    c_next = b.add(b.mul(b.sigmoid(gates["f"]), c), b.mul(b.sigmoid(gates["i"]), b.tanh(gates["g"])))
    o = b.sigmoid(b.add(gates["o"], b.product(b.unary("softsign", c_next), HIDDEN)))
    h_next = b.mul(o, b.tanh(c_next))
    b.set_next(h, h_next)
    b.set_next(c, c_next)
    _, lines = recognised(b.finish(y=h_next))
    assert lines == []


def test_networks_without_cells_are_cleaned_up_too() -> None:
    b = Net()
    draft = b.finish(y=b.add(b.product(b.vector("x", INPUT), HIDDEN), b.const(b.weights(HIDDEN))))
    fused, lines = recognised(draft)
    assert lines == []
    assert ops(fused) == ["linear"]


# -- cleanup -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["add", "sub"])
def test_constant_after_a_product_becomes_its_bias(op: str) -> None:
    b = Net()
    product = b.product(b.vector("x", INPUT), HIDDEN)
    draft = b.finish(y=b.binary(op, product, b.const(b.weights(HIDDEN))))
    before = trajectory(draft)
    assert cleanup(draft) == 1
    assert ops(draft) == ["linear"]
    np.testing.assert_allclose(trajectory(draft)["y"], before["y"], atol=1e-12)


def test_constant_minus_a_product_stays() -> None:
    b = Net()
    product = b.product(b.vector("x", INPUT), HIDDEN)
    draft = b.finish(y=b.sub(b.const(b.weights(HIDDEN)), product))
    assert cleanup(draft) == 0


def test_constant_per_row_is_no_bias() -> None:
    b = Net()
    product = b.linear(b.input("x", (5, INPUT)), b.weights(5, INPUT))
    draft = b.finish(y=b.add(product, b.const(b.weights(5, 1))))
    before = trajectory(draft)
    assert cleanup(draft) == 0
    np.testing.assert_array_equal(trajectory(draft)["y"], before["y"])


@pytest.mark.parametrize(("op", "neutral"), [("sub", 0), ("div", 1), ("pow", 1)])
def test_neutral_constant_on_the_left_stays(op: str, neutral: float) -> None:
    b = Net()
    draft = b.finish(y=b.binary(op, b.const(np.full(3, neutral, np.float32)), b.vector("x", 3)))
    assert cleanup(draft) == 0
    assert ops(draft) == [op]


def test_product_that_is_read_twice_keeps_its_sum() -> None:
    b = Net()
    product = b.product(b.vector("x", INPUT), HIDDEN)
    draft = b.finish(y=b.add(product, b.const(b.weights(HIDDEN))), z=b.tanh(product))
    assert cleanup(draft) == 0


def test_operations_that_do_nothing_go() -> None:
    b = Net()
    x: Any = b.input("x", (2, 3))
    y = b.binary("mul", x, b.const(np.float32(1)))
    y = b.binary("div", b.binary("add", y, b.const(np.zeros(3))), b.const(np.ones((2, 1))))
    y = b.reshape(b.reshape(b.reshape(y, (6,)), (3, 2)), (2, 3))
    draft = b.finish(y=b.unary("tanh", b.unary("affine", y, alpha=1.0, beta=0.0)))
    cleanup(draft)
    assert ops(draft) == ["tanh"]


def test_neutral_constant_that_broadcasts_stays() -> None:
    b = Net()
    draft = b.finish(y=b.binary("mul", b.vector("x", 3), b.const(np.ones((2, 3)))))
    assert cleanup(draft) == 0
    assert draft.shapes[draft.outputs["y"]] == (2, 3)
