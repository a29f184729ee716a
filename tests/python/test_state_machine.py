"""Save, restore, fork, reset, swap and prepare, at any step and in any order: the bits are those of a plain replay."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, multiple, rule
from test_stream import policy

import rtrnn

#: Of one structure: two networks with weights of their own, in several precisions.
MODELS = [policy("lstm", seed=1), policy("lstm", seed=2)]
for model in MODELS:
    model.set_metadata("rtrnn.limits", '{"action": {"min": -0.4, "max": [0.3, null, 0.9], "max_change": 0.2}}')
PLANS = [(0, "f32"), (1, "f32"), (0, "i16"), (1, "i8"), (0, "bf16")]

#: What happened to a stream: a plan that it went on with, or an observation.
History = tuple[Any, ...]

observations = st.integers(0, 2**32 - 1)
plans = st.sampled_from(range(len(PLANS)))


def observation(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=5).astype(np.float32)


def stream_of(plan: int, isa: str | None = None) -> rtrnn.Stream:
    model, weights = PLANS[plan]
    return MODELS[model].stream(weights, isa, on_nonfinite="hold")


def replay(history: History) -> tuple[bytes, bytes]:
    """Output and state after a fresh stream has taken one plain step after the other, on the plainest instruction set."""
    stream, y = stream_of(history[0], "scalar"), np.zeros(3, np.float32)
    for entry in history[1:]:
        if isinstance(entry, tuple):
            y = stream.step(observation(*entry))
        else:
            state = stream.state()
            stream = stream_of(entry, "scalar")
            stream.set_state(state)
    return y.tobytes(), stream.state_vector().tobytes()


class Streams(RuleBasedStateMachine):
    streams = Bundle("streams")
    blobs = Bundle("blobs")

    def __init__(self) -> None:
        super().__init__()
        self.histories: list[tuple[rtrnn.Stream, list[Any]]] = []

    def add(self, stream: rtrnn.Stream, history: History) -> tuple[rtrnn.Stream, list[Any]]:
        self.histories.append((stream, list(history)))
        return self.histories[-1]

    @initialize(target=streams, first=plans, second=plans)
    def create(self, first: int, second: int) -> Any:
        return multiple(*(self.add(stream_of(plan), (plan,)) for plan in (first, second)))

    @rule(at=streams, seed=observations, how=st.sampled_from(["value", "out", "buffers", "list"]))
    def step(self, at: Any, seed: int, how: str) -> None:
        stream, history = at
        x = observation(seed)
        history.append((seed,))
        if how == "buffers":
            stream.input[:] = x
            stream.step()
            y = stream.output.copy()
        elif how == "out":
            y = stream.step(x, out=np.empty(3, np.float32))
        else:
            y = stream.step(x.tolist() if how == "list" else x)
        assert y.tobytes() == stream.output.tobytes()

    @rule(at=streams, seed=observations, count=st.integers(0, 20))
    def process(self, at: Any, seed: int, count: int) -> None:
        stream, history = at
        history += [(seed + i,) for i in range(count)]
        stream.process(np.array([observation(seed + i) for i in range(count)]).reshape(count, 5))

    @rule(at=streams)
    def prepare(self, at: Any) -> None:
        at[0].prepare()

    @rule(at=streams, seed=observations, where=st.integers(0, 4), value=st.sampled_from([np.nan, np.inf, -np.inf]))
    def bad_number(self, at: Any, seed: int, where: int, value: float) -> None:
        x = observation(seed)
        x[where] = value
        held = at[0].output.copy()
        assert at[0].step(x).tobytes() == held.tobytes()

    @rule(at=streams)
    def reset(self, at: Any) -> None:
        stream, history = at
        stream.reset()
        history[:] = [self.plan_of(stream)]

    @rule(target=streams, at=streams)
    def fork(self, at: Any) -> Any:
        stream, history = at
        return self.add(stream.fork(), tuple(history))

    @rule(target=blobs, at=streams)
    def save(self, at: Any) -> Any:
        stream, history = at
        return stream.save_state(), tuple(history), self.plan_of(stream)

    @rule(at=streams, blob=blobs)
    def restore(self, at: Any, blob: Any) -> None:
        stream, history = at
        data, saved, plan = blob
        own = self.plan_of(stream)
        if PLANS[own][0] == PLANS[plan][0]:
            stream.restore_state(data)
        else:
            before = stream.save_state()
            try:
                stream.restore_state(data)
                raise AssertionError("the state of other weights was taken")
            except rtrnn.StateError:
                assert stream.save_state() == before
            stream.restore_state(data, strict=False)
        history[:] = [*saved, own]

    @rule(at=streams, plan=plans)
    def swap(self, at: Any, plan: int) -> None:
        stream, history = at
        stream.swap(stream_of(plan))
        history.append(plan)

    @rule(at=streams, plan=plans)
    def swap_there_and_back(self, at: Any, plan: int) -> None:
        stream, _ = at
        other = stream_of(plan)
        stream.swap(other)
        stream.swap(other)

    @rule(at=streams, other=streams)
    def set_state(self, at: Any, other: Any) -> None:
        """The outputs stay, until the next step; so a step is taken, after which the replay knows them again."""
        stream, history = at
        plan = self.plan_of(stream)
        stream.set_state(other[0].state_vector())
        history[:] = [*other[1], plan, (7,)]
        stream.step(observation(7))

    def plan_of(self, stream: rtrnn.Stream) -> int:
        history = next(history for each, history in self.histories if each is stream)
        return next(entry for entry in reversed(history) if isinstance(entry, int))

    def teardown(self) -> None:
        for stream, history in self.histories:
            assert (stream.output.tobytes(), stream.state_vector().tobytes()) == replay(tuple(history))


TestStreams = Streams.TestCase
TestStreams.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
