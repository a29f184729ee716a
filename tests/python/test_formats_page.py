"""docs/formats.md says what rtrnn does: its tables are made anew from files and compared."""

from __future__ import annotations

import pytest

pytest.importorskip("onnx")
pytest.importorskip("torch", reason="PyTorch is not installed")

import refused_files  # noqa: F401  (registers the files)
from refusals import PAGE, REFUSALS, Refusal, refusals_table, rewritten, words

from rtrnn.formats import FORMATS


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: f"{refusal.format}: {refusal.what}")
def test_refusal_is_one_message_that_names_the_file_or_the_node(refusal: Refusal) -> None:
    text = words(refusal)
    assert "\n" not in text
    assert len(text) > 40


def test_page_is_up_to_date() -> None:
    page = PAGE.read_text()
    assert page == rewritten(page), "docs/formats.md is out of date: run python tests/python/refused_files.py"


def test_every_format_is_on_the_page() -> None:
    page = PAGE.read_text()
    for format in FORMATS:
        assert f"`{format.name}`" in page
        if format.name != "rtrnn":
            assert f"<!-- begin refused {format.name} -->" in page
            assert refusals_table(format.name).count("\n") >= 2, f"{format.name}: nothing on the page is refused"
