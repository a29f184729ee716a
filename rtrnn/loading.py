"""Loading by content: what a file is, is read from its bytes, never from its name."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from rtrnn import _core
from rtrnn.errors import FileFormatError
from rtrnn.model import Model

if TYPE_CHECKING:
    from rtrnn.importers.draft import Draft

__all__ = ["detect_format", "from_torch", "load"]

StateMap = Mapping[str, str | None]
InitialStates = Mapping[str, npt.ArrayLike]

_KNOWN = "a .rtrnn file, an ONNX model, or a TorchScript archive"


def detect_format(path: str | os.PathLike[str]) -> str:
    """``"rtrnn"``, ``"onnx"`` or ``"torchscript"``, by content.

    Raises FileNotFoundError and other OSErrors, :class:`rtrnn.FileFormatError` for anything else.
    """
    path = Path(path)
    with path.open("rb") as file:
        head = file.read(16)
    if not head:
        raise FileFormatError(f"{path}: the file is empty; expected {_KNOWN}")
    if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100 << 20:
        return "rtrnn"
    if head[:4] == b"PK\x03\x04":
        return _detect_zip(path)
    # A ModelProto is a sequence of protobuf fields; exporters write ir_version (field 1, varint) first.
    if head[0] == 0x08 and len(head) > 2:
        return "onnx"
    raise FileFormatError(f"{path}: not a format that rtrnn knows; expected {_KNOWN}")


def _detect_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise FileFormatError(f"{path}: a damaged zip archive ({error}); expected {_KNOWN}") from None
    tops = {name.split("/", 1)[1] for name in names if "/" in name}
    if "constants.pkl" in tops and any(name.startswith("code/") for name in tops):
        return "torchscript"
    if "data.pkl" in tops:
        raise FileFormatError(
            f"{path}: a PyTorch checkpoint (weights without a program); expected {_KNOWN}. Load it into its module and use "
            "rtrnn.from_torch(module, example)"
        )
    raise FileFormatError(f"{path}: a zip archive that is not TorchScript; expected {_KNOWN}")


def load(
    path: str | os.PathLike[str],
    *,
    states: StateMap | None = None,
    initial_states: InitialStates | None = None,
    example: Any = None,
    gru_reset: str | None = None,
) -> Model:
    """Loads a trained network: ``.rtrnn``, ONNX or TorchScript, recognised by content.

    `states` pairs state inputs with state outputs by name (``{"h_in": "h_out"}``) where they cannot be found by topology;
    `initial_states` gives named states a first value other than the file's (or zero); `example` is an example input for
    TorchScript files whose input shape cannot be found; ``gru_reset="after"`` repairs ONNX files in which the exporter
    left out ``linear_before_reset``.

    Raises FileNotFoundError, :class:`rtrnn.FileFormatError`, :class:`rtrnn.UnsupportedError`, :class:`rtrnn.StateError`,
    :class:`rtrnn.MissingExtraError` (the format needs a package that is not installed).
    """
    kind = detect_format(path)
    if kind == "rtrnn":
        for name, value in (
            ("states", states),
            ("initial_states", initial_states),
            ("example", example),
            ("gru_reset", gru_reset),
        ):
            if value is not None:
                raise ValueError(f"{name}= has no meaning for a .rtrnn file")
        return Model(_core.Graph.load(os.fspath(path)))
    if kind == "onnx":
        from rtrnn.importers.onnx import load_onnx

        return _model(load_onnx(Path(path), gru_reset=gru_reset, states=states, initial_states=initial_states))
    from rtrnn.importers.torch import load_torchscript

    return _model(load_torchscript(Path(path), example=example, states=states, initial_states=initial_states))


def from_torch(
    module: Any,
    example: Any = None,
    *,
    states: StateMap | None = None,
    initial_states: InitialStates | None = None,
) -> Model:
    """Imports a live ``torch.nn.Module`` through ``torch.export``.

    `example` is what the module is called with: a tensor, or a tuple of them (``(x, h)``); any length of the time and batch
    axes will do. It may be left out where the input size is evident (``nn.GRU``, ``nn.LSTM``, ``nn.RNN``, cells). State kept in
    buffers of the module, given and returned as an argument, or left at its zero default is found and carried by the Stream.
    The module is not changed. For `states` and `initial_states`, and for the errors, see :func:`load`.
    """
    from rtrnn.importers.torch import from_module

    return _model(from_module(module, example, states=states, initial_states=initial_states))


def _model(draft: Draft) -> Model:
    return Model(draft.build(), draft.warnings)
