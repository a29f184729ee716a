"""tools/bench/instructions: what it counts, and that a slow-down is caught.

The recorded counts themselves are compared in tools/test, which has the program that they are of.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "bench" / "instructions"


@pytest.fixture(scope="module")
def tool() -> Any:
    loader = importlib.machinery.SourceFileLoader("bench_instructions", str(SCRIPT))
    loader_spec = importlib.util.spec_from_loader(loader.name, loader)
    assert loader_spec is not None
    module = importlib.util.module_from_spec(loader_spec)
    loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    return json.loads((SCRIPT.parent / "instructions.json").read_text())


@pytest.fixture
def here(tool: Any, recorded: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """A machine that is the recorded one; the counts that it finds can be changed."""
    found = dict(recorded["instructions"])
    monkeypatch.setattr(tool, "count_all", lambda program: dict(found))
    monkeypatch.setattr(tool, "compiler_of", lambda program: recorded["compiler"])
    monkeypatch.setattr(tool, "c_library", lambda: recorded["c_library"])
    monkeypatch.setattr(tool, "has_avx2", lambda: True)
    monkeypatch.setattr(tool.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(tool, "machine", lambda: "x86_64")
    return found


def test_recorded_counts_are_complete(tool: Any, recorded: dict[str, Any]) -> None:
    names = {f"avx2, {network}, {part}" for network in tool.NETWORKS for part in tool.PARTS}
    names |= {f"scalar, {network}, {part}" for network in tool.SCALAR_NETWORKS for part in tool.PARTS}
    assert recorded["instructions"].keys() == names
    assert recorded["tolerance_percent"] == tool.TOLERANCE_PERCENT == 2
    # prepare and the step after it do the work of a step, and a little more of calling; a step may keep a tile's sums in memory between.
    # prepare also fetches up to 24 KB of weights, line by line.
    fetching = 3 * 24 * 1024 / 64
    for name, count in recorded["instructions"].items():
        if name.endswith("step"):
            parts = [recorded["instructions"][name.replace("step", part)] for part in ("prepare", "finish")]
            assert 0.98 * count <= sum(parts) <= 1.25 * count + min(fetching, 0.2 * count)


def test_equal_counts_pass(tool: Any, here: dict[str, float], capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.main(["program"]) == 0
    assert f"{len(here)} counts of instructions are within" in capsys.readouterr().out


def test_a_slow_down_is_caught(
    tool: Any, here: dict[str, float], recorded: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The twin: recorded counts that are 5 % lower than what is found."""
    lowered = {name: count * 0.95 for name, count in recorded["instructions"].items()}
    path = tmp_path / "instructions.json"
    path.write_text(json.dumps({**recorded, "instructions": lowered}))
    assert tool.main(["program", "--file", str(path)]) == 1
    text = capsys.readouterr().out
    assert text.count("slower by 5.3 %") == len(here)
    assert "--record" in text


@pytest.mark.parametrize(
    ("factor", "problem"), [(1.019, ""), (1.021, "slower by 2.1 %"), (0.981, ""), (0.979, "faster by 2.1 %")]
)
def test_tolerance(factor: float, problem: str, tool: Any, here: dict[str, float], capsys: Any) -> None:
    name = "avx2, gru 64, step"
    here[name] *= factor
    assert tool.main(["program"]) == (1 if problem else 0)
    text = capsys.readouterr().out
    assert (f"{name}: {problem}" in text) == bool(problem)


def test_networks_that_come_and_go_are_named(tool: Any) -> None:
    assert tool.compare({"a": 1.0, "b": 2.0}, {"b": 2.0, "c": 3.0}, 2) == ["a: not counted", "c: not recorded"]


def test_another_compiler_is_a_reason_to_skip(
    tool: Any, here: dict[str, float], recorded: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    here.clear()  # would fail
    monkeypatch.setattr(tool, "compiler_of", lambda program: "GNU 99.1.0")
    assert tool.main(["program"]) == 0
    text = capsys.readouterr().out
    assert text == (
        f"SKIPPED: counts of instructions: the counts were recorded with {recorded['compiler']}, "
        "this build is by GNU 99.1.0\n"
    )


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("c_library", lambda: "musl 1", "this machine has musl 1"),
        ("has_avx2", lambda: False, "no AVX2"),
        ("machine", lambda: "riscv64", "this machine is riscv64"),
    ],
)
def test_other_reasons_to_skip(
    name: str, value: Any, reason: str, tool: Any, here: dict[str, float], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    here.clear()
    monkeypatch.setattr(tool, name, value)
    assert tool.main(["program"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("SKIPPED")
    assert reason in text


def test_no_valgrind_is_a_reason_to_skip(tool: Any, here: dict[str, float], monkeypatch: Any, capsys: Any) -> None:
    here.clear()
    monkeypatch.setattr(tool.shutil, "which", lambda name: None)
    assert tool.main(["program"]) == 0
    assert "valgrind is not installed" in capsys.readouterr().out


def test_same_compiler(tool: Any) -> None:
    assert tool.same_compiler("GNU 12.2.0", "GNU 12.4.1")
    assert not tool.same_compiler("GNU 12.2.0", "GNU 13.2.0")
    assert not tool.same_compiler("GNU 12.2.0", "Clang 12.2.0")


def _script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_the_program_tells_its_compiler(tool: Any, tmp_path: Path) -> None:
    release = _script(tmp_path / "release", 'test "$1" = --build && printf "GNU 12.2.0\\nRelease\\n"')
    assert tool.compiler_of(release) == "GNU 12.2.0"
    with pytest.raises(tool.NotCounted, match="not a Release build but Debug"):
        tool.compiler_of(_script(tmp_path / "debug", 'printf "GNU 12.2.0\\nDebug\\n"'))
    with pytest.raises(RuntimeError, match="expected a compiler and a kind of build"):
        tool.compiler_of(_script(tmp_path / "other", "echo hello"))


# -- counting itself, on a program whose instructions are known ---------------------------------------------

PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
volatile long total;
__attribute__((noinline)) void counted_part(void) { for (int i = 0; i < 100; ++i) total += i; }
__attribute__((noinline)) void another_part(void) { for (int i = 0; i < 100000; ++i) total += i; }
int main(int argc, char** argv) {
    for (int i = 0; i < atoi(argv[3]); ++i) { counted_part(); another_part(); }
    printf("%s %s\\n", getenv("RTRNN_ISA"), argv[1]);
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = os.environ.get("CC") or shutil.which("cc")
    if not shutil.which("valgrind") or not compiler or platform.machine() != "x86_64":
        pytest.skip("counting instructions needs valgrind, a C compiler and x86_64")
    folder = tmp_path_factory.mktemp("counted")
    (folder / "program.c").write_text(PROGRAM)
    subprocess.run([compiler, "-O1", "-o", "program", "program.c"], cwd=folder, check=True)
    return folder / "program"


def test_counts_are_of_the_counted_part_and_repeatable(tool: Any, program: Path) -> None:
    counts = [tool.count(program, "avx2", "any", "step", steps) for steps in (3, 3, 7)]
    assert counts[0] == counts[1] == counts[2]  # per step, to the instruction
    assert 300 < counts[0] < 1000  # 100 turns of some instructions each; another_part has a thousand times as many


def test_another_isa_than_asked_for_is_an_error(tool: Any, program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="found"):
        tool.count(program, "", "any", "step", 2)


def test_a_program_that_fails_is_an_error(tool: Any, tmp_path: Path) -> None:
    if not shutil.which("valgrind"):
        pytest.skip("counting instructions needs valgrind")
    with pytest.raises(RuntimeError, match="gru 8, step, avx2"):
        tool.count(_script(tmp_path / "failing", "exit 3"), "avx2", "gru 8", "step", 2)
