"""A replay on a Ray cluster of two workers of which one is killed half way: the report of one machine, to the bit."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fleets import fleet, policy

from rtrnn.replay import Policy, find_logs, on_ray, replay
from rtrnn.replay.report import facts

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'rtrnn[ray]'")
pytestmark = pytest.mark.filterwarnings("ignore")

ROBOTS, EACH, DIES_AT = 4, 10, 5


@dataclass(frozen=True)
class Mortal(Policy):
    """In one process only, it waits for its end when it has done some episodes of a task."""

    folder: str = ""

    def act(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        with open(Path(self.folder, f"done.{os.getpid()}"), "a") as file:
            file.write(".")
            file.flush()
            done = file.tell()
        if done == DIES_AT:
            try:
                mark = os.open(Path(self.folder, "victim"), os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            except FileExistsError:
                return super().act(inputs)
            os.write(mark, f"{os.getpid()}\n".encode())
            time.sleep(120)
            raise RuntimeError("nobody killed this worker")
        return super().act(inputs)


class Killer(threading.Thread):
    """Sends SIGKILL to the process that names itself."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.mark = folder / "victim"
        self.killed = 0

    def run(self) -> None:
        deadline = time.monotonic() + 100
        while time.monotonic() < deadline:
            if self.mark.exists() and self.mark.read_text().endswith("\n"):
                self.killed = int(self.mark.read_text())
                os.kill(self.killed, signal.SIGKILL)
                return
            time.sleep(0.02)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.chdir(tmp_path)  # workers look for modules where the driver runs, and rtrnn's sources are no installed rtrnn
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False, object_store_memory=100_000_000)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    ray.shutdown()


def test_a_worker_is_killed_half_way(tmp_path: Path, cluster: Any) -> None:
    logs = find_logs([fleet(tmp_path / "fleet", ROBOTS, EACH)])
    marks = tmp_path / "marks"
    marks.mkdir()
    name = "a policy in i8"
    expected = replay(Policy(policy(), "i8", name=name), logs)
    killer = Killer(marks)
    killer.start()
    found = replay(Mortal(policy(), "i8", name=name, folder=str(marks)), logs, runner=on_ray())
    killer.join()
    assert killer.killed, "no worker was killed"
    with pytest.raises(ProcessLookupError):
        os.kill(killer.killed, 0)
    done = {int(path.suffix[1:]): path.stat().st_size for path in marks.glob("done.*")}
    # What it had done was lost with it and done again, ...
    assert sum(done.values()) >= ROBOTS * EACH + DIES_AT
    assert len(done) >= 2
    # ... and nothing of that can be seen.
    assert len(found.episodes) == ROBOTS * EACH
    assert facts(found) == facts(expected)
