"""`.keras` and `.h5` files load and compute what Keras computes (in float64), timestep by timestep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_models import check, keras, loaded, randomised, saved

import rtrnn

#: Keras itself uses what NumPy is going to drop.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

L = keras.layers
F = 5


def sequential(*layers: Any, shape: tuple[int | None, ...] = (None, F), batch: int | None = None) -> Any:
    return randomised(keras.Sequential([keras.Input(shape, batch_size=batch, name="x"), *layers]))


CELLS: list[tuple[str, dict[str, Any]]] = [
    ("GRU", {}),
    ("GRU", {"reset_after": False}),
    ("GRU", {"use_bias": False}),
    ("GRU", {"reset_after": False, "use_bias": False}),
    ("GRU", {"activation": "relu", "recurrent_activation": "hard_sigmoid"}),
    ("GRU", {"activation": "elu", "recurrent_activation": "softsign", "reset_after": False}),
    ("GRU", {"recurrent_activation": "hard_sigmoid", "activation": "leaky_relu"}),
    ("GRU", {"stateful": True, "unroll": False}),
    ("GRU", {"dropout": 0.5, "recurrent_dropout": 0.5}),
    ("GRU", {"return_sequences": False}),
    ("LSTM", {}),
    ("LSTM", {"use_bias": False}),
    ("LSTM", {"activation": "gelu", "recurrent_activation": "hard_sigmoid"}),
    ("LSTM", {"activation": "linear", "recurrent_activation": "sigmoid"}),
    ("LSTM", {"activation": "swish", "unit_forget_bias": False}),
    ("LSTM", {"stateful": True}),
    ("LSTM", {"return_sequences": False}),
    ("SimpleRNN", {}),
    ("SimpleRNN", {"activation": "relu", "use_bias": False}),
    ("SimpleRNN", {"activation": "mish"}),
    ("SimpleRNN", {"activation": "selu", "return_sequences": False}),
    ("SimpleRNN", {"activation": "softplus"}),
]


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize(("kind", "options"), CELLS, ids=str)
def test_cells(kind: str, options: dict[str, Any], suffix: str, tmp_path: Path) -> None:
    layer = getattr(L, kind)(6, **{"return_sequences": True, **options})
    model = sequential(layer, L.Dense(3), batch=1 if options.get("stateful") else None)
    network = check(model, tmp_path / f"m{suffix}")
    assert network.warnings == ()
    assert network.metadata["source.producer"] == f"keras {keras.__version__}"


@pytest.mark.parametrize(
    "activation",
    [
        *("relu", "sigmoid", "tanh", "softmax", "softplus", "softsign", "selu", "elu", "gelu", "silu", "swish", "mish", "linear"),
        *("exponential", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh", "leaky_relu", "relu6", "celu"),
        *("log_softmax", "log_sigmoid", "tanh_shrink"),
    ],
)
def test_activations(activation: str, tmp_path: Path) -> None:
    check(sequential(L.Dense(4, activation=activation)), tmp_path / "m.keras")


LAYERS: list[Any] = [
    lambda: [L.Activation("tanh"), L.Activation(L.LeakyReLU(0.3))],
    lambda: [L.Dense(4, activation=L.ELU(0.7))],
    lambda: [L.ReLU(), L.ReLU(max_value=0.8)],
    lambda: [L.ReLU(negative_slope=0.1)],
    lambda: [L.ReLU(max_value=1.0, negative_slope=0.1, threshold=0.2)],
    lambda: [L.ReLU(threshold=0.3)],
    lambda: [L.LeakyReLU()],
    lambda: [L.PReLU(shared_axes=[1])],
    lambda: [L.Softmax()],
    lambda: [L.Dropout(0.3), L.GaussianNoise(0.1), L.SpatialDropout1D(0.2), L.Identity(), L.GaussianDropout(0.1)],
    lambda: [L.LayerNormalization(epsilon=1e-5)],
    lambda: [L.LayerNormalization(center=False), L.LayerNormalization(scale=False)],
    lambda: [L.RMSNormalization()],
    lambda: [L.UnitNormalization()],
    lambda: [L.BatchNormalization()],
    lambda: [L.BatchNormalization(center=False, scale=False, epsilon=0.1)],
    lambda: [L.Normalization()],
    lambda: [L.Normalization(mean=[1.0, 2, 3, 4, 5], variance=[1.0, 4, 9, 0.0, 2])],
    lambda: [L.Normalization(mean=0.5, variance=2.0, invert=True)],
    lambda: [L.Rescaling(1 / 255, offset=0.5)],
    lambda: [L.Rescaling([1.0, 2, 3, 4, 5])],
    lambda: [L.TimeDistributed(L.Dense(3, activation="relu"))],
    lambda: [L.Reshape((-1, 5, 1)), L.TimeDistributed(L.Conv1D(3, 2)), L.TimeDistributed(L.Flatten()), L.GRU(3, return_sequences=True)],
    lambda: [L.Reshape((-1, 5, 1)), L.TimeDistributed(L.MaxPooling1D(2)), L.TimeDistributed(L.Flatten())],
    lambda: [L.RNN([L.LSTMCell(3), L.GRUCell(4), L.SimpleRNNCell(2)], return_sequences=True)],
    lambda: [L.RNN(L.GRUCell(4, reset_after=False))],
    lambda: [L.Conv1D(4, 3, padding="causal", activation="relu")],
    lambda: [L.Conv1D(4, 2, padding="causal", dilation_rate=4), L.LSTM(3)],
    lambda: [L.Conv1D(10, 3, padding="causal", groups=5, use_bias=False)],
    lambda: [L.ZeroPadding1D((2, 0)), L.Conv1D(4, 3)],
    lambda: [keras.Sequential([keras.Input((None, F)), L.Dense(4), keras.Sequential([keras.Input((None, 4)), L.GRU(3)])])],
]


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("make", LAYERS, ids=range(len(LAYERS)))
def test_layers(make: Any, suffix: str, tmp_path: Path) -> None:
    check(sequential(*make()), tmp_path / f"m{suffix}")


def functional(make: Any, *shapes: tuple[int | None, ...], **options: Any) -> Any:
    inputs = [keras.Input(shape, name=f"in_{i}", **options) for i, shape in enumerate(shapes)]
    return randomised(keras.Model(inputs if len(inputs) > 1 else inputs[0], make(*inputs)))


def residual(x: Any) -> Any:
    y = L.GRU(F, return_sequences=True)(x)
    return L.Dense(3)(L.Add()([x, y]))


def shared(x: Any) -> Any:
    dense, gru = L.Dense(F, activation="tanh"), L.GRU(F, return_sequences=True)
    return L.Concatenate()([gru(dense(x)), dense(gru(x))])


def nested(x: Any) -> Any:
    inner_in = keras.Input((None, F))
    left = L.Dense(4, trainable=False)(inner_in)
    inner = keras.Model(inner_in, [L.LSTM(4, return_sequences=True)(left), left])
    a, c = inner(x)
    again, _ = inner(L.Dense(F)(a))
    return L.Concatenate()([a, c, again])


def merged(x: Any) -> Any:
    a, c = L.Dense(4)(x), L.GRU(4, return_sequences=True)(x)
    parts = [L.Multiply()([a, c]), L.Subtract()([a, c]), L.Average()([a, c, a]), L.Maximum()([a, c]), L.Minimum()([a, c])]
    return L.Concatenate(axis=-1)(parts)


def several_outputs(x: Any) -> Any:
    y, h, c = L.LSTM(4, return_sequences=True, return_state=True)(x)
    return {"policy": L.Dense(2)(y), "value": L.Dense(1)(y), "memory": L.Concatenate()([h, c])}


def functions(x: Any) -> Any:
    ops = keras.ops
    y = L.GRU(6, return_sequences=True)(x)
    parts = [y * 2.0 + 1.0, 1.0 - y, -y, y / 3.0, ops.tanh(y), ops.relu(y[..., 1:4]), ops.maximum(y, 0.1), ops.square(y)]
    parts += [ops.abs(y), ops.exp(y), ops.sigmoid(y), ops.silu(y), ops.gelu(y), ops.clip(y, -0.2, 0.2), ops.softmax(y), y[:, :, 0:5:2]]
    return ops.concatenate(parts, axis=-1)


def last_step(x: Any) -> Any:
    y = L.LSTM(6, return_sequences=True)(x)
    return L.Dense(3)(y[:, -1, :])


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("make", [residual, shared, nested, merged, several_outputs])
def test_functional(make: Any, suffix: str, tmp_path: Path) -> None:
    check(functional(make, (None, F)), tmp_path / f"m{suffix}")


@pytest.mark.parametrize("make", [functions, last_step])
def test_functions_of_tensors(make: Any, tmp_path: Path) -> None:
    """Only `.keras` files can hold them: Keras cannot load an `.h5` file of such a model itself."""
    check(functional(make, (None, F)), tmp_path / "m.keras")


def test_several_inputs(tmp_path: Path) -> None:
    """A sequence, and a vector that is joined with the recurrent layer's last output."""

    def make(x: Any, other: Any, context: Any) -> Any:
        y = L.LSTM(4, return_sequences=True)(L.Concatenate()([x, other]))
        return L.Dense(3)(L.Concatenate()([L.GRU(4)(y), context]))

    network = check(functional(make, (None, F), (None, 2), (3,)), tmp_path / "m.keras")
    assert list(network.inputs) == ["in_0", "in_1", "in_2"]
    assert network.metadata["keras.last_timestep_only"] == "gru" or network.metadata["keras.last_timestep_only"].startswith("gru_")


@pytest.mark.parametrize("mode", ["concat", "sum", "ave", "mul"])
@pytest.mark.parametrize("sequences", [True, False])
def test_bidirectional(mode: str, sequences: bool, tmp_path: Path) -> None:
    layer = L.Bidirectional(L.GRU(4, return_sequences=sequences), merge_mode=mode)
    network = check(sequential(layer, L.Dense(2)), tmp_path / "m.keras")
    assert not network.graph.is_causal


def test_bidirectional_of_two_kinds(tmp_path: Path) -> None:
    layer = L.Bidirectional(L.LSTM(4, return_sequences=True), backward_layer=L.SimpleRNN(4, return_sequences=True, go_backwards=True))
    for suffix in (".keras", ".h5"):
        check(sequential(layer, L.Dense(2)), tmp_path / f"m{suffix}")


def test_backwards(tmp_path: Path) -> None:
    assert not check(sequential(L.LSTM(4, go_backwards=True)), tmp_path / "m.keras").graph.is_causal
    model = sequential(L.LSTM(4, go_backwards=True, return_sequences=True))
    with pytest.raises(rtrnn.UnsupportedError, match=r"layer 'lstm\w*' \(LSTM\): go_backwards=True"):
        loaded(saved(model, tmp_path / "r.keras"))


def test_states_as_inputs(tmp_path: Path) -> None:
    """initial_state from inputs of the model, and the next states as its outputs: the stream carries them."""
    x = keras.Input((None, F), name="obs")
    h, c = keras.Input((4,), name="h_in"), keras.Input((4,), name="c_in")
    y, h_out, c_out = L.LSTM(4, return_sequences=True, return_state=True)(x, initial_state=[h, c])
    model = randomised(keras.Model([x, h, c], [L.Dense(2)(y), h_out, c_out]))
    first = {"h_in": [0.1, 0.2, 0.3, 0.4], "c_in": [1.0, -1, 2, -2]}
    for suffix in (".keras", ".h5"):
        network = loaded(saved(model, tmp_path / f"m{suffix}"), initial_states=first)
        assert list(network.inputs) == ["obs"]
        assert list(network.states) == ["h_in", "c_in"]
        assert len(network.outputs) == 1
        xs = np.random.default_rng(0).normal(size=(12, F)).astype(np.float32)
        feeds = {"obs": xs[None], **{name: np.float32([value]) for name, value in first.items()}}
        wanted = keras.ops.convert_to_numpy(model(feeds)[0])[0]
        np.testing.assert_allclose(network.stream().process(xs), wanted, rtol=0, atol=1e-6)


def test_inputs_of_an_outputs_shape_are_data(tmp_path: Path) -> None:
    """Only what is an initial state in the file, or is called a state, is one."""

    def make(x: Any, other: Any) -> Any:
        y = L.GRU(F, return_sequences=True)(L.Concatenate()([x, other]))
        return [L.Dense(F)(y), L.Dense(F)(L.Add()([y, other]))]

    network = check(functional(make, (None, F), (None, F)), tmp_path / "m.keras")
    assert network.warnings == ()
    h = keras.Input((F,), name="h_in")
    x = keras.Input((F,), name="x")
    following = L.Dense(F, activation="tanh", name="h_out")(L.Concatenate()([x, h]))
    model = randomised(keras.Model([x, h], [L.Dense(2)(following), following]))
    path = saved(model, tmp_path / "n.keras")
    assert list(loaded(path).states) == ["h_in"]
    assert list(loaded(path, states={"h_in": None}).states) == []


def test_shorter_sequences(tmp_path: Path) -> None:
    """A convolution without padding gives its first output when its window is full."""
    model = sequential(L.DepthwiseConv1D(3, depth_multiplier=2, dilation_rate=2), L.Dense(3))
    with pytest.warns(rtrnn.ModelWarning, match="first 4 outputs"):
        network = rtrnn.load(saved(model, tmp_path / "m.keras"))
    xs = np.random.default_rng(0).normal(size=(12, F)).astype(np.float32)
    wanted = keras.ops.convert_to_numpy(model(xs[None]))[0]
    np.testing.assert_allclose(network.stream().process(xs)[4:], wanted, rtol=0, atol=1e-6)


def test_bfloat16(tmp_path: Path) -> None:
    """HDF5 has no such type; the weights are widened."""
    model = randomised(keras.Sequential([keras.Input((None, F)), L.Dense(4, dtype="bfloat16")]))
    network = loaded(saved(model, tmp_path / "m.keras"))
    kernel, bias = (keras.ops.convert_to_numpy(keras.ops.cast(w, "float32")) for w in model.weights)
    xs = np.random.default_rng(0).normal(size=(6, F)).astype(np.float32)
    np.testing.assert_allclose(network.stream().process(xs), xs @ kernel + bias, rtol=0, atol=1e-6)


def test_a_window_of_fixed_length(tmp_path: Path) -> None:
    """The time axis may have a size in the file; the stream has no end, which the warning says."""
    model = sequential(L.LSTM(4, return_sequences=True), L.GRU(3), L.Dense(2), shape=(10, F))
    network = check(model, tmp_path / "m.keras", steps=10, fixed=True)
    assert network.inputs == {"x": (F,)}
    (text,) = network.warnings
    assert "sequences of 10 timesteps" in text
    assert "reset()" in text
    with pytest.warns(rtrnn.ModelWarning, match="10 timesteps"):
        rtrnn.load(tmp_path / "m.keras")


def test_one_timestep_in_the_file(tmp_path: Path) -> None:
    model = sequential(L.GRU(4, stateful=True, return_sequences=True), L.Flatten(), L.Dense(2), shape=(1, F), batch=1)
    network = loaded(saved(model, tmp_path / "m.keras"))
    assert network.warnings == ()
    stream = network.stream()
    for row in np.random.default_rng(0).normal(size=(10, F)).astype(np.float32):
        wanted = keras.ops.convert_to_numpy(model(row[None, None]))
        np.testing.assert_allclose(stream.step(row), wanted[0], rtol=0, atol=1e-6)


def test_one_timestep_that_is_made(tmp_path: Path) -> None:
    """(batch, features) made a sequence of one timestep: the state is carried on, which the file does not do by itself."""
    model = randomised(keras.Sequential([keras.Input((F,), name="x"), L.Reshape((1, F)), L.GRU(4, name="memory"), L.Dense(2)]))
    network = loaded(saved(model, tmp_path / "m.keras"))
    assert list(network.states) == ["memory.h"]
    assert "sequences of 1 timestep, and its layers 'memory' begin each with a state of zeros" in network.warnings[0]
    xs = np.random.default_rng(0).normal(size=(4, F)).astype(np.float32)
    stream = network.stream()
    for x, wanted in zip(xs, keras.ops.convert_to_numpy(model(xs)), strict=True):
        stream.reset()
        np.testing.assert_allclose(stream.step(x), wanted, rtol=0, atol=1e-6)


def test_no_time(tmp_path: Path) -> None:
    """(batch, features): a network without state steps too."""
    model = randomised(keras.Sequential([keras.Input((F,), name="x"), L.Dense(4, "relu"), L.BatchNormalization(), L.Dense(2)]))
    network = loaded(saved(model, tmp_path / "m.keras"))
    xs = np.random.default_rng(0).normal(size=(10, F)).astype(np.float32)
    np.testing.assert_allclose(network.stream().process(xs), keras.ops.convert_to_numpy(model(xs)), rtol=0, atol=1e-6)


IMAGES: list[Any] = [
    lambda: [L.Conv1D(4, 5, strides=2, activation="relu"), L.MaxPooling1D(2), L.Flatten(), L.Dense(3)],
    lambda: [L.Conv1D(4, 3, padding="same", strides=2), L.AveragePooling1D(3, strides=1, padding="same"), L.GlobalAveragePooling1D()],
    lambda: [L.SeparableConv1D(4, 3, depth_multiplier=2, padding="same"), L.GlobalMaxPooling1D()],
    lambda: [L.Reshape((8, 2, 1)), L.Conv2D(4, (3, 2), padding="same", dilation_rate=2), L.MaxPooling2D((2, 1)), L.Flatten()],
    lambda: [L.Reshape((4, 4, 1)), L.DepthwiseConv2D(3, depth_multiplier=3, padding="valid"), L.AveragePooling2D(2), L.Flatten()],
    lambda: [L.Cropping1D((1, 2)), L.Permute((2, 1)), L.Flatten()],
]


@pytest.mark.parametrize("make", IMAGES, ids=range(len(IMAGES)))
def test_convolutions_within_a_step(make: Any, tmp_path: Path) -> None:
    """A network without recurrent layers takes a whole block of samples in each step."""
    model = randomised(keras.Sequential([keras.Input((16, 1), name="x"), *make()]))
    network = loaded(saved(model, tmp_path / "m.keras"))
    xs = np.random.default_rng(0).normal(size=(6, 16)).astype(np.float32)
    wanted = keras.ops.convert_to_numpy(model(xs[..., None])).reshape(6, -1)
    np.testing.assert_allclose(network.stream().process(xs).reshape(6, -1), wanted, rtol=0, atol=2e-6)


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_recurrent_layers_within_a_step(cell: str, tmp_path: Path) -> None:
    """Behind a convolution over a window of fixed length, a recurrent layer runs over the window, anew in each step."""
    layers = [L.Conv1D(4, 3, padding="same", activation="relu"), L.MaxPooling1D(2), L.Bidirectional(getattr(L, cell)(3)), L.Dense(2)]
    model = sequential(*layers, shape=(12, F))
    network = loaded(saved(model, tmp_path / "m.keras"))
    assert network.inputs == {"x": (12, F)}
    assert network.states == {}
    xs = np.random.default_rng(0).normal(size=(5, 12, F)).astype(np.float32)
    np.testing.assert_allclose(network.stream().process(xs), keras.ops.convert_to_numpy(model(xs)), rtol=0, atol=2e-6)


def test_normalisation_with_a_tiny_variance(tmp_path: Path) -> None:
    """The deviation is at least keras.backend.epsilon()."""
    layer = L.Normalization(mean=[0.0] * F, variance=[0.0, 1e-16, 1e-12, 1.0, 4.0])
    network = loaded(saved(sequential(layer), tmp_path / "m.keras"))
    found = network.stream().step(np.full(F, 1e-7, np.float32))
    np.testing.assert_allclose(found, [1, 1, 0.1, 1e-7, 5e-8], rtol=1e-6)


def test_deep_in_the_tree(tmp_path: Path) -> None:
    """Names repeat, layers are counted by class, one layer stands in two models: each finds its own weights."""
    dense = L.Dense(F, name="dense")
    one = keras.Sequential([keras.Input((None, F)), dense, L.GRU(F, return_sequences=True, name="a")], name="one")
    two = keras.Sequential([keras.Input((None, F)), L.GRU(F, return_sequences=True, name="b"), dense], name="two")
    x = keras.Input((None, F), name="x")
    model = randomised(keras.Model(x, L.Add()([two(one(dense(x))), L.Dense(F, name="gru")(one(x))])))
    network = loaded(saved(model, tmp_path / "m.keras"))
    xs = np.random.default_rng(0).normal(size=(12, F)).astype(np.float32)
    np.testing.assert_allclose(network.stream().process(xs), keras.ops.convert_to_numpy(model(xs[None]))[0], rtol=0, atol=2e-6)
