"""The passes of a replay, and the two ways to run them: threads of this process, or Ray Data."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from typing import Any, Protocol

from rtrnn.errors import Error, MissingExtraError, UnsupportedError
from rtrnn.replay.logs import Schema
from rtrnn.replay.report import Merged, Report, make_report, parts_of, spreads_of
from rtrnn.replay.work import Contents, Difference, Differences, Indexer, Moments, Policy, Spreads

__all__ = ["Runner", "on_ray", "on_threads", "replay"]


class Runner(Protocol):
    """Applies a function to items and gives the results as they come, in any order; a result may come twice."""

    def __call__(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterable[Any]: ...


def on_threads(jobs: int | None = None) -> Runner:
    """On threads of this process; by default one for each CPU that it may use."""
    count = jobs or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)

    def run(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        with ThreadPoolExecutor(min(count, max(len(items), 1))) as pool:
            futures = [pool.submit(function, item) for item in items]
            try:
                for future in as_completed(futures):
                    yield future.result()
            finally:
                for future in futures:
                    future.cancel()

    return run


def on_ray() -> Runner:
    """On the Ray cluster that RAY_ADDRESS or an earlier ``ray.init`` names, or else one on this machine.

    An item is one row of a Dataset in a block of its own, and so what Ray does again when a worker dies. Workers need rtrnn, and the logs
    under the same names. Raises :class:`rtrnn.MissingExtraError`.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("a replay on Ray needs Ray Data: pip install 'rtrnn[ray]'") from error

    def run(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        if not items:
            return
        if not ray.is_initialized():
            ray.init(log_to_driver=False)
        rows = [{"item": pickle.dumps(item)} for item in items]
        blocks = min(len(rows), _MOST_BLOCKS)
        results = ray.data.from_items(rows, override_num_blocks=blocks).map(partial(_applied, function))
        results.context.enable_progress_bars = False
        for row in results.iter_rows():
            result = pickle.loads(row["result"])
            if isinstance(result, Exception):
                raise result
            yield result

    return run


_MOST_BLOCKS = 2000


def _applied(function: Callable[[Any], Any], row: dict[str, Any]) -> dict[str, Any]:
    """A row of bytes from a row of bytes: no type is changed on the way. A user's error comes back as a value: to repeat it is no help."""
    try:
        result = function(pickle.loads(row["item"]))
    except (Error, OSError) as error:
        result = error
    return {"result": pickle.dumps(result)}


def replay(
    policy: Policy,
    logs: Sequence[str],
    *,
    reference: Policy | None = None,
    recorded: bool | None = None,
    schema: Schema | None = None,
    tolerance: float = 0.05,
    runner: Runner | None = None,
    progress: Callable[[float], None] | None = None,
) -> Report:
    """Replays the episodes of `logs` through `policy` and compares it with what was recorded, or with `reference`.

    `recorded` says which; None: with what was recorded where every log holds it, else with `reference`, or with the same network in f32
    weights. `tolerance` is a difference of an element relative to its spread: its standard deviation over all episodes of the
    reference, but at least a hundredth of the largest one in the same output. Each episode starts in the initial state. An episode with
    a NaN or an infinity is reported and left out. `runner` is :func:`on_threads` or :func:`on_ray`. `progress` is told a share from 0 to 1.

    The logs are read three times: for their episodes, for the spreads, for the differences.

    Raises :class:`rtrnn.FileFormatError` for logs that do not fit, :class:`rtrnn.UnsupportedError`, :class:`rtrnn.Error`, OSError.
    """
    run = runner or on_threads()
    schema = schema or Schema(policy.model.inputs, policy.model.outputs)
    contents: list[Contents] = sorted(run(Indexer(schema), list(logs)), key=lambda one: one.log)
    steps = {f"{one.log}#{name}": count for one in contents for name, count in one.episodes}
    if not steps:
        raise UnsupportedError("the logs hold no episode")
    reference, what = _reference(policy, reference, recorded, contents, schema)
    tasks = [task for one in contents for task in one.tasks()]
    whole, done = 2 * sum(steps.values()), 0

    def merged(function: Callable[[Any], Any]) -> Merged[Any]:
        nonlocal done
        results: Merged[Any] = Merged(steps)
        for batch in run(function, tasks):
            for result in batch:
                done += results.add(result)
            if progress:
                progress(done / whole if whole else 1.0)
        return results

    moments: list[Moments] = merged(Spreads(schema, reference)).in_order()
    spreads = spreads_of(moments, schema)
    measure = Differences(schema, policy, reference, spreads, tolerance, parts_of(schema))
    differences: list[Difference] = merged(measure).in_order()
    return make_report(differences, schema, spreads, tolerance=tolerance, policy=policy.name, reference=what)


def _reference(
    policy: Policy, reference: Policy | None, recorded: bool | None, contents: list[Contents], schema: Schema
) -> tuple[Policy | None, str]:
    without = next((one.log for one in contents if not one.recorded), None)
    if recorded is None:
        recorded = reference is None and without is None
    if recorded:
        if without is not None:
            columns = ", ".join(" or ".join(map(repr, schema.names_of(name))) for name in schema.outputs)
            raise UnsupportedError(f"{without}: what was done is not recorded; expected columns {columns}")
        return None, "what was recorded"
    if reference is None:
        if policy.weights == "f32":
            raise UnsupportedError(
                f"there is nothing to compare with: {without or contents[0].log} holds no outputs, and the policy has f32 weights; "
                "expected another precision, or another policy as a reference"
            )
        reference = Policy(policy.model, "f32", policy.limits, policy.on_nonfinite)
        return reference, "f32 weights"
    return reference, reference.name
