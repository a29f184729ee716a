"""Small recorded fleets, for the tests of replay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from small_networks import draft, observations

import rtrnn


def policy() -> rtrnn.Model:
    return rtrnn.Model(draft().build())


def episode(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What was observed and done: of various lengths, and not quite what the policy does."""
    steps = 20 + 7 * (seed % 5)
    obs = (1 + 0.1 * seed) * observations(steps, seed)
    noise = 0.02 * np.random.default_rng(seed).normal(size=(steps, 3)).astype(np.float32)
    return obs, policy().run(obs) + noise


def fleet(folder: Path, robots: int = 4, each: int = 10) -> Path:
    """A folder of .npz logs, with an episode column."""
    folder.mkdir()
    for robot in range(robots):
        episodes = [episode(each * robot + i) for i in range(each)]
        numbers = np.concatenate([np.full(len(obs), i) for i, (obs, _) in enumerate(episodes)])
        np.savez(
            folder / f"robot{robot}.npz",
            obs=np.concatenate([obs for obs, _ in episodes]),
            action=np.concatenate([action for _, action in episodes]),
            episode=numbers,
        )
    return folder
