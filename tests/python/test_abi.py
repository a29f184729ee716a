"""What programs built against an earlier release rely on: exported symbols, struct layouts, and the signatures of `cimport rtrnn`."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import rtrnn
from rtrnn import _stream

ABI = Path(__file__).parents[1] / "abi"


def pinned(name: str) -> list[str]:
    return (ABI / name).read_text().splitlines()


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("nm"), reason="needs nm and symbol versions (Linux)")
def test_symbols() -> None:
    library = next(Path(rtrnn.get_library_dir()).glob("librtrnn.so*"))
    listed = subprocess.run(
        ["nm", "-D", "--defined-only", "--with-symbol-versions", library], capture_output=True, text=True, check=True
    ).stdout
    symbols = [line.split()[2] for line in listed.splitlines() if line.split()[1] != "A"]
    public = sorted(name.removesuffix("@@RTRNN_1") for name in symbols if name.endswith("@@RTRNN_1"))
    assert public == pinned("symbols.txt")
    # The rest is for rtrnn._core of the same release, and bound to its version.
    private = [name for name in symbols if not name.endswith("@@RTRNN_1")]
    assert all(name.endswith(f"@@RTRNN_PRIVATE_{rtrnn.__version__}") for name in private), private


def test_the_header_declares_what_the_library_exports() -> None:
    header = Path(rtrnn.get_include(), "rtrnn", "rtrnn.h").read_text()
    declared = re.findall(r"^RTRNN_API\b[^;(]*?(rtrnn_\w+)\(", header, re.M)
    assert sorted(declared) == pinned("symbols.txt")


@pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
def test_layout(tmp_path: Path) -> None:
    flags = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", f"-I{rtrnn.get_include()}"]
    subprocess.run(["cc", *flags, ABI / "layout.c", "-o", tmp_path / "layout"], check=True)
    found = subprocess.run([tmp_path / "layout"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert found == pinned("layout.txt")


def test_every_type_of_the_header_is_pinned() -> None:
    header = Path(rtrnn.get_include(), "rtrnn", "rtrnn.h").read_text()
    text = "\n".join(pinned("layout.txt"))
    for name in re.findall(r"^\} (rtrnn_\w+);", header, re.M):
        assert f"sizeof {name} = " in text, name
    for name in re.findall(r"^    (RTRNN_[A-Z_]+) = \d+,?", header, re.M):
        assert f"{name} = " in text, name


def test_cython_signatures() -> None:
    public = {name: capsule for name, capsule in _stream.__pyx_capi__.items() if not name.startswith("_")}
    assert sorted(f"{name}: {_signature(capsule)}" for name, capsule in public.items()) == pinned("cython.txt")


def _signature(capsule: object) -> str:
    name = ctypes.pythonapi.PyCapsule_GetName
    name.restype = ctypes.c_char_p
    name.argtypes = [ctypes.py_object]
    return name(capsule).decode()


@pytest.mark.parametrize("flags", [["-std=c++14"], ["-std=c++20"], ["-std=c++17", "-fno-exceptions", "-fno-rtti"]], ids=" ".join)
@pytest.mark.skipif(not shutil.which("c++"), reason="needs a C++ compiler")
def test_the_cpp_header_alone(tmp_path: Path, flags: list[str]) -> None:
    (tmp_path / "unit.cpp").write_text("#include <rtrnn/rtrnn.hpp>\n#include <rtrnn/rtrnn.hpp>\nrtrnn::Stream stream;\n")
    command = ["c++", *flags, "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only"]
    subprocess.run([*command, f"-I{rtrnn.get_include()}", tmp_path / "unit.cpp"], check=True)
