"""A C program finds the core in the installed package, in each of the ways there are, and gives Python's bits."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from test_stream import policy

import rtrnn

CMAKE = """
cmake_minimum_required(VERSION 3.20)
project(consumer C)
find_package(rtrnn 0.1 REQUIRED)
add_executable(consumer consumer.c)
target_link_libraries(consumer PRIVATE rtrnn::rtrnn)
"""

PROGRAM = """
#include <rtrnn/rtrnn.h>
#include <stdio.h>

int main(int argc, char** argv) {
    float x[5], y[3];
    rtrnn_plan* plan;
    rtrnn_stream* stream;
    if (rtrnn_plan_load(argv[argc - 1], NULL, &plan) != RTRNN_OK) {
        fputs(rtrnn_last_error(), stderr);
        return 1;
    }
    if (rtrnn_stream_create(plan, RTRNN_ON_NONFINITE_ERROR, &stream) != RTRNN_OK) return 3;
    rtrnn_plan_free(plan);
    while (fread(x, sizeof(float), 5, stdin) == 5) {
        if (rtrnn_stream_step_copy(stream, x, 5, y, 3) != RTRNN_OK) return 2;
        fwrite(y, sizeof(float), 3, stdout);
        rtrnn_stream_prepare(stream);
    }
    rtrnn_stream_free(stream);
    return 0;
}
"""


def run(*command: object, **options: object) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def by_cmake(folder: Path) -> None:
    (folder / "CMakeLists.txt").write_text(CMAKE)
    run("cmake", "-S", folder, "-B", folder / "build", f"-Drtrnn_DIR={flags('--cmake-dir')[0]}")
    run("cmake", "--build", folder / "build")
    shutil.copy(folder / "build" / "consumer", folder)


def by_flags(folder: Path) -> None:
    run("cc", "-std=c99", folder / "consumer.c", *flags("--cflags", "--libs"), "-o", folder / "consumer")


def by_pkg_config(folder: Path) -> None:
    environment = {**os.environ, "PKG_CONFIG_PATH": flags("--pkgconfig-dir")[0]}
    found = run("pkg-config", "--cflags", "--libs", "rtrnn", env=environment).split()
    assert run("pkg-config", "--modversion", "rtrnn", env=environment).strip() == rtrnn.__version__
    run("cc", "-std=c99", folder / "consumer.c", *found, "-o", folder / "consumer")


def flags(*names: str) -> list[str]:
    return run(sys.executable, "-I", "-m", "rtrnn", *names).split()


@pytest.mark.parametrize(("build", "tool"), [(by_cmake, "cmake"), (by_flags, "cc"), (by_pkg_config, "pkg-config")])
def test_a_c_program(tmp_path: Path, build: Callable[[Path], None], tool: str) -> None:
    for needed in ("cc", tool):
        if not shutil.which(needed):
            pytest.skip(f"needs {needed}")
    (tmp_path / "consumer.c").write_text(PROGRAM)
    build(tmp_path)
    model = policy("lstm")
    model.save(tmp_path / "policy.rtrnn")
    xs = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    program = tmp_path / "consumer"
    result = subprocess.run([program, tmp_path / "policy.rtrnn"], input=xs.tobytes(), capture_output=True, check=True)
    assert np.array_equal(np.frombuffer(result.stdout, np.float32).reshape(-1, 3), model.run(xs))
    missing = subprocess.run([program, tmp_path / "missing.rtrnn"], capture_output=True, check=False)
    assert missing.returncode == 1
    assert b"missing.rtrnn" in missing.stderr


PARENT = """
cmake_minimum_required(VERSION 3.20)
project(parent C CXX)
add_subdirectory({tree} rtrnn)
foreach(target rtrnn::rtrnn rtrnn::static)
  if(NOT TARGET ${{target}})
    message(FATAL_ERROR "there is no ${{target}}")
  endif()
endforeach()
get_property(includes TARGET rtrnn PROPERTY INTERFACE_INCLUDE_DIRECTORIES)
get_property(targets DIRECTORY {tree} PROPERTY BUILDSYSTEM_TARGETS)
message(STATUS "includes: ${{includes}}; targets: ${{targets}}; type: '${{CMAKE_BUILD_TYPE}}'; install: ${{RTRNN_INSTALL}}")
"""


@pytest.mark.skipif(not shutil.which("cmake") or not shutil.which("c++"), reason="needs cmake and a C++ compiler")
def test_a_subdirectory_of_another_project(tmp_path: Path) -> None:
    tree = Path(__file__).parents[2]
    (tmp_path / "CMakeLists.txt").write_text(PARENT.format(tree=tree))
    said = run("cmake", "-S", tmp_path, "-B", tmp_path / "build")
    assert f"includes: $<BUILD_INTERFACE:{tree}/cpp/include>" in said
    assert f"{tree}/cpp/src" not in said   # the core's own headers are not for others
    assert "targets: ; type: ''; install: OFF" in said
    assert not list((tmp_path / "build").rglob("tests/cpp"))
