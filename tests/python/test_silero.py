"""The Silero voice activity detector: two exports of one network, unmodified, against the recorded run.

The recorded float32 run has its own error, which a float64 NumPy evaluation of the same weights tells: rtrnn may be at
most twice as far off.
"""

from __future__ import annotations

import os
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

rtrnn = pytest.importorskip("rtrnn", reason="the compiled package is not installed")
onnx = pytest.importorskip("onnx", reason="reading ONNX files needs the onnx package")
onnxruntime = pytest.importorskip("onnxruntime", reason="the float32 floor needs onnxruntime")

MODELS = os.environ.get("RTRNN_MODELS")
pytestmark = [pytest.mark.models, pytest.mark.skipif(not MODELS, reason="RTRNN_MODELS is not set")]

FOLDER = Path(MODELS or ".") / "silero_vad"
SEQUENCE, OPENVINO = "silero_vad_16k_sequence.onnx", "silero_vad_openvino_16k.onnx"
CONTEXT, NEW = 64, 512


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def convolve(x: np.ndarray, weight: np.ndarray, bias: Any, stride: int, padding: int) -> np.ndarray:
    """x (T, C, L), weight (O, C, k) -> (T, O, L_out)."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2], axis=2)[:, :, ::stride]
    y = np.tensordot(windows, weight, axes=([1, 3], [1, 2])).transpose(0, 2, 1)
    return y if bias is None else y + bias[:, None]


class Float64:
    """The network from the weights of the sequence export: spectrum, four convolutions, LSTM, head."""

    def __init__(self) -> None:
        tensors = onnx.load(FOLDER / SEQUENCE).graph.initializer
        self.w = {t.name: onnx.numpy_helper.to_array(t).astype(np.float64) for t in tensors}

    def run(self, xs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """xs (T, 576) -> probabilities (T), states (T, 2, 128)."""
        w = self.w
        x = np.pad(xs.astype(np.float64), ((0, 0), (0, CONTEXT)), mode="reflect")[:, None]
        spectrum = convolve(x, w["stft.forward_basis_buffer"], None, 128, 0)
        y = np.sqrt(spectrum[:, :129] ** 2 + spectrum[:, 129:] ** 2)
        for i, stride in enumerate((1, 2, 2, 1)):
            y = np.maximum(convolve(y, w[f"encoder.{i}.weight"], w[f"encoder.{i}.bias"], stride, 1), 0)
        w_ih, w_hh, bias = (w[f"onnx::LSTM_{n}"][0] for n in (209, 210, 211))
        from_x = y[:, :, 0] @ w_ih.T + bias[:512] + bias[512:]
        h, c = np.zeros(128), np.zeros(128)
        states = []
        for row in from_x:
            i, o, f, g = np.split(row + w_hh @ h, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            states.append((h, c))
        head = np.maximum(np.array(states)[:, 0], 0) @ w["output.weight"][0, :, 0]
        return sigmoid(head + w["output.bias"][0]), np.array(states)


@pytest.fixture(scope="module")
def recorded() -> Any:
    """x (T, 576), y (T), state (T, 2, 128) as recorded, and y and state in float64."""
    with np.load(FOLDER / "ref_16k.npz") as ref:
        x, y, state = ref["x"], ref["y"][:, 0], ref["state"]
    exact_y, exact_state = Float64().run(x)
    return x, (y, state), (exact_y, exact_state)


def run_original(model: Any, x: np.ndarray) -> np.ndarray:
    """onnxruntime takes all frames at once."""
    zero = np.zeros((1, 1, 128), np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    probabilities: np.ndarray = session.run(None, {"input": x, "h": zero, "c": zero})[0]
    return probabilities


@pytest.fixture(scope="module")
def floor(recorded: Any) -> float:
    """The largest error of the recorded probabilities, which are float32."""
    _, (y, _), (exact, _) = recorded
    largest = relative(y, exact)
    assert largest < 1e-5
    return largest


def mean_square(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.sqrt(np.mean((found - exact) ** 2)))


def relative(found: np.ndarray, exact: np.ndarray) -> float:
    """The largest error beside the size of the exact values; states grow to many times their rest."""
    return float((np.abs(found - exact) / np.maximum(np.abs(exact), 1e-1)).max())


def run(file: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and states after every frame."""
    stream = rtrnn.load(FOLDER / file).stream()
    ys, states = [], []
    for row in x:
        (y,) = stream.step({"input": row}).values()
        ys.append(float(y.item()))
        states.append(stream.state_vector().reshape(2, 128).copy())
    return np.array(ys), np.array(states)


@pytest.mark.parametrize(
    ("file", "states"), [(OPENVINO, {"state": (2, 128)}), (SEQUENCE, {"h": (128,), "c": (128,)})], ids=["openvino", "sequence"]
)
def test_recorded_run(file: str, states: dict[str, tuple[int, ...]], recorded: Any, floor: float) -> None:
    """1500 frames, probabilities and states, without a warning."""
    x, (y, state), (exact_y, exact_state) = recorded
    model = rtrnn.load(FOLDER / file)
    assert model.inputs == {"input": (CONTEXT + NEW,)}
    assert {s.name: tuple(s.shape) for s in model.graph.states} == states
    assert not model.warnings
    found_y, found_state = run(file, x)
    assert relative(found_y, exact_y) <= 2 * floor
    assert mean_square(found_y, exact_y) <= 2 * mean_square(y, exact_y) < 2e-7
    assert relative(found_state, exact_state) <= 2 * relative(state, exact_state) < 1e-4


def test_sound_file(recorded: Any, floor: float) -> None:
    """Frames of 512 new samples behind the last 64 of the frame before, as the detector is fed."""
    with wave.open(str(FOLDER / "test.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768
    _, (y, _), (exact_y, _) = recorded
    stream = rtrnn.load(FOLDER / OPENVINO).stream()
    context = np.zeros(CONTEXT, np.float32)
    found = []
    for start in range(0, len(y) * NEW, NEW):
        frame = np.concatenate([context, samples[start : start + NEW]])
        found.append(float(stream.step({"input": frame})["output"].item()))
        context = frame[-CONTEXT:]
    assert relative(np.array(found), exact_y) <= 2 * floor
    # Speech and silence both occur, or the comparison would say little.
    assert 0.2 < np.mean(np.array(found) > 0.5) < 0.9


def test_sequence_axis(recorded: Any, floor: float) -> None:
    """onnxruntime takes the frames of the sequence file at once; stepping gives the same."""
    x, _, (exact_y, _) = recorded
    y = run_original(onnx.load(FOLDER / SEQUENCE), x[:200])
    assert relative(y, exact_y[:200]) <= floor
    assert relative(run(SEQUENCE, x[:200])[0], exact_y[:200]) <= 2 * floor
