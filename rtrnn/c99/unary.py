"""The unary functions of the Graph as C expressions; what alpha and beta mean is fixed in cpp/README.md."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["UNARY", "Unary", "cell_functions", "literal", "unary_of"]

_INF = math.inf
#: C expression in x, a (alpha) and b (beta), the functions it calls, and the defaults of alpha and beta.
_TABLE: dict[str, tuple[str, str, float, float]] = {
    "neg": ("-{x}", "", 0, 0),
    "sqrt": ("RT_sqrt({x})", "sqrt", 0, 0),
    "reciprocal": ("1.0f / {x}", "", 0, 0),
    "affine": ("RT_fma({a}, {x}, {b})", "fma", 1, 0),
    **{name: (f"RT_{name}({{x}})", name, 0, 0) for name in (
        "abs", "exp", "log", "sign", "erf", "floor", "ceil", "relu", "sigmoid", "tanh", "softsign", "gelu", "gelu_tanh", "mish",
        "hard_swish")},
    "leaky_relu": ("RT_leaky_relu({x}, {a})", "leaky_relu", 0.01, 0),
    "elu": ("RT_elu({x}, {a})", "elu", 1, 0),
    "selu": ("RT_selu({x}, {a}, {b})", "selu", 1.67326319217681884765625, 1.05070102214813232421875),
    "celu": ("RT_celu({x}, {a})", "celu", 1, 0),
    "softplus": ("RT_softplus({x}, {a}, {b})", "softplus", 1, 20),
    "silu": ("RT_silu({x}, {a})", "silu", 1, 0),
    "hard_sigmoid": ("RT_hard_sigmoid({x}, {a}, {b})", "hard_sigmoid", 0.2, 0.5),
    "thresholded_relu": ("RT_thresholded_relu({x}, {a})", "thresholded_relu", 1, 0),
    "scaled_tanh": ("RT_scaled_tanh({x}, {a}, {b})", "scaled_tanh", 1, 1),
    "clip": ("RT_clip({x}, {a}, {b})", "clip", -_INF, _INF),
}  # fmt: skip
UNARY = frozenset(_TABLE)


@dataclass(frozen=True)
class Unary:
    """A function with its constants."""

    op: str
    alpha: float = 0.0
    beta: float = 0.0

    @property
    def needs(self) -> tuple[str, ...]:
        return (_TABLE[self.op][1],) if _TABLE.get(self.op, ("", ""))[1] else ()

    def __call__(self, x: str) -> str:
        if self.op == "identity":
            return x
        return _TABLE[self.op][0].format(x=x, a=literal(self.alpha), b=literal(self.beta))


def literal(value: float) -> str:
    """The shortest decimal constant that is this float32 exactly."""
    x = np.float32(value)
    if np.isnan(x):
        return "(0.0f / 0.0f)"
    if np.isinf(x):
        return "(1.0f / 0.0f)" if x > 0 else "(-1.0f / 0.0f)"
    return f"{x!s}f"


def _default(op: str, alpha: float | None = None, beta: float | None = None) -> Unary:
    _, _, a, b = _TABLE.get(op, ("", "", 0.0, 0.0))
    return Unary(op, a if alpha is None else alpha, b if beta is None else beta)


def unary_of(op: str, attributes: Mapping[str, Any]) -> Unary:
    """A unary node's function."""
    return _default(op, attributes.get("alpha"), attributes.get("beta"))


def cell_functions(attributes: Mapping[str, Any], standard: tuple[str, ...]) -> list[Unary]:
    """The activations of a cell: the named ones with their alpha and beta, else the standard ones."""
    names = attributes.get("activations") or standard
    alpha, beta = attributes.get("alpha") or [None] * len(names), attributes.get("beta") or [None] * len(names)
    return [_default(*entry) for entry in zip(names, alpha, beta, strict=True)]
