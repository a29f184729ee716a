"""Convolutions, padding and pooling."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rtrnn.errors import FileFormatError, UnsupportedError
from rtrnn.importers.builder import Sym
from rtrnn.importers.onnx.normalise import refuse_over_time
from rtrnn.importers.onnx.registry import Call, op
from rtrnn.importers.sym import STEP

__all__: list[str] = []

Pads = list[tuple[int, int]]

_PAD_MODES = ("constant", "reflect", "edge", "wrap")


@op("Conv")
def conv(call: Call) -> Sym:
    b, x, weight = call.b, call.x(), call.const(1, "weight W")
    _check_rank(call, x, weight.shape)
    kernel = weight.shape[2:]
    _check_kernel(call, kernel)
    strides, dilations = _per_axis(call, "strides", len(kernel)), _per_axis(call, "dilations", len(kernel))
    pads = _pads(call, x.shape[2:], kernel, strides, dilations)
    bias, groups = call.opt_const(2, "bias B"), int(call.attr("group", 1))
    return _for_each_sequence(
        call,
        x,
        lambda part: b.conv(part, weight, bias, strides=strides, dilations=dilations, pads=pads, groups=groups),
    )


@op("ConvTranspose")
def conv_transpose(call: Call) -> Sym:
    b, x, weight = call.b, call.x(), call.const(1, "weight W")
    _check_rank(call, x, weight.shape)
    kernel, sizes = weight.shape[2:], x.shape[2:]
    _check_kernel(call, kernel)
    n = len(kernel)
    strides, dilations = _per_axis(call, "strides", n), _per_axis(call, "dilations", n)
    extra = _per_axis(call, "output_padding", n, 0)
    target = [int(v) for v in call.attr("output_shape", [])][-n:]
    auto = str(call.attr("auto_pad", "NOTSET"))
    if auto in ("SAME_UPPER", "SAME_LOWER") and not target:
        target = [d * s for d, s in zip(sizes, strides, strict=True)]
    if target:
        pads = []
        for i, wanted in enumerate(target):
            total = strides[i] * (sizes[i] - 1) + extra[i] + (kernel[i] - 1) * dilations[i] + 1 - wanted
            if total < 0:
                extra[i], total = extra[i] - total, 0
            small, large = total // 2, total - total // 2
            pads.append((small, large) if auto == "SAME_UPPER" else (large, small))
    else:
        pads = _pads(call, sizes, kernel, strides, dilations)
    bias, groups = call.opt_const(2, "bias B"), int(call.attr("group", 1))
    return _for_each_sequence(
        call,
        x,
        lambda part: b.conv_transpose(
            part, weight, bias, strides=strides, dilations=dilations, pads=pads, output_padding=extra, groups=groups
        ),
    )


def _for_each_sequence(call: Call, x: Sym, function: Callable[[Sym], Sym]) -> Sym:
    """`function` of one sequence; an axis of the timestep that was folded into the batch axis is gone through one by one."""
    if x.shape[0] == 1:
        return function(x)
    if x.origin[0] is not None and x.origin[0] != STEP and x.origin[0] not in call.b.step_axes:
        call.b.require_one(x, 0, "batch")
    return call.b.concat([function(part) for part in call.b.split(x, 0, [1] * x.shape[0])], 0)


def _check_rank(call: Call, x: Sym, weight: Sequence[int]) -> None:
    if x.ndim != len(weight) or x.ndim < 3:
        raise FileFormatError(
            f"{call.op_type} node {call.name!r}: an input of shape {x.shape} and a weight of shape {tuple(weight)}; expected "
            "(batch, channels, axes to convolve..) and as many axes in the weight"
        )


def _check_kernel(call: Call, kernel: Sequence[int]) -> None:
    given = call.attr("kernel_shape")
    if given is not None and [int(k) for k in given] != list(kernel):
        raise FileFormatError(
            f"{call.op_type} node {call.name!r}: kernel_shape is {list(given)}, but the weight's is {list(kernel)}"
        )


def _per_axis(call: Call, name: str, count: int, default: int = 1) -> list[int]:
    values = [int(v) for v in call.attr(name, [default] * count)]
    if len(values) != count or min(values) < default:
        raise FileFormatError(
            f"{call.op_type} node {call.name!r}: {name} is {values}; expected {count} numbers of at least {default}"
        )
    return values


def _pads(
    call: Call, sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> Pads:
    """The padding before and after each axis, by the attribute `pads` or `auto_pad`."""
    n, auto = len(kernel), str(call.attr("auto_pad", "NOTSET"))
    if auto == "VALID":
        return [(0, 0)] * n
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        pads: Pads = []
        for size, k, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
            total = max((math.ceil(size / stride) - 1) * stride + (k - 1) * dilation + 1 - size, 0)
            small, large = total // 2, total - total // 2
            pads.append((small, large) if auto == "SAME_UPPER" else (large, small))
        return pads
    if auto != "NOTSET":
        raise FileFormatError(
            f"{call.op_type} node {call.name!r}: auto_pad is {auto!r}; expected NOTSET, VALID, SAME_UPPER or SAME_LOWER"
        )
    given = [int(p) for p in call.attr("pads", [0] * 2 * n)]
    if len(given) != 2 * n:
        raise FileFormatError(f"{call.op_type} node {call.name!r}: pads is {given}; expected {2 * n} numbers")
    return list(zip(given[:n], given[n:], strict=True))


@op("Pad")
def pad(call: Call) -> Sym:
    x = call.x()
    if call.opset < 11:
        given = [int(p) for p in call.attr("pads", call.attr("paddings", []))]
        value, axes = float(call.attr("value", 0.0)), list(range(x.ndim))
    else:
        given = [int(p) for p in call.const(1, "pads").ravel()]
        fill, chosen = call.opt_const(2, "constant_value"), call.opt_const(3, "axes")
        value = 0.0 if fill is None or not fill.size else float(fill.reshape(()))
        axes = list(range(x.ndim)) if chosen is None else [x.axis(int(a)) for a in chosen.ravel()]
    mode = str(call.attr("mode", "constant"))
    if mode not in _PAD_MODES:
        raise UnsupportedError(f"mode is {mode!r}; expected one of {', '.join(_PAD_MODES)}")
    n = len(axes)
    if len(given) != 2 * n or len(set(axes)) != n:
        raise FileFormatError(f"Pad node {call.name!r}: {len(given)} pads for the axes {axes}; expected two for each")
    pads = [(0, 0)] * x.ndim
    for axis, begin, end in zip(axes, given[:n], given[n:], strict=True):
        pads[axis] = (begin, end)
    return call.b.pad(x, pads, mode, value)


# -- pooling -------------------------------------------------------------------------------------------


@op("MaxPool", "AveragePool", "LpPool")
def pool(call: Call) -> Sym:
    b, x = call.b, call.x()
    kernel = [int(k) for k in call.attr("kernel_shape", [])]
    n = x.ndim - 2
    if n < 1 or len(kernel) != n or min(kernel) < 1:
        raise FileFormatError(f"{call.op_type} node {call.name!r}: kernel_shape {kernel} for an input of shape {x.shape}")
    strides, dilations = _per_axis(call, "strides", n), _per_axis(call, "dilations", n)
    pads = _pads(call, x.shape[2:], kernel, strides, dilations)
    kind, ceil_mode = call.op_type.removesuffix("Pool").lower(), bool(call.attr("ceil_mode", 0))
    include = bool(call.attr("count_include_pad", 0))

    def run(part: Sym) -> Sym:
        common: dict[str, Any] = {"strides": strides, "dilations": dilations, "pads": pads, "ceil_mode": ceil_mode}
        if kind != "lp":
            return b.pool(kind, part, kernel, count_include_pad=include, **common)
        mean = b.pool("average", _powers(call, part), kernel, count_include_pad=True, **common)
        return _root(call, b.binary("mul", mean, b.const(math.prod(kernel), np.float32)))

    if kind == "lp" and ceil_mode:
        raise UnsupportedError("ceil_mode is 1; expected 0 for this operator")
    return _for_each_sequence(call, x, run)


def _powers(call: Call, x: Sym) -> Sym:
    """``abs(x) ** p``"""
    b, p = call.b, float(call.attr("p", 2))
    if p == 2:
        return b.binary("mul", x, x)
    size = b.unary("abs", x, np.abs)
    return size if p == 1 else b.binary("pow", size, b.const(p, np.float32))


def _root(call: Call, x: Sym) -> Sym:
    b, p = call.b, float(call.attr("p", 2))
    if p == 2:
        return b.unary("sqrt", x, np.sqrt)
    return x if p == 1 else b.binary("pow", x, b.const(1 / p, np.float32))


@op("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def global_pool(call: Call) -> Sym:
    b, x = call.b, call.x()
    axes = list(range(2, x.ndim))
    refuse_over_time(call, x, axes)
    if call.op_type != "GlobalLpPool":
        return b.reduce("reduce_mean" if call.op_type == "GlobalAveragePool" else "reduce_max", x, axes, True)
    return _root(call, b.reduce("reduce_sum", _powers(call, x), axes, True))
