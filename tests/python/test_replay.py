"""Replaying recorded episodes: what is measured, how logs are read, and that results merge the same however they come."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fleets import episode, fleet, policy
from small_networks import I, O, gru_rtrnn, two_input_rtrnn

import rtrnn
from rtrnn.cli import main
from rtrnn.errors import Error, FileFormatError, UnsupportedError
from rtrnn.precision.errors import Meter
from rtrnn.replay import Policy, Schema, find_logs, on_threads, replay
from rtrnn.replay.logs import episodes_of, read
from rtrnn.replay.report import facts

EACH = 6
SCHEMA = Schema({"obs": (I,)}, {"actions": (O,)})


@pytest.fixture
def logs(tmp_path: Path) -> list[str]:
    return find_logs([fleet(tmp_path / "fleet", robots=3, each=EACH)])


def names(log: str | Path, schema: Schema = SCHEMA) -> list[tuple[str, int]]:
    return [(each.name, each.steps) for each in episodes_of(str(log), schema)[0]]


# -- what is measured ----------------------------------------------------------------------------------


def test_against_what_was_recorded(logs: list[str]) -> None:
    """The same figures, computed at once from all episodes."""
    tolerance = 0.04
    report = replay(Policy(policy(), "i8"), logs, tolerance=tolerance)
    recorded, found, order = [], [], []
    for seed in range(3 * EACH):
        obs, action = episode(seed)
        recorded.append(action)
        found.append(policy().run(obs, weights="i8"))
        order.append((seed, len(obs)))
    meter = Meter(["actions"], [np.concatenate(recorded)])
    (errors,) = meter.relative([np.concatenate(found)])
    (output,) = report.outputs
    assert report.reference == "what was recorded"
    assert report.steps == len(errors)
    assert output.spread == pytest.approx(meter.spreads[0], rel=1e-12)
    assert output.rms == pytest.approx(math.sqrt(np.mean(np.square(errors))), rel=1e-12)
    assert output.element_rms == pytest.approx(np.sqrt(np.mean(np.square(errors), 0)), rel=1e-12)
    assert output.worst_element == int(np.argmax(output.element_rms))
    assert output.largest == pytest.approx(np.abs(errors).max(), rel=1e-9)
    assert output.element_largest == pytest.approx(np.abs(errors).max(0), rel=1e-9)
    beyond = (np.abs(errors) > tolerance).any(1)
    assert 0 < output.beyond == beyond.sum() < len(beyond)
    assert output.beyond_share == beyond.mean()
    assert sum(output.histogram) == len(errors)
    at = 0
    for seed, steps in order:
        (one,) = [e for e in report.episodes if e.name.endswith(f"robot{seed // EACH}.npz#{seed % EACH}")]
        mine = errors[at : at + steps]
        assert one.steps == steps
        assert one.rms == pytest.approx(math.sqrt(np.mean(np.square(mine))), rel=1e-12)
        assert one.largest == pytest.approx(np.abs(mine).max(), rel=1e-9)
        over = np.flatnonzero((np.abs(mine) > tolerance).any(1))
        assert (one.beyond, one.first_beyond) == (len(over), over[0] if len(over) else -1)
        if output.largest_episode == one.name:
            assert np.abs(mine[output.largest_step, output.largest_element]) == pytest.approx(output.largest, rel=1e-9)
        at += steps
    assert report.worst(2)[0].rms >= report.worst(2)[1].rms == sorted(e.rms for e in report.episodes)[-2]


def test_every_episode_starts_in_the_initial_state(tmp_path: Path) -> None:
    obs, _ = episode(3)
    columns = {"obs": np.concatenate([obs, obs]), "action": np.concatenate([policy().run(obs)] * 2)}
    np.savez(tmp_path / "log.npz", **columns, episode=[0] * len(obs) + [1] * len(obs))
    report = replay(Policy(policy()), [str(tmp_path / "log.npz")])
    assert report.outputs[0].largest == 0
    whole = tmp_path / "whole.npz"  # one episode: the state is carried over where it was not
    np.savez(whole, **columns)
    assert replay(Policy(policy()), [str(whole)]).outputs[0].largest > 0.01


def test_against_another_policy(logs: list[str], tmp_path: Path) -> None:
    other = Policy(rtrnn.load(gru_rtrnn(tmp_path / "other.rtrnn", seed=5)), name="other")
    report = replay(Policy(policy()), logs, reference=other)
    assert report.reference == "other"
    assert report.outputs[0].rms > 0.1
    same = replay(Policy(policy()), logs, reference=Policy(policy()))
    assert same.outputs[0].largest == 0
    assert same.outputs[0].beyond == 0


def test_a_bad_episode_is_left_out_and_said(logs: list[str]) -> None:
    with np.load(logs[1]) as file:
        columns = dict(file)
    where = int(np.flatnonzero(columns["episode"] == 2)[0]) + 4
    columns["obs"][where, 1] = np.nan
    np.savez(logs[1], **columns)
    report = replay(Policy(policy()), logs)
    (failed,) = report.failures
    assert failed.name == f"{logs[1]}#2"
    assert "timestep 4" in failed.failure
    assert report.steps == sum(e.steps for e in report.episodes) - failed.steps
    assert not replay(Policy(policy(), on_nonfinite="hold"), logs).failures


def test_nothing_to_compare_with(logs: list[str]) -> None:
    for log in logs:
        with np.load(log) as file:
            columns = {name: file[name] for name in ("obs", "episode")}
        np.savez(log, **columns)
    with pytest.raises(UnsupportedError, match="nothing to compare"):
        replay(Policy(policy()), logs)
    assert replay(Policy(policy(), "i8"), logs).reference == "f32 weights"
    with pytest.raises(UnsupportedError, match="not recorded; expected columns 'actions' or 'action'"):
        replay(Policy(policy()), logs, recorded=True)


# -- merging -------------------------------------------------------------------------------------------


def broken_runner(change: Callable[[list[Any]], list[Any]]) -> Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]:
    def run(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        results = [function(item) for item in items]
        yield from change(results) if isinstance(results[0], list) else results

    return run


def test_results_that_come_twice_and_out_of_order_change_nothing(logs: list[str]) -> None:
    expected = facts(replay(Policy(policy(), "i8"), logs))
    twice = broken_runner(lambda results: [*results[::-1], results[0][:3], *results])
    assert facts(replay(Policy(policy(), "i8"), logs, runner=twice)) == expected
    for jobs in (1, 3):
        assert facts(replay(Policy(policy(), "i8"), logs[::-1], runner=on_threads(jobs))) == expected


def test_a_lost_result_is_found_out(logs: list[str]) -> None:
    lossy = broken_runner(lambda results: [*results[:-1], results[-1][1:]])
    with pytest.raises(Error, match=rf"1 of {3 * EACH} episodes have no result, the first is .*robot2.npz#0"):
        replay(Policy(policy(), "i8"), logs, runner=lossy)


# -- logs ----------------------------------------------------------------------------------------------


def test_done_reset_and_step(tmp_path: Path) -> None:
    obs = np.arange(10 * I, dtype=np.float32).reshape(10, I)
    path = tmp_path / "log.npz"
    np.savez(path, obs=obs)
    assert names(path) == [("0", 10)]
    np.savez(path, obs=obs, done=np.arange(10) % 4 == 3)
    assert names(path) == [("0", 4), ("0.1", 4), ("0.2", 2)]
    np.savez(path, obs=obs, reset=np.arange(10) == 6, episode=["a"] * 8 + ["b"] * 2)
    assert names(path) == [("a", 6), ("a.1", 2), ("b", 2)]
    # Two episodes whose rows come in turns and backwards.
    np.savez(path, obs=obs, episode=np.arange(10) % 2, step=-np.arange(10))
    assert names(path) == [("0", 5), ("1", 5)]
    (first, x, y), _ = read(str(path), SCHEMA, ["0", "1"], outputs=False)
    assert (first.name, y) == ("0", {})
    assert x["obs"].tolist() == obs[8::-2].tolist()
    np.savez(path, obs=obs, done=np.arange(10) == 4, episode=["0"] * 8 + ["0.1"] * 2)
    with pytest.raises(FileFormatError, match="not unique"):
        names(path)


def as_parquet(source: str, target: Path, form: str) -> str:
    """The columns of an .npz as lists, as lists of fixed size, or spread over columns of numbers; in small row groups."""
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    with np.load(source) as file:
        columns = dict(file)
    table: dict[str, Any] = {"episode": columns.pop("episode")}
    for name, values in columns.items():
        if form == "lists":
            table[name] = arrow.array(list(values))
        elif form == "fixed":
            table[name] = arrow.FixedSizeListArray.from_arrays(arrow.array(values.ravel()), values.shape[1])
        else:
            table |= {form.format(name, i): values[:, i] for i in range(values.shape[1])}
    parquet.write_table(arrow.table(table), target, row_group_size=37)
    return str(target)


@pytest.mark.parametrize("form", ["lists", "fixed", "{}[{}]", "{}.{}", "{}_{}"])
def test_parquet_gives_what_npz_gives(logs: list[str], tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtrnn.replay.work._ROWS_PER_TASK", 60)  # several tasks, which read parts of the file
    expected = replay(Policy(policy(), "i8"), logs[:1])
    found = replay(Policy(policy(), "i8"), [as_parquet(logs[0], tmp_path / "log.parquet", form)])
    assert found.outputs[0].element_rms == expected.outputs[0].element_rms
    assert [(e.name.rpartition("#")[2], e.rms) for e in found.episodes] == [(e.name.rpartition("#")[2], e.rms) for e in expected.episodes]


def test_other_column_names_and_several_inputs(tmp_path: Path) -> None:
    model = rtrnn.load(two_input_rtrnn(tmp_path / "two.rtrnn"))
    xs = {name: np.random.default_rng(i).normal(size=(9, 3)).astype(np.float32) for i, name in enumerate("ab")}
    ys = model.run(xs)
    np.savez(tmp_path / "log.npz", a=xs["a"], velocity=xs["b"], **ys)
    schema = Schema(model.inputs, model.outputs, {"b": "velocity"})
    report = replay(Policy(model), [str(tmp_path / "log.npz")], schema=schema)
    assert [output.largest for output in report.outputs] == [0, 0]
    with pytest.raises(FileFormatError, match="expected a column 'b'; found a, velocity"):
        replay(Policy(model), [str(tmp_path / "log.npz")])


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"x": np.zeros((3, I))}, "expected a column 'obs' or 'observation' or 'observations'; found x"),
        ({"obs": np.zeros((3, I + 1))}, r"expected shape \('T', 5\), found \(3, 6\)"),
        ({"obs": np.full((3, I), "a")}, "expected numbers, found <U1"),
        ({"obs": np.zeros((3, I)), "episode": np.zeros(2)}, r"'episode': expected 3 values, one per row"),
    ],
)
def test_a_log_that_does_not_fit(tmp_path: Path, columns: dict[str, np.ndarray], said: str) -> None:
    np.savez(tmp_path / "log.npz", **columns)
    with pytest.raises(FileFormatError, match=said):
        replay(Policy(policy(), "i8"), [str(tmp_path / "log.npz")])


@pytest.mark.parametrize("name", ["log.npz", "log.parquet"])
def test_a_damaged_log(tmp_path: Path, name: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(b"PK\x03\x04 nothing of the kind" * 20)
    with pytest.raises(FileFormatError, match=name):
        replay(Policy(policy(), "i8"), [str(tmp_path / name)])


def test_folders_and_files(tmp_path: Path) -> None:
    folder = fleet(tmp_path / "fleet", robots=2, each=1)
    assert find_logs([folder, folder / "robot0.npz"]) == [str(folder / "robot0.npz"), str(folder / "robot1.npz")]
    with pytest.raises(FileNotFoundError):
        find_logs([tmp_path / "none.npz"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileFormatError, match="without logs"):
        find_logs([tmp_path / "empty"])


# -- the command ---------------------------------------------------------------------------------------


def test_the_command(logs: list[str], network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    figure, saved = tmp_path / "replay.svg", tmp_path / "report.json"
    options = ["--weights", "i8", "--tolerance", "0.04", "--figure", str(figure), "--save", str(saved)]
    assert main(["replay", str(network), str(Path(logs[0]).parent), *options]) == 0
    text = capsys.readouterr().out
    report = replay(Policy(policy(), "i8", name=f"{network}, i8 weights"), logs, tolerance=0.04)
    assert json.loads(saved.read_text()) == json.loads(json.dumps(facts(report)))
    assert f"{report.steps} steps of {3 * EACH} episodes" in text.replace(",", "")
    assert report.worst(1)[0].name.rpartition("/")[2] in text
    assert figure.read_text().startswith("<?xml")


def test_the_command_against_a_precision(logs: list[str], network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(network), *logs, "--against", f"{network}:f16", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["reference"] == f"{network}:f16"
    assert 0 < found["outputs"][0]["rms"] < 0.01


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--column", "nothing=obs"], "--column nothing: expected one of obs, actions"),
        (["--figure", "x.gif"], "--figure x.gif: expected a name that ends in .png, .svg or .pdf"),
        (["--ray", "--jobs", "2"], "--jobs are threads"),
    ],
)
def test_wrong_options(logs: list[str], network: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(network), *logs, *options]) == 1
    assert said in capsys.readouterr().err
