"""Networks to time: one recurrent layer of any size, or a policy with its encoder and head, with random weights.

One description (:class:`Spec`) becomes an rtrnn Model, an ONNX file and a PyTorch module with the same weights, so that every
engine runs the very same network.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rtrnn.errors import MissingExtraError, UnsupportedError
from rtrnn.importers.draft import Draft
from rtrnn.model import Model

__all__ = ["CELLS", "SHAPES", "SIZES", "Spec", "parse_size"]

CELLS = {"gru": 3, "lstm": 4, "rnn": 1}  # and their gates
SIZES = ("8x8", "16x16", "32x32", "64x64", "64x128", "64x256", "64x512", "64x1024")

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Spec:
    """Linear layers, one recurrent layer, linear layers; the activation stands between them and behind the encoder."""

    name: str
    cell: str
    input_size: int
    hidden_size: int
    encoder: tuple[int, ...] = ()
    head: tuple[int, ...] = ()
    activation: str = "elu"
    weights: dict[str, Array] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise UnsupportedError(f"cell {self.cell!r}: expected one of {sorted(CELLS)}")
        rng = np.random.default_rng(0)
        gates, hidden = CELLS[self.cell], self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {}
        size = self.input_size
        for i, rows in enumerate(self.encoder):
            shapes |= {f"encoder{i}.weight": (rows, size), f"encoder{i}.bias": (rows,)}
            size = rows
        shapes |= {"weight_ih": (gates * hidden, size), "weight_hh": (gates * hidden, hidden)}
        shapes |= {"bias_ih": (gates * hidden,), "bias_hh": (gates * hidden,)}
        size = hidden
        for i, rows in enumerate(self.head):
            shapes |= {f"head{i}.weight": (rows, size), f"head{i}.bias": (rows,)}
            size = rows
        # PyTorch's initial scale: sums of unit inputs stay of order one.
        weights = {
            name: (rng.uniform(-1, 1, shape) / np.sqrt(shape[-1] if len(shape) > 1 else hidden)).astype(np.float32)
            for name, shape in shapes.items()
        }
        object.__setattr__(self, "weights", weights)

    @property
    def output_size(self) -> int:
        return self.head[-1] if self.head else self.hidden_size

    @property
    def states(self) -> tuple[str, ...]:
        return ("h", "c") if self.cell == "lstm" else ("h",)

    # -- the three forms -------------------------------------------------------------------------------

    def model(self) -> Model:
        """For rtrnn, built from nodes: no file and no other package is needed."""
        made = Draft()
        x = made.add_input("x", (self.input_size,))
        for i, rows in enumerate(self.encoder):
            x = self._linear(made, x, f"encoder{i}", rows)
            (x,) = made.add_node(self.activation, [x], [(rows,)])
        shape = (self.hidden_size,)
        for name in self.states:
            made.add_state(name, shape)
        roles = [made.add_tensor(self.weights[role], role) for role in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        after = made.add_node(self.cell, [x, *self.states, *roles], [shape] * len(self.states), hint=self.cell)
        for name, value in zip(self.states, after, strict=True):
            made.states[name].next = value
        x = after[0]
        for i, rows in enumerate(self.head):
            if i:
                (x,) = made.add_node(self.activation, [x], [(self.head[i - 1],)])
            x = self._linear(made, x, f"head{i}", rows)
        made.outputs["y"] = x
        return Model(made.build())

    def _linear(self, made: Draft, x: str, name: str, rows: int) -> str:
        operands = [made.add_tensor(self.weights[f"{name}.{role}"], f"{name}.{role}") for role in ("weight", "bias")]
        (y,) = made.add_node("linear", [x, *operands], [(rows,)], hint=name)
        return y

    def save_onnx(self, path: Path, steps: int = 1, batch: int = 1) -> Path:
        """As exporters write it: x (steps, batch, input) and the states (1, batch, hidden) in; y and the states out.

        Raises :class:`MissingExtraError` without the package onnx.
        """
        try:
            import onnx
            from onnx import TensorProto, helper, numpy_helper
        except ImportError as error:
            raise MissingExtraError("peers that read ONNX need the package onnx: pip install 'rtrnn[bench]'") from error
        gates, hidden = CELLS[self.cell], self.hidden_size
        # ONNX orders the gates z r n and i o f g.
        order = {"gru": (1, 0, 2), "lstm": (0, 3, 1, 2), "rnn": (0,)}[self.cell]

        def reordered(name: str) -> Array:
            value = self.weights[name]
            return np.concatenate([value.reshape(gates, hidden, -1)[g] for g in order]).reshape(value.shape)

        bias = np.concatenate([reordered("bias_ih"), reordered("bias_hh")])[None]
        constants: dict[str, Any] = {"W": reordered("weight_ih")[None], "R": reordered("weight_hh")[None], "B": bias}
        nodes: list[Any] = []

        def linear(x: str, name: str) -> str:
            constants[f"{name}.w"] = np.ascontiguousarray(self.weights[f"{name}.weight"].T)
            constants[f"{name}.b"] = self.weights[f"{name}.bias"]
            nodes.append(helper.make_node("MatMul", [x, f"{name}.w"], [f"{name}.m"], name=f"{name}.matmul"))
            nodes.append(helper.make_node("Add", [f"{name}.m", f"{name}.b"], [f"{name}.y"], name=f"{name}.add"))
            return f"{name}.y"

        def activated(x: str) -> str:
            op = {"elu": "Elu", "relu": "Relu", "tanh": "Tanh"}[self.activation]
            nodes.append(helper.make_node(op, [x], [f"{x}.a"], name=f"{x}.activation"))
            return f"{x}.a"

        x = "x"
        for i in range(len(self.encoder)):
            x = activated(linear(x, f"encoder{i}"))
        attributes: dict[str, Any] = {"hidden_size": hidden}
        if self.cell == "gru":
            attributes["linear_before_reset"] = 1
        states_in, states_out = [f"{name}_in" for name in self.states], [f"{name}_out" for name in self.states]
        operands = [x, "W", "R", "B", "", *states_in]
        nodes.append(helper.make_node(self.cell.upper(), operands, ["Y", *states_out], name=self.cell, **attributes))
        constants["direction"] = np.array([1], np.int64)
        nodes.append(helper.make_node("Squeeze", ["Y", "direction"], ["sequence"], name="no_direction"))
        x = "sequence"
        for i in range(len(self.head)):
            x = linear(activated(x) if i else x, f"head{i}")
        nodes.append(helper.make_node("Identity", [x], ["y"], name="result"))

        def port(name: str, shape: list[int]) -> Any:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

        state_shape = [1, batch, hidden]
        graph = helper.make_graph(
            nodes,
            self.cell,
            [port("x", [steps, batch, self.input_size]), *(port(name, state_shape) for name in states_in)],
            [port("y", [steps, batch, self.output_size]), *(port(name, state_shape) for name in states_out)],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(proto, str(path))
        return path

    def torch_module(self, *, whole_sequence: bool = False) -> Any:
        """A module ``(x, *states) -> (y, *states)``.

        x is (batch, input) and the layer a cell; with `whole_sequence` x is (T, batch, input), the layer nn.GRU and
        its like, and states have their leading axis of size 1. Raises :class:`MissingExtraError` without torch.
        """
        try:
            import torch  # noqa: F401
        except ImportError as error:
            raise MissingExtraError("PyTorch as a peer needs torch: pip install 'rtrnn[torch]'") from error
        from rtrnn.bench.torch_networks import network

        return network(self, whole_sequence)


def parse_size(text: str) -> tuple[int, int]:
    """``"64x128"`` as (input, hidden); ``"64"`` as (64, 64). Raises :class:`UnsupportedError`."""
    match = re.fullmatch(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", text.strip())
    if not match:
        raise UnsupportedError(f"size {text!r}: expected input x hidden, such as 64x128, or one number for both")
    return int(match[1]), int(match[2] or match[1])


#: The shapes of two real policies: the Unitree G1's walking policy and RAPTOR's for quadrotors.
SHAPES = (
    ("G1 shape", {"cell": "lstm", "input_size": 47, "hidden_size": 64, "head": (32, 12)}),
    (
        "RAPTOR shape",
        {"cell": "gru", "input_size": 22, "hidden_size": 16, "encoder": (16,), "head": (4,), "activation": "relu"},
    ),
)
