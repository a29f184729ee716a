"""rsl_rl: runner checkpoints of recurrent actors and of distilled students.

Source: rsl_rl 1.0 to 5.5, modules/actor_critic_recurrent.py, modules/student_teacher_recurrent.py, models/rnn_model.py,
modules/normalization.py, modules/distribution.py, algorithms/{ppo,distillation}.py. The observation goes through the
normaliser, ``(x - mean) / (std + 0.01)``, the recurrent layers and a multilayer perceptron.
"""

from __future__ import annotations

from dataclasses import dataclass

from rtrnn.errors import FileFormatError, UnsupportedError
from rtrnn.importers.checkpoint.network import Checkpoint, Network
from rtrnn.importers.checkpoint.statistics import Statistics
from rtrnn.importers.checkpoint.weights import Linear, Weights
from rtrnn.importers.draft import Draft

__all__ = ["recognise"]

#: The default of EmpiricalNormalization, which no runner changes.
_EPS = 1e-2


@dataclass(frozen=True)
class _Form:
    """The keys of one role in one generation of checkpoints."""

    title: str
    tree: str
    memory: str
    mlp: str
    normalizer: str
    #: What a distribution with one deviation for all states keeps: its size is the number of actions.
    deviations: tuple[str, ...]
    others: tuple[str, ...]
    #: Whether a Beta distribution existed, which keeps nothing, as little as deviations that depend on the state.
    beta: bool


_NEW = ("std", "log_std", "distribution.std_param", "distribution.log_std_param")
_OLD_OTHERS = ("critic.", "memory_c.", "critic_obs_normalizer.", "teacher.", "memory_t.", "teacher_obs_normalizer.")
_FORMS = (
    _Form("rsl_rl actor", "actor_state_dict", "rnn.rnn.", "mlp.", "obs_normalizer.", _NEW, (), True),
    _Form("rsl_rl student", "student_state_dict", "rnn.rnn.", "mlp.", "obs_normalizer.", _NEW, (), True),
    _Form(
        "rsl_rl actor", "model_state_dict", "memory_a.rnn.", "actor.", "actor_obs_normalizer.", _NEW[:2], _OLD_OTHERS, False
    ),
    _Form(
        "rsl_rl student", "model_state_dict", "memory_s.rnn.", "student.", "student_obs_normalizer.", _NEW[:2], _OLD_OTHERS,
        False,
    ),
)  # fmt: skip


def recognise(checkpoint: Checkpoint) -> Draft | None:
    for form in _FORMS:
        for key in (form.tree, None):
            weights = checkpoint.weights(key)
            if f"{form.memory}weight_ih_l0" in weights and f"{form.mlp}0.weight" in weights:
                return _import(checkpoint, weights, form)
    return None


def _import(checkpoint: Checkpoint, weights: Weights, form: _Form) -> Draft:
    layers, mlp = weights.recurrent(form.memory), weights.sequential(form.mlp)
    network = Network(checkpoint, weights, form.title, layers[0], "obs")
    network.normalize(_statistics(checkpoint, weights, form))
    network.recurrent(layers)
    network.mlp(mlp)
    action = _head(network, weights, mlp[-1], form)
    weights.know(*form.others)
    return network.finish("actions", action=action)


def _statistics(checkpoint: Checkpoint, weights: Weights, form: _Form) -> Statistics | None:
    prefix, source = form.normalizer, weights
    if f"{prefix}_mean" not in weights:
        # rsl_rl 2 kept the normaliser in the runner, beside the policy.
        prefix, source = "", checkpoint.weights("obs_norm_state_dict")
        if "_mean" not in source:
            return None
    found = Statistics.of(
        f"{source.where}: {prefix}_std", source.vector(f"{prefix}_mean"), std=source.vector(f"{prefix}_std"), eps=_EPS
    )
    if prefix:
        source.know(f"{prefix}_var", f"{prefix}count")
    return found


def _head(network: Network, weights: Weights, last: Linear, form: _Form) -> str:
    """What becomes of the perceptron's output: the mean itself, or the part of it that is the mean."""
    size = int(last.weight.shape[0])
    kept = [key for key in form.deviations if key in weights]
    if kept:
        actions = weights.vector(kept[0]).size
        weights.know(*kept)
        if actions != size:
            raise FileFormatError(f"{weights.where}: {kept[0]!r} has {actions} elements and {last.name!r} {size} rows; expected as many")
        return "the mean of the Gaussian"
    if size % 2:
        return "the network's output"
    if form.beta:
        raise UnsupportedError(
            f"{weights.where}: recognised as {form.title}, without a tensor of standard deviations; its {size} outputs are then the "
            f"mean and deviation of {size // 2} actions, the two parameters of a Beta distribution, or {size} actions without a "
            "distribution, and the file does not say which. Expected one of "
            f"{', '.join(_NEW)}; load the policy that the runner exports (export_policy_to_onnx, export_policy_to_jit)"
        )
    network.chain.x = network.chain.b.slice(network.chain.x, 0, 0, size // 2)
    network.parts.append(f"first {size // 2} outputs")
    network.assumed.append(
        f"without std and log_std the policy has deviations that depend on the state, and the first {size // 2} of its {size} "
        "outputs are the mean"
    )
    return "the mean of the Gaussian"
