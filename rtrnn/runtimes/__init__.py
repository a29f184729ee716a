"""The runtimes that foreign files were made for, so that a Graph can be run beside them.

:func:`open_runtime` gives a :class:`~rtrnn.runtimes.base.Runtime` for a file; ``rtrnn verify`` compares with it and
``rtrnn bench`` times it. :data:`RUNTIMES` says by format which one that is.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from rtrnn.errors import UnsupportedError
from rtrnn.runtimes.base import Interface, Runtime

if TYPE_CHECKING:
    from rtrnn.model import Model

__all__ = ["RUNTIMES", "Interface", "Origin", "Runtime", "open_runtime"]


@dataclass(frozen=True)
class Origin:
    """What runs the files of one format: the Python package, and "module:class"; without one, why."""

    runtime: str = ""
    opener: str = ""
    why: str = ""


_WEIGHTS_ALONE = "it holds weights alone, and the library that calls them does not load it by itself"
_REBUILT = Origin("torch", "rtrnn.runtimes.rebuilt:StateDictRuntime")

#: Format (see :data:`rtrnn.formats.FORMATS`) -> what runs its files.
RUNTIMES: dict[str, Origin] = {
    "onnx": Origin("onnxruntime", "rtrnn.runtimes.onnx:OnnxRuntime"),
    "torchscript": Origin("torch", "rtrnn.runtimes.torch:TorchRuntime"),
    "torch.export": Origin("torch", "rtrnn.runtimes.torch:ProgramRuntime"),
    "keras": Origin("keras", "rtrnn.runtimes.keras:KerasRuntime"),
    "keras-h5": Origin("keras", "rtrnn.runtimes.keras:KerasRuntime"),
    "nam": Origin("neural-amp-modeler", "rtrnn.runtimes.rebuilt:NamRuntime"),
    "guitarml": Origin("torch", "rtrnn.runtimes.rebuilt:GuitarMlRuntime"),
    "checkpoint": _REBUILT,
    "safetensors": _REBUILT,
    "state-dict-json": _REBUILT,
    "sb3": Origin(why=_WEIGHTS_ALONE),
    "rltools": Origin(why="RLtools is a C++ library without a Python package that loads its files"),
    "rtneural": Origin(why="RTNeural is a C++ library without a Python package"),
    "rtrnn": Origin(why="it is rtrnn's own format; compare with the file it was converted from"),
}


def open_runtime(path: str | Path, model: Model) -> Runtime:
    """The file's own runtime, in the initial state of `model`, which was imported from the file (or one like it).

    Raises :class:`rtrnn.UnsupportedError` for a format without one, such as .rtrnn, :class:`rtrnn.MissingExtraError`, OSError.
    """
    from rtrnn.loading import detect_format

    kind = detect_format(path)
    origin = RUNTIMES.get(kind, Origin(why="none is known"))
    if not origin.opener:
        known = ", ".join(name for name, other in RUNTIMES.items() if other.opener)
        raise UnsupportedError(
            f"{path}: a file of the format {kind!r} has no runtime in Python to compare with: {origin.why}. Formats that have one are "
            f"{known}; for any other, compare with values that its own program has computed: rtrnn run --input"
        )
    module, _, name = origin.opener.partition(":")
    runtime: Runtime = getattr(import_module(module), name)(Path(path), model)
    return runtime
