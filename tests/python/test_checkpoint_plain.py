"""State dicts of no library: one recurrent module, or recurrent and linear modules in a row; PyTorch, safetensors, JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from checkpoint_modules import Memory, check, observations, run, saved  # noqa: E402
from torch import nn  # noqa: E402

import rtrnn  # noqa: E402
from rtrnn import FileFormatError, UnsupportedError  # noqa: E402


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(4)


# -- one module ----------------------------------------------------------------------------------------

MODULES: dict[str, Any] = {
    "gru": lambda: nn.GRU(6, 10),
    "lstm of two layers": lambda: nn.LSTM(6, 10, 2),
    "gru without bias": lambda: nn.GRU(6, 10, bias=False),
    "lstm with projection": lambda: nn.LSTM(6, 10, 2, proj_size=4),
    "rnn": lambda: nn.RNN(6, 10),
}


@pytest.mark.filterwarnings("ignore:.*nonlinearity", "ignore:LSTM with projections:UserWarning")
@pytest.mark.parametrize("prefix", ["", "rnn.", "module.policy.memory.", "_orig_mod."])
@pytest.mark.parametrize("name", MODULES)
def test_module(name: str, prefix: str, tmp_path: Path) -> None:
    module = MODULES[name]()
    tensors = {prefix + key: value for key, value in module.state_dict().items()}
    model = rtrnn.load(saved(tmp_path, tensors))
    check(model, Memory("rnn", module))
    assert model.metadata["import.recognised"].startswith(f"recurrent module: {name[:3].upper()}")


@pytest.mark.parametrize("cell", [nn.GRUCell, nn.LSTMCell])
def test_cell(cell: Any, tmp_path: Path) -> None:
    module = cell(6, 10)
    layer = (nn.GRU if cell is nn.GRUCell else nn.LSTM)(6, 10)
    layer.load_state_dict({f"{key}_l0": value for key, value in module.state_dict().items()})
    check(rtrnn.load(saved(tmp_path, {"state_dict": module.state_dict(), "epoch": 1})), Memory("rnn", layer))


def test_rnn_nonlinearity(tmp_path: Path) -> None:
    module = nn.RNN(6, 10, nonlinearity="relu")
    path = saved(tmp_path, module.state_dict())
    check(rtrnn.load(path, activation="relu"), Memory("rnn", module))
    with pytest.warns(rtrnn.ModelWarning, match="whose nonlinearity the file does not say runs tanh"):
        model = rtrnn.load(path)
    assert "tanh" in model.metadata["import.assumed"]
    with pytest.raises(UnsupportedError, match="'tanh' or 'relu'"):
        rtrnn.load(path, activation="elu")


@pytest.mark.parametrize("module", [nn.GRU(6, 5, 2, bidirectional=True), nn.LSTM(6, 5, bidirectional=True)])
def test_bidirectional_runs_offline(module: Any, tmp_path: Path) -> None:
    model = rtrnn.load(saved(tmp_path, module.state_dict()))
    xs = observations(6)
    with torch.no_grad():
        expected = module.double()(xs.double()[:, None])[0][:, 0].numpy()
    np.testing.assert_allclose(model.run(xs), expected, rtol=0, atol=4e-7)
    with pytest.raises(UnsupportedError):
        model.stream()


def test_activation_for_a_gru_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="expected no activation="):
        rtrnn.load(saved(tmp_path, nn.GRU(3, 4).state_dict()), activation="relu")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("weight_hh_l0", torch.zeros(31, 10), r"'weight_hh_l0' has shape \(31, 10\)"),
        ("weight_hh_l0", torch.zeros(20, 10), r"expected 1 \(RNN\), 3 \(GRU\) or 4 \(LSTM\) times"),
        ("weight_ih_l0", torch.zeros(29, 6), r"layer 'gru': weight_ih has shape \(29, 6\); expected \(30, 6\)"),
        ("bias_hh_l0", torch.zeros(29), r"layer 'gru': bias_hh has shape \(29,\); expected \(30,\)"),
        ("weight_ih_l2", torch.zeros(30, 10), r"expected the layers 0, 1, \.\.; found \[0, 2\]"),
        ("weight_ih_l0", torch.full((30, 6), torch.inf), "'weight_ih_l0' of shape .* holds 180 values"),
        ("weight_ih_l0", torch.full((30, 6), 1e300, dtype=torch.float64), "'weight_ih_l0' .* holds 180 values"),
    ],
)
def test_module_refused(key: str, value: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=message):
        rtrnn.load(saved(tmp_path, {**nn.GRU(6, 10).state_dict(), key: value}))


def test_missing_tensor_is_named(tmp_path: Path) -> None:
    tensors = nn.GRU(6, 10).state_dict()
    del tensors["weight_hh_l0"]
    with pytest.raises(FileFormatError, match="tensor 'weight_hh_l0' is missing; found 'weight_ih_l0'"):
        rtrnn.load(saved(tmp_path, tensors))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types(dtype: Any, tmp_path: Path) -> None:
    module = nn.GRU(6, 10).to(dtype)
    check(rtrnn.load(saved(tmp_path, module.state_dict())), Memory("rnn", module))


# -- chains --------------------------------------------------------------------------------------------


class Chain(nn.Module):
    """The modules in the order of the keywords, which is that of the file; `way` is the order of the computation."""

    def __init__(self, way: str = "", activation: Any = None, **modules: Any) -> None:
        super().__init__()
        self.way, self.activation = way.split() or list(modules), activation
        for name, module in modules.items():
            recurrent = isinstance(module, nn.RNNBase)
            self.add_module(name, Memory("rnn", module) if recurrent else module)

    def forward(self, x: Any) -> Any:
        for i, name in enumerate(self.way):
            x = getattr(self, name)(x)
            if self.activation and isinstance(getattr(self, name), nn.Linear) and i + 1 < len(self.way):
                x = self.activation(x)
        return x

    def tensors(self) -> dict[str, Any]:
        return {key.replace(".rnn.", ".", 1): value for key, value in self.state_dict().items()}


CHAINS: dict[str, Any] = {
    "lstm, linear": lambda: Chain(lstm=nn.LSTM(6, 10), linear=nn.Linear(10, 3)),
    "two modules": lambda: Chain(gru=nn.GRU(6, 10), gru2=nn.GRU(10, 8, 2), dense=nn.Linear(8, 2)),
    "head made first": lambda: Chain("rnn fc", fc=nn.Linear(10, 3), rnn=nn.GRU(6, 10)),
    "two grus": lambda: Chain(a=nn.GRU(6, 10), b=nn.GRU(10, 4)),
}


@pytest.mark.parametrize("name", CHAINS)
def test_chain(name: str, tmp_path: Path) -> None:
    chain = CHAINS[name]()
    check(rtrnn.load(saved(tmp_path, chain.tensors())), chain)


def test_chain_with_a_function_between_linear_layers(tmp_path: Path) -> None:
    chain = Chain(activation=torch.relu, encoder=nn.Linear(6, 9), gru=nn.GRU(9, 10), fc1=nn.Linear(10, 8), fc2=nn.Linear(8, 2))
    path = saved(tmp_path, chain.tensors())
    with pytest.raises(UnsupportedError, match=r"behind the layer 'encoder' is not in the file. Pass activation="):
        rtrnn.load(path)
    check(rtrnn.load(path, activation="relu"), chain)


def test_chain_with_an_nn_sequential(tmp_path: Path) -> None:
    head = nn.Sequential(nn.Linear(10, 8), nn.ELU(), nn.Linear(8, 7), nn.Linear(7, 2))
    chain = Chain(gru=nn.GRU(6, 10), head=head)
    check(rtrnn.load(saved(tmp_path, chain.tensors()), activation="elu"), chain)


def test_modules_without_weights_that_nobody_knows(tmp_path: Path) -> None:
    head = nn.Sequential(nn.Linear(10, 8), nn.ELU(), nn.Dropout(), nn.Linear(8, 2))
    with pytest.raises(UnsupportedError, match=r"2 modules without weights stand between 'head\.0' and 'head\.3'"):
        rtrnn.load(saved(tmp_path, Chain(gru=nn.GRU(6, 10), head=head).tensors()), activation="elu")


def test_weightless_modules_first(tmp_path: Path) -> None:
    head = nn.Sequential(nn.ReLU(), nn.Linear(10, 2))
    with pytest.raises(UnsupportedError, match=r"modules without weights stand before 'head\.1'"):
        rtrnn.load(saved(tmp_path, Chain(gru=nn.GRU(6, 10), head=head).tensors()))


def test_numbered_modules_of_both_kinds(tmp_path: Path) -> None:
    chain = Chain(**{"0": nn.GRU(6, 10), "1": nn.Linear(10, 2)})
    check(rtrnn.load(saved(tmp_path, chain.tensors())), chain)


def test_two_networks_in_one_file(tmp_path: Path) -> None:
    for module in (nn.GRU(3, 4), Chain(gru=nn.GRU(3, 4), fc=nn.Linear(4, 2))):
        tensors = module.tensors() if isinstance(module, Chain) else module.state_dict()
        with pytest.raises(UnsupportedError, match=r"several networks \(model, average\); expected one"):
            rtrnn.load(saved(tmp_path, {"model": tensors, "average": tensors}))


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ({"gru": nn.GRU(6, 10), "fc": nn.Linear(9, 3)}, "'gru' 6 -> 10, 'fc' 9 -> 3.* fit in no order"),
        ({"gru": nn.GRU(6, 10), "actor": nn.Linear(10, 10), "critic": nn.Linear(10, 1)}, "keys say no known network"),
        ({"gru": nn.GRU(6, 10), "fc": nn.Linear(10, 3), "norm": nn.LayerNorm(3)}, "keys say no known network"),
        ({"conv": nn.Conv1d(2, 3, 1), "gru": nn.GRU(6, 10), "fc": nn.Linear(10, 3)}, r"'conv\.weight', 'conv\.bias'"),
        ({"rec": nn.LSTM(1, 10), "lin": nn.Linear(10, 1)}, "may add its input to its output.*expected its .json file"),
        ({**{f"g{i}": nn.GRU(2, 2) for i in range(14)}, "x": nn.GRU(3, 3)}, "fit in several orders"),
        ({"fc": nn.Linear(10, 3)}, r"keys say no known network: 'fc\.weight', 'fc\.bias'; expected .*rtrnn\.Sequential"),
    ],
)
def test_chain_refused(modules: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=message):
        rtrnn.load(saved(tmp_path, Chain(**modules).tensors()))


# -- other containers ----------------------------------------------------------------------------------


def test_safetensors(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    chain = Chain(lstm=nn.LSTM(6, 10).half(), fc=nn.Linear(10, 3).bfloat16(), out=nn.Linear(3, 2).double())
    save_file(chain.tensors(), tmp_path / "model.safetensors")
    check(rtrnn.load(tmp_path / "model.safetensors", activation="identity"), chain.float())


def test_safetensors_has_no_order(tmp_path: Path) -> None:
    """What is certain in a file that keeps the modules' order is not in one that sorts them."""
    from safetensors.torch import save_file

    chain = Chain(b=nn.GRU(6, 6), a=nn.LSTM(6, 6), fc=nn.Linear(6, 3))
    check(rtrnn.load(saved(tmp_path, chain.tensors())), chain)
    save_file(chain.tensors(), tmp_path / "model.safetensors")
    with pytest.raises(UnsupportedError, match="fit in several orders"):
        rtrnn.load(tmp_path / "model.safetensors")


def test_safetensors_damaged(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    save_file(nn.GRU(3, 4).state_dict(), path)
    data = path.read_bytes()
    path.write_bytes(data[:-8])
    with pytest.raises(FileFormatError, match=r"tensor '\w+' F32 .* expected \d+ bytes within"):
        rtrnn.load(path)
    path.write_bytes(data.replace(b'"F32"', b'"F9z"'))
    with pytest.raises(UnsupportedError, match="type F9z; expected one of F64, F32"):
        rtrnn.load(path)


def test_json(tmp_path: Path) -> None:
    chain = CHAINS["two modules"]()
    path = tmp_path / "model.json"
    path.write_text(json.dumps({key: value.tolist() for key, value in chain.tensors().items()}))
    check(rtrnn.load(path), chain)
    path.write_text(json.dumps({"gru.weight_ih_l0": [[1, 2], [3]], "gru.weight_hh_l0": [[1]]}))
    with pytest.raises(FileFormatError, match=r"'gru\.weight_ih_l0': expected a tensor as nested lists"):
        rtrnn.load(path)


@pytest.mark.models
@pytest.mark.parametrize("name", ["gru_torch", "lstm_torch"])
def test_recorded_json(name: str, models: Path) -> None:
    folder = models / "rtneural"
    xs, ys = (np.loadtxt(folder / f"{name}_{which}_python.csv") for which in "xy")
    model = rtrnn.load(folder / f"{name}.json")
    stream = model.stream()
    got = np.array([stream.step(np.float32([x]))[0] for x in xs])
    np.testing.assert_allclose(got, ys, rtol=0, atol=1.4e-7)
    assert len(model.states) == (4 if name == "gru_torch" else 8)


def test_legacy_container(tmp_path: Path) -> None:
    """The files of PyTorch before 1.6."""
    module = nn.LSTM(6, 10)
    path = tmp_path / "model.pt"
    torch.save(module.state_dict(), path, _use_new_zipfile_serialization=False)
    check(rtrnn.load(path), Memory("rnn", module))


def test_normalizer_option(tmp_path: Path) -> None:
    module = Memory("rnn", nn.GRU(6, 10))
    path = saved(tmp_path, module.rnn.state_dict())
    mean, std = np.arange(6.0), np.arange(1.0, 7.0)
    xs = observations(6)
    model = rtrnn.load(path, normalizer={"mean": mean, "std": std, "eps": 0.5})
    scaled = (xs.double() - torch.tensor(mean)) / torch.tensor(std + 0.5)
    np.testing.assert_allclose(model.run(xs), run(module, scaled, torch.float64), rtol=0, atol=3e-7)
