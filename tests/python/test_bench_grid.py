"""`rtrnn bench --grid`: every engine runs the very same network, and the tables, JSON and figure hold what was found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_networks import gru_onnx

import rtrnn
from rtrnn.bench import grid
from rtrnn.bench.engines import BatchStep, Process, inputs_for
from rtrnn.bench.figure import draw
from rtrnn.bench.grid import FORMS, precisions
from rtrnn.bench.measure import Figures, Report
from rtrnn.bench.network_peers import PEERS, expected, network_makers
from rtrnn.bench.networks import CELLS, SHAPES, Spec, parse_size
from rtrnn.bench.peers import checked
from rtrnn.bench.report import grid_facts
from rtrnn.bench.suite import over_native
from rtrnn.cli import main
from rtrnn.errors import UnsupportedError

#: Compiling takes seconds; what is compiled is the module that the eager peer calls.
_QUICK = set(PEERS) - {"torch.compile"}


def policy(cell: str) -> Spec:
    return Spec(f"{cell} policy", cell, 5, 7, encoder=(6,), head=(4, 3), activation="relu" if cell == "gru" else "elu")


@pytest.mark.parametrize("cell", CELLS)
def test_a_network_is_the_same_in_pytorchs_float64(cell: str) -> None:
    """The reference is nn.GRU and its like in float64, over 100 steps."""
    torch = pytest.importorskip("torch")
    spec = policy(cell)
    model = spec.model()
    xs = np.stack(inputs_for(model) * 2)[:100]
    module = spec.torch_module(whole_sequence=True)
    zeros = [torch.zeros(1, 1, spec.hidden_size) for _ in spec.states]
    with torch.no_grad():
        single = module(torch.from_numpy(xs)[:, None], *zeros)[0].numpy()[:, 0]
        module.double()
        double = module(torch.from_numpy(xs).double()[:, None], *(z.double() for z in zeros))[0].numpy()[:, 0]
    floor = 1e-7 * np.abs(double).max()
    assert np.abs(model.run(xs) - double).max() <= 2 * max(np.abs(single - double).max(), floor)


@pytest.mark.parametrize("form", ["step", "run", "batch"])
@pytest.mark.parametrize("cell", CELLS)
def test_installed_peers_give_our_results(cell: str, form: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("torch")
    spec = policy(cell)
    model = spec.model()
    good, failures = checked(network_makers(spec, model, form, _QUICK, tmp_path), expected(model, form, 8))
    assert failures == []
    names = [peer.name for peer in good]
    assert {"onnxruntime run", "torch eager", "TorchScript"} <= set(names)
    assert ("onnxruntime bound I/O" in names) == (form == "step")
    for peer in good:
        assert peer.steps_per_call == {"step": 1, "run": Process.steps_per_call, "batch": BatchStep.size}[form]
        peer.block(2)
        taken = peer.singles(3)
        assert len(taken) == 3
        assert min(taken) > 0


def test_stepping_peers_carry_their_state(tmp_path: Path) -> None:
    """After a block of 5 the next results are those of steps 6 to 8."""
    pytest.importorskip("torch")
    spec = policy("lstm")
    model = spec.model()
    (eager,), _ = checked(network_makers(spec, model, "step", {"torch"}, tmp_path), expected(model, "step", 8))
    eager.block(5)
    eager.singles(2)
    stream = model.stream()
    for x in [*inputs_for(model)[:5], *inputs_for(model)[:2]]:  # each call of the loop begins with the first input
        stream.step(x)
    np.testing.assert_allclose(eager.state[0].numpy().ravel(), stream.state()["h"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(eager.state[1].numpy().ravel(), stream.state()["c"], rtol=0, atol=1e-6)


def test_peers_of_another_network_are_errors(tmp_path: Path) -> None:
    """A gate order that is not ONNX's, say: each peer says so, none is timed."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("torch")
    spec = policy("gru")
    model = spec.model()
    gates = spec.weights["weight_ih"].reshape(3, 7, -1)
    spec.weights["weight_ih"][:] = gates[[1, 0, 2]].reshape(21, -1)
    for form in ("step", "run", "batch"):
        folder = tmp_path / form
        folder.mkdir()
        makers = network_makers(spec, model, form, _QUICK, folder)
        good, failures = checked(makers, expected(model, form, 8))
        assert good == []
        assert len(failures) == len(makers) >= 3
        assert all("not the same network" in failure.reason for failure in failures)


def test_compiled_modules_are_those_of_the_eager_peer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    compiled = []

    def compile_(module: Any, dynamic: bool) -> Any:
        compiled.append(module)
        return module

    monkeypatch.setattr(torch, "compile", compile_)
    spec = policy("gru")
    model = spec.model()
    makers = network_makers(spec, model, "step", {"torch.compile"}, tmp_path)
    good, failures = checked(makers, expected(model, "step", 8))
    assert [peer.name for peer in good] == ["torch.compile"]
    assert failures == []
    assert len(compiled) == 1


def test_forms_without_peers(tmp_path: Path) -> None:
    spec = policy("gru")
    assert network_makers(spec, spec.model(), "finish", set(PEERS), tmp_path) == {}
    assert network_makers(spec, spec.model(), "step", set(), tmp_path) == {}


@pytest.mark.parametrize(("text", "size"), [("8", (8, 8)), ("64x128", (64, 128)), (" 3x1 ", (3, 1))])
def test_sizes(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "8x", "x8", "8x8x8", "-1", "64*128", "100000"])
def test_what_is_no_size_is_an_error(text: str) -> None:
    with pytest.raises(UnsupportedError, match="expected input x hidden, such as 64x128"):
        parse_size(text)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"cells": ["tcn"]}, "cell 'tcn': expected one of"),
        ({"forms": ["steps"]}, "form 'steps': expected some of step, finish, run, batch"),
        ({"peers": ["tensorflow"]}, "peer 'tensorflow': expected some of onnxruntime"),
        ({"weights": ["f8"]}, "weights 'f8'"),
        ({"sizes": ["big"]}, "size 'big'"),
    ],
)
def test_unknown_choices_are_errors(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(UnsupportedError, match=text):
        grid(**{"cells": ["gru"], "sizes": ["4"], "policies": False, "peers": [], "rounds": 1, **arguments})


class _Asked:
    """A model whose Plan knows f32 and i8."""

    def plan(self, weights: str) -> None:
        if weights not in ("f32", "i8"):
            raise UnsupportedError(f"weights '{weights}'")


def test_precisions_are_those_that_the_plan_knows() -> None:
    assert precisions(_Asked()) == ["f32", "i8"]  # type: ignore[arg-type]
    assert precisions(policy("gru").model())[0] == "f32"


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    pytest.importorskip("onnxruntime")
    sizes = ["5x7", "9"]
    result = grid(cells=["gru", "lstm"], sizes=sizes, policies=False, peers=["onnxruntime"], weights=["f32"], rounds=2)
    return json.loads(json.dumps(grid_facts(result), allow_nan=False))


def test_every_network_and_form_is_there(facts: dict[str, Any]) -> None:
    found = {(r["network"], r["form"]) for r in facts["results"]}
    assert found == {(f"{cell} {size}", form) for cell in ("gru", "lstm") for size in ("5x7", "9") for form in FORMS}
    engines = {f: [r["engine"] for r in facts["results"] if (r["network"], r["form"]) == ("gru 9", f)] for f in FORMS}
    assert engines == {
        "step": [
            "rtrnn step(x)",
            "rtrnn step(x, out=y)",
            "rtrnn step()",
            "rtrnn C++ step",
            "an empty loop",
            "onnxruntime run",
            "onnxruntime bound I/O",
        ],
        "finish": ["rtrnn step(x) after prepare()", "rtrnn C++ step after prepare", "rtrnn C++ prepare"],
        "run": ["rtrnn run(xs)", "onnxruntime run"],
        "batch": [f"rtrnn batch of {BatchStep.size}", "onnxruntime run"],
    }
    assert all("error" not in r for r in facts["results"])


def test_shares_are_of_what_a_step_reads(facts: dict[str, Any]) -> None:
    (one,) = (r for r in facts["results"] if (r["network"], r["engine"]) == ("gru 5x7", "rtrnn C++ step"))
    weights = 3 * 7 * (5 + 7) + 2 * 3 * 7
    assert one["weight_bytes"] == 4 * weights
    assert one["level"] in [level["name"] for level in facts["limits"]["levels"]] or not facts["limits"]["levels"]
    gigaflops = facts["limits"]["gigaflops"][0]
    assert one["flop_percent"] == pytest.approx(100 * 2 * weights / one["median_ns"] / gigaflops)
    for level in facts["limits"]["levels"]:
        if level["name"] == one["level"]:
            rate = level["gigabytes_per_second"][0]
            assert one["read_percent"] == pytest.approx(100 * 4 * weights / one["median_ns"] / rate)
    # Of a part of a step, and of other engines, it is not known what they read.
    assert all("level" not in r for r in facts["results"] if r["form"] == "finish" or "onnx" in r["engine"])


def test_calls_from_python_are_set_against_the_native_step(facts: dict[str, Any]) -> None:
    names = [(one["network"], one["precision"]) for one in facts["over_native_ns"]]
    assert names == [(f"{cell} {size}", "f32") for cell in ("gru", "lstm") for size in ("5x7", "9")]
    for one in facts["over_native_ns"]:
        assert set(one) == {"network", "precision", "step(x)", "step(x, out=y)", "step()"}


def test_over_native_is_the_call_less_the_native_step_less_the_loop() -> None:
    names = ("rtrnn step(x)", "rtrnn step(x, out=y)", "rtrnn step()", "rtrnn C++ step", "an empty loop")
    figures, rounds = [], {}
    for name, median in zip(names, (500.0, 460.0, 420.0, 400.0, 10.0), strict=True):
        figures.append(Figures(name, median, median / 2, True, 0, 0, 0, 0, 1, 1, 1))
        # Two rounds that drift together, and one that was interrupted.
        rounds[name] = np.array([median - 50, median + 50, np.nan if name == "rtrnn C++ step" else 9999])
    report = Report(tuple(figures), 40, 3, 0, {}, rounds)
    assert over_native(report) == {"step(x)": (90, 45), "step(x, out=y)": (50, 25), "step()": (10, 5)}


def test_the_machine_is_described(facts: dict[str, Any]) -> None:
    machine = facts["machine"]
    assert machine["isa"] in machine["isa_available"] == rtrnn.isa_available()
    assert machine["versions"]["rtrnn"] == rtrnn.__version__
    assert machine["versions"]["numpy"] == np.__version__
    assert {"processor", "caches", "date", "command", "cpu", "system"} <= machine.keys()


def test_figure(facts: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw(facts, tmp_path / "steps.png")
    assert (tmp_path / "steps.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    draw(facts, tmp_path / "steps.svg")
    text = (tmp_path / "steps.svg").read_text()
    for label in ("GRU", "LSTM", "onnxruntime bound I/O", "rtrnn step(x, out=y)", "5 x 7"):
        assert f"<!-- {label} -->" in text
    with pytest.raises(UnsupportedError, match=r"steps\.docx"):
        draw(facts, tmp_path / "steps.docx")
    with pytest.raises(UnsupportedError, match="at least one cell"):
        draw({**facts, "results": [r for r in facts["results"] if r["form"] == "run"]}, tmp_path / "none.png")


def test_policies_are_two_shapes_and_the_recorded_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "robot").mkdir()
    gru_onnx(tmp_path / "robot" / "gru.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"no protobuf")
    (tmp_path / "notes.txt").write_text("not a network")
    monkeypatch.setenv("RTRNN_MODELS", str(tmp_path))
    result = grid(cells=[], forms=["step", "run"], peers=["onnxruntime"], rounds=1)
    networks = list(dict.fromkeys(row.network for row in result.rows))
    assert networks == [name for name, _ in SHAPES] + ["robot/gru.onnx"]
    peers = [row.engine for row in result.rows if row.network == "robot/gru.onnx" and row.engine.startswith("onnx")]
    assert peers == ["onnxruntime run", "onnxruntime bound I/O"]
    (note,) = (note for note in result.notes if "left out" in note)
    assert note.startswith("broken.onnx is left out: ")


def test_a_failed_peer_is_an_error_in_table_and_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("out of order")

    monkeypatch.setattr("rtrnn.bench.network_peers._OnnxBlock", broken)
    pytest.importorskip("onnxruntime")
    command = ["bench", "--grid", "--cells", "gru", "--sizes", "4", "--forms", "run", "--peers", "onnxruntime"]
    assert main([*command, "--no-policies", "--rounds", "1", "--save", str(tmp_path / "f.json")]) == 0
    text = capsys.readouterr().out
    assert "error: gru 4, run, onnxruntime run is not timed: RuntimeError: out of order" in text
    (failed,) = (r for r in json.loads((tmp_path / "f.json").read_text())["results"] if "error" in r)
    assert failed["engine"] == "onnxruntime run"
    assert "median_ns" not in failed


# -- the command -----------------------------------------------------------------------------------------

_SMALL = ["bench", "--grid", "--cells", "rnn", "--sizes", "4", "--no-policies", "--no-peers", "--rounds", "1"]


def test_command_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(_SMALL) == 0
    text = capsys.readouterr().out
    for part in (
        "one step, in",
        "after prepare",
        "whole sequence",
        "batch",
        "rnn 4",
        "of reads",
        "over the step in C++",
    ):
        assert part in text


def test_command_json_and_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    figure = tmp_path / "steps.png"
    assert main([*_SMALL, "--forms", "step", "--json", "--figure", str(figure)]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert {r["network"] for r in facts["results"]} == {"rnn 4"}
    assert figure.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["bench"], "expected a file, or --grid"),
        (["bench", "a.onnx", "--grid"], "expected no file, found a.onnx"),
        (["bench", "a.onnx", "--cells", "gru"], "--cells belongs to --grid"),
        (["bench", "a.onnx", "--no-policies"], "--no-policies belongs to --grid"),
        ([*_SMALL, "--peers", "torch"], "--no-peers and --peers exclude each other"),
        (["bench", "--grid", "--forms", ","], "--forms: expected a list"),
        ([*_SMALL, "--save", "/no such folder/f.json"], "its folder does not exist"),
        ([*_SMALL, "--sizes", "huge"], "size 'huge'"),
        ([*_SMALL, "--figure", "steps.docx"], "ends in .png, .svg or .pdf"),
        ([*_SMALL, "--figure", "steps.png", "--forms", "run"], "expected 'step' among --forms"),
    ],
)
def test_command_errors(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    assert text in capsys.readouterr().err
