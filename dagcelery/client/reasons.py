"""Why a node waits: no worker for it, a limit, an attempt that is not due, or what it needs; what is worst comes first.

It is worked out from the topology, the counters and the workers' heartbeats; the store is not asked about pieces.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from dagcelery.client.activity import SPOTS
from dagcelery.engine.run_control import RunControl
from dagcelery.engine.run_view import RunView
from dagcelery.errors import BadSignature
from dagcelery.planner.plan import Plan
from dagcelery.planner.topology import needed
from dagcelery.store.fleet import live_consumers
from dagcelery.store.records import Progress, Refusal, Spot

Place = tuple[int, int]
"""A step of a body."""

Worker = Mapping[str, Any]
"""What a worker announces of itself."""

OVER = frozenset({"done", "skipped"})

_NAMED = 3

_MOMENT_SECONDS = 1.0


class Node(Protocol):
    """What is known of a node, as `status.NodeStatus` has it."""

    @property
    def name(self) -> str: ...
    @property
    def queue(self) -> str: ...
    @property
    def is_fan_out(self) -> bool: ...
    @property
    def state(self) -> str: ...
    @property
    def total(self) -> int | None: ...
    @property
    def waiting(self) -> int | None: ...
    @property
    def done(self) -> int: ...
    @property
    def running(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def retrying(self) -> int: ...
    @property
    def skipped(self) -> int: ...


class Reason(NamedTuple):
    """Why a node waits. It is stuck if no worker that lives can execute it."""

    why: str
    is_stuck: bool = False


Refusals = Mapping[tuple[str, Place | None], Mapping[str, tuple[int, str]]]
"""By queue, and place or None for a whole run, which workers refuse it: how many processes each has, what it lacks."""


@dataclass(frozen=True, slots=True)
class Blockers:
    """What decides whether waiting nodes may go on: nodes that they need, workers of a queue, limits, and retries.

    `strangers` are the workers of each queue that lack the signing key of this run, whose id is `key`; `refusals` are
    the other ones that lack something. `limits` has max_concurrent and the number of running pieces where a node is
    blocked by it, `due` when an attempt is due, and `attempts` the max_attempts of a node. `scopes` says how often each
    body was entered, and `inside` which bodies a node enters, those of graphs that it made among them.
    """

    whole: Mapping[Place, Sequence[Place]]
    by_item: Mapping[Place, Sequence[Place]]
    parents: Mapping[int, Place]
    slots: Mapping[str, int]
    strangers: Mapping[str, Sequence[Worker]] = field(default_factory=dict)
    key: str = ""
    refusals: Refusals = field(default_factory=dict)
    limits: Mapping[Place, tuple[int, int]] = field(default_factory=dict)
    due: Mapping[Place, float] = field(default_factory=dict)
    attempts: Mapping[Place, int] = field(default_factory=dict)
    scopes: Mapping[int, int] = field(default_factory=dict)
    inside: Mapping[Place, Sequence[int]] = field(default_factory=dict)
    stuck: dict[str, str] = field(default_factory=dict, init=False, compare=False)
    """What was found out of queues, for all places of which nothing is refused."""


def waits(node: Node) -> bool:
    """Whether something of a node is neither done nor being done."""
    if node.done == node.total:
        return False
    return bool(node.retrying or (waiting := node.waiting) is None or waiting > 0)


def reason(place: Place, nodes: Mapping[Place, Node], blockers: Blockers) -> Reason:
    """Return why a node waits of which something is neither done nor being done: what needs somebody comes first."""
    node = nodes[place]
    if stuck := _stuck(place, node.queue, blockers):
        ready = None if node.total == 1 else _ready(place, nodes, blockers)
        return Reason(f"{stuck} ({ready:,} ready)" if ready else stuck, is_stuck=True)
    if place in blockers.limits:
        most, running = blockers.limits[place]
        return Reason(f"max_concurrent={most} reached ({running} running)")
    needed = _needed(place, nodes, blockers)
    if node.retrying and (needed or not node.waiting):
        return Reason(f"next attempt is not due yet (max_attempts={blockers.attempts.get(place, 1)})")
    return Reason(f"needs {needed}" if needed else _ready_for(place, node.queue, blockers))


def _needed(place: Place, nodes: Mapping[Place, Node], blockers: Blockers) -> str:
    """Name what has to be done before more of a node may begin, or may end if all of it has begun; "" for nothing."""
    node, seen = nodes[place], _seen(nodes[place])
    missing = [nodes[other] for other in blockers.whole.get(place, ()) if nodes[other].state not in OVER]
    if missing and place[0] not in blockers.parents:
        return _named(missing)
    sources = [nodes[other] for other in blockers.by_item.get(place, ())]
    missing += [other for other in sources if other.state not in OVER and other.done + other.skipped <= seen]
    if missing and not _ready(place, nodes, blockers):
        return _named(missing)
    parent = blockers.parents.get(place[0])
    is_unknown = node.total is None if node.is_fan_out else blockers.scopes.get(place[0], 0) <= seen
    if parent is not None and is_unknown and not (blockers.whole.get(place) or sources):
        return f"{'items' if nodes[parent].is_fan_out else 'the condition'} of {nodes[parent].name}"
    bodies = blockers.inside.get(place, ())
    if bodies and node.total is not None and sum(blockers.scopes.get(body, 0) for body in bodies) >= node.total:
        within = [at for at in nodes if at[0] in bodies and nodes[at].state not in OVER]
        stuck = [at for at in within if _stuck(at, nodes[at].queue, blockers)]
        return _named([nodes[at] for at in stuck or within]) if within else ""
    return ""


def _seen(node: Node) -> int:
    return node.done + node.running + node.failed + node.retrying + node.skipped


def _ready(place: Place, nodes: Mapping[Place, Node], blockers: Blockers) -> int | None:
    """Return how many pieces of a node might be claimed now, None where the counters do not tell."""
    node, seen = nodes[place], _seen(nodes[place])
    before = [nodes[other] for other in blockers.whole.get(place, ())]
    sources = [nodes[other] for other in blockers.by_item.get(place, ())]
    is_open = all(other.state in OVER for other in before)
    if sources:
        arrived = sources[0].done + sources[0].skipped if len(sources) == 1 else None
    elif node.is_fan_out or (before and is_open):
        arrived = node.total
    elif len(before) == 1 and not before[0].is_fan_out and place[0] in blockers.parents:
        arrived, is_open = before[0].done + before[0].skipped, True  # in each item that one of them is done
    else:
        arrived = None if before else blockers.scopes.get(place[0], int(place[0] == 0))
    return max(0, arrived - seen) if is_open and arrived is not None else None


def _slots(place: Place, queue: str, blockers: Blockers) -> int:
    """Count the processes that can execute what is at a place."""
    return blockers.slots.get(queue, 0) - sum(count for count, _ in _refusing(place, queue, blockers).values())


def _refusing(place: Place, queue: str, blockers: Blockers) -> Mapping[str, tuple[int, str]]:
    return {**blockers.refusals.get((queue, None), {}), **blockers.refusals.get((queue, place), {})}


def _stuck(place: Place, queue: str, blockers: Blockers) -> str:
    """Say why no worker that lives can execute what is at a place, "" if one can."""
    if (queue, place) in blockers.refusals:
        return _found_stuck(place, queue, blockers)
    if queue not in blockers.stuck:
        blockers.stuck[queue] = _found_stuck(place, queue, blockers)
    return blockers.stuck[queue]


def _found_stuck(place: Place, queue: str, blockers: Blockers) -> str:
    if _slots(place, queue, blockers) > 0:
        return ""
    unfit = _unfit(place, queue, blockers)
    if not unfit:
        return f"no worker listens to queue {queue}"
    number = sum(count for count, _ in unfit)
    workers = f"{'the only worker' if number == 1 else f'all {number} workers'} of queue {queue}"
    if len(unfit) == 1:
        return f"{workers} {unfit[0][1]}"
    return f"{workers} refuse it: {'; '.join(f'{count} {what}' for count, what in unfit)}"


def _ready_for(place: Place, queue: str, blockers: Blockers) -> str:
    slots, unfit = _slots(place, queue, blockers), _unfit(place, queue, blockers)
    ready = f"ready for {'the only process' if slots == 1 else f'one of {slots} processes'} of queue {queue}"
    others = [f"{'another worker' if count == 1 else f'{count} other workers'} {what}" for count, what in unfit]
    return "; ".join([ready, *others])


def _unfit(place: Place, queue: str, blockers: Blockers) -> list[tuple[int, str]]:
    """Return how many workers of a queue cannot do what is at a place, by what they lack."""
    strangers = blockers.strangers.get(queue, ())
    unfit = [(len(strangers), of_other_keys(strangers, blockers.key, "this run"))] if strangers else []
    whys = Counter(why for _, why in _refusing(place, queue, blockers).values())
    return unfit + [(count, lacking(why, count)) for why, count in whys.items()]


_PLURALS = {"lacks": "lack", "has": "have", "reads": "read"}


def lacking(why: str, workers: int) -> str:
    """Return what so many workers lack: a worker says it of itself."""
    verb, _, rest = why.partition(" ")
    return f"{verb if workers == 1 else _PLURALS.get(verb, verb)} {rest}"


def holds(worker: Worker, key: str) -> bool:
    """Whether a worker can read what the key of this id sealed ("": none); one of an older version does not say."""
    keys = worker.get("keys")
    return keys is None or (key in keys if key else not keys)


def of_other_keys(workers: Sequence[Worker], key: str, whose: str) -> str:
    """Return the words that workers lack the key of something, or have one where it has none."""
    verb = "has" if len(workers) == 1 else "have"
    ids = sorted({"+".join(map(str, worker["keys"])) for worker in workers})
    if ids == [""]:
        return f"{verb} no signing key, and {whose} has one (id {key})"
    theirs = f"{verb} another signing key (id {' or '.join(each or 'none' for each in ids)})"
    return f"{theirs} than {whose} (id {key})" if key else f"{verb} a signing key, and {whose} has none"


def _named(nodes: Sequence[Node]) -> str:
    if len(nodes) == 1 and nodes[0].state != "failed":
        return nodes[0].name
    names = [f"{node.name} (failed)" if node.state == "failed" else node.name for node in nodes[:_NAMED]]
    more = [f"{len(nodes) - _NAMED} more"] if len(nodes) > _NAMED else []
    *first, last = [*names, *more]
    return f"{', '.join(first)} and {last}" if first else last


def no_room(control: RunControl, progress: Progress) -> str:
    """Say that nothing goes on because the store is full; "" if it is not, or something was claimed a moment ago."""
    if any(progress.now - spot.at < _MOMENT_SECONDS for spot in progress.outstanding.claimed):
        return ""
    used_up = control.store.fleet.used_up()
    if used_up is None:
        return ""
    used, most = (f"{size / 1e6:,.1f} MB" for size in used_up)
    return f"the store is full ({used} of {most} maxmemory): results wait for room"


def find_blockers(
    control: RunControl, view: RunView, progress: Progress, bodies: Iterable[int], waiting: Iterable[Place]
) -> Blockers:
    """Find out what decides whether these nodes of these bodies may go on."""
    parents: dict[int, Place] = {}
    inside: dict[Place, list[int]] = {}
    homes: dict[int, tuple[Plan, int]] = {}
    for body in sorted(bodies):
        homes[body] = plan, number = view.program.home(body) or (view.program.plan, body)
        for step, planned in enumerate(plan.bodies[number].steps):
            if planned.kind == "dag":
                parents.setdefault(body - number + planned.target, (body, step))
                inside[body, step] = [body - number + planned.target]
        if number == 0 and (maker := view.scope_of(body) if body else None):
            scope = view.scope(maker)
            inside.setdefault((view.scope(scope.parent).body, scope.step), []).append(body)
    whole: dict[Place, list[Place]] = {}
    by_item: dict[Place, list[Place]] = {}
    attempts: dict[Place, int] = {}
    for body, step in waiting:
        plan, number = homes[body]
        steps, items = needed(plan, number, step)
        if steps:
            whole[body, step] = [(body, other) for other in steps]
        if items:
            by_item[body, step] = [(body, other) for other in items]
        if retry := plan.bodies[number].steps[step].options.get("retry"):
            attempts[body, step] = retry["max_attempts"]
    outstanding = progress.outstanding
    due: dict[Place, float] = {}
    for place, at in _placed(view, outstanding.retrying):
        due[place] = min(at, due.get(place, at))
    quotas = {place: view.program.quota(*place) for place, _ in _placed(view, outstanding.blocked)}
    members = control.store.fleet.inside
    limits = {place: (quota[1], len(members(quota[0]))) for place, quota in quotas.items() if quota is not None}
    slots, strangers, refusals = _consumers(control, view, outstanding.refused)
    key, scopes = view.sealed_by, progress.scopes
    return Blockers(whole, by_item, parents, slots, strangers, key, refusals, limits, due, attempts, scopes, inside)


def _consumers(
    control: RunControl, view: RunView, refused: Iterable[Refusal]
) -> tuple[Mapping[str, int], Mapping[str, Sequence[Worker]], Refusals]:
    """Return by queue the processes of workers that hold the run's key, other workers, and what the first refuse."""
    said: dict[str, list[Refusal]] = defaultdict(list)
    for refusal in refused:
        said[refusal.worker].append(refusal)
    slots: Counter[str] = Counter()
    strangers: dict[str, list[Worker]] = defaultdict(list)
    refusals: dict[tuple[str, Place | None], dict[str, tuple[int, str]]] = defaultdict(dict)
    for queue, worker in live_consumers(control.store.fleet, control.settings.dead_seconds):
        if not holds(worker, view.sealed_by):
            strangers[queue].append(worker)
            continue
        slots[queue] += worker["slots"]
        for each in said.get(worker["id"], ()):
            place = None if each.body < 0 else (each.body, each.step)
            refusals[queue, place][each.worker] = worker["slots"], each.why
    return slots, strangers, refusals


def _placed(view: RunView, spots: Sequence[Spot]) -> Iterator[tuple[Place, float]]:
    """Yield where in the plan the first few spots are."""
    view.have_scopes(spot.scope for spot in spots[:SPOTS])
    for spot in spots[:SPOTS]:
        try:
            yield (view.scope(spot.scope).body, spot.step), spot.at
        except BadSignature:  # its scope was taken back meanwhile
            continue
