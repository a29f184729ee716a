#!/usr/bin/env python3
"""Train the demo's sine predictors, an RNN, a GRU and an LSTM of one size.

Each training sequence begins with true samples and goes on with the network's own predictions, so the network is
trained at what the demo asks of it: to keep amplitude, frequency and phase by itself. The part that runs free
grows during training. Reproducible for one version of PyTorch and one kind of CPU.

    python tools/train/train_sine.py --cell gru --output rtrnn/demo/models/sine_gru.rtrnn
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from saving import save
from torch import nn

from rtrnn.demo import sine

#: The first predictions cannot know the sine yet: they are not asked to.
IGNORED = 20
OPEN_LOOP_SHARE = 0.25
LAYERS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
CELLS = {"rnn": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}


class Predictor(nn.Module):
    """RNN or GRU and a linear head: `forward(x (1, 1), h_in (1, 1, H)) -> (y (1, 1), h_out)`."""

    def __init__(self, cell: str, hidden_size: int) -> None:
        super().__init__()
        self.rnn = LAYERS[cell](1, hidden_size)
        self.head = nn.Linear(hidden_size, 1)

    def forward(self, x: torch.Tensor, h_in: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden, h_out = self.rnn(x.unsqueeze(0), h_in)
        return self.head(hidden.squeeze(0)), h_out


class LstmPredictor(Predictor):
    """The LSTM's: `forward(x, h_in, c_in) -> (y, h_out, c_out)`."""

    def forward(  # type: ignore[override]
        self, x: torch.Tensor, h_in: torch.Tensor, c_in: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        hidden, (h_out, c_out) = self.rnn(x.unsqueeze(0), (h_in, c_in))
        return self.head(hidden.squeeze(0)), h_out, c_out


def predictor(cell: str, hidden_size: int) -> Predictor:
    return (LstmPredictor if cell == "lstm" else Predictor)(cell, hidden_size)


def zero_state(cell: str, hidden_size: int, batch: int = 1) -> tuple[torch.Tensor, ...]:
    return tuple(torch.zeros(1, batch, hidden_size) for _ in range(2 if cell == "lstm" else 1))


def shared_cell(model: Predictor, cell: str) -> nn.RNNCell | nn.GRUCell | nn.LSTMCell:
    """A single-step layer on the model's own weights: stepping it costs half of what a sequence of one does."""
    step = CELLS[cell](1, model.rnn.hidden_size)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        setattr(step, name, getattr(model.rnn, f"{name}_l0"))
    return step


def fed_back(model: Predictor, step: nn.Module, samples: torch.Tensor, warm_up: int) -> torch.Tensor:
    """Predictions (T, B, 1) of the samples after each: the true ones go in up to `warm_up`, then its own."""
    hidden, state = model.rnn(samples[:warm_up])
    state = tuple(value[0] for value in state) if isinstance(state, tuple) else state[0]
    predictions = list(model.head(hidden))
    for _ in range(warm_up, len(samples)):
        state = step(predictions[-1], state)
        predictions.append(model.head(state[0] if isinstance(state, tuple) else state))
    return torch.stack(predictions)


def train(model: Predictor, cell: str, steps: int, batch: int, seed: int) -> float:
    """Train in place; the last hundred updates' mean RMS error over the part that ran free.

    The first updates are open-loop, on noisy samples: cheap, and the network learns to trust its state more than
    its input. The others run free for longer and longer.
    """
    generator = np.random.default_rng(seed)
    peak_rate = 5e-3
    step = shared_cell(model, cell)
    optimiser = torch.optim.Adam(model.parameters(), lr=peak_rate)
    errors, began = [], time.monotonic()
    for index in range(steps):
        progress = index / steps
        rate = peak_rate * (0.004 + 0.996 * 0.5 * (1 + np.cos(np.pi * progress))) * min(1.0, 50 * progress + 0.02)
        for group in optimiser.param_groups:
            group["lr"] = rate
        open_loop = progress < OPEN_LOOP_SHARE
        grown = min(1.0, (progress - OPEN_LOOP_SHARE) / (0.9 - OPEN_LOOP_SHARE))
        free = 0 if open_loop else round(10 + (sine.FREE_STEPS - 10) * grown)
        warm_up = sine.WARM_UP_STEPS + (40 if open_loop else -int(generator.integers(0, 9)))
        waves = sine.sines(generator, batch, warm_up + free + 1)
        samples = torch.from_numpy(waves.T[:, :, None].copy())
        inputs = samples[:-1]
        if open_loop:
            deviation = generator.uniform(0, 0.3, (batch, 1))
            inputs = inputs + torch.from_numpy(deviation * generator.standard_normal(inputs.shape)).float()
        predicted = fed_back(model, step, inputs, warm_up)
        wrong = (predicted - samples[1:]).square()[IGNORED:]
        loss = wrong[: warm_up - IGNORED].mean() + (wrong[warm_up - IGNORED :].mean() if free else 0.0)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.2)
        optimiser.step()
        errors.append(wrong[-free:].mean().item() ** 0.5)
        if (index + 1) % 250 == 0:
            spent = time.monotonic() - began
            print(
                f"{cell} update {index + 1}  free {free}  error {np.mean(errors[-100:]):.4f}  {spent:.0f} s", flush=True
            )
    return float(np.mean(errors[-100:]))


def save_predictor(model: Predictor, cell: str, path: Path, seed: int) -> None:
    size = model.rnn.hidden_size
    metadata = {
        "task": f"predict the next sample of a sine of {sine.PERIODS[0]:g} to {sine.PERIODS[1]:g} samples a period",
        "trained_by": "tools/train/train_sine.py",
        "seed": str(seed),
        "hidden_size": str(size),
        "warm_up_steps": str(sine.WARM_UP_STEPS),
    }
    save(model, (torch.zeros(1, 1), *zero_state(cell, size)), path, metadata)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cell", choices=LAYERS, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hidden-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=64)
    args = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    model = predictor(args.cell, args.hidden_size)
    error = train(model, args.cell, args.steps, args.batch, args.seed)
    print(f"final error {error:.4f}")
    save_predictor(model, args.cell, args.output, args.seed)


if __name__ == "__main__":
    main()
