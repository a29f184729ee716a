"""Rows of numbers from CSV, .npy and .npz files and from pipes, and back."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from rtrnn.cli.common import UserError

__all__ = ["column_names", "format_row", "parse_rows", "read_array", "read_inputs", "standard_input", "text_of", "write_arrays"]

Array = npt.NDArray[np.float32]
Shapes = dict[str, tuple[int, ...]]


def parse_rows(lines: Iterable[str], width: int, source: str) -> Iterator[Array]:
    """The rows of comma-separated lines, as they come; a first line that is not numbers is a header."""
    for number, line in enumerate(text_of(lines, source), 1):
        text = line.strip()
        if not text:
            continue
        cells = text.split(",")
        try:
            row = np.array([float(cell) for cell in cells], np.float32)
        except ValueError:
            if number == 1:
                continue
            bad = next(cell for cell in cells if not _is_number(cell))
            raise UserError(f"{source}, line {number}: expected numbers, found {bad.strip()!r}") from None
        if len(row) != width:
            raise UserError(f"{source}, line {number}: expected {width} numbers, found {len(row)}")
        yield row


def text_of(lines: Iterable[str], source: str) -> Iterator[str]:
    """The lines as they come; a UserError where they are no text."""
    try:
        yield from lines
    except UnicodeDecodeError:
        raise UserError(f"{source}: expected text with comma-separated numbers, found binary data") from None


def standard_input() -> TextIO:
    """Standard input as UTF-8 in every locale: the C locale would let binary data pass as text."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="strict")
    return sys.stdin


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def read_inputs(given: Sequence[str], shapes: Shapes, option: str = "--input") -> dict[str, Array]:
    """Every input as (T, *shape), from ``file`` (one input, or a .npz with all names) or ``name=file`` for each."""
    if len(given) == 1 and Path(given[0]).suffix == ".npz":
        return _check_names(_read_npz(given[0]), shapes, given[0])
    paths: dict[str, str] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if equals and name in shapes:
            paths[name] = path
        elif len(shapes) == 1 and len(given) == 1:
            paths[next(iter(shapes))] = text
        else:
            raise UserError(f"{option} {text}: expected NAME=FILE, where NAME is one of {', '.join(shapes)}")
    missing = [name for name in shapes if name not in paths]
    if missing:
        raise UserError(f"{option}: no file is given for {', '.join(missing)}")
    arrays = {name: read_array(paths[name], name, shapes[name]) for name in shapes}
    return _same_length(arrays)


def _check_names(arrays: dict[str, Any], shapes: Shapes, source: str) -> dict[str, Array]:
    if len(shapes) == 1 and len(arrays) == 1:
        arrays = dict(zip(shapes, arrays.values(), strict=True))
    missing = [name for name in shapes if name not in arrays]
    if missing:
        raise UserError(f"{source}: expected arrays named {', '.join(shapes)}; found {', '.join(arrays) or 'none'}")
    return _same_length({name: _shaped(arrays[name], name, shape, source) for name, shape in shapes.items()})


def _same_length(arrays: dict[str, Array]) -> dict[str, Array]:
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise UserError(f"the inputs differ in their number of rows: {found}")
    return arrays


def read_array(path: str, name: str, shape: tuple[int, ...]) -> Array:
    """One input as (T, *shape); ``-`` is standard input."""
    if path == "-":
        rows = list(parse_rows(standard_input(), prod(shape), "standard input"))
        return _stacked(rows, shape)
    if Path(path).suffix == ".npz":
        arrays = _read_npz(path)
        if name not in arrays:
            raise UserError(f"{path}: expected an array named {name}; found {', '.join(arrays) or 'none'}")
        return _shaped(arrays[name], name, shape, path)
    if Path(path).suffix == ".npy":
        try:
            array = np.load(path, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise UserError(f"{path}: not a .npy file that can be read: {error}") from error
        return _shaped(array, name, shape, path)
    with open(path, encoding="utf-8-sig") as file:
        return _stacked(list(parse_rows(file, prod(shape), path)), shape)


def _read_npz(path: str) -> dict[str, Any]:
    from zipfile import BadZipFile

    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, EOFError, BadZipFile, AttributeError) as error:
        raise UserError(f"{path}: not a .npz file that can be read: {error}") from error


def _stacked(rows: list[Array], shape: tuple[int, ...]) -> Array:
    return np.stack(rows).reshape(len(rows), *shape) if rows else np.empty((0, *shape), np.float32)


def _shaped(array: Any, name: str, shape: tuple[int, ...], source: str) -> Array:
    if array.dtype.kind not in "fiub":
        raise UserError(f"{source}: input {name!r}: expected numbers, found dtype {array.dtype}")
    if array.ndim == 0 or array.size != len(array) * prod(shape):
        expected = "(T, " + ", ".join(map(str, shape)) + ")"
        raise UserError(f"{source}: input {name!r}: expected shape {expected}, found {array.shape}")
    return np.ascontiguousarray(array, np.float32).reshape(len(array), *shape)


def column_names(shapes: Shapes) -> list[str]:
    """``action[0]``, ``action[1]``, ...; the bare name for an output of one element."""
    return [name if prod(shape) == 1 else f"{name}[{i}]" for name, shape in shapes.items() for i in range(prod(shape))]


def format_row(values: Iterable[Any], separator: str = ",") -> str:
    """One line, in the fewest digits that give the same float32 again."""
    return separator.join(str(v) for value in values for v in np.ravel(value))


def write_arrays(path: str, arrays: dict[str, Array], header: bool) -> None:
    """Writes (T, *shape) arrays to .npy (one only), .npz, or CSV with all of them side by side."""
    suffix = Path(path).suffix
    if suffix == ".npz":
        with open(path, "wb") as binary:
            np.savez(binary, **arrays)  # type: ignore[arg-type]
        return
    if suffix == ".npy":
        if len(arrays) > 1:
            raise UserError(f"{path}: one .npy cannot hold the outputs {', '.join(arrays)}; use .npz or CSV")
        with open(path, "wb") as binary:
            np.save(binary, next(iter(arrays.values())))
        return
    if path == "-":
        _write_csv(sys.stdout, arrays, header)
        return
    with open(path, "w", encoding="utf-8") as text:
        _write_csv(text, arrays, header)


def _write_csv(file: TextIO, arrays: dict[str, Array], header: bool) -> None:
    if header:
        file.write(",".join(column_names({name: a.shape[1:] for name, a in arrays.items()})) + "\n")
    for row in zip(*arrays.values(), strict=True):
        file.write(format_row(row) + "\n")
