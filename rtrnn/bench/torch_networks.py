"""The networks of :mod:`rtrnn.bench.networks` as PyTorch modules. Imported when PyTorch is at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from rtrnn.bench.networks import Spec

__all__ = ["network"]

_CELLS = {"gru": nn.GRUCell, "lstm": nn.LSTMCell, "rnn": nn.RNNCell}
_LAYERS = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}
_ACTIVATIONS = {"elu": nn.ELU, "relu": nn.ReLU, "tanh": nn.Tanh}


class _OneState(nn.Module):
    """A GRU or RNN cell between an encoder and a head."""

    def __init__(self, encoder: nn.Module, cell: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.cell, self.head = encoder, cell, head

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = self.cell(self.encoder(x), h)
        return self.head(h), h


class _TwoStates(nn.Module):
    """An LSTM cell between an encoder and a head."""

    def __init__(self, encoder: nn.Module, cell: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.cell, self.head = encoder, cell, head

    def forward(
        self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        h, c = self.cell(self.encoder(x), (h, c))
        return self.head(h), h, c


class _OneStateSequence(_OneState):
    def forward(self, x: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, h = self.cell(self.encoder(x), h)
        return self.head(y), h


class _TwoStatesSequence(_TwoStates):
    def forward(
        self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        y, (h, c) = self.cell(self.encoder(x), (h, c))
        return self.head(y), h, c


def network(spec: Spec, whole_sequence: bool) -> Any:
    """`spec` with its weights: a cell, or with `whole_sequence` a layer that takes (T, batch, input)."""
    encoder: list[nn.Module] = []
    size = spec.input_size
    for i, rows in enumerate(spec.encoder):
        encoder += [_linear(spec, f"encoder{i}", size, rows), _ACTIVATIONS[spec.activation]()]
        size = rows
    cell = (_LAYERS if whole_sequence else _CELLS)[spec.cell](size, spec.hidden_size)
    with torch.no_grad():
        for role in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(cell, f"{role}_l0" if whole_sequence else role).copy_(torch.from_numpy(spec.weights[role]))
    head: list[nn.Module] = []
    size = spec.hidden_size
    for i, rows in enumerate(spec.head):
        head += [*([_ACTIVATIONS[spec.activation]()] if i else []), _linear(spec, f"head{i}", size, rows)]
        size = rows
    two = spec.cell == "lstm"
    if whole_sequence:
        kind: Any = _TwoStatesSequence if two else _OneStateSequence
    else:
        kind = _TwoStates if two else _OneState
    return kind(nn.Sequential(*encoder), cell, nn.Sequential(*head)).eval()


def _linear(spec: Spec, name: str, columns: int, rows: int) -> nn.Linear:
    layer = nn.Linear(columns, rows)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(spec.weights[f"{name}.weight"]))
        layer.bias.copy_(torch.from_numpy(spec.weights[f"{name}.bias"]))
    return layer
