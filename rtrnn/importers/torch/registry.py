"""The lowering table: aten operator -> function that appends nodes to a Draft.

One table serves torch.export and TorchScript. A lowering takes the builder and the operator's arguments under their
schema's names (``self`` and ``input`` are `x`), as :class:`Sym` for tensors and plain Python values for the rest. It is
called only when a tensor among them depends on the network's input or state; everything else is folded by torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from rtrnn.errors import UnsupportedError
from rtrnn.importers.builder import Sym

__all__ = ["LOWERINGS", "VIEWS", "Lowering", "constant", "lowers"]

Lowering = Callable[..., Any]
_Function = TypeVar("_Function", bound=Lowering)
LOWERINGS: dict[str, Lowering] = {}

#: Operators whose result may share memory with their first argument.
VIEWS = frozenset(
    {
        "alias",
        "chunk",
        "contiguous",
        "detach",
        "dropout",
        "expand",
        "expand_as",
        "flatten",
        "movedim",
        "narrow",
        "permute",
        "reshape",
        "reshape_as",
        "select",
        "slice",
        "split",
        "split_with_sizes",
        "squeeze",
        "swapaxes",
        "swapdims",
        "t",
        "tensor_split",
        "to",
        "transpose",
        "type_as",
        "unbind",
        "unflatten",
        "unsqueeze",
        "view",
        "view_as",
    }
)


def lowers(*names: str) -> Callable[[_Function], _Function]:
    """Registers a function as the lowering of aten operators."""

    def register(function: _Function) -> _Function:
        for name in names:
            LOWERINGS[name] = function
        return function

    return register


def constant(x: Sym | None, what: str) -> np.ndarray | None:
    """The array of a constant tensor; None stays None."""
    if x is None:
        return None
    if x.const is None:
        raise UnsupportedError(f"{what} depends on the network's input or state; expected a constant")
    return x.const
