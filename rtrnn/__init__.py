"""rtrnn: a trained recurrent network, one timestep at a time, on a CPU.

>>> model = rtrnn.load("policy.onnx")
>>> stream = model.stream()
>>> y = stream.step(x)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rtrnn import _core
from rtrnn.errors import (
    BusyError,
    Error,
    FileFormatError,
    GraphError,
    MissingExtraError,
    ModelWarning,
    NonFiniteError,
    StateError,
    UnsupportedError,
)

if TYPE_CHECKING:
    from rtrnn._batch import Batch
    from rtrnn._loop import Loop
    from rtrnn._stream import Stream
    from rtrnn.c99 import CSource, codegen
    from rtrnn.ctc import ctc_greedy
    from rtrnn.layers import GRU, LSTM, RNN, Activation, LayerNorm, Linear, Normalizer, Sequential
    from rtrnn.loading import from_torch, load
    from rtrnn.model import Model

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Activation",
    "Batch",
    "BusyError",
    "CSource",
    "Error",
    "FileFormatError",
    "GraphError",
    "LayerNorm",
    "Linear",
    "Loop",
    "MissingExtraError",
    "Model",
    "ModelWarning",
    "NonFiniteError",
    "Normalizer",
    "Sequential",
    "StateError",
    "Stream",
    "UnsupportedError",
    "__version__",
    "cmake_dir",
    "codegen",
    "ctc_greedy",
    "from_torch",
    "get_include",
    "get_library_dir",
    "isa_available",
    "load",
]

__version__: str = _core.version()


def isa_available() -> list[str]:
    """The instruction sets that this build and this CPU both have, best first; the first one is the default.

    ``isa=`` of :meth:`Model.stream` or the environment variable ``RTRNN_ISA`` forces one.
    """
    return _core.isa_available()


def get_include() -> str:
    """The directory of the C and C++ headers, for a compiler's ``-I``; also ``python -m rtrnn --includes``."""
    from importlib.resources import files

    return str(files("rtrnn") / "include")


def get_library_dir() -> str:
    """The directory of the shared library, for a linker's ``-L``; also ``python -m rtrnn --libs``."""
    from importlib.resources import files

    return str(files("rtrnn") / "lib")


def cmake_dir() -> str:
    """The directory of the CMake package, for ``-Drtrnn_DIR=``; also ``python -m rtrnn --cmake-dir``."""
    from importlib.resources import files

    return str(files("rtrnn") / "lib" / "cmake" / "rtrnn")


# NumPy and the importers are imported when something that needs them is first asked for: `import rtrnn` stays fast.
_LAZY = {
    "Activation": "rtrnn.layers",
    "Batch": "rtrnn._batch",
    "CSource": "rtrnn.c99",
    "GRU": "rtrnn.layers",
    "LSTM": "rtrnn.layers",
    "LayerNorm": "rtrnn.layers",
    "Linear": "rtrnn.layers",
    "Loop": "rtrnn._loop",
    "Model": "rtrnn.model",
    "Normalizer": "rtrnn.layers",
    "RNN": "rtrnn.layers",
    "Sequential": "rtrnn.layers",
    "Stream": "rtrnn._stream",
    "codegen": "rtrnn.c99",
    "ctc_greedy": "rtrnn.ctc",
    "from_torch": "rtrnn.loading",
    "load": "rtrnn.loading",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'rtrnn' has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_LAZY))
