"""The store in this process: eager runs, `invoke` and tests use it. The same contract as Redis, but for times to live.

It mirrors lua/*.lua verb by verb; the contract tests run against both.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from dagcelery.errors import RunNotFound
from dagcelery.store import recovery, undoing
from dagcelery.store.base import (
    ROOT,
    Block,
    Child,
    Counts,
    Grant,
    Lost,
    NewRun,
    Outcome,
    Progress,
    Reply,
    RunRecord,
    Scope,
    Swept,
    Want,
)
from dagcelery.store.commits import commit, fail, open_scope, remember
from dagcelery.store.ledger import Claim, Ledger
from dagcelery.store.lookout import Lookout

_GONE = Reply(state="none", run="gone")


class MemoryStore(Lookout):
    """The verbs of `store.base.Store` on dicts, under one lock."""

    def __init__(self) -> None:
        super().__init__()
        self._looked_at: dict[str, float] = {}

    def ping(self) -> None:
        """This process answers."""

    def close(self) -> None:
        """Nothing is held open."""

    # -- writing ----------------------------------------------------------------------------------
    def create(self, run: NewRun) -> Reply:
        with self._changed:
            if run.id in self._runs:
                known = self._runs[run.id]
                return Reply("none", known.state, known.digest)
            ledger = self._runs[run.id] = Ledger(run)
            self._looked_at[run.id] = time.time()
            remember(ledger, ROOT, run.values, run.lists, run.blocks)
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
            if not _holds(ledger, grant, owner):
                recovery.forgive(ledger, grant, owner)
                if not recovery.retake(ledger, grant, owner):
                    return self._conclude(ledger, "stale", want, owner, token)
            ledger.claims.pop((grant.scope.id, grant.step, grant.lo), None)
            if outcome.done < grant.lo:
                outcome = replace(outcome, done=grant.hi)
            verdict, seconds = "committed", None
            commit(ledger, grant, outcome)
            if outcome.failure is not None:
                verdict, seconds = fail(ledger, grant, outcome, outcome.failure)
            return self._conclude(ledger, verdict, want, owner, token, seconds)

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
                open_scope(ledger, grant, child)
            if grant.hi == grant.lo >= 0:
                ledger.items_done(grant.scope.id, grant.step, grant.lo, grant.hi)
            del ledger.claims[grant.scope.id, grant.step, grant.lo]
            return self._conclude(ledger, "committed", want, owner, token)

    def number(self, run_id: str, bodies: int) -> int:
        with self._changed:
            if run_id not in self._runs:
                raise RunNotFound(run_id)
            self._runs[run_id].numbered += bodies
            return self._runs[run_id].numbered - bodies

    def release(self, run_id: str, grant: Grant, owner: str) -> None:
        self._release(run_id, grant, owner)

    def park(self, run_id: str, grant: Grant, owner: str, seconds: float) -> None:
        with self._changed:
            if self._release(run_id, grant, owner):
                recovery.park(self._runs[run_id], grant.scope.id, grant.step, seconds)

    def wake(self, run_id: str, step: str) -> Reply:
        with self._changed:
            ledger = self._runs.get(run_id)
            if ledger is None:
                return _GONE
            recovery.wake(ledger, *_place(step))
            return self._conclude(ledger, "none", None)

    def claimed(self, run_id: str, piece: str) -> str:
        with self._changed:
            scope, step, *lo = piece.split("/")
            ledger = self._runs.get(run_id)
            claim = ledger.claims.get((scope, int(step), int(lo[0]) if lo else -1)) if ledger else None
            return claim.owner if claim else ""

    def _release(self, run_id: str, grant: Grant, owner: str) -> bool:
        with self._changed:
            ledger = self._runs.get(run_id)
            if ledger is None or not _holds(ledger, grant, owner):
                return False
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
            return True

    def hint(self, run_id: str, queue: str, slots: int) -> int:
        with self._changed:
            ledger = self._runs.get(run_id)
            if ledger is None or ledger.is_over or ledger.held:
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

    def sweep(self, run_id: str, lost: Lost, wait_seconds: float, deaths: int = 3) -> Swept:
        with self._changed:
            ledger = self._runs.get(run_id)
            if ledger is None or (ledger.is_over and not ledger.hook and not ledger.claims):
                return Swept(ledger.state if ledger else "gone", 0, [])
            verdicts = {place: recovery.is_lost(claim, lost, wait_seconds) for place, claim in ledger.claims.items()}
            found = {place: died for place, (is_lost, died) in verdicts.items() if is_lost}
            for place, died in found.items():
                recovery.give_back(ledger, place, lost, deaths, died=died)
            self._come_due(ledger)
            is_fresh = bool(found or ledger.opened)
            ledger.opened = []
            if ledger.is_over or ledger.held:
                hints = recovery.due_hints(ledger, wait_seconds, is_fresh=is_fresh) if ledger.hook else []
                lasted, ledger.lasted = ledger.lasted, None
                return Swept(ledger.state, len(found), hints, held=ledger.held, lasted=lasted)
            hints = recovery.due_hints(ledger, wait_seconds, is_fresh=is_fresh)
            members = {name.rsplit("/", name.count("/") - 1)[0] for name in ledger.condemned}
            condemned = sorted(
                (ledger.entry(*_place(member))["q"], member)
                for member in members
                if recovery.is_claimable(ledger, member)
            )
            return Swept(ledger.state, len(found), hints, condemned)

    def _come_due(self, ledger: Ledger) -> None:
        if ledger.is_over:
            return
        recovery.come_due(ledger)
        if ledger.deadline is not None and time.time() > ledger.deadline:
            ledger.end("timed_out", "its deadline has passed")
        recovery.end_if_quiet(ledger)
        if ledger.is_over:
            self._changed.notify_all()

    def admit(self, run_id: str, still: str = "") -> Reply:
        with self._changed:
            ledger = self._runs.get(run_id)
            if ledger is None:
                return _GONE
            if ledger.held and not still:
                ledger.since = time.time()
            ledger.held = still if not ledger.is_over else ""
            if ledger.held:
                return self._conclude(ledger, "none", None)
            for waiting in ledger.ready.values():
                for _, scope, step in waiting if not ledger.is_over else ():
                    ledger.tell(scope, step, ledger.steps[scope, step].items)
            return self._conclude(ledger, "none", None)

    def resume(self, run_id: str, deadline_seconds: float | None = None) -> bool:
        with self._changed:
            ledger = self._runs.get(run_id)
            if ledger is None or not ledger.is_over or ledger.state == "done":
                return False
            recovery.resume(ledger, deadline_seconds)
            self._looked_at[run_id] = 0.0
            return True

    def rewind(self, run_id: str, steps: Sequence[int]) -> bool:
        with self._changed:
            ledger = self._runs.get(run_id)
            if ledger is None or not ledger.is_over or not steps:
                return False
            undoing.rewind(ledger, steps)
            return True

    def free(self, run_id: str) -> None:
        with self._changed:
            if run_id in self._runs:
                undoing.free(self._runs[run_id])

    def messages(self, run_id: str) -> Sequence[str]:
        with self._changed:
            ledger = self._runs.get(run_id)
            return sorted({claim.message for claim in ledger.claims.values()} - {""}) if ledger else []

    def expire(self, run_id: str, ttl_seconds: int) -> None:
        """Nothing expires here."""

    def due(self, limit: int, wait_seconds: float) -> Sequence[str]:
        with self._changed:
            now = time.time()
            for run_id in [
                r for r in self._looked_at if r not in self._runs or (self._runs[r].is_over and not self._runs[r].hook)
            ]:
                del self._looked_at[run_id]
            oldest = sorted(self._looked_at, key=self._looked_at.__getitem__)
            found = [r for r in oldest if self._looked_at[r] <= now - wait_seconds][:limit]
            self._looked_at.update(dict.fromkeys(found, now))
            return found

    def end(self, run_id: str, state: str, reason: str) -> Reply:
        with self._changed:
            ledger = self._runs.get(run_id)
            if ledger is None:
                return _GONE
            if not ledger.is_over:
                ledger.end(state, reason)
                self._changed.notify_all()
            return self._conclude(ledger, "none", None)

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

    def child_plans(self, run_id: str, bodies: Sequence[int]) -> Sequence[tuple[str, bytes] | None]:
        ledger = self._runs.get(run_id)
        return [ledger.plans.get(body) if ledger else None for body in bodies]

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

    # -- how a verb ends --------------------------------------------------------------------------
    def _conclude(
        self,
        ledger: Ledger,
        verdict: str,
        want: Want | None,
        owner: str = "",
        token: str = "",
        retry_seconds: float | None = None,
    ) -> Reply:
        if not ledger.is_over:
            recovery.come_due(ledger)
        grant = ledger.grant(want) if want and (not ledger.is_over or ledger.hook) else None
        if grant is None:
            recovery.end_if_quiet(ledger)
        opened, ledger.opened = ledger.opened, []
        completed, ledger.completed = ledger.completed, []
        lasted, ledger.lasted = ledger.lasted, None
        ready = 0
        if want:
            owner, token, ready = owner or want.owner, token or want.token, len(ledger.ready[want.queue])
            if want.arrived and want.queue in ledger.hints:
                pending, at = ledger.hints[want.queue]
                ledger.hints[want.queue] = (max(0, pending - 1), at)
        reply = Reply(verdict, ledger.state, ledger.digest, opened, ready, grant, retry_seconds, completed, lasted)
        if owner:
            ledger.answers[owner] = (token, reply)
        self._changed.notify_all()
        return reply


def _repeated(ledger: Ledger, owner: str, token: str) -> Reply | None:
    last = ledger.answers.get(owner)
    return last[1] if last and last[0] == token else None


def _holds(ledger: Ledger, grant: Grant, owner: str) -> bool:
    claim: Claim | None = ledger.claims.get((grant.scope.id, grant.step, grant.lo))
    return claim is not None and claim.attempt == grant.attempt and claim.owner == owner


def _counts(found: Mapping[str, float], scopes: int) -> Counts:
    return Counts(
        total=int(found.get("n", scopes)),
        running=max(0, int(found.get("r", 0))),
        done=int(found.get("d", 0)),
        failed=int(found.get("f", 0)),
        started=found.get("b", 0.0),
        ended=found.get("e", 0.0),
        retrying=int(found.get("w", 0)),
        skipped=int(found.get("k", 0)),
        cached=int(found.get("c", 0)),
    )


def _place(member: str) -> tuple[str, int]:
    scope, step = member.split("/")
    return scope, int(step)
