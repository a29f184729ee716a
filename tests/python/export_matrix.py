"""Small recurrent networks and every way to export them, for the exporter matrix; see test_export_matrix.py."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

INPUT, HIDDEN, OUTPUT = 5, 4, 3

KINDS = ["gru", "lstm", "rnn_tanh", "rnn_relu", "hand_gru", "cfc", "mingru"]
LAYERS = [1, 2, 3]
STATES = ["explicit", "buffers"]
NORMALISERS = [True, False]


class HandGru(nn.Module):
    """A GRU in elementary operations, with one matrix for all gates."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.x2h, self.h2h = nn.Linear(size, 3 * HIDDEN), nn.Linear(HIDDEN, 3 * HIDDEN)

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        xr, xz, xn = self.x2h(x).chunk(3, -1)
        hr, hz, hn = self.h2h(h).chunk(3, -1)
        z = torch.sigmoid(xz + hz)
        n = torch.tanh(xn + torch.sigmoid(xr + hr) * hn)
        return (1.0 - z) * n + z * h


class Cfc(nn.Module):
    """The cell of "Closed-form Continuous-time Neural Networks" (2022), with a fixed time step `ts`."""

    def __init__(self, size: int, ts: float = 0.7) -> None:
        super().__init__()
        self.ts = ts
        self.backbone = nn.Linear(size + HIDDEN, 6)
        self.ff1, self.ff2 = nn.Linear(6, HIDDEN), nn.Linear(6, HIDDEN)
        self.time_a, self.time_b = nn.Linear(6, HIDDEN), nn.Linear(6, HIDDEN)

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        features = 1.7159 * torch.tanh(0.666 * self.backbone(torch.cat([x, h], 1)))
        ff1, ff2 = torch.tanh(self.ff1(features)), torch.tanh(self.ff2(features))
        gate = torch.sigmoid(self.time_a(features) * self.ts + self.time_b(features))
        return ff1 * (1.0 - gate) + gate * ff2


class MinGru(nn.Module):
    """The minimal GRU of "Were RNNs All We Needed?" (2024): gate and candidate do not see the state."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.gate, self.candidate = nn.Linear(size, HIDDEN), nn.Linear(size, HIDDEN)

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        z = torch.sigmoid(self.gate(x))
        return (1.0 - z) * h + z * self.candidate(x)


class Stack(nn.Module):
    """Cells on top of each other; the states are one tensor (layers, 1, hidden), as in nn.GRU."""

    def __init__(self, cell: type[nn.Module], layers: int) -> None:
        super().__init__()
        self.cells = nn.ModuleList(cell(HIDDEN if i else INPUT) for i in range(layers))

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        states = []
        for i, cell in enumerate(self.cells):
            x = cell(x, h[i])
            states.append(x)
        return x, torch.stack(states)


class Layer(nn.Module):
    """A recurrent layer of torch, at one timestep."""

    def __init__(self, kind: str, layers: int) -> None:
        super().__init__()
        if kind == "gru":
            self.rnn: nn.Module = nn.GRU(INPUT, HIDDEN, layers)
        else:
            self.rnn = nn.RNN(INPUT, HIDDEN, layers, nonlinearity=kind.removeprefix("rnn_"))

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, h = self.rnn(x.unsqueeze(0), h)
        return y.squeeze(0), h


class Normaliser(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.randn(INPUT))
        self.register_buffer("std", torch.rand(INPUT) + 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.mean) / (self.std + 1e-2)


def _inner(kind: str, layers: int) -> nn.Module:
    hand = {"hand_gru": HandGru, "cfc": Cfc, "mingru": MinGru}
    return Stack(hand[kind], layers) if kind in hand else Layer(kind, layers)


class Explicit(nn.Module):
    """One state, given and returned."""

    def __init__(self, kind: str, layers: int, normalised: bool) -> None:
        super().__init__()
        self.normaliser: nn.Module = Normaliser() if normalised else nn.Identity()
        self.inner, self.head = _inner(kind, layers), nn.Linear(HIDDEN, OUTPUT)

    def forward(self, obs: torch.Tensor, h_in: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, h = self.inner(self.normaliser(obs), h_in)
        return self.head(y), h


class ExplicitLstm(nn.Module):
    def __init__(self, kind: str, layers: int, normalised: bool) -> None:
        super().__init__()
        self.normaliser: nn.Module = Normaliser() if normalised else nn.Identity()
        self.inner, self.head = nn.LSTM(INPUT, HIDDEN, layers), nn.Linear(HIDDEN, OUTPUT)

    def forward(
        self, obs: torch.Tensor, h_in: torch.Tensor, c_in: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        y, (h, c) = self.inner(self.normaliser(obs).unsqueeze(0), (h_in, c_in))
        return self.head(y.squeeze(0)), h, c


class Buffers(nn.Module):
    """The same with the state in a buffer that forward writes."""

    def __init__(self, kind: str, layers: int, normalised: bool) -> None:
        super().__init__()
        self.normaliser: nn.Module = Normaliser() if normalised else nn.Identity()
        self.inner, self.head = _inner(kind, layers), nn.Linear(HIDDEN, OUTPUT)
        self.register_buffer("hidden_state", torch.zeros(layers, 1, HIDDEN))

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        y, h = self.inner(self.normaliser(obs), self.hidden_state)
        self.hidden_state[:] = h
        return self.head(y)


class BuffersLstm(nn.Module):
    def __init__(self, kind: str, layers: int, normalised: bool) -> None:
        super().__init__()
        self.normaliser: nn.Module = Normaliser() if normalised else nn.Identity()
        self.inner, self.head = nn.LSTM(INPUT, HIDDEN, layers), nn.Linear(HIDDEN, OUTPUT)
        self.register_buffer("hidden_state", torch.zeros(layers, 1, HIDDEN))
        self.register_buffer("cell_state", torch.zeros(layers, 1, HIDDEN))

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        y, (h, c) = self.inner(self.normaliser(obs).unsqueeze(0), (self.hidden_state, self.cell_state))
        self.hidden_state[:] = h
        self.cell_state[:] = c
        return self.head(y.squeeze(0))


@dataclass(frozen=True)
class Cell:
    """One network of the matrix."""

    kind: str
    layers: int
    state: str
    normalised: bool

    def __str__(self) -> str:
        return f"{self.kind}-{self.layers}-{self.state}-{'norm' if self.normalised else 'raw'}"

    def module(self) -> nn.Module:
        """The network with weights that depend on the cell alone."""
        torch.manual_seed(sum(map(ord, str(self))))
        explicit = self.state == "explicit"
        if self.kind == "lstm":
            return (ExplicitLstm if explicit else BuffersLstm)(self.kind, self.layers, self.normalised).eval()
        return (Explicit if explicit else Buffers)(self.kind, self.layers, self.normalised).eval()

    def example(self) -> tuple[torch.Tensor, ...]:
        """Different tensors for each argument: exporters take equal ones for one."""
        count = 0 if self.state == "buffers" else 2 if self.kind == "lstm" else 1
        return (torch.ones(1, INPUT), *(torch.full((self.layers, 1, HIDDEN), 0.1 * (i + 1)) for i in range(count)))

    def names(self) -> tuple[list[str], list[str]]:
        states = ["h", "c"][: len(self.example()) - 1]
        return ["obs", *(f"{s}_in" for s in states)], ["actions", *(f"{s}_out" for s in states)]


@dataclass(frozen=True)
class Exporter:
    """One way to make a file of a network."""

    name: str
    opset: int = 0

    def __str__(self) -> str:
        return f"{self.name}{self.opset or ''}"

    def write(self, cell: Cell, module: nn.Module, folder: Path) -> Path:
        """The file; whatever error the exporter raises."""
        with _quiet():
            return getattr(self, f"_{self.name}")(cell, module, folder)

    def _legacy(self, cell: Cell, module: nn.Module, folder: Path) -> Path:
        return self._onnx(cell, module, folder, dynamo=False)

    def _dynamo(self, cell: Cell, module: nn.Module, folder: Path) -> Path:
        return self._onnx(cell, module, folder, dynamo=True, external_data=False)

    def _onnx(self, cell: Cell, module: nn.Module, folder: Path, **options: Any) -> Path:
        inputs, outputs = cell.names()
        path = folder / f"{self}.onnx"
        torch.onnx.export(
            module, cell.example(), str(path), input_names=inputs, output_names=outputs, opset_version=self.opset, **options
        )
        return path

    def _script(self, cell: Cell, module: nn.Module, folder: Path) -> Path:
        torch.jit.save(torch.jit.script(module), folder / "script.pt")
        return folder / "script.pt"

    def _trace(self, cell: Cell, module: nn.Module, folder: Path) -> Path:
        start = {name: value.clone() for name, value in module.state_dict().items()}
        traced = torch.jit.trace(module, cell.example(), check_trace=False)
        traced.load_state_dict(start)
        torch.jit.save(traced, folder / "trace.pt")
        return folder / "trace.pt"

    def _program(self, cell: Cell, module: nn.Module, folder: Path) -> Path:
        torch.export.save(torch.export.export(module, cell.example(), strict=False), folder / "program.pt2")
        return folder / "program.pt2"

    def _core(self, cell: Cell, module: nn.Module, folder: Path) -> Path:
        program = torch.export.export(module, cell.example(), strict=False).run_decompositions()
        torch.export.save(program, folder / "core.pt2")
        return folder / "core.pt2"


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters warn and print much that is no matter of this test."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
