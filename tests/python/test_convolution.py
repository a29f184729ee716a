"""Convolution, padding, pooling, products and layers within the timestep: Builder's operations against PyTorch and NumPy in float64.

A convolution over time is compared with the whole sequence convolved at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from engine import EPS, check, model_of, random_inputs
from torch import nn

from rtrnn.errors import UnsupportedError
from rtrnn.importers.builder import Builder, CellWeights, RebindAxis, Sym
from rtrnn.importers.finish import finish
from rtrnn.summary import describe

F = nn.functional
Shape = tuple[int, ...]


def floats(seed: int, shape: Sequence[int], scale: float = 1.0) -> np.ndarray:
    return (scale * np.random.default_rng(seed).normal(size=tuple(shape))).astype(np.float32)


def double(*arrays: np.ndarray | None) -> list[torch.Tensor | None]:
    return [None if a is None else torch.from_numpy(np.asarray(a, np.float64)) for a in arrays]


def one_step(build: Callable[[Builder, Sym], Sym], x: np.ndarray, steps: int = 1) -> np.ndarray:
    """What the engine gives for x, after the evaluator has agreed on every ISA; the result has the Sym's shape."""
    b = Builder()
    y = build(b, b.input("x", x.shape))
    b.draft.outputs["y"] = b.value(y)
    b.draft.prune()
    b.draft.sort()
    stripped = x.reshape(b.draft.inputs["x"])
    check(b.draft, [{"x": stripped}] * steps, 64 * EPS, 64 * EPS)
    return np.asarray(model_of(b.draft).stream().step(stripped)).reshape(y.shape)


def close(found: np.ndarray, expected: Any, terms: int = 16) -> None:
    expected = np.asarray(expected, np.float64)
    assert found.shape == expected.shape
    near = EPS * (8 + terms) * max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(found, expected, 8 * EPS, near)


def folds(build: Callable[[Builder, Sym], Sym], x: np.ndarray) -> np.ndarray:
    """What a constant x folds to, without a node."""
    b = Builder()
    y = build(b, b.const(x))
    assert y.const is not None
    assert not b.draft.nodes
    return y.const


# -- within the timestep -------------------------------------------------------------------------------

#: channels, outputs, groups, sizes, kernel, strides, dilations, pads
CONVOLUTIONS = [
    (1, 1, 1, (5,), (1,), (1,), (1,), [(0, 0)]),
    (3, 4, 1, (9,), (3,), (1,), (1,), [(1, 1)]),
    (3, 4, 1, (9,), (9,), (1,), (1,), [(0, 0)]),
    (1, 6, 1, (40,), (16,), (8,), (1,), [(0, 0)]),
    (4, 6, 2, (11,), (3,), (2,), (2,), [(3, 0)]),
    (12, 12, 12, (7,), (3,), (1,), (1,), [(2, 0)]),
    (12, 24, 12, (1,), (3,), (1,), (1,), [(1, 1)]),
    (5, 3, 1, (1,), (3,), (1,), (1,), [(1, 1)]),
    (5, 3, 1, (1,), (5,), (1,), (2,), [(4, 4)]),
    (5, 3, 1, (1,), (1,), (1,), (1,), [(0, 0)]),
    (6, 4, 2, (1,), (1,), (1,), (1,), [(0, 0)]),
    (3, 2, 1, (8,), (3,), (1,), (1,), [(-1, 2)]),
    (2, 3, 1, (6, 5), (3, 3), (1, 1), (1, 1), [(1, 1), (1, 1)]),
    (2, 3, 1, (6, 1), (3, 1), (1, 1), (1, 1), [(1, 1), (0, 0)]),
    (4, 4, 4, (6, 5), (2, 3), (2, 1), (1, 2), [(0, 1), (2, 2)]),
    (20, 20, 20, (6, 5), (3, 3), (1, 2), (1, 1), [(1, 1), (0, 1)]),
    (2, 3, 1, (4, 3, 5), (2, 2, 3), (1, 1, 2), (1, 1, 1), [(1, 0), (0, 0), (1, 1)]),
]


def torch_conv(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, strides: Any, dilations: Any, pads: Any, groups: int
) -> np.ndarray:
    n = weight.ndim - 2
    data, kernel, shift = double(x, weight, bias)
    assert data is not None
    padded = F.pad(data, [v for pair in reversed(pads) for v in pair])
    function = (F.conv1d, F.conv2d, F.conv3d)[n - 1]
    return function(padded, kernel, shift, strides, 0, dilations, groups).numpy()


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("biased", [False, True])
def test_conv(case: Any, biased: bool) -> None:
    channels, outputs, groups, sizes, kernel, strides, dilations, pads = case
    x, weight = floats(1, (1, channels, *sizes)), floats(2, (outputs, channels // groups, *kernel))
    bias = floats(3, (outputs,)) if biased else None

    def build(b: Builder, x: Sym) -> Sym:
        return b.conv(x, weight, bias, strides=strides, dilations=dilations, pads=pads, groups=groups)

    want = torch_conv(x, weight, bias, strides, dilations, pads, groups)
    close(one_step(build, x), want, weight[0].size)
    close(folds(build, x), want, weight[0].size)


def test_conv_channels_last() -> None:
    x, weight = floats(1, (1, 6, 5, 3)), floats(2, (4, 3, 3, 3))
    want = torch_conv(x.transpose(0, 3, 1, 2), weight, None, (1, 1), (1, 1), [(1, 1), (1, 1)], 1)
    found = one_step(lambda b, x: b.conv(x, weight, pads=[(1, 1), (1, 1)], channels_last=True), x)
    close(found, want.transpose(0, 2, 3, 1), 27)


def test_conv_of_the_whole_input_is_a_linear() -> None:
    b = Builder()
    x = b.input("x", (1, 3, 8))
    b.conv(x, floats(0, (5, 3, 8)))
    assert [n.op for n in b.draft.nodes if n.op != "reshape"] == ["linear"]


def test_a_kernel_that_meets_padding_alone_is_cut() -> None:
    b = Builder()
    x = b.input("x", (1, 3, 1))
    b.conv(x, floats(0, (5, 3, 3)), pads=[(1, 1)])
    (linear,) = [n for n in b.draft.nodes if n.op != "reshape"]
    assert b.draft.tensors[linear.inputs[1]].shape == (5, 3)


@pytest.mark.parametrize(
    ("shape", "weight", "options", "message"),
    [
        ((1, 3, 8), (4, 2, 3), {}, r"\(1, 3, 8\).*\(4, 2, 3\).*1, 2"),
        ((1, 3, 8), (4, 3, 9), {}, "spans 9 elements.*has 8"),
        ((1, 3, 8), (4, 3, 3), {"strides": [0]}, "at least 1"),
        ((1, 3, 8), (4, 3, 3), {"dilations": [1, 1]}, "one for each axis"),
        ((1, 3, 8), (5, 3, 3), {"groups": 2}, "groups"),
    ],
)
def test_conv_errors(shape: Shape, weight: Shape, options: Any, message: str) -> None:
    b = Builder()
    x = b.input("x", shape)
    with pytest.raises(UnsupportedError, match=message):
        b.conv(x, floats(0, weight), **options)


#: channels, outputs, groups, sizes, kernel, strides, dilations, padding (both sides), output padding
TRANSPOSED = [
    (3, 4, 1, (6,), (3,), (1,), (1,), (0,), (0,)),
    (3, 4, 1, (6,), (3,), (2,), (1,), (0,), (0,)),
    (3, 4, 1, (6,), (4,), (2,), (1,), (1,), (0,)),
    (3, 4, 1, (6,), (2,), (3,), (1,), (0,), (0,)),
    (3, 4, 1, (6,), (3,), (2,), (3,), (2,), (1,)),
    (4, 6, 2, (5,), (5,), (3,), (1,), (1,), (2,)),
    (9, 9, 9, (5,), (4,), (2,), (1,), (1,), (0,)),
    (2, 3, 1, (1,), (8,), (4,), (1,), (2,), (0,)),
    (2, 3, 1, (4, 5), (3, 3), (2, 2), (1, 1), (1, 1), (1, 1)),
    (2, 4, 2, (4, 5), (1, 5), (1, 2), (1, 1), (0, 2), (0, 0)),
    (2, 4, 1, (4, 5), (3, 2), (1, 1), (2, 3), (1, 0), (0, 0)),
    (2, 4, 1, (5,), (3,), (1,), (2,), (1,), (1,)),
]


@pytest.mark.parametrize("case", TRANSPOSED, ids=str)
@pytest.mark.parametrize("biased", [False, True])
def test_conv_transpose(case: Any, biased: bool) -> None:
    channels, outputs, groups, sizes, kernel, strides, dilations, padding, extra = case
    x, weight = floats(1, (1, channels, *sizes)), floats(2, (channels, outputs // groups, *kernel))
    bias = floats(3, (outputs,)) if biased else None

    def build(b: Builder, x: Sym) -> Sym:
        pads = [(p, p) for p in padding]
        return b.conv_transpose(
            x, weight, bias, strides=strides, dilations=dilations, pads=pads, output_padding=extra, groups=groups
        )

    data, kernels, shift = double(x, weight, bias)
    function = F.conv_transpose1d if len(sizes) == 1 else F.conv_transpose2d
    want = function(data, kernels, shift, strides, padding, extra, groups, dilations).numpy()
    close(one_step(build, x), want, weight[:, 0].size)
    close(folds(build, x), want, weight[:, 0].size)


def test_conv_transpose_multiplies_by_no_zeros() -> None:
    """Four phases of a stride of 4: the kernels' elements are shared out among them."""
    b = Builder()
    b.conv_transpose(b.input("x", (1, 3, 6)), floats(0, (3, 5, 8)), strides=[4])
    assert sum(t.size for t in b.draft.tensors.values()) == 3 * 5 * 8


# -- padding and pooling -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
@pytest.mark.parametrize(
    "pads", [[(0, 0), (1, 2)], [(2, 1), (0, 0)], [(1, 0), (0, 3)], [(-1, 1), (2, -2)], [(0, 0), (0, 0)]]
)
def test_pad(mode: str, pads: list[tuple[int, int]]) -> None:
    x = floats(5, (4, 6))
    cut = x[tuple(slice(max(-p, 0), n - max(-q, 0)) for (p, q), n in zip(pads, x.shape, strict=True))]
    grown = [(max(p, 0), max(q, 0)) for p, q in pads]
    want = np.pad(cut, grown, mode, **({"constant_values": 1.5} if mode == "constant" else {}))  # type: ignore[call-overload]
    for found in (
        one_step(lambda b, x: b.pad(x, pads, mode, 1.5), x),
        folds(lambda b, x: b.pad(x, pads, mode, 1.5), x),
    ):
        assert np.array_equal(found, want)


def test_pad_errors() -> None:
    b = Builder()
    x = b.input("x", (3, 4))
    for arguments, message in (
        (([(1, 1)],), "for each axis"),
        (([(0, 0), (4, 0)], "reflect"), "more of a value"),
        (([(0, 0), (0, 1 << 40)],), "at most"),
        (([(0, 0), (1, 0)], "mirror"), "mirror"),
    ):
        with pytest.raises(UnsupportedError, match=message):
            b.pad(x, *arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(
    ("sizes", "kernel", "strides", "padding", "dilations"),
    [
        ((9,), (3,), (2,), (1,), (1,)),
        ((10,), (3,), (3,), (0,), (1,)),
        ((10,), (2,), (3,), (1,), (2,)),
        ((5,), (2,), (2,), (1,), (1,)),  # a last window that would begin in the padding
        ((8, 7), (2, 3), (2, 2), (1, 1), (1, 1)),
        ((8, 7), (4, 7), (1, 1), (0, 0), (1, 1)),
        ((1, 7), (1, 3), (1, 2), (0, 1), (1, 1)),
    ],
)
def test_pool(sizes: Shape, kernel: Shape, strides: Shape, padding: Shape, dilations: Shape, ceil_mode: bool) -> None:
    x = floats(6, (1, 3, *sizes)) - 3  # zeros of the padding would be the largest
    (data,) = double(x)
    pads = [(p, p) for p in padding]
    n = len(sizes)
    largest = (F.max_pool1d, F.max_pool2d)[n - 1](data, kernel, strides, padding, dilations, ceil_mode)
    options: dict[str, Any] = {"strides": strides, "pads": pads, "ceil_mode": ceil_mode}
    found = one_step(lambda b, x: b.pool("max", x, kernel, dilations=dilations, **options), x)
    assert np.array_equal(found, largest.numpy().astype(np.float32))
    if max(dilations) > 1:
        return
    for counted in (False, True):
        mean = (F.avg_pool1d, F.avg_pool2d)[n - 1](data, kernel, strides, padding, ceil_mode, counted)
        close(one_step(lambda b, x, c=counted: b.pool("average", x, kernel, count_include_pad=c, **options), x), mean)
    if max(padding) == 0:
        root = (F.lp_pool1d, F.lp_pool2d)[n - 1](
            data, 2.0, kernel if n > 1 else kernel[0], strides if n > 1 else strides[0], ceil_mode
        )
        if not ceil_mode:  # PyTorch scales a window that ends outside
            close(one_step(lambda b, x: b.pool("lp2", x, kernel, **options), x), root)


# -- scattering and products ---------------------------------------------------------------------------


@pytest.mark.parametrize("computed", ["both", "data", "updates", "neither"])
@pytest.mark.parametrize("places", [[3, 0, 3, 11], list(range(12)), [5]])
def test_scatter(computed: str, places: list[int]) -> None:
    """Also a place that is written twice."""
    values = floats(7, (3, 4)), floats(8, (len(places),))
    want = values[0].copy()
    for place, update in zip(places, values[1], strict=True):
        want.reshape(-1)[place] = update
    x = np.concatenate([v.ravel() for v in values])

    def build(b: Builder, x: Sym) -> Sym:
        parts = b.split(x, 0, [12, len(places)])
        data = b.reshape(parts[0], (3, 4)) if computed in ("both", "data") else b.const(values[0])
        updates = parts[1] if computed in ("both", "updates") else b.const(values[1])
        y = b.scatter(data, np.array(places), updates)
        return (
            y
            if y.const is None
            else b.binary("add", y, b.reduce("reduce_sum", b.binary("mul", x, b.const(0.0)), None, False))
        )

    assert np.array_equal(one_step(build, x), want)


def test_scatter_refuses_places_outside() -> None:
    b = Builder()
    x = b.input("x", (4,))
    for places in ([4], [-1], [0, 1]):
        with pytest.raises(UnsupportedError, match="positions"):
            b.scatter(x, np.array(places), b.const(np.zeros(1)))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((3, 4), (4, 5)),
        ((1, 4), (4, 5)),
        ((3, 4), (4, 1)),
        ((4,), (4, 5)),
        ((3, 4), (4,)),
        ((4,), (4,)),
        ((2, 3, 4), (2, 4, 5)),
        ((2, 1, 3, 4), (5, 4, 2)),
        ((1, 1), (1, 1)),
        ((2, 3, 1), (1, 6)),
    ],
)
@pytest.mark.parametrize("constant", ["", "left", "right"])
def test_matmul(left: Shape, right: Shape, constant: str) -> None:
    a, c = floats(9, left), floats(10, right)

    def build(b: Builder, x: Sym) -> Sym:
        parts = b.split(x, 0, [a.size, c.size])
        one = b.const(a) if constant == "left" else b.reshape(parts[0], left)
        other = b.const(c) if constant == "right" else b.reshape(parts[1], right)
        return b.matmul(one, other)

    close(one_step(build, np.concatenate([a.ravel(), c.ravel()])), a.astype(np.float64) @ c, 8)


def test_matmul_errors() -> None:
    b = Builder()
    x = b.input("x", (1024, 33))
    with pytest.raises(UnsupportedError, match=r"\(1024, 33\) and \(33, 1024\).*34603008.*1048576"):
        b.matmul(x, b.permute(x, [1, 0]))
    with pytest.raises(UnsupportedError, match="differs"):
        b.matmul(x, x)


def test_batch_norm() -> None:
    x, scale, bias, mean, var = floats(0, (1, 3, 5)), *(floats(k, (3,)) for k in (1, 2, 3)), floats(4, (3,)) ** 2
    want = (x - mean[:, None]) / np.sqrt(var + 1e-3)[:, None] * scale[:, None] + bias[:, None]
    close(one_step(lambda b, x: b.batch_norm(x, scale, bias, mean, var, 1e-3), x), want)


# -- over time -----------------------------------------------------------------------------------------


def sequence(
    build: Callable[[Builder, Sym], Sym], shape: Shape, axis: int, xs: np.ndarray
) -> tuple[np.ndarray, Builder]:
    """The stream's outputs for xs (T, ..), stacked along `axis`: the network's input has `shape` with time on `axis`."""
    b = Builder()
    b.dynamic_axes.add(("x", axis))
    x = b.input("x", shape)
    y = build(b, x)
    b.draft.outputs["y"] = b.value(y)
    b.draft.prune()
    b.draft.sort()
    frames = [{"x": frame.reshape(b.draft.inputs["x"])} for frame in xs]
    check(b.draft, frames[:8], 64 * EPS, 64 * EPS)
    stream = model_of(b.draft).stream()
    return np.concatenate([np.asarray(stream.step(f["x"])).reshape(y.shape) for f in frames], axis), b


def padded(b: Builder, x: Sym, before: int, after: int = 0, value: float = 0.0) -> Sym:
    return b.pad(x, [*[(0, 0)] * (x.ndim - 1), (before, after)], value=value)


@pytest.mark.parametrize("how", ["pad", "pads", "chomp", "chomp after functions"])
@pytest.mark.parametrize(
    ("channels", "outputs", "groups", "kernel", "dilation"),
    [(3, 5, 1, 3, 1), (1, 4, 1, 2, 4), (4, 6, 2, 3, 2), (20, 20, 20, 3, 2), (3, 3, 3, 4, 1), (2, 3, 1, 1, 1)],
)
def test_causal_convolution(how: str, channels: int, outputs: int, groups: int, kernel: int, dilation: int) -> None:
    """Left padding by Pad or by the convolution's own pads, and the chomp: padding on both sides and the end cut off."""
    weight, bias = floats(1, (outputs, channels // groups, kernel)), floats(2, (outputs,))
    xs, span = floats(3, (24, channels)), (kernel - 1) * dilation
    options: dict[str, Any] = {"dilations": [dilation], "groups": groups}

    def build(b: Builder, x: Sym) -> Sym:
        if how == "pad":
            return b.conv(padded(b, x, span), weight, bias, **options)
        if how == "pads":
            return b.conv(x, weight, bias, pads=[(span, 0)], **options)
        y = b.conv(x, weight, bias, pads=[(span, span)], **options)
        if how == "chomp after functions":
            y = b.unary(
                "sigmoid",
                b.binary("add", b.binary("mul", y, b.const(np.float32(0.5))), b.const(floats(4, (outputs, 1)))),
            )
        return b.slice(y, 2, 0, -span) if span else y

    found, b = sequence(build, (1, channels, 1), 2, xs)
    (data,) = double(xs.T[None])
    want = torch_conv(data.numpy(), weight, bias, 1, dilation, [(span, 0)], groups)
    if how == "chomp after functions":
        want = 1 / (1 + np.exp(-(want * 0.5 + floats(4, (outputs, 1)))))
    close(found, want, weight[0].size)
    assert sum(s.initial.size for s in b.draft.states.values()) == span * channels
    assert not b.draft.warnings


def test_a_stack_of_causal_convolutions_with_residuals() -> None:
    """A temporal convolutional network: two dilated convolutions, gated, a residual, channels mixed by a kernel of 1."""
    rng = np.random.default_rng(0)
    w = [rng.normal(size=s).astype(np.float32) / 2 for s in ((4, 4, 3), (4, 4, 3), (4, 4, 1), (2, 4, 3))]

    def build(b: Builder, x: Sym) -> Sym:
        for dilation in (1, 2):
            p = 2 * dilation
            gate, value = (b.conv(x, w[k], pads=[(p, p)], dilations=[dilation]) for k in (0, 1))
            y = b.binary("mul", b.unary("tanh", value), b.unary("sigmoid", gate))
            x = b.binary("add", x, b.slice(b.conv(y, w[2]), 2, 0, y.shape[2] - p))
        return b.conv(padded(b, x, 2), w[3])

    xs = floats(1, (30, 4))
    (x,) = double(xs.T[None])
    k = double(*w)
    for dilation in (1, 2):
        past = F.pad(x, (2 * dilation, 0))
        gated = torch.tanh(F.conv1d(past, k[1], dilation=dilation)) * torch.sigmoid(
            F.conv1d(past, k[0], dilation=dilation)
        )
        x = x + F.conv1d(gated, k[2])
    want = F.conv1d(F.pad(x, (2, 0)), k[3])
    close(sequence(build, (1, 4, 1), 2, xs)[0], want, 64)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("axis", [2, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_convolution_over_time_and_features(axis: int, groups: int, transposed: bool) -> None:
    """Two axes, one of them time; the transposed one too, whose first frames come at the end of the kernel."""
    weight = floats(1, (4, 4 // groups, 3, 3))
    bias, xs = floats(2, (4,)), floats(3, (12, 4, 7))
    stride = (1, 2) if axis == 2 else (2, 1)
    data = xs.transpose(1, 0, 2)[None] if axis == 2 else xs.transpose(1, 2, 0)[None]
    shape = (1, 4, 1, 7) if axis == 2 else (1, 4, 7, 1)

    def build(b: Builder, x: Sym) -> Sym:
        pads = [(0, 0), (0, 0)]
        if transposed:
            y = b.conv_transpose(x, weight, bias, strides=stride, groups=groups)
            return b.slice(y, axis, 0, -2)
        pads[axis - 2], pads[3 - axis] = (2, 0), (1, 1)
        return b.conv(x, weight, bias, strides=stride, pads=pads, groups=groups)

    found, _ = sequence(build, shape, axis, xs)
    x, k, shift = double(data, weight, bias)
    if transposed:
        want = F.conv_transpose2d(x, k, shift, stride, groups=groups)
        want = want.narrow(axis, 0, 12)
    else:
        pads = (1, 1, 2, 0) if axis == 2 else (2, 0, 1, 1)
        want = F.conv2d(F.pad(x, pads), k, shift, stride, groups=groups)
    close(found, want, 36)


def test_padding_with_a_value() -> None:
    weight, xs = floats(1, (2, 3, 4)), floats(2, (10, 3))
    found, _ = sequence(lambda b, x: b.conv(padded(b, x, 3, value=0.75), weight), (1, 3, 1), 2, xs)
    want = torch_conv(
        np.pad(xs.T[None], [(0, 0), (0, 0), (3, 0)], constant_values=0.75), weight, None, 1, 1, [(0, 0)], 1
    )
    close(found, want)


@pytest.mark.parametrize("left", [0, 1])
def test_a_window_that_is_not_full_at_first(left: int) -> None:
    """Without enough padding the offline output is shorter: the stream's comes at the same times, and is noted."""
    weight, xs = floats(1, (2, 3, 4)), floats(2, (12, 3))
    found, b = sequence(lambda b, x: b.conv(x, weight, pads=[(left, 0)]), (1, 3, 1), 2, xs)
    want = torch_conv(xs.T[None], weight, None, 1, 1, [(left, 0)], 1)
    close(found[:, :, 3 - left :], want)
    (warning,) = b.draft.warnings
    assert f"first {3 - left} outputs" in warning


def test_the_state_of_a_convolution_is_a_state() -> None:
    """Forked, saved and reset like any other."""
    weight, xs = floats(1, (2, 3, 4)), floats(2, (12, 3))
    b = Builder()
    b.dynamic_axes.add(("x", 2))
    b.draft.outputs["y"] = b.value(b.conv(b.input("x", (1, 3, 1)), weight, pads=[(3, 0)]))
    model = model_of(b.draft)
    stream = model.stream()
    whole = [stream.step(x).copy() for x in xs]
    stream.reset()
    first = [stream.step(x).copy() for x in xs[:5]]
    saved = stream.state_vector()
    other = stream.fork()
    assert all(np.array_equal(other.step(x), y) for x, y in zip(xs[5:], whole[5:], strict=True))
    stream.set_state(saved)
    assert all(np.array_equal(stream.step(x), y) for x, y in zip(xs[5:], whole[5:], strict=True))
    assert np.array_equal(first, whole[:5])
    assert np.array_equal(np.asarray(model.run(xs)).reshape(12, 2), whole)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda b, x: b.conv(x, W, pads=[(1, 1)]), "looks 1 frames ahead"),
        (lambda b, x: b.conv(x, W, pads=[(2, 2)]), "looks 2 frames ahead"),
        (lambda b, x: b.slice(b.conv(x, W, pads=[(2, 2)]), 2, 0, -1), "looks 1 frames ahead"),
        (lambda b, x: b.slice(b.conv(x, W, pads=[(2, 1)]), 2, 0, -2), "cut off"),
        (lambda b, x: b.conv(x, W, pads=[(2, 0)], strides=[2]), "several rates"),
        (lambda b, x: b.conv_transpose(x, W, strides=[2]), "several rates"),
        (lambda b, x: b.pool("max", x, [2]), "over the time axis"),
        (lambda b, x: b.pool("max", x, [2], strides=[2]), "several rates"),
        (lambda b, x: b.unary("tanh", padded(b, x, 2)), "no|expected a convolution"),
        (lambda b, x: b.softmax(b.conv(x, W, pads=[(2, 2)]), 1), "looks 2 frames ahead"),
        (lambda b, x: b.conv(b.unary("sigmoid", padded(b, x, 2)), W), "neither zero"),
        (lambda b, x: b.pad(x, [(0, 0), (0, 0), (2, 0)], "edge"), "mode 'edge' on the time axis"),
        (lambda b, x: b.conv(padded(b, b.conv(x, W), 2), W), "in front of the first"),
        (
            lambda b, x: b.conv(b.reshape(b.unsqueeze(x, [0]), (1, 3, 1, 1)), W[..., None, :], pads=[(0, 0), (1, 0)]),
            "may be time",
        ),
        (lambda b, x: b.conv(b.conv(padded(b, x, 4), W, bias=np.ones(3)), W), "neither zero"),
    ],
)
def test_what_cannot_be_streamed_is_refused(build: Any, message: str) -> None:
    b = Builder()
    b.dynamic_axes.add(("x", 2))
    with pytest.raises(UnsupportedError, match=message):
        b.value(build(b, b.input("x", (1, 3, 1))))


W = floats(11, (3, 3, 3))


def test_padding_that_is_cropped_again() -> None:
    xs = floats(2, (10, 3))
    for build in (
        lambda b, x: b.conv(b.slice(padded(b, x, 5, 1), 2, 3, -1), W),
        lambda b, x: b.conv(padded(b, padded(b, x, 5, 1), -3, -1), W),
    ):
        found, b = sequence(build, (1, 3, 1), 2, xs)
        close(found, torch_conv(xs.T[None], W, None, 1, 1, [(2, 0)], 1))
        assert not b.draft.warnings


@pytest.mark.parametrize("how", ["same", "chomp", "pad"])
def test_time_is_found_behind_convolutions(how: str) -> None:
    """A fixed axis with convolutions over it, then a recurrent layer: it is that axis of the input that becomes time."""
    b = Builder()
    y = b.input("x", (1, 3, 9))
    if how == "same":
        y = b.conv(y, W, pads=[(1, 1)])
    elif how == "chomp":
        y = b.slice(b.conv(y, W, pads=[(2, 2)]), 2, 0, -2)
    else:
        y = b.conv(padded(b, y, 2), W)
    with pytest.raises(RebindAxis) as rebind:
        b.layer("gru", b.permute(y, [2, 0, 1]), [b.const(np.zeros((1, 4)))], cells(recurrent("gru", 3, 4)), 0, 1)
    assert rebind.value.axis == ("x", 2)


def test_no_state_remembers_frames_that_the_file_does_not_have() -> None:
    """A second convolution forgets them; a recurrent layer would not."""
    xs = floats(2, (12, 3))
    found, b = sequence(lambda b, x: b.conv(b.conv(x, W), W), (1, 3, 1), 2, xs)
    want = torch_conv(torch_conv(xs.T[None], W, None, 1, 1, [(0, 0)], 1), W, None, 1, 1, [(0, 0)], 1)
    close(found[:, :, 4:], want, 64)
    assert ["first 2 outputs" in w for w in b.draft.warnings] == [True, False]
    assert "first 4 outputs" in b.draft.warnings[1]
    b = Builder()
    b.dynamic_axes.add(("x", 2))
    y = b.permute(b.conv(b.input("x", (1, 3, 1)), W), [2, 0, 1])
    y, _ = b.layer("gru", y, [b.const(np.zeros((1, 4)))], cells(recurrent("gru", 3, 4)), 0, 1)
    b.draft.outputs["y"] = b.value(y)
    with pytest.raises(UnsupportedError, match=r"without padding.*first 2 outputs"):
        finish(b.draft, input_shapes={"x": (1, 3, 1)})


def test_a_layer_that_reads_frames_to_come_is_refused() -> None:
    b = Builder()
    b.dynamic_axes.add(("x", 2))
    y = b.permute(b.conv(b.input("x", (1, 3, 1)), W, pads=[(2, 2)]), [2, 0, 1])
    for read in (lambda: b.require_one(y, 0, "time"), lambda: b.layer("gru", y, [], [], 0, 1)):
        with pytest.raises(UnsupportedError, match="looks 2 frames ahead"):
            read()


@pytest.mark.parametrize("bidirectional", [False, True])
def test_convolution_and_layer_over_time(bidirectional: bool) -> None:
    """Streamed, and offline where a layer runs backwards: the convolution's state in a pass over the sequence."""
    module, xs = recurrent("gru", 3, 4, bidirectional), floats(2, (12, 3))
    b = Builder()
    b.dynamic_axes |= {("x", 0), ("x", 2)}
    y = b.conv(b.input("x", (1, 3, 1)), W, pads=[(2, 0)])
    count = 1 + bidirectional
    y, _ = b.layer("gru", b.permute(y, [2, 0, 1]), [b.const(np.zeros((count, 4)))], cells(module), 0, 1)
    y = b.conv(b.permute(y, [1, 2, 0]), floats(3, (2, 4 * count, 2)), pads=[(1, 0)])
    b.draft.outputs["y"] = b.value(y)
    finish(b.draft, input_shapes={"x": (1, 3, 1)})
    model = model_of(b.draft)
    with torch.no_grad():
        x, w, v = double(xs.T[None], W, floats(3, (2, 4 * count, 2)))
        want = module.double()(F.conv1d(F.pad(x, (2, 0)), w).permute(2, 0, 1))[0]
        want = F.conv1d(F.pad(want.permute(1, 2, 0), (1, 0)), v)
    close(np.asarray(model.run(xs)).T[None], want, 64)
    if not bidirectional:
        stream = model.stream()
        close(np.stack([stream.step(x) for x in xs]).T[None], want, 64)


def test_a_block_of_frames_is_one_timestep() -> None:
    """What is refused over time runs within a block; a GRU that runs over its frames does so from its state input."""
    xs = floats(12, (1, 3, 8))
    want = torch_conv(xs, W, None, 2, 1, [(1, 1)], 1)
    close(one_step(lambda b, x: b.conv(x, W, pads=[(1, 1)], strides=[2]), xs), want)


def test_an_explicit_cache() -> None:
    """A cache input before the frame, a convolution without padding, the newest frames as the cache's output."""
    weight, xs = floats(1, (4, 3, 3)), floats(2, (9, 3))
    b = Builder()
    b.dynamic_axes.add(("x", 2))
    x, cache = b.input("x", (1, 3, 1)), b.input("cache", (1, 3, 4))
    window = b.concat([cache, x], 2)
    b.draft.outputs["y"] = b.value(b.conv(window, weight, dilations=[2]))
    b.draft.outputs["cache_out"] = b.value(b.slice(window, 2, 1, 5))
    shapes = {"x": (1, 3, 1), "cache": (1, 3, 4)}
    finish(b.draft, input_shapes=shapes, output_shapes={"y": (1, 4, 1), "cache_out": (1, 3, 4)})
    assert list(b.draft.states) == ["cache"]
    check(b.draft, random_inputs(b.draft, 6), 64 * EPS, 64 * EPS)
    stream = model_of(b.draft).stream()
    found = np.stack([stream.step(x).ravel() for x in xs], 1)[None]
    close(found, torch_conv(xs.T[None], weight, None, 1, 2, [(4, 0)], 1))


# -- layers within the timestep ------------------------------------------------------------------------


def recurrent(kind: str, size: int, hidden: int, bidirectional: bool = False) -> nn.RNNBase:
    torch.manual_seed(size + hidden)
    return {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[kind](size, hidden, bidirectional=bidirectional)


def cells(module: nn.RNNBase) -> list[tuple[CellWeights, dict[str, Any]]]:
    found = []
    for suffix in ["", "_reverse"][: 1 + module.bidirectional]:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        weights = CellWeights(*(getattr(module, f"{name}_l0{suffix}").detach().numpy().copy() for name in names))
        found.append((weights, {"direction": "reverse"} if suffix else {}))
    return found


def kinds_of_state(module: nn.RNNBase) -> int:
    return 2 if module.mode == "LSTM" else 1


@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("initial", ["zero", "constant", "computed"])
def test_layer_over_features(kind: str, direction: str, initial: str) -> None:
    """Over a computed axis: from the same initial state in every timestep, the final states as results."""
    module = recurrent(kind, 3, 5, direction == "bidirectional")
    layer = cells(module)
    if direction == "reverse":
        layer[0][1]["direction"] = "reverse"
    count, x = len(layer), floats(1, (6, 7, 4))
    mix, first = floats(2, (3, 4)), [floats(3 + k, (count, 5)) for k in range(kinds_of_state(module))]
    if initial == "zero":
        first = [0 * f for f in first]

    def build(b: Builder, x: Sym) -> Sym:
        b.step_axes.add(("x", 0))
        rows = b.reshape(b.unary("tanh", b.linear(x, mix)), (7, 1, 3))
        states = [b.const(f) for f in first]
        if initial == "computed":
            zero = b.binary("mul", b.reduce("reduce_sum", x, None, False), b.const(np.float32(0)))
            states = [b.binary("add", s, zero) for s in states]
        y, finals = b.layer(kind, rows, states, layer, 0, 1)
        assert y.shape == (7, 1, 5 * count)
        assert all(f.shape == (count, 5) for f in finals)
        return b.concat([b.reshape(v, (v.size,)) for v in (y, *finals)], 0)

    module = module.double()
    for step in x:
        rows = torch.from_numpy(np.tanh(step.astype(np.float64) @ mix.T.astype(np.float64)))[:, None]
        start = [torch.from_numpy(f).double()[:, None] for f in first]
        with torch.no_grad():
            ys, ends = module(
                rows.flip(0) if direction == "reverse" else rows, tuple(start) if len(start) > 1 else start[0]
            )
        ys = ys.flip(0) if direction == "reverse" else ys
        ends = ends if isinstance(ends, tuple) else (ends,)
        want = np.concatenate([ys.numpy().ravel(), *(e.numpy().ravel() for e in ends)])
        close(one_step(build, step, steps=2), want, 64)


def test_cells_of_a_layer_share_their_weights() -> None:
    """16 runs of a GRU's cell need no more constants than one."""
    module = recurrent("gru", 8, 32)
    sizes = []
    for steps in (1, 16):
        b = Builder()
        b.step_axes.add(("x", 0))
        y, _ = b.layer("gru", b.input("x", (steps, 1, 8)), [b.const(np.zeros((1, 32)))], cells(module), 0, 1)
        b.draft.outputs["y"] = b.value(y)
        assert not b.draft.states
        assert sum(n.op == "gru" for n in b.draft.nodes) == steps
        sizes.append(model_of(b.draft).plan().constant_bytes)
    assert sizes[0] >= 4 * 3 * 32 * 40
    assert sizes[1] <= sizes[0] + 4 * 64


def test_bits_of_shared_weights_are_those_of_separate_ones() -> None:
    """Three runs of one cell against three nodes whose weights are equal but not the same tensors."""
    module, x = recurrent("lstm", 4, 9), floats(1, (3, 1, 4))
    b = Builder()
    b.step_axes.add(("x", 0))
    y, _ = b.layer("lstm", b.input("x", x.shape), [b.const(np.zeros((1, 9)))] * 2, cells(module), 0, 1)
    b.draft.outputs["y"] = b.value(y)
    shared = model_of(b.draft).stream().step(x.reshape(3, 4)).copy()
    draft = b.draft
    for k, node in enumerate([n for n in draft.nodes if n.op == "lstm"]):
        for i in range(3, 7):
            name = draft.unique("apart")
            draft.tensors[name] = draft.tensors[node.inputs[i]].copy()
            draft.shapes[name] = draft.tensors[name].shape
            node.inputs[i] = name
        assert k < 3
    assert np.array_equal(model_of(draft).stream().step(x.reshape(3, 4)), shared)


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_dual_path(kind: str) -> None:
    """One layer over the features of a frame, one over time for each feature with a state each: as in speech enhancement."""
    across, along = recurrent(kind, 3, 3, True), recurrent(kind, 6, 4)
    xs, mix = floats(1, (10, 5, 2)), floats(2, (3, 2))
    count = kinds_of_state(across)

    def build(b: Builder, x: Sym) -> Sym:  # (1, T, F, 2)
        y = b.linear(x, mix)
        y = b.reshape(y, (1, 5, 3))
        y, _ = b.layer(kind, y, [b.const(np.zeros((2, 1, 3)))] * count, cells(across), 1, 0)
        y = b.permute(b.reshape(y, (1, 1, 5, 6)), [0, 2, 1, 3])
        y, finals = b.layer(kind, b.reshape(y, (5, 1, 6)), [b.const(np.zeros((1, 5, 4)))] * count, cells(along), 1, 0)
        assert all(f.shape == (1, 5, 4) for f in finals)
        return b.permute(b.reshape(y, (1, 5, 1, 4)), [0, 2, 1, 3])

    b = Builder()
    b.dynamic_axes.add(("x", 1))
    y = build(b, b.input("x", (1, 1, 5, 2)))
    b.draft.outputs["y"] = b.value(y)
    finish(b.draft, input_shapes={"x": (1, 1, 5, 2)}, output_shapes={"y": y.shape})
    assert {s.shape for s in b.draft.states.values()} == {(5, 4)}
    check(b.draft, [{"x": x} for x in xs[:4]], 64 * EPS, 64 * EPS)
    stream = model_of(b.draft).stream()
    found = np.stack([stream.step(x) for x in xs])
    across, along = across.double(), along.double()
    with torch.no_grad():
        rows = torch.from_numpy(xs.astype(np.float64) @ mix.T.astype(np.float64)).transpose(0, 1)
        want = along(across(rows)[0].transpose(0, 1))[0]
    close(found, want.numpy(), 64)


def test_which_axis_is_time() -> None:
    gru = cells(recurrent("gru", 3, 3))
    zero = np.zeros((1, 3))

    def read(
        shape: Shape, axis: int, batch: int | None, dynamic: Sequence[int] = (), steps: Sequence[int] = ()
    ) -> Builder:
        b = Builder()
        b.dynamic_axes |= {("x", a) for a in dynamic}
        b.step_axes |= {("x", a) for a in steps}
        b.layer("gru", b.input("x", shape), [b.const(zero)], gru, axis, batch)
        return b

    for dynamic in ([], [1]):  # a fixed axis, the batch open or not: it becomes time, of size 1
        with pytest.raises(RebindAxis) as rebind:
            read((7, 1, 3), 0, 1, dynamic)
        assert (rebind.value.axis, rebind.value.role, rebind.value.size) == (("x", 0), "time", 7)
    with pytest.raises(RebindAxis):
        read((1, 7, 3), 0, 1)  # a batch of 7
    assert len(read((1, 1, 3), 0, 1).draft.states) == 1
    assert not read((7, 1, 3), 0, 1, steps=[0]).draft.states  # the caller says that it is not time
    assert not read((1, 1, 3), 0, 1, steps=[0]).draft.states
    b = Builder()  # another axis of the input is time
    b.dynamic_axes |= {("x", 0), ("x", 1)}
    x = b.input("x", (1, 1, 7, 3))
    b.layer("gru", b.squeeze(x, [1]), [b.const(zero)], gru, 1, 0)
    assert not b.draft.states


def test_too_many_cells() -> None:
    b = Builder()
    b.step_axes.add(("x", 0))
    with pytest.raises(UnsupportedError, match=r"4100 cells.*4096"):
        b.layer("gru", b.input("x", (4100, 1, 3)), [b.const(np.zeros((1, 3)))], cells(recurrent("gru", 3, 3)), 0, 1)


def test_a_layer_over_a_block_with_its_state_as_input() -> None:
    """The state that a block begins with is the one that the block before it ended with."""
    module, xs = recurrent("gru", 3, 4), floats(1, (5, 6, 3))
    b = Builder()
    x, h = b.input("x", (6, 3)), b.input("h_in", (1, 1, 4))
    b.step_axes.add(("x", 0))
    y, (final,) = b.layer("gru", b.reshape(x, (6, 1, 3)), [h], cells(module), 0, 1)
    b.draft.outputs["y"], b.draft.outputs["end"] = b.value(y), b.value(final)
    b.draft.outputs["early"] = b.value(b.slice(y, 0, 2, 3))
    shapes = {"y": (6, 1, 4), "end": (1, 1, 4), "early": (1, 1, 4)}
    finish(b.draft, input_shapes={"x": (6, 3), "h_in": (1, 1, 4)}, output_shapes=shapes)
    assert list(b.draft.states) == ["h_in"]
    assert list(b.draft.outputs) == ["y", "early"]
    del b.draft.outputs["early"]
    stream = model_of(b.draft).stream()
    found = np.concatenate([stream.step(block) for block in xs])
    with torch.no_grad():
        want = module.double()(torch.from_numpy(xs.reshape(30, 3)).double())[0]
    close(found, want, 64)


# -- what is said about them ---------------------------------------------------------------------------


def test_summary() -> None:
    """A convolution has FLOPs and a row; the runs of one cell within the timestep share a row."""
    b = Builder()
    x = b.input("x", (1, 4, 16))
    b.hint = "encoder"
    y = b.conv(x, floats(0, (6, 2, 5)), floats(1, (6,)), strides=[2], groups=2)
    b.hint = "across"
    y, _ = b.layer(
        "gru", b.permute(y, [0, 2, 1]), [b.const(np.zeros((2, 3)))], cells(recurrent("gru", 6, 3, True)), 1, 0
    )
    b.draft.outputs["y"] = b.value(y)
    model = model_of(b.draft)
    layers = {layer["name"]: layer for layer in describe(model)["layers"] if layer["op"] in ("conv", "gru")}
    conv, gru = layers["encoder"], layers["across"]
    assert (conv["count"], conv["parameters"], conv["flops"], conv["detail"]) == (
        1,
        66,
        2 * 60 * 6,
        "strides 2, 2 groups",
    )
    per_cell = 2 * 9 * (6 + 3)
    assert describe(model)["flops_per_step"] == conv["flops"] + 2 * 6 * per_cell
    assert [layer["count"] for layer in describe(model)["layers"] if layer["op"] == "gru"] == [6, 6]
    assert (gru["parameters"], gru["flops"]) == (9 * (6 + 3 + 2), 6 * per_cell)
    text = model.summary()
    assert "gru x6" in text
    assert text.count("gru") == 2
