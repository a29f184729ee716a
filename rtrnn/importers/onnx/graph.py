"""Walking an ONNX graph node by node, at one timestep, into a Draft."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rtrnn.errors import Error, FileFormatError, GraphError, UnsupportedError
from rtrnn.importers.builder import Builder, Sym
from rtrnn.importers.draft import Draft, Shape

# Each of these modules registers its operators.
from rtrnn.importers.onnx import choice, elementwise, linear, recurrent, shape  # noqa: F401
from rtrnn.importers.onnx.reader import attributes_of, opset_of, shape_of, to_array
from rtrnn.importers.onnx.registry import OPS, Call, Options

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

__all__ = ["GraphImport", "free_axes", "input_shapes_of"]

_DOMAINS = ("", "ai.onnx")


def input_shapes_of(model: ModelProto, constants: Mapping[str, Any], given: Mapping[str, Shape]) -> dict[str, Shape]:
    """The shapes of the inputs that are neither weights nor bound to constants.

    An axis that is not fixed becomes 1; `given` overrides the file.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    names = [value.name for value in model.graph.input if value.name not in weights]
    for what, mapping in (("constants", constants), ("input_shapes", given)):
        for name in mapping:
            if name not in names:
                raise GraphError(f"{what} names the input {name!r}, but the inputs are {names}")
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


def free_axes(model: ModelProto, given: Mapping[str, Shape]) -> str:
    """A hint for a network that does not fit together: inputs whose last axis, the features, is not fixed."""
    free = [v.name for v in model.graph.input if v.name not in given and (shape_of(v) or [1])[-1] is None]
    if not free:
        return ""
    return f" (the last axis of input {free[0]!r} is not fixed and was taken as 1: input_shapes= gives its size)"


class GraphImport:
    """One reading of a model with given input shapes; :meth:`run` fills `draft`."""

    def __init__(
        self,
        model: ModelProto,
        input_shapes: Mapping[str, Shape],
        constants: Mapping[str, np.ndarray],
        options: Options,
    ) -> None:
        self.model, self.input_shapes, self.constants, self.options = model, input_shapes, constants, options
        self.builder = Builder()
        self.opset = opset_of(model)
        self.output_shapes: dict[str, Shape] = {}

    def run(self) -> Draft:
        b, graph = self.builder, self.model.graph
        scope: dict[str, Sym] = {}
        for name, sizes in self.input_shapes.items():
            scope[name] = b.input(name, sizes)
        for name, value in self.constants.items():
            scope[name] = b.const(_widened(np.asarray(value)))
        outputs = self._walk(graph, scope)
        for value, sym in zip(graph.output, outputs, strict=True):
            b.hint = value.name
            b.draft.outputs[value.name] = b.value(sym)
            self.output_shapes[value.name] = sym.shape
        self._drop_sequence_lens()
        return b.draft

    def _walk(self, graph: GraphProto, scope: dict[str, Sym]) -> list[Sym]:
        """Reads a graph or a subgraph; `scope` is what it can see, and gains what it defines."""
        b = self.builder
        for tensor in graph.initializer:
            scope[tensor.name] = b.const(to_array(tensor))
        if graph.sparse_initializer:
            raise UnsupportedError("the file holds sparse tensors; expected dense ones")
        for node in graph.node:
            for name, sym in zip(node.output, self._node(node, scope), strict=False):
                scope[name] = sym
        for value in graph.output:
            if value.name not in scope:
                raise FileFormatError(f"output {value.name!r}: no node computes it")
        return [scope[value.name] for value in graph.output]

    def _node(self, node: NodeProto, scope: dict[str, Sym]) -> list[Sym]:
        kind = node.op_type if node.domain in _DOMAINS else f"{node.domain}::{node.op_type}"
        label = node.name or next((o for o in node.output if o), "")
        if kind not in OPS:
            raise UnsupportedError(
                f"{kind} node {label!r}: operator not supported; supported are {', '.join(sorted(OPS))}"
            )
        for name in node.input:
            if name and name not in scope:
                raise FileFormatError(f"{kind} node {label!r} reads {name!r}, which nothing before it defines")
        self.builder.hint = label
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
        )
        try:
            with np.errstate(all="ignore"):
                result = OPS[kind](call)
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


def _widened(array: np.ndarray) -> np.ndarray:
    keep = array.dtype.kind in "biu" or array.dtype in (np.float32, np.float64)
    return array if keep else array.astype(np.float32)
