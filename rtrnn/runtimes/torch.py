"""PyTorch: a TorchScript archive or a program of torch.export, called from Python on one thread."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rtrnn.errors import MissingExtraError, UnsupportedError
from rtrnn.runtimes.base import Arrays, Runtime

if TYPE_CHECKING:
    from rtrnn.model import Model

__all__ = ["ProgramRuntime", "TorchRuntime"]


class TorchRuntime(Runtime):
    """A TorchScript archive in PyTorch. State in buffers is the module's own; the archive is loaded anew by `reset`."""

    def __init__(self, path: Path, model: Model) -> None:
        try:
            import torch
        except ImportError as error:
            raise MissingExtraError("running a TorchScript file needs torch: pip install 'rtrnn[torch]'") from error
        super().__init__(path, model)
        self.label = f"torch {torch.__version__}"
        self._torch = torch
        self.reset()

    def reset(self) -> None:
        super().reset()
        torch = self._torch
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*torch.jit", category=DeprecationWarning)
            module = torch.jit.load(str(self.path), map_location="cpu")
        self.module = module.eval() if hasattr(module, "training") else module
        self._dtype = next((p.dtype for p in self.module.parameters() if p.is_floating_point()), torch.float32)
        methods = self.module._c._method_names()
        self.forward = self.module._c._get_method("forward" if "forward" in methods else "forward__0")

    def declared(self, name: str) -> list[int | None]:
        # A script says nothing of its arguments' sizes; those that are 1 in a step may be free.
        return [None if size == 1 else size for size in self.interface.shapes[name]]

    def inner_states(self) -> Arrays:
        found = {}
        for name, shape in self.model.states.items():
            value: Any = self.module
            for part in name.split("."):
                value = getattr(value, part, None)
            if isinstance(value, self._torch.Tensor) and name not in self.carried and value.numel() == np.prod(shape):
                found[name] = value.detach().to(self._torch.float32).numpy().reshape(shape).copy()
        return found

    def arguments(self, feeds: Mapping[str, Any]) -> list[Any]:
        """`feeds`, arrays or tensors, as the arguments of forward: tensors, and tuples of those whose names have a dot (``hx.0``)."""
        torch = self._torch
        nested: dict[str, Any] = {}
        for name, value in feeds.items():
            parts = name.split(".")
            at = nested
            for part in parts[:-1]:
                at = at.setdefault(part, {})
            is_tensor = isinstance(value, torch.Tensor)
            at[parts[-1]] = value if is_tensor else torch.from_numpy(np.array(value)).to(self._dtype)

        def build(value: Any) -> Any:
            if not isinstance(value, dict):
                return value
            return tuple(build(value[key]) for key in sorted(value, key=int))

        order = [argument.name for argument in self.forward.schema.arguments[1:] if argument.name in nested]
        return [build(nested[name]) for name in order]

    def call(self, feeds: Arrays) -> Arrays:
        torch = self._torch
        given = {name: torch.from_numpy(np.array(value)).to(self._dtype) for name, value in feeds.items()}
        try:
            with torch.no_grad():
                result = self.forward(*self.arguments(given))
        except (torch.jit.Error, RuntimeError, TypeError, ValueError, IndexError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise UnsupportedError(f"{self.path}: {self.label} cannot run it: {reason}") from error
        return {**_as_arrays(result), **_written(given, self.carried)}


class ProgramRuntime(Runtime):
    """A .pt2 file, operator by operator in PyTorch; torch's own loader would unpickle objects from it."""

    def __init__(self, path: Path, model: Model) -> None:
        try:
            import torch
        except ImportError as error:
            raise MissingExtraError("running a .pt2 file needs torch: pip install 'rtrnn[torch]'") from error
        from rtrnn.importers.torch.pt2 import read_program

        super().__init__(path, model)
        self.label = f"torch {torch.__version__}"
        self._torch = torch
        self._saved = read_program(path)
        self._leaves = dict(self._saved.leaves)
        floats = [t.dtype for t in self._saved.tensors.values() if t.is_floating_point()]
        self._dtype = floats[0] if floats else torch.float32
        self.reset()

    def reset(self) -> None:
        super().reset()
        self._buffers = {name: tensor.clone() for name, tensor in self._saved.tensors.items()}

    def declared(self, name: str) -> list[int | None]:
        return list(self._leaves[name])

    def inner_states(self) -> Arrays:
        known = {name: shape for name, shape in self.model.states.items() if name not in self.carried}
        return {
            name: self._buffers[name].to(self._torch.float32).numpy().reshape(shape).copy()
            for name, shape in known.items()
            if name in self._buffers and self._buffers[name].numel() == np.prod(shape)
        }

    def call(self, feeds: Arrays) -> Arrays:
        torch, program = self._torch, self._saved.program
        given = {
            name: torch.from_numpy(np.array(feeds[name])).to(self._dtype) if name in feeds else value
            for name, value in self._saved.leaves
        }
        leaves = iter(given.values())
        arguments = [self._buffers[p.target] if p.kind == "tensor" else next(leaves) for p in program.inputs]
        try:
            with torch.no_grad():
                results = program.evaluate(arguments)
        except (RuntimeError, TypeError, ValueError, LookupError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise UnsupportedError(f"{self.path}: {self.label} cannot run it: {reason}") from error
        outputs = []
        for port, value in zip(program.outputs, results, strict=True):
            if port.kind == "output":
                outputs.append(value)
            else:
                (self._buffers if port.kind == "tensor" else given)[port.target] = value.clone()
        return {**_as_arrays(program.unflatten(outputs)), **_written(given, self.carried)}


def _written(given: Mapping[str, Any], carried: Mapping[str, str]) -> Arrays:
    """The new values of states that the program writes into its arguments."""
    names = [name for name in given if carried.get(name) == f"{name}.next"]
    return {f"{name}.next": np.asarray(given[name].float().numpy(), np.float32) for name in names}


def _as_arrays(result: Any) -> Arrays:
    """Results of forward by the names that the importer gives them."""
    import torch

    from rtrnn.importers.torch.common import named_outputs

    outputs = {
        name: value.detach().to(torch.float32).numpy()
        for name, value in named_outputs(result).items()
        if isinstance(value, torch.Tensor)
    }
    # The importer calls the only output that is no state by the plain name.
    if "output" not in outputs and "output_0" in outputs:
        outputs["output"] = outputs["output_0"]
    return outputs
