"""Cells that people write as modules, through both ONNX exporters and torch.export: each becomes one node."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from reference import Evaluator  # noqa: E402
from torch import nn  # noqa: E402

from rtrnn.importers.draft import Draft  # noqa: E402
from rtrnn.importers.onnx import load_onnx  # noqa: E402
from rtrnn.importers.torch import from_module  # noqa: E402

INPUT, HIDDEN = 5, 8


class Written(nn.Module):
    """A cell and a head. `cell` maps x and the states to the next states, h first."""

    states = 1
    kind = "gru"

    def __init__(self, rows: int, biases: bool = True) -> None:
        super().__init__()
        self.from_x = nn.Linear(INPUT, rows * HIDDEN, biases)
        self.from_h = nn.Linear(HIDDEN, rows * HIDDEN, biases)
        self.head = nn.Linear(HIDDEN, 2)

    def forward(self, x: torch.Tensor, *states: torch.Tensor) -> tuple[torch.Tensor, ...]:
        following = self.cell(x, *states)
        return (self.head(following[0]), *following)


class Gru(Written):
    def __init__(self) -> None:
        super().__init__(3)

    def cell(self, x: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, ...]:
        (i_r, i_z, i_n), (h_r, h_z, h_n) = self.from_x(x).chunk(3, -1), self.from_h(h).chunk(3, -1)
        z = torch.sigmoid(i_z + h_z)
        n = torch.tanh(i_n + torch.sigmoid(i_r + h_r) * h_n)
        return ((1 - z) * n + z * h,)


class ResetBefore(Written):
    def __init__(self) -> None:
        super().__init__(1)
        self.gates = nn.Linear(INPUT + HIDDEN, 2 * HIDDEN)

    def cell(self, x: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, ...]:
        z, r = torch.sigmoid(self.gates(torch.cat([x, h], -1))).chunk(2, -1)
        n = torch.tanh(self.from_x(x) + self.from_h(r * h))
        return (h + z * (n - h),)


class Lstm(Written):
    states = 2
    kind = "lstm"

    def __init__(self) -> None:
        super().__init__(4, False)
        self.bias = nn.Parameter(torch.randn(4 * HIDDEN))

    def cell(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, ...]:
        f, i, g, o = (self.from_x(x) + self.from_h(h) + self.bias).split(HIDDEN, -1)
        c = torch.sigmoid(f + 1) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class Vanilla(Written):
    kind = "rnn"

    def __init__(self) -> None:
        super().__init__(1)

    def cell(self, x: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (torch.relu(self.from_x(x) + self.from_h(h)),)


def imported(module: Written, how: str) -> Draft:
    example = (torch.randn(1, INPUT), *(torch.randn(1, HIDDEN) for _ in range(module.states)))
    if how == "torch.export":
        return from_module(module, example)
    names = {
        "input_names": ["x", "h_in", "c_in"][: len(example)],
        "output_names": ["y", "h_out", "c_out"][: len(example)],
    }
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters', about themselves
        if how == "dynamo":
            program = torch.onnx.export(module, example, dynamo=True, verbose=False, **names)
            return load_onnx(program.model_proto)
        torch.onnx.export(module, example, file, dynamo=False, opset_version=17, **names)
    return load_onnx(file.getvalue())


@pytest.mark.parametrize("how", ["legacy", "dynamo", "torch.export"])
@pytest.mark.parametrize("written", [Gru, ResetBefore, Lstm, Vanilla])
def test_written_cell(written: Any, how: str) -> None:
    torch.manual_seed(0)
    module = written().eval()
    draft = imported(module, how)
    assert [node.op for node in draft.nodes] == [module.kind, "linear"]
    assert draft.metadata["import.recognised"].startswith(f"{module.kind} from ")
    evaluator, module = Evaluator(draft), module.double()
    states = [torch.zeros(1, HIDDEN, dtype=torch.float64)] * module.states
    (x_name, *_), (y_name, *_) = draft.inputs, draft.outputs
    for x in np.random.default_rng(0).normal(size=(6, INPUT)):
        with torch.no_grad():
            y, *states = module(torch.from_numpy(x)[None], *states)
        np.testing.assert_allclose(evaluator.step({x_name: x})[y_name], y.numpy().ravel(), rtol=0, atol=1e-6)
