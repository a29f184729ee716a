"""Runs the loop in a thread, and counts in Python what another thread gets done meanwhile."""

import argparse
import sys
import threading
import time

import numpy as np
from control_loop import run

import rtrnn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("observations", help="float32 values, one row of all inputs per timestep")
    parser.add_argument("--rate", type=float, default=1000, help="Hz")
    parser.add_argument("--seconds", type=float, default=0, help="0: once through the file, and print the actions")
    args = parser.parse_args()

    model = rtrnn.load(args.model)
    stream = model.stream()
    inputs, outputs = (sum(int(np.prod(s)) for s in shapes.values()) for shapes in (model.inputs, model.outputs))
    observations = np.fromfile(args.observations, "<f4").reshape(-1, inputs)
    actions = np.zeros((len(observations), outputs), np.float32)
    result = []
    loop = threading.Thread(target=lambda: result.append(run(stream, observations, actions, args.rate, args.seconds)))
    began, longest, turns = time.perf_counter(), 0.0, 0
    loop.start()
    while loop.is_alive():   # pure Python: stands still whenever somebody holds the GIL
        turn = time.perf_counter()
        sum(range(100))
        longest = max(longest, time.perf_counter() - turn)
        turns += 1
    loop.join()
    if not result:
        raise SystemExit(1)
    steps, late = result[0]
    if args.seconds == 0:
        for y in actions.view(np.uint32):
            print(*(f"{bits:08x}" for bits in y))
    print(
        f"{steps} steps in {time.perf_counter() - began:.2f} s, {late} late; meanwhile Python took {turns} turns, "
        f"the longest {longest * 1e3:.2f} ms",
        file=sys.stderr,
    )


main()
