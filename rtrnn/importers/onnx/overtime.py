"""What a file computes over its whole time axis, which no stream can compute.

The graph is read at one timestep. An operation that takes in all timesteps (a mean, a softmax, a flip), that picks one of them, or
that depends on how many there are (positions) is then well formed and means something else. This is looked for in a second
reading, once the time axes are known: each of them is thought of as longer than one step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from rtrnn.errors import UnsupportedError
from rtrnn.importers.onnx.registry import OPS, Call
from rtrnn.importers.sym import Axis, Sym

__all__ = ["STEPS", "OverTime"]

#: How many timesteps an axis without a fixed size is thought to have.
STEPS = 3

#: Operands that hold shapes, places or lengths, not values: operator -> their positions.
_NO_VALUES = {
    "Reshape": (1,),
    "Expand": (1,),
    "Slice": (1, 2, 3, 4),
    "Tile": (1,),
    "Gather": (1,),
    "Pad": (1,),
    "Split": (1,),
    "Resize": (1, 2, 3),
    "RNN": (4,),
    "GRU": (4,),
    "LSTM": (4,),
    "If": (0,),
}

#: Operators whose operands are spread over each other's axes.
_SPREADING = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Sum", "Mean", "Where", "PRelu", "Less", "Greater", "Equal"})
#: Those that take the part for one timestep where the constant has the same for each.
_CUT = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Sum"})


class OverTime:
    """Follows one reading node by node; see :meth:`node`. `times` holds the time axes with the numbers of steps to think of."""

    def __init__(self, times: Mapping[Axis, int]) -> None:
        self.times = dict(times)
        #: Constants that are others for the longer sequence.
        self._longer: dict[Sym, np.ndarray] = {}
        #: Values of the last timestep alone.
        self._ended: set[Sym] = set()

    def node(self, call: Call, results: Sequence[Sym]) -> None:
        """Looks at a node that has been read; raises :class:`UnsupportedError` for one that needs the whole sequence."""
        operands = [x for x in call.inputs if x is not None]
        if call.op_type in ("Shape", "Size"):
            self._note_sizes(call, results)
        elif all(x.const is not None for x in operands):
            self._fold(call, results)
        else:
            self._check_values(call)
            if call.op_type in _SPREADING:
                self._check_lengths(call, operands)
            ends = _RULES[call.op_type](self, call) if call.op_type in _RULES else False
            if call.op_type.startswith("Reduce"):
                self._reduces(call)
            ended = [x for x in operands if x in self._ended]
            if ended and any(self._at(x) is not None for x in operands):
                raise self._refused("it combines the last timestep's value with those of every timestep")
            if ended or ends:
                self._ended.update(y for y in results if y.const is None)
            if call.op_type in ("RNN", "GRU", "LSTM") and self._at(call.x()) is not None:
                self._ended.update(results[1:])

    # -- what is known ---------------------------------------------------------------------------------

    def _at(self, x: Sym) -> int | None:
        """The time axis of a value that has one frame for each timestep."""
        if x.const is not None or x in self._ended or x.frames is not None:
            return None
        return next((i for i, (o, d) in enumerate(zip(x.origin, x.shape, strict=True)) if o in self.times and d == 1), None)

    def _steps(self, x: Sym) -> int:
        at = self._at(x)
        return 1 if at is None else self.times[x.origin[at]]  # type: ignore[index]

    def _long_shape(self, x: Sym) -> list[int]:
        if x in self._longer:
            return list(self._longer[x].shape)
        at = self._at(x)
        return [self._steps(x) if i == at else d for i, d in enumerate(x.shape)]

    def _constant(self, call: Call, i: int) -> np.ndarray | None:
        x = call.opt(i)
        return None if x is None else self._longer.get(x, x.const)

    def _integers(self, call: Call, name: str, i: int) -> list[int] | None:
        if name in call.attributes:
            return call.ints(name, i)
        array = self._constant(call, i)
        return None if array is None else [int(v) for v in array.ravel()]

    @staticmethod
    def _refused(what: str) -> UnsupportedError:
        return UnsupportedError(
            f"{what}: a stream has one timestep at a time. Expected operations that treat every timestep alike; export that part "
            "on its own, or export the network for one timestep with its state as inputs and outputs"
        )

    # -- constants -------------------------------------------------------------------------------------

    def _note_sizes(self, call: Call, results: Sequence[Sym]) -> None:
        shape = self._long_shape(call.x())
        part = shape[int(call.attr("start", 0)) : call.attr("end")]
        self._note(results[0], np.asarray(part if call.op_type == "Shape" else math.prod(shape)))

    def _note(self, y: Sym, longer: np.ndarray) -> None:
        if y.const is not None and not np.array_equal(longer, y.const, equal_nan=longer.dtype.kind == "f"):
            self._longer[y] = longer

    def _fold(self, call: Call, results: Sequence[Sym]) -> None:
        if not any(x in self._longer for x in call.inputs if x is not None) or call.op_type == "If":
            return
        given = [call.b.const(self._longer[x]) if x is not None and x in self._longer else x for x in call.inputs]
        try:
            found = OPS[call.op_type](replace(call, inputs=given))
        except Exception:  # at that length it may not fit together; then there is nothing to compare with
            return
        for y, longer in zip(results, found if isinstance(found, list) else [found], strict=False):
            if longer.const is not None:
                self._note(y, longer.const)

    def _check_values(self, call: Call) -> None:
        """A constant that is the same for every timestep, however many there are, may be an operand; no other."""
        for i, x in enumerate(call.inputs):
            if x is None or x not in self._longer or i in _NO_VALUES.get(call.op_type, ()):
                continue
            longer, base = self._longer[x], np.asarray(x.const)
            try:
                steady = np.array_equal(np.broadcast_to(base, longer.shape), longer)
            except ValueError:
                steady = False
            if not steady:
                raise self._refused(f"its operand {call.operand(i)} depends on the number of timesteps or on the position in the sequence")

    def _check_lengths(self, call: Call, operands: Sequence[Sym]) -> None:
        """A constant with an element for each timestep of the file meets one timestep here."""
        at = {i - x.ndim for x in operands if (i := self._at(x)) is not None}
        for i, x in enumerate(call.inputs):
            if x is None or x.const is None:
                continue
            axes = [a for a in at if -a <= x.ndim and x.shape[a] > 1]
            if any(call.op_type not in _CUT or not np.array_equal(x.const, np.roll(x.const, 1, a)) for a in axes):
                raise self._refused(f"its constant operand {call.operand(i)} of shape {x.shape} has one part for each timestep")

    # -- operators -------------------------------------------------------------------------------------

    def _refuse_over(self, x: Sym, axes: Sequence[int], what: str) -> None:
        at = self._at(x)
        if at is not None and at in axes:
            name, axis = x.origin[at]  # type: ignore[misc]
            raise self._refused(f"it {what} the time axis (axis {axis} of input {name!r})")

    def _reduces(self, call: Call) -> None:
        x, axes = call.x(), call.ints("axes", 1)
        if not axes:
            axes = [] if call.attr("noop_with_empty_axes", 0) else list(range(x.ndim))
        self._refuse_over(x, [x.axis(a) for a in axes], "takes in all of")

    def _softmax(self, call: Call) -> bool:
        x = call.x()
        axis = x.axis(int(call.attr("axis", -1 if call.opset >= 13 else 1)))
        self._refuse_over(x, [axis] if call.opset >= 13 else range(axis, x.ndim), "takes in all of")
        return False

    def _normalises(self, call: Call) -> bool:
        x = call.x()
        self._refuse_over(x, range(x.axis(int(call.attr("axis", -1))), x.ndim), "takes in all of")
        return False

    def _channels_apart(self, call: Call) -> bool:
        self._refuse_over(call.x(), range(2, call.x().ndim), "takes in all of")
        return False

    def _statistics(self, call: Call) -> bool:
        x = call.x()
        axes = call.attr("axes", [0, 2, 3]) if call.op_type == "MeanVarianceNormalization" else [call.attr("axis", -1)]
        self._refuse_over(x, [x.axis(int(a)) for a in axes], "takes in all of")
        return False

    def _reverses(self, call: Call) -> bool:
        self._refuse_over(call.x(), [call.x().axis(int(call.attr("time_axis", 0)))], "turns round")
        return False

    def _joins(self, call: Call) -> bool:
        for x in call.all():
            self._refuse_over(x, [x.axis(int(call.attr("axis", 1)))], "adds timesteps to")
        return False

    def _picked(self, x: Sym, places: Sequence[int]) -> bool:
        """Whether `places` along the time axis are the last one; refuses what is neither that nor all in order."""
        steps = self._steps(x)
        places = [p + steps if p < 0 else p for p in places]
        if places == list(range(steps)):
            return False
        if places != [steps - 1]:
            self._refuse_over(x, [self._at(x) or 0], "takes some of the timesteps, or in another order, from")
        return True

    def _slices(self, call: Call) -> bool:
        x = call.x()
        at, starts, ends = self._at(x), self._integers(call, "starts", 1), self._integers(call, "ends", 2)
        if at is None or not starts or not ends:
            return False
        axes = self._integers(call, "axes", 3) or list(range(len(starts)))
        steps = self._integers(call, "steps", 4) or [1] * len(starts)
        for start, stop, axis, step in zip(starts, ends, axes, steps, strict=True):
            if x.axis(axis) == at:
                return self._picked(x, range(*slice(start, stop, step).indices(self._steps(x))))
        return False

    def _gathers(self, call: Call) -> bool:
        x, indices = call.x(), self._constant(call, 1)
        at = self._at(x)
        if at is None or indices is None or x.axis(int(call.attr("axis", 0))) != at:
            return False
        return self._picked(x, [int(i) for i in indices.ravel()])

    def _splits(self, call: Call) -> bool:
        x = call.x()
        if call.num_outputs > 1:
            self._refuse_over(x, [x.axis(int(call.attr("axis", 0)))], "cuts")
        return False

    def _repeats(self, call: Call) -> bool:
        """Expand and Tile: a value of the last timestep, or of the past as a whole, given to every timestep."""
        x, target = call.x(), call.opt(1)
        if target in self._longer and x in self._ended:
            raise self._refused("it gives the last timestep's value to every timestep")
        return False

    def _reshapes(self, call: Call) -> bool:
        x, target = call.x(), self._constant(call, 1) if call.opt(1) is not None else np.asarray(call.attr("shape", []))
        at = self._at(x)
        # Sizes of several sequences cannot be told from those of timesteps.
        if at is None or target is None or any(a not in self.times for a in call.options.rebound):
            return False
        shape = self._long_shape(x)
        sizes = [shape[i] if d == 0 and i < len(shape) else int(d) for i, d in enumerate(target.ravel())]
        known = math.prod(d for d in sizes if d != -1)
        if sizes.count(-1) == 1 and known > 0 and math.prod(shape) % known == 0:
            sizes = [math.prod(shape) // known if d == -1 else d for d in sizes]
        if math.prod(sizes) != math.prod(shape) or -1 in sizes:
            return False
        before = math.prod(shape[:at])
        kept = any(d == shape[at] and math.prod(sizes[:i]) == before for i, d in enumerate(sizes))
        if not kept:
            self._refuse_over(x, [at], "joins other axes to")
        return False

    def _multiplies(self, call: Call) -> bool:
        a, b = call.x(0), call.x(1)
        i, j = self._at(a), self._at(b)
        if call.attr("transA", 0) and i is not None:
            i = {a.ndim - 1: a.ndim - 2, a.ndim - 2: a.ndim - 1}.get(i, i)
        if call.attr("transB", 0) and j is not None:
            j = {b.ndim - 1: b.ndim - 2, b.ndim - 2: b.ndim - 1}.get(j, j)
        left = None if i is None else i - a.ndim
        right = None if j is None else j - max(b.ndim, 2)
        if left == -1 or right == -2 or (left == -2 and right == -1):
            raise self._refused("it sums products over timesteps, or multiplies timesteps with each other")
        return False

    def _gemm(self, call: Call) -> bool:
        a, b = call.x(0), call.x(1)
        if call.attr("transA", 0):
            self._refuse_over(a, [0], "sums over")
        self._refuse_over(a, [1] if not call.attr("transA", 0) else [], "sums over")
        self._refuse_over(b, range(b.ndim), "sums over")
        return False

    def _einsum(self, call: Call) -> bool:
        terms, _, result = str(call.attr("equation", "")).replace(" ", "").partition("->")
        labels = set()
        for x, term in zip(call.all(), terms.split(","), strict=False):
            at = self._at(x)
            if at is not None and "..." not in term and len(term) == x.ndim:
                labels.add(term[at])
        if labels and (len(labels) > 1 or not labels <= set(result)):
            raise self._refused("it sums products over timesteps, or multiplies timesteps with each other")
        return False


_RULES = {
    "Softmax": OverTime._softmax,
    "LogSoftmax": OverTime._softmax,
    "LayerNormalization": OverTime._normalises,
    "RMSNormalization": OverTime._normalises,
    "SimplifiedLayerNormalization": OverTime._normalises,
    "InstanceNormalization": OverTime._channels_apart,
    "GroupNormalization": OverTime._channels_apart,
    "GlobalAveragePool": OverTime._channels_apart,
    "GlobalMaxPool": OverTime._channels_apart,
    "GlobalLpPool": OverTime._channels_apart,
    "MeanVarianceNormalization": OverTime._statistics,
    "LpNormalization": OverTime._statistics,
    "ReverseSequence": OverTime._reverses,
    "Concat": OverTime._joins,
    "Slice": OverTime._slices,
    "Gather": OverTime._gathers,
    "Split": OverTime._splits,
    "Expand": OverTime._repeats,
    "Tile": OverTime._repeats,
    "Reshape": OverTime._reshapes,
    "MatMul": OverTime._multiplies,
    "com.microsoft::FusedMatMul": OverTime._multiplies,
    "com.microsoft::FusedGemm": OverTime._gemm,
    "Gemm": OverTime._gemm,
    "Einsum": OverTime._einsum,
}
