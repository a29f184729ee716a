"""Finds the shapes of a TorchScript module's arguments: those that its weights suggest are tried."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch

from rtrnn.errors import Error, UnsupportedError

__all__ = ["find_examples"]

_MAX_CALLS = 1500


def find_examples(
    module: Any, forward: Any, dtype: torch.dtype, call: Callable[[tuple[Any, ...]], None]
) -> Iterator[tuple[Any, ...]]:
    """Zeros as arguments with which `call`, a call of `module`'s method `forward`, runs; the most likely first.

    Raises :class:`UnsupportedError` when no call runs.
    """
    arguments = forward.schema.arguments[1:]
    needed = [a for a in arguments if not a.has_default_value()]
    tensors = _weights(module, forward)
    data, hidden = _data_shapes(tensors), _state_shapes(tensors)
    tried: list[str] = []
    reason = ""
    found = False
    calls = list(itertools.islice(_calls(needed, arguments, data, hidden), _MAX_CALLS))
    if not any("weight_hh" in tensor for tensor, _ in tensors):
        # A cell written by hand that takes data and state side by side says so by a weight of that width. A size of 1
        # runs with many networks that are not made for it: it is repeated to whatever it meets.
        widths = {t.shape[1] for _, t in tensors if t.ndim == 2}
        calls.sort(key=lambda given: len(given) < 2 or given[0][-1] == 1 or given[0][-1] + _last(given[1]) not in widths)
    for given in calls:
        example = tuple(_zeros(g, dtype) for g in given)
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                call(example)
        except (Error, RuntimeError, TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
            tried.append(str(given if len(given) > 1 else given[0]))
            reason = str(error).strip().splitlines()[-1][:200]
        else:
            found = True
            yield example
    if found:
        return
    raise UnsupportedError(
        f"no shapes were found for forward({', '.join(f'{a.name}: {a.type}' for a in arguments)}); tried "
        f"{', '.join(tried[:6])}{', ..' if len(tried) > 6 else ''}; the last call failed with: "
        f"{reason or 'nothing to try'}; expected example=, the arguments of one call for one timestep"
    )


def _calls(needed: list[Any], arguments: list[Any], data: list[Any], hidden: list[Any]) -> Iterator[tuple[Any, ...]]:
    """Shapes (or tuples of shapes) for the arguments without a default; then for all arguments."""
    for chosen in (needed or arguments[:1], arguments):
        options = []
        for position, argument in enumerate(chosen):
            count = _tuple_size(argument.type)
            if count:
                options.append([(shape,) * count for shape in hidden])
            elif position == 0:
                options.append(data)
            else:
                options.append([*hidden, *data])
        yield from itertools.product(*options)
        if len(chosen) == len(arguments):
            return


def _tuple_size(kind: Any) -> int:
    """How many tensors a tuple argument holds; 0 for a tensor."""
    if kind.kind() == "OptionalType":
        kind = kind.getElementType()
    return len(kind.elements()) if kind.kind() == "TupleType" else 0


def _last(given: Any) -> int:
    """The features of a shape, or of the first of a tuple of shapes."""
    return int(given[-1]) if isinstance(given[0], int) else _last(given[0])


def _zeros(given: Any, dtype: torch.dtype) -> Any:
    if given and isinstance(given[0], tuple):
        return tuple(_zeros(shape, dtype) for shape in given)
    return torch.zeros(given, dtype=dtype)


def _weights(module: Any, forward: Any) -> list[tuple[str, torch.Tensor]]:
    """Parameters, buffers, and the constants of a frozen module."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    graph = forward.inlined_graph  # kept: its nodes do not keep it alive
    for node in graph.findAllNodes("prim::Constant"):
        value = node.output().toIValue()
        for part in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(part, torch.Tensor):
                tensors.append((node.output().debugName(), part))
    return tensors


def _data_shapes(tensors: list[tuple[str, torch.Tensor]]) -> list[tuple[int, ...]]:
    """(1, size), (1, 1, size), (size,) for each size that a weight takes, a recurrent layer's first.

    A cell written by hand may take the data and the state side by side, so what is left of a weight's width without a
    state's is tried too.
    """
    recurrent = [t.shape[1] for name, t in tensors if "weight_ih" in name and t.ndim == 2]
    others = [t.shape[1] for _, t in tensors if t.ndim == 2]
    offsets = [t.shape[-1] for name, t in tensors if t.ndim and ("mean" in name or "scale" in name or "offset" in name)]
    left = [width - size for width in others for size in _hidden_sizes(tensors) if width > size]
    sizes = list(dict.fromkeys([*recurrent[:1], *others, *offsets, *recurrent, *left]))
    return [shape for size in sizes for shape in ((1, size), (1, 1, size), (size,))]


def _hidden_sizes(tensors: list[tuple[str, torch.Tensor]]) -> list[int]:
    """Sizes that a state may have: the recurrent weights', or those of all weights and of the buffers."""
    recurrent = [t.shape[1] for name, t in tensors if "weight_hh" in name and t.ndim == 2]
    widths = [size for _, t in tensors if t.ndim == 2 for size in (t.shape[1], t.shape[0])]
    return list(dict.fromkeys(recurrent or [*widths, *(t.shape[-1] for _, t in tensors if t.ndim > 2)]))


def _state_shapes(tensors: list[tuple[str, torch.Tensor]]) -> list[tuple[int, ...]]:
    """(layers, 1, size), (layers, size), (1, size), (size,) for each recurrent size."""
    shapes: dict[tuple[int, ...], None] = {}
    for size in _hidden_sizes(tensors):
        weights = [t for name, t in tensors if "weight_hh" in name] or [t for _, t in tensors if t.ndim == 2]
        count = sum(t.shape[1] == size for t in weights)
        for layers in dict.fromkeys([count or 1, 1, 2, 3, 4]):
            shapes[(layers, 1, size)] = None
        shapes.update(dict.fromkeys([(count or 1, size), (1, 1, size), (1, size), (size,)]))
    return list(shapes)
