"""One run in memory: the same moves as lua/prelude.lua, on dicts. Its caller holds the lock."""

from __future__ import annotations

import bisect
import math
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dagcelery.store.base import (
    CELL,
    CLOSE,
    HOOK,
    INLINE_BYTES,
    RANGE_ITEMS,
    ROOT,
    START,
    SUCCESSORS,
    TERMINAL,
    Block,
    Completed,
    Event,
    Grant,
    NewRun,
    Opened,
    Reply,
    RunRecord,
    Scope,
    Topology,
    Want,
)


@dataclass(slots=True)
class StepState:
    """What is known of one step in one scope."""

    arrived: int = 0
    attempts: int = 0
    base: int = 0
    items: int = -1
    done: int = 0
    claimed: int = 0
    gate: bool = False
    ranges: deque[tuple[int, int, int]] = field(default_factory=deque)
    item_arrivals: dict[int, int] = field(default_factory=dict)
    lost: dict[tuple[int, int], str] = field(default_factory=dict)
    skipped: int = 0
    begun: bool = False
    complete: bool = False
    freed: bool = False


@dataclass(slots=True)
class Claim:
    """Who works on a piece, up to which item, as which attempt."""

    hi: int
    attempt: int
    owner: str
    message: str
    started: float = field(default_factory=time.time)


class Due(NamedTuple):
    """What is to be looked at when its time comes: a "retry" of a piece, or the late "start" of a step."""

    at: float
    kind: str
    scope: str
    step: int
    lo: int = -1
    hi: int = -1
    attempts: int = 0


class Ledger:
    """State of one run, and how it moves."""

    def __init__(self, run: NewRun) -> None:
        self.id = run.id
        self.name = run.name
        self.digest = run.digest
        self.plan = run.plan
        self.state = "pending"
        self.created, self.started, self.ended, self.since = time.time(), 0.0, 0.0, 0.0
        self.span = run.deadline_seconds
        self.deadline = None if self.span is None else self.created + self.span
        self.failed = self.reason = self.hook = ""
        self.held, self.fingerprint, self.epoch, self.rewound = run.held, run.fingerprint, 1, 0
        self.topology: dict[int, dict[int, dict[str, Any]]] = {}
        self.add_bodies(0, run.topology)
        self.numbered = len(run.topology)
        self.plans: dict[int, tuple[str, bytes]] = {}
        self.scopes: dict[str, Scope] = {ROOT: Scope(ROOT)}
        self.sequence: dict[str, int] = {ROOT: 0}
        self.left: dict[str, int] = {}
        self.closed: set[str] = set()
        self.steps: dict[tuple[str, int], StepState] = defaultdict(StepState)
        self.values: dict[tuple[str, str], bytes] = {}
        self.lists: dict[tuple[str, str], int] = {}
        self.blocks: dict[tuple[str, str], dict[int, list[Block]]] = defaultdict(lambda: defaultdict(list))
        self.ready: dict[str, list[tuple[int, str, int]]] = defaultdict(list)
        self.claims: dict[tuple[str, int, int], Claim] = {}
        self.answers: dict[str, tuple[str, Reply]] = {}
        self.hints: dict[str, tuple[int, float]] = {}
        self.sweeps: dict[str, tuple[float, float]] = {}
        self.counts: dict[tuple[int, int], dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self.bodies: dict[int, int] = defaultdict(int, {0: 1})
        self.failures: dict[str, bytes] = {}
        self.standing: dict[str, int] = {}
        self.tries: dict[str, int] = defaultdict(int)
        self.deaths: dict[str, list[str]] = defaultdict(list)
        self.returns: dict[str, int] = defaultdict(int)
        self.condemned: dict[str, str] = {}
        self.due: list[Due] = []
        self.outlives = bool(run.topology) and run.topology[0]["start"].get("ff") == 0
        self.hooked = bool(run.topology) and bool(run.topology[0]["start"].get("hk"))
        self.log: list[Event] = []
        self.opened: list[Opened] = []
        self.completed: list[Completed] = []
        self.lasted: float | None = None

    # -- where things are -------------------------------------------------------------------------
    def add_bodies(self, first: int, topology: Topology) -> None:
        """Keep how the steps of some bodies hang together, numbered from `first` on."""
        for number, body in enumerate(topology, first):
            self.topology[number] = {_field(name): _entry(entry) for name, entry in body.items()}

    def size(self, body: int) -> int:
        """Steps in a body."""
        return sum(1 for step in self.topology[body] if step >= 0)

    def entry(self, scope: str, step: int) -> Mapping[str, Any]:
        """The topology of a step."""
        if step == HOOK:
            return {"q": self.topology[0][CLOSE]["q"], "x": "", "in": [], "ea": [], "s": [], "se": [], "n": 0, "e": 0}
        return self.topology[self.scopes[scope].body][step]

    def resolve(self, scope: str, token: str) -> tuple[str, str]:
        """Follow ``^`` at the front of a token, one scope up each."""
        while token.startswith("^"):
            scope, token = self.scopes[scope].parent, token[1:]
        return scope, token

    def record(self) -> RunRecord:
        """The run's record."""
        return RunRecord(
            self.id,
            self.name,
            self.state,
            self.digest,
            self.created,
            self.started,
            self.ended,
            self.epoch,
            self.failed,
            self.reason,
            self.deadline or 0.0,
            self.held,
            self.hook,
            self.fingerprint,
        )

    @property
    def is_over(self) -> bool:
        """Whether the run has ended."""
        return self.state in TERMINAL

    # -- readiness --------------------------------------------------------------------------------
    def make_ready(self, scope: str, step: int) -> bool:
        """Put a step on its queue's list: deep scopes first, then old ones, then by index. False if it was there."""
        waiting = self.ready[self.entry(scope, step)["q"]]
        member = self._order(scope, step)
        at = bisect.bisect_left(waiting, member)
        if at < len(waiting) and waiting[at] == member:
            return False
        waiting.insert(at, member)
        return True

    def open(self, scope: str, step: int) -> None:
        """All that a step waited for is there."""
        entry, state = self.entry(scope, step), self.steps[scope, step]
        over, by_item = entry["x"], entry["e"]
        if over:
            state.items = self.lists[self.resolve(scope, over)]
            state.gate = True
            counts = self.counts[self.scopes[scope].body, step]
            counts["n"] += state.items
            counts["k"] += bool(entry.get("br")) and not state.items
            if not by_item:
                state.ranges.append((0, state.items, 0))
        if not by_item or state.ranges:
            self.make_ready(scope, step)
        if entry.get("sw"):
            self.due.append(Due(time.time() + entry["sw"], "start", scope, step))
        self.opened.append(Opened(scope, self.scopes[scope].body, step, entry["q"], state.items))

    def tell(self, scope: str, step: int, items: int = -1) -> None:
        """Say that a step is ready, though others were told of it before."""
        self.opened.append(Opened(scope, self.scopes[scope].body, step, self.entry(scope, step)["q"], items))

    def announce(self, scope: str, step: int) -> None:
        """Tell the successors of a step that it is complete."""
        for successor in self.entry(scope, step)["s"]:
            self.arrive(scope, successor)

    def arrive(self, scope: str, step: int) -> None:
        """One of the steps that a step waits for is complete."""
        state = self.steps[scope, step]
        state.arrived += 1
        if state.arrived == max(1, self.entry(scope, step)["n"]):
            self.open(scope, step)

    def begin(self, scope: str) -> None:
        """A scope is there with its inputs: its first steps may start."""
        self.left[scope] = self.size(self.scopes[scope].body)
        if not self.left[scope]:
            self.complete(scope)
        elif len(self.entry(scope, START)["s"]) > SUCCESSORS:
            self.open(scope, START)
        else:
            self.announce(scope, START)

    def arrive_items(self, scope: str, step: int, lo: int, hi: int) -> None:
        """Items of a fan-out that another one waits for, item by item, are there."""
        entry, state = self.entry(scope, step), self.steps[scope, step]
        for i in range(lo, hi) if hi > lo else (-1,):
            state.item_arrivals[i] = state.item_arrivals.get(i, 0) + 1
            if state.item_arrivals[i] < entry["e"]:
                continue
            del state.item_arrivals[i]
            if state.ranges and state.ranges[-1][1:] == (i, 0) and i > lo:
                state.ranges[-1] = (state.ranges[-1][0], i + 1, 0)
            else:
                state.ranges.append((i, i + 1, 0) if i >= 0 else (0, 0, 0))
        if not state.gate and not entry["n"]:
            self.open(scope, step)
        elif state.gate and state.ranges and self.make_ready(scope, step):
            # Those who came for the first items have done them and gone: they are told again.
            self.tell(scope, step)

    # -- ends -------------------------------------------------------------------------------------
    def write(self, kind: str, piece: str, body: int, hi: int, attempt: int, started: float, seconds: float) -> None:
        """Add an entry to the run's stream."""
        self.log.append(Event(f"{len(self.log) + 1}-0", kind, piece, body, hi, attempt, started, seconds))

    def end(self, state: str, reason: str = "") -> None:
        """The run is over."""
        self.state, self.ended, self.reason = state, time.time(), reason
        self.lasted = self.ended - (self.started or self.created)
        self.write(state, "", 0, -1, 0, self.ended, 0.0)
        if self.hooked:
            self.hook = self.entry(ROOT, HOOK)["q"]
            self.make_ready(ROOT, HOOK)
            self.tell(ROOT, HOOK)

    def step_left(self, scope: str) -> None:
        """One step less to do in a scope."""
        self.left[scope] -= 1
        if not self.left[scope]:
            self.complete(scope)

    def complete(self, scope: str) -> None:
        """All steps of a scope are done: the run ends, or the scope's CLOSE is ready."""
        if scope != ROOT:
            self.open(scope, CLOSE)
        elif not self.is_over:
            self.end("done")

    def items_done(self, scope: str, step: int, lo: int, hi: int, skipped: int = 0) -> None:
        """Items of a fan-out are committed, some of them as skipped."""
        state = self.steps[scope, step]
        self.counts[self.scopes[scope].body, step]["d"] += hi - lo - skipped
        for successor in self.entry(scope, step)["se"]:
            self.arrive_items(scope, successor, lo, hi)
        state.done += hi - lo
        if state.done >= state.items:
            state.complete = True
            self.completed.append(Completed(scope, self.scopes[scope].body, step, state.items, state.skipped))
            self.step_left(scope)
            self.announce(scope, step)

    def give_back(self, scope: str, step: int, lo: int, hi: int, attempts: int) -> None:
        """Items that were claimed and not run may be claimed again."""
        if hi > lo:
            state = self.steps[scope, step]
            state.ranges.appendleft((lo, hi, attempts))
            state.claimed -= hi - lo
            self.make_ready(scope, step)

    # -- claims -----------------------------------------------------------------------------------
    def grant(self, want: Want) -> Grant | None:
        """Claim what is first on the wanted queue, or in focus."""
        waiting = self.ready[want.queue]
        at = self.position(waiting, f"{ROOT}/{HOOK}" if self.is_over else want.focus)
        if (self.held and not self.is_over) or (at is None and (self.is_over or want.only or not waiting)):
            return None
        member = waiting[at or 0]
        if self.state == "pending":
            self.state, self.started = "running", time.time()
        _, scope, step = member
        state, lo, hi = self.steps[scope, step], -1, -1
        if self.entry(scope, step)["x"]:
            lo, hi, attempt = self._take_range(scope, step, state, want)
        else:
            state.attempts += 1
            attempt = state.attempts
        if not state.ranges:
            del waiting[at or 0]
        self.claims[scope, step, lo] = Claim(hi, attempt, want.owner, want.message)
        counts = self.counts[self.scopes[scope].body, step]
        counts["r"] += 1 if lo < 0 else hi - lo
        counts.setdefault("b", time.time())
        name = f"{scope}/{step}"
        why = self.condemned.get(f"{name}/{lo}" if lo >= 0 else name) or self.condemned.get(name, "")
        inputs = ({}, {}) if why else self._inputs(scope, step, lo, hi)
        return Grant(self.scopes[scope], step, lo, hi, attempt, state.items, *inputs, why, self.rewound)

    def _order(self, scope: str, step: int) -> tuple[int, str, int]:
        return step + (self.sequence[scope] << 20) - (self.scopes[scope].depth << 42), scope, step

    def position(self, waiting: list[tuple[int, str, int]], focus: str) -> int | None:
        """Where a ready step, "scope/step", stands on its queue's list; None if it is not ready."""
        if not focus:
            return None
        scope, step = focus.split("/")
        if scope not in self.scopes:
            return None
        member = self._order(scope, int(step))
        at = bisect.bisect_left(waiting, member)
        return at if at < len(waiting) and waiting[at] == member else None

    def _take_range(self, scope: str, step: int, state: StepState, want: Want) -> tuple[int, int, int]:
        lo, hi, attempts = state.ranges.popleft()
        state.lost.pop((lo, hi), None)
        share = math.ceil((state.items - state.claimed) / (2 * max(1, want.slots)))
        # Each item may tell each of the steps that follow item by item.
        most = RANGE_ITEMS // max(1, 2 * len(self.entry(scope, step)["se"]))
        wanted = want.ranges.get(f"{self.scopes[scope].body}.{step}", 1)
        size = 1 if self.entry(scope, step).get("tl") else max(1, min(wanted, share, most))  # a time limit is an item's
        if hi - lo > size:
            state.ranges.appendleft((lo + size, hi, attempts))
            hi = lo + size
        state.claimed += hi - lo
        state.begun = True
        attempt = max(attempts, state.base) + 1
        if attempt > state.base + 1:
            state.attempts = max(state.attempts, attempt)
        return lo, hi, attempt

    def _inputs(
        self, scope: str, step: int, lo: int, hi: int
    ) -> tuple[dict[str, bytes | None], dict[str, list[Block]]]:
        """What travels along with a grant: small whole values, small blocks."""
        entry, left = self.entry(scope, step), INLINE_BYTES
        values: dict[str, bytes | None] = {}
        lists: dict[str, list[Block]] = {}
        for token in entry["in"] if len(entry["in"]) <= SUCCESSORS else ():
            data = self.values.get(self.resolve(scope, token))
            values[token] = data if data is not None and len(data) <= left else None
            left -= len(values[token] or b"")
        for token in entry["ea"] if hi > lo else ():
            found = list(self.find_blocks(scope, token, lo, hi))
            size = sum(len(block.data) for block in found)
            if size <= left:
                lists[token] = found
                left -= size
        return values, lists

    def find_blocks(self, scope: str, token: str, lo: int, hi: int) -> Iterator[Block]:
        """Blocks of a list that overlap ``[lo, hi)``."""
        cells = self.blocks.get(self.resolve(scope, token), {})
        for cell in range(lo // CELL, (hi - 1) // CELL + 1):
            for block in sorted(cells.get(cell, ()), key=lambda b: (b.lo, b.attempt)):
                if block.lo < hi and block.hi > lo:
                    yield block


def _entry(given: Mapping[str, Any]) -> dict[str, Any]:
    lists = {name: list(given.get(name) or ()) for name in ("s", "se", "in", "ea")}
    return dict(given) | lists | {"x": given.get("x") or "", "n": given.get("n") or 0, "e": given.get("e") or 0}


def _field(name: str) -> int:
    return {"start": START, "close": CLOSE}.get(name) or int(name)
