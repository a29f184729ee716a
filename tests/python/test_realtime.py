"""What the Cython calls promise a real-time thread: nothing allocated, no page touched for the first time, no system call.

Each check runs in a process of its own and is shown to see the promise broken.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "golden"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts allocations and confines processes as Linux does it")

COUNTER = """
#include <stddef.h>
static size_t count;
size_t counted(void) { return count; }
void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void*, size_t), *__libc_memalign(size_t, size_t);
void* malloc(size_t n) { ++count; return __libc_malloc(n); }
void* calloc(size_t m, size_t n) { ++count; return __libc_calloc(m, n); }
void* realloc(void* p, size_t n) { ++count; return __libc_realloc(p, n); }
void* memalign(size_t a, size_t n) { ++count; return __libc_memalign(a, n); }
void* aligned_alloc(size_t a, size_t n) { ++count; return __libc_memalign(a, n); }
int posix_memalign(void** p, size_t a, size_t n) { ++count; *p = __libc_memalign(a, n); return *p ? 0 : 12; }
"""

#: Calls by name; those of the second dict break the promise.
CALLS = """
import ctypes, itertools, os, resource, sys
import numpy as np
import rtrnn

model = rtrnn.load(sys.argv[1])
stream = model.stream(weights=sys.argv[2], on_nonfinite="hold")
x, y = np.zeros(stream.input.shape, np.float32), np.zeros(stream.output.shape, np.float32)
state = stream.state_vector()
def in_place(): stream.step(x, out=y)
def save(): stream.state_vector(state)
def result(): stream.step(x)   # dropped at once, and so used again
calls = dict(step=stream.step, in_place=in_place, result=result, prepare=stream.prepare, reset=stream.reset, save=save)
broken = dict(new_array=lambda: stream.step(x.tolist()), system_call=os.getppid)
def repeat(call, times):
    for _ in itertools.repeat(None, times):
        call()
for call in calls.values():
    repeat(call, 3)
"""

ALLOCATIONS = """
counted = ctypes.CDLL(None).counted
counted.restype = ctypes.c_size_t
def count(call, times):
    before = counted()
    repeat(call, times)
    return counted() - before
for name, call in {**calls, **broken}.items():
    print(name, count(call, 5000) - count(call, 1000))
"""

PAGE_FAULTS = """
def faults(call, times):
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    repeat(call, times)
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before
hoard = []
broken = dict(new_memory=lambda: hoard.append(np.ones(1 << 14)))
for name, call in {**calls, **broken}.items():
    print(name, min(faults(call, 1000) for _ in range(3)))
"""

SYSTEM_CALLS = """
libc = ctypes.CDLL(None)
leave = {"x86_64": 60, "aarch64": 93}[os.uname().machine]
def confined(call, times):
    child = os.fork()
    if child == 0:
        if libc.prctl(22, 1, 0, 0, 0) != 0:
            os._exit(2)
        repeat(call, times)
        libc.syscall(leave, 0)
    return os.waitpid(child, 0)[1]
for name, call in {**calls, **broken}.items():
    print(name, confined(call, 1000000 if name == "step" else 100000))
"""


def run(script: str, network: str, weights: str, **environment: str) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", CALLS + script, str(GOLDEN / network), weights],
        capture_output=True, text=True, env={**os.environ, **environment}, timeout=120,
        cwd=GOLDEN,  # not the source tree, whose rtrnn would be imported; -I would ignore PYTHONMALLOC
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {line.split()[0]: int(line.split()[1]) for line in done.stdout.splitlines()}


NETWORKS = pytest.mark.parametrize(("network", "weights"), [("gru_8.rtrnn", "f32"), ("policy_lstm_elu.rtrnn", "i16")])


@NETWORKS
def test_no_allocation(tmp_path: Path, network: str, weights: str) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("counting allocations needs a C compiler")
    (tmp_path / "counter.c").write_text(COUNTER)
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "counter.c", "-o", "counter.so"], cwd=tmp_path, check=True)
    # Python's own objects come from malloc here, and so are counted as well.
    counts = run(ALLOCATIONS, network, weights, LD_PRELOAD=str(tmp_path / "counter.so"), PYTHONMALLOC="malloc")
    assert counts.pop("new_array") >= 4000   # the twin
    counts.pop("system_call")
    assert set(counts.values()) == {0}, counts


@NETWORKS
def test_no_page_fault(network: str, weights: str) -> None:
    counts = run(PAGE_FAULTS, network, weights)
    assert counts.pop("new_memory") > 0   # the twin
    assert set(counts.values()) == {0}, counts


@NETWORKS
def test_no_system_call(network: str, weights: str) -> None:
    statuses = run(SYSTEM_CALLS, network, weights)
    assert os.waitstatus_to_exitcode(statuses.pop("system_call")) == -9   # the twin
    statuses.pop("new_array")   # may need memory from the system
    assert set(statuses.values()) == {0}, statuses
