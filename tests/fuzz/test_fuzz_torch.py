"""Damaged and hostile TorchScript archives and .pt2 files: refused in time, within memory, never a crash, nothing run."""

from __future__ import annotations

import json
import random
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")  # export_matrix, which makes the files, has ONNX too
from export_matrix import Cell, Exporter  # noqa: E402
from fuzzing import assert_clean, damaged, load_all, write_damaged  # noqa: E402

import rtrnn  # noqa: E402

FORMS = ["script", "program"]


@pytest.fixture(scope="module", params=FORMS)
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cell = Cell("gru", 2, "buffers", True)
    return Exporter(request.param).write(cell, cell.module(), tmp_path_factory.mktemp("source"))


def entries_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def test_damaged(source: Path, tmp_path: Path) -> None:
    assert_clean(load_all(write_damaged(source, tmp_path, 100), imports="torch"))


def test_damaged_entries(source: Path, tmp_path: Path) -> None:
    """Damage inside the entries, with the checksums made right again."""
    rng = random.Random(3)
    entries = entries_of(source)
    described = [name for name in entries if name.endswith((".json", ".pkl", ".py"))]
    paths = []
    for i in range(60):
        changed = dict(entries)
        for name in rng.sample(described if i % 3 else [n for n in entries if entries[n]], 1 + i % 2):
            *_, changed[name] = damaged(entries[name], 1 + rng.randrange(6), seed=rng.randrange(1 << 30))
        paths.append(write(tmp_path / f"{i}{source.suffix}", changed))
    assert_clean(load_all(paths, imports="torch"))


# -- TorchScript ----------------------------------------------------------------------------------------


class Twice(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2.5


BODY = "torch.mul(x, 2.5)"


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    path = tmp_path_factory.mktemp("scripted") / "twice.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(Twice()), path)
    entries = entries_of(path)
    (code,) = [name for name in entries if name.endswith(".py")]
    assert BODY in entries[code].decode()
    return entries


def with_code(entries: dict[str, bytes], change: Callable[[str], str], path: Path) -> Path:
    (code,) = [name for name in entries if name.endswith(".py")]
    kept = {name: data for name, data in entries.items() if not name.endswith("debug_pkl")}
    return write(path, {**kept, code: change(kept[code].decode()).encode()})


def deep(count: int) -> dict[str, Callable[[str], str]]:
    nested = "(" * count + BODY + ")" * count
    return {
        "parentheses": lambda text: text.replace(BODY, nested),
        "lists": lambda text: text.replace(BODY, f"torch.mul(x, len({'[' * count}1{']' * count}))"),
        "sum": lambda text: text.replace(BODY, f"torch.mul(x, {'+'.join(['2'] * count)})"),
        "signs": lambda text: text.replace(BODY, f"torch.mul(x, {'-' * count}2)"),
        "dots": lambda text: text.replace(BODY, f"x{'.a' * count}"),
        "calls": lambda text: text.replace(BODY, f"x{'()' * count}"),
        "conditions": lambda text: text.replace(BODY, f"{'x if x else ' * count} x"),
        "blocks": lambda text: text.replace(
            f"return {BODY}", "".join(f"if bool(x):\n{'  ' * (i + 3)}" for i in range(count // 20)) + "return x"
        ),
    }


CODE: dict[str, Callable[[str], str]] = {
    **deep(100_000),
    "syntax": lambda text: text.replace(BODY, "torch.mul(x,"),
    "cyclic type": lambda text: text.replace("class Twice(Module):\n", "class Twice(Module):\n  child : __torch__.Twice\n"),
    "cyclic call": lambda text: text.replace(BODY, "(self).forward(x, )"),
    "endless loop": lambda text: text.replace(
        f"return {BODY}", "_0 = x\n    _1 = True\n    while _1:\n      _0 = torch.mul(_0, 2)\n    return _0"
    ),
    "ten gigabytes": lambda text: text.replace(
        BODY, "torch.add(x, torch.sum(torch.zeros([50000, 50000], dtype=None, layout=None, device=None, pin_memory=None)))"
    ),
}


def test_hostile_code(scripted: dict[str, bytes], tmp_path: Path) -> None:
    paths = [with_code(scripted, change, tmp_path / f"{name}.pt") for name, change in CODE.items()]
    plain = entries_of(with_code(scripted, lambda text: text, tmp_path / "plain.pt"))
    (code,) = [name for name in plain if name.endswith(".py")]
    paths.append(write(tmp_path / "not utf-8.pt", {**plain, code: plain[code].replace(b"torch", b"tor\xffch")}))
    assert_clean(load_all(paths, imports="torch", example=[[1.0, 2.0]]), refused=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [("torch.from_file({!r}, True, 4)", "from_file"), ("torch.save(x, {!r})", r"torch\.save")],
)
def test_code_that_touches_files_is_refused(call: str, message: str, scripted: dict[str, bytes], tmp_path: Path) -> None:
    target = tmp_path / "written"
    path = with_code(
        scripted, lambda text: text.replace(f"return {BODY}", f"_0 = {call.format(str(target))}\n    return x"), tmp_path / "m.pt"
    )
    with pytest.raises(rtrnn.UnsupportedError, match=message):
        rtrnn.load(path)
    assert not target.exists()


def test_code_that_runs_while_loading_is_refused(scripted: dict[str, bytes], tmp_path: Path) -> None:
    method = "  def __setstate__(self: __torch__.Twice,\n    a: int) -> None:\n    return None\n"
    path = with_code(scripted, lambda text: text + method, tmp_path / "m.pt")
    with pytest.raises(rtrnn.UnsupportedError, match=r"__setstate__.*float32"):
        rtrnn.load(path)


def test_tensors_larger_than_their_bytes_are_refused(tmp_path: Path) -> None:
    """torch's own reader takes the sizes on trust and reads beyond the end."""
    cell = Cell("gru", 1, "buffers", False)
    source = Exporter("script").write(cell, cell.module(), tmp_path)
    entries = entries_of(source)
    paths = []
    for name, data in entries.items():
        if "/data/" in name and data:
            paths.append(write(tmp_path / f"short_{len(paths)}.pt", {**entries, name: data[:-4]}))
    assert len(paths) >= 6
    for path in paths:
        with pytest.raises(rtrnn.FileFormatError, match="elements of FloatStorage in an entry"):
            rtrnn.load(path)
    pickled = next(name for name in entries if name.endswith("/data.pkl"))
    # BININT1 8 (hidden * .. sizes) made larger: a tensor that reaches beyond its storage.
    at = entries[pickled].index(b"K\x0cK\x05")
    grown = entries[pickled][:at] + b"K\xffK\x05" + entries[pickled][at + 4 :]
    with pytest.raises(rtrnn.FileFormatError, match="reaches beyond"):
        rtrnn.load(write(tmp_path / "grown.pt", {**entries, pickled: grown}))


# -- both ------------------------------------------------------------------------------------------------


def test_bombs(source: Path, tmp_path: Path) -> None:
    """Entries that unpack to more than the file could hold, and descriptions that nest deep."""
    entries = entries_of(source)
    root = next(iter(entries)).partition("/")[0]
    bomb = tmp_path / f"bomb{source.suffix}"
    write(bomb, entries)
    with zipfile.ZipFile(bomb, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{root}/data/zeros", b"\0" * (1 << 28))
    paths = [bomb]
    if source.suffix == ".pt2":
        at = f"{root}/models/model.json"
        deep_json = b"[" * 100_000 + b"]" * 100_000
        paths.append(write(tmp_path / "deep.pt2", {**entries, at: deep_json}))
        nested = json.loads(entries[at])
        graph = nested["graph_module"]["graph"]
        for _ in range(40):
            inner = {"inputs": [], "outputs": [], "nodes": graph["nodes"], "tensor_values": {}}
            block = {"target": "torch.ops.higher_order.wrap_with_set_grad_enabled", "name": "b", "outputs": [], "metadata": {}}
            graph["nodes"] = [{**block, "inputs": [{"name": "", "arg": {"as_graph": {"name": "g", "graph": inner}}, "kind": 1}]}]
        paths.append(write(tmp_path / "blocks.pt2", {**entries, at: json.dumps(nested).encode()}))
    assert_clean(load_all(paths, imports="torch"), refused=True)
