"""Two shapes in a plan can be sent as Celery canvas: fan-outs with one join, and straight runs."""

from __future__ import annotations

from typing import Any, Final

from dagcelery.planner.plan import Plan
from dagcelery.planner.topology import topology

GROUPS: Final = 4
STEPS: Final = 1000


def join_of(plan: Plan, body: int, step: int) -> int | None:
    """Return the step that starts as soon as the fan-out `step` is complete; None if there is no such one.

    It runs once, it is the only step that waits for all items, and whatever else it waits for was complete
    before the fan-out could open: the list that is fanned out, say.
    """
    table = topology(plan)[body]
    entry = table[str(step)]
    if not entry["x"] or len(entry["s"]) != 1:
        return None
    join: int = entry["s"][0]
    other = table[str(join)]
    if other["x"]:
        return None
    if other["n"] == 1:
        return join
    before, needed = _before(plan, body), {*_before(plan, body)[join]} - {step}
    return join if needed <= _ancestors(before, step, min(needed)) else None


def straight_run(plan: Plan, body: int, step: int, *, groups: int = GROUPS, steps: int = STEPS) -> list[list[int]]:
    """Return `step` and those that follow it one by one, neighbours on one queue in one group.

    Each of them runs once, has the next one as its only successor and is all that the next one waits for.
    The run ends after `groups` groups or `steps` steps, whichever comes first; it is [] for a fan-out.
    """
    table = topology(plan)[body]
    entry = table[str(step)]
    if entry["x"]:
        return []
    result, count = [[step]], 1
    while count < steps:
        following = _only_successor(table, entry)
        if following is None:
            break
        queue, entry = entry["q"], table[str(following)]
        if entry["q"] == queue:
            result[-1].append(following)
        elif len(result) == groups:
            break
        else:
            result.append([following])
        count += 1
    return result


def _only_successor(table: dict[str, dict[str, Any]], entry: dict[str, Any]) -> int | None:
    if len(entry["s"]) != 1 or entry["se"]:
        return None
    following: int = entry["s"][0]
    other = table[str(following)]
    return following if other["n"] == 1 and not other["e"] and not other["x"] else None


def _before(plan: Plan, body: int) -> list[list[int]]:
    key = f"before {body}"
    if key not in plan.memo:
        table = topology(plan)[body]
        before: list[list[int]] = [[] for _ in plan.bodies[body].steps]
        for index in range(len(before)):
            for following in (*table[str(index)]["s"], *table[str(index)]["se"]):
                before[following].append(index)
        plan.memo[key] = before
    found: list[list[int]] = plan.memo[key]
    return found


def _ancestors(before: list[list[int]], step: int, least: int) -> set[int]:
    # Steps stand in topological order, so that below `least` there is nothing to find.
    found: set[int] = set()
    waiting = [step]
    while waiting:
        for other in before[waiting.pop()]:
            if other >= least and other not in found:
                found.add(other)
                waiting.append(other)
    return found
