"""JSON files that nobody has checked: their content, numbers and arrays, each failure one message that says where."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from rtrnn.errors import FileFormatError, GraphError, StateError, UnsupportedError

__all__ = ["Reader", "located", "metadata_text", "sample_rate_text", "shape_text", "shown"]

_MAX_SIZE = 1 << 20
#: Keys under which rtrnn keeps what it says of an import itself.
_OWN_KEYS = ("source.", "import.", "rtrnn.")


class Reader:
    """One object of a JSON file. `where` begins each message: the file, the format, the layer."""

    def __init__(self, content: Any, where: str) -> None:
        self.where = where
        if not isinstance(content, dict):
            raise self.error(f"expected an object; found {_kind(content)}")
        self.content: dict[str, Any] = content

    @classmethod
    def open(cls, path: Path, title: str) -> Reader:
        from rtrnn.formats import Probe

        return cls(Probe(path).document, f"{path}: {title}")

    def error(self, text: str) -> FileFormatError:
        return FileFormatError(f"{self.where}: {text}")

    def at(self, content: Any, where: str) -> Reader:
        """An object within this one."""
        return Reader(content, f"{self.where}: {where}")

    def get(self, key: str) -> Any:
        if key not in self.content:
            raise self.error(f"the key {key!r} is missing; found {_listed(self.content)}")
        return self.content[key]

    def text(self, key: str, default: str | None = None) -> str:
        value = self.get(key) if default is None else self.content.get(key, default)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            raise self.error(f"{key!r}: expected a string; found {_kind(value)}")
        return value

    def items(self, key: str) -> list[Any]:
        value = self.get(key)
        if not isinstance(value, list):
            raise self.error(f"{key!r}: expected a list; found {_kind(value)}")
        return value

    def size(self, key: str, default: int | None = None, least: int = 1) -> int:
        """An integer from `least` to 2^20; of a list, as Keras writes the sizes of axes, the last element."""
        value = self.get(key) if default is None else self.content.get(key, default)
        value = value[-1] if isinstance(value, list) and value else value
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _MAX_SIZE:
            raise self.error(f"{key!r}: expected an integer from {least} to {_MAX_SIZE}; found {shown(value)}")
        return value

    def flag(self, key: str, default: bool | None = None) -> bool:
        value = self.get(key) if default is None else self.content.get(key, default)
        if value not in (0, 1) or isinstance(value, float):
            raise self.error(f"{key!r}: expected true or false; found {shown(value)}")
        return bool(value)

    def number(self, key: str) -> float:
        value = self.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not _is_float32(value):
            raise self.error(f"{key!r}: expected a finite number; found {shown(value)}")
        return float(value)

    def array(self, value: Any, role: str, shape: Sequence[int | None] | None = None) -> np.ndarray:
        """Nested lists of finite numbers as a float64 array; None in `shape` stands for any size."""
        try:
            found = np.array(value)
        except (ValueError, OverflowError, RecursionError):
            raise self.error(f"{role}: expected numbers in lists of equal length; found lists that differ") from None
        if found.size == 0:
            raise self.error(f"{role}: expected numbers; found none, in a list of shape {found.shape}")
        if found.dtype.kind not in "iuf":
            raise self.error(f"{role}: expected numbers in lists of equal length; found something else among them")
        array = found.astype(np.float64)
        with np.errstate(over="ignore"):
            finite = np.isfinite(array.astype(np.float32))
        if not finite.all():
            at = tuple(int(i) for i in np.argwhere(~finite)[0])
            raise self.error(f"{role}: element {at} is {array[at]}; expected a finite float32 number")
        if shape is not None:
            fits = array.ndim == len(shape) and all(w in (None, f) for w, f in zip(shape, array.shape, strict=True))
            if not fits:
                raise self.error(f"{role} has shape {array.shape}; expected {shape_text(shape)}")
        return array


def shape_text(shape: Sequence[int | None]) -> str:
    """A shape in a message; None is any size."""
    inside = ", ".join("any" if d is None else str(d) for d in shape)
    return f"({inside},)" if len(shape) == 1 else f"({inside})"


@contextmanager
def located(where: str) -> Iterator[None]:
    """Puts `where` in front of the messages of errors that do not say it yet."""
    try:
        yield
    except (FileFormatError, GraphError, StateError, UnsupportedError) as error:
        if str(error).startswith(where.split(":", 1)[0]):
            raise
        raise type(error)(f"{where}: {error}") from None
    except MemoryError:
        raise UnsupportedError(f"{where}: the memory does not suffice for the sizes that the file states") from None


def metadata_text(content: Any, skip: Sequence[str] = ()) -> dict[str, str]:
    """A JSON object as the metadata of a Graph: text as it is, everything else as JSON; nothing for null."""
    if not isinstance(content, Mapping):
        return {}
    found: dict[str, str] = {}
    for key, value in content.items():
        if value is None or key in skip or not key or key.startswith(_OWN_KEYS):
            continue
        try:
            text = value if isinstance(value, str) else json.dumps(value)
        except RecursionError:
            continue
        # JSON may hold halves of surrogate pairs, which no UTF-8 text can.
        found[key.encode("utf-8", "replace").decode()] = text.encode("utf-8", "replace").decode()
    return found


def sample_rate_text(*values: Any) -> dict[str, str]:
    """The metadata entry "sample_rate", in hertz, from the first value that is a positive number or the text of one."""
    for value in values:
        try:
            rate = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else math.nan
        except (ValueError, OverflowError):
            continue
        if math.isfinite(rate) and rate > 0:
            return {"sample_rate": str(int(rate)) if rate == int(rate) else repr(rate)}
    return {}


def _is_float32(value: float) -> bool:
    return abs(value) <= float(np.finfo(np.float32).max)  # false for NaN


def _kind(value: Any) -> str:
    kinds = {
        dict: "an object",
        list: "a list",
        str: "a string",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return "null" if value is None else kinds.get(type(value), type(value).__name__)


def shown(value: Any) -> str:
    """A value in a message: flat lists and numbers as they are, everything else by its kind."""
    flat = isinstance(value, list) and len(value) <= 8 and not any(isinstance(v, (list, dict, str)) for v in value)
    text = repr(value) if flat or isinstance(value, (int, float, str)) else _kind(value)
    return text if len(text) <= 60 else _kind(value)


def _listed(content: Mapping[str, Any]) -> str:
    names = list(content)
    return (", ".join(repr(name[:40]) for name in names[:12]) + (", .." if len(names) > 12 else "")) or "no keys"
