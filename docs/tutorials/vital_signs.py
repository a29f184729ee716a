# %% [markdown]
# # A generator that listens to itself
#
# A recurrent network that predicts the next sample, and how unsure it is, can draw: sample from what it predicts, feed the sample back,
# go on. What comes out is a new series of the kind it was trained on. Here the series looks like a bedside monitor: an
# electrocardiogram, blood pressure and breathing, three channels that belong together. They are made by a formula, for a small network
# to learn in a minute or so; they are no medical data.
#
# The noise is an input of its own, so that the stream stays a function of its inputs: the same noise gives the same series, to the bit.

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
from rtrnn.bench.engines import Native, Step
from rtrnn.demo.figure import STYLE

plt.rcParams.update(STYLE)
torch.set_num_threads(1)
torch.manual_seed(0)
RATE = 20  # Hz
CHANNELS = ("ECG", "blood pressure", "breathing")
HIDDEN = 48

# %% [markdown]
# ## What it learns from
#
# Beats come 60 to 80 times a minute and breaths 12 to 18 times; breathing moves the heart's rate and the pressure a little, as it does
# in people. Each channel has a mean of about 0 and a deviation of about 1.


# %%
def monitor(generator, count, seconds):
    """(T, count, 3) series of that kind."""
    time = np.arange(round(seconds * RATE))[:, None] / RATE
    breath = 2 * np.pi * (generator.uniform(12, 18, count) / 60 * time + generator.uniform(0, 1, count))
    heart = generator.uniform(60, 80, count) / 60 + 0.05 * np.sin(breath)
    beat = (np.cumsum(heart, 0) / RATE + generator.uniform(0, 1, count)) % 1
    spike = 4 * np.exp(-(((beat - 0.3) / 0.055) ** 2)) + 0.9 * np.exp(-(((beat - 0.62) / 0.09) ** 2)) - 0.55
    pressure = np.exp(-3 * ((beat - 0.4) % 1)) * (1 - np.exp(-18 * ((beat - 0.4) % 1)))
    series = np.stack([spike, 5.5 * (pressure - 0.28) + 0.25 * np.sin(breath), 1.4 * np.sin(breath)], 2)
    return (series + 0.05 * generator.standard_normal(series.shape)).astype(np.float32)


# %% [markdown]
# ## The network
#
# From the last sample to a mean and a deviation for each channel of the next one. As a stream it also takes the noise and gives the
# sample: `y = mean + deviation * noise`.


# %%
class Generator(nn.Module):
    """`forward(last (1, 3), noise (1, 3), h_in (1, 1, H)) -> (sample (1, 3), h_out)`."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(3, HIDDEN)
        self.head = nn.Linear(HIDDEN, 6)

    def predicted(self, hidden):
        mean, spread = self.head(hidden).chunk(2, -1)
        return mean, nn.functional.softplus(spread) + 0.02

    def forward(self, last, noise, h_in):
        hidden, h_out = self.rnn(last.unsqueeze(0), h_in)
        mean, deviation = self.predicted(hidden.squeeze(0))
        return mean + deviation * noise, h_out


def train(network, updates, batch=24, seconds=9):
    """Maximum likelihood of the next sample. Noise on what goes in teaches the network to find its way back from its own mistakes."""
    generator = np.random.default_rng(0)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1.2e-2, total_steps=updates, pct_start=0.1)
    losses = []
    for _ in range(updates):
        series = torch.from_numpy(monitor(generator, batch, seconds))
        given = series[:-1] + 0.1 * torch.randn_like(series[:-1])
        mean, deviation = network.predicted(network.rnn(given)[0])
        loss = nn.functional.gaussian_nll_loss(mean[10:], series[11:], deviation[10:] ** 2)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    return losses


network = Generator()
losses = train(network, 200 if options.quick else 700)
results["loss"] = float(np.mean(losses[-20:]))
print(f"loss {losses[0]:.2f} at first, {results['loss']:.2f} at the end")

# %% [markdown]
# ## As a stream, fed back on itself
#
# Two inputs, one output. Three seconds of a true series set the scene; from there on the stream hears only itself.

# %%
example = (torch.zeros(1, 3), torch.zeros(1, 3), torch.zeros(1, 1, HIDDEN))
model = rtrnn.from_torch(network.eval(), example)
print(model)


def draw(stream, start, seconds, seed):
    """What follows `start` (T, 3): (seconds * RATE, 3)."""
    generator = np.random.default_rng(seed)
    noise = generator.standard_normal((len(start) + round(seconds * RATE), 3)).astype(np.float32)
    stream.reset()
    for sample in start:
        y = stream.step((sample, noise[0]))
    drawn = []
    for given in noise[len(start) :]:
        drawn.append(y)
        y = stream.step((y, given))
    return np.array(drawn)


stream = model.stream()
truth = monitor(np.random.default_rng(7), 1, 33)[:, 0]
drawn = draw(stream, truth[: 3 * RATE], 30, seed=1)
assert np.array_equal(drawn, draw(model.stream(), truth[: 3 * RATE], 30, seed=1)), "the same noise gave another series"

# %%
figure, rows = plt.subplots(3, 2, figsize=(11, 5.2), sharex=True, sharey="row", layout="constrained")
shown = slice(0, 10 * RATE)
for row, name, color in zip(range(3), CHANNELS, ("#2d8577", "#c23b3b", "#1f6fb4"), strict=True):
    for axes, series, title in zip(rows[row], (truth[3 * RATE :], drawn), ("made by the formula", "drawn by the network"), strict=True):
        axes.plot(np.arange(10 * RATE) / RATE, series[shown, row], color=color, lw=1.3)
        if row == 0:
            axes.set_title(title)
        if row == 2:
            axes.set(xlabel="time (s)", xlim=(0, 10))
    rows[row, 0].set_ylabel(name)
keep(figure, "series")

# %% [markdown]
# ## Are they of the same kind?
#
# Not the same series, but the same rates, the same spread, and channels that go together: pressure rises after each spike of the
# electrocardiogram. Many series are drawn at once, as a batch.


# %%
def rate_per_minute(series, low, high):
    """Of (T, count): the strongest frequency between two, per minute."""
    spectrum = np.abs(np.fft.rfft((series - series.mean(0)) * np.hanning(len(series))[:, None], 8 * len(series), axis=0))
    frequency = 60 * np.fft.rfftfreq(8 * len(series), 1 / RATE)
    band = (frequency >= low) & (frequency <= high)
    return frequency[band][spectrum[band].argmax(0)]


def lag(series):
    """Of (T, count, 3): how many seconds the pressure follows the spikes, by their correlation."""
    steps = range(RATE // 2)
    products = [(series[: len(series) - k, :, 0] * series[k:, :, 1]).mean() for k in steps]
    return int(np.argmax(products)) / RATE


COUNT, SECONDS = 64, 20
generator = np.random.default_rng(3)
real = monitor(generator, COUNT, 3 + SECONDS)
batch = model.batch(COUNT)
y = np.zeros((COUNT, 3), np.float32)
made = []
for at in range((3 + SECONDS) * RATE):
    last = real[at] if at < 3 * RATE else y
    y = batch.step((last, generator.standard_normal((COUNT, 3)).astype(np.float32)))
    made.append(y)
real, made = real[3 * RATE :], np.array(made)[3 * RATE :]
rows = {
    "heart rate (per minute)": [float(np.median(rate_per_minute(s[:, :, 0], 40, 120))) for s in (real, made)],
    "breaths (per minute)": [float(np.median(rate_per_minute(s[:, :, 2], 6, 30))) for s in (real, made)],
    "deviation of the ECG": [float(s[:, :, 0].std()) for s in (real, made)],
    "deviation of the pressure": [float(s[:, :, 1].std()) for s in (real, made)],
    "deviation of the breathing": [float(s[:, :, 2].std()) for s in (real, made)],
    "pressure behind ECG (s)": [lag(s) for s in (real, made)],
}
results["kinds"] = rows
print(f"{'':28}formula  network")
for name, (a, b) in rows.items():
    print(f"{name:28}{a:7.2f}  {b:7.2f}")

# %%
report = measure([Step(model), Native(model)], seconds=0.4 if options.quick else 2)
for each in report.engines:
    print(f"{each.name:>14}: {each.median_ns:5.0f} ns per sample of all three channels")
results["ns"] = {each.name: each.median_ns for each in report.engines}

# %% tags=["remove-cell"]
if options.output:
    (options.output / "results.json").write_text(json.dumps(results, indent=1))
