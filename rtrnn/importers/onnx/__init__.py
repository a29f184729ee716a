"""Import of ONNX models: operator sets 1 to the newest, policies and recurrent networks of any exporter.

The graph is read at one timestep: axes that are not fixed are 1, and a fixed axis that turns out to be time or batch
is made 1. State that the file carries as inputs and outputs becomes state of the Graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rtrnn.errors import FileFormatError, GraphError, StateError, UnsupportedError
from rtrnn.importers.draft import Draft
from rtrnn.importers.finish import finish
from rtrnn.importers.gates import warn_about_dropped_layer
from rtrnn.importers.onnx.reader import import_onnx, opset_of, read_model

if TYPE_CHECKING:
    from onnx import ModelProto

    from rtrnn.formats import LoadOptions

__all__ = ["load", "load_onnx"]


def load(path: Path, options: LoadOptions) -> Draft:
    """The loader of :data:`rtrnn.formats.FORMATS`."""
    return load_onnx(
        path,
        gru_reset=options.gru_reset,
        states=options.states,
        initial_states=options.initial_states,
        input_shapes=options.input_shapes,
        step_axes=options.step_axes,
    )


def _naming_the_format(function: Callable[..., Draft]) -> Callable[..., Draft]:
    """Errors about the file say what kind of file it is."""

    @wraps(function)
    def wrapped(*args: Any, **options: Any) -> Draft:
        try:
            return function(*args, **options)
        except (FileFormatError, UnsupportedError, StateError) as error:
            raise type(error)(f"ONNX: {error}") from error

    return wrapped


@_naming_the_format
def load_onnx(
    source: str | PathLike[str] | bytes | ModelProto,
    *,
    gru_reset: str | None = None,
    states: Mapping[str, str | None] | None = None,
    initial_states: Mapping[str, npt.ArrayLike] | None = None,
    constants: Mapping[str, Any] | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    step_axes: Mapping[str, Sequence[int]] | None = None,
) -> Draft:
    """Reads an ONNX model into a finished Draft, ready to build.

    `source` is a path (external data lies beside it), the file's bytes, or a ModelProto.
    `gru_reset` "after" or "before" overrides every GRU's linear_before_reset.
    `states` forces state pairs, input -> output, or None for an input that is data; `initial_states` gives initial
    values by input name. `constants` binds inputs to values; `input_shapes` gives or overrides inputs' shapes;
    `step_axes` names axes of inputs that lie within one timestep, although a recurrent layer runs over them.

    Raises FileNotFoundError and other OSErrors, :class:`FileFormatError`, :class:`UnsupportedError`,
    :class:`StateError`, :class:`GraphError` for options that name what is not there, and :class:`MissingExtraError`
    without the onnx package.
    """
    import_onnx()
    from rtrnn.importers.onnx.axes import dynamic_axes_of, read_one_timestep, step_axes_of
    from rtrnn.importers.onnx.checks import Finals, check_finite
    from rtrnn.importers.onnx.graph import input_shapes_of
    from rtrnn.importers.onnx.registry import Options

    if gru_reset not in (None, "after", "before"):
        raise GraphError(f"gru_reset is {gru_reset!r}; expected 'after', 'before' or None")
    model = read_model(source)
    constants = {name: np.asarray(value) for name, value in (constants or {}).items()}
    given = {name: tuple(shape) for name, shape in (input_shapes or {}).items()}
    shapes = input_shapes_of(model, constants, given)
    options = Options(producer=model.producer_name, gru_reset=gru_reset)
    dynamic, steps = dynamic_axes_of(model, given), step_axes_of(step_axes or {}, shapes)
    reading = read_one_timestep(model, shapes, constants, options, dynamic, steps)
    draft = reading.builder.draft
    for entry in model.metadata_props:
        draft.metadata[entry.key] = entry.value
    draft.metadata["source.format"] = "onnx"
    draft.metadata["source.producer"] = f"{model.producer_name} {model.producer_version}".strip()
    draft.metadata["source.opset"] = str(opset_of(model))
    finals = Finals(draft)
    finish(
        draft,
        input_shapes={name: shape for name, shape in shapes.items() if name in draft.inputs},
        output_shapes=reading.output_shapes,
        states=states,
        initial_states=initial_states,
    )
    warn_about_dropped_layer(draft, [tensor.name for tensor in model.graph.initializer])
    finals.warn(draft)
    check_finite(draft, reading.not_finite)
    return draft
