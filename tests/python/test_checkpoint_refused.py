"""A checkpoint is read, never run: files with other things than tensors are refused, whatever they would have done."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from checkpoint_modules import saved  # noqa: E402
from torch import nn  # noqa: E402

import rtrnn  # noqa: E402
from rtrnn import FileFormatError, UnsupportedError  # noqa: E402


class Payload:
    """Its pickle makes the file `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


def test_payload_works(tmp_path: Path) -> None:
    """The attack is a real one: pickle itself runs it."""
    pickle.loads(pickle.dumps(Payload(tmp_path / "run"))).close()
    assert (tmp_path / "run").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_payload_in_a_checkpoint(zipped: bool, tmp_path: Path) -> None:
    tree = {"model": nn.GRU(3, 4).state_dict(), "extra": Payload(tmp_path / "run")}
    path = tmp_path / "model.pt"
    torch.save(tree, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnsupportedError, match=r"pickled Python objects \(.*open\).*Save the state_dict.*rtrnn\.from_torch"):
        rtrnn.load(path)
    assert not (tmp_path / "run").exists()


def test_payload_in_the_policy_of_an_archive(tmp_path: Path) -> None:
    inner = saved(tmp_path, {"a": Payload(tmp_path / "run")}, "policy.pth")
    path = tmp_path / "policy.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(inner, "policy.pth")
    with pytest.raises(UnsupportedError, match="pickled Python objects"):
        rtrnn.load(path)
    assert not (tmp_path / "run").exists()


def test_payload_in_statistics(tmp_path: Path) -> None:
    statistics = tmp_path / "vecnormalize.pkl"
    statistics.write_bytes(pickle.dumps(Payload(tmp_path / "run")))
    with pytest.raises(UnsupportedError, match="expected Stable-Baselines3's VecNormalize"):
        rtrnn.load(saved(tmp_path, nn.GRU(3, 4).state_dict()), normalizer=statistics)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_module(zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(nn.GRU(3, 4), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnsupportedError, match=r"torch\.nn\.modules\.rnn\.GRU.*Save the state_dict"):
        rtrnn.load(path)


def test_numpy_numbers_beside_the_weights_are_passed_over(tmp_path: Path) -> None:
    tree = {"model": nn.GRU(3, 4).state_dict(), "best": np.float64(2.0), "history": np.arange(5)}
    assert list(rtrnn.load(saved(tmp_path, tree)).states) == ["gru.h"]


def test_numpy_stays_forbidden_to_others(tmp_path: Path) -> None:
    path = saved(tmp_path, {"model": nn.GRU(3, 4).state_dict(), "best": np.float64(2.0)})
    before = set(torch.serialization.get_safe_globals())
    rtrnn.load(path)
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (torch.zeros(3), "holds a Tensor; expected a state_dict"),
        ([torch.zeros(3)], "holds a list"),
        ({}, "keys say no known network: none"),
        ({f"k{i}": torch.zeros(1) for i in range(20)}, r"'k0', .*'k11' and 8 more; expected a recurrent actor of rsl_rl"),
        ({"gru.weight_ih_l0": torch.zeros(1).expand(30000, 30000)}, "an element of its own for each"),
        ({"gru.weight_ih_l0": torch.zeros(3, 3).to_sparse()}, "dense tensor"),
    ],
)
def test_other_content(tree: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=message):
        rtrnn.load(saved(tmp_path, tree))


def test_tensors_that_only_claim_their_size(tmp_path: Path) -> None:
    """Strides of 0: a file of a few bytes with a tensor of many gigabytes."""
    tensors = {**nn.GRU(3, 4).state_dict(), "weight_ih_l0": torch.zeros(1).expand(12, 1 << 36)}
    with pytest.raises(UnsupportedError, match=r"'weight_ih_l0' .*\.contiguous\(\)"):
        rtrnn.load(saved(tmp_path, tensors))


def test_cut_short(tmp_path: Path) -> None:
    path = saved(tmp_path, nn.GRU(3, 4).state_dict())
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(FileFormatError, match=r"model\.pt"):
        rtrnn.load(path)
    torch.save(nn.GRU(3, 4).state_dict(), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FileFormatError, match="a damaged PyTorch checkpoint"):
        rtrnn.load(path)


def test_options_of_other_formats(tmp_path: Path) -> None:
    path = saved(tmp_path, nn.GRU(3, 4).state_dict())
    with pytest.raises(ValueError, match="gru_reset= has no meaning for a PyTorch checkpoint file; its options are activation="):
        rtrnn.load(path, gru_reset="after")
