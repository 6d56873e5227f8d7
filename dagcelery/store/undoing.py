"""What depends on a step, and what nobody reads any more; and how a run in memory takes back, or frees, the one or
the other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dagcelery.store.base import HOOK, ROOT, START, SUCCESSORS
from dagcelery.store.ledger import Ledger, StepState

ARRIVALS = 250
"""Items of a fan-out that are told of at once."""


def dependents(
    steps: Iterable[int],
    entries: Mapping[int, Mapping[str, Any]],
    is_complete: Callable[[int], bool],
    is_freed: Callable[[int], bool],
) -> set[int]:
    """Steps of a body, whatever waits for them, and each incomplete fan-out that one of these follows item by item.

    Which items of it have arrived is not remembered, so it cannot be kept without what follows it. What one of them
    reads and was freed has to be made again as well.
    """
    followed = defaultdict(list)
    for step, entry in entries.items():
        for follower in entry["se"]:
            followed[follower].append(step)
    found, waiting = set[int](), list(steps)
    while waiting:
        step = waiting.pop()
        if step not in found:
            found.add(step)
            waiting += [*entries[step]["s"], *entries[step]["se"]]
            waiting += [other for other in followed[step] if not is_complete(other)]
            waiting += [other for other in entries[step].get("rd", ()) if is_freed(other)]
    return found


def scopes_below(places: Mapping[str, tuple[str, int]], steps: Iterable[int]) -> set[str]:
    """The scopes that steps of the root scope opened, and those within; `places` are the parent and step of each."""
    below = defaultdict(list)
    for scope, (parent, step) in places.items():
        below[parent].append((step, scope))
    wanted = set(steps)
    waiting = [scope for step, scope in below[ROOT] if step in wanted and scope != ROOT]
    found = set[str]()
    while waiting:
        scope = waiting.pop()
        found.add(scope)
        waiting += [inner for _, inner in below[scope]]
    return found


def unread(entries: Mapping[int, Mapping[str, Any]], is_complete: Callable[[int], bool]) -> set[int]:
    """Complete steps of the root scope whose outputs the run does not return, and whose readers are complete too."""
    wanted = {source for step, entry in entries.items() if not is_complete(step) for source in entry.get("rd", ())}
    return {
        step
        for step, entry in entries.items()
        if step >= 0 and "rt" not in entry and step not in wanted and is_complete(step)
    }


def free(ledger: Ledger) -> None:
    """Forget what nobody reads any more, if the run keeps nothing but its outputs."""
    entries = {step: entry for step, entry in ledger.topology[0].items() if step >= START}
    if not entries[START].get("kp"):
        return
    steps = unread(entries, lambda step: ledger.steps[ROOT, step].complete)

    def is_free(scope: str, token: str) -> bool:
        step = token.partition(".")[0]
        return scope in ledger.closed or (scope == ROOT and step.isdigit() and int(step) in steps)

    for step in steps:
        ledger.steps[ROOT, step].freed = True
    for at in [at for at in ledger.values if is_free(*at) and (at[0] != ROOT or not at[1].endswith("#"))]:
        del ledger.values[at]
    for at in [at for at in ledger.blocks if is_free(*at)]:
        del ledger.blocks[at]


def rewind(ledger: Ledger, steps: Iterable[int]) -> None:
    """Make steps of the root scope of a run that is over, and all that depends on them, as if never executed."""
    entries = {step: entry for step, entry in ledger.topology[0].items() if step >= START}
    found = dependents(steps, entries, lambda step: ledger.steps[ROOT, step].complete, _freed(ledger))
    scopes = scopes_below({name: (scope.parent, scope.step) for name, scope in ledger.scopes.items()}, found)
    _Undoing(ledger, found, {ledger.scopes[scope].body for scope in scopes}, scopes).undo()
    ledger.state, ledger.failed, ledger.hook, ledger.rewound = "cancelled", "", "", ledger.rewound + 1
    ledger.reason = "parts of it are to be executed again: resume() sees to it"
    for step in sorted(entries.keys() - found):
        _tell(ledger, step, found)
    ledger.opened = []


def _freed(ledger: Ledger) -> Callable[[int], bool]:
    return lambda step: ledger.steps[ROOT, step].freed


class _Undoing:
    """Removes what some steps, and the scopes that they opened, left behind."""

    def __init__(self, ledger: Ledger, steps: set[int], bodies: set[int], scopes: set[str]) -> None:
        self._ledger = ledger
        self._steps = steps
        self._bodies = bodies
        self._scopes = scopes

    def undo(self) -> None:
        ledger = self._ledger
        for waiting in ledger.ready.values():
            waiting[:] = [member for member in waiting if member[2] != HOOK and not self._covers(*member[1:])]
        ledger.claims = {at: claim for at, claim in ledger.claims.items() if not self._covers(*at[:2])}
        ledger.claims.pop((ROOT, HOOK, -1), None)
        ledger.due = [due for due in ledger.due if not self._covers(due.scope, due.step)]
        self._forget_failures()
        for (scope, step), state in list(ledger.steps.items()):
            if self._covers(scope, step):
                ledger.left[ROOT] += scope == ROOT and state.complete
                is_fan_out = bool(ledger.entry(scope, step)["x"])
                ledger.steps[scope, step] = _fresh(state, is_fan_out=is_fan_out)
        for kept in (ledger.values, ledger.lists, ledger.blocks):
            for at in [at for at in kept if self._made(*at)]:
                del kept[at]
        for body, step in list(ledger.counts):
            if body in self._bodies or (body == 0 and step in self._steps):
                del ledger.counts[body, step]
        self._forget_scopes()

    def _covers(self, scope: str, step: int) -> bool:
        return scope in self._scopes or (scope == ROOT and step in self._steps)

    def _made(self, scope: str, token: str) -> bool:
        step = token.partition(".")[0]
        return scope in self._scopes or (scope == ROOT and step.isdigit() and int(step) in self._steps)

    def _forget_failures(self) -> None:
        ledger = self._ledger
        for name in [name for name in ledger.failures if "@" not in name]:
            scope, step = name.split("/")[:2]
            if self._covers(scope, int(step)):
                attempt = ledger.standing.pop(name, 0)
                ledger.failures[f"{name}@{attempt}"] = ledger.failures.pop(name)

    def _forget_scopes(self) -> None:
        ledger = self._ledger
        for body in self._bodies:
            ledger.bodies.pop(body, None)
        for scope in self._scopes:
            del ledger.scopes[scope]
            ledger.left.pop(scope, None)
            ledger.closed.discard(scope)
            # A scope that is opened again is younger than all others: no number is given twice.
            ledger.sequence[f"{scope}@{ledger.rewound}"] = ledger.sequence.pop(scope)


def _fresh(state: StepState, *, is_fan_out: bool) -> StepState:
    """Attempts go on from where they were: they tell a late piece from those to come."""
    base = max(state.attempts, state.base + state.begun) if is_fan_out else state.attempts
    return StepState(attempts=state.attempts, base=base)


def _tell(ledger: Ledger, step: int, among: set[int]) -> None:
    """Tell some of a step's successors again that it is complete."""
    entry, state = ledger.topology[0][step], ledger.steps[ROOT, step]
    if not state.complete and (step != START or len(entry["s"]) > SUCCESSORS):
        return
    for successor in entry["se"]:
        if successor in among:
            for lo in range(0, max(1, state.items), ARRIVALS):
                ledger.arrive_items(ROOT, successor, lo, min(state.items, lo + ARRIVALS))
    for successor in entry["s"]:
        if successor in among:
            ledger.arrive(ROOT, successor)
