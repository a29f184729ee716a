"""A Graph's program as C: which functions and constants it needs, and the calls of `prepare` and of `step`.

What each op computes, and in which order, is what cpp/src/ops makes of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rtrnn import _core
from rtrnn.c99.cells import Gates
from rtrnn.c99.memory import Buffer, Call, Place
from rtrnn.c99.packing import OPERAND_LIMIT, STATE_LIMIT, Tiles, integer_rows, tiled, tiles_of
from rtrnn.c99.products import CHAIN, IntegerProduct, Product
from rtrnn.c99.program import Step, count_uses, make_program, size
from rtrnn.c99.unary import literal
from rtrnn.errors import UnsupportedError

__all__ = ["Lowering", "Options", "Phase"]

Array = npt.NDArray[np.float32]
_KINDS = {"i8": "signed char", "i16": "short"}


@dataclass(frozen=True)
class Options:
    """What generated code is made for: the weights' precision and the rows of a tile."""

    weights: str
    tile: int


Phase = list[Call]


@dataclass(frozen=True)
class Weights:
    """A matrix of a node: (gates * rows, columns), and what its operand's integers are limited to."""

    values: Array
    gates: int
    partials: int
    precision: str
    limit: int
    label: str

    @property
    def rows(self) -> int:
        rows: int = self.values.shape[0] // self.gates
        return rows


class Lowering:
    """Collects calls; ops (rtrnn.c99.ops) say what to call."""

    def __init__(self, graph: _core.Graph, options: Options, ops: dict[str, Callable[[Lowering, Step], None]]) -> None:
        self.graph = graph
        self.options = options
        self.prepare: Phase = []
        self.finish: Phase = []
        self.functions: dict[str, None] = {}  # of functions.c, in the order of their first use
        self.products: set[Product | IntegerProduct] = set()
        self.gates: dict[Gates, str] = {}
        self.constants: dict[str, tuple[str, npt.NDArray[np.generic]]] = {}  # name -> C type, values
        self.quantized = 0
        self._known: dict[tuple[str, bytes], str] = {}
        self._places: dict[str, Place] = {}
        self._own_memory: set[str] = set()  # values that are no view of another one
        self.program = make_program(graph)
        self.uses: Counter[str] = count_uses(graph, self.program)
        self._state_only = {state.name for state in graph.states} | set(graph.tensor_names)
        self.phase = self.finish
        for step in self.program:
            if step.op not in ops:
                raise UnsupportedError(f"node {step.name!r}: {step.op} cannot be generated as C")
        offset = 0
        state = Buffer(sum(size(graph, s.name) for s in graph.states), "s->state")
        for s in graph.states:
            self._places[s.name] = Place(state, offset)
            offset += size(graph, s.name)

    def run(self, ops: dict[str, Callable[[Lowering, Step], None]]) -> None:
        """Lowers every node."""
        for step in self.program:
            self.phase = self.prepare if step.state_only else self.finish
            if step.state_only:
                self._state_only.update(step.outputs)
            ops[step.op](self, step)
        self.phase = self.finish

    # -- values ----------------------------------------------------------------------------------------

    def size(self, value: str) -> int:
        return size(self.graph, value)

    def shape(self, value: str) -> tuple[int, ...]:
        return self.graph.shape(value)

    def is_known_early(self, value: str) -> bool:
        """Whether a value depends on states and tensors alone."""
        return value in self._state_only

    def place(self, value: str, place: Place | None = None) -> Place:
        """Where a value is; `place` says where it is from now on."""
        if place is not None:
            self._places[value] = place
        elif value not in self._places:
            self._places[value] = self.constant(self.graph.tensor(value))
        return self._places[value]

    def new(self, value: str) -> Place:
        """A temporary for a computed value."""
        self._own_memory.add(value)
        return self.place(value, self.scratch(self.size(value)))

    def scratch(self, count: int) -> Place:
        return Place(Buffer(count))

    def result_in_place(self, x: str, y: str) -> Place:
        """Memory for `y`, which is computed from `x` element by element: that of `x` when nothing else reads it."""
        if x in self._own_memory and self.uses[x] == 1:
            self._own_memory.add(y)
            return self.place(y, self._places[x])
        return self.new(y)

    # -- constants -------------------------------------------------------------------------------------

    def constant(self, values: npt.NDArray[np.generic]) -> Place:
        """Floats as a C array; equal ones are one."""
        flat = np.ascontiguousarray(values, np.float32).reshape(-1)
        return Place(Buffer(flat.size, self._array("float", flat)))

    def indices(self, values: Sequence[int]) -> str:
        """Indices as a C array of the smallest type."""
        flat = np.asarray(values, np.int64)
        if flat.max() < 1 << 8:
            return self._array("unsigned char", flat.astype(np.uint8))
        if flat.max() < 1 << 16:
            return self._array("unsigned short", flat.astype(np.uint16))
        return self._array("int", flat.astype(np.int32))

    def _array(self, kind: str, values: npt.NDArray[np.generic]) -> str:
        key = (kind, values.tobytes())
        if key not in self._known:
            name = f"RT_c{len(self._known)}"
            self._known[key] = name
            self.constants[name] = (kind, values)
        return self._known[key]

    # -- calls -----------------------------------------------------------------------------------------

    def need(self, *functions: str) -> None:
        """These functions of functions.c are called."""
        self.functions.update(dict.fromkeys(functions))

    def emit(self, write: Callable[[], str], *places: Place) -> None:
        """Adds statements, which may use the int `i`, to the current phase."""
        self.phase.append(Call(write, list(places)))

    def loop(self, count: int, body: Callable[[], str], *places: Place) -> None:
        """`body` for each i below `count`."""
        self.emit(lambda: f"for (i = 0; i < {count}; ++i) {body()}", *places)

    def copy(self, x: Place, count: int, y: Place) -> None:
        self.need("copy")
        self.emit(lambda: f"RT_copy({x}, {count}, {y});", x, y)

    def gathered(self, x: Place, indices: Sequence[int], y: Place | None = None) -> Place:
        """x[indices], a view where those lie side by side and no `y` is given."""
        first, count = indices[0], len(indices)
        adjacent = all(index == first + k for k, index in enumerate(indices))
        if adjacent and y is None:
            return x.at(first)
        target = y or self.scratch(count)
        if adjacent:
            self.copy(x.at(first), count, target)
        else:
            table = self.indices(indices)
            self.loop(count, lambda: f"({target})[i] = ({x})[{table}[i]];", x, target)
        return target

    def gate_function(self, gates: Gates) -> str:
        self.need(*gates.needs)
        return self.gates.setdefault(gates, f"RT_{gates.kind}_{len(self.gates)}")

    # -- products --------------------------------------------------------------------------------------

    def weights(self, step: Step, i: int, gates: int, partials: int, *, recurrent: bool = False, label: str = "") -> Weights:
        precision = self.options.weights
        limit = STATE_LIMIT if recurrent and precision == "i8" else OPERAND_LIMIT
        name = f"node {step.name!r} ({step.op}): {label} {step.inputs[i]!r}"
        return Weights(self.graph.tensor(step.inputs[i]), gates, partials, precision, limit, name)

    def product(self, w: Weights, bias: Array | None, x: Place, out: Place, batch: int = 1) -> None:
        """out (batch, gates, rows) = weights . x (batch, columns) + bias."""
        columns = w.values.shape[1]
        bias_at = self.constant(np.zeros(w.gates * w.rows, np.float32) if bias is None else bias)
        parts = tiles_of(w.rows, self.options.tile)
        scale: Array | None = None
        values: npt.NDArray[np.generic] = w.values
        if w.precision != "f32":
            values, scale = integer_rows(w.values, w.precision, w.limit, w.label)
            self.quantized = max(self.quantized, columns)
            self.need("quantize")
        calls: list[tuple[str, str, Tiles]] = []  # function, first arguments, rows
        for part in parts:
            whole = part.count % part.width == 0
            packed = tiled(values, w.gates, part)
            if scale is None:
                function: Product | IntegerProduct = Product(w.gates, w.partials, part.width, whole, columns > CHAIN * w.partials)
                array = self._array("float", packed)
                head = f"{array}, {bias_at.at(part.first)}"
            else:
                kind = _KINDS[w.precision]
                function = IntegerProduct(w.gates, w.partials, part.width, whole, kind)
                array = self._array(kind, packed.astype(np.int8 if w.precision == "i8" else np.int16))
                head = f"{array}, {self.constant(scale).at(part.first)}, unit, {bias_at.at(part.first)}"
            self.products.add(function)
            self.need(*function.needs)

            calls.append((function.name, head, part))
        stride = f"{w.rows}, " if w.gates > 1 else ""

        def write() -> str:
            operand, result = str(x), str(out)
            if batch > 1:
                operand, result = f"{operand} + i * {columns}", f"{result} + i * {w.gates * w.rows}"
            values_at = operand if scale is None else "s->quantized"
            lines = [
                f"RT_{name}({head}, {values_at}, {stride}{columns}, {part.count}, {result}{f' + {part.first}' if part.first else ''});"
                for name, head, part in calls
            ]
            if scale is not None:
                unit = f"const float unit = RT_quantize({operand}, {columns}, {literal(float(w.limit))}, s->quantized);"
                lines = ["{", f"    {unit}", *(f"    {line}" for line in lines), "}"]
            if batch > 1:
                lines = [f"for (i = 0; i < {batch}; ++i) {{", *(f"    {line}" for line in lines), "}"]
            return "\n".join(lines)

        self.emit(write, x, out)

    def float_weights(self, values: Array) -> Weights:
        """A matrix that stays in f32 whatever the options say."""
        return Weights(values, 1, 4, "f32", 0, "")

