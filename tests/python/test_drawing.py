"""The picture of a network: which blocks it has, how they are connected, where the time goes, and that nothing is drawn over anything."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from small_networks import H, I, O, draft, gru_rtrnn

import rtrnn
from rtrnn.bench.calls import node_times
from rtrnn.cli import main
from rtrnn.cli.output import plain
from rtrnn.drawing import picture, table
from rtrnn.drawing.layout import rows_of
from rtrnn.importers.draft import Draft

GOLDEN = Path(__file__).parent.parent / "golden"
NETWORKS = sorted(GOLDEN.glob("*.rtrnn"))


def model() -> rtrnn.Model:
    return rtrnn.Model(draft().build())


def branching() -> rtrnn.Model:
    """x goes into two linear layers, of which one is also an output, and their results into a third."""
    made = Draft()
    made.add_input("x", (4,))
    weights = [made.add_tensor(np.eye(4, dtype=np.float32), f"w{i}") for i in range(3)]
    (a,) = made.add_node("linear", ["x", weights[0]], [(4,)], hint="a")
    (b,) = made.add_node("linear", ["x", weights[1]], [(4,)], hint="b")
    (both,) = made.add_node("add", [a, b], [(4,)])
    (made.outputs["sum"],) = made.add_node("linear", [both, weights[2]], [(4,)], hint="c")
    made.outputs["early"] = a
    return rtrnn.Model(made.build())


def test_a_chain() -> None:
    drawn = picture(model(), timed=False)
    assert [(block.label, block.shape) for block in drawn.blocks] == [
        ("input", (I,)), ("gru", (H,)), ("linear", (O,)), ("output", (O,)),
    ]  # fmt: skip
    assert [block.reads for block in drawn.blocks] == [[], [0], [1], [2]]
    assert [(loop.name, loop.written, loop.read) for loop in drawn.loops] == [("h", 1, 1)]
    assert sum(block.parameters for block in drawn.blocks) == model().parameters
    text = plain(table(drawn))
    assert re.search(rf"● +gru +.* {H} .*↺ h {H}", text)
    assert "├" not in text


def test_branches() -> None:
    drawn = picture(branching(), timed=False)
    lines = [line[2:].split("  ")[0].rstrip() for line in plain(table(drawn)).splitlines()[2:]]
    assert lines[:2] == ["○", "├─╮"]
    assert any("┤" in line or "╯" in line for line in lines)
    assert [drawn.blocks[i].label for i in drawn.blocks[-1].reads] == ["linear"]


@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.stem)
def test_every_block_reads_earlier_ones_and_no_rail_runs_through_a_block(path: Path) -> None:
    drawn = picture(rtrnn.load(path), timed=False)
    for i, block in enumerate(drawn.blocks):
        assert all(j < i for j in block.reads)
        assert block.kind == "input" or block.reads or i in {loop.read for loop in drawn.loops}
    rows = rows_of(drawn)
    assert [row.block for row in rows] == list(range(len(drawn.blocks)))
    for i, row in enumerate(rows):
        assert row.column not in row.passing
        for j in drawn.blocks[i].reads:  # the rail of what is read is there all the way
            assert all(rows[j].column in between.passing for between in rows[j + 1 : i])
    live = {node.name for block in drawn.blocks for node in block.nodes}
    assert {node.name for node in rtrnn.load(path).graph.nodes if node.op in ("gru", "lstm", "rnn")} <= live


def test_where_the_time_goes() -> None:
    """A layer of a thousand units takes nearly all of it; the sum is about what a step takes."""
    made = Draft()
    made.add_input("x", (8,))
    rng = np.random.default_rng(0)
    for name, shape in (("w0", (1000, 8)), ("w1", (1000, 1000)), ("w2", (2, 1000))):
        made.add_tensor((rng.normal(size=shape) / shape[1]).astype(np.float32), name)
    (a,) = made.add_node("linear", ["x", "w0"], [(1000,)], hint="same name")
    (b,) = made.add_node("tanh", [a], [(1000,)])
    (c,) = made.add_node("linear", [b, "w1"], [(1000,)], hint="same name")
    (made.outputs["y"],) = made.add_node("linear", [c, "w2"], [(2,)], hint="same name")
    drawn = picture(rtrnn.Model(made.build()))
    shares = [(block.ns or 0) / drawn.step_ns for block in drawn.blocks if block.kind == "layer"]
    assert [block.label for block in drawn.blocks] == ["input", "linear + tanh", "linear", "linear", "output"]
    assert shares[1] > 0.8
    assert sum(shares) <= 1


def test_timing_changes_nothing() -> None:
    """It steps an arena of its own: the outputs of a Stream of the same Plan are what they were."""
    whole = model()
    xs = np.ones((20, I), np.float32)
    expected = whole.stream().process(xs)
    stream = whole.stream()
    first = stream.process(xs[:10])
    node_times(whole, seconds=0.01)
    assert np.concatenate([first, stream.process(xs[10:])]).tobytes() == expected.tobytes()


@pytest.mark.parametrize("kind", [".svg", ".png"])
def test_info_draws(network: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    target = tmp_path / f"graph{kind}"
    assert main(["info", str(network), "--svg", str(target)]) == 0
    text = capsys.readouterr().out
    assert "Graph of one timestep" in text
    assert re.search(r"● +gru .*\d+ %", text)
    assert target.stat().st_size > 5000


def test_info_json_has_the_graph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(gru_rtrnn(tmp_path / "x.rtrnn")), "--json"]) == 0
    graph = json.loads(capsys.readouterr().out)["graph"]
    assert [block["label"] for block in graph["blocks"]] == ["input", "gru", "linear", "output"]
    assert graph["step_ns"] > 0
    assert main(["info", str(tmp_path / "x.rtrnn"), "--json", "--no-time"]) == 0
    assert json.loads(capsys.readouterr().out)["graph"]["step_ns"] is None


def _texts_of(figure: object) -> list[tuple[str, tuple[float, float, float, float]]]:
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    (axis,) = figure.axes  # type: ignore[attr-defined]
    found = [(text.get_text(), text.get_window_extent(renderer).extents) for text in axis.texts if text.get_text()]
    return [(text, tuple(extents)) for text, extents in found]


@pytest.mark.parametrize("name", ["policy_lstm_elu", "conv_encoder", "causal_convolutions", "delay_line", "composed_normalised_gru"])
def test_no_text_is_clipped_or_over_another(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure_module = pytest.importorskip("matplotlib.figure")
    from rtrnn.drawing.figure import draw

    kept = []
    save = figure_module.Figure.savefig

    def keep(self: object, *arguments: object, **options: object) -> None:
        self.canvas.draw()  # type: ignore[attr-defined]
        kept.append((_texts_of(self), self.bbox.extents))  # type: ignore[attr-defined]
        save(self, *arguments, **options)

    monkeypatch.setattr(figure_module.Figure, "savefig", keep)
    drawn = picture(rtrnn.load(GOLDEN / f"{name}.rtrnn"))
    draw(drawn, tmp_path / "x.png", f"{name}.rtrnn", "a subtitle of the usual length, 12,345 parameters")
    ((texts, (_, _, width, height)),) = kept
    assert len(texts) > 6
    for text, (left, bottom, right, top) in texts:
        assert left >= 0 <= bottom, text
        assert right <= width, text
        assert top <= height, text
    for (a, one), (b, two) in combinations(texts, 2):
        apart = one[2] <= two[0] or two[2] <= one[0] or one[3] <= two[1] or two[3] <= one[1]
        assert apart, f"{a!r} is drawn over {b!r}"


def test_every_kernel_call_has_its_node() -> None:
    """Also where several threads share a call."""
    from rtrnn import _core

    for path in NETWORKS:
        graph = rtrnn.load(path).graph
        timer = _core.CallTimer(_core.Plan(graph, threads=2), np.zeros(sum(int(np.prod(port.shape)) for port in graph.inputs), np.float32))
        assert len(timer.nodes) == timer.steps(3).shape[1] - 1
        assert set(timer.nodes) - {""} <= {node.outputs[0] for node in graph.nodes}
