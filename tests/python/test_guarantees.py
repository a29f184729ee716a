"""docs/guarantees.md names a test for every promise, and each of them exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "guarantees.md"

REFERENCE = re.compile(r"`((?:tests|tools)/[^`]*)`")


def missing(reference: str) -> bool:
    """Whether `FILE` or `FILE::NAME` names nothing; a name is a test's, a doctest's TEST_CASE or a C++ function."""
    path, _, name = reference.partition("::")
    file = ROOT / path
    if not file.is_file():
        return True
    text = file.read_text()
    if not name:
        # A script, or a source that its folder builds: nobody else would run it.
        return file.suffix in (".cpp", ".c") and file.stem not in _built(file.parent)
    if file.suffix == ".py":
        functions = {node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        return name not in functions
    return f'TEST_CASE("{name}")' not in text and not re.search(rf"^(?!\s).*\b{re.escape(name)}\([^;]*\{{", text, re.MULTILINE)


def _built(folder: Path) -> set[str]:
    if folder.name == "nonblocking":   # tools/check/nonblocking takes all that are there
        return {file.stem for file in folder.iterdir()}
    return set(re.findall(r"[\w.]+", (folder / "CMakeLists.txt").read_text().replace(".cpp", "")))


def rows(page: str) -> list[list[str]]:
    """The cells of every row of the page's tables: promise, checked by, twin."""
    found, promises = [], False
    for line in page.splitlines():
        if line.startswith("| "):
            promises = promises or line == "| promise | checked by | twin |"
            if promises and line != "| promise | checked by | twin |":
                found.append([cell.strip() for cell in line.strip("|").split(" | ")])
        elif not line.startswith("|"):
            promises = False
    return found


def test_every_promise_names_its_test() -> None:
    table = rows(PAGE.read_text())
    assert len(table) >= 30
    for row in table:
        assert len(row) == 3, row
        assert REFERENCE.search(row[1]), f"no test: {row[0]}"
        assert row[2], f"no twin: {row[0]}"


def test_every_test_that_is_named_exists() -> None:
    references = REFERENCE.findall(PAGE.read_text())
    assert len(references) >= 80
    assert [reference for reference in references if missing(reference)] == []


@pytest.mark.parametrize(
    "reference",
    [
        "tests/python/test_guarantees.py::test_that_is_not_there",
        "tests/python/test_not_there.py",
        "tests/cpp/loop.cpp::periods stay on their gri",
        "tests/cpp/realtime.cpp::confine",
        "tests/fuzz/cpp/nothing.cpp",
        "tools/check/nothing",
    ],
)
def test_what_does_not_exist_is_seen(reference: str) -> None:
    assert missing(reference)


def test_a_promise_without_a_test_is_seen() -> None:
    page = "| promise | checked by | twin |\n|---|---|---|\n| all is well | see above | none |"
    assert rows(page) == [["all is well", "see above", "none"]]
    assert not REFERENCE.search("see above")
