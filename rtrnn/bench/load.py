"""Background load: processes that stream memory through the caches, and ones that calculate, two for each CPU.

A process of it ends with its starter, however that ends: it watches its standard input, which closes then.
"""

from __future__ import annotations

import os
import subprocess
import sys
from types import TracebackType

__all__ = ["Load"]

_KINDS = ("memory", "arithmetic")
_WAIT_SECONDS = 10.0


class Load:
    """A context manager: both kinds of load on each of `cpus` CPUs (default: all this process may use) while it is open.

    Raises OSError when a process cannot be started, RuntimeError when one does not begin to work.
    """

    def __init__(self, cpus: int | None = None) -> None:
        allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.cpus = allowed if cpus is None else cpus
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Load:
        try:
            for _ in range(self.cpus):
                for kind in _KINDS:
                    command = [sys.executable, "-I", __file__, kind]
                    self.processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            for process in self.processes:
                if process.stdout is None or process.stdout.readline().strip() != b"ready":
                    raise RuntimeError("a process of the background load did not begin to work")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait(_WAIT_SECONDS)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        self.processes.clear()


def _work(kind: str) -> None:
    import threading

    import numpy as np

    def end_with_the_starter() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=end_with_the_starter, daemon=True).start()
    # Larger than last-level caches' usual shares of a core; or small enough for the first level.
    size = 16 << 20 if kind == "memory" else 1 << 10
    x, y = np.full(size, 0.5, np.float32), np.empty(size, np.float32)
    print("ready", flush=True)
    while True:
        if kind == "memory":
            np.add(x, 1.0, out=y)
        else:
            np.tanh(x, out=y)


if __name__ == "__main__":
    _work(sys.argv[1])
