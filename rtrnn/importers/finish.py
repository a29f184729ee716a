"""What every importer does with a Draft once the foreign graph has been read."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from rtrnn.importers.draft import CELL_OPS, VIEW_OPS, Draft, Shape
from rtrnn.importers.frames import check_lag
from rtrnn.importers.gates import warn_about_dropped_state
from rtrnn.importers.recognise import recognise_cells
from rtrnn.importers.states import check_cell_states, pair_states

__all__ = ["drop_state_views", "finish"]


def finish(
    draft: Draft,
    *,
    input_shapes: Mapping[str, Shape],
    output_shapes: Mapping[str, Shape] | None = None,
    states: Mapping[str, str | None] | None = None,
    initial_states: Mapping[str, npt.ArrayLike] | None = None,
    drop_state_outputs: bool = False,
) -> None:
    """Pairs states, fuses hand-written cells and removes what nothing uses; changes `draft`, ready to build.

    `input_shapes` and `output_shapes` are the foreign shapes by name; `states` and `initial_states` are those of
    :func:`rtrnn.importers.states.pair_states`. With `drop_state_outputs`, outputs that only repeat a carried state's
    next value are removed if another output is left.

    Raises :class:`StateError` and :class:`UnsupportedError`.
    """
    pairs = pair_states(
        draft,
        input_shapes=input_shapes,
        output_shapes=output_shapes,
        states=states,
        initial_states=initial_states,
    )
    # How the foreign file is called for one timestep: its own runtime can then be run beside the Graph.
    draft.metadata["source.inputs"] = json.dumps({name: list(shape) for name, shape in input_shapes.items()})
    draft.metadata["source.states"] = json.dumps(pairs)
    check_cell_states(draft)
    check_lag(draft)
    for axis, text in draft.over_axes:
        if axis in draft.time_axes and text not in draft.warnings:
            draft.warnings.append(text)
    if drop_state_outputs:
        drop_state_views(draft)
    if not any(node.op in CELL_OPS and node.attributes.get("direction") == "reverse" for node in draft.nodes):
        _remove_last(draft)
    with np.errstate(all="ignore"):  # weights may be infinite or NaN; that is for the network to show
        cells = recognise_cells(draft)
    if cells:
        draft.metadata["import.recognised"] = "\n".join(cells)
    draft.prune()
    _warn_unused(draft)
    draft.sort()
    warn_about_dropped_state(draft)


def drop_state_views(draft: Draft) -> None:
    """Removes outputs that are only views of carried states' next values, unless that would remove them all."""
    following = {state.next for state in draft.states.values()}
    producers = draft.producers()

    def repeats(value: str) -> bool:
        if value in following:
            return True
        node = producers.get(value)
        return node is not None and node.op in VIEW_OPS and all(repeats(v) for v in node.inputs)

    # The first output is the network's own result even where it equals the state, as for a bare recurrent layer.
    first = next(iter(draft.outputs), None)
    dropped = [name for name, value in draft.outputs.items() if name != first and repeats(value)]
    for name in dropped:
        del draft.outputs[name]
    if dropped:
        draft.metadata["import.dropped_outputs"] = ",".join(dropped)


def _remove_last(draft: Draft) -> None:
    for node in [node for node in draft.nodes if node.op == "last"]:
        draft.replace_value(node.outputs[0], node.inputs[0])
        draft.nodes.remove(node)


def _warn_unused(draft: Draft) -> None:
    used = draft.users().keys() | draft.roots()
    for name in draft.inputs:
        if name not in used:
            draft.warnings.append(f"input {name!r} is not used by any output")
