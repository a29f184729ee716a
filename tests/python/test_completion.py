"""Completion in shells, and colours on terminals."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_networks import rtrnn_command

from rtrnn.cli import COMMANDS

pytest.importorskip("shtab")


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "rtrnn.bash"
    result = rtrnn_command("completion", "bash")
    assert result.returncode == 0, result.stderr
    path.write_text(result.stdout)
    return path


def complete(script: Path, words: list[str], folder: Path) -> list[str]:
    """What bash offers for the last of the words."""
    bash = shutil.which("bash")
    if not bash:
        pytest.skip("bash is not installed")
    quoted = " ".join(f"'{word}'" for word in words)
    code = (
        f"source '{script}'\n"
        "function_of=$(complete -p rtrnn | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n"
        f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; COMP_LINE='{' '.join(words)}'; COMP_POINT=${{#COMP_LINE}}\n"
        f"$function_of rtrnn '{words[-1]}' '{words[-2]}' 2>/dev/null\n"
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    result = subprocess.run([bash, "--norc", "-c", code], cwd=folder, capture_output=True, text=True, timeout=60)
    return [line.rstrip() for line in result.stdout.splitlines() if line]


def test_bash_completes_commands_options_choices_and_files(script: Path, tmp_path: Path) -> None:
    (tmp_path / "policy.onnx").touch()
    assert set(COMMANDS) <= set(complete(script, ["rtrnn", ""], tmp_path))
    assert complete(script, ["rtrnn", "comp"], tmp_path) == ["compare", "completion"]
    assert complete(script, ["rtrnn", "replay", "--tol"], tmp_path) == ["--tolerance"]
    assert complete(script, ["rtrnn", "run", "policy.onnx", "--on-nonfinite", "h"], tmp_path) == ["hold"]
    assert complete(script, ["rtrnn", "info", "pol"], tmp_path) == ["policy.onnx"]
    assert complete(script, ["rtrnn", "play", "pol"], tmp_path) == ["policy.onnx"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_names_every_command(shell: str) -> None:
    result = rtrnn_command("completion", shell)
    assert result.returncode == 0, result.stderr
    assert all(command in result.stdout for command in COMMANDS)
    assert "/home" not in result.stdout
    program = shutil.which(shell)
    if program:
        checked = subprocess.run([program, "-n"], input=result.stdout, capture_output=True, text=True, timeout=60)
        assert checked.returncode == 0, checked.stderr


def on_a_terminal(command: list[str], **environment: str) -> str:
    """What a command writes when its output is a terminal."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")} | environment
    process = subprocess.Popen([sys.executable, "-I", "-m", "rtrnn", *command], stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    parts = []
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        parts.append(part)
    os.close(ours)
    process.wait(60)
    return b"".join(parts).decode()


ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize("what", ["info", "error"])
def test_colours_only_where_they_are_wanted(what: str, network: Path) -> None:
    pytest.importorskip("rich")
    command = {"info": ["info", str(network)], "error": ["info", "no such file"]}[what]
    assert ESCAPE.search(on_a_terminal(command, TERM="xterm-256color", COLUMNS="150"))
    assert "\x1b" not in on_a_terminal(command, TERM="xterm-256color", NO_COLOR="1")
    assert "\x1b" not in on_a_terminal(command, TERM="dumb")
    piped = rtrnn_command(*command, env={**os.environ, "TERM": "xterm-256color"})
    assert "\x1b" not in piped.stdout + piped.stderr
