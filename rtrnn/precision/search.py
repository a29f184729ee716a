"""The choice of a precision for each matrix under a budget of error.

Every precision of every matrix is measured by itself first. Errors of several matrices are taken to add like independent ones, by
their squares, in each element of the outputs: so the steps towards fewer bits are taken in the order of what they gain for what they
cost. What comes out is measured together; while it is above the budget, the matrix that costs most goes back a step, and what is
left of the budget is tried on the steps that were left out. Nothing depends on a clock, so the same data give the same choice.
"""

from __future__ import annotations

import math
import os
import sys
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rtrnn import _core
from rtrnn.errors import ModelWarning, UnsupportedError
from rtrnn.precision.calibration import MADE_UP, plausible_input, sequences_of
from rtrnn.precision.choice import WeightChoice
from rtrnn.precision.cost import Costs
from rtrnn.precision.matrices import Matrix, matrices_of
from rtrnn.precision.trial import Trial

if TYPE_CHECKING:
    from rtrnn.model import Model

__all__ = ["choose"]

#: Share of the budget that may be used up on made-up input: the error on the real one may be larger. Recorded data may use all of it.
_USED_OF_MADE_UP = 0.5
#: Multiply-adds for the search, a few seconds' worth, and the fewest timesteps that it looks at all the same.
_SEARCH_OPERATIONS = 2e10
_FEWEST_STEPS = 500
#: What a matrix has to cost in fewer bits at most, relative to f32, to be worth any error.
_WORTH = 0.9
#: Runs that try steps beyond what the sum of the errors allows.
_MORE_TRIALS = 12

Array = npt.NDArray[np.float64]


def choose(
    model: Model, data: Any = None, budget: float = 0.01, *, isa: str | None = None, goal: str = "speed"
) -> WeightChoice:
    """:meth:`rtrnn.Model.choose_weights`."""
    if not (isinstance(budget, (int, float)) and 0 < budget < math.inf):
        raise ValueError(f"budget: expected a number above 0, a share of each output's spread; found {budget!r}")
    if goal not in ("speed", "memory"):
        raise ValueError(f"goal: expected 'speed' or 'memory', found {goal!r}")
    chosen_isa = isa or os.environ.get("RTRNN_ISA", "") or _core.isa_available()[0]
    if data is None:
        sequences, trajectory = [plausible_input(model)], MADE_UP
        text = "weights are chosen on made-up input: data=, inputs recorded where the network works, tells more"
        warnings.warn(text, ModelWarning, stacklevel=_levels_to_the_caller())
    else:
        sequences, trajectory = sequences_of(model, data), ""
    trial = Trial(model, sequences, chosen_isa)
    limit = float(budget) if trajectory != MADE_UP else _USED_OF_MADE_UP * float(budget)
    search = _Search(model, trial, limit, chosen_isa, goal)
    default, overrides = search.each_matrix() if model.graph.is_causal else search.all_alike()
    errors = trial.errors(default, overrides)
    costs, matrices = search.costs, search.matrices
    precision = {m.name: overrides.get(m.name, default) for m in matrices}
    return WeightChoice(
        default,
        overrides,
        float(budget),
        errors,
        trajectory or f"{trial.steps} timesteps of data",
        goal,
        costs.step_ns({m.name: "f32" for m in matrices}) / costs.step_ns(precision),
        (sum(costs.bytes(m, "f32") for m in matrices), sum(costs.bytes(m, precision[m.name]) for m in matrices)),
        chosen_isa,
        search.notes(default),
    )


def _levels_to_the_caller() -> int:
    """From the function that calls this one up to the first frame outside of this package."""
    frame, levels = sys._getframe(1), 1
    while frame.f_back and str(frame.f_globals.get("__name__", "")).split(".")[0] == "rtrnn":
        frame, levels = frame.f_back, levels + 1
    return levels


@dataclass(frozen=True)
class _Candidate:
    """A precision of a matrix: what a step costs with it and what it does to the outputs by itself."""

    precision: str
    cost: float
    squares: Array


class _Search:
    def __init__(self, model: Model, trial: Trial, limit: float, isa: str, goal: str) -> None:
        self.graph = model.graph
        self.matrices = matrices_of(model.graph)
        self.costs = Costs(model.graph, self.matrices, isa)
        self.goal = goal
        self.limit = limit**2
        self.whole = trial
        operations = sum(m.rows * m.cols * m.products for m in self.matrices)
        runs = 3 * len(self.matrices) + _MORE_TRIALS
        self.trial = trial.first(model, max(_FEWEST_STEPS, int(_SEARCH_OPERATIONS / max(1, operations * runs))))
        self.kept: list[str] = []

    def notes(self, default: str) -> tuple[str, ...]:
        if not self.graph.is_causal:
            return ("all matrices alike: the network runs over the sequence backwards",)
        return (f"left in f32, where fewer bits gain nothing: {', '.join(self.kept)}",) if self.kept else ()

    def cost(self, matrix: Matrix, precision: str) -> float:
        if self.goal == "memory":
            return self.costs.bytes(matrix, precision)
        return self.costs.matrix_ns(matrix, precision)

    # -- one precision for each matrix -----------------------------------------------------------------

    def each_matrix(self) -> tuple[str, dict[str, str]]:
        ladders = {m.name: self._ladder(m) for m in self.matrices}
        self.kept = [m.name for m in self.matrices if len(ladders[m.name]) == 1]
        level = self._by_sums(ladders)
        level = self._back_within(self.trial, ladders, level)
        level = self._further(ladders, level)
        level = self._back_within(self.whole, ladders, level)
        return "f32", self._overrides(ladders, level)

    def _ladder(self, matrix: Matrix) -> list[_Candidate]:
        """The candidates from f32 on, each cheaper and with more error than the one before."""
        f32 = _Candidate("f32", self.cost(matrix, "f32"), np.zeros(len(self._zero())))
        found = []
        for precision in ("f16", "bf16", "i16", "i8", *(("i8a14",) if matrix.is_recurrent else ())):
            cost = self.cost(matrix, precision)
            if cost > _WORTH * f32.cost:
                continue
            try:
                squares = self.trial.squares(overrides=dict.fromkeys(matrix.names, precision))
            except UnsupportedError:  # a weight that this precision cannot hold
                continue
            found.append(_Candidate(precision, cost, squares))
        found.sort(key=lambda c: (float(c.squares.max(initial=0)), c.cost))
        ladder = [f32]
        for candidate in found:
            if candidate.cost < ladder[-1].cost:
                ladder.append(candidate)
        return ladder

    def _zero(self) -> Array:
        return np.zeros(sum(self.trial.sizes))

    def _by_sums(self, ladders: dict[str, list[_Candidate]]) -> dict[str, int]:
        """Steps in the order of gain over error, as long as the sum of the squares allows."""
        level = dict.fromkeys(ladders, 0)
        total = self._zero()
        while moves := self._moves(ladders, level, total):
            _, name, to = max(moves, key=lambda move: move[0])  # the first of equals
            total = total + ladders[name][to].squares - ladders[name][level[name]].squares
            level[name] = to
        return level

    def _moves(self, ladders: dict[str, list[_Candidate]], level: dict[str, int], total: Array) -> list[tuple[float, str, int]]:
        moves = []
        for name, ladder in ladders.items():
            now = ladder[level[name]]
            for to in range(level[name] + 1, len(ladder)):
                added = ladder[to].squares - now.squares
                if float((total + added).max(initial=0)) <= self.limit:
                    moves.append(((now.cost - ladder[to].cost) / max(float(added.max(initial=0)), 1e-30), name, to))
        return moves

    def _back_within(self, trial: Trial, ladders: dict[str, list[_Candidate]], level: dict[str, int]) -> dict[str, int]:
        """Takes back the steps that cost most until the measured error is within the limit; f32 everywhere is."""
        level = dict(level)
        while any(level.values()):
            squares = trial.squares(overrides=self._overrides(ladders, level))
            worst = int(np.argmax(squares)) if squares.size else 0
            if not squares.size or squares[worst] <= self.limit:
                break
            raised = [name for name, at in level.items() if at]
            name = max(raised, key=lambda n: float(ladders[n][level[n]].squares[worst] - ladders[n][level[n] - 1].squares[worst]))
            level[name] -= 1
        return level

    def _further(self, ladders: dict[str, list[_Candidate]], level: dict[str, int]) -> dict[str, int]:
        """Measures the steps that the sum of the squares did not allow, the largest gains first."""
        left = sorted(
            ((ladder[level[name]].cost - ladder[to].cost, name, to) for name, ladder in ladders.items()
             for to in range(level[name] + 1, len(ladder))),
            reverse=True,
        )  # fmt: skip
        level = dict(level)
        for _, name, to in left[:_MORE_TRIALS]:
            if to <= level[name] or float(ladders[name][to].squares.max(initial=0)) > self.limit:
                continue
            tried = level | {name: to}
            if float(self.trial.squares(overrides=self._overrides(ladders, tried)).max(initial=0)) <= self.limit:
                level = tried
        return level

    def _overrides(self, ladders: dict[str, list[_Candidate]], level: dict[str, int]) -> dict[str, str]:
        return {
            name: ladders[matrix.name][level[matrix.name]].precision for matrix in self.matrices for name in matrix.names
        }

    # -- the same for all ------------------------------------------------------------------------------

    def all_alike(self) -> tuple[str, dict[str, str]]:
        """The cheapest precision within the limit: networks with reverse layers have one for all matrices."""

        def cost(precision: str) -> float:
            return sum(self.cost(m, precision) for m in self.matrices)

        for precision in sorted(("f32", "f16", "bf16", "i16", "i8a14", "i8"), key=cost):
            if precision == "f32":
                break
            try:
                squares = self.whole.squares(precision)
            except UnsupportedError:
                continue
            if float(squares.max(initial=0)) <= self.limit:
                return precision, {}
        return "f32", {}
