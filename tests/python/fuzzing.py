"""Loading damaged files in a process of its own, with bounds on memory and time.

:func:`load_all` loads each file in a child process whose address space is limited. What a file may do there is load, or
be refused with an :class:`rtrnn.Error`; a crash, any other exception, and slowness are told apart by :class:`Outcome`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Outcome", "assert_clean", "damaged", "load_all", "write_damaged"]

#: More than PyTorch and NumPy need to be imported, less than what a file may claim.
MEMORY_BYTES = 6 << 30
SECONDS_EACH = 5.0

_CHILD = """
import json, resource, sys, time, warnings
warnings.simplefilter("ignore")
import rtrnn
import rtrnn.loading
for module in sys.argv[1].split(","):
    if module:
        __import__(module)
resource.setrlimit(resource.RLIMIT_AS, ({memory}, {memory}))
for line in sys.stdin:
    path, keywords = json.loads(line)
    began = time.process_time()
    try:
        rtrnn.load(path, **keywords)
        kind, text = "loaded", ""
    except rtrnn.Error as error:
        kind, text = "refused", str(error)
    except OSError as error:
        kind, text = "refused", str(error)
    except BaseException as error:
        kind, text = "leaked", f"{{type(error).__name__}}: {{error}}"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps([kind, text, time.process_time() - began, peak]), flush=True)
"""


@dataclass(frozen=True)
class Outcome:
    """What became of one file. `kind` is "loaded", "refused", "leaked" (an exception that is no rtrnn.Error) or "crashed"."""

    path: Path
    kind: str
    text: str
    #: Processor time: other processes on the machine do not count.
    seconds: float
    #: The process's largest memory so far.
    peak_bytes: int


def load_all(
    paths: Sequence[Path], *, imports: str = "", folder: Path | None = None, timeout: float = 120.0, **keywords: Any
) -> list[Outcome]:
    """``rtrnn.load(path, **keywords)`` for each path, in one child process.

    `imports` are modules, separated by commas, that it imports beforehand, `folder` is where else they are looked for.
    """
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD.format(memory=MEMORY_BYTES), imports],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder or "")},
    )
    requests = "".join(json.dumps([str(path), keywords]) + "\n" for path in paths)
    try:
        answers, errors = child.communicate(requests, timeout=timeout)
    except subprocess.TimeoutExpired:
        child.kill()
        answers, errors = child.communicate()
        errors = f"no answer within {timeout} s"
    outcomes = [Outcome(path, *json.loads(line)) for path, line in zip(paths, answers.splitlines(), strict=False)]
    if len(outcomes) < len(paths):
        text = f"exit status {child.returncode}: {errors[-2000:]}"
        outcomes.append(Outcome(paths[len(outcomes)], "crashed", text, 0.0, 0))
    return outcomes


def assert_clean(outcomes: Sequence[Outcome], *, refused: bool = False) -> None:
    """Each file loaded or was refused in time; with `refused` none was loaded."""
    allowed = {"refused"} if refused else {"loaded", "refused"}
    for outcome in outcomes:
        assert outcome.kind in allowed, f"{outcome.path.name}: {outcome.kind}: {outcome.text}"
        assert outcome.seconds < SECONDS_EACH, f"{outcome.path.name}: took {outcome.seconds:.1f} s: {outcome.text}"


def damaged(data: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """`count` damaged copies of `data`: truncated, with bits flipped, with stretches overwritten, repeated or left out."""
    rng = np.random.default_rng(seed)
    kinds: list[Callable[[np.random.Generator, bytes], bytes]] = [_truncate, _flip, _flip, _overwrite, _repeat, _leave_out]
    for i in range(count):
        yield kinds[i % len(kinds)](rng, data)


def write_damaged(source: Path, folder: Path, count: int, seed: int = 0) -> list[Path]:
    """The files of :func:`damaged` copies of `source`, in `folder`."""
    paths = []
    for i, data in enumerate(damaged(source.read_bytes(), count, seed)):
        path = folder / f"damaged_{i}{source.suffix}"
        path.write_bytes(data)
        paths.append(path)
    return paths


def _truncate(rng: np.random.Generator, data: bytes) -> bytes:
    return data[: rng.integers(0, len(data))]


def _flip(rng: np.random.Generator, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        # Half of the damage falls on the beginning, where the structure is.
        limit = len(out) if rng.integers(2) else min(len(out), 4096)
        out[rng.integers(0, limit)] ^= 1 << int(rng.integers(8))
    return bytes(out)


def _stretch(rng: np.random.Generator, data: bytes) -> tuple[int, int]:
    begin = int(rng.integers(0, len(data)))
    return begin, min(len(data), begin + int(rng.integers(1, 65)))


def _overwrite(rng: np.random.Generator, data: bytes) -> bytes:
    begin, end = _stretch(rng, data)
    return data[:begin] + rng.bytes(end - begin) + data[end:]


def _repeat(rng: np.random.Generator, data: bytes) -> bytes:
    begin, end = _stretch(rng, data)
    return data[:end] + data[begin:end] + data[end:]


def _leave_out(rng: np.random.Generator, data: bytes) -> bytes:
    begin, end = _stretch(rng, data)
    return data[:begin] + data[end:]
