"""Random networks of one timestep, many operators deep, against onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="reading ONNX files needs the onnx package")
pytest.importorskip("onnxruntime", reason="the comparison needs onnxruntime")

from onnx import helper, shape_inference
from onnx_models import compare_steps, load_quietly, model


class Writer:
    """Appends nodes that keep the value (1, channels, length); ``last`` is its name."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.weights: dict[str, np.ndarray] = {}
        self.last, self.channels, self.length = "x", 4, 12

    def pick(self, *choices: Any) -> Any:
        return choices[self.rng.integers(len(choices))]

    def tensor(self, *shape: int, positive: bool = False) -> str:
        name = f"w{len(self.weights)}"
        array = self.rng.standard_normal(shape) / max(1, np.prod(shape[1:])) ** 0.5
        self.weights[name] = (np.abs(array) + 0.5 if positive else array).astype(np.float32)
        return name

    def ints(self, *values: int) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = np.array(values, np.int64)
        return name

    def add(self, kind: str, *operands: str, outputs: int = 1, **attributes: Any) -> list[str]:
        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(operands), names, **attributes))
        return names

    def then(self, kind: str, *operands: str, **attributes: Any) -> None:
        (self.last,) = self.add(kind, self.last, *operands, **attributes)

    # -- what a network may do next --------------------------------------------------------------------

    def conv(self) -> None:
        kernel, stride, dilation = self.pick(1, 2, 3, 5), self.pick(1, 1, 2), self.pick(1, 1, 2)
        groups = self.pick(1, 1, 2, self.channels) if self.channels % 2 == 0 else 1
        span = (kernel - 1) * dilation
        pads = [int(p) for p in self.rng.integers(0, span + 1, 2)]
        if self.length + sum(pads) <= span + 1:
            pads = [span, span]
        outputs = groups * int(self.rng.integers(1, 3))
        w, bias = self.tensor(outputs, self.channels // groups, kernel), self.tensor(outputs)
        self.then("Conv", w, bias, group=groups, strides=[stride], dilations=[dilation], pads=pads)
        self.channels, self.length = outputs, (self.length + sum(pads) - span - 1) // stride + 1

    def conv_transpose(self) -> None:
        kernel, stride = self.pick(2, 3, 4), self.pick(1, 2, 3)
        extra = int(self.rng.integers(0, stride))
        pads = [int(p) for p in self.rng.integers(0, 2, 2)]
        length = stride * (self.length - 1) + extra + kernel - sum(pads)
        if not 0 < length < 64:
            return
        outputs = int(self.rng.integers(1, 5))
        w = self.tensor(self.channels, outputs, kernel)
        self.then("ConvTranspose", w, self.tensor(outputs), strides=[stride], output_padding=[extra], pads=pads)
        self.channels, self.length = outputs, length

    def pad(self) -> None:
        before, after = (int(n) for n in self.rng.integers(0, min(3, self.length), 2))
        self.then("Pad", self.ints(0, 0, before, 0, 0, after), mode=self.pick("constant", "reflect", "edge"))
        self.length += before + after

    def pool(self) -> None:
        if self.length >= 3:
            self.then(self.pick("MaxPool", "AveragePool"), kernel_shape=[3], strides=[2])
            self.length = (self.length - 3) // 2 + 1

    def norm(self) -> None:
        kind = self.pick("BatchNormalization", "InstanceNormalization", "LayerNormalization")
        if kind == "LayerNormalization":
            self.then(kind, self.tensor(self.length), self.tensor(self.length))
            return
        c = self.channels
        statistics = [self.tensor(c), self.tensor(c, positive=True)] if kind == "BatchNormalization" else []
        if statistics or self.length > 1:
            self.then(kind, self.tensor(c), self.tensor(c), *statistics)

    def activation(self) -> None:
        self.then(self.pick("Relu", "Tanh", "Elu", "Sigmoid", "LeakyRelu", "Softplus"))

    def slope(self) -> None:
        self.then("PRelu", self.tensor(self.channels, 1))

    def gated(self) -> None:
        """Halves of the channels, one the gate of the other."""
        if self.channels % 2 == 0:
            a, g = self.add("Split", self.last, outputs=2, axis=1, num_outputs=2)
            (gate,) = self.add("Sigmoid", g)
            (self.last,) = self.add("Mul", a, gate)
            self.channels //= 2

    def residual(self) -> None:
        before, channels, length = self.last, self.channels, self.length
        self.conv()
        if (self.channels, self.length) == (channels, length):
            (self.last,) = self.add("Add", self.last, before)

    def joined(self) -> None:
        before = self.last
        (turned,) = self.add("Slice", before, self.ints(-1), self.ints(-(2**62)), self.ints(2), self.ints(-1))
        (self.last,) = self.add("Concat", before, turned, axis=1)
        self.channels *= 2

    def mixed(self) -> None:
        """A linear layer over the channels."""
        (moved,) = self.add("Transpose", self.last, perm=[0, 2, 1])
        outputs = int(self.rng.integers(1, 6))
        (mixed,) = self.add("MatMul", moved, self.tensor(self.channels, outputs))
        (self.last,) = self.add("Transpose", mixed, perm=[0, 2, 1])
        self.channels = outputs

    def attended(self) -> None:
        """A product of two computed values."""
        (moved,) = self.add("Transpose", self.last, perm=[0, 2, 1])
        (scores,) = self.add("MatMul", self.last, moved)
        (weights,) = self.add("Softmax", scores, axis=-1)
        (self.last,) = self.add("MatMul", weights, self.last)

    def scattered(self) -> None:
        if self.length > 2:
            places = self.rng.choice(self.length, 2, replace=False)
            name = f"w{len(self.weights)}"
            self.weights[name] = np.broadcast_to(places, (1, self.channels, 2)).astype(np.int64)
            (picked,) = self.add("GatherElements", self.last, name, axis=2)
            (doubled,) = self.add("Exp", *self.add("Tanh", picked))
            self.then("ScatterElements", name, doubled, axis=2)


STEPS: list[Callable[[Writer], None]] = [
    Writer.conv, Writer.conv, Writer.conv_transpose, Writer.pad, Writer.pool, Writer.norm, Writer.activation, Writer.slope,
    Writer.gated, Writer.residual, Writer.joined, Writer.mixed, Writer.attended, Writer.scattered,
]  # fmt: skip


@pytest.mark.parametrize("seed", range(60))
def test_network(seed: int) -> None:
    net = Writer(seed)
    for _ in range(12):
        net.pick(*STEPS)(net)
    net.then("ReduceMean", net.ints(2), keepdims=0)
    net.nodes[-1].output[0] = "y"
    proto = model(net.nodes, {"x": [1, 4, 12]}, {"y": None}, net.weights, opset=18)
    shape_inference.infer_shapes(proto, strict_mode=True)
    compare_steps(load_quietly(proto), proto, {"x": (1, 4, 12)}, steps=3, tolerance=2e-5)
