"""How far a run is: its state, how far each node is, and why a node waits.

The status is the tree of `tree.py`, flattened: each node once, with the numbers of all its items. It reads the store's
counters instead of the items, so it costs what the DAG is made of. `state_of` is the only rule for a node's state.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from dagcelery.client.places import RunningPiece, running_pieces
from dagcelery.engine.run_control import RunControl
from dagcelery.engine.run_view import RunView, prefixes
from dagcelery.errors import BadSignature, RunNotFound
from dagcelery.planner.plan import Plan, Step
from dagcelery.planner.topology import topology
from dagcelery.store.fleet import live_consumers
from dagcelery.store.records import ROOT, Counts, Progress, Refusal, RunRecord, RunState, Spot


def state_of(total: int, done: int, skipped: int, *, running: int, retrying: int, failed: int, is_begun: bool) -> str:
    """Return one word for a node with `total` pieces, -1 if that is not known yet.

    It is skipped if it stands in branches, and none of those that have been decided was taken.
    """
    if skipped and skipped == total and not is_begun:
        return "skipped"
    for word, number in (("failed", failed), ("retrying", retrying), ("running", running)):
        if number:
            return word
    if not is_begun:
        return "waiting"
    return "done" if done + skipped >= total else "running" if done + skipped else "waiting"


@dataclass(frozen=True, slots=True, repr=False)
class NodeStatus:
    """How far a node is. `total` counts its pieces: 1, a fan-out's items once they are known (else 0), and of a node in
    a mapped DAG (``train[*]/fit``) those of all scopes that were opened. A node that a running task called has the
    address of that task's piece in front (``crawl/fetch-3``). `retrying` have failed and wait for their next attempt,
    `skipped` are left out: they failed where that is allowed, or stand in a branch that was not taken. Of those done,
    `cached` were not called: the results of earlier calls were taken. Times are seconds since the epoch, 0: not yet.

    `why` says why a node waits: ``no worker listens to queue gpu``, ``max_concurrent=3 reached (3 running)``; "" where
    nothing waits.
    `due` is when the next attempt of one that failed is due, 0: none is. `pieces` are the first few that are being
    executed now, oldest first.
    """

    name: str
    queue: str
    is_fan_out: bool
    total: int
    done: int
    running: int
    failed: int
    started: float
    ended: float
    retrying: int = 0
    skipped: int = 0
    why: str = ""
    due: float = 0.0
    cached: int = 0
    pieces: tuple[RunningPiece, ...] = ()

    @property
    def waiting(self) -> int:
        """How many pieces have not been started."""
        return max(0, self.total - self.done - self.running - self.failed - self.retrying - self.skipped)

    @property
    def state(self) -> str:
        """One word for the node: failed, retrying, running, skipped, done or waiting; see `state_of`."""
        others = {"running": self.running, "retrying": self.retrying, "failed": self.failed}
        return state_of(self.total, self.done, self.skipped, **others, is_begun=bool(self.started))

    def __str__(self) -> str:
        return "  ".join(filter(None, (self.name, counts_text(self), self.state, last_word(self))))

    def __repr__(self) -> str:
        return f"<NodeStatus {' '.join(filter(None, (self.name, counts_text(self), self.state)))}>"


@dataclass(frozen=True, slots=True, repr=False)
class RunStatus:
    """A run at one moment. `failed` is the address of the node that failed it, `reason` what else ended it.

    `key` is that of `submit(..., key=)`, and `params` are the parameters as texts of one line, shortened and with
    secrets masked; `Run.params` has the values. `why` says why none of it may start yet, `deadline` when it will be
    ended if it is not over by then (0: never), and `epoch` counts how often it was begun: 1, and one more for each
    `resume`.
    """

    id: str
    name: str
    state: RunState
    created: float
    started: float
    ended: float
    failed: str
    reason: str
    nodes: tuple[NodeStatus, ...]
    why: str = ""
    deadline: float = 0.0
    epoch: int = 1
    key: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON-able data, with each node's derived numbers."""
        nodes = [asdict(node) | {"waiting": node.waiting, "state": node.state} for node in self.nodes]
        return asdict(self) | {"state": str(self.state), "nodes": nodes}

    def __str__(self) -> str:
        first = f"{self.name} {self.id} {self.state}"
        if words := self.failed or self.reason or self.why:
            first += f": {words}"
        rows = [(node.name, counts_text(node), node.state, last_word(node)) for node in self.nodes]
        widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
        lines = ["  ".join((*map(str.ljust, row, widths), row[3])).rstrip() for row in rows]
        return "\n".join([first, *(f"  {line}" for line in lines)])

    def __repr__(self) -> str:
        over = sum(node.state in _OVER for node in self.nodes)
        return f"<RunStatus {self.name} {self.id} {self.state}, {over} of {len(self.nodes)} nodes done>"


Place = tuple[int, int]
"""A step of a body."""

_SPOTS = 200
"""How many pieces of a kind are looked up in a run; others are only counted."""


@dataclass(slots=True)
class Activity:
    """What goes on at a step of a scope: how many of its pieces, and in which of its items."""

    running: int = 0
    retrying: int = 0
    failed: int = 0
    items: dict[int, str] = field(default_factory=dict)


def activities(view: RunView, **spots: Sequence[Spot]) -> Mapping[tuple[str, int], Activity]:
    """Return what goes on by scope and step, from the spots that are running, retrying or failed, the last word last.

    An item in which something goes on has its word too, up to the root.
    """
    by_step: dict[tuple[str, int], Activity] = defaultdict(Activity)
    for word, several in spots.items():
        for spot in several[:_SPOTS]:
            activity = by_step[spot.scope, spot.step]
            setattr(activity, word, getattr(activity, word) + max(1, spot.hi - spot.lo))
            try:
                scope = view.scope(spot.scope)
                while scope.id != ROOT:
                    around = view.scope(scope.parent)
                    by_step[around.id, scope.step].items[scope.index] = word
                    scope = around
            except BadSignature:  # it was taken back meanwhile
                continue
    return by_step


def _troubled_items(control: RunControl, view: RunView, progress: Progress) -> Mapping[Place, Counter[str]]:
    """Return how many items of mapped DAGs, and of pieces that made a graph, are retrying and failed."""
    items: dict[Place, Counter[str]] = defaultdict(Counter)
    if any(counts.failed or counts.retrying for (body, _), counts in progress.counts.items() if body):
        spots = control.store.reader.outstanding(view.run_id)
        for (scope, step), activity in activities(view, retrying=spots.retrying, failed=spots.failed).items():
            if activity.items:
                items[view.scope(scope).body, step].update(activity.items.values())
    return items


def run_status(control: RunControl, run_id: str) -> RunStatus:
    """Return how far every node is, in O(nodes).

    Raises RunNotFound.
    """
    progress = control.store.reader.progress(run_id)
    if progress is None:
        raise RunNotFound(run_id)
    view, record = control.view(run_id), progress.record
    view.look(record.epoch)
    nodes: dict[Place, NodeStatus] = {}
    troubled = _troubled_items(control, view, progress)
    pieces: dict[Place, tuple[RunningPiece, ...]] = defaultdict(tuple)
    for (scope, index), running in running_pieces(view, progress.claimed).items():
        if running:
            pieces[view.scope(scope).body, index] += running
    for number, prefix, skips in _all_prefixes(view, progress):
        for index, step in enumerate(view.program.body(number).steps):
            unstarted = 0 if step.over is not None else progress.scopes.get(number, 0)
            counts = progress.counts.get((number, index), Counts(total=unstarted))
            if items := troubled.get((number, index)):
                counts = _with_items(counts, items)
            is_entered = bool(progress.scopes.get(number))
            node = _node_status(prefix, step, counts, skips, is_entered=is_entered)
            nodes[number, index] = replace(node, pieces=pieces[number, index]) if pieces[number, index] else node
    return RunStatus(
        record.id,
        record.name,
        RunState(record.state),
        record.created,
        record.started,
        record.ended,
        view.piece_address(record.failed) if record.failed else "",
        "" if record.failed else record.reason,
        tuple(_explained(control, view, record, nodes)),
        why="" if record.is_over else _held(control, view, record.held),
        deadline=record.deadline,
        epoch=record.epoch,
        key=record.key,
        params=record.shown,
    )


def _with_items(counts: Counts, items: Counter[str]) -> Counts:
    """Count items that were entered, and are running as far as the store knows, by what goes on in them."""
    retrying, failed = items["retrying"], items["failed"]
    running = max(0, counts.running - retrying - failed)
    return replace(counts, running=running, retrying=counts.retrying + retrying, failed=counts.failed + failed)


def _held(control: RunControl, view: RunView, held: str) -> str:
    """Return why a run that is held may not start yet."""
    if held == "key":
        return "the process that submitted it with key= has not started it yet"
    if not held or (quota := view.program.run_quota) is None:
        return ""
    limit, most = quota
    return f"max_active_runs={most} reached ({len(control.store.fleet.inside(limit))} active)"


def _node_status(prefix: str, step: Step, counts: Counts, skips: int, *, is_entered: bool) -> NodeStatus:
    """Return how far a node is; `skips` is how often a branch that it stands in was not taken."""
    is_branch = "branch" in step.options
    if step.over is not None and is_entered and not (counts.total or counts.skipped or counts.started):
        skips = 0  # its items are not known yet, or its condition is not decided: it is not skipped
    # Closing a branch that was not taken has a time too, but begins nothing.
    is_untouched = is_branch and not (counts.done or counts.running or counts.retrying or counts.failed)
    return NodeStatus(
        prefix + step.name,
        step.queue,
        step.over is not None and not is_branch,
        counts.total + skips + (counts.skipped if is_branch else 0),
        counts.done,
        counts.running,
        counts.failed,
        0.0 if is_untouched else counts.started,
        0.0 if is_untouched else counts.ended,
        counts.retrying,
        counts.skipped + skips,
        cached=counts.cached,
    )


def _all_prefixes(view: RunView, progress: Progress) -> Iterator[tuple[int, str, int]]:
    """Yield each body with the prefix of its nodes' names, and with how often it was left out with its branch.

    Plans that were made while the run went on come last.
    """
    skips = _skips(view.program.plan, progress, 0)
    yield from ((number, prefix, skips[number]) for number, prefix in sorted(prefixes(view.program.plan).items()))
    bodies = sorted(body for body in progress.scopes if not view.is_planned(body))
    for first, scope in view.scopes_of(bodies):
        home = view.program.home(first)
        if home is None:
            continue
        path, skips = view.path(view.scope(scope)), _skips(home[0], progress, first)
        for number, prefix in sorted(prefixes(home[0]).items()):
            yield first + number, path + prefix, skips[number]


def _skips(plan: Plan, progress: Progress, first: int) -> dict[int, int]:
    """Return how often each body of a plan was left out with its branch; its `first` one has that number in the run."""
    skips = {0: 0}
    for number, body in enumerate(plan.bodies):  # a body has a greater number than the one around it
        for index, step in enumerate(body.steps):
            if step.kind == "dag":
                counts = progress.counts.get((first + number, index), Counts())
                skips[step.target] = skips[number] + ("branch" in step.options and counts.skipped)
    return skips


# -- why a node waits ----------------------------------------------------------------------------
Worker = Mapping[str, Any]
"""What a worker announces of itself."""

_NAMED = 3

_OVER = frozenset({"done", "skipped"})


Refusals = Mapping[tuple[str, Place | None], Mapping[str, tuple[int, str]]]
"""By queue, and place or None for a whole run, which workers refuse it: how many processes each has, what it lacks."""


@dataclass(frozen=True, slots=True)
class Blockers:
    """What decides whether a node may go on: nodes that it needs, workers of its queue, limits, and retries.

    `strangers` are the workers of each queue that lack the signing key of this run, whose id is `key`; `refusals` are
    the other ones that lack something. `limits` has max_concurrent and the number of running pieces where a node is
    blocked by it, `due` when an attempt is due, and `attempts` the max_attempts of a node.
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


def _explained(
    control: RunControl, view: RunView, record: RunRecord, nodes: Mapping[Place, NodeStatus]
) -> Iterator[NodeStatus]:
    """Yield the nodes with the reason why each of them waits; a run that is over waits for nothing."""
    if record.is_over or record.held or not any(_waits(node) for node in nodes.values()):
        yield from nodes.values()
        return
    blockers = _blockers(control, view, nodes)
    for place, node in nodes.items():
        why = reason(place, nodes, blockers) if _waits(node) else ""
        yield replace(node, why=why, due=blockers.due.get(place, 0.0))


def reason(place: Place, nodes: Mapping[Place, NodeStatus], blockers: Blockers) -> str:
    """Return why a node waits of which something is neither done nor being done."""
    node = nodes[place]
    missing = [nodes[other] for other in blockers.whole.get(place, ()) if nodes[other].state not in _OVER]
    seen = node.done + node.running + node.failed + node.retrying + node.skipped
    sources = [nodes[other] for other in blockers.by_item.get(place, ())]
    missing += [other for other in sources if other.state not in _OVER and other.done + other.skipped <= seen]
    if missing:
        return f"needs {_named(missing)}"
    if not node.total and place[0] in blockers.parents:
        parent = nodes[blockers.parents[place[0]]]
        return f"needs {'items' if parent.is_fan_out else 'the condition'} of {parent.name}"
    if node.retrying and not node.waiting:
        return f"next attempt is not due yet (max_attempts={blockers.attempts.get(place, 1)})"
    if place in blockers.limits:
        most, running = blockers.limits[place]
        return f"max_concurrent={most} reached ({running} running)"
    return _of_queue(place, node.queue, blockers)


def _of_queue(place: Place, queue: str, blockers: Blockers) -> str:
    unfit = _unfit(place, queue, blockers)
    refusing = _refusing(place, queue, blockers)
    slots = blockers.slots.get(queue, 0) - sum(count for count, _ in refusing.values())
    if slots <= 0 and not unfit:
        return f"no worker listens to queue {queue}"
    if slots <= 0:
        number = sum(count for count, _ in unfit)
        workers = f"{'the only worker' if number == 1 else f'all {number} workers'} of queue {queue}"
        if len(unfit) == 1:
            return f"{workers} {unfit[0][1]}"
        return f"{workers} refuse it: {'; '.join(f'{count} {what}' for count, what in unfit)}"
    ready = f"ready for {'the only process' if slots == 1 else f'one of {slots} processes'} of queue {queue}"
    others = [f"{'another worker' if count == 1 else f'{count} other workers'} {what}" for count, what in unfit]
    return "; ".join([ready, *others])


def _unfit(place: Place, queue: str, blockers: Blockers) -> list[tuple[int, str]]:
    """Return how many workers of a queue cannot do what is at a place, by what they lack."""
    strangers = blockers.strangers.get(queue, ())
    unfit = [(len(strangers), of_other_keys(strangers, blockers.key, "this run"))] if strangers else []
    whys = Counter(why for _, why in _refusing(place, queue, blockers).values())
    return unfit + [(count, lacking(why, count)) for why, count in whys.items()]


def _refusing(place: Place, queue: str, blockers: Blockers) -> Mapping[str, tuple[int, str]]:
    return {**blockers.refusals.get((queue, None), {}), **blockers.refusals.get((queue, place), {})}


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


def _waits(node: NodeStatus) -> bool:
    return bool(node.waiting or node.retrying or (node.state == "waiting" and not node.total))


def _named(nodes: Sequence[NodeStatus]) -> str:
    names = [f"{node.name} (failed)" if node.state == "failed" else node.name for node in nodes[:_NAMED]]
    more = [f"{len(nodes) - _NAMED} more"] if len(nodes) > _NAMED else []
    *first, last = [*names, *more]
    return f"{', '.join(first)} and {last}" if first else last


def _blockers(control: RunControl, view: RunView, nodes: Iterable[Place]) -> Blockers:
    whole: dict[Place, list[Place]] = {}
    by_item: dict[Place, list[Place]] = {}
    parents: dict[int, Place] = {}
    attempts: dict[Place, int] = {}
    for body in sorted({body for body, _ in nodes}):
        plan, number = view.program.home(body) or (view.program.plan, body)
        for step, entry in topology(plan)[number].items():
            if step < 0:  # START and CLOSE
                continue
            place = (body, step)
            for successor in entry.successors:
                whole.setdefault((body, successor), []).append(place)
            for successor in entry.item_successors:
                by_item.setdefault((body, successor), []).append(place)
            if entry.body > 0:
                parents.setdefault(body - number + entry.body, place)
            if entry.retry:
                attempts[place] = entry.retry["max_attempts"]
    outstanding = control.store.reader.outstanding(view.run_id)
    due: dict[Place, float] = {}
    for place, at in _placed(view, outstanding.retrying):
        due[place] = min(at, due.get(place, at))
    quotas = {place: view.program.quota(*place) for place, _ in _placed(view, outstanding.blocked)}
    inside = control.store.fleet.inside
    limits = {place: (quota[1], len(inside(quota[0]))) for place, quota in quotas.items() if quota is not None}
    slots, strangers, refusals = _consumers(control, view, outstanding.refused)
    return Blockers(whole, by_item, parents, slots, strangers, view.sealed_by, refusals, limits, due, attempts)


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


def _placed(view: RunView, spots: Iterable[Spot]) -> Iterator[tuple[Place, float]]:
    """Yield where in the plan the first few spots are."""
    for _, spot in zip(range(_SPOTS), spots, strict=False):
        try:
            yield (view.scope(spot.scope).body, spot.step), spot.at
        except BadSignature:  # its scope was taken back meanwhile
            continue


# -- as text -------------------------------------------------------------------------------------
_WORDS = ("running", "retrying", "cached", "skipped", "failed")


def counts_text(node: NodeStatus) -> str:
    """Return how many pieces of a node are done, and how many are elsewhere: ``3/10 1 running``."""
    if not node.is_fan_out and node.total <= 1:
        return "cached" if node.cached else ""
    total = f"{node.total:,}" if node.total or node.state == "done" else "?"
    others = [f"{number:,} {word}" for word in _WORDS if (number := getattr(node, word))]
    return " ".join([f"{node.done:,}/{total}", *others])


def last_word(node: NodeStatus) -> str:
    """Return why a node waits, what of it runs where, or how long it took from its first start to its last end."""
    if node.why:
        return node.why
    if node.pieces:
        first, others = node.pieces[0], len(node.pieces) - 1
        since = time.strftime("%H:%M:%SZ", time.gmtime(first.started))
        more = f", and {others} more" if others else ""
        return f"{first.address} on {first.worker} since {since}{more}"
    return f"{node.ended - node.started:.2f} s" if node.started and node.ended > node.started else ""
