"""Reading the container: the protobuf message, weights in external data, arrays, attributes and shapes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from rtrnn.errors import FileFormatError, MissingExtraError, UnsupportedError

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

__all__ = ["attributes_of", "import_onnx", "opset_of", "read_model", "shape_of", "to_array"]


def import_onnx() -> ModuleType:
    """The onnx package; :class:`MissingExtraError` without it."""
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError("ONNX import needs the onnx package: pip install 'rtrnn[onnx]'") from error
    return onnx


def read_model(source: Any) -> ModelProto:
    """A model from a path, the file's bytes or a ModelProto, with its external data loaded."""
    onnx = import_onnx()
    folder: Path | None = None
    model: ModelProto
    if isinstance(source, onnx.ModelProto):
        model, label = source, "the model"
    elif isinstance(source, bytes | bytearray | memoryview):
        label = "the ONNX bytes"
        model = _parse(onnx, bytes(source), label)
    else:
        path = Path(source)
        folder, label = path.parent, str(path)
        model = _parse(onnx, path.read_bytes(), label)
    if not model.HasField("graph") or not (model.graph.node or model.graph.output):
        raise FileFormatError(f"{label}: not an ONNX model: it holds no graph")
    _check_names(model.graph, label)
    _load_external(onnx, model, folder, label)
    if model.functions:
        from onnx import inliner

        model = inliner.inline_local_functions(model)
    return model


def _parse(onnx: ModuleType, data: bytes, label: str) -> ModelProto:
    if not data:
        raise FileFormatError(f"{label}: the file is empty; expected an ONNX model")
    from google.protobuf.message import DecodeError

    model: ModelProto = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, RuntimeError, ValueError) as error:
        raise FileFormatError(f"{label}: not an ONNX model, or a truncated one: {error}") from error
    return model


def _check_names(graph: GraphProto, label: str) -> None:
    # The protobuf package hands out a text that is not UTF-8 as bytes instead of refusing it.
    names = [v.name for values in (graph.input, graph.output, graph.initializer) for v in values]
    for node in graph.node:
        names += [node.name, node.op_type, node.domain, *node.input, *node.output, *(a.name for a in node.attribute)]
    for name in names:
        if not isinstance(name, str):
            raise FileFormatError(f"{label}: the name {name!r} is not UTF-8")


def _load_external(onnx: ModuleType, model: ModelProto, folder: Path | None, label: str) -> None:
    from onnx import external_data_helper as helper

    for tensor in _tensors(onnx, model.graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        location = next((e.value for e in tensor.external_data if e.key == "location"), "")
        if folder is None:
            raise FileFormatError(
                f"{label}: tensor {tensor.name!r} lies in the external data file {location!r}; load the model by its "
                "path"
            )
        file = folder / location
        if not location or not file.is_file():
            raise FileFormatError(
                f"{label}: tensor {tensor.name!r} lies in the external data file {str(file)!r}, which is missing"
            )
        try:
            helper.load_external_data_for_tensor(tensor, str(folder))
        except Exception as error:  # the onnx package raises several types for a bad location or range
            raise FileFormatError(
                f"{label}: tensor {tensor.name!r} cannot be read from {str(file)!r}: {error}"
            ) from error
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


def _tensors(onnx: ModuleType, graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t
            elif attribute.type == onnx.AttributeProto.GRAPH:
                yield from _tensors(onnx, attribute.g)


def to_array(tensor: TensorProto) -> np.ndarray:
    """The tensor's values. Floats narrower than f32 are widened to f32, all other types are kept."""
    from onnx import numpy_helper

    try:
        array = numpy_helper.to_array(tensor)
    except Exception as error:  # whatever the onnx package makes of sizes, types and bytes that do not agree
        raise FileFormatError(f"tensor {tensor.name!r} of shape {list(tensor.dims)} cannot be read: {error}") from error
    if array.dtype.kind in "biu" or array.dtype in (np.float32, np.float64):
        return np.asarray(array)
    if array.dtype.kind in "cOSU":
        raise UnsupportedError(f"tensor {tensor.name!r} has the type {array.dtype}; expected real numbers")
    try:
        return np.asarray(array, np.float32)
    except (TypeError, ValueError) as error:
        raise UnsupportedError(f"tensor {tensor.name!r} has the type {array.dtype}; expected real numbers") from error


def attributes_of(node: NodeProto) -> dict[str, Any]:
    """The node's attributes, with text decoded."""
    from onnx import helper

    found: dict[str, Any] = {}
    for attribute in node.attribute:
        value = helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        elif isinstance(value, list | tuple) or hasattr(value, "append"):
            value = [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in value]
        found[attribute.name] = value
    return found


def opset_of(model: ModelProto) -> int:
    """The version of the default operator set; 1 for files older than the field."""
    return next((int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)


def shape_of(value: Any) -> list[int | None] | None:
    """A graph input's sizes, None for an axis that is not fixed, or None when not even the rank is known."""
    if not value.type.HasField("tensor_type"):
        raise UnsupportedError(f"input {value.name!r} is a {value.type.WhichOneof('value')}; expected a tensor")
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return [int(d.dim_value) if d.dim_value > 0 else None for d in tensor.shape.dim]
