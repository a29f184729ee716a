"""What is checked of a TorchScript archive before torch's C++ reader gets it.

That reader trusts the archive: it takes a tensor's sizes from one entry and its bytes from another, whose length it
does not compare, parses code by recursion without a bound, and runs the ``__setstate__`` of modules while loading. An
archive that holds together in these respects is one that torch reads without harm; any other is refused here.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
from pathlib import Path
from typing import Any

from rtrnn.errors import FileFormatError, UnsupportedError
from rtrnn.importers.archive import check_archive, entry_names, read_entry

__all__ = ["check_script"]

_ITEM_BYTES = {
    "ByteStorage": 1, "CharStorage": 1, "BoolStorage": 1, "ShortStorage": 2, "HalfStorage": 2, "BFloat16Storage": 2,
    "IntStorage": 4, "FloatStorage": 4, "LongStorage": 8, "DoubleStorage": 8, "ComplexFloatStorage": 8,
    "ComplexDoubleStorage": 16, "QInt8Storage": 1, "QUInt8Storage": 1, "QInt32Storage": 4,
}  # fmt: skip
_MAX_DIMENSIONS = 64
#: Operators, brackets and dots of one statement of code, and its brackets within each other: torch's parser and
#: compiler call themselves for each, and ten thousand are more than a stack holds.
_MAX_TOKENS, _MAX_DEPTH, _MAX_INDENT = 4000, 400, 400
_TOKENS = re.compile(r"[-+*/%<>=~&|^@.(\[{]|\b(?:and|or|not|if|else|in|is)\b")
_STRINGS = re.compile(r'"(?:[^"\\\n]|\\.)*"' r"|'(?:[^'\\\n]|\\.)*'")
#: Operators of TorchScript that read and write files.
_FILE_OPERATORS = re.compile(r"\b(from_file|torch\.save|aten\.save)\b")


def check_script(path: Path) -> None:
    """Raises :class:`FileFormatError` for an archive that does not hold together, :class:`UnsupportedError` for code that
    would run while loading or touch files."""
    check_archive(path)
    names = entry_names(path)
    inside = {name.partition("/")[2]: name for name in names}
    records = {name: len(read_entry(path, name)) for name in names if "/data/" in name or "/constants/" in name}
    for name in names:
        tail = name.partition("/")[2]
        if tail in ("data.pkl", "constants.pkl"):
            folder = name.removesuffix(".pkl")
            sizes = {entry.removeprefix(f"{folder}/"): size for entry, size in records.items()}
            _check_pickle(read_entry(path, name), sizes, f"{path}: entry {name!r}")
        elif tail.startswith("code/") and name.endswith(".py"):
            _check_code(read_entry(path, name), f"{path}: entry {name!r}")
        elif name.endswith(".debug_pkl"):
            _check_pickle(read_entry(path, name), {}, f"{path}: entry {name!r}")
    if "data.pkl" not in inside:
        raise FileFormatError(f"{path}: the archive has no entry data.pkl")


# -- pickles -------------------------------------------------------------------------------------------------


class _Storage:
    """The bytes of one entry: how many elements they are said to be."""

    def __init__(self, count: int) -> None:
        self.count = count


class _Thing:
    """Stands for an object of any class; nothing of the file is called."""

    storage = ""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> Any:
        return _Thing()

    def __setstate__(self, state: Any) -> None:
        pass


def _rebuilt(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Any:
    """torch._utils._rebuild_tensor_v2: the tensor must lie within its storage."""
    numbers = [offset, *size, *stride]
    if not isinstance(storage, _Storage) or len(size) != len(stride) or len(size) > _MAX_DIMENSIONS:
        raise pickle.UnpicklingError(f"a tensor of shape {size} with strides {stride}")
    if any(not isinstance(n, int) or not 0 <= n < 1 << 48 for n in numbers):
        raise pickle.UnpicklingError(f"a tensor of shape {size} with strides {stride} from {offset} on")
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if 0 not in size and last >= storage.count:
        raise pickle.UnpicklingError(f"a tensor of shape {size} that reaches beyond its {storage.count} elements")
    return _Thing()


class _Checker(pickle.Unpickler):
    def __init__(self, data: bytes, sizes: dict[str, int]) -> None:
        super().__init__(io.BytesIO(data))
        self.sizes = sizes

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuilt
        return type("_Thing", (_Thing,), {"storage": name if module == "torch" else ""})

    def persistent_load(self, pid: Any) -> Any:
        kind, storage, key, _, count = pid[:5]
        name = getattr(storage, "storage", "")
        if kind != "storage" or name not in _ITEM_BYTES or not isinstance(count, int):
            raise pickle.UnpicklingError(f"a storage of the kind {name!r}")
        if self.sizes.get(str(key)) != count * _ITEM_BYTES[name]:
            raise pickle.UnpicklingError(
                f"{count} elements of {name} in an entry {str(key)!r} of {self.sizes.get(str(key), 0)} bytes"
            )
        return _Storage(count)

    def get_extension(self, code: int) -> Any:
        raise pickle.UnpicklingError(f"extension {code}")


def _check_pickle(data: bytes, sizes: dict[str, int], where: str) -> None:
    try:
        for opcode, argument, _ in pickletools.genops(data):
            # Python's unpickler makes its memo as long as the largest index.
            if "PUT" in opcode.name and isinstance(argument, int) and argument > len(data):
                raise pickle.UnpicklingError(f"memo index {argument} in {len(data)} bytes")
        _Checker(data, sizes).load()
    except RecursionError:
        raise FileFormatError(f"{where} is damaged: it nests too deep") from None
    except Exception as error:  # an unpickler fed with bytes that make no sense raises nearly anything
        raise FileFormatError(f"{where} is damaged: {type(error).__name__}: {str(error)[:200]}") from None


# -- code ----------------------------------------------------------------------------------------------------


def _check_code(data: bytes, where: str) -> None:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{where} is damaged: {error}") from None
    if "\0" in text:
        raise FileFormatError(f"{where} is damaged: it holds a zero byte")
    text = _STRINGS.sub('""', text)
    found = _FILE_OPERATORS.search(text)
    if found:
        raise UnsupportedError(f"{where}: the program uses {found[0]}, which reads or writes files")
    if re.search(r"\bdef\s+__setstate__\b", text):
        raise UnsupportedError(
            f"{where}: a module with __setstate__, code that runs while the archive is loaded (as for quantized layers); "
            "export the network in float32"
        )
    depth = tokens = 0
    for line in text.split("\n"):
        if len(line) - len(line.lstrip()) > _MAX_INDENT:
            raise FileFormatError(f"{where}: blocks within each other more than {_MAX_INDENT // 2} deep")
        tokens = tokens if depth else 0
        tokens += len(_TOKENS.findall(line))
        for character in line:
            if character in "([{":
                depth += 1
            elif character in ")]}":
                depth = max(depth - 1, 0)
            if depth > _MAX_DEPTH:
                raise FileFormatError(f"{where}: brackets within each other more than {_MAX_DEPTH} deep")
        if tokens > _MAX_TOKENS:
            raise FileFormatError(f"{where}: a statement of more than {_MAX_TOKENS} operators")
