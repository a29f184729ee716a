"""A foreign runtime as a sequence of steps: what the runtimes have in common.

A file may be called for one timestep with its state passed in and out, or keep its state inside (buffers), or know
no state at all: a bare recurrent layer that starts from its initial state in every call. The first two are called
once per step. The last has to be given the whole sequence in one call, along its time axis.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from rtrnn.errors import UnsupportedError

if TYPE_CHECKING:
    from rtrnn.model import Model

__all__ = ["Array", "Interface", "Runtime"]

Array = npt.NDArray[np.float32]
Arrays = dict[str, Array]

#: Length of the sequences with which a time axis is looked for; an uncommon size, so that it is found again in results.
_PROBE_STEPS = 7


@dataclass(frozen=True)
class Interface:
    """How a foreign file is called for one timestep."""

    #: Shape of each input, states included.
    shapes: dict[str, tuple[int, ...]]
    #: State input -> the output that is its next value.
    states: dict[str, str]
    #: Name of an input that holds the sequences' lengths; empty without one.
    sequence_lens: str = ""

    @classmethod
    def of(cls, model: Model) -> Interface:
        """As the importer noted it. Raises :class:`UnsupportedError` when it did not."""
        metadata = model.metadata
        try:
            shapes = {str(k): tuple(map(int, v)) for k, v in json.loads(metadata["source.inputs"]).items()}
            states = {str(k): str(v) for k, v in json.loads(metadata["source.states"]).items()}
        except (KeyError, ValueError, TypeError, AttributeError):
            raise UnsupportedError(
                "the network's metadata does not say how the file it comes from is called (source.inputs and "
                "source.states, which rtrnn's importers write)"
            ) from None
        missing = [name for name in model.inputs if name not in shapes]
        if missing:
            raise UnsupportedError(f"the metadata entry source.inputs does not name the inputs {missing}")
        return cls(shapes, states, metadata.get("import.sequence_lens", ""))


class Runtime(ABC):
    """One sequence in progress in a foreign runtime. Subclasses give :meth:`call` and :meth:`declared`."""

    #: The runtime's name and version.
    label: str

    def __init__(self, path: Path, model: Model) -> None:
        self.path, self.model = path, model
        self.interface = Interface.of(model)
        self.carried = {n: o for n, o in self.interface.states.items() if n in self.interface.shapes}
        self._states: Arrays = {}
        self._probed: int | None = None

    # -- what subclasses give --------------------------------------------------------------------------

    @abstractmethod
    def call(self, feeds: Arrays) -> Arrays:
        """One call of the file: all inputs by name, all outputs by name."""

    @abstractmethod
    def declared(self, name: str) -> list[int | None]:
        """The input's sizes in the file; None for an axis that may have any size."""

    def inner_states(self) -> Arrays:
        """States that the file keeps itself from call to call."""
        return {}

    def suited(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """`inputs` as the file can take them: whole numbers where it takes integers, 0 or 1 where it takes truth values."""
        return dict(inputs)

    # -- what callers use ------------------------------------------------------------------------------

    def reset(self) -> None:
        """Back to the initial state."""
        initial = self.model.initial_state
        self._states = {
            name: np.asarray(initial.get(name, np.zeros(shape)), np.float32).reshape(shape)
            for name, shape in self.interface.shapes.items()
            if name in self.carried
        }

    def forgets(self) -> list[str]:
        """The Graph's states that one call does not hand to the next: the whole sequence must be one call."""
        known = self.carried.keys() | self.inner_states().keys()
        return [name for name in self.model.states if name not in known]

    def steps_per_call(self, steps: int) -> int:
        """How many timesteps one call takes when `steps` are wanted: 1, or all, or what the file has fixed."""
        name, fixed = self._fixed_time()
        if fixed:
            return fixed
        if not self.forgets() and self.model.graph.is_causal:
            return 1
        if self.time_axis() is None:
            raise UnsupportedError(
                f"{self.path}: {self.label} starts each call of this file from the initial state of "
                f"{', '.join(self.forgets()) or 'its layers'}, and its input {name!r} has no time axis of free size; "
                "expected a file with such an axis, or with the states as inputs and outputs"
            )
        return steps

    def advance(self, inputs: Arrays) -> tuple[Arrays, Arrays]:
        """Takes the T timesteps of `inputs` (T, *shape) in one call; `T` as :meth:`steps_per_call` says.

        Returns outputs by the Graph's names, (T, *shape) or, where the file gives a value for the end of the sequence
        only, (1, *shape); and the states after the last step.
        """
        count = len(next(iter(inputs.values()))) if inputs else 1
        result = self.call(self._feeds(inputs, count))
        self._states = {
            name: result[output].reshape(-1)[: prod(shape)].reshape(shape)
            if result[output].size == prod(shape)
            else self._first_of_batch(result[output], shape)
            for name, shape in self.interface.shapes.items()
            if name in self.carried and (output := self.carried[name])
        }
        outputs = {name: self._per_step(result, name, shape, count) for name, shape in self.model.outputs.items()}
        states = {n: v.reshape(self.model.states[n]) for n, v in self._states.items() if n in self.model.states}
        return outputs, {**states, **self.inner_states()}

    # -- axes ------------------------------------------------------------------------------------------

    def time_axis(self) -> int | None:
        """The axis of the data inputs along which a change of the first step changes the last step's outputs."""
        if self._probed is None:
            self._probed = next((axis for axis in self._free_axes() if self._is_time(axis)), -1)
            self.reset()
        return None if self._probed < 0 else self._probed

    def _data_input(self) -> str:
        return next(iter(self.model.inputs), "")

    def _free_axes(self) -> list[int]:
        """Axes of the data input that are 1 in a step and that the file leaves open or fixes to another size."""
        name = self._data_input()
        pairs = zip(self.interface.shapes.get(name, ()), self.declared(name), strict=True)
        return [axis for axis, (single, declared) in enumerate(pairs) if single == 1 and declared != 1]

    def _fixed_time(self) -> tuple[str, int]:
        name = self._data_input()
        if any(self.declared(name)[axis] is not None for axis in self._free_axes()):
            axis = self.time_axis()
            if axis is not None:
                return name, self.declared(name)[axis] or 0
        return name, 0

    def _is_time(self, axis: int) -> bool:
        self._probed = axis
        self.reset()
        steps = self.declared(self._data_input())[axis] or _PROBE_STEPS
        rng = np.random.default_rng(0)
        inputs = {n: rng.normal(size=(steps, *s)).astype(np.float32) for n, s in self.model.inputs.items()}
        changed = {name: array.copy() for name, array in inputs.items()}
        for array in changed.values():
            array[0] += 1
        last = []
        for given in (inputs, changed):
            self.reset()
            try:
                outputs, _ = self.advance(given)
            except UnsupportedError:  # the file does not take this size here
                return False
            last.append([value[-1] for value in outputs.values()])
        return any(not np.array_equal(one, other) for one, other in zip(*last, strict=True))

    def _feeds(self, inputs: Arrays, count: int) -> Arrays:
        feeds = {name: self._widened(name, value) for name, value in self._states.items()}
        for name, array in inputs.items():
            single = self.interface.shapes[name]
            rows = array.reshape(count, *single)
            if count == 1:
                value = rows[0]
            else:
                if self._probed is None or self._probed < 0:
                    raise UnsupportedError(f"{self.path}: no time axis is known for {count} timesteps in one call")
                value = np.concatenate(list(rows), axis=self._probed)
            feeds[name] = self._widened(name, value)
        if self.interface.sequence_lens:
            feeds[self.interface.sequence_lens] = np.full(1, count, np.int32)
        return feeds

    def _widened(self, name: str, value: Array) -> Array:
        """`value` repeated along axes that the file fixes to more than one, such as the batch's."""
        sizes = zip(value.shape, self.declared(name), strict=True)
        shape = [declared if declared and have == 1 else have for have, declared in sizes]
        return np.ascontiguousarray(np.broadcast_to(value, shape))

    def _per_step(self, result: Arrays, name: str, shape: tuple[int, ...], count: int) -> Array:
        if name not in result:
            raise UnsupportedError(f"{self.path}: {self.label} gives the outputs {list(result)}, expected {name!r}")
        value = np.asarray(result[name])
        if value.size == prod(shape):
            return value.reshape(1, *shape)
        axes = [a for a in (self._probed, *range(value.ndim)) if a is not None and 0 <= a < value.ndim]
        at = next((a for a in axes if value.shape[a] == count), None)
        if at is not None and count > 1:
            value = np.moveaxis(value, at, 0)
            return np.stack([self._first_of_batch(row, shape) for row in value])
        return self._first_of_batch(value, shape)[None]

    def _first_of_batch(self, value: Array, shape: tuple[int, ...]) -> Array:
        """The first sequence of a batch that :meth:`_widened` made of equal ones."""
        for axis in range(value.ndim):
            if value.size == prod(shape):
                break
            surplus = value.size // prod(shape)
            if value.shape[axis] == surplus:
                value = value.take([0], axis)
        if value.size != prod(shape):
            raise UnsupportedError(f"{self.path}: {self.label} gives the shape {value.shape}, expected {shape}")
        return value.reshape(shape)
