"""`rtrnn bench FILE`: the engines that are timed do what they are said to do, and a peer that does not is no figure."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_networks import H, I, O, gru_onnx, gru_rtrnn, torchscript

import rtrnn
from rtrnn.bench import bench
from rtrnn.bench.engines import (
    BatchStep,
    Native,
    Prepared,
    Process,
    Step,
    StepInPlace,
    StepOut,
    inputs_for,
    own_engines,
    trial,
)
from rtrnn.bench.limits import Limits, Probes, ReadLimit
from rtrnn.bench.machine import cpu_name, pinned
from rtrnn.bench.peers import OnnxBound, OnnxRun, TorchCall, checked, peers_of
from rtrnn.cli import main
from rtrnn.errors import MissingExtraError, UnsupportedError
from rtrnn.runtimes import open_runtime

# -- rtrnn's own engines -------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path: Path) -> rtrnn.Model:
    return rtrnn.load(gru_rtrnn(tmp_path / "gru.rtrnn"))


def state_after(model: rtrnn.Model, inputs: list[Any]) -> np.ndarray:
    stream = model.stream()
    for x in inputs:
        stream.step(x)
    return stream.state_vector()


@pytest.mark.parametrize("kind", [Step, StepOut])
@pytest.mark.parametrize("timed", ["block", "singles"])
def test_own_engines_take_every_step(kind: Any, timed: str, model: rtrnn.Model) -> None:
    engine = kind(model)
    taken = getattr(engine, timed)(10)
    assert engine.stream.steps == 10
    np.testing.assert_array_equal(engine.stream.state_vector(), state_after(model, inputs_for(model)[:10]))
    if timed == "singles":
        assert len(taken) == 10
        assert min(taken) > 0


def test_step_in_place_and_prepared(model: rtrnn.Model) -> None:
    xs = inputs_for(model)
    in_place = StepInPlace(model)
    in_place.block(6)
    in_place.singles(3)
    np.testing.assert_array_equal(in_place.stream.state_vector(), state_after(model, [xs[0]] * 10))
    prepared = Prepared(model)
    assert len(prepared.singles(10)) == 10
    np.testing.assert_array_equal(prepared.stream.state_vector(), state_after(model, xs[:10]))


def test_the_reference_comes_first(model: rtrnn.Model) -> None:
    assert isinstance(own_engines(model)[0], Step)


# -- peers ---------------------------------------------------------------------------------------------


def onnx_peers(folder: Path, **options: Any) -> tuple[rtrnn.Model, list[Any]]:
    pytest.importorskip("onnxruntime")
    path = gru_onnx(folder / "gru.onnx", **options)
    model = rtrnn.load(path)
    return model, peers_of(open_runtime(path, model), model)


@pytest.mark.parametrize("timed", ["block", "singles"])
def test_onnxruntime_run_carries_the_state(timed: str, tmp_path: Path) -> None:
    model, (peer, *_) = onnx_peers(tmp_path)
    assert isinstance(peer, OnnxRun)
    getattr(peer, timed)(10)
    (state,) = peer.states
    np.testing.assert_allclose(state.ravel(), state_after(model, inputs_for(model)[:10]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("timed", ["block", "singles"])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_onnxruntime_bound_carries_the_state(timed: str, count: int, tmp_path: Path) -> None:
    """From binding to binding: after `count` calls the last one's output is rtrnn's after as many steps."""
    model, (_, peer, *_) = onnx_peers(tmp_path)
    assert isinstance(peer, OnnxBound)
    getattr(peer, timed)(count)
    stream = model.stream()
    x = inputs_for(model)[0]
    for _ in range(count):
        y = stream.step(x)
    np.testing.assert_allclose(peer.outputs["actions"].reshape(O), y, rtol=0, atol=1e-6)


@pytest.mark.parametrize("timed", ["block", "singles"])
@pytest.mark.parametrize("form", ["passed", "buffer"])
def test_torch_carries_the_state(form: str, timed: str, tmp_path: Path) -> None:
    path = torchscript(tmp_path / "gru.pt", form)
    model = rtrnn.load(path)
    (peer,) = peers_of(open_runtime(path, model), model)
    assert isinstance(peer, TorchCall)
    getattr(peer, timed)(10)
    state = peer.state[0] if form == "passed" else peer.module.hidden_state
    expected = state_after(model, inputs_for(model)[:10])
    np.testing.assert_allclose(state.numpy().reshape(H), expected, rtol=0, atol=1e-6)


def test_peers_take_one_timestep(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"fixed shape \[5, 1, 5\]; one timestep is \[1, 1, 5\]"):
        onnx_peers(tmp_path, time=5)


# -- the whole -----------------------------------------------------------------------------------------


def test_onnx_file_is_timed_beside_onnxruntime(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    result = bench(gru_onnx(tmp_path / "gru.onnx"), rounds=3)
    names = [figures.name for figures in result.report.engines]
    assert names[0] == "rtrnn step(x)"
    peers = [name for name in names if not name.startswith(("rtrnn", "an empty", "OpenVINO"))]
    assert peers == ["onnxruntime run", "onnxruntime bound I/O"]
    assert result.failures == ()
    parameters = 3 * H * (I + H) + 6 * H + O * H
    assert result.weight_bytes == 4 * parameters
    native = {figures.name: figures.median_ns for figures in result.report.engines}["rtrnn C++ step"]
    assert result.gigabytes_per_second == pytest.approx(4 * parameters / native)
    assert result.shares == result.limits.shares(4 * parameters, 2 * parameters, native)
    assert set(result.over_native_ns) == {"step(x)", "step(x, out=y)", "step()"}


def test_what_starts_anew_in_each_call_is_said(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    result = bench(gru_onnx(tmp_path / "gru.onnx", carried=False, time="t"), rounds=3)
    assert any("does not carry" in note for note in result.notes)


def test_missing_runtime_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = gru_onnx(tmp_path / "gru.onnx")
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    result = bench(path, rounds=3)
    assert all(figures.name.startswith(("rtrnn", "an empty")) for figures in result.report.engines)
    assert any("pip install 'rtrnn[bench]'" in note for note in result.notes)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin a process")
def test_pinned_and_free_again() -> None:
    before = os.sched_getaffinity(0)
    with pinned(None) as cpu:
        assert os.sched_getaffinity(0) == {cpu}
    assert os.sched_getaffinity(0) == before
    with pytest.raises(UnsupportedError, match="CPU 4096 cannot be used"), pinned(4096):
        pass


def test_cpu_has_a_name() -> None:
    assert cpu_name()


def test_command_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(gru_rtrnn(tmp_path / "gru.rtrnn")), "--rounds", "3", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["machine"]["isa"] == rtrnn.load(tmp_path / "gru.rtrnn").stream().isa
    assert facts["rounds"] == 3
    assert [engine["engine"] for engine in facts["results"]] == [
        "rtrnn step(x)",
        "rtrnn step(x, out=y)",
        "rtrnn step()",
        "rtrnn C++ step",
        "rtrnn step(x) after prepare()",
        "rtrnn C++ step after prepare",
        "rtrnn C++ prepare",
        "an empty loop",
    ]
    assert all(engine["median_ns"] > 0 for engine in facts["results"])
    assert facts["results"][0]["ratio"] == 1
    assert facts["limits"]["gigaflops"][0] > 0
    assert {"processor", "isa", "caches", "versions", "date", "command"} <= facts["machine"].keys()


def test_command_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = gru_onnx(tmp_path / "gru.onnx")
    assert main(["bench", str(path), "--rounds", "3", "--no-peers"]) == 0
    text = capsys.readouterr().out
    for part in (
        "median",
        "ratio",
        "p99.9",
        "GB/s",
        "the timer's own",
        "rtrnn step(x, out=y)",
        "GFLOP/s",
        "over the C++ step",
    ):
        assert part in text
    assert "onnxruntime" not in text


@pytest.mark.parametrize("file", ["motion_legacy_opset11.onnx", "motion_dynamo_opset18.onnx"])
def test_real_policy_carries_two_states(file: str, models: Path) -> None:
    """onnxruntime's calls and rtrnn's reach the same state from the same inputs."""
    pytest.importorskip("onnxruntime")
    path = models / "unitree_g1" / file
    model = rtrnn.load(path)
    run, bound, *_ = peers_of(open_runtime(path, model), model)
    run.block(20)
    run.singles(20)
    stream = model.stream()
    for x in inputs_for(model)[:20] * 2:
        stream.step(x)
    found = dict(zip(run.state_names, run.states, strict=True))
    for name, value in stream.state().items():
        np.testing.assert_allclose(found[name].ravel(), value.ravel(), rtol=0, atol=2e-5)
    bound.block(20)
    repeated = model.stream()
    for _ in range(20):
        y = repeated.step(inputs_for(model)[0])
    np.testing.assert_allclose(bound.outputs["actions"].ravel(), y, rtol=0, atol=2e-5)


def test_states_of_any_number_are_carried(tmp_path: Path) -> None:
    """The loop over names, which networks with more states or inputs need, does what the written-out ones do."""
    _, (peer, *_) = onnx_peers(tmp_path)
    peer.block(10)
    (expected,) = peer.states
    _, (other, *_) = onnx_peers(tmp_path)
    feed = dict(zip(other.state_names, other.states, strict=True))
    other._any_states(feed, iter(other.inputs[:10]))
    np.testing.assert_array_equal(feed["h_in"], expected)


# -- rtrnn without Python ------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["step", "finish", "prepare"])
def test_native_steps_are_the_streams_steps(part: str, model: rtrnn.Model) -> None:
    engine = Native(model, part=part)
    if part == "step":
        engine.block(4)
    else:
        engine.singles(4)
    taken = engine.singles(6)
    assert len(taken) == 6
    assert min(taken) >= 0
    np.testing.assert_array_equal(engine.timer.outputs, trial(model, 10)[-1])


def test_native_part_must_be_known(model: rtrnn.Model) -> None:
    with pytest.raises(ValueError, match=r"'step', 'prepare' or 'finish', found 'all'"):
        Native(model).timer.singles(1, "all")


def test_whole_sequences_and_batches_are_the_same_network(model: rtrnn.Model) -> None:
    run, batch = Process(model), BatchStep(model)
    np.testing.assert_array_equal(run.call(), trial(model, run.steps_per_call))
    expected = [model.stream().step(x) for x in inputs_for(model)[: batch.size]]
    np.testing.assert_array_equal(batch.call(), expected)


# -- limits --------------------------------------------------------------------------------------------


def limits() -> Limits:
    levels = [ReadLimit("L1", 1000, 500, (200.0, 210.0)), ReadLimit("L2", 9000, 4500, (100.0, 101.0))]
    return Limits((*levels, ReadLimit("memory", 0, 90000, (10.0, 12.0))), (), (500.0, 510.0), 20.0, 3)


@pytest.mark.parametrize(("size", "level"), [(1, "L1"), (1000, "L1"), (1001, "L2"), (9001, "memory")])
def test_weights_live_in_the_smallest_cache_that_holds_them(size: int, level: str) -> None:
    found = limits().level_of(size)
    assert found is not None
    assert found.name == level


def test_shares_of_the_limits() -> None:
    shares = limits().shares(weight_bytes=9000, operations=4500, ns=100)
    assert shares.level == "L2"
    assert shares.read_percent == pytest.approx(100 * 90 / 100)  # 90 of 100 GB/s
    assert shares.flop_percent == pytest.approx(100 * 45 / 500)


def test_this_machine_has_limits() -> None:
    probes = Probes([100_000])
    for _ in range(3):
        probes.one_turn()
    found = probes.limits()
    assert found.turns == 3
    assert found.gigaflops[1] >= found.gigaflops[0] > 0
    assert [same.working_set for same in found.sizes] == [98304]
    assert all(level.gigabytes_per_second[0] > 0 for level in (*found.levels, *found.sizes))


# -- peers are checked before they are timed -------------------------------------------------------------


class Answer:
    """A peer that gives `values`, or raises them."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def trial(self, count: int) -> Any:
        if isinstance(self.values, Exception):
            raise self.values
        return self.values[:count]


def test_a_wrong_peer_is_an_error_and_no_figure() -> None:
    right = np.linspace(-3, 3, 8, dtype=np.float32).reshape(4, 2)
    wrong = right.copy()
    wrong[3, 1] += 1e-3
    blind = right.copy()
    blind[0, 0] = np.nan
    makers = {
        "right": lambda: Answer(right + 1e-6),
        "wrong": lambda: Answer(wrong),
        "nan": lambda: Answer(blind),
        "shape": lambda: Answer(right[:, :1]),
        "broken": lambda: Answer(RuntimeError("no\n such op")),
        "absent": lambda: Answer(MissingExtraError("pip install it")),
    }
    good, failures = checked(makers, right)
    assert [peer.values is not None for peer in good] == [True]
    reasons = {failure.name: failure.reason for failure in failures}
    assert set(reasons) == {"wrong", "nan", "shape", "broken"}
    assert "differ from rtrnn's by 0.001" in reasons["wrong"]
    assert reasons["shape"] == "its results have the shape (4, 1), rtrnn's (4, 2)"
    assert reasons["broken"] == "RuntimeError: no such op"


def test_a_file_of_other_weights_is_not_timed(tmp_path: Path) -> None:
    """The file on disk is not the network that was loaded."""
    pytest.importorskip("onnxruntime")
    model = rtrnn.load(gru_onnx(tmp_path / "one.onnx", seed=1))
    result = bench(gru_onnx(tmp_path / "other.onnx", seed=2), model=model, rounds=2)
    assert all(not figures.name.startswith("onnx") for figures in result.report.engines)
    failed = [failure for failure in result.failures if failure.name.startswith("onnx")]
    assert [failure.name for failure in failed] == ["onnxruntime run", "onnxruntime bound I/O"]
    assert all("not the same network" in failure.reason for failure in failed)


@pytest.mark.parametrize("form", ["passed", "buffer"])
def test_a_trial_leaves_the_peer_as_it_was(form: str, tmp_path: Path) -> None:
    path = torchscript(tmp_path / "gru.pt", form)
    model = rtrnn.load(path)
    (peer,) = peers_of(open_runtime(path, model), model)
    for _ in range(2):
        np.testing.assert_allclose(peer.trial(6), trial(model, 6), rtol=0, atol=1e-6)


def test_a_trial_leaves_onnxruntime_as_it_was(tmp_path: Path) -> None:
    model, peers = onnx_peers(tmp_path)
    for peer in [*peers, *peers]:
        np.testing.assert_allclose(peer.trial(5), trial(model, 5), rtol=0, atol=1e-6)
