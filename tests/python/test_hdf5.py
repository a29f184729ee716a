"""The HDF5 reader against files that h5py writes, in the old and the new layout of the format."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rtrnn
from rtrnn.importers.hdf5 import Hdf5Dataset, Hdf5Group, open_hdf5, root_of

pytest.importorskip("pyfive", reason="HDF5 files are read with it")
h5py = pytest.importorskip("h5py", reason="the tests write HDF5 files with it")

ATTRIBUTES: dict[str, Any] = {
    "text": "grün" * 500,
    "bytes": b"torch",
    "names": np.array([b"kernel:0", b"b"]),
    "texts": np.array(["a", "é"], dtype=h5py.string_dtype()),
    "none": np.array([], "S1"),
    "integer": 3,
    "float": 1.5,
    "flag": True,
    "array": np.arange(4.0),
}
DATA = {
    "float32": np.arange(6, dtype=np.float32).reshape(2, 3),
    "float16": np.arange(4, dtype=np.float16),
    "big-endian": np.arange(4, dtype=">f8"),
    "int8": np.arange(-2, 2, dtype=np.int8),
    "scalar": np.float32(3),
    "empty": np.zeros((0, 3), np.float32),
    "six megabytes": np.arange(1_500_007, dtype=np.float32).reshape(1, -1),
}


@pytest.fixture(params=["earliest", "latest"])
def file(request, tmp_path: Path) -> Path:
    path = tmp_path / "file.h5"
    with h5py.File(path, "w", libver=request.param) as f:
        f.attrs.update(ATTRIBUTES)
        group = f.create_group("a")
        for name, array in DATA.items():
            group.create_dataset(name, data=array)
        many = group.create_group("many", track_order=True)
        for i in range(40):  # more than fit into the group's own header
            many.create_dataset(str(i), data=np.float32(i))
            many.attrs[f"attribute {i}"] = i
        if request.param == "earliest":
            group.create_dataset(
                "chunked", data=np.arange(100.0).reshape(10, 10), chunks=(3, 4), compression="gzip", shuffle=True
            )
        group["link"] = h5py.SoftLink("/a/float32")
    return path


def test_attributes(file: Path):
    found = open_hdf5(file).attributes
    assert found["text"] == ATTRIBUTES["text"]
    assert found["bytes"] == "torch"
    assert (found["names"], found["texts"], found["none"]) == (["kernel:0", "b"], ["a", "é"], [])
    assert (found["integer"], found["float"], found["flag"]) == (3, 1.5, 1)
    assert np.array_equal(found["array"], ATTRIBUTES["array"])
    assert {type(found[k]) for k in ("integer", "float", "text")} == {int, float, str}


def test_datasets(file: Path):
    root = open_hdf5(file)
    assert isinstance(root["a"], Hdf5Group)
    assert isinstance(root["a/float32"], Hdf5Dataset)
    for name, array in DATA.items():
        found = root.group("a").dataset(name)
        assert found.name == f"/a/{name}"
        assert found.shape == array.shape
        read = found.read()
        assert read.dtype == array.dtype.newbyteorder("=")
        assert np.array_equal(read, array)
    assert np.array_equal(root.dataset("a/link").read(), DATA["float32"])
    if "chunked" in root.group("a"):
        assert np.array_equal(root.dataset("a/chunked").read(), np.arange(100.0).reshape(10, 10))
    many = root.group("a/many")
    assert sorted(many, key=int) == [str(i) for i in range(40)]
    assert [float(many.dataset(str(i)).read()) for i in range(40)] == list(range(40))
    assert many.attributes["attribute 39"] == 39


def test_names(file: Path):
    root = open_hdf5(file.read_bytes(), "weights")
    assert "a/many/3" in root
    assert "a/many/x" not in root
    assert "a/float32/x" not in root
    assert set(root_of(file)) == {"a/", *ATTRIBUTES}
    with pytest.raises(rtrnn.FileFormatError, match="weights: '/a/many' has no entry 'x'; it holds"):
        root["a/many/x"]
    with pytest.raises(rtrnn.FileFormatError, match="'/a/float32' has no entry 'x'; it holds a dataset"):
        root["a/float32/x"]
    with pytest.raises(rtrnn.FileFormatError, match="'/a' is a group; expected a dataset"):
        root.dataset("a")
    with pytest.raises(rtrnn.FileFormatError, match="'/a/int8' is a dataset; expected a group"):
        root.group("a/int8")
    with pytest.raises(rtrnn.FileFormatError, match="'/': expected a text attribute 'integer'; found one of type int"):
        root.text("integer")


def test_what_is_not_in_the_file_is_refused(tmp_path: Path):
    """Where libhdf5 would look into other files, or give zeros."""
    (tmp_path / "secret").write_bytes(b"secret")
    path = tmp_path / "file.h5"
    with h5py.File(path, "w") as f:
        f.create_dataset("elsewhere", (4,), "u1", external=[(str(tmp_path / "secret"), 0, 4)])
        f.create_dataset("never written", (3, 2), "f4")
        f.create_dataset("never written chunks", (30, 2), "f4", chunks=(10, 2))
        f["circle"] = h5py.SoftLink("/circle")
        f["to nothing"] = h5py.SoftLink("/nothing")
        f.create_dataset("text", data="abc")
        f.create_dataset("huge", (10**6, 10**6), "f4", chunks=(100, 100))
        f.create_group("links")["outside"] = h5py.ExternalLink(str(path), "/text")
    root = open_hdf5(path)
    for name in root:
        with pytest.raises(rtrnn.FileFormatError, match=name):
            root.dataset(name).read()
    with pytest.raises(rtrnn.FileFormatError, match="claims the shape"):
        root.dataset("huge").read()


def test_a_file_cut_short_is_refused(tmp_path: Path):
    """No value of what is missing is made up."""
    path = tmp_path / "file.h5"
    with h5py.File(path, "w", libver="earliest") as f:
        f.create_dataset("x", data=np.ones(100_000, np.float32))
    whole = path.read_bytes()
    for missing in (1, 4, 100, 200_000):
        with pytest.raises(rtrnn.FileFormatError):
            open_hdf5(whole[:-missing]).dataset("x").read()
    with pytest.raises(rtrnn.FileFormatError, match="not an HDF5 file"):
        open_hdf5(whole[1:])


def test_without_the_package(monkeypatch, file: Path):
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "pyfive":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(rtrnn.MissingExtraError, match=r"pip install 'rtrnn\[hdf5\]'"):
        rtrnn.load(file)
