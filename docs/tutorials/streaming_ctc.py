# %% [markdown]
# # A GRU with a CTC head, decoded as frames arrive
#
# Speech, handwriting, sign language: a recurrent network reads frames, and out come symbols, far fewer than frames and at times nobody
# wrote down. Connectionist temporal classification (CTC) trains such a network from the symbols alone: it may say *blank* in any frame,
# and repeats of a symbol count once. Here the task is small enough to train in seconds: the notes of a melody, heard
# through so much noise that a single frame tells little.
#
# The network is trained in PyTorch, runs as a stream in rtrnn, and `rtrnn.ctc_greedy` turns its outputs into notes while they come in.

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

# %% [markdown]
# ## A melody as sound
#
# A frame of 20 ms is the energy in seven bands, one for each note. Notes are held for 80 to 240 ms, with 40 to 120 ms between them.

# %%
NOTES = "CDEFGAB"
LABELS = "_" + NOTES  # class 0 is the blank
NOISE = 0.45  # standard deviation of a band's energy; a note's energy is 1
FRAME = 20  # ms


def played(generator, melody):
    """Frames (T, 7) of a melody."""
    parts = [np.zeros((generator.integers(1, 5), 7))]
    for note in melody:
        tone = np.zeros((generator.integers(4, 13), 7))
        tone[:, NOTES.index(note)] = 1
        parts += [tone, np.zeros((generator.integers(2, 7), 7))]
    frames = np.concatenate(parts)
    return (frames + NOISE * generator.standard_normal(frames.shape)).astype(np.float32)


def melodies(generator, count, length):
    """Melodies of `length` random notes and their frames (T, count, 7), silence behind the shorter ones."""
    texts = ["".join(generator.choice(list(NOTES), length)) for _ in range(count)]
    sounds = [played(generator, text) for text in texts]
    longest = max(map(len, sounds))
    frames = NOISE * generator.standard_normal((longest, count, 7))
    for i, sound in enumerate(sounds):
        frames[: len(sound), i] = sound
    return texts, torch.from_numpy(frames.astype(np.float32))


# %% [markdown]
# ## The network and its training
#
# One GRU and a linear layer of 8 classes. The loss is `torch.nn.CTCLoss`; it is told which notes were played, not when. For a
# while the network says nothing but blanks; then it finds out what a note is.


# %%
class Listener(nn.Module):
    """`forward(frame (1, 7), h_in (1, 1, H)) -> (logits (1, 8), h_out)`."""

    def __init__(self, hidden_size=32):
        super().__init__()
        self.rnn = nn.GRU(7, hidden_size)
        self.head = nn.Linear(hidden_size, len(LABELS))

    def forward(self, frame, h_in):
        hidden, h_out = self.rnn(frame.unsqueeze(0), h_in)
        return self.head(hidden.squeeze(0)), h_out

    def sequence(self, frames):
        return self.head(self.rnn(frames)[0])


def train(network, updates, batch=12, length=8):
    generator = np.random.default_rng(0)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda update: min(1.0, 2.02 - 2 * update / updates))
    ctc, losses = nn.CTCLoss(), []
    for _ in range(updates):
        texts, frames = melodies(generator, batch, length)
        scores = network.sequence(frames).log_softmax(-1)
        targets = torch.tensor([[LABELS.index(note) for note in text] for text in texts])
        lengths = torch.full((batch,), len(frames)), torch.full((batch,), length)
        loss = ctc(scores, targets, *lengths)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    return losses


network = Listener()
losses = train(network, 250 if options.quick else 500)
print(f"loss {losses[0]:.2f} at first, {np.mean(losses[-20:]):.3f} at the end")

# %% [markdown]
# ## As a stream
#
# One frame in, the logits of 8 classes out; the decoder keeps the class of the last frame, so that a note held over several frames is
# said once. On most frames it returns an empty list.

# %%
model = rtrnn.from_torch(network.eval(), (torch.zeros(1, 7), torch.zeros(1, 1, 32)))
stream = model.stream()
decoder = rtrnn.ctc_greedy(LABELS)

melody = "CCGGAAGFFEEDDC"
frames = played(np.random.default_rng(12), melody)
heard, logits = [], []
for at, frame in enumerate(frames):
    logits.append(stream.step(frame))
    for note in decoder(logits[-1]):
        heard.append((at, note))
        print(f"{FRAME * at:5d} ms  {note}")
logits = np.array(logits)
results["played"], results["heard"] = melody, "".join(note for _, note in heard)

# %% [markdown]
# ## What it looked like

# %%
figure, (sound, chance) = plt.subplots(2, 1, figsize=(11, 5), sharex=True, layout="constrained", height_ratios=(1, 1.2))
time, end = FRAME * np.arange(len(frames)), FRAME * len(frames)
sound.imshow(frames.T, aspect="auto", origin="lower", cmap="Greys", vmin=0, vmax=2, extent=(0, end, -0.5, 6.5))
sound.set_yticks(range(7), NOTES)
sound.set(ylabel="band")
sound.set_title("Frames that go in, and notes that come out")
likely = np.exp(logits - logits.max(1, keepdims=True))
likely /= likely.sum(1, keepdims=True)
chance.plot(time, likely[:, 0], color="#c9ced4", lw=1, label="blank")
for index in sorted({LABELS.index(note) for _, note in heard}):
    chance.plot(time, likely[:, index], lw=1.4)
for at, note in heard:
    chance.text(FRAME * at, 1.05, note, ha="center", weight="bold")
chance.set(xlabel="time (ms)", ylabel="probability", ylim=(0, 1.17), xlim=(0, end))
chance.legend(loc="center right", fontsize=9)
keep(figure, "notes")

# %% [markdown]
# ## How often it is right
#
# On melodies it has never heard, one stream each, stepped as a batch; each has a decoder of its own. The same frames decoded all
# at once give the same notes: how the frames are split into calls does not matter.

# %%
texts, frames = melodies(np.random.default_rng(99), 100 if options.quick else 500, 10)
batch = model.batch(len(texts))
outputs = np.stack([batch.step(frame) for frame in frames.numpy()])  # (T, melodies, 8)
found = []
for row in range(len(texts)):
    decode = rtrnn.ctc_greedy(LABELS)
    found.append("".join(note for scores in outputs[:, row] for note in decode(scores)))
    assert found[-1] == "".join(rtrnn.ctc_greedy(LABELS)(outputs[:, row])), "the calls' boundaries show"


def edits(a, b):
    """Levenshtein's distance."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


results["note_error_rate"] = sum(map(edits, found, texts)) / sum(map(len, texts))
results["right"] = float(np.mean([a == b for a, b in zip(found, texts, strict=True)]))
wrong, right = 100 * results["note_error_rate"], 100 * results["right"]
print(f"{wrong:.2f} % of the notes wrong; {right:.1f} % of the melodies right as a whole")

# A single frame tells little: the best guess from one frame of a note, with the bands known exactly.
generator = np.random.default_rng(5)
notes = generator.integers(0, 7, 5000)
single = NOISE * generator.standard_normal((5000, 7))
single[np.arange(5000), notes] += 1
results["one_frame"] = float(np.mean(single.argmax(1) != notes))
print(f"from one frame alone {100 * results['one_frame']:.0f} % would be wrong")

# %%
report = measure([Step(model), Native(model)], seconds=0.4 if options.quick else 2)
for each in report.engines:
    print(f"{each.name:>14}: {each.median_ns:5.0f} ns per frame of {FRAME} ms")
results["ns"] = {each.name: each.median_ns for each in report.engines}

# %% tags=["remove-cell"]
if options.output:
    (options.output / "results.json").write_text(json.dumps(results, indent=1))
