"""Damaged and hostile HDF5 files: refused in time, within memory, never a crash."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import assert_clean, load_all, write_damaged

pytest.importorskip("pyfive", reason="HDF5 files are read with it")
h5py = pytest.importorskip("h5py", reason="the tests write HDF5 files with it")


def put(group: Any, name: str, *shape: int) -> None:
    data = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    group.create_group(name).create_dataset("parameters", data=data)


def checkpoint(path: Path, version: str = "earliest") -> Path:
    """An RLtools policy: dense 3 to 2, GRU 2."""
    with h5py.File(path, "w", libver=version) as file:
        actor = file.create_group("actor")
        actor.attrs["type"], actor.attrs["meta"] = "sequential", "{}"
        dense, gru = (actor.create_group(f"layers/{i}") for i in range(2))
        dense.attrs["type"], dense.attrs["activation_function"] = "dense", "RELU"
        put(dense, "weights", 2, 3)
        put(dense, "biases", 1, 2)
        gru.attrs["type"] = "gru"
        for name, shape in (
            ("weights_input", (6, 2)),
            ("weights_hidden", (6, 2)),
            ("biases_input", (6,)),
            ("biases_hidden", (6,)),
        ):
            put(gru, name, *shape)
        put(gru, "initial_hidden_state", 2)
    return path


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_damaged(version: str, tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "source.h5", version)
    assert load_all([source])[0].kind == "loaded"
    assert_clean(load_all(write_damaged(source, tmp_path, 120), imports="pyfive"))


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_addresses_and_sizes(version: str, tmp_path: Path) -> None:
    """Each 8-byte word that may be an address or a size, as another one."""
    data = checkpoint(tmp_path / "source.h5", version).read_bytes()
    generator = np.random.default_rng(1)
    words = [i for i in range(0, len(data) - 8, 4) if 0 < struct.unpack_from("<Q", data, i)[0] < 1 << 20]
    paths = []
    for i in range(120):
        at = int(generator.choice(words))
        word = int(
            generator.choice(
                [0, 1, 8, 96, len(data), 2**31, 2**32, 2**40, 2**63 - 1, at, at - 8, words[i % len(words)]]
            )
        )
        path = tmp_path / f"{i}.h5"
        path.write_bytes(data[:at] + struct.pack("<Q", word) + data[at + 8 :])
        paths.append(path)
    assert_clean(load_all(paths, imports="pyfive"))


def test_an_index_that_points_at_itself(tmp_path: Path) -> None:
    """A tree of depth 40 with two branches to one node on each level has 2^40 leaves: reading stops long before."""
    path = checkpoint(tmp_path / "source.h5")
    with h5py.File(path, "r+") as file:
        file.create_dataset("actor/layers/0/weights/x", data=np.ones((64, 64), np.float32), chunks=(8, 8))
        del file["actor/layers/0/weights/parameters"]
        file.move("actor/layers/0/weights/x", "actor/layers/0/weights/parameters")
    data = bytearray(path.read_bytes())
    # A node of the chunk index: "TREE", type 1, level, entries in use, two siblings, then keys (32 bytes) and children in turn.
    at = data.index(b"TREE\x01")
    size, depth = 24 + 3 * 32 + 2 * 8, 40
    end = len(data)
    for level in range(depth, -1, -1):
        child = end + size * (depth - level + 1)
        key = struct.pack("<II3Q", 256, 0, 0, 0, 0)
        node = b"TREE\x01" + struct.pack("<BHQQ", level, 2, 2**64 - 1, 2**64 - 1)
        data += node + key + struct.pack("<Q", child) + key + struct.pack("<Q", child) + key
    where = data.index(struct.pack("<Q", at))
    data[where : where + 8] = struct.pack("<Q", end)
    path.write_bytes(data)
    (outcome,) = load_all([path], imports="pyfive")
    assert_clean([outcome], refused=True)
    assert "over and over" in outcome.text


def test_links_in_a_circle(tmp_path: Path) -> None:
    paths = []
    for name in ("actor/layers", "actor/layers/0", "actor/layers/0/weights", "actor"):
        path = checkpoint(tmp_path / f"{len(paths)}.h5")
        with h5py.File(path, "r+") as file:
            del file[name]
            file[name] = h5py.SoftLink(f"/{name}")
        paths.append(path)
    path = checkpoint(tmp_path / "hard.h5")
    with h5py.File(path, "r+") as file:
        del file["actor/layers/0"]
        file["actor/layers/0"] = file["actor"]
    assert_clean(load_all([*paths, path], imports="pyfive"), refused=True)


def test_huge_shapes(tmp_path: Path) -> None:
    paths = []
    for shape, chunks in (((10**6, 10**6), (100, 100)), ((2**31, 2), (1, 1)), ((10**9,), (1,)), ((2**62,), (2**20,))):
        path = checkpoint(tmp_path / f"{len(paths)}.h5")
        with h5py.File(path, "r+") as file:
            del file["actor/layers/0/weights/parameters"]
            file.create_dataset("actor/layers/0/weights/parameters", shape, "f4", chunks=chunks)
        paths.append(path)
    assert_clean(load_all(paths, imports="pyfive"), refused=True)
