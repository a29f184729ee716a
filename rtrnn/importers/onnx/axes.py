"""Which axes of a file's inputs are time and batch, of which a step has one element, and which lie within one timestep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING

import numpy as np

from rtrnn.errors import FileFormatError, GraphError, UnsupportedError
from rtrnn.importers.builder import Axis, RebindAxis
from rtrnn.importers.draft import Shape
from rtrnn.importers.onnx.graph import GraphImport
from rtrnn.importers.onnx.overtime import STEPS, OverTime
from rtrnn.importers.onnx.reader import shape_of
from rtrnn.importers.onnx.registry import Options

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["dynamic_axes_of", "read_one_timestep", "step_axes_of"]


def dynamic_axes_of(model: ModelProto, given: Mapping[str, Shape]) -> set[Axis]:
    """The axes of inputs that the file leaves free: time, batch, or a size that only the caller knows."""
    free = {value.name: shape_of(value) or [] for value in model.graph.input if value.name not in given}
    return {(name, i) for name, sizes in free.items() for i, size in enumerate(sizes) if size is None}


def step_axes_of(step_axes: Mapping[str, Sequence[int]], shapes: Mapping[str, Shape]) -> set[Axis]:
    """What the caller declares to be axes within one timestep, checked."""
    found: set[Axis] = set()
    for name, axes in step_axes.items():
        if name not in shapes:
            raise GraphError(f"step_axes names the input {name!r}, but the inputs are {list(shapes)}")
        rank = len(shapes[name])
        for axis in axes:
            if not -rank <= int(axis) < rank:
                raise GraphError(f"step_axes names axis {axis} of input {name!r}, which has {rank} axes")
            found.add((name, int(axis) % rank))
    return found


def read_one_timestep(
    model: ModelProto,
    shapes: dict[str, Shape],
    constants: Mapping[str, np.ndarray],
    options: Options,
    dynamic_axes: Set[Axis],
    step_axes: Set[Axis],
) -> GraphImport:
    """Reads the graph until all axes that turn out to be time or batch have size 1; changes `shapes` accordingly."""
    steps = set(step_axes)

    def reading(also: Set[Axis] = frozenset(), over_time: OverTime | None = None) -> GraphImport:
        options.forget()
        found = GraphImport(
            model, shapes, constants, options, dynamic_axes=dynamic_axes, step_axes=steps | also, over_time=over_time
        )
        found.run()
        return found

    # Each round decides about one axis for good, so there are never more rounds than axes.
    for _ in range(1 + sum(len(shape) for shape in shapes.values())):
        try:
            found = reading()
            times = _longer_times(found, dynamic_axes, options.rebound, steps)
            found = reading(over_time=OverTime(times)) if times else found
            _warn_window(found, options.rebound)
            return found
        except RebindAxis as rebind:
            name, axis = rebind.axis
            if rebind.role == "time" and len(shapes[name]) > 2 and _time_is_another(reading, rebind.axis, steps):
                steps.add(rebind.axis)
                continue
            options.rebound[rebind.axis] = rebind.size
            shapes[name] = (*shapes[name][:axis], 1, *shapes[name][axis + 1 :])
        except (FileFormatError, UnsupportedError) as error:
            hints = _hints(model, shapes, dynamic_axes, options.rebound)
            raise type(error)(f"{error}{hints}") from error
    raise UnsupportedError(f"no choice of time and batch axes fits the inputs {shapes}")


def _longer_times(
    found: GraphImport, dynamic_axes: Set[Axis], rebound: Mapping[Axis, int], step_axes: Set[Axis]
) -> dict[Axis, int]:
    """The time axes along which the file runs over more than one step -> how many steps to think of.

    A file of free length that has all its state as inputs and outputs is called once for each step: there the axis has size 1.
    """
    b = found.builder
    times = {axis: rebound[axis] for axis in b.time_axes & rebound.keys()}
    if b.draft.states:
        free = dynamic_axes - b.batch_axes
        # Where an operation has hidden which axis a layer runs over, it may be any that is free.
        times.update({axis: STEPS for axis in free if axis in b.time_axes or b.lost_time})
    return {axis: steps for axis, steps in times.items() if steps > 1 and axis not in step_axes}


def _warn_window(found: GraphImport, rebound: Mapping[Axis, int]) -> None:
    """A file that takes a fixed number of timesteps and begins each time anew may be meant for a window that moves."""
    draft = found.builder.draft
    for (name, axis), steps in rebound.items():
        if (name, axis) in found.builder.time_axes and draft.states:
            draft.warnings.append(
                f"the file takes {steps} timesteps of input {name!r} at once (axis {axis}), and {', '.join(draft.states)} start anew each "
                f"time; the stream takes one and carries them on. Call reset() before each sequence; if these {steps} are a window of "
                f"past values that is given whole at every step, say so with step_axes={{{name!r}: [{axis}]}}"
            )


def _time_is_another(reading: object, axis: Axis, steps: Set[Axis]) -> bool:
    """Whether, with `axis` taken to lie within one timestep, a recurrent layer runs over another axis of the same input,
    as in a network with one layer over the frequencies of a frame and one over time."""
    try:
        found = reading({axis})  # type: ignore[operator]
    except RebindAxis as rebind:
        return rebind.role == "time" and rebind.axis[0] == axis[0] and rebind.axis != axis
    except (FileFormatError, UnsupportedError):
        return False
    return any(name == axis[0] for name, _ in found.builder.time_axes - steps - {axis})


def _hints(
    model: ModelProto, shapes: Mapping[str, Shape], dynamic_axes: Set[Axis], rebound: Mapping[Axis, int]
) -> str:
    """What a network that does not fit together may lack: sizes of features, or that an axis is none of time."""
    free = [name for name, shape in shapes.items() if (name, len(shape) - 1) in dynamic_axes]
    if free:
        return f" (the last axis of input {free[0]!r} is not fixed and was taken as 1: input_shapes= gives its size)"
    # A sequence of frames of one axis has no other axis that could be time.
    taken = [(name, axis) for name, axis in rebound if len(shapes[name]) > 2]
    if taken:
        name, axis = taken[0]
        return (
            f" (axis {axis} of input {name!r}, of size {rebound[taken[0]]}, was taken for time or batch: if it lies within one "
            f"timestep, say so with step_axes={{{name!r}: [{axis}]}})"
        )
    return ""
