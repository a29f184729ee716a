"""Tensors of a PyTorch program while it is being read, with PyTorch's rules of aliasing.

A module that keeps its state in a buffer writes it in place, often through a view (``self.h[:] = h``). So a view
remembers where it came from, a write goes through to the tensor that owns the memory, and the other views see it. What
shares memory with what is asked of torch itself, with a tensor of element numbers in place of the data.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from rtrnn.errors import UnsupportedError
from rtrnn.importers.builder import Builder, Sym

__all__ = ["Tensor", "flat_tensors", "map_tensors", "to_sym"]


class Tensor:
    """A tensor of the program: its present value, and the tensor it is (perhaps) a view of.

    `label` is the path of a parameter or buffer in the module, ``""`` for anything else.
    """

    def __init__(
        self,
        value: Sym,
        label: str = "",
        parent: Tensor | None = None,
        replay: Callable[[Sym], Sym] | None = None,
        torch_view: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        self.label = label
        self._value = value
        self._parent, self._replay, self._torch_view = parent, replay, torch_view
        self._checked = False
        #: Writes so far, of the tensor that owns the memory; for a view, those that `_value` has seen.
        self.version: int = 0 if parent is None else parent._top().version

    @property
    def shape(self) -> tuple[int, ...]:
        return self._value.shape

    def read(self) -> Sym:
        """The value now."""
        if self._parent is not None and self.version != self._top().version and self._owner() is not self:
            assert self._replay is not None
            self._value = self._replay(self._parent.read())
            self.version = self._top().version
        return self._value

    def write(self, b: Builder, value: Sym) -> None:
        """`value` (of this tensor's shape) in place."""
        owner = self._owner()
        if owner is self:
            self._value = value
        else:
            owner._value = _scatter(b, owner._value, self._elements().reshape(-1).numpy(), value)
        owner.version += 1

    def _top(self) -> Tensor:
        tensor = self
        while tensor._parent is not None:
            tensor = tensor._parent
        return tensor

    def _owner(self) -> Tensor:
        """The tensor whose memory this is; a copy forgets what it was copied from."""
        if self._parent is None:
            return self
        if not self._checked:
            self._checked = True
            assert self._torch_view is not None
            source = self._parent._elements()
            mine = self._torch_view(source)
            if mine.untyped_storage().data_ptr() != source.untyped_storage().data_ptr():
                self._parent = None
                return self
        return self._parent._owner()

    def _elements(self) -> torch.Tensor:
        """Which element of the owner's memory each element of this tensor is."""
        if self._parent is None:
            return torch.arange(self._value.size).reshape(self._value.shape)
        assert self._torch_view is not None
        return self._torch_view(self._parent._elements())


def _scatter(b: Builder, base: Sym, at: np.ndarray, value: Sym) -> Sym:
    """`base` with its flat elements `at` replaced by those of `value`."""
    source = np.full(base.size, -1)
    source[at] = np.arange(len(at))
    if np.array_equal(source, np.arange(base.size)):
        return b.reshape(value, base.shape)
    flat_base, flat_value = b.reshape(base, (base.size,)), b.reshape(value, (value.size,))
    step = np.where(source < 0, source, source - np.arange(base.size))
    cuts = [0, *(np.flatnonzero(np.diff(step)) + 1).tolist(), base.size]
    if len(cuts) > 64:
        index = np.where(source < 0, np.arange(base.size), base.size + source)
        return b.reshape(b.gather(b.concat([flat_base, flat_value], 0), 0, index), base.shape)
    parts = []
    for start, stop in itertools.pairwise(cuts):
        first = int(source[start])
        parts.append(
            b.slice(flat_base, 0, start, stop) if first < 0 else b.slice(flat_value, 0, first, first + stop - start)
        )
    return b.reshape(b.concat(parts, 0), base.shape)


def to_sym(b: Builder, tensor: torch.Tensor) -> Sym:
    """A constant."""
    tensor = tensor.detach().cpu()
    if tensor.is_quantized or tensor.is_sparse:
        kind = "quantized" if tensor.is_quantized else "sparse"
        raise UnsupportedError(f"a {kind} tensor: expected a dense float one")
    if tensor.dtype in (torch.bfloat16, torch.float16):
        tensor = tensor.float()
    if tensor.is_complex():
        raise UnsupportedError("a complex tensor: expected a real one")
    return b.const(tensor.resolve_neg().numpy().copy())


def map_tensors(function: Callable[[Tensor], Any], value: Any) -> Any:
    """`value` with every :class:`Tensor` in its lists and tuples replaced."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, list):
        return [map_tensors(function, v) for v in value]
    if isinstance(value, tuple):
        return tuple(map_tensors(function, v) for v in value)
    if isinstance(value, dict):
        return {k: map_tensors(function, v) for k, v in value.items()}
    return value


def flat_tensors(value: Any) -> Iterator[Tensor]:
    """Every :class:`Tensor` in nested lists, tuples and dicts, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for v in value:
            yield from flat_tensors(v)
    elif isinstance(value, dict):
        for v in value.values():
            yield from flat_tensors(v)
