"""Lowerings of normalising layers. The formulas are those of Keras 3's layers; all in inference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rtrnn.errors import FileFormatError, UnsupportedError
from rtrnn.importers.builder import Sym
from rtrnn.importers.keras.config import Layer
from rtrnn.importers.keras.lowering import Reading, lowers, one, weight

__all__: list[str] = []

#: keras.backend.epsilon(), which no file holds.
_EPSILON = 1e-7


@lowers("Normalization")
def _normalization(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    """``(x - mean) / max(sqrt(variance), epsilon)``; the statistics are weights, or are written into the configuration."""
    x = one(layer, args)
    axes = [] if layer.get("axis", [-1]) is None else layer.integers("axis", None, [-1])
    keep = sorted({x.axis(a) for a in axes})
    shape = tuple(x.shape[a] for a in keep)
    if any(r.is_time(x, a) for a in keep) or 0 in keep:
        raise UnsupportedError(f"{layer}: statistics for each timestep (axis {axes}) cannot be streamed; expected axes of features")
    mean, variance = layer.array("mean"), layer.array("variance")
    if mean is None or variance is None:
        mean, variance = weight(layer, "mean", shape), weight(layer, "variance", shape)
    wide = tuple(d if i in keep else 1 for i, d in enumerate(x.shape))
    try:
        mean, variance = (
            np.broadcast_to(v.reshape((*(1,) * (len(keep) - v.ndim), *v.shape)), shape).reshape(wide) for v in (mean, variance)
        )
    except ValueError:
        raise FileFormatError(
            f"{layer}: mean has shape {np.shape(mean)}, variance {np.shape(variance)}; expected {shape}"
        ) from None
    with np.errstate(invalid="ignore"):
        deviation = np.maximum(np.sqrt(variance.astype(np.float64)), _EPSILON).astype(np.float32)
    b = r.b
    if layer.flag("invert", False):
        return b.binary("add", b.binary("mul", x, b.const(deviation)), b.const(mean, np.float32))
    return b.binary("div", b.binary("sub", x, b.const(mean, np.float32)), b.const(deviation))


@lowers("BatchNormalization")
def _batch_normalization(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    """``(x - moving_mean) gamma / sqrt(moving_variance + epsilon) + beta``; renormalisation changes training alone."""
    x = one(layer, args)
    (axis,) = layer.integers("axis", 1, -1)
    axis = x.axis(axis)
    if r.is_time(x, axis):
        raise UnsupportedError(f"{layer}: statistics for each timestep (axis {axis}) cannot be streamed; expected an axis of features")
    size = x.shape[axis]
    wide = tuple(size if i == axis else 1 for i in range(x.ndim))
    gamma = weight(layer, "gamma", (size,)) if layer.flag("scale", True) else np.ones(size)
    mean, variance = weight(layer, "moving_mean", (size,)), weight(layer, "moving_variance", (size,))
    with np.errstate(all="ignore"):
        scale = gamma / np.sqrt(variance.astype(np.float64) + layer.number("epsilon", 1e-3))
    b = r.b
    y = b.binary("mul", b.binary("sub", x, b.const(mean.reshape(wide))), b.const(scale.reshape(wide), np.float32))
    return b.binary("add", y, b.const(weight(layer, "beta", (size,)).reshape(wide))) if layer.flag("center", True) else y


def _trailing(r: Reading, layer: Layer, x: Sym) -> int:
    """The first of the axes that are normalised over; they must be the last ones."""
    axes = sorted({x.axis(a) for a in layer.integers("axis", None, [-1])})
    trailing = bool(axes) and axes == list(range(x.ndim - len(axes), x.ndim))
    if not trailing or 0 in axes or any(r.is_time(x, a) for a in axes):
        raise UnsupportedError(
            f"{layer}: normalises over the axes {axes} of a value of shape {x.shape}; expected the last axes, of features"
        )
    return axes[0]


@lowers("LayerNormalization")
def _layer_normalization(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    x, b = one(layer, args), r.b
    first, eps = _trailing(r, layer, x), layer.number("epsilon", 1e-3)
    shape = x.shape[first:]
    rms = layer.flag("rms_scaling", False)
    gamma = weight(layer, "gamma", shape) if layer.flag("scale", True) or rms else None
    beta = weight(layer, "beta", shape) if layer.flag("center", True) and not rms else None
    if not rms:
        return b.layer_norm(x, gamma, beta, eps, first)
    axes = list(range(first, x.ndim))
    centred = b.binary("sub", x, b.reduce("reduce_mean", x, axes, True))
    return _scaled_by_rms(r, x, centred, axes, eps, gamma)


@lowers("RMSNormalization")
def _rms_normalization(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    x = one(layer, args)
    first = _trailing(r, layer, x)
    axes = list(range(first, x.ndim))
    return _scaled_by_rms(r, x, x, axes, layer.number("epsilon", 1e-6), weight(layer, "scale", x.shape[first:]))


def _scaled_by_rms(r: Reading, x: Sym, measured: Sym, axes: list[int], eps: float, gamma: np.ndarray | None) -> Sym:
    """``x / sqrt(mean(measured^2) + eps) * gamma``."""
    b = r.b
    square = b.reduce("reduce_mean", b.binary("mul", measured, measured), axes, True)
    y = b.binary("div", x, b.unary("sqrt", b.unary("affine", square, None, alpha=1.0, beta=eps), None))
    return y if gamma is None else b.binary("mul", y, b.const(gamma))


@lowers("UnitNormalization")
def _unit_normalization(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    x, b = one(layer, args), r.b
    axes = sorted({x.axis(a) for a in layer.integers("axis", None, [-1])})
    if 0 in axes or any(r.is_time(x, a) for a in axes):
        raise UnsupportedError(f"{layer}: normalises over the axes {axes}, which are not features; expected axes of features")
    norm = b.unary("sqrt", b.reduce("reduce_sum", b.binary("mul", x, x), axes, True), None)
    return b.binary("div", x, b.unary("clip", norm, None, alpha=1e-12))


@lowers("Rescaling")
def _rescaling(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    x = one(layer, args)
    scale, offset = layer.array("scale"), layer.array("offset")
    if scale is None:
        raise layer.bad("scale", "a number", None)
    offset = np.zeros(()) if offset is None else offset
    for name, value in (("scale", scale), ("offset", offset)):
        if value.ndim > x.ndim or any(d not in (1, n) for d, n in zip(value.shape[::-1], x.shape[::-1], strict=False)):
            raise layer.bad(name, f"numbers that fit a value of shape {x.shape}", value.tolist())
    b = r.b
    if scale.ndim == offset.ndim == 0:
        return b.unary("affine", x, None, alpha=float(scale), beta=float(offset))
    return b.binary("add", b.binary("mul", x, b.const(scale, np.float32)), b.const(offset, np.float32))
