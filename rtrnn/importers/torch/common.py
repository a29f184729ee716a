"""What both PyTorch front ends do: inputs, carried buffers, repeated reading until the states are known, finishing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils import _pytree as pytree

from rtrnn.errors import FileFormatError, StateError, UnsupportedError
from rtrnn.importers.builder import Builder, RebindAxis, Sym
from rtrnn.importers.draft import CELL_STATES, Draft
from rtrnn.importers.finish import finish
from rtrnn.importers.torch.machine import Machine
from rtrnn.importers.torch.values import Tensor, to_sym
from rtrnn.importers.torch.whole import refuse_whole_sequences

__all__ = ["Memory", "Reading", "as_example", "import_with", "named_leaves", "named_outputs"]

_MAX_READINGS = 16


@dataclass
class Memory:
    """The module's tensors by path. Those in `carried` are states; `written` collects those that forward changes."""

    machine: Machine
    #: Path -> initial value.
    carried: Mapping[str, torch.Tensor]
    written: dict[str, torch.Tensor] = field(default_factory=dict)
    _tensors: dict[str, Tensor] = field(default_factory=dict)
    _initial: dict[str, torch.Tensor] = field(default_factory=dict)
    _states: dict[str, Sym] = field(default_factory=dict)

    def tensor(self, path: str, value: torch.Tensor) -> Tensor:
        """The parameter or buffer at `path`, whose value in the module is `value`."""
        if path not in self._tensors:
            self._initial[path] = value
            if path in self.carried:
                b = self.machine.b
                initial = to_sym(b, self.carried[path]).const
                self._states[path] = b.state(path, np.asarray(initial, np.float32), f"buffer {path!r}")
                self._tensors[path] = Tensor(self._states[path], path)
            else:
                self._tensors[path] = Tensor(to_sym(self.machine.b, value), path)
        return self._tensors[path]

    def assign(self, path: str, tensor: Tensor) -> None:
        """The attribute at `path` is another tensor from now on."""
        if path not in self.carried:
            value = tensor.read()
            before = self._initial.get(path)
            if before is None and value.const is not None:
                before = torch.from_numpy(np.array(value.const))
            if path not in self.written:
                if before is None:
                    raise StateError(
                        f"attribute {path!r} is None at first and then holds a computed value of shape {value.shape}; "
                        "expected a tensor as its initial value (register_buffer)"
                    )
                self.written[path] = before
        elif path not in self._states:
            self.tensor(path, self.carried[path])
        self._tensors[path] = tensor

    def close(self) -> None:
        """Call at the end of forward: gives the states their next values and notes other tensors that were written."""
        for path, tensor in self._tensors.items():
            if path in self._states:
                state, value = self._states[path], tensor.read()
                if value.size != state.size:
                    raise StateError(f"buffer {path!r} has shape {state.shape}, but forward makes it {value.shape}")
                self.machine.b.set_next(state, value)
            elif tensor.version and path in self._initial:
                self.written.setdefault(path, self._initial[path])


@dataclass
class Reading:
    """One reading of a program: its results by name, the foreign shapes of its inputs, and the inputs as it left them."""

    memory: Memory
    outputs: dict[str, Any]
    input_shapes: dict[str, tuple[int, ...]]
    inputs: dict[str, Tensor] = field(default_factory=dict)


Reader = Callable[[Builder, list[tuple[str, Any]], Mapping[str, torch.Tensor]], Reading]


def import_with(
    read: Reader,
    leaves: list[tuple[str, Any]],
    *,
    states: Mapping[str, str | None] | None,
    initial_states: Mapping[str, npt.ArrayLike] | None,
    source: str,
) -> Draft:
    """Reads a program until its time and batch axes have size 1 and all its written buffers are states; finishes it.

    `leaves` are the tensors (or other values) of the example call, with their names.
    """
    leaves, reading = _read_until_settled(read, leaves)
    note = ""
    size = _leading_size(leaves, reading)
    if size > 1:
        # No recurrent layer says so, but an axis that runs through from input to output is a batch axis.
        name = leaves[0][0]
        try:
            leaves, reading = _read_until_settled(read, _cut(leaves, RebindAxis((name, 0), "batch", size)))
            note = f"axis 0 of input {name!r}, of size {size} in the example, is taken as the batch axis and left out"
        except (UnsupportedError, StateError):
            pass
    draft = _finish(reading, states, initial_states, source)
    if not draft.states:
        _refuse_loops_by_hand(read, leaves, draft)
    elif not initial_states and not states and not reading.memory.carried and draft.metadata["source.states"] == "{}":
        _refuse_whole_sequences(read, leaves, reading, draft, source)
    if note:
        draft.warnings.append(note)
    return draft


def _read_until_settled(read: Reader, leaves: list[tuple[str, Any]]) -> tuple[list[tuple[str, Any]], Reading]:
    carried: dict[str, torch.Tensor] = {}
    for _ in range(_MAX_READINGS):
        try:
            reading = read(Builder(), leaves, carried)
        except RebindAxis as rebind:
            try:
                return _read_until_settled(read, _cut(leaves, rebind))
            except UnsupportedError:
                # Perhaps other inputs have the same time axis; a state's first axis (layers) may only look like it.
                wide = _cut(leaves, rebind, wide=True)
                if _shapes(wide) == _shapes(_cut(leaves, rebind)):
                    raise
                return _read_until_settled(read, wide)
        if not reading.memory.written:
            return leaves, reading
        carried = {**carried, **reading.memory.written}
    raise UnsupportedError(f"the module's states keep changing after {_MAX_READINGS} readings")


def _shapes(leaves: list[tuple[str, Any]]) -> list[tuple[int, ...] | None]:
    return [tuple(value.shape) if isinstance(value, torch.Tensor) else None for _, value in leaves]


def _leading_size(leaves: list[tuple[str, Any]], reading: Reading) -> int:
    """The size of the first axis that the first input and the first output share; 1 if there is none."""
    first = leaves[0][1] if leaves else None
    result = next((t for t in reading.outputs.values() if isinstance(t, Tensor)), None)
    if not isinstance(first, torch.Tensor) or first.ndim < 2 or result is None or len(result.shape) < 2:
        return 1
    return first.shape[0] if first.shape[0] == result.shape[0] else 1


def _cut(leaves: list[tuple[str, Any]], rebind: RebindAxis, wide: bool = False) -> list[tuple[str, Any]]:
    """Cuts an axis of the example to 1: a batch axis in every tensor, or the module could not be called.

    With `wide` a time axis too, in every tensor that has it in the same place.
    """
    name, axis = rebind.axis
    cut: list[tuple[str, Any]] = []
    for leaf, value in leaves:
        at: int | None = None
        if leaf == name or (
            wide and isinstance(value, torch.Tensor) and value.shape[axis : axis + 1] == (rebind.size,)
        ):
            at = axis
        elif rebind.role == "batch" and isinstance(value, torch.Tensor):
            # States have their batch axis before the last, (layers, batch, size) or (batch, size).
            candidates = range(value.ndim - 2, -1, -1)
            at = next((i for i in candidates if value.shape[i] == rebind.size), None)
        cut.append((leaf, value if at is None else value.narrow(at, 0, 1)))
    return cut


def _finish(reading: Reading, states: Any, initial_states: Any, source: str) -> Draft:
    b = reading.memory.machine.b
    draft = b.draft
    shapes = {}
    for name, tensor in reading.outputs.items():
        if isinstance(tensor, Tensor):
            b.hint = name
            draft.outputs[name] = b.value(tensor.read())
            shapes[name] = tensor.shape
    if not draft.outputs:
        raise UnsupportedError("forward returns no tensor")
    states = {**_states_written_in_place(reading), **(states or {})}
    _refuse_time_loops(draft)
    finish(
        draft,
        input_shapes=reading.input_shapes,
        output_shapes=shapes,
        states=states,
        initial_states=initial_states,
        drop_state_outputs=True,
    )
    if list(draft.outputs) == ["output_0"]:
        draft.outputs = {"output": draft.outputs["output_0"]}
    draft.metadata["source.format"] = source
    return draft


def _states_written_in_place(reading: Reading) -> dict[str, str]:
    """Pairs for arguments whose memory forward fills with a value that depends on another argument or on a state.

    Their new value becomes an output of the Draft. An input that is only scaled or clipped in place stays data.
    """
    b = reading.memory.machine.b
    draft = b.draft
    pairs = {}
    for name, tensor in reading.inputs.items():
        value = tensor.read()
        if not tensor.version or value.name is None:
            continue
        if draft.depends_on(value.name) & ((draft.inputs.keys() - {name}) | draft.states.keys()):
            pairs[name] = f"{name}.next"
            draft.outputs[pairs[name]] = b.value(value, draft.inputs[name])
            draft.warnings.append(f"argument {name!r}, which forward writes in place, is carried as a state")
    return pairs


def _refuse_time_loops(draft: Draft) -> None:
    """A cell applied to its own result, with the same weights, is a loop over several timesteps."""
    producers = draft.producers()
    for node in draft.nodes:
        if node.turn is not None:
            continue
        for position in CELL_STATES.get(node.op, ()):
            before = producers.get(node.inputs[position])
            at = 1 + len(CELL_STATES[node.op])
            if before is not None and before.op == node.op and before.inputs[at : at + 2] == node.inputs[at : at + 2]:
                raise UnsupportedError(
                    f"{node.op} {node.name!r} is applied to its own result: forward takes several timesteps; "
                    "expected an example of one timestep"
                )


def _refuse_whole_sequences(
    read: Reader, leaves: list[tuple[str, Any]], reading: Reading, draft: Draft, source: str
) -> None:
    if any(node.attributes.get("direction") == "reverse" for node in draft.nodes):
        return  # runs offline only, over whole sequences

    def read_block(b: Builder, longer: list[tuple[str, Any]]) -> tuple[Mapping[str, Any], Draft]:
        block = read(b, longer, {})
        if block.memory.written:
            raise UnsupportedError("the block writes buffers")
        return block.outputs, _finish(block, None, None, source)

    time_axes = reading.memory.machine.b.time_axes
    if time_axes:
        refuse_whole_sequences(read_block, leaves, time_axes, reading.outputs, draft)


def _refuse_loops_by_hand(read: Reader, leaves: list[tuple[str, Any]], draft: Draft) -> None:
    """A loop over the timesteps in forward itself, around a cell written by hand, begins every call from the same state.

    One timestep of it looks like a network without a state. So the network is read once more with more timesteps: if a
    matrix is then applied to its own results more often, there is such a loop.
    """
    name, first = leaves[0] if leaves else ("", None)
    if not isinstance(first, torch.Tensor) or first.ndim < 2:
        return
    depth = _applications(draft)
    for axis in range(first.ndim - 1):
        shape = list(first.shape)
        # Two more: the first application, to the constant that the state begins as, is folded away.
        shape[axis] += 2
        try:
            reading = read(Builder(), [(name, first.new_zeros(shape)), *leaves[1:]], {})
        except (RebindAxis, UnsupportedError, StateError, FileFormatError):
            continue
        longer = reading.memory.machine.b.draft
        if _applications(longer) > depth:
            raise UnsupportedError(
                f"forward runs over axis {axis} of input {name!r} in a loop of its own and begins each call from the same "
                "state, so that a stream would forget it from step to step; expected the state as an argument and a "
                "result of forward, or in a buffer"
            )


def _applications(draft: Draft) -> int:
    """How often a matrix is applied in a row to what comes of its own results; at least 1."""
    uses: dict[str, int] = {}
    for node in draft.nodes:
        if node.op == "linear":
            uses[node.inputs[1]] = uses.get(node.inputs[1], 0) + 1
    most = 1
    for weight in [weight for weight, count in uses.items() if count > 1]:
        depth: dict[str, int] = {}
        for node in draft.nodes:
            reached = max((depth.get(value, 0) for value in node.inputs), default=0)
            reached += node.op == "linear" and node.inputs[1] == weight
            depth.update(dict.fromkeys(node.outputs, reached))
            most = max(most, reached)
    return most


def as_example(example: Any, dtype: torch.dtype, device: torch.device | str = "cpu") -> tuple[Any, ...]:
    """`example` as the positional arguments of a call, arrays as tensors, floats of the module's type."""
    arguments = tuple(example) if isinstance(example, (tuple, list)) else (example,)

    def convert(value: Any) -> Any:
        if isinstance(value, (np.ndarray, np.generic)):
            value = torch.from_numpy(np.array(value))
        if isinstance(value, torch.Tensor):
            value = value.detach().to(device)
            return value.to(dtype) if value.is_floating_point() else value
        return value

    return tuple(pytree.tree_map(convert, argument) for argument in arguments)


def named_leaves(names: Sequence[str], values: Sequence[Any]) -> list[tuple[str, Any]]:
    """The leaves of nested values with dotted names: ``hx`` -> ``hx.0``, ``hx.1``."""
    leaves = []
    for name, value in zip(names, values, strict=True):
        for path, leaf in pytree.tree_flatten_with_path(value)[0]:
            leaves.append((".".join([name, *(_key(k) for k in path)]), leaf))
    return leaves


def _key(key: Any) -> str:
    for attribute in ("idx", "key", "name"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def named_outputs(result: Any) -> dict[str, Any]:
    """``output`` for one tensor, ``output_0``, ``output_1`` .. for a tuple, keys for a dict; nested ones with dots."""
    if isinstance(result, Mapping):
        return dict(named_leaves([str(k) for k in result], list(result.values())))
    if isinstance(result, (tuple, list)):
        return dict(named_leaves([f"output_{i}" for i in range(len(result))], list(result)))
    return dict(named_leaves(["output"], [result]))
