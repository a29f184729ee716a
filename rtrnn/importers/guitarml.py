"""The JSON files of Automated-GuitarAmpModelling: GuitarML, Proteus, NeuralPi.

Written by ``save_model`` of CoreAudioML's ``networks.py``, whose ``SimpleRNN`` is a ``torch.nn`` LSTM, GRU or RNN of one or several
layers and a linear layer; with ``skip`` the first input channels are added to the output. ``RecNet`` is a chain of such
blocks. The first input is the audio sample; further ones are the amplifier's controls. The files do not state a sample rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rtrnn.errors import UnsupportedError
from rtrnn.formats import LoadOptions
from rtrnn.importers.builder import CellWeights
from rtrnn.importers.chain import Chain
from rtrnn.importers.draft import Draft
from rtrnn.importers.jsonfile import Reader, located, metadata_text, sample_rate_text

__all__ = ["load"]

_TITLE = "GuitarML JSON"
_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
_MAX_LAYERS = 100


def load(path: Path, options: LoadOptions) -> Draft:
    """The network of such a file. Raises :class:`FileFormatError` and :class:`UnsupportedError`."""
    file = Reader.open(path, _TITLE)
    model = file.at(file.get("model_data"), "model_data")
    weights = _StateDict(file.at(file.get("state_dict"), "state_dict"))
    kind = model.text("model", "SimpleRNN")
    if kind == "SimpleRNN":
        chain = Chain(model.size("input_size"))
        with located(file.where):
            _block(chain, model, "unit_type", weights, "", model.flag("bias_fl", True), model.size("skip", least=0))
    elif kind == "RecNet":
        chain = _rec_net(file, model, weights)
    else:
        raise UnsupportedError(f"{model.where}: 'model' is {kind[:40]!r}; expected 'SimpleRNN' or 'RecNet'")
    weights.finish()
    content = file.content
    metadata = metadata_text(
        content, skip=("model_data", "state_dict", "blocks", "training_info", "metadata", "samplerate")
    )
    metadata.update(metadata_text(content.get("metadata"), skip=("samplerate", "sample_rate")))
    for holder in (content.get("metadata"), model.content, content):
        if isinstance(holder, dict):
            metadata.update(sample_rate_text(holder.get("samplerate"), holder.get("sample_rate")))
    with located(file.where):
        return chain.finish(metadata=metadata, initial_states=options.initial_states)


class _StateDict:
    """The arrays by their PyTorch names; each must be used."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.unused = set(reader.content)

    def array(self, key: str, shape: Sequence[int]) -> Any:
        self.unused.discard(key)
        return self.reader.array(self.reader.get(key), repr(key), shape)

    def finish(self) -> None:
        if self.unused:
            names = ", ".join(repr(name[:40]) for name in sorted(self.unused)[:6])
            raise UnsupportedError(
                f"{self.reader.where}: {names} belong to no layer that 'model_data' names; expected none"
            )


def _rec_net(file: Reader, model: Reader, weights: _StateDict) -> Chain:
    blocks = file.at(file.get("blocks"), "blocks")
    if not 1 <= len(blocks.content) <= _MAX_LAYERS:
        raise blocks.error(f"{len(blocks.content)} blocks; expected 1 to {_MAX_LAYERS}")
    parts = [blocks.at(blocks.get(str(i)), f"block {i}") for i in range(len(blocks.content))]
    chain = Chain(parts[0].size("input_size"))
    first = chain.x
    for i, part in enumerate(parts, 1):
        skip, bias = part.size("skip", 1, least=0), part.flag("lin_bias", False)
        with located(part.where):
            _block(chain, part, "block_type", weights, f"layers.block_{i}.", bias, skip)
    skip = model.size("skip", 0, least=0)
    if skip:
        with located(model.where):
            _add(chain, first, skip, model)
    return chain


def _block(chain: Chain, model: Reader, type_key: str, weights: _StateDict, prefix: str, bias: bool, skip: int) -> None:
    """Recurrent layers, a linear layer, and the input added to the result."""
    unit = model.text(type_key)
    if unit not in _GATES:
        raise UnsupportedError(f"{model.where}: {type_key!r} is {unit[:40]!r}; expected one of {', '.join(_GATES)}")
    inputs, hidden, layers = model.size("input_size"), model.size("hidden_size"), model.size("num_layers", 1)
    if layers > _MAX_LAYERS:
        raise model.error(f"'num_layers' is {layers}; expected at most {_MAX_LAYERS}")
    if inputs != chain.size:
        raise model.error(f"'input_size' is {inputs}; expected {chain.size}, what comes before gives")
    before, rows = chain.x, _GATES[unit] * hidden
    for k in range(layers):
        cell = CellWeights(
            weights.array(f"{prefix}rec.weight_ih_l{k}", (rows, chain.size)),
            weights.array(f"{prefix}rec.weight_hh_l{k}", (rows, hidden)),
            weights.array(f"{prefix}rec.bias_ih_l{k}", (rows,)),
            weights.array(f"{prefix}rec.bias_hh_l{k}", (rows,)),
        )
        chain.cell(unit.lower(), cell, f"{prefix}rec_{k}")
    outputs = model.size("output_size")
    weight = weights.array(f"{prefix}lin.weight", (outputs, hidden))
    chain.linear(weight, weights.array(f"{prefix}lin.bias", (outputs,)) if bias else None, f"{prefix}lin")
    if skip:
        _add(chain, before, skip, model)


def _add(chain: Chain, x: Any, skip: int, model: Reader) -> None:
    """The first `skip` channels of `x` added to the output; one channel is added to every output."""
    channels = min(skip, x.size)  # what PyTorch's x[.., 0:skip] gives
    if channels not in (1, chain.size):
        raise UnsupportedError(
            f"{model.where}: 'skip' adds {channels} inputs to {chain.size} outputs; expected 1 or {chain.size}"
        )
    chain.b.hint = "skip"
    chain.x = chain.b.binary("add", chain.x, chain.b.slice(x, 0, 0, channels))
