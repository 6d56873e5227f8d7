"""What the store's verbs are told, and what they answer: frozen values, and the sizes that they keep."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

ROOT = "0"
START, CLOSE, HOOK = -1, -2, -3
"""Steps of no plan: START readies a scope's first steps, CLOSE hands its outputs up, HOOK comes after a run."""

TERMINAL = frozenset({"done", "failed", "cancelled", "timed_out"})
"""States of a run that is over."""

CELL = 256
"""Elements of a list that share a key."""
CHUNK_BYTES = 512 * 1024
"""What one script writes at most; a larger value is staged in chunks of this size."""
SUCCESSORS = 500
"""Successors that one script announces at most."""
INLINE_BYTES = 64 * 1024
"""Inputs that travel with a claim; what is larger is read apart."""
RANGE_ITEMS = 512
"""Items that one claim takes at most."""
RETURNS_A_DEATH = 10
"""How often a piece may be given back by a worker that lives, or leaves in good order, for each death that is allowed:
more often than deploys happen while a long piece runs, and not for ever."""


@dataclass(frozen=True, slots=True)
class StepEntry:
    """What the store knows of a step, to say when it may start; `wire` has the letters that it is kept by.

    Only steps of the same body count. What lies further up is complete before a scope opens, since the step that
    enters the scope waits for it; parameters never count.
    """

    queue: str
    body: int = -1
    """The body that a nested DAG's step enters."""
    over: str = ""
    """The token whose items a fan-out counts; "" for a step that runs once."""
    waits: int = 0
    """How many steps must be complete before this one opens. The one that makes a fan-out's list is among them, unless
    the fan-out waits for nothing but items of others over that list."""
    item_waits: int = 0
    """How many fan-outs must have done an item before this one may do the same item."""
    successors: Sequence[int] = ()
    """The steps that count this one in `waits`; of START those that wait for nothing."""
    item_successors: Sequence[int] = ()
    """The steps that count this one in `item_waits`."""
    inputs: Sequence[str] = ()
    """The tokens of whole values that it reads, lists of results left out; none if there are many."""
    item_inputs: Sequence[str] = ()
    """The tokens that it reads by item."""
    retry: Mapping[str, Any] | None = None
    """After which failures there is another call: "max_attempts" calls in all, waits of "base" seconds, each time
    "factor" times as long, up to "maximum", varied if there is "jitter"; "time_limit" if a call that the hard limit
    ended counts."""
    hard_limit: float | None = None
    start_within: float | None = None
    min_success: float | None = None
    is_branch: bool = False  # it enters its body once or not at all
    function: str = ""
    """The function of a task that runs once, by the name under which workers know how long it takes."""
    is_alone: bool = False  # it is never claimed in a batch
    awaits: bool = False  # a process may await its pieces beside each other
    reads: Sequence[int] = ()
    """The steps whose outputs it reads, in body 0 of a run that keeps nothing but its outputs."""
    is_returned: bool = False
    """The DAG returns something of it; said in such a run only."""
    keeps_outputs_only: bool = False
    """This and the next two are said by START of body 0, for the run."""
    fail_fast: bool = True
    has_hooks: bool = False


Topology = Sequence[Mapping[int, StepEntry]]
"""One mapping a body, from the step's index, START or CLOSE to its entry."""


def scope_id(run_id: str, parent: str, step: int, index: int) -> str:
    """Name the scope of one item of a mapped nested DAG, so that the name proves where the scope belongs.

    80 bits of BLAKE2b: a scope cannot be moved elsewhere in a run by editing its record.
    """
    text = f"{run_id}/{parent}/{step}/{index}".encode()
    return base64.b32encode(hashlib.blake2b(text, digest_size=10).digest()).decode().lower()


class PieceId(NamedTuple):
    """One execution of one step, or of the items of a fan-out that begin with `lo`."""

    scope: str
    step: int
    lo: int = -1

    @property
    def name(self) -> str:
        """Its name in claims, failures and events."""
        return f"{self.scope}/{self.step}" + (f"/{self.lo}" if self.lo >= 0 else "")

    @classmethod
    def parse(cls, name: str) -> PieceId:
        """Read a name; what follows behind an @ says which attempt of it is meant."""
        scope, step, *lo = name.partition("@")[0].split("/")
        return cls(scope, int(step), int(lo[0]) if lo else -1)


def worker_of(owner: str) -> str:
    """Return the worker and the process that an owner of claims names, for people: ``celery@host pid 123``.

    A worker's id is its name and, behind a ~, what tells it apart from those that had the same name before.
    """
    worker, _, process = owner.partition(":")
    pid = process.partition(":")[0]
    name = worker.rpartition("~")[0] or worker
    return f"{name} pid {pid}" if pid else name


@dataclass(frozen=True, slots=True)
class Block:
    """Elements ``[lo, hi)`` of the list that `token` names, sealed together by attempt `attempt`."""

    token: str
    lo: int
    hi: int
    attempt: int
    data: bytes


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run as it is first remembered: everything that a worker will need, before any message is sent."""

    id: str
    name: str
    plan: bytes
    topology: Topology
    values: Mapping[str, bytes] = field(default_factory=dict)
    lists: Mapping[str, int] = field(default_factory=dict)
    blocks: Iterable[Block] = ()
    fingerprint: str = ""
    ttl_seconds: int = 7 * 86400
    deadline_seconds: float | None = None
    """From its creation; a run that is not over by then ends as timed out."""
    held: str = ""
    """Why nothing may be claimed until `admit`, in a word; "" where nothing speaks against it."""
    reservation: str = ""
    """The name of the key that `reserve` keeps for it."""
    shown: Mapping[str, str] = field(default_factory=dict)
    """Its parameters as people are shown them: short, and without what is sensitive."""
    trace: str = ""
    """Where it is to be found in traces: what `RunRecord` says of it. A worker is called at its end then."""


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """What a worker would claim: a piece on `queue`, or only on step `focus` if `only` is set.

    `owner` names the process that holds the claim, "worker id:pid"; up to the colon it names the worker, which a sweep
    may find dead. An owner makes one call at a time (threads add to the pid what tells them apart), since only its last
    call's answer is kept. `message` names the Celery message, `token` this very call. `ranges` says for "body.step" how
    many items of a fan-out the worker wants at once, `slots` how many processes share the queue. `short` says how many
    calls of a function, as `StepEntry` names it, fit into a batch: where it is said, a batch may be granted. `tells`
    asks how many messages the queue deserves, which is also answered where what is granted may take long. The worker
    would await `beside` pieces more; if it `has_others` in hand, nothing else may be granted.
    """

    queue: str
    owner: str
    token: str
    focus: str = ""
    only: bool = False
    slots: int = 1
    ranges: Mapping[str, int] = field(default_factory=dict)
    message: str = ""
    arrived: bool = False
    short: Mapping[str, int] = field(default_factory=dict)
    tells: bool = False
    keep_seconds: int = 0  # how long a run is kept that this call ends; 0: `RunMachine.expire` says it later
    beside: int = 0
    has_others: bool = False


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a scope hangs: item `index` of step `step` of scope `parent`, running body `body`; -1: it runs once."""

    id: str
    parent: str = ""
    step: int = 0
    index: int = 0
    body: int = 0
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Claim:
    """A claimed piece with its inputs. ``lo < 0`` means a step that runs once; `items` is the fan-out's size.

    `values` are the sealed inputs by token (None: not stored, or too large to travel along; a step of more than 500
    inputs is told none), `blocks` the sealed elements by token (absent: too large). `RunReader.values` and
    `RunReader.blocks` read what did not travel.
    """

    scope: Scope
    step: int
    lo: int
    hi: int
    attempt: int
    items: int
    values: Mapping[str, bytes | None] = field(default_factory=dict)
    blocks: Mapping[str, Sequence[Block]] = field(default_factory=dict)
    poisoned: str = ""
    """Why it shall fail without being called: "died", "returned", "timeout" or "start_within"; "" if it shall be."""
    generation: int = 0
    """How often parts of the run have been cleared: values of an earlier generation may have changed since."""
    waited: float | None = None
    """For how many seconds it was ready until it was claimed: the last time, and not while its run was held or over. Of
    items, since their fan-out was opened, or they came back. None: the store has not noted it."""
    is_beside: bool = False
    """It is awaited beside others; of several items, told as one range, each has a claim of its own."""
    follows: frozenset[str] = frozenset()
    """The pieces that it waits for, right behind which it was executed: it is claimed when all are committed."""

    @property
    def piece(self) -> str:
        """The piece's name in claims and events."""
        return PieceId(self.scope.id, self.step, self.lo).name


@dataclass(frozen=True, slots=True)
class ReadyStep:
    """A step that became ready on `queue`: `items` of a fan-out; -1 if it runs once, or if more of its items came."""

    scope: str
    body: int
    step: int
    queue: str
    items: int


class Completed(NamedTuple):
    """A fan-out all of whose items are done: how many there were, and how many of them were left out."""

    scope: str
    body: int
    step: int
    items: int
    skipped: int


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What came of a granted piece: outputs, or a failure.

    `values` are whole outputs by token, `lists` the lengths of split outputs and `blocks` their elements. Of a
    fan-out the items ``[lo, done)`` are committed (-1: all), and the rest goes back; `failure` is then item `done`'s.

    A failure is `retryable` if the task's policy covers the error; the store counts tries and says when the next one is
    due.
    `markers` are blocks by scope: of the results of a failed item if it may be skipped, and of each item that it lies
    in and that may be.

    `cached` of the committed pieces were not called: an earlier call's results were taken.

    `log` has the last lines that the pieces logged, sealed; b"" if they logged nothing.

    The store is not told of the last four. `children` are scopes to open instead of an outcome, `error` the failure's;
    if the piece `is_refused`, it is what this worker lacks for it, and nothing was done. `context` is that of the call
    that failed: what is told of it is told there.
    """

    values: Mapping[str, bytes] = field(default_factory=dict)
    lists: Mapping[str, int] = field(default_factory=dict)
    blocks: Iterable[Block] = ()
    done: int = -1
    failure: bytes | None = None
    started: float = 0.0
    seconds: float = 0.0
    retryable: bool = False
    markers: Mapping[str, Sequence[Block]] = field(default_factory=dict)
    cached: int = 0
    log: bytes = b""
    children: Sequence[Child] | None = None
    error: BaseException | None = None
    is_refused: bool = False
    context: Context | None = None


@dataclass(frozen=True, slots=True)
class ChildPlan:
    """A plan that a piece made, sealed: its topology is that of bodies which are numbered from `body` on."""

    body: int
    topology: Topology
    plan: bytes

    @property
    def queues(self) -> list[str]:
        """The queues of its steps."""
        return sorted({entry.queue for body in self.topology for entry in body.values()})


@dataclass(frozen=True, slots=True)
class Child:
    """One scope to open: the item's index, and the values of the child body's own parameters.

    The scope of a plan that a piece made has that `plan`; where the piece runs once its index is -1.
    """

    index: int
    values: Mapping[str, bytes] = field(default_factory=dict)
    lists: Mapping[str, int] = field(default_factory=dict)
    blocks: Sequence[Block] = ()
    plan: ChildPlan | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to every verb of a worker: states, never commands.

    `states` has one for each piece, "committed", "retried" or "skipped" (a failure that is not final), "stale" (another
    attempt has taken over or committed, or an item that the piece lies in was skipped) or "none"; `run` is the run's
    state, or "gone"; `opened` has the steps that this call made ready, but not those of a commit that run once on the
    wanted queue: who claims there finds them; `ready` counts the ready pieces of the wanted queue; `claims` are the new
    claims, several if they are a batch; `wake_ups` is how many messages the queue deserves, None where that was not
    worked out; `retry_seconds` is the time until a retried piece is due; `skipped` names the item that was skipped
    because the piece failed; `completed` are the fan-outs whose last items this call has done; `lasted` is the duration
    in seconds of a run that this call has ended; `is_left` says that nothing was claimed because the worker has refused
    all that is ready on the queue; `is_settled` that nothing is left for `expire` to do.
    """

    states: Sequence[str]
    run: str
    opened: Sequence[ReadyStep] = ()
    ready: int = 0
    claims: Sequence[Claim] = ()
    retry_seconds: float | None = None
    completed: Sequence[Completed] = ()
    lasted: float | None = None
    is_left: bool = False
    skipped: str = ""
    wake_ups: int | None = None
    is_settled: bool = False

    @property
    def state(self) -> str:
        """What became of the only piece, or of the first one."""
        return self.states[0]

    @property
    def claim(self) -> Claim | None:
        """The only claim, or the first one of a batch."""
        return self.claims[0] if self.claims else None


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
        return self in TERMINAL


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as the store knows it: times are seconds since the epoch by the store's clock, 0 where not yet."""

    id: str
    name: str
    state: str
    created: float
    started: float = 0.0
    ended: float = 0.0
    epoch: int = 1
    failed: str = ""
    reason: str = ""
    deadline: float = 0.0
    held: str = ""
    hook: str = ""
    """The queue of what is still to be called after the run's end, or ""."""
    fingerprint: str = ""
    """What its parameters are recognised by, or "" if that is not known."""
    reservation: str = ""
    """The name of the key that is kept for it: DAG and key as JSON, or ""."""
    shown: Mapping[str, str] = field(default_factory=dict)
    """Its parameters as people are shown them. Nobody signs these texts; the values are signed, and read apart."""
    trace: str = ""
    """How its trace belongs to that of its submitter, "link" or "child", and the submitter's span as W3C's traceparent
    writes it, if there was one; "" if it was submitted without tracing."""
    pauses: Sequence[tuple[float, float]] = ()
    """From when to when it was over, before it was resumed."""
    untold: int = 0
    """How many of its ends, from the first one on, were taken back before anything was called at them."""

    @property
    def key(self) -> str | None:
        """The key that it was submitted with, or None."""
        return str(json.loads(self.reservation)[1]) if self.reservation else None

    @property
    def is_over(self) -> bool:
        """Whether the run has ended."""
        return self.state in TERMINAL

    def paused(self, since: float, until: float) -> float:
        """How many seconds of a time it was over."""
        return sum(max(0.0, min(until, to) - max(since, at)) for at, to in self.pauses)

    @property
    def has_failed(self) -> bool:
        """Whether the run has ended without a result: it failed, was cancelled or timed out."""
        return self.is_over and self.state != "done"


class Counts(NamedTuple):
    """How far the pieces of one step are, over all scopes of its body. Times as in `RunRecord`.

    `running` counts claims: of the items of a range one is executed at a time. `opened` counts the scopes in which the
    number of a fan-out's items is known, and is part of `total`.
    """

    total: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    started: float = 0.0
    ended: float = 0.0
    retrying: int = 0
    skipped: int = 0
    cached: int = 0
    opened: int = 0
    owner: str = ""
    """Who has done it; this and `attempt` are said of a step that runs once, by `RunReader.within` only."""
    attempt: int = 0
    is_begun: bool = True
    """False for a step skipped with the item that it lies in, and for a fan-out over an empty list that no worker has
    closed yet; said by `RunReader.within` only."""


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a run's stream: what became of a piece, or of the run itself. `id` resumes after it.

    An entry of kind "missed" is in no stream: it says that some are not kept any more.
    """

    id: str
    kind: str
    piece: str
    body: int
    hi: int
    attempt: int
    started: float
    seconds: float
    owner: str = ""
    """The process that told the store of it."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A run in the list of runs: when it was enrolled, and its record, None if it expired or is not written yet."""

    id: str
    created: float
    record: RunRecord | None


class Spot(NamedTuple):
    """Items ``[lo, hi)`` of a step in a scope, -1 where it runs once.

    `at` is when it is due, in seconds, or since when it has been claimed, for `attempt`, by `owner`:
    "worker:process:...". A claim that `is_committed` is kept while successors are being told.
    """

    scope: str
    step: int
    lo: int = -1
    hi: int = -1
    at: float = 0.0
    owner: str = ""
    is_committed: bool = False
    attempt: int = 0


class Logged(NamedTuple):
    """Pieces that were committed together, or failed, and whose last lines are kept: items ``[lo, hi)`` of a step of a
    body in a scope, -1 where it runs once.
    """

    scope: str
    step: int
    lo: int
    hi: int
    attempt: int
    body: int

    @property
    def name(self) -> str:
        """The name under which the lines are kept, as lua/logs.lua spells it."""
        items = f"/{self.lo}:{self.hi}" if self.lo >= 0 else ""
        return f"{self.scope}/{self.step}{items}@{self.attempt}/{self.body}"

    @classmethod
    def parse(cls, name: str) -> Logged:
        """Read such a name."""
        piece, _, version = name.partition("@")
        scope, step, *items = piece.split("/")
        lo, hi = map(int, items[0].split(":")) if items else (-1, -1)
        return cls(scope, int(step), lo, hi, *map(int, version.split("/")))


class Refusal(NamedTuple):
    """What a worker lacks for a step of a body, or, if these are -1, for reading the run at all, in a few words."""

    worker: str
    queue: str
    why: str
    body: int = -1
    step: int = -1


@dataclass(frozen=True, slots=True)
class Outstanding:
    """What is under way, read without reading the whole run: what is `claimed`, what has finally failed (the first
    1,000), and of what is due (the first 1,000) what will be tried again, and which steps are blocked; and what workers
    have refused.
    """

    claimed: Sequence[Spot] = ()
    failed: Sequence[Spot] = ()
    retrying: Sequence[Spot] = ()
    blocked: Sequence[Spot] = ()
    refused: Sequence[Refusal] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """Status of a run in O(steps), as it is at one moment, `now`: counts by (body, step), scopes opened and skipped by
    body, and what is outstanding; and, read a little later, steps ready by queue.
    """

    record: RunRecord
    counts: Mapping[tuple[int, int], Counts]
    scopes: Mapping[int, int]
    ready: Mapping[str, int]
    outstanding: Outstanding
    skipped: Mapping[int, int]
    now: float = field(compare=False)


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep found: claims given back, queues that deserve one wake-up each, and as (queue, "scope/step") what is
    poisoned: the worker that claims it lets it fail, and on a queue without a worker the sweeper has to.
    """

    run: str
    released: int
    wake_ups: Sequence[str]
    poisoned: Sequence[tuple[str, str]] = ()
    held: str = ""
    lasted: float | None = None
    """Of a run that this sweep has ended: how many seconds it took."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Whose claims a sweep gives back.

    `dead` are workers, or single processes of one ("worker id:pid"), that may have died of what they did; `left` are
    those that went in good order. Where `alive` names all workers that live, with when they last said so and the
    messages that they work on, a claim of another worker or another message is given back if it is older than that.
    `limited`: it was a time limit that killed the dead. `since` says of those that live since when they consume which
    queue, `free` how many of their processes have nothing to do.
    """

    dead: Collection[str] = ()
    left: Collection[str] = ()
    alive: Mapping[str, tuple[float, Collection[str] | None]] | None = None
    limited: bool = False
    since: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    free: Mapping[str, int] = field(default_factory=dict)
