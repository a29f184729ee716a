"""PyTorch import of live modules, against PyTorch in float64, step by step."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import engine  # noqa: E402
from reference import Evaluator  # noqa: E402
from torch import nn  # noqa: E402
from torch_modules import (  # noqa: E402
    FOLDED,
    STEPS,
    TOLERANCE,
    Alias,
    Arithmetic,
    Block,
    DelayLine,
    HandGru,
    HandLstm,
    Outputs,
    Policy,
    StatePolicy,
    check,
    inputs,
    sequence,
    steps,
)

from rtrnn.errors import StateError, UnsupportedError  # noqa: E402
from rtrnn.importers.torch import from_module, load_torchscript  # noqa: E402


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(7)


# -- layers --------------------------------------------------------------------------------------------

LAYERS: list[Callable[..., nn.Module]] = [
    nn.GRU,
    nn.LSTM,
    lambda *a, **k: nn.RNN(*a, nonlinearity="tanh", **k),
    lambda *a, **k: nn.RNN(*a, nonlinearity="relu", **k),
]


@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("make", LAYERS, ids=["gru", "lstm", "rnn_tanh", "rnn_relu"])
def test_layer(make: Callable[..., nn.Module], num_layers: int) -> None:
    layer = make(3, 4, num_layers=num_layers)
    draft = from_module(layer)
    assert [n.op for n in draft.nodes] == [n.op for n in draft.nodes if n.op in ("gru", "lstm", "rnn")]
    assert list(draft.outputs) == ["output"]
    xs = inputs((1, 1, 3))
    check(draft, sequence(layer, xs), xs)


@pytest.mark.parametrize(
    "options", [{"bias": False}, {"batch_first": True}, {"proj_size": 2}, {"proj_size": 2, "bias": False}]
)
def test_layer_options(options: dict[str, Any]) -> None:
    layer = nn.LSTM(3, 4, num_layers=2, **options)
    xs = inputs((1, 1, 3))
    draft = from_module(layer, torch.zeros(1, 1, 3))
    layer.batch_first = False
    check(draft, sequence(layer, xs), xs)


@pytest.mark.parametrize("make", LAYERS[:2], ids=["gru", "lstm"])
def test_bidirectional_runs_offline(make: Callable[..., nn.Module]) -> None:
    layer = make(3, 4, num_layers=2, bidirectional=True)
    draft = from_module(layer)
    xs = inputs((1, 1, 3))
    got = Evaluator(draft).run({"input": np.stack([x.numpy().ravel() for x in xs])})["output"]
    np.testing.assert_allclose(got, torch.cat(sequence(layer, xs)).numpy(), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("unbatched", [True, False])
@pytest.mark.parametrize("make", [nn.GRUCell, nn.LSTMCell, nn.RNNCell, lambda *a: nn.RNNCell(*a, nonlinearity="relu")])
def test_cell(make: Callable[..., nn.Module], unbatched: bool) -> None:
    """A cell that is given no state carries it."""
    cell = make(3, 4)
    draft = from_module(cell, torch.zeros(3) if unbatched else None)
    xs = inputs((1, 3))
    expected, hidden = [], None
    with torch.no_grad():
        for x in xs:
            hidden = cell.double()(x, hidden)
            expected.append(hidden[0] if isinstance(hidden, tuple) else hidden)
    check(draft, expected, xs)


def test_example_of_several_timesteps_and_sequences_is_cut() -> None:
    layer = nn.GRU(3, 4, num_layers=2)
    draft = from_module(layer, torch.zeros(7, 5, 3))
    assert draft.inputs == {"input": (3,)}
    xs = inputs((1, 1, 3))
    check(draft, sequence(layer, xs), xs)


def test_state_example_with_a_batch_is_cut() -> None:
    draft = from_module(nn.LSTM(3, 4), (torch.zeros(2, 5, 3), (torch.zeros(1, 5, 4), torch.zeros(1, 5, 4))))
    assert draft.inputs == {"input": (3,)}
    assert {name: s.shape for name, s in draft.states.items()} == {"hx.0": (4,), "hx.1": (4,)}


def test_time_axis_of_several_inputs_is_cut() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(3, 4, num_layers=2)

        def forward(self, obs: dict[str, torch.Tensor], h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.rnn(torch.cat([obs["position"], obs["command"]], -1), h)

    obs = {"position": torch.zeros(5, 1, 2), "command": torch.zeros(5, 1, 1)}
    draft = from_module(Two(), (obs, torch.zeros(2, 1, 4)))
    assert draft.inputs == {"obs.position": (2,), "obs.command": (1,)}
    assert {name: s.shape for name, s in draft.states.items()} == {"h": (2, 4)}


def test_time_axis_as_long_as_the_layers_are_many_is_cut() -> None:
    draft = from_module(nn.GRU(3, 4, num_layers=2), (torch.zeros(2, 1, 3), torch.zeros(2, 1, 4)))
    assert draft.inputs == {"input": (3,)}
    assert draft.states["hx"].shape == (2, 4)


def test_mean_over_time_is_refused() -> None:
    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(3, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.rnn(x)[0].mean(0)

    with pytest.raises(UnsupportedError, match=r"over 4 timesteps at once .*\(a mean"):
        from_module(Mean(), torch.zeros(5, 1, 3))


def test_batch_of_a_hand_written_cell_is_cut() -> None:
    draft = from_module(HandGru(), (torch.zeros(7, 5), torch.zeros(7, 4)))
    assert draft.inputs == {"x": (5,)}
    assert any("batch" in warning for warning in draft.warnings)


# -- whole policies ------------------------------------------------------------------------------------


ACTIVATIONS = [
    nn.ELU(), nn.ELU(0.7), nn.SELU(), nn.ReLU(), nn.CELU(), nn.CELU(0.5), nn.LeakyReLU(0.2), nn.Tanh(), nn.Sigmoid(),
    nn.Softplus(), nn.Softplus(2.0, 10.0), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Mish(),
    nn.Identity(), nn.Softsign(),
    nn.Hardsigmoid(), nn.Hardswish(), nn.Hardtanh(-0.3, 0.4), nn.ReLU6(), nn.LogSigmoid(), nn.PReLU(), nn.PReLU(8),
    nn.Threshold(0.1, 0.0), nn.Softmax(-1), nn.LogSoftmax(-1), nn.LayerNorm(8), nn.RMSNorm(8), nn.BatchNorm1d(8),
    nn.Dropout(0.5), nn.ReLU(inplace=True), nn.ELU(inplace=True), nn.Tanhshrink(),
]  # fmt: skip


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_policy_activations(activation: nn.Module) -> None:
    network = nn.Sequential(nn.Linear(6, 8), activation, nn.Linear(8, 3))
    if isinstance(activation, nn.BatchNorm1d):
        network(torch.randn(32, 6))  # statistics other than 0 and 1
    draft = from_module(network)
    xs = [3 * x for x in inputs((1, 6))]
    folded = isinstance(activation, (nn.SELU, nn.BatchNorm1d, nn.RMSNorm))
    check(draft, steps(network, xs), xs, FOLDED if folded else TOLERANCE)


def test_policy_with_state_in_buffers() -> None:
    policy = Policy().train()
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    draft = from_module(policy, np.zeros((1, 6), np.float32))
    assert policy.training
    assert all(torch.equal(value, before[name]) for name, value in policy.state_dict().items())
    assert list(draft.states) == ["hidden"]
    np.testing.assert_array_equal(draft.states["hidden"].initial, before["hidden"].numpy().reshape(2, 8))
    xs = inputs((1, 6))
    check(draft, steps(policy, xs), xs, FOLDED)


def test_policy_with_state_as_arguments() -> None:
    policy, zeros = StatePolicy(), torch.zeros(2, 1, 8)
    draft = from_module(policy, (torch.zeros(1, 6), zeros, zeros))
    assert list(draft.states) == ["h_in", "c_in"]
    assert list(draft.outputs) == ["output"]
    xs = inputs((1, 6))
    check(draft, steps(policy, xs, zeros.double(), zeros.double()), xs)


def test_initial_states() -> None:
    policy, zeros, h = StatePolicy(), torch.zeros(2, 1, 8), torch.randn(2, 1, 8)
    draft = from_module(policy, (torch.zeros(1, 6), zeros, zeros), initial_states={"h_in": h.numpy()})
    xs = inputs((1, 6))
    check(draft, steps(policy, xs, h.double(), zeros.double()), xs)


def test_hand_written_gru_is_recognised() -> None:
    module, h = HandGru(), torch.zeros(1, 4)
    draft = from_module(module, (torch.zeros(1, 5), h))
    assert [n.op for n in draft.nodes] == ["gru", "mul"]
    xs = inputs((1, 5))
    check(draft, steps(module, xs, h.double()), xs)


def test_hand_written_lstm_is_recognised() -> None:
    module = HandLstm()
    draft = from_module(module, torch.zeros(1, 5))
    assert [n.op for n in draft.nodes] == ["lstm", "add"]
    assert set(draft.states) == {"h", "c"}
    xs = inputs((1, 5))
    check(draft, steps(module, xs), xs)


def test_outputs_of_a_dict_keep_their_names() -> None:
    draft = from_module(Outputs(), torch.zeros(1, 1, 3))
    assert list(draft.outputs) == ["action", "extra.value"]


@pytest.mark.parametrize("make", [Policy, HandLstm, Alias, Block, DelayLine, Arithmetic])
def test_engine_agrees_with_the_evaluator(make: Callable[[], nn.Module]) -> None:
    draft = from_module(make(), torch.zeros(1, {Policy: 6, HandLstm: 5}.get(make, 4)))
    engine.check(draft, engine.random_inputs(draft, STEPS), rtol=1e-4, atol=1e-5)


# -- state in plain attributes -------------------------------------------------------------------------


class Attribute(nn.Module):
    """Keeps its state in an attribute that is no buffer, `start` at first."""

    def __init__(self, start: torch.Tensor | None, cell: nn.Module) -> None:
        super().__init__()
        self.start, self.hidden, self.cell = start, start, cell
        self.mix = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.zeros(1, 4) if self.hidden is None else self.hidden
        self.hidden = torch.tanh(self.mix(hidden) + x)
        return self.hidden * 2


@pytest.mark.parametrize("start", [None, torch.ones(1, 4)])
def test_state_in_an_attribute(start: torch.Tensor | None) -> None:
    module = Attribute(start, nn.Identity())
    draft = from_module(module, torch.zeros(1, 4))
    assert module.hidden is start
    xs = inputs((1, 4))
    module = module.double()
    module.hidden = torch.zeros(1, 4).double() if start is None else start.double()
    check(draft, steps(module, xs), xs)


class Memory(nn.Module):
    """A recurrent layer that keeps (h, c) in an attribute, None at first."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.hidden_states = nn.LSTM(3, 4), None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out, self.hidden_states = self.rnn(x.unsqueeze(0), self.hidden_states)
        return out.squeeze(0)


def test_state_in_a_tuple_attribute() -> None:
    module = Memory()
    draft = from_module(module, torch.zeros(1, 3))
    assert module.hidden_states is None
    xs = inputs((1, 3))
    check(draft, steps(module, xs), xs)


def test_tuple_attribute_that_no_layer_carries_is_refused() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pair = (torch.zeros(1, 4), torch.zeros(1, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            a, b = self.pair
            self.pair = (torch.tanh(a + x), b * 0.5 + a)
            return self.pair[1]

    with pytest.raises(StateError, match=r"'pair'.*register_buffer"):
        from_module(Pair(), torch.zeros(1, 4))


# -- errors --------------------------------------------------------------------------------------------


def _wrap(function: Callable[[torch.Tensor], torch.Tensor]) -> nn.Module:
    class Wrapped(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return function(x)

    return Wrapped()


@pytest.mark.parametrize(
    ("module", "example", "message"),
    [
        (_wrap(torch.sin), torch.zeros(1, 3), r"aten::sin, node 'sin'.*not supported.*docs/formats\.md"),
        (_wrap(lambda x: x + torch.rand(3)), torch.zeros(1, 3), "aten::rand.*deterministic"),
        (_wrap(torch.cos), torch.zeros(1, 3), "aten::cos, node 'cos'"),
        (_wrap(lambda x: torch.sort(x)[0]), torch.zeros(1, 3), "aten::sort"),
        (_wrap(lambda x: x[:, x[0].argmax()]), torch.zeros(1, 3), "aten::argmax"),
        (_wrap(lambda x: x.long()), torch.zeros(1, 3), "conversion to torch.int64"),
        (_wrap(lambda x: x if x.sum() > 0 else -x), torch.zeros(1, 3), "torch.export cannot read"),
        (_wrap(lambda x: x), None, "not evident; expected example="),
        (nn.Sequential(nn.GRU(3, 4), nn.Linear(4, 2)), None, "does not run in PyTorch either"),
        (nn.GRU(3, 4), torch.zeros(1, 1, 5), r"fails for inputs of shapes \[\(1, 1, 5\)\]"),
        (nn.GRU(3, 4), (torch.zeros(1, 1, 3),) * 5, "5 arguments, but forward takes 2"),
    ],
)
def test_unsupported(module: nn.Module, example: Any, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        from_module(module, example)


def test_state_without_a_result_is_refused() -> None:
    class Forgetful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRUCell(3, 4)

        def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
            return self.cell(x, h).sum()

    with pytest.raises(StateError, match=r"'h' of shape \(1, 4\)"):
        from_module(Forgetful(), (torch.zeros(1, 3), torch.zeros(1, 4)))


def test_loop_over_timesteps_is_refused() -> None:
    class Unrolled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRUCell(3, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = torch.zeros(1, 4)
            for t in range(x.shape[0]):
                h = self.cell(x[t], h)
            return h

    with pytest.raises(UnsupportedError, match="several timesteps"):
        from_module(Unrolled(), torch.zeros(5, 1, 3))
    assert [n.op for n in from_module(Unrolled(), torch.zeros(1, 1, 3)).nodes] == ["gru"]


class SimpleLoop(nn.Module):
    """A cell in elementary operations in a loop over time, from zeros in every call."""

    def __init__(self, rounds: int = 1) -> None:
        super().__init__()
        self.x2h, self.h2h, self.rounds = nn.Linear(3, 4), nn.Linear(4, 4), rounds

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.zeros(1, 4)
        for t in range(x.shape[0]):
            for _ in range(self.rounds):
                h = torch.tanh(self.x2h(x[t]) + self.h2h(h))
        return h


@pytest.mark.parametrize("frames", [1, 5])
def test_loop_over_time_around_a_cell_written_by_hand_is_refused(frames: int, tmp_path: Path) -> None:
    """With one timestep nothing in the program tells it from a network without a state."""
    module = SimpleLoop()
    with pytest.raises(UnsupportedError, match=r"axis 0 of input 'x' in a loop of its own.*in a buffer"):
        from_module(module, torch.zeros(frames, 1, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(module), tmp_path / "loop.pt")
    with pytest.raises(UnsupportedError, match="axis 0 of input 'x' in a loop of its own"):
        load_torchscript(tmp_path / "loop.pt", example=torch.zeros(frames, 1, 3))


def test_rounds_within_a_timestep_are_no_loop_over_time() -> None:
    class Rounds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.x2h, self.h2h = nn.Linear(3, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.x2h(x)
            for _ in range(3):
                h = torch.tanh(self.x2h(x) + self.h2h(h))
            return h

    module, xs = Rounds(), inputs((1, 1, 3))
    check(from_module(module, torch.zeros(1, 1, 3)), steps(module, xs), xs)


def test_layers_over_a_feature_axis_run_within_the_step() -> None:
    """A dual-path block: a bidirectional layer over the bands of a frame, then one over time for each band."""

    class DualPath(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bands, self.time = nn.GRU(4, 3, batch_first=True, bidirectional=True), nn.GRU(6, 5, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            batch, time, bands, size = x.shape
            y = self.bands(x.reshape(batch * time, bands, size))[0].reshape(batch, time, bands, 6)
            y = y.permute(0, 2, 1, 3).reshape(batch * bands, time, 6)
            return self.time(y)[0].reshape(batch, bands, time, 5).transpose(1, 2)

    module = DualPath()
    draft = from_module(module, torch.zeros(1, 1, 4, 4))
    assert draft.inputs == {"x": (4, 4)}
    assert [s.initial.size for s in draft.states.values()] == [4 * 5]
    xs = [torch.randn(1, 1, 4, 4).double() for _ in range(6)]
    with torch.no_grad():
        expected = module.double()(torch.cat(xs, 1))
    check(draft, list(expected[0]), xs)
