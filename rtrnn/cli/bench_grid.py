"""`rtrnn bench --grid`: its options and its tables."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtrnn.cli.bench import limits_text, ns, place
from rtrnn.cli.common import UserError, check_figure, check_folder, note
from rtrnn.cli.output import Progress, Table, print_json, show

if TYPE_CHECKING:
    from rtrnn.bench.grid import GridResult

__all__ = ["run_grid"]

_TITLES = {
    "step": "one step",
    "finish": "one step after prepare (*: a part alone, the timer's time taken off)",
    "run": "a step of a whole sequence at once",
    "batch": "a step of each stream of a batch",
}


def run_grid(args: argparse.Namespace) -> int:
    from rtrnn.bench.grid import grid
    from rtrnn.bench.report import grid_facts

    if args.no_peers and args.peers:
        raise UserError("--no-peers and --peers exclude each other")
    chosen: dict[str, Any] = {}
    for option, name in (
        ("cells", "cells"),
        ("sizes", "sizes"),
        ("precisions", "weights"),
        ("forms", "forms"),
        ("peers", "peers"),
    ):
        if getattr(args, option):
            chosen[name] = [word for word in getattr(args, option).split(",") if word]
            if not chosen[name]:
                raise UserError(f"--{option}: expected a list separated by commas, found nothing")
    if args.no_peers:
        chosen["peers"] = []
    if args.save:
        check_folder(args.save)
    if args.figure:
        # Known before minutes of measuring rather than after.
        check_figure(args.figure)
        if "step" not in chosen.get("forms", ["step"]):
            raise UserError("--figure draws steps; expected 'step' among --forms")
    with Progress("measuring", 1.0) as progress:
        result = grid(
            **chosen,
            policies=not args.no_policies,
            seconds=args.seconds or 0.5,
            rounds=args.rounds,
            cpu=args.cpu,
            progress=progress.update,
        )
    facts = grid_facts(result)
    if args.save:
        Path(args.save).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    if args.figure:
        from rtrnn.bench.figure import draw

        draw(facts, args.figure)
    if args.json:
        print_json(facts)
    else:
        _show(result, facts)
    return 0


def _show(result: GridResult, facts: dict[str, Any]) -> None:
    from rtrnn.bench.report import by_network

    print(f"{place(result.machine)}, {result.machine['date']}")
    print(f"limits, median of {result.limits.turns} turns between the rounds: {limits_text(result.limits)}\n")
    for form, title in _TITLES.items():
        networks = by_network(facts["results"], form)
        if not networks:
            continue
        header = ("network", "engine", "median", "ratio", "low", "p99.9", "limit", "of reads", "of FMA")
        rows = []
        for network, each in networks.items():
            for i, one in enumerate(each):
                rows.append((network if i == 0 else "", *_cells(one)))
        show(Table(f"{title}, in nanoseconds; ratio: to the network's first line", header, rows, left=2))
    if facts["over_native_ns"]:
        calls = [key for key in facts["over_native_ns"][0] if key not in ("network", "precision")]
        rows = [
            (one["network"], one["precision"], *(f"{one[call][0]:+.0f} ({one[call][1]:+.0f})" for call in calls))
            for one in facts["over_native_ns"]
        ]
        title = (
            "what a call from Python costs over the step in C++, the loop taken off, in ns: median (of the low figures)"
        )
        show(Table(title, ("network", "weights", *calls), rows, left=2))
    print("median, low (10th percentile): of the rounds' means; p99.9: of single calls, the timer's time in them")
    for one in facts["results"]:
        if "error" in one:
            print(f"error: {one['network']}, {one['form']}, {one['engine']} is not timed: {one['error']}")
    for text in result.notes:
        note(text)


def _cells(one: dict[str, Any]) -> tuple[str, ...]:
    if "error" in one:
        return one["engine"], "error", "", "", "", "", "", ""
    name = one["engine"] + ("" if one["from_blocks"] else " *")
    figures = (ns(one["median_ns"]), f"{one['ratio']:.2f}", ns(one["low_ns"]), ns(one["p999_ns"]))
    if "level" not in one:
        return name, *figures, "", "", ""
    return name, *figures, one["level"], f"{one['read_percent']:.0f} %", f"{one['flop_percent']:.0f} %"
