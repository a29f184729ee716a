"""The README's program runs as it is printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_stream import policy

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_program_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    policy("lstm", inputs=47, outputs=12).save(tmp_path / "policy.onnx")  # files are known by content, not by name
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(program, names)
    assert names["action"].shape == (12,)
    assert "obs" in capsys.readouterr().out
