"""Streaming networks exported from PyTorch: recurrent layers over frequency, convolutions with caches, causal convolutions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="reading ONNX files needs the onnx package")
pytest.importorskip("onnxruntime", reason="the comparison needs onnxruntime")
torch = pytest.importorskip("torch", reason="the networks are exported from torch")

from onnx_models import compare_steps, load_quietly, session, steppers  # noqa: E402
from test_import_onnx import quietly_export  # noqa: E402

from rtrnn.errors import GraphError, UnsupportedError  # noqa: E402

nn = torch.nn

FREQUENCIES, CHANNELS = 9, 4


def export(module: Any, path: Path, inputs: dict[str, Any], outputs: list[str], **options: Any) -> Path:
    torch.manual_seed(0)
    names = {"input_names": list(inputs), "output_names": outputs}
    quietly_export(module, tuple(inputs.values()), path, dynamo=False, opset=17, **names, **options)
    return path


# -- dual-path networks --------------------------------------------------------------------------------


class DualPath(nn.Module):
    """A bidirectional layer over the frequencies of a frame, from zero, then a layer over time, with its state for each frequency."""

    def __init__(self, kind: str = "GRU", encoder: bool = True, intra: str = "bidirectional") -> None:
        super().__init__()
        self.kind = kind
        self.encoder = nn.Conv2d(2, CHANNELS, (1, 3), padding=(0, 1)) if encoder else nn.Conv2d(2, CHANNELS, 1)
        two = intra == "bidirectional"
        self.intra = getattr(nn, kind)(CHANNELS, 3, batch_first=True, bidirectional=two)
        self.after_intra = nn.Linear(6 if two else 3, CHANNELS)
        self.norm = nn.LayerNorm([FREQUENCIES, CHANNELS])
        self.inter = getattr(nn, kind)(CHANNELS, 5, batch_first=True)
        self.after_inter = nn.Linear(5, CHANNELS)
        self.decoder = nn.Conv2d(CHANNELS, 2, (1, 3), padding=(0, 1))

    def forward(self, x: Any, *states: Any) -> Any:
        """x (B, 2, T, F), states (1, B * F, 5)."""
        x = self.encoder(x).permute(0, 2, 3, 1)  # B, T, F, C
        b, t, f, c = x.shape
        x = x + self.norm(self.after_intra(self.intra(x.reshape(b * t, f, c))[0]).reshape(b, t, f, c))
        y, following = self.inter(x.permute(0, 2, 1, 3).reshape(b * f, t, c), states if self.kind == "LSTM" else states[0])
        x = x + self.after_inter(y).reshape(b, f, t, c).permute(0, 2, 1, 3)
        following = following if self.kind == "LSTM" else (following,)
        return (torch.sigmoid(self.decoder(x.permute(0, 3, 1, 2))), *following)


def dual_path(kind: str, path: Path, dynamic: bool = False, **options: Any) -> tuple[Path, dict[str, str]]:
    count = 2 if kind == "LSTM" else 1
    states = {f"cache{i}": torch.zeros(1, FREQUENCIES, 5) for i in range(count)}
    pairs = {name: f"{name}_next" for name in states}
    axes = {"dynamic_axes": {"x": {2: "time"}}} if dynamic else {}
    x = torch.randn(1, 2, 3 if dynamic else 1, FREQUENCIES)
    return export(DualPath(kind, **options), path, {"x": x, **states}, ["y", *pairs.values()], **axes), pairs


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("kind", ["GRU", "LSTM", "RNN"])
def test_dual_path(kind: str, dynamic: bool, tmp_path: Path) -> None:
    path, pairs = dual_path(kind, tmp_path / "net.onnx", dynamic)
    draft = load_quietly(path)
    assert draft.inputs == {"x": (2, FREQUENCIES)}
    assert set(draft.states) == set(pairs)
    assert draft.warnings == []
    cells = [n for n in draft.nodes if n.op == kind.lower()]
    assert len(cells) == 3 * FREQUENCIES  # two directions over the frequencies, and one cell for each over time
    compare_steps(draft, str(path), {"x": (1, 2, 1, FREQUENCIES)}, pairs=pairs, tolerance=5e-6)


@pytest.mark.parametrize("intra", ["forward", "bidirectional"])
def test_frequency_is_told_from_time_by_the_caller(intra: str, tmp_path: Path) -> None:
    """Without a convolution over frequency, nothing in a file with fixed axes says which of them is time."""
    path, pairs = dual_path("GRU", tmp_path / "net.onnx", encoder=False, intra=intra)
    draft = load_quietly(path, step_axes={"x": [3]})
    assert draft.inputs == {"x": (2, FREQUENCIES)}
    compare_steps(draft, str(path), {"x": (1, 2, 1, FREQUENCIES)}, pairs=pairs, tolerance=5e-6)
    assert load_quietly(path, step_axes={"x": [-1]}).inputs == draft.inputs


def test_step_axes_are_checked(tmp_path: Path) -> None:
    path, _ = dual_path("GRU", tmp_path / "net.onnx")
    with pytest.raises(GraphError, match=r"step_axes names the input 'q', but the inputs are \['x', 'cache0'\]"):
        load_quietly(path, step_axes={"q": [0]})
    with pytest.raises(GraphError, match="step_axes names axis 4 of input 'x', which has 4 axes"):
        load_quietly(path, step_axes={"x": [4]})


# -- convolutions --------------------------------------------------------------------------------------


class Cached(nn.Module):
    """Convolutions over time whose past frames are inputs and outputs, beside a GRU: three states, two of one shape."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, (3, 3), padding=(0, 1))
        self.second = nn.Conv2d(4, 4, (3, 3), padding=(0, 1), groups=2)
        self.third = nn.Conv2d(4, 4, (3, 3), padding=(0, 1), groups=4)
        self.gru = nn.GRU(4 * FREQUENCIES, 6, batch_first=True)
        self.head = nn.Linear(6, FREQUENCIES)

    def forward(self, x: Any, cache_a: Any, cache_b: Any, cache_c: Any, h: Any) -> Any:
        a = torch.cat([cache_a, x], 2)
        y = torch.relu(self.first(a))
        b = torch.cat([cache_b, y], 2)
        y = torch.relu(self.second(b))
        c = torch.cat([cache_c, y], 2)
        y = torch.nn.functional.elu(self.third(c)).permute(0, 2, 1, 3).flatten(2)
        y, h = self.gru(y, h)
        return torch.sigmoid(self.head(y)), h, c[:, :, 1:], b[:, :, 1:], a[:, :, 1:]


@pytest.mark.parametrize(
    "names",
    [
        (["conv_cache", "mid_cache", "tra_cache", "inter_cache"], ["h_out", "c_out", "b_out", "a_out"]),
        (["in_0", "in_1", "in_2", "in_3"], ["out_3", "out_2", "out_1", "out_0"]),
        (["s0", "s1", "s2", "s3"], ["p", "q", "r", "s"]),
    ],
)
def test_convolution_caches_under_any_names(names: tuple[list[str], list[str]], tmp_path: Path) -> None:
    inputs, outputs = names
    caches = [torch.zeros(1, 2, 2, FREQUENCIES), *[torch.zeros(1, 4, 2, FREQUENCIES)] * 2, torch.zeros(1, 1, 6)]
    caches = [c.clone() for c in caches]
    data = {"x": torch.randn(1, 2, 1, FREQUENCIES), **dict(zip(inputs, caches, strict=True))}
    path = export(Cached(), tmp_path / "net.onnx", data, ["y", *outputs])
    draft = load_quietly(path)
    assert list(draft.outputs) == ["y"]
    assert draft.inputs == {"x": (2, FREQUENCIES)}
    pairs = dict(zip(inputs, reversed(outputs), strict=True))
    compare_steps(draft, str(path), {"x": (1, 2, 1, FREQUENCIES)}, pairs=pairs, tolerance=5e-6)


class Causal(nn.Module):
    """Dilated convolutions padded on the left, by padding or by cutting the end off, then a GRU from zero."""

    def __init__(self, chomp: bool) -> None:
        super().__init__()
        self.chomp = chomp
        self.convs = nn.ModuleList(
            nn.Conv1d(3 if i == 0 else 6, 6, 3, dilation=2**i, padding=2 * 2**i if chomp else 0) for i in range(3)
        )
        self.norm = nn.BatchNorm1d(6)
        nn.init.uniform_(self.norm.running_var, 0.5, 2.0)
        nn.init.normal_(self.norm.running_mean)
        self.gru = nn.GRU(6, 5, batch_first=True)
        self.head = nn.Linear(5, 2)

    def forward(self, x: Any) -> Any:
        """x (B, 3, T)"""
        for i, conv in enumerate(self.convs):
            pad = 2 * 2**i
            y = conv(x)[:, :, :-pad] if self.chomp else conv(nn.functional.pad(x, (pad, 0)))
            x = torch.relu(self.norm(y))
        return self.head(self.gru(x.transpose(1, 2))[0])


@pytest.mark.parametrize("chomp", [False, True])
def test_causal_convolutions_over_a_free_time_axis(chomp: bool, tmp_path: Path) -> None:
    axes = {"dynamic_axes": {"x": {0: "batch", 2: "time"}, "y": {0: "batch", 1: "time"}}}
    path = export(Causal(chomp), tmp_path / "net.onnx", {"x": torch.randn(2, 3, 24)}, ["y"], **axes)
    draft = load_quietly(path)
    assert draft.inputs == {"x": (3,)}
    assert draft.warnings == []
    x = np.random.default_rng(2).standard_normal((1, 3, 40)).astype(np.float32)
    (want,) = session(str(path)).run(None, {"x": x})
    for runner in steppers(draft):
        found = np.stack([np.ravel(runner.step({"x": frame})["y"]) for frame in x[0].T])
        np.testing.assert_allclose(found, want[0], rtol=5e-6, atol=5e-6)


def test_convolution_that_looks_ahead_is_refused(tmp_path: Path) -> None:
    """The frames to come would have to be waited for."""
    module = nn.Sequential(nn.Conv1d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv1d(4, 2, 1))
    axes = {"dynamic_axes": {"x": {2: "time"}}}
    path = export(module, tmp_path / "net.onnx", {"x": torch.randn(1, 3, 24)}, ["y"], **axes)
    with pytest.raises(UnsupportedError, match=r"ONNX: .*1 frames? ahead cannot be streamed.*input_shapes"):
        load_quietly(path)
    assert load_quietly(path, input_shapes={"x": (1, 3, 8)}).inputs == {"x": (3, 8)}


class Mixed(nn.Module):
    """One layer's state goes in and out, the other's is zero inside."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.GRU(3, 4), nn.GRU(4, 5), nn.Linear(5, 2)

    def forward(self, x: Any, h_in: Any) -> Any:
        y, h = self.a(x, h_in)
        return self.head(self.b(y)[0]), h


def test_hidden_state_beside_a_shown_one_is_said(tmp_path: Path) -> None:
    inputs = {"x": torch.randn(1, 1, 3), "h_in": torch.zeros(1, 1, 4)}
    path = export(Mixed(), tmp_path / "net.onnx", inputs, ["y", "h_out"])
    draft = load_quietly(path)
    (text,) = draft.warnings
    assert text.startswith("the states h_in are inputs and outputs of the file, but ")
    assert "start anew whenever the file is run, while the Stream carries them" in text
    assert len(draft.states) == 2
