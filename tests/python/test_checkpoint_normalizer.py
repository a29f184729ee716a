"""Statistics given beside a checkpoint: `normalizer=` as a mapping, an .npz, VecNormalize's pickle."""

from __future__ import annotations

import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from checkpoint_modules import Memory, observations, run, saved  # noqa: E402
from torch import nn  # noqa: E402

import rtrnn  # noqa: E402
from rtrnn import FileFormatError, UnsupportedError  # noqa: E402
from rtrnn.importers.checkpoint.inert import Record, load_inert  # noqa: E402

MEAN = np.linspace(-2, 2, 6)
VAR = np.linspace(0.1, 4, 6)


@pytest.fixture
def gru() -> Any:
    torch.manual_seed(6)
    return Memory("rnn", nn.GRU(6, 10))


@pytest.fixture
def path(gru: Any, tmp_path: Path) -> Path:
    return saved(tmp_path, gru.rnn.state_dict())


def agrees(model: rtrnn.Model, gru: Any, eps: float, clip: float) -> None:
    """clip((x - mean) / sqrt(var + eps), -clip, clip), then the module, in float64."""
    xs = observations(6) * 3
    scaled = ((xs.double() - torch.tensor(MEAN)) / torch.sqrt(torch.tensor(VAR) + eps)).clamp(-clip, clip)
    assert scaled.abs().max() == clip  # the bound is met
    np.testing.assert_allclose(model.run(xs), run(gru, scaled, torch.float64), rtol=0, atol=3e-7)


@pytest.mark.parametrize("written", ["mapping", "npz", "path as text"])
def test_mapping_and_npz(written: str, gru: Any, path: Path, tmp_path: Path) -> None:
    statistics: Any = {"mean": MEAN, "var": VAR[None], "eps": 0.01, "clip": 3.0}
    if written != "mapping":
        np.savez(tmp_path / "statistics.npz", **statistics)
        statistics = tmp_path / "statistics.npz"
    model = rtrnn.load(path, normalizer=str(statistics) if written == "path as text" else statistics)
    agrees(model, gru, 0.01, 3.0)
    assert model.metadata["import.normalizer"] == "(x - mean) / sqrt(var + 0.01), within -3 .. 3"


def vecnormalize(protocol: int, **changes: Any) -> bytes:
    """VecNormalize's pickle, made from classes of its names that hold what it holds."""
    module = types.ModuleType("stable_baselines3.common.vec_env.vec_normalize")
    classes = {
        name: type(name, (), {"__module__": module.__name__}) for name in ("VecNormalize", "RunningMeanStd", "Box")
    }
    vars(module).update(classes)
    normalizer, statistics, space = (cls() for cls in classes.values())
    vars(statistics).update(mean=MEAN.copy(), var=VAR.copy(), count=np.float64(12.0))
    vars(space).update(low=np.full(6, -np.inf, np.float32), _np_random=np.random.default_rng(1), dtype=np.dtype("float32"))
    vars(normalizer).update(
        norm_obs=True, epsilon=1e-8, clip_obs=3.0, obs_rms=statistics, observation_space=space, returns=np.zeros(1), training=True
    )
    vars(normalizer).update(changes)
    names = {name: types.ModuleType(name) for name in ("stable_baselines3", "stable_baselines3.common", "stable_baselines3.common.vec_env")}
    names[module.__name__] = module
    before = {name: sys.modules.get(name) for name in names}
    sys.modules.update(names)
    try:
        return pickle.dumps(normalizer, protocol)
    finally:
        for name, old in before.items():
            sys.modules.pop(name) if old is None else sys.modules.update({name: old})


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_vecnormalize(protocol: int, gru: Any, path: Path, tmp_path: Path) -> None:
    (tmp_path / "vecnormalize.pkl").write_bytes(vecnormalize(protocol))
    assert "stable_baselines3" not in sys.modules
    model = rtrnn.load(path, normalizer=tmp_path / "vecnormalize.pkl")
    assert "stable_baselines3" not in sys.modules
    agrees(model, gru, 1e-8, 3.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm_obs": False}, "norm_obs=False"),
        ({"obs_rms": {"a": 1}}, "a Dict observation"),
        ({"epsilon": "small"}, "epsilon 'small'"),
    ],
)
def test_vecnormalize_refused(changes: dict[str, Any], message: str, path: Path, tmp_path: Path) -> None:
    (tmp_path / "vecnormalize.pkl").write_bytes(vecnormalize(4, **changes))
    with pytest.raises(rtrnn.Error, match=message):
        rtrnn.load(path, normalizer=tmp_path / "vecnormalize.pkl")


@pytest.mark.parametrize(
    ("statistics", "message"),
    [
        ({"mean": MEAN}, "expected mean, one of std and var"),
        ({"mean": MEAN, "std": VAR, "var": VAR}, "expected mean, one of std and var"),
        ({"mean": MEAN, "std": VAR, "scale": 1}, "'scale'"),
        ({"mean": MEAN, "std": VAR[:5]}, "mean has 6 values and std 5"),
        ({"mean": MEAN[:5], "std": VAR[:5]}, "the normaliser has 5 elements; expected 6"),
        ({"mean": MEAN, "std": -VAR}, "std is negative at the elements 0, 1, 2, 3, 4, 5"),
        ({"mean": MEAN, "std": np.array([1, 0, 1, 0, 1, 1.0])}, "the deviation of the elements 1, 3 is 0"),
        ({"mean": MEAN, "var": np.array([1, 0, 1, 1, 1, 1.0])}, "the deviation of the elements 1 is 0"),
        ({"mean": np.where(MEAN > 1, np.nan, 0), "std": VAR}, "mean is NaN or infinite at the elements 4, 5"),
        ({"mean": MEAN.reshape(2, 3), "std": VAR}, r"mean has shape \(2, 3\)"),
        ({"mean": MEAN, "std": VAR, "eps": -1.0}, "eps -1.0"),
        ({"mean": MEAN, "std": VAR, "eps": "x"}, "eps is 'x'; expected a number"),
    ],
)
def test_statistics_refused(statistics: dict[str, Any], message: str, path: Path) -> None:
    with pytest.raises(FileFormatError, match=message):
        rtrnn.load(path, normalizer=statistics)


def test_zero_deviation_with_eps_is_taken(path: Path) -> None:
    rtrnn.load(path, normalizer={"mean": MEAN, "std": np.zeros(6), "eps": 0.01})


def test_other_files_and_objects(path: Path, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="normalizer= is a list"):
        rtrnn.load(path, normalizer=[1, 2])
    with pytest.raises(FileNotFoundError):
        rtrnn.load(path, normalizer=tmp_path / "nowhere.npz")
    other = tmp_path / "statistics"
    contents = {b"mean,std": "neither an .npz file nor a pickle", b"PK\3\4xx": "damaged zip", b"\x80\4x": "damaged pickle"}
    for content, message in contents.items():
        other.write_bytes(content)
        with pytest.raises(FileFormatError, match=message):
            rtrnn.load(path, normalizer=other)


def test_statistics_beside_those_of_the_file_are_refused(tmp_path: Path) -> None:
    from test_checkpoint import RslActor, rsl_tree

    with pytest.raises(UnsupportedError, match="holds statistics of its own; expected no normalizer="):
        rtrnn.load(saved(tmp_path, rsl_tree(RslActor("gru"))), activation="elu", normalizer={"mean": MEAN, "std": VAR})


# -- the reader of pickles -----------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<i8", "?"])
def test_arrays_in_pickles(dtype: str, protocol: int) -> None:
    array = (np.arange(12).reshape(3, 4) % 5).astype(dtype)
    tree = {"c": array, "f": np.asfortranarray(array), "scalar": array[1, 2], "text": "x"}
    found = load_inert(pickle.dumps(tree, protocol))
    np.testing.assert_array_equal(found["c"], array)
    np.testing.assert_array_equal(found["f"], array)
    assert found["scalar"] == array[1, 2]
    assert found["text"] == "x"


def test_unknown_objects_are_records(tmp_path: Path) -> None:
    found = load_inert(pickle.dumps(Path(tmp_path)))
    assert isinstance(found, Record)
    assert "pathlib" in found.path


def test_arrays_of_objects_are_left_out() -> None:
    assert load_inert(pickle.dumps({"a": np.array([{"b": 1}, None])}))["a"] is None
