"""Checkpoints: weights without a program, recognised by the names of their tensors.

:data:`RECOGNISERS` are asked in turn; each either knows nothing of the keys (None), or takes the whole actor or refuses.
What a file does not say (the function between linear layers) must be given, unless a library has one default.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rtrnn.errors import UnsupportedError
from rtrnn.importers.archive import check_archive, entry_names, read_entry
from rtrnn.importers.checkpoint import plain, rl_games, rsl_rl, sample_factory, sb3
from rtrnn.importers.checkpoint.network import Checkpoint
from rtrnn.importers.checkpoint.reading import read_json, read_safetensors, read_torch
from rtrnn.importers.checkpoint.weights import first_keys
from rtrnn.importers.draft import Draft

if TYPE_CHECKING:
    from rtrnn.formats import LoadOptions

__all__ = ["RECOGNISERS", "load_checkpoint", "load_json", "load_safetensors", "load_sb3"]

RECOGNISERS: tuple[Callable[[Checkpoint], Draft | None], ...] = (
    rsl_rl.recognise,
    sb3.recognise,
    sample_factory.recognise,
    rl_games.recognise,
    plain.recognise_module,
    plain.recognise_chain,
)
_KNOWN = (
    "a recurrent actor of rsl_rl, RecurrentPPO (sb3-contrib), Sample Factory or rl_games, the state_dict of one GRU, LSTM or RNN, "
    "or recurrent and linear modules in a row"
)


def load_checkpoint(path: Path, options: LoadOptions) -> Draft:
    """What ``torch.save`` wrote: a state dict, or a dict that holds some."""
    tree = read_torch(path)
    if not isinstance(tree, Mapping):
        raise UnsupportedError(f"{path}: holds a {type(tree).__name__}; expected a state_dict, or a dict with one in it")
    return _recognised(Checkpoint(path, tree, options))


def load_sb3(path: Path, options: LoadOptions) -> Draft:
    """The archive of ``RecurrentPPO.save``."""
    data = sb3.parse_data(read_entry(path, "data"), str(path)) if "data" in entry_names(path) else None
    with tempfile.TemporaryDirectory() as folder:
        inner = Path(folder) / "policy.pth"
        inner.write_bytes(read_entry(path, "policy.pth"))
        if inner.read_bytes()[:2] == b"PK":
            check_archive(inner)
        tree = read_torch(inner)
    if not isinstance(tree, Mapping):
        raise UnsupportedError(f"{path}: policy.pth holds a {type(tree).__name__}; expected a state_dict")
    checkpoint = Checkpoint(path, tree, options)
    draft = sb3.recognise(checkpoint, data)
    if draft is None:
        raise UnsupportedError(
            f"{path}: a Stable-Baselines3 archive with the tensors {first_keys(tree)}; expected RecurrentPPO's lstm_actor and "
            "action_net. Export other policies (ONNX, TorchScript)"
        )
    return draft


def load_safetensors(path: Path, options: LoadOptions) -> Draft:
    """A state dict as safetensors, whose tensors stand in no order that says anything."""
    return _recognised(Checkpoint(path, read_safetensors(path), options, ordered=False))


def load_json(path: Path, options: LoadOptions) -> Draft:
    """A state dict as JSON: nested lists by name."""
    return _recognised(Checkpoint(path, read_json(path), options))


def _recognised(checkpoint: Checkpoint) -> Draft:
    for recogniser in RECOGNISERS:
        draft = recogniser(checkpoint)
        if draft is not None:
            return draft
    raise UnsupportedError(
        f"{checkpoint.path}: a checkpoint whose keys say no known network: {first_keys(checkpoint.tree)}; expected {_KNOWN}. Export "
        "the network itself (ONNX, TorchScript), give it to rtrnn.from_torch, or build it with rtrnn.Sequential"
    )
