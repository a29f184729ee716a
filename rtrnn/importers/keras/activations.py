"""Activations as Keras writes them: a name, or a serialised activation layer with its parameters.

Names mean what keras.activations says of them; hard_sigmoid is ``clip(0.2 x + 0.5, 0, 1)`` in Keras 1 and 2 and
``clip(x / 6 + 0.5, 0, 1)`` from Keras 3 on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rtrnn.errors import UnsupportedError
from rtrnn.importers.activations import apply_activation, cell_activation
from rtrnn.importers.builder import Builder, Sym
from rtrnn.importers.keras.config import Layer

__all__ = ["apply", "in_cell", "relu"]

Special = Mapping[str, tuple[str, Mapping[str, float]]]
_INFINITY = float("inf")


def special(version: int) -> dict[str, tuple[str, Mapping[str, float]]]:
    """Keras's own meanings of names, for :func:`~rtrnn.importers.activations.apply_activation`."""
    hard = {"alpha": 0.2, "beta": 0.5} if version < 3 else {"alpha": 1 / 6, "beta": 0.5}
    return {"hard_sigmoid": ("hard_sigmoid", hard), "leaky_relu": ("leaky_relu", {"alpha": 0.2})}


def _layer_of(owner: Layer, spec: Mapping[str, Any]) -> Layer:
    """A serialised object as a Layer; refuses functions and classes that are not Keras's."""
    kind, config = spec.get("class_name"), spec.get("config")
    module, registered = spec.get("module"), spec.get("registered_name")
    foreign = not isinstance(kind, str) or not isinstance(config, dict)
    foreign = foreign or (module is not None and not str(module).startswith(("keras", "tensorflow.keras", "tf_keras")))
    if foreign or registered not in (None, kind):
        found = config if kind == "function" else kind
        raise UnsupportedError(
            f"{owner}: its activation is {str(found)[:80]!r} (module {module!r}), which is not one of Keras's own; its computation is "
            "not in the file. Replace it by one of keras.activations, or export the model to ONNX"
        )
    assert isinstance(kind, str)
    assert isinstance(config, dict)
    return Layer(kind, str(config.get("name", kind)), config, f"{owner.path}/activation")


def _named(layer: Layer, version: int) -> tuple[str | None, dict[str, float]] | None:
    """(name, parameters) of an activation layer that is one function of the Graph; None for any other."""
    if layer.kind == "Activation":
        spec = layer.get("activation", None)
        return _named(_layer_of(layer, spec), version) if isinstance(spec, dict) else (spec, {})
    if layer.kind == "LeakyReLU":
        key = "negative_slope" if "negative_slope" in layer.config else "alpha"
        return "leaky_relu", {"alpha": layer.number(key, 0.3)}
    if layer.kind == "ELU":
        return "elu", {"alpha": layer.number("alpha", 1.0)}
    if layer.kind == "Softmax" and layer.integers("axis", 1, -1) == [-1]:
        return "softmax", {}
    if layer.kind == "Mish":
        return "mish", {}
    if layer.kind == "ReLU":
        slope, threshold, most = _relu_parameters(layer)
        if threshold == 0 and slope == 0:
            return ("relu", {}) if most is None else ("clip01", {"alpha": 0.0, "beta": most})
        if threshold == 0 and most is None:
            return "leaky_relu", {"alpha": slope}
    return None


def apply(b: Builder, x: Sym, owner: Layer, spec: Any, version: int) -> Sym:
    """`x` through the activation `spec` of the layer `owner`. Raises :class:`UnsupportedError` for what is not supported."""
    parameters: dict[str, float] = {}
    if isinstance(spec, dict):
        layer = _layer_of(owner, spec)
        named = _named(layer, version)
        if named is None and layer.kind == "ReLU":
            return relu(b, x, layer)
        if named is None:
            raise UnsupportedError(f"{owner}: the activation {layer.kind!r} with these parameters is not supported")
        spec, parameters = named
    if spec is not None and not isinstance(spec, str):
        raise owner.bad("activation", "a name or an activation layer", spec)
    if spec == "log_softmax":
        return b.log_softmax(x)
    if spec == "log_sigmoid":
        return b.unary("neg", b.unary("softplus", b.unary("neg", x, np.negative), None, alpha=1.0, beta=_INFINITY), None)
    if spec == "tanh_shrink":
        return b.binary("sub", x, b.unary("tanh", x, np.tanh))
    table = {**special(version), "clip01": ("clip", {})}
    try:
        return apply_activation(b, x, spec, special=table, **parameters)
    except UnsupportedError as error:
        raise UnsupportedError(f"{owner}: {error}") from None


def in_cell(owner: Layer, key: str, default: str, version: int) -> tuple[str, float, float]:
    """(function, alpha, beta) of a recurrent cell's activation. Raises :class:`UnsupportedError`."""
    spec: Any = owner.get(key, default)
    parameters: dict[str, float] = {}
    if isinstance(spec, dict):
        layer = _layer_of(owner, spec)
        named = _named(layer, version)
        if named is None:
            raise UnsupportedError(f"{owner}: {key} is {layer.kind!r} with parameters that a recurrent cell cannot take")
        spec, parameters = named
    if spec is not None and not isinstance(spec, str):
        raise owner.bad(key, "a name or an activation layer", spec)
    table = {**special(version), "clip01": ("clip", {})}
    try:
        op, alpha, beta = cell_activation(spec, special=table)
    except UnsupportedError as error:
        raise UnsupportedError(f"{owner}: {key}: {error}") from None
    return op, parameters.get("alpha", alpha), parameters.get("beta", beta)


def _relu_parameters(layer: Layer) -> tuple[float, float, float | None]:
    slope = layer.number("negative_slope", 0.0) if layer.get("negative_slope", None) is not None else 0.0
    threshold = layer.number("threshold", 0.0) if layer.get("threshold", None) is not None else 0.0
    return slope, threshold, layer.optional_number("max_value")


def relu(b: Builder, x: Sym, layer: Layer) -> Sym:
    """keras.layers.ReLU: x above the threshold, at most max_value; below it negative_slope (x - threshold)."""
    slope, threshold, most = _relu_parameters(layer)
    above = b.unary("relu", x, None) if threshold == 0 else b.unary("thresholded_relu", x, None, alpha=threshold)
    if threshold < 0:
        raise UnsupportedError(f"{layer}: threshold {threshold}; expected a number that is not negative")
    if most is not None:
        above = b.unary("clip", above, None, alpha=0.0, beta=most)
    if slope == 0:
        return above
    below = b.unary("affine", b.unary("clip", x, None, beta=threshold), None, alpha=slope, beta=-slope * threshold)
    return b.binary("add", above, below)
