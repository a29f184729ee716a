"""State that a module keeps in plain attributes (``self.h = h``), which torch.export does not see."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree

from rtrnn.errors import StateError, UnsupportedError
from rtrnn.importers.draft import Draft

__all__ = ["attributes_to_buffers", "check_held_states"]

_INTERNAL = frozenset(vars(nn.Module())) | frozenset(vars(nn.GRU(1, 1)))


def attributes_to_buffers(module: nn.Module, arguments: tuple[Any, ...]) -> dict[str, int]:
    """Makes buffers of the tensor attributes that forward assigns, found by calling a copy of the module twice.

    An attribute that is None at first becomes a buffer of zeros if forward gives the same result for it. Returns the
    attributes that cannot be buffers (tuples of tensors), with their number of elements.
    """
    # Any values will do; with zeros a state that is never read would look like one that is.
    arguments = pytree.tree_map(_random, arguments)
    probe = copy.deepcopy(module)
    seen = {path: (value, _versions(value)) for path, value in _attributes(probe)}
    first = _call(probe, arguments)
    held: dict[str, int] = {}
    changed: list[tuple[str, torch.Tensor | None, torch.Tensor]] = []
    before = dict(_attributes(module))
    for path, value in _attributes(probe):
        old = before.get(path)
        was, versions = seen.get(path, (None, []))
        if not _has_tensor(value) or (was is value and versions == _versions(value)):
            continue
        if isinstance(value, torch.Tensor) and (old is None or isinstance(old, torch.Tensor)):
            changed.append((path, old, value))
        else:
            held[path] = sum(leaf.numel() for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor))
    for path, old, value in changed:
        owner, name = _owner(module, path)
        vars(owner).pop(name, None)
        owner.register_buffer(name, torch.zeros_like(value) if old is None else old.detach().clone(), persistent=False)
    unset = [path for path, old, _ in changed if old is None]
    if unset and not _equal(first, _call(copy.deepcopy(module), arguments)):
        raise StateError(
            f"attributes {unset} are None before the first call, and zeros in their place give another result; "
            "expected tensors as initial values (register_buffer)"
        )
    return held


def check_held_states(draft: Draft, held: dict[str, int]) -> None:
    """Raises :class:`StateError` unless the recurrent layers carry everything that the attributes `held` hold."""
    carried = sum(int(np.prod(state.shape)) for state in draft.states.values())
    if held and sum(held.values()) > carried:
        raise StateError(
            f"forward keeps {sum(held.values())} state values in the attributes {sorted(held)}, which are not tensors, "
            f"but only {carried} are found in recurrent layers; expected buffers (register_buffer) or arguments"
        )


def _call(module: nn.Module, arguments: tuple[Any, ...]) -> Any:
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return module(*pytree.tree_map(lambda v: v.clone() if isinstance(v, torch.Tensor) else v, arguments))
    except Exception as error:
        shapes = [tuple(v.shape) for v in pytree.tree_leaves(arguments) if isinstance(v, torch.Tensor)]
        raise UnsupportedError(f"the module fails for inputs of shapes {shapes}: {error}") from error


def _attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Attributes outside PyTorch's own dictionaries, by path."""
    for prefix, part in module.named_modules():
        for name, value in vars(part).items():
            if name not in _INTERNAL:
                yield f"{prefix}.{name}" if prefix else name, value


def _owner(module: nn.Module, path: str) -> tuple[nn.Module, str]:
    prefix, _, name = path.rpartition(".")
    return module.get_submodule(prefix), name


def _has_tensor(value: Any) -> bool:
    return any(isinstance(leaf, torch.Tensor) for leaf in pytree.tree_leaves(value))


def _versions(value: Any) -> list[int]:
    """How often each tensor has been written."""
    return [leaf._version for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def _random(value: Any) -> Any:
    return torch.rand_like(value) if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def _equal(a: Any, b: Any) -> bool:
    left, right = pytree.tree_leaves(a), pytree.tree_leaves(b)
    return len(left) == len(right) and all(
        torch.allclose(p, q, equal_nan=True) for p, q in zip(left, right, strict=True) if isinstance(p, torch.Tensor)
    )
