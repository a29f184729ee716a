"""Stable-Baselines3 Contrib: RecurrentPPO's actor.

Source: sb3_contrib 2.9 common/recurrent/policies.py, stable_baselines3 2.9 common/{save_util,torch_layers,distributions}.py.
The observation, flattened, goes through ``lstm_actor``, ``mlp_extractor.policy_net`` (Tanh by default) and ``action_net``.
The archive's ``data`` is JSON; what it holds as a pickle is not read, only what stands beside the pickle as text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from rtrnn.errors import FileFormatError, UnsupportedError
from rtrnn.importers.checkpoint.network import Checkpoint, Network
from rtrnn.importers.draft import Draft

__all__ = ["parse_data", "recognise"]

_CRITIC = ("lstm_critic.", "critic.", "mlp_extractor.value_net.", "value_net.", "vf_features_extractor.")
#: torch.nn classes by the end of their name -> activation.
_CLASSES = {
    "Tanh": "tanh", "ReLU": "relu", "ELU": "elu", "SELU": "selu", "CELU": "celu", "LeakyReLU": "leaky_relu", "GELU": "gelu",
    "SiLU": "silu", "Mish": "mish", "Sigmoid": "sigmoid", "Softplus": "softplus", "Softsign": "softsign", "Identity": "identity",
    "ReLU6": "relu6", "Hardswish": "hardswish", "Hardtanh": "hardtanh",
}  # fmt: skip


def parse_data(text: bytes, where: str) -> dict[str, Any]:
    """The archive's ``data``. Raises :class:`FileFormatError`."""
    try:
        data = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{where}: data is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise FileFormatError(f"{where}: data is a JSON {type(data).__name__}; expected an object")
    return data


def recognise(checkpoint: Checkpoint, data: Mapping[str, Any] | None = None) -> Draft | None:
    """`data` None: a state dict alone, which says nothing of spaces and activations."""
    weights = checkpoint.weights()
    if "lstm_actor.weight_ih_l0" not in weights or "action_net.weight" not in weights:
        return None
    settings = _settings(data, weights.where)
    layers = weights.recurrent("lstm_actor.")
    network = Network(checkpoint, weights, "RecurrentPPO actor", layers[0], "obs")
    note = _check_observations(data, network)
    network.normalize()
    network.recurrent(layers)
    default = _activation(settings) if data is not None else None
    if "activation_fn" not in settings:
        network.default_source = "RecurrentPPO's default"
    network.mlp(weights.sequential("mlp_extractor.policy_net."), default=default, last=True)
    network.linear(weights.linear("action_net."))
    weights.know(*_CRITIC)
    gaussian = "log_std" in weights
    weights.know("log_std")
    output, action = _action(data, gaussian)
    return network.finish(output, action=action, **note)


def _settings(data: Mapping[str, Any] | None, where: str) -> Mapping[str, Any]:
    settings = (data or {}).get("policy_kwargs") or {}
    if not isinstance(settings, Mapping):
        raise FileFormatError(f"{where}: policy_kwargs is a {type(settings).__name__}; expected an object")
    if settings.get("squash_output"):
        raise UnsupportedError(f"{where}: policy_kwargs has squash_output; expected actions that are not squashed. Export the policy")
    extractor = str(settings.get("features_extractor_class", "FlattenExtractor"))
    if "FlattenExtractor" not in extractor:
        raise UnsupportedError(
            f"{where}: policy_kwargs has the features extractor {extractor}; expected FlattenExtractor, which changes nothing. Export "
            "the policy (ONNX, TorchScript) or use rtrnn.from_torch"
        )
    return settings


def _activation(settings: Mapping[str, Any]) -> str | None:
    """The function that policy_kwargs names; Tanh, the policy's default, where it names none."""
    if "activation_fn" not in settings:
        return "tanh"
    match = re.fullmatch(r"<class 'torch\.nn\.modules\.activation\.(\w+)'>", str(settings["activation_fn"]))
    return _CLASSES.get(match[1]) if match else None


def _check_observations(data: Mapping[str, Any] | None, network: Network) -> dict[str, str]:
    space = (data or {}).get("observation_space")
    if not isinstance(space, Mapping):
        return {}
    kind, shape = _kind(space), space.get("_shape")
    if kind == "Box":
        sizes = [d for d in shape if isinstance(d, int)] if isinstance(shape, list) else []
        size = 1
        for d in sizes:
            size *= d
        if len(sizes) == 3 and space.get("dtype") == "uint8":
            raise UnsupportedError(f"{network.where}: observations are images of shape {shape}; expected a vector of numbers")
        if size != network.chain.size:
            raise FileFormatError(
                f"{network.where}: observations have the shape {shape}, lstm_actor takes {network.chain.size} values; expected as many"
            )
        return {"observation": f"Box of shape {shape}, flattened"}
    if kind in ("Discrete", "MultiDiscrete", "MultiBinary"):
        return {"observation": f"{kind}: the one-hot vector that preprocess_obs makes" if kind != "MultiBinary" else kind}
    raise UnsupportedError(f"{network.where}: observation space {kind}; expected Box, Discrete, MultiDiscrete or MultiBinary")


def _action(data: Mapping[str, Any] | None, gaussian: bool) -> tuple[str, str]:
    """The output's name, and what it is."""
    space = (data or {}).get("action_space")
    kind = _kind(space) if isinstance(space, Mapping) else "Box" if gaussian else "Discrete"
    if kind == "Box":
        bounds = f", low {space.get('low')}, high {space.get('high')}" if isinstance(space, Mapping) else ""
        return "actions", f"the mean of the Gaussian; predict(deterministic=True) also clips it to the action space{bounds}"
    if kind == "MultiDiscrete":
        sizes = f" {space.get('nvec')}" if isinstance(space, Mapping) else ""
        return "logits", f"logits of the MultiDiscrete actions{sizes}, side by side; the deterministic action is the largest of each"
    if kind == "MultiBinary":
        return "logits", "logits of the MultiBinary actions; the deterministic action is 1 where they are above 0"
    return "logits", f"logits of the {kind} actions; the deterministic action is the largest"


def _kind(space: Mapping[str, Any]) -> str:
    """``"<class 'gymnasium.spaces.box.Box'>"`` -> Box."""
    return str(space.get(":type:", "")).rstrip(">'").rpartition(".")[2] or "unknown"
