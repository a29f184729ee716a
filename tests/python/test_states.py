"""Pairing of state inputs with state outputs, on Drafts built by hand, and the finishing of a Draft."""

from __future__ import annotations

import numpy as np
import pytest

from rtrnn.errors import StateError, UnsupportedError
from rtrnn.importers.builder import Builder, CellWeights, Sym
from rtrnn.importers.draft import Draft
from rtrnn.importers.finish import finish
from rtrnn.importers.states import check_cell_states, pair_states

H, N = 4, 3


class Net:
    """A Draft in the making that remembers its foreign shapes."""

    def __init__(self) -> None:
        self.b = Builder()
        self.rng = np.random.default_rng(0)
        self.inputs: dict[str, tuple[int, ...]] = {}
        self.outputs: dict[str, tuple[int, ...]] = {}

    @property
    def draft(self) -> Draft:
        return self.b.draft

    def input(self, name: str, *shape: int) -> Sym:
        self.inputs[name] = shape
        return self.b.input(name, shape)

    def output(self, name: str, value: Sym) -> None:
        self.outputs[name] = value.shape
        self.draft.outputs[name] = self.b.value(value)

    def cell(self, kind: str, x: Sym, *states: Sym) -> list[Sym]:
        gates = {"rnn": 1, "gru": 3, "lstm": 4}[kind]
        w = CellWeights(self.rng.standard_normal((gates * H, x.size)), self.rng.standard_normal((gates * H, H)))
        return [self.b.reshape(s, (1, 1, H)) for s in self.b.cell(kind, x, states, w)]

    def linear(self, x: Sym, size: int) -> Sym:
        return self.b.linear(x, self.rng.standard_normal((size, x.shape[-1])))

    def pair(self, **options: object) -> dict[str, str]:
        return pair_states(self.draft, input_shapes=self.inputs, output_shapes=self.outputs, **options)  # type: ignore[arg-type]


def lstm(
    x: str = "obs", h: str = "h_in", c: str = "c_in", outputs: tuple[str, ...] = ("actions", "h_out", "c_out")
) -> Net:
    net = Net()
    obs, h0, c0 = net.input(x, 1, N), net.input(h, 1, 1, H), net.input(c, 1, 1, H)
    h1, c1 = net.cell("lstm", obs, h0, c0)
    for name, value in zip(outputs, (net.linear(h1, 2), h1, c1), strict=True):
        net.output(name, value)
    return net


@pytest.mark.parametrize("names", [("h_in", "c_in"), ("out_state.1", "hidden_state.1"), ("a", "b"), ("c_in", "h_in")])
def test_topology_decides_whatever_the_names(names: tuple[str, str]) -> None:
    net = lstm(h=names[0], c=names[1], outputs=("y", "p", "q"))
    assert net.pair() == {names[0]: "p", names[1]: "q"}
    assert list(net.draft.inputs) == ["obs"]
    assert list(net.draft.outputs) == ["y"]
    (cell,) = [n for n in net.draft.nodes if n.op == "lstm"]
    assert [net.draft.states[n].next for n in names] == cell.outputs
    assert all(s.initial.tolist() == [0.0] * H for s in net.draft.states.values())


def test_names_that_contradict_the_topology_do_not_win() -> None:
    assert lstm(outputs=("y", "c_out", "h_out")).pair() == {"h_in": "c_out", "c_in": "h_out"}


def test_state_before_data() -> None:
    net = Net()
    h, obs = net.input("s", 1, 1, H), net.input("obs", 1, N)
    (h1,) = net.cell("gru", obs, h)
    net.output("t", h1)
    net.output("y", net.linear(h1, 2))
    assert net.pair() == {"s": "t"}


def test_layers_stacked_in_one_state() -> None:
    net = Net()
    x, h = net.input("obs", 1, 1, N), net.input("h_in", 2, 1, H)
    (h0,) = net.cell("gru", x, net.b.slice(h, 0, 0, 1))
    (h1,) = net.cell("gru", h0, net.b.slice(h, 0, 1, 2))
    net.output("y", h1)
    net.output("h_out", net.b.concat([h0, h1], 0))
    assert net.pair() == {"h_in": "h_out"}
    assert net.draft.states["h_in"].shape == (2, H)


@pytest.mark.parametrize("names", [("output", "hn"), ("a", "b")])
@pytest.mark.parametrize("reverse", [False, True])
def test_of_two_equal_outputs_the_final_state_is_taken(names: tuple[str, str], reverse: bool) -> None:
    net = Net()
    x, h = net.input("x", 1, 1, H), net.input("h0", 1, 1, H)
    (h1,) = net.cell("rnn", x, h)
    outputs = {names[0]: h1, names[1]: net.b.last(h1)}
    for name in reversed(outputs) if reverse else outputs:
        net.output(name, outputs[name])
    assert net.pair() == {"h0": names[1]}


def test_of_two_equal_outputs_the_later_is_taken() -> None:
    net = Net()
    x, h = net.input("x", 1, 1, H), net.input("s", 1, 1, H)
    (h1,) = net.cell("rnn", x, h)
    net.output("a", h1)
    net.output("b", h1)
    assert net.pair() == {"s": "b"}


def test_the_output_of_all_the_state_wins_over_one_of_a_part() -> None:
    net = Net()
    x, s = net.input("x", 1, N), net.input("s", 2, H)
    h, c = net.cell("lstm", x, net.b.slice(s, 0, 0, 1), net.b.slice(s, 0, 1, 2))
    h, c = (net.b.reshape(v, (1, H)) for v in (h, c))
    net.output("y", net.linear(h, 2))
    net.output("t", net.b.concat([h, c], 0))
    net.output("twice_h", net.b.concat([h, h], 0))
    assert net.pair() == {"s": "t"}


def test_initial_states() -> None:
    net = lstm()
    net.pair(initial_states={"c_in": np.arange(H).reshape(1, 1, H)})
    assert net.draft.states["c_in"].initial.tolist() == [0, 1, 2, 3]
    assert net.draft.states["h_in"].initial.tolist() == [0, 0, 0, 0]


def test_shapes_that_differ_only_in_view() -> None:
    net = Net()
    x, s = net.input("x", 1, N), net.input("s", 2, H)
    (h,) = net.cell("gru", x, net.b.slice(s, 0, 0, 1))
    net.output("y", net.linear(h, 2))
    net.output("t", net.b.concat([net.b.reshape(h, (H,)), net.b.reshape(net.b.slice(s, 0, 1, 2), (H,))], 0))
    net.pair(states={"s": "t"})
    state = net.draft.states["s"]
    assert state.next is not None
    assert net.draft.shapes[state.next] == state.shape == (2, H)


# -- without a cell ------------------------------------------------------------------------------------


def composed(state: str, following: str, *extra: str, size: int = H) -> Net:
    """A cell written by hand: s' = tanh(W x + s)."""
    net = Net()
    x, s = net.input("x", 1, N), net.input(state, 1, size)
    s1 = net.b.unary("tanh", net.b.binary("add", net.linear(x, size), s))
    net.output("y", net.linear(s1, 2))
    net.output(following, s1)
    for name in extra:
        net.output(name, net.b.unary("neg", s1))
    return net


@pytest.mark.parametrize(("state", "following"), [("h_in", "h_out"), ("hx", "hn"), ("state", "stateN"), ("h", "out.3")])
def test_composed_cell(state: str, following: str) -> None:
    net = composed(state, following)
    assert net.pair() == {state: following}
    assert net.draft.warnings == []


def test_without_names_a_unique_shape_is_taken_and_said() -> None:
    net = composed("a", "b")
    assert net.pair() == {"a": "b"}
    (text,) = net.draft.warnings
    assert "'a'" in text
    assert "states={'a': None}" in text


def test_an_input_can_be_declared_data() -> None:
    net = composed("a", "b")
    assert net.pair(states={"a": None}) == {}
    assert list(net.draft.inputs) == ["x", "a"]


def test_a_scalar_beside_a_value_estimate_stays_data() -> None:
    net = composed("command", "value", size=1)
    assert net.pair() == {}
    assert list(net.draft.inputs) == ["x", "command"]


def test_a_word_for_observations_is_no_state() -> None:
    net = Net()
    x, joints = net.input("x", 1, N), net.input("joint_state", 1, H)
    net.output("y", net.linear(net.b.concat([x, joints], 1), 2))
    assert net.pair() == {}


def test_names_order_states_of_one_shape() -> None:
    net = Net()
    x, h, c = net.input("x", 1, H), net.input("h_in", 1, H), net.input("c_in", 1, H)
    new_c = net.b.unary("tanh", net.b.binary("add", net.b.binary("mul", x, h), c))
    new_h = net.b.unary("sigmoid", net.b.binary("add", new_c, h))
    net.output("y", net.linear(new_h, 2))
    net.output("c_out", new_c)
    net.output("h_out", new_h)
    assert net.pair() == {"h_in": "h_out", "c_in": "c_out"}


# -- refusals ------------------------------------------------------------------------------------------


def test_no_output_for_a_cell_state() -> None:
    net = Net()
    x, h = net.input("x", 1, N), net.input("h_in", 1, 1, H)
    (h1,) = net.cell("gru", x, h)
    net.output("y", net.linear(h1, 2))
    with pytest.raises(StateError, match=r"'h_in' of shape \(1, 1, 4\).*output of the same shape.*'y' \(1, 1, 2\)"):
        net.pair()


def test_output_of_another_shape() -> None:
    net = Net()
    x, h = net.input("x", 1, N), net.input("h_in", 1, 1, H)
    (h1,) = net.cell("gru", x, h)
    net.output("h_out", net.b.slice(h1, 2, 0, 2))
    with pytest.raises(StateError, match=r"'h_out' \(1, 1, 2\)"):
        net.pair()


def test_another_cells_output_is_no_partner() -> None:
    net = Net()
    x, h = net.input("x", 1, N), net.input("h_in", 1, 1, H)
    (h1,) = net.cell("gru", x, h)
    own = net.b.state("own", np.zeros((1, 1, H)))
    (h2,) = net.cell("gru", h1, own)
    net.b.set_next(own, h2)
    net.output("y", net.linear(h2, 2))
    net.output("h_out", h2)
    with pytest.raises(StateError, match="'h_in'"):
        net.pair()


def test_state_name_without_partner() -> None:
    net = Net()
    x, h = net.input("x", 1, N), net.input("hidden_state", 1, H)
    net.output("y", net.linear(net.b.concat([x, h], 1), 2))
    net.output("v", net.linear(x, 1))
    with pytest.raises(StateError, match=r"'hidden_state' of shape \(1, 4\)"):
        net.pair()


def test_ambiguity_asks_for_states() -> None:
    net = composed("a", "b", "c")
    with pytest.raises(StateError, match=r"'b' \(1, 4\), 'c' \(1, 4\).*states=\{'a': 'b'\}"):
        net.pair()
    net = composed("a", "b", "c")
    assert net.pair(states={"a": "c"}) == {"a": "c"}


def test_ambiguity_of_named_states() -> None:
    net = composed("h_in", "p", "q")
    with pytest.raises(StateError, match=r"states=\{'h_in': 'p'\}"):
        net.pair()


def test_a_lost_state_input() -> None:
    """What an exporter leaves when it was given one tensor for h and c."""
    net = Net()
    x, _, c = net.input("obs", 1, N), net.input("h_in", 1, 1, H), net.input("c_in", 1, 1, H)
    h1, c1 = net.cell("lstm", x, c, c)
    for name, value in {"y": net.linear(h1, 2), "h_out": h1, "c_out": c1}.items():
        net.output(name, value)
    with pytest.raises(StateError, match=r"'h_in'.*not used.*different example tensor"):
        net.pair()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"states": {"h": "h_out"}}, "input 'h', but the inputs are"),
        ({"states": {"h_in": "h"}}, "output 'h', but the outputs are"),
        ({"states": {"h_in": "actions"}}, r"\(1, 1, 4\).*'actions' \(1, 1, 2\).*same shape"),
        ({"states": {"h_in": "h_out", "c_in": "h_out"}}, "more than one input"),
        ({"initial_states": {"q": np.zeros(H)}}, r"'q', but the states are \['c_in', 'h_in'\]"),
        ({"initial_states": {"h_in": np.zeros(3)}}, r"shape \(3,\); expected 4 values"),
    ],
)
def test_wrong_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(StateError, match=message):
        lstm().pair(**options)


def test_computed_initial_state() -> None:
    net = Net()
    x = net.input("x", 1, N)
    (h1,) = net.cell("gru", x, net.linear(x, H))
    net.output("y", h1)
    with pytest.raises(UnsupportedError, match=r"gru 'gru': its initial h is computed from the inputs \['x'\]"):
        check_cell_states(net.draft)


def test_a_masked_state_is_a_state() -> None:
    net = Net()
    x, h, keep = net.input("x", 1, N), net.input("h_in", 1, 1, H), net.input("keep", 1, 1, 1)
    (h1,) = net.cell("gru", x, net.b.binary("mul", h, keep))
    net.output("y", net.linear(h1, 2))
    net.output("h_out", h1)
    assert net.pair() == {"h_in": "h_out"}
    check_cell_states(net.draft)
    assert list(net.draft.inputs) == ["x", "keep"]


# -- finish --------------------------------------------------------------------------------------------


def carried(*, drop: bool, direction: str = "forward") -> Draft:
    net = Net()
    x = net.input("x", 1, 1, N)
    w = CellWeights(np.ones((H, N)), np.ones((H, H)))
    attributes = {} if direction == "forward" else {"direction": direction}
    y, (h,) = net.b.layer("rnn", x, [net.b.const(np.zeros((1, H)))], [(w, attributes)], 0, 1)
    net.output("y", y)
    net.output("hn", h)
    finish(net.draft, input_shapes=net.inputs, drop_state_outputs=drop)
    return net.draft


def test_views_of_carried_states_are_dropped_on_request() -> None:
    assert list(carried(drop=False).outputs) == ["y", "hn"]
    draft = carried(drop=True)
    assert list(draft.outputs) == ["y"]
    assert draft.metadata["import.dropped_outputs"] == "hn"


def test_last_stays_only_beside_a_reverse_cell() -> None:
    assert [n.op for n in carried(drop=False).nodes] == ["rnn"]
    assert [n.op for n in carried(drop=False, direction="reverse").nodes] == ["rnn", "last"]


def test_unused_input_is_said() -> None:
    net = Net()
    x, unused = net.input("x", 1, N), net.input("unused", 1, N)
    net.b.unary("tanh", unused)
    net.output("y", net.linear(x, 2))
    finish(net.draft, input_shapes=net.inputs)
    assert net.draft.warnings == ["input 'unused' is not used by any output"]
    assert [n.op for n in net.draft.nodes] == ["linear"]
