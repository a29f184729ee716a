"""Lowerings of convolutions and pooling, over time (causal, as a stream with a state) or within one timestep.

Kernels are (k.., in / groups, out) in Keras, channels last unless `data_format` says otherwise. "same" padding puts the odd
element at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rtrnn.errors import FileFormatError, UnsupportedError
from rtrnn.importers.builder import Sym
from rtrnn.importers.keras import activations
from rtrnn.importers.keras.config import Layer
from rtrnn.importers.keras.lowering import Reading, lowers, one, weight

__all__: list[str] = []


def _first_channels(r: Reading, layer: Layer, x: Sym, rank: int) -> tuple[Sym, bool]:
    """`x` as (1, channels, spatial..), and whether the file has the channels there."""
    if x.ndim != rank + 2:
        raise FileFormatError(f"{layer}: called with a value of shape {x.shape}; expected {rank + 2} axes")
    first = layer.get("data_format", None) == "channels_first"
    return (x if first else r.b.permute(x, [0, x.ndim - 1, *range(1, x.ndim - 1)])), first


def _back(r: Reading, y: Sym, first: bool) -> Sym:
    return y if first else r.b.permute(y, [0, *range(2, y.ndim), 1])


def _pads(layer: Layer, x: Sym, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> list[tuple[int, int]]:
    """What "valid", "causal" and "same" add before and behind each spatial axis of `x` (1, channels, spatial..)."""
    padding = layer.text("padding", "valid")
    spans = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
    if padding == "valid":
        return [(0, 0)] * len(spans)
    if padding == "causal" and len(spans) == 1:
        return [(spans[0], 0)]
    if padding != "same":
        raise layer.bad("padding", "valid, same or causal", padding)
    pads = []
    for size, span, stride in zip(x.shape[2:], spans, strides, strict=True):
        total = max((-(-size // stride) - 1) * stride + span + 1 - size, 0)
        pads.append((total // 2, total - total // 2))
    return pads


def _finish(r: Reading, layer: Layer, y: Sym, first: bool) -> Sym:
    spec = layer.get("activation", None)
    named = spec if isinstance(spec, str) else ""
    if first and "softmax" in named:
        raise UnsupportedError(f"{layer}: {named} with channels first runs over the last spatial axis; expected another activation")
    return activations.apply(r.b, _back(r, y, first), layer, spec, r.version)


def _settings(layer: Layer, rank: int) -> tuple[list[int], list[int], list[int]]:
    kernel, strides = layer.integers("kernel_size", rank), layer.integers("strides", rank, 1)
    dilations = layer.integers("dilation_rate", rank, 1)
    if min(*kernel, *strides, *dilations, 1) < 1:
        raise FileFormatError(f"{layer}: kernel_size {kernel}, strides {strides}, dilation_rate {dilations}; expected at least 1")
    return kernel, strides, dilations


@lowers("Conv1D", "Conv2D")
def _conv(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    rank = 1 if layer.kind == "Conv1D" else 2
    x, first = _first_channels(r, layer, one(layer, args), rank)
    kernel, strides, dilations = _settings(layer, rank)
    filters, groups = layer.integer("filters"), layer.integer("groups", 1)
    if groups < 1 or filters < 1 or x.shape[1] % groups or filters % groups:
        raise FileFormatError(f"{layer}: {groups} groups for {x.shape[1]} channels and {filters} filters; expected a divisor of both")
    w = weight(layer, "kernel", (*kernel, x.shape[1] // groups, filters))
    w = w.transpose(rank + 1, rank, *range(rank))
    bias = weight(layer, "bias", (filters,)) if layer.flag("use_bias", True) else None
    pads = _pads(layer, x, kernel, strides, dilations)
    y = r.b.conv(x, w, bias, strides=strides, dilations=dilations, pads=pads, groups=groups)
    return _finish(r, layer, y, first)


@lowers("DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D")
def _depthwise(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    """Each channel on its own with `depth_multiplier` kernels (k.., channels, multiplier), then for a separable one a product of the
    channels."""
    rank = 1 if layer.kind.endswith("1D") else 2
    x, first = _first_channels(r, layer, one(layer, args), rank)
    kernel, strides, dilations = _settings(layer, rank)
    channels, multiplier = x.shape[1], layer.integer("depth_multiplier", 1)
    separable = layer.kind.startswith("Separable")
    if multiplier < 1:
        raise layer.bad("depth_multiplier", "at least 1", multiplier)
    w = weight(layer, "depthwise_kernel" if separable else "kernel", (*kernel, channels, multiplier))
    w = w.transpose(rank, rank + 1, *range(rank)).reshape(channels * multiplier, 1, *kernel)
    filters = layer.integer("filters") if separable else channels * multiplier
    bias = weight(layer, "bias", (filters,)) if layer.flag("use_bias", True) else None
    pads = _pads(layer, x, kernel, strides, dilations)
    first_bias = None if separable else bias
    y = r.b.conv(x, w, first_bias, strides=strides, dilations=dilations, pads=pads, groups=channels)
    if separable:
        mixing = weight(layer, "pointwise_kernel", (*[1] * rank, channels * multiplier, filters))
        y = r.b.conv(y, mixing.transpose(rank + 1, rank, *range(rank)), bias)
    return _finish(r, layer, y, first)


@lowers("MaxPooling1D", "AveragePooling1D", "MaxPooling2D", "AveragePooling2D")
@lowers("MaxPool1D", "AvgPool1D", "MaxPool2D", "AvgPool2D")
def _pool(r: Reading, layer: Layer, args: Sequence[Any], keywords: dict[str, Any]) -> Sym:
    rank = 1 if layer.kind.endswith("1D") else 2
    x, first = _first_channels(r, layer, one(layer, args), rank)
    size = layer.integers("pool_size", rank)
    strides = size if layer.get("strides", None) is None else layer.integers("strides", rank)
    if min(*size, *strides, 1) < 1:
        raise FileFormatError(f"{layer}: pool_size {size}, strides {strides}; expected at least 1")
    pads = _pads(layer, x, size, strides, [1] * rank)
    y = r.b.pool("max" if "Max" in layer.kind else "average", x, size, strides=strides, pads=pads)
    return _back(r, y, first)

