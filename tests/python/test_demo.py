"""The bundled networks do what the demo says of them, and its checks notice when they do not."""

from __future__ import annotations

import argparse
import json
import struct
import sys
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

import rtrnn
from rtrnn import demo
from rtrnn.demo import cartpole, realtime, sine
from rtrnn.errors import MissingExtraError

MODELS = ("sine_rnn", "sine_gru", "sine_lstm", "cartpole_gru")
SINE_BOUNDS = {"rnn": 0.07, "gru": 0.03, "lstm": 0.025}
SEEDS = range(12)


def model_bytes(name: str) -> bytes:
    return (files("rtrnn.demo") / "models" / f"{name}.rtrnn").read_bytes()


def edited(name: str, kind: str, change: Callable[[np.ndarray], np.ndarray], folder: Path) -> rtrnn.Model:
    """A bundled model with `change` applied, in the file, to every tensor that has `kind` in its name."""
    content = bytearray(model_bytes(name))
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    found = [key for key in header if kind in key and key != "__metadata__"]
    assert found, f"no tensor named like {kind!r} among {sorted(header)}"
    for key in found:
        begin, end = (8 + length + offset for offset in header[key]["data_offsets"])
        values = np.frombuffer(content[begin:end], np.float32).reshape(header[key]["shape"])
        content[begin:end] = np.ascontiguousarray(change(values), np.float32).tobytes()
    path = folder / f"{name}.rtrnn"
    path.write_bytes(content)
    return rtrnn.load(path)


def dropped(values: np.ndarray) -> np.ndarray:
    return np.zeros_like(values)


def reset_and_update_swapped(values: np.ndarray) -> np.ndarray:
    reset, update, new = np.split(values, 3)
    return np.concatenate([update, reset, new])


def sine_error(model: rtrnn.Model) -> float:
    stream = model.stream()

    def step(sample: np.ndarray) -> np.ndarray:
        return stream.step(sample.reshape(stream.input.shape)).reshape(1)

    return sine.continuations(step, stream.reset).rms_error


def parsed(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    return parser.parse_args(options)


@pytest.mark.parametrize("name", MODELS)
def test_bundled_model(name: str) -> None:
    assert len(model_bytes(name)) < 200_000
    metadata = demo.load(name).metadata
    assert metadata["trained_by"].startswith("tools/train/train_")
    assert {"task", "seed", "hidden_size"} <= set(metadata)


def test_policy_metadata_names_units() -> None:
    metadata = demo.load("cartpole_gru").metadata
    assert metadata["observation_names"] == ",".join(cartpole.OBSERVATION_NAMES)
    assert metadata["observation_units"] == "m,rad"
    assert metadata["action_units"] == "N"
    assert float(metadata["action_scale"]) == cartpole.FORCE_LIMIT
    assert metadata["control_rate_hz"] == "1000"


@pytest.mark.parametrize("cell", demo.CELLS)
def test_sine_goes_on_alone(cell: str) -> None:
    assert sine_error(demo.load(f"sine_{cell}")) < SINE_BOUNDS[cell]


@pytest.mark.parametrize("cell", demo.CELLS)
def test_sine_bound_notices_a_dropped_bias(cell: str, tmp_path: Path) -> None:
    assert sine_error(edited(f"sine_{cell}", "bias", dropped, tmp_path)) > SINE_BOUNDS[cell]


@pytest.mark.parametrize("seed", SEEDS)
def test_pole_stays_up_with_memory_and_falls_without(seed: int) -> None:
    given = cartpole.conditions(seed, 10.0)
    policy = demo.load("cartpole_gru")
    assert not realtime.balance(policy, given).fell
    assert realtime.balance(policy, given, wiped=True).fell


@pytest.mark.parametrize(("kind", "change"), [("bias", dropped), ("rnn.", reset_and_update_swapped)])
def test_pole_falls_when_the_policy_is_damaged(
    kind: str, change: Callable[[np.ndarray], np.ndarray], tmp_path: Path
) -> None:
    broken = edited("cartpole_gru", kind, change, tmp_path)
    assert realtime.balance(broken, cartpole.conditions(0, 10.0)).fell


def test_no_feedback_of_positions_alone_is_stable() -> None:
    a, b = cartpole.linearised(1e-3)
    for position_gain, angle_gain in np.random.default_rng(0).uniform((-20, -20), (20, 200), (500, 2)):
        loop = a + b * np.array([position_gain, 0, angle_gain, 0, 0])
        assert np.abs(np.linalg.eigvals(loop)).max() > 1


def test_physics_keeps_energy_without_friction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cartpole, "CART_FRICTION", 0.0)
    monkeypatch.setattr(cartpole, "PIVOT_FRICTION", 0.0)

    def energy(state: cartpole.State) -> float:
        _, v, angle, turn, _ = state
        m, length = cartpole.POLE_MASS, cartpole.HALF_LENGTH
        speed_squared = v * v + 2 * v * turn * length * np.cos(angle) + (turn * length) ** 2
        rotation = m * length**2 / 3 * turn * turn
        kinetic = (cartpole.CART_MASS * v * v + m * speed_squared + rotation) / 2
        return kinetic + m * cartpole.GRAVITY * length * np.cos(angle)

    state = (0.0, 0.3, 0.4, -0.5, 0.0)
    before, widest = energy(state), 0.0
    for _ in range(3000):
        state = cartpole.advance(state, 0.0, 0.0, 1e-3)
        widest = max(widest, abs(state[2]))
    assert widest > 3.0
    assert energy(state) == pytest.approx(before, abs=1e-8)


def test_conditions_repeat_and_differ() -> None:
    one, same, other = (cartpole.conditions(seed, 2.0) for seed in (5, 5, 6))
    assert one.initial == same.initial
    assert np.array_equal(one.noise, same.noise)
    assert one.initial != other.initial
    assert not np.array_equal(one.push, other.push)
    assert one.push.any()
    assert abs(one.initial[2]) <= cartpole.INITIAL_TILT


def test_real_time_run_keeps_its_rate() -> None:
    given = cartpole.conditions(1, 0.5)
    begin = time.perf_counter()
    trace, timing = realtime.balance_in_real_time(demo.load("cartpole_gru"), given)
    assert time.perf_counter() - begin >= 0.5
    assert len(timing.latency_ns) == 500
    assert (timing.latency_ns > 0).all()
    again = realtime.balance(demo.load("cartpole_gru"), given)
    assert np.array_equal(trace.states, again.states)
    percentiles = timing.percentiles()
    assert percentiles["p50"] <= percentiles["p99"] <= percentiles["max"] == timing.latency_ns.max()


def test_run_writes_the_figure_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = pytest.importorskip("matplotlib.image")
    path = tmp_path / "demo.png"
    assert demo.run(parsed("--seconds", "4", "--output", str(path), "--json")) == 0
    result = json.loads(capsys.readouterr().out)
    assert [row["cell"] for row in result["sine"]] == ["RNN", "GRU", "LSTM"]
    assert all(row["ns_per_step"] > 0 and row["parameters"] > 16 for row in result["sine"])
    assert result["cartpole"]["state_wiped"]["fell"]
    assert not result["cartpole"]["with_state"]["fell"]
    assert result["steps"] == 4000
    pixels = image.imread(path)[:, :, :3]
    assert pixels.shape == (1200, 1600, 3)
    for rows in np.array_split(pixels, 3):
        for tile in np.array_split(rows, 3, axis=1):
            ink = (np.ptp(tile, axis=2) > 0.2).mean()
            assert ink > 0.002, "a ninth of the figure has no coloured line"


def test_run_fails_when_the_pole_falls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = demo.load
    broken = edited("cartpole_gru", "bias", dropped, tmp_path)
    monkeypatch.setattr(demo, "load", lambda name: broken if name == "cartpole_gru" else good(name))
    assert demo.run(parsed("--no-plot", "--seconds", "10")) == 1


def test_missing_matplotlib_is_said_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(demo, "sine_results", lambda: pytest.fail("the run began"))
    with pytest.raises(MissingExtraError) as caught:
        demo.run(parsed())
    assert str(caught.value) == "drawing needs matplotlib: pip install 'rtrnn[tools]'"


def test_missing_folder_is_said_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(demo, "sine_results", lambda: pytest.fail("the run began"))
    with pytest.raises(FileNotFoundError, match="no such folder"):
        demo.run(parsed("--output", str(tmp_path / "absent" / "demo.png")))


def test_shortest_run() -> None:
    assert len(cartpole.conditions(0, 1e-6).push) == 1


@pytest.mark.parametrize("option", ["--seconds=0", "--rate=-1", "--seconds=inf", "--rate=x", "--seed=-1"])
def test_bad_options_are_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(option)
    assert option.split("=")[0] in capsys.readouterr().err


def test_format_ns() -> None:
    texts = [realtime.format_ns(value) for value in (85, 1250, 250_000, 3.21e6, 2e9)]
    assert texts == ["85 ns", "1.2 us", "250 us", "3.2 ms", "2.0 s"]
