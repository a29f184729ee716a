"""RTNeural JSON, and the dialect of it that guitar amplifier models are exchanged in.

The format and its meaning are those of RTNeural's ``model_loader.h``; ``python/model_utils.py`` there writes it from a Keras model, so
weights lie as in Keras: kernels (input, units), GRU gates z, r, h with ``reset_after``, LSTM gates i, f, c, o. One step is one
frame. Convolutions over time are causal, as RTNeural runs them.

The dialect of Automated-GuitarAmpModelling, read by AIDA-X, adds ``in_skip`` (1: the input sample is added to the output), ``in_gain`` and
``out_gain`` in decibels, and ``metadata``; of several inputs the first is the sample, the others are the amplifier's controls.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rtrnn.errors import FileFormatError, UnsupportedError
from rtrnn.formats import LoadOptions
from rtrnn.importers.builder import CellWeights, Sym
from rtrnn.importers.chain import Chain, reorder_gates
from rtrnn.importers.draft import Draft
from rtrnn.importers.jsonfile import Reader, located, metadata_text, sample_rate_text, shown

__all__ = ["load"]

_TITLE = "RTNeural JSON"
_ACTIVATIONS = ("tanh", "relu", "sigmoid", "softmax", "elu")
_MAX_LAYERS = 1000
#: The axis along which convolutions run; it is no axis of the input, whose one frame is a vector.
_TIME = ("x", 1)


def load(path: Path, options: LoadOptions) -> Draft:
    """The network of an RTNeural JSON file. Raises :class:`FileFormatError` and :class:`UnsupportedError`."""
    file = Reader.open(path, _TITLE)
    shape = _dimensions(file, "in_shape")
    network = _Network(Chain(_size(file, "in_shape", shape)), shape)
    layers = file.items("layers")
    if not 1 <= len(layers) <= _MAX_LAYERS:
        raise file.error(f"{len(layers)} layers; expected 1 to {_MAX_LAYERS}")
    dry = _gained_input(file, network.chain)
    for index, content in enumerate(layers):
        layer = file.at(content, f"layer {index}")
        kind = layer.text("type")
        layer.where += f" ({kind[:40]})"
        if kind not in _LAYERS:
            raise UnsupportedError(
                f"{layer.where}: this type of layer is not supported; expected one of {', '.join(_LAYERS)}"
            )
        with located(layer.where):
            network.layer(layer, kind, f"{kind.replace('-', '_')}_{index}")
    _amplified_output(file, network.chain, dry)
    content = file.content
    metadata = metadata_text(content, skip=("layers", "in_shape", "metadata", "samplerate", "sample_rate"))
    metadata.update(metadata_text(content.get("metadata"), skip=("samplerate", "sample_rate")))
    for holder in (content.get("metadata"), content):
        if isinstance(holder, dict):
            metadata.update(sample_rate_text(holder.get("samplerate"), holder.get("sample_rate")))
    with located(file.where):
        return network.chain.finish(metadata=metadata, initial_states=options.initial_states)


def _dimensions(reader: Reader, key: str) -> list[int | None]:
    """A shape as Keras writes it: batch, time, features, or batch, features, or batch, time, features, filters."""
    shape = reader.items(key)
    ok = all(d is None or (isinstance(d, int) and not isinstance(d, bool) and 0 < d <= 1 << 20) for d in shape)
    if not ok or not 1 <= len(shape) <= 4 or None in shape[-(2 if len(shape) == 4 else 1) :]:
        raise reader.error(f"{key!r}: expected 1 to 4 sizes of which the last is a number; found {shown(shape)}")
    return shape


def _size(reader: Reader, key: str, shape: list[int | None]) -> int:
    size = shape[-1] or 1
    size *= (shape[-2] or 1) if len(shape) == 4 else 1
    if size > 1 << 20:
        raise reader.error(f"{key!r}: {size} values a step; expected at most {1 << 20}")
    return size


def _decibels(file: Reader, key: str) -> float:
    """An amplification as a factor; -90 dB and less is silence, as in AIDA-X."""
    value = file.content.get(key)
    if value is None:
        return 1.0
    gain = file.number(key)
    if gain > 200:
        raise file.error(f"{key!r}: expected decibels, at most 200; found {gain}")
    return 10 ** (gain / 20) if gain > -90 else 0.0


def _gained_input(file: Reader, chain: Chain) -> Sym | None:
    """Applies ``in_gain`` to the sample; returns it where it is to be added to the output."""
    gain = _decibels(file, "in_gain")
    skip = file.size("in_skip", 0, least=0) if file.content.get("in_skip") is not None else 0
    if skip > 1:
        raise UnsupportedError(f"{file.where}: 'in_skip' is {skip}; expected 0 or 1")
    b = chain.b
    sample = b.slice(chain.x, 0, 0, 1)
    if gain != 1:
        b.hint = "in_gain"
        controls = b.slice(chain.x, 0, 1, chain.size) if chain.size > 1 else None
        sample = b.unary("affine", sample, None, alpha=gain)
        chain.x = sample if controls is None else b.concat([sample, controls], 0)
    return sample if skip else None


def _amplified_output(file: Reader, chain: Chain, dry: Sym | None) -> None:
    b = chain.b
    if dry is not None:
        if chain.size != 1:
            raise UnsupportedError(f"{file.where}: 'in_skip' with {chain.size} outputs; expected one output")
        b.hint = "in_skip"
        chain.x = b.binary("add", chain.x, dry)
    gain = _decibels(file, "out_gain")
    if gain != 1:
        b.hint = "out_gain"
        chain.x = b.unary("affine", chain.x, None, alpha=gain)


class _Network:
    def __init__(self, chain: Chain, shape: list[int | None]) -> None:
        self.chain = chain
        self.frames = shape[1] if len(shape) >= 3 else None  # frames in the sequences that it was trained on
        chain.b.time_axes.add(_TIME)

    def layer(self, layer: Reader, kind: str, name: str) -> None:
        shape = _dimensions(layer, "shape")
        weights = layer.items("weights")
        _LAYERS[kind](self, layer, weights, name)
        units = _size(layer, "shape", shape)
        if self.chain.size != units:
            raise layer.error(f"'shape' says {units} outputs; found weights for {self.chain.size}")
        if len(shape) >= 3:
            self._note_frames(layer, shape[1])
        if kind not in ("gru", "lstm"):
            self._activation(layer, name, len(shape))

    def _activation(self, layer: Reader, name: str, rank: int) -> None:
        function = layer.text("activation", "")
        if function in ("", "linear"):
            return
        if function not in _ACTIVATIONS or (function == "softmax" and rank == 4):
            raise UnsupportedError(
                f"activation {function[:40]!r} is not supported; expected one of {', '.join(_ACTIVATIONS)}, linear"
                + (" (softmax only without an axis of filters)" if rank == 4 else "")
            )
        if function == "softmax" and self.chain.size == 1:
            raise UnsupportedError("activation 'softmax' of one value, which is always 1; expected two values or more")
        self.chain.activation(function, f"{name}.{function}")

    def _note_frames(self, layer: Reader, frames: int | None) -> None:
        """A convolution without padding gives fewer frames than it takes: a stream has outputs before these."""
        if self.frames and frames and frames < self.frames:
            self.chain.b.draft.warnings.append(
                f"{layer.where.split(': ')[-1]} shortens a sequence by {self.frames - frames} frames; the first outputs of a stream, "
                "as many, are computed from zeros before its start"
            )
        self.frames = frames

    # -- layers ----------------------------------------------------------------------------------------

    def dense(self, layer: Reader, weights: list[Any], name: str) -> None:
        _count(layer, weights, 1, 2)
        units = _size(layer, "shape", _dimensions(layer, "shape"))
        kernel = layer.array(weights[0], "the kernel", (self.chain.size, units))
        bias = layer.array(weights[1], "the bias", (units,)) if len(weights) == 2 else None
        self.chain.linear(kernel.T, bias, name)

    def gru(self, layer: Reader, weights: list[Any], name: str) -> None:
        units = self._cell(layer, weights, 3, (3,))
        bias = reorder_gates(layer.array(weights[2], "the bias", (2, 3 * units)), "zrn", "rzn", axis=1)
        kernel, recurrent = (reorder_gates(layer.array(w, "a kernel").T, "zrn", "rzn") for w in weights[:2])
        self.chain.cell("gru", CellWeights(kernel, recurrent, bias[0], bias[1]), name)

    def lstm(self, layer: Reader, weights: list[Any], name: str) -> None:
        units = self._cell(layer, weights, 4, (2, 3))
        bias = layer.array(weights[2], "the bias", (4 * units,)) if len(weights) == 3 else None
        kernel, recurrent = (layer.array(w, "a kernel").T for w in weights[:2])
        self.chain.cell("lstm", CellWeights(kernel, recurrent, bias), name)

    def _cell(self, layer: Reader, weights: list[Any], gates: int, counts: tuple[int, ...]) -> int:
        _count(layer, weights, *counts)
        function = layer.text("activation", "")
        if function not in ("", "tanh"):
            raise UnsupportedError(
                f"activation {function[:40]!r} of a recurrent layer; expected 'tanh', which RTNeural computes"
            )
        units = _size(layer, "shape", _dimensions(layer, "shape"))
        kernel, recurrent = layer.array(weights[0], "the kernel"), layer.array(weights[1], "the recurrent kernel")
        wanted = ((self.chain.size, gates * units), (units, gates * units))
        if (kernel.shape, recurrent.shape) != wanted:
            raise layer.error(
                f"'shape' says {units} units and the layer has {self.chain.size} inputs, so the kernel must have shape {wanted[0]} "
                f"and the recurrent kernel {wanted[1]}; found {kernel.shape} and {recurrent.shape}"
            )
        return units

    def conv1d(self, layer: Reader, weights: list[Any], name: str) -> None:
        _count(layer, weights, 1, 2)
        units = _size(layer, "shape", _dimensions(layer, "shape"))
        size, dilation, groups = layer.size("kernel_size"), layer.size("dilation", 1), layer.size("groups", 1)
        _only_stride_one(layer)
        if self.chain.size % groups or units % groups:
            raise layer.error(
                f"'groups' is {groups}; expected a divisor of {self.chain.size} inputs and {units} outputs"
            )
        kernel = layer.array(weights[0], "the kernel", (size, self.chain.size // groups, units))
        bias = layer.array(weights[1], "the bias", (units,)) if len(weights) == 2 else None
        b = self.chain.b
        b.hint = name
        x = b.reshape(self.chain.x, (1, self.chain.size, 1), (None, None, _TIME))
        y = b.conv(
            x,
            kernel.transpose(2, 1, 0),
            bias,
            dilations=[dilation],
            pads=[(_past(layer, size, dilation, self.chain.size), 0)],
            groups=groups,
        )
        self.chain.x = b.reshape(y, (units,))

    def conv2d(self, layer: Reader, weights: list[Any], name: str) -> None:
        """Over time and features; the values of a frame lie features first, filters last."""
        _count(layer, weights, 1, 2)
        time, width, dilation, stride = (
            layer.size(key) for key in ("kernel_size_time", "kernel_size_feature", "dilation", "strides")
        )
        filters, features, units = (layer.size(key) for key in ("num_filters_in", "num_features_in", "num_filters_out"))
        padding = layer.text("padding")
        if padding not in ("valid", "same"):
            raise UnsupportedError(f"'padding' is {padding[:40]!r}; expected 'valid' or 'same'")
        if filters * features != self.chain.size:
            raise layer.error(f"{features} features of {filters} filters; found {self.chain.size} inputs")
        kernel = layer.array(weights[0], "the kernel", (time, width, filters, units))
        bias = layer.array(weights[1], "the bias", (units,)) if len(weights) == 2 else None
        # "same" as in TensorFlow: what is left over goes to the end.
        extra = max(width - (features % stride or stride), 0) if padding == "same" else 0
        ahead = (time - 1) * dilation - (time - 1) * dilation // 2
        if padding == "same" and ahead:
            self.chain.b.draft.warnings.append(
                f"{layer.where.split(': ')[-1]} was trained with zeros on both ends of the sequence; a stream, as RTNeural runs it, "
                f"gives each output {ahead} frames later than the trained network"
            )
        b = self.chain.b
        b.hint = name
        x = b.reshape(self.chain.x, (1, 1, features, filters), (None, _TIME, None, None))
        y = b.conv(
            x,
            kernel.transpose(3, 2, 0, 1),
            bias,
            strides=[1, stride],
            dilations=[dilation, 1],
            pads=[(_past(layer, time, dilation, self.chain.size), 0), (extra // 2, extra - extra // 2)],
            channels_last=True,
        )
        self.chain.x = b.reshape(y, (y.size,))

    def batchnorm(self, layer: Reader, weights: list[Any], name: str) -> None:
        self._normalise(layer, weights, name, self.chain.size, 1)

    def batchnorm2d(self, layer: Reader, weights: list[Any], name: str) -> None:
        filters, features = layer.size("num_filters_in"), layer.size("num_features_in")
        if filters * features != self.chain.size:
            raise layer.error(f"{features} features of {filters} filters; found {self.chain.size} inputs")
        self._normalise(layer, weights, name, filters, features)

    def _normalise(self, layer: Reader, weights: list[Any], name: str, size: int, times: int) -> None:
        """``(x - mean) / sqrt(variance + epsilon)``, times gamma plus beta where these are given."""
        _count(layer, weights, 2, 4)
        roles = ("gamma", "beta", "the mean", "the variance")[-len(weights) :]
        arrays = [np.tile(layer.array(w, role, (size,)), times) for w, role in zip(weights, roles, strict=True)]
        mean, variance = arrays[-2], arrays[-1] + layer.number("epsilon")
        if not np.all(variance > 0):
            raise layer.error(f"the variance plus epsilon is {variance.min()}; expected a positive number")
        self.chain.normalize(mean, np.sqrt(variance), name)
        if len(arrays) == 4:
            self.chain.affine(arrays[0], arrays[1], f"{name}.affine")

    def prelu(self, layer: Reader, weights: list[Any], name: str) -> None:
        _count(layer, weights, 1)
        alpha = layer.array(weights[0], "alpha", (1, None))[0]
        if alpha.size not in (1, self.chain.size):
            raise layer.error(f"alpha has shape {(1, alpha.size)}; expected (1, 1) or (1, {self.chain.size})")
        b, zero = self.chain.b, self.chain.b.const(np.zeros(1, np.float32))
        b.hint = name
        below = b.binary("mul", b.binary("min", self.chain.x, zero), b.const(alpha, np.float32))
        self.chain.x = b.binary("add", b.binary("max", self.chain.x, zero), below)

    def only_activation(self, layer: Reader, weights: list[Any], name: str) -> None:
        _count(layer, weights, 0)
        if not layer.text("activation"):
            raise FileFormatError(f"{layer.where}: 'activation' is empty; expected one of {', '.join(_ACTIVATIONS)}")


def _count(layer: Reader, weights: list[Any], *counts: int) -> None:
    if len(weights) not in counts:
        wanted = " or ".join(map(str, counts))
        hint = (
            " (a GRU without bias, or without reset_after, is not what RTNeural runs)" if "(gru)" in layer.where else ""
        )
        raise layer.error(f"'weights' holds {len(weights)} arrays; expected {wanted}{hint}")


def _only_stride_one(layer: Reader) -> None:
    if "strides" in layer.content and layer.size("strides") != 1:
        raise UnsupportedError(
            "a stride over time other than 1 is not supported: the network would run at several rates"
        )


def _past(layer: Reader, kernel: int, dilation: int, channels: int) -> int:
    span = (kernel - 1) * dilation
    if span * channels > 1 << 24:
        raise layer.error(
            f"a kernel of {kernel} with dilation {dilation} spans {span} frames of {channels}; expected at most 2^24 values"
        )
    return span


_LAYERS: dict[str, Callable[[_Network, Reader, list[Any], str], None]] = {
    "dense": _Network.dense,
    "time-distributed-dense": _Network.dense,
    "gru": _Network.gru,
    "lstm": _Network.lstm,
    "conv1d": _Network.conv1d,
    "conv2d": _Network.conv2d,
    "batchnorm": _Network.batchnorm,
    "batchnorm2d": _Network.batchnorm2d,
    "prelu": _Network.prelu,
    "activation": _Network.only_activation,
}
