"""The topology is what the store needs of a plan to say which steps may start: counts, successors, queues.

`store.records.StepEntry` says what each entry means.

Two shapes in a plan can be sent as Celery canvas: fan-outs with one join, and straight runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from dagcelery import collector
from dagcelery.planner.plan import Body, Expr, Plan, Step, is_time_limit_retried, level, step_of, tokens
from dagcelery.store.records import CLOSE, START, StepEntry, Topology

MOST_INPUTS, MOST_SUCCESSORS, MOST_NEEDED = 16, 16, 16
"""Values that travel with a claim; successors of a step that comes in a batch with others; how many steps one may need
to be executed right behind them."""

_ALONE: Final = frozenset({"tainted", "timeout", "start_within", "max_concurrent"})
"""Options of a step that is never claimed in a batch: others shall not wait for it, nor it for others."""


def topology(plan: Plan) -> Topology:
    """Return the topology of `plan`, worked out once and shared, so that it must not be changed."""
    if "topology" not in plan.memo:
        with collector.paused():
            plan.memo["topology"] = _topology(plan)
    return cast(Topology, plan.memo["topology"])


@dataclass(slots=True)
class _Needs:
    """What a step needs: whole steps, items of fan-outs, and, with one ``^`` less, outer tokens; `read` are steps.

    `inputs` are the tokens that it reads whole, `item_inputs` those that it reads by item, in their order.
    """

    steps: set[int] = field(default_factory=set)
    items: set[int] = field(default_factory=set)
    outer: set[str] = field(default_factory=set)
    read: set[int] = field(default_factory=set)
    inputs: dict[str, None] = field(default_factory=dict)
    item_inputs: dict[str, None] = field(default_factory=dict)

    def add(self, token: str, step: int | None) -> None:
        if step is not None:
            self.steps.add(step)
        elif token[0] == "^":
            self.outer.add(token[1:])

    def note_read(self, token: str) -> int | None:
        """Note and return the step of a token, if it is one of this scope."""
        step = step_of(token)
        if step is not None:
            self.read.add(step)
        return step


def needed(plan: Plan, number: int, step: int) -> tuple[Sequence[int], Sequence[int]]:
    """Return which steps of a body a step waits for, and for the items of which ones; cheaper than the topology."""
    known = plan.memo.setdefault("needed", {})
    if (number, step) not in known:
        body = plan.bodies[number]
        needs = _needs(body.steps[step], body, _outer(plan))
        known[number, step] = sorted(needs.steps), sorted(needs.items)
    return cast("tuple[Sequence[int], Sequence[int]]", known[number, step])


def _outer(plan: Plan) -> dict[int, set[str]]:
    """Return which tokens of the bodies around it each nested body reads, with one ``^`` less."""
    if "outer" not in plan.memo:
        outer = dict[int, set[str]]()
        for number in reversed(range(1, len(plan.bodies))):  # a body has a greater number than the one around it
            body = plan.bodies[number]
            outer[number] = _handed_up(body).union(*(_needs(step, body, outer).outer for step in body.steps))
        plan.memo["outer"] = outer
    return cast("dict[int, set[str]]", plan.memo["outer"])


def _handed_up(body: Body) -> set[str]:
    return {token[1:] for expr in _results(body) for token, _ in tokens(expr) if token[0] == "^"}


def _topology(plan: Plan) -> Topology:
    around = {
        step.target: number for number, body in enumerate(plan.bodies) for step in body.steps if step.kind == "dag"
    }
    return [
        _table(plan, number, [_needs(step, body, _outer(plan)) for step in body.steps], around)
        for number, body in enumerate(plan.bodies)
    ]


def _needs(step: Step, body: Body, outer: dict[int, set[str]]) -> _Needs:
    needs = _Needs(steps=set(step.after))
    for _, expr in step.arguments:
        for token, reading in tokens(expr):
            source = step_of(token) if reading == "over" else needs.note_read(token)  # lengths of lists are kept anyway
            if reading == "whole":
                needs.inputs[token] = None
            elif reading == "each":
                needs.item_inputs[token] = None
            if source is None or reading != "each":
                needs.add(token, source)
            elif body.steps[source].over is not None:
                needs.items.add(source)
    if step.kind == "dag":
        for token in outer[step.target]:
            needs.add(token, needs.note_read(token))
    # A step that needs items of a fan-out, and nothing else, learns with the first of them that the list which the
    # fan-out counts is there; one that needs other steps too might be opened by those before there is a list.
    if step.over is not None and (not needs.items or needs.steps or step.over[0] == "^"):
        needs.add(step.over, step_of(step.over))
    return needs


def _table(plan: Plan, number: int, needs: list[_Needs], around: dict[int, int]) -> Mapping[int, StepEntry]:
    body = plan.bodies[number]
    after: list[list[int]] = [[] for _ in body.steps]
    items_after: list[list[int]] = [[] for _ in body.steps]
    for index, each in enumerate(needs):
        for source in each.steps:
            after[source].append(index)
        for source in each.items:
            items_after[source].append(index)
    readers = _keeps_outputs(plan) and number == 0
    returned = _returned(body) if readers else ()
    alike = {_kind(step): step for step in body.steps}
    policies = {kind: _policies(step, plan) for kind, step in alike.items()}
    table = {
        index: StepEntry(
            queue=step.queue,
            body=step.target if step.kind == "dag" else -1,
            over=step.over or "",
            waits=len(needs[index].steps),
            item_waits=len(needs[index].items),
            successors=after[index],
            item_successors=items_after[index],
            inputs=_plain(needs[index].inputs, plan, number, around),
            item_inputs=list(needs[index].item_inputs),
            reads=sorted(needs[index].read) if readers else (),
            is_returned=index in returned,
            **policies[_kind(step)],
        )
        for index, step in enumerate(body.steps)
    }
    first = [index for index, each in enumerate(needs) if not each.steps and not each.items]
    table[START] = StepEntry(body.queue_open, successors=first, **(_of_run(plan) if number == 0 else {}))
    given_back = [token for expr in _results(body) for token, reading in tokens(expr) if reading == "whole"]
    table[CLOSE] = StepEntry(body.queue_close, inputs=_plain(dict.fromkeys(given_back), plan, number, around))
    return table


def _kind(step: Step) -> tuple[object, ...]:
    """Return what the policies of a step depend on; many steps have the very same options."""
    return step.kind, step.over is None, step.target, id(step.options)


def _policies(step: Step, plan: Plan) -> dict[str, Any]:
    options = step.options
    policies: dict[str, Any] = {
        "hard_limit": options.get("timeout", {}).get("hard"),
        "start_within": options.get("start_within"),
        "min_success": options.get("min_success"),
        "is_branch": "branch" in options,
        "awaits": "awaits" in options,
    }
    if step.kind == "task" and step.over is None:
        policies["function"] = plan.functions[step.target].short_name
        policies["is_alone"] = not _ALONE.isdisjoint(options)
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


def _plain(read: Iterable[str], plan: Plan, number: int, around: dict[int, int]) -> list[str]:
    """Return those of some tokens that are values of steps that run once, or parameters; none if they are many."""
    inputs: list[str] = []
    for token in read:
        if _is_plain(token, plan, number, around):
            inputs.append(token)
            if len(inputs) > MOST_INPUTS:
                return []
    return inputs


def _is_plain(token: str, plan: Plan, number: int, around: dict[int, int]) -> bool:
    levels, name = level(token)
    for _ in range(levels):
        number = around[number]
    step = step_of(name)
    return step is None or plan.bodies[number].steps[step].over is None


def join_of(plan: Plan, body: int, step: int) -> int | None:
    """Return the step that starts as soon as the fan-out `step` is complete; None if none does.

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


def straight_run(plan: Plan, body: int, step: int, *, groups: int, steps: int) -> list[list[int]]:
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


@dataclass(frozen=True, slots=True)
class Follower:
    """A step that may be executed right behind those that it needs, with the values that it reads: `tokens`."""

    step: int
    needs: frozenset[int]
    tokens: tuple[str, ...]
    is_only: bool
    """Whether it needs one step only, and is the only one to wait for that."""


def followers(plan: Plan, number: int, step: int) -> Sequence[Follower]:
    """Return the steps that may be executed right behind this one, and others that they need.

    They are on the same queue, wait for nothing but steps that run once, and read nothing but whole values.
    """
    known = cast("dict[int, Sequence[Follower]]", plan.memo.setdefault(f"followers {number}", {}))
    if step not in known:
        table = topology(plan)[number]
        entry, others = table[step], list[int]()
        if not (entry.over or entry.item_successors or len(entry.successors) > MOST_SUCCESSORS):
            others = [other for other in entry.successors if table[other].queue == entry.queue]
        known[step] = [found for other in others if (found := _follower(plan, number, other)) is not None]
    return known[step]


def _follower(plan: Plan, number: int, step: int) -> Follower | None:
    known = cast("dict[int, Follower | None]", plan.memo.setdefault(f"follower {number}", {}))
    if step not in known:
        known[step] = _as_follower(plan, number, step)
    return known[step]


def _as_follower(plan: Plan, number: int, step: int) -> Follower | None:
    table = topology(plan)[number]
    entry = table[step]
    if not entry.function or entry.is_alone or entry.over or entry.item_waits:
        return None
    if len(entry.successors) > MOST_SUCCESSORS or entry.waits > MOST_NEEDED:
        return None
    read = [pair for _, expr in plan.bodies[number].steps[step].arguments for pair in tokens(expr)]
    here = [token for token, _ in read if token[0] != "^"]
    if any(reading != "whole" for _, reading in read) or not all(_is_plain(each, plan, number, {}) for each in here):
        return None
    needs = frozenset(needed(plan, number, step)[0])
    is_only = len(needs) == 1 and len(table[min(needs)].successors) == 1
    return Follower(step, needs, tuple(dict.fromkeys(token for token, _ in read)), is_only)


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
    return cast("list[list[int]]", plan.memo[key])


def _ancestors(before: list[list[int]], step: int, least: int) -> set[int]:
    # Steps stand in topological order, so that below `least` there is nothing to find.
    ancestors: set[int] = set()
    waiting = [step]
    while waiting:
        for other in before[waiting.pop()]:
            if other >= least and other not in ancestors:
                ancestors.add(other)
                waiting.append(other)
    return ancestors
