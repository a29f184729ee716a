"""Model, Stream and Batch: what they take, what they refuse, and that every way of stepping gives the same bits."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

import rtrnn
from rtrnn.importers.builder import Builder, CellWeights


def policy(kind: str = "gru", inputs: int = 5, hidden: int = 12, outputs: int = 3, seed: int = 0) -> rtrnn.Model:
    rng = np.random.default_rng(seed)
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[kind]
    b = Builder()
    x = b.input("obs", (1, inputs))
    x = b.unary("elu", b.linear(x, rng.normal(size=(hidden, inputs)), rng.normal(size=hidden)))
    b.hint = "memory"
    weights = CellWeights(
        rng.normal(size=(gates * hidden, hidden)) / 4,
        rng.normal(size=(gates * hidden, hidden)) / 4,
        rng.normal(size=gates * hidden),
        rng.normal(size=gates * hidden),
    )
    states = [b.const(np.zeros((1, 1, hidden), np.float32))] * (2 if kind == "lstm" else 1)
    y, _ = b.layer(kind, b.unsqueeze(x, [0]), states, [(weights, {})], 0, 1)
    y = b.linear(y, rng.normal(size=(outputs, hidden)))
    b.draft.outputs["action"] = b.value(y)
    from rtrnn.importers.finish import finish

    finish(b.draft, input_shapes={"obs": (1, inputs)}, states=None, initial_states=None, drop_state_outputs=False)
    return rtrnn.Model(b.draft.build())


@pytest.fixture(params=["rnn", "gru", "lstm"])
def model(request) -> rtrnn.Model:
    return policy(request.param)


@pytest.fixture
def xs() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(40, 5)).astype(np.float32)


def test_forced_isa_is_the_one_that_runs(model):
    forced = os.environ.get("RTRNN_ISA")
    assert model.stream().isa == (forced or rtrnn.isa_available()[0])


def test_every_way_of_stepping_gives_the_same_bits(model, xs):
    reference = model.run(xs)
    assert reference.shape == (40, 3)
    assert reference.dtype == np.float32
    plain, into, buffers, prepared = (model.stream() for _ in range(4))
    batch = model.batch(3)
    out = np.empty(3, np.float32)
    for x, y in zip(xs, reference, strict=True):
        assert np.array_equal(plain.step(x), y)
        assert into.step(x, out=out) is out
        assert np.array_equal(out, y)
        buffers.input[:] = x
        assert buffers.step() is None
        assert np.array_equal(buffers.output, y)
        prepared.prepare()
        assert np.array_equal(prepared.step(x), y)
        batch.prepare()
        assert np.array_equal(batch.step(np.stack([x] * 3)), np.stack([y] * 3))
    assert np.array_equal(model.stream().process(xs), reference)
    halves = model.stream()
    assert np.array_equal(np.concatenate([halves.process(xs[:17]), halves.process(xs[17:])]), reference)
    assert np.array_equal(model.run(np.stack([xs, xs], 1)), np.stack([reference, reference], 1))


@pytest.mark.parametrize("isa", rtrnn.isa_available())
def test_isas_agree_in_every_bit(model, xs, isa):
    stream = model.stream(isa=isa)
    assert stream.isa == isa
    assert np.array_equal(stream.process(xs), model.stream(isa="scalar").process(xs))


@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x.tolist(),
        tuple,
        lambda x: x.astype(np.float64),
        lambda x: x[None],
        lambda x: x[None, :, None],
        lambda x: np.repeat(x, 2)[::2],
        lambda x: np.asfortranarray(x),
        lambda x: x.astype(">f4"),
        lambda x: {"obs": x},
        memoryview,
    ],
    ids=["list", "tuple", "float64", "row", "ones", "strided", "fortran", "big-endian", "dict", "memoryview"],
)
def test_anything_array_like_is_accepted(model, xs, convert):
    expected = model.stream().step(xs[0])
    got = model.stream().step(convert(xs[0]))
    assert np.array_equal(got["action"] if isinstance(got, dict) else got, expected)
    out = np.empty(3, np.float32)
    model.stream().step(convert(xs[0]), out=out)
    assert np.array_equal(out, expected)


def test_integers_and_other_outputs(model):
    expected = model.stream().step(np.arange(5, dtype=np.float32))
    assert np.array_equal(model.stream().step(range(5)), expected)
    assert np.array_equal(model.stream().step(np.arange(5)), expected)
    wide = np.empty(3)
    model.stream().step(np.arange(5), out=wide)
    assert np.array_equal(wide, expected)


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (np.zeros(4, np.float32), ValueError, ["obs", "(5,)", "(4,)"]),
        (np.zeros((5, 2), np.float32), ValueError, ["(5,)", "(5, 2)"]),
        (["a"] * 5, TypeError, ["obs", "numbers", "<U1"]),
        ("hello", TypeError, ["numbers"]),
        (np.zeros(5, np.complex64), TypeError, ["complex64"]),
        (np.full(5, None), TypeError, ["object"]),
        ({"observation": np.zeros(5)}, ValueError, ["obs", "observation"]),
        (3.0, ValueError, ["(5,)", "()"]),
    ],
    ids=["size", "shape", "strings", "string", "complex", "object", "name", "scalar"],
)
def test_bad_input_is_refused_and_changes_nothing(model, xs, x, error, words):
    stream = model.stream()
    stream.step(xs[0])
    before, output = stream.state_vector(), stream.output.copy()
    with pytest.raises(error) as caught:
        stream.step(x)
    for word in words:
        assert word in str(caught.value)
    assert np.array_equal(stream.state_vector(), before)
    assert np.array_equal(stream.output, output)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("how", ["step", "out", "buffer", "list", "process", "batch", "run"])
def test_a_nan_never_poisons_the_state(model, xs, bad, how):
    stream, twin, batch = model.stream(), model.stream(), model.batch(2)
    for x in xs[:5]:
        stream.step(x)
        twin.step(x)
        batch.step(np.stack([x, x]))
    x = xs[5].copy()
    x[2] = bad
    before, output, rows = stream.state_vector(), stream.output.copy(), batch.state()
    block = xs[5:9].copy()
    block[2] = x
    calls = {
        "step": lambda: stream.step(x),
        "out": lambda: stream.step(x, out=np.empty(3, np.float32)),
        "buffer": lambda: (stream.input.__setitem__(slice(None), x), stream.step()),
        "list": lambda: stream.step(x.tolist()),
        "process": lambda: stream.process(block),
        "batch": lambda: batch.step(np.stack([xs[5], x])),
        "run": lambda: model.run(block),
    }
    words = {"process": "timestep 2", "batch": "stream 1", "run": "timestep 2"}.get(how, "'obs' (element 2)")
    with pytest.raises(rtrnn.NonFiniteError) as caught:
        calls[how]()
    assert words in str(caught.value)
    assert np.array_equal(stream.state_vector(), before)
    assert np.array_equal(stream.output, output)
    assert all(np.array_equal(rows[k], v) for k, v in batch.state().items())
    assert np.array_equal(stream.step(xs[6]), twin.step(xs[6]))


def test_hold_and_propagate(model, xs):
    x = xs[1].copy()
    x[0] = np.nan
    holding = model.stream(on_nonfinite="hold")
    first = holding.step(xs[0])
    state = holding.state_vector()
    assert np.array_equal(holding.step(x), first)
    assert np.array_equal(holding.state_vector(), state)
    assert (holding.steps, holding.nonfinite_count) == (1, 1)
    assert np.isnan(model.stream(on_nonfinite="propagate").step(x)).all()
    with pytest.raises(ValueError, match="'error', 'hold' or 'propagate', found 'ignore'"):
        model.stream(on_nonfinite="ignore")


def test_state_is_read_written_forked_and_reset(model, xs):
    stream = model.stream()
    first = stream.process(xs[:10])
    state, vector = stream.state(), stream.state_vector()
    assert {k: v.shape for k, v in state.items()} == model.states
    rest = stream.process(xs[10:])
    for saved in (state, vector, pickle.loads(pickle.dumps(state))):
        other = model.stream()
        other.set_state(saved)
        assert np.array_equal(other.process(xs[10:]), rest)
    stream.set_state(vector)
    stream.prepare()
    twin = stream.fork()
    assert np.array_equal(twin.process(xs[10:]), rest)
    assert np.array_equal(stream.state_vector(), vector)
    twin.input[:] = 7
    assert not np.any(stream.input == 7)
    stream.reset()
    assert np.array_equal(stream.process(xs[:10]), first)
    out = np.empty_like(vector)
    assert stream.state_vector(out) is out
    name = next(iter(state))
    with pytest.raises(rtrnn.StateError, match="missing"):
        stream.set_state({})
    with pytest.raises(ValueError, match="expected shape"):
        stream.set_state({**state, name: np.zeros(99)})
    with pytest.raises(rtrnn.NonFiniteError):
        stream.set_state({**state, name: np.full(12, np.nan)})
    with pytest.raises(ValueError, match="state: expected shape"):
        stream.set_state(vector[:-1])


def test_batch_streams_are_independent(model, xs):
    batch, streams = model.batch(4), [model.stream() for _ in range(4)]
    rng = np.random.default_rng(1)
    for step in range(20):
        rows = rng.normal(size=(4, 5)).astype(np.float32)
        assert np.array_equal(batch.step(rows), np.stack([s.step(r) for s, r in zip(streams, rows, strict=True)]))
        if step == 10:
            batch.reset(np.array([False, True, False, True]))
            streams[1].reset()
            streams[3].reset()
    saved = batch.state()
    assert {k: v.shape for k, v in saved.items()} == {k: (4, *v) for k, v in model.states.items()}
    after = batch.step(rows)
    batch.set_state(saved)
    out = np.empty((4, 3), np.float32)
    assert batch.step(rows, out=out) is out
    assert np.array_equal(out, after)
    with pytest.raises(ValueError, match="expected 4 rows, one per stream, found 3"):
        batch.step(rows[:3])
    with pytest.raises(ValueError, match="4 booleans"):
        batch.reset([True])
    with pytest.raises(ValueError, match="at least one"):
        model.batch(0)


def test_sequence_lens_and_shapes_of_run(model, xs):
    batch = np.stack([xs, xs[::-1]], 1)
    lengths = [7, 40]
    ys = model.run(batch, sequence_lens=lengths)
    assert np.array_equal(ys[:7, 0], model.run(xs[:7]))
    assert not ys[7:, 0].any()
    assert np.array_equal(ys[:, 1], model.run(xs[::-1]))
    for words, call in {
        "sequence_lens needs a batch": lambda: model.run(xs, sequence_lens=[3]),
        "expected 2 integers from 0 to 40": lambda: model.run(batch, sequence_lens=[41, 1]),
        r"\('T', 5\) or \('T', 'B', 5\), found \(40, 4\)": lambda: model.run(xs[:, :4]),
    }.items():
        with pytest.raises(ValueError, match=words):
            call()
    with pytest.raises(TypeError, match="numbers"):
        model.run(np.full((3, 5), "a"))
    assert model.run(xs[:0]).shape == (0, 3)


def test_step_allocates_nothing(model, xs):
    stream, x, out = model.stream(), xs[0], np.empty(3, np.float32)

    def traced(call) -> int:
        call()
        tracemalloc.start()
        before = tracemalloc.take_snapshot()
        for _ in range(1000):
            call()
        after = tracemalloc.take_snapshot()
        tracemalloc.stop()
        keep = tracemalloc.Filter(False, tracemalloc.__file__)
        return sum(
            s.size_diff for s in after.filter_traces([keep]).compare_to(before.filter_traces([keep]), "filename")
        )

    kept: list[np.ndarray] = []
    assert traced(lambda: kept.append(stream.step(x))) > 1000 * 12  # the check sees an allocation where there is one
    assert traced(lambda: stream.step(x, out=out)) < 1000
    assert traced(lambda: stream.step()) < 1000
    assert traced(lambda: stream.prepare()) < 1000


def test_output_is_read_only_and_outlives_the_stream(model, xs):
    stream = model.stream()
    y = stream.step(xs[0])
    output = stream.output
    with pytest.raises(ValueError, match="read-only"):
        output[0] = 1
    del stream
    assert np.array_equal(output, y)


def test_out_is_checked(model, xs):
    stream = model.stream()
    frozen = np.zeros(3, np.float32)
    frozen.flags.writeable = False
    for out, words in [(np.zeros(4, np.float32), r"\(4,\)"), ([0, 0, 0], "list"), (frozen, "writable")]:
        with pytest.raises(ValueError, match=words):
            stream.step(xs[0], out=out)
    assert stream.steps == 0


def test_isa_errors_name_what_is_available(model):
    with pytest.raises(ValueError, match=r"avx1024.*scalar"):
        model.stream(isa="avx1024")
    missing = next(isa for isa in ("neon", "avx512", "avx2") if isa not in rtrnn.isa_available())
    with pytest.raises(ValueError, match=rf"{missing}.*scalar"):
        model.stream(isa=missing)
    with pytest.raises(rtrnn.UnsupportedError, match="f8"):
        model.stream(weights="f8")


def test_the_environment_forces_an_isa(model, tmp_path):
    model.save(tmp_path / "m.rtrnn")
    code = "import rtrnn, sys; print(rtrnn.load(sys.argv[1]).stream().isa)"

    def run(isa: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-I", "-c", code, str(tmp_path / "m.rtrnn")],
            env={**os.environ, "RTRNN_ISA": isa},
            capture_output=True,
            text=True,
            check=False,
        )

    for isa in rtrnn.isa_available():
        assert run(isa).stdout.strip() == isa
    bad = run("sse9")
    assert bad.returncode != 0
    assert "sse9" in bad.stderr
    assert "scalar" in bad.stderr


def test_save_load_and_pickle_keep_every_bit(model, xs, tmp_path):
    model.set_metadata("joint_names", "hip,knee")
    path = tmp_path / "policy.rtrnn"
    model.save(path)
    for other in (rtrnn.load(path), pickle.loads(pickle.dumps(model))):
        assert other.graph.fingerprint == model.graph.fingerprint
        assert other.metadata == model.metadata
        assert np.array_equal(other.run(xs), model.run(xs))
    with pytest.raises(OSError, match="nowhere"):
        model.save(tmp_path / "nowhere" / "policy.rtrnn")


def test_any_safetensors_reader_opens_the_file(model, tmp_path):
    safetensors = pytest.importorskip("safetensors")
    path = tmp_path / "policy.rtrnn"
    model.set_metadata("rate_hz", "50")
    model.save(path)
    with safetensors.safe_open(path, "numpy") as file:
        assert sorted(file.keys()) == sorted(model.graph.tensor_names)
        assert all(np.array_equal(file.get_tensor(name), model.graph.tensor(name)) for name in file.keys())  # noqa: SIM118
        assert file.metadata()["rate_hz"] == "50"


def test_files_that_are_not_networks(tmp_path):
    path = tmp_path / "file"
    with pytest.raises(FileNotFoundError):
        rtrnn.load(path)
    for content, words in {
        b"": "empty",
        b"hello, world, this is text": "not a format that rtrnn knows",
        b"PK\x03\x04 not really": "damaged zip",
        (500).to_bytes(8, "little") + b'{"a":': "damaged or cut short",
    }.items():
        path.write_bytes(content)
        with pytest.raises(rtrnn.FileFormatError, match=words) as caught:
            rtrnn.load(path)
        assert str(path) in str(caught.value)
    path.write_bytes((2).to_bytes(8, "little") + b"{}")  # a safetensors file without a Graph or a weight
    with pytest.raises(rtrnn.UnsupportedError, match=r"safetensors state dict: .*keys say no known network: none"):
        rtrnn.load(path)


def test_a_truncated_rtrnn_file_is_refused(tmp_path):
    whole = policy().graph.to_bytes()
    path = tmp_path / "policy.rtrnn"
    for size in [9, 100, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(rtrnn.FileFormatError):
            rtrnn.load(path)


def test_import_is_quick():
    """`import rtrnn` takes at most 100 ms, and leaves NumPy and every optional dependency to when they are needed."""
    code = (
        "import sys, time; t = time.perf_counter(); import rtrnn; print((time.perf_counter() - t) * 1e3);"
        "assert not {'numpy', 'torch', 'onnx', 'onnxruntime', 'matplotlib', 'rich'} & set(sys.modules)"
    )
    command = [sys.executable, "-I", "-c", code]
    times = [float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(5)]
    assert min(times) < 100


def test_headers_and_cmake_package_are_there():
    assert os.path.isfile(os.path.join(rtrnn.get_include(), "rtrnn", "rtrnn.h"))
    assert os.path.isfile(os.path.join(rtrnn.cmake_dir(), "rtrnnConfig.cmake"))
