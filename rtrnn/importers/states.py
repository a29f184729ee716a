"""Which inputs of a foreign graph are its state, and which outputs are that state's next value.

A file that carries its recurrent state as inputs and outputs (``h_in``, ``h_out``) becomes a Graph that carries the
state itself. Topology decides first: an input that reaches a state operand of a recurrent cell is a state, and its
next value is the output that comes from the same operands' results; an output that is the input's elements moved on with
new ones behind them is a delay line, one that repeats another input the longer delay behind that. Names only break ties, and pair
what none of these explains (cells written by hand).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from rtrnn.errors import StateError, UnsupportedError
from rtrnn.importers.draft import CELL_STATES, VIEW_OPS, Draft, Node, Shape, State, depends_on
from rtrnn.importers.recognise import recognise_cells

__all__ = ["check_cell_states", "final_states", "pair_states", "says_state"]

#: (position of a cell in the Draft, which of its states).
Slot = tuple[int, int]

_DIRECTION_WORDS = frozenset({"in", "out", "input", "output", "prev", "previous", "next", "new", "old", "n", "x"})
_STATE_WORDS = frozenset({"h", "c", "hidden", "cell", "state", "states", "memory", "carry", "recurrent"})
_CELL_WORDS = frozenset({"rnn", "gru", "lstm"})


def pair_states(
    draft: Draft,
    *,
    input_shapes: Mapping[str, Shape],
    output_shapes: Mapping[str, Shape] | None = None,
    states: Mapping[str, str | None] | None = None,
    initial_states: Mapping[str, npt.ArrayLike] | None = None,
) -> dict[str, str]:
    """Turns state inputs into states of the Draft; their outputs disappear.

    `states` forces pairs, input -> output; None as the output says that the input is data. `initial_states` holds
    initial values by input name, of the foreign input's shape; zeros without one. `input_shapes` and `output_shapes`
    are the foreign shapes; without `output_shapes` only the shapes without axes of size 1 are compared.

    Returns the pairs, input -> output. Raises :class:`StateError` where no partner or more than one is found.
    """
    pairing = _Pairing(draft, dict(input_shapes), dict(output_shapes or {}))
    pairing.force(states or {})
    pairing.by_cells()
    pairing.by_shifting()
    pairing.by_copies()
    pairing.by_names()
    pairing.check_read()
    for name in initial_states or {}:
        if name not in pairing.pairs and name not in draft.states:
            known = sorted([*pairing.pairs, *draft.states])
            raise StateError(f"initial_states names {name!r}, but the states are {known}")
    for name, output in pairing.pairs.items():
        _warn_steady(draft, name, output)
    for name, output in pairing.pairs.items():
        _carry(draft, name, output, input_shapes[name])
    for name, value in (initial_states or {}).items():
        _set_initial(draft.states[name], name, value)
    return pairing.pairs


def check_cell_states(draft: Draft) -> None:
    """Raises :class:`UnsupportedError` for a cell whose state operand depends on inputs and on no state."""
    producers = draft.producers()
    for node in draft.nodes:
        if node.turn is not None:
            continue  # within a timestep a layer may begin anywhere
        for k, position in enumerate(CELL_STATES.get(node.op, ())):
            reached = depends_on(producers, node.inputs[position])
            inputs = sorted(reached & draft.inputs.keys())
            if inputs and not reached & draft.states.keys():
                raise UnsupportedError(
                    f"{node.op} {node.name!r}: its initial {'hc'[k]} is computed from the inputs {inputs}; expected a "
                    "constant or a state input whose next value is an output"
                )


def final_states(draft: Draft) -> dict[str, set[str]]:
    """The outputs that consist of final states of recurrent layers: output -> the values that those layers start from.

    To be asked before :func:`pair_states`, while the nodes `last` tell a final state from a layer's output.
    """
    pairing = _Pairing(draft, {}, {})
    found = {}
    for name in draft.outputs:
        made, last = pairing.made_of(name)
        if made and last:
            cells = [(pairing.cells[at], k) for at, k in made]
            found[name] = {cell.inputs[CELL_STATES[cell.op][k]] for cell, k in cells}
    return found


class _Pairing:
    def __init__(self, draft: Draft, inputs: dict[str, Shape], outputs: dict[str, Shape]) -> None:
        self.draft, self.input_shapes, self.output_shapes = draft, inputs, outputs
        self.producers, self.users = draft.producers(), draft.users()
        self.cells = [node for node in draft.nodes if node.op in CELL_STATES]
        # The turns that a layer takes within a timestep count as one cell, the first.
        first: dict[int, int] = {}
        self.cell_numbers: dict[int, int] = {}
        for i, node in enumerate(self.cells):
            self.cell_numbers[id(node)] = i if node.turn is None else first.setdefault(node.turn.layer, i)
        self.written: _Pairing | None = None
        #: Inputs that are state operands of cells, for which no output is that cell's result.
        self.read: list[str] = []
        self.pairs: dict[str, str] = {}
        self.data: set[str] = set()

    # -- questions -------------------------------------------------------------------------------------

    def free_inputs(self) -> list[str]:
        return [n for n in self.draft.inputs if n not in self.pairs and n not in self.data]

    def free_outputs(self) -> list[str]:
        taken = set(self.pairs.values())
        return [n for n in self.draft.outputs if n not in taken]

    def fits(self, name: str, output: str) -> bool:
        if output in self.output_shapes and name in self.input_shapes:
            return self.output_shapes[output] == self.input_shapes[name]
        return self.draft.shapes[self.draft.outputs[output]] == self.draft.inputs[name]

    def read_by(self, name: str) -> set[Slot]:
        """The state operands of cells that `name` reaches through views only."""
        slots: set[Slot] = set()
        seen: set[str] = set()
        pending = [name]
        while pending:
            value = pending.pop()
            if value in seen:
                continue
            seen.add(value)
            for node in self.users.get(value, ()):
                if node.op in CELL_STATES:
                    at = self._cell(node)
                    slots |= {(at, k) for k, p in enumerate(CELL_STATES[node.op]) if node.inputs[p] == value}
                elif node.op in VIEW_OPS:
                    pending.extend(node.outputs)
        return slots

    def made_of(self, output: str) -> tuple[set[Slot], bool]:
        """The cell results that are all `output` consists of (none if it is more), and whether `last` was met."""
        slots: set[Slot] = set()
        last = False
        pending = [self.draft.outputs[output]]
        while pending:
            value = pending.pop()
            node = self.producers.get(value)
            if node is not None and node.op in CELL_STATES:
                if node.turn is not None and not node.turn.is_last:
                    return set(), False
                slots.add((self._cell(node), node.outputs.index(value)))
            elif node is not None and node.op in VIEW_OPS:
                last |= node.op == "last"
                pending.extend(node.inputs)
            else:
                return set(), False
        return slots, last

    def rearranged_from(self, output: str) -> set[str]:
        """The values whose elements `output` consists of, as far as nodes that only rearrange go."""
        found: set[str] = set()
        seen: set[str] = set()
        pending = [self.draft.outputs[output]]
        while pending:
            value = pending.pop()
            if value in seen:
                continue
            seen.add(value)
            node = self.producers.get(value)
            if node is not None and node.op in VIEW_OPS:
                pending.extend(node.inputs)
            else:
                found.add(value)
        return found

    def _cell(self, node: Node) -> int:
        return self.cell_numbers[id(node)]

    def describe_outputs(self, names: Iterable[str]) -> str:
        shape = {n: self.output_shapes.get(n, self.draft.shapes[v]) for n, v in self.draft.outputs.items()}
        return ", ".join(f"{n!r} {shape[n]}" for n in names) or "none"

    # -- the four ways ---------------------------------------------------------------------------------

    def force(self, states: Mapping[str, str | None]) -> None:
        for name, output in states.items():
            if name not in self.draft.inputs:
                raise StateError(f"states names the input {name!r}, but the inputs are {sorted(self.draft.inputs)}")
            if output is None:
                self.data.add(name)
                continue
            if output not in self.draft.outputs:
                raise StateError(
                    f"states names the output {output!r}, but the outputs are {sorted(self.draft.outputs)}"
                )
            if output in self.pairs.values():
                raise StateError(f"states names the output {output!r} for more than one input")
            value = self.draft.outputs[output]
            if np.prod(self.draft.inputs[name]) != np.prod(self.draft.shapes[value]):
                raise StateError(
                    f"states pairs the input {name!r} of shape {self.input_shapes[name]} with "
                    f"{self.describe_outputs([output])}: the step's new state must be an output of the same shape"
                )
            self.pairs[name] = output

    def by_cells(self) -> None:
        for name in self.free_inputs():
            slots = self.read_by(name)
            if not slots:
                continue
            fitting: list[tuple[tuple[int, ...], str]] = []
            for position, output in enumerate(self.free_outputs()):
                made, last = self.made_of(output)
                if made & slots and self.fits(name, output):
                    likeness = _likeness(name, output)
                    fitting.append(((made == slots, likeness, last, position), output))
            if not fitting:
                self.read.append(name)  # its next value may be computed from the cell's result
                continue
            output = max(fitting)[1]
            # The result may be an output of its own beside the next value, which is computed from it.
            named = [o for o in self.free_outputs() if _likeness(name, o) == 2 and self.fits(name, o)]
            named = [o for o in named if not self.made_of(o)[0] and name in depends_on(self.producers, self.draft.outputs[o])]
            if named and _likeness(name, output) < 2:
                raise self._ambiguous(name, [named[0], output])
            self.pairs[name] = output

    def by_shifting(self) -> None:
        """Delay lines: an output that consists of elements of the input and of new ones."""
        for output in self.free_outputs():
            sources = self.rearranged_from(output)
            fitting = [name for name in self.free_inputs() if name in sources and self.fits(name, output)]
            # A network keeps at least one input and one output that are data; a constant is no new element.
            alone = len(self.free_inputs()) < 2 or len(self.free_outputs()) < 2
            if len(fitting) == 1 and len(set(sources) - self.draft.tensors.keys()) > 1 and not alone:
                self.pairs[fitting[0]] = output

    def by_copies(self) -> None:
        """Longer delays: an output that only repeats an input is the next value of another one."""
        for output in self.free_outputs()[1:]:
            sources = self.rearranged_from(output)
            inputs = [n for n in self.free_inputs() if n not in sources and n != next(iter(self.draft.inputs))]
            fitting = [name for name in inputs if self.fits(name, output)]
            fitting = [n for n in fitting if _numbers(n) == _numbers(output) and _likeness(n, output)] or fitting
            if len(sources) == 1 and sources <= self.draft.inputs.keys() and len(fitting) == 1:
                (name,) = fitting
                self.pairs[name] = output
                if not _likeness(name, output):
                    self._warn_guessed(name, output)

    def check_read(self) -> None:
        """Raises :class:`StateError` for a state operand of a cell that has no next value."""
        for name in self.read:
            if name not in self.pairs and name not in self.data:
                raise self._no_partner(name)

    def by_names(self) -> None:
        inputs, outputs = self.free_inputs(), self.free_outputs()
        # Where the data's own input and output have one name, as left_in and left_out, that is no sign of a state.
        first = next(iter(self.draft.inputs), ""), next(iter(self.draft.outputs), "")
        of_data = all(first) and not says_state(first[0]) and _likeness(*first) == 1
        reach = {o: depends_on(self.producers, self.draft.outputs[o]) for o in outputs}
        for position, name in enumerate(inputs):
            free = [o for o in outputs if o not in self.pairs.values()]
            # The first input and the first output are the data's unless their names say otherwise.
            named = says_state(name)
            if position == 0 and not (named and len(inputs) > 1):
                continue
            if not any(name in values for values in reach.values()):
                self._refuse_lost(name, free)
                continue
            fitting = [o for o in free if self.fits(name, o) and name in reach[o]]
            if name in self.read:  # another cell's result is that cell's
                fitting = [o for o in fitting if not self.made_of(o)[0]]
            if len(free) > 1 or not named:
                possible, fitting = fitting, [o for o in fitting if o != outputs[0] or says_state(o)]
                if named and not fitting:
                    fitting = self.by_written_cells(name, possible)
            best = max((_likeness(name, o) for o in fitting), default=0)
            if not named and (of_data or not fitting):
                self._warn_alike(name, free)
                continue
            if best == 0 and (not named or position == 0):
                decided = self.by_written_cells(name, fitting) if len(fitting) > 1 else []
                self._unnamed(name, decided or fitting, inputs)
                continue
            fitting = [o for o in fitting if _likeness(name, o) == best]
            if best < 2 and len(fitting) > 1:
                fitting = self.by_written_cells(name, fitting) or fitting
            if not fitting:
                if position > 0:
                    raise self._no_partner(name)
                continue
            rivals = [n for n in inputs[1:] if n not in self.pairs and n != name and _likeness(n, fitting[0]) == best]
            rivals = [n for n in rivals if any(self.fits(n, o) for o in fitting)]
            if len(fitting) > 1 and len(fitting) != len(rivals) + 1:
                raise self._ambiguous(name, fitting)
            self.pairs[name] = fitting[0]
            if not named:
                self._warn_guessed(name, fitting[0])

    def by_written_cells(self, name: str, fitting: list[str]) -> list[str]:
        """Those of `fitting` that are the result for which a cell, written by hand out of elementary nodes, reads `name`."""
        if self.written is None:
            draft = copy.deepcopy(self.draft)
            recognise_cells(draft)
            self.written = _Pairing(draft, self.input_shapes, self.output_shapes)
        slots = self.written.read_by(name)
        made = {output: self.written.made_of(output)[0] for output in fitting}
        return [output for output in fitting if slots and made[output] == slots]

    def _unnamed(self, name: str, fitting: list[str], inputs: list[str]) -> None:
        """No name says state: a scalar is more likely a command or a value estimate, so only vectors are paired."""
        if not fitting or self.draft.inputs[name] == (1,) or name == inputs[0]:
            return
        if len(fitting) > 1:
            raise self._ambiguous(name, fitting)
        self.pairs[name] = fitting[0]
        self._warn_guessed(name, fitting[0])

    def _warn_guessed(self, name: str, output: str) -> None:
        self.draft.warnings.append(
            f"input {name!r} is carried as a state whose next value is the output {output!r} of the same shape; "
            f"if it is data, pass states={{{name!r}: None}}"
        )

    def _warn_alike(self, name: str, outputs: list[str]) -> None:
        alike = [o for o in outputs if _likeness(name, o) and self.fits(name, o)]
        if alike:
            self.draft.warnings.append(
                f"input {name!r} is taken as data, although the output {alike[0]!r} has its name and shape; if that is its next "
                f"value, pass states={{{name!r}: {alike[0]!r}}}"
            )

    def _refuse_lost(self, name: str, outputs: list[str]) -> None:
        """An exporter that was given one example tensor for two states reads one of them twice, the other never."""
        twins = [o for o in outputs if _likeness(name, o) == 2 and self.fits(name, o) and self.made_of(o)[0]]
        if twins:
            raise StateError(
                f"input {name!r} of shape {self.input_shapes[name]} is not used by anything, although the output "
                f"{twins[0]!r} looks like its next value; export with a different example tensor for each state, or "
                f"pass states={{{name!r}: None}} to go on without it"
            )

    def _no_partner(self, name: str) -> StateError:
        hint = "" if self.read_by(name) else f"; if it is data, pass states={{{name!r}: None}}"
        return StateError(
            f"input {name!r} of shape {self.input_shapes[name]} is a recurrent state, but no output is its next value: "
            f"the step's new state must be an output of the same shape; the outputs are "
            f"{self.describe_outputs(self.draft.outputs)}{hint}"
        )

    def _ambiguous(self, name: str, fitting: list[str]) -> StateError:
        return StateError(
            f"input {name!r} of shape {self.input_shapes[name]} may be a state whose next value is any of "
            f"{self.describe_outputs(fitting)}; say which with states={{{name!r}: {fitting[0]!r}}}, or "
            f"states={{{name!r}: None}} if it is data"
        )


def _warn_steady(draft: Draft, name: str, output: str) -> None:
    """A state that cannot change is worth a word: the export may have returned the old state in place of the new one."""
    producers = draft.producers()
    sources = {v for v in depends_on(producers, draft.outputs[output]) if v not in producers}
    value = draft.outputs[output]
    while value in producers and producers[value].op in VIEW_OPS and len(set(producers[value].inputs)) == 1:
        value = producers[value].inputs[0]
    if value == name:
        what = "is the state itself"
    elif sources <= draft.tensors.keys():
        what = "is constant"
    else:
        return
    draft.warnings.append(
        f"the next value of the state {name!r}, output {output!r}, {what}: nothing is remembered from step to step; see whether "
        "the export returned the new state"
    )


def _carry(draft: Draft, name: str, output: str, foreign: Shape) -> None:
    shape = draft.inputs.pop(name)
    value = draft.outputs.pop(output)
    if draft.shapes[value] != shape:
        (value,) = draft.add_node("reshape", [value], [shape], {"shape": list(shape)}, f"{name}.next")
    draft.states[name] = State(shape, np.zeros(shape, np.float32), value, f"input {name!r}, output {output!r}")


def _set_initial(state: State, name: str, value: npt.ArrayLike) -> None:
    array = np.asarray(value, np.float32)
    if array.size != np.prod(state.shape):
        raise StateError(
            f"initial_states[{name!r}] has shape {array.shape}; expected {int(np.prod(state.shape))} values"
        )
    state.initial = array.reshape(state.shape)


def _words(name: str) -> frozenset[str]:
    """The words of a name without digits and without the words for direction: h_in, h0, hx, hn -> {h}."""
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)
    words = {"h" if p in ("hx", "hn") else "c" if p in ("cx", "cn") else p for p in map(str.lower, parts)}
    return frozenset(words - _DIRECTION_WORDS)


def _numbers(name: str) -> list[str]:
    return re.findall(r"[0-9]+", name)


def says_state(name: str) -> bool:
    """True for h_in, c0, hidden_state.1, rnn_state, state; false for joint_state, which is an observation."""
    words = _words(name)
    return bool(words & _STATE_WORDS) and words <= _STATE_WORDS | _CELL_WORDS


def _likeness(name: str, output: str) -> int:
    """How much two names look like one state before and after: 2 the same words, 1 both states, 0 neither."""
    same = _words(name) == _words(output) and bool(_words(name))
    return 2 if same and says_state(name) else 1 if same or (says_state(name) and says_state(output)) else 0
