"""A user's mistake is one line and status 1, whatever the mistake, and never a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_networks import gru_onnx, observations, rtrnn_command, two_input_rtrnn

from rtrnn.cli import main

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


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_binary_data_in_a_pipe(network: Path, locale: str) -> None:
    command = [sys.executable, "-I", "-m", "rtrnn", "run", str(network), "--input", "-"]
    environment = {**os.environ, "LC_ALL": locale}
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
        command = [sys.executable, "-I", "-m", "rtrnn", "run", str(network), "--input", str(tmp_path / "x.npy")]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert result.returncode == 1
    assert "rtrnn: error: " in result.stderr
    assert "Traceback" not in result.stderr


def test_broken_pipe(network: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", observations(50_000))
    command = [sys.executable, "-I", "-m", "rtrnn", "run", str(network), "--input", str(tmp_path / "x.npy")]
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
    command = [sys.executable, "-I", "-m", "rtrnn", "run", str(network), "--input", "-"]

    def heed() -> None:  # a shell's background jobs, which these tests may be, ignore the signal
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()  # the header: it waits for input now
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        err = process.stderr.read()
    assert err == "rtrnn: error: interrupted\n"
