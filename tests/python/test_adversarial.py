"""Networks as people write them: what loads gives, step by step, what onnxruntime gives; what a stream cannot give is refused.

Each of these files once loaded and was wrong, or was refused without need, or is of a kind where that is easily so.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="reading ONNX files needs the onnx package")
pytest.importorskip("onnxruntime", reason="the comparison needs onnxruntime")
torch = pytest.importorskip("torch", reason="the networks are exported from torch")

from onnx_models import session  # noqa: E402
from test_import_onnx import quietly_export  # noqa: E402

import rtrnn  # noqa: E402
from rtrnn import StateError, UnsupportedError  # noqa: E402
from rtrnn.verify import verify  # noqa: E402

nn = torch.nn
F, H, A = 5, 6, 3
STEPS = 100
TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(bool)": np.bool_}


class Net(nn.Module):
    """Layers to choose from, and a forward that a test gives."""

    def __init__(self, forward: Callable[..., Any], inputs: int = F) -> None:
        super().__init__()
        self.gru, self.batch_first = nn.GRU(inputs, H), nn.GRU(inputs, H, batch_first=True)
        self.lstm, self.second = nn.LSTM(inputs, H), nn.GRU(inputs, H, batch_first=True)
        self.cell1, self.cell2 = nn.GRUCell(inputs, H), nn.GRUCell(H, H)
        self.decoder = nn.GRU(H, H, batch_first=True)
        self.head, self.twin, self.wide = nn.Linear(H, A), nn.Linear(H, A), nn.Linear(H, inputs)
        self.skip, self.score, self.norm = nn.Linear(inputs, A), nn.Linear(H, 1), nn.LayerNorm(H)
        self.places = nn.Embedding(STEPS, inputs)
        self.groups = nn.GroupNorm(1, inputs)
        self.run = forward

    def forward(self, *args: Any) -> Any:
        return self.run(self, *args)


def export(path: Path, forward: Callable[..., Any], inputs: Mapping[str, Any], outputs: Sequence[str], **options: Any) -> Path:
    torch.manual_seed(0)
    given = tuple(v if torch.is_tensor(v) else torch.randn(*v) for v in inputs.values())
    width = options.pop("width", F)
    module = Net(forward, width).eval()
    quietly_export(
        module, given, path, dynamo=False, opset=17, input_names=list(inputs), output_names=list(outputs), **options
    )
    return path


def load(path: Path, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rtrnn.ModelWarning)
        return rtrnn.load(path, **options)


def check(path: Path, pairs: Mapping[str, str], draw: Mapping[str, Callable[[Any], Any]] | None = None, **options: Any) -> Any:
    """The stream and onnxruntime, with its state fed back by `pairs`, over 100 steps; also as .rtrnn, and by rtrnn verify."""
    model, runtime, rng = load(path, **options), session(str(path)), np.random.default_rng(1)
    ports = {port.name: port for port in runtime.get_inputs()}
    assert set(model.inputs) == ports.keys() - pairs.keys()
    assert set(model.outputs) == {port.name for port in runtime.get_outputs()} - set(pairs.values())
    model.save(path.with_suffix(".rtrnn"))
    saved = rtrnn.load(path.with_suffix(".rtrnn")).stream()
    stream, held = model.stream(), {name: np.zeros(ports[name].shape, TYPES[ports[name].type]) for name in pairs}
    for step in range(STEPS):
        data = {}
        for name in model.inputs:
            port = ports[name]
            value = (draw or {}).get(name, lambda rng, port=port: rng.normal(size=port.shape))(rng)
            data[name] = np.asarray(value, TYPES[port.type]).reshape(port.shape)
        names = [port.name for port in runtime.get_outputs()]
        expected = dict(zip(names, runtime.run(None, {**data, **held}), strict=True))
        held = {name: expected[output] for name, output in pairs.items()}
        given = {name: np.asarray(value, np.float32).reshape(model.inputs[name]) for name, value in data.items()}
        found, again = stream.step(given), saved.step(given)
        for name in model.outputs:
            np.testing.assert_array_equal(found[name], again[name])
            np.testing.assert_allclose(np.ravel(found[name]), expected[name].ravel(), 2e-6, 2e-6, err_msg=f"{name} at step {step}")
    if not options:
        assert verify(path, model=model, steps=40).passed
    return model


# -- which input is a state ----------------------------------------------------------------------------


def done(rng: Any) -> Any:
    return rng.random() < 0.1


def gru(m: Any, x: Any, h: Any) -> Any:
    y, h = m.gru(x[None], h)
    return y[0], h


def masked(m: Any, x: Any, h: Any, d: Any) -> Any:
    y, h = gru(m, x, h * (1 - d).view(1, 1, 1))
    return m.head(y), h


def masked_lstm(m: Any, x: Any, h: Any, c: Any, starts: Any) -> Any:
    keep = (1 - starts).view(1, 1, 1)
    y, (h, c) = m.lstm(x[None], (h * keep, c * keep))
    return m.head(y[0]), h, c


def masked_behind(m: Any, x: Any, h: Any, d: Any) -> Any:
    y, h = gru(m, x, h)
    return m.head(y), h * (1 - d).view(1, 1, 1)


def where_true(m: Any, x: Any, h: Any, d: Any) -> Any:
    y, h = gru(m, x, torch.where(d.view(1, 1, 1), torch.full_like(h, 0.3), h))
    return m.head(y), h


def normed_behind(m: Any, x: Any, h: Any) -> Any:
    _, h = gru(m, x, h)
    h = m.norm(h)
    return m.head(h[0]), h


def leaky(m: Any, x: Any, h: Any) -> Any:
    _, following = gru(m, x, h)
    h = 0.7 * h + 0.3 * following
    return m.head(h[0]), h


def two_in_one(m: Any, x: Any, z: Any) -> Any:
    c, h = z.chunk(2, -1)
    y, (h, c) = m.lstm(x[None], (h[None].contiguous(), c[None].contiguous()))
    return m.head(y[0]), torch.cat([c[0], h[0]], -1)


def states_first(m: Any, x: Any, a: Any, b: Any) -> Any:
    a = m.cell1(x, a)
    b = m.cell2(a, b)
    return b, m.head(b), a


def longer_delay(m: Any, x: Any, older: Any, newer: Any) -> Any:
    following = torch.tanh(m.wide(m.cell1(x, torch.zeros(1, H))) + 0.5 * older - 0.2 * newer)
    return m.skip(following), newer, following


def integrator(m: Any, x: Any, h: Any, total: Any) -> Any:
    y, h = gru(m, x, h)
    error = m.score(y)
    total = torch.clamp(total + 0.1 * error, -0.5, 0.5)
    return error + total, h, total


def counter(m: Any, x: Any, h: Any, step: Any) -> Any:
    y, h = gru(m, x / (1 + step.float()), h)
    return m.head(y), h, step + 1


HIDDEN, FLAG = (1, 1, H), (1,)
WIRED: dict[str, tuple[Callable[..., Any], dict[str, Any], list[str], dict[str, str]]] = {
    "masked": (masked, {"obs": (1, F), "h_in": HIDDEN, "done": FLAG}, ["act", "h_out"], {"h_in": "h_out"}),
    "masked, other names": (masked, {"obs": (1, F), "memory_a": HIDDEN, "done": FLAG}, ["act", "zz"], {"memory_a": "zz"}),
    "masked LSTM": (
        masked_lstm,
        {"obs": (1, F), "lstm_h": HIDDEN, "lstm_c": HIDDEN, "episode_starts": FLAG},
        ["act", "new_h", "new_c"],
        {"lstm_h": "new_h", "lstm_c": "new_c"},
    ),
    "masked behind the cell": (masked_behind, {"obs": (1, F), "h_in": HIDDEN, "done": FLAG}, ["act", "h_out"], {"h_in": "h_out"}),
    "a truth value": (
        where_true,
        {"obs": (1, F), "h_in": HIDDEN, "reset": torch.tensor([True])},
        ["act", "h_out"],
        {"h_in": "h_out"},
    ),
    "normalised behind the cell": (normed_behind, {"obs": (1, F), "h_in": HIDDEN}, ["act", "h_out"], {"h_in": "h_out"}),
    "leaky": (leaky, {"obs": (1, F), "aa": HIDDEN}, ["act", "bb"], {"aa": "bb"}),
    "two in one, crossed": (two_in_one, {"obs": (1, F), "z": (1, 2 * H)}, ["act", "zn"], {"z": "zn"}),
    "states first": (
        states_first,
        {"obs": (1, F), "h1": (1, H), "h2": (1, H)},
        ["n2", "act", "n1"],
        {"h1": "n1", "h2": "n2"},
    ),
    "a longer delay": (
        longer_delay,
        {"obs": (1, F), "x_2": (1, F), "x_1": (1, F)},
        ["act", "x_2_next", "x_1_next"],
        {"x_2": "x_2_next", "x_1": "x_1_next"},
    ),
    "a longer delay, no names": (
        longer_delay,
        {"obs": (1, F), "p": (1, F), "q": (1, F)},
        ["act", "u", "v"],
        {"p": "u", "q": "v"},
    ),
    "an integrator": (
        integrator,
        {"obs": (1, F), "h": HIDDEN, "integral": (1, 1)},
        ["act", "hn", "integral_next"],
        {"h": "hn", "integral": "integral_next"},
    ),
    "a counter": (
        counter,
        {"obs": (1, F), "h_in": HIDDEN, "step": torch.zeros(1, dtype=torch.int64)},
        ["act", "h_out", "step_out"],
        {"h_in": "h_out", "step": "step_out"},
    ),
}


@pytest.mark.parametrize("name", WIRED)
def test_states_are_found(name: str, tmp_path: Path) -> None:
    forward, inputs, outputs, pairs = WIRED[name]
    path = export(tmp_path / "net.onnx", forward, inputs, outputs)
    check(path, pairs, dict.fromkeys(("done", "episode_starts", "reset"), done))


def stereo(m: Any, left: Any, right: Any, h: Any) -> Any:
    y, h = gru(m, left + 2 * right, h)
    return m.wide(y), -m.wide(y), h


@pytest.mark.parametrize("names", [("left_in", "right_in", "left_out", "right_out"), ("pos", "vel", "next_pos", "next_vel")])
def test_a_name_that_the_data_have_too_says_no_state(names: tuple[str, ...], tmp_path: Path) -> None:
    a, b, *outputs = names
    path = export(tmp_path / "net.onnx", stereo, {a: (1, F), b: (1, F), "h_in": HIDDEN}, [*outputs, "h_out"])
    model = check(path, {"h_in": "h_out"})
    assert any(repr(b) in text and "states=" in text for text in model.warnings)


def test_data_that_is_called_state(tmp_path: Path) -> None:
    def forward(m: Any, x: Any, state: Any, h: Any) -> Any:
        y, h = gru(m, x + state, h)
        return m.head(y), h

    path = export(tmp_path / "net.onnx", forward, {"x": (1, F), "state": (1, F), "h": HIDDEN}, ["act", "hn"])
    with pytest.raises(StateError, match=r"if it is data, pass states=\{'state': None\}"):
        load(path)
    check(path, {"h": "hn"}, states={"state": None})


def test_a_pair_by_name_alone_is_said(tmp_path: Path) -> None:
    def forward(m: Any, x: Any, previous: Any, h: Any) -> Any:
        y, h = gru(m, torch.cat([x, previous], -1), h)
        return m.twin(y), m.head(y), h

    inputs = {"obs": (1, F), "prev_action": (1, A), "h": HIDDEN}
    path = export(tmp_path / "net.onnx", forward, inputs, ["log_std", "action", "hn"], width=F + A)
    assert any("'prev_action' is carried as a state" in text for text in load(path).warnings)
    check(path, {"h": "hn"}, states={"prev_action": None})


def test_result_and_next_value_apart(tmp_path: Path) -> None:
    def forward(m: Any, x: Any, h: Any) -> Any:
        y, h = gru(m, x, h)
        return m.head(y), h, torch.tanh(h)

    path = export(tmp_path / "net.onnx", forward, {"obs": (1, F), "h_in": HIDDEN}, ["act", "raw", "h_out"])
    with pytest.raises(StateError, match=r"'h_in'.*'h_out'.*'raw'.*states="):
        load(path)
    check(path, {"h_in": "h_out"}, states={"h_in": "h_out"})


def test_a_state_that_is_the_first_input_needs_a_next_value_too(tmp_path: Path) -> None:
    def forward(m: Any, h: Any, x: Any) -> Any:
        y, _ = gru(m, x, h)
        return m.head(y), m.twin(y)

    path = export(tmp_path / "net.onnx", forward, {"h_in": HIDDEN, "obs": (1, F)}, ["act", "value"])
    with pytest.raises(StateError, match=r"'h_in' .* no output is its next value"):
        load(path)


# -- what a sequence has and a stream has not ----------------------------------------------------------


def rnn(m: Any, x: Any) -> Any:
    return m.batch_first(x)[0]


def attention(m: Any, x: Any) -> Any:
    y = rnn(m, x)
    return m.head(torch.softmax(y @ y.transpose(1, 2), -1) @ y)


WHOLE: dict[str, Callable[[Any, Any], Any]] = {
    "mean of the outputs": lambda m, x: m.head(rnn(m, x).mean(1)),
    "mean of the inputs": lambda m, x: m.head(rnn(m, x - x.mean(1, keepdim=True))),
    "largest": lambda m, x: m.head(rnn(m, x).max(1)[0]),
    "norm": lambda m, x: m.head(rnn(m, x / x.norm(dim=1, keepdim=True))),
    "softmax of the inputs": lambda m, x: m.head(rnn(m, torch.softmax(x, 1))),
    "weighted sum": lambda m, x: m.head((torch.softmax(m.score(rnn(m, x)), 1) * rnn(m, x)).sum(1)),
    "attention": attention,
    "flipped inputs": lambda m, x: m.head(rnn(m, x.flip(1))),
    "flipped outputs": lambda m, x: m.head(rnn(m, x)).flip(1),
    "first output": lambda m, x: m.head(rnn(m, x)[:, 0]),
    "first input": lambda m, x: m.head(rnn(m, x)) + m.skip(x[:, :1]),
    "every second": lambda m, x: m.head(rnn(m, x[:, ::2])),
    "positions": lambda m, x: m.head(rnn(m, x + m.places(torch.arange(x.shape[1]))[None])),
    "number of steps": lambda m, x: m.head(rnn(m, x / x.shape[1])),
    "a mask by position": lambda m, x: m.head(rnn(m, x * (torch.arange(x.shape[1]) > 0).float()[None, :, None])),
    "group statistics": lambda m, x: m.head(rnn(m, m.groups(x.transpose(1, 2)).transpose(1, 2))),
    "last output for all": lambda m, x: m.head(rnn(m, x)) + m.head(rnn(m, x)[:, -1:]).expand(-1, x.shape[1], -1),
    "last output added": lambda m, x: m.head(rnn(m, x)) + m.head(rnn(m, x)[:, -1:]),
    "encoder and decoder": lambda m, x: m.head(m.decoder(m.batch_first(x)[1][0][:, None].expand(-1, x.shape[1], -1))[0]),
    "final state as the first": lambda m, x: m.head(m.second(x, m.batch_first(x)[1])[0]),
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_needs_the_whole_sequence_is_refused(name: str, tmp_path: Path) -> None:
    path = export(tmp_path / "net.onnx", WHOLE[name], {"x": (1, 8, F)}, ["y"], dynamic_axes={"x": {1: "time"}})
    with pytest.raises(UnsupportedError, match=r"node '.*timestep|node '.*sequence"):
        load(path)


#: Those that are read with a fixed number of timesteps as well; the others are one block, which is one step.
FIXED = ["mean of the outputs", "mean of the inputs", "largest", "attention", "flipped outputs", "first output", "last output added"]


@pytest.mark.parametrize("name", FIXED)
def test_fixed_sequences_are_refused_too(name: str, tmp_path: Path) -> None:
    path = export(tmp_path / "net.onnx", WHOLE[name], {"x": (1, 8, F)}, ["y"])
    with pytest.raises(UnsupportedError, match=r"timestep|index out of range"):
        load(path)


def test_a_constant_for_each_timestep_is_refused(tmp_path: Path) -> None:
    path = export(tmp_path / "net.onnx", lambda m, x: m.head(rnn(m, x) + m.places.weight[:8, :1]), {"x": (1, 8, F)}, ["y"])
    with pytest.raises(UnsupportedError, match=r"Add node .* one part for each timestep"):
        load(path)


#: What looks alike and treats every timestep alike, or gives the end of the sequence only.
ALIKE: dict[str, Callable[[Any, Any], Any]] = {
    "plain": lambda m, x: m.head(rnn(m, x)),
    "last output": lambda m, x: m.head(rnn(m, x)[:, -1]),
    "last output and input": lambda m, x: m.head(rnn(m, x)[:, -1]) + m.skip(x[:, -1]),
    "final state": lambda m, x: m.head(m.batch_first(x)[1][-1]),
    "zeros of that length": lambda m, x: m.head(rnn(m, x) + torch.zeros_like(x)[..., :1]),
    "batch and time joined": lambda m, x: m.head(rnn(m, x).reshape(-1, H)).reshape(x.shape[0], -1, A),
    "mean of features": lambda m, x: m.head(rnn(m, x - x.mean(2, keepdim=True))),
}


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("name", ALIKE)
def test_what_treats_timesteps_alike_is_not(name: str, fixed: bool, tmp_path: Path) -> None:
    steps = 8 if fixed else 30
    options = {} if fixed else {"dynamic_axes": {"x": {1: "time"}}}
    path = export(tmp_path / "net.onnx", ALIKE[name], {"x": (1, 8, F)}, ["y"], **options)
    model = load(path)
    xs = np.random.default_rng(0).normal(size=(1, steps, F)).astype(np.float32)
    (expected,) = session(str(path)).run(None, {"x": xs})
    stream = model.stream()
    found = np.stack([np.array(stream.step(x)).ravel() for x in xs[0]])
    expected = expected.reshape(-1, A)
    np.testing.assert_allclose(found[-len(expected) :], expected, 2e-6, 2e-6)
    assert any("8 timesteps" in text and "reset()" in text for text in model.warnings) == fixed


def test_a_window_is_one_step(tmp_path: Path) -> None:
    path = export(tmp_path / "net.onnx", ALIKE["last output"], {"x": (1, 8, F)}, ["y"])
    model = load(path, step_axes={"x": [1]})
    assert model.inputs == {"x": (8, F)}
    assert not model.states
    check(path, {}, step_axes={"x": [1]})


@pytest.mark.parametrize("name", ["mean of the outputs", "first output", "number of steps"])
def test_one_timestep_per_call_is_taken_as_it_is(name: str, tmp_path: Path) -> None:
    def forward(m: Any, x: Any, h: Any) -> Any:
        y, h = m.batch_first(x / x.shape[1] if name == "number of steps" else x, h)
        y = y.mean(1) if name == "mean of the outputs" else y[:, 0]
        return m.head(y), h

    path = export(tmp_path / "net.onnx", forward, {"x": (1, 1, F), "h_in": HIDDEN}, ["y", "h_out"])
    check(path, {"h_in": "h_out"})


# -- numbers -------------------------------------------------------------------------------------------


def test_integer_inputs_are_verified_with_integers(tmp_path: Path) -> None:
    def forward(m: Any, x: Any, k: Any, h: Any) -> Any:
        y, h = gru(m, x * k.float(), h)
        return m.head(y), h

    inputs = {"x": (1, F), "k": torch.ones(1, 1, dtype=torch.int64), "h_in": HIDDEN}
    check(export(tmp_path / "net.onnx", forward, inputs, ["y", "h_out"]), {"h_in": "h_out"}, {"k": lambda rng: rng.integers(-3, 4)})


def test_log_of_a_small_sigmoid(tmp_path: Path) -> None:
    path = export(tmp_path / "net.onnx", lambda m, x: torch.nn.functional.logsigmoid(x), {"x": (1, F)}, ["y"])
    x = np.array([-60, -20, -3, 0.5, 20], np.float32)
    np.testing.assert_allclose(load(path).stream().step(x), -np.logaddexp(0, -x.astype(np.float64)), 4e-7)
