"""Operators of the PyTorch front ends, one by one, against PyTorch in float64; live, and traced to TorchScript."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch_modules import FOLDED, check, inputs, steps  # noqa: E402

from rtrnn.errors import UnsupportedError  # noqa: E402
from rtrnn.importers.torch import from_module, load_torchscript  # noqa: E402


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(7)


class Function(nn.Module):
    """A function of one tensor, with layers and tensors of its own."""

    def __init__(self, function: Callable[..., Any], *parts: Any) -> None:
        super().__init__()
        self.function, self.count = function, len(parts)
        self.inner = False
        for i, part in enumerate(parts):
            if isinstance(part, torch.Tensor):
                self.register_buffer(f"part{i}", part)
            else:
                setattr(self, f"part{i}", part)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.inner:
            x = x.squeeze(0)
        return self.function(x, *(getattr(self, f"part{i}") for i in range(self.count)))


def apply(x: torch.Tensor, layer: Any) -> Any:
    return layer(x)


def written(x: torch.Tensor, where: Callable[[torch.Tensor, torch.Tensor], Any]) -> torch.Tensor:
    y = torch.tanh(x)
    where(y, x)
    return y


def _trained(norm: nn.Module, *shape: int) -> nn.Module:
    """A normalisation with statistics and weights that change something."""
    norm.train()
    norm(torch.randn(8, *shape) * 3 + 1)
    for parameter in norm.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    return norm.eval()


MASK = torch.tensor([True, False, True, True])
ROWS = torch.tensor([[1, 0], [2, 2]])
CASES: dict[str, tuple[tuple[int, ...], Callable[[torch.Tensor], torch.Tensor] | Callable[..., Any], tuple[Any, ...]]] = {
    # -- convolutions within the timestep
    "conv1d": ((1, 3, 9), apply, (nn.Conv1d(3, 4, 3),)),
    "conv1d strided": ((1, 3, 9), apply, (nn.Conv1d(3, 4, 3, stride=2, padding=1, bias=False),)),
    "conv1d dilated": ((1, 4, 9), apply, (nn.Conv1d(4, 4, 3, dilation=2, groups=2, padding=2),)),
    "conv1d depthwise": ((1, 4, 9), apply, (nn.Conv1d(4, 8, 3, groups=4),)),
    "conv1d same": ((1, 3, 9), apply, (nn.Conv1d(3, 2, 4, padding="same"),)),
    "conv1d valid": ((1, 3, 9), apply, (nn.Conv1d(3, 2, 4, padding="valid"),)),
    "conv1d unbatched": ((3, 9), apply, (nn.Conv1d(3, 4, 3),)),
    "conv1d pointwise": ((1, 3, 9), apply, (nn.Conv1d(3, 4, 1),)),
    "conv1d reflect": ((1, 3, 9), apply, (nn.Conv1d(3, 4, 3, padding=2, padding_mode="reflect"),)),
    "conv1d circular": ((1, 3, 9), apply, (nn.Conv1d(3, 4, 3, padding=2, padding_mode="circular"),)),
    "conv2d": ((1, 2, 5, 6), apply, (nn.Conv2d(2, 3, (3, 2), stride=(1, 2), padding=(1, 0)),)),
    "conv2d depthwise": ((1, 2, 5, 6), apply, (nn.Conv2d(2, 4, 3, groups=2, dilation=2),)),
    "conv_transpose1d": ((1, 3, 5), apply, (nn.ConvTranspose1d(3, 4, 3, stride=2, padding=1, output_padding=1),)),
    "conv_transpose1d groups": ((1, 4, 5), apply, (nn.ConvTranspose1d(4, 6, 3, groups=2, dilation=2),)),
    "conv_transpose2d": ((1, 2, 3, 4), apply, (nn.ConvTranspose2d(2, 3, (2, 3), stride=2),)),
    "convolution": ((1, 3, 9), lambda x, w: torch.ops.aten.convolution(x, w, None, [1], [1], [1], False, [0], 1),
                    (torch.randn(2, 3, 3),)),
    # -- padding and pooling
    "pad": ((2, 5), lambda x: F.pad(x, (1, 2, 1, 0), value=0.5), ()),
    "pad crop": ((2, 5), lambda x: F.pad(x, (-1, 2)), ()),
    "pad reflect": ((1, 2, 5), lambda x: F.pad(x, (2, 3), mode="reflect"), ()),
    "pad replicate": ((1, 2, 5), lambda x: F.pad(x, (2, 3), mode="replicate"), ()),
    "pad circular": ((1, 2, 5), lambda x: F.pad(x, (2, 3), mode="circular"), ()),
    "constant_pad_nd": ((2, 5), lambda x: torch.ops.aten.constant_pad_nd(x, [1, 1], 0.25), ()),
    "reflection_pad1d": ((1, 2, 5), apply, (nn.ReflectionPad1d(2),)),
    "max_pool1d": ((1, 3, 9), lambda x: F.max_pool1d(x, 3, 2, 1), ()),
    "max_pool1d ceil": ((1, 3, 8), lambda x: F.max_pool1d(x, 3, ceil_mode=True), ()),
    "max_pool2d": ((1, 2, 5, 6), lambda x: F.max_pool2d(x, (2, 3), dilation=2, stride=1), ()),
    "max_pool2d unbatched": ((2, 5, 6), lambda x: F.max_pool2d(x, 2), ()),
    "avg_pool1d": ((1, 3, 9), lambda x: F.avg_pool1d(x, 3, 2, 1), ()),
    "avg_pool1d exclusive": ((1, 3, 9), lambda x: F.avg_pool1d(x, 3, 2, 1, count_include_pad=False), ()),
    "avg_pool2d": ((1, 2, 5, 6), lambda x: F.avg_pool2d(x, 2), ()),
    "adaptive_avg_pool1d": ((1, 3, 9), lambda x: F.adaptive_avg_pool1d(x, 1), ()),
    "adaptive_avg_pool2d": ((1, 3, 4, 6), lambda x: F.adaptive_avg_pool2d(x, (2, 3)), ()),
    "adaptive_max_pool1d": ((1, 3, 9), lambda x: F.adaptive_max_pool1d(x, 3), ()),
    # -- normalisation
    "batch_norm": ((1, 3, 5), apply, (_trained(nn.BatchNorm1d(3), 3, 5),)),
    "batch_norm2d": ((1, 3, 2, 2), apply, (_trained(nn.BatchNorm2d(3), 3, 2, 2),)),
    "batch_norm plain": ((1, 3), apply, (_trained(nn.BatchNorm1d(3, affine=False), 3),)),
    "group_norm": ((1, 6, 5), apply, (_trained(nn.GroupNorm(3, 6), 6, 5),)),
    "instance_norm": ((1, 3, 5), apply, (_trained(nn.InstanceNorm1d(3, affine=True), 3, 5),)),
    "instance_norm tracked": ((1, 3, 5), apply, (_trained(nn.InstanceNorm1d(3, track_running_stats=True), 3, 5),)),
    "layer_norm 2d": ((1, 3, 5), apply, (_trained(nn.LayerNorm((3, 5)), 3, 5),)),
    # -- comparisons and choices
    "where": ((1, 4), lambda x: torch.where(x > 0.1, x, -2 * x), ()),
    "where of two": ((1, 4), lambda x: torch.where(x > x.flip(1), torch.exp(x), 0.0), ()),
    "where mask": ((1, 4), lambda x, m: torch.where(m, x, 3.0), (MASK,)),
    "comparisons": ((1, 4), lambda x: (x < 0).float() + 2 * (x >= 0.2).float() + 4 * (x <= -0.5).to(x.dtype)
                    + 8 * (x != x.max()).float() + 16 * (x == x.min()).float(), ()),
    "logic": ((1, 4), lambda x: ((x > 0) & ~(x > 1) | (x < -1)).float() + torch.logical_xor(x > 0, x > 0.5).float(), ()),
    "masked_fill": ((1, 4), lambda x, m: x.masked_fill(m, 0.5), (MASK,)),
    "masked_fill computed": ((1, 4), lambda x: x.masked_fill(x > 0, -1.0), ()),
    "product with a mask": ((1, 4), lambda x: x * (x > 0), ()),
    "hardshrink": ((1, 4), lambda x: F.hardshrink(x) + F.softshrink(x, 0.3), ()),
    # -- elements
    "index of two": ((3, 4), lambda x, i: x[i, i + 1], (ROWS,)),
    "index of a mask": ((3, 4), lambda x, m: x[:, m], (MASK,)),
    "gather": ((3, 4), lambda x, i: torch.gather(x, 1, i), (ROWS,)),
    "take": ((3, 4), lambda x, i: torch.take(x, i), (ROWS,)),
    "roll": ((3, 4), lambda x: torch.roll(x, (1, -1), (0, 1)) + torch.roll(x, 5), ()),
    "tile": ((1, 4), lambda x: torch.tile(x, (2, 2)), ()),
    "repeat_interleave": ((2, 4), lambda x: torch.repeat_interleave(x, 3, dim=1), ()),
    "unfold": ((1, 6), lambda x: x.unfold(1, 3, 2), ()),
    "diagonal": ((3, 4), lambda x: torch.diagonal(x, 1), ()),
    "tril": ((3, 4), lambda x: torch.tril(x, 1) - torch.triu(x), ()),
    "index_put": ((3, 4), lambda x: written(x, lambda y, v: y.index_put_((torch.tensor([0, 2]),), v[0])), ()),
    "mask write": ((1, 4), lambda x, m: written(x, lambda y, v: y.__setitem__((slice(None), m), 2.0)), (MASK,)),
    "scatter": ((3, 4), lambda x, i: x.scatter(1, i, 2 * x), (ROWS,)),
    "scatter value": ((3, 4), lambda x, i: x.scatter(1, i, 0.5), (ROWS,)),
    "index_copy": ((3, 4), lambda x: x.index_copy(0, torch.tensor([2, 0]), -x[:2]), ()),
    "slice_scatter": ((3, 4), lambda x: torch.slice_scatter(x, -x[:, :2], 1, 1, 4, 2), ()),
    "select_scatter": ((3, 4), lambda x: torch.select_scatter(x, -x[0], 0, 2), ()),
    # -- products
    "matmul of two": ((3, 4), lambda x: x @ x.t(), ()),
    "bmm": ((2, 3, 4), lambda x: torch.bmm(x, x.transpose(1, 2)), ()),
    "baddbmm": ((2, 3, 3), lambda x: torch.baddbmm(x, x, x, beta=0.5, alpha=2.0), ()),
    "einsum linear": ((1, 3, 4), lambda x, w: torch.einsum("bij,kj->bik", x, w), (torch.randn(5, 4),)),
    "einsum contraction": ((1, 3, 4), lambda x, w: torch.einsum("bij,ij->b", x, w), (torch.randn(3, 4),)),
    "einsum of two": ((2, 3, 4), lambda x: torch.einsum("hij,hkj->hik", x, x), ()),
    "attention": ((1, 2, 3, 4), lambda x: F.scaled_dot_product_attention(x, 2 * x, x + 1), ()),
    "attention mask": ((1, 3, 4), lambda x, m: F.scaled_dot_product_attention(x, x, x, attn_mask=m),
                       (torch.ones(3, 3).tril().bool(),)),
    "cumsum": ((2, 5), lambda x: torch.cumsum(x, 1), ()),
    "prelu of channels": ((1, 3, 4), apply, (nn.PReLU(3),)),
    "var": ((3, 4), lambda x: torch.var(x, 1) + x.std(0).sum() + torch.linalg.vector_norm(x, 1), ()),
    "likes": ((1, 4), lambda x: x * torch.ones_like(x) + torch.zeros_like(x) + torch.full_like(x, 2.0), ()),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_operator(name: str, tmp_path: Path) -> None:
    shape, function, parts = CASES[name]
    module = Function(function, *parts)
    if shape[0] != 1:
        # A first axis that runs through to the output would be taken for the batch's.
        module.inner, shape = True, (1, *shape)
    drafts = [from_module(module, torch.randn(shape))]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(module.eval(), torch.randn(shape), check_trace=False), tmp_path / "trace.pt")
    drafts.append(load_torchscript(tmp_path / "trace.pt", example=torch.randn(shape)))
    xs = inputs(shape)
    expected = steps(module, xs)
    scale = max(1.0, *(float(y.abs().max()) for y in expected))
    for draft in drafts:
        check(draft, expected, xs, FOLDED * scale)


# -- convolution over time -----------------------------------------------------------------------------


class Tcn(nn.Module):
    """Two dilated convolutions, a recurrent layer and a head over (batch, time, features)."""

    def __init__(self, padding: str) -> None:
        super().__init__()
        self.padding = padding
        ahead = {"chomp": 1, "slice": 1}.get(padding, 0)
        self.first = nn.Conv1d(3, 4, 3, padding=2 * ahead)
        self.second = nn.Conv1d(4, 4, 2, dilation=3, padding=3 * ahead)
        self.norm = nn.BatchNorm1d(4)
        self.rnn, self.head = nn.GRU(4, 5, batch_first=True), nn.Linear(5, 2)

    def causal(self, x: torch.Tensor, conv: Any, reach: int) -> torch.Tensor:
        if self.padding == "left":
            return conv(F.pad(x, (reach, 0)))
        y = conv(x)
        return y[:, :, :-reach] if self.padding == "chomp" else y[:, :, : x.shape[2]]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x.transpose(1, 2)
        y = torch.relu(self.norm(self.causal(y, self.first, 2)))
        y = torch.relu(self.causal(y, self.second, 3)) + y
        return self.head(self.rnn(y.transpose(1, 2))[0])


def offline(module: nn.Module, xs: list[Any]) -> list[Any]:
    """PyTorch over the whole sequence in one call."""
    with torch.no_grad():
        return list(module.double().eval()(torch.cat(xs, 1))[0])


@pytest.mark.parametrize("form", ["live", "trace", "pt2"])
@pytest.mark.parametrize("frames", [1, 6])
@pytest.mark.parametrize("padding", ["left", "chomp", "slice"])
def test_causal_convolutions_stream(padding: str, frames: int, form: str, tmp_path: Path) -> None:
    module = Tcn(padding).eval()
    nn.init.uniform_(module.norm.running_mean)
    example = torch.randn(1, frames, 3)
    if form == "live":
        draft = from_module(module, example)
    elif form == "trace":
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.jit.save(torch.jit.trace(module, example), tmp_path / "m.pt")
        draft = load_torchscript(tmp_path / "m.pt", example=example)
    else:
        from test_import_pt2 import export, load, save

        draft = load(save(export(module, (example,)), tmp_path / "m.pt2"))
    assert draft.inputs == {"x": (3,)}
    assert sum(len(s.initial.ravel()) for s in draft.states.values()) == 3 * 2 + 4 * 3 + 5
    xs = [torch.randn(1, 1, 3).double() for _ in range(12)]
    check(draft, offline(module, xs), xs, FOLDED)


class Cached(nn.Module):
    """The frames that a convolution needs again, given and returned."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv1d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor, cache: torch.Tensor):
        window = torch.cat([cache, x], dim=2)
        return self.head(self.conv(window).transpose(1, 2)), window[:, :, 1:]


def test_explicit_cache_is_a_state(tmp_path: Path) -> None:
    module = Cached()
    draft = from_module(module, (torch.randn(1, 3, 1), torch.randn(1, 3, 2)))
    assert draft.states["cache"].shape == (3, 2)
    xs = inputs((1, 3, 1))
    check(draft, steps(module, xs, torch.zeros(1, 3, 2).double()), xs)


def test_look_ahead_is_refused() -> None:
    class Ahead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.rnn = nn.Conv1d(3, 4, 3, padding=1), nn.GRU(4, 4, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.rnn(self.conv(x.transpose(1, 2)).transpose(1, 2))[0]

    with pytest.raises(UnsupportedError, match=r"looks 1 frames ahead"):
        from_module(Ahead(), torch.randn(1, 1, 3))


def test_normalisation_over_time_is_refused() -> None:
    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.rnn = nn.GroupNorm(1, 4), nn.GRU(4, 4, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.rnn(self.norm(x.transpose(1, 2)).transpose(1, 2))[0]

    with pytest.raises(UnsupportedError, match=r"group_norm.*over the time axis"):
        from_module(Normalised(), torch.randn(1, 7, 4))


# -- what must not go unnoticed ------------------------------------------------------------------------


def test_training_mode_is_left_out() -> None:
    """A module in training mode is read as in evaluation: dropout does nothing, statistics are the stored ones."""
    module = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), _trained(nn.BatchNorm1d(4), 4)).train()
    draft = from_module(module, torch.zeros(1, 3))
    assert module.training
    xs = inputs((1, 3))
    check(draft, steps(module, xs), xs, FOLDED)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: F.dropout(x, 0.5, training=True), "aten::dropout.*random|aten::dropout.*evaluation"),
        (lambda x: F.batch_norm(x, None, None, training=True), r"statistics of the batch.*module\.eval"),
    ],
)
def test_training_inside_forward_is_refused(function: Callable[[torch.Tensor], torch.Tensor], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        from_module(Function(function), torch.randn(2, 3))


def test_nan_weights_are_named_by_their_path() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.GRUCell(4, 4))
    with torch.no_grad():
        module[1].weight_hh[2, 1] = float("nan")
    import rtrnn

    with pytest.raises(rtrnn.Error, match=r"1\.weight_hh"):
        rtrnn.from_torch(module, torch.zeros(1, 3))


def test_a_deviation_of_zero_is_refused_and_a_tiny_one_remarked() -> None:
    def module(smallest: float) -> nn.Module:
        deviation = torch.tensor([1.0, 0.5, smallest])
        return nn.Sequential(Function(lambda x, d: x / d, deviation), nn.Linear(3, 4))

    with pytest.raises(UnsupportedError, match=r"aten::div.*divisor of shape \(3,\) is zero at elements 2; expected"):
        from_module(module(0.0), torch.zeros(1, 3))
    warned = from_module(module(1e-8), torch.zeros(1, 3)).warnings
    assert any("as small as 1e-08 at elements 2" in text for text in warned)
    assert not from_module(module(1e-3), torch.zeros(1, 3)).warnings


def test_bounds_of_constants_hold() -> None:
    with pytest.raises(UnsupportedError, match="expected at most"):
        from_module(Function(lambda x: x + torch.zeros(1 << 14, 1 << 14).sum()), torch.zeros(1, 3))


def test_results_of_the_engine(tmp_path: Path) -> None:
    """The Graphs of some of the cases in the engine itself."""
    import engine

    for name in ("conv1d strided", "conv2d", "max_pool1d", "where of two", "attention", "einsum of two", "group_norm"):
        shape, function, parts = CASES[name]
        module = Function(function, *parts)
        module.inner = shape[0] != 1
        draft = from_module(module, torch.randn(shape if shape[0] == 1 else (1, *shape)))
        engine.check(draft, engine.random_inputs(draft, 3), rtol=1e-4, atol=1e-5)
