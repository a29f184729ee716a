"""`rtrnn bench`: the engines that are timed do what they are said to do, and figures follow from what was timed."""

from __future__ import annotations

import gc
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_networks import H, I, O, gru_onnx, gru_rtrnn, torchscript

import rtrnn
from rtrnn.bench import bench, measure
from rtrnn.bench.engines import Prepared, Step, StepInPlace, StepOut, inputs_for, own_engines
from rtrnn.bench.machine import cpu_name, pinned
from rtrnn.bench.measure import timer_overhead_ns
from rtrnn.bench.peers import OnnxBound, OnnxRun, TorchCall, peers_of
from rtrnn.cli import main
from rtrnn.errors import UnsupportedError
from rtrnn.runtimes import open_runtime


class Sleeper:
    """An engine whose step takes a known time."""

    blocks = True

    def __init__(self, name: str, seconds: float) -> None:
        self.name, self.seconds, self.calls = name, seconds, 0
        self.collecting: set[bool] = set()

    def _step(self) -> None:
        self.calls += 1
        end = time.perf_counter() + self.seconds
        while time.perf_counter() < end:
            pass

    def block(self, count: int) -> None:
        self.collecting.add(gc.isenabled())
        for _ in range(count):
            self._step()

    def singles(self, count: int) -> list[int]:
        taken = []
        for _ in range(count):
            begin = time.perf_counter_ns()
            self._step()
            taken.append(time.perf_counter_ns() - begin)
        return taken


def test_figures_follow_the_engines() -> None:
    fast, slow = Sleeper("fast", 20e-6), Sleeper("slow", 100e-6)
    seen: list[float] = []
    report = measure([fast, slow], rounds=12, progress=seen.append)
    one, other = report.engines
    assert (one.name, other.name) == ("fast", "slow")
    assert one.ratio == 1
    assert other.ratio == pytest.approx(other.median_ns / one.median_ns)
    assert other.low_ratio == pytest.approx(other.low_ns / one.low_ns)
    # The clock is the lower bound; a busy machine only adds to it.
    assert one.median_ns >= 20_000
    assert other.median_ns >= 100_000
    assert 2.5 < other.ratio < 8
    for figures in report.engines:
        assert figures.low_ns <= figures.median_ns
        assert figures.p50_ns <= figures.p99_ns <= figures.p999_ns <= figures.largest_ns
        assert figures.calls == len(report.samples_ns[figures.name])
    assert report.rounds == 12
    assert seen[-1] == 1
    assert 0 <= report.interrupted <= 1


def test_the_garbage_collector_is_off_while_timing() -> None:
    engine = Sleeper("one", 20e-6)
    measure([engine], rounds=1)
    assert gc.isenabled()
    assert False in engine.collecting  # the warm-up comes before


def test_seconds_bound_the_measurement() -> None:
    begin = time.perf_counter()
    report = measure([Sleeper("one", 20e-6)], seconds=0.3)
    assert report.rounds >= 3
    assert 0.3 <= time.perf_counter() - begin < 20


def test_an_engine_without_blocks_is_judged_by_single_calls() -> None:
    engine = Sleeper("one", 50e-6)
    engine.blocks = False
    report = measure([engine], rounds=5)
    (figures,) = report.engines
    assert not figures.from_blocks
    assert figures.median_ns == pytest.approx(figures.p50_ns - report.timer_ns)


def test_timer_overhead_is_plausible() -> None:
    assert 0 < timer_overhead_ns() < 10_000


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
    model, (peer, _) = onnx_peers(tmp_path)
    assert isinstance(peer, OnnxRun)
    getattr(peer, timed)(10)
    (state,) = peer.states
    np.testing.assert_allclose(state.ravel(), state_after(model, inputs_for(model)[:10]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("timed", ["block", "singles"])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_onnxruntime_bound_carries_the_state(timed: str, count: int, tmp_path: Path) -> None:
    """From binding to binding: after `count` calls the last one's output is rtrnn's after as many steps."""
    model, (_, peer) = onnx_peers(tmp_path)
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
    assert names[-2:] == ["onnxruntime run", "onnxruntime bound I/O"]
    parameters = 3 * H * (I + H) + 6 * H + O * H
    assert result.weight_bytes == 4 * parameters
    reference = result.report.engines[0].median_ns
    assert result.gigabytes_per_second == pytest.approx(4 * parameters / reference)


def test_what_starts_anew_in_each_call_is_said(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    result = bench(gru_onnx(tmp_path / "gru.onnx", carried=False, time="t"), rounds=3)
    assert any("does not carry" in note for note in result.notes)


def test_missing_runtime_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = gru_onnx(tmp_path / "gru.onnx")
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    result = bench(path, rounds=3)
    assert all(figures.name.startswith("rtrnn") for figures in result.report.engines)
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
    assert facts["isa"] == rtrnn.load(tmp_path / "gru.rtrnn").stream().isa
    assert facts["rounds"] == 3
    assert [engine["name"] for engine in facts["engines"]] == [
        "rtrnn step(x)",
        "rtrnn step(x, out=y)",
        "rtrnn step()",
        "rtrnn step(x) after prepare()",
    ]
    assert all(engine["median_ns"] > 0 for engine in facts["engines"])
    assert facts["engines"][0]["ratio"] == 1


def test_command_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = gru_onnx(tmp_path / "gru.onnx")
    assert main(["bench", str(path), "--rounds", "3", "--no-peers"]) == 0
    text = capsys.readouterr().out
    for part in ("median", "ratio", "p99.9", "GB/s", "the timer's own", "rtrnn step(x, out=y)"):
        assert part in text
    assert "onnxruntime" not in text


@pytest.mark.parametrize("file", ["motion_legacy_opset11.onnx", "motion_dynamo_opset18.onnx"])
def test_real_policy_carries_two_states(file: str, models: Path) -> None:
    """onnxruntime's calls and rtrnn's reach the same state from the same inputs."""
    pytest.importorskip("onnxruntime")
    path = models / "unitree_g1" / file
    model = rtrnn.load(path)
    run, bound = peers_of(open_runtime(path, model), model)
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
    _, (peer, _) = onnx_peers(tmp_path)
    peer.block(10)
    (expected,) = peer.states
    _, (other, _) = onnx_peers(tmp_path)
    feed = dict(zip(other.state_names, other.states, strict=True))
    other._any_states(feed, iter(other.inputs[:10]))
    np.testing.assert_array_equal(feed["h_in"], expected)
