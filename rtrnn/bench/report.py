"""Figures as plain data, for JSON, tables and the figure: what ``tools/bench/stream_bench --json`` prints too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rtrnn.bench.grid import GridResult, Row
    from rtrnn.bench.limits import Limits
    from rtrnn.bench.measure import Figures
    from rtrnn.bench.suite import Result

__all__ = ["by_network", "figures_facts", "file_facts", "grid_facts", "limits_facts"]


def limits_facts(limits: Limits) -> dict[str, Any]:
    return asdict(limits)


def figures_facts(figures: Figures) -> dict[str, Any]:
    """Nanoseconds per timestep; median and low are of the rounds' means, the percentiles of single calls."""
    facts = asdict(figures)
    return {"engine": facts.pop("name"), **facts}


def file_facts(path: str, result: Result) -> dict[str, Any]:
    """Everything that ``rtrnn bench FILE`` found."""
    return {
        "file": path,
        "machine": result.machine,
        "limits": limits_facts(result.limits),
        "rounds": result.report.rounds,
        "interrupted": result.report.interrupted,
        "timer_ns": result.report.timer_ns,
        "weight_bytes": result.weight_bytes,
        "gigabytes_per_second": result.gigabytes_per_second,
        **asdict(result.shares),
        "over_native_ns": result.over_native_ns,
        "results": [
            *({"network": path, "form": "step", "precision": "f32", **figures_facts(f)} for f in result.report.engines),
            *({"network": path, "engine": f.name, "error": f.reason} for f in result.failures),
        ],
        "notes": list(result.notes),
    }


def grid_facts(result: GridResult) -> dict[str, Any]:
    """Everything that ``rtrnn bench --grid`` found."""
    over = [{"network": n, "precision": p, **calls} for (n, p), calls in result.over_native_ns.items()]
    return {
        "machine": result.machine,
        "limits": limits_facts(result.limits),
        "results": [_row(row, result.limits) for row in result.rows],
        "over_native_ns": over,
        "notes": list(result.notes),
    }


def _row(row: Row, limits: Limits) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "network": row.network,
        "cell": row.cell,
        "input_size": row.input_size,
        "hidden_size": row.hidden_size,
        "form": row.form,
        "precision": row.precision,
        "engine": row.engine,
    }
    if row.figures is None:
        return {**facts, "error": row.error}
    facts |= figures_facts(row.figures)
    if row.weight_bytes:
        shares = limits.shares(row.weight_bytes, row.operations, row.figures.median_ns)
        facts |= {"weight_bytes": row.weight_bytes, **asdict(shares)}
    return facts


def by_network(results: Sequence[dict[str, Any]], form: str) -> dict[str, list[dict[str, Any]]]:
    """The results of one form, by network, in order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for one in results:
        if one["form"] == form:
            found.setdefault(one["network"], []).append(one)
    return found
