"""`rtrnn loop`: what it prints and draws, and that its background load ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from itertools import cycle
from pathlib import Path

import pytest
from small_networks import gru_onnx

import rtrnn
from rtrnn.bench.load import Load
from rtrnn.bench.periodic import Settings, _PythonLoop, measure_loops
from rtrnn.cli import main


def ended(pid: int) -> bool:
    """No such process, or one that waits to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_figures_of_an_onnx_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("matplotlib")
    path, figure = gru_onnx(tmp_path / "gru.onnx"), tmp_path / "loop.png"
    command = ["loop", str(path), "--seconds", "0.3", "--rate", "500", "--priority", "0", "--figure", str(figure)]
    assert main([*command, "--load", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [row["engine"] for row in facts["results"]] == ["rtrnn Loop", "rtrnn from Python", "onnxruntime from Python"]
    for row in facts["results"]:
        step = row["step"]
        assert step["count"] == row["periods"] > 0
        assert sum(count for _, count in step["histogram"]) == step["count"]
        assert 0 < step["min_us"] <= step["p50_us"] <= step["p999_us"] <= step["p9999_us"] <= step["max_us"]
        assert row["missed"] == row["late"] + row["skipped"]
    assert facts["load"] is True
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_what_is_printed(network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["loop", str(network), "--seconds", "0.2", "--priority", "0", "--cpu", "-1", "--lead", "0"]) == 0
    text = capsys.readouterr().out
    for part in ("p50", "p99.9", "p99.99", "max", "missed", "rtrnn Loop", "rtrnn from Python", "without background load"):
        assert part in text
    assert "note: onnxruntime is not timed: the file is not an ONNX model" in text
    assert "us, bars" in text


@pytest.mark.skipif(sys.platform != "linux", reason="this system has no SCHED_FIFO")
def test_without_the_privilege_it_says_so_and_runs_on(network: Path) -> None:
    # Root has the privilege by its capabilities, which are given up here.
    code = (
        "import ctypes, resource, sys, rtrnn.cli\n"
        "resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))\n"
        "ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())\n"
        f"sys.exit(rtrnn.cli.main(['loop', {str(network)!r}, '--seconds', '0.1', '--no-peers']))"
    )
    result = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert "note: SCHED_FIFO priority 80 was refused" in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--priority", "100"], "0 to 99"),
        (["--lead", "1000"], "less than a period"),
        (["--cpu", "12345"], "cannot be used"),
        (["--weights", "i3"], "i3"),
    ],
)
def test_refused(options: list[str], message: str, network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["loop", str(network), "--seconds", "0.1", *options]) == 1
    assert message in capsys.readouterr().err


def test_a_python_loop_keeps_to_its_grid_and_counts_what_it_skips() -> None:
    settings = Settings(rate=100.0)
    quick = _PythonLoop("quick", settings, lambda argument: None, cycle([None]))
    quick.turn(0.2)
    stats = quick.stats()
    assert stats.periods + stats.skipped == 20
    assert stats.late_in_step == 0
    slow = _PythonLoop("slow", settings, lambda argument: time.sleep(0.025), cycle([None]))
    slow.turn(0.2)
    stats = slow.stats()
    assert stats.late_in_step == stats.late == stats.periods > 0
    assert stats.skipped >= stats.periods - 1

    def broken(argument: object) -> None:
        raise OverflowError("from the call")

    with pytest.raises(OverflowError, match="from the call"):
        _PythonLoop("broken", settings, broken, cycle([None])).turn(0.1)


def test_turns_add_up(network: Path) -> None:
    model = rtrnn.load(network)
    done: list[float] = []
    result = measure_loops(network, model, Settings(seconds=1.6, rate=200.0), peers=False, progress=done.append)
    assert result.turns == 2
    assert len(done) == 4
    assert done[-1] == 1
    for stats in result.rows.values():
        assert stats.periods + stats.skipped >= 1.6 * 200 * 0.9


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
def test_the_load_ends_with_its_starter() -> None:
    with Load(1) as load:
        pids = [process.pid for process in load.processes]
        assert len(pids) == 2
        assert not any(map(ended, pids))
    assert all(map(ended, pids))
    # Its starter gone without a word.
    code = (
        "from rtrnn.bench.load import Load; import time\n"
        "with Load(1) as load:\n"
        "    print(*(p.pid for p in load.processes), flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-I", "-c", code], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        pids = [int(pid) for pid in starter.stdout.readline().split()]
        assert len(pids) == 2
        starter.send_signal(signal.SIGKILL)
    end = time.monotonic() + 20
    while not all(map(ended, pids)):
        assert time.monotonic() < end, "the load runs on"
        time.sleep(0.01)
