"""Activation functions by the names that other tools give them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rtrnn.errors import UnsupportedError
from rtrnn.importers.builder import Builder, Sym

__all__ = ["apply_activation", "cell_activation"]

#: Name without case, blanks and underscores -> function of the Graph and its parameters. Where two tools mean different
#: things by one name (Keras's hard_sigmoid and PyTorch's), the importer says which through `special`.
_FUNCTIONS: dict[str, tuple[str, Mapping[str, float]]] = {
    "relu": ("relu", {}),
    "relu6": ("clip", {"alpha": 0.0, "beta": 6.0}),
    "leakyrelu": ("leaky_relu", {"alpha": 0.01}),
    "lrelu": ("leaky_relu", {"alpha": 0.01}),
    "elu": ("elu", {}),
    "selu": ("selu", {}),
    "celu": ("celu", {}),
    "sigmoid": ("sigmoid", {}),
    "tanh": ("tanh", {}),
    "softplus": ("softplus", {}),
    "softsign": ("softsign", {}),
    "gelu": ("gelu", {}),
    "gelutanh": ("gelu_tanh", {}),
    "silu": ("silu", {}),
    "swish": ("silu", {}),
    "mish": ("mish", {}),
    "exp": ("exp", {}),
    "exponential": ("exp", {}),
    "hardtanh": ("clip", {"alpha": -1.0, "beta": 1.0}),
    "hardswish": ("hard_swish", {}),
    "hardsilu": ("hard_swish", {}),
}
#: The parameters that the functions of cpp/README.md have.
_PARAMETERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("leaky_relu", "elu", "celu", "silu", "thresholded_relu"), ("alpha",)),
    **dict.fromkeys(("selu", "softplus", "hard_sigmoid", "scaled_tanh", "affine", "clip"), ("alpha", "beta")),
}
_IDENTITY = frozenset({"", "linear", "identity", "none"})


def _key(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")


def _find(name: str, special: Mapping[str, tuple[str, Mapping[str, float]]] | None) -> tuple[str, dict[str, float]]:
    key = _key(name)
    known = {**_FUNCTIONS, **{_key(k): v for k, v in (special or {}).items()}}
    if key not in known:
        names = sorted([*known, "softmax", "linear"])
        raise UnsupportedError(f"activation {name!r}: not supported; expected one of {', '.join(names)}")
    op, parameters = known[key]
    return op, dict(parameters)


def apply_activation(
    b: Builder,
    x: Sym,
    name: str | None,
    *,
    special: Mapping[str, tuple[str, Mapping[str, float]]] | None = None,
    **parameters: float,
) -> Sym:
    """`x` through the function called `name` (None, "" and "linear": `x` itself; softmax runs over the last axis).

    `special` maps further names, or other meanings of these, to Graph functions and parameters; `parameters` (alpha,
    beta) override the function's defaults. Raises :class:`UnsupportedError` for an unknown name, and for a parameter that
    the function does not have.
    """
    op, defaults = "", dict[str, float]()
    if name is not None and _key(name) not in _IDENTITY and _key(name) != "softmax":
        op, defaults = _find(name, special)
    for parameter in parameters:
        if parameter not in _PARAMETERS.get(op, ()):
            known = " and ".join(_PARAMETERS.get(op, ())) or "no parameters"
            raise UnsupportedError(f"activation {name!r} with {parameter}={parameters[parameter]:g}: expected {known}")
    if not op:
        return x if name is None or _key(name) in _IDENTITY else b.softmax(x)
    return b.unary(op, x, None, **{**defaults, **parameters})


def cell_activation(
    name: str | None, *, special: Mapping[str, tuple[str, Mapping[str, float]]] | None = None
) -> tuple[str, float, float]:
    """(function, alpha, beta) as the attributes of a recurrent cell take them; raises :class:`UnsupportedError`."""
    if name is None or _key(name) in _IDENTITY:
        return "affine", 1.0, 0.0
    op, parameters = _find(name, special)
    full = {**_CELL_DEFAULTS.get(op, {}), **parameters}
    return op, float(full.get("alpha", 0.0)), float(full.get("beta", 0.0))


#: The defaults of cpp/README.md for functions with parameters: a cell's lists of alpha and beta name them all.
_CELL_DEFAULTS: dict[str, Mapping[str, float]] = {
    "elu": {"alpha": 1.0},
    "celu": {"alpha": 1.0},
    "selu": {"alpha": float(np.float32(1.6732632423543772)), "beta": float(np.float32(1.0507009873554805))},
    "softplus": {"alpha": 1.0, "beta": 20.0},
    "silu": {"alpha": 1.0},
}
