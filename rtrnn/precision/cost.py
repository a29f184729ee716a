"""What a step costs, by a table: choices must not depend on how busy the machine was when they were made.

Measured with ``tools/bench/weight_costs.py``, which prints the table anew for the machine that it runs on. A product with a matrix of a
precision costs what is fixed, what each column costs (turning the operand into integers), and what the weights cost, near (in the first two
cache levels) or far (beyond). Rows are padded to whole vectors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rtrnn.precision.matrices import Matrix, cell_rows

if TYPE_CHECKING:
    from rtrnn._core import Graph

__all__ = ["Costs"]


@dataclass(frozen=True)
class _Cost:
    fixed_ns: float
    column_ns: float
    #: Picoseconds of each weight, padding included.
    near_ps: float
    far_ps: float


_TABLE: dict[str, dict[str, _Cost]] = {
    "avx512vnni": {
        "f32": _Cost(11, 0.00, 35, 48),
        "f16": _Cost(24, 0.12, 25, 27),
        "bf16": _Cost(26, 0.04, 31, 29),
        "i16": _Cost(22, 0.15, 19, 23),
        "i8": _Cost(29, 0.20, 13, 14),
    },
    "avx512": {
        "f32": _Cost(16, 0.00, 40, 55),
        "f16": _Cost(31, 0.06, 34, 39),
        "bf16": _Cost(34, 0.04, 36, 40),
        "i16": _Cost(33, 0.12, 23, 28),
        "i8": _Cost(41, 0.16, 20, 19),
    },
    "avx2": {
        "f32": _Cost(10, 0.00, 46, 64),
        "f16": _Cost(22, 0.08, 39, 40),
        "bf16": _Cost(22, 0.13, 47, 48),
        "i16": _Cost(27, 0.28, 28, 31),
        "i8": _Cost(26, 0.36, 30, 28),
    },
}
#: Instruction sets without a line of their own: nobody has measured them.
_LIKE = {"neon": "avx2", "scalar": "avx2"}
_BYTES = {"f32": 4, "f16": 2, "bf16": 2, "i16": 2, "i8": 1}
_LANES = 16
#: Weights of a whole network that stay in the first two cache levels.
_NEAR_BYTES = 1 << 20
#: What a step costs besides the products: the call, and each activation of a cell.
_CALL_NS = 15.0
_ACTIVATION_NS = 0.1


class Costs:
    """Of one network on one instruction set."""

    def __init__(self, graph: Graph, matrices: Sequence[Matrix], isa: str) -> None:
        self.matrices = list(matrices)
        self.table = _TABLE[_LIKE.get(isa, isa)]
        self.is_near = 4 * sum(m.rows * m.cols for m in matrices) <= _NEAR_BYTES
        self.rest_ns = _CALL_NS + _ACTIVATION_NS * cell_rows(graph)

    def matrix_ns(self, matrix: Matrix, precision: str) -> float:
        """Nanoseconds of a step for the products of this matrix."""
        cost = self.table[precision]
        weight_ps = cost.near_ps if self.is_near else cost.far_ps
        one = cost.fixed_ns + cost.column_ns * matrix.cols + weight_ps * self.padded(matrix) / 1000
        return matrix.products * one

    @staticmethod
    def padded(matrix: Matrix) -> int:
        """Weights with those that fill up the last vector."""
        return -(-matrix.rows // _LANES) * _LANES * matrix.cols

    def step_ns(self, precisions: Mapping[str, str]) -> float:
        """Of a whole step, with a precision for the name of each matrix."""
        return self.rest_ns + sum(self.matrix_ns(m, precisions[m.name]) for m in self.matrices)

    def bytes(self, matrix: Matrix, precision: str) -> int:
        """Memory of the weights."""
        return matrix.rows * matrix.cols * _BYTES[precision]
