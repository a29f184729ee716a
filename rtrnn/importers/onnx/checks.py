"""What is said about a network that can be run but may not do what its author meant."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from rtrnn.errors import UnsupportedError
from rtrnn.importers.draft import Draft
from rtrnn.importers.states import final_states, says_state

__all__ = ["Finals", "check_finite"]


class Finals:
    """The outputs of a Draft that are final states which the Stream carries itself, taken before the states are paired."""

    def __init__(self, draft: Draft) -> None:
        carried = draft.states.keys()
        self.internal = {name: found for name, found in final_states(draft).items() if found <= carried}

    def warn(self, draft: Draft) -> None:
        """After the pairing: warns of outputs that look like states although no input feeds them, and of states that
        the file hides beside states that it shows."""
        pairs: dict[str, str] = json.loads(draft.metadata.get("source.states", "{}"))
        for position, name in enumerate(draft.outputs):
            if name in self.internal and self.internal[name] & draft.states.keys():
                draft.warnings.append(
                    f"output {name!r} is the final state of a recurrent layer, but no input feeds it back: the Stream carries "
                    f"that state itself ({', '.join(sorted(self.internal[name]))})"
                )
            elif position > 0 and says_state(name):
                draft.warnings.append(
                    f"output {name!r} is named like a state, but no input takes it: it is an output like the others; if it is "
                    "the next value of an input, name the pair with states="
                )
        hidden = [name for name in draft.states if name not in pairs]
        if pairs and hidden:
            draft.warnings.append(
                f"the states {', '.join(pairs)} are inputs and outputs of the file, but {', '.join(hidden)} are not: they start "
                "anew whenever the file is run, while the Stream carries them from step to step"
            )


def check_finite(draft: Draft, not_finite: Mapping[str, str]) -> None:
    """Raises :class:`UnsupportedError` for a weight that is not finite; `not_finite` names the file's own such tensors."""
    for name, array in draft.tensors.items():
        if np.isfinite(array).all():
            continue
        if not_finite:
            found = ", ".join(f"{tensor!r} ({what})" for tensor, what in not_finite.items())
            raise UnsupportedError(f"tensor {found}: expected finite weights; the training may have diverged before the export")
        at = np.argwhere(~np.isfinite(array))[0].tolist()
        raise UnsupportedError(
            f"node {name!r}: a constant that is computed from the file's tensors is {array[tuple(at)]} at {at}; expected finite "
            "values: look for a division by zero or an overflow"
        )
