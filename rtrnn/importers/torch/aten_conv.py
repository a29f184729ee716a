"""Lowerings of aten's convolutions, padding, pooling and the normalisations around them; see
:mod:`rtrnn.importers.torch.registry`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rtrnn.errors import UnsupportedError
from rtrnn.importers.builder import Builder, Sym
from rtrnn.importers.torch.registry import Lowering, constant, lowers


def _each(value: Any, count: int) -> list[int]:
    """A number for each spatial axis; torch takes one for all."""
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    values = values * count if len(values) == 1 else values
    if len(values) != count:
        raise UnsupportedError(f"{values}: expected {count} numbers, one for each axis")
    return [int(v) for v in values]


def _batched(b: Builder, x: Sym, rank: int, function: Callable[[Sym], Any]) -> Any:
    """`function` of `x` with a batch axis; where `x` has none, the first result has none."""
    if x.ndim == rank:
        return function(x)
    if x.ndim != rank - 1:
        raise UnsupportedError(f"an input of shape {x.shape}: expected {rank} axes, or {rank - 1} without a batch")
    result = function(b.unsqueeze(x, [0]))
    return (b.squeeze(result[0], [0]), *result[1:]) if isinstance(result, tuple) else b.squeeze(result, [0])


# -- convolutions --------------------------------------------------------------------------------------


def _array(x: Sym | None, what: str) -> np.ndarray | None:
    return constant(x, f"the {what} of a convolution")


@lowers("conv1d", "conv2d", "conv3d", "_convolution_mode")
def _conv(
    b: Builder,
    x: Sym,
    weight: Sym,
    bias: Sym | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Sym:
    kernel = _array(weight, "weight")
    assert kernel is not None
    count = kernel.ndim - 2
    dilations = _each(dilation, count)
    if isinstance(padding, str):
        total = [d * (k - 1) if padding == "same" else 0 for d, k in zip(dilations, kernel.shape[2:], strict=True)]
        pads = [(t // 2, t - t // 2) for t in total]
    else:
        pads = [(p, p) for p in _each(padding, count)]
    options: dict[str, Any] = {"strides": _each(stride, count), "dilations": dilations, "pads": pads, "groups": groups}
    y: Sym = _batched(b, x, kernel.ndim, lambda v: b.conv(v, kernel, _array(bias, "bias"), **options))
    return y


@lowers("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _conv_transpose(
    b: Builder,
    x: Sym,
    weight: Sym,
    bias: Sym | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Sym:
    kernel = _array(weight, "weight")
    assert kernel is not None
    count = kernel.ndim - 2
    options: dict[str, Any] = {
        "strides": _each(stride, count),
        "dilations": _each(dilation, count),
        "pads": [(p, p) for p in _each(padding, count)],
        "output_padding": _each(output_padding, count),
        "groups": groups,
    }
    y: Sym = _batched(b, x, kernel.ndim, lambda v: b.conv_transpose(v, kernel, _array(bias, "bias"), **options))
    return y


@lowers("convolution", "_convolution")
def _convolution(
    b: Builder,
    x: Sym,
    weight: Sym,
    bias: Sym | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> Sym:
    if transposed:
        return _conv_transpose(b, x, weight, bias, stride, padding, output_padding, groups, dilation)
    return _conv(b, x, weight, bias, stride, padding, dilation, groups)


# -- padding -------------------------------------------------------------------------------------------


@lowers("pad")
def _pad(b: Builder, x: Sym, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Sym:
    """torch names the pads from the last axis on: begin and end of each."""
    modes = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    if len(pad) % 2 or len(pad) > 2 * x.ndim or mode not in modes:
        raise UnsupportedError(f"padding {list(pad)} of mode {mode!r} for a value of shape {x.shape}")
    pairs = [(int(pad[i]), int(pad[i + 1])) for i in range(0, len(pad), 2)]
    pairs += [(0, 0)] * (x.ndim - len(pairs))
    return b.pad(x, pairs[::-1], modes[mode], 0.0 if value is None else float(value))


@lowers("constant_pad_nd")
def _constant_pad(b: Builder, x: Sym, pad: Sequence[int], value: float = 0) -> Sym:
    return _pad(b, x, pad, "constant", value)


def _padding(mode: str) -> Lowering:
    def lowering(b: Builder, x: Sym, padding: Sequence[int]) -> Sym:
        return _pad(b, x, padding, mode)

    return lowering


lowers("reflection_pad1d", "reflection_pad2d")(_padding("reflect"))
lowers("replication_pad1d", "replication_pad2d")(_padding("replicate"))


# -- pooling -------------------------------------------------------------------------------------------


@lowers("max_pool1d", "max_pool2d", "max_pool3d")
def _max_pool(
    b: Builder,
    x: Sym,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    rank: int = 0,
) -> Sym:
    count = rank or (len(kernel_size) if isinstance(kernel_size, (list, tuple)) else x.ndim - 2)
    kernel = _each(kernel_size, count)
    options: dict[str, Any] = {
        "strides": kernel if isinstance(stride, (list, tuple)) and not stride else _each(stride, count),
        "dilations": _each(dilation, count),
        "pads": [(p, p) for p in _each(padding, count)],
        "ceil_mode": ceil_mode,
    }
    y: Sym = _batched(b, x, count + 2, lambda v: b.pool("max", v, kernel, **options))
    return y


@lowers("max_pool2d_with_indices", "max_pool1d_with_indices")
def _max_pool_with_indices(
    b: Builder, x: Sym, kernel_size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    # The second result holds indices; a program that uses them fails at that use.
    return _max_pool(b, x, kernel_size, stride, padding, dilation, ceil_mode), None


@lowers("avg_pool1d", "avg_pool2d", "avg_pool3d")
def _avg_pool(
    b: Builder,
    x: Sym,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Sym:
    if divisor_override is not None:
        raise UnsupportedError(f"divisor_override {divisor_override}: expected None")
    count = len(kernel_size) if isinstance(kernel_size, (list, tuple)) else x.ndim - 2
    kernel = _each(kernel_size, count)
    options: dict[str, Any] = {
        "strides": kernel if isinstance(stride, (list, tuple)) and not stride else _each(stride, count),
        "pads": [(p, p) for p in _each(padding, count)],
        "ceil_mode": ceil_mode,
        "count_include_pad": count_include_pad,
    }
    y: Sym = _batched(b, x, count + 2, lambda v: b.pool("average", v, kernel, **options))
    return y


def _adaptive(kind: str, count: int) -> Lowering:
    def lowering(b: Builder, x: Sym, output_size: Any) -> Any:
        sizes = x.shape[-count:]
        wanted = [n if o is None else int(o) for o, n in zip(_nones(output_size, count), sizes, strict=True)]
        if any(n % o for n, o in zip(sizes, wanted, strict=True)):
            raise UnsupportedError(f"pooling of {list(sizes)} elements to {wanted}: expected divisors of these sizes")
        kernel = [n // o for n, o in zip(sizes, wanted, strict=True)]
        y = _batched(b, x, count + 2, lambda v: b.pool(kind, v, kernel, strides=kernel))
        return (y, None) if kind == "max" else y

    return lowering


def _nones(sizes: Any, count: int) -> list[Any]:
    return list(sizes) if isinstance(sizes, (list, tuple)) and len(sizes) == count else [*_each(sizes, count)]


for _count in (1, 2):
    lowers(f"adaptive_avg_pool{_count}d", f"_adaptive_avg_pool{_count}d")(_adaptive("average", _count))
    lowers(f"adaptive_max_pool{_count}d")(_adaptive("max", _count))


# -- normalisation -------------------------------------------------------------------------------------


@lowers("batch_norm")
def _batch_norm(
    b: Builder,
    x: Sym,
    weight: Sym | None,
    bias: Sym | None,
    running_mean: Sym | None,
    running_var: Sym | None,
    training: bool = False,
    eps: float = 1e-5,
) -> Sym:
    mean, var = constant(running_mean, "running_mean"), constant(running_var, "running_var")
    if training or mean is None or var is None:
        raise UnsupportedError(
            "batch norm with the statistics of the batch, which one timestep does not have; expected evaluation "
            "(module.eval()) with running statistics"
        )
    gain, shift = constant(weight, "weight"), constant(bias, "bias")
    gain = np.ones_like(mean) if gain is None else gain
    shift = np.zeros_like(mean) if shift is None else shift
    return b.batch_norm(x, gain, shift, mean, var, float(eps), 1 if x.ndim > 1 else 0)


@lowers("_native_batch_norm_legit_no_training")
def _native_batch_norm(
    b: Builder,
    x: Sym,
    weight: Sym | None,
    bias: Sym | None,
    running_mean: Sym | None,
    running_var: Sym | None,
    eps: float = 1e-5,
) -> Any:
    return _batch_norm(b, x, weight, bias, running_mean, running_var, False, eps), None, None


def _by_groups(b: Builder, x: Sym, groups: int, weight: Sym | None, bias: Sym | None, eps: float) -> Sym:
    """Each group of channels normalised over itself and all axes behind, then a scale and a shift for each channel."""
    if x.ndim < 2 or x.shape[1] % groups:
        raise UnsupportedError(f"{groups} groups for an input of shape {x.shape}: expected a divisor of the channels")
    if any(b.is_time(x, axis) for axis in range(2, x.ndim)):
        raise UnsupportedError(
            "a normalisation over the time axis: a stream has one frame at a time; expected batch norm or layer norm"
        )
    shape = (x.shape[0], groups, math.prod(x.shape[1:]) // groups)
    y = b.reshape(b.layer_norm(b.reshape(x, shape), None, None, float(eps)), x.shape, x.origin)
    for role, function, values in (("weight", "mul", weight), ("bias", "add", bias)):
        array = constant(values, f"the {role}")
        if array is not None:
            y = b.binary(function, y, b.const(array.reshape(-1, *(1,) * (x.ndim - 2))))
    return y


@lowers("group_norm")
def _group_norm(
    b: Builder, x: Sym, num_groups: int, weight: Sym | None = None, bias: Sym | None = None, eps: float = 1e-5
) -> Sym:
    return _by_groups(b, x, num_groups, weight, bias, eps)


@lowers("native_group_norm")
def _native_group_norm(
    b: Builder, x: Sym, weight: Sym | None, bias: Sym | None, N: int, C: int, HxW: int, group: int, eps: float
) -> Any:
    return _by_groups(b, x, group, weight, bias, eps), None, None


@lowers("instance_norm")
def _instance_norm(
    b: Builder,
    x: Sym,
    weight: Sym | None,
    bias: Sym | None,
    running_mean: Sym | None,
    running_var: Sym | None,
    use_input_stats: bool,
    eps: float,
) -> Sym:
    if not use_input_stats:
        return _batch_norm(b, x, weight, bias, running_mean, running_var, False, eps)
    return _by_groups(b, x, x.shape[1], weight, bias, eps)
