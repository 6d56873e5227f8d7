"""The store in this process: eager runs, `invoke` and tests use it. The same contract as Redis, but for times to live.

It mirrors lua/*.lua verb by verb; the contract tests run against both.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from dagcelery.store.base import (
    CELL,
    CLOSE,
    ROOT,
    START,
    Block,
    Child,
    Counts,
    Event,
    Grant,
    NewRun,
    Outcome,
    Progress,
    Reply,
    RunRecord,
    Scope,
    Swept,
    Want,
    scope_id,
)
from dagcelery.store.ledger import TERMINAL, Claim, Ledger

_GONE = Reply(state="none", run="gone")


class MemoryStore:
    """The verbs of `store.base.Store` on dicts, under one lock."""

    def __init__(self) -> None:
        self._runs: dict[str, Ledger] = {}
        self._looked_at: dict[str, float] = {}
        self._workers: dict[str, dict[str, Any]] = {}
        self._reserved: dict[tuple[str, str], str] = {}
        self._changed = threading.Condition(threading.RLock())

    def ping(self) -> None:
        """This process answers."""

    def close(self) -> None:
        """Nothing is held open."""

    # -- writing ----------------------------------------------------------------------------------
    def reserve(self, name: str, key: str, run_id: str, ttl_seconds: int) -> str:
        with self._changed:
            return self._reserved.setdefault((name, key), run_id)

    def create(self, run: NewRun) -> Reply:
        with self._changed:
            if run.id in self._runs:
                known = self._runs[run.id]
                return Reply("none", known.state, known.digest)
            ledger = self._runs[run.id] = Ledger(run)
            self._looked_at[run.id] = time.time()
            _remember(ledger, ROOT, run.values, run.lists, run.blocks)
            ledger.write("created", "", 0, -1, 0, ledger.created, 0.0)
            ledger.begin(ROOT)
            return self._conclude(ledger, "none", None)

    def claim(self, run_id: str, want: Want) -> Reply:
        with self._changed:
            ledger = self._runs.get(run_id)
            if ledger is None:
                return _GONE
            return _repeated(ledger, want.owner, want.token) or self._conclude(ledger, "none", want)

    def finish(self, run_id: str, grant: Grant, outcome: Outcome, owner: str, token: str, want: Want | None) -> Reply:
        with self._changed:
            ledger = self._runs.get(run_id)
            if ledger is None:
                return replace(_GONE, state="stale")
            if again := _repeated(ledger, owner, token):
                return again
            if not _holds(ledger, grant, owner) and not ledger.retake(grant, owner):
                return self._conclude(ledger, "stale", want, owner, token)
            ledger.claims.pop((grant.scope.id, grant.step, grant.lo), None)
            if outcome.done < grant.lo:
                outcome = replace(outcome, done=grant.hi)
            _commit(ledger, grant, outcome)
            if outcome.failure is not None:
                _fail(ledger, grant, outcome, outcome.failure)
            return self._conclude(ledger, "committed", want, owner, token)

    def delegate(
        self, run_id: str, grant: Grant, children: Sequence[Child], owner: str, token: str, want: Want | None
    ) -> Reply:
        with self._changed:
            ledger = self._runs.get(run_id)
            if ledger is None:
                return replace(_GONE, state="stale")
            if again := _repeated(ledger, owner, token):
                return again
            if not _holds(ledger, grant, owner):
                return self._conclude(ledger, "stale", want, owner, token)
            for child in children:
                _open_scope(ledger, grant, child)
            if grant.hi == grant.lo:
                ledger.items_done(grant.scope.id, grant.step, grant.lo, grant.hi)
            del ledger.claims[grant.scope.id, grant.step, grant.lo]
            return self._conclude(ledger, "committed", want, owner, token)

    def release(self, run_id: str, grant: Grant, owner: str) -> None:
        with self._changed:
            ledger = self._runs.get(run_id)
            if ledger is None or not _holds(ledger, grant, owner):
                return
            scope, step = grant.scope.id, grant.step
            del ledger.claims[scope, step, grant.lo]
            counts = ledger.counts[grant.scope.body, step]
            counts["r"] -= 1 if grant.lo < 0 else grant.hi - grant.lo
            if grant.lo >= 0:
                ledger.steps[scope, step].ranges.appendleft((grant.lo, grant.hi, grant.attempt - 1))
                ledger.steps[scope, step].claimed -= grant.hi - grant.lo
            else:
                ledger.steps[scope, step].attempts -= 1
            ledger.make_ready(scope, step)

    def hint(self, run_id: str, queue: str, slots: int) -> int:
        with self._changed:
            ledger = self._runs.get(run_id)
            if ledger is None or ledger.state in TERMINAL:
                return 0
            pending, at = ledger.hints.get(queue, (0, 0.0))
            pending = pending if time.time() - at <= 1 else 0
            claims = sum(1 for scope, step, _ in ledger.claims if ledger.entry(scope, step)["q"] == queue)
            free = max(0, slots - claims - pending)
            pieces = 0
            for _, scope, step in ledger.ready[queue][:free]:
                ranges = ledger.steps[scope, step].ranges
                pieces += sum(max(1, hi - lo) for lo, hi, _ in islice(ranges, free)) or 1
            hints = min(free, pieces)
            if hints:
                ledger.hints[queue] = (pending + hints, time.time())
            return hints

    def sweep(self, run_id: str, dead: Iterable[str], wait_seconds: float, alive: Iterable[str] | None = None) -> Swept:
        with self._changed:
            ledger = self._runs.get(run_id)
            if ledger is None or ledger.state in TERMINAL:
                return Swept(ledger.state if ledger else "gone", 0, [])
            if ledger.deadline is not None and time.time() > ledger.deadline:
                ledger.end("timed_out", "its deadline has passed")
                self._changed.notify_all()
                return Swept(ledger.state, 0, [])
            living = None if alive is None else set(alive)
            lost = [place for place, claim in ledger.claims.items() if claim.is_lost(set(dead), living, wait_seconds)]
            for place in lost:
                ledger.forget_claim(*place)
            return Swept(ledger.state, len(lost), _due_hints(ledger, bool(lost), wait_seconds))

    def due(self, limit: int, wait_seconds: float) -> Sequence[str]:
        with self._changed:
            now = time.time()
            for run_id in [r for r in self._looked_at if r not in self._runs or self._runs[r].state in TERMINAL]:
                del self._looked_at[run_id]
            oldest = sorted(self._looked_at, key=self._looked_at.__getitem__)
            found = [r for r in oldest if self._looked_at[r] <= now - wait_seconds][:limit]
            self._looked_at.update(dict.fromkeys(found, now))
            return found

    def end(self, run_id: str, state: str, reason: str) -> str:
        with self._changed:
            ledger = self._runs.get(run_id)
            if ledger is None:
                return "gone"
            if ledger.state not in TERMINAL:
                ledger.end(state, reason)
                self._changed.notify_all()
            return ledger.state

    def delete(self, run_id: str) -> None:
        with self._changed:
            self._runs.pop(run_id, None)
            self._changed.notify_all()

    # -- reading ----------------------------------------------------------------------------------
    def record(self, run_id: str) -> RunRecord | None:
        with self._changed:
            ledger = self._runs.get(run_id)
            return ledger.record() if ledger else None

    def plan(self, run_id: str) -> bytes | None:
        ledger = self._runs.get(run_id)
        return ledger.plan if ledger else None

    def scope(self, run_id: str, scope: str) -> Scope | None:
        ledger = self._runs.get(run_id)
        return ledger.scopes.get(scope) if ledger else None

    def values(self, run_id: str, scope: str, tokens: Sequence[str]) -> Sequence[bytes | None]:
        with self._changed:
            ledger = self._runs.get(run_id)
            if ledger is None:
                return [None] * len(tokens)
            return [ledger.values.get(ledger.resolve(scope, token)) for token in tokens]

    def blocks(self, run_id: str, scope: str, token: str, lo: int, hi: int) -> Iterator[Block]:
        ledger = self._runs.get(run_id)
        return ledger.find_blocks(scope, token, lo, hi) if ledger else iter(())

    def failures(self, run_id: str) -> Mapping[str, bytes]:
        with self._changed:
            ledger = self._runs.get(run_id)
            return dict(ledger.failures) if ledger else {}

    def progress(self, run_id: str) -> Progress | None:
        with self._changed:
            ledger = self._runs.get(run_id)
            if ledger is None:
                return None
            counts = {
                (body, step): _counts(found, ledger.bodies[body])
                for (body, step), found in ledger.counts.items()
                if step >= 0
            }
            ready = {queue: len(waiting) for queue, waiting in ledger.ready.items()}
            return Progress(ledger.record(), counts, dict(ledger.bodies), ready)

    def events(self, run_id: str, after: str, limit: int) -> Sequence[Event]:
        with self._changed:
            ledger = self._runs.get(run_id)
            first = int(after.split("-")[0]) if after else 0
            return ledger.log[first : first + limit] if ledger else []

    def wait(self, run_id: str, timeout_seconds: float) -> str:
        with self._changed:
            self._changed.wait_for(lambda: self._state(run_id) in (*TERMINAL, "gone"), timeout_seconds)
            return self._state(run_id)

    # -- workers ----------------------------------------------------------------------------------
    def announce(self, boot: str, queues: Sequence[str], slots: int) -> None:
        with self._changed:
            self._workers[boot] = {"queues": list(queues), "slots": slots, "at": time.time()}

    def retire(self, boot: str) -> None:
        with self._changed:
            self._workers.pop(boot, None)

    def workers(self) -> Mapping[str, Mapping[str, Any]]:
        with self._changed:
            return {boot: word | {"age": time.time() - word["at"]} for boot, word in self._workers.items()}

    # -- how a verb ends --------------------------------------------------------------------------
    def _conclude(self, ledger: Ledger, verdict: str, want: Want | None, owner: str = "", token: str = "") -> Reply:
        grant = ledger.grant(want) if want and ledger.state not in TERMINAL else None
        opened, ledger.opened = ledger.opened, []
        ready = 0
        if want:
            owner, token, ready = owner or want.owner, token or want.token, len(ledger.ready[want.queue])
            if want.arrived and want.queue in ledger.hints:
                pending, at = ledger.hints[want.queue]
                ledger.hints[want.queue] = (max(0, pending - 1), at)
        reply = Reply(verdict, ledger.state, ledger.digest, opened, ready, grant)
        if owner:
            ledger.answers[owner] = (token, reply)
        if ledger.state in TERMINAL:
            self._changed.notify_all()
        return reply

    def _state(self, run_id: str) -> str:
        return self._runs[run_id].state if run_id in self._runs else "gone"


def _repeated(ledger: Ledger, owner: str, token: str) -> Reply | None:
    last = ledger.answers.get(owner)
    return last[1] if last and last[0] == token else None


def _holds(ledger: Ledger, grant: Grant, owner: str) -> bool:
    claim: Claim | None = ledger.claims.get((grant.scope.id, grant.step, grant.lo))
    return claim is not None and claim.attempt == grant.attempt and claim.owner == owner


def _remember(
    ledger: Ledger, scope: str, values: Mapping[str, bytes], lists: Mapping[str, int], blocks: Iterable[Block]
) -> None:
    ledger.values.update({(scope, token): data for token, data in values.items()})
    ledger.lists.update({(scope, token): items for token, items in lists.items()})
    for block in blocks:
        ledger.blocks[scope, block.token][block.lo // CELL].append(block)


def _commit(ledger: Ledger, grant: Grant, outcome: Outcome) -> None:
    scope, step, body = grant.scope.id, grant.step, grant.scope.body
    counts = ledger.counts[body, step]
    counts["e"] = time.time()
    home = grant.scope.parent if step == CLOSE else scope
    _remember(ledger, scope, outcome.values, outcome.lists, ())
    _remember(ledger, home, {}, {}, outcome.blocks)
    if grant.lo >= 0:
        counts["r"] -= grant.hi - grant.lo
        failed = outcome.failure is not None
        ledger.give_back(scope, step, outcome.done + failed, grant.hi, grant.attempt - 1)
        if outcome.done > grant.lo or grant.hi == grant.lo:
            _log_items(ledger, grant, outcome)
            ledger.items_done(scope, step, grant.lo, outcome.done)
        return
    counts["r"] -= 1
    if outcome.failure is not None:
        return
    if step == CLOSE:
        _close(ledger, grant, outcome)
        return
    counts["d"] += 1
    if step != START:
        ledger.write("done", grant.piece, body, -1, grant.attempt, outcome.started, outcome.seconds)
        ledger.step_left(scope)
    ledger.announce(scope, step)


def _log_items(ledger: Ledger, grant: Grant, outcome: Outcome) -> None:
    body, size = grant.scope.body, outcome.done - grant.lo
    if grant.items > 1000:
        ledger.write("done", grant.piece, body, outcome.done, grant.attempt, outcome.started, outcome.seconds)
        return
    for i in range(grant.lo, outcome.done):
        name = f"{grant.scope.id}/{grant.step}/{i}"
        ledger.write("done", name, body, i + 1, grant.attempt, outcome.started, outcome.seconds / size)


def _close(ledger: Ledger, grant: Grant, outcome: Outcome) -> None:
    scope = grant.scope
    body = ledger.scopes[scope.parent].body
    ledger.counts[body, scope.step]["r"] -= 1
    name = f"{scope.parent}/{scope.step}/{scope.index}"
    ledger.write("done", name, body, scope.index + 1, grant.attempt, outcome.started, outcome.seconds)
    ledger.items_done(scope.parent, scope.step, scope.index, scope.index + 1)


def _fail(ledger: Ledger, grant: Grant, outcome: Outcome, failure: bytes) -> None:
    name = f"{grant.scope.id}/{grant.step}/{outcome.done}" if grant.lo >= 0 else grant.piece
    ledger.failures[name] = failure
    ledger.counts[grant.scope.body, grant.step]["f"] += 1
    ledger.write("failed", name, grant.scope.body, outcome.done + 1, grant.attempt, outcome.started, outcome.seconds)
    if ledger.state == "running":
        ledger.failed = name
        ledger.end("failed", name)


def _open_scope(ledger: Ledger, grant: Grant, child: Child) -> None:
    parent = grant.scope
    scope = scope_id(ledger.id, parent.id, grant.step, child.index)
    if scope in ledger.scopes:
        return
    body = ledger.entry(parent.id, grant.step)["b"]
    ledger.scopes[scope] = Scope(scope, parent.id, grant.step, child.index, body, parent.depth + 1)
    ledger.sequence[scope] = len(ledger.sequence)
    ledger.bodies[body] += 1
    _remember(ledger, scope, child.values, child.lists, child.blocks)
    ledger.begin(scope)


def _due_hints(ledger: Ledger, released: bool, wait_seconds: float) -> list[str]:
    hints, now = [], time.time()
    for queue, waiting in ledger.ready.items():
        due, last = ledger.sweeps.get(queue, (0.0, 0.0))
        if not waiting:
            ledger.sweeps.pop(queue, None)
        elif now >= due or released:
            wait = wait_seconds if released or not last else min(600.0, last * 2)
            ledger.sweeps[queue] = (now + wait, wait)
            hints.append(queue)
    return hints


def _counts(found: Mapping[str, float], scopes: int) -> Counts:
    return Counts(
        total=int(found.get("n", scopes)),
        running=max(0, int(found.get("r", 0))),
        done=int(found.get("d", 0)),
        failed=int(found.get("f", 0)),
        started=found.get("b", 0.0),
        ended=found.get("e", 0.0),
    )
