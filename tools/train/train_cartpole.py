#!/usr/bin/env python3
"""Train the demo's cart-pole policy: two noisy positions in, a force out, no velocities.

The teacher is a linear-quadratic regulator that sees the true state. The student, an encoder, a GRU and a linear
head, sees only the measured positions; it is trained on the states it reaches itself (dataset aggregation), so it
has to learn to estimate the velocities. Reproducible for one version of PyTorch and one kind of CPU.

    python tools/train/train_cartpole.py --output rtrnn/demo/models/cartpole_gru.rtrnn
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from saving import save
from torch import nn

from rtrnn.demo import cartpole

DT = 1e-3
STATE_COST = (10.0, 1.0, 10.0, 1.0, 0.0)
FORCE_COST = 0.3


class Policy(nn.Module):
    """Normaliser, encoder, GRU, head: `forward(obs (1, 2), h_in (1, 1, H)) -> (action (1, 1), h_out)`."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, 2))
        self.register_buffer("std", torch.tensor([[0.3, 0.1]]))
        self.eps = 1e-2
        self.encoder = nn.Sequential(nn.Linear(2, hidden_size), nn.ELU())
        self.rnn = nn.GRU(hidden_size, hidden_size)
        self.head = nn.Linear(hidden_size, 1)
        self._remember_from_the_start(hidden_size)

    def _remember_from_the_start(self, hidden_size: int) -> None:
        """Start the update gates at time constants from 3 to 1000 steps: at 1 kHz nothing else is slow enough."""
        steps = torch.logspace(0.5, 3.0, hidden_size)
        with torch.no_grad():
            self.rnn.bias_hh_l0.zero_()
            self.rnn.bias_ih_l0[hidden_size : 2 * hidden_size] = torch.log(steps - 1)

    def forward(self, obs: torch.Tensor, h_in: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        encoded = self.encoder((obs - self.mean) / (self.std + self.eps))
        hidden, h_out = self.rnn(encoded.unsqueeze(0), h_in)
        return self.head(hidden.squeeze(0)), h_out

    def sequence(self, obs: torch.Tensor, h_in: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The same over a sequence (T, B, 2)."""
        hidden, h_out = self.rnn(self.encoder((obs - self.mean) / (self.std + self.eps)), h_in)
        return self.head(hidden), h_out


def regulator() -> np.ndarray:
    """Feedback gains (5,) of the linear-quadratic regulator about the upright pole; the command is -gains @ state."""
    a, b = cartpole.linearised(DT)
    cost = state_cost = np.diag(STATE_COST)
    for _ in range(20_000):
        gains = np.linalg.solve(FORCE_COST + b.T @ cost @ b, b.T @ cost @ a)
        cost = state_cost + a.T @ cost @ (a - b @ gains)
    return gains[0]


def roll_out(
    policy: Policy, gains: np.ndarray, seeds: range, seconds: float, teacher_share: float
) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Runs of many carts at once: observations (T, B, 2), the teacher's actions (T, B, 1), who was rescued (B,).

    The command is the teacher's for the given share of the carts, else the student's; where the student is
    about to lose control the teacher takes over until little is left to correct, so that the data stay worth
    learning from.
    """
    runs = [cartpole.conditions(seed, seconds) for seed in seeds]
    push, noise = np.stack([r.push for r in runs], 1), np.stack([r.noise for r in runs], 1)
    state = np.array([r.initial for r in runs]).T
    generator = np.random.default_rng(seeds.start)
    state += generator.uniform(-1, 1, state.shape) * np.array([[0.5], [0.25], [0.05], [0.15], [0.0]])
    bounds = np.array([[cartpole.TRACK_LIMIT], [5.0], [cartpole.ANGLE_LIMIT], [5.0], [20.0]])
    always = np.arange(len(runs)) < teacher_share * len(runs)
    taught = always.copy()
    observations, actions = np.zeros((*push.shape, 2), np.float32), np.zeros((*push.shape, 1), np.float32)
    rescued = np.zeros(len(runs), bool)
    h = torch.zeros(1, len(runs), policy.rnn.hidden_size)
    with torch.no_grad():
        for step in range(len(push)):
            observations[step] = state[[0, 2]].T + noise[step]
            actions[step, :, 0] = np.clip(-gains @ state / cartpole.FORCE_LIMIT, -1, 1)
            output, h = policy(torch.from_numpy(observations[step]), h)
            needed = np.abs(actions[step, :, 0])
            taught = always | (needed > 0.7) | (taught & (needed > 0.1))
            rescued |= taught
            action = np.where(taught, actions[step, :, 0], output.numpy()[:, 0].clip(-1, 1))
            command = cartpole.FORCE_LIMIT * action
            state = np.array(cartpole.advance(tuple(state), command, push[step], DT, np.sin, np.cos))
            state = np.clip(state, -bounds, bounds)
    return torch.from_numpy(observations), torch.from_numpy(actions), rescued & ~always


def fit_head(policy: Policy, observations: torch.Tensor, actions: torch.Tensor) -> None:
    """Set the head by least squares on the untrained layers' states: a fair start, and gradients that matter."""
    with torch.no_grad():
        hidden, _ = policy.rnn(
            policy.encoder((observations - policy.mean) / (policy.std + policy.eps)),
            torch.zeros(1, observations.shape[1], policy.rnn.hidden_size),
        )
        features = nn.functional.pad(hidden.flatten(0, 1), (0, 1), value=1.0).double()
        ridge = torch.eye(features.shape[1], dtype=torch.float64)
        weights = torch.linalg.solve(features.T @ features + ridge, features.T @ actions.flatten(0, 1).double())
        policy.head.weight.copy_(weights[:-1].T)
        policy.head.bias.copy_(weights[-1])


def fit(
    policy: Policy, optimiser: torch.optim.Optimizer, observations: torch.Tensor, actions: torch.Tensor, chunk: int
) -> float:
    """One pass over the runs by truncated back-propagation; the RMS error of the action."""
    h = torch.zeros(1, observations.shape[1], policy.rnn.hidden_size)
    total = 0.0
    for start in range(0, len(observations), chunk):
        predicted, h = policy.sequence(observations[start : start + chunk], h.detach())
        loss = (predicted - actions[start : start + chunk]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(policy.parameters(), 0.5)
        optimiser.step()
        total += loss.item() * len(predicted)
    return (total / len(observations)) ** 0.5


def train(policy: Policy, rounds: int, batch: int, seconds: float, chunk: int) -> float:
    """Train in place; the last round's RMS error of the action, of full scale 1."""
    gains = regulator()
    print(f"regulator gains {np.round(gains, 2)}")
    peak_rate = 2e-3
    optimiser = torch.optim.Adam(policy.parameters(), lr=peak_rate)
    error, began = float("nan"), time.monotonic()
    for index in range(rounds):
        progress = index / rounds
        for group in optimiser.param_groups:
            group["lr"] = peak_rate * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * progress)))
        seeds = range(1_000_000 + index * batch, 1_000_000 + (index + 1) * batch)
        data = roll_out(policy, gains, seeds, seconds, max(0.0, 0.7 - 1.5 * progress) if index else 1.0)
        if index == 0:
            fit_head(policy, *data[:2])
        for _ in range(3):
            error = fit(policy, optimiser, *data[:2], chunk)
        if index % 5 == 0 or index == rounds - 1:
            rescued = int(data[2].sum())
            spent = time.monotonic() - began
            print(f"round {index:4d}  error {error:.5f}  rescued {rescued}/{batch}  {spent:.0f} s", flush=True)
    return error


def save_policy(policy: Policy, path: Path, seed: int) -> None:
    size = policy.rnn.hidden_size
    metadata = {
        "task": "balance a pole on a cart from positions only",
        "trained_by": "tools/train/train_cartpole.py",
        "seed": str(seed),
        "hidden_size": str(size),
        "control_rate_hz": f"{1 / DT:g}",
        "observation_names": ",".join(cartpole.OBSERVATION_NAMES),
        "observation_units": "m,rad",
        "action_names": "drive_force",
        "action_units": "N",
        "action_scale": f"{cartpole.FORCE_LIMIT:g}",
    }
    save(policy, (torch.zeros(1, 2), torch.zeros(1, 1, size)), path, metadata)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hidden-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=45)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a training run")
    parser.add_argument("--chunk", type=int, default=300, help="steps of truncated back-propagation")
    args = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    policy = Policy(args.hidden_size)
    error = train(policy, args.rounds, args.batch, args.seconds, args.chunk)
    print(f"final error {error:.5f}")
    save_policy(policy, args.output, args.seed)


if __name__ == "__main__":
    main()
