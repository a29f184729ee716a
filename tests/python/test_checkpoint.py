"""Checkpoints of reinforcement-learning libraries: the keys are the libraries', the reference is PyTorch in float64."""

from __future__ import annotations

import base64
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from checkpoint_modules import (  # noqa: E402
    Empirical,
    Memory,
    Running,
    check,
    load_quietly,
    mlp,
    observations,
    run,
    saved,
)
from torch import nn  # noqa: E402

import rtrnn  # noqa: E402
from rtrnn import FileFormatError, UnsupportedError  # noqa: E402

KINDS = {"gru": nn.GRU, "lstm": nn.LSTM}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(3)


# -- rsl_rl --------------------------------------------------------------------------------------------


class Distribution(nn.Module):
    def __init__(self, size: int, name: str = "std_param") -> None:
        super().__init__()
        self.register_parameter(name, nn.Parameter(torch.ones(size)))


class RslActor(nn.Module):
    def __init__(self, kind: str, layers: int = 1, normalize: bool = True, hidden: tuple[int, ...] = (16, 8)) -> None:
        super().__init__()
        self.obs_normalizer = Empirical(6) if normalize else nn.Identity()
        self.distribution = Distribution(3)
        self.mlp = mlp(12, *hidden, 3)
        self.rnn = Memory("rnn", KINDS[kind](6, 12, layers))

    def forward(self, x: Any) -> Any:
        return self.mlp(self.rnn(self.obs_normalizer(x)))


def rsl_tree(actor: nn.Module, **more: Any) -> dict[str, Any]:
    return {
        "actor_state_dict": actor.state_dict(),
        "critic_state_dict": RslActor("gru").state_dict(),
        "optimizer_state_dict": torch.optim.Adam(actor.parameters()).state_dict(),
        "iter": 100,
        "infos": None,
        **more,
    }


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_rsl_rl(kind: str, layers: int, normalize: bool, tmp_path: Path) -> None:
    actor = RslActor(kind, layers, normalize)
    model = rtrnn.load(saved(tmp_path, rsl_tree(actor)), activation="elu")
    check(model, actor)
    text = model.metadata["import.recognised"]
    assert text.startswith("rsl_rl actor: " + ("normalizer 6, " if normalize else "") + f"{kind.upper()} 6 -> 12")
    assert list(model.inputs) == ["obs"]
    assert list(model.outputs) == ["actions"]
    assert len(model.states) == layers * (2 if kind == "lstm" else 1)


def test_rsl_rl_needs_its_activation(tmp_path: Path) -> None:
    path = saved(tmp_path, rsl_tree(RslActor("gru")))
    with pytest.raises(UnsupportedError, match=r"behind the layer 'mlp\.0' is not in the file\. Pass activation=, one of elu"):
        rtrnn.load(path)
    with pytest.raises(UnsupportedError, match="'bent'"):
        rtrnn.load(path, activation="bent")


def test_rsl_rl_activation_matters(tmp_path: Path) -> None:
    actor = RslActor("gru")
    model = rtrnn.load(saved(tmp_path, rsl_tree(actor)), activation="relu")
    xs = observations(6)
    assert np.abs(model.run(xs) - run(actor, xs, torch.float64)).max() > 1e-3


def test_rsl_rl_without_hidden_layers_needs_none(tmp_path: Path) -> None:
    actor = RslActor("lstm", hidden=())
    path = saved(tmp_path, rsl_tree(actor))
    check(rtrnn.load(path), actor)
    with pytest.raises(UnsupportedError, match="without a hidden layer; expected no activation="):
        rtrnn.load(path, activation="elu")


@pytest.mark.parametrize("name", ["actor_state_dict", "student_state_dict"])
def test_rsl_rl_head_that_the_file_does_not_say(name: str, tmp_path: Path) -> None:
    """6 outputs without a standard deviation: 3 means and deviations, or the parameters of 3 Beta distributions."""
    tensors = {k: v for k, v in RslActor("gru").state_dict().items() if "distribution" not in k}
    tensors["mlp.4.weight"], tensors["mlp.4.bias"] = torch.randn(6, 8), torch.randn(6)
    with pytest.raises(UnsupportedError, match=r"Beta distribution.*export_policy_to_onnx"):
        rtrnn.load(saved(tmp_path, {name: tensors}), activation="elu")


def test_rsl_rl_deterministic_student(tmp_path: Path) -> None:
    student = RslActor("gru")
    tensors = {k: v for k, v in student.state_dict().items() if "distribution" not in k}
    check(rtrnn.load(saved(tmp_path, {"student_state_dict": tensors}), activation="elu"), student)


class RslOld(nn.Module):
    """rsl_rl 1 to 3: actor and critic in one module. `role` a or s: actor_critic or student_teacher."""

    def __init__(self, role: str, kind: str, inside: bool, std: str | None = "std") -> None:
        super().__init__()
        actor, critic, letter = {"a": ("actor", "critic", "c"), "s": ("student", "teacher", "t")}[role]
        if std:
            self.register_parameter(std, nn.Parameter(torch.ones(3)))
        self.add_module(actor, mlp(12, 16, 3 if std else 6))
        self.add_module(critic, mlp(12, 8, 1))
        self.add_module(f"memory_{role}", Memory("rnn", KINDS[kind](6, 12)))
        self.add_module(f"memory_{letter}", Memory("rnn", KINDS[kind](9, 12)))
        if inside:
            self.add_module(f"{actor}_obs_normalizer", Empirical(6))
            self.add_module(f"{critic}_obs_normalizer", Empirical(9))
        self.names = (f"{actor}_obs_normalizer", f"memory_{role}", actor)
        self.outside: list[Any] = []

    def forward(self, x: Any) -> Any:
        normalizer = getattr(self, self.names[0], None) or (self.outside or [nn.Identity()])[0].to(x.dtype)
        return getattr(self, self.names[2])(getattr(self, self.names[1])(normalizer(x)))[:3]


@pytest.mark.parametrize("role", ["a", "s"])
@pytest.mark.parametrize("kind", ["gru", "lstm"])
@pytest.mark.parametrize("normalizer", ["inside", "beside", "none"])
def test_older_rsl_rl(role: str, kind: str, normalizer: str, tmp_path: Path) -> None:
    policy = RslOld(role, kind, normalizer == "inside", "log_std" if kind == "gru" else "std")
    tree: dict[str, Any] = {"model_state_dict": policy.state_dict(), "optimizer_state_dict": {}, "iter": 1, "infos": None}
    if normalizer == "beside":
        policy.outside.append(Empirical(6))
        tree["obs_norm_state_dict"] = policy.outside[0].state_dict()
        tree["privileged_obs_norm_state_dict"] = Empirical(9).state_dict()
    model = rtrnn.load(saved(tmp_path, tree), activation="elu")
    check(model, policy)
    assert ("normalizer 6" in model.metadata["import.recognised"]) == (normalizer != "none")


def test_older_rsl_rl_with_deviations_that_depend_on_the_state(tmp_path: Path) -> None:
    policy = RslOld("a", "gru", True, None)
    with pytest.warns(rtrnn.ModelWarning, match="first 3 of its 6 outputs are the mean"):
        model = rtrnn.load(saved(tmp_path, {"model_state_dict": policy.state_dict()}), activation="elu")
    check(model, policy)


# -- RecurrentPPO --------------------------------------------------------------------------------------


class Extractor(nn.Module):
    def __init__(self, activation: type[nn.Module], sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.policy_net = mlp(12, *sizes, activation=activation, last=True)
        self.value_net = mlp(12, 7, last=True)


class Sb3(nn.Module):
    def __init__(
        self,
        activation: type[nn.Module] = nn.Tanh,
        sizes: tuple[int, ...] = (8, 8),
        layers: int = 1,
        critic: str = "lstm",
        gaussian: bool = True,
    ) -> None:
        super().__init__()
        if gaussian:
            self.log_std = nn.Parameter(torch.zeros(3))
        self.mlp_extractor = Extractor(activation, sizes)
        self.action_net = nn.Linear((12, *sizes)[-1], 3)
        self.value_net = nn.Linear(7, 1)
        self.lstm_actor = nn.LSTM(6, 12, layers)
        if critic == "lstm":
            self.lstm_critic = nn.LSTM(6, 12, layers)
        elif critic == "linear":
            self.critic = nn.Linear(6, 12)


class Sb3Actor(nn.Module):
    """What the policy computes, with a state."""

    def __init__(self, policy: Sb3, normalize: Any = None) -> None:
        super().__init__()
        self.memory = Memory("lstm", policy.lstm_actor)
        self.net, self.action_net = policy.mlp_extractor.policy_net, policy.action_net
        self.normalize = normalize or (lambda x: x)

    def forward(self, x: Any) -> Any:
        return self.action_net(self.net(self.memory(self.normalize(x))))


class Payload:
    """Pickled where Stable-Baselines3 pickles its objects: reading it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


BOX = "<class 'gymnasium.spaces.box.Box'>"
DISCRETE = "<class 'gymnasium.spaces.discrete.Discrete'>"


def sb3_file(folder: Path, policy: nn.Module, data: dict[str, Any] | None = None, actions: str = BOX) -> Path:
    """What ``RecurrentPPO.save`` writes, with a harmful pickle wherever it writes one."""
    evil = base64.b64encode(pickle.dumps(Payload(folder / "run"))).decode()
    content = {
        "policy_class": {":type:": "<class 'abc.ABCMeta'>", ":serialized:": evil},
        "observation_space": {":type:": BOX, ":serialized:": evil, "dtype": "float32", "_shape": [6]},
        "action_space": {":type:": actions, ":serialized:": evil, "low": "[-1. -1. -1.]", "high": "[1. 1. 1.]"},
        "policy_kwargs": {},
        **(data or {}),
    }
    path = folder / "policy.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", json.dumps(content))
        for name, tree in (("policy", policy.state_dict()), ("pytorch_variables", None), ("policy.optimizer", {})):
            with archive.open(f"{name}.pth", "w", force_zip64=True) as entry:
                torch.save(tree, entry)
        archive.writestr("_stable_baselines3_version", "2.9.2")
    return path


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("critic", ["lstm", "linear", "shared"])
def test_recurrent_ppo(layers: int, critic: str, tmp_path: Path) -> None:
    policy = Sb3(layers=layers, critic=critic)
    model = rtrnn.load(sb3_file(tmp_path, policy))
    check(model, Sb3Actor(policy))
    assert list(model.outputs) == ["actions"]
    assert "the mean of the Gaussian" in model.metadata["action"]
    assert "low [-1. -1. -1.]" in model.metadata["action"]
    assert model.metadata["import.activation"] == "tanh, from RecurrentPPO's default"
    assert not (tmp_path / "run").exists()


def test_recurrent_ppo_activation_of_policy_kwargs(tmp_path: Path) -> None:
    policy = Sb3(nn.ReLU)
    kwargs = {":type:": "<class 'dict'>", "activation_fn": "<class 'torch.nn.modules.activation.ReLU'>", "n_lstm_layers": 1}
    path = sb3_file(tmp_path, policy, {"policy_kwargs": kwargs})
    check(rtrnn.load(path), Sb3Actor(policy))
    kwargs["activation_fn"] = "<class 'my.own.Function'>"
    path = sb3_file(tmp_path, policy, {"policy_kwargs": kwargs})
    with pytest.raises(UnsupportedError, match="Pass activation="):
        rtrnn.load(path)
    check(rtrnn.load(path, activation="relu"), Sb3Actor(policy))


def test_recurrent_ppo_discrete_without_layers(tmp_path: Path) -> None:
    policy = Sb3(sizes=(), gaussian=False)
    model = rtrnn.load(sb3_file(tmp_path, policy, actions=DISCRETE))
    check(model, Sb3Actor(policy))
    assert list(model.outputs) == ["logits"]


def test_recurrent_ppo_state_dict_alone(tmp_path: Path) -> None:
    policy = Sb3()
    path = saved(tmp_path, policy.state_dict())
    with pytest.raises(UnsupportedError, match="Pass activation="):
        rtrnn.load(path)
    check(rtrnn.load(path, activation="tanh"), Sb3Actor(policy))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"policy_kwargs": {"features_extractor_class": "<class 'mine.Net'>"}}, "features extractor <class 'mine.Net'>"),
        ({"policy_kwargs": {"squash_output": True}}, "squash_output"),
        ({"observation_space": {":type:": "<class 'gymnasium.spaces.dict.Dict'>"}}, "observation space Dict"),
        ({"observation_space": {":type:": BOX, "_shape": [1, 2, 3], "dtype": "uint8"}}, "images"),
        ({"observation_space": {":type:": BOX, "_shape": [7]}}, "lstm_actor takes 6"),
    ],
)
def test_recurrent_ppo_refused(data: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(rtrnn.Error, match=message):
        rtrnn.load(sb3_file(tmp_path, Sb3(), data))


def test_other_stable_baselines_policies_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"'0\.weight'.*expected RecurrentPPO's lstm_actor"):
        rtrnn.load(sb3_file(tmp_path, mlp(6, 3)))


def test_features_extractor_with_weights_is_refused(tmp_path: Path) -> None:
    policy = Sb3()
    policy.features_extractor = nn.Linear(6, 6)
    with pytest.raises(UnsupportedError, match=r"'features_extractor\.weight'"):
        rtrnn.load(sb3_file(tmp_path, policy))


# -- Sample Factory ------------------------------------------------------------------------------------


class SampleFactory(nn.Module):
    def __init__(
        self,
        role: str = "",
        kind: str = "gru",
        encoder: tuple[int, ...] = (10, 9),
        decoder: tuple[int, ...] = (),
        learned: bool = False,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        if normalize:
            inner = nn.ModuleDict({"running_mean_std": nn.ModuleDict({"obs": Running(6)})})
            self.obs_normalizer = nn.ModuleDict({"running_mean_std": inner})
        self.returns_normalizer = Running(1)
        head = nn.ModuleDict({"mlp_head": mlp(6, *encoder, activation=nn.Tanh, last=True)})
        self.role = role
        for who in ("actor_", "critic_") if role else ("",):
            self.add_module(f"{who}encoder", nn.ModuleDict({"encoders": nn.ModuleDict({"obs": head})}))
            self.add_module(f"{who}core", Memory("core", KINDS[kind]((6, *encoder)[-1], 12)))
            self.add_module(f"{who}decoder", nn.ModuleDict({"mlp": mlp(12, *decoder, activation=nn.Tanh, last=True)}))
        self.critic_linear = nn.Linear((12, *decoder)[-1], 1)
        self.action_parameterization = nn.Module()
        self.action_parameterization.distribution_linear = nn.Linear((12, *decoder)[-1], 4)
        if learned:
            self.action_parameterization.learned_stddev = nn.Parameter(torch.zeros(4))

    def forward(self, x: Any) -> Any:
        if hasattr(self, "obs_normalizer"):
            x = self.obs_normalizer["running_mean_std"]["running_mean_std"]["obs"](x)
        x = getattr(self, f"{self.role}encoder")["encoders"]["obs"]["mlp_head"](x)
        x = getattr(self, f"{self.role}decoder")["mlp"](getattr(self, f"{self.role}core")(x))
        return self.action_parameterization.distribution_linear(x)


@pytest.mark.parametrize(
    ("settings", "output"),
    [
        ({}, "action_logits"),
        ({"role": "actor_", "kind": "lstm"}, "action_logits"),
        ({"decoder": (7,), "learned": True}, "actions"),
        ({"encoder": (), "decoder": (5,), "normalize": False}, "action_logits"),
    ],
)
def test_sample_factory(settings: dict[str, Any], output: str, tmp_path: Path) -> None:
    actor = SampleFactory(**settings)
    path = saved(tmp_path, {"train_step": 1, "best_performance": -1e9, "model": actor.state_dict(), "optimizer": {}})
    with pytest.warns(rtrnn.ModelWarning, match="continuous_tanh_scale is not in the checkpoint"):
        model = rtrnn.load(path, activation="tanh")
    check(model, actor)
    assert list(model.outputs) == [output]
    assert model.metadata["import.recognised"].startswith("Sample Factory actor: ")


def test_sample_factory_with_two_observations_is_refused(tmp_path: Path) -> None:
    actor = SampleFactory()
    actor.encoder["encoders"]["goal"] = nn.ModuleDict({"mlp_head": mlp(4, 3)})
    with pytest.raises(UnsupportedError, match=r"\['goal', 'obs'\]"):
        rtrnn.load(saved(tmp_path, {"model": actor.state_dict()}), activation="tanh")


# -- rl_games ------------------------------------------------------------------------------------------


class A2C(nn.Module):
    def __init__(self, before: bool, concat_in: bool, concat_out: bool, norm: bool, separate: bool, kind: str) -> None:
        super().__init__()
        self.before, self.concat_in, self.concat_out, self.letter = before, concat_in, concat_out, "a_" if separate else ""
        rnn_in = 6 if before else 9 + 6 * concat_in
        wide = 12 + 6 * concat_out
        self.actor_mlp = mlp(wide if before else 6, 10, 9, last=True)
        self.mu = nn.Linear(9 if before else wide, 3)
        self.value = nn.Linear(9 if before else wide, 1)
        self.sigma = nn.Parameter(torch.zeros(3))
        for letter in ("a_", "c_") if separate else ("",):
            self.add_module(f"{letter}rnn", Memory("rnn", KINDS[kind](rnn_in, 12)))
            if norm:
                self.add_module(f"{letter}layer_norm", nn.LayerNorm(12))
                nn.init.normal_(getattr(self, f"{letter}layer_norm").weight)

    def forward(self, x: Any) -> Any:
        y = x if self.before else self.actor_mlp(x)
        y = torch.cat([y, x]) if self.concat_in else y
        y = getattr(self, f"{self.letter}rnn")(y)
        y = getattr(self, f"{self.letter}layer_norm", nn.Identity())(y)
        y = torch.cat([y, x]) if self.concat_out else y
        return self.mu(self.actor_mlp(y) if self.before else y)


class RlGames(nn.Module):
    def __init__(self, normalize: bool = True, **settings: Any) -> None:
        super().__init__()
        self.value_mean_std = Running(1)
        if normalize:
            self.running_mean_std = Running(6)
        self.a2c_network = A2C(**settings)

    def forward(self, x: Any) -> Any:
        return self.a2c_network(self.running_mean_std(x) if hasattr(self, "running_mean_std") else x)


@pytest.mark.parametrize(
    ("before", "concat_in", "concat_out", "norm", "separate", "kind"),
    [
        (True, False, False, False, False, "lstm"),
        (True, False, True, True, True, "gru"),
        (False, False, False, True, False, "gru"),
        (False, True, False, False, True, "lstm"),
        (False, True, True, False, False, "gru"),
        (False, False, True, False, False, "lstm"),
    ],
)
def test_rl_games(
    before: bool, concat_in: bool, concat_out: bool, norm: bool, separate: bool, kind: str, tmp_path: Path
) -> None:
    actor = RlGames(before=before, concat_in=concat_in, concat_out=concat_out, norm=norm, separate=separate, kind=kind)
    tree = {"model": actor.state_dict(), "epoch": 3, "last_mean_rewards": np.float32(2.5), "env_state": None}
    with pytest.warns(rtrnn.ModelWarning, match="mu_activation"):
        model = rtrnn.load(saved(tmp_path, tree), activation="elu")
    check(model, actor)


def test_rl_games_compiled_and_with_the_statistics_beside_the_model(tmp_path: Path) -> None:
    """torch.compile puts _orig_mod. before every key; older versions kept the statistics apart."""
    actor = RlGames(before=True, concat_in=False, concat_out=False, norm=False, separate=False, kind="gru")
    tensors = {f"_orig_mod.{k}": v for k, v in actor.state_dict().items() if not k.startswith("running_mean_std")}
    tree = {"model": tensors, "running_mean_std": actor.running_mean_std.state_dict()}
    check(load_quietly(saved(tmp_path, tree), activation="elu"), actor)


def test_rl_games_whose_wiring_the_shapes_do_not_say(tmp_path: Path) -> None:
    """All sizes are equal: the recurrent layer may stand before or behind the perceptron."""
    state = {f"a2c_network.rnn.rnn.{k}": v for k, v in nn.GRU(6, 6).state_dict().items()}
    state |= {f"a2c_network.actor_mlp.{k}": v for k, v in mlp(6, 6, last=True).state_dict().items()}
    state |= {f"a2c_network.mu.{k}": v for k, v in nn.Linear(6, 3).state_dict().items()}
    with pytest.raises(UnsupportedError, match=r"fit together in 2 ways.*before_mlp, concat_input and concat_output are not"):
        rtrnn.load(saved(tmp_path, {"model": state}), activation="elu")


# -- what every recogniser keeps to --------------------------------------------------------------------


def test_no_tensor_is_left_over(tmp_path: Path) -> None:
    tensors = {**RslActor("gru").state_dict(), "mlp.extra.weight": torch.zeros(2, 2)}
    with pytest.raises(UnsupportedError, match=r"rsl_rl actor, but the tensors 'mlp\.extra\.weight' have no place"):
        rtrnn.load(saved(tmp_path, {"actor_state_dict": tensors}), activation="elu")


def test_nan_weights_are_named(tmp_path: Path) -> None:
    actor = RslActor("gru")
    with torch.no_grad():
        actor.mlp[2].weight[1, 2] = torch.nan
    with pytest.raises(FileFormatError, match=r"actor_state_dict: tensor 'mlp\.2\.weight' of shape \(8, 16\) holds 1 values"):
        rtrnn.load(saved(tmp_path, rsl_tree(actor)), activation="elu")


def test_shapes_that_do_not_fit_are_named(tmp_path: Path) -> None:
    tensors = {**RslActor("gru").state_dict(), "mlp.2.weight": torch.zeros(8, 15)}
    with pytest.raises(FileFormatError, match=r"layer 'mlp\.2': weight has shape \(8, 15\); expected \(any, 16\)"):
        rtrnn.load(saved(tmp_path, {"actor_state_dict": tensors}), activation="elu")


def test_initial_states(tmp_path: Path) -> None:
    actor = RslActor("gru")
    path = saved(tmp_path, rsl_tree(actor))
    first = np.linspace(-1, 1, 12, dtype=np.float32)
    model = rtrnn.load(path, activation="elu", initial_states={"rnn.rnn.h": first})
    np.testing.assert_array_equal(model.initial_state["rnn.rnn.h"], first)
    with pytest.raises(rtrnn.StateError, match=r"rnn\.rnn\.h"):
        rtrnn.load(path, activation="elu", initial_states={"h": first})
