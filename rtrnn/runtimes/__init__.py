"""The runtimes that foreign files were made for, so that a Graph can be run beside them.

:func:`open_runtime` gives a :class:`~rtrnn.runtimes.base.Runtime` for a file; ``rtrnn verify`` compares with it and
``rtrnn bench`` times it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rtrnn.errors import UnsupportedError
from rtrnn.runtimes.base import Interface, Runtime

if TYPE_CHECKING:
    from rtrnn.model import Model

__all__ = ["Interface", "Runtime", "open_runtime"]


def open_runtime(path: str | Path, model: Model) -> Runtime:
    """The file's own runtime, in the initial state of `model`, which was imported from the file (or one like it).

    Raises :class:`rtrnn.UnsupportedError` for a .rtrnn file, :class:`rtrnn.MissingExtraError`, OSError.
    """
    from rtrnn.loading import detect_format

    kind = detect_format(path)
    if kind == "rtrnn":
        raise UnsupportedError(
            f"{path}: a .rtrnn file has no runtime of its own; expected an ONNX model or a TorchScript archive"
        )
    if kind == "onnx":
        from rtrnn.runtimes.onnx import OnnxRuntime

        return OnnxRuntime(Path(path), model)
    from rtrnn.runtimes.torch import TorchRuntime

    return TorchRuntime(Path(path), model)
