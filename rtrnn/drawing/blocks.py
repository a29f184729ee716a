"""The blocks of a picture: each layer with the activation behind it, and what lies between layers in as few blocks as it fits."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rtrnn._core import Graph, Node
    from rtrnn.model import Model

__all__ = ["Block", "Loop", "Picture", "picture"]

#: Node types that are a block by themselves.
_LAYERS = frozenset({"rnn", "gru", "lstm", "linear", "conv", "layer_norm"})
_MOST_OPS = 4


@dataclass
class Block:
    """Something that is drawn: an input, an output, or some nodes."""

    kind: str  # "input", "output", "layer", "between"
    name: str
    shape: tuple[int, ...]
    nodes: list[Node] = field(default_factory=list)
    parameters: int = 0
    #: Blocks whose values it reads in the same timestep.
    reads: list[int] = field(default_factory=list)
    #: Nanoseconds of a step; None: not measured.
    ns: float | None = None

    @property
    def label(self) -> str:
        """``lstm``, ``linear + elu``, ``slice x4, mul, add``."""
        if self.kind in ("input", "output"):
            return self.kind
        if self.kind == "layer":
            return " + ".join(node.op for node in self.nodes)
        counts = Counter(node.op for node in self.nodes)
        texts = [op if count == 1 else f"{op} x{count}" for op, count in counts.items()]
        return ", ".join(texts if len(texts) <= _MOST_OPS else [*texts[: _MOST_OPS - 1], ".."])


@dataclass(frozen=True)
class Loop:
    """A state: written by one block, read by another or the same in the next timestep."""

    name: str
    shape: tuple[int, ...]
    written: int
    read: int


@dataclass(frozen=True)
class Picture:
    """Blocks in an order in which each reads earlier ones only."""

    blocks: list[Block]
    loops: list[Loop]
    #: Nanoseconds of a step around the blocks: the input taken in and checked, the state committed. None: not measured.
    around_ns: float | None = None

    @property
    def step_ns(self) -> float | None:
        """The sum of all."""
        if self.around_ns is None:
            return None
        return self.around_ns + sum(block.ns or 0.0 for block in self.blocks)


def picture(model: Model, *, timed: bool = True) -> Picture:
    """The picture of a network; `timed`: its kernel calls are timed, for about 0.2 s, when it can be streamed.

    Raises ValueError for a network that does not stay finite when it is timed.
    """
    graph = model.graph
    blocks, home = _joined(*_grouped(graph), graph)
    loops = _loops(graph, blocks, home)
    outputs = _outputs(graph, home)
    shown = {port.value: len(blocks) + i for i, port in enumerate(graph.outputs)}
    loops += [Loop(s.name, s.shape, home.get(s.next, shown[s.name]), shown[s.name]) for s in graph.states if s.name in shown]
    blocks += outputs
    if not timed or not graph.is_causal:
        return Picture(blocks, loops)
    from rtrnn.bench.calls import node_times

    times, around = node_times(model)
    for block in blocks:
        if block.nodes:
            block.ns = sum(times.pop(node.outputs[0], 0.0) for node in block.nodes)
    return Picture(blocks, loops, around + sum(times.values()))


def _grouped(graph: Graph) -> tuple[list[Block], dict[str, int]]:
    """Inputs and nodes as blocks, and the block that each value comes from."""
    blocks = [Block("input", port.name, port.shape) for port in graph.inputs]
    home = {port.name: i for i, port in enumerate(graph.inputs)}
    tensors = set(graph.tensor_names)
    readers = Counter(name for node in _live_nodes(graph) for name in dict.fromkeys(node.inputs))
    readers.update(port.value for port in graph.outputs)
    readers.update(state.next for state in graph.states)
    for node in _live_nodes(graph):
        sources = sorted({home[name] for name in node.inputs if name in home})
        parameters = sum(prod(graph.shape(name)) for name in dict.fromkeys(node.inputs) if name in tensors)
        last = blocks[sources[-1]] if sources else None
        values = [name for name in node.inputs if name and name not in tensors]
        if node.op in _LAYERS:
            blocks.append(Block("layer", node.name, graph.shape(node.outputs[0]), [node], parameters, sources))
            at = len(blocks) - 1
        elif last and last.kind == "layer" and _is_activation(node, values, last, readers, graph):
            at = sources[-1]
            last.nodes.append(node)
        elif last and last.kind == "between":
            # All edges go from earlier blocks to later ones, so joining the latest one makes no cycle.
            at = sources[-1]
            last.nodes.append(node)
            last.parameters += parameters
            last.shape = graph.shape(node.outputs[0])
            last.reads = sorted({*last.reads, *sources[:-1]})
        else:
            blocks.append(Block("between", node.name, graph.shape(node.outputs[0]), [node], parameters, sources))
            at = len(blocks) - 1
        home.update(dict.fromkeys(node.outputs, at))
    return blocks, home


def _live_nodes(graph: Graph) -> list[Node]:
    """Those that reach an output or a state."""
    wanted = {port.value for port in graph.outputs} | {state.next for state in graph.states}
    live = []
    for node in reversed(graph.nodes):
        if wanted.intersection(node.outputs):
            wanted.update(node.inputs)
            live.append(node)
    return live[::-1]


def _is_activation(node: Node, values: list[str], layer: Block, readers: Counter[str], graph: Graph) -> bool:
    """An elementwise function of a layer's result that nothing else reads."""
    if len(node.inputs) != 1 or len(values) != 1 or values[0] != layer.nodes[-1].outputs[0]:
        return False
    return readers[values[0]] == 1 and graph.shape(values[0]) == graph.shape(node.outputs[0])


def _joined(blocks: list[Block], home: dict[str, int], graph: Graph) -> tuple[list[Block], dict[str, int]]:
    """A block between layers joins the one that alone reads it: of such an edge there is no other path."""
    seen = {home[port.value] for port in graph.outputs if port.value in home}
    into = list(range(len(blocks)))
    for i in range(len(blocks) - 1, -1, -1):
        readers = {into[j] for j, block in enumerate(blocks) if i in block.reads}
        if blocks[i].kind != "between" or i in seen or len(readers) != 1:
            continue
        (j,) = readers
        if blocks[j].kind != "between":
            continue
        blocks[j].nodes = [*blocks[i].nodes, *blocks[j].nodes]
        blocks[j].parameters += blocks[i].parameters
        blocks[j].reads = sorted({*blocks[i].reads, *blocks[j].reads} - {i})
        into[i] = j
    kept = [i for i in range(len(blocks)) if into[i] == i]
    number = {i: n for n, i in enumerate(kept)}
    place = {i: number[_last(into, i)] for i in range(len(blocks))}
    for i in kept:
        blocks[i].reads = sorted({place[j] for j in blocks[i].reads} - {number[i]})
    return [blocks[i] for i in kept], {value: place[i] for value, i in home.items()}


def _last(into: list[int], i: int) -> int:
    while into[i] != i:
        i = into[i]
    return i


def _loops(graph: Graph, blocks: list[Block], home: dict[str, int]) -> list[Loop]:
    loops = []
    for state in graph.states:
        written = home.get(state.next)
        readers = [i for i, block in enumerate(blocks) if any(state.name in node.inputs for node in block.nodes)]
        if written is None and state.next == state.name:
            continue  # a constant
        for read in readers:
            loops.append(Loop(state.name, state.shape, read if written is None else written, read))
    return loops


def _outputs(graph: Graph, home: dict[str, int]) -> list[Block]:
    sources = [(port, home.get(port.value)) for port in graph.outputs]
    return [Block("output", port.name, graph.shape(port.value), reads=[] if i is None else [i]) for port, i in sources]
