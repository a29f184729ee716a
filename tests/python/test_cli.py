"""The command line: what each command prints and writes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from small_networks import H, I, O, gru_onnx, observations, rtrnn_command, torchscript, two_input_rtrnn

import rtrnn
from rtrnn.cli import COMMANDS, main


def expected_outputs(path: Path, xs: np.ndarray) -> np.ndarray:
    return rtrnn.load(path).run(xs)


# -- the frame -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"example: rtrnn {command} " in capsys.readouterr().out


def test_without_arguments_the_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    text = capsys.readouterr().out
    assert all(command in text for command in COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert rtrnn.__version__ in capsys.readouterr().out


def test_usage_error_is_status_2() -> None:
    result = rtrnn_command("run", "x.rtrnn")
    assert result.returncode == 2
    assert "--input" in result.stderr
    assert "Traceback" not in result.stderr


def test_importing_and_help_stay_light() -> None:
    """Neither a format's package nor a table's is loaded before it is needed."""
    heavy = ["onnx", "torch", "onnxruntime", "rich", "matplotlib", "rtrnn.importers", "rtrnn.bench", "rtrnn.demo"]
    code = (
        "import sys, rtrnn.cli\n"
        "try: rtrnn.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        f"print([m for m in {heavy} if m in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stderr.strip() == "[]"


# -- info ----------------------------------------------------------------------------------------------


def test_info_json(network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(network), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["format"] == "rtrnn"
    assert facts["file_bytes"] == network.stat().st_size
    assert facts["inputs"] == {"obs": [I]}
    assert facts["outputs"] == {"actions": [O]}
    assert facts["states"] == {"h": {"shape": [H], "initial": "zero", "found": "the layer's own"}}
    parameters = 3 * H * (I + H) + 6 * H + O * H
    assert facts["parameters"] == parameters
    assert facts["weight_bytes"] == 4 * parameters
    assert facts["flops_per_step"] == 2 * (3 * H * (I + H) + O * H)
    assert [(layer["op"], layer["parameters"]) for layer in facts["layers"]] == [
        ("gru", 3 * H * (I + H) + 6 * H),
        ("linear", O * H),
    ]
    assert facts["streamable"] is True
    assert facts["stream_bytes"] >= 4 * (I + H + O)


def test_info_text_is_the_summary(network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(network)]) == 0
    text = capsys.readouterr().out
    for line in rtrnn.load(network).summary().splitlines():
        assert line in text


def test_info_of_what_cannot_be_streamed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = gru_onnx(tmp_path / "both.onnx", carried=False, time="t", batch="b", directions=2)
    assert main(["info", str(path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["streamable"] is False
    assert facts["stream_bytes"] is None
    assert main(["info", str(path)]) == 0
    assert "offline only" in capsys.readouterr().out


def test_info_of_initial_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(two_input_rtrnn(tmp_path / "sum.rtrnn")), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["states"]["sum"]
    assert (found["shape"], found["initial"]) == ([3], "given")


def test_info_says_how_states_were_found(foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(foreign)]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["state"]]
    assert line.endswith("zero           input 'h_in', output 'h_out'")
    assert main(["convert", str(foreign), str(tmp_path / "kept.rtrnn")]) == 0
    capsys.readouterr()
    assert main(["info", str(tmp_path / "kept.rtrnn")]) == 0
    assert line in capsys.readouterr().out.splitlines()


# -- convert -------------------------------------------------------------------------------------------


def test_convert(foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out.rtrnn"
    assert main(["convert", str(foreign), str(target), "--metadata", "rate_hz=50", "robot=a b"]) == 0
    text = capsys.readouterr().out
    assert "onnx, test" in text
    assert "input 'h_in' is carried from output 'h_out'" in text
    assert "read back and found equal" in text
    made = rtrnn.load(target)
    assert made.metadata["rate_hz"] == "50"
    assert made.metadata["robot"] == "a b"
    xs = observations(20)
    np.testing.assert_array_equal(made.run(xs), rtrnn.load(foreign).run(xs))


def test_convert_states_can_be_forced(foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out.rtrnn"
    assert main(["convert", str(foreign), str(target), "--states", "h_in=h_out", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["states_found"] == {
        "h_in": "input 'h_in' is carried from output 'h_out'"
    }


def test_convert_torchscript_by_example(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = torchscript(tmp_path / "gru.pt", "passed")
    shapes = ["--example", f"1,1,{I}", "--example", f"1,1,{H}"]
    assert main(["convert", str(path), str(tmp_path / "out.rtrnn"), *shapes]) == 0
    assert "torchscript" in capsys.readouterr().out
    assert rtrnn.load(tmp_path / "out.rtrnn").inputs == {"obs": (I,)}


# -- run -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("target", ["y.csv", "y.npy", "y.npz", "-"])
@pytest.mark.parametrize("source", ["x.csv", "x.npy", "x.npz"])
def test_run_files(
    network: Path, tmp_path: Path, source: str, target: str, header: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    xs = observations(7)
    given, made = tmp_path / source, tmp_path / target
    if source == "x.csv":
        rows = [",".join(map(repr, row)) for row in xs.tolist()]
        given.write_text("\n".join([*(["a,b,c,d,e"] if header else []), *rows, ""]))
    elif source == "x.npy":
        np.save(given, xs)
    else:
        np.savez(given, obs=xs)
    options = [] if header else ["--no-header"]
    assert (
        main(["run", str(network), "--input", str(given), "--output", target if target == "-" else str(made), *options])
        == 0
    )
    expected = expected_outputs(network, xs)
    if target == "y.npy":
        found = np.load(made)
    elif target == "y.npz":
        with np.load(made) as file:
            found = file["actions"]
    else:
        lines = (capsys.readouterr().out if target == "-" else made.read_text()).splitlines()
        assert (lines[0] == "actions[0],actions[1],actions[2]") is header
        found = np.array([line.split(",") for line in lines[header:]], np.float32)
    np.testing.assert_array_equal(found, expected)


def test_run_several_inputs_and_outputs(tmp_path: Path) -> None:
    network = two_input_rtrnn(tmp_path / "sum.rtrnn")
    a, b = np.arange(12, dtype=np.float32).reshape(4, 3), np.ones((4, 3), np.float32)
    np.save(tmp_path / "a.npy", a)
    np.savetxt(tmp_path / "b.csv", b, delimiter=",")
    inputs = ["--input", f"b={tmp_path / 'b.csv'}", "--input", f"a={tmp_path / 'a.npy'}"]
    assert main(["run", str(network), *inputs, "--output", str(tmp_path / "y.npz")]) == 0
    total = np.float32([1, 2, 3]) + np.cumsum(a, 0) + b
    with np.load(tmp_path / "y.npz") as file:
        np.testing.assert_array_equal(file["total"], total)
        np.testing.assert_array_equal(file["first"], total[:, :1])
    assert main(["run", str(network), *inputs, "--output", str(tmp_path / "y.csv")]) == 0
    header, *rows = (tmp_path / "y.csv").read_text().splitlines()
    assert header == "total[0],total[1],total[2],first"
    np.testing.assert_array_equal(np.array([r.split(",") for r in rows], np.float32), np.hstack([total, total[:, :1]]))


def test_run_offline_where_a_layer_runs_backwards(tmp_path: Path) -> None:
    network = gru_onnx(tmp_path / "both.onnx", carried=False, time="t", batch="b", directions=2)
    xs = observations(9)
    np.save(tmp_path / "x.npy", xs)
    assert main(["run", str(network), "--input", str(tmp_path / "x.npy"), "--output", str(tmp_path / "y.npy")]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected_outputs(network, xs))


def test_run_each_isa_gives_the_same_file(network: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", observations(9))
    written = set()
    for isa in rtrnn.isa_available():
        target = tmp_path / f"{isa}.npy"
        assert (
            main(["run", str(network), "--input", str(tmp_path / "x.npy"), "--output", str(target), "--isa", isa]) == 0
        )
        written.add(target.read_bytes())
    assert len(written) == 1


def test_run_many_blocks_as_one(network: Path, tmp_path: Path) -> None:
    xs = observations(10_000)
    np.save(tmp_path / "x.npy", xs)
    assert main(["run", str(network), "--input", str(tmp_path / "x.npy"), "--output", str(tmp_path / "y.npy")]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected_outputs(network, xs))


def test_run_in_a_pipe_answers_row_by_row(network: Path) -> None:
    """The next row is sent only after the answer to the last has come, as a program on the other side of a pipe does."""
    xs = observations(5)
    command = [sys.executable, "-I", "-m", "rtrnn", "run", str(network), "--input", "-", "--no-header"]
    found = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        for row in xs:
            process.stdin.write(",".join(map(repr, row.tolist())) + "\n")
            process.stdin.flush()
            found.append(process.stdout.readline().split(","))
        process.stdin.close()
        assert process.wait(30) == 0
    np.testing.assert_array_equal(np.array(found, np.float32), expected_outputs(network, xs))


def test_run_hold(network: Path, tmp_path: Path) -> None:
    xs = observations(4)
    bad = xs.copy()
    bad[2, 1] = np.nan
    np.save(tmp_path / "x.npy", bad)
    arguments = ["run", str(network), "--input", str(tmp_path / "x.npy"), "--output", str(tmp_path / "y.npy")]
    assert main(arguments) == 1
    assert main([*arguments, "--on-nonfinite", "hold"]) == 0
    found = np.load(tmp_path / "y.npy")
    np.testing.assert_array_equal(found[2], found[1])
    np.testing.assert_array_equal(found[3], expected_outputs(network, xs[[0, 1, 3]])[2])
    assert main([*arguments, "--on-nonfinite", "hold", "--hold-steps", "1"]) == 0
    bad[3, 0] = np.inf
    np.save(tmp_path / "x.npy", bad)
    assert main([*arguments, "--on-nonfinite", "hold"]) == 0
    assert main([*arguments, "--on-nonfinite", "hold", "--hold-steps", "1"]) == 1
    assert main([*arguments, "--hold-steps", "1"]) == 1


def test_run_without_limits(network: Path, tmp_path: Path) -> None:
    xs = observations(4)
    np.save(tmp_path / "x.npy", xs)
    model = rtrnn.load(network)
    model.set_metadata("rtrnn.limits", json.dumps({"actions": {"max": 0.0}}))
    model.save(tmp_path / "limited.rtrnn")
    arguments = ["run", str(tmp_path / "limited.rtrnn"), "--input", str(tmp_path / "x.npy"), "--output", str(tmp_path / "y.npy")]
    assert main(arguments) == 0
    raw = expected_outputs(network, xs)
    assert raw.max() > 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), np.minimum(raw, 0))
    assert main([*arguments, "--no-limits"]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), raw)


# -- a real policy -------------------------------------------------------------------------------------


def test_real_policy(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """convert, then run over the recorded observations: the recorded actions."""
    folder = models / "unitree_g1"
    arguments: Sequence[str] = ["convert", str(folder / "motion_legacy_opset11.onnx"), str(tmp_path / "g1.rtrnn")]
    assert main(arguments) == 0
    assert "1 lstm, 2 linear, 1 elu" in capsys.readouterr().out
    with np.load(folder / "ref.npz") as reference:
        np.save(tmp_path / "x.npy", reference["x"])
        expected = reference["y_f64"]
    inputs = ["--input", str(tmp_path / "x.npy"), "--output", str(tmp_path / "y.npy")]
    assert main(["run", str(tmp_path / "g1.rtrnn"), *inputs]) == 0
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, rtol=0, atol=1e-5)
