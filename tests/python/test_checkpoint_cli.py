"""The command line's options for checkpoints, and the importer's warnings on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_networks import gru_onnx

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from checkpoint_modules import Memory, mlp, observations, saved  # noqa: E402
from torch import nn  # noqa: E402

import rtrnn  # noqa: E402
from rtrnn.cli import main  # noqa: E402


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    torch.manual_seed(2)
    chain = nn.Sequential(Memory("rnn", nn.GRU(6, 10)), mlp(10, 8, 3))
    names = {"0.rnn.": "gru.", "1.": "head."}
    tensors = {}
    for key, value in chain.state_dict().items():
        old = next(name for name in names if key.startswith(name))
        tensors[names[old] + key[len(old) :]] = value
    return saved(tmp_path, tensors, "policy.pt")


def run(args: list[Any], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    status = main([str(arg) for arg in args])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_activation_and_normalizer(policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    statistics = tmp_path / "statistics.npz"
    np.savez(statistics, mean=np.arange(6.0), std=np.arange(1.0, 7.0))
    written = tmp_path / "policy.rtrnn"
    status, _, _ = run(["convert", policy, written, "--activation", "elu", "--normalizer", statistics], capsys)
    assert status == 0
    expected = rtrnn.load(policy, activation="elu", normalizer=statistics)
    xs = observations(6)
    np.testing.assert_array_equal(rtrnn.load(written).run(xs), expected.run(xs))


def test_info_says_what_was_recognised(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(["info", policy, "--activation", "elu", "--json"], capsys)
    assert status == 0
    metadata = json.loads(out)["metadata"]
    assert metadata["import.recognised"] == "chain of layers: GRU 6 -> 10, Linear 10 -> 8, elu, Linear 8 -> 3"
    assert metadata["import.activation"] == "elu, from activation="


def test_without_the_activation_it_is_one_line(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(["info", policy], capsys)
    assert status == 1
    assert out == ""
    assert err.count("\n") == 1
    assert "Pass activation=, one of elu" in err


def test_input_shape(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = gru_onnx(tmp_path / "gru.onnx")
    size = next(iter(rtrnn.load(path).inputs.values()))[0]
    assert run(["info", path, "--input-shape", f"obs=1,1,{size}"], capsys)[0] == 0
    status, _, err = run(["info", path, "--input-shape", "obs=x"], capsys)
    assert (status, "--input-shape x: expected sizes" in err) == (1, True)
    status, _, err = run(["info", path, "--input-shape", "1,5"], capsys)
    assert (status, "expected NAME=SHAPE" in err) == (1, True)
    status, _, err = run(["info", path, "--input-shape", "other=1,5"], capsys)
    assert status == 1
    assert "other" in err


def test_a_warning_is_printed_once_and_in_the_command_s_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """pytest turns a Python warning into an error: none is issued."""
    path = saved(tmp_path, nn.RNN(6, 10).state_dict())
    np.save(tmp_path / "x.npy", observations(6).numpy())
    status, _, err = run(["run", path, "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy"], capsys)
    assert status == 0
    assert err.count("nonlinearity") == 1
    assert err.startswith("rtrnn: warning: ")
