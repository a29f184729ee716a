"""Small networks as files, for the tests of the command line, verify and bench."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rtrnn
from rtrnn.importers.draft import Draft

I, H, O = 5, 6, 3  # noqa: E741

Arrays = dict[str, np.ndarray]


def weights(seed: int = 0, directions: int = 1) -> Arrays:
    rng = np.random.default_rng(seed)
    shapes = {
        "W": (directions, 3 * H, I),
        "R": (directions, 3 * H, H),
        "B": (directions, 6 * H),
        "head": (directions * H, O),
    }
    return {name: (0.5 * rng.normal(size=shape)).astype(np.float32) for name, shape in shapes.items()}


def gru_onnx(
    path: Path,
    *,
    carried: bool = True,
    time: int | str = 1,
    batch: int | str = 1,
    directions: int = 1,
    seed: int = 0,
    producer: str = "test",
    linear_before_reset: int = 1,
) -> Path:
    """A GRU and a linear head: obs (time, batch, I) -> actions; with h_in and h_out where `carried`."""
    onnx = pytest.importorskip("onnx")
    from onnx_models import model

    helper = onnx.helper
    operands = ["obs", "W", "R", "B", "", *(["h_in"] if carried else [])]
    direction = "forward" if directions == 1 else "bidirectional"
    attributes: dict[str, Any] = {"hidden_size": H, "direction": direction}
    attributes["linear_before_reset"] = linear_before_reset
    nodes = [
        helper.make_node("GRU", operands, ["Y", "h_out"], name="gru", **attributes),
        helper.make_node("Transpose", ["Y"], ["T"], name="directions_last", perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["T", "shape"], ["S"], name="joined"),
        helper.make_node("MatMul", ["S", "head"], ["actions"], name="head"),
    ]
    inputs: dict[str, Any] = {"obs": [time, batch, I]}
    outputs: dict[str, Any] = {"actions": None}
    if carried:
        inputs["h_in"] = [directions, batch, H]
        outputs["h_out"] = None
    constants = {**weights(seed, directions), "shape": np.array([0, 0, directions * H])}
    proto = model(nodes, inputs, outputs, constants, opset=17, producer=producer)
    onnx.save(proto, str(path))
    return path


def draft(seed: int = 0) -> Draft:
    """The forward network of :func:`gru_onnx` with its gates in rtrnn's order, written by hand."""
    given = weights(seed)
    order = np.r_[H : 2 * H, 0:H, 2 * H : 3 * H]  # z, r, n -> r, z, n
    made = Draft()
    made.add_input("obs", (I,))
    made.add_state("h", (H,))
    bias_ih, bias_hh = given["B"][0].reshape(2, 3 * H)
    operands = [given["W"][0][order], given["R"][0][order], bias_ih[order], bias_hh[order]]
    names = [made.add_tensor(value, f"gru.{i}") for i, value in enumerate(operands)]
    (h,) = made.add_node("gru", ["obs", "h", *names], [(H,)], hint="gru")
    made.states["h"].next = h
    head = made.add_tensor(given["head"].T, "head.weight")
    (made.outputs["actions"],) = made.add_node("linear", [h, head], [(O,)], hint="head")
    return made


def gru_rtrnn(path: Path, seed: int = 0) -> Path:
    rtrnn.Model(draft(seed).build()).save(path)
    return path


def two_input_rtrnn(path: Path) -> Path:
    """state' = state + a; total = state' + b and the outputs total (3) and first (1)."""
    made = Draft()
    made.add_input("a", (3,))
    made.add_input("b", (3,))
    made.add_state("sum", (3,), np.float32([1, 2, 3]))
    (after,) = made.add_node("add", ["sum", "a"], [(3,)])
    made.states["sum"].next = after
    (made.outputs["total"],) = made.add_node("add", [after, "b"], [(3,)])
    attributes = {"axis": 0, "start": 0, "stop": 1, "step": 1}
    (made.outputs["first"],) = made.add_node("slice", [made.outputs["total"]], [(1,)], attributes)
    rtrnn.Model(made.build()).save(path)
    return path


def observations(steps: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(steps, I)).astype(np.float32)


def torchscript(path: Path, form: str, directions: int = 1) -> Path:
    """A GRU and a linear head as TorchScript.

    The state is "passed" in and out, kept in a buffer ("buffer"), or starts from zero in every call ("bare"). The
    first initial state of "buffer" is not zero.
    """
    torch = pytest.importorskip("torch")

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = torch.nn.GRU(I, H, bidirectional=directions == 2)
            self.head = torch.nn.Linear(directions * H, O)

    class Passed(Network):
        def forward(self, obs, h):
            y, h = self.gru(obs, h)
            return self.head(y), h

    class Buffer(Network):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("hidden_state", torch.full((1, 1, H), 0.25))

        def forward(self, obs):
            y, self.hidden_state[:] = self.gru(obs, self.hidden_state)
            return self.head(y)

    class Bare(Network):
        def forward(self, obs):
            return self.head(self.gru(obs)[0])

    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        module = {"passed": Passed, "buffer": Buffer, "bare": Bare}[form]().eval()
        torch.jit.script(module).save(str(path))
    return path


def rtrnn_command(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs the installed `rtrnn` with these arguments."""
    command = [sys.executable, "-I", "-m", "rtrnn", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)
