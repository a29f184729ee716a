"""The benchmark of one file: rtrnn's ways to take a step, and its peers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtrnn.bench.engines import EmptyLoop, Native, engine_suffix, own_engines, trial
from rtrnn.bench.limits import Limits, Probes, Shares
from rtrnn.bench.machine import busy_note, describe, pinned
from rtrnn.bench.measure import Report, measure
from rtrnn.bench.peers import Failure, Makers, checked, makers_of
from rtrnn.errors import MissingExtraError, UnsupportedError

if TYPE_CHECKING:
    from rtrnn.model import Model, Weights

__all__ = ["Result", "bench", "file_peers", "operations", "over_native", "weight_bytes"]

_TRIAL_STEPS = 8


@dataclass(frozen=True)
class Result:
    """A report and what is needed to read it."""

    report: Report
    machine: dict[str, Any]
    limits: Limits
    #: Weights that a step reads.
    weight_bytes: int
    #: weight_bytes over the median of the step in C++.
    gigabytes_per_second: float
    #: The same against the machine's limits.
    shares: Shares
    #: What each call from Python costs over the step in C++, less the empty loop: :func:`over_native`.
    over_native_ns: dict[str, tuple[float, float]]
    #: Peers that could not be timed.
    failures: tuple[Failure, ...]
    #: Why peers are missing or not quite the same.
    notes: tuple[str, ...]


def bench(
    path: str | Path,
    *,
    model: Model | None = None,
    weights: Weights = "f32",
    seconds: float = 3.0,
    rounds: int | None = None,
    cpu: int | None = None,
    peers: bool = True,
    progress: Callable[[float], None] | None = None,
) -> Result:
    """Times one step of the file at `path` on one CPU, beside its own runtime where that is installed.

    `model` is the file as loaded, where it is at hand. With other `weights` than f32, the step in C++ with f32 is timed too.
    `rounds` takes the place of `seconds`. Raises what
    :func:`rtrnn.load` raises, and :class:`rtrnn.UnsupportedError` for a network that cannot be streamed.
    """
    import rtrnn

    model = rtrnn.load(path) if model is None else model
    with pinned(cpu) as chosen:
        suffix = engine_suffix(weights)
        engines = [*own_engines(model, weights=weights), *own_engines(model, "finish", weights), EmptyLoop(model)]
        if suffix:
            engines.append(Native(model))
        isa = str(engines[0].stream.isa)
        size = weight_bytes(model, weights)
        probes = Probes([size] if size else [])
        good, failures, notes = file_peers(Path(path), model) if peers else ([], [], [])
        report = measure(
            [*engines, *good], seconds=seconds, rounds=rounds, progress=progress, each_round=probes.one_turn
        )
        limits = probes.limits()
        machine = describe(chosen, isa, limits)
    busy = busy_note()
    if busy:
        notes.append(busy)
    native = next(figures.median_ns for figures in report.engines if figures.name == f"rtrnn C++ step{suffix}")
    return Result(
        report,
        machine,
        limits,
        size,
        size / native,
        limits.shares(size, operations(model), native),
        over_native(report, weights),
        tuple(failures),
        tuple(notes),
    )


def over_native(report: Report, weights: Weights = "f32") -> dict[str, tuple[float, float]]:
    """What the calls from Python cost over the same step in C++ and the loop around them, in nanoseconds.

    First the median of differences within a round, which a drift of the clock does not reach; then the difference of
    the low figures, which a busy neighbour does not reach either.
    """
    suffix = engine_suffix(weights)
    figures = {each.name: each for each in report.engines}
    loop, native = figures[EmptyLoop.name], figures[f"rtrnn C++ step{suffix}"]
    found = {}
    for call in ("step(x)", "step(x, out=y)", "step()"):
        own = figures[f"rtrnn {call}{suffix}"]
        median = report.difference_ns(own.name, native.name) - loop.median_ns
        found[call] = (median, own.low_ns - native.low_ns - loop.low_ns)
    return found


def file_peers(path: Path, model: Model) -> tuple[list[Any], list[Failure], list[str]]:
    """The peers of a file that give rtrnn's results, those that do not, and notes."""
    from rtrnn.loading import detect_format
    from rtrnn.runtimes import open_runtime

    if detect_format(path) == "rtrnn":
        return [], [], ["a .rtrnn file has no runtime of its own to compare with"]
    try:
        runtime = open_runtime(path, model)
        makers: Makers = makers_of(runtime, model)
        forgotten = runtime.forgets()
    except (MissingExtraError, UnsupportedError) as error:
        return [], [], [str(error)]
    # What starts anew in each call gives rtrnn's results at the first step alone.
    good, failures = checked(makers, trial(model, 1 if forgotten else _TRIAL_STEPS))
    notes = []
    if forgotten:
        notes = [f"{runtime.label} does not carry {', '.join(forgotten)} from call to call; its work is the same"]
    return good, failures, notes


def weight_bytes(model: Model, weights: Weights = "f32") -> int:
    """Bytes of the weights that a step reads: of every tensor but the initial states, at this precision."""
    if weights != "f32":
        return model.plan(weights).constant_bytes
    return 4 * _parameters_read(model)


def operations(model: Model) -> int:
    """Multiplications and additions of a step: two for each weight."""
    return 2 * _parameters_read(model)


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
