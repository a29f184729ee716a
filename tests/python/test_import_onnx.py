"""ONNX import of whole networks: the onnx package's own recurrent node tests, real policies, PyTorch's exporters."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import reference  # noqa: E402
from onnx_models import compare_steps, load_quietly, model, session, steppers  # noqa: E402

# -- the onnx package's node tests ---------------------------------------------------------------------


def node_cases() -> list[Any]:
    package = importlib.import_module("onnx.backend.test.case.node")
    for name in ("rnn", "gru", "lstm"):
        importlib.import_module(f"onnx.backend.test.case.node.{name}")
    kinds = ("RNN", "GRU", "LSTM")
    cases = {c.name: c for c in package._NodeTestCases if {n.op_type for n in c.model.graph.node} <= set(kinds)}
    return list(cases.values())


CASES = node_cases()


def test_every_recurrent_node_test_is_here() -> None:
    assert len(CASES) >= 18


def bound(case: Any) -> tuple[Any, np.ndarray, dict[str, np.ndarray], int]:
    """The Draft of a node test, its X, its expected outputs and the batch axis of X."""
    (inputs, outputs) = case.data_sets[0]
    names = [i.name for i in case.model.graph.input]
    given = dict(zip(names, inputs, strict=True))
    expected = dict(zip([o.name for o in case.model.graph.output], outputs, strict=True))
    x = given.pop("X")
    layout = next((a.i for n in case.model.graph.node for a in n.attribute if a.name == "layout"), 0)
    return load_quietly(case.model, constants=given), x, expected, 1 - layout


def check_sequences(run: Any, x: np.ndarray, expected: dict[str, np.ndarray], batch_axis: int) -> None:
    """`run` takes one sequence (T, I) and gives outputs (T, ..) or, without T, results of the whole sequence."""
    for b in range(x.shape[batch_axis]):
        found = run(np.take(x, b, batch_axis))
        for name, value in found.items():
            want = expected[name]
            if name == "Y":
                # (T, D, B, H), or (B, T, D, H) with layout 1.
                want = want[:, :, b] if batch_axis == 1 else want[b]
                value = value.reshape(want.shape)
            else:
                # (D, B, H), or (B, D, H) with layout 1.
                want = want[:, b] if batch_axis == 1 else want[b]
                value = (value if value.size == want.size else value[-1]).reshape(want.shape)
            np.testing.assert_allclose(value, want, rtol=1e-5, atol=1e-6, err_msg=f"{name}, sequence {b}")


@pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
def test_node(case: Any) -> None:
    draft, x, expected, batch_axis = bound(case)
    assert list(draft.inputs) == ["X"]
    assert list(draft.outputs) == list(expected)
    check_sequences(lambda xs: reference.Evaluator(draft).run({"X": xs}), x, expected, batch_axis)


@pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
def test_node_with_the_engine(case: Any) -> None:
    rtrnn = pytest.importorskip("rtrnn")
    draft, x, expected, batch_axis = bound(case)
    model = rtrnn.Model(draft.build())
    check_sequences(lambda xs: model.run({"X": xs}), x, expected, batch_axis)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_sequence_lens_given_to_run(kind: str, direction: str) -> None:
    """Lengths that the file takes as an input are given to an offline run, as onnxruntime takes them."""
    rtrnn = pytest.importorskip("rtrnn")
    rng = np.random.default_rng(3)
    rows, d = {"RNN": 1, "GRU": 3, "LSTM": 4}[kind] * 5, 2 if direction == "bidirectional" else 1
    weights = {"W": rng.standard_normal((d, rows, 3)), "R": 0.4 * rng.standard_normal((d, rows, 5))}
    node = onnx.helper.make_node(kind, ["X", "W", "R", "", "lens"], ["Y", "Y_h"], hidden_size=5, direction=direction)
    proto = model(
        [node],
        {"X": ["T", "B", 3], "lens": ["B"]},
        {"Y": None, "Y_h": None},
        {k: v.astype(np.float32) for k, v in weights.items()},
    )
    proto.graph.input[1].type.tensor_type.elem_type = onnx.TensorProto.INT32
    x, lens = rng.standard_normal((6, 3, 3)).astype(np.float32), np.array([6, 2, 4], np.int32)
    y, y_h = session(proto).run(None, {"X": x, "lens": lens})
    found = rtrnn.Model(load_quietly(proto).build()).run({"X": x}, sequence_lens=lens)
    np.testing.assert_allclose(found["Y"].reshape(6, 3, d, 5), y.transpose(0, 2, 1, 3), rtol=1e-5, atol=1e-6)
    final = found["Y_h"]
    if direction == "forward":
        # Without a reverse layer the final state is a value of every timestep: the sequence's last one counts.
        final = np.stack([final[n - 1, b] for b, n in enumerate(lens)])
    np.testing.assert_allclose(final.reshape(3, d, 5), y_h.transpose(1, 0, 2), rtol=1e-5, atol=1e-6)


# -- real policies -------------------------------------------------------------------------------------

MODELS = os.environ.get("RTRNN_MODELS")


@pytest.mark.skipif(not MODELS, reason="RTRNN_MODELS is not set")
@pytest.mark.parametrize("file", ["motion_legacy_opset11.onnx", "motion_dynamo_opset18.onnx"])
def test_unitree_g1(file: str) -> None:
    folder = Path(str(MODELS)) / "unitree_g1"
    draft = load_quietly(folder / file)
    assert draft.inputs == {"obs": (47,)}
    assert list(draft.outputs) == ["actions"]
    assert {k: s.shape for k, s in draft.states.items()} == {"h_in": (64,), "c_in": (64,)}
    assert [n.op for n in draft.nodes] == ["lstm", "linear", "elu", "linear"]
    assert draft.warnings == []
    assert draft.metadata["source.format"] == "onnx"
    with np.load(folder / "ref.npz") as ref:
        xs, ys = ref["x"], ref["y_f64"]
    for runner in steppers(draft):
        error = max(np.abs(runner.step({"obs": x})["actions"] - y).max() for x, y in zip(xs, ys, strict=True))
        # The recorded observations are f32, so float64 arithmetic reproduces y_f64 itself.
        assert error < (1e-12 if isinstance(runner, reference.Evaluator) else 1e-5)


# -- exports from PyTorch ------------------------------------------------------------------------------

torch = pytest.importorskip("torch")
nn = torch.nn


class Policy(nn.Module):
    """A policy as rsl_rl exports it: normaliser, recurrent layers, MLP; the state goes in and out."""

    def __init__(self, kind: str, layers: int, observations: int = 11, hidden: int = 12, actions: int = 5) -> None:
        super().__init__()
        self.register_buffer("mean", torch.randn(1, observations))
        self.register_buffer("std", torch.rand(1, observations) + 0.5)
        self.kind = kind
        self.rnn = getattr(nn, kind)(observations, hidden, layers)
        self.mlp = nn.Sequential(nn.Linear(hidden, 9), nn.ELU(), nn.Linear(9, actions))

    def forward(self, obs: Any, h_in: Any, c_in: Any = None) -> Any:
        x = ((obs - self.mean) / (self.std + 1e-2)).unsqueeze(0)
        if self.kind == "LSTM":
            y, (h, c) = self.rnn(x, (h_in, c_in))
            return self.mlp(y.squeeze(0)), h, c
        y, h = self.rnn(x, h_in)
        return self.mlp(y.squeeze(0)), h


def quietly_export(module: Any, example: Any, path: Path, *, dynamo: bool, opset: int, **options: Any) -> None:
    """torch.onnx.export without its prints, logs and deprecation warnings."""
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            torch.onnx.export(module.eval(), example, str(path), opset_version=opset, dynamo=dynamo, **options)
    finally:
        logging.disable(logging.NOTSET)


def export(
    module: Any,
    path: Path,
    kind: str,
    layers: int,
    *,
    names: tuple[list[str], list[str]] | None = None,
    state_shape: tuple[int, ...] | None = None,
    **options: Any,
) -> None:
    """Exports a policy with rsl_rl's names, or with `names` of inputs and outputs."""
    states = ["h_in", "c_in"] if kind == "LSTM" else ["h_in"]
    inputs, outputs = names or (["obs", *states], ["actions", *(s.replace("in", "out") for s in states)])
    example = (torch.randn(1, 11), *[torch.zeros(state_shape or (layers, 1, 12)) for _ in states])
    quietly_export(module, example, path, input_names=inputs, output_names=outputs, **options)


KINDS = ["GRU", "LSTM", "RNN"]


def check_policy(path: Path, kind: str) -> Any:
    draft = load_quietly(path)
    pairs = {"h_in": "h_out"} | ({"c_in": "c_out"} if kind == "LSTM" else {})
    assert draft.inputs == {"obs": (11,)}
    assert list(draft.outputs) == ["actions"]
    assert set(draft.states) == set(pairs)
    assert draft.warnings == []
    compare_steps(draft, str(path), {"obs": (1, 11)}, pairs=pairs)
    return draft


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_legacy_exporter(kind: str, layers: int, tmp_path: Path) -> None:
    torch.manual_seed(layers)
    path = tmp_path / "policy.onnx"
    export(Policy(kind, layers), path, kind, layers, dynamo=False, opset=17)
    draft = check_policy(path, kind)
    assert [n.op for n in draft.nodes].count(kind.lower()) == layers


@pytest.mark.parametrize("opset", range(9, 21))
@pytest.mark.parametrize("kind", KINDS)
def test_legacy_exporter_operator_sets(kind: str, opset: int, tmp_path: Path) -> None:
    torch.manual_seed(opset)
    path = tmp_path / "policy.onnx"
    export(Policy(kind, 2), path, kind, 2, dynamo=False, opset=opset)
    assert onnx.load(path).opset_import[0].version == opset
    check_policy(path, kind)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("kind", ["GRU", "LSTM"])  # the exporter has no translation of PyTorch's RNN
def test_dynamo_exporter(kind: str, layers: int, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    torch.manual_seed(layers)
    path = tmp_path / "policy.onnx"
    export(Policy(kind, layers), path, kind, layers, dynamo=True, opset=18, external_data=layers > 1)
    assert (tmp_path / "policy.onnx.data").exists() == (layers > 1)
    draft = check_policy(path, kind)
    assert [n.op for n in draft.nodes].count(kind.lower()) == layers


def test_rl_games_names(tmp_path: Path) -> None:
    """rl_games names its state inputs out_state.1 and hidden_state.1, and leaves the outputs as numbers."""

    class Wrapped(Policy):
        def forward(self, obs: Any, h_in: Any, c_in: Any = None) -> Any:
            mu, h, c = super().forward(obs, h_in, c_in)
            return mu, mu * 0 + 0.3, h, c

    torch.manual_seed(1)
    path = tmp_path / "policy.onnx"
    names = (["obs", "out_state.1", "hidden_state.1"], ["mu", "log_std"])
    export(Wrapped("LSTM", 1), path, "LSTM", 1, dynamo=False, opset=13, names=names)
    draft = load_quietly(path)
    assert list(draft.states) == ["out_state.1", "hidden_state.1"]
    assert list(draft.outputs) == ["mu", "log_std"]
    h, c = [o.name for o in onnx.load(path).graph.output][2:]
    assert not {h, c} & {"h_out", "c_out"}
    compare_steps(draft, str(path), {"obs": (1, 11)}, pairs={"out_state.1": h, "hidden_state.1": c})


class ByHand(nn.Module):
    """A policy around PyTorch's cells, which export as products, sums and activations."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.cell = getattr(nn, f"{kind}Cell")(11, 12)
        self.head = nn.Linear(12, 5)

    def forward(self, obs: Any, h_in: Any, c_in: Any = None) -> Any:
        if c_in is not None:
            h, c = self.cell(obs, (h_in, c_in))
            return self.head(h), h, c
        h = self.cell(obs, h_in)
        return self.head(h), h


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_cells_written_as_elementary_operators(kind: str, dynamo: bool, tmp_path: Path) -> None:
    torch.manual_seed(4)
    path = tmp_path / "policy.onnx"
    states = ["h_in", "c_in"] if kind == "LSTM" else ["h_in"]
    export(ByHand(kind), path, kind, 1, dynamo=dynamo, opset=18, state_shape=(1, 12))
    draft = load_quietly(path)
    assert list(draft.states) == states
    assert draft.inputs == {"obs": (11,)}
    assert list(draft.outputs) == ["actions"]
    assert [n.op for n in draft.nodes] == [kind.lower(), "linear"]
    compare_steps(draft, str(path), {"obs": (1, 11)}, pairs={s: s.replace("in", "out") for s in states})


class Heads(nn.Module):
    """Every activation and head that rsl_rl exports, and rl_games' normaliser, in one network."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.randn(11))
        self.register_buffer("var", torch.rand(11) + 0.2)
        self.rnn = nn.LSTM(11, 12)
        functions = [
            nn.ELU(), nn.SELU(), nn.ReLU(), nn.CELU(), nn.LeakyReLU(), nn.Tanh(), nn.Sigmoid(), nn.Softplus(),
            nn.GELU(), nn.GELU(approximate="tanh"), nn.SiLU(), nn.Mish(), nn.Identity(), nn.Hardswish(),
            nn.Hardsigmoid(), nn.Softsign(), nn.Hardtanh(-0.4, 0.6), nn.PReLU(),
        ]  # fmt: skip
        layers = [layer for function in functions for layer in (nn.Linear(12, 12), function)]
        self.mlp = nn.Sequential(*layers, nn.LayerNorm(12))
        self.gaussian = nn.Linear(12, 2 * 5)
        self.beta = nn.Linear(12, 2 * 3)

    def forward(self, obs: Any, h_in: Any, c_in: Any) -> Any:
        x = torch.clamp((obs - self.mean) / torch.sqrt(self.var + 1e-5), -5.0, 5.0)
        y, (h, c) = self.rnn(x.unsqueeze(0), (h_in, c_in))
        y = self.mlp(y.squeeze(0))
        gaussian = self.gaussian(y).unflatten(-1, (2, 5))[..., 0, :]
        a, b = torch.chunk(nn.functional.softplus(self.beta(y)) + 1, 2, dim=-1)
        return torch.cat([gaussian, a / (a + b) * 2.0 - 1.0], dim=-1), h, c


@pytest.mark.parametrize(("dynamo", "opset"), [(False, 14), (False, 18), (True, 18), (True, 20)])
def test_heads_and_activations(dynamo: bool, opset: int, tmp_path: Path) -> None:
    torch.manual_seed(6)
    path = tmp_path / "policy.onnx"
    export(Heads(), path, "LSTM", 1, dynamo=dynamo, opset=opset)
    check_policy(path, "LSTM")


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize(
    ("function", "nodes"),
    [
        (nn.Softplus(), ["softplus"]),
        (nn.Softplus(beta=2.0, threshold=5.0), None),
        (nn.Hardshrink(0.3), None),
        (nn.Softshrink(0.3), None),
        (nn.LogSigmoid(), None),
        (nn.GLU(), None),
    ],
)
def test_functions_that_choose(function: Any, nodes: list[str] | None, dynamo: bool, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    quietly_export(function, (torch.zeros(1, 8),), path, dynamo=dynamo, opset=18, input_names=["x"])
    draft = load_quietly(path)
    if nodes is not None:
        assert [n.op for n in draft.nodes] == nodes
    # The logarithm of an f32 sigmoid amplifies its rounding.
    compare_steps(draft, str(path), {"x": (1, 8)}, scale=3.0, tolerance=1e-4 if "LogSigmoid" in str(function) else 2e-6)


class Sequence(nn.Module):
    """A batch-first network over whole sequences whose initial state is made inside."""

    def __init__(self, bidirectional: bool = False) -> None:
        super().__init__()
        self.encoder = nn.Linear(4, 6)
        self.rnn = nn.GRU(6, 7, 2, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear(14 if bidirectional else 7, 3)

    def forward(self, x: Any) -> Any:
        return self.head(self.rnn(torch.relu(self.encoder(x)))[0])


def export_sequence(module: Any, path: Path, shape: tuple[int, ...], *, dynamo: bool, dynamic: bool) -> None:
    axes: dict[str, Any] = {}
    if dynamic:
        # torch.export itself fixes the time axis of a recurrent layer.
        axes = {"dynamic_shapes": {"x": {0: "batch"}}} if dynamo else {"dynamic_axes": {"x": {0: "batch", 1: "time"}}}
    names = {"input_names": ["x"], "output_names": ["y"]}
    quietly_export(module, (torch.randn(shape),), path, dynamo=dynamo, opset=18, **names, **axes)


@pytest.mark.parametrize("shape", [(1, 1, 4), (1, 5, 4), (3, 5, 4), (2, 4, 4)])
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("dynamo", [False, True])
def test_fixed_and_free_time_and_batch_axes(
    shape: tuple[int, ...], dynamic: bool, dynamo: bool, tmp_path: Path
) -> None:
    if dynamic and dynamo and shape[0] == 1:
        pytest.skip("this exporter fixes an axis whose example has size 1")
    torch.manual_seed(3)
    path = tmp_path / "net.onnx"
    module = Sequence()
    export_sequence(module, path, shape, dynamo=dynamo, dynamic=dynamic)
    draft = load_quietly(path)
    assert draft.inputs == {"x": (4,)}
    assert len(draft.states) == 2
    x = np.random.default_rng(1).standard_normal((5, 4)).astype(np.float32)
    with torch.no_grad():
        want = module(torch.from_numpy(x[None]))[0].numpy()
    for runner in steppers(draft):
        found = np.stack([np.ravel(runner.step({"x": row})["y"]) for row in x])
        np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dynamo", [False, True])
def test_bidirectional_layers(dynamo: bool, tmp_path: Path) -> None:
    torch.manual_seed(5)
    path = tmp_path / "net.onnx"
    module = Sequence(bidirectional=True)
    export_sequence(module, path, (2, 6, 4), dynamo=dynamo, dynamic=False)
    draft = load_quietly(path)
    assert sorted(n.attributes.get("direction", "forward") for n in draft.nodes if n.op == "gru") == [
        "forward",
        "forward",
        "reverse",
        "reverse",
    ]
    x = np.random.default_rng(1).standard_normal((9, 4)).astype(np.float32)
    with torch.no_grad():
        want = module(torch.from_numpy(x[None]))[0].numpy()
    np.testing.assert_allclose(reference.Evaluator(draft).run({"x": x})["y"], want, rtol=1e-5, atol=1e-6)
