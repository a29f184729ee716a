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

__all__ = ["Costs", "cost_name"]


@dataclass(frozen=True)
class _Cost:
    fixed_ns: float
    column_ns: float
    #: Picoseconds of each weight, padding included.
    near_ps: float
    far_ps: float


_TABLE: dict[str, dict[str, _Cost]] = {
    "avx512vnni": {
        "f32": _Cost(15, 0.00, 35, 44),
        "f16": _Cost(25, 0.14, 25, 26),
        "bf16": _Cost(27, 0.06, 30, 30),
        "i16": _Cost(26, 0.09, 19, 22),
        "i8a14": _Cost(34, 0.16, 14, 14),
        "i8": _Cost(34, 0.16, 10, 14),
    },
    "avx512": {
        "f32": _Cost(9, 0.00, 35, 45),
        "f16": _Cost(21, 0.13, 25, 27),
        "bf16": _Cost(23, 0.04, 31, 30),
        "i16": _Cost(23, 0.07, 19, 22),
        "i8a14": _Cost(30, 0.12, 17, 17),
        "i8": _Cost(30, 0.12, 17, 17),
    },
    "avx2": {
        "f32": _Cost(17, 0.00, 38, 50),
        "f16": _Cost(29, 0.12, 29, 30),
        "bf16": _Cost(32, 0.07, 37, 36),
        "i16": _Cost(30, 0.16, 22, 23),
        "i8a14": _Cost(29, 0.28, 24, 20),
        "i8": _Cost(29, 0.28, 24, 20),
    },
}
#: Instruction sets without a line of their own: nobody has measured them.
_LIKE = {"neon": "avx2", "scalar": "avx2"}
_BYTES = {"f32": 4, "f16": 2, "bf16": 2, "i16": 2, "i8a14": 1, "i8": 1}
_LANES = 16
#: Weights of a whole network that stay in the first two cache levels.
_NEAR_BYTES = 1 << 20
#: What a step costs besides the products: the call, and each activation of a cell.
_CALL_NS = 12.0
_ACTIVATION_NS = 0.05


def cost_name(matrix: Matrix, precision: str) -> str:
    """The line of the table: i8 is two, by what it makes of the operand."""
    if precision == "i8":
        return "i8" if matrix.is_recurrent else "i8a14"
    return precision


class Costs:
    """Of one network on one instruction set."""

    def __init__(self, graph: Graph, matrices: Sequence[Matrix], isa: str) -> None:
        self.matrices = list(matrices)
        self.table = _TABLE[_LIKE.get(isa, isa)]
        self.is_near = 4 * sum(m.rows * m.cols for m in matrices) <= _NEAR_BYTES
        self.rest_ns = _CALL_NS + _ACTIVATION_NS * cell_rows(graph)

    def matrix_ns(self, matrix: Matrix, precision: str) -> float:
        """Nanoseconds of a step for the products of this matrix."""
        cost = self.table[cost_name(matrix, precision)]
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
