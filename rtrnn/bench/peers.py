"""The runtimes that files were made for, called the way a careful user would: one thread, nothing looked up twice.

Each peer carries the state from call to call where the file hands it out. Where the file does not, the work of a call
is the same and the state starts over. A peer is timed after its first results have been compared with rtrnn's.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import cycle, islice
from operator import itemgetter
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rtrnn.bench.engines import inputs_for
from rtrnn.errors import MissingExtraError, UnsupportedError

if TYPE_CHECKING:
    from rtrnn.model import Model
    from rtrnn.runtimes.base import Runtime
    from rtrnn.runtimes.onnx import OnnxRuntime
    from rtrnn.runtimes.torch import TorchRuntime

__all__ = [
    "Failure",
    "OnnxBound",
    "OnnxRun",
    "OpenVino",
    "TorchCall",
    "checked",
    "makers_of",
    "openvino_request",
    "peers_of",
]

#: A peer's results may differ from rtrnn's by this much of their largest value: what float32 and other orders of
#: summation cost over a few steps is a hundredth of it, another network's results are far beyond.
TOLERANCE = 1e-4
_TRIAL_STEPS = 8

Array = npt.NDArray[np.float32]
Makers = dict[str, Callable[[], Any]]


@dataclass(frozen=True)
class Failure:
    """A peer that could not be timed, and why."""

    name: str
    reason: str


def peers_of(runtime: Runtime, model: Model) -> list[Any]:
    """The peers for the file that `runtime` has open, as :func:`makers_of` makes them."""
    return [make() for make in makers_of(runtime, model).values()]


def makers_of(runtime: Runtime, model: Model) -> Makers:
    """What makes each peer for the file that `runtime` has open, by the peer's name.

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

    makers: Makers = {}
    if isinstance(runtime, OnnxRuntime):
        makers = {kind.name: lambda kind=kind: kind(runtime, model) for kind in (OnnxRun, OnnxBound)}  # type: ignore[misc]
        if find_spec("openvino"):
            makers[OpenVino.name] = lambda: OpenVino(runtime, model)
    elif isinstance(runtime, TorchRuntime):
        makers[TorchCall.name] = lambda: TorchCall(runtime, model)
    return makers


def checked(makers: Mapping[str, Callable[[], Any]], expected: Array) -> tuple[list[Any], list[Failure]]:
    """The peers whose ``trial`` gives `expected` (steps, outputs), and for each of the others the reason.

    A peer that is not installed is left out silently.
    """
    good, failures = [], []
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    for name, make in makers.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                peer = make()
                found = np.asarray(peer.trial(len(expected)))
        except MissingExtraError:
            continue
        except Exception as error:  # each runtime has its own types
            reason = " ".join(str(error).split())[:200]
            failures.append(Failure(name, f"{type(error).__name__}: {reason}"))
            continue
        if found.shape != expected.shape:
            failures.append(Failure(name, f"its results have the shape {found.shape}, rtrnn's {expected.shape}"))
        elif not (worst := float(np.abs(found - expected).max(initial=0))) <= TOLERANCE * scale:
            failures.append(Failure(name, f"its results differ from rtrnn's by {worst:.2g}: not the same network"))
        else:
            good.append(peer)
    return good, failures


def _foreign_inputs(runtime: Runtime, model: Model) -> list[dict[str, Any]]:
    """The inputs that rtrnn's own engines are given, in the file's shapes, without the states."""
    rows = []
    for row in inputs_for(model):
        values = row if isinstance(row, tuple) else (row,)
        rows.append({n: v.reshape(runtime.interface.shapes[n]) for n, v in zip(model.inputs, values, strict=True)})
    return rows


def _joined(parts: Any) -> Array:
    return np.concatenate([np.asarray(part, np.float32).ravel() for part in parts])


class OnnxRun:
    """``session.run``: state handed on by taking each call's state outputs as the next call's state inputs."""

    blocks = True
    native = False
    steps_per_call = 1
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

    def trial(self, count: int) -> Array:
        """The data outputs of the first `count` steps; the state is as before."""
        feed = {**self.lengths, **dict(zip(self.state_names, self.states, strict=True))}
        rows = []
        for x in self.inputs[:count]:
            results = self.session.run(self.fetched, {**feed, **x})
            rows.append(_joined(results[: self.first_state]))
            feed.update(zip(self.state_names, results[self.first_state :], strict=True))
        return np.array(rows)

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
    native = False
    steps_per_call = 1
    name = "onnxruntime bound I/O"

    def __init__(self, runtime: OnnxRuntime, model: Model) -> None:
        runtime.reset()
        self.session = runtime.session
        self.rows = _foreign_inputs(runtime, model)
        row = self.rows[0]
        data = {n: np.array(v, runtime.dtype(n)) for n, v in row.items()}
        if runtime.interface.sequence_lens:
            data[runtime.interface.sequence_lens] = np.ones(1, np.int32)
        initial = runtime._feeds({}, 1)
        states = [{name: np.array(initial[name], runtime.dtype(name)) for name in runtime.carried} for _ in range(2)]
        self.data, self.states = data, states
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

    def trial(self, count: int) -> Array:
        """The data outputs of the first `count` steps; afterwards the state and the input are as before."""
        initial = {name: array.copy() for name, array in self.states[0].items()}
        rows = []
        for x, binding in zip(self.rows[:count], cycle(self.bindings)):
            for name, value in x.items():
                self.data[name][...] = value
            self.session.run_with_iobinding(binding)
            rows.append(_joined(self.outputs.values()))
        for name, value in self.rows[0].items():
            self.data[name][...] = value
        for name, value in initial.items():
            self.states[0][name][...] = value
        return np.array(rows)

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


def openvino_request(path: Any) -> Any:
    """An inference request of OpenVINO on one thread in float32. Raises :class:`MissingExtraError`."""
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError("OpenVINO as a peer needs the package openvino: pip install openvino") from error
    options = {
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    return openvino.Core().compile_model(str(path), "CPU", options).create_infer_request()


def openvino_buffer(request: Any, name: str, value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """An array that is the input `name`'s memory from now on."""
    import openvino

    array = np.array(value)
    request.set_tensor(name, openvino.Tensor(array, shared_memory=True))
    return array


class OpenVino:
    """A request on tensors that are set once; states are copied from its outputs to its inputs.

    The input is taken as already written into its tensor.
    """

    blocks = True
    native = False
    steps_per_call = 1
    name = "OpenVINO"

    def __init__(self, runtime: OnnxRuntime, model: Model) -> None:
        runtime.reset()
        self.request = openvino_request(runtime.path)
        self.rows = _foreign_inputs(runtime, model)
        self.data = {n: openvino_buffer(self.request, n, v.astype(runtime.dtype(n))) for n, v in self.rows[0].items()}
        if runtime.interface.sequence_lens:
            openvino_buffer(self.request, runtime.interface.sequence_lens, np.ones(1, np.int32))
        initial = runtime._feeds({}, 1)
        before = {name: openvino_buffer(self.request, name, initial[name]) for name in runtime.carried}
        self.request.infer()
        after = {name: self.request.get_tensor(output).data for name, output in runtime.carried.items()}
        self.handed = [(before[name], after[name]) for name in before]
        self.outputs = [self.request.get_tensor(n).data for n in model.outputs if n not in runtime.carried.values()]

    def trial(self, count: int) -> Array:
        """The data outputs of the first `count` steps; afterwards the state and the input are as before."""
        initial = [before.copy() for before, _ in self.handed]
        rows = []
        for x in self.rows[:count]:
            for name, value in x.items():
                self.data[name][...] = value
            self.block(1)
            rows.append(_joined(self.outputs))
        for name, value in self.rows[0].items():
            self.data[name][...] = value
        for (before, _), value in zip(self.handed, initial, strict=True):
            before[...] = value
        return np.array(rows)

    def block(self, count: int) -> None:
        infer, handed = self.request.infer, self.handed
        for _ in range(count):
            infer(share_outputs=True)
            for before, after in handed:
                before[...] = after

    def singles(self, count: int) -> list[int]:
        infer, handed, clock, taken = self.request.infer, self.handed, perf_counter_ns, [0] * count
        for i in range(count):
            begin = clock()
            infer(share_outputs=True)
            taken[i] = clock() - begin
            for before, after in handed:
                before[...] = after
        return taken


class TorchCall:
    """``module(x)`` in inference mode on one thread; inputs are tensors already, results stay tensors."""

    blocks = True
    native = False
    steps_per_call = 1
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
        self.runtime, self.outputs = runtime, list(model.outputs)

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

    def trial(self, count: int) -> Array:
        """The data outputs of the first `count` steps; the state is as before, states in buffers are loaded anew."""
        from rtrnn.importers.torch.common import named_outputs

        rows, state = [], self.state
        with self._mode():
            for x in self.inputs[:count]:
                result = self.module(*x, *state)
                named = named_outputs(result)
                if "output" not in named and "output_0" in named:
                    named["output"] = named["output_0"]
                rows.append(_joined(named[name].numpy() for name in self.outputs))
                state = [result[i] for i in self.results]
            self.runtime.reset()
            self.module = self.runtime.module
        return np.array(rows)

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
