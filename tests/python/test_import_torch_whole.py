"""PyTorch programs that compute over the whole time axis are refused; those that treat every timestep alike load and agree."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("onnxruntime", reason="the networks are those of test_adversarial")

from test_adversarial import ALIKE, WHOLE, A, F, Net  # noqa: E402

import rtrnn  # noqa: E402

#: The time axis is lost before the first layer runs over it, so that it is not known to be one.
UNSEEN = {"flipped inputs", "every second", "softmax of the inputs"}


def module(forward: Any) -> Any:
    torch.manual_seed(0)
    return Net(forward).eval()


def imported(net: Any, x: Any, how: str, folder: Path) -> rtrnn.Model:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if how == "live":
            return rtrnn.from_torch(net, (x,))
        path = folder / "net.pt"
        torch.jit.trace(net, x, check_trace=False).save(str(path))
        return rtrnn.load(path)


SEEN = sorted(WHOLE.keys() - UNSEEN)


@pytest.mark.parametrize(
    ("name", "how", "steps"),
    [(name, how, 8) for name in SEEN for how in ("live", "traced")] + [(name, "live", 1) for name in SEEN[::4]],
)
def test_what_needs_the_whole_sequence_is_refused(name: str, steps: int, how: str, tmp_path: Path) -> None:
    with pytest.raises((rtrnn.UnsupportedError, rtrnn.FileFormatError)):
        imported(module(WHOLE[name]), torch.zeros(1, steps, F), how, tmp_path)


@pytest.mark.parametrize("how", ["live", "traced"])
@pytest.mark.parametrize("name", ALIKE)
def test_what_treats_timesteps_alike_agrees(name: str, how: str, tmp_path: Path) -> None:
    net = module(ALIKE[name])
    stream = imported(net, torch.zeros(1, 8, F), how, tmp_path).stream()
    xs = np.random.default_rng(0).normal(size=(1, 12, F)).astype(np.float32)
    found = np.stack([np.array(stream.step(x)).ravel() for x in xs[0]])
    with torch.no_grad():
        expected = net(torch.from_numpy(xs)).numpy().reshape(-1, A)
    np.testing.assert_allclose(found[-len(expected) :], expected, 2e-6, 2e-6)


def test_values_that_are_not_finite_say_nothing(tmp_path: Path) -> None:
    net = module(lambda m, x: m.head(m.batch_first(x)[0]) + torch.log(x[..., :1]))
    assert imported(net, torch.ones(1, 8, F), "live", tmp_path).inputs == {"args.0": (F,)}
