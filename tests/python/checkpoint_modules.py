"""PyTorch modules with the parameter names of the libraries whose checkpoints are read, and the comparison with them.

A module's `forward` takes one timestep (N,) and carries its recurrent state itself; in float64 it is the reference.
"""

from __future__ import annotations

import copy
import itertools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import rtrnn

STEPS = 40


class Memory(nn.Module):
    """A recurrent module under a name of its own, as rsl_rl (``rnn``), Sample Factory (``core``) and rl_games (``rnn``) keep it."""

    def __init__(self, name: str, rnn: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.add_module(name, rnn)
        self.state: Any = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, self.state = getattr(self, self.name)(x[None], self.state)
        return y[0]


class Empirical(nn.Module):
    """rsl_rl's observation normaliser: ``(x - mean) / (std + 0.01)``."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("_mean", torch.randn(1, size))
        self.register_buffer("_var", torch.rand(1, size) * 4)
        self._var[0, 0] = 0  # an observation that never changed
        self.register_buffer("_std", self._var.sqrt())
        self.register_buffer("count", torch.tensor(7))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return ((x - self._mean) / (self._std + 1e-2))[0]


class Running(nn.Module):
    """The normaliser of rl_games and Sample Factory: ``clip((x - mean) / sqrt(var + 1e-5), -5, 5)``."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.randn(size, dtype=torch.float64))
        self.register_buffer("running_var", torch.rand(size, dtype=torch.float64) * 0.3)
        self.running_var[0] = 0
        self.register_buffer("count", torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return ((x - self.running_mean.to(x)) / torch.sqrt(self.running_var.to(x) + 1e-5)).clamp(-5, 5)


def mlp(*sizes: int, activation: Callable[[], nn.Module] = nn.ELU, last: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*(layers if last else layers[:-1]))


def run(module: nn.Module, xs: torch.Tensor, dtype: torch.dtype) -> np.ndarray:
    """The module's outputs over `xs` (T, N) from the initial state; the module given is not changed."""
    module = copy.deepcopy(module).to(dtype).eval()
    for part in module.modules():
        if isinstance(part, Memory):
            part.state = None
    with torch.no_grad():
        return torch.stack([module(x.to(dtype)) for x in xs]).numpy()


def observations(size: int, steps: int = STEPS) -> torch.Tensor:
    return torch.randn(steps, size, generator=torch.Generator().manual_seed(5)) * 2


def check(model: rtrnn.Model, module: nn.Module) -> None:
    """The model's one output is the module's, within twice what float32 costs PyTorch."""
    (size,) = next(iter(model.inputs.values()))
    xs = observations(size)
    exact, single = run(module, xs, torch.float64), run(module, xs, torch.float32)
    stream = model.stream()
    got = np.array([stream.step(x.numpy()) for x in xs])
    allowed = 2 * max(float(np.abs(single - exact).max()), 1e-7 * float(np.abs(exact).max()))
    assert np.abs(got - exact).max() <= allowed
    assert np.abs(exact).max() > 0.05  # a network whose output is nearly nothing would show nothing


def saved(folder: Path, tree: Any, name: str = "model.pt") -> Path:
    path = folder / name
    torch.save(tree, path)
    return path


def load_quietly(path: Path, **options: Any) -> rtrnn.Model:
    """Without the warnings about what the file does not say."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rtrnn.ModelWarning)
        return rtrnn.load(path, **options)
