"""The runtimes that files were made for, called the way a careful user would: one thread, nothing looked up twice.

Each peer carries the state from call to call where the file hands it out. Where the file does not, the work of a call
is the same and the state starts over.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice
from operator import itemgetter
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np

from rtrnn.bench.engines import inputs_for
from rtrnn.errors import UnsupportedError

if TYPE_CHECKING:
    from rtrnn.model import Model
    from rtrnn.runtimes.base import Runtime
    from rtrnn.runtimes.onnx import OnnxRuntime
    from rtrnn.runtimes.torch import TorchRuntime

__all__ = ["OnnxBound", "OnnxRun", "TorchCall", "peers_of"]


def peers_of(runtime: Runtime, model: Model) -> list[Any]:
    """The peers for the file that `runtime` has open.

    Raises :class:`UnsupportedError` for a file whose fixed shapes are those of more than one timestep.
    """
    for name, shape in runtime.interface.shapes.items():
        declared = runtime.declared(name)
        if any(want is not None and want != have for want, have in zip(declared, shape, strict=True)):
            raise UnsupportedError(
                f"{runtime.path}: input {name!r} has the fixed shape {declared}; one timestep is {list(shape)}"
            )
    from rtrnn.runtimes.onnx import OnnxRuntime
    from rtrnn.runtimes.torch import TorchRuntime

    if isinstance(runtime, OnnxRuntime):
        return [OnnxRun(runtime, model), OnnxBound(runtime, model)]
    if isinstance(runtime, TorchRuntime):
        return [TorchCall(runtime, model)]
    return []


def _foreign_inputs(runtime: Runtime, model: Model) -> list[dict[str, Any]]:
    """The inputs that rtrnn's own engines are given, in the file's shapes, without the states."""
    rows = []
    for row in inputs_for(model):
        values = row if isinstance(row, tuple) else (row,)
        rows.append({n: v.reshape(runtime.interface.shapes[n]) for n, v in zip(model.inputs, values, strict=True)})
    return rows


class OnnxRun:
    """``session.run``: state handed on by taking each call's state outputs as the next call's state inputs."""

    blocks = True
    name = "onnxruntime run"

    def __init__(self, runtime: OnnxRuntime, model: Model) -> None:
        runtime.reset()
        self.session = runtime.session
        # A step's outputs are the data's first and then the states', so that the states are a slice.
        data = [name for name in model.outputs if name not in runtime.carried.values()]
        self.fetched = [*data, *runtime.carried.values()]
        self.first_state = len(data)
        self.state_names = tuple(runtime.carried)
        self.data_name = next(iter(model.inputs), "")
        cast = {name: runtime.dtype(name) for name in runtime.interface.shapes}
        self.inputs = [{n: v.astype(cast[n]) for n, v in row.items()} for row in _foreign_inputs(runtime, model)]
        self.lengths = (
            {runtime.interface.sequence_lens: np.ones(1, np.int32)} if runtime.interface.sequence_lens else {}
        )
        initial = runtime._feeds({}, 1)
        self.states = [initial[name].astype(cast[name]) for name in self.state_names]

    def block(self, count: int) -> None:
        feed = {**self.lengths, **dict(zip(self.state_names, self.states, strict=True))}
        rows = islice(cycle(self.inputs), count)
        if len(self.inputs[0]) == 1 and len(self.state_names) == 1:
            self._one_state(feed, rows)
        elif len(self.inputs[0]) == 1 and len(self.state_names) == 2:
            self._two_states(feed, rows)
        else:
            self._any_states(feed, rows)
        self.states = [feed[name] for name in self.state_names]

    # What a user writes for his own network is a little faster than a loop over names: it is what counts.

    def _one_state(self, feed: dict[str, Any], rows: Iterator[dict[str, Any]]) -> None:
        run, fetched, (h,), data = self.session.run, self.fetched, self.state_names, self.data_name
        for x in map(itemgetter(data), rows):
            feed[data] = x
            *_, feed[h] = run(fetched, feed)

    def _two_states(self, feed: dict[str, Any], rows: Iterator[dict[str, Any]]) -> None:
        run, fetched, (h, c), data = self.session.run, self.fetched, self.state_names, self.data_name
        for x in map(itemgetter(data), rows):
            feed[data] = x
            *_, feed[h], feed[c] = run(fetched, feed)

    def _any_states(self, feed: dict[str, Any], rows: Iterator[dict[str, Any]]) -> None:
        run, fetched, names, first = self.session.run, self.fetched, self.state_names, self.first_state
        for x in rows:
            feed.update(x)
            feed.update(zip(names, run(fetched, feed)[first:], strict=True))

    def singles(self, count: int) -> list[int]:
        run, fetched, names, first = self.session.run, self.fetched, self.state_names, self.first_state
        feed = {**self.lengths, **dict(zip(names, self.states, strict=True))}
        clock, taken = perf_counter_ns, [0] * count
        for i, x in zip(range(count), cycle(self.inputs)):
            feed.update(x)
            begin = clock()
            results = run(fetched, feed)
            taken[i] = clock() - begin
            for name, value in zip(names, results[first:], strict=True):
                feed[name] = value
        self.states = [feed[name] for name in names]
        return taken


class OnnxBound:
    """``run_with_iobinding`` on buffers that are bound once.

    Two bindings hand the state back and forth, so that nothing is copied. The input is taken as already written into
    its buffer, which favours this call over ``step(x)``.
    """

    blocks = True
    name = "onnxruntime bound I/O"

    def __init__(self, runtime: OnnxRuntime, model: Model) -> None:
        runtime.reset()
        self.session = runtime.session
        row = _foreign_inputs(runtime, model)[0]
        data = {n: np.ascontiguousarray(v, runtime.dtype(n)) for n, v in row.items()}
        if runtime.interface.sequence_lens:
            data[runtime.interface.sequence_lens] = np.ones(1, np.int32)
        initial = runtime._feeds({}, 1)
        states = [{name: np.array(initial[name], runtime.dtype(name)) for name in runtime.carried} for _ in range(2)]
        self._kept = (data, states)
        # Every output has a buffer of its own; one trial call tells its shape.
        trial = runtime.call(runtime._feeds(row, 1))
        self.outputs = {n: np.empty_like(v) for n, v in trial.items() if n in model.outputs}
        self.bindings = [self._bind(runtime, data, self.outputs, states[k], states[1 - k]) for k in range(2)]

    def _bind(self, runtime: OnnxRuntime, data: Any, outputs: Any, before: Any, after: Any) -> Any:
        binding = self.session.io_binding()
        for name, array in (*data.items(), *before.items()):
            binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        taken = {runtime.carried[name]: array for name, array in after.items()}
        for name, array in {**outputs, **taken}.items():
            binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        return binding

    def block(self, count: int) -> None:
        run = self.session.run_with_iobinding
        for binding in islice(cycle(self.bindings), count):
            run(binding)

    def singles(self, count: int) -> list[int]:
        run, clock, taken = self.session.run_with_iobinding, perf_counter_ns, [0] * count
        for i, binding in zip(range(count), cycle(self.bindings)):
            begin = clock()
            run(binding)
            taken[i] = clock() - begin
        return taken


class TorchCall:
    """``module(x)`` in inference mode on one thread; inputs are tensors already, results stay tensors."""

    blocks = True
    name = "torch module(x)"

    def __init__(self, runtime: TorchRuntime, model: Model) -> None:
        import torch

        torch.set_num_threads(1)
        self._mode = torch.inference_mode
        with self._mode():
            runtime.reset()
            self.module = runtime.module
            rows = [runtime.arguments(runtime._feeds(row, 1)) for row in _foreign_inputs(runtime, model)]
        names = [argument.name for argument in runtime.forward.schema.arguments[1 : 1 + len(rows[0])]]
        self.results = self._state_results(runtime, names)
        first = len(names) - len(self.results)
        self.inputs = [row[:first] for row in rows]
        self.state = rows[0][first:]

    @staticmethod
    def _state_results(runtime: TorchRuntime, names: list[str]) -> list[int]:
        """For each argument that is a state (they come last): which of forward's results it is at the next call."""
        found = {}
        for position, name in enumerate(names):
            outputs = [out for leaf, out in runtime.carried.items() if leaf.split(".")[0] == name]
            indices = {out.split(".")[0].removeprefix("output_") for out in outputs}
            if len(indices) == 1 and (index := indices.pop()).isdigit():
                found[position] = int(index)
            elif outputs:
                raise UnsupportedError(f"{runtime.path}: argument {name!r} is not one of forward's results: {outputs}")
        if list(found) != list(range(len(names) - len(found), len(names))):
            raise UnsupportedError(f"{runtime.path}: expected the states as the last arguments, found {names}")
        return list(found.values())

    def block(self, count: int) -> None:
        module, results, state = self.module, self.results, self.state
        with self._mode():
            for x in islice(cycle(self.inputs), count):
                result = module(*x, *state)
                if results:
                    state = [result[i] for i in results]
        self.state = state

    def singles(self, count: int) -> list[int]:
        module, results, state = self.module, self.results, self.state
        clock, taken = perf_counter_ns, [0] * count
        with self._mode():
            for i, x in zip(range(count), cycle(self.inputs)):
                begin = clock()
                result = module(*x, *state)
                taken[i] = clock() - begin
                if results:
                    state = [result[k] for k in results]
        self.state = state
        return taken
