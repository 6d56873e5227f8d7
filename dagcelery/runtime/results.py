"""What a run looks like from outside: its state, how far each node is, and what it gave back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from dagcelery.errors import NodeFailed, ResultTimeout, RunCancelled, RunNotFound, RunTimedOut
from dagcelery.payload import addresses, failures, values
from dagcelery.planner.plan import Plan, Step
from dagcelery.runtime import status_text, waiting
from dagcelery.runtime.engine import Engine, Unobserved
from dagcelery.runtime.execution import Executed
from dagcelery.runtime.reading import Reader, RunView
from dagcelery.runtime.reasons import HELD, explained
from dagcelery.store.protocol import Store
from dagcelery.store.records import HOOK, ROOT, Claim, Counts, Progress, Response, Scope


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
        return status_text.node_text(self)

    def __repr__(self) -> str:
        return status_text.node_repr(self)


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
        return status_text.run_text(self)

    def __repr__(self) -> str:
        return status_text.run_repr(self)


class Causes(Unobserved):
    """Keeps the first error of a run in this process that stands, so that it can be raised with its cause."""

    def __init__(self) -> None:
        self.first: BaseException | None = None

    def ended(self, view: RunView, grant: Claim, executed: Executed, reply: Response) -> bool:
        """Keep the first error after which nothing was tried; the one of a hook fails no run."""
        if self.first is None and reply.state == "committed" and grant.step != HOOK:
            self.first = executed.error
        return executed.error is self.first


def state(store: Store, run_id: str) -> RunState:
    """The run's state. Raises RunNotFound."""
    record = store.reader.record(run_id)
    if record is None:
        raise RunNotFound(run_id)
    return RunState(record.state)


def wait(engine: Engine, run_id: str, timeout: float | None, causes: Causes | None = None) -> Any:
    """Wait for the end of a run, and return or raise what came of it."""
    return outcome(engine, run_id, RunState(waiting.wait(engine, run_id, timeout)), timeout, causes)


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
