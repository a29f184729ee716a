"""A network in a periodic loop: rtrnn's own loop, and calls from a Python loop on the same grid of deadlines.

The loops take turns of about a second, so that a change of the machine meets all of them. A Python loop sleeps until the
same absolute deadlines with the same call of the system, on the same CPU with the same priority and the same precise timers, and
only the time inside its call of the engine is taken; the garbage collector is off.
"""

from __future__ import annotations

import ctypes
import gc
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtrnn.bench.engines import inputs_for, trial
from rtrnn.bench.peers import OnnxBound, checked, makers_of
from rtrnn.errors import MissingExtraError, UnsupportedError
from rtrnn.loop import Loop, LoopStats, Times
from rtrnn.runtimes import open_runtime

if TYPE_CHECKING:
    from rtrnn.model import Model

__all__ = ["LoopResult", "Settings", "measure_loops"]

_TURN_SECONDS = 1.0
_TRIAL_STEPS = 8
#: Calls before each turn of a Python loop; rtrnn's own loop warms itself.
_WARM_UP_CALLS = 20
#: How often rtrnn's own loop is given another observation.
_OBSERVE_SECONDS = 0.005
_PR_SET_TIMERSLACK = 29


@dataclass(frozen=True)
class Settings:
    """How every loop runs."""

    rate: float = 1000.0
    #: Of each engine's loop; the whole takes as many times as long as there are engines.
    seconds: float = 10.0
    weights: str = "f32"
    priority: int = 0
    cpu: int | None = None
    #: Of rtrnn's own loop alone.
    lead: float = 0.0


@dataclass(frozen=True)
class LoopResult:
    """What each engine's loop told, by the engine's name, and what the system refused or is missing."""

    rows: dict[str, LoopStats]
    notes: tuple[str, ...]
    turns: int


class _OwnLoop:
    name = "rtrnn Loop"

    def __init__(self, model: Model, settings: Settings) -> None:
        self.loop = Loop(
            model,
            settings.rate,
            lead=settings.lead,
            priority=settings.priority,
            cpu=settings.cpu,
            weights=settings.weights,
        )
        self.inputs = cycle(inputs_for(model))
        self.notes: set[str] = set()

    def turn(self, seconds: float) -> None:
        self.loop.observe(next(self.inputs))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # shown as notes
            self.loop.start()
        try:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                time.sleep(_OBSERVE_SECONDS)
                self.loop.observe(next(self.inputs))
        finally:
            self.loop.stop()
        self.notes.update(self.loop.notes)

    def stats(self) -> LoopStats:
        return self.loop.stats()


@dataclass
class _PythonLoop:
    """Calls `call(argument)` once per period and takes its time; `after()` is done in the idle time."""

    name: str
    settings: Settings
    call: Callable[[Any], Any]
    arguments: Iterator[Any]
    after: Callable[[], Any] = lambda: None
    step: list[int] = field(default_factory=list)
    response: list[int] = field(default_factory=list)
    wake_up: list[int] = field(default_factory=list)
    prepare: list[int] = field(default_factory=list)
    skipped: int = 0
    notes: set[str] = field(default_factory=set)
    failure: BaseException | None = None

    def turn(self, seconds: float) -> None:
        # In a thread of its own, so that CPU and priority end with it.
        stop = threading.Event()
        thread = threading.Thread(target=self._run, args=(seconds, stop), daemon=True)
        collecting = gc.isenabled()
        gc.disable()
        try:
            thread.start()
            thread.join()
        finally:
            stop.set()
            thread.join()
            if collecting:
                gc.enable()
        if self.failure is not None:
            raise self.failure

    def _run(self, seconds: float, stop: threading.Event) -> None:
        try:
            self.notes.update(_prepare_thread(self.settings))
            self._periods(seconds, stop)
        except BaseException as error:  # raised again by the thread that waits
            self.failure = error

    def _periods(self, seconds: float, stop: threading.Event) -> None:
        clock, sleep_until = time.perf_counter_ns, _sleeper()
        call, arguments, after = self.call, self.arguments, self.after
        step, response, wake_up, prepare = (x.append for x in (self.step, self.response, self.wake_up, self.prepare))
        for _ in range(_WARM_UP_CALLS):
            call(next(arguments))
            after()
        period = round(1e9 / self.settings.rate)
        due = clock() + min(period, 100_000_000)
        end = due + round(seconds * 1e9)
        while due < end and not stop.is_set():
            behind = clock() - (due + period)
            if behind >= 0:
                skipped = behind // period + 1
                self.skipped += skipped
                due += skipped * period
                continue
            argument = next(arguments)
            early = clock() < due
            sleep_until(due)
            woke = clock()
            begin = clock()
            call(argument)
            done = clock()
            after()
            prepared = clock()
            if early:
                wake_up(woke - due)
            step(done - begin)
            response(done - due)
            prepare(prepared - done)
            due += period

    def stats(self) -> LoopStats:
        period = round(1e9 / self.settings.rate)
        return LoopStats(
            periods=len(self.step),
            late=sum(t > period for t in self.response),
            late_in_step=sum(t > period for t in self.step),
            skipped=self.skipped,
            stale=0,
            repeated=0,
            nonfinite=0,
            step=Times.of(self.step),
            response=Times.of(self.response),
            wake_up=Times.of(self.wake_up),
            prepare=Times.of(self.prepare),
        )


def measure_loops(
    path: str | Path,
    model: Model,
    settings: Settings,
    *,
    peers: bool = True,
    progress: Callable[[float], None] = lambda done: None,
) -> LoopResult:
    """Runs rtrnn's loop, rtrnn from a Python loop and, for an ONNX file, onnxruntime from a Python loop, in turns.

    Raises what :class:`rtrnn.Loop` raises for the settings.
    """
    stream = model.stream(settings.weights)
    stream.step(inputs_for(model)[0])
    engines: list[Any] = [
        _OwnLoop(model, settings),
        _PythonLoop("rtrnn from Python", settings, stream.step, cycle([None]), stream.prepare),
    ]
    notes: list[str] = []
    if peers:
        bound, reason = _onnxruntime(Path(path), model)
        if bound is None:
            notes.append(f"onnxruntime is not timed: {reason}")
        else:
            run, bindings = bound.session.run_with_iobinding, cycle(bound.bindings)
            engines.append(_PythonLoop("onnxruntime from Python", settings, run, bindings))
    turns = max(1, round(settings.seconds / _TURN_SECONDS))
    for turn in range(turns):
        for i, engine in enumerate(engines):
            engine.turn(settings.seconds / turns)
            progress((turn + (i + 1) / len(engines)) / turns)
    # Every engine has the same wishes: what is refused is said once, in the words of rtrnn's own loop where it has them.
    refused = sorted(engines[0].notes) or sorted(set().union(*(engine.notes for engine in engines)))
    return LoopResult({engine.name: engine.stats() for engine in engines}, (*refused, *notes), turns)


def _onnxruntime(path: Path, model: Model) -> tuple[Any, str]:
    """onnxruntime with bound I/O where it gives rtrnn's results; else None and the reason."""
    from rtrnn.loading import detect_format

    if detect_format(path) != "onnx":
        return None, "the file is not an ONNX model"
    try:
        runtime = open_runtime(path, model)
        make = makers_of(runtime, model)[OnnxBound.name]
        good, failures = checked({OnnxBound.name: make}, trial(model, 1 if runtime.forgets() else _TRIAL_STEPS))
    except (MissingExtraError, UnsupportedError) as error:
        return None, str(error)
    return (good[0], "") if good else (None, failures[0].reason if failures else "it is not installed")


def _prepare_thread(settings: Settings) -> list[str]:
    """For the calling thread what rtrnn's loop does for its own; gives what was refused."""
    notes = []
    if settings.cpu is not None:
        try:
            os.sched_setaffinity(0, {settings.cpu})
        except (AttributeError, OSError) as error:
            notes.append(f"CPU {settings.cpu} was refused: {error}")
    if settings.priority > 0:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(settings.priority))
        except (AttributeError, OSError) as error:
            notes.append(f"SCHED_FIFO priority {settings.priority} was refused: {error}; running at normal priority")
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    return notes


class _TimeSpec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def _sleeper() -> Callable[[int], None]:
    """``clock_nanosleep`` to a point in time of ``perf_counter_ns``; where there is none, a sleep for what is left."""

    def sleep(until: int) -> None:
        if (left := until - time.perf_counter_ns()) > 0:
            time.sleep(left * 1e-9)

    # On Linux both clocks are CLOCK_MONOTONIC.
    if not hasattr(time, "CLOCK_MONOTONIC") or abs(time.perf_counter() - time.clock_gettime(time.CLOCK_MONOTONIC)) > 1:
        return sleep
    try:
        nanosleep = ctypes.CDLL(None).clock_nanosleep
    except (AttributeError, OSError):
        return sleep
    absolute, spec = 1, _TimeSpec()
    pointer = ctypes.byref(spec)

    def sleep_until(until: int) -> None:
        spec.seconds, spec.nanoseconds = divmod(until, 1_000_000_000)
        nanosleep(time.CLOCK_MONOTONIC, absolute, pointer, None)

    return sleep_until
