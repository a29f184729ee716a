"""Limits of outputs in Python: where they come from, offline runs, batches, generated C; saved states and swaps as bytes and errors."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from generated import Generated, assert_same_bits, compiled, engine_rows, random_rows
from small_networks import torchscript
from test_stream import policy

import rtrnn

LIMITS = {"action": {"min": -2, "max": [0.25, None, 2], "max_change": np.float32(1.5)}}
XS = np.random.default_rng(3).normal(size=(60, 5)).astype(np.float32)


def limited(ys: np.ndarray) -> np.ndarray:
    """What the limits make of a trajectory."""
    out = np.clip(ys, np.float32(-2), np.array([0.25, np.inf, 2], np.float32))
    for t in range(1, len(out)):
        out[t] = np.clip(out[t], out[t - 1] - np.float32(1.5), out[t - 1] + np.float32(1.5))
    return out


def test_every_way_gives_the_limited_outputs(tmp_path: Path) -> None:
    model = policy("gru")
    raw = model.run(XS)
    expected = limited(raw)
    acted = int(np.any(expected != raw, axis=1).sum())
    assert 0 < acted < 60
    stream, batch = model.stream(limits=LIMITS), model.batch(2, limits=LIMITS)
    for x, y in zip(XS, expected, strict=True):
        assert np.array_equal(stream.step(x), y)
        assert np.array_equal(batch.step(np.stack([x, x])), np.stack([y, y]))
    assert stream.limited_count == acted
    assert batch.limited_count.tolist() == [acted, acted]
    assert np.array_equal(model.run(XS, limits=LIMITS), expected)
    assert np.array_equal(model.stream(limits=LIMITS).process(XS), expected)
    state = model.stream()
    state.process(XS)
    assert all(np.array_equal(stream.state()[name], value) for name, value in state.state().items())

    model.set_metadata("rtrnn.limits", json.dumps({"action": {**LIMITS["action"], "max_change": 1.5}}))
    model.save(tmp_path / "m.rtrnn")
    for each in (model, rtrnn.load(tmp_path / "m.rtrnn")):
        assert np.array_equal(each.run(XS), expected)
        assert np.array_equal(each.stream().process(XS), expected)
        assert np.array_equal(each.run(XS, limits=False), raw)
        assert np.array_equal(each.stream(limits=False).process(XS), raw)
    model.set_metadata("rtrnn.limits", "")
    assert np.array_equal(model.stream().process(XS), raw)


def test_limits_that_make_no_sense() -> None:
    model = policy("gru")
    for limits, words in [
        ({"actoin": {}}, "no output 'actoin'"),
        ({"action": {"max": [1, 2]}}, "3 of them"),
        ({"action": {"max": np.nan}}, r"rtrnn\.limits"),
        ({"action": {"max_change": -1}}, "positive"),
    ]:
        for make in (model.stream, lambda limits: model.batch(2, limits=limits), lambda limits: model.run(XS, limits=limits)):
            with pytest.raises(ValueError, match=words):
                make(limits=limits)
    model.set_metadata("rtrnn.limits", "[]")
    with pytest.raises(rtrnn.GraphError, match=r"rtrnn\.limits"):
        model.stream()


def test_limits_where_a_layer_runs_backwards(tmp_path: Path) -> None:
    model = rtrnn.load(torchscript(tmp_path / "m.pt", "bare", 2))
    (name,), (size,) = model.outputs, next(iter(model.inputs.values()))
    xs = np.random.default_rng(1).normal(size=(20, size)).astype(np.float32)
    raw = model.run(xs)
    ys = model.run(xs, limits={name: {"max": 0.1, "max_change": 0.05}})
    expected = np.minimum(raw, np.float32(0.1))
    for t in range(1, 20):
        expected[t] = np.clip(expected[t], expected[t - 1] - np.float32(0.05), expected[t - 1] + np.float32(0.05))
    assert not np.array_equal(ys, raw)
    assert np.array_equal(ys, expected)


def test_generated_c_has_them(tmp_path: Path) -> None:
    if not shutil.which("gcc"):
        pytest.skip("gcc is not installed")
    model = policy("gru")
    model.set_metadata("rtrnn.limits", '{"action": {"min": -0.5, "max": [0.25, null, 0.5], "max_change": 0.125}}')
    rows = random_rows(model, 40)
    want, _ = engine_rows(model, rows)
    assert not np.array_equal(want[0], model.run(rows[0], limits=False))
    code = rtrnn.codegen(model, "net")
    generated = Generated(compiled(code, tmp_path, ["gcc", "-O1", "-std=c99"]), "net", model, code.state_bytes)
    assert_same_bits(generated.rows(rows), want)


def test_a_saved_state_and_its_refusals() -> None:
    model, other = policy("gru"), policy("gru", seed=1)
    stream = model.stream(on_nonfinite="hold")
    stream.process(XS[:7])
    data = stream.save_state()
    expected = stream.process(XS[7:])
    for weights in ("f32", "i16"):
        twin = model.stream(weights, on_nonfinite="hold")
        twin.restore_state(bytearray(data))
        assert twin.save_state() == data
        assert np.array_equal(twin.step([np.nan] * 5), model.run(XS[:7])[-1])  # what is held is restored as well
        if weights == "f32":
            assert np.array_equal(twin.process(XS[7:]), expected)
    for wrong, words in [(b"", "cut short"), (data[:-1], "cut short"), (b"x" * len(data), "other bytes"), (data + data, "damaged")]:
        with pytest.raises(rtrnn.StateError, match=words):
            stream.restore_state(wrong)
    with pytest.raises(TypeError):
        stream.restore_state("text")
    before = (further := other.stream()).save_state()
    with pytest.raises(rtrnn.StateError, match="other weights"):
        further.restore_state(data)
    assert further.save_state() == before
    further.restore_state(data, strict=False)
    assert further.save_state()[56:] == data[56:]  # all but the header
    for foreign in (policy("lstm"), policy("gru", hidden=13), policy("gru", outputs=4)):
        with pytest.raises(rtrnn.StateError, match="another network"):
            foreign.stream().restore_state(data, strict=False)


def test_swap() -> None:
    model, further = policy("gru"), policy("gru", seed=1)
    stream, plain = model.stream("i16", on_nonfinite="hold", hold_steps=4), model.stream("i16")
    stream.process(XS[:9]), plain.process(XS[:9])
    former, shown = stream.input, stream.output.copy()
    former[:] = XS[9]
    stream.swap(further)
    assert set(stream.weights.values()) == {"i16"}  # a Model is run as the Stream was
    assert (stream.hold_steps, stream.on_nonfinite, stream.steps) == (4, "hold", 9)
    assert stream.input is not former
    assert not former.flags.writeable
    assert stream.input.flags.writeable
    assert np.array_equal(stream.input, XS[9])
    assert np.array_equal(stream.output, shown)
    expected = further.stream("i16")
    expected.set_state(plain.state())
    stream.step()
    assert np.array_equal(stream.output, expected.step(XS[9]))
    assert np.array_equal(stream.step(XS[10]), expected.step(XS[10]))

    other = model.stream()
    mine = stream.output
    stream.swap(other)
    stream.swap(stream)
    del other
    assert np.array_equal(mine, expected.output)  # memory lives as long as what looks into it
    stream.step(XS[11])
    with pytest.raises(rtrnn.StateError, match="more than their weights"):
        stream.swap(policy("lstm"))
    with pytest.raises(rtrnn.StateError, match="more than their weights"):
        stream.swap(model.stream(limits=LIMITS))
    with pytest.raises(TypeError, match="Stream or a Model"):
        stream.swap("model")


def test_a_swap_allocates_nothing_that_stays() -> None:
    model = policy("gru")
    stream, other = model.stream(), model.stream("i16")
    stream.swap(other)
    tracemalloc.start()
    before = tracemalloc.take_snapshot()
    for _ in range(1000):
        stream.swap(other)
    after = tracemalloc.take_snapshot()
    tracemalloc.stop()
    keep = tracemalloc.Filter(False, tracemalloc.__file__)
    grown = after.filter_traces([keep]).compare_to(before.filter_traces([keep]), "filename")
    assert sum(s.size_diff for s in grown) < 1000
