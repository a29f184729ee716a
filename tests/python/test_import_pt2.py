"""Import of .pt2 files (torch.export.save), against PyTorch in float64, step by step."""

from __future__ import annotations

import io
import json
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from torch import nn  # noqa: E402
from torch_modules import (  # noqa: E402
    FOLDED,
    TOLERANCE,
    Alias,
    Arithmetic,
    Block,
    DelayLine,
    HandGru,
    HandLstm,
    Outputs,
    Policy,
    StatePolicy,
    check,
    inputs,
    steps,
)

import rtrnn  # noqa: E402
from rtrnn.errors import FileFormatError, StateError, UnsupportedError  # noqa: E402
from rtrnn.formats import LoadOptions  # noqa: E402
from rtrnn.importers.draft import Draft  # noqa: E402
from rtrnn.importers.torch import from_module, load_program  # noqa: E402
from rtrnn.loading import detect_format  # noqa: E402
from rtrnn.runtimes import open_runtime  # noqa: E402


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(7)


def export(module: nn.Module, example: tuple[Any, ...], **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(module.eval(), example, strict=False, **options)


def decompose(program: Any) -> Any:
    """Core ATen operators only, without writes in place."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return program.run_decompositions()


def save(program: Any, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, path)
    return path


def load(path: Path, **options: Any) -> Draft:
    return load_program(path, LoadOptions(**options))


def same(one: Draft, other: Draft) -> None:
    """The two are one Graph, tensors to the bit."""
    assert [(n.op, n.attributes) for n in one.nodes] == [(n.op, n.attributes) for n in other.nodes]
    assert one.inputs == other.inputs
    assert list(one.outputs) == list(other.outputs)
    assert {k: s.shape for k, s in one.states.items()} == {k: s.shape for k, s in other.states.items()}
    assert sorted(t.tobytes() for t in one.tensors.values()) == sorted(t.tobytes() for t in other.tensors.values())


MODULES: list[tuple[Callable[[], nn.Module], tuple[int, ...]]] = [
    (Policy, (1, 6)), (HandLstm, (1, 5)), (Alias, (1, 4)), (Block, (1, 4)), (DelayLine, (1, 4)), (Arithmetic, (1, 4)),
    (Outputs, (1, 1, 3)), (lambda: nn.GRU(3, 4, 2), (1, 1, 3)), (lambda: nn.LSTM(3, 4, proj_size=2), (1, 1, 3)),
]  # fmt: skip


@pytest.mark.parametrize(("make", "shape"), MODULES)
def test_file_gives_the_graph_of_the_live_module(
    make: Callable[[], nn.Module], shape: tuple[int, ...], tmp_path: Path
) -> None:
    module = make()
    live = from_module(module, torch.zeros(shape))
    same(load(save(export(module, (torch.randn(shape),)), tmp_path / "m.pt2")), live)


@pytest.mark.parametrize("decomposed", [False, True])
@pytest.mark.parametrize("make", [Policy, HandLstm, DelayLine])
def test_state_in_buffers(make: Callable[[], nn.Module], decomposed: bool, tmp_path: Path) -> None:
    """Written in place, or, once decomposed, given back beside the outputs."""
    module = make()
    size = {Policy: 6, HandLstm: 5, DelayLine: 4}[make]
    program = export(module, (torch.randn(1, size),))
    path = save(decompose(program) if decomposed else program, tmp_path / "m.pt2")
    draft = load(path)
    assert draft.states
    xs = inputs((1, size))
    check(draft, steps(module, xs), xs, FOLDED if make is Policy else TOLERANCE)


@pytest.mark.parametrize("decomposed", [False, True])
def test_state_as_arguments(decomposed: bool, tmp_path: Path) -> None:
    policy, zeros = StatePolicy(), torch.zeros(2, 1, 8)
    program = export(policy, (torch.randn(1, 6), torch.randn(2, 1, 8), torch.randn(2, 1, 8)))
    draft = load(save(decompose(program) if decomposed else program, tmp_path / "m.pt2"))
    assert list(draft.states) == ["h_in", "c_in"]
    assert [n.op for n in draft.nodes if n.op in ("lstm", "linear", "concat")].count("lstm") == 2
    xs = inputs((1, 6))
    check(draft, steps(policy, xs, zeros.double(), zeros.double()), xs)


def test_initial_and_forced_states(tmp_path: Path) -> None:
    module, h = HandGru(), torch.randn(1, 4)
    path = save(export(module, (torch.randn(1, 5), h)), tmp_path / "m.pt2")
    draft = load(path, states={"h": "output_1"}, initial_states={"h": h.numpy()})
    assert [n.op for n in draft.nodes] == ["gru", "mul"]
    xs = inputs((1, 5))
    check(draft, steps(module, xs, h.double()), xs)


class Framed(nn.Module):
    """Views whose sizes follow the batch and the time axis."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(6, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor, state: dict[str, torch.Tensor]):
        batch, time, _ = x.shape
        y, h = self.rnn(x, state["h"])
        with torch.no_grad():
            y = 2 * y
        flat = y.reshape(batch * time, 8)
        return {"y": self.head(flat).view(batch, time, 3) + y.split([3, 5], -1)[0], "h": h}


@pytest.mark.parametrize("dynamic", [(), (0,), (0, 1)])
def test_open_and_fixed_sizes_are_read_at_one_timestep(dynamic: tuple[int, ...], tmp_path: Path) -> None:
    """torch.export fixes the time axis of a recurrent layer; a batch may be left open, or both may be fixed."""
    module = Framed()
    shapes = (dict.fromkeys(dynamic, torch.export.Dim.AUTO), {"h": {1: torch.export.Dim.AUTO} if 0 in dynamic else {}})
    example = (torch.randn(2, 5, 6), {"h": torch.randn(1, 2, 8)})
    path = save(export(module, example, dynamic_shapes=shapes), tmp_path / "m.pt2")
    draft = load(path)
    assert draft.inputs == {"x": (6,)}
    assert list(draft.states) == ["state.h"]
    xs = inputs((1, 1, 6))
    h, expected = {"h": torch.zeros(1, 1, 8).double()}, []
    with torch.no_grad():
        for x in xs:
            result = module.double()(x, h)
            h = {"h": result["h"]}
            expected.append(result["y"])
    check(draft, expected, xs)


def test_sizes_that_do_not_come_down_to_one_timestep_are_refused(tmp_path: Path) -> None:
    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(3, 4)
            self.register_buffer("offsets", torch.randn(5, 1, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.rnn(x)[0] + self.offsets

    path = save(export(Table(), (torch.randn(5, 1, 3),)), tmp_path / "m.pt2")
    with pytest.raises(UnsupportedError, match=r"5 timesteps.*axis 0 of input 'x' to 5.*export it with one timestep"):
        load(path)

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(3, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.rnn(x)[0][3]

    path = save(export(Last(), (torch.randn(5, 1, 3),)), tmp_path / "m.pt2")
    with pytest.raises(UnsupportedError, match=r"aten::select.*index 3.*export it with one timestep"):
        load(path)


class InPlace(nn.Module):
    """Writes the state that it is given; clips its input in place."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(3, 4)

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        x.clamp_(-5.0, 5.0)
        h.copy_(self.cell(x, h))
        return 2 * h


def test_argument_written_in_place_is_carried(tmp_path: Path) -> None:
    module = InPlace()
    program = export(module, (torch.randn(1, 3), torch.randn(1, 4)))
    xs, expected, h = inputs((1, 3)), [], torch.zeros(1, 4).double()
    with torch.no_grad():
        for x in xs:
            expected.append(module.double()(x.clone(), h))
    for number, made in enumerate((program, decompose(program))):
        draft = load(save(made, tmp_path / f"{number}.pt2"))
        assert list(draft.states) == ["h"]
        assert list(draft.inputs) == ["x"]
        assert any("'h'" in warning and "in place" in warning for warning in draft.warnings)
        check(draft, expected, xs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(module.float()), tmp_path / "script.pt")
    for path in (tmp_path / "0.pt2", tmp_path / "1.pt2", tmp_path / "script.pt"):
        with pytest.warns(rtrnn.ModelWarning, match="'h'.*in place"):
            model = rtrnn.load(path)
        runtime = open_runtime(path, model)
        for x, y in zip(xs, expected, strict=True):
            outputs, _ = runtime.advance({"x": x.numpy().astype(np.float32)})
            np.testing.assert_allclose(outputs["output"].ravel(), y.numpy().ravel(), rtol=0, atol=1e-6)


def test_compiled_packages_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "compiled.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data/aotinductor/model/code.so", b"\x7fELF")
        archive.writestr("m/archive_format", b"pt2")
    with pytest.raises(UnsupportedError, match=r"compiled code.*torch\.export\.save"):
        rtrnn.load(path)


# -- layouts of older versions, and damage --------------------------------------------------------------


def rewrite(path: Path, change: Callable[[dict[str, bytes]], dict[str, bytes]]) -> Path:
    """The archive with other entries."""
    with zipfile.ZipFile(path) as archive:
        entries = change({name: archive.read(name) for name in archive.namelist()})
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def as_older(path: Path, program: Any, layout: str) -> Path:
    """The layouts of PyTorch 2.8 (one state dict in the archive) and of 2.7 and before (no folder)."""

    def change(entries: dict[str, bytes]) -> dict[str, bytes]:
        model = next(data for name, data in entries.items() if name.endswith("models/model.json"))
        weights, constants = saved(dict(program.state_dict)), saved(dict(program.constants))
        if layout == "2.8":
            return {
                "m/models/model.json": model,
                "m/data/weights/model.pt": weights,
                "m/data/constants/model.pt": constants,
                "m/archive_format": b"pt2",
            }
        return {
            "version": b"8.1",
            "serialized_exported_program.json": model,
            "serialized_state_dict.pt": weights,
            "serialized_constants.pt": constants,
            "serialized_example_inputs.pt": b"",
        }

    return rewrite(path, change)


@pytest.mark.parametrize("layout", ["2.8", "2.7"])
def test_older_layouts(layout: str, tmp_path: Path) -> None:
    policy = Policy()
    program = export(policy, (torch.randn(1, 6),))
    path = save(program, tmp_path / "m.pt2")
    now = load(path)
    path = as_older(path, program, layout)
    assert detect_format(path) == "torch.export"
    same(load(path), now)


class Payload:
    """Runs Python when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return (Path.touch, (self.target,))


def test_nothing_is_unpickled_or_evaluated(tmp_path: Path) -> None:
    """Payloads in every entry that torch's own loader would run, and in the sizes that it would evaluate."""
    trap = tmp_path / "executed"
    policy = Policy()
    program = export(policy, (torch.randn(1, 6),))
    clean = save(program, tmp_path / "clean.pt2").read_bytes()
    bomb = pickle.dumps(Payload(trap))
    pickle.loads(bomb)
    assert trap.exists(), "the payload must work, or this test shows nothing"
    trap.unlink()
    torch_bomb = saved_with(Payload(trap))

    def sample_inputs(entries: dict[str, bytes]) -> dict[str, bytes]:
        return {n: torch_bomb if "sample_inputs" in n else d for n, d in entries.items()}

    def weight(entries: dict[str, bytes]) -> dict[str, bytes]:
        return {n: pickled(d) if n.endswith("weights_config.json") else torch_bomb if n.endswith("weight_0") else d
                for n, d in entries.items()}  # fmt: skip

    def pickled(data: bytes) -> bytes:
        config = json.loads(data)
        for entry in config["config"].values():
            entry["use_pickle"] = entry["path_name"] == "weight_0"
        return json.dumps(config).encode()

    def custom(entries: dict[str, bytes]) -> dict[str, bytes]:
        at = next(n for n in entries if n.endswith("constants_config.json"))
        folder = at.rpartition("/")[0]
        entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
        return {**entries, at: json.dumps({"config": {"c": entry}}).encode(), f"{folder}/opaque_obj_0": bomb}

    def legacy(entries: dict[str, bytes]) -> dict[str, bytes]:
        kept = {n: d for n, d in entries.items() if not n.endswith("weights_config.json")}
        at = next(n for n in entries if n.endswith("weights_config.json")).rpartition("/")[0]
        return {**kept, f"{at}/model.pt": torch_bomb}

    def size(entries: dict[str, bytes]) -> dict[str, bytes]:
        text = f"__import__('pathlib').Path({str(trap)!r}).touch()"
        at = next(n for n in entries if n.endswith("models/model.json"))
        model = json.loads(entries[at])
        model["graph_module"]["graph"]["tensor_values"]["obs"]["sizes"][0] = {"as_expr": {"expr_str": text, "hint": None}}
        return {**entries, at: json.dumps(model).encode()}

    def target(entries: dict[str, bytes]) -> dict[str, bytes]:
        at = next(n for n in entries if n.endswith("models/model.json"))
        model = json.loads(entries[at])
        node = model["graph_module"]["graph"]["nodes"][0]
        node["target"] = "pathlib.Path.touch"
        node["inputs"] = [{"name": "", "arg": {"as_string": str(trap)}, "kind": 1}]
        return {**entries, at: json.dumps(model).encode()}

    for change, refused in (
        (sample_inputs, None), (weight, "cannot be read as tensors alone"), (custom, "not a tensor"),
        (legacy, "cannot be read as tensors alone"), (size, "expected a number"), (target, "aten"),
    ):  # fmt: skip
        path = tmp_path / f"{change.__name__}.pt2"
        path.write_bytes(clean)
        rewrite(path, change)
        if refused is None:
            same(load(path), from_module(policy, torch.zeros(1, 6)))
        else:
            with pytest.raises((FileFormatError, UnsupportedError), match=refused):
                rtrnn.load(path)
        assert not trap.exists(), change.__name__


def saved_with(value: Any) -> bytes:
    """What torch.save writes for tensors beside an object of any type."""
    return saved({"x": torch.zeros(3), "object": value})


def edit_model(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    def rewritten(entries: dict[str, bytes]) -> dict[str, bytes]:
        at = next(n for n in entries if n.endswith("models/model.json"))
        model = json.loads(entries[at])
        change(model)
        return {**entries, at: json.dumps(model).encode()}

    return rewrite(path, rewritten)


def edit_weights(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    def rewritten(entries: dict[str, bytes]) -> dict[str, bytes]:
        at = next(n for n in entries if n.endswith("weights_config.json"))
        config = json.loads(entries[at])
        change(config["config"]["rnn.weight_ih_l0"]["tensor_meta"])
        return {**entries, at: json.dumps(config).encode()}

    return rewrite(path, rewritten)


DAMAGE: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda m: m["graph_module"].pop("graph"), "damaged"),
    (lambda m: m["graph_module"]["graph"]["nodes"].reverse(), "which nothing before it computes"),
    (lambda m: m["graph_module"]["graph"]["nodes"][0].update(target="torch.ops.aten.nonsense.default"), "nonsense"),
    (lambda m: m["graph_module"]["graph"]["nodes"][0].update(target="torch.ops.mylib.op.default"), "aten"),
    (lambda m: m["graph_module"]["signature"]["input_specs"].pop(), "damaged|signature"),
    (lambda m: m["graph_module"]["signature"]["output_specs"].clear(), "signature"),
    (lambda m: m["graph_module"]["graph"]["tensor_values"]["obs"]["sizes"].insert(0, {"as_int": 10**12}), "sizes"),
    (lambda m: m["graph_module"]["graph"]["tensor_values"]["obs"]["sizes"].insert(0, {"as_int": -3}), "at least 1"),
]


@pytest.mark.parametrize(("change", "message"), DAMAGE)
def test_damaged_descriptions(change: Callable[[dict[str, Any]], Any], message: str, tmp_path: Path) -> None:
    path = edit_model(save(export(Policy(), (torch.randn(1, 6),)), tmp_path / "m.pt2"), change)
    with pytest.raises((FileFormatError, UnsupportedError), match=message):
        rtrnn.load(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda meta: meta.update(sizes=[{"as_int": 10**10}, {"as_int": 1}], strides=[{"as_int": 0}, {"as_int": 1}]),
        lambda meta: meta.update(storage_offset={"as_int": 5}),
        lambda meta: meta.update(strides=[{"as_int": -6}, {"as_int": 1}]),
        lambda meta: meta.update(sizes=[{"as_int": 24}]),
    ],
)
def test_tensors_larger_than_their_bytes_are_refused(change: Callable[[dict[str, Any]], None], tmp_path: Path) -> None:
    path = edit_weights(save(export(Policy(), (torch.randn(1, 6),)), tmp_path / "m.pt2"), change)
    with pytest.raises(FileFormatError, match=r"rnn\.weight_ih_l0"):
        rtrnn.load(path)


def test_bombs_of_numbers_are_refused(tmp_path: Path) -> None:
    """Sizes that ask for gigabytes are refused before anything is allocated."""

    class Filled(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.full((7, 3), 2.0).sum()

    def change(model: dict[str, Any]) -> None:
        node = next(n for n in model["graph_module"]["graph"]["nodes"] if ".full" in n["target"])
        node["inputs"][0]["arg"] = {"as_ints": [1 << 20, 1 << 20]}

    path = edit_model(save(export(Filled(), (torch.randn(1, 3),)), tmp_path / "m.pt2"), change)
    with pytest.raises(UnsupportedError, match=r"aten::full.*1099511627776 values"):
        rtrnn.load(path)


# -- the runtime ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decomposed", [False, True])
@pytest.mark.parametrize("make", [Policy, StatePolicy])
def test_runtime(make: Callable[[], nn.Module], decomposed: bool, tmp_path: Path) -> None:
    """The file in PyTorch, step by step, as `rtrnn verify` runs it; reset goes back to the start."""
    module = make()
    h = torch.randn(2, 1, 8)
    program = export(module, (torch.randn(1, 6),) if make is Policy else (torch.randn(1, 6), h, h + 1))
    path = save(decompose(program) if decomposed else program, tmp_path / "m.pt2")
    model = rtrnn.load(path)
    runtime = open_runtime(path, model)
    assert runtime.label == f"torch {torch.__version__}"
    assert runtime.steps_per_call(10) == 1
    xs = inputs((1, 6))
    state = () if make is Policy else (torch.zeros(2, 1, 8).double(),) * 2
    start = {k: v.clone() for k, v in module.state_dict().items()}
    expected = steps(module, xs, *state)
    module.float().load_state_dict(start)
    for _ in range(2):
        runtime.reset()
        for x, y in zip(xs, expected, strict=True):
            outputs, states = runtime.advance({next(iter(model.inputs)): x.numpy().astype(np.float32).reshape(1, 6)})
            np.testing.assert_allclose(outputs["output"].ravel(), y.numpy().ravel(), rtol=0, atol=1e-6)
            assert states.keys() == model.states.keys()


def test_forgotten_state_is_refused(tmp_path: Path) -> None:
    class Forgetful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRUCell(3, 4)

        def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
            return self.cell(x, h).sum()

    path = save(export(Forgetful(), (torch.randn(1, 3), torch.randn(1, 4))), tmp_path / "m.pt2")
    with pytest.raises(StateError, match=r"'h' of shape \(1, 4\)"):
        rtrnn.load(path)
