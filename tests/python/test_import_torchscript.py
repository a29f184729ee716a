"""TorchScript import: scripted, traced, frozen and recorded archives, against PyTorch in float64, step by step."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import engine  # noqa: E402
from reference import Evaluator  # noqa: E402
from torch import nn  # noqa: E402
from torch_modules import (  # noqa: E402
    FOLDED,
    TOLERANCE,
    Alias,
    Arithmetic,
    Block,
    DelayLine,
    Policy,
    StatePolicy,
    check,
    inputs,
    sequence,
    steps,
)

from rtrnn.errors import FileFormatError, UnsupportedError  # noqa: E402
from rtrnn.importers.torch import from_module, load_torchscript  # noqa: E402


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(7)


def script(module: nn.Module, folder: Path) -> Path:
    """The module as an archive, by torch.jit.script."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(module.eval()), folder / "script.pt")
    return folder / "script.pt"


def trace(module: nn.Module, example: tuple[Any, ...], folder: Path) -> Path:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        saved = {name: value.clone() for name, value in module.state_dict().items()}
        traced = torch.jit.trace(module.eval(), example, check_trace=False)
        traced.load_state_dict(saved)
        module.load_state_dict(saved)
        torch.jit.save(traced, folder / "trace.pt")
    return folder / "trace.pt"


@pytest.mark.parametrize("make", [Alias, Block, DelayLine, Arithmetic])
def test_program(make: Callable[[], nn.Module], tmp_path: Path) -> None:
    """Live, scripted and traced, the results are those of PyTorch."""
    module = make()
    archives = []
    if make is not DelayLine:  # torch.jit.trace drops an assignment to an attribute
        archives.append(trace(module, (torch.zeros(1, 4),), tmp_path))
    if make is not Arithmetic:  # TorchScript's language has no * in lists
        archives.append(script(module, tmp_path))
    drafts = [from_module(module, torch.zeros(1, 4))]
    drafts += [load_torchscript(path, example=torch.zeros(1, 4)) for path in archives]
    xs = inputs((1, 4))
    expected = steps(module, xs)
    for draft in drafts:
        check(draft, expected, xs, FOLDED if make is Arithmetic else TOLERANCE)


@pytest.mark.parametrize("make", [nn.GRU, nn.LSTM, nn.RNN])
def test_scripted_and_traced_layers_need_no_example(make: Callable[..., nn.Module], tmp_path: Path) -> None:
    layer = make(3, 4, num_layers=2)
    xs = inputs((1, 1, 3))
    drafts = [
        load_torchscript(path) for path in (script(layer, tmp_path), trace(layer, (torch.zeros(1, 1, 3),), tmp_path))
    ]
    expected = sequence(layer, xs)
    for draft in drafts:
        check(draft, expected, xs)


def test_scripted_policies(tmp_path: Path) -> None:
    policy, xs = Policy(), inputs((1, 6))
    draft = load_torchscript(script(policy, tmp_path))
    assert list(draft.states) == ["hidden"]
    np.testing.assert_array_equal(draft.states["hidden"].initial, policy.hidden.numpy().reshape(2, 8))
    check(draft, steps(policy, xs), xs, FOLDED)
    zeros = torch.zeros(2, 1, 8)
    other = StatePolicy()
    draft = load_torchscript(script(other, tmp_path))
    check(draft, steps(other, xs, zeros.double(), zeros.double()), xs)


class OptionalHidden(nn.Module):
    """A scripted module whose state is None until the first call."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.hidden, self.count = nn.GRUCell(3, 4), None, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.hidden
        if h is None:
            h = torch.ones(1, 4)
            self.hidden = h
        self.count += 1
        for _ in range(2):
            x = x * 0.5
        h = self.cell(x, h)
        self.hidden = h
        return h


# TorchScript reads this form of the annotation only.
OptionalHidden.__annotations__["hidden"] = Optional[torch.Tensor]  # noqa: UP045


def test_scripted_attribute_that_is_none_at_first(tmp_path: Path) -> None:
    module, xs = OptionalHidden(), inputs((1, 3))
    draft = load_torchscript(script(module, tmp_path))
    np.testing.assert_array_equal(draft.states["hidden"].initial, np.ones(4))
    assert any("'count'" in warning for warning in draft.warnings)
    module = module.double()
    module.hidden = torch.ones(1, 4).double()
    check(draft, steps(module, xs), xs)


def test_frozen_archive(tmp_path: Path) -> None:
    """A frozen module has constants in place of parameters; what forward writes stays a buffer."""
    policy, xs = Policy(), inputs((1, 6))
    script(policy, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.freeze(torch.jit.load(tmp_path / "script.pt")), tmp_path / "frozen.pt")
    draft = load_torchscript(tmp_path / "frozen.pt")
    assert list(draft.states) == ["hidden"]
    check(draft, steps(policy, xs), xs, FOLDED)


def test_several_argument_states_are_found_without_example(tmp_path: Path) -> None:
    class Actuator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.linear = nn.LSTM(2, 8, num_layers=2, batch_first=True), nn.Linear(8, 1)

        def forward(self, x: torch.Tensor, hc0: tuple[torch.Tensor, torch.Tensor]):
            y, hc = self.lstm(x, hc0)
            return self.linear(y), hc

    draft = load_torchscript(script(Actuator(), tmp_path))
    assert draft.inputs == {"x": (2,)}
    assert {name: s.shape for name, s in draft.states.items()} == {"hc0.0": (2, 8), "hc0.1": (2, 8)}


# -- errors -----------------------------------------------------------------------------------------------


def test_files_that_are_no_archives(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(FileFormatError, match="expected a TorchScript archive"):
        load_torchscript(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(FileFormatError, match="expected a TorchScript archive"):
        load_torchscript(path)
    with pytest.raises(FileNotFoundError, match=r"missing\.pt"):
        load_torchscript(tmp_path / "missing.pt")


def test_shapes_that_cannot_be_found_ask_for_an_example(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="expected example="):
        load_torchscript(script(_Reshaper(), tmp_path))
    assert load_torchscript(tmp_path / "script.pt", example=torch.zeros(6, 7)).inputs == {"x": (6, 7)}


class _Reshaper(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(42) * 2.0


# -- recorded networks ---------------------------------------------------------------------------------

MODELS = os.environ.get("RTRNN_MODELS")
needs_models = pytest.mark.skipif(not MODELS, reason="RTRNN_MODELS is not set")


@needs_models
def test_unitree_g1() -> None:
    folder = Path(MODELS or "") / "unitree_g1"
    draft = load_torchscript(folder / "motion.pt")
    assert [n.op for n in draft.nodes] == ["lstm", "linear", "elu", "linear"]
    assert list(draft.states) == ["hidden_state", "cell_state"]
    recorded = np.load(folder / "ref.npz")
    exact, single = Evaluator(draft), Evaluator(draft, np.float32)
    for name, start in (("hidden_state", "h0"), ("cell_state", "c0")):
        np.testing.assert_array_equal(draft.states[name].initial, recorded[start].ravel())
    for x, y, h in zip(recorded["x"], recorded["y_f64"], recorded["h_f64"], strict=True):
        np.testing.assert_allclose(exact.step({"x": x})["output"], y, rtol=0, atol=1e-12)
        np.testing.assert_allclose(exact.state["hidden_state"], h, rtol=0, atol=1e-12)
        np.testing.assert_allclose(single.step({"x": x})["output"], y, rtol=0, atol=2e-6)


@needs_models
@pytest.mark.parametrize(("file", "floor"), [("unitree_g1/motion.pt", 1e-6), ("anydrive/anydrive_v3_lstm.pt", 1.4e-5)])
def test_engine_stays_within_twice_the_float32_floor(file: str, floor: float) -> None:
    path = Path(MODELS or "") / file
    model = engine.model_of(load_torchscript(path))
    recorded = np.load(path.parent / "ref.npz")
    xs, ys = recorded["x"], recorded["y_f64"]
    if xs.ndim == 2:
        xs, ys = xs[:, None], ys[:, None]
    for column in range(xs.shape[1]):
        stream = model.stream()
        got = np.stack([stream.step(x) for x in xs[:, column]])
        np.testing.assert_allclose(got, ys[:, column].reshape(got.shape), rtol=0, atol=2 * floor)


@needs_models
def test_anydrive() -> None:
    folder = Path(MODELS or "") / "anydrive"
    draft = load_torchscript(folder / "anydrive_v3_lstm.pt")
    assert draft.inputs == {"x": (2,)}
    recorded = np.load(folder / "ref.npz")
    for joint in (0, 5, 11):
        exact = Evaluator(draft)
        for x, y in zip(recorded["x"][:300, joint], recorded["y_f64"][:300, joint], strict=True):
            np.testing.assert_allclose(exact.step({"x": x})["output"], y, rtol=0, atol=1e-10)


def test_tables_that_map_code_to_its_source_are_not_read(tmp_path: Path) -> None:
    """PyTorch crashes on damaged ones; found by fuzzing. In a process of its own, which would go with it."""
    whole, damaged = script(Policy(), tmp_path), tmp_path / "damaged.pt"
    with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(damaged, "w") as copy:
        tables = [name for name in archive.namelist() if name.endswith(".debug_pkl")]
        assert tables
        for entry in archive.infolist():
            data = archive.read(entry)
            # Small integers of the pickle, lengths and offsets in other entries, and beyond them.
            copy.writestr(entry.filename, data.replace(b"K\x04", b"K\x84") if entry.filename in tables else data)
    program = "import sys, rtrnn; print(rtrnn.load(sys.argv[1]).states)"
    found = [
        subprocess.run([sys.executable, "-I", "-c", program, path], stdout=subprocess.PIPE, text=True, check=True).stdout
        for path in (whole, damaged)
    ]
    assert found[0] == found[1] != ""
