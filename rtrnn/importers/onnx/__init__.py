"""Import of ONNX models: operator sets 1 to the newest, policies and recurrent networks of any exporter.

The graph is read at one timestep: axes that are not fixed are 1, and a fixed axis that turns out to be time or batch
is made 1. State that the file carries as inputs and outputs becomes state of the Graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rtrnn.errors import FileFormatError, GraphError, UnsupportedError
from rtrnn.importers.builder import RebindAxis
from rtrnn.importers.draft import Draft
from rtrnn.importers.finish import finish
from rtrnn.importers.onnx.reader import import_onnx, opset_of, read_model

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["load_onnx"]


def load_onnx(
    source: str | PathLike[str] | bytes | ModelProto,
    *,
    gru_reset: str | None = None,
    states: Mapping[str, str | None] | None = None,
    initial_states: Mapping[str, npt.ArrayLike] | None = None,
    constants: Mapping[str, Any] | None = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
) -> Draft:
    """Reads an ONNX model into a finished Draft, ready to build.

    `source` is a path (external data lies beside it), the file's bytes, or a ModelProto.
    `gru_reset` "after" or "before" overrides every GRU's linear_before_reset.
    `states` forces state pairs, input -> output, or None for an input that is data; `initial_states` gives initial
    values by input name. `constants` binds inputs to values; `input_shapes` gives or overrides inputs' shapes.

    Raises FileNotFoundError and other OSErrors, :class:`FileFormatError`, :class:`UnsupportedError`,
    :class:`StateError`, :class:`GraphError` for options that name what is not there, and :class:`MissingExtraError`
    without the onnx package.
    """
    import_onnx()
    from rtrnn.importers.onnx.graph import GraphImport, free_axes, input_shapes_of
    from rtrnn.importers.onnx.registry import Options

    if gru_reset not in (None, "after", "before"):
        raise GraphError(f"gru_reset is {gru_reset!r}; expected 'after', 'before' or None")
    model = read_model(source)
    constants = {name: np.asarray(value) for name, value in (constants or {}).items()}
    given = {name: tuple(shape) for name, shape in (input_shapes or {}).items()}
    shapes = input_shapes_of(model, constants, given)
    options = Options(producer=model.producer_name, gru_reset=gru_reset)
    # Each round fixes one axis for good, so there are never more rounds than axes.
    for _ in range(1 + sum(len(s) for s in shapes.values())):
        options.sequence_lens.clear()
        options.truths.clear()
        reading = GraphImport(model, shapes, constants, options)
        try:
            draft = reading.run()
        except RebindAxis as rebind:
            name, axis = rebind.axis
            options.rebound[rebind.axis] = rebind.size
            shapes[name] = (*shapes[name][:axis], 1, *shapes[name][axis + 1 :])
            continue
        except (FileFormatError, UnsupportedError) as error:
            hint = free_axes(model, given)
            if hint:
                raise type(error)(f"{error}{hint}") from error
            raise
        break
    else:
        raise UnsupportedError(f"no choice of time and batch axes fits the inputs {shapes}")
    for entry in model.metadata_props:
        draft.metadata[entry.key] = entry.value
    draft.metadata["source.format"] = "onnx"
    draft.metadata["source.producer"] = f"{model.producer_name} {model.producer_version}".strip()
    draft.metadata["source.opset"] = str(opset_of(model))
    finish(
        draft,
        input_shapes={name: shape for name, shape in shapes.items() if name in draft.inputs},
        output_shapes=reading.output_shapes,
        states=states,
        initial_states=initial_states,
    )
    return draft
