"""How payloads that nobody reads any more are removed from Redis, where a DAG keeps nothing but its outputs.

It looks for what may go instead of counting readers in every commit: commits cost nothing more, and whoever dies
leaves nothing to be repaired. What may go once may go for ever, unless the run is rewound, and then `free` refuses.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from dagcelery.store import wire
from dagcelery.store.base import ROOT, START
from dagcelery.store.surveys import Survey
from dagcelery.store.undoing import unread

_PORTION = 100
_STEPS_A_SCRIPT = 20

Run = Callable[[str, str, dict[str, Any]], Any]
"""Runs a verb on a run with a request."""


def free(client: Any, run: Run, run_id: str, key: Callable[..., str]) -> None:
    """Do what `Store.free` promises."""
    survey, era = Survey(client, key), int(client.hget(key(), "rewound") or 0)
    entries = survey.body(0)
    if not entries.get(START, {}).get("kp"):
        return
    complete, freed = survey.complete()
    found = unread(entries, complete.__contains__)

    def remove(steps: list[int], names: list[str]) -> bool:
        request = {"era": era, "steps": steps, "names": names}
        return not json.loads(run("free", run_id, request)[0])["stale"]

    for portion in wire.portions(sorted(found - freed), _STEPS_A_SCRIPT):
        if not remove(portion, []):
            return
    for names in wire.portions(_keys(client, key, survey, found), _PORTION):
        if not remove([], names):
            return


def _keys(client: Any, key: Callable[..., str], survey: Survey, steps: set[int]) -> Iterator[str]:
    """The keys of these steps of the root scope, and of scopes that have handed their outputs to their parents."""
    for portion in wire.portions(survey.names(), 500):
        scopes = sorted({scope for _, kind, scope, _ in portion if kind in "obx" and scope != ROOT})
        asked = client.pipeline(transaction=False)
        for scope in scopes:
            asked.hexists(key("s", scope), "closed")
        closed = {scope for scope, is_closed in zip(scopes, asked.execute(), strict=True) if is_closed}
        for name, kind, scope, step in portion:
            if (scope == ROOT and step in steps) or (scope in closed and kind in "obx"):
                yield name
