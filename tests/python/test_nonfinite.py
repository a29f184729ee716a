"""NaN and infinity: every way into a network, every input and element, every policy; and overflow inside the network."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import rtrnn
from rtrnn import _core

BAD = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}
SIZES = {"a": 3, "b": 2}
#: Where a bad number can stand: input and element.
PLACES = [(name, i) for name, size in SIZES.items() for i in range(size)]

Row = dict[str, np.ndarray]


def network(inputs: int) -> rtrnn.Model:
    """A GRU over one input, or two, with its sum of inputs as a second output and as a state, which can overflow."""
    rng = np.random.default_rng(4)
    graph = _core.Graph()
    sizes = dict(list(SIZES.items())[:inputs])
    for name, size in sizes.items():
        graph.add_input(name, [size])
    x, width = "a", 3
    if inputs == 2:
        graph.add_node("concat", "join", ["a", "b"], ["x"], {"axis": 0})
        x, width = "x", 5
    for name, shape in {"weight_ih": (12, width), "weight_hh": (12, 4), "bias": (12,), "head": (2, 4)}.items():
        graph.add_tensor(name, (rng.normal(size=shape) / 10).astype(np.float32))
    graph.add_state("h", [4])
    graph.add_state("sum", [width])
    graph.add_node("gru", "gru", [x, "h", "weight_ih", "weight_hh", "bias", "bias"], ["h_next"])
    graph.add_node("linear", "head", ["h_next", "head"], ["action"])
    graph.add_node("add", "add", ["sum", x], ["total"])
    graph.set_next("h", "h_next")
    graph.set_next("sum", "total")
    graph.add_output("action", "action")
    if inputs == 2:
        graph.add_output("total", "total")
    return rtrnn.Model(graph)


ONE, TWO = network(1), network(2)


def rows(model: rtrnn.Model, count: int) -> list[Row]:
    rng = np.random.default_rng(8)
    return [{n: rng.normal(size=s).astype(np.float32) for n, s in model.inputs.items()} for _ in range(count)]


def bits(values: Any) -> bytes:
    if isinstance(values, dict):
        return b"".join(bits(v) for v in values.values())
    return np.ascontiguousarray(values, np.float32).tobytes()


@dataclass
class Way:
    """One way to take a timestep: `step` takes a row and gives the outputs by name."""

    model: rtrnn.Model
    on_nonfinite: str
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stream = self.model.stream(on_nonfinite=self.on_nonfinite, **self.options)

    def named(self, values: Any) -> Row:
        return values if isinstance(values, dict) else dict(zip(self.model.outputs, [values], strict=True))

    def seen(self) -> bytes:
        """Outputs and states, as they are."""
        return bits(self.named(self.stream.output)) + self.stream.state_vector().tobytes()

    @property
    def nonfinite(self) -> int:
        return self.stream.nonfinite_count


class Value(Way):
    def step(self, row: Row) -> Row:
        (x,) = row.values()
        return self.named(self.stream.step(x))


class Out(Way):
    def step(self, row: Row) -> Row:
        (x,) = row.values()
        return self.named(self.stream.step(x, out=np.empty(2, np.float32)))


class Converted(Way):
    def step(self, row: Row) -> Row:
        return self.stream.step({name: x.astype(float).tolist() for name, x in row.items()})


class DictOut(Way):
    def step(self, row: Row) -> Row:
        return self.stream.step(row, out={n: np.empty(s, np.float32) for n, s in self.model.outputs.items()})


class Buffers(Way):
    def step(self, row: Row) -> Row:
        buffers = self.stream.input if isinstance(self.stream.input, dict) else {"a": self.stream.input}
        for name, x in row.items():
            buffers[name][:] = x
        self.stream.step()
        return {n: v.copy() for n, v in self.named(self.stream.output).items()}


class Prepared(Buffers):
    def step(self, row: Row) -> Row:
        self.stream.prepare()
        return super().step(row)


class Process(Way):
    def step(self, row: Row) -> Row:
        return {n: v[0] for n, v in self.stream.process({n: x[None] for n, x in row.items()}).items()}


class BatchStep(Way):
    """The second of three; the others are given good numbers."""

    def __post_init__(self) -> None:
        self.batch = self.model.batch(3, on_nonfinite=self.on_nonfinite, **self.options)
        self.last: Row = {n: np.zeros(s, np.float32) for n, s in self.model.outputs.items()}

    def step(self, row: Row) -> Row:
        good = {n: np.ones_like(x) for n, x in row.items()}
        ys = self.batch.step({n: np.stack([good[n], x, good[n]]) for n, x in row.items()})
        self.last = {n: y[1].copy() for n, y in ys.items()}
        return self.last

    def seen(self) -> bytes:
        return bits(self.last) + b"".join(v[1].tobytes() for v in self.batch.state().values())

    @property
    def nonfinite(self) -> int:
        return int(self.batch.nonfinite_count[1])


BOTH = (Converted, DictOut, Buffers, Prepared, Process, BatchStep)
WAYS = [(Value, ONE), (Out, ONE), *((way, model) for model in (ONE, TWO) for way in BOTH)]
ways = pytest.mark.parametrize(
    ("way", "model"), WAYS, ids=[f"{way.__name__}-{len(model.inputs)}" for way, model in WAYS]
)


def places(model: rtrnn.Model) -> list[tuple[str, int]]:
    return [(name, i) for name, i in PLACES if name in model.inputs]


def spoilt(row: Row, name: str, i: int, bad: float) -> Row:
    made = {n: x.copy() for n, x in row.items()}
    made[name][i] = bad
    return made


@ways
def test_error_leaves_everything_as_it_was(way: type[Any], model: rtrnn.Model) -> None:
    given = rows(model, 4)
    made, plain = way(model, "error"), Value(model, "error")
    count = 0
    for row in given:
        expected = plain.stream.step(row)
        assert bits(made.step(row)) == bits(expected)
        before = made.seen()
        for (name, i), bad in itertools.product(places(model), BAD.values()):
            with pytest.raises(rtrnn.NonFiniteError):
                made.step(spoilt(row, name, i, bad))
            count += 1
            assert made.seen() == before
            assert made.nonfinite == count


@ways
def test_hold_repeats_the_last_output(way: type[Any], model: rtrnn.Model) -> None:
    given = rows(model, 4)
    made, plain = way(model, "hold"), Value(model, "error")
    count = 0
    for row in given:
        expected = plain.stream.step(row)
        assert bits(made.step(row)) == bits(expected)
        before = made.seen()
        for (name, i), bad in itertools.product(places(model), BAD.values()):
            assert bits(made.step(spoilt(row, name, i, bad))) == bits(expected)
            count += 1
            assert made.seen() == before
            assert made.nonfinite == count


@ways
def test_hold_steps_then_an_error(way: type[Any], model: rtrnn.Model) -> None:
    row = rows(model, 1)[0]
    made = way(model, "hold", {"hold_steps": 2})
    for _ in range(2):
        good = bits(made.step(row))
        for bad in (np.nan, np.inf):
            assert bits(made.step(spoilt(row, "a", 1, bad))) == good
        before = made.seen()
        for bad in BAD.values():
            with pytest.raises(rtrnn.NonFiniteError):
                made.step(spoilt(row, "a", 2, bad))
            assert made.seen() == before
    assert made.nonfinite == 10


@ways
def test_propagate_lets_it_through(way: type[Any], model: rtrnn.Model) -> None:
    row = rows(model, 1)[0]
    for (name, i), bad in itertools.product(places(model), BAD.values()):
        made, plain = way(model, "propagate"), Value(model, "propagate")
        bad_row = spoilt(row, name, i, bad)
        expected = plain.stream.step(bad_row)
        found = made.step(bad_row)
        assert all(np.array_equal(found[n], expected[n], equal_nan=True) for n in expected)
        if np.isnan(bad):
            assert np.isnan(found["action"]).all()
        assert made.nonfinite == 0


@ways
def test_an_overflow_inside_is_reported_and_the_last_good_state_stays(way: type[Any], model: rtrnn.Model) -> None:
    large = {n: np.full(s, 3e38, np.float32) for n, s in model.inputs.items()}
    stopped, held = way(model, "error"), way(model, "hold")
    assert np.isfinite(held.step(large)["action"]).all()
    assert bits(stopped.step(large)) == (good := bits(held.step(large)))
    before = stopped.seen()
    assert held.seen() == before
    for _ in range(2):
        with pytest.raises(rtrnn.NonFiniteError, match="would become"):
            stopped.step(large)
        assert bits(held.step(large)) == good
        assert stopped.seen() == held.seen() == before
    assert (stopped.nonfinite, held.nonfinite) == (2, 3)
    down = {n: -x for n, x in large.items()}
    assert np.isfinite(bits_of := stopped.step(down)["action"]).all()
    assert bits(bits_of) == bits(held.step(down)["action"])


@pytest.mark.parametrize("model", [ONE, TWO], ids=["one", "two"])
def test_a_block_and_an_offline_run_name_the_timestep(model: rtrnn.Model) -> None:
    given = rows(model, 30)
    block = {n: np.stack([r[n] for r in given]) for n in model.inputs}
    good = model.run(block)
    for (name, i), bad, at in itertools.product(places(model), BAD.values(), (0, 17, 29)):
        spoiled = {n: x.copy() for n, x in block.items()}
        spoiled[name][at, i] = bad
        stream = model.stream()
        stream.step(given[3])
        before = bits(stream.output) + stream.save_state()
        for call in (lambda s=stream, x=spoiled: s.process(x), lambda x=spoiled: model.run(x)):
            with pytest.raises(rtrnn.NonFiniteError, match=f"timestep {at}"):
                call()
        assert bits(stream.output) + stream.save_state() == before
        held, holding = model.run(spoiled, on_nonfinite="hold"), model.stream(on_nonfinite="hold")
        one_by_one = [holding.step({n: x[t] for n, x in spoiled.items()}) for t in range(30)]
        for n, values in held.items():
            assert bits(values) == bits(np.stack([y[n] for y in one_by_one]))
            assert bits(values[:at]) == bits(good[n][:at])
            assert bits(values[at]) == bits(values[at - 1] if at else np.zeros_like(values[0]))
        # Two in a row, where one may be held.
        second = min(at + 1, 29)
        spoiled[name][[second - 1, second], i] = bad
        with pytest.raises(rtrnn.NonFiniteError, match=f"timestep {second}, after 1 held"):
            model.stream(on_nonfinite="hold", hold_steps=1).process(spoiled)


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_states_are_not_set_to_it(bad: float) -> None:
    stream, batch, open_ = TWO.stream(), TWO.batch(2), TWO.stream(on_nonfinite="propagate")
    row = rows(TWO, 1)[0]
    stream.step(row)
    batch.step({n: np.stack([x, x]) for n, x in row.items()})
    before, states, vector = stream.save_state(), batch.state(), stream.state_vector()
    for i in range(vector.size):
        spoilt_vector = vector.copy()
        spoilt_vector[i] = bad
        open_.set_state(spoilt_vector)
        spoilt_batch = {n: v.copy() for n, v in states.items()}
        spoilt_batch["sum" if i >= 4 else "h"][1, i - 4 if i >= 4 else i] = bad
        for call in (
            lambda v=spoilt_vector: stream.set_state(v),
            lambda: stream.set_state(open_.state()),
            lambda: stream.restore_state(open_.save_state()),
            lambda s=spoilt_batch: batch.set_state(s),
        ):
            with pytest.raises(rtrnn.NonFiniteError):
                call()
        assert stream.save_state() == before
        assert bits(batch.state()) == bits(states)


def test_a_loop_goes_on_after_it() -> None:
    """y = x, and a sum of x that no bad number may get into."""
    graph = _core.Graph()
    graph.add_input("x", [2])
    graph.add_state("s", [2])
    graph.add_node("add", "sum", ["s", "x"], ["total"])
    graph.add_node("mul", "none", ["total", "x"], ["product"])
    graph.add_node("sub", "back", ["total", "s"], ["y"])
    graph.set_next("s", "total")
    graph.add_output("y", "y")
    model = rtrnn.Model(graph)
    zeros = np.zeros(2, np.float32)

    def until(loop: rtrnn.Loop, condition: Callable[[Any], bool]) -> Any:
        end = time.monotonic() + 20
        while not ((action := loop.action()) and condition(action)):
            assert time.monotonic() < end, action
            time.sleep(0.001)
        return action

    for policy, status, shown in [("error", "nonfinite_input", [7, 7]), ("hold", "held", [0, 0])]:
        with rtrnn.Loop(model, 1000, on_nonfinite=policy, watchdog=np.full(2, 7, np.float32)) as loop:
            for i, bad in itertools.product(range(2), BAD.values()):
                loop.observe(zeros)
                until(loop, lambda action: action.status == "ok")
                x = zeros.copy()
                x[i] = bad
                loop.observe(x)
                action = until(loop, lambda action, status=status: action.status == status)
                assert action.values.tolist() == shown
            loop.observe(zeros)
            assert until(loop, lambda action: action.status == "ok").values.tolist() == [0, 0]


def test_hold_steps_is_checked() -> None:
    for steps in (0, -1, 1.5, True, "3"):
        with pytest.raises(ValueError, match="hold_steps: expected a positive integer"):
            ONE.stream(on_nonfinite="hold", hold_steps=steps)
        with pytest.raises(ValueError, match="hold_steps: expected a positive integer"):
            ONE.batch(2, on_nonfinite="hold", hold_steps=steps)
    with pytest.raises(ValueError, match="on_nonfinite='hold'"):
        ONE.stream(hold_steps=3)
    stream = ONE.stream(on_nonfinite="hold", hold_steps=3)
    assert (stream.hold_steps, stream.held_in_a_row) == (3, 0)
    stream.step([np.nan] * 3)
    twin = stream.fork()
    assert (twin.hold_steps, twin.held_in_a_row, twin.nonfinite_count) == (3, 1, 1)
    twin.step(np.zeros(3))
    assert (twin.held_in_a_row, stream.held_in_a_row) == (0, 1)
    stream.step([np.nan] * 3), stream.step([np.nan] * 3)
    with pytest.raises(rtrnn.NonFiniteError, match=r"'a' \(element 0\).*after 3 held steps in a row"):
        stream.step([np.nan] * 3)
    assert ONE.stream().hold_steps is None


def test_counters_from_another_thread() -> None:
    stream = ONE.stream(on_nonfinite="hold")
    seen: list[tuple[int, int]] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.append((stream.steps, stream.nonfinite_count))

    watcher = threading.Thread(target=watch)
    watcher.start()
    block = np.zeros((100, 3), np.float32)
    block[::4, 1] = np.nan
    for _ in range(200):
        stream.process(block)  # releases the GIL
    done.set()
    watcher.join()
    assert seen == sorted(seen)
    assert (stream.steps, stream.nonfinite_count) == (15000, 5000)
