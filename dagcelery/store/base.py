"""The store's contract: what is remembered of a run, and the verbs that change it.

The store decides. It holds the topology of a run (which step waits for how many others, and who waits for it), so a
worker says only what it did to which piece, and is told what it may do next. Every verb is safe to repeat: a client
library repeats a call by itself when a reply is lost, and a caller that got StoreUnavailable may call again with the
same token: what had been done is answered, what had not is done.

Words. A *scope* is where a step lives: ``ROOT`` or one item of a mapped nested DAG. A *piece* is one execution of one
step, ``(scope, step)`` or, of a fan-out, the items ``[lo, hi)`` that were claimed together. A *token* names a stored
value ("3.0", "$n", "^3.0"; see `planner.plan`). A *block* is up to `CELL` consecutive elements of a list, stored and
signed together; blocks never cross a multiple of `CELL`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

ROOT = "0"
START, CLOSE = -1, -2
"""Steps that every scope has: START makes its first steps ready, CLOSE hands its outputs to the parent."""

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

Topology = Sequence[Mapping[str, Mapping[str, Any]]]
"""One mapping a body, from step index, "start" or "close" to its entry; see `planner.topology`."""


def scope_id(run_id: str, parent: str, step: int, index: int) -> str:
    """Name the scope of one item of a mapped nested DAG, so that the name proves where the scope belongs.

    80 bits of BLAKE2b: nobody can move a scope elsewhere in a run by editing its record.
    """
    text = f"{run_id}/{parent}/{step}/{index}".encode()
    return base64.b32encode(hashlib.blake2b(text, digest_size=10).digest()).decode().lower()


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
    digest: str
    topology: Topology
    values: Mapping[str, bytes] = field(default_factory=dict)
    lists: Mapping[str, int] = field(default_factory=dict)
    blocks: Iterable[Block] = ()
    ttl_seconds: int = 7 * 86400
    deadline_seconds: float | None = None
    """From its creation; a run that is not over by then ends as timed out."""


@dataclass(frozen=True, slots=True)
class Want:
    """What a worker would claim: a piece on `queue`, or only on step `focus` if `only` is set.

    `owner` names who holds the claim, "boot:pid": up to the colon the boot that a sweep may find dead. An owner makes
    one call at a time (threads add to the pid what tells them apart), since only its last call's answer is kept.
    `message` names the Celery message, `token` this very call. `ranges` says for "body.step" how many items of a
    fan-out the worker wants at once, `slots` how many processes share the queue.
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


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a scope hangs: item `index` of step `step` of scope `parent`, running body `body`."""

    id: str
    parent: str = ""
    step: int = 0
    index: int = 0
    body: int = 0
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Grant:
    """A claimed piece with its inputs. ``lo < 0`` means a step that runs once; `items` is the fan-out's size.

    `values` are the sealed inputs by token (None: not stored, or too large to travel along; a step of more than 500
    inputs is told none), `blocks` the sealed elements by token (absent: too large). `Store.values` and `Store.blocks`
    read what did not travel.
    """

    scope: Scope
    step: int
    lo: int
    hi: int
    attempt: int
    items: int
    values: Mapping[str, bytes | None] = field(default_factory=dict)
    blocks: Mapping[str, Sequence[Block]] = field(default_factory=dict)

    @property
    def piece(self) -> str:
        """The piece's name in claims and events."""
        return f"{self.scope.id}/{self.step}" + (f"/{self.lo}" if self.lo >= 0 else "")


@dataclass(frozen=True, slots=True)
class Opened:
    """A step that became ready on `queue`: `items` of a fan-out; -1 if it runs once, or if more of its items came."""

    scope: str
    body: int
    step: int
    queue: str
    items: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a granted piece: outputs, or a failure.

    `values` are whole outputs by token, `lists` the lengths of split outputs and `blocks` their elements. Of a
    fan-out the items ``[lo, done)`` are committed (-1: all), and the rest goes back; `failure` is then item `done`'s.
    """

    values: Mapping[str, bytes] = field(default_factory=dict)
    lists: Mapping[str, int] = field(default_factory=dict)
    blocks: Iterable[Block] = ()
    done: int = -1
    failure: bytes | None = None
    started: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Child:
    """One scope to open: the item's index, and the values of the child body's own parameters."""

    index: int
    values: Mapping[str, bytes] = field(default_factory=dict)
    lists: Mapping[str, int] = field(default_factory=dict)
    blocks: Sequence[Block] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to every verb of a worker: states, never commands.

    `state` is "committed", "stale" (another attempt has taken over or committed), "claimed" or "none"; `run` is the
    run's state ("gone" where there is no such run); `opened` is what this call made ready; `ready` counts what
    waits on the wanted queue; `grant` is what was claimed.
    """

    state: str
    run: str
    digest: str = ""
    opened: Sequence[Opened] = ()
    ready: int = 0
    grant: Grant | None = None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as the store knows it: times are seconds since the epoch by the store's clock, 0 where not yet."""

    id: str
    name: str
    state: str
    digest: str
    created: float
    started: float = 0.0
    ended: float = 0.0
    epoch: int = 1
    failed: str = ""
    reason: str = ""
    deadline: float = 0.0


@dataclass(frozen=True, slots=True)
class Counts:
    """How far the pieces of one step are, over all scopes of its body. Times as in `RunRecord`."""

    total: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    started: float = 0.0
    ended: float = 0.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Status of a run in O(steps): counts by (body, step), scopes opened by body, pieces ready by queue."""

    record: RunRecord
    counts: Mapping[tuple[int, int], Counts]
    scopes: Mapping[int, int]
    ready: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a run's stream: a piece done or failed, or the run's end. `id` resumes after it."""

    id: str
    kind: str
    piece: str
    body: int
    hi: int
    attempt: int
    started: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep found: claims given back, and queues that deserve one hint each."""

    run: str
    released: int
    hints: Sequence[str]


class Store(Protocol):
    """The verbs. Each raises StoreUnavailable if the store is out of reach, after its own retries."""

    def ping(self) -> None:
        """Raise StoreUnavailable unless the store answers."""

    def reserve(self, name: str, key: str, run_id: str, ttl_seconds: int) -> str:
        """Make `run_id` the run of this DAG name and idempotency key, unless there is one; answer which it is."""

    def create(self, run: NewRun) -> Reply:
        """Remember a run; again with the same id changes nothing and answers alike."""

    def claim(self, run_id: str, want: Want) -> Reply:
        """Claim one ready piece with its inputs; the same `want.token` gets the same grant again."""

    def finish(self, run_id: str, grant: Grant, outcome: Outcome, owner: str, token: str, want: Want | None) -> Reply:
        """Commit a piece once, tell its successors, and claim the next piece in the same call."""

    def delegate(
        self, run_id: str, grant: Grant, children: Sequence[Child], owner: str, token: str, want: Want | None
    ) -> Reply:
        """Open a scope for each item of a mapped nested DAG; the items end when their scopes close.

        Blocks in `children` are kept with the attempt that they name, which is the grant's.
        """

    def release(self, run_id: str, grant: Grant, owner: str) -> None:
        """Give a claimed piece back unrun: it is ready again, and no attempt was spent."""

    def hint(self, run_id: str, queue: str, slots: int) -> int:
        """Say how many more messages `queue` deserves: ready pieces that no process or message is on its way to."""

    def sweep(self, run_id: str, dead: Iterable[str], wait_seconds: float, alive: Iterable[str] | None = None) -> Swept:
        """Give back what the dead had claimed, and name the queues whose ready work deserves a hint.

        `dead` are boots, or single processes of a boot ("boot:pid"). Where `alive` names all boots that live, claims
        of any other boot that are older than `wait_seconds` are given back too.
        """

    def due(self, limit: int, wait_seconds: float) -> Sequence[str]:
        """Name active runs that nobody has looked at for `wait_seconds`, and mark them looked at."""

    def record(self, run_id: str) -> RunRecord | None:
        """The run's record, or None."""

    def plan(self, run_id: str) -> bytes | None:
        """The run's sealed plan, or None."""

    def scope(self, run_id: str, scope: str) -> Scope | None:
        """Where a scope hangs, or None; the caller checks its id with `scope_id`."""

    def values(self, run_id: str, scope: str, tokens: Sequence[str]) -> Sequence[bytes | None]:
        """Sealed whole values, read in bounded portions; None where nothing is stored. Tokens may begin with ``^``."""

    def blocks(self, run_id: str, scope: str, token: str, lo: int, hi: int) -> Iterable[Block]:
        """Sealed blocks that overlap ``[lo, hi)``, in order of `lo`, read in bounded portions.

        Where blocks overlap each other, the one of the highest attempt holds.
        """

    def failures(self, run_id: str) -> Mapping[str, bytes]:
        """Sealed failures by piece."""

    def progress(self, run_id: str) -> Progress | None:
        """Counts by step, or None where there is no such run."""

    def events(self, run_id: str, after: str, limit: int) -> Sequence[Event]:
        """The run's events after the one with id `after` ("" from the start)."""

    def wait(self, run_id: str, timeout_seconds: float) -> str:
        """Wait until the run ends or the time is over; answer its state then."""

    def end(self, run_id: str, state: str, reason: str) -> str:
        """End a run that is not over as `state`; answer the state that it is in now."""

    def delete(self, run_id: str) -> None:
        """Forget everything of a run."""

    def announce(self, boot: str, queues: Sequence[str], slots: int) -> None:
        """Say that the worker `boot` is alive and serves `queues` with `slots` processes."""

    def retire(self, boot: str) -> None:
        """Say that the worker `boot` has left in good order."""

    def workers(self) -> Mapping[str, Mapping[str, Any]]:
        """Workers by boot id: {"queues", "slots", "age"} with the age of their last sign of life in seconds."""
