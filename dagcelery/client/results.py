"""What a run looks like from outside: its state, how far each node is, and what it gave back.

Whoever waits for its end notices its deadline: perhaps no worker is there to. Why a node waits is told in a few words:
for other nodes, for a worker of its queue, for its next attempt.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from dagcelery.engine.hooks import Listener
from dagcelery.engine.reading import Reader
from dagcelery.engine.run_view import RunView
from dagcelery.engine.worker_loop import Engine
from dagcelery.errors import BadSignature, NodeFailed, ResultTimeout, RunCancelled, RunNotFound, RunTimedOut
from dagcelery.payload import addresses, failures, values
from dagcelery.planner.plan import Plan, Step
from dagcelery.planner.topology import topology
from dagcelery.store.fleet import live_consumers
from dagcelery.store.protocol import Store
from dagcelery.store.records import (
    HOOK,
    ROOT,
    TERMINAL,
    Claim,
    Counts,
    Lost,
    Progress,
    Response,
    RunRecord,
    Scope,
    Spot,
    TaskResult,
)

GLANCE_SECONDS = 5.0
"""How long nobody looks whether a deadline has passed."""


class Patience:
    """How long to wait for a run, glance by glance; `seconds` until the next one."""

    def __init__(self, engine: Engine, run_id: str, timeout: float | None) -> None:
        self._engine = engine
        self._run_id = run_id
        self._until = time.monotonic() + (threading.TIMEOUT_MAX if timeout is None else timeout)
        self.seconds = 0.0
        self._take()

    def _take(self) -> float:
        left = self._until - time.monotonic()
        self.seconds = max(0.0, min(left, GLANCE_SECONDS))
        return left

    def is_exhausted(self, state: str) -> bool:
        """Whether to wait no longer for a run in this state. Raises RunNotFound."""
        if state == "gone":
            raise RunNotFound(self._run_id)
        if state in TERMINAL or self._take() <= 0:
            return True
        notice_deadline(self._engine, self._run_id)
        return False


def notice_deadline(engine: Engine, run_id: str) -> None:
    """End a run that is past its deadline."""
    record = engine.store.reader.record(run_id)
    if record is not None and record.deadline and not record.is_over:
        swept = engine.store.machine.sweep(run_id, Lost(), engine.settings.dead_seconds, engine.settings.max_deaths)
        if swept.lasted is not None:
            engine.tell_end(run_id, swept.run, swept.lasted)


def wait_for_end(engine: Engine, run_id: str, timeout: float | None) -> str:
    """Wait up to `timeout` seconds (None: for ever) until a run is over; its state then. Raises RunNotFound."""
    patience = Patience(engine, run_id, timeout)
    with engine.store.reader.listening(run_id) as listen:
        while not patience.is_exhausted(state := listen(patience.seconds)):
            pass
    return state


async def await_end(engine: Engine, run_id: str, timeout: float | None) -> str:
    """`wait` without blocking the event loop; while it waits it takes no thread."""
    patience = Patience(engine, run_id, timeout)
    async with engine.store.reader.alistening(run_id) as listen:
        while not await asyncio.to_thread(patience.is_exhausted, state := await listen(patience.seconds)):
            pass
    return state


Place = tuple[int, int]
"""A step of a body."""

Worker = Mapping[str, Any]
"""What a worker announces of itself."""

HELD = {
    "limit": "as many runs of this DAG are active as max_active_runs allows",
    "key": "its submitter has not let it start yet",
}

_NAMED = 3

_OVER = frozenset({"done", "skipped"})

_SPOTS = 100


@dataclass(frozen=True, slots=True)
class Blockers:
    """What decides whether a node may go on: what it waits for, who serves which queue, what is parked or due.

    `strangers` are the workers of each queue that lack the signing key of this run, whose id is `key`.
    """

    whole: Mapping[Place, Sequence[Place]]
    by_item: Mapping[Place, Sequence[Place]]
    parents: Mapping[int, Place]
    slots: Mapping[str, int]
    strangers: Mapping[str, Sequence[Worker]] = field(default_factory=dict)
    key: str = ""
    parked: frozenset[Place] = frozenset()
    due: Mapping[Place, float] = field(default_factory=dict)


def explained(
    engine: Engine, view: RunView, record: RunRecord, nodes: Mapping[Place, NodeStatus]
) -> Iterator[NodeStatus]:
    """The nodes with the reason why each of them waits; a run that is over waits for nothing."""
    if record.is_over or record.held or not any(_waits(node) for node in nodes.values()):
        yield from nodes.values()
        return
    blockers = _blockers(engine, view, nodes)
    for place, node in nodes.items():
        why = reason(place, nodes, blockers) if _waits(node) else ""
        yield replace(node, why=why, due=blockers.due.get(place, 0.0))


def reason(place: Place, nodes: Mapping[Place, NodeStatus], blockers: Blockers) -> str:
    """Why a node waits of which something is neither done nor being done."""
    node = nodes[place]
    missing = [nodes[other] for other in blockers.whole.get(place, ()) if nodes[other].state not in _OVER]
    seen = node.done + node.running + node.failed + node.retrying + node.skipped
    sources = [nodes[other] for other in blockers.by_item.get(place, ())]
    missing += [other for other in sources if other.state not in _OVER and other.done + other.skipped <= seen]
    if missing:
        return f"waits for {_named(missing)}"
    if not node.total and place[0] in blockers.parents:
        parent = nodes[blockers.parents[place[0]]]
        return f"waits for {'items of' if parent.is_fan_out else 'the choice of'} {parent.name}"
    if node.retrying and not node.waiting:
        return "waits for its next attempt"
    if place in blockers.parked:
        return "as many of its pieces are executed as may be at once"
    state = _of_queue(blockers.slots.get(node.queue, 0), blockers.strangers.get(node.queue, ()), blockers.key)
    return f"queue {node.queue}: {state}"


def _of_queue(slots: int, strangers: Sequence[Worker], key: str) -> str:
    """What is waited for on a queue; `strangers` are its workers that cannot read what this key sealed."""
    if not slots and not strangers:
        return "no live worker consumes it"
    if not slots:
        who = "the one worker that consumes it" if len(strangers) == 1 else f"all {len(strangers)} workers of it"
        return f"{who} {of_other_keys(strangers, key, 'this run')}"
    waits = f"waits for {'the one process' if slots == 1 else f'one of {slots} processes'} of it"
    if not strangers:
        return waits
    who = "another worker" if len(strangers) == 1 else f"{len(strangers)} other workers"
    return f"{waits}; {who} of it {of_other_keys(strangers, key, 'this run')}"


def holds(worker: Worker, key: str) -> bool:
    """Whether a worker can read what the key of this id sealed ("": none); one of an older version does not say."""
    keys = worker.get("keys")
    return keys is None or (key in keys if key else not keys)


def of_other_keys(workers: Sequence[Worker], key: str, whose: str) -> str:
    """Say that workers lack the key of something, or have one where it has none."""
    verb = "has" if len(workers) == 1 else "have"
    found = sorted({"+".join(map(str, worker["keys"])) for worker in workers})
    if found == [""]:
        return f"{verb} no signing key, and {whose} has one (id {key})"
    theirs = f"{verb} another signing key (id {' or '.join(each or 'none' for each in found)})"
    return f"{theirs} than {whose} (id {key})" if key else f"{verb} a signing key, and {whose} has none"


def _waits(node: NodeStatus) -> bool:
    return bool(node.waiting or node.retrying or (node.state == "waiting" and not node.total))


def _named(nodes: Sequence[NodeStatus]) -> str:
    names = [f"{node.name}, which failed" if node.state == "failed" else node.name for node in nodes[:_NAMED]]
    return "; ".join(names) + (f" and {len(nodes) - _NAMED} more" if len(nodes) > _NAMED else "")


def _blockers(engine: Engine, view: RunView, nodes: Iterable[Place]) -> Blockers:
    whole: dict[Place, list[Place]] = {}
    by_item: dict[Place, list[Place]] = {}
    parents: dict[int, Place] = {}
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
    outstanding = engine.store.reader.outstanding(view.run_id)
    due: dict[Place, float] = {}
    for place, at in _placed(view, outstanding.retrying):
        due[place] = min(at, due.get(place, at))
    parked = frozenset(place for place, _ in _placed(view, outstanding.blocked))
    slots: dict[str, int] = {}
    strangers: dict[str, list[Worker]] = {}
    for queue, worker in live_consumers(engine.store.fleet, engine.settings.dead_seconds):
        if holds(worker, view.sealed_by):
            slots[queue] = slots.get(queue, 0) + worker["slots"]
        else:
            strangers.setdefault(queue, []).append(worker)
    return Blockers(whole, by_item, parents, slots, strangers, view.sealed_by, parked, due)


def _placed(view: RunView, spots: Iterable[Spot]) -> Iterator[tuple[Place, float]]:
    """Where in the plan the first few spots are."""
    for _, spot in zip(range(_SPOTS), spots, strict=False):
        try:
            yield (view.scope(spot.scope).body, spot.step), spot.at
        except BadSignature:  # its scope was taken back meanwhile
            continue


_WORDS = ("running", "retrying", "cached", "skipped", "failed")


def run_text(status: RunStatus) -> str:
    """Return a line for the run, and one for each node below it."""
    first = f"{status.name} {status.id} {status.state}"
    if words := status.failed or status.reason or status.why:
        first += f": {words}"
    rows = [(node.name, _counts(node), node.state, _last_word(node)) for node in status.nodes]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    lines = ["  ".join((*map(str.ljust, row, widths), row[3])).rstrip() for row in rows]
    return "\n".join([first, *(f"  {line}" for line in lines)])


def node_text(node: NodeStatus) -> str:
    """Return a node's line, such as ``square 3/10 1 running  running``."""
    return "  ".join(filter(None, (node.name, _counts(node), node.state, _last_word(node))))


def run_repr(status: RunStatus) -> str:
    """Return what a run is in a few words, for a debugger or a list of them."""
    over = sum(node.state in ("done", "skipped") for node in status.nodes)
    return f"<RunStatus {status.name} {status.id} {status.state}, {over} of {len(status.nodes)} nodes done>"


def node_repr(node: NodeStatus) -> str:
    """Return what a node is in a few words."""
    return f"<NodeStatus {' '.join(filter(None, (node.name, _counts(node), node.state)))}>"


def _counts(node: NodeStatus) -> str:
    if not node.is_fan_out and node.total <= 1:
        return "cached" if node.cached else ""
    total = f"{node.total:,}" if node.total or node.state == "done" else "?"
    others = [f"{number:,} {word}" for word in _WORDS if (number := getattr(node, word))]
    return " ".join([f"{node.done:,}/{total}", *others])


def _last_word(node: NodeStatus) -> str:
    if node.why:
        return node.why
    return f"{node.ended - node.started:.2f} s" if node.started and node.ended > node.started else ""


class RunState(StrEnum):
    """States of a run; the last four are ends."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"

    @property
    def is_end(self) -> bool:
        """Whether a run in this state is over."""
        return self not in (RunState.PENDING, RunState.RUNNING)


@dataclass(frozen=True, slots=True, repr=False)
class NodeStatus:
    """How far a node is. `total` counts its pieces: 1, a fan-out's items once they are known (else 0), and of a node in
    a mapped DAG (``train[*]/fit``) those of all scopes that were opened. A node that a running task called has the
    address of that task's piece in front (``crawl/fetch-3``). `retrying` have failed and wait for their next attempt,
    `skipped` are left out: they failed where that is allowed, or stand in a branch that was not taken. Of those done,
    `cached` were not called: the results of earlier calls were taken. Times are seconds since the epoch, 0: not yet.

    `why` says what a node waits for, in a few words: ``queue gpu: no live worker consumes it``; "" where nothing waits.
    `due` is when the next attempt of one that failed is due, 0: none is.
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

    @property
    def waiting(self) -> int:
        """Pieces that nobody has started."""
        return max(0, self.total - self.done - self.running - self.failed - self.retrying - self.skipped)

    @property
    def state(self) -> str:
        """One word for the node: failed, retrying, running, skipped, done or waiting.

        It is skipped if it stands in branches, and none of those that have been decided was taken.
        """
        if self.skipped and self.skipped == self.total and not self.started:
            return "skipped"
        over = self.done + self.skipped
        if self.failed:
            return "failed"
        if self.retrying:
            return "retrying"
        if self.running or (0 < over < self.total):
            return "running"
        return "done" if self.started and over >= self.total else "waiting"

    def __str__(self) -> str:
        return node_text(self)

    def __repr__(self) -> str:
        return node_repr(self)


@dataclass(frozen=True, slots=True, repr=False)
class RunStatus:
    """A run at one moment. `failed` is the address of the node that failed it, `reason` what else ended it.

    `why` says why none of it may start yet, `deadline` when it will be ended if it is not over by then (0: never), and
    `epoch` counts how often it was begun: 1, and one more for each `resume`.
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

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON-able data, with each node's derived numbers."""
        nodes = [asdict(node) | {"waiting": node.waiting, "state": node.state} for node in self.nodes]
        return asdict(self) | {"state": str(self.state), "nodes": nodes}

    def __str__(self) -> str:
        return run_text(self)

    def __repr__(self) -> str:
        return run_repr(self)


class Causes(Listener):
    """Keeps the first error of a run in this process that stands, so that it can be raised with its cause."""

    def __init__(self) -> None:
        self.first: BaseException | None = None

    def ended(self, view: RunView, claim: Claim, result: TaskResult, response: Response) -> bool:
        """Keep the first error after which nothing was tried; the one of a hook fails no run."""
        if self.first is None and response.state == "committed" and claim.step != HOOK:
            self.first = result.error
        return result.error is self.first


def state(store: Store, run_id: str) -> RunState:
    """The run's state. Raises RunNotFound."""
    record = store.reader.record(run_id)
    if record is None:
        raise RunNotFound(run_id)
    return RunState(record.state)


def wait(engine: Engine, run_id: str, timeout: float | None, causes: Causes | None = None) -> Any:
    """Wait for the end of a run, and return or raise what came of it."""
    return outcome(engine, run_id, RunState(wait_for_end(engine, run_id, timeout)), timeout, causes)


def outcome(
    engine: Engine, run_id: str, found: RunState, timeout: float | None = None, causes: Causes | None = None
) -> Any:
    """Return or raise what came of a run that is in this state, after having waited for `timeout` seconds."""
    match found:
        case RunState.DONE:
            return returned(engine.view(run_id))
        case RunState.FAILED:
            raise failure(engine, run_id) from (causes.first if causes else None)
        case RunState.CANCELLED:
            raise RunCancelled(run_id, _reason(engine.store, run_id))
        case RunState.TIMED_OUT:
            raise RunTimedOut(run_id, _reason(engine.store, run_id))
        case _:
            raise ResultTimeout(run_id, timeout or 0.0)


def _reason(store: Store, run_id: str) -> str:
    record = store.reader.record(run_id)
    return record.reason if record else ""


def returned(view: RunView) -> Any:
    """What a finished run gives back: the shape that the body returned, or outputs by name."""
    view.enter(view.generation)  # this process may have read results of it before it was rewound
    body, reader = view.program.body(0), Reader(view, Scope(ROOT))
    if body.returns is not None:
        reader.read_ahead([body.returns])
        return reader.evaluate(body.returns)
    found = {name: reader.evaluate(expr) for name, expr, _ in body.outputs}
    if not found:
        return None
    return found["return_value"] if list(found) == ["return_value"] else found


def failure(engine: Engine, run_id: str) -> NodeFailed:
    """The error that failed a run, verified; no class is imported because stored data names it."""
    record, stored = engine.store.reader.record(run_id), engine.store.reader.failures(run_id)
    if record is None or record.failed not in stored:
        raise RunNotFound(run_id)
    address = addresses.failure(run_id, record.failed)
    _, body = values.open_bytes(engine.keyring, address, stored[record.failed])
    view = engine.view(run_id)
    view.look(record.epoch)
    return failures.as_error(view.piece_address(record.failed), failures.decode(bytes(body)))


def status(engine: Engine, run_id: str) -> RunStatus:
    """How far every node is, in O(nodes). Raises RunNotFound."""
    progress = engine.store.reader.progress(run_id)
    if progress is None:
        raise RunNotFound(run_id)
    view, record = engine.view(run_id), progress.record
    view.look(record.epoch)
    nodes: dict[tuple[int, int], NodeStatus] = {}
    for number, prefix, skips in _all_prefixes(view, progress):
        for index, step in enumerate(view.program.body(number).steps):
            unstarted = 0 if step.over is not None else progress.scopes.get(number, 0)
            counts = progress.counts.get((number, index), Counts(total=unstarted))
            nodes[number, index] = _node_status(prefix, step, counts, skips)
    return RunStatus(
        record.id,
        record.name,
        RunState(record.state),
        record.created,
        record.started,
        record.ended,
        view.piece_address(record.failed) if record.failed else "",
        "" if record.failed else record.reason,
        tuple(explained(engine, view, record, nodes)),
        why=HELD.get(record.held, "") if not record.is_over else "",
        deadline=record.deadline,
        epoch=record.epoch,
    )


def _node_status(prefix: str, step: Step, counts: Counts, skips: int) -> NodeStatus:
    """How far a node is; `skips` is how often a branch that it stands in was not taken."""
    is_branch = "branch" in step.options
    is_untouched = is_branch and not counts.total  # whoever decided it has not begun what is in it
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
    """What stands in front of the names of a body's nodes, of plans that were made while the run went on too.

    And how often the body was not entered because its branch, or one around it, was not taken.
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
    """How often each body of a plan, whose first one has that number in the run, was not entered for its branch."""
    found = {0: 0}
    for number, body in enumerate(plan.bodies):  # a body has a greater number than the one around it
        for index, step in enumerate(body.steps):
            if step.kind == "dag":
                counts = progress.counts.get((first + number, index), Counts())
                found[step.target] = found[number] + ("branch" in step.options and counts.skipped)
    return found


def prefixes(plan: Plan) -> dict[int, str]:
    """What stands in front of a node's name, by body: ``train[*]/`` in a mapped DAG, ``then/`` in a branch."""
    found = {0: ""}
    for number, body in enumerate(plan.bodies):
        for step in body.steps:
            if step.kind == "dag":
                found[step.target] = f"{found.get(number, '')}{step.name}{'' if 'branch' in step.options else '[*]'}/"
    return found
