"""How far a run is: its state, how far each node is, and why a node waits.

The status is the tree of `tree.py`, flattened: each node once, with the numbers of all its items. It reads the store's
counters instead of the items, so it costs what the DAG is made of. `state_of` is the only rule for a node's state.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any, Final

from dagcelery import collector
from dagcelery.client.activity import MOST_SHOWN, RunningPiece, activities, alive, running_pieces
from dagcelery.client.reasons import OVER, Place, find_blockers, no_room, reason, waits
from dagcelery.engine.run_control import RunControl
from dagcelery.engine.run_view import RunView, prefixes
from dagcelery.errors import BadSignature, RunNotFound
from dagcelery.payload import addresses, failures, values
from dagcelery.planner.plan import Plan, Step
from dagcelery.store.records import Counts, Outstanding, Progress, RunRecord, RunState
from dagcelery.text import one_line


def state_of(
    total: int | None,
    done: int,
    skipped: int,
    *,
    running: int,
    retrying: int,
    failed: int,
    is_begun: bool,
    is_over: bool = False,
) -> str:
    """Return one word for a node with `total` pieces, None if that is not known yet; `is_over` if its run is.

    It is skipped if all of it was left out: it failed where that is allowed, or stands in items that were skipped, or
    in branches, none of which was taken of those that have been decided. What is not complete when its run is over is
    stopped, even if a piece of it still runs and may commit.
    """
    if skipped and skipped == total:
        return "skipped"
    if failed:
        return "failed"
    if is_begun and total is not None and done + skipped >= total:
        return "done"
    if is_over:
        return "stopped"
    return "retrying" if retrying else "running" if running else "waiting"


_DERIVED: Final = ("waiting", "stopped", "state", "seconds")


# Not frozen, since there may be many thousands: to make a frozen one takes three times as long.
@dataclass(slots=True, repr=False, unsafe_hash=True)
class NodeStatus:
    """How far a node is. `total` counts its pieces, of a node in a mapped DAG (``train[*]/fit``) those of all items;
    None until it is known, and it does not change then. A node that a running task called has the address of that
    task's piece in front (``crawl/fetch-3``).

    `running` are being executed at this moment; an item of a mapped DAG runs while a piece within does. `retrying` have
    failed and wait for their next attempt, `skipped` are left out: they failed where that is allowed, or stand in an
    item that was skipped, or in a branch that was not taken. Of those done, `cached` were not called: the results of
    earlier calls were taken. Times are seconds since the epoch, None: not yet. It `paused` for so many seconds while
    its run was over.

    `why` says why a node waits: ``no worker listens to queue gpu``, ``max_concurrent=3 reached (3 running)``; "" where
    nothing waits. It `is_stuck` if that needs somebody: no worker that lives can execute it.
    `due` is when the next attempt of one that failed is due, None: none is. `is_over` if its run is. `pieces` are the
    first few that are being executed now, oldest first.
    """

    name: str
    queue: str
    is_fan_out: bool
    total: int | None
    done: int
    running: int
    failed: int
    started: float | None
    ended: float | None
    retrying: int = 0
    skipped: int = 0
    why: str = ""
    due: float | None = None
    cached: int = 0
    paused: float = 0.0
    is_over: bool = False
    is_stuck: bool = False
    pieces: tuple[RunningPiece, ...] = ()

    @property
    def waiting(self) -> int | None:
        """How many pieces have not been started, or were entered and nothing in them runs; None: not known yet."""
        return 0 if self.is_over else self._rest

    @property
    def stopped(self) -> int | None:
        """How many pieces the end of the run has cut off; None if the number of pieces was not known then."""
        return self._rest if self.is_over else 0

    @property
    def _rest(self) -> int | None:
        if self.total is None:
            return None
        rest = self.total - self.done - self.running - self.failed - self.retrying - self.skipped
        return rest if rest > 0 else 0

    @property
    def state(self) -> str:
        """One word for the node: failed, retrying, running, skipped, done, waiting or stopped; see `state_of`."""
        return state_of(
            self.total,
            self.done,
            self.skipped,
            running=self.running,
            retrying=self.retrying,
            failed=self.failed,
            is_begun=self.started is not None and (self.total != 0 or self.ended is not None),
            is_over=self.is_over,
        )

    @property
    def seconds(self) -> float | None:
        """How long it took from its first piece's start to its last one's end, without the times its run was over."""
        return _seconds(self.started, self.ended, self.paused)

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON-able data, with the derived numbers."""
        # Not `asdict`, which copies what cannot change: there may be many thousands of nodes.
        told = {name: getattr(self, name) for name in (*self.__slots__, *_DERIVED)}
        return told | {"pieces": tuple(map(asdict, self.pieces))}

    def __str__(self) -> str:
        return "  ".join(filter(None, (self.name, counts_text(self), self.state, last_word(self))))

    def __repr__(self) -> str:
        return f"<NodeStatus {' '.join(filter(None, (self.name, counts_text(self), self.state)))}>"


@dataclass(frozen=True, slots=True, repr=False)
class RunStatus:
    """A run at one moment. `failed` is the address of the piece that failed it and `error` type and message, shortened,
    of its error; `reason` is what else ended it.

    `key` is that of `submit(..., key=)`, and `params` are the parameters as texts of one line, shortened and with
    secrets masked; `Run.params` has the values. `why` says why none of it may start yet, or why
    nothing goes on: the store is full. `deadline` is when it will be ended if it is not over by then (None: never), and
    `epoch` counts how often it was begun: 1, and one more for each `resume`. Between these it `paused` for so many
    seconds; `pauses` are all times at which it was over.
    """

    id: str
    name: str
    state: RunState
    created: float
    started: float | None
    ended: float | None
    failed: str
    reason: str
    nodes: tuple[NodeStatus, ...]
    why: str = ""
    deadline: float | None = None
    epoch: int = 1
    error: str = ""
    paused: float = 0.0
    key: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    pauses: tuple[tuple[float, float], ...] = ()

    @property
    def seconds(self) -> float | None:
        """How long it took from its start to its end, without the times between an end and a `resume`."""
        return _seconds(self.started, self.ended, self.paused)

    @property
    def news(self) -> str:
        """What there is to say beside its state: its error, why it ended or may not start, or what is stuck."""
        if self.failed:
            return f"{self.failed}: {self.error}" if self.error else self.failed
        stuck = [node for node in self.nodes if node.is_stuck]
        more = f" ({len(stuck) - 1} more like this)" if len(stuck) > 1 else ""
        return self.reason or self.why or (f"{stuck[0].name}: {stuck[0].why}{more}" if stuck else "")

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON-able data, with each node's derived numbers."""
        told = {name: getattr(self, name) for name in self.__slots__} | {"params": dict(self.params)}
        nodes = [node.to_dict() for node in self.nodes]
        return told | {"state": str(self.state), "seconds": self.seconds, "nodes": nodes}

    def __str__(self) -> str:
        rows = [(node.name, counts_text(node), node.state, last_word(node)) for node in worst_first(self.nodes)]
        widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
        lines = ["  ".join((*map(str.ljust, row, widths), row[3])).rstrip() for row in rows]
        return "\n".join([headline(self), *(f"  {line}" for line in lines)])

    def __repr__(self) -> str:
        over = sum(node.state in OVER for node in self.nodes)
        return f"<RunStatus {self.name} {self.id} {self.state}, {over} of {len(self.nodes)} nodes done>"

    def _repr_html_(self) -> str:
        """Return a table for a notebook, without anything from elsewhere."""
        return as_html(self)


def _seconds(started: float | None, ended: float | None, paused: float) -> float | None:
    return None if started is None or ended is None else max(0.0, ended - started - paused)


# -- how far every node is ------------------------------------------------------------------------
_NONE: Final = Counts()
_QUIET: Final = Counter[str]()


def run_status(control: RunControl, run_id: str) -> RunStatus:
    """Return how far every node is, in O(nodes).

    Raises RunNotFound.
    """
    progress = control.store.reader.progress(run_id)
    if progress is None:
        raise RunNotFound(run_id)
    view, record = control.view(run_id), progress.record
    view.look(record.epoch)
    spots = alive(control, progress.outstanding, progress.now)
    with collector.paused():
        nodes = _nodes(view, progress, _going_on(view, spots, is_over=record.is_over))
        for place, running in _running(view, spots).items():
            nodes[place].pieces = running
        _explain(control, view, progress, nodes)
    started, ended = record.started or None, record.ended or None
    return RunStatus(
        record.id,
        record.name,
        RunState(record.state),
        record.created,
        started,
        ended,
        view.piece_address(record.failed) if record.failed else "",
        "" if record.failed else record.reason,
        tuple(nodes.values()),
        why="" if record.is_over else _held(control, view, record.held) or no_room(control, progress),
        deadline=record.deadline or None,
        epoch=record.epoch,
        error=_error(control, record) if record.failed else "",
        paused=record.paused(started, ended) if started and ended else 0.0,
        key=record.key,
        params=record.shown,
        pauses=tuple((since, until) for since, until in record.pauses),
    )


def news(control: RunControl, record: RunRecord) -> str:
    """Return what there is to say of a run that is over beside its state, as `RunStatus.news` does, without a status.

    Raises RunNotFound, BadSignature.
    """
    if not record.failed:
        return record.reason
    view = control.view(record.id)
    view.look(record.epoch)
    error = _error(control, record)
    address = view.piece_address(record.failed)
    return f"{address}: {error}" if error else address


def _error(control: RunControl, record: RunRecord) -> str:
    """Return type and message of the error that failed a run, on one line, if a key here has signed it."""
    sealed = control.store.reader.failure(record.id, record.failed)
    if sealed is None:
        return ""
    try:
        _, text = values.open_bytes(control.keyring, addresses.failure(record.id, record.failed), sealed)
    except BadSignature as refused:
        return f"its error cannot be shown: {refused.reason}"
    error = failures.decode(text)
    return one_line(f"{error['type']}: {error['message']}" if error["message"] else error["type"])


def _going_on(view: RunView, spots: Outstanding, *, is_over: bool) -> Mapping[Place, Counter[str]]:
    """Count what goes on at each place, in pieces and in items."""
    counts: dict[Place, Counter[str]] = defaultdict(Counter)
    for (scope, step), activity in activities(view, spots, is_over=is_over).items():
        with suppress(BadSignature):  # it was taken back meanwhile
            counts[view.scope(scope).body, step].update(activity.counts())
    return counts


def _running(view: RunView, spots: Outstanding) -> Mapping[Place, tuple[RunningPiece, ...]]:
    """Return the first pieces that are being executed at each place."""
    pieces: dict[Place, tuple[RunningPiece, ...]] = defaultdict(tuple)
    for (scope, step), running in running_pieces(view, spots.claimed).items():
        with suppress(BadSignature):  # it was taken back meanwhile
            place = view.scope(scope).body, step
            pieces[place] = (*pieces[place], *running)[:MOST_SHOWN]
    return {place: running for place, running in pieces.items() if running}


def _nodes(view: RunView, progress: Progress, going_on: Mapping[Place, Counter[str]]) -> dict[Place, NodeStatus]:
    """Return how far each node is, without reasons."""
    record, nodes = progress.record, dict[Place, NodeStatus]()
    is_over = record.is_over  # in which nothing is tried again
    scopes: dict[int, int | None] = {}  # how many each body has in the end, with those that are left out
    for number, prefix, skips in _all_prefixes(view, progress):
        of_body = scopes.get(number, 1)
        for index, step in enumerate(view.program.body(number).steps):
            place = number, index
            counts = progress.counts.get(place, _NONE)
            node = _node_status(prefix, step, counts, going_on.get(place, _QUIET), skips, of_body)
            nodes[place] = node
            node.is_over = is_over
            if counts.started:
                _time(node, counts, record, is_branch="branch" in step.options)
            if is_over:
                node.retrying = 0
            if step.kind == "dag":
                scopes[step.target] = node.total
    return nodes


def _held(control: RunControl, view: RunView, held: str) -> str:
    """Return why a run that is held may not start yet."""
    if held == "key":
        return "the process that submitted it with key= has not started it yet"
    if not held or (quota := view.program.run_quota) is None:
        return ""
    limit, most = quota
    return f"max_active_runs={most} reached ({len(control.store.fleet.inside(limit))} active)"


def _node_status(
    prefix: str, step: Step, counts: Counts, going_on: Counter[str], skips: int, scopes: int | None
) -> NodeStatus:
    """Return how far a node is; `skips` is how often what it stands in was left out.

    It has a piece in each of the `scopes`. The length of a fan-out is known once it is in all of them.
    """
    is_fan_out = step.over is not None and "branch" not in step.options
    total = scopes
    if is_fan_out:
        total = counts.total + skips if scopes == counts.opened + skips else None
    name, skipped = prefix + step.name, counts.skipped + skips
    status = NodeStatus(name, step.queue, is_fan_out, total, counts.done, 0, counts.failed, None, None)
    status.retrying, status.skipped, status.cached = counts.retrying, skipped, counts.cached
    if going_on:
        status.running = going_on["running"]
        # The store's own numbers of failures and retries have no bound; of a DAG's items it does not count these.
        status.failed = max(counts.failed, going_on["failed"])
        status.retrying = max(counts.retrying, going_on["retrying"])
    return status


def _time(node: NodeStatus, counts: Counts, record: RunRecord, *, is_branch: bool) -> None:
    """Add the times of a node that has begun."""
    if is_branch and not (node.done or node.running or node.retrying or node.failed):
        return  # closing a branch that was not taken has a time too, but begins nothing
    node.started = counts.started
    if node.running:
        return
    if node.total is not None and node.done + node.skipped + node.failed >= node.total:
        node.ended = counts.ended or record.ended or None
    elif node.is_over:
        node.ended = record.ended
    if node.ended and record.pauses:
        node.paused = record.paused(node.started, node.ended)


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
    """Return how often each body of a plan was not entered, in branches not taken and in items that were skipped.

    Its `first` one has that number in the run.
    """
    skips = {0: 0}
    for number, body in enumerate(plan.bodies):  # a body has a greater number than the one around it
        for index, step in enumerate(body.steps):
            if step.kind == "dag":
                counts = progress.counts.get((first + number, index), Counts())
                entered = progress.skipped.get(first + step.target, 0)
                skips[step.target] = skips[number] + counts.skipped - entered
    return skips


# -- why it waits ---------------------------------------------------------------------------------
def _explain(control: RunControl, view: RunView, progress: Progress, nodes: Mapping[Place, NodeStatus]) -> None:
    """Say of each node why it waits; in a run that is over, what may still commit."""
    if progress.record.is_over:
        for node in nodes.values():
            node.why = "still running, and may commit" if node.running else ""
        return
    waiting = () if progress.record.held else [place for place, node in nodes.items() if waits(node)]
    if not waiting:
        return
    blockers = find_blockers(control, view, progress, {body for body, _ in nodes}, waiting)
    for place in waiting:
        nodes[place].why, nodes[place].is_stuck = reason(place, nodes, blockers)
    for place in blockers.due.keys() & nodes.keys():
        nodes[place].due = blockers.due[place]


# -- as text -------------------------------------------------------------------------------------
_WORDS = ("running", "retrying", "cached", "skipped", "failed")

_RANKS = {"failed": 0, "retrying": 2}

_COLORS = {"failed": "#c00", "done": "#080", "running": "#06c", "retrying": "#b60", "stopped": "#b60"}

_HTML_ROWS = 200


def worst_first(nodes: Iterable[NodeStatus]) -> list[NodeStatus]:
    """Sort nodes: those that failed, those that are stuck, those that are tried again, then others in their order."""
    return sorted(nodes, key=lambda node: 1 if node.is_stuck else _RANKS.get(node.state, 3))


def headline(status: RunStatus) -> str:
    """Return what a run is, and what there is to say of it, on one line."""
    first = f"{status.name} {status.id} {status.state}"
    return f"{first}: {news}" if (news := status.news) else first


def first_reasons(status: RunStatus, most: int = 3) -> str:
    """Return in a few words why a run is not over, the worst first: what is stuck, what waits, what runs."""
    if status.why:
        return status.why
    waiting = [node for node in status.nodes if node.why and not node.why.startswith("needs ")]
    chosen = [f"{node.name}: {node.why}" for node in worst_first(waiting)]
    chosen += [f"{node.name} is running" for node in status.nodes if node.running]
    more = [f"{len(chosen) - most} more"] if len(chosen) > most else []
    return "; ".join([*chosen[:most], *more])


def counts_text(node: NodeStatus) -> str:
    """Return how many pieces of a node are done, and how many are elsewhere: ``3/10 1 running``."""
    if not node.is_fan_out and node.total is not None and node.total <= 1:
        return "cached" if node.cached else ""
    total = "?" if node.total is None else f"{node.total:,}"
    others = [f"{number:,} {word}" for word in _WORDS if (number := getattr(node, word))]
    return " ".join([f"{node.done:,}/{total}", *others])


def last_word(node: NodeStatus) -> str:
    """Return why a node waits, what of it runs where, or how long it took."""
    if node.why:
        return node.why
    if node.pieces:
        first, others = node.pieces[0], len(node.pieces) - 1
        since = time.strftime("%H:%M:%SZ", time.gmtime(first.started))
        more = f", and {others} more" if others else ""
        return f"{first.address} on {first.worker} since {since}{more}"
    return f"{node.seconds:.2f} s" if node.seconds else ""


def as_html(status: RunStatus) -> str:
    """Return a status as a table, all text escaped, the first 200 nodes of it."""
    rows = worst_first(status.nodes)
    cells = "".join(map(_row_html, rows[:_HTML_ROWS]))
    if len(rows) > _HTML_ROWS:
        cells += f"<tr><td>and {len(rows) - _HTML_ROWS:,} more</td></tr>"
    color = _COLORS.get(status.state, "inherit")
    state = f'<b style="color:{color}">{escape(status.state)}</b>'
    news = f"<br>{escape(status.news)}" if status.news else ""
    return (
        f"<div><b>{escape(status.name)}</b> <code>{escape(status.id)}</code> {state}{news}"
        f'<table style="text-align:left">{cells}</table></div>'
    )


def _row_html(node: NodeStatus) -> str:
    style = f'style="text-align:left;color:{_COLORS.get(node.state, "inherit")}"'
    texts = (node.name, counts_text(node), last_word(node))
    name, counts, last = (f'<td style="text-align:left">{escape(text)}</td>' for text in texts)
    return f"<tr>{name}{counts}<td {style}>{escape(node.state)}</td>{last}</tr>"
