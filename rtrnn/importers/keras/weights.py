"""The weights of a model's layers, found in the two layouts that Keras writes.

`.keras` files hold them by the layers' places in the tree (``layers/gru/cell/vars/0``), `.h5` files by the names of the outermost
layers, each with an ordered list (Keras's saving_lib and legacy_h5_format). Either way the match is exact: each weight
that a layer must have is there, and each one that the file has belongs to a layer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from rtrnn.errors import FileFormatError, UnsupportedError
from rtrnn.importers.hdf5 import Hdf5Dataset, Hdf5Group
from rtrnn.importers.keras.config import NETWORKS, Layer, snake_case

__all__ = ["bind_legacy", "bind_paths", "refuse_types"]

#: What a dataset's values may be rounded from, by the layers' dtype policy.
_POLICIES = {"float32", "float64", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16"}
#: Places in a `.keras` file's weights that belong to training.
_TRAINING = re.compile(r"^(optimizer|_?metrics|loss|_?compile\w*)(/|$)|(^|/)seed_generator(/|$)")
_OLD_PREFIX = "_layer_checkpoint_dependencies"


@dataclass(frozen=True)
class Variable:
    name: str
    trainable: bool = True
    #: Counters are integers, and no part of the computation.
    counter: bool = False


def _when(*pairs: tuple[str, str, bool]) -> Callable[[Layer], list[Variable]]:
    """Variables (name, the flag that it depends on, the flag's default)."""
    return lambda layer: [Variable(name) for name, key, default in pairs if not key or layer.flag(key, default)]


def _normalization(layer: Layer) -> list[Variable]:
    if layer.get("mean", None) is not None:
        return []
    return [Variable("mean", False), Variable("variance", False), Variable("count", False, True)]


def _batch_normalization(layer: Layer) -> list[Variable]:
    if layer.flag("renorm", False):
        raise UnsupportedError(f"{layer}: batch renormalisation (renorm=True); expected renorm=False")
    learned = _when(("gamma", "scale", True), ("beta", "center", True))(layer)
    return [*learned, Variable("moving_mean", False), Variable("moving_variance", False)]


def _layer_normalization(layer: Layer) -> list[Variable]:
    if layer.flag("rms_scaling", False):
        return [Variable("gamma")]
    return _when(("gamma", "scale", True), ("beta", "center", True))(layer)


_BIASED = ("bias", "use_bias", True)
_CELL = _when(("kernel", "", True), ("recurrent_kernel", "", True), _BIASED)
_SEPARABLE = _when(("depthwise_kernel", "", True), ("pointwise_kernel", "", True), _BIASED)

_VARIABLES: dict[str, Callable[[Layer], list[Variable]]] = {
    **dict.fromkeys(("Dense", "Conv1D", "Conv2D"), _when(("kernel", "", True), _BIASED)),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), _when(("kernel", "", True), _BIASED)),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), _SEPARABLE),
    **dict.fromkeys(("SimpleRNNCell", "GRUCell", "LSTMCell"), _CELL),
    "PReLU": _when(("alpha", "", True)),
    "RMSNormalization": _when(("scale", "", True)),
    "Normalization": _normalization,
    "BatchNormalization": _batch_normalization,
    "LayerNormalization": _layer_normalization,
}


def _variables(layer: Layer) -> list[Variable]:
    """What the layer itself holds, without the layers inside."""
    if layer.get("quantization_config", None) is not None or layer.dtype_policy() not in _POLICIES:
        raise UnsupportedError(
            f"{layer}: quantised weights (dtype policy {layer.dtype_policy()!r}); expected one of {', '.join(sorted(_POLICIES))}"
        )
    return _VARIABLES[layer.kind](layer) if layer.kind in _VARIABLES else []


def _number(layer: Layer, variable: Variable, dataset: Hdf5Dataset) -> np.ndarray:
    array = dataset.read()
    if variable.counter:
        return array
    if array.dtype.kind != "f":
        raise UnsupportedError(
            f"{layer}: weight {variable.name!r} has the type {array.dtype} ({dataset.name}); expected floating-point numbers"
        )
    return array.astype(np.float32)


# -- .keras --------------------------------------------------------------------------------------------


def bind_paths(model: Layer, root: Hdf5Group) -> None:
    """Gives each layer its weights from a `.keras` file's model.weights.h5.

    Raises :class:`FileFormatError` for a weight that is missing or left over.
    """
    Binder(root).bind(model, "")


class Binder:
    def __init__(self, root: Hdf5Group) -> None:
        self.used: set[str] = set()
        self.first: dict[int, Layer] = {}
        self.entries: dict[str, Hdf5Group | Hdf5Dataset] = {}
        for entry in _entries(root, 0):
            place = _place(entry.name)
            if isinstance(entry, Hdf5Dataset) and place in self.entries:
                raise FileFormatError(f"the weights' file holds {place!r} twice")
            self.entries.setdefault(place, entry)

    def bind(self, model: Layer, path: str) -> None:
        self._visit(model, path)
        for place, entry in self.entries.items():
            if isinstance(entry, Hdf5Dataset) and place not in self.used and not _TRAINING.search(place):
                raise FileFormatError(
                    f"the weights' file holds {place!r} of shape {entry.shape}, which no layer of the model accounts for; the file may "
                    "be from a version of Keras that rtrnn does not know, or belong to another model"
                )

    def _visit(self, layer: Layer, path: str) -> None:
        if layer.shared is not None and layer.shared in self.first:
            _share(self.first[layer.shared], layer)
            return
        if layer.shared is not None:
            self.first[layer.shared] = layer
        self._take(layer, path)
        for attribute, child in sorted(layer.children.items()):
            self._visit(child, f"{path}/{attribute}")
        counts: dict[str, int] = {}
        place = "cells" if layer.kind == "StackedRNNCells" else "layers"
        for child in layer.layers:
            if child.kind.startswith("ops.") or (layer.kind == "Sequential" and child.kind == "InputLayer"):
                continue
            name = snake_case(child.kind)
            count = counts[name] = counts.get(name, -1) + 1
            self._visit(child, f"{path}/{place}/{name}{f'_{count}' if count else ''}".lstrip("/"))

    def _take(self, layer: Layer, path: str) -> None:
        place = f"{path}/vars".lstrip("/")
        group = self.entries.get(place)
        name = group.attributes.get("name") if group is not None else None
        if isinstance(name, str) and path and name != layer.name:
            raise FileFormatError(f"{layer}: the weights at {place!r} belong to the layer {name!r}; expected {layer.name!r}")
        for i, variable in enumerate(_variables(layer)):
            found = self.entries.get(f"{place}/{i}")
            if not isinstance(found, Hdf5Dataset):
                raise FileFormatError(f"{layer}: its weight {variable.name!r} is missing; expected it at {f'{place}/{i}'!r}")
            self.used.add(f"{place}/{i}")
            layer.weights[variable.name] = _number(layer, variable, found)


def _place(name: str) -> str:
    """A path as today's Keras writes it: on Windows it once was written with backslashes, by Keras 2.13 and 2.14 with another prefix."""
    return name.replace("\\", "/").strip("/").replace(_OLD_PREFIX, "layers")


def _share(first: Layer, again: Layer) -> None:
    """`again` is the same layer as `first`: its weights, and those of the layers inside."""
    again.weights = first.weights
    for one, other in zip(
        (*first.children.values(), *first.layers), (*again.children.values(), *again.layers), strict=False
    ):
        _share(one, other)


def _entries(group: Hdf5Group, depth: int) -> Iterator[Hdf5Group | Hdf5Dataset]:
    """All groups and datasets below `group`, but what belongs to training."""
    if depth > 64:
        raise FileFormatError(f"{group.name[:80]!r}: groups in groups, more than 64 deep")
    for name in group.names:
        if _TRAINING.search(_place(f"{group.name}/{name}")):
            continue
        entry = group[name]
        yield entry
        if isinstance(entry, Hdf5Group):
            yield from _entries(entry, depth + 1)


# -- .h5 -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Owned:
    layer: Layer
    #: The name of the layer that users gave: a cell's is its recurrent layer's.
    owner: str
    variable: Variable
    trainable: bool


def bind_legacy(model: Layer, root: Hdf5Group) -> None:
    """Gives each layer its weights from a whole-model `.h5` file: those of an outermost layer are one list, the trainable ones of
    all layers inside before the others.

    Raises :class:`FileFormatError` for a weight that is missing, left over, or of another name.
    """
    group = root.group("model_weights")
    known = set()
    for layer in model.layers:
        if layer.kind.startswith("ops."):
            continue
        known.add(layer.name)
        owned = list(_owned(layer, layer.name))
        owned = [o for o in owned if o.trainable] + [o for o in owned if not o.trainable]
        names = _names(group.group(layer.name), "weight_names") if layer.name in group.names else []
        if len(names) != len(owned):
            wanted = ", ".join(o.variable.name for o in owned) or "none"
            raise FileFormatError(f"{layer}: the file has {len(names)} weights for it ({', '.join(names)[:200]}); expected {wanted}")
        for o, name in zip(owned, names, strict=True):
            _check_name(o, name, {other.owner for other in owned})
            o.layer.weights[o.variable.name] = _number(o.layer, o.variable, group.dataset(f"{layer.name}/{name}"))
    for name in group.names:
        if name not in known and isinstance(group[name], Hdf5Group) and _names(group.group(name), "weight_names"):
            raise FileFormatError(f"the file holds weights of {name!r}, which is no layer of the model {model.name!r}")


def _owned(layer: Layer, owner: str) -> Iterator[_Owned]:
    for variable in _variables(layer):
        yield _Owned(layer, owner, variable, variable.trainable and layer.trainable)
    for attribute, child in layer.children.items():
        yield from _owned(child, owner if attribute in ("cell", "layer") else child.name)
    for child in layer.layers:
        yield from _owned(child, child.name if layer.kind in NETWORKS else owner)


def _check_name(owned: _Owned, name: str, owners: set[str]) -> None:
    parts = name.split("/")
    plain = re.sub(r":\d+$", "", parts[-1])
    if plain not in (owned.variable.name, f"depthwise_{owned.variable.name}" if "Depthwise" in owned.layer.kind else ""):
        raise FileFormatError(f"{owned.layer}: the file has {name!r} in the place of its weight {owned.variable.name!r}")
    if owned.owner not in parts and owners & set(parts[:-1]) - {owned.owner}:
        raise FileFormatError(f"{owned.layer}: the file has {name!r}, which is named after another layer, in the place of its weights")


def _names(group: Hdf5Group, key: str) -> list[str]:
    """A list of names; a long one is spread over several attributes (``weight_names0``, ``weight_names1``, ..)."""
    found: list[str] = []
    keys = [key] if key in group.attributes else [f"{key}{i}" for i in range(len(group.attributes))]
    for part in keys:
        value = group.attributes.get(part)
        if isinstance(value, list) and all(isinstance(v, str) for v in value):
            found += [v for v in value if isinstance(v, str)]
        elif value is not None and not (isinstance(value, np.ndarray) and value.size == 0):
            raise FileFormatError(f"{group.name!r}: the attribute {part!r} is {str(value)[:80]!r}; expected a list of names")
    return found


def refuse_types(model: Layer) -> list[str]:
    """What a user should know of the types that the model computes with."""
    policies = {layer.dtype_policy() for layer in model.walk()} - {"float32"}
    if not policies:
        return []
    return [f"the file computes in {', '.join(sorted(policies))}; rtrnn takes its weights and computes in float32"]
