"""Model: a loaded network, from which Streams, batches and offline runs are made."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from rtrnn import _core
from rtrnn._batch import Batch
from rtrnn._stream import Stream

if TYPE_CHECKING:
    from rtrnn.precision import WeightChoice

__all__ = ["Model"]

ArrayLike = npt.ArrayLike
Array = npt.NDArray[np.float32]
#: What `limits=` takes: those of the metadata (True), none, or others in their place.
Limits: TypeAlias = "bool | Mapping[str, Mapping[str, Any]]"
#: What `weights=` takes: a precision, "auto", precisions by ``NODE.ROLE`` over f32, or a choice that was made before.
Weights: TypeAlias = "str | Mapping[str, str] | WeightChoice"


class Model:
    """A network of one timestep: inputs, outputs, states with initial values, nodes.

    Made by :func:`rtrnn.load` and :func:`rtrnn.from_torch`. Immutable but for its metadata; Streams made from it share
    one Plan per set of options.
    """

    def __init__(self, graph: _core.Graph, warnings: Sequence[str] = ()) -> None:
        graph.validate()
        self.graph = graph
        #: What the importer noticed and a user should know.
        self.warnings: tuple[str, ...] = tuple(warnings)
        self._plans: dict[tuple[Any, ...], _core.Plan] = {}
        self._sequences: dict[tuple[Any, ...], _core.Sequence] = {}
        self._choices: dict[tuple[Any, ...], WeightChoice] = {}
        self._input_shapes, self._output_shapes = self.inputs, self.outputs  # asking the graph takes microseconds

    # -- description -----------------------------------------------------------------------------------

    @property
    def inputs(self) -> dict[str, tuple[int, ...]]:
        """Shape of each input of one timestep, by name, in declared order."""
        return {port.name: port.shape for port in self.graph.inputs}

    @property
    def outputs(self) -> dict[str, tuple[int, ...]]:
        """Shape of each output of one timestep, by name, in declared order."""
        return {port.name: self.graph.shape(port.value) for port in self.graph.outputs}

    @property
    def states(self) -> dict[str, tuple[int, ...]]:
        """Shape of each state that a Stream carries, by name."""
        return {state.name: state.shape for state in self.graph.states}

    @property
    def initial_state(self) -> dict[str, Array]:
        """The value of each state before the first timestep."""
        return {
            state.name: self.graph.tensor(state.initial) if state.initial else np.zeros(state.shape, np.float32)
            for state in self.graph.states
        }

    @property
    def metadata(self) -> dict[str, str]:
        """Free-form text that travels with the network (joint names, scales, rates); a copy, see :meth:`set_metadata`."""
        return self.graph.metadata

    def set_metadata(self, key: str, text: str) -> None:
        """Sets one entry of :attr:`metadata`, kept by :meth:`save`. "rtrnn.limits" holds for Streams made from then on."""
        self.graph.set_metadata(key, text)
        if key == "rtrnn.limits":
            self._plans.clear()
            self._sequences.clear()

    @property
    def parameters(self) -> int:
        """The number of weights and other constants."""
        return sum(int(np.prod(self.graph.shape(name))) for name in self.graph.tensor_names)

    def summary(self) -> str:
        """A table of inputs, states, nodes and outputs."""
        from rtrnn.summary import summarize

        return summarize(self)

    def __repr__(self) -> str:
        ins = ", ".join(f"{name}{shape}" for name, shape in self.inputs.items())
        outs = ", ".join(f"{name}{shape}" for name, shape in self.outputs.items())
        return f"<rtrnn.Model {ins} -> {outs}, states {list(self.states)}, {self.parameters} parameters>"

    # -- saving ----------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a ``.rtrnn`` file. Raises OSError when it cannot be written; never leaves half a file."""
        self.graph.save(os.fspath(path))

    def __reduce__(self) -> tuple[Any, ...]:
        return Model, (self.graph, self.warnings)  # a layer made here (rtrnn.layers) as well: its __init__ takes weights

    # -- running ---------------------------------------------------------------------------------------

    def plan(
        self,
        weights: Weights = "f32",
        isa: str | None = None,
        *,
        data: Any = None,
        budget: float = 0.01,
        limits: Limits = True,
        threads: int = 1,
        cpus: Sequence[int] = (),
        spin_ms: float = 5.0,
        delta: float | None = None,
    ) -> _core.Plan:
        """The Plan for these options (see :meth:`stream`), made once and shared."""
        precision, overrides = self._precisions(weights, isa, data, budget)
        threading = (threads, tuple(cpus), spin_ms)
        key = (precision, overrides, isa or os.environ.get("RTRNN_ISA", ""), _limits_text(limits), *threading, delta)
        if key not in self._plans:
            self._plans[key] = _core.Plan(self.graph, precision, key[2], dict(overrides), key[3], *threading, delta)
        return self._plans[key]

    def stream(
        self,
        weights: Weights = "f32",
        isa: str | None = None,
        on_nonfinite: str = "error",
        *,
        data: Any = None,
        budget: float = 0.01,
        hold_steps: int | None = None,
        limits: Limits = True,
        threads: int = 1,
        cpus: Sequence[int] = (),
        spin_ms: float = 5.0,
        delta: float | None = None,
    ) -> Stream:
        """A new Stream in the initial state.

        `weights` is the precision that the matrices of rnn, gru, lstm and linear nodes are packed in: "f32"; "i16" or "i8",
        integers times a scale for each row, with operands of 14 bits and exact sums ("i8" rounds a state to 8 bits, "i8a14"
        to 14 as well); "f16" or "bf16", widened as they are read. Everything else stays float32. "auto" chooses for each
        matrix, with `data` and `budget`, what :meth:`choose_weights` finds; :attr:`Stream.weights` tells. Such a choice can
        be given itself, and so can a mapping from ``NODE.ROLE`` to a precision, over f32. `isa` forces an instruction set
        of :func:`rtrnn.isa_available`. `on_nonfinite` says what a NaN or an infinity does: "error" (raise, state
        unchanged), "hold" (repeat the last output, state unchanged, counted), or "propagate". After `hold_steps` held steps in
        a row the next bad one raises, until a good one comes.

        `limits` bound the outputs and how fast they change: for each output a mapping with "min", "max", "max_change" (from one
        timestep to the next, applied after the bounds) and "initial" (what the first timestep's change is counted from; without it
        that one may be anywhere within the bounds), each a number or a list of one (or None) per element. True takes those of
        the metadata "rtrnn.limits", the same as JSON; False takes none. Limits change outputs alone, never the network's own
        states; what they remember joins the states, as ``limits.*``. :attr:`Stream.limited_count` tells how often they acted.

        `threads` is how many threads a step may use, the calling one included, for networks whose weights one core's cache does
        not hold: the rows of large matrices are divided among them, each on a core that keeps its share in its own cache. The
        bits stay. Small networks take none and gain nothing. The other threads live as long as the Stream. They look for
        the next step, each holding its core, for `spin_ms` milliseconds and then sleep in naps of up to 5 ms; a step that finds
        one asleep, or late, does its share itself, so steps further apart than `spin_ms` gain nothing. There should be
        as many free cores as threads. `cpus` pins the others to these processors, ``threads - 1`` numbers (Linux).

        `delta` follows the entries of a cell's input and state only when they have changed by more than this since they were used last
        (Delta Networks, 2017), which saves their columns of the matrices. The result is no longer the network's own: compare it on
        recordings. 0 leaves out what has not changed at all and differs by rounding, which adds up over a long run. The time of a step then
        depends on the data. The cells' matrices are float32, and the running sums are further states, NODE.delta_*. Measure
        on your own network whether it is any faster.

        Raises :class:`rtrnn.UnsupportedError` for a network with reverse or bidirectional layers (see :meth:`run`) and for
        an unknown precision and for weights that do not fit it; ValueError for a matrix or an output that the network does not
        have, for an unknown or unavailable `isa`, and for limits, `threads`, `cpus`, `spin_ms` and `delta` that make no sense;
        :class:`rtrnn.Error` when the system gives no more threads or not those processors.
        """
        plan = self.plan(
            weights, isa, data=data, budget=budget, limits=limits, threads=threads, cpus=cpus, spin_ms=spin_ms, delta=delta
        )
        return Stream(plan, on_nonfinite, hold_steps)

    def batch(
        self,
        n: int,
        weights: Weights = "f32",
        isa: str | None = None,
        on_nonfinite: str = "error",
        *,
        data: Any = None,
        budget: float = 0.01,
        hold_steps: int | None = None,
        limits: Limits = True,
    ) -> Batch:
        """`n` independent streams stepped in lockstep: ``step((n, input)) -> (n, output)``; options as :meth:`stream`."""
        return Batch(self.plan(weights, isa, data=data, budget=budget, limits=limits), n, on_nonfinite, hold_steps)

    def choose_weights(
        self, data: Any = None, budget: float = 0.01, *, isa: str | None = None, goal: str = "speed"
    ) -> WeightChoice:
        """A precision for each matrix, so that a step is as fast as the `budget` of error allows.

        `data` are inputs as the network will meet them, of the kinds that :meth:`run` takes; without them input is made up
        (:class:`rtrnn.ModelWarning`): drifting and white noise, steps and sinusoids, with the mean and deviation of the
        network's own normaliser where it has one. `budget` is the largest error allowed along that trajectory: of every
        element of every output the RMS of the difference from f32 weights, relative to the element's spread there
        (:mod:`rtrnn.precision.errors`). It holds on that trajectory and may be passed on another: recorded data may use all of
        it, so let them show what the network will meet; of made-up input half of it is used.
        `goal` "memory" in place of "speed" takes the smallest weights, also where a matrix is too small to be any faster for
        it. A network with reverse layers gets one precision for all its matrices.

        The same data give the same choice, on every machine with the instruction set `isa`. ``str()`` of the choice says
        what it is. Runs the network some times over the data, allocates; kept for the next call.

        Raises TypeError, ValueError (data, budget), :class:`rtrnn.NonFiniteError` for data that f32 weights cannot take.
        """
        from rtrnn.precision import choose

        key = (_digest(self.arrays_of(data)[0]) if data is not None else "", budget, isa or os.environ.get("RTRNN_ISA", ""), goal)
        if key not in self._choices:
            self._choices[key] = choose(self, data, budget, isa=isa, goal=goal)
        return self._choices[key]

    def _precisions(self, weights: Any, isa: str | None, data: Any, budget: float) -> tuple[str, tuple[tuple[str, str], ...]]:
        """The default precision and those of single matrices."""
        if weights == "auto":
            weights = self.choose_weights(data, budget, isa=isa)
        elif data is not None:
            raise ValueError(f"data is for weights='auto'; found weights={weights!r}")
        if isinstance(weights, str):
            return weights, ()
        if isinstance(weights, Mapping):
            return "f32", tuple(sorted(weights.items()))
        from rtrnn.precision import WeightChoice

        if isinstance(weights, WeightChoice):
            return weights.default, tuple(sorted(weights.overrides.items()))
        raise TypeError(
            "weights: expected the name of a precision, 'auto', a mapping from NODE.ROLE to a precision or a WeightChoice; "
            f"found {type(weights).__name__}"
        )

    def run(
        self,
        xs: ArrayLike | Mapping[str, ArrayLike] | Sequence[ArrayLike],
        *,
        sequence_lens: ArrayLike | None = None,
        weights: Weights = "f32",
        isa: str | None = None,
        on_nonfinite: str = "error",
        data: Any = None,
        budget: float = 0.01,
        limits: Limits = True,
    ) -> Any:
        """Runs whole sequences offline, each from the initial state. Time comes first.

        `xs` (T, input) -> (T, output); a batch (T, B, input) -> (T, B, output). Several inputs are a dict or a tuple of
        such arrays; several outputs come back as the same kind. `sequence_lens` (B) gives sequences of a batch their own
        lengths; outputs after a sequence's end are zero. This is the one way to run reverse and bidirectional layers; an
        output of such a network that is the layer's final state has no T axis. `weights`, `data`, `budget` and `limits` as
        for :meth:`stream`; where a layer runs backwards, an output without a T axis cannot have max_change. Releases the GIL, allocates.

        Raises TypeError, ValueError (shapes), :class:`rtrnn.NonFiniteError`.
        """
        arrays, is_batch = self.arrays_of(xs)
        if not is_batch and sequence_lens is not None:
            raise ValueError("sequence_lens needs a batch: inputs of shape (T, B, ...)")
        if not arrays:
            raise ValueError("a network without inputs has no sequence to run over; step a stream of it")
        steps = len(arrays[0])
        precisions = self._precisions(weights, isa, data, budget)
        sequence = self._sequence(precisions, isa, on_nonfinite, limits)
        if is_batch:
            results = self._run_batch(sequence, arrays, _lengths(sequence_lens, steps, arrays[0].shape[1]))
        elif steps:
            results = self._run_one(sequence, arrays, steps)
        else:
            empty = self._run_batch(sequence, [a[:, None] for a in arrays], [0])
            results = [r[:, 0] if sequence.is_per_timestep(i) else r[0] for i, r in enumerate(empty)]
        if isinstance(xs, Mapping):
            return dict(zip(self._output_shapes, results, strict=True))
        return results[0] if len(results) == 1 else tuple(results)

    def arrays_of(self, xs: Any) -> tuple[list[Array], bool]:
        """Each input of `xs`, of the kinds that :meth:`run` takes, in declared order, as ``(T, *shape)`` or ``(T, B, *shape)``; and
        whether there is a batch axis. Raises TypeError, ValueError."""
        shapes = self._input_shapes
        arrays = [_as_float(value, name) for name, value in zip(shapes, _ordered(xs, list(shapes)), strict=True)]
        batched = [_is_batched(a, name, shape) for a, (name, shape) in zip(arrays, shapes.items(), strict=True)]
        if len(set(batched)) > 1:
            raise ValueError("either all inputs have a batch axis or none has")
        is_batch = bool(batched and batched[0])
        lead = {a.shape[:2] if is_batch else (len(a), 1) for a in arrays}
        if len(lead) > 1:
            raise ValueError(f"inputs differ in their time and batch sizes: {sorted(lead)}")
        return arrays, is_batch

    def _sequence(
        self, precisions: tuple[str, tuple[tuple[str, str], ...]], isa: str | None, on_nonfinite: str, limits: Limits
    ) -> _core.Sequence:
        precision, overrides = precisions
        key = (precision, isa or os.environ.get("RTRNN_ISA", ""), on_nonfinite, overrides, _limits_text(limits))
        if key not in self._sequences:
            self._sequences[key] = _core.Sequence(self.graph, *key[:3], dict(overrides), key[4])
        return self._sequences[key]

    def _run_one(self, sequence: _core.Sequence, arrays: list[Array], length: int) -> list[Array]:
        shapes = list(self._output_shapes.values())
        sizes = [math.prod(shape) for shape in shapes]
        return [
            value.reshape((*value.shape[:-1], *shape))
            for value, shape in zip(sequence.run(arrays, length, sizes), shapes, strict=True)
        ]

    def _run_batch(self, sequence: _core.Sequence, arrays: list[Array], lengths: list[int]) -> list[Array]:
        shapes = list(self._output_shapes.values())
        steps = arrays[0].shape[0] if arrays else max(lengths, default=0)
        results = [
            np.zeros((steps, len(lengths), *shape) if sequence.is_per_timestep(i) else (len(lengths), *shape), np.float32)
            for i, shape in enumerate(shapes)
        ]
        for b, length in enumerate(lengths):
            if length == 0:
                continue
            for i, value in enumerate(self._run_one(sequence, [a[:length, b] for a in arrays], length)):
                if sequence.is_per_timestep(i):
                    results[i][:length, b] = value
                else:
                    results[i][b] = value
        return results


def _limits_text(limits: Limits) -> str | None:
    """As the core takes them; None for those of the metadata."""
    if isinstance(limits, bool):
        return None if limits else ""
    return json.dumps(limits, default=lambda values: np.asarray(values).tolist())


def _digest(arrays: list[Array]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _ordered(xs: Any, names: list[str]) -> list[Any]:
    if isinstance(xs, Mapping):
        missing = [n for n in names if n not in xs]
        unknown = [n for n in xs if n not in names]
        if missing or unknown:
            raise ValueError(f"expected the inputs {names}; missing {missing}, unknown {unknown}")
        return [xs[n] for n in names]
    if len(names) == 1:
        return [xs]
    if not isinstance(xs, (tuple, list)) or len(xs) != len(names):
        raise ValueError(f"expected a dict or {len(names)} arrays in the order {names}")
    return list(xs)


def _as_float(value: Any, name: str) -> Array:
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"input {name!r}: expected numbers, found dtype {array.dtype}")
    return array.astype(np.float32, copy=False)


def _is_batched(array: Array, name: str, shape: tuple[int, ...]) -> bool:
    for lead, batched in ((1, False), (2, True)):
        if array.shape[lead:] == shape and array.ndim == lead + len(shape):
            return batched
    raise ValueError(f"input {name!r}: expected shape {('T', *shape)} or {('T', 'B', *shape)}, found {array.shape}")


def _lengths(sequence_lens: ArrayLike | None, steps: int, count: int) -> list[int]:
    if sequence_lens is None:
        return [steps] * count
    lengths = np.asarray(sequence_lens)
    if lengths.shape != (count,) or lengths.dtype.kind not in "iu" or lengths.min() < 0 or lengths.max() > steps:
        raise ValueError(f"sequence_lens: expected {count} integers from 0 to {steps}, found {lengths.tolist()}")
    return [int(n) for n in lengths]
