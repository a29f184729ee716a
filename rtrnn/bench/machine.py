"""The machine that figures belong to."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from rtrnn.errors import UnsupportedError

if TYPE_CHECKING:
    from rtrnn.bench.limits import Limits

__all__ = ["busy_note", "cpu_name", "describe", "pinned"]

_PACKAGES = ("numpy", "onnxruntime", "openvino", "torch")


def cpu_name() -> str:
    """The processor's name, as the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() in ("model name", "Model") and value.strip():
                    return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def describe(cpu: int | None, isa: str, limits: Limits) -> dict[str, Any]:
    """The machine, the versions of what is timed, the date and the command line, for a file of figures."""
    from rtrnn import __version__, isa_available

    versions = {"rtrnn": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "processor": cpu_name(),
        "architecture": platform.machine(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "cpu": cpu,
        "isa": isa,
        "caches": [{"name": level.name, "bytes": level.capacity} for level in limits.levels if level.capacity],
        "isa_available": isa_available(),
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "versions": versions,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": " ".join(["rtrnn", *sys.argv[1:]]),
    }


def busy_note() -> str:
    """A sentence when other work competes for the CPUs; empty otherwise."""
    if not hasattr(os, "getloadavg"):
        return ""
    load, count = os.getloadavg()[0], os.cpu_count() or 1
    # One is this process itself.
    if load <= count - 0.5 or load <= 1.5:
        return ""
    return (
        f"the machine is busy (load {load:.1f} on {count} CPUs), which slows engines with more data and code more: "
        "the low figures and their ratios are closer to a quiet machine's"
    )


@contextmanager
def pinned(cpu: int | None) -> Iterator[int | None]:
    """Keeps this thread on one CPU, by default the last it may use; gives its number, None where that is impossible.

    Raises :class:`UnsupportedError` for a `cpu` that this process may not use.
    """
    if not hasattr(os, "sched_setaffinity"):
        if cpu is not None:
            raise UnsupportedError("this system cannot pin a process to a CPU; expected no --cpu")
        yield None
        return
    before = os.sched_getaffinity(0)
    chosen = max(before) if cpu is None else cpu
    if chosen not in before:
        raise UnsupportedError(f"CPU {chosen} cannot be used; expected one of {sorted(before)}")
    os.sched_setaffinity(0, {chosen})
    try:
        yield chosen
    finally:
        os.sched_setaffinity(0, before)
