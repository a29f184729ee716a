"""PyTorch: live modules through torch.export, programs saved by torch.export, and TorchScript archives."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from rtrnn.errors import MissingExtraError
from rtrnn.importers.draft import Draft

if TYPE_CHECKING:
    from torch import nn

    from rtrnn.formats import LoadOptions

__all__ = ["from_module", "load_program", "load_script", "load_torchscript"]


def load_script(path: Path, options: LoadOptions) -> Draft:
    """The loader of :data:`rtrnn.formats.FORMATS` for TorchScript."""
    return load_torchscript(
        path, example=options.example, states=options.states, initial_states=options.initial_states
    )


def load_program(path: Path, options: LoadOptions) -> Draft:
    """A program of ``torch.export.save`` (``.pt2``) as a finished Draft; the loader of :data:`rtrnn.formats.FORMATS`.

    The program is read at one timestep: sizes that it leaves open are 1, and so is an axis that turns out to be time or
    batch. Buffers that it writes become states with the file's values as initial values. torch's own loader, which
    unpickles objects, is not used.

    Raises :class:`FileFormatError`, :class:`UnsupportedError`, :class:`StateError`, :class:`MissingExtraError`.
    """
    _require_torch()
    from rtrnn.importers.torch.pt2 import import_program

    return import_program(path, states=options.states, initial_states=options.initial_states)


def from_module(
    module: nn.Module,
    example: Any = None,
    *,
    states: Mapping[str, str | None] | None = None,
    initial_states: Mapping[str, npt.ArrayLike] | None = None,
) -> Draft:
    """A live module as a finished Draft; the module itself is not changed.

    `example` is the tensor or array, or the tuple of them, of one call ``module(*example)`` for one timestep: time and
    batch axes of size 1 (other sizes are cut to 1). It may be None for a recurrent layer, a cell, or a Sequential that
    begins with a Linear. State is carried from: arguments returned in a result of the same shape, buffers and tensor
    attributes that forward writes, and recurrent layers that are given no state. `states` forces pairs argument ->
    result (None: it is data), `initial_states` gives initial values by state name.

    Raises :class:`UnsupportedError`, :class:`StateError`, :class:`MissingExtraError`.
    """
    _require_torch()
    from rtrnn.importers.torch.export import import_module

    return import_module(module, example, states=states, initial_states=initial_states)


def load_torchscript(
    path: str | os.PathLike[str],
    *,
    example: Any = None,
    states: Mapping[str, str | None] | None = None,
    initial_states: Mapping[str, npt.ArrayLike] | None = None,
) -> Draft:
    """A TorchScript archive as a finished Draft.

    The shapes of forward's arguments are found by trying those that the weights suggest; `example` (as for
    :func:`from_module`) overrides them. Buffers that forward writes become states with the file's values as initial
    values. `states` and `initial_states` are as for :func:`from_module`.

    Raises :class:`FileFormatError`, :class:`UnsupportedError`, :class:`StateError`, :class:`MissingExtraError`.
    """
    _require_torch()
    from rtrnn.importers.torch.script import import_archive

    return import_archive(path, example=example, states=states, initial_states=initial_states)


def _require_torch() -> None:
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("PyTorch import needs torch: pip install 'rtrnn[torch]'") from error
