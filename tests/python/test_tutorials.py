"""Every tutorial runs from its script and shows what it says; its pictures are there and not blank.

Here in the small size (`--quick`); with RTRNN_NIGHTLY=1 in full.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TUTORIALS = Path(__file__).resolve().parents[2] / "docs" / "tutorials"
NIGHTLY = os.environ.get("RTRNN_NIGHTLY") == "1"
TESTED = {"gru_or_lstm", "humanoid", "policy_at_1khz", "sampled_rollouts", "speech_activity", "streaming_ctc", "vital_signs"}


def run(name: str, folder: Path, *pictures: str, options: tuple[str, ...] = ()) -> dict[str, Any]:
    """Runs a tutorial in a process of its own; its figures, after a look at its pictures."""
    image = pytest.importorskip("matplotlib.image", reason="the tutorials draw with matplotlib")
    size = () if NIGHTLY else ("--quick",)
    command = [sys.executable, str(TUTORIALS / f"{name}.py"), "--output", str(folder), *size, *options]
    environment = {**os.environ, "MPLBACKEND": "Agg"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    assert {path.stem for path in folder.glob("*.png")} == set(pictures)
    for picture in pictures:
        pixels = image.imread(folder / f"{picture}.png")[:, :, :3]
        for half in np.array_split(pixels, 2, axis=1):
            assert (np.ptp(half, axis=2) > 0.1).mean() > 0.003, f"{picture}.png: half of it has no colour"
    return dict(json.loads((folder / "results.json").read_text()))


def test_each_tutorial_has_a_test() -> None:
    assert {path.stem for path in TUTORIALS.glob("*.py")} == TESTED


def test_gru_or_lstm(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    found = run("gru_or_lstm", tmp_path, "cells", "training", "gates")
    sizes = (4, 8, 16, 32) if NIGHTLY else (8,)
    for size in sizes:
        for name, node, blocks in (("RNN", "rnn", 1), ("GRU", "gru", 3), ("LSTM", "lstm", 4)):
            row = found[f"{name} {size}"]
            assert row["node"] == node
            assert row["parameters"] in {blocks * size * (size + 2 + extra) + size + 1 for extra in (0, 1)}
            assert row["from_torch"] < 1e-5
            assert row["error"] < 0.75 * found["last_value"]
            assert row["ns"] > 0
    best = max(sizes)
    assert found[f"LSTM {best}"]["error"] < found[f"RNN {best}"]["error"]
    assert found[f"GRU {best}"]["error"] < found[f"RNN {best}"]["error"]
    for gates in (found["GRU gates"], found["LSTM gates"]):
        for gate in set(gates) - {"candidate", "h", "c"}:
            low, high, spread = gates[gate]
            assert 0 <= low < high <= 1, gate
            assert spread > 0.02, f"{gate}: no unit's gate moves"


def test_policy_at_1khz(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    found = run("policy_at_1khz", tmp_path, "ball")
    assert found["lost"] == 0
    assert found["lost_without_memory"] >= 16
    assert found["rms"] < 0.3
    errors = {row["weights"]: row["action_error"] for row in found["precisions"]}
    assert errors["f32"] == 0
    assert 0 < errors["i16"] < 0.005
    assert errors["i16"] < errors["i8"] < 0.3
    assert all(row["lost"] == 0 and row["rms"] < 1.1 * found["rms"] for row in found["precisions"])
    assert found["loop"]["periods"] > (1500 if NIGHTLY else 250)


@pytest.mark.models
def test_humanoid(tmp_path: Path, models: Path) -> None:
    for package in ("mujoco", "yaml", "PIL", "torch" if NIGHTLY else "onnx"):
        pytest.importorskip(package)
    policy = () if NIGHTLY else ("--policy", "motion_legacy_opset11.onnx")
    gif = tmp_path / "walk.gif"
    folder = tmp_path / "out"
    folder.mkdir()
    probe = subprocess.run(
        [sys.executable, "-c", "import mujoco; mujoco.Renderer(mujoco.MjModel.from_xml_string('<mujoco/>'), 8, 8)"],
        env={**os.environ, "MUJOCO_GL": os.environ.get("MUJOCO_GL", "egl")},
        capture_output=True,
        check=False,
    )
    draws = probe.returncode == 0
    found = run("humanoid", folder, *(("legs", "walk") if draws else ("legs",)), options=("--robot", str(models / "unitree_g1"), *policy))
    gif = folder / "walk.gif"
    recorded = np.load(models / "unitree_g1" / "ref_closedloop_10s.npz")["action"]
    actions = np.array(found["actions"])
    assert len(actions) == (500 if NIGHTLY else 100)
    assert np.abs(actions - recorded[: len(actions)]).max() < 1e-5
    assert found["least_upright"] > 0.98
    assert found["distance"] > (4.0 if NIGHTLY else 0.6)
    if draws:
        from PIL import Image

        with Image.open(gif) as animation:
            assert animation.n_frames == found["frames"] == (100 if NIGHTLY else 4)
            first = np.asarray(animation.convert("RGB"), float)
            animation.seek(animation.n_frames - 1)
            last = np.asarray(animation.convert("RGB"), float)
        assert np.ptp(first) > 100
        assert np.abs(first - last).mean() > 1
    else:
        print("MuJoCo cannot draw here: the walk was checked, its pictures were not")


@pytest.mark.models
def test_speech_activity(tmp_path: Path, models: Path) -> None:
    pytest.importorskip("onnx")
    folder = models / "silero_vad"
    files = ("--model", str(folder / "silero_vad_openvino_16k.onnx"), "--sound", str(folder / "test.wav"))
    found = run("speech_activity", tmp_path, "speech", options=files)
    recorded = np.load(folder / "ref_16k.npz")["y"][:, 0]
    probability = np.array(found["probability"])
    count = min(len(recorded), len(probability))
    assert count == (1500 if NIGHTLY else 250)
    assert np.abs(probability[:count] - recorded[:count]).max() < 1e-5
    spoken = sum(end - begin for begin, end in found["segments"])
    assert 0.6 * count < spoken * 31.25 * count / len(probability) < count
    assert len(found["segments"]) >= 3


def test_sampled_rollouts(tmp_path: Path) -> None:
    found = run("sampled_rollouts", tmp_path, "futures")
    assert found["rows_checked"] == 8
    assert 0.02 < found["fell"] < 0.4
    assert found["ratio"] > 1.2


def test_streaming_ctc(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    found = run("streaming_ctc", tmp_path, "notes")
    assert found["heard"] == found["played"]
    assert found["note_error_rate"] < 0.03
    assert found["one_frame"] > 2 * found["note_error_rate"]


def test_vital_signs(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    found = run("vital_signs", tmp_path, "series")
    for name, (real, drawn) in found["kinds"].items():
        share = 0.35 if not NIGHTLY else 0.2
        assert drawn == pytest.approx(real, rel=share), name
