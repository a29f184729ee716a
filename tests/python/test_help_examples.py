"""The example in every command's help works in a folder with a policy and what was recorded of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_networks import gru_onnx, observations, rtrnn_command

import rtrnn
from rtrnn.cli import COMMANDS

#: The package that an example needs, beyond those of the tests.
NEEDS = {"completion": "shtab"}
#: The files that an example must have made.
MADE = {
    "convert": ["policy.rtrnn"],
    "run": ["actions.csv"],
    "bench": ["steps.png"],
    "loop": ["loop.png"],
    "codegen": ["policy.c", "policy.h"],
    "demo": ["rtrnn_demo.png"],
    "completion": ["rtrnn.bash"],
    "info": ["policy.svg"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    policy = rtrnn.load(gru_onnx(folder / "policy.onnx"))
    xs = observations(100)
    np.save(folder / "observations.npy", xs)
    np.savetxt(folder / "observations.csv", xs, delimiter=",")
    np.savez(folder / "episodes.npz", obs=xs, action=policy.run(xs), episode=np.repeat([0, 1], 50))
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_the_example_works(command: str, folder: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("onnxruntime")
    if command in NEEDS:
        pytest.importorskip(NEEDS[command])
    text = rtrnn_command(command, "--help").stdout
    found = re.search(r"^example: (rtrnn .*)$", text, re.MULTILINE)
    assert found, f"no example in the help of {command}"
    example = found[1]
    assert example.split()[1] == command
    program = f"{sys.executable} -I -m rtrnn"
    line = example.replace("rtrnn", program, 1)
    environment = {**os.environ, "NO_COLOR": "1"}
    result = subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, text=True, timeout=120, env=environment)
    assert result.returncode == 0, f"{example}\n{result.stdout}\n{result.stderr}"
    assert "error" not in result.stderr
    assert result.stdout or MADE.get(command)
    for name in MADE.get(command, ()):
        assert (folder / name).stat().st_size > 100, f"{example} has not written {name}"
