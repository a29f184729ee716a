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
from rtrnn.importers.torch.common import Reading, as_example, import_with, named_leaves
from rtrnn.importers.torch.program import Body, Port, Program

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
        return _program(fresh, values).read(b, leaves, carried)

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


def _program(module: nn.Module, arguments: tuple[Any, ...]) -> Program:
    """The module as a program, traced with `arguments`."""
    # Non-strict: the strict mode of torch.export drops assignments to buffers.
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            exported = torch.export.export(module, arguments, strict=False)
    except Exception as error:
        reason = str(error).strip().split("\n\n")[0][:600]
        shapes = [tuple(v.shape) for v in pytree.tree_leaves(arguments) if isinstance(v, torch.Tensor)]
        raise UnsupportedError(f"torch.export cannot read this module for inputs of shapes {shapes}: {reason}") from error
    kinds = {"USER_INPUT": "input", "PARAMETER": "tensor", "BUFFER": "tensor", "CONSTANT_TENSOR": "tensor"}
    inputs = []
    for spec in exported.graph_signature.input_specs:
        if spec.kind.name not in kinds:
            raise UnsupportedError(
                f"torch.export made an input of kind {spec.kind.name} ({spec.target!r}); expected tensors only"
            )
        inputs.append(Port(kinds[spec.kind.name], spec.target or ""))
    outputs = [Port("output") for _ in exported.graph_signature.output_specs]
    spec = exported.call_spec.out_spec
    return Program(
        _body(exported.graph_module),
        inputs,
        outputs,
        {**exported.constants, **exported.state_dict},
        lambda results: pytree.tree_unflatten(list(results), spec),
    )


def _body(module: torch.fx.GraphModule) -> Body:
    def attribute(name: str) -> Any:
        value = operator.attrgetter(name)(module)
        return _body(value) if isinstance(value, torch.fx.GraphModule) else value

    return Body(module.graph, attribute)
