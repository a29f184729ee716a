"""The benchmark of many networks: cells, sizes, precisions and forms, each beside its peers, and real policies.

Engines of one network and form take turns; the machine's limits are measured between their rounds, all through the grid.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtrnn.bench.engines import EmptyLoop, own_engines
from rtrnn.bench.limits import Limits, Probes
from rtrnn.bench.machine import busy_note, describe, pinned
from rtrnn.bench.measure import Figures, measure
from rtrnn.bench.network_peers import PEERS, expected, network_makers
from rtrnn.bench.networks import CELLS, SHAPES, SIZES, Spec, parse_size
from rtrnn.bench.peers import Failure, checked
from rtrnn.bench.suite import file_peers, operations, over_native, weight_bytes
from rtrnn.errors import Error, UnsupportedError

if TYPE_CHECKING:
    from rtrnn.model import Model

__all__ = ["FORMS", "GridResult", "Row", "grid", "precisions"]

FORMS = ("step", "finish", "run", "batch")
#: Every precision that any release may know; a Plan says which it does.
_PRECISIONS = ("f32", "f16", "bf16", "i16", "i8")
_TRIAL_STEPS = 8
_MODEL_SUFFIXES = (".onnx", ".pt", ".h5", ".keras", ".json", ".nam", ".rtrnn")


@dataclass(frozen=True)
class Row:
    """One engine on one network, or why it was not timed."""

    network: str
    cell: str
    input_size: int
    hidden_size: int
    form: str
    precision: str
    engine: str
    figures: Figures | None = None
    weight_bytes: int = 0
    operations: int = 0
    error: str = ""


@dataclass(frozen=True)
class GridResult:
    machine: dict[str, Any]
    limits: Limits
    rows: tuple[Row, ...]
    #: What :func:`rtrnn.bench.suite.over_native` gives, by network and precision.
    over_native_ns: dict[tuple[str, str], dict[str, tuple[float, float]]]
    notes: tuple[str, ...]


@dataclass
class _Group:
    """What takes turns with each other: one network in one form."""

    name: str
    model: Model
    form: str
    precisions: Sequence[str]
    cell: str = ""
    sizes: tuple[int, int] = (0, 0)
    #: Peers and failures, made when the group's turn comes.
    peers: Callable[[], tuple[list[Any], list[Failure]]] = field(default=lambda: ([], []))


def precisions(model: Model) -> list[str]:
    """The precisions of weights that a Plan of this network can have."""
    found = []
    for name in _PRECISIONS:
        try:
            model.plan(name)
        except UnsupportedError:
            continue
        found.append(name)
    return found


def grid(
    *,
    cells: Sequence[str] = tuple(CELLS),
    sizes: Sequence[str] = SIZES,
    weights: Sequence[str] | None = None,
    forms: Sequence[str] = FORMS,
    policies: bool = True,
    peers: Sequence[str] = tuple(PEERS),
    seconds: float = 0.5,
    rounds: int | None = None,
    cpu: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> GridResult:
    """Times every cell at every size (input x hidden, as "64x128") and, with `policies`, real ones, in each form.

    `weights` defaults to every precision that a Plan knows. `policies` are networks of the shapes of two real ones and
    the files in the folder that the environment variable RTRNN_MODELS names. `seconds` (or `rounds`) is per network
    and form. Raises :class:`rtrnn.UnsupportedError` for an unknown cell, size, precision, form or peer.
    """
    for what, given, known in (("form", forms, FORMS), ("peer", peers, tuple(PEERS))):
        unknown = [name for name in given if name not in known]
        if unknown:
            raise UnsupportedError(f"{what} {unknown[0]!r}: expected some of {', '.join(known)}")
    specs = [Spec(f"{cell} {size}", cell, *parse_size(size)) for cell in cells for size in sizes]
    notes: list[str] = []
    rows: list[Row] = []
    over: dict[tuple[str, str], dict[str, tuple[float, float]]] = {}
    with pinned(cpu) as chosen, tempfile.TemporaryDirectory(prefix="rtrnn_bench_") as folder:
        groups = list(_groups(specs, weights, forms, policies, set(peers), Path(folder), notes))
        probes = Probes()
        isa = groups[0].model.stream().isa if groups else ""
        for i, group in enumerate(groups):
            timed, found = _one_group(group, probes, seconds, rounds)
            rows += timed
            over |= found
            if progress:
                progress((i + 1) / len(groups))
        limits = probes.limits()
        machine = describe(chosen, isa, limits)
    busy = busy_note()
    return GridResult(machine, limits, tuple(rows), over, tuple(notes + ([busy] if busy else [])))


def _groups(
    specs: list[Spec],
    weights: Sequence[str] | None,
    forms: Sequence[str],
    policies: bool,
    wanted: set[str],
    folder: Path,
    notes: list[str],
) -> Iterator[_Group]:
    named = [Spec(name, **arguments) for name, arguments in SHAPES] if policies else []  # type: ignore[arg-type]
    for i, spec in enumerate([*specs, *named]):
        model = spec.model()
        kinds = _known(model, weights)
        own = folder / str(i)
        own.mkdir()
        for form in forms:

            def peers(spec: Spec = spec, model: Model = model, form: str = form, own: Path = own) -> Any:
                return checked(network_makers(spec, model, form, wanted, own), expected(model, form, _TRIAL_STEPS))

            yield _Group(spec.name, model, form, kinds, spec.cell, (spec.input_size, spec.hidden_size), peers)
    if policies:
        yield from _recorded(weights, forms, wanted, notes)


def _known(model: Model, weights: Sequence[str] | None) -> Sequence[str]:
    if weights is None:
        return precisions(model)
    for name in weights:
        model.plan(name)  # an unknown one is this error
    return weights


def _recorded(
    weights: Sequence[str] | None, forms: Sequence[str], wanted: set[str], notes: list[str]
) -> Iterator[_Group]:
    """Step and finish of each network that can be loaded and streamed in the folder RTRNN_MODELS names."""
    import rtrnn

    root = os.environ.get("RTRNN_MODELS")
    if not root:
        notes.append("RTRNN_MODELS is not set: no recorded networks")
        return
    for path in sorted(Path(root).rglob("*")):
        if path.suffix not in _MODEL_SUFFIXES:
            continue
        name = str(path.relative_to(root))
        try:
            model = rtrnn.load(path)
            kinds = _known(model, weights)
        except (Error, ValueError) as error:
            notes.append(f"{name} is left out: {' '.join(str(error).split())[:160]}")
            continue
        for form in (form for form in forms if form in ("step", "finish")):

            def peers(path: Path = path, model: Model = model, form: str = form) -> Any:
                if form != "step" or not wanted:
                    return [], []
                good, failures, said = file_peers(path, model)
                notes.extend(f"{path.name}: {text}" for text in said)
                return good, failures

            yield _Group(name, model, form, kinds, peers=peers)


def _one_group(
    group: _Group, probes: Probes, seconds: float, rounds: int | None
) -> tuple[list[Row], dict[tuple[str, str], dict[str, tuple[float, float]]]]:
    own = {name: own_engines(group.model, group.form, name) for name in group.precisions}
    precision_of = {engine.name: name for name, engines in own.items() for engine in engines}
    loop = [EmptyLoop(group.model)] if group.form == "step" else []
    good, failures = group.peers()
    everything = [*(engine for engines in own.values() for engine in engines), *loop, *good]
    report = measure(everything, seconds=seconds, rounds=rounds, each_round=probes.one_turn)
    peer_names = {peer.name for peer in good}

    def row(engine: str, **rest: Any) -> Row:
        return Row(group.name, group.cell, *group.sizes, group.form, precision_of.get(engine, "f32"), engine, **rest)

    rows = []
    for figures in report.engines:
        # What one step reads is known of whole steps, and of peers it is not theirs to be judged by.
        whole = group.form != "finish" and figures.name in precision_of
        size = weight_bytes(group.model, precision_of[figures.name]) if whole else 0
        work = operations(group.model) if whole or figures.name in peer_names else 0
        rows.append(row(figures.name, figures=figures, weight_bytes=size, operations=work))
    rows += [row(failure.name, error=failure.reason) for failure in failures]
    over = {}
    if group.form == "step":
        over = {(group.name, name): over_native(report, name) for name in group.precisions}
    return rows, over
