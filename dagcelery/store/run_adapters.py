"""One run over any server: what moves it, and what reads it; with the fleet they make a store.

Every key of a run shares a hash tag, has a TTL, and is in the run's registry. What is too large for one script is
staged ahead, in portions, under names that are not read before the commit.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import replace
from functools import partial
from itertools import chain, groupby, islice, starmap
from typing import Any

from dagcelery.errors import RunNotFound
from dagcelery.store import clearing, counting, garbage, wire
from dagcelery.store.fleet import FleetAdapter, enroll, look_at, moment
from dagcelery.store.protocol import ActiveRun, AsyncListen, Listen, ResultCache, Store, StoreServer, Waiting
from dagcelery.store.records import (
    CELL,
    CHUNK_BYTES,
    CLOSE,
    ROOT,
    Block,
    Child,
    ChildPlan,
    Claim,
    ClaimRequest,
    Completed,
    Counts,
    Event,
    Logged,
    Lost,
    NewRun,
    Outstanding,
    Progress,
    ReadyStep,
    Response,
    RunRecord,
    Scope,
    Spot,
    Swept,
    TaskResult,
    scope_id,
)
from dagcelery.store.survey import ScopeSurvey, Survey
from dagcelery.store.wire import STAGED

_OTHERS = 50
"""Workers that a refusal asks the store about."""

_WHY_CHARACTERS = 500
_PORTION = 100
_LOGS = 20
_READY_STEPS = 100
"""Ready steps of a run that are looked at to say how many pieces wait, and for how long."""
_FEW_VALUES = 2
"""Values that a command may read at once, as each takes half a megabyte at most."""


class ReaderAdapter:
    """The verbs of `protocol.RunReader`."""

    def __init__(self, server: StoreServer) -> None:
        self._server = server
        self._keys = server.keys

    def record(self, run_id: str) -> RunRecord | None:
        return wire.record(run_id, self._server.client.hgetall(self._keys.run(run_id)))

    def plan(self, run_id: str) -> bytes | None:
        return wire.plan(self._server.command, self._keys.topology(run_id, 0))

    def child_plans(self, run_id: str, bodies: Sequence[int]) -> Sequence[tuple[str, bytes] | None]:
        return wire.child_plans(self._server.client, [self._keys.topology(run_id, body) for body in bodies])

    def scope(self, run_id: str, scope: str) -> Scope | None:
        if scope == ROOT:
            return Scope(ROOT)
        text = self._server.client.hget(self._keys.run(run_id, "sc"), scope)
        return wire.scope(scope, text) if text is not None else None

    def scopes(self, run_id: str, scopes: Sequence[str]) -> Sequence[Scope]:
        texts = self._server.client.hmget(self._keys.run(run_id, "sc"), *scopes) if scopes else ()
        return [wire.scope(name, text) for name, text in zip(scopes, texts, strict=True) if text is not None]

    def values(self, run_id: str, scope: str, tokens: Sequence[str]) -> Sequence[bytes | None]:
        values: list[bytes | None] = []
        if len(tokens) <= _FEW_VALUES and not any(token.startswith("^") for token in tokens):
            values = self._server.command("HMGET", self._keys.run(run_id, "o", scope), *tokens) if tokens else []
        while len(values) < len(tokens):
            request = {"scope": scope, "tokens": tokens[len(values) : len(values) + 500]}
            values += self._run("values", run_id, request)
        return [self._unstaged(run_id, data) if data else None for data in values]

    def glimpse(self, run_id: str, scope: str, token: str, most: int) -> tuple[int, bytes | None]:
        at, client = self._keys.run(run_id, "o", scope), self._server.client
        size = int(client.hstrlen(at, token))
        data: bytes | None = client.hget(at, token) if 0 < size <= most else None
        if data is not None and data[:1] == STAGED:
            return int(client.hlen(self._keys.run(run_id, data[1:].decode()))) * CHUNK_BYTES, None
        return size, data

    def first_blocks(self, run_id: str, scope: str, token: str, lo: int, hi: int) -> Sequence[Block]:
        _, pairs = self._run("blocks", run_id, {"scope": scope, "token": token, "lo": lo, "hi": hi})
        return [replace(block, data=b"") if block.data[:1] == STAGED else block for block in wire.blocks(token, pairs)]

    def blocks(self, run_id: str, scope: str, token: str, lo: int, hi: int) -> Iterator[Block]:
        while lo < hi:
            request = {"scope": scope, "token": token, "lo": lo, "hi": hi}
            lo, pairs = self._run("blocks", run_id, request)
            for block in wire.blocks(token, pairs):
                yield replace(block, data=self._unstaged(run_id, block.data)) if block.data[:1] == STAGED else block

    def failures(self, run_id: str, most: int | None = None) -> Mapping[str, bytes]:
        at, client = self._keys.run(run_id, "f"), self._server.client
        found = client.hgetall(at).items() if most is None else islice(client.hscan_iter(at, count=500), most)
        return {piece.decode(): data for piece, data in found}

    def failure(self, run_id: str, piece: str) -> bytes | None:
        found: bytes | None = self._server.client.hget(self._keys.run(run_id, "f"), piece)
        return found

    def logged(self, run_id: str) -> Sequence[Logged]:
        names = (name.decode() for name in self._server.client.hkeys(self._keys.run(run_id, "lg")))
        return [Logged.parse(name) for name in names if not name.startswith("#")]

    def logs(self, run_id: str, logged: Sequence[Logged]) -> Sequence[bytes | None]:
        names, found = wire.portions((each.name for each in logged), _LOGS), list[bytes | None]()
        for portion in names:
            found += self._server.client.hmget(self._keys.run(run_id, "lg"), *portion)
        return found

    def progress(self, run_id: str, *, counted: bool = True) -> Progress | None:
        return counting.progress(self._server, run_id, counted=counted)

    def claimed(self, run_id: str, piece: str) -> str:
        record = self._server.client.hget(self._keys.run(run_id, "c"), piece)
        return wire.claim_record(record).owner if record else ""

    def messages(self, run_id: str) -> Sequence[str]:
        records = self._server.client.hvals(self._keys.run(run_id, "c"))
        return sorted({wire.claim_record(record).message for record in records if record} - {""})

    # -- what happens ------------------------------------------------------------------------------
    def events(self, run_id: str, after: str, limit: int) -> Sequence[Event]:
        """The entry that `after` names is read along: if it is not there any more, others may have gone with it."""
        stored = self._server.client.xrange(self._keys.run(run_id, "e"), min=after or "-", count=limit + 1)
        events = [wire.event(entry_id, fields) for entry_id, fields in stored]
        if after and events and events[0].id == after:
            return events[1:]
        is_whole = not events or (events[0].kind == "created" and not after)
        gap = [] if is_whole else [Event(after or "0-0", "missed", "", 0, -1, 0, 0.0, 0.0)]
        return [*gap, *events][:limit]

    def last_event(self, run_id: str) -> str:
        newest = self._server.client.xrevrange(self._keys.run(run_id, "e"), count=1)
        return str(newest[0][0].decode()) if newest else ""

    def waiting(self, run_ids: Sequence[str]) -> Mapping[str, ActiveRun]:
        now, found = moment(self._server), dict[str, ActiveRun]()
        for portion in wire.portions(run_ids, _PORTION):
            calls = [("ready", self._keys.run(run_id), {"most": _READY_STEPS}) for run_id in portion]
            for run_id, text in zip(portion, self._server.run_together(calls), strict=True):
                if text:
                    dag, rows = json.loads(text)
                    waiting = [Waiting(queue, n, max(0.0, now - at) if at else None) for queue, n, at in rows]
                    found[run_id] = ActiveRun(dag, waiting)
        return found

    def foreseen(self, run_id: str, places: Sequence[Spot]) -> Mapping[tuple[int, int], int]:
        return clearing.foreseen(self._server, run_id, places)

    def listening(self, run_id: str) -> AbstractContextManager[Listen]:
        return self._server.listening(run_id)

    def alistening(self, run_id: str) -> AbstractAsyncContextManager[AsyncListen]:
        return self._server.alistening(run_id)

    def outstanding(self, run_id: str) -> Outstanding:
        reads = partial(counting.read_outstanding, keys=self._keys, run_id=run_id)
        return wire.outstanding(*counting.together(self._server.client, reads))

    def within(self, run_id: str, scopes: Mapping[str, Sequence[int]]) -> Mapping[str, Mapping[int, Counts]]:
        counts: dict[str, dict[int, Counts]] = {}
        asking = [(scope, part) for scope, steps in scopes.items() for part in wire.portions(steps, _PORTION)]
        for portion in wire.portions(asking, 10):
            asked = self._server.client.pipeline(transaction=False)
            for scope, steps in portion:
                asked.hmget(self._keys.run(run_id, "s", scope), "left", "closed", "skipped", *wire.step_fields(steps))
            for (scope, steps), (left, closed, skipped, *state) in zip(portion, asked.execute(), strict=True):
                if left is not None:
                    closing = {CLOSE: Counts(total=1, done=int(closed or 0), skipped=int(skipped or 0))}
                    counts.setdefault(scope, closing).update(wire.step_counts(steps, state))
        return counts

    def done(self, run_id: str, scope: str, step: int) -> Set[int]:
        # An item that moves on while it is looked for may be found in no place; in two looks that is hardly so twice.
        return self._done(run_id, scope, step) & self._done(run_id, scope, step)

    def _done(self, run_id: str, scope: str, step: int) -> Set[int]:
        survey = Survey(self._server, run_id)
        place = survey.scope(scope)
        if place is None or step not in survey.body(place.body):
            return set()
        return ScopeSurvey(survey, place).done(step)

    def _unstaged(self, run_id: str, data: bytes) -> bytes:
        return self._chunks(run_id, data[1:].decode()) if data[:1] == STAGED else data

    def _chunks(self, run_id: str, name: str) -> bytes:
        at = self._keys.run(run_id, name)
        count = self._server.client.hlen(at)
        return b"".join(self._server.client.hget(at, str(number)) or b"" for number in range(count))

    def _run(self, verb: str, run_id: str, request: Mapping[str, Any]) -> Any:
        return self._server.run(verb, self._keys.run(run_id), request)


class MachineAdapter:
    """The verbs of `protocol.RunMachine`."""

    def __init__(self, server: StoreServer) -> None:
        self._server = server
        self._keys = server.keys
        self._stager = Stager(self._run)

    def reserve(self, reservation: str, run_id: str, ttl_seconds: int, instead_of: str = "") -> str:
        request = {"run": run_id, "instead_of": instead_of, "ttl": ttl_seconds}
        return str(self._server.run("reserve", self._keys.reservation(reservation), request).decode())

    def create(self, run: NewRun) -> Response:
        parts = self._stager.new_run(run)
        about = wire.new_run(run) | {"parts": [(name, [field for field, _ in fields]) for name, fields in parts]}
        payloads = [data for _, fields in parts for _, data in fields]
        create = ("create", self._keys.run(run.id), about, *payloads)
        _, answer, _ = self._server.run_together(
            [enroll(self._keys, run.id, run.name), create, look_at(self._keys, run.id, 0)]
        )
        return wire.response(answer)

    def admit(self, run_id: str, still: str = "") -> Response:
        return self._call("admit", run_id, {"still": still or None})

    def claim(self, run_id: str, request: ClaimRequest) -> Response:
        about = {"owner": request.owner, "token": request.token, "want": wire.claim_request(request)}
        return self._call("claim", run_id, about)

    def finish(
        self,
        run_id: str,
        executed: Sequence[tuple[Claim, TaskResult]],
        owner: str,
        token: str,
        request: ClaimRequest | None,
    ) -> Response:
        verb, payloads, pieces = "finish", list[bytes](), list[dict[str, Any]]()
        about: dict[str, Any] = {"owner": owner, "token": token, "pieces": pieces}
        if request is not None:
            about["want"] = wire.claim_request(request)
        for claim, result in executed:
            pieces.append(said := wire.result(claim, result))
            payloads += self._stage_outputs(run_id, claim, result, said)
            payloads += [result.log] if result.log else []
        if result.failure is not None:
            verb, about["seed"] = "fail", wire.seed()
            payloads += [*(b.data for blocks in result.markers.values() for b in blocks), result.failure]
        ready, completed = list[ReadyStep](), list[Completed]()
        while True:
            answer = self._run(verb, run_id, about, *payloads)
            head = wire.header(answer)
            if not head.get("more"):
                break
            ready += wire.opened(head)
            completed += wire.completed(head)
            about["from"] = head["more"]
        response = wire.response(answer, head)
        if not ready and not completed:
            return response
        return replace(response, opened=[*ready, *response.opened], completed=[*completed, *response.completed])

    def _stage_outputs(self, run_id: str, claim: Claim, result: TaskResult, about: dict[str, Any]) -> list[bytes]:
        """Write what is large ahead; name the rest in the request, and return its bytes."""
        payloads: list[bytes] = []
        home = claim.scope.parent if claim.step == CLOSE else claim.scope.id
        if result.values:
            # What closes a scope writes in the parent, where it must not meet what attempts there have staged.
            attempt = f"{claim.attempt}c" if claim.step == CLOSE else claim.attempt
            values = self._stager.values(run_id, home, attempt, result.values)
            about["tokens"] = list(values)
            payloads += values.values()
        if result.blocks:
            blocks, rest = wire.few(result.blocks)
            # Results of items are kept beside those of other attempts, the latest wins; a list belongs to one attempt.
            of_items = claim.step == CLOSE or claim.lo >= 0
            self._stager.blocks(run_id, home, 0 if of_items else claim.attempt, rest)
            about["blocks"] = wire.block_names(blocks)
            payloads += [b.data for b in blocks]
        return payloads

    def delegate(
        self,
        run_id: str,
        claim: Claim,
        children: Sequence[Child],
        owner: str,
        token: str,
        request: ClaimRequest | None,
        log: bytes = b"",
    ) -> Response:
        about = wire.piece(claim) | {"owner": owner, "token": token}
        if request is not None:
            about["want"] = wire.claim_request(request)
        ready: list[ReadyStep] = []
        start = 0
        while True:
            described, payloads = self._describe(run_id, claim, children[start:])
            last = start + len(described) == len(children)
            portion = about | {"children": described, "from": start, "last": last}
            if log and last:
                portion["log"] = True
                payloads.append(log)
            answer = self._run("delegate", run_id, portion, *payloads)
            head = wire.header(answer)
            ready += wire.opened(head)
            if not head.get("more"):
                return replace(wire.response(answer, head), opened=ready)
            start = head["more"]

    def _describe(
        self, run_id: str, claim: Claim, children: Sequence[Child]
    ) -> tuple[list[dict[str, Any]], list[bytes]]:
        """Say what scopes to open, as many as fit into one script, and what bytes they begin with."""
        described: list[dict[str, Any]] = []
        payloads: list[bytes] = []
        left = CHUNK_BYTES
        for child in islice(children, 100):
            scope = scope_id(run_id, claim.scope.id, claim.step, child.index)
            values = self._stager.values(run_id, scope, claim.attempt, child.values)
            blocks, rest = wire.few(child.blocks)
            left -= sum(map(len, values.values())) + sum(len(b.data) for b in blocks)
            if left < 0 and described:
                break
            self._stager.blocks(run_id, scope, claim.attempt, rest)
            payloads += [*values.values(), *(b.data for b in blocks)]
            about = {"id": scope, "index": child.index, "tokens": list(values), "lists": dict(child.lists)}
            if child.plan is not None:
                self._stager.child_plan(run_id, scope, child.plan)
                about |= {"body": child.plan.body, "queues": child.plan.queues}
            described.append(about | {"blocks": wire.block_names(blocks)})
        return described, payloads

    def number(self, run_id: str, bodies: int) -> int:
        first = json.loads(self._run("number", run_id, {"count": bodies})[0]).get("first")
        if first is None:
            raise RunNotFound(run_id)
        return int(first)

    def release(self, run_id: str, claim: Claim, owner: str) -> None:
        self._run("release", run_id, wire.piece(claim) | {"owner": owner})

    def refuse(
        self,
        run_id: str,
        queue: str,
        owner: str,
        others: Sequence[str],
        why: str = "",
        claim: Claim | None = None,
    ) -> bool:
        about: dict[str, Any] = {"queue": queue, "owner": owner, "others": list(others)[:_OTHERS]}
        about |= {"why": why[:_WHY_CHARACTERS]} if why else {}
        about |= wire.piece(claim) if claim else {}
        return bool(json.loads(self._run("refuse", run_id, about)[0]).get("again"))

    def block(self, run_id: str, claim: Claim, owner: str, seconds: float) -> None:
        self._run("block", run_id, wire.piece(claim) | {"owner": owner, "seconds": seconds})

    def unblock(self, run_id: str, step: str) -> Response:
        return self._call("unblock", run_id, {"step": step})

    def wake_ups(self, run_id: str, queue: str, slots: int, *, is_leaving: bool = False) -> int:
        request = {"queue": queue, "slots": slots, "token": uuid.uuid4().hex}
        request |= {"leaving": True} if is_leaving else {}
        return int(json.loads(self._run("wake_ups", run_id, request)[0])["wake_ups"])

    def sweep(self, run_id: str, lost: Lost, wait_seconds: float, deaths: int = 3, *, is_fresh: bool = False) -> Swept:
        request = wire.lost(lost, wait_seconds, deaths) | ({"fresh": True} if is_fresh else {})
        released, wake_ups, lasted = 0, list[str](), None
        while True:
            answer = json.loads(self._run("sweep", run_id, request)[0])
            released += answer["released"]
            lasted = answer.get("lasted", lasted)
            wake_ups += [queue for queue in answer.get("wake_ups", ()) if queue not in wake_ups]
            if not answer.get("more"):
                break
        if answer.get("lapsing"):
            self.expire(run_id, 0)
        poisoned = sorted({(queue, step) for queue, step in answer.get("poisoned") or ()})
        return Swept(answer["run"], released, wake_ups, poisoned, answer.get("held") or "", lasted)

    def resume(self, run_id: str, deadline_seconds: float | None = None, epoch: int | None = None) -> bool:
        request = {"token": uuid.uuid4().hex, "deadline": deadline_seconds, "epoch": epoch}
        self._server.run(*look_at(self._keys, run_id, 60))
        while True:
            answer = json.loads(self._run("resume", run_id, request)[0])
            if answer.get("clearing"):
                self.clear(run_id, ())
            elif not answer.get("more"):
                break
        if answer.get("resumed"):
            self.expire(run_id, 0)
        self._server.run(*look_at(self._keys, run_id, 0))
        return bool(answer.get("resumed"))

    def clear(self, run_id: str, places: Sequence[Spot]) -> bool:
        return clearing.clear(self._server, run_id, places)

    def collect_garbage(self, run_id: str) -> None:
        garbage.collect_garbage(self._server, run_id)

    def end(self, run_id: str, state: str, reason: str) -> Response:
        return self._call("end", run_id, {"final": state, "reason": reason})

    def expire(self, run_id: str, ttl_seconds: int) -> None:
        """0 seconds: as long as at first. The record comes last, which says that it was done."""
        answer = json.loads(self._run("expire", run_id, {"ttl": ttl_seconds})[0])
        client, ttl = self._server.client, answer.get("ttl", 0)
        reserved = self._keys.reservation(answer["reservation"]) if "reservation" in answer else ""
        if reserved and client.get(reserved) == run_id.encode():
            client.expire(reserved, ttl)
        if answer.get("more"):
            for names in (*self._registered(run_id), [self._keys.run(run_id, "k"), self._keys.run(run_id)]):
                pipeline = client.pipeline(transaction=False)
                for name in names:
                    pipeline.expire(name, ttl)
                pipeline.execute()

    def delete(self, run_id: str) -> None:
        client, registry, waited = self._server.client, self._keys.run(run_id, "k"), self._keys.run(run_id, "w")
        name = client.hget(self._keys.run(run_id), "name")
        self._run("delete", run_id, {})
        for names in self._registered(run_id):
            client.unlink(*names)
        client.unlink(registry, waited)
        client.zrem(self._keys.active, run_id)
        for runs in {self._keys.runs(), self._keys.runs(name.decode() if name else "")}:
            client.zrem(runs, run_id)

    def _registered(self, run_id: str) -> Iterator[list[str]]:
        """The run's keys below its own, in portions."""
        names = self._server.client.sscan_iter(self._keys.run(run_id, "k"), count=500)
        return wire.portions((self._keys.run(run_id, name.decode()) for name in names), 500)

    def _run(self, verb: str, run_id: str, request: Mapping[str, Any], *payloads: bytes) -> Any:
        return self._server.run(verb, self._keys.run(run_id), request, *payloads)

    def _call(self, verb: str, run_id: str, request: Mapping[str, Any], *payloads: bytes) -> Response:
        return wire.response(self._run(verb, run_id, request, *payloads))


class Stager:
    """Stages through `run`, which runs a verb on a run. Only for a run that is not created yet is a `ttl` needed."""

    def __init__(self, run: Callable[..., Any]) -> None:
        self._run = run

    def new_run(self, run: NewRun) -> list[tuple[str, list[tuple[str, bytes]]]]:
        """Stage what is large of a new run; return the rest, fields by key, which one script can write."""
        first, left, fields_left = list[tuple[str, list[tuple[str, bytes]]]](), CHUNK_BYTES, wire.FIELDS_A_SCRIPT
        for name, fields in self._parts(run):
            for portion in wire.bounded(fields):
                size = sum(len(data) for _, data in portion)
                if size <= left and len(portion) <= fields_left:
                    left, fields_left = left - size, fields_left - len(portion)
                    first.append((name, portion))
                else:
                    self._stage(run.id, name, portion, run.ttl_seconds)
        return first

    def _parts(self, run: NewRun) -> Iterator[tuple[str, Iterable[tuple[str, bytes]]]]:
        """What a new run consists of, but for its record: fields by key."""

        def field(token: str, data: bytes) -> tuple[str, bytes]:
            if len(data) > CHUNK_BYTES:
                data = self._apart(run.id, f"x:{ROOT}:{token}@0", data, run.ttl_seconds)
            return token, data

        root, *bodies = map(wire.laid_out, run.topology)
        yield f"o:{ROOT}", chain(root, wire.plan_fields(run.plan), starmap(field, run.values.items()))
        for number, body in enumerate(bodies, 1):
            yield f"g:{number}", body
        yield from self._cells(run.id, ROOT, 0, run.blocks, run.ttl_seconds)

    def child_plan(self, run_id: str, scope: str, child: ChildPlan) -> None:
        """Stage a plan that a piece made, under a number of its own: it is read once its scope is opened."""
        parts = list(wire.plan_fields(child.plan))
        about = [("of", f"{scope}/{len(parts)}".encode())]
        for number, body in enumerate(child.topology):
            plan = (*about, *parts) if number == 0 else ()
            self._fields(run_id, f"g:{child.body + number}", chain(wire.topology_fields(body), plan))

    def values(self, run_id: str, scope: str, attempt: int | str, values: Mapping[str, bytes]) -> dict[str, bytes]:
        """Stage the values that are too large; return what the commit shall store for all."""
        if not values:
            return {}
        small, large = wire.split_by_size(values)
        for token, data in large.items():
            small[token] = self._apart(run_id, f"x:{scope}:{token}@{attempt}", data)
        return small

    def blocks(self, run_id: str, scope: str, attempt: int, blocks: Iterable[Block], ttl: int | None = None) -> None:
        """Stage blocks of lists, under the key of the attempt that made them."""
        for name, fields in self._cells(run_id, scope, attempt, blocks, ttl):
            self._fields(run_id, name, fields, ttl)

    def _cells(
        self, run_id: str, scope: str, attempt: int, blocks: Iterable[Block], ttl: int | None
    ) -> Iterator[tuple[str, Iterable[tuple[str, bytes]]]]:
        def field(block: Block) -> tuple[str, bytes]:
            data = block.data
            if len(data) > CHUNK_BYTES:
                data = self._apart(run_id, f"x:{scope}:{block.token}@{block.attempt}:{block.lo}", data, ttl)
            return f"{block.lo}:{block.hi}:{block.attempt}", data

        for (token, cell), group in groupby(blocks, lambda b: (b.token, b.lo // CELL)):
            yield f"b:{scope}:{token}@{attempt}:{cell}", map(field, group)

    def _apart(self, run_id: str, name: str, data: bytes, ttl: int | None = None) -> bytes:
        self._fields(run_id, name, wire.chunks(data), ttl)
        return STAGED + name.encode()

    def _fields(self, run_id: str, name: str, fields: Iterable[tuple[str, bytes]], ttl: int | None = None) -> None:
        for portion in wire.bounded(fields):
            self._stage(run_id, name, portion, ttl)

    def _stage(self, run_id: str, name: str, fields: Sequence[tuple[str, bytes]], ttl: int | None) -> None:
        request = {"key": name, "fields": [field for field, _ in fields], "ttl": ttl}
        self._run("stage", run_id, request, *(data for _, data in fields))


def assemble(server: StoreServer, cache: ResultCache) -> Store:
    """Return the store over a server, with a place for cached results."""
    return Store(server, MachineAdapter(server), ReaderAdapter(server), FleetAdapter(server, cache))
