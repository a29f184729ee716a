"""`rtrnn replay`: recorded episodes through a policy, and where it would have acted differently."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtrnn.cli.common import (
    UserError,
    add_loading_arguments,
    add_weights_argument,
    check_figure,
    check_folder,
    load_model,
    model_and_weights,
    named_pairs,
    note,
    number_above_zero,
    weights_of,
    whole_number_above_zero,
)
from rtrnn.cli.output import Marked, Progress, Table, finite, format_count, print_json, share, show

if TYPE_CHECKING:
    from rtrnn.replay import Policy, Report
    from rtrnn.replay.report import EpisodeReport

__all__ = ["add_arguments", "run"]

_LOGS = """\
a log is an .npz or .parquet file with a row for each timestep and these columns:
  an input's name     its values; 'obs' will do where the network has one input
  an output's name    what was done; 'action' will do where there is one output. Optional: see --against
  episode             which episode a row belongs to (without it a file is one episode)
  step                what the rows of an episode are ordered by (without it they are in order)
  done, reset         true in an episode's last row; true where the state was reset before the row
In an .npz a column is an array of shape (rows, size); in Parquet it holds lists, or is spread over NAME[0], NAME[1], ..
(or NAME.0, NAME_0).
Each episode is run from the network's initial state. Differences are relative to the spread of an element: its standard deviation
over all episodes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = f"{parser.epilog}\n\n{_LOGS}"
    parser.add_argument("file", metavar="FILE", help="a file that rtrnn loads: the policy")
    parser.add_argument("logs", metavar="LOG", nargs="+", help=".npz and .parquet files, or folders of them")
    parser.add_argument(
        "--against",
        metavar="FILE[:PRECISION]",
        help="compare with this policy, or with what was 'recorded' (default: what was recorded, where the logs hold it; else f32 weights)",
    )
    parser.add_argument(
        "--tolerance", type=number_above_zero, default=0.05, help="difference that counts, as a share of the spread (default: 0.05)"
    )
    parser.add_argument(
        "--column", action="append", default=[], metavar="NAME=COLUMN", help="what an input or output is called in the logs"
    )
    parser.add_argument(
        "--on-nonfinite",
        choices=("error", "hold", "propagate"),
        default="error",
        help="what a NaN or an infinity does (default: error, which leaves the episode out)",
    )
    parser.add_argument("--jobs", type=whole_number_above_zero, help="threads (default: one for each CPU)")
    parser.add_argument("--ray", action="store_true", help="run on Ray: on the cluster that RAY_ADDRESS names, or one on this machine")
    parser.add_argument("--worst", type=whole_number_above_zero, default=5, help="episodes to list (default: 5)")
    parser.add_argument("--figure", metavar="FILE", help="draw a figure for each output (.png, .svg, .pdf)")
    parser.add_argument("--save", metavar="FILE", help="write the whole report as JSON to a file")
    parser.add_argument("--json", action="store_true", help="print the whole report as JSON")
    add_weights_argument(parser)
    add_loading_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from rtrnn.replay import Policy, Schema, find_logs, on_ray, on_threads, replay
    from rtrnn.replay.report import facts

    if args.figure:
        check_figure(args.figure)
    if args.save:
        check_folder(args.save)
    if args.ray and args.jobs:
        raise UserError("--jobs are threads of this machine; with --ray the cluster decides")
    model = load_model(args.file, args)
    columns = named_pairs(args.column, "--column", "NAME=COLUMN")
    unknown = [name for name in columns if name not in (*model.inputs, *model.outputs)]
    if unknown:
        raise UserError(f"--column {unknown[0]}: expected one of {', '.join((*model.inputs, *model.outputs))}")
    weights = weights_of(args, model)
    name = args.file if weights == "f32" else f"{args.file}, {weights if isinstance(weights, str) else 'mixed'} weights"
    policy = Policy(model, weights, on_nonfinite=args.on_nonfinite, name=name)
    if args.ray:
        logging.getLogger("ray").setLevel(logging.ERROR)
        logging.getLogger("ray.data").setLevel(logging.ERROR)
    reference = None if args.against in (None, "recorded") else _reference(args, policy)
    with Progress("replaying", 1.0) as progress:
        report = replay(
            policy,
            find_logs(args.logs),
            reference=reference,
            recorded=None if args.against is None else args.against == "recorded",
            schema=Schema(model.inputs, model.outputs, columns),
            tolerance=args.tolerance,
            runner=on_ray() if args.ray else on_threads(args.jobs),
            progress=progress.update,
        )
    if args.save:
        Path(args.save).write_text(json.dumps(finite(facts(report)), indent=1) + "\n", encoding="utf-8")
    drawn: list[Path] = []
    if args.figure:
        from rtrnn.replay.figure import draw

        drawn = draw(report, args.figure, Path(args.file).name + policy.name[len(args.file) :])
    if args.json:
        print_json(facts(report))
    else:
        _show(report, args.worst, drawn)
    return 0


def _reference(args: argparse.Namespace, policy: Policy) -> Policy:
    from rtrnn.replay import Policy

    model, weights = model_and_weights(args.against, args)
    for what, mine, its in (("inputs", policy.model.inputs, model.inputs), ("outputs", policy.model.outputs, model.outputs)):
        if dict(mine) != dict(its):
            raise UserError(f"{args.against}: expected the {what} of {args.file}, {mine}; found {its}")
    return Policy(model, weights, on_nonfinite=args.on_nonfinite, name=args.against)


def _show(report: Report, worst: int, drawn: list[Path]) -> None:
    good = len(report.episodes) - len(report.failures)
    title = f"{report.policy} against {report.reference}: {format_count(report.steps)} steps of {format_count(good)} episodes"
    rows = [
        (
            o.name,
            str(len(o.spread)),
            share(o.rms),
            share(o.worst_rms),
            str(o.worst_element),
            share(o.largest),
            f"{_short(o.largest_episode)}, step {o.largest_step}, element {o.largest_element}",
            Marked(share(o.beyond_share), "bad" if o.beyond else "good"),
        )
        for o in report.outputs
    ]
    header = ("output", "elements", "RMS", "of the worst", "element", "largest", "where", f"beyond {share(report.tolerance)}")
    listed = report.worst(worst)
    show(
        Table(f"{title}\ndifference, relative to the spread of each element", header, rows),
        Table(f"Worst of {format_count(good)} episodes by RMS", ("episode", "steps", "RMS", "largest", "steps beyond", "first at step"),
              [_episode_row(e) for e in listed]),
    )  # fmt: skip
    print(f"beyond: steps in which an element differs by more than {share(report.tolerance)} of its spread")
    for episode in report.failures[:worst]:
        note(f"left out: {episode.name}: {episode.failure}")
    if len(report.failures) > worst:
        note(f"left out: {len(report.failures) - worst} more episodes; --json has all of them")
    for path in drawn:
        print(f"figure: {path}")


def _episode_row(e: EpisodeReport) -> tuple[str, ...]:
    first: Any = e.first_beyond if e.first_beyond >= 0 else ""
    return _short(e.name), format_count(e.steps), share(e.rms), share(e.largest), format_count(e.beyond), str(first)


def _short(name: str) -> str:
    """Without the folders of the log."""
    log, _, episode = name.rpartition("#")
    return f"{Path(log).name}#{episode}"
