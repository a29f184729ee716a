"""Runs one aten call of a PyTorch program: folds it, follows a view, writes in place, or lowers it to the Draft."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch

from rtrnn.errors import UnsupportedError
from rtrnn.importers.builder import Builder, Sym
from rtrnn.importers.torch import aten, aten_conv, aten_recurrent, aten_select, aten_shape  # noqa: F401  (these fill the table)
from rtrnn.importers.torch.registry import LOWERINGS, VIEWS
from rtrnn.importers.torch.values import Tensor, flat_tensors, map_tensors, to_sym

__all__ = ["Machine"]

#: Arguments that change no value of an inference in float32.
_IGNORED = frozenset(
    {
        "allow_tf32",
        "benchmark",
        "check_reduction",
        "copy",
        "cudnn_enable",
        "cudnn_enabled",
        "deterministic",
        "device",
        "dropout",
        "dtype",
        "generator",
        "half_to_float",
        "implicit",
        "layout",
        "memory_format",
        "momentum",
        "non_blocking",
        "pin_memory",
        "train",
    }
)
#: TorchScript writes types as numbers.
_DTYPES = {
    0: torch.uint8,
    1: torch.int8,
    2: torch.int16,
    3: torch.int32,
    4: torch.int64,
    5: torch.float16,
    6: torch.float32,
    7: torch.float64,
    11: torch.bool,
    15: torch.bfloat16,
}


#: Elements of a tensor that is computed while importing.
_MAX_FOLDED = 1 << 26


#: Operators that make as many values as a number among their arguments says.
_COUNTED = frozenset({"arange", "eye", "linspace", "logspace", "one_hot", "range", "repeat_interleave", "tril_indices"})


class Machine:
    """Calls aten operators on :class:`Tensor` and plain Python values, and appends to the builder's Draft."""

    def __init__(self, builder: Builder, fold_all: bool = False) -> None:
        self.b = builder
        #: A recurrent layer of constants is computed like anything else, not carried on as a layer.
        self.fold_all = fold_all

    def call(self, op: Any, schema: Any, arguments: Mapping[str, Any], where: str) -> Any:
        """One call of the overload `op` with `arguments` by schema name; `where` names the node in errors."""
        name = schema.name.removeprefix("aten::")
        arguments = {key: _plain(key, value) for key, value in arguments.items()}
        try:
            first = next(iter(arguments.values()), None)
            if name.endswith("_") and not name.endswith("__") and isinstance(first, Tensor) and _writes(schema):
                return self._in_place(name, op, schema, arguments, first)
            if name in VIEWS and isinstance(first, Tensor):
                return self._view(name, op, schema, arguments, first)
            return self._wrap(self._compute(name, op, schema, arguments))
        except UnsupportedError as error:
            if "aten::" in str(error):
                raise
            raise UnsupportedError(f"aten::{name}, {where}: {error}") from error

    # -- the three kinds of call -----------------------------------------------------------------------

    def _compute(self, name: str, op: Any, schema: Any, arguments: Mapping[str, Any]) -> Any:
        """The result as Sym values."""
        tensors = list(flat_tensors(list(arguments.values())))
        values = {key: map_tensors(Tensor.read, value) for key, value in arguments.items()}
        if all(t.read().const is not None for t in tensors) and (self.fold_all or not _recurrent(name)):
            return self._fold(name, op, schema, values)
        if name not in LOWERINGS:
            _refuse_random(op)
            known = sum(not k.startswith("_") for k in LOWERINGS)
            raise UnsupportedError(
                "this operator is not supported on values that depend on the input; write the network without it, or in the "
                f"{known} operators that docs/formats.md lists"
            )
        self.b.hint = next((t.label.rpartition(".")[0] for t in tensors if "." in t.label), "") or name
        return LOWERINGS[name](self.b, **self._bind(name, schema, values))

    def _view(self, name: str, op: Any, schema: Any, arguments: Mapping[str, Any], source: Tensor) -> Any:
        key, rest = _first(arguments)

        def replay(value: Sym, which: int | None = None) -> Sym:
            result = self._compute(name, op, schema, {key: Tensor(value), **rest})
            taken: Sym = result if which is None else result[which]
            return taken

        def torch_view(elements: torch.Tensor, which: int | None = None) -> torch.Tensor:
            plain = {
                k: None if k == "dtype" else map_tensors(lambda t: torch.empty(t.shape), v) for k, v in rest.items()
            }
            if name in ("to", "type_as", "dropout"):
                return elements
            result = _invoke(op, schema, {key: elements, **plain})
            taken: torch.Tensor = result if which is None else result[which]
            return taken

        result = self._compute(name, op, schema, arguments)
        if isinstance(result, Sym):
            return Tensor(result, "", source, replay, torch_view)
        return [
            Tensor(part, "", source, lambda v, i=i: replay(v, i), lambda e, i=i: torch_view(e, i))  # type: ignore[misc]
            for i, part in enumerate(result)
        ]

    def _in_place(self, name: str, op: Any, schema: Any, arguments: Mapping[str, Any], target: Tensor) -> Tensor:
        if name == "copy_":
            source = arguments["src"].read()
            value = self.b.expand(source, target.shape) if source.shape != target.shape else source
        else:
            pure = getattr(torch.ops.aten, name[:-1], None)
            overload = schema.overload_name or "default"
            if pure is None or not hasattr(pure, overload):
                raise UnsupportedError("this write in place is not supported")
            pure_op = getattr(pure, overload)
            value = self._compute(name[:-1], pure_op, pure_op._schema, arguments)
        target.write(self.b, value)
        return target

    # -- details ---------------------------------------------------------------------------------------

    def _fold(self, name: str, op: Any, schema: Any, values: Mapping[str, Any]) -> Any:
        if not _recurrent(name):
            _refuse_random(op)
        _check_size(name, values)

        def plain(value: Any) -> Any:
            if isinstance(value, Sym):
                return torch.from_numpy(value.const.copy())  # type: ignore[union-attr]
            if isinstance(value, (list, tuple)):
                return type(value)(plain(v) for v in value)
            return value

        with torch.no_grad():
            result = _invoke(op, schema, {key: plain(value) for key, value in values.items()})

        def back(value: Any) -> Any:
            if isinstance(value, torch.Tensor):
                return to_sym(self.b, value)
            if isinstance(value, (list, tuple)):
                return type(value)(back(v) for v in value) if type(value) in (list, tuple) else [back(v) for v in value]
            return value

        return back(result)

    def _bind(self, name: str, schema: Any, values: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments that the lowering declares; one it does not know must have its default."""
        wanted = inspect.signature(LOWERINGS[name]).parameters
        bound: dict[str, Any] = {}
        defaults = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
        for key, value in values.items():
            ours = "x" if key in ("self", "input", "data") else key
            if key == "dtype" and value is not None and not getattr(value, "is_floating_point", False):
                raise UnsupportedError(f"a conversion to {value}: values are float32")
            if ours in wanted:
                bound[ours] = value
            elif key not in _IGNORED and value is not None and value != defaults.get(key, value):
                raise UnsupportedError(f"argument {key} = {value!r} is not supported")
        return bound

    def _wrap(self, result: Any) -> Any:
        if isinstance(result, Sym):
            return Tensor(result)
        if isinstance(result, (list, tuple)):
            return type(result)(self._wrap(r) for r in result)
        return result


def _check_size(name: str, values: Mapping[str, Any]) -> None:
    """Before a constant is computed: what the numbers among the arguments ask for must be of a bounded size."""
    held = max([v.size for v in values.values() if isinstance(v, Sym)], default=1)
    for key, value in values.items():
        if isinstance(value, (list, tuple)) and value and all(isinstance(v, int) for v in value):
            asked = math.prod(max(abs(v), 1) for v in value) * (held if key in ("repeats", "dims") else 1)
        elif name in _COUNTED and isinstance(value, (int, float)):
            asked = int(min(abs(value), 1e18)) * (held if key == "repeats" else 1)
        else:
            continue
        if asked > _MAX_FOLDED:
            raise UnsupportedError(f"{key} = {value} makes {asked} values; expected at most {_MAX_FOLDED}")


def _refuse_random(op: Any) -> None:
    if torch.Tag.nondeterministic_seeded in getattr(op, "tags", ()):
        raise UnsupportedError("a random value; the network must be deterministic: give it as an input")


def _recurrent(name: str) -> bool:
    return name in ("lstm", "gru", "rnn_tanh", "rnn_relu")


def _first(arguments: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    key, *rest = arguments
    return key, {k: arguments[k] for k in rest}


def _invoke(op: Any, schema: Any, values: Mapping[str, Any]) -> Any:
    positional = [values[a.name] for a in schema.arguments if not a.kwarg_only and a.name in values]
    keywords = {a.name: values[a.name] for a in schema.arguments if a.kwarg_only and a.name in values}
    return op(*positional, **keywords)


def _writes(schema: Any) -> bool:
    alias = schema.arguments[0].alias_info
    return alias is not None and alias.is_write


def _plain(key: str, value: Any) -> Any:
    """An argument that says how a tensor is stored, in the form that torch's Python side takes."""
    if isinstance(value, torch.device):
        return torch.device("cpu")
    if key == "dtype" and isinstance(value, int):
        return _DTYPES.get(value, value)
    if key in ("layout", "memory_format", "pin_memory"):
        return None
    return value
