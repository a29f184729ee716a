# %% [markdown]
# # Speech activity, frame by frame
#
# A voice activity detector listens to a microphone and says, 31 times a second, how likely it is that somebody speaks. The network here
# is Silero VAD as ONNX: a short-time spectrum as a convolution, four more convolutions, an LSTM of 128 units. rtrnn keeps its state
# between frames; what is left for the program is to cut the sound into frames.
#
# You bring the file: `silero_vad_openvino_16k.onnx` or another streaming export for 16 kHz, and a recording, 16 kHz mono WAV. Name them
# with `--model` and `--sound`, or the folder that holds them with the environment variable `RTRNN_MODELS`. Reading ONNX needs
# `pip install 'rtrnn[onnx]'`.

# %% tags=["remove-cell"]
import argparse
import json
import os
from pathlib import Path

folder = Path(os.environ.get("RTRNN_MODELS", ".")) / "silero_vad"
options_parser = argparse.ArgumentParser()
options_parser.add_argument("--quick", action="store_true", help="a small run, for tests")
options_parser.add_argument("--output", type=Path, help="a folder for the pictures and the figures as JSON")
options_parser.add_argument("--model", type=Path, default=folder / "silero_vad_openvino_16k.onnx")
options_parser.add_argument("--sound", type=Path, default=folder / "test.wav")
options, _ = options_parser.parse_known_args()
results = {}


def keep(figure, name):
    if options.output:
        figure.savefig(options.output / f"{name}.png")


# %%
import wave

import matplotlib.pyplot as plt
import numpy as np

import rtrnn
from rtrnn.bench import measure
from rtrnn.bench.engines import Native, Step
from rtrnn.demo.figure import STYLE

plt.rcParams.update(STYLE)
RATE, FRAME, CONTEXT = 16_000, 512, 64  # Hz, samples, samples of the frame before that the network sees again

# %% [markdown]
# ## The sound
#
# Python's own `wave` module reads PCM. The network wants floats between -1 and 1.


# %%
def read(path):
    with wave.open(str(path)) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (RATE, 1, 2):
            raise ValueError(f"{path}: expected 16 kHz, mono, 16 bits")
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768


# %% [markdown]
# ## The detector
#
# A small class, as it would stand between a microphone's callback and the rest of a program: 512 new samples in, a probability out.
# `step` allocates nothing here; a callback may call it.


# %%
class Detector:
    def __init__(self, model):
        self.stream = model.stream()
        self.output = np.zeros_like(self.stream.output)

    def __call__(self, samples):
        heard = self.stream.input  # the network's own buffer, still with the frame before
        heard[:CONTEXT] = heard[-CONTEXT:]
        heard[CONTEXT:] = samples
        self.stream.step(heard, out=self.output)
        return float(self.output.item())


def segments(probability, begin=0.5, end=0.35, shortest=0.25, gap=0.1):
    """Spans of speech in seconds: begun above one threshold, ended below a lower one for `gap` seconds, none shorter than `shortest`."""
    spans, started, last = [], None, 0
    for index, p in enumerate(probability):
        if p >= (begin if started is None else end):
            started, last = index if started is None else started, index
        elif started is not None and (index - last) * FRAME > gap * RATE:
            spans.append((started, last + 1))
            started = None
    if started is not None:
        spans.append((started, last + 1))
    seconds = [(a * FRAME / RATE, b * FRAME / RATE) for a, b in spans]
    return [(a, b) for a, b in seconds if b - a >= shortest]


# %%
def detect(model, samples):
    detector = Detector(model)
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    return np.array([detector(frame) for frame in frames])


# %% [markdown]
# ## What it hears


# %%
def picture(samples, probability, spans, seconds):
    figure, (sound, chance) = plt.subplots(2, 1, figsize=(11, 4.6), sharex=True, layout="constrained")
    time = np.arange(round(seconds * RATE)) / RATE
    sound.plot(time, samples[: len(time)], color="#9aa3ad", lw=0.4)
    sound.set(ylabel="sample")
    sound.set_title("Speech found in the sound")
    centre = (np.arange(len(probability)) + 1) * FRAME / RATE
    chance.plot(centre, probability, color="#1f6fb4", lw=1.3)
    chance.axhline(0.5, color="#6b737c", lw=0.8, ls=(0, (4, 3)))
    chance.set(xlabel="time (s)", ylabel="probability of speech", ylim=(-0.03, 1.03), xlim=(0, seconds))
    for axes in (sound, chance):
        for begin, end in spans:
            axes.axvspan(begin, end, color="#2d8577", alpha=0.18, lw=0)
    keep(figure, "speech")


if options.model.is_file() and options.sound.is_file():
    model = rtrnn.load(options.model)
    samples = read(options.sound)
    if options.quick:
        samples = samples[: 8 * RATE]
    probability = detect(model, samples)
    spans = segments(probability)
    shown = min(20.0, len(samples) / RATE)
    picture(samples, probability, spans, shown)
    results |= {"probability": probability.tolist(), "segments": spans}
    print(f"{len(samples) / RATE:.0f} s of sound, {len(spans)} stretches of speech, {sum(b - a for a, b in spans):.1f} s in all")
else:
    print(f"{options.model} and {options.sound} are not both there: see above for what to bring")

# %% [markdown]
# ## How much of the time it takes
#
# A frame comes every 32 ms.

# %%
if options.model.is_file():
    report = measure([Step(model), Native(model)], seconds=0.4 if options.quick else 3)
    for each in report.engines:
        share = each.median_ns / 1e9 / (FRAME / RATE)
        print(f"{each.name:>14}: {each.median_ns / 1000:6.1f} us per frame, {100 * share:.3f} % of the frame's length")
    results["ns"] = {each.name: each.median_ns for each in report.engines}

# %% tags=["remove-cell"]
if options.output:
    (options.output / "results.json").write_text(json.dumps(results, indent=1))
