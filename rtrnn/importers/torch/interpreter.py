"""Walks a TorchScript graph: control flow and numbers are computed, tensors go through the lowering table."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rtrnn.errors import UnsupportedError
from rtrnn.importers.torch.common import Memory
from rtrnn.importers.torch.machine import Machine
from rtrnn.importers.torch.values import Tensor, flat_tensors, to_sym

__all__ = ["Interpreter", "ModuleRef"]

_MAX_ITERATIONS = 10_000


@dataclass(frozen=True)
class ModuleRef:
    """A module inside the archive and its path from the root."""

    module: Any
    path: str

    def child(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name


class Interpreter:
    """Runs graphs of one archive; tensors are :class:`Tensor`, everything else is a plain Python value."""

    def __init__(self, machine: Machine, memory: Memory, paths: Mapping[tuple[int, tuple[int, ...]], str]) -> None:
        self.machine, self.memory, self.paths = machine, memory, paths
        #: Attributes that forward has assigned.
        self.assigned: dict[str, Any] = {}
        self.warnings: list[str] = []

    def run(self, graph: Any, arguments: Sequence[Any]) -> list[Any]:
        """The graph's results."""
        env: dict[str, Any] = {}
        for value, argument in zip(graph.inputs(), arguments, strict=True):
            env[value.debugName()] = argument
        self._nodes(graph.nodes(), env)
        return [env[value.debugName()] for value in graph.outputs()]

    def _nodes(self, nodes: Any, env: dict[str, Any]) -> None:
        for node in nodes:
            results = self._node(node, env)
            for value, result in zip(node.outputs(), results, strict=True):
                env[value.debugName()] = result

    def _block(self, block: Any, env: dict[str, Any], arguments: Sequence[Any] = ()) -> list[Any]:
        for value, argument in zip(block.inputs(), arguments, strict=True):
            env[value.debugName()] = argument
        self._nodes(block.nodes(), env)
        return [env[value.debugName()] for value in block.outputs()]

    def _node(self, node: Any, env: dict[str, Any]) -> Sequence[Any]:
        kind = node.kind()
        if kind == "prim::If":
            condition = self._concrete(env[node.inputsAt(0).debugName()], node)
            taken, other = node.blocks()
            return self._block(taken if condition else other, env)
        if kind == "prim::Loop":
            return self._loop(node, env)
        arguments = [env[value.debugName()] for value in node.inputs()]
        if kind.startswith("prim::"):
            handler = getattr(self, f"_prim_{kind.removeprefix('prim::')}", None)
            if handler is None:
                raise UnsupportedError(f"{kind} at {_where(node)} is not supported")
            outputs: Sequence[Any] = handler(node, arguments)
            return outputs
        if kind.startswith("aten::"):
            result = self._aten(node, kind.removeprefix("aten::"), arguments)
            count = node.outputsSize()
            return [result] if count == 1 else list(result) if count else []
        raise UnsupportedError(f"{kind} at {_where(node)}: expected aten and prim operators only")

    def _loop(self, node: Any, env: dict[str, Any]) -> list[Any]:
        limit, going, *carried = (env[value.debugName()] for value in node.inputs())
        (body,) = node.blocks()
        count = 0
        while self._concrete(going, node) and count < limit:
            if count == _MAX_ITERATIONS:
                raise UnsupportedError(f"the loop at {_where(node)} runs more than {_MAX_ITERATIONS} times")
            going, *carried = self._block(body, env, [count, *carried])
            count += 1
        return carried

    def _concrete(self, value: Any, node: Any) -> Any:
        """A condition or a number that is known while importing."""
        if not isinstance(value, Tensor):
            return value
        constant = value.read().const
        if constant is None:
            raise UnsupportedError(f"{node.kind()} at {_where(node)} depends on the network's input or state")
        return constant.item()

    # -- prim ------------------------------------------------------------------------------------------

    def _prim_Constant(self, node: Any, arguments: Any) -> list[Any]:
        value = node.output().toIValue()
        return [Tensor(to_sym(self.machine.b, value)) if isinstance(value, torch.Tensor) else self._wrap(value)]

    def _prim_GetAttr(self, node: Any, arguments: Any) -> list[Any]:
        owner, name = arguments[0], node.s("name")
        if isinstance(owner, dict):
            return [owner[name]]
        path = owner.child(name)
        if path in self.assigned:
            return [self.assigned[path]]
        if path in self.memory.carried:
            return [self.memory.tensor(path, self.memory.carried[path])]
        value = owner.module.getattr(name)
        if name == "training":
            return [False]
        if isinstance(value, torch.Tensor):
            return [self.memory.tensor(path, value)]
        if hasattr(value, "getattr"):
            return [ModuleRef(value, path)]
        return [self._wrap(value)]

    def _prim_SetAttr(self, node: Any, arguments: Any) -> list[Any]:
        owner, value = arguments
        if isinstance(owner, dict):
            owner[node.s("name")] = value
            return []
        path = owner.child(node.s("name"))
        if isinstance(value, Tensor):
            self.memory.assign(path, value)
        elif tensors := list(flat_tensors(value)):
            raise UnsupportedError(
                f"forward assigns {len(tensors)} tensors to attribute {path!r}; expected one tensor for each attribute"
            )
        elif owner.module.getattr(node.s("name")) != value:
            self.warnings.append(f"attribute {path!r}, which forward changes, keeps its value: it is not a tensor")
        self.assigned[path] = value
        return []

    def _wrap(self, value: Any) -> Any:
        """Tensors of an attribute such as `_flat_weights` under their own paths."""
        if isinstance(value, torch.Tensor):
            path = self.paths.get((value.data_ptr(), tuple(value.shape)))
            return Tensor(to_sym(self.machine.b, value)) if path is None else self.memory.tensor(path, value)
        if isinstance(value, (list, tuple)):
            return type(value)(self._wrap(v) for v in value)
        if isinstance(value, dict):
            return {key: self._wrap(v) for key, v in value.items()}
        return value

    def _prim_CallMethod(self, node: Any, arguments: Any) -> list[Any]:
        owner, *rest = arguments
        graph = owner.module._get_method(node.s("name")).inlined_graph
        return self.run(graph, [owner, *rest])

    def _prim_ListConstruct(self, node: Any, arguments: list[Any]) -> list[Any]:
        return [list(arguments)]

    def _prim_TupleConstruct(self, node: Any, arguments: list[Any]) -> list[Any]:
        return [tuple(arguments)]

    def _prim_DictConstruct(self, node: Any, arguments: list[Any]) -> list[Any]:
        return [dict(zip(arguments[::2], arguments[1::2], strict=True))]

    def _prim_TupleUnpack(self, node: Any, arguments: list[Any]) -> Any:
        return arguments[0]

    _prim_ListUnpack = _prim_TupleUnpack

    def _prim_TupleIndex(self, node: Any, arguments: list[Any]) -> list[Any]:
        return [arguments[0][arguments[1]]]

    def _prim_TupleSlice(self, node: Any, arguments: list[Any]) -> list[Any]:
        return [arguments[0][node.i("beg") : node.i("end")]]

    def _prim_unchecked_cast(self, node: Any, arguments: list[Any]) -> list[Any]:
        return [arguments[0]]

    _prim_unchecked_unwrap_optional = _prim_unchecked_cast

    def _prim_data(self, node: Any, arguments: list[Any]) -> list[Any]:
        return [arguments[0]]

    def _prim_Uninitialized(self, node: Any, arguments: Any) -> list[Any]:
        return [None]

    def _prim_CreateObject(self, node: Any, arguments: Any) -> list[Any]:
        # Such as torch.no_grad(): its attributes are kept, entering and leaving it does nothing.
        return [{}]

    def _prim_Enter(self, node: Any, arguments: Any) -> list[Any]:
        return [None]

    _prim_Exit = _prim_Enter

    def _prim_Print(self, node: Any, arguments: Any) -> list[Any]:
        return []

    def _prim_RaiseException(self, node: Any, arguments: list[Any]) -> list[Any]:
        raise UnsupportedError(f"forward raises for inputs of these shapes, at {_where(node)}: {arguments[0]}")

    def _prim_NumToTensor(self, node: Any, arguments: list[Any]) -> list[Any]:
        return [Tensor(self.machine.b.const(arguments[0]))]

    def _prim_dtype(self, node: Any, arguments: list[Any]) -> list[Any]:
        constant = arguments[0].read().const
        # Computed values are float32 here; constants have their own type.
        return [torch.float32 if constant is None else torch.from_numpy(constant[..., None][:0].copy()).dtype]

    def _prim_device(self, node: Any, arguments: Any) -> list[Any]:
        return [torch.device("cpu")]

    def _prim_layout(self, node: Any, arguments: Any) -> list[Any]:
        return [None]

    def _prim_is_cuda(self, node: Any, arguments: Any) -> list[Any]:
        return [False]

    def _prim_requires_grad(self, node: Any, arguments: Any) -> list[Any]:
        return [False]

    def _prim_min(self, node: Any, arguments: list[Any]) -> list[Any]:
        return [min(*arguments)]

    def _prim_max(self, node: Any, arguments: list[Any]) -> list[Any]:
        return [max(*arguments)]

    def _prim_isinstance(self, node: Any, arguments: list[Any]) -> list[Any]:
        kinds = {t.kind() for t in node.tys("types")}
        value = arguments[0]
        if value is None:
            return ["NoneType" in kinds]
        matches = {Tensor: "TensorType", int: "IntType", float: "FloatType", list: "ListType", tuple: "TupleType"}
        return [matches.get(type(value), "") in kinds]

    # -- aten ------------------------------------------------------------------------------------------

    def _aten(self, node: Any, name: str, arguments: list[Any]) -> Any:
        plain = _CONTAINERS.get(name)
        if plain is not None and (not isinstance(arguments[0], Tensor) or name in ("__is__", "__isnot__")):
            return plain(*arguments)
        if name in ("Bool", "Int", "Float", "item", "IntImplicit", "FloatImplicit", "ScalarImplicit") and isinstance(
            arguments[0], Tensor
        ):
            value = self._concrete(arguments[0], node)
            convert = {"Bool": bool, "Int": int, "Float": float, "IntImplicit": int, "FloatImplicit": float}
            return convert.get(name, lambda v: v)(value)
        if name == "requires_grad_":
            return arguments[0]
        if name in ("is_grad_enabled", "set_grad_enabled"):
            return False
        if not any(True for _ in flat_tensors(arguments)) and not _makes_tensor(node):
            return self._plain(node, name, arguments)
        schema = torch._C.parse_schema(node.schema())
        named = dict(zip([a.name for a in schema.arguments], arguments, strict=False))
        op = _overload(name, schema.overload_name)
        return self.machine.call(op, schema, named, _where(node))

    def _plain(self, node: Any, name: str, arguments: list[Any]) -> Any:
        """An operator on numbers, strings and lists."""
        if name in _NUMBERS:
            return _NUMBERS[name](*arguments)
        schema = torch._C.parse_schema(node.schema())
        op = _overload(name, schema.overload_name)
        if op is None:
            raise UnsupportedError(f"aten::{name} at {_where(node)} is not supported")
        return op(*arguments)


def _is(a: Any, b: Any) -> bool:
    return a is b


def _is_not(a: Any, b: Any) -> bool:
    return a is not b


def _append(items: list[Any], item: Any) -> list[Any]:
    items.append(item)
    return items


def _set_item(items: Any, key: Any, value: Any) -> Any:
    items[key] = value
    return items


def _slice(items: Any, start: int | None = None, end: int | None = None, step: int = 1) -> Any:
    return items[start:end:step]


_CONTAINERS: dict[str, Any] = {
    "__is__": _is,
    "__isnot__": _is_not,
    "__not__": lambda a: not a,
    "__contains__": lambda items, item: item in items,
    "__getitem__": lambda items, key: items[key],
    "_set_item": _set_item,
    "append": _append,
    "add": lambda a, b, alpha=1: a + b if isinstance(b, (list, tuple, str)) else a + alpha * b,
    "dict": dict,
    "extend": lambda items, more: items.extend(more),
    "format": lambda text, *values: text.format(*values),
    "items": lambda items: list(items.items()),
    "keys": list,
    "len": len,
    "list": list,
    "pop": lambda items, at=-1: items.pop(at),
    "slice": _slice,
    "str": str,
    "values": lambda items: list(items.values()),
    "warn": lambda *_: None,
}


_NUMBERS: dict[str, Any] = {
    "Bool": bool,
    "Float": float,
    "FloatImplicit": float,
    "Int": int,
    "IntImplicit": int,
    "Scalar": lambda a: a,
    "__and__": operator.and_,
    "__or__": operator.or_,
    "__xor__": operator.xor,
    "ceil": math.ceil,
    "div": operator.truediv,
    "eq": operator.eq,
    "floor": math.floor,
    "floordiv": operator.floordiv,
    "ge": operator.ge,
    "gt": operator.gt,
    "le": operator.le,
    "lt": operator.lt,
    "mul": operator.mul,
    "ne": operator.ne,
    "neg": operator.neg,
    "pow": operator.pow,
    "remainder": operator.mod,
    "sqrt": math.sqrt,
    "sub": lambda a, b, alpha=1: a - alpha * b,
}


def _makes_tensor(node: Any) -> bool:
    return any("Tensor" in str(value.type()) for value in node.outputs())


def _overload(name: str, overload: str) -> Any:
    """The callable of an operator; it may be missing where only a lowering is needed."""
    if name in ("from_file", "save"):
        raise UnsupportedError(f"aten::{name}, which reads or writes files")
    packet = getattr(torch.ops.aten, name, None)
    return getattr(packet, overload or "default", packet)


def _where(node: Any) -> str:
    """The source line of a node, or its result's name."""
    text = node.sourceRange().strip().splitlines()
    line = next((t.strip() for t in text if t.strip().startswith("File")), "")
    name = next((value.debugName() for value in node.outputs()), "")
    return f"node %{name}" + (f" ({line})" if line else "")
