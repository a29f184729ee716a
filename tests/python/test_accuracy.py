"""Random recurrent networks against PyTorch in float64: as close as PyTorch's own float32, at most twice its error."""

from __future__ import annotations

import numpy as np
import pytest

import rtrnn

torch = pytest.importorskip("torch")

#: The rounding of one output in (-1, 1) to float32: no smaller error of PyTorch's is asked for, since a tiny network may be exact by luck.
FLOOR = 2.0**-25


def errors(
    kind: str, inputs: int, hidden: int, layers: int, bidirectional: bool, bias: bool, steps: int, seed: int
) -> tuple[float, float]:
    torch.manual_seed(seed)
    make = {
        "gru": lambda: torch.nn.GRU(inputs, hidden, layers, bias=bias, bidirectional=bidirectional),
        "lstm": lambda: torch.nn.LSTM(inputs, hidden, layers, bias=bias, bidirectional=bidirectional),
        "rnn_tanh": lambda: torch.nn.RNN(inputs, hidden, layers, bias=bias, bidirectional=bidirectional),
        "rnn_relu": lambda: torch.nn.RNN(inputs, hidden, layers, "relu", bias=bias, bidirectional=bidirectional),
    }[kind]
    module, exact = make(), make().double()
    if kind == "rnn_relu":  # contracting, so that both runs stay finite
        with torch.no_grad():
            for name, p in module.named_parameters():
                if "weight_hh" in name:
                    p.mul_(0.8)
    exact.load_state_dict({k: v.double() for k, v in module.state_dict().items()})
    x = torch.randn(steps, 1, inputs)
    with torch.no_grad():
        single = module(x)[0][:, 0].numpy()
        double = exact(x.double())[0][:, 0].numpy()
    ours = rtrnn.from_torch(module).run(x[:, 0].numpy())
    scale = max(1.0, np.abs(double).max())
    return float(np.abs(ours - double).max() / scale), float(np.abs(single - double).max() / scale)


CONFIGURATIONS = [
    # kind, input, hidden, layers, bidirectional, bias
    ("gru", 1, 1, 1, False, True),
    ("lstm", 1, 1, 1, False, True),
    ("rnn_tanh", 1, 1, 1, False, True),
    ("gru", 300, 300, 3, True, True),
    ("lstm", 300, 300, 3, True, True),
    ("rnn_tanh", 300, 300, 3, True, True),
    ("rnn_relu", 300, 300, 2, False, True),
    ("gru", 7, 300, 1, False, False),
    ("lstm", 300, 7, 2, True, False),
]


def random_configurations(count: int) -> list[tuple[str, int, int, int, bool, bool]]:
    rng = np.random.default_rng(20)
    kinds = ["gru", "lstm", "rnn_tanh", "rnn_relu"]
    return [
        (
            kinds[i % 4],
            int(rng.integers(1, 301)),
            int(rng.integers(1, 301)),
            int(rng.integers(1, 4)),
            bool(rng.integers(2)),
            bool(rng.integers(4)),
        )
        for i in range(count)
    ]


@pytest.mark.parametrize(
    "configuration", CONFIGURATIONS + random_configurations(24), ids=lambda c: "-".join(map(str, c))
)
def test_error_is_at_most_twice_that_of_pytorch(configuration):
    ours, theirs = errors(*configuration, steps=60, seed=1)
    assert ours <= 2 * max(theirs, FLOOR), f"rtrnn {ours:.3g}, PyTorch float32 {theirs:.3g}"


@pytest.mark.parametrize("kind", ["gru", "lstm", "rnn_tanh"])
def test_a_trajectory_of_10000_steps_stays_as_close(kind):
    ours, theirs = errors(kind, 6, 32, 1, False, True, steps=10_000, seed=2)
    assert ours <= 2 * max(theirs, FLOOR), f"rtrnn {ours:.3g}, PyTorch float32 {theirs:.3g}"


def test_the_check_sees_a_wrong_bias():
    """The twin: a network that differs by one bias of 1e-5 is found."""
    torch.manual_seed(0)
    module = torch.nn.GRU(6, 32)
    x = torch.randn(60, 1, 6)
    with torch.no_grad():
        exact = torch.nn.GRU(6, 32).double()
        exact.load_state_dict({k: v.double() for k, v in module.state_dict().items()})
        double = exact(x.double())[0][:, 0].numpy()
        theirs = np.abs(module(x)[0][:, 0].numpy() - double).max()
        module.bias_hh_l0[3] += 1e-5
    ours = np.abs(rtrnn.from_torch(module).run(x[:, 0].numpy()) - double).max()
    assert ours > 2 * max(theirs, FLOOR)
