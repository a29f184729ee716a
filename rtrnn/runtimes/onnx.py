"""onnxruntime, on one thread of the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rtrnn.errors import MissingExtraError, UnsupportedError
from rtrnn.runtimes.base import Array, Arrays, Runtime

if TYPE_CHECKING:
    from rtrnn.model import Model

__all__ = ["OnnxRuntime", "open_session"]

_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}


def open_session(path: Path) -> Any:
    """An InferenceSession that runs in the calling thread alone.

    Raises :class:`MissingExtraError`, :class:`UnsupportedError` with the runtime's own reason.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("running an ONNX file needs onnxruntime: pip install 'rtrnn[bench]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has an exception type for each of its status codes
        raise UnsupportedError(f"{path}: onnxruntime {onnxruntime.__version__} cannot load it: {error}") from error


class OnnxRuntime(Runtime):
    """An ONNX file in onnxruntime."""

    def __init__(self, path: Path, model: Model) -> None:
        super().__init__(path, model)
        self.session = open_session(path)
        import onnxruntime

        self.label = f"onnxruntime {onnxruntime.__version__}"
        self.outputs = [port.name for port in self.session.get_outputs()]
        self._inputs = {port.name: port for port in self.session.get_inputs()}
        known = {*model.inputs, *self.carried, self.interface.sequence_lens}
        unknown = [name for name in self._inputs if name not in known]
        missing = [name for name in known if name and name not in self._inputs]
        if unknown or missing:
            raise UnsupportedError(
                f"{path}: its inputs are {list(self._inputs)}; the network lacks {unknown} and has also {missing}"
            )
        self.reset()

    def declared(self, name: str) -> list[int | None]:
        shape = self._inputs[name].shape
        rank = len(self.interface.shapes[name])
        return (
            [size if isinstance(size, int) and size > 0 else None for size in shape]
            if len(shape) == rank
            else [None] * rank
        )

    def call(self, feeds: Arrays) -> Arrays:
        cast = {name: value.astype(self.dtype(name), copy=False) for name, value in feeds.items()}
        try:
            results = self.session.run(self.outputs, cast)
        except Exception as error:  # see open_session
            raise UnsupportedError(f"{self.path}: {self.label} cannot run it: {error}") from error
        return dict(zip(self.outputs, results, strict=True))

    def suited(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        found = dict(inputs)
        for name, array in inputs.items():
            kind = np.dtype(self.dtype(name)).kind
            if kind in "bi":
                found[name] = np.asarray(array > 0 if kind == "b" else np.rint(array), np.float32)
        return found

    def dtype(self, name: str) -> Any:
        """The NumPy type that the input takes."""
        kind = self._inputs[name].type
        if kind not in _TYPES:
            raise UnsupportedError(f"{self.path}: input {name!r} has the type {kind}; expected one of {list(_TYPES)}")
        return _TYPES[kind]
