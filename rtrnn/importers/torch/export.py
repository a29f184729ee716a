"""Reads a live ``nn.Module`` through ``torch.export``."""

from __future__ import annotations

import copy
import inspect
import operator
import warnings
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import torch
from torch import nn
from torch.utils import _pytree as pytree

from rtrnn.errors import UnsupportedError
from rtrnn.importers.builder import Builder
from rtrnn.importers.draft import Draft
from rtrnn.importers.torch.attributes import attributes_to_buffers, check_held_states
from rtrnn.importers.torch.common import Memory, Reading, as_example, import_with, named_leaves, named_outputs
from rtrnn.importers.torch.machine import Machine
from rtrnn.importers.torch.values import Tensor

__all__ = ["import_module"]


def import_module(
    module: nn.Module,
    example: Any,
    *,
    states: Mapping[str, str | None] | None = None,
    initial_states: Mapping[str, npt.ArrayLike] | None = None,
) -> Draft:
    """See :func:`rtrnn.importers.torch.from_module`."""
    if not isinstance(module, nn.Module):
        raise UnsupportedError(f"from_module: expected a torch.nn.Module, found {type(module).__name__}")
    if isinstance(module, torch.jit.ScriptModule):
        raise UnsupportedError("from_module: this is a TorchScript module; save it and load the file")
    model = _private_copy(module)
    first = next(iter(model.parameters()), None)
    dtype = first.dtype if first is not None and first.is_floating_point() else torch.float32
    arguments = as_example(_default_example(model) if example is None else example, dtype)
    names = _argument_names(model, len(arguments))
    structure = pytree.tree_structure(arguments)
    held: dict[str, int] = {}

    def read(b: Builder, leaves: list[tuple[str, Any]], carried: Mapping[str, torch.Tensor]) -> Reading:
        values = pytree.tree_unflatten([v for _, v in leaves], structure)
        fresh = _private_copy(model)
        held.clear()
        held.update(attributes_to_buffers(fresh, values))
        return _Program(fresh, values).read(b, leaves, carried)

    draft = import_with(
        read, named_leaves(names, arguments), states=states, initial_states=initial_states, source="torch.export"
    )
    check_held_states(draft, held)
    return draft


def _private_copy(module: nn.Module) -> nn.Module:
    """A copy on the CPU in evaluation mode; tensors that a past call left in attributes lose their history."""
    memo: dict[int, Any] = {}
    for part in module.modules():
        for value in pytree.tree_leaves(list(vars(part).values())):
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    try:
        return copy.deepcopy(module, memo).cpu().eval()
    except Exception as error:
        raise UnsupportedError(f"the module cannot be copied: {error}") from error


def _default_example(module: nn.Module) -> tuple[torch.Tensor, ...]:
    """An example for a module whose first layer says what it takes."""
    layer = module
    while isinstance(layer, nn.Sequential) and len(layer):
        layer = layer[0]
    if isinstance(module, nn.Sequential) and any(isinstance(m, nn.RNNBase) for m in list(module)[:-1]):
        raise UnsupportedError(
            "an nn.Sequential with a recurrent layer before its end passes a tuple on and does not run in PyTorch "
            "either; write a module whose forward takes the layer's first result"
        )
    if isinstance(layer, nn.RNNBase):
        return (torch.zeros(1, 1, layer.input_size),)
    if isinstance(layer, nn.RNNCellBase):
        return (torch.zeros(1, layer.input_size),)
    if isinstance(layer, nn.Linear):
        return (torch.zeros(1, layer.in_features),)
    raise UnsupportedError(
        f"the input of {type(module).__name__} is not evident; expected example=, the arguments of one call for one "
        "timestep"
    )


def _argument_names(module: nn.Module, count: int) -> list[str]:
    names: list[str] = []
    for parameter in inspect.signature(module.forward).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            names += [f"{parameter.name}.{i}" for i in range(count - len(names))]
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            names.append(parameter.name)
    if len(names) < count:
        raise UnsupportedError(f"the example has {count} arguments, but forward takes {len(names)}: {names}")
    return names[:count]


class _Program:
    """An exported program and its reading."""

    def __init__(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        # Non-strict: the strict mode of torch.export drops assignments to buffers.
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")
                self.exported = torch.export.export(module, arguments, strict=False)
        except Exception as error:
            reason = str(error).strip().split("\n\n")[0][:600]
            shapes = [tuple(v.shape) for v in pytree.tree_leaves(arguments) if isinstance(v, torch.Tensor)]
            raise UnsupportedError(
                f"torch.export cannot read this module for inputs of shapes {shapes}: {reason}"
            ) from error

    def read(self, b: Builder, leaves: list[tuple[str, Any]], carried: Mapping[str, torch.Tensor]) -> Reading:
        machine = Machine(b)
        memory = Memory(machine, carried)
        shapes = {name: tuple(value.shape) for name, value in leaves if isinstance(value, torch.Tensor)}
        given = iter(leaves)
        arguments = []
        for spec in self.exported.graph_signature.input_specs:
            kind = spec.kind.name
            if kind == "USER_INPUT":
                name, value = next(given)
                is_tensor = isinstance(value, torch.Tensor)
                arguments.append(Tensor(b.input(name, value.shape)) if is_tensor else value)
            elif kind in ("PARAMETER", "BUFFER", "CONSTANT_TENSOR"):
                arguments.append(memory.tensor(spec.target, self._stored(spec.target)))
            else:
                raise UnsupportedError(
                    f"torch.export made an input of kind {kind} ({spec.target!r}); expected tensors only"
                )
        results = self._run(self.exported.graph_module, arguments, machine)
        memory.close()
        spec = self.exported.call_spec.out_spec
        outputs = named_outputs(pytree.tree_unflatten(list(results)[-spec.num_leaves :], spec))
        return Reading(memory, outputs, shapes)

    def _stored(self, target: str) -> torch.Tensor:
        stored = self.exported.state_dict.get(target)
        return self.exported.constants[target] if stored is None else stored

    def _run(self, module: torch.fx.GraphModule, arguments: list[Any], machine: Machine) -> Any:
        """The results of a graph, called with its placeholders' values."""
        env: dict[torch.fx.Node, Any] = {}
        given = iter(arguments)
        for node in module.graph.nodes:
            if node.op == "placeholder":
                env[node] = next(given)
            elif node.op == "get_attr":
                env[node] = operator.attrgetter(node.target)(module)
            elif node.op == "output":
                return torch.fx.node.map_arg(node.args[0], env.__getitem__)
            else:
                args = torch.fx.node.map_arg(node.args, env.__getitem__)
                kwargs = torch.fx.node.map_arg(node.kwargs, env.__getitem__)
                env[node] = self._call(node, list(args), dict(kwargs), machine)
        raise UnsupportedError("torch.export made a graph without an output")

    def _call(self, node: torch.fx.Node, args: list[Any], kwargs: dict[str, Any], machine: Machine) -> Any:
        target = node.target
        if target is operator.getitem:
            return args[0][args[1]]
        name = getattr(target, "__name__", str(target))
        if name.startswith("wrap_with_"):
            # Blocks such as torch.no_grad(): the graph is the first argument that is one.
            at = next(i for i, a in enumerate(args) if isinstance(a, torch.fx.GraphModule))
            return self._run(args[at], args[at + 1 :], machine)
        if not isinstance(target, torch._ops.OpOverload):
            if not any(isinstance(a, (Tensor, torch.fx.GraphModule)) for a in pytree.tree_leaves([args, kwargs])):
                return target(*args, **kwargs)  # type: ignore[operator]
            raise UnsupportedError(f"{_where(node)}: {name} is not an aten operator")
        if name.startswith("_assert"):
            return None
        if target.namespace != "aten":
            raise UnsupportedError(f"{_where(node)}: {target} is not an aten operator")
        names = [a.name for a in target._schema.arguments]
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        for argument in target._schema.arguments:
            if argument.name not in given and argument.has_default_value():
                given[argument.name] = argument.default_value
        return machine.call(target, target._schema, {k: given[k] for k in names if k in given}, _where(node))


def _where(node: torch.fx.Node) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    path = next(reversed([entry[0] for entry in stack.values()]), "") if stack else ""
    return f"node {node.name!r}" + (f" in module {path!r}" if path else "")
