"""Reads TorchScript archives (``torch.jit.save``)."""

from __future__ import annotations

import io
import itertools
import os
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch.utils import _pytree as pytree

from rtrnn.errors import Error, FileFormatError, StateError, UnsupportedError
from rtrnn.importers.builder import Builder
from rtrnn.importers.draft import Draft
from rtrnn.importers.torch.common import Memory, Reading, as_example, import_with, named_leaves, named_outputs
from rtrnn.importers.torch.interpreter import Interpreter, ModuleRef
from rtrnn.importers.torch.machine import Machine
from rtrnn.importers.torch.probe import find_examples
from rtrnn.importers.torch.script_check import check_script
from rtrnn.importers.torch.values import Tensor, to_sym

__all__ = ["import_archive"]

_MAX_EXAMPLES = 12
#: What operators raise for operands that do not fit.
_EVALUATION = (RuntimeError, ValueError, LookupError, TypeError, ArithmeticError, AttributeError)


def import_archive(
    path: str | os.PathLike[str],
    *,
    example: Any = None,
    states: Mapping[str, str | None] | None = None,
    initial_states: Mapping[str, npt.ArrayLike] | None = None,
) -> Draft:
    """See :func:`rtrnn.importers.torch.load_torchscript`."""
    module = _load(path)
    forward = forward_method(module)
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    names = [a.name for a in forward.schema.arguments[1:]]
    if example is not None:
        arguments = as_example(example, dtype)
        if len(arguments) > len(names):
            raise UnsupportedError(
                f"the example has {len(arguments)} arguments, but forward takes {len(names)}: {names}"
            )
        return _import(module, forward, names, arguments, states, initial_states)
    first: UnsupportedError | StateError | None = None
    for arguments in itertools.islice(find_examples(module, forward, dtype, _trial(module, forward)), _MAX_EXAMPLES):
        try:
            return _import(module, forward, names, arguments, states, initial_states)
        except (UnsupportedError, StateError) as error:
            # A traced module may run with shapes that it was not made for.
            first = first or error
    assert first is not None
    raise first


def _trial(module: Any, forward: Any) -> Callable[[tuple[Any, ...]], None]:
    """A call of `forward` with constants: by the interpreter, which bounds loops and sizes, and changes no buffer."""
    paths = {(t.data_ptr(), tuple(t.shape)): name for name, t in _tensors(module)}

    def call(arguments: tuple[Any, ...]) -> None:
        machine = Machine(Builder(), fold_all=True)
        values = pytree.tree_map(lambda v: Tensor(to_sym(machine.b, v)) if isinstance(v, torch.Tensor) else v, arguments)
        given = list(values) + [_default(argument) for argument in forward.schema.arguments[1 + len(values) :]]
        Interpreter(machine, Memory(machine, {}), paths).run(forward.inlined_graph, [ModuleRef(module._c, ""), *given])

    return call


def _import(
    module: Any, forward: Any, names: list[str], arguments: tuple[Any, ...], states: Any, initial_states: Any
) -> Draft:
    """Imports the call of `forward` with `arguments`."""
    structure = pytree.tree_structure(arguments)
    paths = {(t.data_ptr(), tuple(t.shape)): name for name, t in _tensors(module)}
    notes: list[str] = []

    def read(b: Builder, leaves: list[tuple[str, Any]], carried: Mapping[str, torch.Tensor]) -> Reading:
        machine = Machine(b)
        memory = Memory(machine, carried)
        interpreter = Interpreter(machine, memory, paths)
        shapes = {name: tuple(v.shape) for name, v in leaves if isinstance(v, torch.Tensor)}
        # A convolution or a recurrent layer over an axis of size 1 means time: there is nothing else to run over.
        b.dynamic_axes.update((name, i) for name, shape in shapes.items() for i, d in enumerate(shape) if d == 1)
        values = [Tensor(b.input(n, v.shape)) if isinstance(v, torch.Tensor) else v for n, v in leaves]
        given = list(pytree.tree_unflatten(values, structure))
        given += [_default(argument) for argument in forward.schema.arguments[1 + len(given) :]]
        try:
            (result,) = interpreter.run(forward.inlined_graph, [ModuleRef(module._c, ""), *given])
        except Error:
            raise
        except _EVALUATION as error:  # torch's own, of constants that do not fit their program
            reason = str(error).strip().splitlines()[0][:300]
            raise FileFormatError(f"the archive's program cannot be evaluated: {reason}") from error
        memory.close()
        notes[:] = interpreter.warnings
        inputs = {name: v for (name, _), v in zip(leaves, values, strict=True) if isinstance(v, Tensor)}
        return Reading(memory, named_outputs(result), shapes, inputs)

    draft = import_with(
        read,
        named_leaves(names[: len(arguments)], arguments),
        states=states,
        initial_states=initial_states,
        source="torchscript",
    )
    draft.warnings += notes
    return draft


def _load(path: str | os.PathLike[str]) -> Any:
    """The archive on the CPU, in evaluation mode."""
    with open(path, "rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"
    try:
        if is_zip:
            check_script(Path(path))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*torch.jit", category=DeprecationWarning)
            archive = _without_debug_tables(path) if is_zip else os.fspath(path)
            module = torch.jit.load(archive, map_location="cpu")  # type: ignore[no-untyped-call]
    except Error:
        raise
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0][:300]
        raise FileFormatError(
            f"{os.fspath(path)}: expected a TorchScript archive (torch.jit.save), found something else: {reason}"
        ) from error
    # A frozen module has no training flag to set.
    return module.eval() if hasattr(module, "training") else module


def _without_debug_tables(path: str | os.PathLike[str]) -> io.BytesIO:
    """The archive but for what maps its code to the source it was made from: PyTorch trusts that and crashes where it is damaged.

    Messages then name lines of the archive's own code.
    """
    kept = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(kept, "w", zipfile.ZIP_STORED) as copy:
        for entry in archive.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                copy.writestr(entry.filename, archive.read(entry))
    kept.seek(0)
    return kept


def forward_method(module: Any) -> Any:
    """The method that a call runs; a recurrent layer on its own has two, for a tensor and for a packed sequence."""
    methods = module._c._method_names()
    for name in ("forward", "forward__0"):
        if name in methods:
            return module._c._get_method(name)
    raise UnsupportedError(f"the archive's module has no method forward; its methods are {methods}")


def _tensors(module: Any) -> list[tuple[str, torch.Tensor]]:
    return [*module.named_parameters(), *module.named_buffers()]


def _default(argument: Any) -> Any:
    if not argument.has_default_value():
        raise UnsupportedError(f"no value for forward's {argument.name!r}; expected example= with all arguments")
    return argument.default_value
