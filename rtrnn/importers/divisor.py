"""Constant divisors: the deviations of a normaliser."""

from __future__ import annotations

import numpy as np

from rtrnn.errors import UnsupportedError
from rtrnn.importers.builder import Builder, Sym

__all__ = ["check_divisor"]

#: A deviation below this part of the largest one is taken for that of an input which never varied.
_TINY = 1e-6


def check_divisor(b: Builder, x: Sym, divisor: Sym, name: str, where: str) -> None:
    """A normaliser must not divide by a deviation of zero, and one that nearly is zero deserves a word.

    `name` is the divisor's in the file, with a blank behind it, or empty; `where` names the node in the warning. Raises
    :class:`UnsupportedError`.
    """
    values = divisor.const
    if x.const is not None or values is None or not values.size:
        return
    sizes = np.abs(values)
    zero = np.flatnonzero(sizes == 0)
    if zero.size:
        raise UnsupportedError(
            f"its divisor {name}of shape {values.shape} is zero at {_some(zero)}; expected a divisor other than zero, "
            "such as a deviation plus a small number: the step would give infinities"
        )
    tiny = np.flatnonzero(sizes < _TINY * sizes.max())
    if tiny.size:
        b.draft.warnings.append(
            f"{where}: its divisor {name}is as small as {float(sizes.min()):.3g} at {_some(tiny)} and as large as "
            f"{float(sizes.max()):.3g}: an input that hardly varied in training is amplified"
        )


def _some(places: np.ndarray) -> str:
    """``elements 1, 3, ..``: the first few."""
    shown = ", ".join(str(int(i)) for i in places[:8])
    return f"elements {shown}{', ..' if places.size > 8 else ''}"
