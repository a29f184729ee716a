"""Sample Factory 2: the actor of a learner's checkpoint.

Source: sample_factory/model/{actor_critic,encoder,core,decoder,action_parameterization}.py, algo/utils/running_mean_std.py,
utils/normalize.py. Observations go through ``clip((x - mean) / sqrt(var + 1e-5), -5, 5)``, the encoder's perceptron, the
recurrent core, the decoder's perceptron and the layer of the action distribution.
"""

from __future__ import annotations

from rtrnn.errors import UnsupportedError
from rtrnn.importers.checkpoint.network import Checkpoint, Network
from rtrnn.importers.checkpoint.statistics import Statistics
from rtrnn.importers.checkpoint.weights import Weights
from rtrnn.importers.draft import Draft

__all__ = ["recognise"]

_EPS, _CLIP = 1e-5, 5.0
_NORMALIZER = "obs_normalizer.running_mean_std.running_mean_std."
_HEAD = "action_parameterization."
_CRITIC = ("critic_linear.", "returns_normalizer.", "critic_encoder.", "critic_core.", "critic_decoder.")
_DEFAULTS = (
    "what config.json says of obs_subtract_mean, obs_scale and continuous_tanh_scale is not in the checkpoint; taken as the "
    "defaults 0, 1 and 0 (none)"
)


def recognise(checkpoint: Checkpoint) -> Draft | None:
    for key in ("model", None):
        weights = checkpoint.weights(key)
        for role in ("", "actor_"):  # shared and separate weights of actor and critic
            if f"{role}core.core.weight_ih_l0" in weights and f"{_HEAD}distribution_linear.weight" in weights:
                return _import(checkpoint, weights, role)
    return None


def _import(checkpoint: Checkpoint, weights: Weights, role: str) -> Draft:
    name = _observation(weights, f"{role}encoder.encoders.")
    encoder = weights.sequential(f"{role}encoder.encoders.{name}.mlp_head.")
    core = weights.recurrent(f"{role}core.core.")
    network = Network(checkpoint, weights, "Sample Factory actor", encoder[0] if encoder else core[0], name)
    network.normalize(_statistics(weights, name))
    network.mlp(encoder, last=True)
    network.recurrent(core)
    network.mlp(weights.sequential(f"{role}decoder.mlp."), last=True)
    network.linear(weights.linear(f"{_HEAD}distribution_linear."))
    weights.know(*_CRITIC)
    network.assumed.append(_DEFAULTS)
    if f"{_HEAD}learned_stddev" in weights:
        weights.know(f"{_HEAD}learned_stddev")
        return network.finish("actions", action="the mean of the Gaussian")
    return network.finish(
        "action_logits", action="parameters of the action distribution: logits, or the means and then the log deviations"
    )


def _observation(weights: Weights, prefix: str) -> str:
    """The one observation that is encoded or normalised."""
    names = {rest.partition(".")[0] for rest in [*weights.below(prefix), *weights.below(_NORMALIZER)]}
    if len(names) > 1:
        raise UnsupportedError(
            f"{weights.where}: recognised as Sample Factory actor with the observations {sorted(names)}; expected one. Export the "
            "network itself (ONNX, TorchScript)"
        )
    return names.pop() if names else "obs"


def _statistics(weights: Weights, name: str) -> Statistics | None:
    prefix = f"{_NORMALIZER}{name}."
    if f"{prefix}running_mean" not in weights:
        return None
    mean, var = weights.vector(f"{prefix}running_mean"), weights.vector(f"{prefix}running_var")
    weights.know(f"{prefix}count")
    return Statistics.of(f"{weights.where}: {prefix}running_var", mean, var=var, eps=_EPS, clip=_CLIP)
