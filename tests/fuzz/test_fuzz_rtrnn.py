"""Damaged and hostile .rtrnn files: refused in time, within memory, never a crash."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from fuzzing import assert_clean, load_all, write_damaged


def test_damaged(network: Path, tmp_path: Path) -> None:
    assert_clean(load_all(write_damaged(network, tmp_path, 400)))


def graph(**changes: Any) -> dict[str, Any]:
    """A Graph of one linear layer as the file holds it, with `changes`."""
    return {
        "version": 1,
        "inputs": [{"name": "x", "shape": [2]}],
        "states": [],
        "nodes": [{"op": "linear", "name": "l", "inputs": ["x", "w"], "outputs": ["y"], "attributes": {}}],
        "outputs": [{"name": "y", "value": "y"}],
        **changes,
    }


def write(path: Path, description: Any, tensors: dict[str, Any] | None = None, data: bytes = b"\0" * 16) -> Path:
    """A safetensors container around `description`."""
    if tensors is None:
        tensors = {"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}
    text = description if isinstance(description, str) else json.dumps(description)
    header = json.dumps({"__metadata__": {"rtrnn.graph": text}, **tensors}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return path


def node(**changes: Any) -> dict[str, Any]:
    return {**graph()["nodes"][0], **changes}


HOSTILE: dict[str, tuple[Any, dict[str, Any] | None]] = {
    "ten gigabytes claimed": (
        graph(),
        {"w": {"dtype": "F32", "shape": [50000, 50000], "data_offsets": [0, 10_000_000_000]}},
    ),
    "shape overflows": (graph(), {"w": {"dtype": "F32", "shape": [2**62, 8], "data_offsets": [0, 16]}}),
    "negative shape": (graph(inputs=[{"name": "x", "shape": [-2]}]), None),
    "huge input": (graph(inputs=[{"name": "x", "shape": [2**40]}]), None),
    "huge expand": (
        graph(nodes=[node(op="expand", inputs=["x"], attributes={"shape": {"ints": [2**31, 2**31, 2]}})]),
        None,
    ),
    "reads itself": (graph(nodes=[node(inputs=["y", "w"])]), None),
    "cycle of two": (
        graph(nodes=[node(op="neg", inputs=["b"], outputs=["y"]), node(op="neg", inputs=["y"], outputs=["b"])]),
        None,
    ),
    "deep": ("[" * 100_000 + "]" * 100_000, None),
    "unknown op": (graph(nodes=[node(op="os.system")]), None),
    "unknown version": (graph(version=99), None),
    "a list for an object": (graph(nodes=[[]]), None),
    "a text for a number": (graph(inputs=[{"name": "x", "shape": ["2"]}]), None),
    "overlapping names": (graph(inputs=[{"name": "x", "shape": [2]}] * 2), None),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile(what: str, tmp_path: Path) -> None:
    assert_clean(load_all([write(tmp_path / "hostile.rtrnn", *HOSTILE[what])]), refused=True)


def test_the_file_they_differ_from_loads(tmp_path: Path) -> None:
    (outcome,) = load_all([write(tmp_path / "good.rtrnn", graph())])
    assert outcome.kind == "loaded", outcome.text


def test_harness_tells_crashes_and_leaks_apart(tmp_path: Path) -> None:
    """The twin of every fuzz test: what they must catch is caught."""
    (tmp_path / "leak.py").write_text("import rtrnn\ndef load(path): raise KeyError(path)\nrtrnn.load = load\n")
    (tmp_path / "crash.py").write_text("import os, rtrnn\ndef load(path): os.abort()\nrtrnn.load = load\n")
    good = write(tmp_path / "good.rtrnn", graph())
    for module, kind in (("leak", "leaked"), ("crash", "crashed")):
        (outcome,) = load_all([good], imports=module, folder=tmp_path)
        assert outcome.kind == kind
        with pytest.raises(AssertionError, match=kind):
            assert_clean([outcome])
