"""Reads the programs that ``torch.export.save`` writes (``.pt2``), without torch's own loader.

That loader unpickles the example inputs and custom objects and evaluates sizes as Python text, so it must not be given
a file that nobody has checked. What an import needs is JSON and raw bytes: the graph and its signature in
``models/model.json``, each tensor in an entry of its own with its type, sizes and strides in
``data/weights/model_weights_config.json`` and ``data/constants/model_constants_config.json``. Files up to PyTorch 2.8
hold the tensors as one state dict, which torch reads with ``weights_only=True``. Nothing else in the file is opened.

Source: PyTorch 2.13, torch/_export/serde/schema.py (schema 8.20) and torch/export/pt2_archive.
"""

from __future__ import annotations

import io
import json
import math
import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from rtrnn.errors import Error, FileFormatError, UnsupportedError
from rtrnn.importers.archive import entry_names, read_entry
from rtrnn.importers.builder import Axis, Builder
from rtrnn.importers.draft import Draft
from rtrnn.importers.torch.common import Reading, import_with, named_leaves
from rtrnn.importers.torch.program import Port, Program
from rtrnn.importers.torch.pt2_graph import DTYPES, read_graph

__all__ = ["SavedProgram", "import_program", "read_program"]

_MAX_ELEMENTS = 1 << 28
_MAX_RANK = 16
#: How a size that is not fixed is written: one symbol, alone.
_SYMBOL = re.compile(r"\w+|Symbol\('\w+'(, \w+=\w+)*\)")


@dataclass
class SavedProgram:
    """The content of a .pt2 file. `leaves` are the caller's inputs by name: shapes (None: not fixed), or plain values."""

    program: Program
    leaves: list[tuple[str, Any]]
    #: Path of a parameter, buffer or constant -> the tensor.
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)


def import_program(
    path: Path, *, states: Mapping[str, str | None] | None, initial_states: Mapping[str, Any] | None
) -> Draft:
    """See :func:`rtrnn.importers.torch.load_program`."""
    saved = read_program(path)
    example = [
        (name, torch.zeros([1 if d is None else d for d in value]) if isinstance(value, tuple) else value)
        for name, value in saved.leaves
    ]

    def read(b: Builder, leaves: list[tuple[str, Any]], carried: Mapping[str, torch.Tensor]) -> Reading:
        rebound: dict[Axis, int] = {}
        for (name, value), (_, first) in zip(leaves, example, strict=True):
            if isinstance(value, torch.Tensor):
                rebound.update({(name, i): d for i, d in enumerate(first.shape) if d != value.shape[i]})
        saved.program.rebound = rebound
        try:
            return saved.program.read(b, leaves, carried)
        except UnsupportedError as error:
            if not rebound:
                raise
            fixed = ", ".join(f"axis {axis} of input {name!r} to {size}" for (name, axis), size in rebound.items())
            raise UnsupportedError(
                f"{error} (the program was exported with fixed sizes, {fixed}, and is read at one timestep; export "
                "it with one timestep, or with that axis dynamic)"
            ) from error

    try:
        return import_with(read, example, states=states, initial_states=initial_states, source="torch.export")
    except Error:
        raise
    except (RuntimeError, ValueError, LookupError, TypeError, ArithmeticError, AttributeError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise FileFormatError(f"{path}: its program cannot be evaluated: {reason[0][:300]}") from error


def read_program(path: Path) -> SavedProgram:
    """The file's program. Raises :class:`FileFormatError`, :class:`UnsupportedError`, OSError."""
    try:
        return _File(path).read()
    except Error:
        raise
    except (
        RuntimeError, ValueError, LookupError, TypeError, ArithmeticError, AttributeError, RecursionError,
        StopIteration, pickle.UnpicklingError, EOFError, MemoryError,
    ) as error:  # fmt: skip
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise FileFormatError(
            f"{path}: expected a program of torch.export.save; its description is damaged: "
            f"{type(error).__name__}: {reason[0][:300]}"
        ) from error


class _File:
    """One .pt2 file, of any of the layouts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names = set(entry_names(path))

    def read(self) -> SavedProgram:
        description = self._json("models/model.json", "serialized_exported_program.json")
        if description is None:
            if any("data/aotinductor/" in name for name in self.names):
                raise UnsupportedError(
                    f"{self.path}: a package of compiled code (AOTInductor); expected a program saved by torch.export.save"
                )
            raise FileFormatError(f"{self.path}: the archive holds no program (models/model.json)")
        module = description["graph_module"]
        signature, calls = module["signature"], module["module_call_graph"]
        graph, owner = read_graph(module["graph"])
        ports = [self._input(spec) for spec in signature["input_specs"]]
        outputs = [self._output(spec) for spec in signature["output_specs"]]
        call = next(c["signature"] for c in calls if c["fqn"] == "")
        names = _names(call)
        values = module["graph"]["tensor_values"]
        leaves: list[tuple[str, Any]] = []
        inputs = []
        for port, argument, plain in ports:
            inputs.append(port)
            if port.kind == "input":
                name = next(names)
                leaves.append((name, plain if argument is None else _declared(name, values[argument])))
        # An argument is written in place under its name in the graph; the caller's name is wanted.
        called = {a: leaf for (_, a, _), (leaf, _) in zip((p for p in ports if p[0].kind == "input"), leaves, strict=True)}
        outputs = [Port(p.kind, called[p.target]) if p.kind == "argument" else p for p in outputs]
        if len(inputs) != sum(node.op == "placeholder" for node in graph.nodes):
            raise FileFormatError(f"{self.path}: the program's graph and its signature have different numbers of inputs")
        tree = json.loads(call["out_spec"])[1]
        count = _count(tree)
        if count != sum(p.kind == "output" for p in outputs):
            raise FileFormatError(f"{self.path}: the program returns {count} values, but its signature says otherwise")
        stored = self._tensors()
        missing = [p.target for p in [*inputs, *outputs] if p.kind == "tensor" and p.target not in stored]
        if missing:
            raise FileFormatError(f"{self.path}: the archive holds no tensor {missing[0]!r}, which its program reads")
        program = Program(owner(graph), inputs, outputs, stored, lambda results: _unflatten(tree, iter(results)))
        return SavedProgram(program, leaves, stored)

    def _json(self, *names: str) -> Any:
        entry = self._entry(*names)
        return None if entry is None else json.loads(read_entry(self.path, entry))

    def _entry(self, *names: str) -> str | None:
        """The entry of one of these names, at the archive's top or in its only folder."""
        return next((e for e in sorted(self.names) if any(e == n or e.partition("/")[2] == n for n in names)), None)

    # -- the signature -----------------------------------------------------------------------------------

    def _input(self, spec: Mapping[str, Any]) -> tuple[Port, str | None, Any]:
        """The port, the graph's name of the caller's tensor, and the caller's value when it is not a tensor."""
        ((kind, body),) = spec.items()
        for ours, key in (("parameter", "parameter_name"), ("buffer", "buffer_name")):
            if kind == ours:
                return Port("tensor", str(body[key])), None, None
        if kind == "tensor_constant":
            return Port("tensor", str(body["tensor_constant_name"])), None, None
        if kind == "constant_input":
            ((_, value),) = body["value"].items()
            return Port("input"), None, None if value is True and "as_none" in body["value"] else value
        if kind == "user_input":
            ((what, value),) = body["arg"].items()
            if what == "as_tensor":
                return Port("input"), str(value["name"]), None
            if what in ("as_int", "as_float", "as_bool", "as_string", "as_none"):
                return Port("input"), None, None if what == "as_none" else value
            raise UnsupportedError(f"an input of the kind {what}; expected a tensor or a plain value")
        raise UnsupportedError(f"an input of the kind {kind}; expected tensors only")

    def _output(self, spec: Mapping[str, Any]) -> Port:
        ((kind, body),) = spec.items()
        if kind == "user_output":
            return Port("output")
        if kind in ("buffer_mutation", "parameter_mutation"):
            return Port("tensor", str(body["buffer_name" if kind == "buffer_mutation" else "parameter_name"]))
        if kind == "user_input_mutation":
            return Port("argument", str(body["user_input_name"]))
        raise UnsupportedError(f"an output of the kind {kind}; expected a network exported for inference")

    # -- tensors -----------------------------------------------------------------------------------------

    def _tensors(self) -> dict[str, torch.Tensor]:
        tensors: dict[str, torch.Tensor] = {}
        for what in ("constants", "weights"):
            config = self._json(f"data/{what}/model_{what}_config.json")
            if config is not None:
                for name, entry in config["config"].items():
                    tensors[name] = self._tensor(f"data/{what}/", name, entry)
                continue
            old = {"weights": "serialized_state_dict", "constants": "serialized_constants"}[what]
            entry = self._entry(f"data/{what}/model.pt", f"{old}.pt", f"{old}.json")
            if entry is not None:
                tensors.update(self._state_dict(entry))
        return tensors

    def _state_dict(self, entry: str) -> dict[str, torch.Tensor]:
        data = read_entry(self.path, entry)
        content = _restricted(data, f"{self.path}: entry {entry!r}") if data else {}
        if not isinstance(content, Mapping):
            raise FileFormatError(f"{self.path}: entry {entry!r} holds a {type(content).__name__}; expected tensors by name")
        return {str(k): v.detach() for k, v in content.items() if isinstance(v, torch.Tensor)}

    def _tensor(self, folder: str, name: str, entry: Mapping[str, Any]) -> torch.Tensor:
        where = f"{self.path}: tensor {name!r}"
        file = self._entry(folder + str(entry["path_name"]))
        if file is None:
            raise FileFormatError(f"{where}: the archive has no entry {folder}{entry['path_name']}")
        meta = entry.get("tensor_meta")
        if meta is None:
            raise UnsupportedError(f"{where} is an object that is not a tensor; rtrnn unpickles no objects")
        data = read_entry(self.path, file)
        if entry.get("use_pickle"):
            value = _restricted(data, where)
            if not isinstance(value, torch.Tensor):
                raise FileFormatError(f"{where}: expected a tensor, found {type(value).__name__}")
            return value.detach()
        dtype = DTYPES.get(meta["dtype"])
        if dtype is None:
            raise UnsupportedError(f"{where} has the type {meta['dtype']} of torch's schema; expected float values")
        sizes, strides = [_fixed(d) for d in meta["sizes"]], [_fixed(d) for d in meta["strides"]]
        offset = _fixed(meta["storage_offset"])
        if len(sizes) != len(strides) or len(sizes) > _MAX_RANK or min([offset, *sizes, *strides]) < 0:
            raise FileFormatError(f"{where}: sizes {sizes} with strides {strides} from {offset} on are not a tensor's")
        last = offset + sum((d - 1) * s for d, s in zip(sizes, strides, strict=True))
        elements: int = math.prod(sizes)
        width = torch.empty(0, dtype=dtype).element_size()
        if elements > _MAX_ELEMENTS or (elements and (last + 1) * width > len(data)):
            raise FileFormatError(f"{where}: shape {tuple(sizes)} does not fit the {len(data)} bytes that the file holds")
        if not elements:
            return torch.zeros(sizes, dtype=dtype)
        flat = torch.frombuffer(bytearray(data), dtype=dtype, count=len(data) // width)
        return flat.as_strided(sizes, strides, offset).clone()


def _restricted(data: bytes, where: str) -> Any:
    """What torch.save wrote, by torch's unpickler that makes tensors and plain containers only."""
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise FileFormatError(f"{where} cannot be read as tensors alone: {reason[0][:200]}") from error


def _fixed(size: Mapping[str, Any]) -> int:
    if not isinstance(size.get("as_int"), int):
        raise FileFormatError(f"a stored tensor has the size {size}; expected a number")
    return int(size["as_int"])


def _declared(name: str, meta: Mapping[str, Any]) -> tuple[int | None, ...]:
    """The sizes of a caller's tensor; None where the program leaves one open."""
    sizes: list[int | None] = []
    for axis, size in enumerate(meta["sizes"]):
        expression = size.get("as_expr")
        if expression is not None and not _SYMBOL.fullmatch(str(expression["expr_str"])):
            raise UnsupportedError(
                f"input {name!r}: the size of axis {axis} is {str(expression['expr_str'])[:100]}; expected a number or "
                "one dimension that may have any size"
            )
        sizes.append(None if expression is not None else _fixed(size))
    if math.prod([d or 1 for d in sizes]) > _MAX_ELEMENTS or min([d for d in sizes if d is not None], default=1) < 1:
        raise FileFormatError(f"input {name!r}: sizes {sizes}; expected sizes of at least 1")
    return tuple(sizes)


# -- trees of values (torch.utils._pytree) -----------------------------------------------------------------


def _names(call: Mapping[str, Any]) -> Any:
    """The caller's names of the inputs, as for a live module: forward's arguments, dotted where they are nested."""
    positional, keywords = json.loads(call["in_spec"])[1]["children_spec"]
    values = _unflatten(positional, iter(range(_count(positional))))
    known = list(call.get("forward_arg_names") or [])
    names = known[: len(values)] + [f"input_{i}" for i in range(len(known), len(values))]
    given = _unflatten(keywords, iter(range(_count(keywords))))
    leaves = named_leaves([*names, *given], [*values, *given.values()])
    return (name for name, _ in leaves)


def _unflatten(tree: Mapping[str, Any], leaves: Any) -> Any:
    kind, children = tree["type"], tree["children_spec"]
    if kind is None:
        return next(leaves)
    values = [_unflatten(child, leaves) for child in children]
    if kind in ("builtins.dict", "collections.OrderedDict", "collections.defaultdict"):
        context = json.loads(tree["context"])
        keys: Sequence[Any] = context[1] if kind == "collections.defaultdict" else context
        return dict(zip(map(str, keys), values, strict=True))
    if kind == "builtins.list":
        return values
    if kind in ("builtins.tuple", "collections.namedtuple"):
        return tuple(values)
    raise UnsupportedError(f"forward takes or returns a {kind}; expected tensors in tuples, lists and dicts")


def _count(tree: Mapping[str, Any]) -> int:
    return 1 if tree["type"] is None else sum(map(_count, tree["children_spec"]))
