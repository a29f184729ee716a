# %% [markdown]
# # GRU or LSTM?
#
# The three recurrent cells, written by hand from their equations in PyTorch, trained on the same task, converted, and compared: how
# well they do for their size, what a step costs, and what their gates do over time. rtrnn recognises the cells in what was written by
# hand and runs them as its own.

# %% tags=["remove-cell"]
import argparse
import json
from pathlib import Path

options_parser = argparse.ArgumentParser()
options_parser.add_argument("--quick", action="store_true", help="a small run, for tests")
options_parser.add_argument("--output", type=Path, help="a folder for the pictures and the figures as JSON")
options, _ = options_parser.parse_known_args()
results = {}


def keep(figure, name):
    if options.output:
        figure.savefig(options.output / f"{name}.png")


# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

import rtrnn
from rtrnn.bench import measure
from rtrnn.bench.engines import Native
from rtrnn.demo.figure import STYLE

plt.rcParams.update(STYLE)
torch.set_num_threads(1)
COLORS = {"RNN": "#b5651d", "GRU": "#1f6fb4", "LSTM": "#6a4c93"}

# %% [markdown]
# ## The cells
#
# `x` is the input, `h` the state, W and U are matrices, b a bias. A simple recurrent unit has no gate ("Finding Structure in Time", 1990):
#
#     h' = tanh(W x + U h + b)
#
# An LSTM keeps a second state, `c`, behind gates ("Long Short-Term Memory", 1997; with a forget gate "Learning to Forget", 2000):
#
#     i = sigmoid(..)   f = sigmoid(..)   g = tanh(..)   o = sigmoid(..)        each of W x + U h + b with its own W, U, b
#     c' = f * c + i * g        h' = o * tanh(c')
#
# A GRU does with one state and three products ("Learning Phrase Representations using RNN Encoder-Decoder", 2014), here with the
# reset gate behind the product, as cuDNN has it:
#
#     r = sigmoid(..)   z = sigmoid(..)   n = tanh(W_n x + b_n + r * (U_n h + d_n))
#     h' = (1 - z) * n + z * h


# %%
class Cell(nn.Module):
    """What the three have in common: products of x and h, and a linear head."""

    blocks, states = 1, 1

    def __init__(self, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.from_x = nn.Linear(1, self.blocks * hidden_size)
        self.from_h = nn.Linear(hidden_size, self.blocks * hidden_size)
        self.head = nn.Linear(hidden_size, 1)

    def forward(self, x, *state):
        state = self.step(self.from_x(x), *state)
        return self.head(state[0]), *state

    def sequence(self, xs):
        """(T, B, 1) -> (T, B, 1); the products of all x at once."""
        state = [xs.new_zeros(xs.shape[1], self.hidden_size)] * self.states
        hidden = []
        for from_x in self.from_x(xs):
            state = self.step(from_x, *state)
            hidden.append(state[0])
        return self.head(torch.stack(hidden))


class RNN(Cell):
    def step(self, from_x, h):
        return (torch.tanh(from_x + self.from_h(h)),)


class GRU(Cell):
    blocks = 3

    def step(self, from_x, h):
        x_r, x_z, x_n = from_x.chunk(3, -1)
        h_r, h_z, h_n = self.from_h(h).chunk(3, -1)
        r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
        n = torch.tanh(x_n + r * h_n)
        return ((1 - z) * n + z * h,)


class LSTM(Cell):
    blocks, states = 4, 2

    def step(self, from_x, h, c):
        i, f, g, o = (from_x + self.from_h(h)).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


# %% [markdown]
# ## The task
#
# Two sines of unknown periods, amplitudes and phases, one on the other; say the next sample. To do so a network has to find out what
# it is listening to. The first samples are not counted, since nobody can know them.

# %%
STEPS, UNKNOWN = 50, 15


def waves(generator, count):
    """(STEPS + 1, count, 1)."""
    time = np.arange(STEPS + 1)[:, None]
    total = 0.0
    for periods, amplitudes in (((14, 24), (0.4, 0.8)), ((6, 9), (0.1, 0.4))):
        period, amplitude = generator.uniform(*periods, count), generator.uniform(*amplitudes, count)
        total = total + amplitude * np.sin(2 * np.pi * (time / period + generator.uniform(0, 1, count)))
    return torch.from_numpy(total[:, :, None].astype(np.float32))


def rms(predicted, truth):
    return float(np.sqrt(np.mean((predicted[UNKNOWN:] - truth[UNKNOWN:]) ** 2)))


def train(kind, hidden_size, updates):
    torch.manual_seed(0)
    network, generator = kind(hidden_size), np.random.default_rng(0)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1.5e-2, total_steps=updates, pct_start=0.1)
    errors = []
    for _ in range(updates):
        samples = waves(generator, 32)
        loss = (network.sequence(samples[:-1]) - samples[1:])[UNKNOWN:].square().mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        errors.append(loss.item() ** 0.5)
    return network.eval(), errors


# %% [markdown]
# ## Train, convert, check
#
# `rtrnn.from_torch` traces one timestep; the state goes in and out as arguments. What was written as a handful of operations
# arrives as one `rnn`, `gru` or `lstm` node.

# %%
KINDS = {"RNN": RNN, "GRU": GRU, "LSTM": LSTM}
SIZES = (8,) if options.quick else (4, 8, 16, 32)
UPDATES = 150 if options.quick else 300
TEST = waves(np.random.default_rng(123), 200)


def converted(network):
    state = [torch.zeros(1, network.hidden_size)] * network.states
    return rtrnn.from_torch(network, (torch.zeros(1, 1), *state))


def test_error(model):
    """Over 200 waves, each in a stream of a batch: the RMS error of the next sample."""
    batch = model.batch(TEST.shape[1])
    predicted = np.stack([batch.step(x) for x in TEST[:-1].numpy()])
    return rms(predicted, TEST[1:].numpy()), predicted


models, networks, curves = {}, {}, {}


def train_all(name):
    for size in SIZES:
        networks[name, size], curves[name, size] = train(KINDS[name], size, UPDATES)
        model = models[name, size] = converted(networks[name, size])
        (cell,) = [node.op for node in model.graph.nodes if node.op in ("rnn", "gru", "lstm")]
        error, predicted = test_error(model)
        with torch.no_grad():
            apart = float(np.abs(networks[name, size].sequence(TEST[:-1]).numpy() - predicted).max())
        results[f"{name} {size}"] = {"node": cell, "error": error, "parameters": model.parameters, "from_torch": apart}
        print(f"{name:4} of {size:2}: one {cell} node, {model.parameters:5} parameters, RMS error {error:.4f}, {apart:.0e} from PyTorch")


train_all("RNN")

# %%
train_all("GRU")

# %%
train_all("LSTM")
results["last_value"] = rms(TEST[:-1].numpy(), TEST[1:].numpy())
print(f"saying the last sample again: RMS error {results['last_value']:.4f}")

# %% [markdown]
# ## What a step costs
#
# All of them in turns in one run, without Python: what a control loop in C++ would see.

# %%
engines = {key: Native(model) for key, model in models.items()}
for (name, size), engine in engines.items():
    engine.name = f"{name} {size}"
report = measure(list(engines.values()), seconds=0.5 if options.quick else 5)
for figures in report.engines:
    results[figures.name]["ns"] = figures.median_ns
    print(f"{figures.name:>8}: {figures.median_ns:6.0f} ns per step")

# %%
figure, axes = plt.subplots(1, 3, figsize=(12, 3.9), layout="constrained")
for name, color in COLORS.items():
    rows = [results[f"{name} {size}"] for size in SIZES]
    axes[0].plot(SIZES, [row["error"] for row in rows], "o-", color=color, label=name)
    axes[1].plot([row["parameters"] for row in rows], [row["error"] for row in rows], "o-", color=color, label=name)
    axes[2].plot([row["ns"] for row in rows], [row["error"] for row in rows], "o-", color=color, label=name)
for which, label in zip(axes, ("hidden size", "parameters", "ns per step"), strict=True):
    which.set(xscale="log", yscale="log", xlabel=label)
    which.legend(fontsize=9)
axes[0].set_xticks(SIZES, SIZES)
axes[0].minorticks_off()
axes[0].set(ylabel="RMS error of the next sample")
axes[0].set_title("By size")
axes[1].set_title("By parameters")
axes[2].set_title("By what a step costs")
keep(figure, "cells")

# %%
largest = SIZES[-1]
figure, axes = plt.subplots(figsize=(11, 3.4), layout="constrained")
for name, color in COLORS.items():
    smooth = np.convolve(curves[name, largest], np.ones(10) / 10, "valid")
    axes.plot(np.arange(len(smooth)) + 10, smooth, color=color, lw=1.4, label=f"{name} of {largest}")
axes.axhline(results["last_value"], color="#6b737c", lw=0.9, ls=(0, (4, 3)))
axes.text(UPDATES, results["last_value"], "the last sample again", ha="right", va="bottom", fontsize=9, color="#6b737c")
axes.set(yscale="log", xlabel="update", ylabel="RMS error in training", xlim=(0, UPDATES))
axes.set_title("Training")
axes.legend(loc="lower left", fontsize=9)
keep(figure, "training")

# %% [markdown]
# ## What the gates do
#
# `stream.trace(xs)` takes the same steps as `process` and returns what the network keeps to itself. After 40 samples the wave changes to
# another one: the gates answer.

# %%
generator = np.random.default_rng(21)
heard = np.concatenate([waves(generator, 1)[:40, 0], waves(generator, 1)[:40, 0]]).astype(np.float32)
figure, axes = plt.subplots(4, 1, figsize=(11, 8), sharex=True, layout="constrained", height_ratios=(1, 1, 1, 1))
axes[0].plot(heard, color="#9aa3ad", lw=3, label="input")
for name in ("GRU", "LSTM"):
    stream = models[name, largest].stream()
    trace = stream.trace(heard)
    (output,) = trace.outputs.values()
    axes[0].plot(np.arange(1, len(heard) + 1), output[:, 0], color=COLORS[name], lw=1.2, label=f"{name} of {largest}, a step before")
    (gates,) = trace.cells.values()
    if name == "GRU":
        shown = {"update gate z of the GRU": gates["update"]}
    else:
        shown |= {"forget gate f of the LSTM": gates["forget"], "output gate o of the LSTM": gates["output"]}
    stepped = models[name, largest].stream()
    stepped.process(heard)
    assert np.array_equal(stepped.state_vector(), stream.state_vector()), "a trace is not what the stream does"
    results[f"{name} gates"] = {gate: [float(v.min()), float(v.max()), float(v.std(0).max())] for gate, v in gates.items()}
axes[0].set(ylabel="sample", ylim=(-1.7, 1.2))
axes[0].set_title("Two waves, one after the other")
axes[0].legend(loc="lower left", ncols=3, fontsize=9)
for which, (title, values) in zip(axes[1:], shown.items(), strict=True):
    order = np.argsort(values.mean(0))
    image = which.imshow(values[:, order].T, aspect="auto", cmap="viridis", vmin=0, vmax=1, origin="lower", interpolation="nearest")
    which.set(ylabel="unit, by mean")
    which.set_title(title)
axes[-1].set(xlabel="timestep", xlim=(0, len(heard) - 1))
figure.colorbar(image, ax=axes[1:], label="0 closed, 1 open", pad=0.01)
for which in axes:
    which.axvline(39.5, color="#c23b3b", lw=1, ls=(0, (4, 3)))
keep(figure, "gates")

# %% [markdown]
# ## So, which?
#
# The gates pay: GRU and LSTM are ahead of the simple cell at the same size. Between the two, the GRU has three quarters of the
# parameters and of the arithmetic, and one state instead of two. Where a task needs no more, it is the cheaper one; measure both on yours.

# %% tags=["remove-cell"]
if options.output:
    (options.output / "results.json").write_text(json.dumps(results, indent=1))
