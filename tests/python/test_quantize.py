"""Weights chosen under a budget of error: the metric, the choice, what is said about it, and the robots that live with it."""

from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_graphs import random_draft
from small_networks import gru_onnx, rtrnn_command, two_input_rtrnn
from test_models import load_module
from test_rltools import fly
from test_stream import policy

import rtrnn
from rtrnn.cli import main
from rtrnn.precision import OutputError, Trial, WeightChoice
from rtrnn.precision.calibration import plausible_input, sequences_of

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
TINY, HUGE = 1e-9, 1e9


def recorded(name: str) -> tuple[rtrnn.Model, np.ndarray]:
    model = rtrnn.load(GOLDEN / f"{name}.rtrnn")
    (shape,) = model.inputs.values()
    return model, np.fromfile(GOLDEN / f"{name}.x.f32", "<f4").reshape(-1, *shape)


def as_list(outputs: Any) -> list[np.ndarray]:
    return list(outputs) if isinstance(outputs, tuple) else [outputs]


def independent_rms(model: rtrnn.Model, xs: Any, weights: Any) -> list[np.ndarray]:
    """Of each output the RMS over time of each element, relative to its deviation, but for elements that hardly move; written anew."""
    found = []
    for y, z in zip(as_list(model.run(xs)), as_list(model.run(xs, weights=weights, on_nonfinite="propagate")), strict=True):
        y, z = (a.reshape(len(a), -1).astype(np.float64) for a in (y, z))
        mean = y.sum(0) / len(y)
        deviation = (((y - mean) ** 2).sum(0) / len(y)) ** 0.5
        moving = deviation > 1e-2 * deviation.max()
        found.append(((z - y) ** 2).mean(0)[moving] ** 0.5 / deviation[moving])
    return found


@pytest.fixture(scope="module")
def xs() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(200, 5)).astype(np.float32)


# -- the metric ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["f16", "i16", "i8"])
def test_the_metric_is_that_of_numpy(precision: str, xs: np.ndarray) -> None:
    model = policy("lstm")
    (error,) = Trial(model, sequences_of(model, xs)).errors(precision)
    (rms,) = independent_rms(model, xs, precision)
    assert error.rms == pytest.approx(rms.max(), rel=1e-9)
    assert error.element == rms.argmax()
    assert error.rms_of_all == pytest.approx(np.sqrt((rms**2).mean()), rel=1e-9)
    y, z = model.run(xs).astype(np.float64), model.run(xs, weights=precision)
    relative = np.abs(z - y) / y.std(0)
    assert error.largest == pytest.approx(relative.max(), rel=1e-9)
    assert error.step == relative.max(1).argmax()


def test_sequences_of_a_batch_each_start_anew(xs: np.ndarray) -> None:
    model = policy("gru")
    batch = np.stack([xs[:100], xs[100:]], 1)
    (error,) = Trial(model, sequences_of(model, batch)).errors("i8")
    y, z = (np.concatenate([model.run(part, weights=w) for part in (xs[:100], xs[100:])]) for w in ("f32", "i8"))
    expected = np.sqrt(((z - y.astype(np.float64)) ** 2).mean(0)) / y.astype(np.float64).std(0)
    assert error.rms == pytest.approx(expected.max(), rel=1e-9)


def test_elements_that_do_not_move_are_measured_against_the_others() -> None:
    from rtrnn.precision.errors import Meter

    y = np.stack([np.linspace(-1, 1, 50), np.full(50, 0.1), np.zeros(50)], 1)
    spread = y[:, 0].std()
    (error,) = Meter(["y"], [y]).errors([y + np.array([0, 0.001, 0])])
    assert error.rms == pytest.approx(0.001 / (0.01 * spread))
    (error,) = Meter(["y"], [np.full((4, 2), [3.0, 3.0])]).errors([np.full((4, 2), [3.0, 3.3])])
    assert error.rms == pytest.approx(0.3 / 3)
    (error,) = Meter(["y"], [np.zeros((4, 2))]).errors([np.full((4, 2), np.nan)])
    assert error.rms == error.largest == np.inf
    assert Meter(["y"], [np.zeros((4, 0))]).errors([np.zeros((4, 0))]) == ()


# -- the choice ----------------------------------------------------------------------------------------

NETWORKS = ["gru_100", "gru_reset_before_13", "lstm_31_initial", "lstm_peephole", "rnn_relu_16", "composed_normalised_gru"]


@pytest.mark.parametrize("goal", ["speed", "memory"])
@pytest.mark.parametrize("name", NETWORKS)
def test_within_the_budget(name: str, goal: str) -> None:
    model, x = recorded(name)
    choice = model.choose_weights(x, 0.01, goal=goal)
    assert choice.within_budget
    for rms, error in zip(independent_rms(model, x, choice), choice.errors, strict=True):
        assert rms.max() <= 0.01
        assert error.rms <= 0.01
    if goal == "memory":
        assert set(choice.overrides.values()) != {"f32"}
        assert choice.weight_bytes[1] <= choice.weight_bytes[0] / 2


@pytest.mark.parametrize("goal", ["speed", "memory"])
def test_a_tiny_budget_leaves_f32_and_a_huge_one_nothing(goal: str, xs: np.ndarray) -> None:
    model = policy("gru", hidden=96)
    strict = model.choose_weights(xs, TINY, goal=goal)
    assert set(strict.overrides.values()) == {"f32"}
    assert np.array_equal(model.run(xs, weights=strict), model.run(xs))
    generous = model.choose_weights(xs, HUGE, goal=goal)
    assert {p for n, p in generous.overrides.items() if n.endswith("_hh")} <= {"i8", "i8a14"}


def test_small_matrices_stay_f32_unless_it_is_for_memory(xs: np.ndarray) -> None:
    model = policy("gru", hidden=12)
    assert set(model.choose_weights(xs, HUGE).overrides.values()) == {"f32"}
    assert set(model.choose_weights(xs, HUGE, goal="memory").overrides.values()) == {"i8", "i8a14"}


@pytest.mark.parametrize("seed", range(40))
def test_random_networks_stay_within_the_budget(seed: int) -> None:
    model = rtrnn.Model(random_draft(seed).build())
    rng = np.random.default_rng(seed)
    data = tuple(rng.normal(size=(60, *shape)).astype(np.float32) for shape in model.inputs.values())
    choice = model.choose_weights(data, 0.02, goal="memory")
    assert dict(model.plan(choice).weights) == dict(choice.overrides)
    trial = Trial(model, sequences_of(model, data))
    assert trial.errors(choice.default, choice.overrides) == choice.errors
    assert choice.within_budget


def test_the_same_data_give_the_same_choice(xs: np.ndarray) -> None:
    first, second = (policy("lstm", hidden=80).choose_weights(xs.copy(), 0.02) for _ in range(2))
    assert first == second
    assert first.to_json() == second.to_json()
    assert hash(first) == hash(second)
    other = policy("lstm", hidden=80)
    assert other.choose_weights(xs, 0.02) is other.choose_weights(xs, 0.02)


def test_a_choice_can_be_kept(xs: np.ndarray) -> None:
    model = policy("gru", hidden=64)
    choice = model.choose_weights(xs)
    assert pickle.loads(pickle.dumps(choice)) == choice
    kept = WeightChoice.from_json(choice.to_json())
    assert kept == choice
    assert np.array_equal(model.run(xs, weights=kept), model.run(xs, weights="auto", data=xs))
    for text in ("", "[]", "{}", '{"default": "f32", "overrides": {}, "budget": 1, "x": 1}', '{"overrides": 3}'):
        with pytest.raises(ValueError, match="not a choice of weights"):
            WeightChoice.from_json(text)


def test_it_says_what_it_chose(xs: np.ndarray) -> None:
    model = policy("gru", hidden=64)
    choice = model.choose_weights(xs)
    text = str(choice)
    for name, precision in choice.overrides.items():
        assert any(line.split() == [name, precision] for line in text.splitlines())
    assert "200 timesteps of data" in text
    assert "error of action: RMS" in text
    stream = model.stream("auto", data=xs)
    assert stream.weights == dict(choice.overrides)
    assert set(model.stream("i8").weights.values()) == {"i8"}


def test_every_way_of_stepping_takes_it(xs: np.ndarray) -> None:
    model = policy("gru", hidden=64)
    expected = model.run(xs, weights="auto", data=xs)
    assert not np.array_equal(expected, model.run(xs))
    choice = model.choose_weights(xs)
    stream, batch = model.stream(choice), model.batch(2, weights="auto", data=xs)
    assert np.array_equal(model.stream(dict(choice.overrides)).process(xs), expected)
    for t in range(20):
        assert np.array_equal(stream.step(xs[t]), expected[t])
        assert np.array_equal(batch.step(np.stack([xs[t], xs[t]]))[1], expected[t])
    assert model.plan(choice) is model.plan("auto", data=xs)


def test_what_cannot_be_asked(xs: np.ndarray) -> None:
    model = policy()
    with pytest.raises(ValueError, match="data is for weights='auto'; found weights='i16'"):
        model.stream("i16", data=xs)
    with pytest.raises(TypeError, match=r"weights: expected .* found int"):
        model.stream(16)
    with pytest.raises(ValueError, match="the network has no such matrix"):
        model.run(xs, weights={"nobody.weight": "i8"})
    for budget in (0, -1, np.nan, np.inf, "1 %"):
        with pytest.raises(ValueError, match="budget: expected a number above 0"):
            model.choose_weights(xs, budget)
    with pytest.raises(ValueError, match="goal: expected 'speed' or 'memory', found 'beauty'"):
        model.choose_weights(xs, goal="beauty")
    with pytest.raises(ValueError, match="at least one timestep"):
        model.choose_weights(xs[:0])
    poisoned = xs.copy()
    poisoned[7, 2] = np.nan
    with pytest.raises(rtrnn.NonFiniteError, match="timestep 7"):
        model.choose_weights(poisoned)


def test_one_timestep_of_data_is_data(xs: np.ndarray) -> None:
    assert policy().choose_weights(xs[:1], goal="memory").within_budget


# -- made-up input -------------------------------------------------------------------------------------


def test_without_data_it_warns_and_keeps_a_reserve() -> None:
    model = policy("gru", hidden=64)
    with pytest.warns(rtrnn.ModelWarning, match="made-up input") as caught:
        stream = model.stream("auto")
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        choice = model.choose_weights()  # kept: nothing new to say
    assert stream.weights == dict(choice.overrides)
    assert all(error.rms <= choice.budget / 2 for error in choice.errors)


def test_made_up_input_has_the_normalisers_statistics() -> None:
    mean, std = np.array([5.0, -100.0, 0.0]), np.array([0.1, 20.0, 1.0])
    model = rtrnn.Sequential(rtrnn.Normalizer(mean, std), rtrnn.Linear(np.ones((2, 3))))
    (values,) = plausible_input(model)
    assert values.shape == (2000, 3)
    assert np.abs((values.mean(0) - mean) / std).max() < 0.3
    assert np.abs(values.std(0) / std - 1).max() < 0.2
    assert np.array_equal(plausible_input(model)[0], values)
    (plain,) = plausible_input(rtrnn.Linear(np.ones((2, 3))))
    assert np.abs(plain.std(0) - 1).max() < 0.2


def test_several_inputs_and_no_matrix(tmp_path: Path) -> None:
    model = rtrnn.load(two_input_rtrnn(tmp_path / "sum.rtrnn"))
    with pytest.warns(rtrnn.ModelWarning):
        choice = model.choose_weights()
    assert choice.overrides == {}
    assert [error.name for error in choice.errors] == ["total", "first"]
    data = {"b": np.ones((4, 3)), "a": np.zeros((4, 3))}
    assert model.choose_weights(data).errors[0].rms == 0


def test_a_network_with_reverse_layers_gets_one_precision(tmp_path: Path) -> None:
    model = rtrnn.load(gru_onnx(tmp_path / "both.onnx", carried=False, time="t", batch="b", directions=2))
    xs = np.random.default_rng(0).normal(size=(50, 5)).astype(np.float32)
    choice = model.choose_weights(xs, 0.01, goal="memory")
    assert choice.overrides == {}
    assert choice.default != "f32"
    assert all(rms.max() <= 0.01 for rms in independent_rms(model, xs, choice))
    assert model.choose_weights(xs, TINY, goal="memory").default == "f32"
    with pytest.raises(rtrnn.UnsupportedError, match="not for networks with reverse layers"):
        model.run(xs, weights={"gru.weight_hh": "i8"})


# -- real networks -------------------------------------------------------------------------------------


def g1(models: Path) -> tuple[rtrnn.Model, np.ndarray]:
    pytest.importorskip("onnx")
    model = rtrnn.load(models / "unitree_g1" / "motion_legacy_opset11.onnx")
    return model, np.load(models / "unitree_g1" / "ref.npz")["x"]


@pytest.mark.models
def test_g1_within_its_budget_and_still_walking(models: Path) -> None:
    pytest.importorskip("mujoco")
    pytest.importorskip("yaml")
    model, x = g1(models)
    choice = model.choose_weights(x)
    (rms,) = independent_rms(model, x, choice)
    assert rms.max() <= 0.01
    assert choice.predicted_speedup > 1.3
    assert independent_rms(model, x, "i8")[0].max() > 0.01  # the twin: not every choice is within it
    simulation = load_module(models / "unitree_g1" / "closed_loop.py")
    stream = model.stream(choice)
    log = simulation.run(simulation.load_robot(str(models / "unitree_g1")), stream.step)
    reference = np.load(models / "unitree_g1" / "ref_closedloop_10s.npz")
    found, expected = (simulation.summary(run) for run in (log, reference))
    assert found["fell_at"] is None
    assert found["distance_x"] == pytest.approx(expected["distance_x"], rel=0.03)
    assert found["height_mean_after_2s"] == pytest.approx(expected["height_mean_after_2s"], rel=0.01)


@pytest.mark.models
@pytest.mark.parametrize("goal", ["speed", "memory"])
def test_raptor_within_its_budget_and_still_hovering(models: Path, goal: str) -> None:
    pytest.importorskip("pyfive")
    model, x = rtrnn.load(models / "raptor" / "checkpoint.h5"), np.load(models / "raptor" / "ref.npz")["x"]
    choice = model.choose_weights(x, goal=goal)
    y, z = (model.run(x, weights=w).reshape(-1, 4).astype(np.float64) for w in ("f32", choice))
    assert (np.sqrt(((z - y) ** 2).mean(0)) / y.std(0)).max() <= 0.01
    assert goal == "speed" or choice.weight_bytes[1] < choice.weight_bytes[0] / 2
    reference = np.load(models / "raptor" / "ref_closedloop_10s.npz")
    log = fly(model.stream(choice).step, models, 4.0)
    assert np.abs(log["pos"] - reference["pos"][:400]).max() < 0.01  # metres
    assert log["R"][-1][2, 2] > 0.99


# -- the command line ----------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path, xs: np.ndarray) -> tuple[str, str]:
    policy("gru", hidden=64).save(tmp_path / "policy.rtrnn")
    np.save(tmp_path / "x.npy", xs)
    return str(tmp_path / "policy.rtrnn"), str(tmp_path / "x.npy")


def test_quantize_json(files: tuple[str, str], xs: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    path, data = files
    assert main(["quantize", path, "--data", data, "--seconds", "0.01", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [r["name"] for r in facts["results"]] == ["f32", "f16", "bf16", "i16", "i8", "auto"]
    model = rtrnn.load(path)
    for result in facts["results"]:
        weights = WeightChoice.from_json(json.dumps(facts["choice"])) if result["name"] == "auto" else result["name"]
        (error,) = result["errors"]
        (rms,) = independent_rms(model, xs, weights)
        assert error["rms"] == pytest.approx(rms.max(), rel=1e-9)
        assert result["plan_bytes"] == model.plan(weights).constant_bytes
        assert result["step_ns"] > 0
        assert result["speedup"] == pytest.approx(facts["results"][0]["step_ns"] / result["step_ns"])
    assert facts["trajectory"] == "200 timesteps of data"


def test_delta_updates_are_measured_along_the_data(files: tuple[str, str], xs: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    path, data = files
    thresholds = [0.0, 0.02, 1e9]
    arguments = [word for t in thresholds for word in ("--delta", str(t))]
    assert main(["quantize", path, "--data", data, "--seconds", "0.01", "--json", *arguments]) == 0
    results = {r["name"]: r for r in json.loads(capsys.readouterr().out)["results"]}
    assert list(results)[6:] == ["delta 0", "delta 0.02", "delta 1e+09"]
    model = rtrnn.load(path)
    exact = model.run(xs).astype(np.float64)
    for threshold in thresholds:
        stream = model.stream(delta=threshold, limits=False)
        found = np.stack([stream.step(x).copy() for x in xs])
        rms = np.sqrt(np.mean(np.square(found - exact), 0)) / exact.std(0)
        result = results[f"delta {threshold:g}"]
        assert result["errors"][0]["rms"] == pytest.approx(rms.max(), rel=1e-6)
        assert result["step_ns"] > 0
    rms_of = [results[f"delta {t:g}"]["errors"][0]["rms"] for t in thresholds]
    assert rms_of[0] < 1e-4 < rms_of[1] < rms_of[2]
    # Nothing is ever followed: no column is read.
    assert results["delta 1e+09"]["step_ns"] < results["f32"]["step_ns"]
    with pytest.raises(SystemExit):
        main(["quantize", path, "--delta", "-1"])
    assert "expected a number from 0 on" in capsys.readouterr().err


def test_quantize_says_all_of_it(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    path, data = files
    assert main(["quantize", path, "--data", data, "--seconds", "0.01"]) == 0
    text = capsys.readouterr().out
    model = rtrnn.load(path)
    choice = model.choose_weights(np.load(data))
    assert f"auto: {choice}" in text
    (error,) = Trial(model, sequences_of(model, np.load(data))).errors("i8")
    line = next(line for line in text.splitlines() if line.split()[:2] == ["i8", "action"])
    assert line.split()[2] == f"{100 * error.rms:.2g}"
    assert "made-up" not in text
    assert main(["quantize", path, "--seconds", "0.01"]) == 0
    assert "note: made-up input; --data with inputs" in capsys.readouterr().out


def test_a_saved_choice_is_what_run_takes(files: tuple[str, str], tmp_path: Path, xs: np.ndarray) -> None:
    path, data = files
    kept, out = tmp_path / "choice.json", tmp_path / "y.npy"
    drawn = tmp_path / "errors.png"
    done = rtrnn_command("quantize", path, "--data", data, "--seconds", "0.01", "--save", kept, "--figure", drawn)
    assert done.returncode == 0, done.stderr
    assert drawn.read_bytes()[:4] == b"\x89PNG"
    model = rtrnn.load(path)
    choice = model.choose_weights(xs)
    assert WeightChoice.from_json(kept.read_text()) == choice
    expected = model.run(xs, weights=choice)
    assert not np.array_equal(expected, model.run(xs))
    names = list(choice.overrides)
    for given in ([kept], ["auto"], [f"{name}={choice.overrides[name]}" for name in names]):
        words = [word for value in given for word in ("--weights", str(value))]
        assert main(["run", path, "--input", data, "--output", str(out), *words]) == 0
        assert np.array_equal(np.load(out), expected)


def test_weights_that_cannot_be(files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, data = files
    (tmp_path / "bad.json").write_text("{}")
    for weights, message in [
        ("i7", "weights 'i7' is no precision this release has"),
        ("nobody.weight=i8", "the network has no such matrix"),
        (str(tmp_path / "bad.json"), "not a choice of weights"),
        (str(tmp_path / "none.json"), "no such file"),
    ]:
        assert main(["run", path, "--input", data, "--output", str(tmp_path / "y.npy"), "--weights", weights]) == 1
        assert message in capsys.readouterr().err


def test_bench_in_a_precision(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    path, _ = files
    assert main(["bench", path, "--rounds", "1", "--no-peers", "--weights", "i16"]) == 0
    text = capsys.readouterr().out
    assert "rtrnn C++ step i16 " in text
    assert "rtrnn C++ step  " in text


def test_an_error_of_an_output_is_plain_data() -> None:
    assert OutputError("y", 0.1, 0, 0.1, 0.2, 3) == pickle.loads(pickle.dumps(OutputError("y", 0.1, 0, 0.1, 0.2, 3)))
