"""Damaged and hostile Keras files: they load, or one rtrnn.Error says why not, quickly and within bounds on memory."""

from __future__ import annotations

import copy
import io
import json
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from fuzzing import assert_clean, damaged, load_all, write_damaged
from keras_files import functional_config, layer, policy, sequential_config, write_h5, write_keras

from rtrnn.errors import Error, FileFormatError
from rtrnn.formats import LoadOptions
from rtrnn.importers.keras import load_h5, load_keras

pytest.importorskip("pyfive", reason="the package of the extra 'keras' reads these files")

JUNK = [None, True, False, 0, -1, 1, 3, 10**9, 2**63, 1e308, float("nan"), "", "x", "GRU", "relu", "keras", [], {}, [[]]]
JUNK += [[0], [-1, 10**9], [None, 5], ["obs", 0, 0], ["head", 0, 0], ["memory", 5, 0], ["memory", 0, 9], [[[[[]]]]]]
JUNK += [{"class_name": "Dense", "config": {}}, {"value": "a"}]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all entries of a JSON value."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in entries:
        yield (*path, key)
        yield from places(part, (*path, key))


def mutated(config: Any, rng: random.Random) -> Any:
    """The configuration with one to three of its entries replaced by something else, moved, repeated or removed."""
    config = copy.deepcopy(config)
    for _ in range(rng.randint(1, 3)):
        *above, key = rng.choice(list(places(config)))
        at = config
        for step in above:
            at = at[step]
        action = rng.randrange(4)
        if action == 0:
            del at[key]
        elif action == 1 and isinstance(at, list):
            at.insert(rng.randrange(len(at) + 1), copy.deepcopy(at[key]))
        elif action == 2:
            other: Any = config
            for step in rng.choice(list(places(config))):
                other = other[step]
            at[key] = copy.deepcopy(other)
        else:
            at[key] = copy.deepcopy(rng.choice(JUNK))
    return config


def fuzz_configurations(source: Path, path: Path, count: int, seed: int = 0) -> dict[str, int]:
    """Loads the file `source` with `count` mutated configurations, as the file `path`; counts what became of them."""
    rng, counts = random.Random(seed), {"loaded": 0, "refused": 0}
    with zipfile.ZipFile(source) as archive:
        data, config = archive.read("model.weights.h5"), json.loads(archive.read("config.json"))
    for i in range(count):
        changed = mutated(config, rng)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("metadata.json", json.dumps({"keras_version": "3.5.0"}))
            archive.writestr("config.json", json.dumps(changed))
            archive.writestr("model.weights.h5", data)
        text = str(path)
        try:
            load_keras(path, LoadOptions())
            counts["loaded"] += 1
        except Error as error:
            text = str(error)
            counts["refused"] += 1
        except Exception as error:
            raise AssertionError(f"mutation {i} of seed {seed}: {type(error).__name__}: {error}\n{json.dumps(changed)}") from error
        assert text.startswith(str(path))
        # What the importer has not foreseen is a FileFormatError too, but none that says what was expected.
        assert "cannot be carried out" not in text, f"mutation {i} of seed {seed}: {text}"
    return counts


def test_configurations(tmp_path: Path) -> None:
    source = write_keras(tmp_path / "source.keras", *policy())
    counts = fuzz_configurations(source, tmp_path / "m.keras", 300)
    assert counts["refused"] > 100  # and the mutations do hit


def rezipped(path: Path, member: str, data: bytes) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in {**parts, member: data}.items():
            archive.writestr(name, part)


def test_damaged_files(tmp_path: Path) -> None:
    """The archive damaged, and each part of it damaged inside a sound archive."""
    source = write_keras(tmp_path / "m.keras", *policy())
    paths = write_damaged(source, tmp_path, 90)
    for member in ("model.weights.h5", "config.json"):
        with zipfile.ZipFile(source) as archive:
            data = archive.read(member)
        for i, part in enumerate(damaged(data, 90, seed=1)):
            path = tmp_path / f"{member}_{i}.keras"
            path.write_bytes(source.read_bytes())
            rezipped(path, member, part)
            paths.append(path)
    assert_clean(load_all(paths))


def test_damaged_h5(tmp_path: Path) -> None:
    dense = layer("Dense", "head", units=2, activation="tanh", use_bias=True, batch_input_shape=[None, None, 3])
    weights = {"head": {"kernel": np.ones((3, 2), np.float32), "bias": np.ones(2, np.float32)}}
    source = write_h5(tmp_path / "m.h5", sequential_config([dense]), weights)
    assert_clean(load_all(write_damaged(source, tmp_path, 120)))


def refused(path: Path, load: Any = load_keras) -> str:
    with pytest.raises(Error) as caught:
        load(path, LoadOptions())
    return str(caught.value)


def test_sizes_beyond_the_file(tmp_path: Path) -> None:
    config, weights = policy()
    config["config"]["layers"][3]["config"]["units"] = 10**9
    assert "4000000000" in refused(write_keras(tmp_path / "units.keras", config, weights))
    wide = sequential_config([layer("InputLayer", "x", batch_shape=[None, 10**9]), layer("Softmax", "s", axis=-1)])
    assert "expected at most" in refused(write_keras(tmp_path / "wide.keras", wide, {}))


def test_models_in_models(tmp_path: Path) -> None:
    """Each of 13 models calls the one inside twice: 2^13 calls are not made."""
    spec = {**layer("Activation", "a", activation="tanh"), "name": "a", "inbound_nodes": [[["x", 0, 0, {}]]]}
    for depth in range(13):
        name = f"m{depth}"
        source = layer("InputLayer", "x", [], batch_shape=[None, 3])
        inner = functional_config([source, spec], ["x", 0, 0], [spec["name"], 0, 0])
        inner["config"]["name"] = inner["name"] = name
        inner["inbound_nodes"] = [[["x", 0, 0, {}]], [[name, 0, 0, {}]]]
        spec = functional_config([source, inner], ["x", 0, 0], [name, 1, 0])
        spec["config"]["name"] = spec["name"] = f"o{depth}"
        spec["inbound_nodes"] = [[["x", 0, 0, {}]]]
    outcomes = load_all([write_keras(tmp_path / "deep.keras", spec, {})])
    assert_clean(outcomes, refused=True)
    assert "calls of layers" in outcomes[0].text


def test_deep_json(tmp_path: Path) -> None:
    path = write_keras(tmp_path / "m.keras", {}, {})
    rezipped(path, "config.json", b'{"class_name": "Sequential", "config": ' + b"[" * 200_000 + b"]" * 200_000 + b"}")
    refused(path)
    nested: Any = layer("Dense", "d", units=1)
    for _ in range(200):
        nested = layer("TimeDistributed", "t", layer=nested)
    assert "more than" in refused(write_keras(tmp_path / "n.keras", sequential_config([nested]), {}))


def test_archive_that_unpacks_to_too_much(tmp_path: Path) -> None:
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.5.0"}))
        archive.writestr("config.json", b" " * (200 << 20))
        archive.writestr("model.weights.h5", b"")
    with pytest.raises(FileFormatError, match="unpacks to"):
        load_keras(path, LoadOptions())


def test_dataset_that_claims_to_be_large(tmp_path: Path) -> None:
    """A chunked dataset of 40 GB of which nothing is stored."""
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        file.create_dataset("layers/dense/vars/0", shape=(100_000, 100_000), chunks=(1000, 1000), dtype="f4")
    config = sequential_config([layer("InputLayer", "x", batch_shape=[None, 3]), layer("Dense", "d", units=2)])
    path = write_keras(tmp_path / "m.keras", config, {})
    rezipped(path, "model.weights.h5", data.getvalue())
    assert "claims the shape" in refused(path)


def test_old_files_of_the_wrong_kind(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["model_config"] = json.dumps(sequential_config([layer("Dense", "d", units=2, batch_input_shape=[None, 3])]))
        file.attrs["keras_version"] = "2.4.0"
        file["model_weights"] = np.ones(3)
    assert "expected a group" in refused(tmp_path / "m.h5", load_h5)
