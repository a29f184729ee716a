"""The files behind the tables of refusals in docs/formats.md; ``python tests/python/refused_files.py`` writes them anew."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path
from typing import Any

import checkpoint_modules
import keras_files
import numpy as np
import onnx
import test_guitarml
import test_nam
import test_rltools
import test_rtneural
import torch
from onnx import TensorProto, helper, numpy_helper
from refusals import PAGE, refuses, rewritten
from torch import nn

Pair = tuple[Path, dict[str, Any]]


# -- ONNX ----------------------------------------------------------------------------------------------


def onnx_file(folder: Path, nodes: list[Any], constants: dict[str, Any] | None = None, x: Any = (1, 4), **more: Any) -> Path:
    """x (and the inputs of `more`) -> y."""
    inputs = {"x": x, **more}
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1), helper.make_opsetid("my.ops", 1)]
    path = folder / "network.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets), str(path))
    return path


@refuses("onnx", "an operator of another domain")
def _(folder: Path) -> Path:
    return onnx_file(folder, [helper.make_node("Mixer", ["x"], ["y"], name="mix", domain="my.ops")])


@refuses("onnx", "a loop over the sequence")
def _(folder: Path) -> Path:
    body = helper.make_graph([helper.make_node("Identity", ["c"], ["c2"])], "body", [], [])
    return onnx_file(folder, [helper.make_node("Loop", ["n", "", "x"], ["y"], name="loop", body=body)], {"n": np.int64(4)})


@refuses("onnx", "integer arithmetic")
def _(folder: Path) -> Path:
    return onnx_file(
        folder, [helper.make_node("DynamicQuantizeLSTM", ["x"], ["y"], name="rnn", domain="com.microsoft", hidden_size=4)]
    )


@refuses("onnx", "an index that is computed from the input")
def _(folder: Path) -> Path:
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], name="token", to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "i"], ["y"], name="embedding"),
    ]
    return onnx_file(folder, nodes, {"table": np.ones((8, 2), np.float32)}, x=(1,))


@refuses("onnx", "a convolution over time that looks ahead")
def _(folder: Path) -> Path:
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv", kernel_shape=[3], pads=[1, 1])
    return onnx_file(folder, [node], {"w": np.ones((2, 4, 3), np.float32)}, x=(1, 4, "time"))


@refuses("onnx", "a convolution over time with a stride")
def _(folder: Path) -> Path:
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv", kernel_shape=[4], strides=[4])
    return onnx_file(folder, [node], {"w": np.ones((2, 1, 4), np.float32)}, x=(1, 1, "samples"))


@refuses("onnx", "a mean over the time axis")
def _(folder: Path) -> Path:
    nodes = [
        helper.make_node("GRU", ["x", "w", "r"], ["z"], name="gru", hidden_size=2, linear_before_reset=1),
        helper.make_node("ReduceMean", ["z"], ["y"], name="pooling", axes=[0], keepdims=0),
    ]
    weights = {"w": np.ones((1, 6, 4), np.float32), "r": np.ones((1, 6, 2), np.float32)}
    return onnx_file(folder, nodes, weights, x=("time", 1, 4))


@refuses("onnx", "a weight that is not a number")
def _(folder: Path) -> Path:
    weight = np.ones((4, 2), np.float32)
    weight[1, 1] = math.nan
    return onnx_file(folder, [helper.make_node("MatMul", ["x", "w"], ["y"], name="head")], {"w": weight})


@refuses("onnx", "a normaliser whose deviation is zero")
def _(folder: Path) -> Path:
    node = helper.make_node("Div", ["x", "std"], ["y"], name="normalizer")
    return onnx_file(folder, [node], {"std": np.array([1, 0, 1, 1], np.float32)})


@refuses("onnx", "a state without a next value")
def _(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    constants = {"w": rng.normal(size=(1, 9, 4)).astype(np.float32), "r": rng.normal(size=(1, 9, 3)).astype(np.float32)}
    node = helper.make_node("GRU", ["x", "w", "r", "", "", "h_in"], ["y"], name="gru", hidden_size=3)
    return onnx_file(folder, [node], constants, x=(1, 1, 4), h_in=(1, 1, 3))


# -- PyTorch -------------------------------------------------------------------------------------------


class Sine(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(x)


class Noise(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.rand_like(x)


@refuses("torchscript", "a function that the Graph does not have")
def _(folder: Path) -> Pair:
    torch.jit.script(Sine()).save(str(folder / "network.pt"))
    return folder / "network.pt", {"example": torch.zeros(1, 4)}


@refuses("torchscript", "random numbers")
def _(folder: Path) -> Pair:
    torch.jit.script(Noise()).save(str(folder / "network.pt"))
    return folder / "network.pt", {"example": torch.zeros(1, 4)}


@refuses("torchscript", "shapes that are not evident")
def _(folder: Path) -> Path:
    torch.jit.script(Sine()).save(str(folder / "network.pt"))
    return folder / "network.pt"


@refuses("torch.export", "a function that the Graph does not have")
def _(folder: Path) -> Path:
    torch.export.save(torch.export.export(Sine(), (torch.zeros(1, 4),)), folder / "network.pt2")
    return folder / "network.pt2"


@refuses("torch.export", "several sequences at once")
def _(folder: Path) -> Path:
    program = torch.export.export(nn.GRU(4, 3, batch_first=True), (torch.zeros(5, 7, 4),))
    torch.export.save(program, folder / "network.pt2")
    return folder / "network.pt2"


# -- checkpoints ---------------------------------------------------------------------------------------


def actor(folder: Path, **changes: Any) -> Path:
    """An rsl_rl actor: GRU 5 to 6, one hidden layer."""
    tensors = {f"rnn.rnn.{key}": value for key, value in nn.GRU(5, 6).state_dict().items()}
    tensors |= {f"mlp.{key}": value for key, value in checkpoint_modules.mlp(6, 8, 2).state_dict().items()}
    tensors["distribution.std_param"] = torch.ones(2)
    return checkpoint_modules.saved(folder, {"actor_state_dict": {**tensors, **changes}, "iter": 1})


@refuses("checkpoint", "rsl_rl, without `activation=`")
def _(folder: Path) -> Path:
    return actor(folder)


@refuses("checkpoint", "rsl_rl, with a tensor that belongs to no layer")
def _(folder: Path) -> Pair:
    return actor(folder, **{"encoder.weight": torch.zeros(3, 3)}), {"activation": "elu"}


@refuses("checkpoint", "a whole module instead of its weights")
def _(folder: Path) -> Path:
    return checkpoint_modules.saved(folder, nn.GRU(3, 4))


@refuses("checkpoint", "unknown keys")
def _(folder: Path) -> Path:
    return checkpoint_modules.saved(folder, {"decoder.block.0.attn.weight": torch.zeros(4, 4)})


@refuses("checkpoint", "a weight that is not a number")
def _(folder: Path) -> Path:
    tensors = nn.GRU(3, 4).state_dict()
    tensors["weight_hh_l0"][0, 0] = math.nan
    return checkpoint_modules.saved(folder, tensors)


@refuses("sb3", "a policy that is not recurrent")
def _(folder: Path) -> Path:
    layers = {f"mlp_extractor.policy_net.{k}": v for k, v in checkpoint_modules.mlp(4, 8).state_dict().items()}
    checkpoint_modules.saved(folder, layers, "policy.pth")
    path = folder / "policy.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(folder / "policy.pth", "policy.pth")
        archive.writestr("data", "{}")
    return path


@refuses("safetensors", "unknown keys")
def _(folder: Path) -> Path:
    from safetensors.numpy import save_file

    save_file({"decoder.attn.weight": np.zeros((4, 4), np.float32)}, folder / "model.safetensors")
    return folder / "model.safetensors"


@refuses("state-dict-json", "layers that do not fit together")
def _(folder: Path) -> Path:
    tensors = {f"rec.{k}": v.tolist() for k, v in nn.LSTM(1, 4).state_dict().items()}
    tensors |= {f"head.{k}": v.tolist() for k, v in nn.Linear(5, 1).state_dict().items()}
    (folder / "model.json").write_text(json.dumps(tensors))
    return folder / "model.json"


# -- Keras ---------------------------------------------------------------------------------------------

INPUT = keras_files.layer("InputLayer", "x", batch_shape=[None, None, 4], dtype="float32")


def keras_file(folder: Path, *layers: Any, **weights: Any) -> Path:
    return keras_files.write_keras(folder / "model.keras", keras_files.sequential_config([INPUT, *layers]), weights)


@refuses("keras", "code in the file")
def _(folder: Path) -> Path:
    return keras_file(folder, keras_files.layer("Lambda", "double", function={"class_name": "__lambda__", "config": {}}))


@refuses("keras", "a layer of the user's own")
def _(folder: Path) -> Path:
    own = {**keras_files.layer("Mixer", "mix"), "module": "my_package", "registered_name": "my_package>Mixer"}
    return keras_file(folder, own)


@refuses("keras", "a convolution over time that looks ahead")
def _(folder: Path) -> Path:
    config = {"filters": 2, "kernel_size": [3], "strides": [1], "padding": "same", "dilation_rate": [1], "groups": 1}
    conv = keras_files.layer("Conv1D", "conv", **config, activation="linear", use_bias=False, data_format="channels_last")
    return keras_file(folder, conv, **{"layers/conv1d/vars/0": np.ones((3, 4, 2), np.float32)})


@refuses("keras", "weights that are missing")
def _(folder: Path) -> Path:
    return keras_file(folder, keras_files.layer("Dense", "head", units=2, activation="linear", use_bias=True))


@refuses("keras-h5", "a table of words")
def _(folder: Path) -> Path:
    table = keras_files.layer("Embedding", "words", input_dim=10, output_dim=4)
    config = keras_files.sequential_config([INPUT, table])
    return keras_files.write_h5(folder / "model.h5", config, {"words": {"embeddings": np.ones((10, 4), np.float32)}})


# -- audio and RLtools: cases of the tests' own tables -------------------------------------------------


def guitarml(folder: Path, what: str) -> Path:
    data, weights, *_ = test_guitarml.REFUSED[what]
    _, content = test_guitarml.simple("LSTM", 1, 4, 1, 1, True, 1)
    content["model_data"] |= data
    content["state_dict"] |= weights
    return test_guitarml.save(folder / "model.json", content)


def rtneural(folder: Path, what: str) -> Path:
    return test_rtneural.save(folder / "model.json", test_rtneural.REFUSED[what][0])


def nam(folder: Path, what: str) -> Path:
    return test_nam.save(folder / "model.nam", test_nam.small() | test_nam.REFUSED[what][0])


def rltools(folder: Path, what: str) -> Path:
    return test_rltools.save(folder / "model.h5", test_rltools.REFUSED[what][0])


for write, what, title in [
    (rtneural, "unknown type", "an unknown layer"),
    (rtneural, "other units", "weights of other sizes than the layer's"),
    (rtneural, "unknown activation", "an unknown activation"),
    (rtneural, "stride over time", "a convolution over time with a stride"),
    (guitarml, "another model", "another kind of model"),
    (guitarml, "left-over bias", "a weight that no layer takes"),
    (nam, "WaveNet", "another architecture"),
    (nam, "too few", "too few weights"),
    (rltools, "an embedding", "an unknown layer"),
    (rltools, "sizes that do not fit", "layers that do not fit together"),
]:
    refuses(write.__name__, title)(lambda folder, write=write, what=what: write(folder, what))


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text()))
