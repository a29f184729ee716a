"""The command line: what each command prints and writes, and that a user's mistake is one line and never a traceback."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from small_networks import H, I, O, gru_onnx, gru_rtrnn, observations, torchscript, two_input_rtrnn

import rtrnn
from rtrnn.cli import main, output


def rtrnn_command(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "rtrnn", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return gru_rtrnn(tmp_path / "gru.rtrnn")


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    return gru_onnx(tmp_path / "gru.onnx")


def expected_outputs(path: Path, xs: np.ndarray) -> np.ndarray:
    return rtrnn.load(path).run(xs)


# -- the frame -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["convert", "info", "run", "verify", "bench", "demo"])
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"example: rtrnn {command} " in capsys.readouterr().out


def test_without_arguments_the_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    text = capsys.readouterr().out
    assert all(command in text for command in ("convert", "info", "run", "verify", "bench", "demo"))


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
    result = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stderr.strip() == "[]"


# -- info ----------------------------------------------------------------------------------------------


def test_info_json(network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(network), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["format"] == "rtrnn"
    assert facts["file_bytes"] == network.stat().st_size
    assert facts["inputs"] == {"obs": [I]}
    assert facts["outputs"] == {"actions": [O]}
    assert facts["states"] == {"h": {"shape": [H], "initial": "zero"}}
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
    assert json.loads(capsys.readouterr().out)["states"]["sum"] == {"shape": [3], "initial": "given"}


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
    command = [sys.executable, "-P", "-m", "rtrnn", "run", str(network), "--input", "-", "--no-header"]
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


# -- users' errors -------------------------------------------------------------------------------------

#: Arguments, and a part of the one line that the user reads. {name} are files that the test makes.
MISTAKES: list[tuple[str, str]] = [
    ("info {missing}", "no such file"),
    ("info {folder}", "a directory"),
    ("info {empty}", "is empty"),
    ("info {text}", "not a format that rtrnn knows"),
    ("info {truncated}", "truncated.rtrnn"),
    ("info {broken_onnx}", "broken.onnx"),
    ("info {broken_zip}", "damaged zip"),
    ("info {network} --gru-reset after", "no meaning for a .rtrnn"),
    ("info {foreign} --states h_in=q", "'q'"),
    ("info {foreign} --states h_in", "expected IN=OUT"),
    ("info {network} --example 0,x", "expected sizes"),
    ("convert {foreign} {nowhere}/out.rtrnn", "out.rtrnn"),
    ("convert {foreign} {folder}", "folder"),
    ("convert {foreign} {made}.rtrnn --metadata rate", "expected KEY=TEXT"),
    ("convert {foreign} {made}.rtrnn --metadata a=1 a=2", "already given"),
    ("run {network} --input {missing}", "no such file"),
    ("run {network} --input {narrow}", "narrow.csv, line 2: expected 5 numbers, found 3"),
    ("run {network} --input {words}", "line 2: expected numbers, found 'two'"),
    ("run {network} --input {wrong_npy}", "expected shape (T, 5), found (4, 7)"),
    ("run {network} --input {text_npy}", "not a .npy file"),
    ("run {network} --input {text_npz}", "not a .npz file"),
    ("run {network} --input {pickled_npy}", "pickled.npy"),
    ("run {network} --input {strings_npy}", "expected numbers"),
    ("run {network} --input {nan}", "NaN or infinite"),
    ("run {network} --input {good} --isa sse17", "sse17"),
    ("run {network} --input {good} --output {nowhere}/y.csv", "does not exist"),
    ("run {network} --input {good} --output {folder}", "a directory"),
    ("run {network} --input {good} --output {made}.xlsx", ".csv, .npy or .npz"),
    ("run {network} --input {good} --input {good}", "expected NAME=FILE"),
    ("run {two} --input {good}", "NAME is one of a, b"),
    ("run {two} --input a={three}", "no file is given for b"),
    ("run {two} --input a={three} --input b={three_long}", "differ in their number of rows"),
    ("run {two} --input {good_npz}", "expected arrays named a, b"),
    ("run {two} --input a={three} --input b={three} --output {made}.npy", "one .npy cannot hold"),
    ("verify {network}", "no runtime of its own"),
    ("verify {network} --against {network}", "no runtime of its own"),
    ("verify {network} --against {foreign}", "source.inputs"),
    ("verify {foreign} --seed -1", "--seed -1"),
    ("verify {foreign} --input {narrow}", "line 2"),
    ("verify {foreign} --input {nothing}", "at least one timestep"),
    ("bench {missing}", "no such file"),
    ("bench {network} --cpu 4096 --rounds 1", "CPU 4096"),
    ("bench {both} --rounds 1", "backwards"),
]


@pytest.fixture
def files(tmp_path: Path, network: Path) -> dict[str, Path]:
    onnx = gru_onnx(tmp_path / "gru.onnx")
    both = gru_onnx(tmp_path / "both.onnx", carried=False, time="t", batch="b", directions=2)
    made = {
        "missing": tmp_path / "missing.file",
        "nowhere": tmp_path / "no" / "where",
        "folder": tmp_path / "folder",
        "made": tmp_path / "made",
        "network": network,
        "foreign": onnx,
        "both": both,
        "two": two_input_rtrnn(tmp_path / "two.rtrnn"),
    }
    made["folder"].mkdir()

    def write(name: str, file: str, content: bytes) -> None:
        made[name] = tmp_path / file
        made[name].write_bytes(content)

    def save(name: str, file: str, array: Any, **options: Any) -> None:
        made[name] = tmp_path / file
        np.save(made[name], array, **options)

    write("empty", "empty.onnx", b"")
    write("text", "text.onnx", b"this is no network\n")
    write("truncated", "truncated.rtrnn", network.read_bytes()[:-10])
    write("broken_onnx", "broken.onnx", onnx.read_bytes()[:100])
    write("broken_zip", "broken.pt", b"PK\x03\x04" + bytes(50))
    write("narrow", "narrow.csv", b"1,2,3,4,5\n1,2,3\n")
    write("words", "words.csv", b"1,2,3,4,5\n1,two,3,4,5\n")
    write("nan", "nan.csv", b"1,2,3,4,5\n1,nan,3,4,5\n")
    write("good", "good.csv", b"1,2,3,4,5\n")
    write("nothing", "nothing.csv", b"")
    write("three", "three.csv", b"1,2,3\n")
    write("three_long", "three_long.csv", b"1,2,3\n1,2,3\n")
    write("text_npy", "text.npy", b"no array")
    write("text_npz", "text.npz", b"no archive")
    save("wrong_npy", "wrong.npy", np.zeros((4, 7)))
    save("strings_npy", "strings.npy", np.array([["a"] * 5]))
    save("pickled_npy", "pickled.npy", np.array([{}], object), allow_pickle=True)
    made["good_npz"] = tmp_path / "good.npz"
    np.savez(made["good_npz"], q=np.zeros((1, 3)))
    return made


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_mistake_is_one_line(
    arguments: str, message: str, files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    if "{foreign}" in arguments and arguments.startswith("verify"):
        pytest.importorskip("onnxruntime")
    assert main([part.format(**files) for part in arguments.split()]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("rtrnn: error: ")
    assert err.count("\n") == 1
    assert message in err
    assert "internal error" not in err


def test_mistake_of_the_package_is_one_line_too(
    network: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr("rtrnn.summary.describe", fail)
    monkeypatch.delenv("RTRNN_DEBUG", raising=False)
    assert main(["info", str(network)]) == 1
    assert capsys.readouterr().err.startswith("rtrnn: error: internal error, KeyError: 'a bug'")
    monkeypatch.setenv("RTRNN_DEBUG", "1")
    with pytest.raises(KeyError):
        main(["info", str(network)])


def test_warnings_of_the_importer_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = gru_onnx(tmp_path / "suspect.onnx", producer="pytorch", linear_before_reset=0)
    np.save(tmp_path / "x.npy", observations(2))
    assert main(["run", str(network), "--input", str(tmp_path / "x.npy")]) == 0
    assert capsys.readouterr().err.startswith("rtrnn: warning: ")
    assert main(["info", str(network)]) == 0
    out, err = capsys.readouterr()
    assert "Warnings" in out
    assert err == ""
    assert main(["convert", str(network), str(tmp_path / "y.rtrnn"), "--gru-reset", "after"]) == 0
    assert "\nwarning " not in capsys.readouterr().out


def test_mistakes_outside_of_the_process(tmp_path: Path, network: Path) -> None:
    result = rtrnn_command("info", tmp_path / "missing.onnx")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"rtrnn: error: {tmp_path / 'missing.onnx'}: no such file or directory\n"
    result = rtrnn_command("info", network, env={**os.environ, "RTRNN_ISA": "sse17"})
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "sse17" in result.stderr


@pytest.mark.parametrize(
    ("text", "message"), [("1,2\n", "row|line 1: expected 5"), ("1,inf,3,4,5\n", "row 1: input 'obs'")]
)
def test_mistakes_in_a_pipe(network: Path, text: str, message: str) -> None:
    result = rtrnn_command("run", network, "--input", "-", "--no-header", input=text)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    assert any(part in result.stderr for part in message.split("|"))


def test_binary_data_in_a_pipe(network: Path) -> None:
    command = [sys.executable, "-P", "-m", "rtrnn", "run", str(network), "--input", "-"]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    result = subprocess.run(command, input=b"\xff\xfe\x00\x01\n", capture_output=True, timeout=60, env=environment)
    assert result.returncode == 1
    assert b"found binary data" in result.stderr
    assert b"Traceback" not in result.stderr


def test_missing_extra(foreign: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert main(["info", str(foreign)]) == 1
    assert "pip install 'rtrnn[onnx]'" in capsys.readouterr().err
    monkeypatch.delitem(sys.modules, "onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(["verify", str(foreign)]) == 1
    assert "pip install 'rtrnn[bench]'" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user who is not root")
def test_unwritable_output(network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    np.save(tmp_path / "x.npy", observations(2))
    assert main(["run", str(network), "--input", str(tmp_path / "x.npy"), "--output", str(folder / "y.csv")]) == 1
    assert "permission denied" in capsys.readouterr().err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_disk(network: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", observations(20_000))
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-P", "-m", "rtrnn", "run", str(network), "--input", str(tmp_path / "x.npy")]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert result.returncode == 1
    assert "rtrnn: error: " in result.stderr
    assert "Traceback" not in result.stderr


def test_broken_pipe(network: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", observations(50_000))
    command = [sys.executable, "-P", "-m", "rtrnn", "run", str(network), "--input", str(tmp_path / "x.npy")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait(60) == 1
    assert err.count("\n") == 1
    assert "rtrnn: error: the reader of the output closed it" in err


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_ctrl_c(network: Path) -> None:
    command = [sys.executable, "-P", "-m", "rtrnn", "run", str(network), "--input", "-"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()  # the header: it waits for input now
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        err = process.stderr.read()
    assert err == "rtrnn: error: interrupted\n"


# -- output --------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


TABLE = output.Table("title", ("name", "value"), [("[red]a", "1"), ("b", "20")])


def test_plain_table_is_aligned() -> None:
    assert output.plain(TABLE) == "title\n  name    value\n  [red]a      1\n  b          20"


@pytest.mark.parametrize("with_rich", [True, False])
def test_table_on_a_terminal(with_rich: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if with_rich:
        pytest.importorskip("rich")
    else:
        monkeypatch.setitem(sys.modules, "rich.console", None)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    output.show(TABLE)
    # A name in brackets is a name, not markup.
    assert "[red]a" in terminal.getvalue()
    assert ("\x1b[1m" in terminal.getvalue()) is with_rich


def test_piped_output_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stdout", pipe)
    output.show(TABLE)
    assert pipe.getvalue() == output.plain(TABLE) + "\n\n"


def test_progress_speaks_after_two_seconds_only(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    now = [100.0]
    monkeypatch.setattr(output, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with output.Progress("running", 200) as progress:
        for elapsed, done in ((0.5, 10), (1.9, 40)):
            now[0] = 100 + elapsed
            progress.update(done)
        assert terminal.getvalue() == ""
        now[0] = 102.5
        progress.update(50)
        assert "running: 25 %" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_status_speaks_when_it_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(output, "QUIET_SECONDS", 0.05)
    with output.status("reading"):
        deadline = time.monotonic() + 10
        while not terminal.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert "reading ..." in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_json_has_no_infinities(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"a": float("inf"), "b": [float("nan"), 1.5]})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [None, 1.5]}


@pytest.mark.parametrize(
    ("number", "text"), [(999, "999 B"), (1000, "1.0 KB"), (125_616, "126 KB"), (2.5e6, "2.5 MB"), (3e9, "3.0 GB")]
)
def test_format_bytes(number: float, text: str) -> None:
    assert output.format_bytes(number) == text


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
