"""A Keras configuration as a tree of layers, read from JSON that nobody has checked.

Nothing is looked up by module and run: a layer is known by its class name alone, and one that is registered elsewhere (a
custom layer, a Lambda) is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rtrnn.errors import FileFormatError, UnsupportedError

__all__ = ["NETWORKS", "Layer", "Ref", "model_layer", "snake_case"]

NETWORKS = frozenset({"Sequential", "Functional", "Model"})
#: Cells that a recurrent layer of its own class makes itself; the file's weights are the cell's.
_OWN_CELL = frozenset({"SimpleRNN", "GRU", "LSTM"})
_MAX_DEPTH = 30
_MAX_LAYERS = 20_000
_LIBRARY = re.compile(r"(tf_keras|keras|tensorflow\.keras|tensorflow\.python\.keras)(\.|$)")
#: Functions of keras.ops called on tensors of a Functional model stand among its layers.
_OPERATION = re.compile(r"\.ops(\.|$)")
_MISSING: Any = object()


@dataclass(frozen=True)
class Ref:
    """The result `tensor` of the `node`-th call of the layer `layer`, as a Functional model's configuration names it."""

    layer: str
    node: int
    tensor: int

    @classmethod
    def of(cls, value: Any) -> Ref | None:
        """`value` as a reference, ``["dense", 0, 0]``; None if it is something else."""
        if not isinstance(value, list) or len(value) not in (3, 4) or not isinstance(value[0], str):
            return None
        if any(type(part) is not int or part < 0 for part in value[1:3]):
            return None
        return cls(*value[:3])


@dataclass(eq=False)
class Layer:
    """One layer: what its configuration says, the layers in it, and (once bound) its weights by name."""

    kind: str
    name: str
    config: dict[str, Any]
    #: For messages: the names of the networks and wrappers around it, and its own.
    path: str
    trainable: bool = True
    #: Layers inside by attribute: ``layer`` of a TimeDistributed, ``cell`` of an RNN. A network's are in `layers`.
    children: dict[str, Layer] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    #: Calls in a Functional model: (args, kwargs), in which :class:`Ref` objects stand for tensors.
    calls: list[tuple[Any, dict[str, Any]]] = field(default_factory=list)
    #: Equal for two places at which the file holds one and the same layer.
    shared: int | None = None
    build_shape: Any = None
    weights: dict[str, np.ndarray] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"layer {self.path!r} ({self.kind})"

    def walk(self) -> Iterator[Layer]:
        """This layer and all inside."""
        yield self
        for layer in (*self.children.values(), *self.layers):
            yield from layer.walk()

    # -- the configuration's entries, checked ----------------------------------------------------------

    def bad(self, key: str, expected: str, found: Any) -> FileFormatError:
        text = repr(found)
        return FileFormatError(f"{self}: {key} is {text[:80]}{'...' if len(text) > 80 else ''}; expected {expected}")

    def get(self, key: str, default: Any = _MISSING) -> Any:
        """The entry as it is; `default` where it is missing (null counts as an entry)."""
        if key in self.config:
            return self.config[key]
        if default is _MISSING:
            raise FileFormatError(f"{self}: its configuration has no {key!r}")
        return default

    def flag(self, key: str, default: bool) -> bool:
        value = self.get(key, default)
        if type(value) is not bool:
            raise self.bad(key, "true or false", value)
        return value

    def number(self, key: str, default: float = _MISSING) -> float:
        value = self.get(key, default)
        if isinstance(value, dict):  # a NumPy scalar
            value = value.get("config", value)
            value = value.get("value", value) if isinstance(value, dict) else value
        if type(value) not in (int, float) or not abs(value) < 1e38:
            raise self.bad(key, "a finite number", value)
        return float(value)

    def optional_number(self, key: str) -> float | None:
        return None if self.get(key, None) is None else self.number(key)

    def integer(self, key: str, default: int = _MISSING) -> int:
        value = self.get(key, default)
        if type(value) is not int or not abs(value) < 1 << 31:
            raise self.bad(key, "a whole number", value)
        return value

    def integers(self, key: str, count: int | None = None, default: Any = _MISSING) -> list[int]:
        """A list of whole numbers; one number stands for `count` equal ones."""
        value = self.get(key, default)
        if type(value) is int:
            value = [value] * (count or 1)
        if not isinstance(value, list) or any(type(v) is not int or not abs(v) < 1 << 31 for v in value):
            raise self.bad(key, "whole numbers", value)
        if count is not None and len(value) != count:
            raise self.bad(key, f"{count} whole numbers", value)
        return value

    def text(self, key: str, default: str = _MISSING) -> str:
        value = self.get(key, default)
        if not isinstance(value, str):
            raise self.bad(key, "a text", value)
        return value

    def array(self, key: str) -> np.ndarray | None:
        """Numbers written into the configuration, or None: lists of lists, or a serialised array."""
        value = self.get(key, None)
        while isinstance(value, dict):
            value = value.get("config") if "config" in value else value.get("value")
        if value is None:
            return None
        try:
            array = np.asarray(value, np.float64)
        except (ValueError, TypeError, OverflowError):
            raise self.bad(key, "numbers", value) from None
        if not np.isfinite(array).all():
            raise self.bad(key, "finite numbers", value)
        return array

    def dtype_policy(self) -> str:
        value = self.get("dtype", None)
        while isinstance(value, dict):
            value = value.get("config", {}).get("name") if isinstance(value.get("config"), dict) else None
        return value if isinstance(value, str) else "float32"


def snake_case(name: str) -> str:
    """A class name as Keras writes it into the paths of weights: SimpleRNN becomes simple_rnn."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def model_layer(document: Any) -> Layer:
    """The tree of layers of a model's configuration.

    Raises :class:`FileFormatError`, and :class:`UnsupportedError` for what is not one of Keras's own layers.
    """
    model = _Reader().layer(document, "", 0, trainable=True)
    if model.kind not in NETWORKS:
        raise UnsupportedError(
            f"the model is of the class {model.kind!r}; expected a Sequential or a Functional model (a model written as a class of "
            "its own does not say in the file how its layers are called: export it to ONNX, or rebuild it as a Functional model)"
        )
    return model


class _Reader:
    def __init__(self) -> None:
        self.count = 0

    def layer(self, spec: Any, parent: str, depth: int, *, trainable: bool) -> Layer:
        """One layer, `spec` being ``{"class_name": .., "config": ..}``."""
        where = parent or "the model"
        self.count += 1
        if depth > _MAX_DEPTH or self.count > _MAX_LAYERS:
            raise FileFormatError(f"{where}: more than {_MAX_DEPTH} levels or {_MAX_LAYERS} layers")
        if not isinstance(spec, dict) or not isinstance(spec.get("class_name"), str):
            raise FileFormatError(f"{where}: a layer is {str(spec)[:80]!r}; expected class_name and config")
        kind, config = spec["class_name"], spec.get("config")
        if isinstance(config, list) and kind == "Sequential":  # Keras 2.2 and before
            config = {"name": "sequential", "layers": config}
        if not isinstance(config, dict):
            raise FileFormatError(f"{where}: the layer of class {kind!r} has the config {str(config)[:80]!r}; expected a mapping")
        name = config.get("name", spec.get("name", snake_case(kind)))
        if not isinstance(name, str) or not name:
            raise FileFormatError(f"{where}: a layer of class {kind!r} has the name {str(name)[:80]!r}; expected a text")
        path = f"{parent}/{name}" if parent else name
        made = Layer(kind, name, config, path if parent or kind not in NETWORKS else name)
        self._check_origin(made, spec)
        if _OPERATION.search(str(spec.get("module"))):
            made.kind = f"ops.{kind}"
        made.trainable = trainable and made.get("trainable", True) is not False
        made.shared = spec["shared_object_id"] if isinstance(spec.get("shared_object_id"), int) else None
        build = spec.get("build_config")
        made.build_shape = build.get("input_shape") if isinstance(build, dict) else None
        # Paths below the model itself begin with its layers' names.
        inside = "" if depth == 0 else path
        if kind in NETWORKS:
            self._network(made, inside, depth)
        else:
            self._children(made, path, depth)
        return made

    def _check_origin(self, layer: Layer, spec: dict[str, Any]) -> None:
        module, registered = spec.get("module"), spec.get("registered_name")
        own = registered not in (None, layer.kind)
        if isinstance(registered, str) and registered.startswith(("keras.", "Keras>", "keras>")):
            own = False
        if layer.kind == "Lambda":
            raise UnsupportedError(
                f"{layer}: a Lambda layer holds program code, which rtrnn never runs; expected Keras's own layers. Replace it by one, "
                "or export the model to ONNX"
            )
        if own or (isinstance(module, str) and not _LIBRARY.match(module)):
            raise UnsupportedError(
                f"{layer}: a custom class (module {module!r}, registered as {registered!r}), whose computation is not in the file; "
                "expected Keras's own layers. Replace it by them, or export the model to ONNX"
            )

    def _network(self, model: Layer, path: str, depth: int) -> None:
        specs = model.get("layers", None)
        if specs is None and model.kind == "Model":
            raise UnsupportedError(
                f"{model}: a model written as a class of its own, which does not say how its layers are called; expected a Sequential or "
                "a Functional model. Export it to ONNX, or rebuild it as a Functional model"
            )
        if not isinstance(specs, list):
            raise model.bad("layers", "a list of layers", specs)
        for spec in specs:
            layer = self.layer(spec, path, depth + 1, trainable=model.trainable)
            if model.kind != "Sequential":
                if isinstance(spec.get("name"), str):
                    layer.name = spec["name"]
                layer.calls = _calls(layer, spec.get("inbound_nodes", []))
            model.layers.append(layer)
        if model.kind != "Sequential" and len({layer.name for layer in model.layers}) != len(model.layers):
            raise FileFormatError(f"{model}: two of its layers have one name")

    def _children(self, layer: Layer, path: str, depth: int) -> None:
        def child(key: str, spec: Any, attribute: str) -> None:
            if not isinstance(spec, dict):
                raise layer.bad(key, "a layer", spec)
            layer.children[attribute] = self.layer(spec, path, depth + 1, trainable=layer.trainable)

        if layer.kind == "TimeDistributed":
            child("layer", layer.get("layer"), "layer")
        elif layer.kind == "Bidirectional":
            forward = layer.get("layer")
            child("layer", forward, "forward_layer")
            backward = layer.get("backward_layer", None)
            if backward is None:
                backward = {**forward, "config": {**forward["config"]}}
                backward["config"]["go_backwards"] = not forward["config"].get("go_backwards", False)
                backward["config"]["name"] = "backward_" + layer.children["forward_layer"].name.removeprefix("forward_")
            child("backward_layer", backward, "backward_layer")
        elif layer.kind == "RNN":
            child("cell", layer.get("cell"), "cell")
        elif layer.kind == "StackedRNNCells":
            cells = layer.get("cells")
            if not isinstance(cells, list) or not cells:
                raise layer.bad("cells", "a list of cells", cells)
            layer.layers = [self.layer(spec, path, depth + 1, trainable=layer.trainable) for spec in cells]
        elif layer.kind in _OWN_CELL:
            name = f"{snake_case(layer.kind)}_cell"
            layer.children["cell"] = Layer(f"{layer.kind}Cell", name, layer.config, layer.path, layer.trainable)


def _calls(layer: Layer, nodes: Any) -> list[tuple[Any, dict[str, Any]]]:
    """The calls of a layer: Keras 3 writes ``{"args": .., "kwargs": ..}``, Keras 2 ``[["dense", 0, 0, {}], ..]``."""
    if not isinstance(nodes, list):
        raise layer.bad("inbound_nodes", "a list", nodes)
    calls = []
    for node in nodes:
        if isinstance(node, dict):
            args, kwargs = node.get("args"), node.get("kwargs", {})
            if not isinstance(args, list) or not isinstance(kwargs, dict):
                raise layer.bad("inbound_nodes", "args and kwargs", node)
            calls.append((_tensors(layer, args, 0), {k: _tensors(layer, v, 0) for k, v in kwargs.items()}))
        elif isinstance(node, list) and node:
            calls.append(_old_call(layer, node))
        else:
            raise layer.bad("inbound_nodes", "calls of the layer", node)
    return calls


def _tensors(layer: Layer, value: Any, depth: int) -> Any:
    """`value` with references in place of serialised tensors, and Python's slices."""
    if depth > _MAX_DEPTH:
        raise FileFormatError(f"{layer}: inbound_nodes is nested more than {_MAX_DEPTH} deep")
    if isinstance(value, list):
        return [_tensors(layer, v, depth + 1) for v in value]
    if not isinstance(value, dict):
        return value
    config = value.get("config")
    kind = value.get("class_name")
    if kind == "__keras_tensor__" and isinstance(config, dict):
        ref = Ref.of(config.get("keras_history"))
        if ref is None:
            raise layer.bad("keras_history", "a layer's name and two whole numbers", config.get("keras_history"))
        return ref
    if kind == "__slice__" and isinstance(config, dict):
        parts = [_tensors(layer, config.get(key), depth + 1) for key in ("start", "stop", "step")]
        if any(part is not None and type(part) is not int for part in parts):
            raise layer.bad("a slice", "whole numbers", config)
        return slice(*parts)
    if kind == "__ellipsis__":
        return Ellipsis
    if kind in ("__numpy__", "__tensor__") and isinstance(config, dict):
        try:
            return np.asarray(config.get("value"), np.float64)
        except (ValueError, TypeError, OverflowError):
            raise layer.bad("a constant", "numbers", config.get("value")) from None
    return {str(k): _tensors(layer, v, depth + 1) for k, v in value.items()}


def _old_call(layer: Layer, node: list[Any]) -> tuple[Any, dict[str, Any]]:
    """One call as Keras 2 writes it: a list of [name, node, tensor, kwargs], or a single one of these."""
    if isinstance(node[0], str):
        node = [node]
    refs: list[Any] = []
    kwargs: dict[str, Any] = {}
    for entry in node:
        if isinstance(entry, list) and len(entry) >= 3 and entry[0] == "_CONSTANT_VALUE":
            refs.append(entry[2])
        else:
            ref = Ref.of(entry)
            if ref is None:
                raise layer.bad("inbound_nodes", "lists of a layer's name and two whole numbers", entry)
            refs.append(ref)
        if isinstance(entry, list) and len(entry) > 3:
            if not isinstance(entry[3], dict):
                raise layer.bad("inbound_nodes", "a mapping of keywords", entry[3])
            kwargs.update({k: _old_keyword(v) for k, v in entry[3].items()})
    return [refs[0] if len(refs) == 1 else refs], kwargs


def _old_keyword(value: Any) -> Any:
    if isinstance(value, list):
        if len(value) >= 3 and value[0] == "_CONSTANT_VALUE":
            return value[2]
        return Ref.of(value) or [_old_keyword(v) if isinstance(v, list) else v for v in value]
    return value
