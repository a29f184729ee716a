"""Weights from files: PyTorch's two containers, safetensors and JSON. Nothing in a file is ever executed."""

from __future__ import annotations

import json
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rtrnn.errors import FileFormatError, MissingExtraError, UnsupportedError

__all__ = ["arrays_of", "read_json", "read_safetensors", "read_torch"]

_MAX_HEADER = 100 << 20
#: safetensors type -> NumPy type; BF16, which NumPy lacks, is the upper half of a float32.
_SAFETENSORS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?",
}  # fmt: skip


class _Inert:
    """Stands for a NumPy scalar or array in a checkpoint (a best reward, say): a network's weights are tensors."""

    def __init__(self, *arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


_NUMPY_GLOBALS = (
    "numpy.dtype",
    "numpy.ndarray",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
)


def read_torch(path: Path) -> Any:
    """What ``torch.save`` wrote, on the CPU, read with ``weights_only=True``.

    Raises :class:`UnsupportedError` for a file that holds other objects than tensors and plain containers,
    :class:`FileFormatError` for a damaged one.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("a PyTorch checkpoint needs torch: pip install 'rtrnn[torch]'") from error
    allowed: list[Any] = [(_Inert, name) for name in _NUMPY_GLOBALS]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(allowed):
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        objects = _foreign_objects(path, str(error))
        if not objects:
            raise FileFormatError(f"{path}: a damaged PyTorch checkpoint: {_first_line(error)}") from None
        raise UnsupportedError(
            f"{path}: this file holds pickled Python objects ({', '.join(objects)}); expected tensors alone, because "
            "reading such objects can run any code. Save the state_dict (torch.save(module.state_dict(), ...)), or give the "
            "module itself to rtrnn.from_torch"
        ) from None
    except OSError:
        raise
    except Exception as error:  # whatever else PyTorch's readers raise for bytes that make no sense
        raise FileFormatError(f"{path}: a damaged PyTorch checkpoint: {_first_line(error)}") from None


def _foreign_objects(path: Path, message: str) -> list[str]:
    """The names of the classes and functions that the file asks for and that are not allowed."""
    import torch

    found: set[str] = set()
    try:
        found = set(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
    except Exception:  # the legacy container, or a damaged file
        found = set(re.findall(r"GLOBAL ([\w.]+) was not an allowed", message))
        found |= set(re.findall(r"(?:class|function|global) ([\w.]+)", message)) if not found else set()
    return sorted(found - set(_NUMPY_GLOBALS))[:6]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def arrays_of(tree: Mapping[Any, Any]) -> dict[str, np.ndarray]:
    """The tensors of a state dict as arrays, in file order; what is no tensor is left out."""
    import torch

    found: dict[str, np.ndarray] = {}
    for key, value in tree.items():
        if isinstance(value, np.ndarray):
            found[str(key)] = value
        elif isinstance(value, torch.Tensor):
            if not _is_plain(value):
                raise UnsupportedError(
                    f"tensor {key!r} is {value.dtype}, {value.layout}, on {value.device}, of shape {tuple(value.shape)}; expected a "
                    "dense tensor of real numbers with an element of its own for each: save it after .to_dense(), .dequantize() "
                    "or .contiguous()"
                )
            plain = value.detach()
            narrow = plain.is_floating_point() and plain.dtype not in (torch.float16, torch.float32, torch.float64)
            found[str(key)] = (plain.float() if narrow else plain).numpy()
    return found


def _is_plain(tensor: Any) -> bool:
    """Whether NumPy can look at it, and it is no larger than the bytes behind it: strides of 0 cost a file nothing."""
    import torch

    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu" or tensor.is_complex():
        return False
    return bool(tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes())


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file by name, in the order of their bytes; every size and offset is checked.

    Raises :class:`FileFormatError`. Source: the format's description, https://github.com/huggingface/safetensors.
    """
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(_MAX_HEADER, len(data) - 8):
        raise FileFormatError(f"{path}: a header of {length} bytes in a file of {len(data)} bytes: damaged or cut short")
    try:
        header = json.loads(data[8 : 8 + length].decode())
        entries = {k: v for k, v in header.items() if k != "__metadata__"}
        order = sorted(entries, key=lambda name: int(entries[name]["data_offsets"][0]))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise FileFormatError(f"{path}: a damaged safetensors header: {_first_line(error)}") from None
    body = memoryview(data)[8 + length :]
    return {name: _tensor(path, name, entries[name], body) for name in order}


def _tensor(path: Path, name: str, entry: Any, body: memoryview) -> np.ndarray:
    try:
        kind, shape = str(entry["dtype"]), tuple(int(d) for d in entry["shape"])
        begin, end = (int(offset) for offset in entry["data_offsets"])
    except (ValueError, KeyError, TypeError) as error:
        raise FileFormatError(f"{path}: tensor {name!r}: a damaged entry in the header: {_first_line(error)}") from None
    brain = kind == "BF16"
    if not brain and kind not in _SAFETENSORS:
        raise UnsupportedError(f"{path}: tensor {name!r}: type {kind}; expected one of {', '.join(_SAFETENSORS)}, BF16")
    dtype = np.dtype("<u2" if brain else _SAFETENSORS[kind])
    size = dtype.itemsize
    for d in shape:
        size *= d
    if min(shape, default=1) < 0 or begin < 0 or end > len(body) or end - begin != size:
        raise FileFormatError(
            f"{path}: tensor {name!r} {kind} {shape} at bytes {begin} to {end}; expected {size} bytes within {len(body)}"
        )
    flat = np.frombuffer(body[begin:end], dtype)
    if brain:
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    return flat.reshape(shape)


def read_json(path: Path) -> dict[str, np.ndarray]:
    """A state dict as JSON: tensors by name as nested lists of numbers. Raises :class:`FileFormatError`."""
    try:
        document = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path}: begins like JSON, but is damaged: {_first_line(error)}") from None
    arrays: dict[str, np.ndarray] = {}
    for key, value in document.items():
        try:
            arrays[key] = np.asarray(value, np.float64)
        except (ValueError, TypeError, OverflowError):
            raise FileFormatError(f"{path}: {key!r}: expected a tensor as nested lists of numbers, all of one length") from None
    return arrays
