"""Weights in the order in which generated code reads them, and as integers (cpp/README.md, "Fewer bits")."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rtrnn.errors import UnsupportedError

__all__ = ["OPERAND_LIMIT", "STATE_LIMIT", "Tiles", "integer_rows", "tiled", "tiles_of"]

Array = npt.NDArray[np.float32]

#: Quantised operands lie in [-8191, 8191]; those of a recurrent matrix in i8 in [-127, 127].
OPERAND_LIMIT, STATE_LIMIT = 8191, 127
_LARGEST = {"i16": 32767, "i8": 127}
_MAX_COLUMNS = 0x7FFFFFFF // OPERAND_LIMIT // 2


@dataclass(frozen=True)
class Tiles:
    """Consecutive rows that are computed together: `count` rows from `first` on, `width` at a time."""

    first: int
    count: int
    width: int


def tiles_of(rows: int, width: int) -> list[Tiles]:
    """Whole tiles of `width` rows, then what is left as one tile of the next power of two."""
    whole = rows // width * width
    parts = [Tiles(0, whole, width)] if whole else []
    if whole < rows:
        parts.append(Tiles(whole, rows - whole, 1 << (rows - whole - 1).bit_length()))
    return parts


def tiled(weight: npt.NDArray[np.generic], gates: int, part: Tiles) -> npt.NDArray[np.generic]:
    """The rows of `part` of a (gates * rows, columns) matrix as [tile][column][gate][row], missing rows zero; flat."""
    columns = weight.shape[1]
    cube = weight.reshape(gates, -1, columns)[:, part.first : part.first + part.count]
    count = -(-part.count // part.width)
    padded = np.zeros((gates, count * part.width, columns), weight.dtype)
    padded[:, : part.count] = cube
    flat: npt.NDArray[np.generic] = padded.reshape(gates, count, part.width, columns).transpose(1, 3, 0, 2).reshape(-1)
    return flat


def integer_rows(weight: Array, precision: str, limit: int, label: str) -> tuple[npt.NDArray[np.int16], Array]:
    """Each row as integers times a scale of its own, for operands in [-limit, limit]: the matrix and the scales.

    Raises :class:`rtrnn.UnsupportedError` for rows that are too long to leave room for their sums in 32 bits.
    """
    columns = weight.shape[1]
    if columns > _MAX_COLUMNS:
        raise UnsupportedError(f"{label}: rows of {columns} weights; {precision} takes at most {_MAX_COLUMNS}")
    magnitude = np.abs(weight.astype(np.float64))
    largest = magnitude.max(1)
    total = np.add.accumulate(magnitude, 1)[:, -1]  # one after the other, as the engine adds
    room = 0x7FFFFFFF // limit - 0.5 * columns - 1
    scale = np.maximum(largest / _LARGEST[precision], total / room).astype(np.float32)
    scale = np.where(largest == 0, np.float32(0), np.maximum(scale, np.finfo(np.float32).tiny)).astype(np.float32)
    divisor = np.where(scale == 0, 1, scale).astype(np.float64)[:, None]
    integers = np.rint(weight.astype(np.float64) / divisor).astype(np.int16)
    return integers, scale
