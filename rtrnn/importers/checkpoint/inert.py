"""Reading a pickle without running it: NumPy arrays and plain containers, every other object as a record of its state."""

from __future__ import annotations

import collections
import io
import pickle
import pickletools
from typing import Any

import numpy as np

__all__ = ["Record", "load_inert"]

_KINDS = "fiub"
_MAX_DIMENSIONS = 32


class Record:
    """Stands for an object of a class that is not known; `state` is what the file says of it, nothing is called."""

    path = "?"

    def __new__(cls, *_arguments: Any, **_keywords: Any) -> Any:
        return super().__new__(cls)

    def __init__(self, *arguments: Any, **_keywords: Any) -> None:
        self.arguments = arguments
        self.state: dict[Any, Any] = {}

    def __call__(self, *arguments: Any, **_keywords: Any) -> Any:
        return Record(*arguments)

    def __setstate__(self, state: Any) -> None:
        # An object with slots pickles a pair (dict, slots).
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                self._known().update(part)

    def _known(self) -> dict[Any, Any]:
        if "state" not in self.__dict__:
            self.__dict__["state"] = {}
        known: dict[Any, Any] = self.__dict__["state"]
        return known

    # What a pickle does with instances of classes made from dict and list.
    def __setitem__(self, key: Any, value: Any) -> None:
        self._known()[key] = value

    def append(self, value: Any) -> None:
        pass

    def extend(self, values: Any) -> None:
        pass

    def get(self, name: str, default: Any = None) -> Any:
        return self._known().get(name, default)


class _Type:
    """A NumPy dtype: its code, and its byte order once the state is known."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code, self.order = str(code), "="

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "=", "|"):
            self.order = state[1]

    def numpy(self) -> np.dtype[Any]:
        dtype = np.dtype(self.code)
        if dtype.kind not in _KINDS:
            raise pickle.UnpicklingError(f"an array of {dtype}; expected numbers")
        return dtype.newbyteorder(">") if self.order == ">" else dtype


class _Array:
    """A NumPy array; `value` once its state is known, None for an array of other things than numbers."""

    def __init__(self, *_: Any) -> None:
        self.value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        if isinstance(dtype, _Type) and isinstance(data, (bytes, str)):
            raw = data.encode("latin1") if isinstance(data, str) else data
            self.value = _array(raw, dtype, shape, "F" if fortran else "C")


def _array(data: Any, dtype: _Type, shape: Any, order: str) -> np.ndarray:
    shape = tuple(int(d) for d in shape) if isinstance(shape, tuple) else (int(shape),)
    if len(shape) > _MAX_DIMENSIONS or min(shape, default=0) < 0:
        raise pickle.UnpicklingError(f"an array of shape {shape}")
    array: np.ndarray = np.frombuffer(bytes(data), dtype.numpy()).reshape(shape, order="F" if order == "F" else "C").copy()
    return array


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any = "C", *_: Any) -> Any:
    result = _Array()
    if isinstance(dtype, _Type) and isinstance(data, (bytes, bytearray)):
        result.value = _array(data, dtype, shape, str(order))
    return result


def _scalar(dtype: Any, data: Any = b"", *_: Any) -> Any:
    if isinstance(dtype, _Type) and isinstance(data, bytes):
        return np.frombuffer(data, dtype.numpy(), 1)[0].item()
    return Record()


def _encode(text: Any, encoding: Any = "latin1", *_: Any) -> bytes:
    """How pickles of protocol 0 to 2 keep bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


def _bytearray(data: Any = b"", *encoding: Any) -> bytearray:
    """Of bytes that stand in the pickle; a number would ask for as many zeros."""
    return bytearray(_encode(data, "latin1") if isinstance(data, str) else bytes(memoryview(data)))


_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _Type,
    ("numpy", "ndarray"): Record,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("builtins", "bytearray"): _bytearray,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
}
for _core in ("numpy.core", "numpy._core"):
    _KNOWN[_core + ".multiarray", "_reconstruct"] = _Array
    _KNOWN[_core + ".multiarray", "scalar"] = _scalar
    _KNOWN[_core + ".numeric", "_frombuffer"] = _from_buffer


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        known = _KNOWN.get((module, name))
        return known if known is not None else type("Record", (Record,), {"path": f"{module}.{name}"})

    def persistent_load(self, pid: Any) -> Any:
        return Record(pid)

    def get_extension(self, code: int) -> Any:
        raise pickle.UnpicklingError(f"extension {code}")


def load_inert(data: bytes) -> Any:
    """The pickled object; arrays are :class:`numpy.ndarray`, unknown objects :class:`Record`.

    Raises :class:`pickle.UnpicklingError` for bytes that are no such pickle.
    """
    try:
        _check_memo(data)
        return _plain(_Unpickler(io.BytesIO(data)).load())
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # an unpickler fed with bytes that make no sense raises nearly anything
        raise pickle.UnpicklingError(f"{type(error).__name__}: {error}") from None


def _check_memo(data: bytes) -> None:
    """The unpickler makes its memo as long as the largest index that is written to, so ten bytes can ask for all memory."""
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and isinstance(argument, int) and argument > len(data):
            raise pickle.UnpicklingError(f"memo index {argument} in {len(data)} bytes")


def _plain(root: Any) -> Any:
    """Arrays in place of their stand-ins, wherever they hang; each record is visited once."""
    seen: set[int] = set()
    result = root.value if isinstance(root, _Array) else root
    pending = [result]
    while pending:
        at = pending.pop()
        if id(at) in seen or not isinstance(at, (Record, dict)):
            continue
        seen.add(id(at))
        table = at._known() if isinstance(at, Record) else at
        for key, value in list(table.items()):
            table[key] = value = value.value if isinstance(value, _Array) else value
            pending.append(value)
    return result
