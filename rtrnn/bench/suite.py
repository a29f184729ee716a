"""The benchmark of one file: rtrnn's ways to take a step, and its peers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rtrnn.bench.engines import own_engines
from rtrnn.bench.machine import busy_note, cpu_name, pinned
from rtrnn.bench.measure import Report, measure
from rtrnn.errors import MissingExtraError, UnsupportedError

if TYPE_CHECKING:
    from rtrnn.model import Model

__all__ = ["Result", "bench"]


@dataclass(frozen=True)
class Result:
    """A report and what is needed to read it."""

    report: Report
    processor: str
    cpu: int | None
    isa: str
    #: f32 weights that a step reads.
    weight_bytes: int
    #: weight_bytes over the reference's median.
    gigabytes_per_second: float
    #: Why peers are missing or not quite the same.
    notes: tuple[str, ...]


def bench(
    path: str | Path,
    *,
    model: Model | None = None,
    seconds: float = 3.0,
    rounds: int | None = None,
    cpu: int | None = None,
    peers: bool = True,
    progress: Callable[[float], None] | None = None,
) -> Result:
    """Times one step of the file at `path` on one CPU, beside its own runtime where that is installed.

    `model` is the file as loaded, where it is at hand. `rounds` takes the place of `seconds`. Raises what
    :func:`rtrnn.load` raises, and :class:`rtrnn.UnsupportedError` for a network that cannot be streamed.
    """
    import rtrnn

    model = rtrnn.load(path) if model is None else model
    with pinned(cpu) as chosen:
        engines = own_engines(model)
        isa = str(engines[0].stream.isa)
        notes: list[str] = []
        if peers:
            found, notes = _peers(Path(path), model)
            engines += found
        report = measure(engines, seconds=seconds, rounds=rounds, progress=progress)
    busy = busy_note()
    if busy:
        notes.append(busy)
    size = 4 * _parameters_read(model)
    return Result(report, cpu_name(), chosen, isa, size, size / report.engines[0].median_ns, tuple(notes))


def _peers(path: Path, model: Model) -> tuple[list, list[str]]:
    from rtrnn.bench.peers import peers_of
    from rtrnn.loading import detect_format
    from rtrnn.runtimes import open_runtime

    if detect_format(path) == "rtrnn":
        return [], ["a .rtrnn file has no runtime of its own to compare with"]
    try:
        runtime = open_runtime(path, model)
        found = peers_of(runtime, model)
    except (MissingExtraError, UnsupportedError) as error:
        return [], [str(error)]
    forgotten = runtime.forgets()
    if forgotten:
        return found, [f"{runtime.label} does not carry {', '.join(forgotten)} from call to call; its work is the same"]
    return found, []


def _parameters_read(model: Model) -> int:
    """Values of the tensors that nodes read: not the initial states."""
    graph = model.graph
    tensors = set(graph.tensor_names)
    read = {name for node in graph.nodes for name in node.inputs if name in tensors}
    total = 0
    for name in read:
        size = 1
        for dimension in graph.shape(name):
            size *= dimension
        total += size
    return total
