"""What was chosen, and what it costs and gains."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rtrnn.precision.errors import OutputError

__all__ = ["WeightChoice"]


@dataclass(frozen=True)
class WeightChoice:
    """A precision for each matrix, as :meth:`rtrnn.Model.choose_weights` found it; what ``weights=`` takes.

    ``str()`` says it in words. It can be pickled, and :meth:`to_json` keeps it beside the network: it fits every file of the same
    network and needs no data any more.
    """

    #: The precision of every matrix that `overrides` does not name.
    default: str
    #: By ``NODE.ROLE``, as :attr:`rtrnn.Stream.weights` names them.
    overrides: Mapping[str, str]
    #: Largest error allowed: the RMS over time of any element of an output, relative to its spread.
    budget: float
    #: Of each output along the whole trajectory, with the weights chosen.
    errors: tuple[OutputError, ...] = ()
    #: What the errors were measured on.
    trajectory: str = ""
    #: What a step was chosen for: "speed" or "memory".
    goal: str = "speed"
    #: Time of a step with f32 weights over that of a step with these, as the table of costs has it (no measurement).
    predicted_speedup: float = 1.0
    #: Bytes of the weights that have a choice, with f32 and as chosen.
    weight_bytes: tuple[int, int] = (0, 0)
    #: The instruction set that it was chosen for.
    isa: str = ""
    #: Matrices that f32 was kept for, and why; for people.
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def within_budget(self) -> bool:
        return all(error.rms <= self.budget for error in self.errors)

    @property
    def precisions(self) -> dict[str, int]:
        """How many matrices have which precision."""
        counts: dict[str, int] = {}
        for precision in self.overrides.values():
            counts[precision] = counts.get(precision, 0) + 1
        return counts

    def to_json(self) -> str:
        """Everything, as one JSON object."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> WeightChoice:
        """What :meth:`to_json` gave. Raises ValueError for anything else."""
        try:
            facts: dict[str, Any] = json.loads(text)
            facts["errors"] = tuple(OutputError(**error) for error in facts.get("errors", ()))
            facts["notes"] = tuple(facts.get("notes", ()))
            facts["weight_bytes"] = tuple(facts.get("weight_bytes", (0, 0)))
            facts["overrides"] = {str(name): str(precision) for name, precision in facts["overrides"].items()}
            return cls(**facts)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a choice of weights: {error}") from None

    def __hash__(self) -> int:
        return hash((self.default, tuple(sorted(self.overrides.items())), self.budget, self.isa))

    def __str__(self) -> str:
        lines = [f"weights for {self.goal}, error at most {_percent(self.budget)} of each output's spread"]
        width = max((len(name) for name in self.overrides), default=0)
        lines += [f"  {name.ljust(width)}  {precision}" for name, precision in self.overrides.items()]
        if not self.overrides:
            lines.append(f"  all matrices: {self.default}")
        lines += [
            f"  error of {e.name}: RMS {_percent(e.rms)} (element {e.element}), largest {_percent(e.largest)} (timestep {e.step})"
            for e in self.errors
        ]
        if self.trajectory:
            lines.append(f"  measured on {self.trajectory}")
        before, after = self.weight_bytes
        speed = f"predicted {self.predicted_speedup:.2f} x the speed of f32"
        lines.append(f"  {before:,} bytes of weights in f32, {after:,} as chosen; {speed}")
        lines += [f"  {note}" for note in self.notes]
        return "\n".join(lines)


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
