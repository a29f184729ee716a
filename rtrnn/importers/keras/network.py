"""A model's layers, called in order on the values of one timestep.

An input (batch, time, features..) is read with a batch of 1 and one timestep; an input (batch, features) is what a network
without time takes in each step. Which axis is time, recurrent layers and convolutions decide
(:mod:`rtrnn.importers.frames`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rtrnn.errors import Error, FileFormatError, UnsupportedError
from rtrnn.importers.builder import Sym
from rtrnn.importers.draft import CELL_OPS, Shape

# The modules whose import fills the table of lowerings.
from rtrnn.importers.keras import convolution, layers, norms, operations, recurrent  # noqa: F401
from rtrnn.importers.keras.config import NETWORKS, Layer, Ref
from rtrnn.importers.keras.lowering import LOWERINGS, Reading, one
from rtrnn.importers.sym import Axis

__all__ = ["Interface", "ModelReading", "check_ends", "check_known", "interface_of"]

_MAX_ELEMENTS = 1 << 24
_MAX_CALLS = 5_000
_MAX_DEPTH = 30
#: Layers that compute something else in training.
_OTHERWISE = frozenset(
    {"Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianDropout", "GaussianNoise", "AlphaDropout"}
    | {"BatchNormalization"}
)
#: Classes that other layers read.
_WITHIN = frozenset({"InputLayer", "SimpleRNNCell", "GRUCell", "LSTMCell", "StackedRNNCells"})
#: Why some layers cannot be had, for those that people will try.
_REFUSED = {
    "Embedding": "its input is an index into a table, not a number; feed the embedded vectors, as an input of (time, features)",
    "RepeatVector": "it makes a sequence from one vector, which only the end of another sequence gives; no stream has it in time",
    "Attention": "attention reads the whole sequence",
    "MultiHeadAttention": "attention reads the whole sequence",
    "ConvLSTM1D": "convolutional recurrent cells are not supported",
    "ConvLSTM2D": "convolutional recurrent cells are not supported",
    "CuDNNGRU": "this layer of Keras before 2.3 holds its weights for one library; load the file with Keras and save it anew with GRU",
    "CuDNNLSTM": "this layer of Keras before 2.3 holds its weights for one library; load the file with Keras and save it anew with LSTM",
}


@dataclass
class Interface:
    """The inputs of a model: sizes by name, None for an axis of any size."""

    sizes: dict[str, list[int | None]]
    #: Axes that turned out to be time or batch -> their size in the file.
    rebound: dict[Axis, int] = field(default_factory=dict)

    def shape(self, name: str) -> Shape:
        """For one timestep of one sequence."""
        return tuple(1 if d is None or i == 0 or (name, i) in self.rebound else d for i, d in enumerate(self.sizes[name]))


def interface_of(model: Layer) -> Interface:
    """What the model takes. Raises :class:`FileFormatError` where the file does not say."""
    sizes: dict[str, list[int | None]] = {}
    for layer in _input_layers(model):
        sizes[layer.name] = _sizes(layer, layer.get("batch_shape", layer.get("batch_input_shape", None)))
    if model.kind == "Sequential" and not sizes:
        first = model.layers[0].config if model.layers else {}
        given = first.get("batch_input_shape", first.get("batch_shape"))
        shape = given or model.config.get("build_input_shape") or model.build_shape
        if shape is None:
            raise FileFormatError(
                f"{model}: the file does not say what shape its input has: the model was never built; expected an Input as its first "
                "layer, or a model that was called once before it was saved"
            )
        sizes["input"] = _sizes(model, shape)
    if not sizes:
        raise FileFormatError(f"{model}: it has no inputs")
    for name, shape in sizes.items():
        if math.prod(d or 1 for d in shape[1:]) > _MAX_ELEMENTS:
            raise FileFormatError(f"input {name!r} of shape {tuple(shape)}; expected at most {_MAX_ELEMENTS} numbers")
    return Interface(sizes)


def _input_layers(model: Layer) -> list[Layer]:
    if model.kind == "Sequential":
        return [layer for layer in model.layers[:1] if layer.kind == "InputLayer"]
    by_name = {layer.name: layer for layer in model.layers}
    found = []
    for _, ref in _ends(model, "input_layers"):
        layer = by_name.get(ref.layer)
        if layer is None or layer.kind != "InputLayer":
            raise model.bad("input_layers", "names of its input layers", ref.layer)
        found.append(layer)
    return found


def _sizes(layer: Layer, shape: Any) -> list[int | None]:
    good = isinstance(shape, list) and len(shape) >= 2
    if not good or any(d is not None and (type(d) is not int or not 0 < d < 1 << 31) for d in shape):
        raise layer.bad("the input's shape", "a batch axis and at least one more, of whole numbers or null", shape)
    if shape[-1] is None:
        raise UnsupportedError(f"{layer}: its last axis may have any size ({shape}); expected a fixed number of features")
    return list(shape)


def _ends(model: Layer, key: str) -> list[tuple[str, Ref]]:
    """(name, reference) of the model's inputs or outputs, which may be one, a list, or a mapping; names only in a mapping."""

    def walk(value: Any, name: str, depth: int) -> list[tuple[str, Ref]]:
        ref = Ref.of(value)
        if ref is not None:
            return [(name, ref)]
        if depth > _MAX_DEPTH or not isinstance(value, (list, dict)):
            raise model.bad(key, "references to its layers", value)
        pairs = sorted(value.items()) if isinstance(value, dict) else [("", v) for v in value]
        return [end for inner, v in pairs for end in walk(v, inner, depth + 1)]

    return walk(model.get(key), "", 0)


def check_known(model: Layer) -> None:
    """Raises :class:`UnsupportedError` for a layer of a class that no lowering takes."""
    for layer in model.walk():
        known = layer.kind in LOWERINGS or layer.kind in NETWORKS or layer.kind in _WITHIN
        if not known and not layer.kind.startswith("ops."):  # of those, some serve masks alone
            raise _unknown(layer)


def _unknown(layer: Layer) -> UnsupportedError:
    why = _REFUSED.get(layer.kind, "the class is not supported; replace the layer, or export the model to ONNX")
    return UnsupportedError(f"{layer}: {why}")


class ModelReading(Reading):
    """One reading of a model into a Draft, with the axes bound as `interface` says."""

    def __init__(self, model: Layer, interface: Interface, version: int) -> None:
        super().__init__(version)
        self.model, self.interface = model, interface
        self.b.rebound = dict(interface.rebound)
        self.calls = self.depth = 0
        self.call = self._call
        self.input_shapes: dict[str, Shape] = {}
        self.output_shapes: dict[str, Shape] = {}

    def run(self) -> None:
        """Fills the Draft's inputs, nodes and outputs.

        Raises :class:`RebindAxis`, and :class:`UnsupportedError` and :class:`FileFormatError` that name the layer.
        """
        b, values = self.b, []
        for name, sizes in self.interface.sizes.items():
            self.input_shapes[name] = self.interface.shape(name)
            # The batch axis is of any size, but it is never time.
            b.dynamic_axes |= {(name, i) for i, d in enumerate(sizes) if d is None and i > 0}
            values.append(b.input(name, self.input_shapes[name]))
        results = self._network(self.model, values)
        names = self._output_names(len(results))
        for name, value in zip(names, results, strict=True):
            if value.frames is not None:
                raise UnsupportedError(f"the output {name!r} has padded timesteps; expected padding that a convolution takes off again")
            b.hint = name
            self.output_shapes[name] = value.shape
            b.draft.outputs[name] = b.value(value)

    def _output_names(self, count: int) -> list[str]:
        if self.model.kind == "Sequential":
            last = self.model.layers[-1].name if self.model.layers else "output"
            return [last] if count == 1 else [f"{last}_{i}" for i in range(count)]
        names: list[str] = []
        for name, ref in _ends(self.model, "output_layers"):
            name = name or (ref.layer if ref.tensor == 0 else f"{ref.layer}_{ref.tensor}")
            while name in names:
                name += "_again"
            names.append(name)
        return names

    # -- networks --------------------------------------------------------------------------------------

    def _network(self, model: Layer, values: Sequence[Sym]) -> list[Sym]:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise FileFormatError(f"{model}: models in models, more than {_MAX_DEPTH} deep")
        results = self._sequential(model, values) if model.kind == "Sequential" else self._functional(model, values)
        self.depth -= 1
        return results

    def _sequential(self, model: Layer, values: Sequence[Sym]) -> list[Sym]:
        results = list(values)
        for layer in model.layers:
            if layer.kind == "InputLayer":
                continue
            if len(results) != 1:
                raise FileFormatError(f"{layer}: called with {len(results)} tensors; a Sequential model has one between its layers")
            results = self._call(layer, results, {})
        return results

    def _functional(self, model: Layer, values: Sequence[Sym]) -> list[Sym]:
        inputs = _ends(model, "input_layers")
        if len(inputs) != len(values):
            raise FileFormatError(f"{model}: called with {len(values)} tensors; it has {len(inputs)} inputs")
        known: dict[tuple[str, int], list[Sym]] = {
            (ref.layer, ref.node): [value] for (_, ref), value in zip(inputs, values, strict=True)
        }
        outputs = [ref for _, ref in _ends(model, "output_layers")]
        by_name = {layer.name: layer for layer in model.layers}
        for name, node in _order(model, by_name, outputs, known):
            layer = by_name[name]
            args, keywords = layer.calls[node]
            keywords = {k: v for k, v in keywords.items() if k != "mask"}
            known[name, node] = self._call(layer, _filled(layer, args, known), _filled(layer, keywords, known))
        return [_result(model, ref, known) for ref in outputs]

    # -- one layer -------------------------------------------------------------------------------------

    def _call(self, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> list[Sym]:
        self.calls += 1
        if self.calls > _MAX_CALLS:
            raise FileFormatError(f"{layer}: more than {_MAX_CALLS} calls of layers")
        if keywords.get("training") is True:
            _refuse_training(layer)
        if layer.kind in NETWORKS:
            value = args[0] if args else None
            if isinstance(value, dict):
                value = [value[key] for key in sorted(value)]
            return self._network(layer, value if isinstance(value, list) else [one(layer, args)])
        lowering = LOWERINGS.get(layer.kind)
        if lowering is None:
            raise _unknown(layer)
        stray = [key for key, value in keywords.items() if key != "initial_state" and _holds_value(value)]
        if stray and not layer.kind.startswith(("ops.", "TFOpLambda")):
            raise UnsupportedError(f"{layer}: called with the tensors {', '.join(stray)}; expected inputs and initial_state alone")
        before, self.b.hint = self.b.hint, layer.name
        try:
            result = lowering(self, layer, args, keywords)
        except Error as error:
            if "layer '" in str(error):
                raise
            raise type(error)(f"{layer}: {error}") from error
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # NumPy's, for what does not fit together
            raise FileFormatError(f"{layer}: its configuration cannot be carried out: {error}") from error
        finally:
            self.b.hint = before
        return result if isinstance(result, list) else [result]


def _refuse_training(layer: Layer) -> None:
    """Raises :class:`UnsupportedError` for a layer that computes something else in training, itself or in a layer inside."""
    for inner in layer.walk():
        drops = any(inner.get(key, 0) not in (0, None) for key in ("dropout", "recurrent_dropout"))
        if inner.kind in _OTHERWISE or drops:
            raise UnsupportedError(
                f"{inner}: called with training=True, it draws random numbers or normalises by the batch; expected a call for inference"
            )


def _holds_value(value: Any) -> bool:
    return isinstance(value, Sym) or (isinstance(value, list) and any(_holds_value(part) for part in value))


def _refs(value: Any) -> list[Ref]:
    if isinstance(value, Ref):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [ref for part in parts for ref in _refs(part)]


def _order(
    model: Layer, by_name: dict[str, Layer], outputs: Sequence[Ref], known: dict[tuple[str, int], list[Sym]]
) -> list[tuple[str, int]]:
    """The calls (layer, node) that the outputs need, each behind those that it reads."""
    ordered: list[tuple[str, int]] = []
    done, open_ = set(known), set()
    stack = [((ref.layer, ref.node), False) for ref in reversed(outputs)]
    while stack:
        at, ready = stack.pop()
        if at in done:
            continue
        if ready:
            done.add(at)
            open_.discard(at)
            ordered.append(at)
            continue
        if at in open_:
            raise FileFormatError(f"{model}: the layer {at[0]!r} is computed from itself; expected layers without a cycle")
        layer = by_name.get(at[0])
        if layer is None or at[1] >= len(layer.calls):
            raise FileFormatError(f"{model}: call {at[1]} of the layer {at[0]!r} is read, which the file does not have")
        open_.add(at)
        stack.append((at, True))
        args, keywords = layer.calls[at[1]]
        reads = _refs([args, {k: v for k, v in keywords.items() if k != "mask"}])
        stack.extend(((ref.layer, ref.node), False) for ref in reads)
    return ordered


def _result(owner: Layer, ref: Ref, known: dict[tuple[str, int], list[Sym]]) -> Sym:
    results = known[ref.layer, ref.node]
    if ref.tensor >= len(results):
        raise FileFormatError(f"{owner}: result {ref.tensor} of the layer {ref.layer!r} is read, which gives {len(results)}")
    return results[ref.tensor]


def _filled(layer: Layer, value: Any, known: dict[tuple[str, int], list[Sym]]) -> Any:
    """`value` with the Syms in the places of references."""
    if isinstance(value, Ref):
        return _result(layer, value, known)
    if isinstance(value, list):
        return [_filled(layer, v, known) for v in value]
    if isinstance(value, dict):
        return {k: _filled(layer, v, known) for k, v in value.items()}
    return value


# -- what the end of a sequence gives ------------------------------------------------------------------


def check_ends(reading: ModelReading) -> None:
    """Raises :class:`UnsupportedError` where what is known at a sequence's end goes into each of its timesteps.

    `last` marks such values (return_sequences=False, final states). A stream has the value as if the sequence ended now; that
    is right for outputs, and wrong for whatever joins it with earlier timesteps.
    """
    draft = reading.b.draft
    frames: set[str] = set()
    ends: set[str] = set()
    timed = {name for name, i in reading.b.time_axes | reading.b.dynamic_axes if i == 1}
    frames |= {name for name in draft.inputs if name in timed}
    draft.sort()
    for node in draft.nodes:
        data = node.inputs[:1] if node.op in CELL_OPS else [v for v in node.inputs if v]
        is_end = node.op == "last" or any(v in ends for v in data)
        is_frame = node.op != "last" and any(v in frames for v in data)
        if is_end and (is_frame or node.op in CELL_OPS):
            raise UnsupportedError(
                f"the layer {node.name!r} reads in each timestep what only the end of the sequence gives (a final state, or the output of "
                "a layer with return_sequences=False); expected that to be used behind the recurrent layers alone"
            )
        if node.op in CELL_OPS:
            frames |= set(node.outputs)
        elif is_end:
            ends |= set(node.outputs)
        elif is_frame:
            frames |= set(node.outputs)
