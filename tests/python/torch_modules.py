"""Modules that the PyTorch import tests share, and the comparison with PyTorch in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from reference import Evaluator
from torch import nn

from rtrnn.importers.draft import Draft

STEPS = 5
TOLERANCE = 1e-12
#: Where constants are folded, and so rounded to float32 once more than in PyTorch's float64.
FOLDED = 2e-6


def inputs(shape: tuple[int, ...]) -> list[Any]:
    """A few inputs that float32 holds exactly."""
    return [torch.randn(shape).double() for _ in range(STEPS)]


def check(draft: Draft, expected: list[Any], xs: list[Any], tolerance: float = TOLERANCE) -> None:
    """The Draft's first output for each input is `expected`."""
    evaluator = Evaluator(draft)
    (name,) = draft.inputs
    output = next(iter(draft.outputs))
    for t, (x, y) in enumerate(zip(xs, expected, strict=True)):
        got = evaluator.step({name: x.numpy()})[output]
        np.testing.assert_allclose(got.ravel(), y.numpy().ravel(), rtol=0, atol=tolerance, err_msg=f"step {t}")


def steps(module: nn.Module, xs: list[Any], *state: Any) -> list[Any]:
    """What PyTorch computes in float64; a state given is passed in and out."""
    module = module.double().eval()
    results = []
    with torch.no_grad():
        for x in xs:
            result = module(x, *state)
            if state:
                result, *state = result  # type: ignore[assignment]
            results.append(result)
    return results


def sequence(layer: nn.Module, xs: list[Any]) -> list[Any]:
    with torch.no_grad():
        y, _ = layer.double()(torch.stack([x.reshape(-1) for x in xs])[:, None])
    return list(y)


class Policy(nn.Module):
    """Normaliser, recurrent layer, layer norm, MLP; the state in buffers, written in place."""

    def __init__(self, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.register_buffer("mean", torch.randn(6))
        self.register_buffer("std", torch.rand(6) + 0.5)
        self.register_buffer("hidden", torch.randn(2, 1, 8))
        self.rnn = nn.GRU(6, 8, num_layers=2)
        self.norm = nn.LayerNorm(8)
        self.mlp = nn.Sequential(nn.Linear(8, 8), activation or nn.ELU(), nn.Linear(8, 3))

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        obs = (obs - self.mean) / (self.std + 1e-2)
        y, h = self.rnn(obs.unsqueeze(0), self.hidden)
        self.hidden[:] = h
        return self.mlp(self.norm(y.squeeze(0)))


class StatePolicy(nn.Module):
    """The same idea with the state passed in and out."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(6, 8, num_layers=2)
        self.head = nn.Linear(8, 3)

    def forward(self, obs: torch.Tensor, h_in: torch.Tensor, c_in: torch.Tensor):
        y, (h, c) = self.rnn(obs.unsqueeze(0), (h_in, c_in))
        return self.head(y.squeeze(0)), h, c


class HandGru(nn.Module):
    """A GRU from two Linear layers, its state an argument."""

    def __init__(self) -> None:
        super().__init__()
        self.x2h, self.h2h = nn.Linear(5, 12), nn.Linear(4, 12)

    def forward(self, x: torch.Tensor, h: torch.Tensor):
        xr, xz, xn = self.x2h(x).chunk(3, dim=-1)
        hr, hz, hn = self.h2h(h).chunk(3, dim=-1)
        r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
        n = torch.tanh(xn + r * hn)
        h = (1 - z) * n + z * h
        return h * 2.0, h


class HandLstm(nn.Module):
    """An LSTM from two Linear layers, its state in buffers that forward replaces."""

    def __init__(self) -> None:
        super().__init__()
        self.x2h, self.h2h = nn.Linear(5, 16), nn.Linear(4, 16, bias=False)
        self.register_buffer("h", torch.zeros(1, 4))
        self.register_buffer("c", torch.zeros(1, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        i, f, g, o = (self.x2h(x) + self.h2h(self.h)).split(4, dim=1)
        self.c = torch.sigmoid(f) * self.c + torch.sigmoid(i) * torch.tanh(g)
        self.h = torch.sigmoid(o) * torch.tanh(self.c)
        return self.h + 1.0


class Outputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(3, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> dict[str, Any]:
        y, h = self.rnn(x)
        return {"action": self.head(y), "extra": {"value": y.sum(-1)}, "h": h}


class Alias(nn.Module):
    """Writes through views: an older view sees them, a copy does not."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("memory", torch.randn(3, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        row, copied, turned = self.memory[1], self.memory[1].clone(), self.memory.t()
        self.memory[1:2] = 0.5 * row + x
        turned[0, 2].mul_(-1.0)
        self.memory[0].copy_(copied)
        filled = row.new_zeros(2, 4)
        filled[1] = row * 2
        return torch.cat([row, copied, turned.reshape(-1), filled.flatten(), self.memory[:, -1]])


class Block(nn.Module):
    """State written inside torch.no_grad()."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(4, 4)
        self.register_buffer("h", torch.ones(1, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            self.h.copy_(self.cell(x, self.h))
            return 2 * self.h


class DelayLine(nn.Module):
    """The last three inputs, by roll and by concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("past", torch.zeros(3, 4))
        self.head = nn.Linear(12, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.past = torch.cat([self.past[1:], x], dim=0)
        return self.head(self.past.flatten())


class Arithmetic(nn.Module):
    """Many operators of the table at once."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(4, 4))
        self.register_buffer("index", torch.tensor([2, 0, 3]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        p = x.abs() + 1.5
        parts = [
            torch.add(x, p, alpha=3), torch.rsub(x, 2.0), 2.0 / p, p.sqrt(), p.rsqrt(), p.log(), p.exp(), p**2, p**0.5,
            p**1.7, x.clamp(-0.2, 0.3), x.clamp_min(0.1), torch.minimum(x, p - 2), torch.maximum(x, -x),
            x @ self.matrix,
            torch.addmm(x, x, self.matrix, beta=0.5, alpha=2.0), torch.lerp(x, p, 0.3),
            torch.addcmul(x, p, p, value=0.1),
            x - x.mean(dim=-1, keepdim=True), x / x.norm(dim=-1, keepdim=True), x - x.amax(-1, keepdim=True),
            x * x.max(dim=1)[0], x / x.std(dim=1, keepdim=True), x.flip(1), x.index_select(1, self.index),
            x[:, self.index],
            torch.where(self.index > 1, x[:, :3], p[:, :3]), x.repeat(1, 2), torch.stack([x, p], dim=-1).flatten(),
            x.expand(3, 4)[2], x.view(2, 2).t().reshape(1, 4), nn.functional.normalize(x, dim=-1), nn.functional.glu(x),
            torch.full_like(x, 3.0), torch.erf(x), x.log_softmax(-1), x.var(1), torch.floor(x), torch.sign(x), x.neg(),
            x.unflatten(1, (2, -1)).movedim(1, 2).squeeze(), *x.unbind(1), *x.tensor_split(2, dim=1),
            (self.matrix @ x.t()).t(),
        ]  # fmt: skip
        return torch.cat([part.reshape(-1) for part in parts])
