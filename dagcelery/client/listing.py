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
from dagcelery.store.records import RunRecord
from dagcelery.text import shown

_PORTION: Final = 200
"""Runs whose records are read together."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which runs are listed: in a state, with a key, created since a moment."""

    state: str | None
    key: str | None
    since: float

    def __contains__(self, record: RunRecord) -> bool:
        return self.state in (None, record.state) and self.key in (None, record.key)


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
    before, seen = math.inf, set[str]()
    while limit:
        portion = store.fleet.runs(name, before, _PORTION)
        new = [run for run in portion if run.id not in seen]
        for run in new:
            if run.record is not None and run.record in wanted and run.created >= wanted.since and limit:
                limit -= 1
                yield run.record
        if not new or portion[-1].created < wanted.since:
            return
        # What was enrolled at the very same moment may be on both sides of the border.
        before = portion[-1].created
        seen = {run.id for run in portion if run.created == before}
