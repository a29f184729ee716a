"""`rtrnn compare`: two networks or two precisions side by side."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from small_networks import gru_rtrnn, observations, two_input_rtrnn

import rtrnn
from rtrnn.cli import main
from rtrnn.precision.compare import compare
from rtrnn.precision.errors import Meter

STEPS = 300


@pytest.fixture
def data(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", observations(STEPS))
    return tmp_path / "x.npy"


def test_two_precisions(network: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    arguments = ["compare", str(network), f"{network}:i8", "--data", str(data), "--seconds", "0.05"]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    model = rtrnn.load(network)
    xs = observations(STEPS)
    meter = Meter(["actions"], [model.run(xs)])
    (errors,) = meter.relative([model.run(xs, weights="i8")])
    assert found["over_time"]["actions"] == pytest.approx(np.sqrt(np.mean(np.square(errors), 1)))
    (expected,) = meter.errors([model.run(xs, weights="i8")])
    assert found["errors"][0]["rms"] == pytest.approx(expected.rms)
    assert found["errors"][0]["step"] == expected.step
    assert found["b"]["plan_bytes"] == model.plan("i8").constant_bytes < found["a"]["plan_bytes"]
    assert found["a"]["stream_bytes"] == model.plan().stream_bytes
    assert found["a"]["step_ns"] > 0 < found["b"]["step_ns"]
    assert main([*arguments, "--figure", str(tmp_path / "c.png")]) == 0
    text = capsys.readouterr().out
    assert re.search(r"time of a step +[\d,]+ ns +[\d,]+ ns +\d", text)
    assert f"{STEPS} timesteps of data" in text
    assert (tmp_path / "c.png").stat().st_size > 20_000


def test_two_files_and_made_up_input(network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = gru_rtrnn(tmp_path / "other.rtrnn", seed=3)
    assert main(["compare", str(network), str(other), "--seconds", "0.02"]) == 0
    text = capsys.readouterr().out
    assert "other.rtrnn against gru.rtrnn" in text
    assert "made-up input" in text


def test_the_same_is_the_same() -> None:
    from fleets import policy

    found = compare((policy(), "f32"), (policy(), "f32"), observations(50), seconds=0)
    assert not any(values.any() for values in found.over_time.values())
    assert found.errors[0].largest == 0


def test_networks_that_do_not_fit(network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(network), str(two_input_rtrnn(tmp_path / "two.rtrnn"))]) == 1
    assert "cannot be compared" in capsys.readouterr().err


def test_an_unknown_precision_is_part_of_the_name(network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(network), f"{network}:i7"]) == 1
    assert "gru.rtrnn:i7" in capsys.readouterr().err
