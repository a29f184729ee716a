"""Statistics of observations: what `normalizer=` may be, and what networks keep of their own."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rtrnn.errors import FileFormatError, UnsupportedError
from rtrnn.importers.archive import check_archive
from rtrnn.importers.checkpoint.inert import Record, load_inert

__all__ = ["Statistics", "given_statistics"]

_KEYS = ("mean", "std", "var", "eps", "clip")
_MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class Statistics:
    """``(x - mean) / deviation``, then bounded to -clip .. clip; `mean` and `deviation` are (N,) in float64."""

    mean: np.ndarray
    deviation: np.ndarray
    clip: float | None
    equation: str

    @classmethod
    def of(
        cls,
        where: str,
        mean: Any,
        *,
        std: Any = None,
        var: Any = None,
        eps: float = 0.0,
        clip: float | None = None,
    ) -> Statistics:
        """With `std`: ``(x - mean) / (std + eps)``; with `var`: ``(x - mean) / sqrt(var + eps)``.

        Raises :class:`FileFormatError` for shapes that differ and values that no normaliser can have.
        """
        name = "var" if std is None else "std"
        mean, spread = _vector(where, "mean", mean), _vector(where, name, var if std is None else std)
        if mean.shape != spread.shape:
            raise FileFormatError(f"{where}: mean has {mean.size} values and {name} {spread.size}; expected as many")
        if not np.isfinite(eps) or eps < 0 or (clip is not None and not clip > 0):
            raise FileFormatError(f"{where}: eps {eps}, clip {clip}; expected eps of at least 0 and clip above 0")
        if np.any(spread < 0):
            raise FileFormatError(f"{where}: {name} is negative at the elements {_at(spread < 0)}")
        deviation = spread + eps if std is not None else np.sqrt(spread + eps)
        flat = deviation.astype(np.float32) == 0
        if np.any(flat):
            raise FileFormatError(
                f"{where}: the deviation of the elements {_at(flat)} is 0, and (x - mean) / 0 is not a number: these never "
                "changed in training. Give eps with the statistics, or a deviation of 1 for them"
            )
        equation = f"(x - mean) / (std + {eps:g})" if std is not None else f"(x - mean) / sqrt(var + {eps:g})"
        bound = None if clip is None or np.isinf(clip) else float(clip)
        return cls(mean, deviation, bound, equation + (f", within {-bound:g} .. {bound:g}" if bound else ""))


def given_statistics(normalizer: Any) -> Statistics:
    """`normalizer=` of :func:`rtrnn.load`: a mapping, an ``.npz`` file with the same names, or VecNormalize's pickle.

    A mapping holds ``mean`` (N), and ``std`` or ``var`` (N), perhaps ``eps`` (0) and ``clip``. A pickle is read without
    running it: of Stable-Baselines3's VecNormalize the arrays in obs_rms, epsilon and clip_obs are taken.

    Raises :class:`FileFormatError`, :class:`UnsupportedError`, TypeError, OSError.
    """
    if isinstance(normalizer, Mapping):
        return _from_mapping("normalizer=", normalizer)
    if not isinstance(normalizer, (str, os.PathLike)):
        raise TypeError(
            f"normalizer= is a {type(normalizer).__name__}; expected a mapping with mean and std or var, or the path of an .npz "
            "or of VecNormalize's .pkl"
        )
    path = Path(normalizer)
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise FileFormatError(f"{path}: {size} bytes; expected statistics, at most {_MAX_BYTES} bytes")
    data = path.read_bytes()
    if data[:2] == b"PK":
        check_archive(path)
        return _from_mapping(str(path), _npz(path, data))
    if data[:1] == b"\x80":
        return _from_vecnormalize(path, data)
    raise FileFormatError(f"{path}: neither an .npz file nor a pickle; expected statistics of observations as one of these")


def _npz(path: Path, data: bytes) -> dict[str, Any]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise FileFormatError(f"{path}: a damaged .npz file: {error}") from None


def _from_mapping(where: str, values: Mapping[str, Any]) -> Statistics:
    unknown = [key for key in values if key not in _KEYS]
    if unknown or "mean" not in values or ("std" in values) == ("var" in values):
        raise FileFormatError(f"{where}: holds {sorted(map(str, values))}; expected mean, one of std and var, perhaps eps and clip")
    scalars = {}
    for key in ("eps", "clip"):
        if values.get(key) is not None:
            try:
                scalars[key] = float(np.asarray(values[key]).item())
            except (ValueError, TypeError):
                raise FileFormatError(f"{where}: {key} is {values[key]!r}; expected a number") from None
    return Statistics.of(where, values["mean"], std=values.get("std"), var=values.get("var"), **scalars)


def _from_vecnormalize(path: Path, data: bytes) -> Statistics:
    try:
        found = load_inert(data)
    except pickle.UnpicklingError as error:
        raise FileFormatError(f"{path}: a damaged pickle: {error}") from None
    if isinstance(found, dict) and "mean" in found:
        return _from_mapping(str(path), found)
    if not isinstance(found, Record) or "obs_rms" not in found._known():
        kind = found.path if isinstance(found, Record) else type(found).__name__
        raise UnsupportedError(f"{path}: a pickled {kind}; expected Stable-Baselines3's VecNormalize, with obs_rms")
    if not found.get("norm_obs", True):
        raise UnsupportedError(f"{path}: VecNormalize with norm_obs=False leaves observations as they are; leave out normalizer=")
    rms = found.get("obs_rms")
    if not isinstance(rms, Record):
        raise UnsupportedError(f"{path}: VecNormalize of a Dict observation; expected one vector: pass mean, var, eps and clip")
    mean, var, eps, clip = rms.get("mean"), rms.get("var"), found.get("epsilon"), found.get("clip_obs")
    if not all(isinstance(number, (int, float)) for number in (eps, clip)):
        raise FileFormatError(f"{path}: VecNormalize with epsilon {eps!r} and clip_obs {clip!r}; expected numbers")
    return Statistics.of(str(path), mean, var=var, eps=float(eps), clip=float(clip))


def _vector(where: str, name: str, values: Any) -> np.ndarray:
    try:
        array = np.asarray(values, np.float64)
    except (ValueError, TypeError):
        array = np.zeros((0, 0))
    if array.size == 0 or max(array.shape, default=1) != array.size:
        raise FileFormatError(f"{where}: {name} has shape {array.shape}; expected one vector of numbers")
    if not np.all(np.isfinite(array)):
        raise FileFormatError(f"{where}: {name} is NaN or infinite at the elements {_at(~np.isfinite(array.reshape(-1)))}")
    return array.reshape(-1)


def _at(mask: np.ndarray) -> str:
    found = np.flatnonzero(mask)
    return ", ".join(map(str, found[:8])) + (f" and {found.size - 8} more" if found.size > 8 else "")
