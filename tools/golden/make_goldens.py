"""Writes tests/golden: small networks, inputs, float64 outputs, and the bits the engine gives.

    python tools/golden/make_goldens.py [--out DIR] [NAME ...]

For each network NAME of networks.py:

    NAME.rtrnn       the Graph
    NAME.json        {"steps": T, "inputs": {name: shape}, "outputs": {name: shape}}, in declared order
    NAME.x.f32       raw little-endian float32: each input's whole sequence (T, size), one input after the other
    NAME.y.f64.npy   the outputs in the same layout, float64, from PyTorch or the tests' evaluator
    NAME.y.f32       the outputs in the same layout, raw little-endian float32: what the scalar ISA computes, to the bit
    NAME.P.y.f32     the same with weights in precision P, for the networks of networks.REDUCED

The last two change only when the engine's arithmetic changes, which is then a decision and not an accident.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

import rtrnn

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tools" / "golden"), str(ROOT / "tests" / "python")]

from engine import Values, steps  # noqa: E402
from networks import REDUCED, Golden, networks  # noqa: E402
from reference import Evaluator  # noqa: E402

#: The reference must be far better than float32, or it would say nothing about the engine.
TOLERANCE = 1e-11


def joined(sequence: list[Values]) -> np.ndarray:
    """Each value's whole sequence, one value after the other."""
    return np.concatenate([np.ravel([values[name] for values in sequence]) for name in sequence[0]])


def reference(golden: Golden, sequence: list[Values]) -> np.ndarray:
    """The float64 outputs; PyTorch and the evaluator must agree where both know the network."""
    evaluator = Evaluator(golden.draft)
    evaluated = joined([evaluator.step(inputs) for inputs in sequence])
    if golden.run is None:
        return evaluated
    (x,) = sequence[0]
    y = golden.run(np.stack([inputs[x] for inputs in sequence]).astype(np.float64)).ravel()
    difference = np.abs(y - evaluated).max()
    if not difference < TOLERANCE:
        raise SystemExit(f"{golden.name}: PyTorch and the evaluator differ by {difference:.1e}, expected < {TOLERANCE}")
    return y


def write(golden: Golden, out: Path) -> None:
    draft = golden.draft
    rng = np.random.default_rng(len(golden.name))
    shapes = draft.inputs.items()
    sequence = [
        {name: (golden.scale * rng.normal(size=shape)).astype(np.float32) for name, shape in shapes}
        for _ in range(golden.steps)
    ]
    model = rtrnn.Model(draft.build())
    model.save(out / f"{golden.name}.rtrnn")
    outputs = {name: list(draft.shapes[value]) for name, value in draft.outputs.items()}
    description = {"steps": golden.steps, "inputs": {k: list(v) for k, v in shapes}, "outputs": outputs}
    (out / f"{golden.name}.json").write_text(json.dumps(description) + "\n")
    joined(sequence).astype("<f4").tofile(out / f"{golden.name}.x.f32")
    want = reference(golden, sequence)
    np.save(out / f"{golden.name}.y.f64.npy", want)
    have = joined(steps(model, draft, sequence, isa="scalar"))
    have.astype("<f4").tofile(out / f"{golden.name}.y.f32")
    if golden.name in REDUCED:
        for weights in ("f16", "bf16", "i16", "i8"):
            reduced = joined(steps(model, draft, sequence, isa="scalar", weights=weights))
            reduced.astype("<f4").tofile(out / f"{golden.name}.{weights}.y.f32")
    error = np.abs(have - want).max() / max(1.0, np.abs(want).max())
    print(f"{golden.name:28} {golden.steps:4} steps, error {error:.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks to write (default: all)")
    parser.add_argument("--out", type=Path, default=ROOT / "tests" / "golden")
    arguments = parser.parse_args()
    known = {golden.name: golden for golden in networks()}
    if unknown := set(arguments.names) - set(known):
        parser.error(f"no network named {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or known:
        write(known[name], arguments.out)


if __name__ == "__main__":
    main()
