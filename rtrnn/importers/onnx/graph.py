"""Walking an ONNX graph node by node, at one timestep, into a Draft."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import TYPE_CHECKING

import numpy as np

from rtrnn.errors import Error, FileFormatError, GraphError, UnsupportedError
from rtrnn.importers.builder import Axis, Builder, Sym
from rtrnn.importers.draft import Draft, Shape

# Each of these modules registers its operators.
from rtrnn.importers.onnx import (  # noqa: F401
    choice,
    conv,
    elementwise,
    fused,
    linear,
    normalise,
    recurrent,
    reduce,
    refused,
    resize,
    select,
    shape,
    tables,
)
from rtrnn.importers.onnx.choice import is_common
from rtrnn.importers.onnx.overtime import OverTime
from rtrnn.importers.onnx.reader import attributes_of, opset_of, shape_of, to_array
from rtrnn.importers.onnx.registry import OPS, Call, Options

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

__all__ = ["GraphImport", "input_shapes_of"]

_DOMAINS = ("", "ai.onnx")

#: Operators that give integers for integers as they give floats for floats.
# fmt: off
_OF_INTEGERS = frozenset({
    "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Slice", "Split", "Concat", "Gather",
    "GatherElements", "GatherND", "Expand", "Tile", "Pad", "Where", "Add", "Sub", "Mul", "Neg", "Abs", "Min", "Max", "Sum",
    "Sign", "Relu", "Clip", "ReduceSum", "ReduceMax", "ReduceMin", "Dropout",
})
#: Operators for which it is of no account whether an operand is an integer.
_OF_BOTH = frozenset({
    "Cast", "CastLike", "Shape", "Size", "Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "RNN", "GRU", "LSTM", "If",
    "ConstantOfShape",
})
# fmt: on


def input_shapes_of(model: ModelProto, constants: Mapping[str, np.ndarray], given: Mapping[str, Shape]) -> dict[str, Shape]:
    """The shapes of the inputs that are neither weights nor bound to constants.

    An axis that is not fixed becomes 1; `given` overrides the file.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    names = [value.name for value in model.graph.input if value.name not in weights]
    for what, mapping in (("constants", constants), ("input_shapes", given)):
        for name in mapping:
            if name not in names:
                raise GraphError(f"{what} names the input {name!r}, but the inputs are {names}")
    for name, bound in constants.items():
        if bound.dtype.kind in "OSUc":
            raise GraphError(f"constants binds the input {name!r} to an array of type {bound.dtype}; expected real numbers")
    shapes: dict[str, Shape] = {}
    for value in model.graph.input:
        if value.name in weights or value.name in constants:
            continue
        sizes = list(given[value.name]) if value.name in given else shape_of(value)
        if sizes is None:
            raise UnsupportedError(
                f"input {value.name!r}: the file does not say how many axes it has; give its shape with "
                f"input_shapes={{{value.name!r}: (...)}}"
            )
        if any(d is not None and int(d) < 1 for d in sizes):
            raise GraphError(
                f"input_shapes gives {value.name!r} the shape {tuple(sizes)}; expected sizes of at least 1"
            )
        shapes[value.name] = tuple(1 if d is None else int(d) for d in sizes)
    return shapes


class GraphImport:
    """One reading of a model with given input shapes; :meth:`run` fills `draft`."""

    def __init__(
        self,
        model: ModelProto,
        input_shapes: Mapping[str, Shape],
        constants: Mapping[str, np.ndarray],
        options: Options,
        *,
        dynamic_axes: Set[Axis] = frozenset(),
        step_axes: Set[Axis] = frozenset(),
        over_time: OverTime | None = None,
    ) -> None:
        self.model, self.input_shapes, self.constants, self.options = model, input_shapes, constants, options
        self.builder = Builder()
        self.builder.dynamic_axes = set(dynamic_axes)
        self.builder.step_axes = set(step_axes)
        self.builder.rebound = options.rebound
        self.opset = opset_of(model)
        #: Looks for what needs the whole sequence, in a reading whose time axes are known.
        self.over_time = over_time
        self.output_shapes: dict[str, Shape] = {}
        #: Constants of the file that hold NaN or infinities: name -> one such element.
        self.not_finite: dict[str, str] = {}
        #: Values of an integer type, by their names in the file.
        self._whole: set[str] = set()
        #: Constants of a type narrower than a byte or a half, which are held as f32.
        self._narrow: set[str] = set()

    def run(self) -> Draft:
        b, graph = self.builder, self.model.graph
        scope: dict[str, Sym] = {}
        for name, sizes in self.input_shapes.items():
            scope[name] = b.input(name, sizes)
        self._note_types(graph)
        for name, value in self.constants.items():
            scope[name] = b.const(_widened(np.asarray(value)))
            if value.dtype.kind not in "biuf" and value.dtype.name != "bfloat16":
                self._narrow.add(name)
        outputs = self._walk(graph, scope)
        for value, sym in zip(graph.output, outputs, strict=True):
            b.hint = value.name
            b.draft.outputs[value.name] = b.value(sym)
            self.output_shapes[value.name] = sym.shape
        self._drop_sequence_lens()
        return b.draft

    def _walk(self, graph: GraphProto, scope: dict[str, Sym]) -> list[Sym]:
        """Reads a graph or a subgraph; `scope` is what it can see, and gains what it defines."""
        for tensor in graph.initializer:
            scope[tensor.name] = self._constant(tensor.name, to_array(tensor))
            if not is_common(tensor.data_type):
                self._narrow.add(tensor.name)
        if graph.sparse_initializer:
            raise UnsupportedError("the file holds sparse tensors; expected dense ones")
        for node in graph.node:
            for name, sym in zip(node.output, self._node(node, scope), strict=False):
                scope[name] = sym
        for value in graph.output:
            if value.name not in scope:
                raise FileFormatError(f"output {value.name!r}: no node computes it")
        return [scope[value.name] for value in graph.output]

    def _constant(self, name: str, array: np.ndarray) -> Sym:
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            at = np.argwhere(~np.isfinite(array))[0].tolist()
            self.not_finite[name] = f"{array[tuple(at)]} at {at}"
        return self.builder.const(array)

    def _note_types(self, graph: GraphProto) -> None:
        from onnx import TensorProto

        for value in graph.input:
            kind = value.type.tensor_type.elem_type
            if value.name not in self.input_shapes or kind == TensorProto.UNDEFINED:
                continue
            if kind not in TensorProto.DataType.values():
                raise FileFormatError(f"input {value.name!r} has the unknown type {kind}")
            if kind == TensorProto.BOOL:
                self.options.truths[value.name] = ("Input", ())
            elif kind in (TensorProto.STRING, TensorProto.COMPLEX64, TensorProto.COMPLEX128):
                raise UnsupportedError(
                    f"input {value.name!r} has the type {TensorProto.DataType.Name(kind)}; expected real numbers"
                )
            elif _is_integer(kind):
                self._whole.add(value.name)

    def _node(self, node: NodeProto, scope: dict[str, Sym]) -> list[Sym]:
        kind = node.op_type if node.domain in _DOMAINS else f"{node.domain}::{node.op_type}"
        label = node.name or next((o for o in node.output if o), "")
        if kind not in OPS:
            raise UnsupportedError(
                f"{kind} node {label!r}: operator not supported; export the network without it, or written in the "
                f"{len(OPS.keys() - refused.REFUSED.keys())} operators that docs/formats.md lists"
            )
        for name in node.input:
            if name and name not in scope:
                raise FileFormatError(f"{kind} node {label!r} reads {name!r}, which nothing before it defines")
        if kind == "CastLike" and node.input[1] in self._narrow:
            raise UnsupportedError(
                f"{kind} node {label!r}: a cast to the type of {node.input[1]!r}; expected a float type of 16 bits or more, or an "
                "integer type of 8 bits or more"
            )
        self.builder.hint = label
        whole = [name for name in node.input if name in self._whole and scope[name].const is None]
        if whole and kind not in _OF_INTEGERS | _OF_BOTH | refused.REFUSED.keys():
            raise UnsupportedError(
                f"{kind} node {label!r}: its operand {whole[0]!r} is computed from an input of an integer type; the Graph holds "
                "floats: cast it to float before the export"
            )
        call = Call(
            b=self.builder,
            op_type=kind,
            name=label,
            opset=self.opset,
            inputs=[scope[name] if name else None for name in node.input],
            attributes=attributes_of(node),
            num_outputs=len(node.output),
            options=self.options,
            subgraph=lambda graph: self._walk(graph, dict(scope)),
            names=list(node.input),
            whole=bool(node.input) and node.input[0] in self._whole,
        )
        try:
            with np.errstate(all="ignore"):
                result = OPS[kind](call)
                if self.over_time is not None:
                    self.over_time.node(call, result if isinstance(result, list) else [result])
        except UnsupportedError as error:
            raise _named(error, kind, label) from error
        except Error:
            raise
        except (ValueError, LookupError, TypeError, ArithmeticError, AttributeError) as error:
            shapes = [None if s is None else s.shape for s in call.inputs]
            raise FileFormatError(
                f"{kind} node {label!r} does not fit its operands of shapes {shapes}: {error}"
            ) from error
        results = result if isinstance(result, list) else [result]
        if (whole and kind in _OF_INTEGERS) or (kind == "Cast" and _is_integer(call.attr("to", 1))):
            self._whole.update(node.output)
        if kind == "Constant" and results[0].const is not None:
            self._constant(label, results[0].const)
        wanted = max((i + 1 for i, name in enumerate(node.output) if name), default=0)
        if wanted > len(results):
            extra = list(node.output)[len(results) :]
            raise UnsupportedError(f"{kind} node {label!r}: its outputs {extra} are not supported")
        return results

    def _drop_sequence_lens(self) -> None:
        """Lengths of sequences are given to an offline run, not to a step."""
        draft = self.builder.draft
        used = draft.users().keys() | draft.roots()
        for name in self.options.sequence_lens - used:
            del draft.inputs[name], draft.shapes[name]
            draft.metadata["import.sequence_lens"] = name


def _named(error: UnsupportedError, kind: str, label: str) -> UnsupportedError:
    """`error` with the node's name in front, once."""
    text = str(error)
    return error if " node '" in text.split(":")[0] else UnsupportedError(f"{kind} node {label!r}: {text}")


def _is_integer(kind: int) -> bool:
    from onnx import helper

    return np.dtype(helper.tensor_dtype_to_np_dtype(int(kind))).kind in "iu"


def _widened(array: np.ndarray) -> np.ndarray:
    keep = array.dtype.kind in "biu" or array.dtype in (np.float32, np.float64)
    return array if keep else array.astype(np.float32)
