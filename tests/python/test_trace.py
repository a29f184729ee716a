"""`Stream.trace`: the Stream goes on as if it had stepped, and the gates are those that made its states, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference import Evaluator
from small_networks import draft, observations
from test_golden import NAMES

import rtrnn

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
CELLS = {"rnn", "gru", "lstm"}
STEPS = 12


def golden(name: str) -> rtrnn.Model:
    return rtrnn.load(GOLDEN / f"{name}.rtrnn")


TRACED = [name for name in NAMES if CELLS & {node.op for node in golden(name).graph.nodes}]


def inputs_of(model: rtrnn.Model, steps: int = STEPS, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(steps, *shape)).astype(np.float32) for name, shape in model.inputs.items()}


def cell_node(model: rtrnn.Model, key: str) -> Any:
    cells = [node for node in model.graph.nodes if node.op in CELLS]
    named = [node for node in cells if node.name == key]
    (node,) = named if len(named) == 1 else [node for node in cells if node.outputs[0] == key]
    return node


def operand(model: rtrnn.Model, trace: Any, name: str) -> np.ndarray:
    """The value of a cell's operand at each timestep, before the cell ran."""
    if name in trace.states:
        return np.concatenate([model.initial_state[name][None], trace.states[name][:-1]])
    if name in trace.values:
        return trace.values[name]
    return np.broadcast_to(model.graph.tensor(name), (STEPS, *model.graph.shape(name)))


def fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """a * b + c rounded to float32: the product is exact in float64."""
    return (a.astype(np.float64) * b.astype(np.float64) + c.astype(np.float64)).astype(np.float32)


def check_recurrence(model: rtrnn.Model, trace: Any) -> None:
    """Gates and former state make the new state, in the engine's own order of operations."""
    for key, gates in trace.cells.items():
        node = cell_node(model, key)
        if node.op == "gru":
            h, n = operand(model, trace, node.inputs[1]), gates["candidate"]
            assert np.array_equal(fma(gates["update"], h - n, n), gates["h"]), key
        elif node.op == "lstm":
            c = operand(model, trace, node.inputs[2])
            assert np.array_equal(fma(gates["forget"], c, gates["input"] * gates["candidate"]), gates["c"]), key
            function = (node.attributes.get("activations") or [None, None, "tanh"])[2]
            if function == "tanh" and not (len(node.inputs) > 7 and node.inputs[7]):
                np.testing.assert_allclose(gates["output"] * np.tanh(gates["c"].astype(np.float64)), gates["h"], rtol=6e-7)
        elif (node.attributes.get("activations") or ["tanh"]) == ["tanh"]:
            np.testing.assert_allclose(np.tanh(gates["pre_activation"].astype(np.float64)), gates["h"], rtol=6e-7)


@pytest.mark.parametrize("weights", ["f32", "i8", "f16"])
@pytest.mark.parametrize("name", TRACED)
def test_every_cell_in_every_precision(name: str, weights: str) -> None:
    model = golden(name)
    xs = inputs_of(model)
    traced, stepped = model.stream(weights), model.stream(weights)
    trace = traced.trace(xs)
    outputs = stepped.process(xs)
    assert set(trace.outputs) == set(model.outputs)
    for key, value in outputs.items():
        assert np.array_equal(trace.outputs[key], value)
    assert np.array_equal(traced.state_vector(), stepped.state_vector())
    for key, value in stepped.state().items():
        assert np.array_equal(trace.states[key][-1], value)
    for state in model.graph.states:  # whatever a node computed for a state is that state
        if state.next in trace.values:
            assert np.array_equal(trace.values[state.next], trace.states[state.name])
    check_recurrence(model, trace)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("name", ["gru_17_initial", "gru_reset_before_13", "lstm_31_initial", "lstm_peephole", "rnn_tanh_7"])
def test_gates_follow_the_equations_in_float64(name: str) -> None:
    model = golden(name)
    xs = inputs_of(model)
    trace = model.stream().trace(xs)
    exact = Evaluator(model)
    for key, gates in trace.cells.items():
        node = cell_node(model, key)
        first = 3 if node.op == "lstm" else 2
        tensors = [model.graph.tensor(name).astype(np.float64) for name in node.inputs[first : first + 4]]
        w, u, b, d = tensors
        for t in range(STEPS):
            exact.state = {k: np.float64(operand(model, trace, k)[t]) for k in model.states}
            values = exact.values({k: v[t] for k, v in xs.items()})
            x, h = values[node.inputs[0]], values[node.inputs[1]]
            near = 2e-7 + 8 * np.finfo(np.float32).eps * (np.abs(w) @ np.abs(x) + np.abs(u) @ np.abs(h) + np.abs(b) + np.abs(d))
            sums = w @ x + b + u @ h + d
            if node.op == "rnn":
                expected = {"pre_activation": sums}
            elif node.op == "gru":
                r, z, _ = (sigmoid(part) for part in np.split(sums, 3))
                (x_n, u_n, b_n, d_n) = (np.split(part, 3)[2] for part in (w @ x, u, b, d))
                recurrent = u_n @ (r * h) + d_n if node.attributes.get("reset") == "before" else r * (u_n @ h + d_n)
                expected = {"reset": r, "update": z, "candidate": np.tanh(x_n + b_n + recurrent)}
            else:
                i, f, g, o = np.split(sums, 4)
                if len(node.inputs) > 8 and node.inputs[8]:
                    p_i, p_f, p_o = np.split(model.graph.tensor(node.inputs[8]).astype(np.float64), 3)
                    c, c_next = values[node.inputs[2]], values[node.outputs[1]]
                    i, f, o = i + p_i * c, f + p_f * c, o + p_o * c_next
                expected = {"input": sigmoid(i), "forget": sigmoid(f), "candidate": np.tanh(g), "output": sigmoid(o)}
            for k, (gate, value) in enumerate(expected.items()):
                error = np.abs(gates[gate][t] - value)
                assert (error <= np.split(near, len(expected))[k]).all(), (key, t, gate, error.max())


def test_a_wrong_bias_would_be_noticed() -> None:
    """The twin of the check above: gates of other weights do not make these states."""
    right, wrong = rtrnn.Model(draft(0).build()), rtrnn.Model(draft(1).build())
    xs = observations(STEPS)
    trace = right.stream().trace(xs)
    check_recurrence(right, trace)
    trace.cells["gru"].update({k: v for k, v in wrong.stream().trace(xs).cells["gru"].items() if k != "h"})
    with pytest.raises(AssertionError):
        check_recurrence(right, trace)


def test_one_timestep_and_the_input_buffer(network: Path) -> None:
    model = rtrnn.load(network)
    xs = observations(3)
    whole = model.stream().trace(xs)
    one, buffer = model.stream(), model.stream()
    for t, x in enumerate(xs):
        buffer.input[:] = x
        for trace in (one.trace(x), buffer.trace()):
            assert trace.cells["gru"]["reset"].shape == (6,)
            assert np.array_equal(trace.cells["gru"]["reset"], whole.cells["gru"]["reset"][t])
            assert np.array_equal(trace.outputs["actions"], whole.outputs["actions"][t])
    assert np.array_equal(buffer.output, whole.outputs["actions"][-1])
    assert np.array_equal(one.step(xs[0]), buffer.step(xs[0]))


def test_it_goes_on_from_any_state_and_after_prepare_fork_and_swap(network: Path) -> None:
    model, other = rtrnn.load(network), rtrnn.Model(draft(1).build())
    xs = observations(9)
    stepped, traced = model.stream("i16"), model.stream("i16")
    stepped.process(xs)
    traced.process(xs[:4])
    traced.prepare()
    traced = traced.fork()
    traced.trace(xs[4:])
    assert np.array_equal(traced.state_vector(), stepped.state_vector())
    traced.swap(other)
    stepped.swap(other)
    trace = traced.trace(xs)
    assert np.array_equal(trace.outputs["actions"], stepped.process(xs))
    fresh = other.stream("i16")
    fresh.set_state(model.stream("i16").state() | {"h": trace.states["h"][0]})
    assert np.array_equal(trace.cells["gru"]["update"][1], fresh.trace(xs[1]).cells["gru"]["update"])


def test_limits_show_in_outputs_and_not_in_values(network: Path) -> None:
    limits = {"actions": {"min": -0.05, "max": 0.05, "max_change": 0.02}}
    model = rtrnn.load(network)
    xs = observations(20)
    traced, stepped = model.stream(limits=limits), model.stream(limits=limits)
    trace = traced.trace(xs)
    assert np.array_equal(trace.outputs["actions"], stepped.process(xs))
    assert traced.save_state() == stepped.save_state()
    assert np.abs(trace.outputs["actions"]).max() <= np.float32(0.05)
    assert np.abs(trace.values["head"]).max() > 0.1
    assert any(name.startswith("limits.") for name in trace.states)


def test_bad_numbers(network: Path) -> None:
    model = rtrnn.load(network)
    xs = observations(6)
    bad = xs.copy()
    bad[3, 2] = np.nan
    stream = model.stream()
    stream.step(xs[0])
    before = stream.save_state()
    with pytest.raises(rtrnn.NonFiniteError, match=r"timestep 3: input 'obs' \(element 2\) is NaN"):
        stream.trace(bad)
    assert stream.save_state() == before
    holding, stepped = (model.stream(on_nonfinite="hold") for _ in range(2))
    trace = holding.trace(bad)
    assert np.array_equal(trace.outputs["actions"], stepped.process(bad))
    assert np.array_equal(trace.states["h"][3], trace.states["h"][2])
    assert np.isnan(trace.cells["gru"]["reset"][3]).any()
    assert np.isfinite(trace.cells["gru"]["reset"][4]).all()


def test_several_inputs_as_a_tuple_or_a_dict() -> None:
    made = draft()
    made.add_input("offset", (5,))
    (shifted,) = made.add_node("add", ["obs", "offset"], [(5,)])
    made.nodes[0].inputs[0] = shifted
    made.sort()
    model = rtrnn.Model(made.build())
    xs, offsets = observations(4), observations(4, seed=2)
    by_name, in_order = model.stream().trace({"offset": offsets, "obs": xs}), model.stream().trace((xs, offsets))
    plain = rtrnn.Model(draft().build()).stream().trace(xs + offsets)
    for trace in (by_name, in_order):
        assert np.array_equal(trace.cells["gru"]["update"], plain.cells["gru"]["update"])
    with pytest.raises(ValueError, match=r"expected the same number of timesteps, 1 or more, found \[3, 4\]"):
        model.stream().trace((xs, offsets[:3]))


def test_refusals(network: Path) -> None:
    model = rtrnn.load(network)
    stream = model.stream()
    refused: Mapping[str, Any] = {
        r"expected shape \(5,\) or \('T', 5\), found \(4,\)": np.zeros(4),
        r"found \(2, 4\)": np.zeros((2, 4)),
        r"1 or more, found \[0\]": np.zeros((0, 5)),
        r"expected the inputs \['obs'\], found \['x'\]": {"x": np.zeros(5)},
    }
    for message, x in refused.items():
        with pytest.raises(ValueError, match=message):
            stream.trace(x)
    with pytest.raises(rtrnn.UnsupportedError, match="expected a network with a gru, lstm or rnn node, found linear"):
        rtrnn.Linear(np.eye(2)).stream().trace(np.zeros(2))
    with pytest.raises(rtrnn.UnsupportedError, match="without delta updates"):
        model.stream(delta=0.1).trace(np.zeros(5))
