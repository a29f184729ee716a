"""Whether a program computes over its whole time axis what a stream cannot.

Read at one timestep, a mean over time, a flip, the first output or positions are well formed and mean something else. So the
program is read once more as a block of several timesteps, in which its recurrent layers run within one step, and the block is
compared with as many steps of the stream.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from rtrnn.errors import Error, UnsupportedError
from rtrnn.importers.builder import Axis, Builder, RebindAxis
from rtrnn.importers.draft import Draft
from rtrnn.importers.torch.values import Tensor

__all__ = ["STEPS", "BlockReader", "refuse_whole_sequences"]

STEPS = 4
#: Far more than rounding, far less than another meaning, relative to the largest value.
_TOLERANCE = 1e-3

#: Reads the program with these example arguments and axes within the step: (outputs by name, finished Draft).
BlockReader = Callable[[Builder, list[tuple[str, Any]]], tuple[Mapping[str, Any], Draft]]


def refuse_whole_sequences(
    read: BlockReader, leaves: list[tuple[str, Any]], time_axes: set[Axis], outputs: Mapping[str, Any], draft: Draft
) -> None:
    """Raises :class:`UnsupportedError` for a program whose block of timesteps is not what `draft` gives step by step.

    `leaves` and `outputs` are those of the reading at one timestep, `time_axes` the axes that layers ran over.
    """
    axes = dict(time_axes)
    longer = [(name, _lengthened(value, axes.get(name))) for name, value in leaves]
    b = Builder()
    b.step_axes |= set(axes.items())
    try:
        block_outputs, block = read(b, longer)
        whole, single = block.build(), copy.deepcopy(draft).build()
    except (Error, RebindAxis):
        return  # the program cannot be read so: nothing is known
    from rtrnn.model import Model

    rng = np.random.default_rng(0)
    shapes = {name: tuple(value.shape) for name, value in longer if isinstance(value, torch.Tensor)}
    given = {name: rng.normal(size=shapes[name]).astype(np.float32) for name in draft.inputs}
    if set(draft.inputs) != set(block.inputs) or not given:
        return
    model, block_model = Model(single), Model(whole)
    stream = model.stream(on_nonfinite="propagate")
    steps = []
    for t in range(STEPS):
        frame = {n: (np.take(x, t, axes[n]) if n in axes else x).reshape(model.inputs[n]) for n, x in given.items()}
        steps.append({n: np.array(y) for n, y in stream.step(frame).items()})
    blocks = block_model.stream(on_nonfinite="propagate").step(
        {n: x.reshape(block_model.inputs[n]) for n, x in given.items()}
    )
    for name, found in _paired(outputs, draft):
        expected = blocks.get(found, blocks.get(name))
        if expected is not None:
            rows = [step[found] for step in steps]
            _compare(name, outputs[name].shape, block_outputs[name].shape, np.asarray(expected), rows)


def _lengthened(value: Any, axis: int | None) -> Any:
    if axis is None or not isinstance(value, torch.Tensor):
        return value
    shape = list(value.shape)
    shape[axis] = STEPS
    return value.new_zeros(shape)


def _paired(outputs: Mapping[str, Any], draft: Draft) -> list[tuple[str, str]]:
    """(name in the program, name in the Draft) of each output that is left."""
    if list(draft.outputs) == ["output"] and "output" not in outputs:
        return [("output_0", "output")] if "output_0" in outputs else []
    return [(name, name) for name in draft.outputs if isinstance(outputs.get(name), Tensor)]


def _compare(
    name: str, single: tuple[int, ...], whole: tuple[int, ...], block: np.ndarray, steps: list[np.ndarray]
) -> None:
    differing = [i for i, (a, b) in enumerate(zip(single, whole, strict=False)) if a != b]
    if len(single) != len(whole) or len(differing) > 1 or block.size != math.prod(whole):
        return
    expected = block.reshape(whole)
    rows = [expected] if not differing else list(np.moveaxis(expected, differing[0], 0))
    if len(rows) > len(steps):
        return
    for row, step in zip(rows, steps[-len(rows) :], strict=True):
        if row.size != step.size or not (np.isfinite(row).all() and np.isfinite(step).all()):
            return
        largest = max(float(np.abs(row).max()), float(np.abs(step).max()), 1e-3)
        if np.abs(row.ravel() - step.ravel()).max() > _TOLERANCE * largest:
            raise UnsupportedError(
                f"output {name!r}: over {STEPS} timesteps at once the program gives other values than one timestep after the "
                "other: it computes over the whole sequence (a mean, softmax or flip over time, positions, the first output, a "
                "final state given to another layer), which no stream can; export it for one timestep, with its state as "
                "argument and result"
            )
