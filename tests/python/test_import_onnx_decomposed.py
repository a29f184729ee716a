"""Cells that converters write out as products, splits, activations and sums, each beside a twin that differs in one operand.

The forms are those of TensorFlow's BasicLSTMCell and GRUCell, Keras' LSTM and GRU as tf2onnx and keras2onnx leave them, and
torch's cells. The cell becomes one node; the twin must stay as it is, or it would run and be wrong.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="reading ONNX files needs the onnx package")
pytest.importorskip("onnxruntime", reason="the comparison needs onnxruntime")

from onnx import helper  # noqa: E402
from onnx_models import compare_steps, load_quietly, model  # noqa: E402

H, N = 6, 4


class Net:
    """Nodes written as ``net("Add", "a b", "c")``, weights made on first use by their shape."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(11)
        self.nodes: list[Any] = []
        self.weights: dict[str, np.ndarray] = {"one": np.float32(1), "axis": np.array([1])}

    def __call__(self, kind: str, inputs: str, outputs: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(kind, inputs.split(), outputs.split(), **attributes))

    def weight(self, name: str, *shape: int) -> str:
        self.weights[name] = (0.5 * self.rng.standard_normal(shape)).astype(np.float32)
        return name

    def split(self, value: str, parts: str, sizes: bool = True) -> None:
        """By Split with sizes, or as one Slice for each part."""
        names = parts.split()
        if sizes:
            self.weights["sizes"] = np.array([H] * len(names))
            self("Split", f"{value} sizes", parts, axis=1)
            return
        for i, name in enumerate(names):
            self.weights[f"at{i}"], self.weights[f"at{i + 1}"] = np.array([i * H]), np.array([(i + 1) * H])
            self("Slice", f"{value} at{i} at{i + 1} axis", name)

    def lstm_tail(self, i: str, f: str, g: str, o: str, act: str = "Tanh", c: str = "c_in", out: str = "c_out") -> None:
        """From the activated gates to h and c; `c` and `out` are what a twin reads in their place."""
        self("Mul", f"{c} {f}", "kept")
        self("Mul", f"{i} {g}", "added")
        self("Add", "kept added", "c_out")
        self(act, out, "shown")
        self("Mul", f"{o} shown", "h_out")

    def gates(self, names: str, act: str = "Sigmoid", **attributes: Any) -> None:
        for name in names.split():
            self(act, name, f"{name}_", **attributes)

    def proto(self, states: str) -> Any:
        self("MatMul", f"h_out {self.weight('V', H, 2)}", "y")
        inputs = {"x": [1, N]} | {f"{s}_in": [1, H] for s in states.split()}
        outputs = {"y": None} | {f"{s}_out": None for s in states.split()}
        return model(self.nodes, inputs, outputs, self.weights)


def tensorflow_lstm(twin: str = "", order: str = "i g f o", forget: float = 1.0) -> Any:
    """``concat([x, h]) @ kernel + bias``, gates i, j, f, o, and a forget bias of its own."""
    net = Net()
    net.weights["forget"] = np.float32(forget)
    net("Concat", "x h_in", "xh", axis=1)
    net("MatMul", f"xh {net.weight('K', N + H, 4 * H)}", "m")
    net("Add", f"m {net.weight('b', 4 * H)}", "z")
    net.split("z", order)
    net("Add", "f forget", "f1")
    net.gates("i f1 o")
    net("Sigmoid" if twin == "candidate by a sigmoid of the gate" else "Tanh", "i" if twin.startswith("candidate") else "g", "g_")
    if twin == "output of the old cell state":
        net.lstm_tail("i_", "f1_", "g_", "o_", out="c_in")
    elif twin == "forget gate on the sum":
        net("Add", "c_in h_in", "sum")
        net.lstm_tail("i_", "f1_", "g_", "o_", c="sum")
    else:
        net.lstm_tail("i_", "f1_", "g_", "o_")
    return net.proto("h c")


def keras_lstm(twin: str = "", act: str = "Sigmoid", **attributes: Any) -> Any:
    """``x @ kernel + h @ recurrent_kernel + bias``, gates i, f, c, o by slices."""
    net = Net()
    net("MatMul", f"x {net.weight('K', N, 4 * H)}", "zx")
    net("MatMul", f"h_in {net.weight('R', H, 4 * H)}", "zh")
    net("Add", "zx zh", "zz")
    net("Add", f"zz {net.weight('b', 4 * H)}", "z")
    net.split("z", "i f g o", sizes=False)
    net.gates("i f o", act, **attributes)
    if twin == "another activation for f":
        net("HardSigmoid", "f", "f_other")
    net("Tanh", "g", "g_")
    net.lstm_tail("i_", "f_other" if twin == "another activation for f" else "f_", "g_", "o_")
    return net.proto("h c")


def gemm_lstm(twin: str = "", biases: int = 2) -> Any:
    """torch's LSTMCell: two Gemms with a bias each."""
    net = Net()
    net("Gemm", f"x {net.weight('K', 4 * H, N)} {net.weight('b', 4 * H)}", "zx", transB=1)
    net("Gemm", f"h_in {net.weight('R', 4 * H, H)}" + (f" {net.weight('c', 4 * H)}" if biases > 1 else ""), "zh", transB=1)
    net("Mul" if twin == "gates multiplied" else "Add", "zx zh", "z")
    net.split("z", "i f g o")
    net.gates("i f o")
    net("Tanh", "g", "g_")
    net.lstm_tail("i_", "f_", "g_", "o_")
    return net.proto("h c")


def peephole_lstm(twin: str = "") -> Any:
    net = Net()
    net("Concat", "x h_in", "xh", axis=1)
    net("Gemm", f"xh {net.weight('K', N + H, 4 * H)} {net.weight('b', 4 * H)}", "z")
    net.split("z", "i f g o")
    for gate, source in (("i", "c_in"), ("f", "h_in" if twin == "f looks at h" else "c_in")):
        net("Mul", f"{source} {net.weight(f'p{gate}', H)}", f"look{gate}")
        net("Add", f"{gate} look{gate}", f"{gate}p")
    net.gates("ip fp")
    net("Tanh", "g", "g_")
    net("Mul", "c_in fp_", "kept")
    net("Mul", "ip_ g_", "added")
    net("Add", "kept added", "c_out")
    net("Mul", f"{'c_in' if twin == 'o looks at the old state' else 'c_out'} {net.weight('po', H)}", "looko")
    net("Add", "o looko", "op")
    net.gates("op")
    net("Tanh", "c_out", "shown")
    net("Mul", "op_ shown", "h_out")
    return net.proto("h c")


def coupled_lstm(twin: str = "", by_forget: bool = False) -> Any:
    """One gate: f = 1 - i, or i = 1 - f."""
    net = Net()
    net("Concat", "x h_in", "xh", axis=1)
    net("Gemm", f"xh {net.weight('K', N + H, 4 * H)} {net.weight('b', 4 * H)}", "z")
    net.split("z", "i f g o")
    net.gates("i f o")
    net("Tanh", "g", "g_")
    net("Sub", "one f_" if twin == "f = 1 - another gate" else "one i_", "rest")
    if twin == "f = 2 - i":
        net.weights["one"] = np.float32(2)
    net.lstm_tail(*(("rest", "i_") if by_forget else ("i_", "rest")), "g_", "o_")
    return net.proto("h c")


def tensorflow_gru(twin: str = "") -> Any:
    """``[r, u] = sigmoid(concat([x, h]) @ gates)``, the candidate of ``r * h``, ``u * h + (1 - u) * c``."""
    net = Net()
    net("Concat", "x h_in", "xh", axis=1)
    net("Gemm", f"xh {net.weight('G', N + H, 2 * H)} {net.weight('b', 2 * H)}", "z")
    net("Sigmoid", "z", "z_")
    net.split("z_", "r u")
    net("Mul", "u h_in" if twin == "reset by the update gate" else "r h_in", "rh")
    net("Concat", "x rh", "xrh", axis=1)
    net("Gemm", f"xrh {net.weight('C', N + H, H)} {net.weight('bc', H)}", "n")
    net("Tanh", "n", "n_")
    net("Mul", "u rh" if twin == "blend with r * h" else "u h_in", "kept")
    net("Sub", "one u", "u1")
    net("Mul", "u1 n_", "new")
    net("Add", "kept new", "h_out")
    return net.proto("h")


def keras_gru(twin: str = "") -> Any:
    """``reset_after``: two biases, gates z, r, h."""
    net = Net()
    net("Gemm", f"x {net.weight('K', N, 3 * H)} {net.weight('b', 3 * H)}", "ax")
    net("Gemm", f"h_in {net.weight('R', H, 3 * H)} {net.weight('c', 3 * H)}", "ah")
    net.split("ax", "xz xr xn")
    net.split("ah", "hz hr hn")
    net("Add", "xz hz", "z")
    net("Add", "xr hz" if twin == "r of another row" else "xr hr", "r")
    net.gates("z r")
    net("Mul", "r_ hn", "rn")
    net("Add", "xn rn", "n")
    net("Tanh", "n", "n_")
    if twin == "reset of the whole candidate":
        net("Mul", "n_ r_", "nr")
    net("Mul", "z_ h_in", "kept")
    net("Sub", "one z_", "z1")
    net("Mul", "z1 nr" if twin == "reset of the whole candidate" else "z1 n_", "new")
    net("Add", "kept new", "h_out")
    return net.proto("h")


HARD = {
    "activations": ["hard_sigmoid", "tanh", "tanh"],
    "alpha": [pytest.approx(0.2), 0.0, 0.0],
    "beta": [pytest.approx(0.5), 0.0, 0.0],
}
CELLS: list[tuple[Any, dict[str, Any], str, dict[str, Any]]] = [
    (tensorflow_lstm, {}, "lstm", {}),
    (tensorflow_lstm, {"order": "o f i g", "forget": 0.0}, "lstm", {}),
    (keras_lstm, {}, "lstm", {}),
    (keras_lstm, {"act": "HardSigmoid", "alpha": 0.2, "beta": 0.5}, "lstm", HARD),
    (gemm_lstm, {}, "lstm", {}),
    (gemm_lstm, {"biases": 1}, "lstm", {}),
    (peephole_lstm, {}, "lstm", {}),
    (coupled_lstm, {}, "lstm", {"input_forget": 1}),
    (coupled_lstm, {"by_forget": True}, "lstm", {"input_forget": 1}),
    (tensorflow_gru, {}, "gru", {"reset": "before"}),
    (keras_gru, {}, "gru", {}),
]
TWINS = [
    (tensorflow_lstm, "output of the old cell state"),
    (tensorflow_lstm, "forget gate on the sum"),
    (keras_lstm, "another activation for f"),
    (gemm_lstm, "gates multiplied"),
    (peephole_lstm, "f looks at h"),
    (peephole_lstm, "o looks at the old state"),
    (coupled_lstm, "f = 1 - another gate"),
    (coupled_lstm, "f = 2 - i"),
    (tensorflow_gru, "blend with r * h"),
    (keras_gru, "reset of the whole candidate"),
]


def check(proto: Any) -> list[Any]:
    pairs = {i.name: i.name.replace("in", "out") for i in proto.graph.input if i.name != "x"}
    draft = load_quietly(proto)
    assert list(draft.outputs) == ["y"]
    assert set(draft.states) == set(pairs)
    compare_steps(draft, proto, {"x": (1, N)}, pairs=pairs, steps=12)
    return draft.nodes


@pytest.mark.parametrize(("write", "options", "kind", "attributes"), CELLS)
def test_cell(write: Any, options: Any, kind: str, attributes: Any) -> None:
    nodes = check(write(**options))
    assert [node.op for node in nodes] == [kind, "linear"]
    assert nodes[0].attributes == attributes


@pytest.mark.parametrize(("write", "twin"), TWINS)
def test_twin(write: Any, twin: str) -> None:
    assert not {"lstm", "gru", "rnn"} & {node.op for node in check(write(twin))}


def renamed(proto: Any, names: dict[str, str]) -> Any:
    """`proto` with inputs and outputs under other names."""
    for n in proto.graph.node:
        for values in (n.input, n.output):
            values[:] = [names.get(value, value) for value in values]
    for value in (*proto.graph.input, *proto.graph.output):
        value.name = names.get(value.name, value.name)
    return proto


@pytest.mark.parametrize("write", [tensorflow_lstm, keras_lstm, peephole_lstm, coupled_lstm])
@pytest.mark.parametrize("names", ["alpha beta gamma delta", "in_0 in_1 out_1 out_0"])
def test_states_of_one_shape_are_told_apart_by_the_cell(write: Any, names: str) -> None:
    """Neither names nor shapes say which of two outputs is the next h and which the next c."""
    h, c, h_next, c_next = names.split()
    proto = renamed(write(), {"h_in": h, "c_in": c, "h_out": h_next, "c_out": c_next})
    draft = load_quietly(proto)
    assert [n.op for n in draft.nodes] == ["lstm", "linear"]
    compare_steps(draft, proto, {"x": (1, N)}, pairs={h: h_next, c: c_next}, steps=12)


def test_twins_that_are_cells_of_another_kind() -> None:
    """Rows taken twice are another matrix; whichever form is found, it computes the same."""
    check(keras_gru("r of another row"))
    check(tensorflow_gru("reset by the update gate"))
    check(tensorflow_lstm("candidate by a sigmoid of the gate"))


def test_large_graphs_load_in_seconds() -> None:
    """2000 layers of five nodes, and 40 cells one behind the other."""
    net = Net()
    previous = "x"
    for i in range(2000):
        net("MatMul", f"{previous} {net.weight(f'w{i % 5}', N, N)}", f"m{i}")
        net("Add", f"m{i} {net.weight(f'b{i}', N)}", f"a{i}")
        net("Sigmoid", f"a{i}", f"s{i}")
        net("Mul", f"s{i} a{i}", f"u{i}")
        net("Add", f"u{i} {previous}", f"y{i}")
        previous = f"y{i}"
    deep = model(net.nodes, {"x": [1, N]}, {previous: None}, net.weights)
    net = Net()
    previous = "x"
    for i in range(40):
        size = N if i == 0 else H
        net("Gemm", f"{previous} {net.weight(f'K{i}', size, 3 * H)} {net.weight(f'b{i}', 3 * H)}", f"ax{i}")
        net("Gemm", f"h{i} {net.weight(f'R{i}', H, 3 * H)} {net.weight(f'c{i}', 3 * H)}", f"ah{i}")
        net.split(f"ax{i}", f"xz{i} xr{i} xn{i}")
        net.split(f"ah{i}", f"hz{i} hr{i} hn{i}")
        net("Add", f"xz{i} hz{i}", f"z{i}")
        net("Add", f"xr{i} hr{i}", f"r{i}")
        net.gates(f"z{i} r{i}")
        net("Mul", f"r{i}_ hn{i}", f"rn{i}")
        net("Add", f"xn{i} rn{i}", f"n{i}")
        net("Tanh", f"n{i}", f"n{i}_")
        net("Sub", f"h{i} n{i}_", f"d{i}")
        net("Mul", f"z{i}_ d{i}", f"e{i}")
        net("Add", f"n{i}_ e{i}", f"h{i}_out")
        previous = f"h{i}_out"
    net("MatMul", f"{previous} {net.weight('V', H, 2)}", "y")
    inputs = {"x": [1, N]} | {f"h{i}": [1, H] for i in range(40)}
    cells = model(net.nodes, inputs, {"y": None} | {f"h{i}_out": None for i in range(40)}, net.weights)
    start = time.process_time()
    assert len(load_quietly(deep).build().nodes) == 8000
    draft = load_quietly(cells, states={f"h{i}": f"h{i}_out" for i in range(40)})
    assert [node.op for node in draft.nodes] == ["gru"] * 40 + ["linear"]
    assert time.process_time() - start < 15, "seconds of processor time; about 5 when this was written"
