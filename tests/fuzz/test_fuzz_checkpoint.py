"""Damaged and hostile checkpoints and statistics: refused in time, within memory, never a crash, nothing run."""

from __future__ import annotations

import contextlib
import json
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import assert_clean, damaged, load_all, write_damaged

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch import nn  # noqa: E402

from rtrnn.importers.checkpoint.inert import load_inert  # noqa: E402

SIZE = (3, 4)


def tensors() -> dict[str, Any]:
    torch.manual_seed(0)
    gru = {f"gru.{key}": value for key, value in nn.GRU(*SIZE).state_dict().items()}
    return {**gru, "fc.weight": torch.randn(2, 4), "fc.bias": torch.randn(2)}


def as_json() -> dict[str, Any]:
    return {key: value.tolist() for key, value in tensors().items()}


def write(kind: str, path: Path) -> Path:
    if kind == "json":
        path.write_text(json.dumps(as_json()))
    elif kind == "safetensors":
        from safetensors.torch import save_file

        save_file(tensors(), path)
    else:
        torch.save(tensors(), path, _use_new_zipfile_serialization=kind == "zip")
    return path


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "json"])
def test_damaged(kind: str, tmp_path: Path) -> None:
    source = write(kind, tmp_path / "model")
    assert load_all([source])[0].kind == "loaded"
    assert_clean(load_all(write_damaged(source, tmp_path, 120), imports="torch"))


def rewritten(data: bytes) -> list[bytes]:
    """The zip container with damage inside its pickle, the checksums right."""
    results = []
    import io

    for changed in damaged(zipfile.ZipFile(io.BytesIO(data)).read("model/data.pkl"), 100):
        out = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w") as target:
            for name in source.namelist():
                target.writestr(name, changed if name == "model/data.pkl" else source.read(name))
        results.append(out.getvalue())
    return results


def test_damaged_within_the_zip(tmp_path: Path) -> None:
    source = write("zip", tmp_path / "model")
    paths = []
    for i, data in enumerate(rewritten(source.read_bytes())):
        paths.append(tmp_path / f"inside_{i}.pt")
        paths[-1].write_bytes(data)
    assert_clean(load_all(paths, imports="torch"))


def test_damaged_archive(tmp_path: Path) -> None:
    policy = {f"lstm_actor.{key}": value for key, value in nn.LSTM(*SIZE).state_dict().items()}
    policy.update({f"action_net.{key}": value for key, value in nn.Linear(4, 2).state_dict().items()})
    torch.save(policy, tmp_path / "policy.pth")
    settings = json.dumps({"policy_kwargs": {}, "observation_space": {":type:": "Box", "_shape": [3]}})
    source = tmp_path / "model.zip"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("data", settings)
        archive.write(tmp_path / "policy.pth", "policy.pth")
    paths = write_damaged(source, tmp_path, 60)
    for i, changed in enumerate(damaged(settings.encode(), 60)):
        paths.append(tmp_path / f"data_{i}.zip")
        with zipfile.ZipFile(paths[-1], "w") as archive:
            archive.writestr("data", changed)
            archive.write(tmp_path / "policy.pth", "policy.pth")
    assert load_all([source])[0].kind == "loaded"
    assert_clean(load_all(paths, imports="torch"))


def safetensors(header: Any, body: bytes = b"\0" * 64) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(shape: list[Any], begin: Any = 0, end: Any = 64, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


HOSTILE: dict[str, bytes] = {
    "a terabyte": safetensors({"weight_ih_l0": entry([1 << 20, 1 << 20], 0, 1 << 42)}),
    "a negative size": safetensors({"weight_ih_l0": entry([-4, -4])}),
    "an overflow": safetensors({"weight_ih_l0": entry([1 << 62, 1 << 62, 4])}),
    "offsets that cross": safetensors({"weight_ih_l0": entry([4, 4], 64, 0)}),
    "offsets of text": safetensors({"weight_ih_l0": entry([4, 4], "a", "b")}),
    "a header of text": struct.pack("<Q", 5) + b"{abcd" + b"\0" * 64,
    "a header that is none": safetensors({"weight_ih_l0": 3}),
    "a layer of many digits": safetensors({f"weight_ih_l{'9' * 5000}": entry([4, 4])}),
    "a layer far away": safetensors({"weight_ih_l999999": entry([4, 4])}),
    "no elements": safetensors({f"{r}_l0": entry([0, 0], 0, 0) for r in ("weight_ih", "weight_hh")}),
    "no inputs": safetensors({"weight_ih_l0": entry([4, 0], 0, 0), "weight_hh_l0": entry([4, 4])}),
    "strange numbers": safetensors({"gru.weight_ih_l0": entry([4, 4]), "fc.².weight": entry([4, 4])}),
    "deep lists": json.dumps({"gru.weight_ih_l0": 0})[:-2].encode() + b"[" * 900 + b"]" * 900 + b"}",
    "very deep lists": b'{"weight_ih_l0": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "large numbers": b'{"weight_ih_l0": [[1' + b"0" * 400 + b"]]}",
    "no tensors": b'{"a": []}',
    "text": b'{"weight_ih_l0": ["a"]}',
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile(what: str, tmp_path: Path) -> None:
    path = tmp_path / "hostile"
    path.write_bytes(HOSTILE[what])
    assert_clean(load_all([path]), refused=True)


def test_damaged_statistics(tmp_path: Path) -> None:
    """VecNormalize's pickle, and NumPy's archive."""
    source = write("zip", tmp_path / "model")
    np.savez(tmp_path / "good.npz", mean=np.zeros(3), std=np.ones(3))
    tree = {"mean": np.zeros(3), "std": np.ones(3), "eps": np.float64(0.1), "more": [Path("a"), {1, 2}]}
    for protocol, changed in enumerate([(tmp_path / "good.npz").read_bytes(), *(pickle.dumps(tree, p) for p in (2, 4, 5))]):
        for i, data in enumerate(damaged(changed, 12, protocol)):
            statistics = tmp_path / f"statistics_{protocol}_{i}"
            statistics.write_bytes(data)
            assert_clean(_one(source, statistics))


def _one(source: Path, statistics: Path) -> list[Any]:
    """In this process: a process for each would take minutes."""
    from fuzzing import Outcome

    import rtrnn

    try:
        rtrnn.load(source, normalizer=statistics)
    except (rtrnn.Error, OSError) as error:
        return [Outcome(statistics, "refused", str(error), 0.0, 0)]
    return [Outcome(statistics, "loaded", "", 0.0, 0)]


@pytest.mark.parametrize("protocol", range(6))
def test_damaged_pickles(protocol: int) -> None:
    tree = {"a": np.arange(6.0), "b": [Path("x"), {1: np.float32(2)}], "c": np.random.default_rng(0)}
    for data in damaged(pickle.dumps(tree, protocol), 400, protocol):
        with contextlib.suppress(pickle.UnpicklingError):
            load_inert(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04]r\xff\xff\xff\xff.",  # a memo of 32 gigabytes
        b"\x80\x05\x96\0\0\0\0\0\x01\0\0.",  # a bytearray of a terabyte
        b"cbuiltins\nbytearray\n(I1000000000000\ntR.",
        b"cbuiltins\nbytearray\n(I8000000000\ntR.",
        pickle.dumps(np.zeros(2))[:-1] + b"0" * 9 + b".",
        b"(" * 100_000 + b".",
        b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b".",
    ],
)
def test_hostile_pickles(data: bytes) -> None:
    import tracemalloc

    tracemalloc.start()
    try:
        with contextlib.suppress(pickle.UnpicklingError):
            load_inert(data)
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()
