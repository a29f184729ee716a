#!/usr/bin/env python3
"""Prints the table of rtrnn/precision/cost.py for this machine: times linear layers and cells in every precision and fits the costs.

    tools/bench/weight_costs.py [ISA ..]       run it on a quiet machine, pinned to one CPU; about 15 s for each ISA
"""

from __future__ import annotations

import sys
import time

import numpy as np

import rtrnn
from rtrnn import _core
from rtrnn.precision.cost import Costs, cost_name
from rtrnn.precision.matrices import cell_rows, matrices_of

PRECISIONS = ("f32", "f16", "bf16", "i16", "i8a14", "i8")
LINEAR = [(12, 32), (32, 64), (16, 256), (64, 64), (128, 128), (256, 64), (256, 256), (400, 500)]
GRUS = [(16, 16), (32, 32), (64, 64), (64, 128), (500, 600)]
LSTMS = [(47, 64), (64, 32)]
FAR = [(900, 900), (1300, 1300)]
ROUNDS = 40


def networks() -> list[rtrnn.Model]:
    rng = np.random.default_rng(0)

    def tensor(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) / np.sqrt(shape[-1])).astype(np.float32)

    made: list[rtrnn.Model] = [rtrnn.Linear(tensor(rows, cols)) for rows, cols in LINEAR + FAR]
    for kind, inputs, hidden in [(rtrnn.GRU, *size) for size in GRUS] + [(rtrnn.LSTM, *size) for size in LSTMS]:
        rows = hidden * (4 if kind is rtrnn.LSTM else 3)
        made.append(kind(tensor(rows, inputs), tensor(rows, hidden), tensor(rows), tensor(rows)))
    return made


def timed(models: list[rtrnn.Model], isa: str) -> np.ndarray:
    """Nanoseconds of a step: (models, precisions), medians over rounds in which all take turns."""
    timers, counts = [], []
    for model in models:
        size = int(np.prod(next(iter(model.inputs.values()))))
        rows = np.random.default_rng(1).normal(size=16 * size).astype(np.float32)
        for precision in PRECISIONS:
            timer = _core.StepTimer(_core.Plan(model.graph, precision, isa), rows)
            begin = time.perf_counter_ns()
            timer.block(50)
            counts.append(max(5, round(50 * 200_000 / (time.perf_counter_ns() - begin))))
            timers.append(timer)
    taken = np.zeros((ROUNDS, len(timers)))
    for r in range(ROUNDS):
        for i, (timer, count) in enumerate(zip(timers, counts, strict=True)):
            timer.block(min(5, count))
            begin = time.perf_counter_ns()
            timer.block(count)
            taken[r, i] = (time.perf_counter_ns() - begin) / count
    return np.median(taken, 0).reshape(len(models), len(PRECISIONS))


def non_negative_least_squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """By coordinate descent: there are few unknowns."""
    scale = np.maximum(np.linalg.norm(a, axis=0), 1e-30)
    normal, right = (a / scale).T @ (a / scale), (a / scale).T @ b
    x = np.zeros(a.shape[1])
    for _ in range(3000):
        for j in range(len(x)):
            if normal[j, j]:
                x[j] = max(0.0, x[j] + (right[j] - normal[j] @ x) / normal[j, j])
    return x / scale


def fit(models: list[rtrnn.Model], times: np.ndarray, isa: str) -> None:
    """Non-negative least squares of the relative errors; the columns are call, activation, then four of each precision."""
    rows, targets = [], []
    for model, measured in zip(models, times, strict=True):
        matrices = matrices_of(model.graph)
        costs = Costs(model.graph, matrices, isa)
        for w, way in enumerate(PRECISIONS):
            row = np.zeros(2 + 4 * len(PRECISIONS))
            row[:2] = 1, cell_rows(model.graph)
            for m in matrices:
                p = PRECISIONS.index(cost_name(m, way))
                weights = costs.padded(m) / 1000
                row[2 + 4 * p : 6 + 4 * p] += 1, m.cols, *((weights, 0) if costs.is_near else (0, weights))
            rows.append(row / measured[w])
            targets.append(1.0)
    found = non_negative_least_squares(np.array(rows), np.array(targets))
    print(f'    "{isa}": {{  # call {found[0]:.0f} ns, activation {found[1]:.2f} ns')
    for p, precision in enumerate(PRECISIONS):
        fixed, column, near, far = found[2 + 4 * p : 6 + 4 * p]
        print(f'        "{precision}": _Cost({fixed:.0f}, {column:.2f}, {near:.0f}, {far:.0f}),')
    print("    },")
    fitted = (np.array(rows) @ found).reshape(times.shape)
    for model, measured, ratio in zip(models, times, fitted, strict=True):
        shapes = " ".join(f"{m.rows}x{m.cols}" for m in matrices_of(model.graph))
        cells = "  ".join(f"{p} {ns:7.0f} ({r:.2f})" for p, ns, r in zip(PRECISIONS, measured, ratio, strict=True))
        print(f"    # {shapes:18} {cells}")


def main() -> None:
    models = networks()
    for isa in sys.argv[1:] or rtrnn.isa_available():
        fit(models, timed(models, isa), isa)


if __name__ == "__main__":
    main()
