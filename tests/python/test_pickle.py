"""Models, Plans, Streams and Batches go to other processes and go on there with the same bits."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_networks import O, draft, observations, two_input_rtrnn

import rtrnn
from rtrnn import _core

LIMITS = {"actions": {"max": 0.2, "max_change": 0.05}}
STEPS = 40


def model() -> rtrnn.Model:
    return rtrnn.Model(draft().build(), ["a warning"])


def elsewhere(pickled: bytes, code: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Runs `code` in a process of its own, where `it` is the object and `put` gives arrays back."""
    script = (
        "import pickle, sys, numpy as np\n"
        "def put(*arrays): sys.stdout.buffer.write(pickle.dumps(arrays))\n"
        "it, given = pickle.loads(sys.stdin.buffer.read())\n" + code
    )
    return subprocess.run(
        [sys.executable, "-I", "-c", script], input=pickled, capture_output=True, timeout=60, env={**os.environ, **environment}
    )


def answer(it: Any, given: Any, code: str) -> Any:
    result = elsewhere(pickle.dumps((it, given)), code)
    assert result.returncode == 0, result.stderr.decode()
    return pickle.loads(result.stdout)


def woken(kind: Any, state: Any) -> Any:
    it = kind.__new__(kind)
    it.__setstate__(state)
    return it


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weights": "i8"},
        {"weights": {"gru.weight_hh": "i16"}, "on_nonfinite": "hold", "hold_steps": 3},
        {"limits": LIMITS},
        {"on_nonfinite": "propagate"},
        {"threads": 2},
        {"delta": 0.01},
    ],
    ids=["f32", "i8", "mixed", "limits", "propagate", "threads", "delta"],
)
def test_a_stream_goes_on_in_another_process(options: dict[str, Any]) -> None:
    name = next(node.name for node in model().graph.nodes if node.op == "gru")
    if isinstance(options.get("weights"), dict):
        options = {**options, "weights": {f"{name}.weight_hh": "i16"}}
    stream = model().stream(**options)
    xs = observations(2 * STEPS + 1)  # an odd number of steps: the state lies in the other block
    stream.process(xs[:STEPS])
    stream.step(xs[STEPS])
    (ys, state, weights, policy, hold) = answer(
        stream,
        xs[STEPS + 1 :],
        "put(it.process(given), it.state_vector(), it.weights, it.on_nonfinite, it.hold_steps)",
    )
    expected = stream.process(xs[STEPS + 1 :])
    assert ys.tobytes() == expected.tobytes()
    assert state.tobytes() == stream.state_vector().tobytes()
    assert (weights, policy, hold) == (stream.weights, stream.on_nonfinite, stream.hold_steps)
    if "limits" in options:
        assert ys.max() <= np.float32(0.2)


def test_a_held_output_and_an_input_that_waits_travel_too() -> None:
    stream = model().stream(on_nonfinite="hold", hold_steps=2)
    xs = observations(4)
    stream.step(xs[0])
    held = stream.step(np.full_like(xs[0], np.nan))
    stream.input[:] = xs[1]
    twin = pickle.loads(pickle.dumps(stream))
    assert twin.held_in_a_row == 1
    assert twin.output.tobytes() == held.tobytes()
    stream.step()
    twin.step()
    assert twin.output.tobytes() == stream.output.tobytes()


def test_a_prepared_stream() -> None:
    stream = model().stream()
    stream.step(observations(1)[0])
    stream.prepare()
    twin = pickle.loads(pickle.dumps(stream))
    x = observations(1, seed=5)[0]
    assert twin.step(x).tobytes() == stream.step(x).tobytes()


def test_streams_of_one_plan_share_it_and_its_weights() -> None:
    whole = model()
    streams = [whole.stream() for _ in range(50)]
    assert len(pickle.dumps((whole, streams))) < len(pickle.dumps(whole)) + 50 * 1000
    twins = pickle.loads(pickle.dumps(streams))
    plans = {id(stream.__reduce__()[1][1]) for stream in twins}
    assert len(plans) == 1


def test_a_model_keeps_its_warnings_and_metadata() -> None:
    whole = model()
    whole.set_metadata("joints", "hip knee")
    (warnings, metadata, ys) = answer(whole, observations(STEPS), "put(it.warnings, it.metadata, it.run(given))")
    assert warnings == ("a warning",)
    assert metadata == whole.metadata
    assert ys.tobytes() == whole.run(observations(STEPS)).tobytes()


def test_limits_are_those_that_the_stream_was_made_with() -> None:
    whole = model()
    whole.set_metadata("rtrnn.limits", json.dumps(LIMITS))
    limited, free = whole.stream(), whole.stream(limits=False)
    whole.set_metadata("rtrnn.limits", "{}")
    xs = 5 * observations(STEPS)
    for stream in (limited, free):
        twin = pickle.loads(pickle.dumps(stream))
        assert twin.process(xs).tobytes() == stream.process(xs).tobytes()
    assert limited.limited_count > 0
    assert free.limited_count == 0


@pytest.mark.parametrize("policy", ["error", "hold"])
def test_a_batch_goes_on_in_another_process(policy: str) -> None:
    batch = model().batch(3, "i16", on_nonfinite=policy, hold_steps=2 if policy == "hold" else None)
    xs = np.stack([observations(2 * STEPS, seed) for seed in range(3)], 1)
    for x in xs[:STEPS]:
        batch.step(x)
    bad = xs[STEPS].copy()
    if policy == "hold":
        bad[1] = np.nan
        batch.step(bad)  # stream 1 has one held step, and repeats an output that travels
    code = "put(*[it.step(x) for x in given]); "
    rest = np.concatenate([bad[None], xs[STEPS:]]) if policy == "hold" else xs[STEPS:]
    there = answer(batch, rest, code)
    assert [y.tobytes() for y in there] == [batch.step(x).tobytes() for x in rest]
    assert there[0].shape == (3, O)


def test_several_inputs(tmp_path: Path) -> None:
    stream = rtrnn.load(two_input_rtrnn(tmp_path / "two.rtrnn")).stream()
    stream.step({"a": np.ones(3), "b": np.zeros(3)})
    twin = pickle.loads(pickle.dumps(stream))
    x = {"a": np.full(3, 2.0), "b": np.ones(3)}
    there, here = twin.step(x), stream.step(x)
    assert {name: y.tobytes() for name, y in there.items()} == {name: y.tobytes() for name, y in here.items()}


def test_a_forced_instruction_set_that_is_not_there() -> None:
    plan = _core.Plan(model().graph, isa=rtrnn.isa_available()[-1])
    state = plan.__getstate__()
    assert state[2] == rtrnn.isa_available()[-1]
    with pytest.raises(ValueError, match="neon9"):
        woken(_core.Plan, (state[0], state[1], "neon9", *state[3:]))


def test_a_precision_that_is_not_there() -> None:
    """As in the pickle of a later release."""
    plan = _core.Plan(model().graph)
    state = plan.__getstate__()
    with pytest.raises(rtrnn.UnsupportedError, match="i3"):
        woken(_core.Plan, (state[0], "i3", *state[2:]))


def test_a_damaged_graph() -> None:
    graph = model().graph
    with pytest.raises(rtrnn.FileFormatError):
        woken(_core.Graph, graph.__getstate__()[:-9])
