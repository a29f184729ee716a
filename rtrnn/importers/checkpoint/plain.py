"""State dicts of no known library: one recurrent module, or recurrent and linear modules in a row."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence

from rtrnn.errors import UnsupportedError
from rtrnn.importers.checkpoint.network import Checkpoint, Network
from rtrnn.importers.checkpoint.weights import CELL_KEY, Linear, Recurrent, Weights, first_keys
from rtrnn.importers.draft import Draft

__all__ = ["recognise_chain", "recognise_module"]

_MAX_MODULES = 16
_MAX_TRIALS = 10_000
_NOTE = "nothing without weights (a function, a skip connection) stands between the modules, or around them: the file would not say"
#: A linear module says by its name that it is one layer of the way from input to output, and no second head.
_LINEAR = re.compile(
    r"(\d+|(linear|lin|fc|dense|out|output|readout|head|proj|projection|mlp|decoder|encoder|embedding|layers?|net|model)_?(layer)?_?\d*)"
)
#: The modules of one nn.Sequential, or one module: what forward calls at one place.
_Unit = list[Recurrent] | list[Linear]


def recognise_module(checkpoint: Checkpoint) -> Draft | None:
    """Every key is a parameter of one nn.RNN, nn.GRU or nn.LSTM, or of one of their cells."""
    weights = _one(checkpoint, _is_module)
    if weights is None:
        return None
    (prefix,) = _modules(weights)
    layers = weights.recurrent(f"{prefix}." if prefix else "")
    network = Network(checkpoint, weights, "recurrent module", layers[0], "x")
    network.normalize()
    network.recurrent(layers)
    return network.finish("y")


def recognise_chain(checkpoint: Checkpoint) -> Draft | None:
    """Recurrent and linear modules whose shapes leave one order, or which fit in the order of the file."""
    weights = _one(checkpoint, _is_chain)
    if weights is None:
        return None
    if set(_modules(weights)) == {"rec", "lin"}:
        raise UnsupportedError(
            f"{weights.where}: the tensors of a GuitarML (CoreAudioML) SimpleRNN, which may add its input to its output (skip), and the "
            "state dict does not say whether; expected its .json file, or a module for rtrnn.from_torch"
        )
    units = _units(weights)
    order = _order(weights, units, checkpoint.ordered)
    network = Network(checkpoint, weights, "chain of layers", order[0][0], "x")
    network.noted.append(_NOTE)
    network.normalize()
    for i, unit in enumerate(order):
        if isinstance(unit[0], Recurrent):
            network.recurrent(unit)
        else:
            network.mlp(unit, last=i + 1 < len(order))
    return network.finish("y")


def _one(checkpoint: Checkpoint, fits: Callable[[Weights], bool]) -> Weights | None:
    """The state dict in the file that fits. Raises :class:`UnsupportedError` for several."""
    found = [weights for weights in checkpoint.state_dicts() if fits(weights)]
    if len(found) > 1:
        names = ", ".join(weights.where.removeprefix(f"{checkpoint.path}: ") for weights in found)
        raise UnsupportedError(f"{checkpoint.path}: several networks ({names}); expected one: save its state_dict alone")
    return found[0] if found else None


def _is_module(weights: Weights) -> bool:
    modules = _modules(weights)
    return len(modules) == 1 and all(CELL_KEY.fullmatch(name) for names in modules.values() for name in names)


def _modules(weights: Weights) -> dict[str, set[str]]:
    """Module -> the names of its parameters, in file order."""
    modules: dict[str, set[str]] = {}
    for key in weights.arrays:
        prefix, _, parameter = key.rpartition(".")
        modules.setdefault(prefix, set()).add(parameter)
    return modules


def _is_chain(weights: Weights) -> bool:
    """Recurrent modules and linear ones named like layers, of each at least one, and nothing else."""
    modules = _modules(weights)
    cells = [m for m, p in modules.items() if all(CELL_KEY.fullmatch(name) for name in p)]
    rest = [m for m in modules if m not in cells]
    linear = all(
        m and modules[m] <= {"weight", "bias"} and weights.arrays.get(f"{m}.weight", _NONE).ndim == 2
        and _LINEAR.fullmatch(m.rpartition(".")[2].lower())
        for m in rest
    )  # fmt: skip
    return bool(cells) and bool(rest or len(cells) > 1) and linear and len(modules) <= _MAX_MODULES


class _None:
    ndim = 0


_NONE = _None()


def _units(weights: Weights) -> list[_Unit]:
    units: list[_Unit] = []
    at: dict[str, int] = {}
    for module, parameters in _modules(weights).items():
        if any(CELL_KEY.fullmatch(name) for name in parameters):
            units.append(weights.recurrent(f"{module}." if module else ""))
            continue
        parent, _, number = module.rpartition(".")
        if not re.fullmatch(r"\d{1,6}", number):
            units.append([weights.linear(f"{module}.")])
        elif parent not in at:
            at[parent] = len(units)
            units.append(weights.sequential(f"{parent}." if parent else ""))
    return units


def _ends(unit: _Unit) -> tuple[int, int]:
    first, last = unit[0], unit[-1]
    begin = first.input_size if isinstance(first, Recurrent) else int(first.weight.shape[1])
    end = last.output_size if isinstance(last, Recurrent) else int(last.weight.shape[0])
    return begin, end


def _order(weights: Weights, units: Sequence[_Unit], ordered: bool) -> list[_Unit]:
    """The order of the modules: file order where it fits and means something, else the only one that fits."""
    ends = [_ends(unit) for unit in units]
    if ordered and all(a[1] == b[0] for a, b in itertools.pairwise(ends)):
        return list(units)
    fitting: list[list[int]] = []
    stack: list[list[int]] = [[i] for i in range(len(units))]
    trials = 0
    while stack and len(fitting) < 2 and trials < _MAX_TRIALS:
        trials += 1
        path = stack.pop()
        if len(path) == len(units):
            fitting.append(path)
        for i in range(len(units)):
            if i not in path and ends[path[-1]][1] == ends[i][0]:
                stack.append([*path, i])
    if len(fitting) == 1 and not stack:
        return [units[i] for i in fitting[0]]
    names = ", ".join(f"{unit[0].name!r} {begin} -> {end}" for unit, (begin, end) in zip(units, ends, strict=True))
    ways = "several orders" if fitting or stack else "no order"
    raise UnsupportedError(
        f"{weights.where}: recurrent and linear modules ({names}) whose shapes fit in {ways}; expected one way from input to "
        f"output. Keys {first_keys(weights.arrays)}. Give the module itself to rtrnn.from_torch, or build the network with "
        "rtrnn.Sequential"
    )
