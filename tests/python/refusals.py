"""What rtrnn refuses, one small file for each case: the source of the tables of refusals in docs/formats.md.

The files are in refused_files.py, which writes the tables anew when it is run; test_formats_page.py checks that they are
what rtrnn says today.
"""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["PAGE", "REFUSALS", "Refusal", "formats_table", "refuses", "rewritten", "words"]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "formats.md"


@dataclass(frozen=True)
class Refusal:
    """`make` writes a file into a folder and returns its path, and perhaps keywords for :func:`rtrnn.load`."""

    format: str
    what: str
    make: Callable[[Path], Path | tuple[Path, dict[str, Any]]]


REFUSALS: list[Refusal] = []


def refuses(format: str, what: str) -> Callable[[Callable[[Path], Any]], Callable[[Path], Any]]:
    """Registers a function that makes a file which is refused."""

    def register(make: Callable[[Path], Any]) -> Callable[[Path], Any]:
        REFUSALS.append(Refusal(format, what, make))
        return make

    return register


def words(refusal: Refusal) -> str:
    """What rtrnn says of the file; raises AssertionError when it loads."""
    import rtrnn
    from rtrnn.loading import detect_format

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = refusal.make(Path(folder))
        path, keywords = made if isinstance(made, tuple) else (made, {})
        assert detect_format(path) == refusal.format, f"{refusal.what}: not taken for {refusal.format}"
        try:
            rtrnn.load(path, **keywords)
        except rtrnn.Error as error:
            text = str(error).replace(str(path), "FILE").replace(folder, "FOLDER")
            return re.sub(r'File "[^"]+", line \d+', 'File "policy.py", line 9', text)  # the program's own source
    raise AssertionError(f"{refusal.format}, {refusal.what}: expected a refusal, but the file loads")


def formats_table() -> str:
    """One row for each format."""
    from rtrnn.formats import FORMATS
    from rtrnn.runtimes import RUNTIMES

    rows = ["| format | name | options of `rtrnn.load` | `rtrnn verify` compares with |", "|---|---|---|---|"]
    for f in FORMATS:
        options = ", ".join(f"`{option}=`" for option in sorted(f.options)) or "none"
        rows.append(f"| {f.title} | `{f.name}` | {options} | {RUNTIMES[f.name].runtime or 'nothing: ' + RUNTIMES[f.name].why} |")
    return "\n".join(rows)


def supported(kind: str) -> str:
    """The names that the lowering table of a front end has, refused ones left out."""
    if kind == "onnx":
        import rtrnn.importers.onnx.graph  # fills the table
        from rtrnn.importers.onnx.refused import REFUSED
        from rtrnn.importers.onnx.registry import OPS

        names = [name for name in OPS if name not in REFUSED]
    elif kind == "aten":
        import rtrnn.importers.torch.machine  # noqa: F401
        from rtrnn.importers.torch.registry import LOWERINGS

        names = [name for name in LOWERINGS if not name.startswith("_")]
    else:
        assert kind == "keras", kind
        from rtrnn.importers.keras import network  # noqa: F401
        from rtrnn.importers.keras.lowering import LOWERINGS as LAYERS

        names = list(LAYERS)
    return ", ".join(f"`{name}`" for name in sorted(names)) + "."


def refusals_table(format: str) -> str:
    rows = ["| what | what rtrnn says |", "|---|---|"]
    for refusal in REFUSALS:
        if refusal.format == format:
            rows.append(f"| {refusal.what} | {_cell(words(refusal))} |")
    return "\n".join(rows)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _sections(page: str) -> Iterator[tuple[str, str]]:
    """(name, text) for each part of the page between ``<!-- begin NAME -->`` and ``<!-- end -->``."""
    for part in page.split("<!-- begin ")[1:]:
        name, _, rest = part.partition(" -->\n")
        text, found, _ = rest.partition("<!-- end -->")
        assert found, f"{PAGE.name}: the section {name!r} has no end"
        yield name, text


def rewritten(page: str) -> str:
    """The page with every generated section as it should be."""
    for name, text in _sections(page):
        kind, _, argument = name.partition(" ")
        new = {"formats": lambda _: formats_table(), "refused": refusals_table, "supported": supported}[kind](argument)
        page = page.replace(f"<!-- begin {name} -->\n{text}<!-- end -->", f"<!-- begin {name} -->\n{new}\n<!-- end -->")
    return page

