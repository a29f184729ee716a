"""Other engines for the networks of :mod:`rtrnn.bench.networks`: ONNX Runtime, OpenVINO, PyTorch in its three forms.

Steps carry the state; a whole sequence starts from zero, a batch is as many sequences at one timestep. All on one
thread, in float32.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rtrnn.bench.engines import BatchStep, Process, inputs_for, timed_calls
from rtrnn.bench.peers import Makers, makers_of, openvino_buffer, openvino_request

if TYPE_CHECKING:
    from rtrnn.bench.networks import Spec
    from rtrnn.model import Model

__all__ = ["PEERS", "expected", "network_makers"]

Array = npt.NDArray[np.float32]

#: What can be asked for, and the package that each needs.
PEERS = {
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "torch": "torch",
    "torchscript": "torch",
    "torch.compile": "torch",
}


def network_makers(spec: Spec, model: Model, form: str, wanted: set[str], folder: Path) -> Makers:
    """What makes each peer for `spec` in this form ("step", "run" or "batch"); `folder` takes the files they need.

    Only peers that are in `wanted` and installed. "finish" has none: no peer splits its step.
    """
    wanted = {name for name in wanted if find_spec(PEERS[name])}
    makers: Makers = {}
    if form == "finish":
        return makers
    steps, batch = {"step": (1, 1), "run": (Process.steps_per_call, 1), "batch": (1, BatchStep.size)}[form]
    if wanted & {"onnxruntime", "openvino"} and find_spec("onnx"):
        path = spec.save_onnx(folder / f"{spec.cell}_{steps}_{batch}.onnx", steps, batch)
        if form == "step":
            makers |= _of_file(path, wanted)
        else:
            if "onnxruntime" in wanted:
                makers["onnxruntime run"] = partial(_OnnxBlock, path, spec, model, form)
            if "openvino" in wanted:
                makers["OpenVINO"] = partial(_OpenVinoBlock, path, spec, model, form)
    kinds = [kind for kind in ("torch", "torchscript", "torch.compile") if kind in wanted]
    for kind in kinds:
        if form == "step":
            makers[_TORCH_NAMES[kind]] = partial(_TorchStep, kind, spec, model)
        elif kind != "torch.compile" or form == "batch":  # a compiled nn.GRU is the eager one
            makers[_TORCH_NAMES[kind]] = partial(_TorchBlock, kind, spec, model, form)
    return makers


def _of_file(path: Path, wanted: set[str]) -> Makers:
    """Those of a file, as `rtrnn bench FILE` makes them."""
    import rtrnn
    from rtrnn.runtimes.onnx import OnnxRuntime

    model = rtrnn.load(path)
    makers = makers_of(OnnxRuntime(path, model), model)
    return {name: make for name, make in makers.items() if name.split()[0].lower() in wanted}


def expected(model: Model, form: str, count: int) -> Array:
    """What a peer's ``trial`` has to give: (count, outputs), or for "run" and "batch" (rows of one call, outputs)."""
    from rtrnn.bench.engines import trial

    if form == "batch":
        return np.array([model.stream().step(x) for x in inputs_for(model)[: BatchStep.size]])
    return trial(model, Process.steps_per_call if form == "run" else count)


def _block_input(model: Model, form: str) -> Array:
    """(T, 1, input) of a whole sequence, or (1, batch, input)."""
    rows = inputs_for(model)
    if form == "batch":
        return np.stack(rows[: BatchStep.size])[None]
    return np.stack(rows * (Process.steps_per_call // len(rows)))[:, None]


class _Block:
    """A peer whose call takes many timesteps; subclasses give `call` and `result`."""

    blocks = True
    native = False

    def __init__(self, name: str, form: str) -> None:
        self.name = name
        self.steps_per_call = Process.steps_per_call if form == "run" else BatchStep.size

    def call(self) -> Any:
        raise NotImplementedError

    def result(self) -> Array:
        raise NotImplementedError

    def trial(self, count: int) -> Array:
        result = self.result()
        return np.asarray(result, np.float32).reshape(self.steps_per_call, -1)

    def block(self, count: int) -> None:
        call = self.call
        for _ in range(count):
            call()

    def singles(self, count: int) -> list[int]:
        return timed_calls(self.call, count)


class _OnnxBlock(_Block):
    def __init__(self, path: Path, spec: Spec, model: Model, form: str) -> None:
        from rtrnn.runtimes.onnx import open_session

        super().__init__("onnxruntime run", form)
        session = open_session(path)
        x = _block_input(model, form)
        zeros = np.zeros((1, x.shape[1], spec.hidden_size), np.float32)
        feed = {"x": x, **{f"{name}_in": zeros for name in spec.states}}
        self.call = partial(session.run, ["y"], feed)  # type: ignore[method-assign]

    def result(self) -> Array:
        y: Array = self.call()[0]
        return y


class _OpenVinoBlock(_Block):
    def __init__(self, path: Path, spec: Spec, model: Model, form: str) -> None:
        super().__init__("OpenVINO", form)
        self.request = openvino_request(path)
        x = _block_input(model, form)
        zeros = np.zeros((1, x.shape[1], spec.hidden_size), np.float32)
        self.kept = [openvino_buffer(self.request, "x", x)]
        self.kept += [openvino_buffer(self.request, f"{name}_in", zeros) for name in spec.states]
        self.call = partial(self.request.infer, share_outputs=True)  # type: ignore[method-assign]

    def result(self) -> Array:
        self.call()
        y: Array = self.request.get_tensor("y").data.copy()
        return y


# -- PyTorch -------------------------------------------------------------------------------------------

_TORCH_NAMES = {"torch": "torch eager", "torchscript": "TorchScript", "torch.compile": "torch.compile"}


def _torch_callable(kind: str, module: Any) -> Callable[..., Any]:
    import torch

    torch.set_num_threads(1)
    if kind == "torchscript":
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*torch.jit", category=DeprecationWarning)
            module = torch.jit.freeze(torch.jit.script(module))
    if kind == "torch.compile":
        torch._dynamo.reset()  # what was compiled for another network would count against the limit of recompilations
        module = torch.compile(module, dynamic=False)
    call: Callable[..., Any] = module
    return call


class _TorchStep:
    """``y, *state = module(x, *state)`` in inference mode; inputs are tensors already, results stay tensors."""

    blocks = True
    native = False
    steps_per_call = 1

    def __init__(self, kind: str, spec: Spec, model: Model) -> None:
        import torch

        self.name = _TORCH_NAMES[kind]
        self.module = _torch_callable(kind, spec.torch_module())
        self.mode = torch.inference_mode
        self.inputs = [torch.from_numpy(x)[None] for x in inputs_for(model)]
        self.state = [torch.zeros(1, spec.hidden_size) for _ in spec.states]

    def trial(self, count: int) -> Array:
        rows, state = [], self.state
        with self.mode():
            for x in self.inputs[:count]:
                y, *state = self.module(x, *state)
                rows.append(y.numpy().ravel().copy())
        return np.array(rows)

    def block(self, count: int) -> None:
        module, state = self.module, self.state
        with self.mode():
            for x in islice(cycle(self.inputs), count):
                _, *state = module(x, *state)
        self.state = state

    def singles(self, count: int) -> list[int]:
        module, state, clock, taken = self.module, self.state, perf_counter_ns, [0] * count
        with self.mode():
            for i, x in zip(range(count), cycle(self.inputs)):
                begin = clock()
                _, *state = module(x, *state)
                taken[i] = clock() - begin
        self.state = state
        return taken


class _TorchBlock(_Block):
    """A layer over a whole sequence, or a cell on a batch."""

    def __init__(self, kind: str, spec: Spec, model: Model, form: str) -> None:
        import torch

        super().__init__(_TORCH_NAMES[kind], form)
        module = _torch_callable(kind, spec.torch_module(whole_sequence=form == "run"))
        x = torch.from_numpy(_block_input(model, form))
        zeros = torch.zeros(1, x.shape[1], spec.hidden_size)
        if form == "batch":
            x, zeros = x[0], zeros[0]
        self.mode = torch.inference_mode
        self.call = partial(module, x, *(zeros for _ in spec.states))  # type: ignore[method-assign]

    def result(self) -> Array:
        with self.mode():
            y: Array = self.call()[0].numpy()
            return y

    def block(self, count: int) -> None:
        with self.mode():
            super().block(count)

    def singles(self, count: int) -> list[int]:
        with self.mode():
            return super().singles(count)
