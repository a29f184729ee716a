"""How a trained network becomes a bundled model: imported, described, checked against PyTorch, written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

import rtrnn

__all__ = ["save"]

CHECKED_STEPS = 200
LARGEST_DIFFERENCE = 1e-4


def save(module: nn.Module, example: tuple[torch.Tensor, ...], path: Path, metadata: Mapping[str, str]) -> None:
    """Write `module`, called as `module(*example)` with its input first and its state after it, to `path`.

    Raises SystemExit when the imported network does not follow PyTorch over random inputs.
    """
    module = module.eval()
    model = rtrnn.from_torch(module, example)
    stream, state = model.stream(), example[1:]
    generator = np.random.default_rng(0)
    largest = 0.0
    for _ in range(CHECKED_STEPS):
        x = generator.uniform(-0.5, 0.5, tuple(example[0].shape)).astype(np.float32)
        with torch.no_grad():
            y, *state = module(torch.from_numpy(x), *state)
        largest = max(
            largest, float(np.abs(stream.step(x.reshape(stream.input.shape)).ravel() - y.numpy().ravel()).max())
        )
    if not largest <= LARGEST_DIFFERENCE:
        raise SystemExit(
            f"{path}: expected at most {LARGEST_DIFFERENCE} between rtrnn and PyTorch, found {largest:.2g}"
        )
    for key, text in metadata.items():
        model.set_metadata(key, text)
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save(path)
    print(f"{path}: {path.stat().st_size} bytes, {model.parameters} parameters, within {largest:.1e} of PyTorch")
