"""Resize and Upsample: each axis by itself, as a gather (nearest) or a product with a constant matrix (linear)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rtrnn.errors import FileFormatError, UnsupportedError
from rtrnn.importers.builder import Sym
from rtrnn.importers.onnx.normalise import refuse_over_time
from rtrnn.importers.onnx.registry import Call, limit, op

__all__: list[str] = []


@op("Upsample")
def upsample(call: Call) -> Sym:
    x = call.x()
    scales = call.attr("scales") if "scales" in call.attributes else call.const(1, "scales").tolist()
    return _resize(call, x, dict(enumerate(float(s) for s in scales)), {}, "asymmetric", "floor")


@op("Resize")
def resize(call: Call) -> Sym:
    x = call.x()
    if call.opset < 11:
        scales = dict(enumerate(float(s) for s in call.const(1, "scales")))
        return _resize(call, x, scales, {}, "asymmetric", "floor")
    for name, usual in (("antialias", 0), ("exclude_outside", 0), ("keep_aspect_ratio_policy", "stretch")):
        if call.attr(name, usual) != usual:
            raise UnsupportedError(f"{name} is {call.attr(name)!r}; expected {usual!r}")
    axes = [x.axis(int(a)) for a in call.attr("axes", range(x.ndim))]
    given_scales, given_sizes = call.opt_const(2, "scales"), call.opt_const(3, "sizes")
    scales, sizes = {}, {}
    if given_sizes is not None and given_sizes.size:
        sizes = {a: int(d) for a, d in zip(axes, given_sizes, strict=True)}
        scales = {a: d / x.shape[a] for a, d in sizes.items()}
    elif given_scales is not None:
        scales = {a: float(s) for a, s in zip(axes, given_scales, strict=True)}
    mode = str(call.attr("coordinate_transformation_mode", "half_pixel"))
    return _resize(call, x, scales, sizes, mode, str(call.attr("nearest_mode", "round_prefer_floor")))


def _resize(call: Call, x: Sym, scales: dict[int, float], sizes: dict[int, int], mode: str, nearest: str) -> Sym:
    b, kind = call.b, str(call.attr("mode", "nearest"))
    if kind not in ("nearest", "linear"):
        raise UnsupportedError(f"mode is {kind!r}; expected nearest or linear")
    for axis, scale in scales.items():
        size = x.shape[axis]
        if not 0 < scale < 1e6:
            raise FileFormatError(f"{call.op_type} node {call.name!r}: the scale of axis {axis} is {scale}")
        out = sizes.get(axis, int(np.floor(size * scale + 1e-6)))
        if scale == 1 and out == size:
            continue
        refuse_over_time(call, x, [axis])
        limit((out,))
        at = _places(call, out, size, scale, mode)
        if kind == "nearest":
            x = b.gather(x, axis, np.clip(_nearest(call, at, nearest), 0, size - 1))
            continue
        low = np.floor(at).astype(np.int64)
        matrix = np.zeros(limit((out, size)))
        for offset, share in ((0, 1 - (at - low)), (1, at - low)):
            np.add.at(matrix, (np.arange(out), np.clip(low + offset, 0, size - 1)), share)
        order = [*(i for i in range(x.ndim) if i != axis), axis]
        x = b.permute(b.linear(b.permute(x, order), matrix), np.argsort(order).tolist())
    return x


def _places(call: Call, out: int, size: int, scale: float, mode: str) -> np.ndarray:
    """Where in the operand each element of the result lies."""
    i = np.arange(out, dtype=np.float64)
    if mode == "asymmetric":
        return i / scale
    if mode == "align_corners":
        if abs(scale * size - out) > 1e-4:
            raise UnsupportedError(
                f"align_corners with a scale of {scale} for an axis of size {size}, about which the definition and onnxruntime differ; "
                "export with sizes in place of scales"
            )
        return i * (size - 1) / (out - 1) if out > 1 else np.zeros(out)
    if mode == "pytorch_half_pixel" and out == 1:
        return np.zeros(1)
    if mode in ("half_pixel", "pytorch_half_pixel"):
        return (i + 0.5) / scale - 0.5
    if mode == "half_pixel_symmetric":
        centre = size / 2 * (1 - out / (scale * size))
        return centre + (i + 0.5) / scale - 0.5
    if mode == "tf_half_pixel_for_nn":
        return (i + 0.5) / scale
    raise UnsupportedError(
        f"coordinate_transformation_mode is {mode!r}; expected asymmetric, align_corners or one of the half_pixel modes"
    )


def _nearest(call: Call, at: np.ndarray, how: str) -> np.ndarray:
    rounding: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "round_prefer_floor": lambda x: np.ceil(x - 0.5),
        "round_prefer_ceil": lambda x: np.floor(x + 0.5),
        "floor": np.floor,
        "ceil": np.ceil,
    }
    if how not in rounding:
        raise FileFormatError(f"{call.op_type} node {call.name!r}: nearest_mode is {how!r}; expected one of {sorted(rounding)}")
    return rounding[how](at).astype(np.int64)
