"""How values, states and outputs are connected: what a plan that shares memory could get wrong."""

from __future__ import annotations

import numpy as np
import pytest
from engine import EPS, check, model_of, named, plain, random_inputs
from random_graphs import random_draft
from reference import Evaluator

from rtrnn.importers.draft import Draft


def drafted(size: int = 5) -> Draft:
    """One input `x` and one state `s`, not yet connected."""
    draft = Draft()
    draft.add_input("x", (size,))
    draft.add_state("s", (size,), np.arange(size, dtype=np.float32))
    return draft


def exact(draft: Draft, length: int = 5) -> None:
    check(draft, random_inputs(draft, length), EPS, EPS)


def test_output_that_is_an_input() -> None:
    draft = drafted()
    draft.states["s"].next = "x"
    draft.outputs["y"] = "x"
    exact(draft)


def test_output_that_is_a_state_shows_it_before_the_step() -> None:
    draft = drafted()
    draft.states["s"].next = "x"
    draft.outputs["y"] = "s"
    exact(draft)


def test_output_that_is_a_constant() -> None:
    draft = drafted()
    draft.states["s"].next = "x"
    draft.outputs["y"] = draft.add_tensor(np.float32([1, 2, 3]), "three")
    draft.outputs["z"] = "x"
    exact(draft)


def test_state_that_never_changes() -> None:
    draft = drafted()
    draft.states["s"].next = "s"
    (draft.outputs["y"],) = draft.add_node("add", ["x", "s"], [(5,)])
    exact(draft)


def test_one_value_as_two_outputs_and_two_states() -> None:
    draft = drafted()
    draft.add_state("t", (5,))
    (y,) = draft.add_node("add", ["x", "s"], [(5,)])
    draft.states["s"].next = draft.states["t"].next = y
    draft.outputs.update(a=y, b=y, c="t")
    exact(draft)


def test_delay_line() -> None:
    """Each state takes the one before it, as it was before the step."""
    draft = Draft()
    previous = draft.add_input("x", (3,))
    for k in range(6):
        state = draft.add_state(f"tap{k}", (3,), np.full(3, k, np.float32))
        draft.states[state].next = previous
        previous = state
    (draft.outputs["all"],) = draft.add_node("concat", ["x", *draft.states], [(21,)], {"axis": 0})
    draft.outputs["oldest"] = previous
    exact(draft, 10)


def test_states_that_swap() -> None:
    draft = drafted()
    draft.add_state("t", (5,), np.ones(5))
    draft.states["s"].next, draft.states["t"].next = "t", "s"
    draft.outputs.update(s="s", t="t", x="x")
    exact(draft)


def test_states_that_rotate_through_three() -> None:
    draft = Draft()
    draft.add_input("x", (2,))
    for k, name in enumerate("abc"):
        draft.add_state(name, (2,), np.full(2, k, np.float32))
    for name, following in zip("abc", "bca", strict=True):
        draft.states[name].next = following
    (draft.outputs["y"],) = draft.add_node("concat", ["a", "b", "c", "x"], [(8,)], {"axis": 0})
    exact(draft)


def test_state_is_read_after_its_next_value_was_computed() -> None:
    draft = drafted()
    (following,) = draft.add_node("add", ["x", "s"], [(5,)])
    (change,) = draft.add_node("sub", [following, "s"], [(5,)])
    (product,) = draft.add_node("mul", [change, "s"], [(5,)])
    draft.states["s"].next = following
    draft.outputs.update(change=change, product=product)
    check(draft, random_inputs(draft, 5), 4 * EPS, 32 * EPS)


@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_old_state_of_a_cell_is_read_after_the_cell(kind: str) -> None:
    draft = Draft()
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[kind]
    rng = np.random.default_rng(0)
    inputs = [draft.add_input("x", (3,))]
    states = ["h", "c"] if kind == "lstm" else ["h"]
    inputs += [draft.add_state(s, (9,), rng.normal(size=9)) for s in states]
    inputs += [draft.add_tensor(rng.normal(size=(gates * 9, n)) / 3, "weight") for n in (3, 9)]
    for state, value in zip(states, draft.add_node(kind, inputs, [(9,)] * len(states)), strict=True):
        draft.states[state].next = value
        (draft.outputs[f"{state}_change"],) = draft.add_node("sub", [value, state], [(9,)])
        draft.outputs[state] = state
    check(draft, random_inputs(draft, 6), 16 * EPS, 64 * EPS)


def test_two_cells_share_one_state_and_one_weight() -> None:
    """Both read h; only the second one's result is carried."""
    draft = Draft()
    rng = np.random.default_rng(0)
    x, h = draft.add_input("x", (4,)), draft.add_state("h", (6,), rng.normal(size=6))
    weights = [draft.add_tensor(rng.normal(size=(18, n)) / 3, "weight") for n in (4, 6)]
    (first,) = draft.add_node("gru", [x, h, *weights], [(6,)])
    (second,) = draft.add_node("gru", [x, h, *weights], [(6,)], {"reset": "before"})
    draft.states["h"].next = second
    draft.outputs.update(first=first, second=second)
    check(draft, random_inputs(draft, 6), 16 * EPS, 64 * EPS)


def test_states_are_slices_of_one_value() -> None:
    draft = drafted(4)
    draft.add_state("t", (2,))
    (joined,) = draft.add_node("concat", ["x", "t"], [(6,)], {"axis": 0})
    (late,) = draft.add_node("tanh", [joined], [(6,)])
    for state, start, stop in (("s", 1, 5), ("t", 0, 2)):
        part = {"axis": 0, "start": start, "stop": stop, "step": 1}
        (draft.states[state].next,) = draft.add_node("slice", [late], [(stop - start,)], part)
    (draft.outputs["y"],) = draft.add_node("concat", ["s", late, "t"], [(12,)], {"axis": 0})
    check(draft, random_inputs(draft, 6), 8 * EPS, EPS)


def test_value_inside_two_concats() -> None:
    """A value can lie in one of them only; the other needs a copy."""
    draft = drafted()
    (a,) = draft.add_node("neg", ["x"], [(5,)])
    (b,) = draft.add_node("abs", ["x"], [(5,)])
    (first,) = draft.add_node("concat", [a, b], [(10,)], {"axis": 0})
    (second,) = draft.add_node("concat", [b, a, a], [(15,)], {"axis": 0})
    draft.states["s"].next = a
    draft.outputs.update(first=first, second=second, a=a)
    exact(draft)


def test_views_of_views() -> None:
    draft = Draft()
    draft.add_input("x", (2, 3, 4))
    (p,) = draft.add_node("permute", ["x"], [(4, 2, 3)], {"axes": [2, 0, 1]})
    (s,) = draft.add_node("slice", [p], [(2, 2, 3)], {"axis": 0, "start": 0, "stop": 4, "step": 2})
    (r,) = draft.add_node("reshape", [s], [(4, 3)], {"shape": [4, 3]})
    (g,) = draft.add_node("gather", [r], [(4, 2)], {"axis": 1, "indices": [2, 0]})
    (c,) = draft.add_node("concat", [g, r], [(4, 5)], {"axis": 1})
    (e,) = draft.add_node("expand", [c], [(2, 4, 5)], {"shape": [2, 4, 5]})
    draft.outputs.update(e=e, g=g, s=s)
    exact(draft)


@pytest.mark.parametrize("seed", range(300))
def test_random_graph(seed: int) -> None:
    draft = random_draft(seed)
    check(draft, random_inputs(draft, 5, seed), 128 * EPS, 128 * EPS)


@pytest.mark.parametrize("seed", range(0, 300, 3))
def test_pruning_changes_nothing(seed: int) -> None:
    """A graph and the same graph without what no output needs step alike, to the bit."""
    draft = random_draft(seed)
    sequence = random_inputs(draft, 4, seed)
    names = list(draft.outputs)
    streams = [model_of(draft).stream()]
    draft.prune()
    draft.sort()
    streams.append(model_of(draft).stream())
    for inputs in sequence:
        whole, pruned = (named(stream.step(plain(inputs)), names) for stream in streams)
        for name in names:
            assert np.array_equal(whole[name], pruned[name]), name


# -- whole sequences -----------------------------------------------------------------------------------


def bidirectional(kind: str, layers: int) -> Draft:
    """A stack of forward and reverse cells with the summary at the end that `last` gives."""
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[kind]
    rng = np.random.default_rng(0)
    draft = Draft()
    x = draft.add_input("x", (3,))
    hidden = 7
    for layer in range(layers):
        ends = []
        for direction in ("forward", "reverse"):
            inputs = [x]
            states = [f"{s}{layer}{direction}" for s in ("hc" if kind == "lstm" else "h")]
            inputs += [draft.add_state(s, (hidden,), rng.normal(size=hidden)) for s in states]
            columns = draft.shapes[x][0]
            for n in (columns, hidden):
                inputs.append(draft.add_tensor(rng.normal(size=(gates * hidden, n)) / 4, "weight"))
            values = draft.add_node(kind, inputs, [(hidden,)] * len(states), {"direction": direction})
            for state, value in zip(states, values, strict=True):
                draft.states[state].next = value
            ends.append(values[0])
        (x,) = draft.add_node("concat", ends, [(2 * hidden,)], {"axis": 0})
        kept = [draft.add_node("last", [end], [(hidden,)])[0] for end in ends]
    draft.outputs["y"] = x
    (draft.outputs["summary"],) = draft.add_node("concat", kept, [(2 * hidden,)], {"axis": 0})
    return draft


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_bidirectional_run(kind: str, layers: int) -> None:
    draft = bidirectional(kind, layers)
    xs = np.random.default_rng(1).normal(size=(11, 3)).astype(np.float32)
    want = Evaluator(draft).run({"x": xs})
    have = named(model_of(draft).run(xs), list(draft.outputs))
    assert have["summary"].ndim == 1, "what exists once per sequence comes once"
    want["summary"] = want["summary"][-1]
    for name, value in want.items():
        np.testing.assert_allclose(have[name], value, 64 * EPS, 64 * EPS, err_msg=name)
    assert np.array_equal(have["summary"], np.concatenate([have["y"][-1, :7], have["y"][0, 7:]]))


@pytest.mark.parametrize("seed", range(60))
def test_run_is_the_steps_one_after_the_other(seed: int) -> None:
    draft = random_draft(seed)
    sequence = random_inputs(draft, 6, seed)
    model = model_of(draft)
    whole = {name: np.stack([inputs[name] for inputs in sequence]) for name in draft.inputs}
    ran = named(model.run(plain(whole)), list(draft.outputs))
    stream = model.stream()
    for t, inputs in enumerate(sequence):
        stepped = named(stream.step(plain(inputs)), list(draft.outputs))
        for name, value in stepped.items():
            assert np.array_equal(ran[name][t], value), (t, name)
