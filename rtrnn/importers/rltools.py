"""RLtools checkpoints (HDF5).

What each layer writes is in ``persist.h`` of its folder under ``rl_tools/nn`` and ``rl_tools/nn_models``: a group with the attribute
``type``, each parameter in a group of its own as the dataset ``parameters``. Matrices are (outputs, inputs); a GRU has the gates
r, z, n, applies the reset gate behind the matrix product, and carries a trained initial state. The policy is the mean action.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rtrnn.errors import FileFormatError, UnsupportedError
from rtrnn.formats import LoadOptions
from rtrnn.importers.builder import CellWeights
from rtrnn.importers.chain import Chain
from rtrnn.importers.draft import Draft
from rtrnn.importers.hdf5 import Hdf5Group, open_hdf5
from rtrnn.importers.jsonfile import located, shape_text

__all__ = ["load"]

_TITLE = "RLtools HDF5"
_TYPES = ("dense", "gru", "standardize", "sample_and_squash", "mlp", "sequential")
_ACTIVATIONS = {"IDENTITY": None, "RELU": "relu", "TANH": "tanh", "SIGMOID": "sigmoid", "FAST_TANH": "fast_tanh"}
_MAX_LAYERS = 1000
_MAX_DEPTH = 8


def load(path: Path, options: LoadOptions) -> Draft:
    """The network in the group ``actor``, or in the root. Raises :class:`FileFormatError` and :class:`UnsupportedError`.

    Where the network ends in ``sample_and_squash`` the output is the action without noise, ``tanh(mean)``.
    """
    root = open_hdf5(path, f"{path}: {_TITLE}")
    top = root.group("actor") if "actor" in root else root
    network = _Network(str(path))
    network.add(top, "", 0)
    if network.chain is None:
        raise FileFormatError(f"{path}: {_TITLE}: {top.name!r} holds no layer; expected at least one")
    metadata = {
        key: value.encode("utf-8", "replace").decode()
        for key, value in {**root.attributes, **top.attributes}.items()
        if isinstance(value, str) and key in ("checkpoint_name", "meta")
    }
    with located(f"{path}: {_TITLE}"):
        return network.chain.finish(metadata=metadata, initial_states=options.initial_states)


class _Network:
    """Layers, appended in the order of the file; the first one says how many inputs there are."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.chain: Chain | None = None
        self.layers = 0

    def add(self, group: Hdf5Group, name: str, depth: int) -> None:
        kind = group.attributes.get("type")
        where = f"{self.path}: {_TITLE}: {group.name!r}"
        if not isinstance(kind, str) or kind not in _TYPES or depth > _MAX_DEPTH:
            found = f"{kind[:40]!r}" if isinstance(kind, str) else "no type"
            found = f"more than {_MAX_DEPTH} networks inside each other" if depth > _MAX_DEPTH else found
            raise UnsupportedError(f"{where}: {found}; expected the attribute 'type' to be one of {', '.join(_TYPES)}")
        self.layers += 1
        if self.layers > _MAX_LAYERS:
            raise FileFormatError(f"{where}: expected at most {_MAX_LAYERS} layers")
        with located(where):
            if kind == "sequential":
                self.sequence(group.group("layers"), name, depth)
            elif kind == "mlp":
                self.add(group.group("input_layer"), f"{name}input", depth + 1)
                self.sequence(group.group("hidden_layers"), f"{name}hidden_", depth)
                self.add(group.group("output_layer"), f"{name}output", depth + 1)
            elif kind == "sample_and_squash":
                self.squash(group, f"{kind}_{name}")
            else:
                {"dense": self.dense, "gru": self.gru, "standardize": self.standardize}[kind](group, f"{kind}_{name}")

    def sequence(self, layers: Hdf5Group, name: str, depth: int) -> None:
        names = [str(i) for i in range(len(layers.names))]
        if sorted(names) != sorted(layers.names):
            raise FileFormatError(f"{layers.name!r} holds {', '.join(layers.names[:12])}; expected layers 0, 1, 2, ..")
        for index in names:
            self.add(layers.group(index), f"{name}{index}", depth + 1)

    # -- layers ----------------------------------------------------------------------------------------

    def dense(self, group: Hdf5Group, name: str) -> None:
        function = group.text("activation_function")
        if function not in _ACTIVATIONS:
            raise UnsupportedError(f"activation_function {function[:40]!r}; expected one of {', '.join(_ACTIVATIONS)}")
        weight = _parameters(group, "weights", (None, self.chain.size if self.chain else None))
        bias = _parameters(group, "biases", (weight.shape[0],))
        chain = self.after(weight.shape[1])
        chain.linear(weight, bias, name)
        if _ACTIVATIONS[function] == "fast_tanh":
            _fast_tanh(chain, f"{name}.fast_tanh")
        else:
            chain.activation(_ACTIVATIONS[function], f"{name}.{function.lower()}")

    def gru(self, group: Hdf5Group, name: str) -> None:
        initial = _parameters(group, "initial_hidden_state", (None,))
        hidden = initial.size
        weight = _parameters(group, "weights_input", (3 * hidden, self.chain.size if self.chain else None))
        cell = CellWeights(
            weight,
            _parameters(group, "weights_hidden", (3 * hidden, hidden)),
            _parameters(group, "biases_input", (3 * hidden,)),
            _parameters(group, "biases_hidden", (3 * hidden,)),
        )
        self.after(weight.shape[1]).cell("gru", cell, name, initial={"h": initial})

    def standardize(self, group: Hdf5Group, name: str) -> None:
        """``(x - mean) * precision``; a precision of 0 leaves the difference as it is."""
        mean = _parameters(group, "mean", (self.chain.size if self.chain else None,))
        precision = _parameters(group, "precision", (mean.size,))
        chain = self.after(mean.size)
        b = chain.b
        b.hint = name
        centred = b.binary("sub", chain.x, b.const(mean, np.float32))
        chain.x = b.binary("mul", centred, b.const(np.where(precision == 0, 1, precision), np.float32))

    def squash(self, group: Hdf5Group, name: str) -> None:
        """The layer takes means and logarithms of deviations, one after the other."""
        if self.chain is None or self.chain.size % 2:
            size = self.chain.size if self.chain else "no"
            raise FileFormatError(f"sample_and_squash with {size} inputs; expected an even number of a layer before it")
        self.chain.x = self.chain.b.slice(self.chain.x, 0, 0, self.chain.size // 2)
        self.chain.activation("tanh", name)

    def after(self, inputs: int) -> Chain:
        if self.chain is None:
            self.chain = Chain(inputs)
        return self.chain


def _parameters(group: Hdf5Group, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """A parameter as float64; a vector may be stored as a matrix of one row."""
    data = group.dataset(f"{name}/parameters")
    found = data.shape[1:] if len(shape) == 1 and len(data.shape) == 2 and data.shape[0] == 1 else data.shape
    if len(found) != len(shape) or any(f < 1 or w not in (None, f) for f, w in zip(found, shape, strict=True)):
        raise FileFormatError(f"{name} has shape {data.shape}; expected {shape_text(shape)}")
    array = data.read().astype(np.float64).reshape(found)
    with np.errstate(over="ignore"):
        if not np.isfinite(array.astype(np.float32)).all():
            raise FileFormatError(f"{name} holds NaN or infinities; expected finite float32 numbers")
    return array


def _fast_tanh(chain: Chain, name: str) -> None:
    """``x (27 + x^2) / (27 + 9 x^2)`` of x clipped to -3..3, as in ``math/operations_generic.h``."""
    b = chain.b
    b.hint = name
    x = b.unary("clip", chain.x, None, alpha=-3.0, beta=3.0)
    square = b.binary("mul", x, x)
    above = b.binary("mul", x, b.unary("affine", square, None, alpha=1.0, beta=27.0))
    chain.x = b.binary("div", above, b.unary("affine", square, None, alpha=9.0, beta=27.0))
