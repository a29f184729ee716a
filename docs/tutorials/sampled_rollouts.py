# %% [markdown]
# # Sampled rollouts: one state, 512 futures
#
# A controller has been running for a while; its recurrent state holds what it has understood so far. What will happen next if
# somebody pushes? Nobody knows the pushes, but they can be sampled: the state is forked into many streams, each meets a future of
# its own, and all of them step together as a **batch**. Planners, world models and language models all sample this way.
#
# The policy is the one that comes with the package: a GRU that balances a pole on a cart and is given two noisy positions and no
# velocity. Nothing but rtrnn, NumPy and Matplotlib is needed.

# %% tags=["remove-cell"]
import argparse
import json
from itertools import pairwise
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

from rtrnn import demo
from rtrnn.bench import measure
from rtrnn.bench.engines import timed_calls
from rtrnn.demo import cartpole
from rtrnn.demo.figure import STYLE

plt.rcParams.update(STYLE)
FUTURES = 64 if options.quick else 512
BEFORE, AHEAD, RATE = 1.0, 1.0 if options.quick else 2.5, 1000  # seconds, seconds, control steps per second

model = demo.load("cartpole_gru")
scale = float(model.metadata["action_scale"])  # the network's output is a share of the largest force
print(model)

# %% [markdown]
# ## The past: one stream
#
# The policy balances for a second. What it has seen is in `stream.state()`, what the world has come to is in `world`: both are
# needed to go on from here.

# %%
stream = model.stream()
given = cartpole.conditions(seed=5, seconds=BEFORE, rate=RATE)
past = cartpole.simulate(lambda observation: scale * float(stream.step(observation)[0]), given)
world = tuple(past.states[-1])
print(f"the pole leans by {np.degrees(world[2]):.2f} degrees, the cart is at {world[0]:.3f} m")
print("state:", {name: value.shape for name, value in stream.state().items()})

# %% [markdown]
# ## The futures: one batch
#
# A batch of `n` streams takes the state of one of them repeated `n` times. From there on every row is a sequence of its own: the
# weights are read once for all rows, so a row costs less than a step of a lone stream.

# %%
batch = model.batch(FUTURES)
batch.set_state({name: np.repeat(value[None], FUTURES, 0) for name, value in stream.state().items()})


def push_of(generator, steps):
    """Pushes of up to 22 N at a random moment, for a tenth of a second: (steps, futures), N."""
    begin = generator.integers(0, steps // 2, FUTURES)
    force = generator.uniform(-22, 22, FUTURES)
    time = np.arange(steps)[:, None]
    return np.where((time >= begin) & (time < begin + RATE // 10), force, 0.0)


generator = np.random.default_rng(1)
steps = round(AHEAD * RATE)
pushes = push_of(generator, steps)
noise = generator.standard_normal((steps, FUTURES, 2)) * (cartpole.POSITION_NOISE, cartpole.ANGLE_NOISE)

state = tuple(np.full(FUTURES, value) for value in world)
angles, observed = np.zeros((steps, FUTURES)), np.zeros((steps, FUTURES, 2), np.float32)
forces = np.zeros((steps, FUTURES), np.float32)
upright = np.ones(FUTURES, bool)
for step in range(steps):
    observed[step] = np.stack([state[0], state[2]], 1) + noise[step]
    forces[step] = batch.step(observed[step])[:, 0]
    command = np.clip(scale * forces[step], -cartpole.FORCE_LIMIT, cartpole.FORCE_LIMIT)
    moved = cartpole.advance(state, command, pushes[step], 1 / RATE, np.sin, np.cos)
    upright &= (np.abs(moved[2]) < cartpole.ANGLE_LIMIT) & (np.abs(moved[0]) < cartpole.TRACK_LIMIT)
    state = tuple(np.where(upright, new, old) for new, old in zip(moved, state, strict=True))  # what fell stays where it is
    angles[step] = np.degrees(state[2])

results["fell"] = float(1 - upright.mean())
print(f"{FUTURES} futures of {AHEAD:g} s: the pole falls in {100 * results['fell']:.1f} % of them")

# %% [markdown]
# ## Is a row of the batch what a stream would have done?
#
# To the bit. Some futures again, each with a fork of the stream:

# %%
checked = range(0, FUTURES, FUTURES // 8)
for row in checked:
    twin = stream.fork()
    alone = np.array([twin.step(x)[0] for x in observed[:, row]])
    assert np.array_equal(alone, forces[:, row]), f"future {row} differs"
results["rows_checked"] = len(checked)
print(f"{len(checked)} futures of {steps} steps have the same bits alone and in the batch")

# %% [markdown]
# ## What may happen

# %%
figure, (fan, chance) = plt.subplots(1, 2, figsize=(11, 4.2), width_ratios=(1.7, 1), layout="constrained")
seconds = np.arange(1, steps + 1) / RATE
fan.plot(np.arange(-len(past.states), 0) / RATE, np.degrees(past.states[:, 2]), color="#22272e", lw=1.6, label="so far")
for low, high, shade in ((0, 100, 0.16), (5, 95, 0.3), (25, 75, 0.5)):
    bounds = np.percentile(angles, (low, high), axis=1)
    label = f"{high - low} % of them" if low else "all futures"
    fan.fill_between(seconds, *bounds, color="#1f6fb4", alpha=shade, lw=0, label=label)
strongest = np.abs(pushes).max(0)
for rank in (0.3, 0.7, 0.95):
    row = np.argsort(strongest)[int(rank * FUTURES)]
    fan.plot(seconds, angles[:, row], lw=1.2, label=f"a push of {strongest[row]:.0f} N", color=plt.cm.plasma(0.9 * rank - 0.1))
fan.axvline(0, color="#6b737c", lw=0.9, ls=(0, (4, 3)))
bound = np.degrees(cartpole.ANGLE_LIMIT)
fan.set(xlabel="time from now (s)", ylabel="pole angle (degrees)", xlim=(-BEFORE, AHEAD), ylim=(-1.1 * bound, 1.1 * bound))
fan.set_title(f"One state, {FUTURES} futures")
fan.legend(loc="lower left", fontsize=8, borderaxespad=0, handlelength=1.4)

edges = np.linspace(0, 22, 12)
shares = [1 - upright[(strongest >= a) & (strongest < b)].mean() for a, b in pairwise(edges)]
chance.bar(edges[:-1], 100 * np.array(shares), width=np.diff(edges), align="edge", color="#c23b3b", edgecolor="white")
chance.set(xlabel="push (N, for 0.1 s)", ylabel="futures in which the pole falls (%)", ylim=(0, 105), xlim=(0, 22))
chance.set_title("How strong a push is too strong")
keep(figure, "futures")

# %% [markdown]
# ## What it costs
#
# `rtrnn.bench.measure` runs both ways in turns and compares medians.


# %%
class Futures:
    """One timestep of all futures, timed; `call` takes it."""

    blocks = True
    native = False
    steps_per_call = FUTURES

    def __init__(self, name, call):
        self.name, self.call = name, call

    def block(self, count):
        for _ in range(count):
            self.call()

    def singles(self, count):
        return timed_calls(self.call, count)


streams, x = [stream.fork() for _ in range(FUTURES)], observed[0]


def one_by_one():
    for twin, row in zip(streams, x, strict=True):
        twin.step(row)


report = measure(
    [Futures("batch.step(x)", lambda: batch.step(x)), Futures(f"{FUTURES} streams, one by one", one_by_one)],
    seconds=0.5 if options.quick else 3,
)
for each in report.engines:
    print(f"{each.name:>28}: {each.median_ns:6.0f} ns per stream and step, {each.ratio:.1f} times the batch's")
results["ratio"] = float(report.engines[1].ratio)
results["ns"] = {each.name: each.median_ns for each in report.engines}

# %% tags=["remove-cell"]
if options.output:
    (options.output / "results.json").write_text(json.dumps(results, indent=1))
