"""The trajectory that errors are measured on: recorded data, or input that a network could meet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from rtrnn._core import Graph
    from rtrnn.model import Model

__all__ = ["MADE_UP", "plausible_input", "sequences_of"]

Array = npt.NDArray[np.float32]

#: Timesteps of each of the four kinds of made-up input.
_SEGMENT = 500
_SEGMENTS = 4
MADE_UP = f"{_SEGMENTS * _SEGMENT} timesteps of made-up input"


def sequences_of(model: Model, data: Any) -> list[list[Array]]:
    """`data`, of the kinds that :meth:`rtrnn.Model.run` takes, as sequences: of each input the values (T, size).

    Raises TypeError, ValueError.
    """
    arrays, is_batch = model.arrays_of(data)
    steps = len(arrays[0]) if arrays else 0
    if not steps or (is_batch and not arrays[0].shape[1]):
        raise ValueError("data: expected at least one timestep of input")
    if not is_batch:
        return [[np.ascontiguousarray(a).reshape(steps, -1) for a in arrays]]
    return [[np.ascontiguousarray(a[:, b]).reshape(steps, -1) for a in arrays] for b in range(arrays[0].shape[1])]


def plausible_input(model: Model, seed: int = 0) -> list[Array]:
    """Of each input the values (T, size): noise that drifts (AR(1), coefficient 0.95), white noise, steps held for 25 timesteps
    and sinusoids with periods of 5 to 200 timesteps, one after the other, each element by itself with deviation 1.

    Where the network scales an input itself (a normaliser), the mean and the deviation are those that it takes away.
    """
    rng = np.random.default_rng(seed)
    made = []
    for port in model.graph.inputs:
        size = int(np.prod(port.shape))
        unit = np.concatenate([_drift(rng, size), rng.normal(size=(_SEGMENT, size)), _steps(rng, size), _waves(rng, size)])
        mean, deviation = _statistics(model.graph, port.name, port.shape)
        values = mean.reshape(-1) + deviation.reshape(-1) * unit
        made.append(np.clip(values, -3e38, 3e38).astype(np.float32))
    return made


def _drift(rng: np.random.Generator, size: int, coefficient: float = 0.95) -> npt.NDArray[np.float64]:
    noise = rng.normal(size=(_SEGMENT, size))
    values = np.empty_like(noise)
    last = noise[0]
    for t in range(_SEGMENT):
        last = coefficient * last + np.sqrt(1 - coefficient**2) * noise[t]
        values[t] = last
    return values


def _steps(rng: np.random.Generator, size: int, held: int = 25) -> npt.NDArray[np.float64]:
    return np.repeat(rng.normal(size=(_SEGMENT // held, size)), held, 0)


def _waves(rng: np.random.Generator, size: int) -> npt.NDArray[np.float64]:
    period = np.exp(rng.uniform(np.log(5), np.log(200), size))
    phase = rng.uniform(0, 2 * np.pi, size)
    waves: npt.NDArray[np.float64] = np.sqrt(2) * np.sin(2 * np.pi * np.arange(_SEGMENT)[:, None] / period + phase)
    return waves


def _statistics(graph: Graph, name: str, shape: tuple[int, ...]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The mean and the deviation that the elementwise nodes behind an input turn into 0 and 1; else 0 and 1."""
    tensors = set(graph.tensor_names)
    for reader in (node for node in graph.nodes if name in node.inputs):
        value, node = name, reader
        scale, shift = np.ones(shape), np.zeros(shape)  # value = scale * input + shift
        while node is not None:
            others = [n for n in node.inputs if n != value]
            if node.op not in ("add", "sub", "mul", "div") or len(others) != 1 or others[0] not in tensors:
                break
            constant = np.asarray(graph.tensor(others[0]), np.float64)
            if node.inputs[0] != value or np.broadcast_shapes(shape, constant.shape) != shape:
                break
            if node.op in ("add", "sub"):
                shift = shift + constant if node.op == "add" else shift - constant
            else:
                with np.errstate(divide="ignore"):
                    factor = constant if node.op == "mul" else 1 / constant
                scale, shift = scale * factor, shift * factor
            value = node.outputs[0]
            node = next((n for n in graph.nodes if value in n.inputs), None)  # type: ignore[assignment]
        usable = (scale != 0) & np.isfinite(scale)
        if value != name and usable.any():
            safe = np.where(usable, scale, 1.0)
            return np.where(usable, -shift / safe, 0.0), np.where(usable, 1 / np.abs(safe), 1.0)
    return np.zeros(shape), np.ones(shape)
