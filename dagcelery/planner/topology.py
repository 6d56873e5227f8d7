"""The topology is what the store needs of a plan to say which steps may start: counts, successors, queues.

It is one mapping a body, from the index of a step, as text, to

======  ===============================================================================================
``q``   the queue
``b``   the index of the body that a "dag" step enters, else -1
``x``   the token that a fan-out counts the items of, "" for steps that run once
``n``   how many steps of this body must be complete before this one opens, the one that makes its list included
        unless it waits for nothing but items of fan-outs over that list
``e``   how many fan-outs of this body must have done an item before this one may do the same item
``s``   the steps that count this one in ``n``
``se``  the steps that count this one in ``e``
``in``  tokens of whole values that the step reads, lists of results left out; none if more than 16
``ea``  tokens that the step reads by item
``r``   which calls that failed are followed by another: ``m`` calls at most, waits of ``b`` seconds, each time
        ``f`` times as long, up to ``c``; ``j`` is 1 where they vary at random, ``h`` where reaching a hard
        limit is no last word either, and else they are 0
``tl``  after how many seconds a call is cut off, the hard limit
``sw``  within how many seconds of being ready a piece must start
``ms``  which share of a fan-out's items must succeed
``br``  1 where the step enters a branch, once or not at all
``rd``  the steps whose outputs this one reads, in body 0 of a DAG that keeps nothing but its outputs
``rt``  1 where the DAG returns something of this step, there too
======  ===============================================================================================

and two entries more: "start" with ``q`` and, as ``s``, the steps that wait for nothing, and "close" with
``q`` and ``in``. Body 0's "start" has ``ff``, 0, where a failure leaves other steps alone, and ``hk``, 1, where
functions are to be called at the run's end, and ``kp``, 1, where nothing
but outputs is kept. From ``r`` on, an entry has only what was asked for.

What lies further up (``^3.0``) is complete before a scope opens, because the step that enters the scope waits for
it; so it counts there and not here, and parameters never count.

Two shapes in a plan can be sent as Celery canvas: fan-outs with one join, and straight runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from dagcelery.planner.plan import Body, Expr, Plan, Step, level, step_of, tokens
from dagcelery.planner.tables import is_time_limit_retried

MOST_INPUTS: Final = 16

Topology: TypeAlias = list[dict[str, dict[str, Any]]]


def topology(plan: Plan) -> Topology:
    """Return the topology of `plan`, worked out once; it is shared, so nobody may change it."""
    if "topology" not in plan.memo:
        plan.memo["topology"] = _topology(plan)
    found: Topology = plan.memo["topology"]
    return found


@dataclass(frozen=True, slots=True)
class Needs:
    """The steps of the same body that a step waits for as a whole, and those that it waits for item by item."""

    steps: Sequence[int]
    items: Sequence[int]


def predecessors(plan: Plan, body: int) -> Sequence[Needs]:
    """Return what each step of a body needs; worked out once."""
    key = f"predecessors of {body}"
    if key not in plan.memo:
        steps: list[list[int]] = [[] for _ in plan.bodies[body].steps]
        items: list[list[int]] = [[] for _ in plan.bodies[body].steps]
        for index in range(len(steps)):
            entry = topology(plan)[body][str(index)]
            for following in entry["s"]:
                steps[following].append(index)
            for following in entry["se"]:
                items[following].append(index)
        plan.memo[key] = list(map(Needs, steps, items))
    needs: Sequence[Needs] = plan.memo[key]
    return needs


@dataclass(slots=True)
class _Waits:
    """What a step waits for: whole steps, items of fan-outs, and, with one ``^`` less, outer tokens."""

    steps: set[int] = field(default_factory=set)
    items: set[int] = field(default_factory=set)
    outer: set[str] = field(default_factory=set)
    read: set[int] = field(default_factory=set)

    def add(self, token: str) -> None:
        if token[0] == "^":
            self.outer.add(token[1:])
        else:
            step = step_of(token)
            if step is not None:
                self.steps.add(step)

    def note(self, token: str) -> None:
        """Remember whose output is read."""
        step = step_of(token)
        if step is not None:
            self.read.add(step)


def _topology(plan: Plan) -> Topology:
    above = _openers(plan)
    outer: dict[int, set[str]] = {}
    result: Topology = []
    # A body has a greater index than the one around it.
    for number in reversed(range(len(plan.bodies))):
        body = plan.bodies[number]
        waits = [_waits(step, body, outer) for step in body.steps]
        outer[number] = set().union(*(found.outer for found in waits), _outer_of(_results(body)))
        result.append(_table(plan, number, waits, above))
    result.reverse()
    return result


def _openers(plan: Plan) -> dict[int, int]:
    """Return for each inner body the number of the body around it."""
    return {step.target: number for number, body in enumerate(plan.bodies) for step in body.steps if step.kind == "dag"}


def _waits(step: Step, body: Body, outer: dict[int, set[str]]) -> _Waits:
    found = _Waits(steps=set(step.after))
    for _, expr in step.arguments:
        for token, reading in tokens(expr):
            source = step_of(token) if reading == "each" else None
            found.note(token)
            if source is None:
                found.add(token)
            elif body.steps[source].over is not None:
                found.items.add(source)
    if step.kind == "dag":
        for token in outer[step.target]:
            found.add(token)
            found.note(token)
    if step.over is not None:
        found.note(step.over)
    # Whoever waits for items of a fan-out, and for nothing else, knows with the first of them that the list which
    # that one counts is there; who waits for other steps too might be opened by those before there is a list.
    if step.over is not None and (not found.items or found.steps or step.over[0] == "^"):
        found.add(step.over)
    return found


def _table(plan: Plan, number: int, waits: list[_Waits], above: dict[int, int]) -> dict[str, dict[str, Any]]:
    body = plan.bodies[number]
    after: list[list[int]] = [[] for _ in body.steps]
    items_after: list[list[int]] = [[] for _ in body.steps]
    for index, found in enumerate(waits):
        for source in found.steps:
            after[source].append(index)
        for source in found.items:
            items_after[source].append(index)
    table = {
        str(index): {
            "q": step.queue,
            "b": step.target if step.kind == "dag" else -1,
            "x": step.over or "",
            "n": len(waits[index].steps),
            "e": len(waits[index].items),
            "s": after[index],
            "se": items_after[index],
            "in": _whole((expr for _, expr in step.arguments), plan, number, above),
            "ea": _by_item(step),
            **_policies(step),
        }
        for index, step in enumerate(body.steps)
    }
    if number == 0 and _keeps_outputs(plan):
        _add_readers(table, waits, body)
    first = [index for index, found in enumerate(waits) if not found.steps and not found.items]
    table["start"] = {"q": body.queue_open, "s": first, **(_of_run(plan) if number == 0 else {})}
    table["close"] = {"q": body.queue_close, "in": _whole(_results(body), plan, number, above)}
    return table


def _policies(step: Step) -> dict[str, Any]:
    options, found = step.options, dict[str, Any]()
    if retry := options.get("retry"):
        found["r"] = {"m": retry["max"], "b": retry["base"], "f": retry["factor"], "c": retry["cap"]}
        found["r"] |= {"j": int(retry["jitter"]), "h": int(is_time_limit_retried(retry))}
    fields = {"tl": options.get("timeout", (None, None))[1]}
    fields |= {"sw": options.get("start_within"), "ms": options.get("min_success")}
    fields |= {"br": 1 if options.get("branch") else None}
    return found | {name: value for name, value in fields.items() if value is not None}


def _of_run(plan: Plan) -> dict[str, int]:
    found = {} if plan.options.get("fail_fast", True) else {"ff": 0}
    found |= {"hk": 1} if plan.options.get("hooks") else {}
    return found | ({"kp": 1} if _keeps_outputs(plan) else {})


def _keeps_outputs(plan: Plan) -> bool:
    return plan.options.get("keep") == "outputs"


def _add_readers(table: dict[str, dict[str, Any]], waits: list[_Waits], body: Body) -> None:
    for index, found in enumerate(waits):
        if found.read:
            table[str(index)]["rd"] = sorted(found.read)
    for token in {token for expr in _results(body) for token, reading in tokens(expr) if reading != "over"}:
        step = step_of(token)  # lengths of lists are kept anyway
        if step is not None:
            table[str(step)]["rt"] = 1


def _results(body: Body) -> Iterator[Expr]:
    yield from (expr for _, expr, _ in body.outputs)
    if body.returns is not None:
        yield body.returns


def _outer_of(exprs: Iterable[Expr]) -> set[str]:
    return {token[1:] for expr in exprs for token, _ in tokens(expr) if token[0] == "^"}


def _whole(exprs: Iterable[Expr], plan: Plan, number: int, above: dict[int, int]) -> list[str]:
    found: dict[str, None] = {}
    for expr in exprs:
        for token, reading in tokens(expr):
            if reading == "whole" and _is_plain(token, plan, number, above):
                found[token] = None
                if len(found) > MOST_INPUTS:
                    return []
    return list(found)


def _is_plain(token: str, plan: Plan, number: int, above: dict[int, int]) -> bool:
    levels, name = level(token)
    for _ in range(levels):
        number = above[number]
    step = step_of(name)
    return step is None or plan.bodies[number].steps[step].over is None


def _by_item(step: Step) -> list[str]:
    read = (tokens(expr) for _, expr in step.arguments)
    return list(dict.fromkeys(token for found in read for token, reading in found if reading == "each"))


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
    before = [[*needs.steps, *needs.items] for needs in predecessors(plan, body)]
    needed = {*before[join]} - {step}
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
