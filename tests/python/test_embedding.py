"""A C program finds the core in the installed package through CMake and gives Python's bits."""

from __future__ import annotations

import shutil
import subprocess
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


@pytest.mark.skipif(not shutil.which("cmake") or not shutil.which("cc"), reason="needs cmake and a C compiler")
def test_a_c_program(tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text(CMAKE)
    (tmp_path / "consumer.c").write_text(PROGRAM)
    for command in (
        ["cmake", "-S", tmp_path, "-B", tmp_path / "build", f"-Drtrnn_DIR={rtrnn.cmake_dir()}"],
        ["cmake", "--build", tmp_path / "build"],
    ):
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stdout + made.stderr
    model = policy("lstm")
    model.save(tmp_path / "policy.rtrnn")
    xs = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    program = tmp_path / "build" / "consumer"
    result = subprocess.run([program, tmp_path / "policy.rtrnn"], input=xs.tobytes(), capture_output=True, check=True)
    assert np.array_equal(np.frombuffer(result.stdout, np.float32).reshape(-1, 3), model.run(xs))
    missing = subprocess.run([program, tmp_path / "missing.rtrnn"], capture_output=True, check=False)
    assert missing.returncode == 1
    assert b"missing.rtrnn" in missing.stderr
