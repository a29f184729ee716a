"""The Markdown pages of the documentation: their code blocks, what running them needs, and the files that they speak of.

The first word behind a fence is the language. What may follow it:

- ``file=NAME``: the block is saved under this name in the page's folder, for blocks behind it to compile or to run;
- ``not-run=REASON``: it is not run, for one of :data:`REASONS`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]

REASONS = {
    "installs": "it installs packages or builds the project",
    "training-library": "it needs the training library and a trained run",
    "kernel": "it changes how this machine starts or schedules",
    "robot": "it needs the loop's hardware, or minutes",
    "cluster": "it needs a cluster",
}


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    options: dict[str, str]
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    found = [ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "cpp" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [path.relative_to(ROOT).as_posix() for path in found if path.exists() and "_build" not in path.parts]


def blocks(page: str) -> list[Block]:
    """Fenced blocks; Sphinx's own directives, ```{name}, are no code."""
    found = []
    for token in MarkdownIt("commonmark").parse(_without_front_matter((ROOT / page).read_text())):
        if token.type != "fence" or token.info.startswith("{"):
            continue
        language, *rest = shlex.split(token.info) or [""]
        assert token.map
        options = dict(part.partition("=")[::2] for part in rest)
        found.append(Block(page, token.map[0] + 1, language, options, token.content))
    return found


def _without_front_matter(text: str) -> str:
    match = re.match(r"---\n.*?\n---\n", text, re.DOTALL)
    return "\n" * match[0].count("\n") + text[match.end() :] if match else text


# -- files that pages begin with -----------------------------------------------------------------------


def _weights(*shape: int, seed: int) -> np.ndarray:
    """Like PyTorch's: uniform within 1 / sqrt(columns)."""
    bound = shape[-1] ** -0.5
    return np.random.default_rng(seed).uniform(-bound, bound, shape).astype(np.float32)


def policy_onnx(path: Path, inputs: int = 47, hidden: int = 64, outputs: int = 12) -> None:
    """A policy under rsl_rl's names, as its ONNX exporter arranges it: LSTM, Linear 32, ELU, Linear."""
    import onnx
    from onnx_models import model

    helper = onnx.helper
    nodes = [
        helper.make_node("Unsqueeze", ["obs", "axis"], ["x"]),
        helper.make_node("LSTM", ["x", "W", "R", "B", "", "h_in", "c_in"], ["Y", "h_out", "c_out"], name="rnn", hidden_size=hidden),
        helper.make_node("Squeeze", ["h_out", "axis"], ["y"]),
        helper.make_node("Gemm", ["y", "w1", "b1"], ["a"], name="mlp.0", transB=1),
        helper.make_node("Elu", ["a"], ["e"]),
        helper.make_node("Gemm", ["e", "w2", "b2"], ["actions"], name="mlp.2", transB=1),
    ]
    state = [1, 1, hidden]
    weights = {
        "axis": np.array([0]),
        "W": _weights(1, 4 * hidden, inputs, seed=1),
        "R": _weights(1, 4 * hidden, hidden, seed=2),
        "B": _weights(1, 8 * hidden, seed=3),
        "w1": _weights(32, hidden, seed=4),
        "b1": _weights(32, seed=5),
        "w2": _weights(outputs, 32, seed=6),
        "b2": _weights(outputs, seed=7),
    }
    ports = {"obs": [1, inputs], "h_in": state, "c_in": state}, {"actions": [1, outputs], "h_out": state, "c_out": state}
    proto = model(nodes, *ports, weights, opset=18, producer="pytorch")
    helper.set_model_props(proto, {"action_scale": "0.25", "joint_names": ",".join(f"joint_{i}" for i in range(outputs))})
    onnx.save(proto, str(path))


def policy(folder: Path) -> None:
    """policy.onnx, and observations for it: 500 timesteps that wander, as a robot's do."""
    policy_onnx(folder / "policy.onnx")
    steps = np.random.default_rng(8).normal(size=(500, 47))
    for t in range(1, len(steps)):
        steps[t] = 0.95 * steps[t - 1] + 0.3 * steps[t]
    np.save(folder / "observations.npy", steps.astype(np.float32))


def policy_rtrnn(folder: Path) -> None:
    """The same, and converted."""
    import rtrnn

    policy(folder)
    rtrnn.load(folder / "policy.onnx").save(folder / "policy.rtrnn")


def readme(folder: Path) -> None:
    policy_rtrnn(folder)
    policy_onnx(folder / "motion_legacy_opset11.onnx")


def codegen(folder: Path) -> None:
    policy(folder)
    (folder / "robot.h").write_text(
        "static int periods = 10;\n"
        "static int running(void) { return periods-- > 0; }\n"
        "static void read_sensors(float* x) { for (int i = 0; i < 47; ++i) x[i] = 0.1f * (float)(i % 5); }\n"
        "static void send(const float* y) { (void)y; }\n"
        "static void hold(void) {}\n"
    )


def exported(folder: Path) -> None:
    """exported/policy.onnx and exported/policy.pt: one network, as the exporters of rsl_rl and Isaac Lab write it."""
    import warnings

    import torch
    from torch import nn

    class Policy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.linspace(-0.1, 0.1, 6))
            self.register_buffer("std", torch.linspace(0.5, 1.5, 6))
            self.rnn = nn.LSTM(6, 12)
            self.actor = nn.Sequential(nn.Linear(12, 8), nn.ELU(), nn.Linear(8, 3))
            self.register_buffer("hidden_state", torch.zeros(1, 1, 12))
            self.register_buffer("cell_state", torch.zeros(1, 1, 12))

        def forward(self, obs: torch.Tensor) -> torch.Tensor:
            x = (obs - self.mean) / (self.std + 0.01)
            x, (h, c) = self.rnn(x.unsqueeze(0), (self.hidden_state, self.cell_state))
            self.hidden_state[:] = h
            self.cell_state[:] = c
            return self.actor(x.squeeze(0))

        @torch.jit.export
        def reset(self) -> None:
            self.hidden_state[:] = 0.0
            self.cell_state[:] = 0.0

    class Onnx(nn.Module):
        def __init__(self, inner: Policy) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, obs: torch.Tensor, h_in: torch.Tensor, c_in: torch.Tensor) -> tuple[torch.Tensor, ...]:
            x = (obs - self.inner.mean) / (self.inner.std + 0.01)
            x, (h, c) = self.inner.rnn(x.unsqueeze(0), (h_in, c_in))
            return self.inner.actor(x.squeeze(0)), h, c

    torch.manual_seed(0)
    network = Policy().eval()
    (folder / "exported").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(network).save(str(folder / "exported" / "policy.pt"))
        names = {"input_names": ["obs", "h_in", "c_in"], "output_names": ["actions", "h_out", "c_out"]}
        example = torch.zeros(1, 6), torch.zeros(1, 1, 12), torch.ones(1, 1, 12)
        target = str(folder / "exported" / "policy.onnx")
        torch.onnx.export(Onnx(network), example, target, **names, opset_version=18, dynamo=False)


def rsl_rl(folder: Path) -> None:
    import test_checkpoint as checkpoints
    import torch

    exported(folder)
    torch.manual_seed(0)
    torch.save(checkpoints.rsl_tree(checkpoints.RslActor("lstm")), folder / "model_1500.pt")


def isaac_lab(folder: Path) -> None:
    exported(folder)
    policy_onnx(folder / "mjlab.onnx")


def sb3_contrib(folder: Path) -> None:
    """policy.zip, and VecNormalize's statistics as it pickles them."""
    import test_checkpoint as checkpoints
    import torch
    from test_checkpoint_normalizer import vecnormalize

    torch.manual_seed(0)
    checkpoints.sb3_file(folder, checkpoints.Sb3())
    (folder / "vecnormalize.pkl").write_bytes(vecnormalize(4, clip_obs=10.0))


def sample_factory(folder: Path) -> None:
    import test_checkpoint as checkpoints
    import torch

    torch.manual_seed(0)
    tree = {"train_step": 978, "model": checkpoints.SampleFactory().state_dict(), "optimizer": {}}
    torch.save(tree, folder / "checkpoint_000000978_4005888.pth")


def onnx(folder: Path) -> None:
    """Beside the policy: a GRU with the wrong attribute."""
    from small_networks import gru_onnx

    policy(folder)
    gru_onnx(folder / "wrong_gru.onnx", producer="pytorch", linear_before_reset=0)


def streams(folder: Path) -> None:
    """Beside the policy: a network of two inputs and two outputs."""
    import onnx
    from onnx_models import model

    policy_rtrnn(folder)
    helper = onnx.helper
    nodes = [helper.make_node("Concat", ["camera", "joints"], ["all"], axis=1), helper.make_node("Add", ["all", "all"], ["twice"])]
    onnx.save(model(nodes, {"camera": [1, 2], "joints": [1, 3]}, {"all": [1, 5], "twice": [1, 5]}), str(folder / "two_sensors.onnx"))


def rtneural(folder: Path) -> None:
    """What RTNeural's script writes from Keras: a GRU and a dense layer over one sample; random weights."""
    import json

    def text(*shape: int, seed: int) -> list:
        return _weights(*shape, seed=seed).tolist()

    cell = [text(1, 24, seed=1), text(8, 24, seed=2), text(2, 24, seed=3)]
    gru = {"type": "gru", "activation": "", "shape": [None, None, 8], "weights": cell}
    dense = {"type": "dense", "activation": "", "shape": [None, None, 1], "weights": [text(8, 1, seed=4), text(1, seed=5)]}
    (folder / "model.json").write_text(json.dumps({"in_shape": [None, None, 1], "layers": [gru, dense]}))
    amplifier = {"in_shape": [None, None, 1], "in_skip": 1, "samplerate": 48000, "layers": [gru, dense]}
    (folder / "amplifier.json").write_text(json.dumps(amplifier))


def nam(folder: Path) -> None:
    """An LSTM with 8 units and an initial state other than zero."""
    import json

    config = {"input_size": 1, "hidden_size": 8, "num_layers": 1}
    weights = _weights(4 * 8 * 9 + 6 * 8 + 9, seed=1) * 4
    content = {"version": "0.5.4", "architecture": "LSTM", "config": config, "weights": weights.tolist(), "sample_rate": 48000}
    (folder / "amplifier.nam").write_text(json.dumps(content))


def replay(folder: Path) -> None:
    """Two policies, and logs of the first."""
    import rtrnn

    policy(folder)
    for name in ("old.onnx", "new.onnx"):
        (folder / name).write_bytes((folder / "policy.onnx").read_bytes())
    (folder / "logs").mkdir()
    observations = np.load(folder / "observations.npy")
    for i, rows in enumerate(np.split(observations, 5)):
        np.savez(folder / "logs" / f"robot{i}.npz", obs=rows, action=rtrnn.load(folder / "policy.onnx").run(rows))


SETUPS: dict[str, Callable[[Path], None]] = {
    "README.md": readme,
    "docs/api/cli.md": policy_rtrnn,
    "docs/codegen.md": codegen,
    "docs/errors.md": onnx,
    "docs/load/isaac_lab.md": isaac_lab,
    "docs/load/nam.md": nam,
    "docs/load/onnx.md": onnx,
    "docs/load/rsl_rl.md": rsl_rl,
    "docs/load/rtneural.md": rtneural,
    "docs/load/sample_factory.md": sample_factory,
    "docs/load/sb3_contrib.md": sb3_contrib,
    "docs/precision.md": policy,
    "docs/quickstart.md": policy,
    "docs/realtime.md": policy_rtrnn,
    "docs/replay.md": replay,
    "docs/state.md": policy_rtrnn,
    "docs/stream/c.md": policy_rtrnn,
    "docs/stream/cpp.md": policy_rtrnn,
    "docs/stream/cython.md": policy_rtrnn,
    "docs/stream/python.md": streams,
}

#: Optional packages that a page's blocks import.
NEEDS: dict[str, tuple[str, ...]] = {
    "docs/load/isaac_lab.md": ("torch", "onnx"),
    "docs/load/keras.md": ("torch", "keras"),
    "docs/load/pytorch.md": ("torch", "onnx"),
    "docs/load/rsl_rl.md": ("torch", "onnx"),
    "docs/load/sample_factory.md": ("torch",),
    "docs/load/sb3_contrib.md": ("torch",),
    "docs/stream/cython.md": ("Cython",),
}

#: A program around the blocks of a page that are too short to be one, by page and language.
AROUND: dict[tuple[str, str], str] = {
    ("README.md", "c"): """
#include <rtrnn/rtrnn.h>
int main(void) {
    rtrnn_plan* plan;
    rtrnn_stream* stream;
    float x[47] = {0}, y[12];
    const size_t x_size = 47, y_size = 12;
    BLOCK
    return rtrnn_stream_steps(stream) != 1;
}
""",
}
