"""rl_games: the actor of an A2C/PPO checkpoint with a recurrent layer.

Source: rl_games/algos_torch/{network_builder,models,running_mean_std,players}.py, common/layers/recurrent.py. Observations
go through ``clip((x - mean) / sqrt(var + 1e-5), -5, 5)``; the recurrent layer stands behind the perceptron or before it
(before_mlp), perhaps takes the observation as well (concat_input) or passes it on (concat_output), perhaps has a layer
normalisation. These settings are not in the file: the shapes must leave one possibility.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rtrnn.errors import UnsupportedError
from rtrnn.importers.checkpoint.network import Checkpoint, Network
from rtrnn.importers.checkpoint.statistics import Statistics
from rtrnn.importers.checkpoint.weights import Linear, Recurrent, Weights, first_keys
from rtrnn.importers.draft import Draft

__all__ = ["recognise"]

_EPS, _CLIP, _NORM_EPS = 1e-5, 5.0, 1e-5
_NET = "a2c_network."
_OTHERS = tuple(_NET + part for part in ("value.", "sigma", "c_rnn.", "critic_mlp.", "c_layer_norm.", "critic_cnn."))
_ACTIVATION = "mu_activation, and whether the model squashes its mean (continuous_a2c_tanh), are not in the file; taken as none"


class _Wiring(NamedTuple):
    size: int
    before_mlp: bool
    concat_input: bool
    concat_output: bool

    def __str__(self) -> str:
        names = [name for name in ("before_mlp", "concat_input", "concat_output") if getattr(self, name)]
        return ", ".join(names) or "behind the perceptron"


def recognise(checkpoint: Checkpoint) -> Draft | None:
    for key in ("model", None):
        weights = checkpoint.weights(key)
        for rnn in ("rnn", "a_rnn"):  # one network for both, or separate ones
            if f"{_NET}{rnn}.rnn.weight_ih_l0" in weights:
                return _import(checkpoint, weights, rnn)
    return None


def _import(checkpoint: Checkpoint, weights: Weights, rnn: str) -> Draft:
    title = "rl_games actor"
    layers, mlp = weights.recurrent(f"{_NET}{rnn}.rnn."), weights.sequential(f"{_NET}actor_mlp.")
    head, output, action = _head(weights)
    statistics = _statistics(checkpoint, weights)
    wiring = _wiring(weights, layers, mlp, head, statistics)
    first: Recurrent | Linear = layers[0] if wiring.before_mlp or not mlp else mlp[0]
    network = Network(checkpoint, weights, title, first, "obs")
    network.normalize(statistics)
    observation = network.chain.x

    def perceptron() -> None:
        network.mlp(mlp, last=True)

    def join(wanted: bool) -> None:
        if wanted:
            network.chain.x = network.chain.b.concat([network.chain.x, observation], 0)
            network.parts.append("observation beside it")

    if not wiring.before_mlp:
        perceptron()
    join(wiring.concat_input)
    network.recurrent(layers)
    _layer_norm(network, weights, f"{_NET}{rnn.removesuffix('rnn')}layer_norm.")
    join(wiring.concat_output)
    if wiring.before_mlp:
        perceptron()
    network.linear(head)
    weights.know(*_OTHERS, "value_mean_std.", "running_mean_std.count")
    if output == "actions":
        network.assumed.append(_ACTIVATION)
    return network.finish(output, action=action)


def _head(weights: Weights) -> tuple[Linear, str, str]:
    if f"{_NET}mu.weight" in weights:
        return weights.linear(f"{_NET}mu."), "actions", "the mean of the Gaussian; the player clips it to -1 .. 1 and rescales it"
    if f"{_NET}logits.weight" in weights:
        return weights.linear(f"{_NET}logits."), "logits", "logits of the discrete actions"
    parts = weights.sequential(f"{_NET}logits.")
    if not parts:
        raise UnsupportedError(f"{weights.where}: recognised as rl_games actor; expected {_NET}mu or {_NET}logits, found neither")
    sizes = [part.weight.shape[0] for part in parts]
    biases = [np.zeros(n) if part.bias is None else part.bias for n, part in zip(sizes, parts, strict=True)]
    head = Linear(f"{_NET}logits", np.concatenate([part.weight for part in parts]), np.concatenate(biases))
    return head, "logits", f"logits of multi-discrete actions of {sizes}, side by side"


def _statistics(checkpoint: Checkpoint, weights: Weights) -> Statistics | None:
    prefix, source = "running_mean_std.", weights
    if f"{prefix}running_mean" not in weights:
        # Older versions kept the statistics beside the model.
        prefix, source = "", checkpoint.weights("running_mean_std")
        if "running_mean" not in source:
            return None
    mean, var = source.vector(f"{prefix}running_mean"), source.vector(f"{prefix}running_var")
    return Statistics.of(f"{source.where}: {prefix}running_var", mean, var=var, eps=_EPS, clip=_CLIP)


def _wiring(
    weights: Weights, layers: Sequence[Recurrent], mlp: Sequence[Linear], head: Linear, statistics: Statistics | None
) -> _Wiring:
    """The one way to connect perceptron, recurrent layer and head that the shapes allow."""
    taken, given, wanted = layers[0].input_size, layers[-1].output_size, int(head.weight.shape[1])
    mlp_in, mlp_out = (int(mlp[0].weight.shape[1]), int(mlp[-1].weight.shape[0])) if mlp else (0, 0)
    found: list[_Wiring] = []
    for concat_output in (False, True):
        if mlp:
            size = mlp_in
            for concat_input in (False, True):
                if taken == mlp_out + size * concat_input and wanted == given + size * concat_output:
                    found.append(_Wiring(size, False, concat_input, concat_output))
        if (mlp_in if mlp else wanted) == given + taken * concat_output and (not mlp or mlp_out == wanted):
            found.append(_Wiring(taken, True, False, concat_output))
    fitting = [w for w in found if statistics is None or w.size == statistics.mean.size]
    if len(fitting) == 1:
        return fitting[0]
    ways = "; ".join(map(str, fitting)) or "no way"
    raise UnsupportedError(
        f"{weights.where}: recognised as rl_games actor with {', '.join(map(str, layers))}, a perceptron {mlp_in} -> {mlp_out} and a "
        f"head {wanted} -> {head.weight.shape[0]}, which fit together in {len(fitting)} ways ({ways}); expected one: before_mlp, "
        f"concat_input and concat_output are not in the file. Export the network itself (ONNX); keys {first_keys(weights.arrays, 6)}"
    )


def _layer_norm(network: Network, weights: Weights, prefix: str) -> None:
    if f"{prefix}weight" in weights:
        scale, offset = weights.vector(f"{prefix}weight"), weights.vector(f"{prefix}bias")
        network.chain.b.hint = prefix.rstrip(".")
        network.chain.x = network.chain.b.layer_norm(network.chain.x, scale, offset, _NORM_EPS)
        network.parts.append("layer norm")
