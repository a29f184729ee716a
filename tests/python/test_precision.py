"""Weights in fewer bits: what a Stream computes with them, the options that ask for them, and what bad input does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine import named
from reference import Evaluator
from test_stream import policy

import rtrnn
from rtrnn import _core

REDUCED = ["f16", "bf16", "i16", "i8", "i8a14"]
INTEGERS = ("i16", "i8", "i8a14")
GOLDEN = Path(__file__).resolve().parents[1] / "golden"


# -- against a second implementation -------------------------------------------------------------------


def integers(x: np.ndarray, limit: int) -> np.ndarray:
    """A vector as multiples of its unit (cpp/README.md), in float64; infinite and NaN values are not for here."""
    x = np.asarray(x, np.float32)
    largest = np.maximum(np.abs(x).max(), np.float32(2.0**-100))
    scale = np.float32(limit) / largest
    return np.rint(x.astype(np.float64) * np.float64(scale)) * np.float64(largest / np.float32(limit))


class Weights(np.ndarray):
    """A matrix whose products read weights and operand as the engine packs and quantises them."""

    precision: str
    recurrent: bool

    def __array_finalize__(self, other: Any) -> None:
        self.precision = getattr(other, "precision", "f32")
        self.recurrent = getattr(other, "recurrent", False)

    def packed(self) -> np.ndarray:
        w = np.array(self, np.float64)
        if self.precision == "f16":
            return w.astype(np.float16).astype(np.float64)
        if self.precision == "bf16":
            _, exponent = np.frexp(w)
            step = np.exp2(exponent - 8.0)  # 8 significant bits
            return np.rint(w / step) * step
        limit = {"i16": 32767, "i8": 127, "i8a14": 127}[self.precision]
        rows = np.abs(w)
        room = (2**31 - 1) // self.operand_limit - w.shape[1] / 2 - 1
        scale = np.maximum(rows.max(-1) / limit, rows.sum(-1) / room)
        scale = scale.astype(np.float32).astype(np.float64)[:, None]
        return np.rint(w / np.where(scale == 0, 1, scale)) * scale

    @property
    def operand_limit(self) -> int:
        return 127 if self.precision == "i8" and self.recurrent else 8191

    def operand(self, x: np.ndarray) -> np.ndarray:
        return integers(x, self.operand_limit) if self.precision in INTEGERS else np.asarray(x)

    def __matmul__(self, x: Any) -> Any:
        return self.packed() @ self.operand(x)

    def __rmatmul__(self, x: Any) -> Any:  # x @ weight.T
        return self.T.view(Weights).packed() @ self.operand(x)


def reference(model: rtrnn.Model, precision: str) -> Evaluator:
    evaluator = Evaluator(model)
    for node in model.graph.nodes:
        matrices = [name for name in node.inputs if name in evaluator.tensors and evaluator.tensors[name].ndim == 2]
        for i, name in enumerate(matrices):  # weight_ih, weight_hh, weight_hr; or a linear's weight
            weights = evaluator.tensors[name].view(Weights)
            weights.precision, weights.recurrent = precision, i == 1
            evaluator.tensors[name] = weights
    return evaluator


@pytest.mark.parametrize("precision", REDUCED)
@pytest.mark.parametrize(
    "name", ["gru_100", "gru_reset_before_13", "lstm_31_initial", "lstm_large_inputs", "lstm_peephole", "rnn_relu_16"]
)
def test_each_step_is_that_of_the_packed_weights(name: str, precision: str) -> None:
    """Step by step from the engine's own state, so that both quantise the same numbers."""
    model = rtrnn.load(GOLDEN / f"{name}.rtrnn")
    evaluator, stream = reference(model, precision), model.stream(weights=precision)
    (shape,) = model.inputs.values()
    xs = np.fromfile(GOLDEN / f"{name}.x.f32", "<f4").reshape(-1, *shape)
    errors = []
    for x in xs:
        evaluator.state = {k: np.asarray(v, np.float64) for k, v in stream.state().items()}
        expected = evaluator.step({next(iter(model.inputs)): x})
        found = named(stream.step(x), list(expected))
        errors += [np.abs(found[k] - y).max() / max(1, np.abs(y).max()) for k, y in expected.items()]
    # Where a product reads what the step itself computed (r * h, a second layer's input), float32's own rounding now and then
    # moves an integer by one.
    assert np.median(errors) < 3e-7
    assert np.max(errors) < (2e-4 if name == "gru_reset_before_13" else 3e-6)


@pytest.mark.parametrize("precision", ["f16", "bf16"])
@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_weights_that_fit_give_the_bits_of_f32(kind: str, precision: str, xs: np.ndarray) -> None:
    graph, exact = policy(kind).graph, _core.Graph()
    for name in graph.tensor_names:
        w = np.asarray(graph.tensor(name))
        bits = np.float16(w).astype(np.float32).view(np.uint32) & 0xFFFF0000  # in f16 and in bf16
        exact.add_tensor(name, bits.view(np.float32) if w.ndim == 2 else w)
    for i in graph.inputs:
        exact.add_input(i.name, i.shape)
    for s in graph.states:
        exact.add_state(s.name, s.shape, s.initial)
    for n in graph.nodes:
        exact.add_node(n.op, n.name, n.inputs, n.outputs, n.attributes)
    for s in graph.states:
        exact.set_next(s.name, s.next)
    for o in graph.outputs:
        exact.add_output(o.name, o.value)
    model = rtrnn.Model(exact)
    assert np.array_equal(model.run(xs, weights=precision), model.run(xs))


# -- every way of stepping -----------------------------------------------------------------------------


@pytest.fixture
def xs() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(40, 5)).astype(np.float32)


@pytest.mark.parametrize("precision", REDUCED)
@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_every_way_of_stepping_gives_the_same_bits(kind: str, precision: str, xs: np.ndarray) -> None:
    model = policy(kind)
    expected = model.run(xs, weights=precision, isa="scalar")
    assert not np.array_equal(expected, model.run(xs))
    for isa in rtrnn.isa_available():
        assert np.array_equal(model.run(xs, weights=precision, isa=isa), expected)
        plain, prepared, block = (model.stream(weights=precision, isa=isa) for _ in range(3))
        assert np.array_equal(block.process(xs), expected)
        batch = model.batch(3, weights=precision, isa=isa)
        for t, x in enumerate(xs):
            prepared.prepare()
            assert np.array_equal(plain.step(x), expected[t])
            assert np.array_equal(prepared.step(x), expected[t])
            together = batch.step(np.stack([x, xs[0], x]))
            assert np.array_equal(together[0], expected[t])
            assert np.array_equal(together[2], expected[t])
        twin = plain.fork()
        assert np.array_equal(twin.step(xs[0]), plain.step(xs[0]))


def test_less_memory() -> None:
    model = policy("lstm", hidden=96)
    sizes = [model.plan(p).constant_bytes for p in ("f32", "i16", "i8")]
    assert sizes[1] < 0.6 * sizes[0]
    assert sizes[2] < 0.36 * sizes[0]


def test_one_matrix_in_a_precision_of_its_own() -> None:
    graph = policy("gru").graph
    (cell,) = [n.name for n in graph.nodes if n.op == "gru"]
    mixed = _core.Plan(graph, "i8", "", {f"{cell}.weight_ih": "i16", f"{cell}.weight_hh": "f32"})
    assert _core.Plan(graph, "i8").constant_bytes < mixed.constant_bytes < _core.Plan(graph, "f32").constant_bytes
    with pytest.raises(ValueError, match=rf"weights of 'nobody.weight': the network has no such matrix; it has .*{cell}.weight_hh"):
        _core.Plan(graph, "i8", "", {"nobody.weight": "f32"})


def test_an_unknown_precision_is_an_error_that_lists_the_known_ones() -> None:
    for make in (policy().stream, lambda **o: policy().batch(2, **o), lambda **o: policy().run(np.zeros((1, 5)), **o)):
        with pytest.raises(rtrnn.UnsupportedError, match=r"weights 'int8' is no precision .* 'f32', 'f16', 'bf16', 'i16', 'i8'"):
            make(weights="int8")


# -- numbers of every kind -----------------------------------------------------------------------------


@pytest.mark.parametrize("precision", REDUCED)
def test_zeros_denormals_and_huge_inputs(precision: str) -> None:
    for kind in ("rnn", "gru", "lstm"):
        model = policy(kind)
        inputs = [0.0, -0.0, 1e-45, 1e-40, 1e30, -3e38]
        xs = np.array([np.full(5, v) for v in inputs] + [[1e30, 1e-30, 0, -1, 1e-45]], np.float32)
        expected = model.run(xs, weights=precision, isa="scalar", on_nonfinite="propagate")
        for isa in rtrnn.isa_available():
            found = model.run(xs, weights=precision, isa=isa, on_nonfinite="propagate")
            assert np.array_equal(found, expected, equal_nan=True)
        assert np.isfinite(expected[:4]).all()


@pytest.mark.parametrize("precision", REDUCED)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_bad_input_never_becomes_a_quiet_number(precision: str, bad: float, xs: np.ndarray) -> None:
    for kind in ("rnn", "gru", "lstm"):
        model = policy(kind)
        poisoned = xs[2].copy()
        poisoned[1] = bad

        strict = model.stream(weights=precision)
        strict.step(xs[0])
        before = strict.state_vector()
        with pytest.raises(rtrnn.NonFiniteError):
            strict.step(poisoned)
        assert np.array_equal(strict.state_vector(), before)

        held = model.stream(weights=precision, on_nonfinite="hold")
        last = held.step(xs[0]).copy()
        assert np.array_equal(held.step(poisoned), last)
        assert held.nonfinite_count == 1
        assert np.array_equal(held.step(xs[1]), strict.step(xs[1]))

        let_in = model.stream(weights=precision, on_nonfinite="propagate")
        let_in.step(xs[0])
        if precision in INTEGERS:  # one vector, one unit: every sum of it is NaN
            assert np.isnan(let_in.step(poisoned)).all()
            assert np.isnan(let_in.state_vector()).all()
        elif np.isnan(bad):
            assert np.isnan(let_in.step(poisoned)).all()


@pytest.mark.parametrize("precision", INTEGERS)
def test_states_beyond_one_are_taken_as_they_are(precision: str, xs: np.ndarray) -> None:
    """An initial or restored state may lie outside of what the cell itself can reach."""
    for kind in ("rnn", "gru", "lstm"):
        model = policy(kind)
        stream = model.stream(weights=precision)
        stream.set_state(np.linspace(-90, 90, stream.state_vector().size, dtype=np.float32))
        evaluator = reference(model, precision)
        evaluator.state = {k: np.asarray(v, np.float64) for k, v in stream.state().items()}
        (expected,) = evaluator.step({"obs": xs[0]}).values()
        assert np.abs(stream.step(xs[0]) - expected.ravel()).max() < 1e-3 * max(1, np.abs(expected).max())


# -- real networks -------------------------------------------------------------------------------------

#: Error of the G1 policy's action, RMS and worst, relative to each action's own spread.
G1_ERROR = {"f16": (0.001, 0.005), "bf16": (0.006, 0.04), "i16": (0.001, 0.01), "i8": (0.06, 0.4), "i8a14": (0.06, 0.4)}


@pytest.mark.models
@pytest.mark.parametrize("precision", REDUCED)
def test_g1_error(precision: str, models: Path) -> None:
    pytest.importorskip("torch", reason="TorchScript needs PyTorch")
    model = rtrnn.load(models / "unitree_g1" / "motion.pt")
    recording = np.load(models / "unitree_g1" / "ref.npz")
    y = recording["y_f64"]
    error = (model.run(recording["x"], weights=precision) - y) / y.std(0)
    rms, worst = G1_ERROR[precision]
    assert rms / 10 < np.sqrt((error**2).mean()) < rms
    assert np.abs(error).max() < worst
