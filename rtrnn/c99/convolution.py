"""Convolutions as cpp/src/ops/conv computes them: windows times a matrix, or, for many small groups, products added term by term."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rtrnn.c99.lowering import Lowering
    from rtrnn.c99.memory import Place
    from rtrnn.c99.program import Step

__all__ = ["lower_conv"]

_FEW_GROUPS, _LARGE_GROUP, _MAX_ELEMENTS = 8, 256, 1 << 26


def lower_conv(lowering: Lowering, step: Step) -> None:
    """x (channels, spatial..) with weight (outputs, channels / groups, kernel..)."""
    channels, *sizes = lowering.shape(step.inputs[0])
    weight = lowering.graph.tensor(step.inputs[1])
    bias = lowering.graph.tensor(step.inputs[2]) if step.has(2) else None
    groups = step.attributes.get("groups", 1)
    elements = _window_elements(sizes, list(weight.shape[2:]), step)  # (taps, positions)
    taps, positions = elements.shape
    flat = weight.reshape(weight.shape[0], -1)  # columns: the group's channels, then the taps
    channel_size, in_group = math.prod(sizes), channels // groups
    x = lowering.place(step.inputs[0])
    if (elements < 0).any():
        padded = lowering.scratch(channels * channel_size + 1)
        lowering.copy(x, channels * channel_size, padded)
        zero = padded.at(channels * channel_size)
        lowering.emit(lambda: f"({zero})[0] = 0.0f;", zero)
        x = padded
    # (channels, taps, positions)
    sources = np.where(elements < 0, channels * channel_size, np.arange(channels)[:, None, None] * channel_size + elements)
    group_size = flat.size // groups
    if groups > _FEW_GROUPS and group_size < _LARGE_GROUP and flat.size <= _MAX_ELEMENTS // positions:
        _term_by_term(lowering, x, sources.reshape(groups, in_group * taps, positions), flat, bias, lowering.new(step.outputs[0]))
        return
    rows, columns = weight.shape[0] // groups, in_group * taps
    windows = lowering.gathered(x, sources.reshape(groups, columns, positions).transpose(0, 2, 1).reshape(-1).tolist())
    in_place = positions == 1 or (groups == 1 and rows == 1)
    products = lowering.new(step.outputs[0]) if in_place else lowering.scratch(weight.shape[0] * positions)
    for group in range(groups):
        part = slice(group * rows, (group + 1) * rows)
        operand, result = windows.at(group * positions * columns), products.at(group * positions * rows)
        lowering.product(lowering.float_weights(flat[part]), None if bias is None else bias[part], operand, result, positions)
    if not in_place:
        order = np.arange(weight.shape[0] * positions).reshape(groups, positions, rows).transpose(0, 2, 1)
        lowering.gathered(products, order.reshape(-1).tolist(), lowering.new(step.outputs[0]))


def _window_elements(sizes: list[int], kernel: list[int], step: Step) -> np.ndarray:
    """For each tap and output position the element of a channel that it reads; -1 in the padding."""
    n = len(sizes)
    strides = step.attributes.get("strides") or [1] * n
    dilations = step.attributes.get("dilations") or [1] * n
    pads = step.attributes.get("pads") or [0] * 2 * n
    axes = []
    for i in range(n):
        out = (sizes[i] + pads[i] + pads[n + i] - (kernel[i] - 1) * dilations[i] - 1) // strides[i] + 1
        at = np.arange(kernel[i])[:, None] * dilations[i] + np.arange(out) * strides[i] - pads[i]
        axes.append(np.where((at < 0) | (at >= sizes[i]), -1, at))
    rows = []
    for tap in itertools.product(*(range(k) for k in kernel)):
        element = np.zeros((1,), np.int64)
        for i in range(n):
            at = axes[i][tap[i]]
            joined = element[:, None] * sizes[i] + at
            element = np.where((element[:, None] < 0) | (at < 0), -1, joined).reshape(-1)
        rows.append(element)
    return np.stack(rows)


def _term_by_term(lowering: Lowering, x: Place, sources: np.ndarray, flat: np.ndarray, bias: np.ndarray | None, y: Place) -> None:
    """Each product is rounded; they are added in order, then the bias."""
    groups, terms, positions = sources.shape
    outputs = flat.shape[0]
    per_output = sources.repeat(outputs // groups, 0).transpose(1, 0, 2)  # (terms, outputs, positions)
    table, weights = lowering.indices(per_output.reshape(-1).tolist()), lowering.constant(flat.T)
    bias_at = None if bias is None else lowering.constant(bias)

    def write() -> str:
        size = outputs * positions
        value = f"({x})[{table}[k * {size} + i]] * ({weights})[k * {outputs} + i / {positions}]"
        last = "" if bias_at is None else f" + ({bias_at})[i / {positions}]"
        lines = [f"for (i = 0; i < {size}; ++i) {{", "    int k = 0;", f"    float v = {value};",
                 f"    for (k = 1; k < {terms}; ++k) v = v + {value};", f"    ({y})[i] = v{last};", "}"]  # fmt: skip
        return "\n".join(lines)

    lowering.emit(write, x, y)
