"""`rtrnn play`: a line in, a line out, at once."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from small_networks import I, observations, rtrnn_command, two_input_rtrnn

import rtrnn


class Partner:
    """Somebody who waits for each answer before the next line."""

    def __init__(self, *arguments: str | Path) -> None:
        command = [sys.executable, "-I", "-m", "rtrnn", "play", *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines: queue.Queue[str] = queue.Queue()
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()

    def _listen(self) -> None:
        assert self.process.stdout
        for line in iter(self.process.stdout.readline, ""):
            self.lines.put(line)

    def end(self) -> None:
        self.process.kill()
        self.process.wait(30)
        self.listener.join(30)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe
            pipe.close()

    def say(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> np.ndarray:
        """The next answer; raises queue.Empty when none comes."""
        return np.array([float(word) for word in self.lines.get(timeout=30).split()], np.float32)


@pytest.fixture
def partner(network: Path) -> Iterator[Partner]:
    it = Partner(network, "--precision", "i8")
    yield it
    it.end()


def words(x: np.ndarray, separator: str = " ") -> str:
    return separator.join(map(str, x.tolist()))


def test_each_line_is_answered_before_the_next_is_sent(partner: Partner, network: Path) -> None:
    stream = rtrnn.load(network).stream("i8")
    for i, x in enumerate(observations(5)):
        partner.say(words(x, (" ", ",", ", ", "\t", "  ")[i]))
        assert partner.hear().tobytes() == stream.step(x).tobytes()
    partner.say("reset")
    stream.reset()
    x = observations(1, seed=9)[0]
    partner.say(words(x) + "  # a remark")
    assert partner.hear().tobytes() == stream.step(x).tobytes()
    assert partner.process.stdin
    partner.process.stdin.close()
    assert partner.process.wait(30) == 0
    assert partner.lines.empty()


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    result = rtrnn_command("play", two_input_rtrnn(tmp_path / "two.rtrnn"), input="1 1 1 0 0 0\n\nreset\n0 0 0, 5 6 7\n")
    assert result.stdout.splitlines() == ["2.0 3.0 4.0 2.0", "6.0 8.0 10.0 6.0"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1 2 3", f"line 2: expected {I} numbers or 'reset', found 3"),
        ("1 2 3 4 five", "line 2: expected numbers or 'reset', found 'five'"),
        ("1 2 nan 4 5", "line 2: input 'obs' (element 2) is NaN or infinite"),
        ("1 2 3 4 1e300", "line 2: input 'obs' (element 4) is NaN or infinite"),
        ("\x00", "line 2: expected numbers"),
    ],
)
def test_an_error_names_the_line(network: Path, line: str, said: str) -> None:
    result = rtrnn_command("play", network, input=f"1 2 3 4 5\n{line}\n1 2 3 4 5\n")
    assert result.returncode == 1
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert len(result.stdout.splitlines()) == 1


def test_binary_input(network: Path) -> None:
    command = [sys.executable, "-I", "-m", "rtrnn", "play", str(network)]
    result = subprocess.run(command, input=b"\xff\xfe\x00\n", capture_output=True, timeout=60, env={**os.environ, "LC_ALL": "C"})
    assert result.returncode == 1
    assert b"found binary data" in result.stderr


def test_by_hand_a_wrong_line_is_only_refused(network: Path) -> None:
    pty = pytest.importorskip("pty")
    theirs, ours = pty.openpty()
    command = [sys.executable, "-I", "-m", "rtrnn", "play", str(network)]
    process = subprocess.Popen(command, stdin=ours, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    os.close(ours)
    os.write(theirs, b"what\n1 2 3 4 5\n\x04")
    out, err = process.communicate(timeout=60)
    os.close(theirs)
    assert process.returncode == 0
    assert "line 1: expected numbers" in err
    assert len(out.splitlines()) == 1
