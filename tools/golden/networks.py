"""The networks behind tests/golden: each as a Draft and, where PyTorch has the operations, as a PyTorch float64 run.

Weights come from NumPy's generator and are float32 numbers, so that both forms hold the same network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from rtrnn.importers.builder import Builder, CellWeights, Sym
from rtrnn.importers.draft import Draft

__all__ = ["REDUCED", "Golden", "networks"]

#: Networks whose bits are stored for every precision: each cell, odd sizes, initial and unbounded states, large inputs, a policy.
REDUCED = (
    "gru_100",
    "gru_reset_before_13",
    "lstm_31_initial",
    "lstm_large_inputs",
    "lstm_peephole",
    "lstm_projection",
    "policy_gru_encoder",
    "rnn_relu_16",
)

#: (T, input) -> (T, output), both float64.
Run = Callable[[np.ndarray], np.ndarray]


@dataclass
class Golden:
    """One network. Without `run`, the reference evaluator of the tests is what the outputs are compared with."""

    name: str
    draft: Draft
    run: Run | None = None
    steps: int = 64
    scale: float = 1.0


# -- networks that PyTorch has -------------------------------------------------------------------------


class Normalise(nn.Module):
    """(x - mean) / deviation, as policies carry it in front."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.mean, self.deviation = nn.Parameter(torch.zeros(size)), nn.Parameter(torch.ones(size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.mean) / self.deviation


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy()


def _emit_recurrent(b: Builder, module: nn.RNNBase, x: Sym, initial: Sequence[np.ndarray]) -> Sym:
    kind = {"GRU": "gru", "LSTM": "lstm"}.get(module.mode, "rnn")
    attributes = {"activations": ["relu"]} if module.mode == "RNN_RELU" else {}
    for layer in range(module.num_layers):
        names = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if module.bias else [])]
        weights = CellWeights(**{name: _array(getattr(module, f"{name}_l{layer}")) for name in names})
        if module.proj_size:
            weights.weight_hr = _array(getattr(module, f"weight_hr_l{layer}"))
        states = [b.const(state[layer][None]) for state in initial]
        x, _ = b.layer(kind, x, states, [(weights, attributes)], 0, 1)
    return x


def _emit(b: Builder, module: nn.Module, x: Sym) -> Sym:
    match module:
        case nn.Linear():
            return b.linear(x, _array(module.weight), None if module.bias is None else _array(module.bias))
        case nn.LayerNorm():
            return b.layer_norm(x, _array(module.weight), _array(module.bias), module.eps)
        case Normalise():
            shifted = b.binary("sub", x, b.const(_array(module.mean)))
            return b.binary("div", shifted, b.const(_array(module.deviation)))
        case nn.Softmax():
            return b.softmax(x)
        case nn.ELU():
            return b.unary("elu", x, alpha=module.alpha)
        case nn.LeakyReLU():
            return b.unary("leaky_relu", x, alpha=module.negative_slope)
        case nn.Softplus():
            return b.unary("softplus", x, alpha=module.beta, beta=module.threshold)
    plain = {nn.ReLU: "relu", nn.Tanh: "tanh", nn.Sigmoid: "sigmoid", nn.SiLU: "silu", nn.GELU: "gelu", nn.Mish: "mish"}
    return b.unary(plain[type(module)], x)


def _from_torch(name: str, input_size: int, *modules: nn.Module, initial: float = 0.0, scale: float = 1.0) -> Golden:
    """A chain of modules; `initial` bounds the initial states."""
    seed = sum(map(ord, name))
    rng = np.random.default_rng(seed)
    for module in modules:
        for parameter in module.parameters():
            bound = 1 / math.sqrt(parameter.shape[-1]) if parameter.ndim == 2 else 0.5
            drawn = rng.uniform(-bound, bound, parameter.shape)
            if isinstance(module, nn.LayerNorm | Normalise):
                drawn += 1
            parameter.data = torch.from_numpy(drawn.astype(np.float32))
    b = Builder()
    y = b.input("x", (1, 1, input_size))
    states: dict[int, list[np.ndarray]] = {}
    for k, module in enumerate(modules):
        if isinstance(module, nn.RNNBase):
            sizes = [module.proj_size or module.hidden_size] + [module.hidden_size] * (module.mode == "LSTM")
            bounds = [rng.uniform(-initial, initial, (module.num_layers, size)) for size in sizes]
            states[k] = [s.astype(np.float32) for s in bounds]
            y = _emit_recurrent(b, module, y, states[k])
        else:
            y = _emit(b, module, y)
    b.draft.outputs["y"] = b.value(y)

    def run(xs: np.ndarray) -> np.ndarray:
        value = torch.from_numpy(xs)[:, None]
        with torch.no_grad():
            for k, module in enumerate(modules):
                module = module.double()
                if isinstance(module, nn.RNNBase):
                    first = [torch.from_numpy(s).double()[:, None] for s in states[k]]
                    value, _ = module(value, first[0] if len(first) == 1 else tuple(first))
                else:
                    value = module(value)
        return value[:, 0].numpy()

    return Golden(name, b.draft, run, scale=scale)


def _torch_networks() -> list[Golden]:
    make = _from_torch
    return [
        make("rnn_tanh_7", 3, nn.RNN(3, 7)),
        make("rnn_relu_16", 5, nn.RNN(5, 16, nonlinearity="relu", bias=False)),
        make("gru_8", 1, nn.GRU(1, 8)),
        make("gru_17_initial", 6, nn.GRU(6, 17), initial=1.0),
        make("gru_100", 21, nn.GRU(21, 100)),
        make("gru_stack_33", 9, nn.GRU(9, 33, 2), nn.Linear(33, 5)),
        make("lstm_3_wide_input", 70, nn.LSTM(70, 3)),
        make("lstm_16_no_bias", 4, nn.LSTM(4, 16, bias=False)),
        make("lstm_31_initial", 10, nn.LSTM(10, 31), initial=2.0),
        make("lstm_stack_20", 12, nn.LSTM(12, 20, 3)),
        make("lstm_projection", 8, nn.LSTM(8, 24, proj_size=9), nn.Linear(9, 4)),
        make("lstm_large_inputs", 5, nn.LSTM(5, 12), scale=30.0),
        make("policy_lstm_elu", 47, Normalise(47), nn.LSTM(47, 64), nn.Linear(64, 32), nn.ELU(), nn.Linear(32, 12)),
        make("policy_gru_encoder", 22, nn.Linear(22, 16), nn.ReLU(), nn.GRU(16, 16), nn.Linear(16, 4), nn.Tanh()),
        make("norm_softmax", 11, nn.Linear(11, 19), nn.LayerNorm(19), nn.GRU(19, 13), nn.Linear(13, 6), nn.Softmax(-1)),
        make("head_silu_gelu_mish", 5, nn.Linear(5, 37), nn.SiLU(), nn.Linear(37, 10), nn.GELU(), nn.Mish()),
        make("head_softplus_leaky", 150, nn.Linear(150, 9), nn.Softplus(2.0, 10.0), nn.Linear(9, 9), nn.LeakyReLU(0.2)),
    ]


# -- convolutions ----------------------------------------------------------------------------------------


def _drawn(module: nn.Module, seed: int) -> nn.Module:
    rng = np.random.default_rng(seed)
    for parameter in module.parameters():
        bound = 1 / math.sqrt(parameter[0].numel())
        parameter.data = torch.from_numpy(rng.uniform(-bound, bound, parameter.shape).astype(np.float32))
    return module


def _weights(module: nn.Module, suffix: str = "_l0") -> CellWeights:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return CellWeights(*(_array(getattr(module, f"{name}{suffix}")) for name in names))


def _conv_encoder(name: str) -> Golden:
    """Blocks of samples: a strided convolution, a depthwise one, channels mixed, a two-dimensional one, an LSTM."""
    layers = [
        nn.Conv1d(1, 20, 16, 8, 4),
        nn.Conv1d(20, 20, 3, padding=1, groups=20),
        nn.Conv1d(20, 12, 1, bias=False),
        nn.Conv2d(3, 6, (3, 2), (2, 1), (1, 0), groups=3),
    ]
    functions = ["relu", "silu", "tanh", "relu"]
    layers = [_drawn(layer, k) for k, layer in enumerate(layers)]
    lstm = _drawn(nn.LSTM(84, 11), 9)
    b = Builder()
    y = b.input("x", (1, 1, 64))
    for layer, function in zip(layers, functions, strict=True):
        if isinstance(layer, nn.Conv2d):
            y = b.reshape(y, (1, 3, 4, 8))
        bias = None if layer.bias is None else _array(layer.bias)
        pads = [(p, p) for p in layer.padding]
        y = b.conv(y, _array(layer.weight), bias, strides=layer.stride, pads=pads, groups=layer.groups)
        y = b.unary(function, y)
    y, _ = b.layer("lstm", b.reshape(y, (1, 1, 84)), [b.const(np.zeros((1, 11)))] * 2, [(_weights(lstm), {})], 0, 1)
    b.draft.outputs["y"] = b.value(y)

    def run(xs: np.ndarray) -> np.ndarray:
        value = torch.from_numpy(xs)[:, None]
        with torch.no_grad():
            for layer, function in zip(layers, functions, strict=True):
                if isinstance(layer, nn.Conv2d):
                    value = value.reshape(-1, 3, 4, 8)
                value = layer.double()(value)
                value = nn.functional.silu(value) if function == "silu" else getattr(torch, function)(value)
            return lstm.double()(value.reshape(-1, 1, 84))[0][:, 0].numpy()

    return Golden(name, b.draft, run)


def _causal_convolutions(name: str) -> Golden:
    """Over time: dilated convolutions with states of their own, plain and depthwise; then a layer over the features of a frame."""
    layers = [nn.Conv1d(5, 8, 3), nn.Conv1d(8, 8, 3, dilation=2, groups=8), nn.Conv1d(8, 8, 2, dilation=4, groups=2)]
    layers = [_drawn(layer, k) for k, layer in enumerate(layers)]
    across = _drawn(nn.GRU(2, 3, bidirectional=True), 9)
    b = Builder()
    b.dynamic_axes.add(("x", 2))
    y = b.input("x", (1, 5, 1))
    for layer in layers:
        span = (layer.kernel_size[0] - 1) * layer.dilation[0]
        options = {"dilations": layer.dilation, "groups": layer.groups}
        y = b.unary("relu", b.conv(y, _array(layer.weight), _array(layer.bias), pads=[(span, 0)], **options))
    cells = [(_weights(across), {}), (_weights(across, "_l0_reverse"), {"direction": "reverse"})]
    zero = b.const(np.zeros((2, 3), np.float32))
    y, _ = b.layer("gru", b.reshape(y, (4, 1, 2)), [zero], cells, 0, 1)
    b.draft.outputs["y"] = b.value(y)

    def run(xs: np.ndarray) -> np.ndarray:
        value = torch.from_numpy(xs).T[None]
        with torch.no_grad():
            for layer in layers:
                span = (layer.kernel_size[0] - 1) * layer.dilation[0]
                value = torch.relu(layer.double()(nn.functional.pad(value, (span, 0))))
            frames = value[0].T.reshape(-1, 4, 2).transpose(0, 1)
            return across.double()(frames)[0].transpose(0, 1).numpy()

    return Golden(name, b.draft, run)


# -- cells written by hand -----------------------------------------------------------------------------


def _minimal_gru(name: str, size: int, hidden: int) -> Golden:
    """h' = (1 - z) h + z tanh(W x), z = sigmoid(U x): no product with h at all."""
    rng = np.random.default_rng(size)
    w, u = (rng.uniform(-1, 1, (hidden, size)).astype(np.float32) for _ in range(2))
    b = Builder()
    x, h = b.input("x", (size,)), b.state("h", np.zeros(hidden))
    z, n = b.unary("sigmoid", b.linear(x, u)), b.unary("tanh", b.linear(x, w))
    h_next = b.binary("add", h, b.binary("mul", z, b.binary("sub", n, h)))
    b.set_next(h, h_next)
    b.draft.outputs["y"] = b.value(h_next)

    def run(xs: np.ndarray) -> np.ndarray:
        state, ys = torch.zeros(hidden, dtype=torch.float64), []
        for x in torch.from_numpy(xs):
            gate = torch.sigmoid(torch.from_numpy(u).double() @ x)
            state = (1 - gate) * state + gate * torch.tanh(torch.from_numpy(w).double() @ x)
            ys.append(state)
        return torch.stack(ys).numpy()

    return Golden(name, b.draft, run)


def _normalised_gru(name: str, size: int, hidden: int) -> Golden:
    """A GRU with layer normalisation of its sums, which no fused node has."""
    rng = np.random.default_rng(hidden)
    bound = 1 / math.sqrt(hidden)
    w_ih = rng.uniform(-bound, bound, (3 * hidden, size)).astype(np.float32)
    w_hh = rng.uniform(-bound, bound, (3 * hidden, hidden)).astype(np.float32)
    b = Builder()
    x, h = b.input("x", (size,)), b.state("h", np.zeros(hidden))
    gi = b.split(b.layer_norm(b.linear(x, w_ih), None, None, 1e-5), 0, [hidden] * 3)
    gh = b.split(b.layer_norm(b.linear(h, w_hh), None, None, 1e-5), 0, [hidden] * 3)
    r, z = (b.unary("sigmoid", b.binary("add", gi[k], gh[k])) for k in range(2))
    n = b.unary("tanh", b.binary("add", gi[2], b.binary("mul", r, gh[2])))
    h_next = b.binary("add", n, b.binary("mul", z, b.binary("sub", h, n)))
    b.set_next(h, h_next)
    b.draft.outputs["y"] = b.value(h_next)

    def run(xs: np.ndarray) -> np.ndarray:
        matrices = torch.from_numpy(w_ih).double(), torch.from_numpy(w_hh).double()
        state, ys = torch.zeros(hidden, dtype=torch.float64), []
        for x in torch.from_numpy(xs):
            sums = [nn.functional.layer_norm(m @ v, [3 * hidden]) for m, v in zip(matrices, (x, state), strict=True)]
            (i_r, i_z, i_n), (h_r, h_z, h_n) = (s.chunk(3) for s in sums)
            z = torch.sigmoid(i_z + h_z)
            state = (1 - z) * torch.tanh(i_n + torch.sigmoid(i_r + h_r) * h_n) + z * state
            ys.append(state)
        return torch.stack(ys).numpy()

    return Golden(name, b.draft, run)


# -- what PyTorch lacks --------------------------------------------------------------------------------


def _cell(name: str, kind: str, size: int, hidden: int, peephole: bool = False, **attributes: Any) -> Golden:
    rng = np.random.default_rng(sum(map(ord, name)))
    rows = {"rnn": 1, "gru": 3, "lstm": 4}[kind] * hidden
    bound = 1 / math.sqrt(hidden)

    def drawn(*shape: int) -> np.ndarray:
        return rng.uniform(-bound, bound, shape).astype(np.float32)

    weights = CellWeights(drawn(rows, size), drawn(rows, hidden), drawn(rows), drawn(rows))
    if peephole:
        weights.peephole = drawn(3 * hidden)
    b = Builder()
    x = b.input("x", (size,))
    states = [b.state(s, drawn(hidden)) for s in ("hc" if kind == "lstm" else "h")]
    nexts = b.cell(kind, x, states, weights, attributes)
    for state, following in zip(states, nexts, strict=True):
        b.set_next(state, following)
    b.draft.outputs.update({f"{s}_next": b.value(v) for s, v in zip("hc", nexts, strict=False)})
    return Golden(name, b.draft)


def _functions(name: str) -> Golden:
    """Every unary function, side by side."""
    b = Builder()
    x = b.input("x", (13,))
    positive = b.binary("add", b.unary("abs", x), b.const(np.float32(0.125)))
    anywhere = [
        *("neg", "abs", "sign", "erf", "floor", "ceil", "exp", "relu", "leaky_relu", "elu", "selu", "celu"),
        *("sigmoid", "tanh", "softplus", "softsign", "gelu", "gelu_tanh", "silu", "mish", "hard_sigmoid"),
        *("hard_swish", "thresholded_relu", "scaled_tanh", "affine", "clip"),
    ]
    parts = [b.unary(op, x) for op in anywhere] + [b.unary(op, positive) for op in ("sqrt", "log", "reciprocal")]
    parts += [b.unary("clip", x, alpha=-0.5, beta=0.75), b.unary("scaled_tanh", x, alpha=1.5, beta=0.75)]
    b.draft.outputs["y"] = b.value(b.concat(parts, 0))
    return Golden(name, b.draft, steps=24, scale=2.0)


def _arithmetic(name: str) -> Golden:
    """Binary operations with broadcasting, reductions, softmax and rearrangements, over two inputs."""
    b = Builder()
    x, a = b.input("x", (4, 5)), b.input("a", (5,))
    total = b.binary("max", b.binary("add", x, a), b.binary("mul", x, b.const(np.float32(0.5))))
    power = b.binary("pow", b.unary("sigmoid", total), b.const(np.float32([0.5, 1, 1.5, 2, 3])))
    ratio = b.binary("div", power, b.binary("min", b.unary("exp", a), b.const(np.float32(2))))
    moved = b.permute(ratio, [1, 0])
    parts = [b.reduce(op, moved, [axis], False) for op in ("reduce_sum", "reduce_mean") for axis in (0, 1)]
    parts += [b.reduce(op, ratio, None, False) for op in ("reduce_max", "reduce_min")]
    picked = b.gather(moved, 0, np.array([4, 0, 2]))
    flat = [b.reshape(v, (v.size,)) for v in (*parts, b.softmax(picked), b.slice(moved, 1, 0, 4, 2))]
    b.draft.outputs.update(y=b.value(b.concat(flat, 0)), z=b.value(moved))
    return Golden(name, b.draft)


def _delay_line(name: str) -> Golden:
    """A filter over the last inputs, held in states that pass them on."""
    b = Builder()
    x = b.input("x", (3,))
    taps = [b.state(f"tap{k}", np.full(3, k / 4)) for k in range(4)]
    for state, following in zip(taps, [x, *taps[:-1]], strict=True):
        b.set_next(state, following)
    weight = np.random.default_rng(0).uniform(-1, 1, (10, 15)).astype(np.float32)
    b.draft.outputs["y"] = b.value(b.linear(b.concat([x, *taps], 0), weight))
    b.draft.outputs["oldest"] = b.value(taps[-1])
    return Golden(name, b.draft)


def networks() -> list[Golden]:
    return [
        *_torch_networks(),
        _minimal_gru("composed_minimal_gru", 6, 21),
        _normalised_gru("composed_normalised_gru", 5, 14),
        _cell("gru_reset_before_13", "gru", 7, 13, reset="before"),
        _cell("gru_other_activations", "gru", 4, 18, activations=["hard_sigmoid", "softsign"]),
        _cell("gru_reset_before_clip", "gru", 4, 18, reset="before", clip=0.25),
        _cell("rnn_scaled_tanh", "rnn", 4, 9, activations=["scaled_tanh"], alpha=[1.5], beta=[0.75]),
        _cell("lstm_peephole", "lstm", 6, 15, peephole=True),
        _cell("lstm_input_forget_clip", "lstm", 6, 15, input_forget=1, clip=0.5),
        _cell("lstm_other_activations", "lstm", 5, 10, activations=["hard_sigmoid", "elu", "softsign"]),
        _functions("unary_functions"),
        _arithmetic("arithmetic"),
        _delay_line("delay_line"),
        _conv_encoder("conv_encoder"),
        _causal_convolutions("causal_convolutions"),
    ]
