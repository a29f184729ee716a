# %% [markdown]
# # A policy for 1 kHz, trained, deployed and made smaller
#
# A steel ball hangs below a magnet. The pull grows as the ball comes nearer, so it falls down or jumps up within a twentieth of a
# second unless somebody regulates the current, a thousand times a second. Only the ball's position is measured, with noise: not its
# velocity, not what the coil does, and not how heavy the load is that hangs from it. A policy has to work these out from the past: it
# needs a memory.
#
# A small GRU learns it from a teacher who sees everything. Then it runs in `rtrnn.Loop` at 1 kHz, and then with 8-bit weights, to see
# what that costs.

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
import time

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
torch.manual_seed(0)
RATE, DT, HIDDEN = 1000, 1e-3, 32

# %% [markdown]
# ## The ball
#
# About the equilibrium, in mm and s: `x'' = 400 x + f + d`, the coil's force (per mass) follows the command with a lag of 5 ms,
# `f' = (u - f) / 0.005`, and the load `d` is constant but for a step at a random moment. Past 3 mm the ball is lost.

# %%
STIFFNESS, LAG, LOAD, NOISE, LOST = 400.0, 0.005, 250.0, 0.01, 3.0  # 1/s^2, s, mm/s^2, mm, mm
FULL = 2000.0  # mm/s^2, what an action of 1 commands


def advance(state, command, load):
    """One period of 1 ms in ten small steps; `state` is (x, v, f), numbers or arrays."""
    x, v, f = state
    for _ in range(10):
        v = v + DT / 10 * (STIFFNESS * x + f + load)
        x = x + DT / 10 * v
        f = f + DT / 10 * (command - f) / LAG
    return x, v, f


def teacher_gains():
    """Of the linear-quadratic regulator on (x, v, f)."""
    a = np.stack([advance(tuple(row), 0.0, 0.0) for row in np.eye(3)], 1)
    b = np.array(advance((0.0, 0.0, 0.0), 1.0, 0.0))[:, None]
    cost = state_cost = np.diag([1.0, 1e-4, 0.0])
    for _ in range(5000):
        gains = np.linalg.solve(1e-6 + b.T @ cost @ b, b.T @ cost @ a)
        cost = state_cost + a.T @ cost @ (a - b @ gains)
    return gains[0]


GAINS = teacher_gains()


def teacher(state, load):
    """The action of one who sees everything, the load included; of full scale 1."""
    return np.clip((-(GAINS @ np.array(state)) - load * (1 + GAINS[2])) / FULL, -1, 1)


class Conditions:
    """Loads, noise and first positions of `count` runs."""

    def __init__(self, seed, count, steps):
        generator = np.random.default_rng(seed)
        before, after = generator.uniform(-LOAD, LOAD, (2, count))
        change = generator.integers(steps // 4, 3 * steps // 4, count)
        self.load = np.where(np.arange(steps)[:, None] < change, before, after)
        self.noise = NOISE * generator.standard_normal((steps, count))
        self.first = generator.uniform(-0.5, 0.5, count)
        self.teaches = generator.uniform(size=count)


def run(act, given, teacher_share=0.0):
    """Runs in lockstep: positions, observations, actions, the teacher's actions (T, count). `act(observations (count, 1)) -> (count, 1)`.

    In a share of the runs the teacher's actions count; there and wherever a ball is far off, so that the data stay worth learning from.
    """
    steps, count = given.load.shape
    state = (given.first, np.zeros(count), np.zeros(count))
    log = {name: np.zeros((steps, count), np.float32) for name in ("x", "seen", "action", "taught")}
    lost = np.zeros(count, bool)
    for step in range(steps):
        log["seen"][step] = state[0] + given.noise[step]
        log["taught"][step] = teacher(state, given.load[step])
        action = np.clip(act(log["seen"][step][:, None])[:, 0], -1, 1)
        if teacher_share is not None:
            rescued = (given.teaches < teacher_share) | (np.abs(state[0]) > 0.5 * LOST) * (teacher_share > 0)
            action = np.where(rescued, log["taught"][step], action)
        moved = advance(state, FULL * action, given.load[step])
        lost |= np.abs(moved[0]) > LOST
        state = tuple(np.where(lost, old, new) for old, new in zip(state, moved, strict=True))  # a lost ball stays where it is
        log["x"][step], log["action"][step] = state[0], action
    return log | {"lost": lost}


# %% [markdown]
# ## Training
#
# The student learns the teacher's actions on the states that the student itself runs into (dataset aggregation). Each round
# its weights so far go to rtrnn, where a batch of streams steps many balls at once; the gradients are PyTorch's.


# %%
class Policy(nn.Module):
    """`forward(x (1, 1) in mm, h_in (1, 1, H)) -> (action (1, 1), h_out)`."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(1, HIDDEN)
        self.head = nn.Linear(HIDDEN, 1)
        steps = torch.logspace(0.3, 2.3, HIDDEN)  # update gates that begin with memories of 2 to 200 steps
        with torch.no_grad():
            self.rnn.bias_hh_l0.zero_()
            self.rnn.bias_ih_l0[HIDDEN : 2 * HIDDEN] = torch.log(steps - 0.9)

    def forward(self, x, h_in):
        hidden, h_out = self.rnn(x.unsqueeze(0), h_in)
        return self.head(hidden.squeeze(0)), h_out


def exported(policy):
    return rtrnn.from_torch(policy.eval(), (torch.zeros(1, 1), torch.zeros(1, 1, HIDDEN)))


def train(policy, rounds, count=48, steps=300, passes=8):
    optimiser = torch.optim.Adam(policy.parameters())
    errors = []
    for index in range(rounds):
        rate = 6e-3 * (0.03 + 0.97 * 0.5 * (1 + np.cos(np.pi * index / rounds)))
        given = Conditions(1000 + index, count, steps)
        share = 1.0 if index == 0 else max(0.15, 0.7 - 1.2 * index / rounds)
        log = run(exported(policy).batch(count).step, given, share)
        seen, taught = (torch.from_numpy(log[name])[:, :, None] for name in ("seen", "taught"))
        for _ in range(passes):
            for group in optimiser.param_groups:
                group["lr"] = rate
            loss = (policy.head(policy.rnn(seen)[0])[10:] - taught[10:]).square().mean()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(policy.parameters(), 0.5)
            optimiser.step()
        errors.append(loss.item() ** 0.5)
    return errors


policy = Policy()
errors = train(policy, 16 if options.quick else 40)
model = exported(policy)
print(f"error of the action, of full scale 1: {errors[0]:.3f} after the first round, {errors[-1]:.4f} after the last")

# %% [markdown]
# ## Does it hold the ball?
#
# On loads and noise it has not met. The same weights without a memory, the state set back before every step, lose most of them.

# %%
given = Conditions(5, 32, 1000)
batch = model.batch(32)
held = run(batch.step, given)
forgetful = model.batch(32)


def without_memory(x):
    forgetful.reset()
    return forgetful.step(x)


wiped = run(without_memory, given)
settled = held["x"][100:]
results |= {"lost": int(held["lost"].sum()), "lost_without_memory": int(wiped["lost"].sum()), "rms": float(np.sqrt((settled**2).mean()))}
print(f"lost {results['lost']} of 32 balls, {results['lost_without_memory']} without memory; RMS position {results['rms']:.3f} mm")

# %% [markdown]
# ## Deployed at 1 kHz
#
# `rtrnn.Loop` is a thread of its own that steps once a millisecond. The rest of the program hands it observations and takes its actions
# whenever it likes; here it plays the ball, in Python and in real time. `priority=80, cpu=1` would give it a real-time priority and a CPU.

# %%
seconds = 0.5 if options.quick else 3.0
lone = Conditions(6, 1, round(seconds * RATE))
state, positions = (float(lone.first[0]), 0.0, 0.0), []
with rtrnn.Loop(model, rate=RATE, lead=100e-6) as loop:
    due = time.perf_counter()
    for load, noise in zip(lone.load[:, 0], lone.noise[:, 0], strict=True):
        loop.observe([state[0] + noise])
        due += DT
        time.sleep(max(0.0, due - time.perf_counter()))
        action = loop.action()
        state = advance(state, FULL * float(np.clip(action.values[0], -1, 1)) if action else 0.0, load)
        positions.append(state[0])
    stats = loop.stats()
furthest = float(np.abs(positions).max())
results["loop"] = {"periods": stats.periods, "late": stats.late, "step_p50_us": 1e6 * stats.step.p50, "furthest_mm": furthest}
print(f"{stats.periods} periods, {stats.late} late; the ball was never further than {furthest:.2f} mm away")
print(f"a step takes {1e6 * stats.step.p50:.2f} us (p50), {1e6 * stats.step.p999:.2f} us (p99.9)")

# %% [markdown]
# ## In 8 bits
#
# The same file, packed with integers of 8 bits: `weights="i8"`. First along a recorded run, then in the closed loop, where an error of
# one step is seen by the next.

# %%
recorded = held["seen"][:, :1]
exact = model.stream().process(recorded)
rows = []
for weights in ("f32", "i16", "i8a14", "i8"):
    off = model.stream(weights).process(recorded) - exact
    closed = run(model.batch(32, weights).step, given)
    error = float(np.sqrt((off**2).mean()) / exact.std())
    rms = float(np.sqrt((closed["x"][100:] ** 2).mean()))
    rows.append({"weights": weights, "action_error": error, "rms": rms, "lost": int(closed["lost"].sum())})
    print(f"{weights:>6}: action off by {100 * error:6.3f} % of its spread, RMS position {rms:.4f} mm, {rows[-1]['lost']} lost")
results["precisions"] = rows
fewer = run(model.batch(32, "i8").step, given)

# %%
figure, (above, below, apart) = plt.subplots(3, 1, figsize=(11, 6.4), sharex=True, layout="constrained", height_ratios=(1, 1, 0.6))
moments = np.arange(1, 1001) / RATE
shown = int(np.argmax(np.abs(np.diff(given.load, axis=0)).max(0)))  # the ball whose load changes most
above.plot(moments, wiped["x"][:, shown], color="#c23b3b", lw=1.4, label="without memory")
above.plot(moments, held["x"][:, shown], color="#1f6fb4", lw=1.4, label="f32")
above.plot(moments, fewer["x"][:, shown], color="#b5651d", lw=1.1, ls=(0, (3, 2)), label="i8")
above.set(ylabel="position (mm)", ylim=(-1.2, 1.2))
above.set_title("The ball whose load changes most")
above.legend(loc="upper right", ncols=3, fontsize=9)
below.plot(moments, given.load[:, shown] / FULL, color="#9aa3ad", lw=2.5, label="load, negative is up")
below.plot(moments, -held["action"][:, shown], color="#1f6fb4", lw=0.9, label="f32")
below.plot(moments, -fewer["action"][:, shown], color="#b5651d", lw=0.7, label="i8")
below.set(ylabel="pull, of full scale")
below.set_title("What it pulls with, and the load that it cannot see")
below.legend(loc="lower right", ncols=3, fontsize=9)
apart.plot(moments, 1000 * (fewer["x"] - held["x"])[:, shown], color="#6a4c93", lw=1.2)
apart.set(xlabel="time (s)", ylabel="i8 less f32 (µm)", xlim=(0, 1))
apart.set_title("Where the ball of i8 is, beside that of f32")
keep(figure, "ball")

# %% [markdown]
# ## Was it worth it?
#
# A network as small as this one lives in the first cache whatever its weights are: 8 bits save memory there, and no time. See
# `rtrnn quantize` for what a larger one gains.

# %%
report = measure([Native(model, weights) for weights in ("f32", "i16", "i8")], seconds=0.4 if options.quick else 2)
for engine, weights in zip(report.engines, ("f32", "i16", "i8"), strict=True):
    print(f"{weights:>6}: {engine.median_ns:5.0f} ns per step, {model.plan(weights).constant_bytes / 1000:5.1f} kB")
results["ns"] = {weights: engine.median_ns for weights, engine in zip(("f32", "i16", "i8"), report.engines, strict=True)}

# %% tags=["remove-cell"]
if options.output:
    (options.output / "results.json").write_text(json.dumps(results, indent=1))
