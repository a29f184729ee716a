"""Tables, progress and JSON of the command line."""

from __future__ import annotations

import io
import json
import sys
import time
from types import SimpleNamespace

import pytest

from rtrnn.cli import output


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
