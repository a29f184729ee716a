"""A program of aten operators, as ``torch.export`` makes it, and its reading into a Draft.

A live module and a ``.pt2`` file both become a :class:`Program`; what is read from there on is the same.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from rtrnn.errors import FileFormatError, UnsupportedError
from rtrnn.importers.builder import Axis, Builder
from rtrnn.importers.torch.common import Memory, Reading, named_outputs
from rtrnn.importers.torch.machine import Machine
from rtrnn.importers.torch.values import Tensor

__all__ = ["NUMBERS", "Body", "Port", "Program"]

#: Operators on sizes that exported programs hold beside those of aten.
NUMBERS: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.neg,
        operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge, operator.and_, operator.or_,
    )
}  # fmt: skip
#: Sizes stay below this; a product of many of them must not become a number of millions of digits.
_MAX_NUMBER = 1 << 62
#: Operators that repeat an axis of size 1 to the size of another operand's.
_BROADCASTING = frozenset(
    {"add", "addcdiv", "addcmul", "div", "lerp", "maximum", "minimum", "mul", "pow", "rsub", "sub", "where"}
)


@dataclass(frozen=True)
class Port:
    """One input or output of a program.

    `kind`: "input" and "output" (the caller's), "tensor" (parameter, buffer or constant; as an output its new value),
    "argument" (as an output: the new value of the caller's input `target`, which the program writes in place).
    """

    kind: str
    target: str = ""


@dataclass
class Body:
    """A graph and what its attributes are: the bodies of blocks such as torch.no_grad()."""

    graph: torch.fx.Graph
    attribute: Callable[[str], Any]


@dataclass
class Program:
    """An exported program."""

    body: Body
    inputs: list[Port]
    outputs: list[Port]
    #: The values of parameters, buffers and constants by path.
    stored: Mapping[str, torch.Tensor]
    #: The caller's outputs, in order, as the value that forward returns.
    unflatten: Callable[[Sequence[Any]], Any]
    #: Input axes that the file had fixed to another size -> that size.
    rebound: Mapping[Axis, int] = field(default_factory=dict)

    def read(self, b: Builder, leaves: list[tuple[str, Any]], carried: Mapping[str, torch.Tensor]) -> Reading:
        """One reading for a call with `leaves`, (name, value) for each of the caller's inputs."""
        machine = Machine(b)
        b.rebound.update(self.rebound)
        memory = Memory(machine, carried)
        shapes = {name: tuple(value.shape) for name, value in leaves if isinstance(value, torch.Tensor)}
        # A convolution or a recurrent layer over an axis of size 1 means time: there is nothing else to run over.
        b.dynamic_axes.update((name, i) for name, shape in shapes.items() for i, d in enumerate(shape) if d == 1)
        given = iter(leaves)
        arguments: list[Any] = []
        inputs: dict[str, Tensor] = {}
        for port in self.inputs:
            if port.kind == "tensor":
                arguments.append(memory.tensor(port.target, self.stored[port.target]))
                continue
            name, value = next(given)
            if isinstance(value, torch.Tensor):
                value = inputs[name] = Tensor(b.input(name, value.shape))
            arguments.append(value)
        results = self._run(self.body, arguments, machine)
        if len(results) != len(self.outputs):
            raise FileFormatError(f"the program gives {len(results)} results, but its signature {len(self.outputs)}")
        outputs = []
        for port, result in zip(self.outputs, results, strict=True):
            if port.kind == "output":
                outputs.append(result)
            elif not isinstance(result, Tensor):
                raise FileFormatError(f"the program writes {result!r} to {port.target!r}; expected a tensor")
            elif port.kind == "argument":
                inputs[port.target].write(b, result.read())
            else:
                memory.tensor(port.target, self.stored[port.target]).write(b, result.read())
        memory.close()
        return Reading(memory, named_outputs(self.unflatten(outputs)), shapes, inputs)

    def evaluate(self, arguments: Sequence[torch.Tensor]) -> Sequence[Any]:
        """The results in PyTorch itself; tensors that the program writes in place are changed."""
        return _evaluate(self.body, arguments)

    def _run(self, body: Body, arguments: list[Any], machine: Machine) -> Sequence[Any]:
        """The results of a graph, called with its placeholders' values."""
        env: dict[torch.fx.Node, Any] = {}
        given = iter(arguments)
        for node in body.graph.nodes:
            if node.op == "placeholder":
                env[node] = next(given)
            elif node.op == "get_attr":
                env[node] = body.attribute(str(node.target))
            elif node.op == "output":
                results = torch.fx.node.map_arg(node.args[0], env.__getitem__)
                return results if isinstance(results, (list, tuple)) else [results]
            else:
                args = torch.fx.node.map_arg(node.args, env.__getitem__)
                kwargs = torch.fx.node.map_arg(node.kwargs, env.__getitem__)
                env[node] = self._call(node, list(args), dict(kwargs), machine)
                if self.rebound:
                    self._check_sizes(node, env)
        raise UnsupportedError("torch.export made a graph without an output")

    def _check_sizes(self, node: torch.fx.Node, env: Mapping[torch.fx.Node, Any]) -> None:
        """A program of fixed sizes must not have spread one timestep over all of them again, by adding a constant."""
        made, sizes = env[node], node.meta.get("sizes")
        if not isinstance(made, Tensor) or sizes is None or made.read().const is not None:
            return
        factors = {a * b for a in (1, *self.rebound.values()) for b in (1, *self.rebound.values())}
        # An axis is as long as in the file, a part of it, or shorter by the frames that are left out.
        fits = len(sizes) == len(made.shape) and all(
            d is None or d in (have * k for k in factors) or d - have + 1 in self.rebound.values()
            for d, have in zip(sizes, made.shape, strict=True)
        )
        if not fits:
            raise UnsupportedError(f"{_where(node)}: its shape {sizes} becomes {made.shape} at one timestep")
        if str(node.target).partition(".")[2].split(".")[0] not in _BROADCASTING:
            return
        for source in node.all_input_nodes:
            declared, value = source.meta.get("sizes"), env[source]
            if declared is None or not isinstance(value, Tensor) or len(declared) != len(value.shape):
                continue
            for i in range(1, 1 + min(len(declared), len(sizes))):
                if value.shape[-i] == 1 and declared[-i] not in (1, None) and made.shape[-i] == declared[-i]:
                    raise UnsupportedError(f"{_where(node)}: a constant of {declared[-i]} timesteps meets one timestep")

    def _call(self, node: torch.fx.Node, args: list[Any], kwargs: dict[str, Any], machine: Machine) -> Any:
        target = node.target
        if target is operator.getitem:
            return args[0][args[1]]
        name = getattr(target, "__name__", str(target))
        if name.startswith("wrap_with_"):
            # Blocks such as torch.no_grad(): the graph is the first argument that is one.
            at = next((i for i, a in enumerate(args) if isinstance(a, Body)), None)
            if at is None:
                raise UnsupportedError(f"{_where(node)}: {name} holds no graph")
            return self._run(args[at], args[at + 1 :], machine)
        if not isinstance(target, torch._ops.OpOverload):
            if target in NUMBERS.values() and all(isinstance(a, (bool, int, float)) for a in args) and not kwargs:
                result = target(*args)  # type: ignore[operator]
                if abs(result) > _MAX_NUMBER:
                    raise UnsupportedError(f"{_where(node)}: a size of {result}; expected at most {_MAX_NUMBER}")
                return result
            raise UnsupportedError(f"{_where(node)}: {name} is not an aten operator")
        if name.startswith(("_assert", "sym_constrain")):
            return None
        if target.namespace != "aten":
            raise UnsupportedError(f"{_where(node)}: {target} is not an aten operator; expected standard PyTorch operators")
        names = [a.name for a in target._schema.arguments]
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        for argument in target._schema.arguments:
            if argument.name not in given and argument.has_default_value():
                given[argument.name] = argument.default_value
        return machine.call(target, target._schema, {k: given[k] for k in names if k in given}, _where(node))


def _evaluate(body: Body, arguments: Sequence[Any]) -> Sequence[Any]:
    env: dict[torch.fx.Node, Any] = {}
    given = iter(arguments)
    for node in body.graph.nodes:
        if node.op == "placeholder":
            env[node] = next(given)
            continue
        if node.op == "get_attr":
            env[node] = body.attribute(str(node.target))
            continue
        args = torch.fx.node.map_arg(node.args, env.__getitem__)
        kwargs = torch.fx.node.map_arg(node.kwargs, env.__getitem__)
        if node.op == "output":
            outputs: Sequence[Any] = args[0]
            return outputs
        at = next((i for i, a in enumerate(args) if isinstance(a, Body)), None)
        env[node] = node.target(*args, **kwargs) if at is None else _evaluate(args[at], args[at + 1 :])
    raise UnsupportedError("the program has no output")


def _where(node: torch.fx.Node) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    path = next(reversed([entry[0] for entry in stack.values()]), "") if stack else ""
    return f"node {node.name!r}" + (f" in module {path!r}" if path else "")
