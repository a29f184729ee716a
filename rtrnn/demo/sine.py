"""Sine prediction: a network hears a few periods of a sine, then goes on alone, fed back on its own output.

At each step the network is given a sample and predicts the next one. During the warm-up the samples are the true
ones; after it each prediction is the next input, so that errors of amplitude, frequency and phase accumulate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["AMPLITUDES", "FREE_STEPS", "PERIODS", "WARM_UP_STEPS", "Continuation", "continuations", "sines"]

PERIODS = (12.0, 20.0)  #: samples, range
AMPLITUDES = (0.5, 1.0)  #: range
WARM_UP_STEPS = 40
FREE_STEPS = 80  #: four to eight periods


def sines(generator: np.random.Generator, count: int, steps: int) -> np.ndarray:
    """Sines of random period, amplitude and phase: (count, steps) float32."""
    period, amplitude = generator.uniform(*PERIODS, (count, 1)), generator.uniform(*AMPLITUDES, (count, 1))
    phase = generator.uniform(0, 2 * np.pi, (count, 1))
    return (amplitude * np.sin(2 * np.pi / period * np.arange(steps) + phase)).astype(np.float32)


@dataclass(frozen=True)
class Continuation:
    """What a network made of some sines after their warm-up."""

    truth: np.ndarray  #: (count, WARM_UP_STEPS + FREE_STEPS)
    predicted: np.ndarray  #: (count, FREE_STEPS)

    @property
    def rms_error(self) -> float:
        """Over all free-running samples of all sines."""
        return float(np.sqrt(np.mean((self.predicted - self.truth[:, WARM_UP_STEPS:]) ** 2)))


def continuations(
    step: Callable[[np.ndarray], np.ndarray], reset: Callable[[], None], count: int = 20, seed: int = 0
) -> Continuation:
    """Warm `step` (one sample in, the next one out) up on `count` sines and let it run free on each."""
    truth = sines(np.random.default_rng(seed), count, WARM_UP_STEPS + FREE_STEPS)
    predicted = np.empty((count, FREE_STEPS), np.float32)
    for wave, result in zip(truth, predicted, strict=True):
        reset()
        for sample in wave[:WARM_UP_STEPS]:
            output = step(np.array([sample]))
        for index in range(FREE_STEPS):
            result[index] = output[0]
            output = step(output)
    return Continuation(truth, predicted)
