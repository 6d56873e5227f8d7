"""Which runs there are: the newest first, and of these the ones that are wanted."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from dagcelery.errors import InvalidParameters
from dagcelery.model.options import is_number
from dagcelery.store.protocol import Store
from dagcelery.store.records import Listed, RunRecord
from dagcelery.text import shown

_PORTION: Final = 200
"""Runs whose records are read together."""
_MOST_LOOKED: Final = 2_000
"""Runs that are looked at for one page of those that are wanted."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which runs are listed: in a state, with a key, created since a moment, with a text in what a list says."""

    state: str | None
    key: str | None
    since: float = -math.inf
    text: str = ""

    def __contains__(self, record: RunRecord) -> bool:
        return self.state in (None, record.state) and self.key in (None, record.key) and self._has_text(record)

    def _has_text(self, record: RunRecord) -> bool:
        if not self.text:
            return True
        params = (part for pair in record.shown.items() for part in pair)
        sought = self.text.casefold()
        return any(sought in each.casefold() for each in (record.id, record.name, record.key or "", *params))


def moment(since: object) -> float:
    """Return when something was, in seconds since the epoch; a duration is that long ago."""
    match since:
        case None:
            return -math.inf
        case timedelta():
            return time.time() - since.total_seconds()
        case datetime():
            return since.timestamp()
        case _ if is_number(since) and math.isfinite(since):
            return float(since)
    remedy = "give a datetime, a timedelta for that long ago, or seconds since the epoch"
    raise InvalidParameters(f"since={shown(since)}", "is not a time", remedy)


def listed(store: Store, name: str, wanted: Wanted, limit: int) -> Iterator[RunRecord]:
    """Yield up to `limit` runs of a DAG ("": of all) that are wanted, newest first."""
    for run in _walk(store, name):
        if not limit or run.created < wanted.since:
            return
        if run.record is not None and run.record in wanted:
            limit -= 1
            yield run.record


def page(store: Store, name: str, wanted: Wanted, limit: int, after: str = "") -> tuple[list[RunRecord], str]:
    """Return the next runs that are wanted behind a position, and the position to go on with, "" at the end.

    No more than 2,000 runs are looked at, so that there may be fewer than `limit`, and still more to come.

    Raises InvalidParameters.
    """
    found, looked, at = list[RunRecord](), 0, after
    is_any = wanted == Wanted(None, None)
    for run in _walk(store, name, *_position(after), portion=min(_PORTION, limit + 1) if is_any else _PORTION):
        if len(found) == limit or looked == _MOST_LOOKED:
            return found, at
        looked, at = looked + 1, f"{run.created!r}:{run.id}"
        if run.record is not None and run.record in wanted:
            found.append(run.record)
    return found, ""


def _position(text: str) -> tuple[float, str]:
    if not text:
        return math.inf, ""
    created, _, run_id = text.partition(":")
    try:
        at = float(created)
    except ValueError:
        at = math.nan
    if not math.isfinite(at):
        problem, remedy = "is not a position in the list of runs", "give what the page before it said"
        raise InvalidParameters(f"before={shown(text)}", problem, remedy)
    return at, run_id


def _walk(
    store: Store, name: str, before: float = math.inf, last: str = "", portion: int = _PORTION
) -> Iterator[Listed]:
    """Yield the runs of a DAG, newest first, those behind `last` that was enrolled at `before`."""
    seen = set[str]()
    while True:
        read = store.fleet.runs(name, before, portion)
        new = [run for run in read if run.id not in seen]
        yield from (run for run in new if run.created != before or not last or run.id < last)
        if not new:
            return
        # What was enrolled at the very same moment may be on both sides of the border.
        if read[-1].created != before:
            last = ""
        before = read[-1].created
        seen = {run.id for run in read if run.created == before}
