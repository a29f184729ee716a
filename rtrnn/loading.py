"""Loading by content: what a file is, is read from its bytes, never from its name."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from rtrnn import _core
from rtrnn.errors import ModelWarning
from rtrnn.formats import LoadOptions, recognise
from rtrnn.model import Model

__all__ = ["detect_format", "from_torch", "load"]

StateMap = Mapping[str, str | None]
InitialStates = Mapping[str, npt.ArrayLike]


def detect_format(path: str | os.PathLike[str]) -> str:
    """The name of the file's format (``"onnx"``, ``"torchscript"``, ...; see :data:`rtrnn.formats.FORMATS`), by content.

    Raises FileNotFoundError and other OSErrors, :class:`rtrnn.FileFormatError` for anything else.
    """
    return recognise(Path(path)).name


def load(
    path: str | os.PathLike[str],
    *,
    states: StateMap | None = None,
    initial_states: InitialStates | None = None,
    example: Any = None,
    gru_reset: str | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    step_axes: Mapping[str, Sequence[int]] | None = None,
    activation: str | None = None,
    normalizer: Any = None,
) -> Model:
    """Loads a trained network; its format is recognised by content. The formats are listed in docs/formats.md.

    `states` pairs state inputs with state outputs by name (``{"h_in": "h_out"}``) where they cannot be found by topology,
    None as the output says that an input is data; `initial_states` gives named states a first value other than the file's
    (or zero). For ONNX: ``gru_reset="after"`` repairs files in which the exporter left out ``linear_before_reset``,
    `input_shapes` gives or overrides the shapes of inputs, `step_axes` names axes of inputs that are features within one
    timestep although a recurrent layer or a convolution runs over them. For TorchScript: `example`, the arguments of one
    call, where their shapes cannot be found. For checkpoints, which hold weights alone: `activation`, the function between
    the layers of a multilayer perceptron (``"elu"``), and `normalizer`, the statistics of the observations as a mapping
    (``{"mean": .., "std": ..}``, or ``"var"``, and ``"eps"``, ``"clip"``) or a file that holds them. An option that has
    no meaning for the file's format is a ValueError.

    What the importer noticed is in ``model.warnings`` and is issued as :class:`rtrnn.ModelWarning`.

    Raises FileNotFoundError, :class:`rtrnn.FileFormatError`, :class:`rtrnn.UnsupportedError`, :class:`rtrnn.StateError`,
    :class:`rtrnn.GraphError`, :class:`rtrnn.MissingExtraError` (the format needs a package that is not installed).
    """
    options = LoadOptions(
        states=states,
        initial_states=initial_states,
        example=example,
        gru_reset=gru_reset,
        input_shapes=input_shapes,
        step_axes=step_axes,
        activation=activation,
        normalizer=normalizer,
    )
    kind = recognise(Path(path))
    for name in options.given():
        if name not in kind.options:
            allowed = ", ".join(f"{option}=" for option in sorted(kind.options)) or "none"
            raise ValueError(f"{name}= has no meaning for a {kind.title} file; its options are {allowed}")
    if kind.name == "rtrnn":
        return Model(_core.Graph.load(os.fspath(path)))
    return _model(*kind.load(Path(path), options))


def from_torch(
    module: Any,
    example: Any = None,
    *,
    states: StateMap | None = None,
    initial_states: InitialStates | None = None,
) -> Model:
    """Imports a live ``torch.nn.Module`` through ``torch.export``.

    `example` is what the module is called with: a tensor, or a tuple of them (``(x, h)``); any length of the time and batch
    axes will do. It may be left out where the input size is evident (``nn.GRU``, ``nn.LSTM``, ``nn.RNN``, cells). State kept in
    buffers of the module, given and returned as an argument, or left at its zero default is found and carried by the Stream.
    The module is not changed. For `states` and `initial_states`, and for the errors, see :func:`load`.
    """
    from rtrnn.importers.torch import from_module

    draft = from_module(module, example, states=states, initial_states=initial_states)
    return _model(draft.build(), draft.warnings)


def _model(graph: _core.Graph, notices: list[str]) -> Model:
    for text in notices:
        warnings.warn(text, ModelWarning, stacklevel=3)
    return Model(graph, notices)
