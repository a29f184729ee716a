"""Derives the coefficients of the elementary functions in cpp/src/kernels (see README.md here)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple

import mpmath as mp

Function = Callable[[mp.mpf], mp.mpf]
mp.mp.dps = 40


class Fit(NamedTuple):
    """P(t) / Q(t), coefficients from t^0 up, and the largest weighted error found."""

    error: mp.mpf
    p: list[mp.mpf]
    q: list[mp.mpf]


class Target(NamedTuple):
    """What to fit: f(t) on [low, high] by degrees (p, q); |error| * weight(t) counts."""

    f: Function
    low: mp.mpf
    high: mp.mpf
    degrees: tuple[int, int]
    weight: Function
    unit_constants: bool = False  # fix P(0) = Q(0) = 1, else only Q(0) = 1


def rational_fit(target: Target, points: int = 160, rounds: int = 60) -> Fit:
    """Minimises the largest weighted error of P/Q - f over Chebyshev points."""
    low, high = mp.mpf(target.low), mp.mpf(target.high)
    scale = max(abs(low), abs(high))
    ts = [low + (high - low) * (1 - mp.cos(mp.pi * (i + mp.mpf(0.5)) / points)) / 2 for i in range(points)]
    values = [target.f(t) for t in ts]
    weights = [target.weight(t) for t in ts]
    start = 1 if target.unit_constants else 0
    p_powers = range(start, target.degrees[0] + 1)
    q_powers = range(1, target.degrees[1] + 1)
    size = len(p_powers) + len(q_powers)
    emphasis = [mp.mpf(1)] * points
    denominators = [mp.mpf(1)] * points
    best: Fit | None = None
    for _ in range(rounds):
        matrix, right = mp.matrix(size, size), mp.matrix(size, 1)
        for t, value, weight, factor, denominator in zip(
            ts, values, weights, emphasis, denominators, strict=True
        ):
            x, w = t / scale, weight / denominator
            row = [x**k * w for k in p_powers] + [-value * x**k * w for k in q_powers]
            goal = (value - start) * w
            for i in range(size):
                right[i] += factor * row[i] * goal
                for j in range(size):
                    matrix[i, j] += factor * row[i] * row[j]
        solution = mp.lu_solve(matrix, right)
        p = [mp.mpf(1)] * start + [solution[i] for i in range(len(p_powers))]
        q = [mp.mpf(1)] + [solution[len(p_powers) + i] for i in range(len(q_powers))]
        denominators = [mp.polyval(q[::-1], t / scale) for t in ts]
        errors = [
            abs(mp.polyval(p[::-1], t / scale) / d - v) * w
            for t, d, v, w in zip(ts, denominators, values, weights, strict=True)
        ]
        if best is None or max(errors) < best.error:
            best = Fit(
                max(errors), [c / scale**i for i, c in enumerate(p)], [c / scale**i for i, c in enumerate(q)]
            )
        total = sum(e * f for e, f in zip(errors, emphasis, strict=True))
        emphasis = [f * e * points / total + mp.mpf(10) ** -12 for e, f in zip(errors, emphasis, strict=True)]
    assert best is not None
    return best


def series(f: Function, limit: mp.mpf) -> Function:
    """f, but its limit where t is too small for the difference quotient."""
    return lambda t: f(t) if abs(t) > mp.mpf(10) ** -9 else limit


def doubling_weight(u: mp.mpf) -> mp.mpf:
    """How much a relative error of tanh(x/2), u = x^2, moves tanh(x)."""
    t = mp.tanh(mp.sqrt(u) / 2)
    return (1 - t * t) / (1 + t * t) * mp.sqrt(u) / (2 * t)


HALF_LN2 = mp.log(2) / 2 * mp.mpf("1.01")
HALF, THIRD = mp.mpf(1) / 2, mp.mpf(1) / 3
ROOT_LOW, ROOT_HIGH = mp.sqrt(HALF) - mp.mpf("1.001"), mp.sqrt(2) - mp.mpf("0.999")


def exp_rest(r: mp.mpf) -> mp.mpf:
    return (mp.exp(r) - 1 - r) / r**2


def mills(a: mp.mpf) -> mp.mpf:
    return mp.erfc(a / mp.sqrt(2)) / 2 * mp.exp(a * a / 2)


TARGETS: dict[str, Target] = {
    "tanh: 2 tanh(x/2) / x in x^2": Target(
        lambda u: 2 * mp.tanh(mp.sqrt(u) / 2) / mp.sqrt(u),
        mp.mpf("1e-8"),
        mp.mpf("8.4") ** 2,
        (2, 3),
        doubling_weight,
        True,
    ),
    "exp: (exp(r) - 1 - r) / r^2": Target(
        series(exp_rest, HALF), -HALF_LN2, HALF_LN2, (4, 0), lambda r: r * r / mp.exp(r)
    ),
    "expm1: (exp(r) - 1 - r) / r^2": Target(
        series(exp_rest, HALF), -HALF_LN2, HALF_LN2, (5, 0), lambda r: abs(r * r / mp.expm1(r))
    ),
    "log: (log(1 + f) - f + f^2/2) / f^3": Target(
        series(lambda f: (mp.log1p(f) - f + f * f / 2) / f**3, THIRD),
        ROOT_LOW,
        ROOT_HIGH,
        (7, 0),
        lambda f: abs(f**3 / mp.log1p(f)),
    ),
    "normal tail: (1 - Phi(a)) exp(a^2/2)": Target(
        mills, mp.mpf(0), mp.mpf(15), (4, 5), lambda a: 1 / mills(a)
    ),
    "erf: erf(x) / x in x^2": Target(
        lambda u: mp.erf(mp.sqrt(u)) / mp.sqrt(u),
        mp.mpf("1e-12"),
        mp.mpf(1),
        (6, 0),
        lambda u: mp.sqrt(u) / mp.erf(mp.sqrt(u)),
    ),
    "log2: (atanh(s)/s - 1) / s^2 in s^2": Target(
        series(lambda u: (mp.atanh(mp.sqrt(u)) / mp.sqrt(u) - 1) / u, THIRD),
        mp.mpf(0),
        mp.mpf("0.0295"),
        (3, 0),
        lambda u: u,
    ),
    "exp2: (2^r - 1) / r": Target(
        series(lambda r: (mp.mpf(2) ** r - 1) / r, mp.log(2)), mp.mpf("-0.505"), mp.mpf("0.505"), (5, 0), abs
    ),
}


def main(names: list[str]) -> None:
    for name, target in TARGETS.items():
        if names and name.split(":")[0] not in names:
            continue
        fit = rational_fit(target)
        print(f"{name}: error {mp.nstr(fit.error * 2**24, 4)} * 2^-24")
        print("  P", [mp.nstr(c, 12) for c in fit.p])
        if target.degrees[1]:
            print("  Q", [mp.nstr(c, 12) for c in fit.q])


if __name__ == "__main__":
    main(sys.argv[1:])
