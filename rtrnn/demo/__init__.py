"""`rtrnn demo`: the bundled networks predict sines and balance a pole on a cart in real time.

The networks in `models/` are trained by the scripts in the repository's `tools/train/`.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
import time
from dataclasses import dataclass
from importlib.resources import as_file, files
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

import rtrnn
from rtrnn.cli.common import number_above_zero, whole_number_above_zero
from rtrnn.cli.output import Table, print_json, show
from rtrnn.demo import cartpole, figure, sine
from rtrnn.demo.realtime import Timing, balance, balance_in_real_time, format_ns
from rtrnn.figures import require_matplotlib

__all__ = ["CELLS", "add_arguments", "load", "run"]

CELLS = ("rnn", "gru", "lstm")


def load(name: str) -> rtrnn.Model:
    """A bundled model: sine_rnn, sine_gru, sine_lstm or cartpole_gru."""
    with as_file(files("rtrnn.demo") / "models" / f"{name}.rtrnn") as path:
        return rtrnn.load(path)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, found {text!r}")
    return int(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `rtrnn demo`."""
    parser.add_argument("--output", type=Path, default=Path("rtrnn_demo.png"), metavar="PNG", help="the figure")
    parser.add_argument("--seconds", type=number_above_zero, default=10.0, help="length of the run, default 10")
    parser.add_argument(
        "--rate", type=whole_number_above_zero, default=1000, help="control steps per second, default 1000"
    )
    parser.add_argument("--seed", type=_seed, default=0, help="of tilt, pushes and sensor noise, default 0")
    parser.add_argument("--no-plot", action="store_true", help="draw no figure (needs no matplotlib)")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")


@dataclass(frozen=True)
class SineResult:
    """One network on the sine task."""

    cell: str
    hidden_size: int
    parameters: int
    ns_per_step: float
    continuation: sine.Continuation


def _ns_per_step(streams: list[rtrnn.Stream], rounds: int = 300, steps: int = 200) -> list[float]:
    """Median over `rounds` of the mean of `steps`, called from Python; the networks take turns in each round."""
    times = np.zeros((rounds, len(streams)))
    for row in times:
        for index, stream in enumerate(streams):
            step = stream.step
            begin = time.perf_counter_ns()
            for _ in repeat(None, steps):
                step()
            row[index] = (time.perf_counter_ns() - begin) / steps
    medians: list[float] = np.median(times, axis=0).tolist()
    return medians


def sine_results() -> list[SineResult]:
    """The three sine predictors on the same sines."""
    models = [load(f"sine_{cell}") for cell in CELLS]
    streams = [model.stream() for model in models]

    def continuation(stream: rtrnn.Stream) -> sine.Continuation:
        def step(sample: np.ndarray) -> np.ndarray:
            stream.input.flat[:] = sample
            stream.step()
            y: np.ndarray = stream.output.reshape(1)
            return y

        return sine.continuations(step, stream.reset)

    continuations = [continuation(stream) for stream in streams]
    return [
        SineResult(cell.upper(), int(model.metadata["hidden_size"]), model.parameters, ns, result)
        for cell, model, ns, result in zip(CELLS, models, _ns_per_step(streams), continuations, strict=True)
    ]


def run(args: argparse.Namespace) -> int:
    """The whole demo; 0 when the pole stayed up with the policy's state and fell without it, else 1."""
    if not args.no_plot:
        require_matplotlib()
        if not args.output.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, "no such folder for the figure", os.fspath(args.output.parent))
    sines = sine_results()
    if not args.json:
        _print_sines(sines)

    policy = load("cartpole_gru")
    trained = int(policy.metadata["control_rate_hz"])
    if args.rate != trained:
        print(f"note: the policy was trained at {trained} Hz, not {args.rate} Hz", file=sys.stderr)
    given = cartpole.conditions(args.seed, args.seconds, args.rate)
    wiped = balance(policy, given, wiped=True)
    print(f"cart-pole in real time at {args.rate} Hz for {args.seconds:g} s", file=sys.stderr)
    remembered, timing = balance_in_real_time(policy, given)
    passed = wiped.fell and not remembered.fell
    if args.json:
        print_json(_as_dict(sines, remembered, wiped, timing, passed))
    else:
        _print_balance(remembered, wiped, timing)

    if not args.no_plot:
        waves = {result.cell: result.continuation for result in sines}
        figure.draw(args.output, waves, given, remembered, wiped, timing)
        print(f"figure: {args.output}", file=sys.stderr)
    if remembered.fell:
        print("failed: the pole fell although the policy kept its state", file=sys.stderr)
    if not wiped.fell:
        message = f"failed: without its state the policy kept the pole up for {args.seconds:g} s"
        print(f"{message}; a longer --seconds may tell", file=sys.stderr)
    return 0 if passed else 1


def _print_sines(results: list[SineResult]) -> None:
    title = f"Sine prediction: {sine.WARM_UP_STEPS} samples given, {sine.FREE_STEPS} on its own output"
    header = ("network", "hidden", "parameters", "RMS error", "ns per step")
    rows = [
        (r.cell, str(r.hidden_size), str(r.parameters), f"{r.continuation.rms_error:.4f}", f"{r.ns_per_step:.0f}")
        for r in results
    ]
    show(Table(title, header, rows))


def _verdict(trace: cartpole.Trace) -> str:
    return f"fell after {trace.seconds:.2f} s" if trace.fell else f"up for {trace.seconds:g} s"


def _print_balance(remembered: cartpole.Trace, wiped: cartpole.Trace, timing: Timing) -> None:
    rows = [
        (name, _verdict(trace), *(f"{value:.2f}" for value in _largest(trace).values()))
        for name, trace in (("with its state", remembered), ("state wiped every step", wiped))
    ]
    title = "Cart-pole from positions alone, one GRU policy"
    header = ("policy", "pole", "largest angle (rad)", "largest position (m)")
    percentiles = timing.percentiles()
    latencies = [str(len(timing.latency_ns)), *map(format_ns, percentiles.values()), str(timing.missed_deadlines)]
    show(
        Table(title, header, rows),
        Table("Step latency, called from Python", ("steps", *percentiles, "missed deadlines"), [latencies]),
    )


def _largest(trace: cartpole.Trace) -> dict[str, float]:
    peak = np.abs(trace.states).max(axis=0)
    return {"largest_angle_rad": float(peak[2]), "largest_position_m": float(peak[0])}


def _as_dict(
    sines: list[SineResult], remembered: cartpole.Trace, wiped: cartpole.Trace, timing: Timing, passed: bool
) -> dict[str, Any]:
    return {
        "sine": [
            {
                "cell": result.cell,
                "hidden_size": result.hidden_size,
                "parameters": result.parameters,
                "rms_error": result.continuation.rms_error,
                "ns_per_step": result.ns_per_step,
            }
            for result in sines
        ],
        "cartpole": {
            name: {"fell": trace.fell, "seconds": trace.seconds, **_largest(trace)}
            for name, trace in (("with_state", remembered), ("state_wiped", wiped))
        },
        "latency_ns": timing.percentiles(),
        "steps": len(timing.latency_ns),
        "missed_deadlines": timing.missed_deadlines,
        "passed": passed,
    }
