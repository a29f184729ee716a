"""Every code block of the documentation runs, and prints what the page says that it prints.

A page's blocks run in order, in a temporary folder that holds the files of :data:`doc_pages.SETUPS`: python in one namespace, sh in
bash, where ``rtrnn`` and ``python`` are those of this test; blocks with ``file=NAME`` are saved. A block of ``text`` is what the block
before it prints ("..." stands for anything). Blocks marked ``not-run`` are skipped one by one, with the reason.
"""

from __future__ import annotations

import doctest
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path

import pytest
from doc_pages import AROUND, NEEDS, REASONS, ROOT, SETUPS, Block, blocks, pages
from markdown_it import MarkdownIt

import rtrnn
from rtrnn.cli import main

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
CHECKER = doctest.OutputChecker()
#: Commands that need no shell and leave the process as it is run in this one: others import PyTorch or Keras anew each time.
IN_PROCESS = re.compile(r"rtrnn (info|verify|convert|run) [^|<>&;$]*")
NOT_RUN = [block for page in pages() for block in blocks(page) if "not-run" in block.options]


@pytest.fixture
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What sh blocks call, and where python blocks are kept: a class whose source PyTorch is to read needs a file."""
    programs = tmp_path_factory.mktemp("programs")
    for name, module in (("rtrnn", " -m rtrnn"), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -I{module} "$@"\n')
        (programs / name).chmod(0o755)
    return programs


@contextmanager
def said() -> Iterator[io.StringIO]:
    """What is printed meanwhile. Of warnings, which exporters have many of, rtrnn's own alone are errors."""
    output = io.StringIO()
    with warnings.catch_warnings(), redirect_stdout(output):
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", rtrnn.ModelWarning)
        yield output


class Page:
    """One page's run."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder, self.programs = folder, programs
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        self.environment = {**kept, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "100"}
        self.names: dict[str, object] = {"__name__": "__main__"}
        self.said = ""

    def run(self, block: Block) -> None:
        if "file" in block.options:
            (self.folder / block.options["file"]).write_text(block.text)
        elif block.language == "python":
            self.said = self._python(block)
        elif block.language in ("sh", "bash"):
            self.said = self._sh(block)
        elif block.language == "text":
            if not CHECKER.check_output(block.text, self.said, OPTIONS):
                pytest.fail(f"{block}: the block before prints\n{self.said}")
        elif (block.page, block.language) in AROUND:
            (self.folder / "around.c").write_text(AROUND[block.page, block.language].replace("BLOCK", block.text))
            command = "cc -Werror $(python -m rtrnn --cflags) around.c $(python -m rtrnn --libs) -o around && ./around"
            self.said = self._sh(replace(block, text=command))
        else:
            pytest.fail(f"{block}: a block of {block.language!r}, which nothing runs; give it file=NAME or not-run=REASON")

    def _python(self, block: Block) -> str:
        source = self.programs / f"{block.page.replace('/', '.')}.{block.line}"
        source.write_text("\n" * block.line + block.text)  # so that a traceback has the page's lines
        code = compile(source.read_text(), str(source), "exec")
        with said() as output:
            exec(code, self.names)
        return output.getvalue()

    def _sh(self, block: Block) -> str:
        lines = block.text.replace("\\\n", " ").splitlines()
        if all(IN_PROCESS.fullmatch(line) for line in lines):
            with said() as output:
                for line in lines:
                    assert main(shlex.split(line, comments=True)[1:]) == 0, f"{block}: {line}\n{output.getvalue()}"
            return output.getvalue()
        command = ["bash", "-euo", "pipefail", "-c", block.text]
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment, timeout=120, check=False)
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.mark.parametrize("page", [page for page in pages() if blocks(page)])
def test_the_blocks_of(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: Path) -> None:
    monkeypatch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "torch"))
    for package in NEEDS.get(page, ()):
        pytest.importorskip(package, reason=f"{page} needs {package}")
    if any(block.language in ("c", "cpp", "cython") for block in blocks(page)) and not shutil.which("cc"):
        pytest.skip(f"{page} needs a C compiler")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    if page in SETUPS:
        SETUPS[page](tmp_path)
    run = Page(tmp_path, programs)
    for block in blocks(page):
        if "not-run" not in block.options:
            run.run(block)


def test_code_stands_in_fences() -> None:
    for page in set(pages()) - {"cpp/README.md"}:  # which indents a list of folders
        kinds = [token.type for token in MarkdownIt("commonmark").parse((ROOT / page).read_text())]
        assert "code_block" not in kinds, f"{page}: an indented block, which no test sees"


def test_every_saved_block_is_used() -> None:
    for page in pages():
        found = blocks(page)
        for i, block in enumerate(found):
            name = block.options.get("file")
            user = "cmake -S ." if name == "CMakeLists.txt" else name
            assert user is None or any(user in later.text for later in found[i + 1 :]), f"{block} is saved and never compiled or run"


def test_links_to_nothing_fail_the_build(tmp_path: Path) -> None:
    """What tools/docs relies on: a page, a heading of another page, one of the same page, a docstring; each with one that is there."""
    pytest.importorskip("furo", reason="the documentation's generator is not installed (pip install '.[docs]')")
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "conf.py", tmp_path / "docs")
    good = "[a](other.md) [b](other.md#heading) [c](#here) {py:func}`rtrnn.load`"
    bad = "[a](missing.md) [b](other.md#missing) [c](#missing) {py:func}`rtrnn.missing`"
    documented = "```{eval-rst}\n.. py:function:: rtrnn.load\n```"
    (tmp_path / "docs" / "other.md").write_text("# Other\n\n## Heading\n")
    options = ["-I", "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet"]
    command = [sys.executable, *options, str(tmp_path / "docs"), str(tmp_path / "out")]
    for links, problems in ((good, 0), (bad, 4)):
        (tmp_path / "docs" / "index.md").write_text(f"# Here\n\n{links}\n\n{documented}\n\n```{{toctree}}\nother\n```\n")
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
        assert (done.returncode != 0) == (problems != 0), done.stderr
        assert done.stderr.count("WARNING") == problems, done.stderr


@pytest.mark.parametrize("block", NOT_RUN, ids=str)
def test_not_run(block: Block) -> None:
    """Named here so that the list of what no test runs is part of every test's output."""
    pytest.skip(f"{block} is not run: {REASONS[block.options['not-run']]}")
