"""The table of supported operators and what each lowering is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rtrnn.errors import FileFormatError, UnsupportedError
from rtrnn.importers.builder import Axis, Builder, Sym

__all__ = ["OPS", "Call", "Options", "limit", "op"]

#: Constants larger than this many elements are not computed: a small file must not fill the memory.
MAX_ELEMENTS = 1 << 27


@dataclass
class Options:
    """What the caller asked for, and what is known about the file as a whole."""

    producer: str = ""
    gru_reset: str | None = None
    #: Input axes that were fixed in the file and are time or batch: (input, axis) -> size in the file.
    rebound: dict[Axis, int] = field(default_factory=dict)
    #: Inputs that give the lengths of sequences; known while nodes are read.
    sequence_lens: set[str] = field(default_factory=set)
    #: Values that are 0 or 1, and the comparison that made each; known while nodes are read.
    truths: dict[str, tuple[str, tuple[Sym, ...]]] = field(default_factory=dict)

    def forget(self) -> None:
        """Before the nodes are read again."""
        self.sequence_lens.clear()
        self.truths.clear()


@dataclass
class Call:
    """One node on its way to the Draft: operands, attributes and the operator set's version."""

    b: Builder
    op_type: str
    name: str
    opset: int
    inputs: Sequence[Sym | None]
    attributes: Mapping[str, Any]
    num_outputs: int
    options: Options
    #: Imports a subgraph with the current scope visible; returns its outputs.
    subgraph: Callable[[Any], list[Sym]]
    #: The names of the operands in the file.
    names: Sequence[str] = ()
    #: Whether the first operand is of an integer type.
    whole: bool = False

    def x(self, i: int = 0) -> Sym:
        """Operand `i`, which must be there."""
        found = self.opt(i)
        if found is None:
            raise FileFormatError(f"{self.op_type} node {self.name!r}: operand {i} is missing")
        return found

    def opt(self, i: int) -> Sym | None:
        return self.inputs[i] if i < len(self.inputs) else None

    def all(self) -> list[Sym]:
        return [self.x(i) for i in range(max(1, len(self.inputs)))]

    def const(self, i: int, role: str) -> np.ndarray:
        """Operand `i` as an array; :class:`UnsupportedError` when it is computed from the network's inputs."""
        found = self.x(i)
        if found.const is None:
            raise UnsupportedError(
                f"its {role} (operand {i}, {self.operand(i)}) must be constant, but is computed from the inputs; export "
                "the network with fixed values there"
            )
        return found.const

    def operand(self, i: int) -> str:
        """What operand `i` is called in the file."""
        return repr(self.names[i]) if i < len(self.names) else "absent"

    def opt_const(self, i: int, role: str) -> np.ndarray | None:
        return None if self.opt(i) is None else self.const(i, role)

    def attr(self, name: str, default: Any = None) -> Any:
        return self.attributes.get(name, default)

    def ints(self, name: str, i: int) -> list[int] | None:
        """Integers that older operator sets hold as the attribute `name` and newer ones as operand `i`."""
        if name in self.attributes:
            value = self.attributes[name]
            return [int(v) for v in (value if isinstance(value, list | tuple) else [value])]
        value = self.opt_const(i, name)
        return None if value is None else [int(v) for v in np.ravel(value)]


Lowering = Callable[[Call], "Sym | list[Sym]"]

#: Operator name -> its lowering.
OPS: dict[str, Lowering] = {}


def op(*names: str) -> Callable[[Lowering], Lowering]:
    """Registers a lowering under one or more operator names."""

    def register(function: Lowering) -> Lowering:
        for name in names:
            OPS[name] = function
        return function

    return register


def limit(shape: Sequence[int]) -> tuple[int, ...]:
    """`shape`, unless a constant of that shape would be too large or its sizes are negative."""
    sizes = tuple(int(d) for d in shape)
    total = 1
    for d in sizes:
        total *= d
    if total > MAX_ELEMENTS or any(d < 0 for d in sizes):
        raise UnsupportedError(f"a constant of shape {sizes}; expected at most {MAX_ELEMENTS} elements")
    return sizes
