"""What has become of the runs of one DAG: the last ones, how many went well, and which nodes take their time."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from dagcelery.client.listing import Wanted, page
from dagcelery.client.status import run_status
from dagcelery.client.structure import RunGraph, structure
from dagcelery.engine.run_control import RunControl
from dagcelery.errors import DagceleryError
from dagcelery.model.buildable import is_buildable
from dagcelery.store.records import RunRecord

LAST_RUNS: Final = 50
_SLOWEST: Final = 10


@dataclass(frozen=True, slots=True)
class DagHistory:
    """The last runs of a DAG, newest first. Of those that are `over`, so many are `done`.

    `slowest` are nodes of the newest run that is done, or else over, with their seconds, and `graph` is that of the
    newest run. `schedule` says when it is due, if it has one, and its module is loaded here.
    """

    name: str
    records: tuple[RunRecord, ...]
    done: int
    over: int
    slowest: tuple[tuple[str, float], ...]
    graph: RunGraph | None
    schedule: tuple[str, ...] | None


def history(control: RunControl, name: str) -> DagHistory:
    """Return the history of a DAG; it is empty where no run of it is remembered."""
    records, _ = page(control.store, name, Wanted(None, None), LAST_RUNS)
    over = [record for record in records if record.is_over]
    done = [record for record in over if record.state == "done"]
    slowest = _slowest(control, done or over)
    graph = _graph(control, records)
    return DagHistory(name, tuple(records), len(done), len(over), slowest, graph, _schedule(name))


def _slowest(control: RunControl, records: Sequence[RunRecord]) -> tuple[tuple[str, float], ...]:
    try:
        nodes = run_status(control, records[0].id).nodes if records else ()
    except DagceleryError:  # it has expired meanwhile, or no key here has signed it
        return ()
    timed = [(node.name, node.seconds) for node in nodes if node.seconds is not None]
    return tuple(sorted(timed, key=lambda pair: -pair[1])[:_SLOWEST])


def _graph(control: RunControl, records: Sequence[RunRecord]) -> RunGraph | None:
    try:
        return structure(control, records[0].id) if records else None
    except DagceleryError:
        return None


def _schedule(name: str) -> tuple[str, ...] | None:
    """Look for a DAG where its name says; whoever looks on imports nothing, and runs no code."""
    module, _, qualname = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = inspect.getattr_static(found, part, None)
    schedule = getattr(found, "schedule", None) if is_buildable(found) else None
    return (str(schedule),) if schedule else None
