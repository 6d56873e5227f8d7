"""The store on Redis or Valkey: every key of a run shares a hash tag, has a TTL, and stands in the run's registry."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from dagcelery.errors import RunNotFound
from dagcelery.store import freeing, rewinding, wire
from dagcelery.store.base import (
    CHUNK_BYTES,
    CLOSE,
    ROOT,
    Block,
    Child,
    Completed,
    Grant,
    Lost,
    NewRun,
    Opened,
    Outcome,
    Progress,
    Reply,
    RunRecord,
    Scope,
    Swept,
    Want,
    scope_id,
)
from dagcelery.store.connection import ACTIVE, reservation_key, runs_key
from dagcelery.store.connection import key as key
from dagcelery.store.staging import Staging
from dagcelery.store.watching import Watching
from dagcelery.store.wire import STAGED


def _options_of(run: NewRun) -> dict[str, Any]:
    """What the record says of a run beyond its name, where it says anything."""
    start = run.topology[0]["start"] if run.topology else {}
    said = {
        "outlives": 1 if start.get("ff") == 0 else None,
        "hooks": run.topology[0]["close"]["q"] if start.get("hk") else None,
        "held": run.held or None,
        "reservation": run.reservation or None,
        "fingerprint": run.fingerprint or None,
    }
    return {name: value for name, value in said.items() if value}


class RedisStore(Watching):
    """The verbs of `store.base.Store`."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self._staging = Staging(self._run)

    # -- writing ----------------------------------------------------------------------------------
    def create(self, run: NewRun) -> Reply:
        values = {} if self.record(run.id) else self._prepare(run)
        request = {
            "name": run.name,
            "digest": run.digest,
            "ttl": run.ttl_seconds,
            "queues": sorted({entry["q"] for body in run.topology for entry in body.values()}),
            "tokens": list(values),
            "lists": dict(run.lists),
            "deadline": run.deadline_seconds,
            "bodies": len(run.topology),
        } | _options_of(run)
        # Before, so that no run is forgotten by the sweep; again after, since a look in between found no run.
        self._look({"run": run.id, "delay": 60})
        self.enroll(run.id, run.name)
        reply = self._call("create", run.id, request, *values.values())
        self._look({"run": run.id, "delay": 0})
        return reply

    def _prepare(self, run: NewRun) -> dict[str, bytes]:
        """Write all that is large; what is small is given back."""
        staging, ttl = self._staging, run.ttl_seconds
        staging.blocks(run.id, ROOT, 0, run.blocks, ttl)
        staging.plan(run.id, run.plan, ttl)
        staging.topology(run.id, run.topology, ttl)
        return staging.parameters(run.id, run.values, ttl)

    def claim(self, run_id: str, want: Want) -> Reply:
        return self._call("claim", run_id, {"owner": want.owner, "token": want.token, "want": wire.wanted(want)})

    def finish(self, run_id: str, grant: Grant, outcome: Outcome, owner: str, token: str, want: Want | None) -> Reply:
        request = wire.done(grant, outcome, owner, token, want)
        payloads: list[bytes] = []
        home = grant.scope.parent if grant.step == CLOSE else grant.scope.id
        if outcome.values:
            # What closes a scope writes in the parent, where it must not meet what attempts there have staged.
            attempt = f"{grant.attempt}c" if grant.step == CLOSE else grant.attempt
            values = self._staging.values(run_id, home, attempt, outcome.values)
            request["tokens"] = list(values)
            payloads += values.values()
        if outcome.blocks:
            blocks, rest = wire.few(outcome.blocks)
            # Results of items stand beside those of other attempts, the latest wins; a list belongs to one attempt.
            of_items = grant.step == CLOSE or grant.lo >= 0
            self._staging.blocks(run_id, home, 0 if of_items else grant.attempt, rest)
            request["blocks"] = [(b.token, b.lo, b.hi, b.attempt) for b in blocks]
            payloads += [b.data for b in blocks]
        verb = "finish"
        if outcome.failure is not None:
            verb = "fail"
            payloads += [*(b.data for b in outcome.markers), outcome.failure]
        answer = self._run(verb, run_id, request, *payloads)
        head, opened, completed = wire.header(answer), list[Opened](), list[Completed]()
        while head.get("more"):
            opened += wire.opened(head)
            completed += wire.completed(head)
            request["from"] = head["more"]
            answer = self._run(verb, run_id, request, *payloads)
            head = wire.header(answer)
        reply = wire.reply(answer, head)
        if not opened and not completed:
            return reply
        return replace(reply, opened=[*opened, *reply.opened], completed=[*completed, *reply.completed])

    def delegate(
        self, run_id: str, grant: Grant, children: Sequence[Child], owner: str, token: str, want: Want | None
    ) -> Reply:
        request = wire.piece(grant) | {"owner": owner, "token": token}
        if want is not None:
            request["want"] = wire.wanted(want)
        opened: list[Opened] = []
        start = 0
        while True:
            described, payloads = self._describe(run_id, grant, children[start:])
            last = start + len(described) == len(children)
            answer = self._run(
                "delegate", run_id, request | {"children": described, "from": start, "last": last}, *payloads
            )
            head = wire.header(answer)
            opened += wire.opened(head)
            if not head.get("more"):
                return replace(wire.reply(answer, head), opened=opened)
            start = head["more"]

    def _describe(
        self, run_id: str, grant: Grant, children: Sequence[Child]
    ) -> tuple[list[dict[str, Any]], list[bytes]]:
        """Say what scopes to open, as many as fit into one script, and what bytes they begin with."""
        described: list[dict[str, Any]] = []
        payloads: list[bytes] = []
        left = CHUNK_BYTES
        for child in islice(children, 100):
            scope = scope_id(run_id, grant.scope.id, grant.step, child.index)
            values = self._staging.values(run_id, scope, grant.attempt, child.values)
            blocks, rest = wire.few(child.blocks)
            left -= sum(map(len, values.values())) + sum(len(b.data) for b in blocks)
            if left < 0 and described:
                break
            self._staging.blocks(run_id, scope, grant.attempt, rest)
            payloads += [*values.values(), *(b.data for b in blocks)]
            about = [(b.token, b.lo, b.hi, b.attempt) for b in blocks]
            said = {"id": scope, "index": child.index, "tokens": list(values), "lists": dict(child.lists)}
            if child.plan is not None:
                self._staging.child_plan(run_id, scope, child.plan)
                said |= {"body": child.plan.body, "queues": child.plan.queues}
            described.append(said | {"blocks": about})
        return described, payloads

    def number(self, run_id: str, bodies: int) -> int:
        first = json.loads(self._run("number", run_id, {"count": bodies})[0]).get("first")
        if first is None:
            raise RunNotFound(run_id)
        return int(first)

    def release(self, run_id: str, grant: Grant, owner: str) -> None:
        self._run("release", run_id, wire.piece(grant) | {"owner": owner})

    def hint(self, run_id: str, queue: str, slots: int) -> int:
        request = {"queue": queue, "slots": slots, "token": uuid.uuid4().hex}
        return int(json.loads(self._run("hint", run_id, request)[0])["hints"])

    def sweep(self, run_id: str, lost: Lost, wait_seconds: float, deaths: int = 3) -> Swept:
        request = wire.lost(lost, wait_seconds, deaths)
        released, hints, lasted = 0, list[str](), None
        while True:
            answer = json.loads(self._run("sweep", run_id, request)[0])
            released += answer["released"]
            lasted = answer.get("lasted", lasted)
            hints += [queue for queue in answer.get("hints", ()) if queue not in hints]
            if not answer.get("more"):
                break
        if answer.get("lapsing"):
            self.expire(run_id, 0)
        condemned = sorted({(queue, step) for queue, step in answer.get("condemned") or ()})
        return Swept(answer["run"], released, hints, condemned, answer.get("held") or "", lasted)

    def admit(self, run_id: str, still: str = "") -> Reply:
        return self._call("admit", run_id, {"still": still or None})

    def park(self, run_id: str, grant: Grant, owner: str, seconds: float) -> None:
        self._run("park", run_id, wire.piece(grant) | {"owner": owner, "seconds": seconds})

    def wake(self, run_id: str, step: str) -> Reply:
        return self._call("wake", run_id, {"step": step})

    def claimed(self, run_id: str, piece: str) -> str:
        with self._reachable():
            claim = self._client.hget(key(run_id, "c"), piece)
        return claim.decode().split("|")[2] if claim else ""

    def resume(self, run_id: str, deadline_seconds: float | None = None) -> bool:
        request = {"token": uuid.uuid4().hex, "deadline": deadline_seconds}
        self._look({"run": run_id, "delay": 60})
        while True:
            answer = json.loads(self._run("resume", run_id, request)[0])
            if answer.get("rewinding"):
                self.rewind(run_id, ())
            elif not answer.get("more"):
                break
        if answer.get("resumed"):
            self.expire(run_id, 0)
        self._look({"run": run_id, "delay": 0})
        return bool(answer.get("resumed"))

    def rewind(self, run_id: str, steps: Sequence[int]) -> bool:
        with self._reachable():
            return rewinding.rewind(self._client, self._run, run_id, partial(key, run_id), steps)

    def free(self, run_id: str) -> None:
        with self._reachable():
            freeing.free(self._client, self._run, run_id, partial(key, run_id))

    def messages(self, run_id: str) -> Sequence[str]:
        with self._reachable():
            claims = self._client.hvals(key(run_id, "c"))
        return sorted({claim.decode().split("|")[3] for claim in claims if claim} - {""})

    def expire(self, run_id: str, ttl_seconds: int) -> None:
        """0 seconds: as long as at first. The record comes last, which says that it was done."""
        registry = key(run_id, "k")
        with self._reachable():
            first, reservation = self._client.hmget(key(run_id), "ttl", "reservation")
            ttl = ttl_seconds or int(first or 0)
            for portion in wire.portions(self._client.sscan_iter(registry, count=500), 500):
                pipeline = self._client.pipeline(transaction=False)
                for name in portion:
                    pipeline.expire(key(run_id, name.decode()), ttl)
                pipeline.execute()
            if reservation and self._client.get(kept := reservation_key(reservation.decode())) == run_id.encode():
                self._client.expire(kept, ttl)
            self._client.expire(registry, ttl)
            self._client.expire(key(run_id), ttl)

    def due(self, limit: int, wait_seconds: float) -> Sequence[str]:
        runs = [run.decode() for run in self._look({"wait": wait_seconds, "limit": limit})]
        over = [run_id for run_id in runs if self._is_settled(run_id)]
        if over:
            with self._reachable():
                self._client.zrem(ACTIVE, *over)
        return [run_id for run_id in runs if run_id not in over]

    def _is_settled(self, run_id: str) -> bool:
        """Whether nobody need look at a run any more: it is over, and nobody works on it."""
        record = self.record(run_id)
        if record is None or not record.is_over or record.hook:
            return record is None
        with self._reachable():
            return bool(self._client.hlen(key(run_id, "c")) < 2)

    def end(self, run_id: str, state: str, reason: str) -> Reply:
        return self._call("end", run_id, {"final": state, "reason": reason})

    def delete(self, run_id: str) -> None:
        registry, waited = key(run_id, "k"), key(run_id, "w")
        with self._reachable():
            name = self._client.hget(key(run_id), "name")
            # From here on there is no such run, and who waits for it is told.
            first = self._client.pipeline().unlink(key(run_id)).xadd(waited, {"state": "gone"})
            first.expire(waited, 60).execute()
            for portion in wire.portions(self._client.sscan_iter(registry, count=500), 500):
                self._client.unlink(*(key(run_id, name.decode()) for name in portion))
            self._client.unlink(registry, waited)
            self._client.zrem(ACTIVE, run_id)
            for names in {runs_key(), runs_key(name.decode() if name else "")}:
                self._client.zrem(names, run_id)

    # -- reading ----------------------------------------------------------------------------------
    def record(self, run_id: str) -> RunRecord | None:
        with self._reachable():
            found = {k.decode(): v.decode() for k, v in self._client.hgetall(key(run_id)).items()}
        return wire.record(run_id, found) if "state" in found else None

    def plan(self, run_id: str) -> bytes | None:
        return self._chunks(run_id, "plan") or None

    def child_plans(self, run_id: str, bodies: Sequence[int]) -> Sequence[tuple[str, bytes] | None]:
        with self._reachable():
            return wire.child_plans(self._client, [key(run_id, "g", body) for body in bodies])

    def scope(self, run_id: str, scope: str) -> Scope | None:
        if scope == ROOT:
            return Scope(ROOT)
        with self._reachable():
            text = self._client.hget(key(run_id, "sc"), scope)
        if text is None:
            return None
        parent, step, index, body, depth, _ = text.decode().split("/")
        return Scope(scope, parent, int(step), int(index), int(body), int(depth))

    def values(self, run_id: str, scope: str, tokens: Sequence[str]) -> Sequence[bytes | None]:
        found: list[bytes | None] = []
        while len(found) < len(tokens):
            request = {"scope": scope, "tokens": tokens[len(found) : len(found) + 500]}
            found += self._run("values", run_id, request)
        return [self._unstaged(run_id, data) if data else None for data in found]

    def blocks(self, run_id: str, scope: str, token: str, lo: int, hi: int) -> Iterator[Block]:
        while lo < hi:
            request = {"scope": scope, "token": token, "lo": lo, "hi": hi}
            lo, found = self._run("blocks", run_id, request)
            for block in wire.blocks(token, found):
                yield (replace(block, data=self._unstaged(run_id, block.data)) if block.data[:1] == STAGED else block)

    def _unstaged(self, run_id: str, data: bytes) -> bytes:
        return self._chunks(run_id, data[1:].decode()) if data[:1] == STAGED else data

    def _chunks(self, run_id: str, name: str) -> bytes:
        at = key(run_id, name)
        with self._reachable():
            count = self._client.hlen(at)
            return b"".join(self._client.hget(at, str(number)) or b"" for number in range(count))

    def failures(self, run_id: str) -> Mapping[str, bytes]:
        with self._reachable():
            return {piece.decode(): data for piece, data in self._client.hgetall(key(run_id, "f")).items()}

    def progress(self, run_id: str) -> Progress | None:
        with self._reachable():
            reads = self._client.pipeline(transaction=False).hgetall(key(run_id)).hgetall(key(run_id, "n"))
            record, numbers, claims = reads.hgetall(key(run_id, "c")).execute()
            if b"state" not in record:
                return None
            queues = json.loads(record[b"queues"])
            reads = self._client.pipeline(transaction=False)
            for queue in queues:
                reads.zcard(key(run_id, "r", queue))
            ready = {queue: max(0, size - 1) for queue, size in zip(queues, reads.execute(), strict=True)}
        texts = {k.decode(): v.decode() for k, v in record.items()}
        counts, scopes = wire.counters(numbers, claims)
        return Progress(wire.record(run_id, texts), counts, scopes, ready)

    # -- how a verb is called ---------------------------------------------------------------------
    def _run(self, verb: str, run_id: str, request: dict[str, Any], *payloads: bytes) -> Any:
        with self._reachable():
            return self._scripts.run(verb, key(run_id), request, *payloads)

    def _call(self, verb: str, run_id: str, request: dict[str, Any], *payloads: bytes) -> Reply:
        return wire.reply(self._run(verb, run_id, request, *payloads))
