"""The frontier of a scope is what may start now, given what is done: the store's counts, purely."""

from __future__ import annotations

from collections.abc import Collection

from dagcelery.planner.plan import Plan
from dagcelery.planner.topology import topology


def roots(plan: Plan, body: int = 0) -> list[int]:
    """Return the steps of a body that wait for nothing of this body."""
    found: list[int] = topology(plan)[body]["start"]["s"]
    return list(found)


def ready(plan: Plan, body: int, done: Collection[int], started: Collection[int] = ()) -> list[int]:
    """Return the steps that may start once the steps `done` are complete, without those that have `started`.

    A step that follows a fan-out item by item is among them only when that fan-out is complete.
    """
    table = topology(plan)[body]
    steps = range(len(plan.bodies[body].steps))
    missing = [table[str(step)]["n"] + table[str(step)]["e"] for step in steps]
    for step in done:
        for following in (*table[str(step)]["s"], *table[str(step)]["se"]):
            missing[following] -= 1
    left = {*done, *started}
    return [step for step in steps if not missing[step] and step not in left]
