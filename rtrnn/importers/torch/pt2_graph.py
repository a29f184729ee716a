"""The graph of a ``.pt2`` file, from JSON to nodes that call aten operators and arithmetic on sizes, and nothing else."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch

from rtrnn.errors import FileFormatError, UnsupportedError
from rtrnn.importers.torch.program import NUMBERS, Body

__all__ = ["DTYPES", "read_graph"]

#: torch/_export/serde/schema.py, ScalarType.
DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
_NESTED_LIMIT = 32


def wrap_with_block(*_: Any) -> Any:
    """Stands for torch's wrap_with_set_grad_enabled and its like; see :meth:`Program._call`."""
    raise AssertionError


def read_graph(description: Mapping[str, Any]) -> tuple[torch.fx.Graph, Callable[[torch.fx.Graph], Body]]:
    """The graph, and what makes a :class:`Body` of it."""
    reader = _Reader(description, 0)
    return reader.graph, lambda graph: Body(graph, reader.bodies.__getitem__)


class _Reader:
    def __init__(self, description: Mapping[str, Any], depth: int) -> None:
        if depth > _NESTED_LIMIT:
            raise FileFormatError(f"the program nests blocks more than {_NESTED_LIMIT} deep")
        self.depth = depth
        self.graph = torch.fx.Graph()
        self.bodies: dict[str, Body] = {}
        self.values: dict[str, torch.fx.Node] = {}
        self.declared = description.get("tensor_values") or {}
        for argument in description["inputs"]:
            ((_, value),) = argument.items()
            name = value.get("name", value.get("as_name")) if isinstance(value, Mapping) else None
            # A plain value is an input too; no node reads it.
            node = self.graph.placeholder(str(name) if name else f"plain_{len(self.values)}")
            if name:
                self._define(str(name), node)
        for node in description["nodes"]:
            self._node(node)
        self.graph.output([self._argument(a) for a in description["outputs"]])

    def _node(self, node: Mapping[str, Any]) -> None:
        label = str(node.get("name") or "")
        target = _target(str(node["target"]), label)
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        schema = getattr(target, "_schema", None)
        known = None if schema is None else {a.name for a in schema.arguments}
        for given in node["inputs"]:
            value = self._argument(given["arg"])
            if known is None:
                args.append(value)
            elif given["name"] in known:
                kwargs[given["name"]] = value
            else:
                raise FileFormatError(f"node {label!r} ({node['target']}) has no argument {given['name']!r}")
        made = self.graph.create_node("call_function", target, tuple(args), kwargs, label or None)
        stack = (node.get("metadata") or {}).get("nn_module_stack")
        if isinstance(stack, str):
            made.meta["nn_module_stack"] = _module_stack(stack)
        outputs = node["outputs"]
        single = len(outputs) == 1 and not (target is wrap_with_block and not node.get("is_hop_single_tensor_return"))
        for i, output in enumerate(outputs):
            self._output(output, made if single else self._item(made, i))

    def _output(self, output: Mapping[str, Any], node: torch.fx.Node) -> None:
        ((kind, value),) = output.items()
        if kind in ("as_tensor", "as_sym_int", "as_sym_bool", "as_sym_float"):
            name = value.get("name", value.get("as_name"))
            if name is not None:
                self._define(str(name), node)
        elif kind == "as_tensors":
            for i, part in enumerate(value):
                self._define(str(part["name"]), self._item(node, i))
        elif kind not in ("as_none", "as_optional_tensor", "as_optional_tensors"):
            raise UnsupportedError(f"node {node.name!r} gives a value of the kind {kind}; expected tensors")

    def _define(self, name: str, node: torch.fx.Node) -> None:
        """`node` computes the value `name`; the sizes that it has in the file are noted (None: not fixed)."""
        self.values[name] = node
        if name in self.declared:
            node.meta["sizes"] = tuple(size.get("as_int") for size in self.declared[name]["sizes"])

    def _item(self, node: torch.fx.Node, index: int) -> torch.fx.Node:
        return self.graph.call_function(operator.getitem, (node, index))

    def _argument(self, argument: Mapping[str, Any]) -> Any:
        ((kind, value),) = argument.items()
        if kind == "as_none":
            return None
        if kind in ("as_int", "as_float", "as_bool", "as_string"):
            return float(value) if kind == "as_float" else value
        if kind in ("as_ints", "as_floats", "as_bools", "as_strings", "as_int_lists", "as_float_lists"):
            return list(value)
        if kind == "as_tensor":
            return self._named(value["name"])
        if kind == "as_tensors":
            return [self._named(v["name"]) for v in value]
        if kind in ("as_sym_int", "as_sym_bool", "as_sym_float"):
            return self._number(value)
        if kind in ("as_sym_ints", "as_sym_bools", "as_sym_floats"):
            return [self._number(v) for v in value]
        if kind == "as_optional_tensor":
            return self._argument(value) if value else None
        if kind == "as_optional_tensors":
            return [None if "as_none" in v else self._argument(v) for v in value]
        if kind == "as_scalar_type":
            return DTYPES.get(value, torch.complex64)
        if kind == "as_device":
            return torch.device("cpu")
        if kind in ("as_memory_format", "as_layout"):
            return None
        if kind == "as_graph":
            return self._body(value)
        raise UnsupportedError(f"an operator is given a value of the kind {kind}; expected tensors, numbers and text")

    def _named(self, name: str) -> torch.fx.Node:
        if name not in self.values:
            raise FileFormatError(f"the program reads {name!r}, which nothing before it computes")
        return self.values[name]

    def _number(self, value: Mapping[str, Any]) -> Any:
        if "as_name" in value:
            return self._named(str(value["as_name"]))
        ((_, number),) = value.items()
        return number

    def _body(self, value: Mapping[str, Any]) -> torch.fx.Node:
        name = f"block_{len(self.bodies)}"
        inner = _Reader(value["graph"], self.depth + 1)
        self.bodies[name] = Body(inner.graph, inner.bodies.__getitem__)
        return self.graph.get_attr(name)


def _target(name: str, label: str) -> Callable[..., Any]:
    """The function of a node's target: an aten operator of torch's registry, or one on numbers."""
    if name.startswith("torch.ops.aten."):
        packet_name, _, overload = name.removeprefix("torch.ops.aten.").partition(".")
        packet = getattr(torch.ops.aten, packet_name, None)
        op = getattr(packet, overload or "default", None)
        if isinstance(op, torch._ops.OpOverload):
            return op
        raise UnsupportedError(f"node {label!r}: {name[:200]} is not an operator of torch {torch.__version__}")
    if name.startswith("_operator.") and name.removeprefix("_operator.") in NUMBERS:
        return NUMBERS[name.removeprefix("_operator.")]
    if name.startswith("torch.ops.higher_order.wrap_with_"):
        return wrap_with_block
    raise UnsupportedError(f"node {label!r}: {name[:200]}; expected standard PyTorch (aten) operators only")


def _module_stack(text: str) -> dict[str, tuple[str, str]]:
    """``key,path,type;key,path,type`` -> the form in which torch keeps it."""
    entries = [entry.split(",") for entry in text.split(";")]
    return {e[0]: (e[1].removeprefix("L['self']."), e[-1]) for e in entries if len(e) >= 2}
