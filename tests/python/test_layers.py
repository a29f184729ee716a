"""Networks from plain arrays, against PyTorch's modules in float64 and the second implementation of the Graph."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine import EPS
from reference import Evaluator

import rtrnn
from rtrnn import UnsupportedError

I, H, T = 5, 8, 30  # noqa: E741
RNG = np.random.default_rng(8)
XS = RNG.standard_normal((T, I)).astype(np.float32)


def weights(gates: int, hidden: int = H, size: int = I, recurrent: int | None = None) -> list[np.ndarray]:
    """weight_ih, weight_hh, bias_ih, bias_hh."""
    shapes = [(gates * hidden, size), (gates * hidden, recurrent or hidden), (gates * hidden,), (gates * hidden,)]
    return [RNG.uniform(-0.5, 0.5, shape).astype(np.float32) for shape in shapes]


def reordered(array: np.ndarray, have: str, want: str) -> np.ndarray:
    """Rows in blocks `have`, put in the order `want`."""
    blocks = dict(zip(have, np.split(array, len(have)), strict=True))
    return np.concatenate([blocks[letter] for letter in want])


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def outputs(model: rtrnn.Model, xs: np.ndarray = XS) -> np.ndarray:
    stream = model.stream()
    return np.array([stream.step(x) for x in xs])


def agrees(model: rtrnn.Model, expected: np.ndarray, xs: np.ndarray = XS) -> None:
    assert np.abs(outputs(model, xs) - expected).max() <= 4e-7 * max(1.0, np.abs(expected).max())


# -- the equations, written out in float64 -------------------------------------------------------------


def gru(w: list[np.ndarray], reset: str = "after", h: Any = None) -> np.ndarray:
    (wr, wz, wn), (ur, uz, un), (br, bz, bn), (dr, dz, dn) = (np.split(a.astype(np.float64), 3) for a in w)
    h = np.zeros(H) if h is None else h
    ys = []
    for x in XS.astype(np.float64):
        r, z = sigmoid(wr @ x + br + ur @ h + dr), sigmoid(wz @ x + bz + uz @ h + dz)
        inner = r * (un @ h + dn) if reset == "after" else un @ (r * h) + dn
        n = np.tanh(wn @ x + bn + inner)
        h = (1 - z) * n + z * h
        ys.append(h)
    return np.array(ys)


def lstm(w: list[np.ndarray], hr: Any = None, peephole: Any = None, h: Any = None, c: Any = None) -> np.ndarray:
    (wi, wf, wg, wo), (ui, uf, ug, uo), (bi, bf, bg, bo), (di, df, dg, do) = (np.split(a.astype(np.float64), 4) for a in w)
    pi, pf, po = np.zeros((3, H)) if peephole is None else np.split(peephole.astype(np.float64), 3)
    h = np.zeros(w[1].shape[1]) if h is None else h
    c = np.zeros(H) if c is None else c
    ys = []
    for x in XS.astype(np.float64):
        i = sigmoid(wi @ x + bi + ui @ h + di + pi * c)
        f = sigmoid(wf @ x + bf + uf @ h + df + pf * c)
        g = np.tanh(wg @ x + bg + ug @ h + dg)
        c = f * c + i * g
        o = sigmoid(wo @ x + bo + uo @ h + do + po * c)
        h = o * np.tanh(c)
        h = h if hr is None else hr.astype(np.float64) @ h
        ys.append(h)
    return np.array(ys)


@pytest.mark.parametrize("reset", ["after", "before"])
@pytest.mark.parametrize("order", ["rzn", "zrn", "zrh", "nzr"])
def test_gru(order: str, reset: str) -> None:
    w = weights(3)
    stored = [reordered(a, "rzn", order.replace("h", "n")) for a in w]
    agrees(rtrnn.GRU(*stored, gate_order=order, reset=reset), gru(w, reset))


@pytest.mark.parametrize("order", ["ifgo", "ifco", "iofc", "ijfo", "ogfi"])
def test_lstm(order: str) -> None:
    w = weights(4)
    stored = [reordered(a, "ifgo", order.replace("c", "g").replace("j", "g")) for a in w]
    agrees(rtrnn.LSTM(*stored, gate_order=order), lstm(w))


def test_lstm_with_projection_peepholes_and_initial_states() -> None:
    w = weights(4, recurrent=3)
    hr, peephole = RNG.standard_normal((3, H)).astype(np.float32), RNG.standard_normal(3 * H).astype(np.float32)
    h, c = RNG.standard_normal(3).astype(np.float32), RNG.standard_normal(H).astype(np.float32)
    model = rtrnn.LSTM(*w, weight_hr=hr, peephole=peephole, initial_h=h, initial_c=c)
    agrees(model, lstm(w, hr, peephole, h, c))
    assert model.states == {"h": (3,), "c": (H,)}


@pytest.mark.parametrize(("name", "function"), [("tanh", np.tanh), ("relu", lambda x: np.maximum(x, 0))])
def test_rnn(name: str, function: Callable[[Any], Any]) -> None:
    w = weights(1)
    h, ys = np.zeros(H), []
    for x in XS.astype(np.float64):
        h = function(w[0] @ x + w[2] + w[1] @ h + w[3])
        ys.append(h)
    agrees(rtrnn.RNN(*w, activation=name), np.array(ys))


def test_gru_without_bias_and_with_an_initial_state() -> None:
    w = weights(3)
    zero = np.zeros(3 * H)
    first = RNG.standard_normal(H).astype(np.float32)
    agrees(rtrnn.GRU(w[0], w[1], initial_h=first), gru([w[0], w[1], zero, zero], h=first))


@pytest.mark.parametrize(
    "model",
    [
        rtrnn.GRU(*weights(3), activations=("hard_swish", "softsign")),
        rtrnn.LSTM(*weights(4), activations=("sigmoid", "elu", "leaky_relu")),
        rtrnn.RNN(*weights(1), activation="softplus"),
        rtrnn.GRU(*weights(3), activations=("relu6", "linear")),
    ],
)
def test_other_activations(model: rtrnn.Model) -> None:
    """The Graph says what the argument says, and the engine computes what the Graph says."""
    evaluator = Evaluator(model)
    expected = np.array([evaluator.step({"x": x})["y"] for x in XS[:8]])
    np.testing.assert_allclose(outputs(model, XS[:8]), expected, rtol=20 * EPS, atol=20 * EPS)


def test_activations_reach_the_gates() -> None:
    w = weights(3)
    (node,) = rtrnn.GRU(*w, activations=("relu", "Soft Sign")).graph.nodes
    assert node.attributes["activations"] == ["relu", "softsign"]
    (node,) = rtrnn.GRU(*w, activations=("Sigmoid", "Tanh")).graph.nodes
    assert "activations" not in node.attributes


def test_linear_normalizer_layer_norm() -> None:
    matrix, bias = RNG.standard_normal((3, I)).astype(np.float32), RNG.standard_normal(3).astype(np.float32)
    agrees(rtrnn.Linear(matrix, bias), XS.astype(np.float64) @ matrix.T + bias)
    agrees(rtrnn.Linear(matrix.tolist()), XS.astype(np.float64) @ matrix.T)
    mean, std = np.linspace(-1, 1, I), np.linspace(1, 2, I)
    scaled = (XS.astype(np.float64) - mean) / (std + 0.01)
    agrees(rtrnn.Normalizer(mean, std, 0.01), scaled)
    agrees(rtrnn.Normalizer(mean, std, 0.01, clip=0.5), scaled.clip(-0.5, 0.5))
    scale, offset = np.float32(mean + 3), np.float32(std)
    centred = XS.astype(np.float64) - XS.mean(1, keepdims=True, dtype=np.float64)
    expected = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-3) * scale + offset
    agrees(rtrnn.LayerNorm(scale, offset, eps=1e-3), expected)


# -- Sequential ----------------------------------------------------------------------------------------


def policy() -> tuple[rtrnn.Sequential, np.ndarray]:
    """A network of every kind of layer, and its outputs in float64 by PyTorch."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.manual_seed(9)
    layers = [torch.nn.GRU(I, H, 2), torch.nn.LSTM(H, 6), torch.nn.LayerNorm(6), torch.nn.Linear(6, 4)]
    mean, std = np.linspace(-1, 1, I), np.linspace(1, 2, I)
    p = [{k: v.detach().numpy() for k, v in layer.state_dict().items()} for layer in layers]
    roles = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    model = rtrnn.Sequential(
        rtrnn.Normalizer(mean, std, 0.01),
        rtrnn.GRU(*(p[0][f"{r}_l0"] for r in roles)),
        rtrnn.GRU(*(p[0][f"{r}_l1"] for r in roles)),
        rtrnn.LSTM(*(p[1][f"{r}_l0"] for r in roles)),
        rtrnn.LayerNorm(p[2]["weight"], p[2]["bias"]),
        "elu",
        rtrnn.Linear(p[3]["weight"], p[3]["bias"]),
        rtrnn.Activation("elu", alpha=0.3),
    )
    with torch.no_grad():
        x = torch.tensor((XS.astype(np.float64) - mean) / (std + 0.01))
        for layer in layers[:2]:
            x = layer.double()(x)[0]
        x = torch.nn.functional.elu(layers[2].double()(x))
        return model, torch.nn.functional.elu(layers[3].double()(x), 0.3).numpy()


def test_sequential() -> None:
    model, expected = policy()
    agrees(model, expected)
    assert list(model.states) == ["1.h", "2.h", "3.h", "3.c"]
    assert model.outputs == {"y": (4,)}


def test_saved_and_pickled(tmp_path: Path) -> None:
    model, _ = policy()
    model.save(tmp_path / "policy.rtrnn")
    ys = outputs(model)
    for other in (rtrnn.load(tmp_path / "policy.rtrnn"), pickle.loads(pickle.dumps(model))):
        assert type(other) is rtrnn.Model
        np.testing.assert_array_equal(outputs(other), ys)


def test_sequential_of_loaded_models(foreign: Path) -> None:
    """An ONNX policy between layers made here: its metadata, warnings and outputs stay."""
    loaded = rtrnn.load(foreign)
    loaded.set_metadata("joint_names", "a,b")
    head = rtrnn.Linear(np.eye(*(2 * (next(iter(loaded.outputs.values()))[0],))) * 2)
    model = rtrnn.Sequential(loaded, head, "tanh")
    xs = RNG.standard_normal((T, *next(iter(loaded.inputs.values())))).astype(np.float32)
    agrees(model, np.tanh(2.0 * outputs(loaded, xs).astype(np.float64)), xs)
    assert list(model.inputs) == list(loaded.inputs)
    assert model.metadata["joint_names"] == "a,b"
    assert model.metadata["0.source.format"] == "onnx"
    assert list(model.states) == [f"0.{name}" for name in loaded.states]


def test_sequential_keeps_initial_states_warnings_and_metadata() -> None:
    first = rtrnn.GRU(*weights(3), initial_h=np.linspace(0.5, 1, H))
    first.set_metadata("rate", "50")
    second = rtrnn.Model(rtrnn.GRU(*weights(3, H, H)).graph, ["beware"])
    second.set_metadata("rate", "60")
    inner = rtrnn.Sequential(first, second)
    assert inner.warnings == ("layer 1: beware",)
    assert {k: v for k, v in inner.metadata.items() if "rate" in k} == {"0.rate": "50", "1.rate": "60"}
    model = rtrnn.Sequential(inner, "relu")
    assert list(model.states) == ["0.0.h", "0.1.h"]
    np.testing.assert_array_equal(model.initial_state["0.0.h"], np.linspace(0.5, 1, H, dtype=np.float32))
    assert model.parameters == first.parameters + second.parameters
    agrees(model, np.maximum(outputs(second, outputs(first)).astype(np.float64), 0))


def test_one_layer_twice_is_two_states() -> None:
    layer = rtrnn.GRU(*weights(3, H, H))
    xs = RNG.standard_normal((T, H)).astype(np.float32)
    agrees(rtrnn.Sequential(layer, layer), outputs(layer, outputs(layer, xs)).astype(np.float64), xs)


# -- refused -------------------------------------------------------------------------------------------

W3, W4 = weights(3), weights(4)
NAN = np.where(np.arange(3 * H * I).reshape(3 * H, I) == 7, np.nan, W3[0])

REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: rtrnn.GRU(*W3, gate_order="rz"), "gate_order is 'rz'; expected the letters of a GRU, 'rzn', in any order"),
    (lambda: rtrnn.LSTM(*W4, gate_order="ifff"), "gate_order is 'ifff'"),
    (lambda: rtrnn.GRU(*W3, reset="during"), "reset is 'during'; expected 'after'"),
    (lambda: rtrnn.GRU(NAN, W3[1]), r"weight_ih is nan at \(1, 2\)"),
    (lambda: rtrnn.GRU(W3[0].T, W3[1]), r"weight_ih has shape \(5, 24\); expected \(24, input\).*pass weight_ih\.T"),
    (lambda: rtrnn.GRU(W3[0].T, W3[1].T), r"weight_hh has shape \(8, 24\); expected \(3 \* hidden, hidden\).*pass weight_hh\.T"),
    (lambda: rtrnn.LSTM(W4[0].T, W4[1].T), r"Keras keeps recurrent kernels: pass weight_hh\.T and weight_ih\.T"),
    (lambda: rtrnn.GRU(*W4), r"weight_hh has shape \(32, 8\); expected \(3 \* hidden, hidden\)"),
    (lambda: rtrnn.GRU(W3[0][:23], W3[1]), r"weight_ih has shape \(23, 5\); expected \(24, input\)"),
    (lambda: rtrnn.GRU(*W3[:3], W3[3][:23]), r"bias_hh has shape \(23,\); expected \(24,\)"),
    (lambda: rtrnn.GRU(*W3[:2], W3[2][None]), r"bias_ih has shape \(1, 24\); expected a vector"),
    (lambda: rtrnn.GRU(*W3, initial_h=np.zeros(7)), r"initial_h has shape \(7,\); expected \(8,\)"),
    (lambda: rtrnn.LSTM(*W4, initial_c=np.zeros(7)), r"initial_c has shape \(7,\)"),
    (lambda: rtrnn.LSTM(*W4, peephole=np.zeros(8)), r"peephole has shape \(8,\); expected \(24,\)"),
    (lambda: rtrnn.LSTM(*W4, weight_hr=np.zeros((3, 8))), r"weight_hh has shape \(32, 8\); expected \(4 \* hidden, 3\)"),
    (lambda: rtrnn.GRU(*W3, activations=("tanh",)), "activations is .*; expected 2 names"),
    (lambda: rtrnn.GRU(*W3, activations=("tanh", "bent")), "activation 'bent': not supported"),
    (lambda: rtrnn.GRU("abc", W3[1]), "weight_ih has dtype"),
    (lambda: rtrnn.Linear(np.zeros(3)), r"weight has shape \(3,\); expected a matrix"),
    (lambda: rtrnn.Linear(np.zeros((3, 4)), np.zeros(4)), r"bias has shape \(4,\); expected \(3,\).*Keras keeps it.*\.T"),
    (lambda: rtrnn.Normalizer(np.zeros(3), [1, 0, 2]), r"std \+ eps is not above 0 at the elements \[1\]"),
    (lambda: rtrnn.Normalizer(np.zeros(3), np.ones(4)), r"std has shape \(4,\); expected \(3,\)"),
    (lambda: rtrnn.Normalizer(np.zeros(3), np.ones(3), clip=0.0), r"clip is 0\.0"),
    (lambda: rtrnn.LayerNorm(np.ones(3), np.ones(4)), r"bias has shape \(4,\)"),
    (lambda: rtrnn.LayerNorm(np.ones(3), eps=-1.0), r"eps is -1\.0"),
    (lambda: rtrnn.Activation("bent"), "activation 'bent': not supported; expected one of"),
    (lambda: rtrnn.Activation("relu", alpha=1.0), "activation 'relu' with alpha=1: expected no parameters"),
    (lambda: rtrnn.Activation("elu", beta=1.0), "activation 'elu' with beta=1: expected alpha"),
    (lambda: rtrnn.Activation("linear", alpha=2.0), "activation 'linear' with alpha=2"),
    (lambda: rtrnn.Sequential(), "no layers"),
    (lambda: rtrnn.Sequential("elu", rtrnn.Linear(np.eye(3))), r"layer 0 is rtrnn\.Activation\('elu'\), which has no size"),
    (lambda: rtrnn.Sequential(rtrnn.GRU(*W3), rtrnn.Linear(np.zeros((2, 7)))), r"layer 1 takes \(7,\) values; expected 8, what layer 0"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[m for _, m in REFUSED])
def test_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_wrong_types() -> None:
    with pytest.raises(TypeError, match="layer 1 is a int; expected a Model, an Activation or its name"):
        rtrnn.Sequential(rtrnn.Linear(np.eye(3)), 3)
    with pytest.raises(TypeError, match="activation is a NoneType"):
        rtrnn.RNN(*weights(1), activation=None)
    with pytest.raises(UnsupportedError, match="'bent'"):
        rtrnn.Activation("bent")


def test_several_inputs_do_not_go_into_a_row() -> None:
    from rtrnn.importers.draft import Draft

    draft = Draft()
    a, b = draft.add_input("a", (3,)), draft.add_input("b", (3,))
    (draft.outputs["y"],) = draft.add_node("add", [a, b], [(3,)])
    with pytest.raises(ValueError, match=r"layer 0 has the inputs \['a', 'b'\]"):
        rtrnn.Sequential(rtrnn.Model(draft.build()))


def test_nothing_is_warned_about() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rtrnn.Sequential(rtrnn.GRU(*W3), rtrnn.Linear(np.zeros((2, H))), rtrnn.Activation("softmax")).stream()
