"""What CONTRIBUTING.md and the contributors' page name is there; workflows and issue forms are what GitHub takes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

if sys.version_info >= (3, 11):
    import tomllib

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["CONTRIBUTING.md", "docs/contributing/adding.md"]
FOLDERS = ("cpp/", "rtrnn/", "tests/", "tools/", "docs/", "examples/", ".github/", "./tools/")


def named_files(text: str) -> set[str]:
    """Files in code quotes, without what stands for a name to be chosen or for something that is built."""
    words = {word for quoted in re.findall(r"`([^`\n]+)`", text) for word in quoted.split()}
    links = set(re.findall(r"\]\(([^)#]+)\)", text))
    return {w for w in words if w.startswith(FOLDERS) and "NAME" not in w} | {w for w in links if "://" not in w}


def missing(text: str, at: Path) -> list[str]:
    return sorted(name for name in named_files(text) if not (list(ROOT.glob(name.removeprefix("./"))) or (at / name).exists()))


@pytest.mark.parametrize("page", PAGES)
def test_named_files_are_there(page: str) -> None:
    text = (ROOT / page).read_text()
    assert len(named_files(text)) > 5
    assert not missing(text, (ROOT / page).parent)


def test_a_missing_file_would_be_seen() -> None:
    text = "`cpp/src/ops/list.hpp` and `cpp/src/ops/lost.hpp`, [page](docs/lost.md)"
    assert missing(text, ROOT) == ["cpp/src/ops/lost.hpp", "docs/lost.md"]


@pytest.mark.parametrize(
    ("kind", "files"),
    [("workflows", "workflows/*.yml"), ("issue-forms", "ISSUE_TEMPLATE/[!c]*.yml"), ("issue-config", "ISSUE_TEMPLATE/config.yml")],
)
def test_github_takes_them(kind: str, files: str) -> None:
    pytest.importorskip("check_jsonschema", reason="needs check-jsonschema")
    found = sorted((ROOT / ".github").glob(files))
    assert found
    command = [sys.executable, "-I", "-m", "check_jsonschema", "--builtin-schema", f"vendor.github-{kind}", *map(str, found)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_workflows_may_do_no_more_than_they_must() -> None:
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        workflow = yaml.safe_load(path.read_text())
        assert workflow["permissions"] == {"contents": "read"}, path.name
        for name, job in workflow["jobs"].items():
            extra = {key for key, value in job.get("permissions", {}).items() if value == "write"}
            assert extra == ({"id-token", "attestations"} if name == "publish" else set()), f"{path.name}: {name}"
            for step in job.get("steps", []):
                assert re.search(r"@(v\d+|release/v\d+)$", step.get("uses", "@v1")), f"{path.name}: {step}"
                if step.get("uses", "").startswith("actions/checkout"):
                    assert step["with"]["persist-credentials"] is False
    release = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    assert "attest-build-provenance" in release
    assert "secrets." not in release


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib is there from Python 3.11 on")
def test_wheels_are_for_every_python_that_is_supported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    said = {line.rsplit(" ", 1)[1].replace(".", "") for line in project["project"]["classifiers"] if re.search(r":: 3\.\d+$", line)}
    built = {name.removeprefix("cp").removesuffix("-*") for name in project["tool"]["cibuildwheel"]["build"]}
    assert built == {*said, "314t"}
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    pinned = {package for hook in hooks for package in hook.get("additional_dependencies", [])}
    assert pinned <= set(project["project"]["optional-dependencies"]["dev"])


@pytest.mark.skipif(not shutil.which("clang-format"), reason="clang-format is not installed")
def test_clang_format_reads_its_settings() -> None:
    subprocess.run(["clang-format", "--dump-config", "--fail-on-incomplete-format"], cwd=ROOT, check=True, capture_output=True)
