"""One network by every exporter gives one and the same result.

Each network of :mod:`export_matrix` (7 kinds x 1 to 3 layers x 2 ways to keep the state x with or without a normaliser)
is exported by torch.onnx.export (both exporters, every operator set), TorchScript (script and trace), torch.export (as it
is and decomposed), imported live, and saved as .rtrnn. By default a subset runs in which every pair of properties
occurs; RTRNN_FULL_MATRIX=1 runs everything (about half an hour, most of it in torch's exporters).
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxscript", reason="onnxscript, which both ONNX exporters of PyTorch need, is not installed")
from export_matrix import INPUT, KINDS, LAYERS, NORMALISERS, STATES, Cell, Exporter  # noqa: E402

import rtrnn  # noqa: E402

pytestmark = pytest.mark.skipif(
    os.environ.get("RTRNN_ISA", rtrnn.isa_available()[0]) != rtrnn.isa_available()[0],
    reason="the exporters do not depend on the ISA: the matrix runs on the best one only",
)

FULL = bool(os.environ.get("RTRNN_FULL_MATRIX"))
STEPS = 50

#: torch.onnx's own bounds; 9 is the first operator set that it documents.
LEGACY = [Exporter("legacy", opset) for opset in range(9, getattr(torch.onnx._constants, "ONNX_MAX_OPSET", 20) + 1)]
#: 18 is what the exporter writes; the others come from its version converter, down to where it gives up.
DYNAMO = [Exporter("dynamo", opset) for opset in range(15, onnx.defs.onnx_opset_version() + 1)]
OTHERS = [Exporter(name) for name in ("script", "trace", "program", "core", "rtrnn")]
CELLS = [Cell(*row) for row in itertools.product(KINDS, LAYERS, STATES, NORMALISERS)]
#: Cells whose state is a recurrent layer's: a constant initial state is carried by the Stream.
LAYER_KINDS = ("gru", "lstm", "rnn_tanh", "rnn_relu")
#: Rows whose Graph differs in structure from the live module's, and by how much their results may differ.
OTHER_BITS: dict[str, str] = {}


def drops_state(cell: Cell, exporter: Exporter) -> bool:
    """ONNX has no buffers: the exporters leave a state that forward writes as the constant that it was."""
    # The newer exporter has no translation of nn.RNN and takes it apart.
    kept = cell.kind in LAYER_KINDS and not (exporter.name == "dynamo" and cell.kind.startswith("rnn"))
    return cell.state == "buffers" and exporter.opset > 0 and not kept


def _order(row: Any) -> str:
    return hashlib.sha256(" ".join(map(str, row)).encode()).hexdigest()


def _covering(exporters: list[Exporter]) -> list[tuple[Cell, Exporter]]:
    """Rows in which all pairs of values of the cells' properties and the exporter occur."""
    rows = sorted(itertools.product(CELLS, exporters), key=_order)
    if FULL:
        return rows
    chosen, seen = [], set()
    for cell, exporter in rows:
        values = [("kind", cell.kind), ("layers", cell.layers), ("state", cell.state), ("norm", cell.normalised)]
        new = set(itertools.combinations([*values, ("exporter", str(exporter))], 2)) - seen
        if new:
            chosen.append((cell, exporter))
            seen |= new
    return chosen


def _slow() -> list[tuple[Cell, Exporter]]:
    """This exporter takes seconds: one row for each kind, spread over the operator sets."""
    if FULL:
        return list(itertools.product(CELLS, DYNAMO))
    native = [e for e in DYNAMO if e.opset == 18]
    spread = [*native, *native, *DYNAMO[:: len(DYNAMO) // 4], DYNAMO[-1]]
    rows = sorted(itertools.product(CELLS, DYNAMO), key=_order)
    return [next(r for r in rows if r[0].kind == kind and r[1] == e) for kind, e in zip(KINDS, spread, strict=False)]


ROWS = [*_covering(LEGACY), *_covering(OTHERS), *_slow()]


@functools.cache
def inputs() -> np.ndarray:
    return np.random.default_rng(5).normal(size=(STEPS, INPUT)).astype(np.float32)


@functools.cache
def reference(cell: Cell) -> tuple[rtrnn.Model, np.ndarray]:
    """The live module's Graph and its outputs."""
    model = rtrnn.from_torch(cell.module(), cell.example())
    return model, outputs(model)


def outputs(model: rtrnn.Model) -> np.ndarray:
    stream = model.stream()
    results = []
    for x in inputs():
        result = stream.step(x)
        results.append(np.array(result if isinstance(result, np.ndarray) else next(iter(result.values()))))
    return np.stack(results)


def offline(cell: Cell, dtype: Any) -> np.ndarray:
    """PyTorch itself, step by step, from the state zero."""
    module = cell.module().to(dtype)
    state = [torch.zeros_like(t, dtype=dtype) for t in cell.example()[1:]]
    results = []
    with torch.no_grad():
        for x in inputs():
            result = module(torch.from_numpy(x)[None].to(dtype), *state)
            if state:
                result, *state = result
            results.append(result.numpy()[0])
    return np.stack(results)


def write(cell: Cell, exporter: Exporter, folder: Path) -> Path:
    if exporter.name == "rtrnn":
        reference(cell)[0].save(folder / "network.rtrnn")
        return folder / "network.rtrnn"
    return exporter.write(cell, cell.module(), folder)


@pytest.mark.parametrize("cell", CELLS if FULL else [c for c in CELLS if any(c is row[0] for row in ROWS)], ids=str)
def test_the_live_module_is_as_accurate_as_pytorch(cell: Cell) -> None:
    exact, single = offline(cell, torch.float64), offline(cell, torch.float32)
    found = reference(cell)[1]
    floor = max(float(np.abs(single - exact).max()), 1e-7 * float(np.abs(exact).max()))
    assert float(np.abs(found - exact).max()) <= 2 * floor


@pytest.mark.parametrize(("cell", "exporter"), ROWS, ids=lambda value: str(value))
def test_every_exporter_gives_the_same_result(cell: Cell, exporter: Exporter, tmp_path: Path) -> None:
    path = write(cell, exporter, tmp_path)
    if exporter.opset:
        written = next(o.version for o in onnx.load(str(path)).opset_import if o.domain == "")
        if written != exporter.opset:
            pytest.skip(f"torch {torch.__version__} writes operator set {written} when asked for {exporter.opset}")
    if drops_state(cell, exporter):
        check_dropped(path)
        return
    with warnings.catch_warnings():
        # A layer that the exporter left with a constant initial state may be remarked on; nothing else may.
        warnings.filterwarnings("ignore" if cell.state == "buffers" and exporter.opset else "error", category=rtrnn.ModelWarning)
        model = rtrnn.load(path)
    want, expected = reference(cell)
    if cell.state == "buffers" and exporter.opset:
        want, expected = from_stored_state(cell, model)
    assert list(model.inputs.values()) == list(want.inputs.values())
    assert sum(int(np.prod(s)) for s in model.states.values()) == sum(int(np.prod(s)) for s in want.states.values())
    found = outputs(model)
    reason = OTHER_BITS.get(f"{cell.kind} {exporter.name}")
    if reason is None:
        differing = np.flatnonzero((found.view(np.uint32) != expected.view(np.uint32)).any(1))
        assert not len(differing), f"bits differ from the live module's from step {differing[0]} on; {ops(model)}; {ops(want)}"
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6, err_msg=reason)


def from_stored_state(cell: Cell, model: rtrnn.Model) -> tuple[rtrnn.Model, np.ndarray]:
    """The reference from the state that the file holds.

    torch.onnx's older exporter runs forward once before it stores the buffers: the file's initial state is not the module's.
    """
    module = cell.module()
    for buffer, which in (("hidden_state", "h"), ("cell_state", "c")):
        parts = [value.ravel() for name, value in model.initial_state.items() if name.rpartition(".")[2].startswith(which)]
        if parts:
            getattr(module, buffer).copy_(torch.from_numpy(np.concatenate(parts)).reshape(cell.layers, 1, -1))
    want = rtrnn.from_torch(module, cell.example())
    return want, outputs(want)


def ops(model: rtrnn.Model) -> list[str]:
    return [node.op for node in model.graph.nodes]


def check_dropped(path: Path) -> None:
    """The exporter did lose the state (onnxruntime gives one answer however often it is asked), and rtrnn says so."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert len(session.get_inputs()) == len(session.get_outputs()) == 1
    feed = {"obs": inputs()[:1]}
    assert np.array_equal(session.run(None, feed)[0], session.run(None, feed)[0])
    with pytest.warns(rtrnn.ModelWarning, match=r"the network has .* but no state.*exporter has dropped it.*from_torch"):
        model = rtrnn.load(path)
    assert not model.states


def test_the_rows_cover_every_pair() -> None:
    """The subset leaves out no kind for any exporter, and no operator set."""
    pairs = {(cell.kind, str(exporter)) for cell, exporter in ROWS}
    assert {(kind, str(e)) for kind in KINDS for e in (*LEGACY, *OTHERS)} <= pairs
    assert {kind for kind, name in pairs if name.startswith("dynamo")} == set(KINDS)
    assert len(CELLS) == 84


def test_trace_drops_an_assigned_attribute() -> None:
    """torch.jit.trace keeps writes in place, but no assignment: what is left is a network without a state."""

    class Assigning(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.x2h, self.h2h = torch.nn.Linear(INPUT, 8), torch.nn.Linear(4, 8)
            self.register_buffer("h", torch.zeros(1, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            a, b = (self.x2h(x) + self.h2h(self.h)).chunk(2, -1)
            self.h = torch.sigmoid(a) * torch.tanh(b)
            return self.h

    module = Assigning().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(module, torch.zeros(1, INPUT), check_trace=False)
    x = torch.ones(1, INPUT)
    assert torch.equal(traced(x), traced(x))
