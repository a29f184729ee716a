"""HDF5 files that nobody has checked, read-only: groups, attributes, numeric datasets.

They are read with pyfive, which is Python throughout: a damaged file raises, where libhdf5 may crash or hang the process.
Its reads go through :class:`_Metered`, so that a file whose index points back into itself ends in an error; sizes are checked
before anything is allocated.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rtrnn.errors import Error, FileFormatError, MissingExtraError

__all__ = ["Hdf5Dataset", "Hdf5Group", "open_hdf5", "root_of"]

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MAX_FILE = 4 << 30
#: What one dataset may unpack to: this much, or this many times the file's size. Weights hardly compress.
_MAX_UNPACKED = 64 << 20
_MAX_RATIO = 20
#: The address that says: never written (HDF5 File Format Specification, "undefined address").
_UNDEFINED = (1 << 64) - 1


class _Metered(io.BytesIO):
    """A file in memory that may be read a number of times in proportion to its size, and no more."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._reads = 100_000 + len(data) // 16
        self._bytes = 64 * len(data) + (64 << 20)

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self._reads -= 1
        self._bytes -= len(data)
        if self._reads < 0 or self._bytes < 0:
            raise ValueError("the same parts are pointed to over and over")
        return data


class _Node:
    def __init__(self, node: Any, name: str, source: str, size: int) -> None:
        self._node, self._source, self._size = node, source, size
        #: The full path in the file, ``"/actor/layers/0"``.
        self.name = name

    @cached_property
    def attributes(self) -> Mapping[str, Any]:
        """The attributes: text as str, arrays of text as lists of str, scalars as numbers, else arrays; None for empty."""
        with _clean(self._source, f"the attributes of {self.name!r}"):
            return {str(key): _plain(value) for key, value in self._node.attrs.items()}

    def text(self, key: str) -> str:
        """An attribute that must be text. Raises :class:`FileFormatError`."""
        found = self.attributes.get(key)
        if not isinstance(found, str):
            what = "none" if found is None else f"one of type {type(found).__name__}"
            raise FileFormatError(f"{self._source}: {self.name!r}: expected a text attribute {key!r}; found {what}")
        return found


class Hdf5Group(_Node):
    """A group; `in` and `[]` take names and paths (``"layers/0"``). All failures are :class:`FileFormatError`."""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What the group holds, in the file's order."""
        with _clean(self._source, f"the group {self.name!r}"):
            return tuple(str(name) for name in self._node)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, path: object) -> bool:
        parts = [part for part in str(path).split("/") if part]
        group: Hdf5Group = self
        for depth, part in enumerate(parts):
            if part not in group.names:
                return False
            if depth < len(parts) - 1:
                child = group[part]
                if not isinstance(child, Hdf5Group):
                    return False
                group = child
        return True

    def __getitem__(self, path: str) -> Hdf5Group | Hdf5Dataset:
        node: Hdf5Group | Hdf5Dataset = self
        for part in [part for part in path.split("/") if part]:
            if not isinstance(node, Hdf5Group) or part not in node.names:
                held = ", ".join(node.names[:12]) or "nothing" if isinstance(node, Hdf5Group) else "a dataset"
                raise FileFormatError(f"{self._source}: {node.name!r} has no entry {part!r}; it holds {held}")
            node = node._child(part)
        return node

    def _child(self, name: str) -> Hdf5Group | Hdf5Dataset:
        path = f"{self.name.rstrip('/')}/{name}"
        with _clean(self._source, repr(path)):
            # A literal name: a "." or ".." in it would be taken for a step between groups.
            found = None if name in (".", "..") else self._node[name]
            if isinstance(found, _library().Group):
                return Hdf5Group(found, path, self._source, self._size)
            if isinstance(found, _library().Dataset):
                return Hdf5Dataset(found, path, self._source, self._size)
            raise ValueError("it is neither a group nor a dataset")

    def group(self, path: str) -> Hdf5Group:
        found = self[path]
        if not isinstance(found, Hdf5Group):
            raise FileFormatError(f"{self._source}: {found.name!r} is a dataset; expected a group")
        return found

    def dataset(self, path: str) -> Hdf5Dataset:
        found = self[path]
        if not isinstance(found, Hdf5Dataset):
            raise FileFormatError(f"{self._source}: {found.name!r} is a group; expected a dataset")
        return found


class Hdf5Dataset(_Node):
    """A dataset; nothing of it is read before :meth:`read`."""

    @cached_property
    def shape(self) -> tuple[int, ...]:
        with _clean(self._source, f"the shape of {self.name!r}"):
            return tuple(int(d) for d in self._node.shape)

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        with _clean(self._source, f"the type of {self.name!r}"):
            dtype: np.dtype[Any] = np.dtype(self._node.dtype)
            return dtype

    def read(self) -> np.ndarray:
        """All of it, as a NumPy array in this machine's byte order; only numbers, within the bounds of this module."""
        # Keras writes bfloat16, which HDF5 has not, as opaque elements and says so beside them.
        brain = self.dtype.kind == "V" and self.dtype.itemsize == 2 and self.attributes.get("dtype") == "bfloat16"
        if self.dtype.kind not in "fiub" and not brain:
            raise FileFormatError(f"{self._source}: {self.name!r} has the type {self.dtype}; expected numbers")
        size = math.prod(self.shape) * self.dtype.itemsize
        allowed = min(max(_MAX_UNPACKED, _MAX_RATIO * self._size), _MAX_FILE)
        if size > allowed:
            raise FileFormatError(
                f"{self._source}: {self.name!r} claims the shape {self.shape}, {size} bytes; expected at most {allowed} in a "
                f"file of {self._size} bytes"
            )
        with _clean(self._source, f"the data of {self.name!r}"):
            self._check_storage(size)
            array = np.asarray(self._node[()])
            if array.shape != self.shape:
                raise ValueError(f"shape {array.shape} in place of {self.shape}")
            array = np.ascontiguousarray(array, self.dtype.newbyteorder("=")).reshape(self.shape)
            return (array.view("<u2").astype(np.uint32) << 16).view(np.float32) if brain else array

    def _check_storage(self, size: int) -> None:
        """Raises ValueError for data that are not in the file: the library would give zeros for them."""
        storage = self._node.id
        if storage.layout_class == 1:
            if size and storage.data_offset == _UNDEFINED:
                raise ValueError("it was never written, or lies in another file")
            if size and storage.data_offset + size > self._size:
                raise ValueError(f"{size} bytes at {storage.data_offset} end beyond the file's {self._size} bytes")
            storage.set_pseudo_chunk_size(0)  # one read of exactly these bytes
        elif storage.layout_class == 2:
            chunks = self._node.chunks
            count = math.prod(-(-d // max(int(c), 1)) for d, c in zip(self.shape, chunks, strict=True))
            if count > self._size:
                raise ValueError(f"{count} chunks of shape {tuple(chunks)} in a file of {self._size} bytes")
            if size and storage.get_num_chunks() != count:
                raise ValueError(f"{storage.get_num_chunks()} chunks in place of {count}")


def open_hdf5(source: Path | bytes, name: str = "") -> Hdf5Group:
    """The root group of the HDF5 file at a path, or of one in memory, called `name` in messages.

    Raises OSError where the file cannot be read, :class:`FileFormatError` where it is damaged or uses what is not supported,
    :class:`MissingExtraError` without the package pyfive.
    """
    name = name or (str(source) if isinstance(source, Path) else "HDF5 data")
    library = _library()
    size = source.stat().st_size if isinstance(source, Path) else len(source)
    if size > _MAX_FILE:
        raise FileFormatError(f"{name}: an HDF5 file of {size} bytes; expected at most {_MAX_FILE}")
    data = source.read_bytes() if isinstance(source, Path) else bytes(source)
    if not data.startswith(_SIGNATURE):
        raise FileFormatError(f"{name}: not an HDF5 file; expected it to begin with {_SIGNATURE!r}")
    with _clean(name, "the file"):
        return Hdf5Group(library.File(_Metered(data)), "/", name, len(data))


def root_of(path: Path) -> Mapping[str, Any]:
    """What tells an HDF5 file's kind: its root's attributes, and the names in the root, those of groups with a slash behind."""
    root = open_hdf5(path)
    kinds: dict[str, Any] = {}
    for name in root.names:
        kinds[f"{name}/" if isinstance(root[name], Hdf5Group) else name] = None
    return {**kinds, **root.attributes}


def _library() -> Any:
    try:
        import pyfive
    except ImportError:
        raise MissingExtraError("reading HDF5 files needs the package pyfive: pip install 'rtrnn[hdf5]'") from None
    return pyfive


class _clean:
    """Turns whatever the library raises on a damaged file into a :class:`FileFormatError`; its warnings are errors."""

    def __init__(self, source: str, what: str) -> None:
        self.source, self.what = source, what
        self._warnings = warnings.catch_warnings()

    def __enter__(self) -> None:
        self._warnings.__enter__()
        warnings.simplefilter("error")

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        self._warnings.__exit__(kind, error, traceback)
        if isinstance(error, Exception) and not isinstance(error, Error):
            detail = str(error) or type(error).__name__
            raise FileFormatError(
                f"{self.source}: {self.what} cannot be read as HDF5 ({detail}); the file is damaged or uses a feature "
                "of HDF5 that is not supported"
            ) from None


def _plain(value: Any) -> Any:
    """An attribute's value without the library's own types."""
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "SUO":
            return np.vectorize(_plain, otypes=[object])(value).tolist() if value.size else []
        return value.item() if value.ndim == 0 else value
    if isinstance(value, np.generic):
        return _plain(value.item())
    return value if isinstance(value, (str, int, float, bool)) else None
