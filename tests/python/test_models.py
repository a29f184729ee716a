"""Real trained networks against their recorded references, step by step and in closed loop.

Each reference comes with `y_f64`, the same network in float64; the float32 floor is the original runtime's own distance from it, and
rtrnn may be at most twice as far.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

import rtrnn

pytestmark = pytest.mark.models

G1_FILES = ["motion.pt", "motion_legacy_opset11.onnx", "motion_dynamo_opset18.onnx"]


def needs(name: str) -> None:
    pytest.importorskip("torch" if name.endswith(".pt") else "onnx")


def floor_of(reference: np.lib.npyio.NpzFile) -> float:
    return float(np.abs(reference["y"] - reference["y_f64"]).max())


@pytest.fixture(params=G1_FILES)
def g1(request, models: Path) -> rtrnn.Model:
    needs(request.param)
    return rtrnn.load(models / "unitree_g1" / request.param)


def test_g1_is_an_lstm_policy_with_two_states(g1):
    assert list(g1.inputs.values()) == [(47,)]
    assert list(g1.outputs.values()) == [(12,)]
    assert list(g1.states.values()) == [(64,), (64,)]
    assert [node.op for node in g1.graph.nodes] == ["lstm", "linear", "elu", "linear"]
    assert g1.stream().nbytes < 16 * 1024


def test_g1_matches_its_recording(g1, models: Path):
    reference = np.load(models / "unitree_g1" / "ref.npz")
    stream = g1.stream()
    ys, states = [], []
    for x in reference["x"]:
        ys.append(stream.step(x))
        states.append(stream.state_vector())
    assert np.abs(np.array(ys) - reference["y_f64"]).max() <= 2 * floor_of(reference)
    exact = np.concatenate([reference["h_f64"], reference["c_f64"]], 1)
    recorded = np.concatenate([reference["h"], reference["c"]], 1)
    assert np.abs(np.array(states) - exact).max() <= 2 * np.abs(recorded - exact).max()


def load_module(path: Path):
    spec = importlib.util.spec_from_file_location(f"closed_loop_{path.parent.name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Policy:
    """A stream as the callable that the recorded simulations take."""

    def __init__(self, model: rtrnn.Model) -> None:
        self.stream = model.stream()

    def reset(self) -> None:
        self.stream.reset()

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        action = self.stream.step(obs)
        self.stream.prepare()
        return action


def walk(model: rtrnn.Model, models: Path) -> float:
    """The largest difference of any action from the recorded walk, over all its steps."""
    simulation = load_module(models / "unitree_g1" / "closed_loop.py")
    reference = np.load(models / "unitree_g1" / "ref_closedloop_10s.npz")
    log = simulation.run(simulation.load_robot(str(models / "unitree_g1")), Policy(model))
    assert log["action"].shape == reference["action"].shape
    return float(np.abs(log["action"] - reference["action"]).max())


def test_g1_walks_as_recorded(g1, models: Path, tmp_path: Path):
    pytest.importorskip("mujoco")
    pytest.importorskip("yaml")
    assert walk(g1, models) < 1e-5
    g1.save(tmp_path / "g1.rtrnn")
    assert walk(rtrnn.load(tmp_path / "g1.rtrnn"), models) < 1e-5


def test_a_g1_without_its_recurrent_bias_is_caught(models: Path):
    """The twin: this robot still walks, so only the comparison can tell."""
    pytest.importorskip("mujoco")
    pytest.importorskip("yaml")
    onnx = pytest.importorskip("onnx")
    broken = onnx.load(models / "unitree_g1" / "motion_legacy_opset11.onnx")
    (bias,) = [t for t in broken.graph.initializer if list(t.dims) == [1, 512]]
    values = onnx.numpy_helper.to_array(bias).copy()
    values[:, 256:] = 0
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    from rtrnn.importers.onnx import load_onnx

    assert walk(rtrnn.Model(load_onnx(broken).build()), models) > 1e-3


def test_anydrive_as_a_batch_and_as_streams(models: Path):
    needs(".pt")
    model = rtrnn.load(models / "anydrive" / "anydrive_v3_lstm.pt")
    reference = np.load(models / "anydrive" / "ref.npz")
    batch, streams = model.batch(12), [model.stream() for _ in range(12)]
    ys = []
    for x in reference["x"]:
        y = batch.step(x).reshape(12)
        assert np.array_equal(y, np.concatenate([s.step(row) for s, row in zip(streams, x, strict=True)]))
        ys.append(y)
    assert np.abs(np.array(ys) - reference["y_f64"]).max() <= 2 * floor_of(reference)
    final = np.stack([np.concatenate([v.reshape(2, 8) for v in s.state().values()]) for s in streams], 1)
    recorded = np.concatenate([reference["hT"], reference["cT"]])
    assert np.allclose(final, recorded, rtol=1e-4, atol=1e-5)


def test_the_models_folder_is_complete(models: Path):
    for name in G1_FILES:
        assert (models / "unitree_g1" / name).is_file(), f"{name} is missing under {os.fspath(models)}"
