"""Neural Amp Modeler files (.nam) of the architecture LSTM.

The order of the weights is that of ``NAM/lstm.cpp`` in NeuralAmpModelerCore: for each layer the matrix (4 * hidden, input + hidden) row by
row, gates i, f, g, o, then the bias (4 * hidden), the initial h and the initial c; last the head's matrix (outputs, hidden) and bias.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rtrnn.errors import UnsupportedError
from rtrnn.formats import LoadOptions
from rtrnn.importers.builder import CellWeights
from rtrnn.importers.chain import Chain
from rtrnn.importers.draft import Draft
from rtrnn.importers.jsonfile import Reader, located, metadata_text, sample_rate_text

__all__ = ["load"]

_TITLE = "Neural Amp Modeler .nam"
_MAX_LAYERS = 100


def load(path: Path, options: LoadOptions) -> Draft:
    """The network of a .nam file; its first state is the one that the file holds.

    The states are ``lstm_0.h``, ``lstm_0.c``, ``lstm_1.h``, ... Raises :class:`FileFormatError`, and :class:`UnsupportedError` for
    architectures other than LSTM.
    """
    file = Reader.open(path, _TITLE)
    architecture = file.text("architecture")
    if architecture != "LSTM":
        raise UnsupportedError(
            f"{file.where}: the architecture {architecture[:40]!r} is not supported; expected 'LSTM', the recurrent one"
        )
    config = file.at(file.get("config"), "config")
    inputs, hidden, layers = config.size("input_size"), config.size("hidden_size"), config.size("num_layers")
    channels, outputs = config.size("in_channels", inputs), config.size("out_channels", 1)
    if channels != inputs:
        raise config.error(f"'in_channels' is {channels} and 'input_size' {inputs}; expected the same")
    if layers > _MAX_LAYERS:
        raise config.error(f"'num_layers' is {layers}; expected at most {_MAX_LAYERS}")
    sizes = [(inputs if k == 0 else hidden) for k in range(layers)]
    wanted = sum(4 * hidden * (n + hidden) + 6 * hidden for n in sizes) + outputs * (hidden + 1)
    weights = file.items("weights")
    if len(weights) != wanted:
        raise file.error(
            f"'weights' holds {len(weights)} numbers; expected {wanted} for {layers} layers of {hidden} units, {inputs} inputs and "
            f"{outputs} outputs"
        )
    rest = file.array(weights, "'weights'", (wanted,))
    chain = Chain(inputs)
    with located(file.where):
        for k, size in enumerate(sizes):
            matrix, rest = _take(rest, 4 * hidden, size + hidden)
            (bias, h, c), rest = np.split(rest[: 6 * hidden], [4 * hidden, 5 * hidden]), rest[6 * hidden :]
            cell = CellWeights(matrix[:, :size], matrix[:, size:], bias)
            chain.cell("lstm", cell, f"lstm_{k}", initial={"h": h, "c": c})
        head, bias = _take(rest, outputs, hidden)
        chain.linear(head, bias, "head")
        return chain.finish(metadata=_metadata(file.content), initial_states=options.initial_states)


def _take(weights: np.ndarray, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    return weights[: rows * columns].reshape(rows, columns), weights[rows * columns :]


def _metadata(content: dict[str, Any]) -> dict[str, str]:
    found = metadata_text(content.get("metadata"))
    found.update({f"nam.{key}": text for key, text in metadata_text({"version": content.get("version")}).items()})
    return {**found, **sample_rate_text(content.get("sample_rate"))}
