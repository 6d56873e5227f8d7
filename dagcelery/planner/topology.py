"""The topology is what the store needs of a plan to say which steps may start: counts, successors, queues.

`store.records.StepEntry` says what each entry means.

Two shapes in a plan can be sent as Celery canvas: fan-outs with one join, and straight runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from dagcelery.planner.plan import Body, Expr, Plan, Step, is_time_limit_retried, level, step_of, tokens
from dagcelery.store.records import CLOSE, START, StepEntry, Topology

MOST_INPUTS: Final = 16


def topology(plan: Plan) -> Topology:
    """Return the topology of `plan`, worked out once; it is shared, so nobody may change it."""
    if "topology" not in plan.memo:
        plan.memo["topology"] = _topology(plan)
    made: Topology = plan.memo["topology"]
    return made


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
    result = list[Mapping[int, StepEntry]]()
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


def _table(plan: Plan, number: int, waits: list[_Waits], above: dict[int, int]) -> Mapping[int, StepEntry]:
    body = plan.bodies[number]
    after: list[list[int]] = [[] for _ in body.steps]
    items_after: list[list[int]] = [[] for _ in body.steps]
    for index, found in enumerate(waits):
        for source in found.steps:
            after[source].append(index)
        for source in found.items:
            items_after[source].append(index)
    readers = _keeps_outputs(plan) and number == 0
    returned = _returned(body) if readers else ()
    table = {
        index: StepEntry(
            queue=step.queue,
            body=step.target if step.kind == "dag" else -1,
            over=step.over or "",
            waits=len(waits[index].steps),
            item_waits=len(waits[index].items),
            successors=after[index],
            item_successors=items_after[index],
            inputs=_whole((expr for _, expr in step.arguments), plan, number, above),
            item_inputs=_by_item(step),
            reads=sorted(waits[index].read) if readers else (),
            is_returned=index in returned,
            **_policies(step),
        )
        for index, step in enumerate(body.steps)
    }
    first = [index for index, found in enumerate(waits) if not found.steps and not found.items]
    table[START] = StepEntry(body.queue_open, successors=first, **(_of_run(plan) if number == 0 else {}))
    table[CLOSE] = StepEntry(body.queue_close, inputs=_whole(_results(body), plan, number, above))
    return table


def _policies(step: Step) -> dict[str, Any]:
    options = step.options
    policies: dict[str, Any] = {
        "hard_limit": options.get("timeout", {}).get("hard"),
        "start_within": options.get("start_within"),
        "min_success": options.get("min_success"),
        "is_branch": "branch" in options,
    }
    if retry := options.get("retry"):
        attempts = {"max_attempts": retry["max_attempts"], "time_limit": is_time_limit_retried(retry)}
        policies["retry"] = retry["wait"] | attempts
    return policies


def _of_run(plan: Plan) -> dict[str, Any]:
    return {
        "fail_fast": plan.options.get("fail_fast", True),
        "has_hooks": "hooks" in plan.options,
        "keeps_outputs_only": _keeps_outputs(plan),
    }


def _keeps_outputs(plan: Plan) -> bool:
    return plan.options.get("keep") == "outputs"


def _returned(body: Body) -> set[int | None]:
    read = (token for expr in _results(body) for token, reading in tokens(expr) if reading != "over")
    return {step_of(token) for token in read}  # lengths of lists are kept anyway


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
    entry = table[step]
    if not entry.over or len(entry.successors) != 1:
        return None
    join = entry.successors[0]
    other = table[join]
    if other.over:
        return None
    if other.waits == 1:
        return join
    before, needed = _before(plan, body), {*_before(plan, body)[join]} - {step}
    return join if needed <= _ancestors(before, step, min(needed)) else None


def straight_run(plan: Plan, body: int, step: int, *, groups: int = GROUPS, steps: int = STEPS) -> list[list[int]]:
    """Return `step` and those that follow it one by one, neighbours on one queue in one group.

    Each of them runs once, has the next one as its only successor and is all that the next one waits for.
    The run ends after `groups` groups or `steps` steps, whichever comes first; it is [] for a fan-out.
    """
    table = topology(plan)[body]
    entry = table[step]
    if entry.over:
        return []
    result, count = [[step]], 1
    while count < steps:
        following = _only_successor(table, entry)
        if following is None:
            break
        queue, entry = entry.queue, table[following]
        if entry.queue == queue:
            result[-1].append(following)
        elif len(result) == groups:
            break
        else:
            result.append([following])
        count += 1
    return result


def _only_successor(table: Mapping[int, StepEntry], entry: StepEntry) -> int | None:
    if len(entry.successors) != 1 or entry.item_successors:
        return None
    following = entry.successors[0]
    other = table[following]
    return following if other.waits == 1 and not other.item_waits and not other.over else None


def _before(plan: Plan, body: int) -> list[list[int]]:
    key = f"before {body}"
    if key not in plan.memo:
        table = topology(plan)[body]
        before: list[list[int]] = [[] for _ in plan.bodies[body].steps]
        for index in range(len(before)):
            for following in (*table[index].successors, *table[index].item_successors):
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
