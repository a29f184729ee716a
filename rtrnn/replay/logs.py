"""Logs of recorded episodes: .npz and Parquet files with a row for each timestep.

Columns: one for each input of the network, by its name (or ``obs`` where there is one input), with the values of one timestep in each row;
the same for each output, with what was done (or ``action`` where there is one output). In an .npz a column is an array (T, *shape).
In a Parquet file it is a column of lists or, where it is spread over several columns of numbers, ``NAME[0]``, ``NAME[1]``, .. or
``NAME.0``, .. or ``NAME_0``, ... These may come besides:

- ``episode``: integers or text, which episode a row belongs to; without it a file is one episode;
- ``step``: numbers by which an episode's rows are ordered; without it they are in order;
- ``done``: booleans, true in the last row of an episode;
- ``reset``: booleans, true in rows before which the state was reset.

An episode lies in one file. Its name is the file's, ``#`` and its ``episode`` (0 without one); where ``done`` or ``reset`` divide it, the
second part is named ``.1``, and so on.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from rtrnn.errors import FileFormatError, MissingExtraError, UnsupportedError

__all__ = ["Episode", "Schema", "episodes_of", "find_logs", "read"]

Array = npt.NDArray[np.float32]
Shapes = Mapping[str, tuple[int, ...]]

_SUFFIXES = (".npz", ".parquet")
_INPUT_ALIASES = ("obs", "observation", "observations")
_OUTPUT_ALIASES = ("action", "actions")


@dataclass(frozen=True)
class Schema:
    """What is looked for in a log. `columns` names the column of an input or output that is called otherwise there."""

    inputs: Shapes
    outputs: Shapes
    columns: Mapping[str, str] = field(default_factory=dict)

    def names_of(self, port: str) -> tuple[str, ...]:
        """The names that the column of an input or output may have."""
        if port in self.columns:
            return (self.columns[port],)
        single = self.inputs if port in self.inputs else self.outputs
        aliases = _INPUT_ALIASES if port in self.inputs else _OUTPUT_ALIASES
        return tuple(dict.fromkeys((port, *aliases))) if len(single) == 1 else (port,)


@dataclass(frozen=True)
class Episode:
    """Where in a log an episode lies."""

    log: str
    name: str
    rows: slice | npt.NDArray[np.intp]
    steps: int

    @property
    def key(self) -> str:
        return f"{self.log}#{self.name}"


def find_logs(paths: Iterable[str | os.PathLike[str]]) -> list[str]:
    """The log files that `paths` name, and those in folders that they name, each once.

    Raises FileNotFoundError, :class:`rtrnn.FileFormatError` for a folder without any.
    """
    found: dict[str, None] = {}
    for path in (os.fspath(each) for each in paths):
        if "://" in path:
            found[path] = None
        elif os.path.isdir(path):
            inside = sorted(str(p) for p in Path(path).rglob("*") if p.suffix in _SUFFIXES)
            if not inside:
                raise FileFormatError(f"{path}: a folder without logs; expected files that end in {' or '.join(_SUFFIXES)}")
            found.update(dict.fromkeys(inside))
        else:
            os.stat(path)
            found[path] = None
    return list(found)


def episodes_of(log: str, schema: Schema) -> tuple[list[Episode], bool]:
    """The episodes of a log, in order, and whether what was done is recorded. Reads the columns that tell, no others.

    Raises :class:`rtrnn.FileFormatError`, OSError.
    """
    with _open(log) as columns:
        rows = columns.rows(next(iter(schema.inputs), None), schema)
        flags = {name: columns.plain(name, rows) for name in ("done", "reset")}
        recorded = all(columns.has(name, schema) for name in schema.outputs)
        return _divided(log, rows, columns.plain("episode", rows), columns.plain("step", rows), flags), recorded


def read(
    log: str, schema: Schema, names: Iterable[str], *, inputs: bool = True, outputs: bool = True
) -> Iterator[tuple[Episode, dict[str, Array], dict[str, Array]]]:
    """Each of the episodes that `names` name, with its inputs and recorded outputs as (T, *shape); those not asked for are left out.

    Raises :class:`rtrnn.FileFormatError`, OSError.
    """
    wanted = set(names)
    chosen = [episode for episode in episodes_of(log, schema)[0] if episode.name in wanted]
    with _open(log) as columns:
        columns.only(chosen)
        x = {name: columns.values(name, shape, schema) for name, shape in (schema.inputs if inputs else {}).items()}
        y = {name: columns.values(name, shape, schema) for name, shape in (schema.outputs if outputs else {}).items()}
        for episode in chosen:
            rows = columns.shifted(episode.rows)
            yield episode, {name: value[rows] for name, value in x.items()}, {name: value[rows] for name, value in y.items()}


def _divided(
    log: str, count: int, ids: Any, step: Any, flags: dict[str, Any]
) -> list[Episode]:
    """Rows into episodes."""
    if not count:
        return []
    code = np.zeros(count, np.intp)
    texts = ["0"]
    if ids is not None:
        known: dict[Any, int] = {}
        code = np.array([known.setdefault(value, len(known)) for value in ids.tolist()], np.intp)
        texts = [str(value) for value in known]
    order = np.lexsort((np.arange(count), code)) if step is None else np.lexsort((step, code))
    code = code[order]
    begins = np.flatnonzero(np.diff(code, prepend=-1))
    if flags["reset"] is not None:
        begins = np.union1d(begins, np.flatnonzero(flags["reset"][order].astype(bool)))
    if flags["done"] is not None:
        after = np.flatnonzero(flags["done"][order].astype(bool)) + 1
        begins = np.union1d(begins, after[after < count])
    in_place = np.array_equal(order, np.arange(count))
    episodes, parts = [], dict.fromkeys(range(len(texts)), 0)
    for begin, end in zip(begins, np.append(begins[1:], count), strict=True):
        which = int(code[begin])
        name = f"{texts[which]}.{parts[which]}" if parts[which] else texts[which]
        parts[which] += 1
        rows: Any = slice(int(begin), int(end)) if in_place else order[begin:end]
        episodes.append(Episode(log, name, rows, int(end - begin)))
    if len({episode.name for episode in episodes}) < len(episodes):
        raise FileFormatError(f"{log}: the names of episodes are not unique once 'done' or 'reset' divide them; name them otherwise")
    return episodes


class _Columns:
    """A log's columns by name."""

    def __init__(self, log: str) -> None:
        self.log = log
        self.first = 0

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None: ...

    def names(self) -> list[str]:
        raise NotImplementedError

    def only(self, episodes: list[Episode]) -> None:
        """What lies outside of these episodes need not be read."""

    def shifted(self, rows: Any) -> Any:
        """Rows of the log as rows of what :meth:`values` gives."""
        return slice(rows.start - self.first, rows.stop - self.first) if isinstance(rows, slice) else rows - self.first

    def find(self, port: str, schema: Schema) -> str | None:
        return next((name for name in schema.names_of(port) if self.parts(name)), None)

    def parts(self, name: str) -> list[str]:
        """The columns that a column is spread over: usually itself; none when there is none."""
        return [name] if name in self.names() else []

    def has(self, port: str, schema: Schema) -> bool:
        return self.find(port, schema) is not None

    def found(self, port: str, schema: Schema) -> str:
        name = self.find(port, schema)
        if name is None:
            expected = " or ".join(repr(name) for name in schema.names_of(port))
            raise FileFormatError(f"{self.log}: expected a column {expected}; found {', '.join(self.names()) or 'none'}")
        return name

    def shaped(self, values: Any, name: str, shape: tuple[int, ...]) -> Array:
        if values.dtype.kind not in "fiub":
            raise FileFormatError(f"{self.log}: column {name!r}: expected numbers, found {values.dtype}")
        if values.ndim == 0 or values.size != len(values) * prod(shape):
            expected = ("T", *shape)
            raise FileFormatError(f"{self.log}: column {name!r}: expected shape {expected}, found {values.shape}")
        return np.ascontiguousarray(values, np.float32).reshape(len(values), *shape)


class _Npz(_Columns):
    def __init__(self, log: str) -> None:
        super().__init__(log)
        self.stream = open(log, "rb")  # noqa: SIM115 - np.load leaves a damaged file open
        try:
            self.file = np.load(self.stream, allow_pickle=False)
            self.files = list(self.file.files)
        except (ValueError, EOFError, BadZipFile, AttributeError) as error:
            self.stream.close()
            raise FileFormatError(f"{log}: not an .npz file that can be read: {error}") from error

    def close(self) -> None:
        self.file.close()
        self.stream.close()

    def names(self) -> list[str]:
        return self.files

    def array(self, name: str) -> Any:
        try:
            return self.file[name]
        except (ValueError, EOFError, BadZipFile, OSError) as error:
            raise FileFormatError(f"{self.log}: column {name!r} cannot be read: {error}") from error

    def rows(self, port: str | None, schema: Schema) -> int:
        array = self.array(self.found(port, schema) if port else self.names()[0])
        return len(array) if array.ndim else 1

    def plain(self, name: str, rows: int) -> Any:
        if name not in self.files:
            return None
        values = self.array(name)
        if values.shape == () and name == "episode":  # one name for the whole file
            values = np.full(rows, values)
        if values.shape != (rows,):
            raise FileFormatError(f"{self.log}: column {name!r}: expected {rows} values, one per row, found shape {values.shape}")
        return values

    def values(self, port: str, shape: tuple[int, ...], schema: Schema) -> Array:
        name = self.found(port, schema)
        return self.shaped(self.array(name), name, shape)


class _Parquet(_Columns):
    def __init__(self, log: str) -> None:
        super().__init__(log)
        try:
            import pyarrow as arrow
            import pyarrow.parquet as parquet
        except ImportError as error:
            raise MissingExtraError("reading Parquet needs pyarrow: pip install 'rtrnn[replay]'") from error
        try:
            self.file = parquet.ParquetFile(_source(log))
        except (arrow.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno:
                raise
            raise FileFormatError(f"{log}: not a Parquet file that can be read: {' '.join(str(error).split())}") from error
        self.groups = list(range(self.file.num_row_groups))

    def close(self) -> None:
        self.file.close()

    def names(self) -> list[str]:
        return list(self.file.schema_arrow.names)

    def only(self, episodes: list[Episode]) -> None:
        """Row groups before the first and after the last row are not read."""
        ends = np.cumsum([self.file.metadata.row_group(i).num_rows for i in self.groups])
        spans = [(r.start, r.stop) if isinstance(r, slice) else (int(r.min()), int(r.max()) + 1) for r in (e.rows for e in episodes)]
        if not spans:
            self.groups = []
            return
        low, high = min(begin for begin, _ in spans), max(end for _, end in spans)
        self.groups = [i for i, end in enumerate(ends) if end > low and (i == 0 or ends[i - 1] < high)]
        self.first = int(ends[self.groups[0] - 1]) if self.groups and self.groups[0] else 0

    def parts(self, name: str) -> list[str]:
        names = set(self.names())
        if name in names:
            return [name]
        for form in ("{}[{}]", "{}.{}", "{}_{}"):
            spread: list[str] = []
            while form.format(name, len(spread)) in names:
                spread.append(form.format(name, len(spread)))
            if spread:
                return spread
        return []

    def rows(self, port: str | None, schema: Schema) -> int:
        if port:
            self.found(port, schema)
        return int(self.file.metadata.num_rows)

    def plain(self, name: str, rows: int) -> Any:
        return self.column(name) if name in self.names() else None

    def column(self, name: str) -> Any:
        """A column as an array (T) or, of lists of equal length, (T, n)."""
        import pyarrow as arrow

        column = self.file.read_row_groups(self.groups, columns=[name]).column(0).combine_chunks()
        if isinstance(column, arrow.ChunkedArray):
            column = arrow.concat_arrays(column.chunks) if column.num_chunks else arrow.array([], column.type)
        count = len(column)
        if column.null_count:
            raise FileFormatError(f"{self.log}: column {name!r}: {column.null_count} of {count} values are missing")
        if isinstance(column, arrow.ExtensionArray):
            column = column.storage
        while arrow.types.is_list(column.type) or arrow.types.is_large_list(column.type) or arrow.types.is_fixed_size_list(column.type):
            if not arrow.types.is_fixed_size_list(column.type):
                lengths = np.diff(column.offsets.to_numpy())
                if len(lengths) and lengths.min() != lengths.max():
                    found = f"lists of {lengths.min()} to {lengths.max()} values"
                    raise FileFormatError(f"{self.log}: column {name!r}: {found}; expected equal lengths")
            column = column.flatten()
            if column.null_count:
                raise FileFormatError(f"{self.log}: column {name!r}: {column.null_count} values in its lists are missing")
        values = column.to_numpy(zero_copy_only=False)
        return values if len(values) == count else values.reshape(count, -1)

    def values(self, port: str, shape: tuple[int, ...], schema: Schema) -> Array:
        name = self.found(port, schema)
        parts = self.parts(name)
        columns = [self.column(part) for part in parts]
        return self.shaped(columns[0] if len(parts) == 1 else np.stack(columns, 1), name, shape)


def _source(log: str) -> Any:
    if "://" not in log:
        return log
    from pyarrow import fs

    system, path = fs.FileSystem.from_uri(log)
    return system.open_input_file(path)


def _open(log: str) -> Any:
    suffix = os.path.splitext(log)[1]
    if suffix == ".npz":
        return _Npz(log)
    if suffix == ".parquet":
        return _Parquet(log)
    raise UnsupportedError(f"{log}: expected a name that ends in {' or '.join(_SUFFIXES)}")
