"""How garbage is collected: payloads that no step reads any more, of a run that keeps nothing but its outputs.

It is looked for instead of counting readers in every commit: commits cost nothing more, and a worker that dies leaves
nothing to be repaired. What may go once may go for ever, unless the run is cleared, and then the script refuses.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from dagcelery.store import wire
from dagcelery.store.protocol import StoreServer
from dagcelery.store.records import ROOT, START, Scope, StepEntry
from dagcelery.store.survey import ScopeSurvey, Survey

_PORTION = 100
_STEPS_A_SCRIPT = 20
"""Each costs up to fifty fields."""


def collect_garbage(server: StoreServer, run_id: str) -> None:
    """Do what `RunMachine.collect_garbage` promises."""
    survey = Survey(server, run_id)
    generation = int(server.client.hget(server.keys.run(run_id), "generation") or 0)
    entries = survey.body(0)
    if START not in entries or not entries[START].keeps_outputs_only:
        return
    root = ScopeSurvey(survey, Scope(ROOT))
    unread_steps = _unread(entries, root.complete)

    def remove(steps: list[int], names: list[str]) -> bool:
        request = {"generation": generation, "steps": steps, "names": names}
        return not json.loads(server.run("collect_garbage", server.keys.run(run_id), request)[0])["stale"]

    for portion in wire.portions(sorted(unread_steps - root.freed), _STEPS_A_SCRIPT):
        if not remove(portion, []):
            return
    for names in wire.portions(_garbage_keys(survey, unread_steps), _PORTION):
        if not remove([], names):
            return


def _garbage_keys(survey: Survey, steps: set[int]) -> Iterator[str]:
    """The keys of these steps of the root scope, and of scopes that are closed or skipped."""
    for portion in wire.portions(survey.names(), 500):
        over = survey.over({scope for _, kind, scope, _ in portion if kind in "obx" and scope != ROOT})
        for name, kind, scope, step in portion:
            if (scope == ROOT and step in steps) or (scope in over and kind in "obx"):
                yield name


def _unread(entries: Mapping[int, StepEntry], complete: Mapping[int, int]) -> set[int]:
    """Complete steps of the root scope whose outputs the run does not return, and whose readers are complete too."""
    wanted = {source for step, entry in entries.items() if step not in complete for source in entry.reads}
    return {
        step
        for step, entry in entries.items()
        if step >= 0 and not entry.is_returned and step not in wanted and step in complete
    }
