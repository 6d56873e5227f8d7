"""What moves a run, over any server: every key of a run shares a hash tag, has a TTL, and is in the run's registry."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from dagcelery.errors import RunNotFound
from dagcelery.store import clearing, wire
from dagcelery.store.fleet import enroll, look
from dagcelery.store.keys import ACTIVE, key, reservation_key, runs_key
from dagcelery.store.protocol import Server
from dagcelery.store.records import (
    CHUNK_BYTES,
    CLOSE,
    ROOT,
    START,
    Child,
    Claim,
    ClaimRequest,
    Completed,
    Lost,
    NewRun,
    ReadyStep,
    Response,
    Swept,
    TaskResult,
    scope_id,
)
from dagcelery.store.staging import Staging


def _options_of(run: NewRun) -> dict[str, Any]:
    """What the record says of a run beyond its name, where it says anything."""
    first = run.topology[0]
    said = {
        "outlives": None if first[START].fail_fast else 1,
        "hooks": first[CLOSE].queue if first[START].has_hooks else None,
        "held": run.held or None,
        "reservation": run.reservation or None,
        "fingerprint": run.fingerprint or None,
    }
    return {name: value for name, value in said.items() if value}


class MachineAdapter:
    """The verbs of `protocol.RunMachine`."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._staging = Staging(self._run)

    def reserve(self, reservation: str, run_id: str, ttl_seconds: int, instead_of: str = "") -> str:
        request = {"run": run_id, "instead_of": instead_of, "ttl": ttl_seconds}
        with self._server.reachable():
            return str(self._server.run("reserve", reservation_key(reservation), request).decode())

    def create(self, run: NewRun) -> Response:
        values = {} if self._is_there(run.id) else self._prepare(run)
        request = {
            "name": run.name,
            "digest": run.digest,
            "ttl": run.ttl_seconds,
            "queues": sorted({entry.queue for body in run.topology for entry in body.values()}),
            "tokens": list(values),
            "lists": dict(run.lists),
            "deadline": run.deadline_seconds,
            "bodies": len(run.topology),
        } | _options_of(run)
        # Before, so that no run is forgotten by the sweep; again after, since a look in between found no run.
        look(self._server, {"run": run.id, "delay": 60})
        enroll(self._server, run.id, run.name)
        response = self._call("create", run.id, request, *values.values())
        look(self._server, {"run": run.id, "delay": 0})
        return response

    def _prepare(self, run: NewRun) -> dict[str, bytes]:
        """Write all that is large; what is small is given back."""
        staging, ttl = self._staging, run.ttl_seconds
        staging.blocks(run.id, ROOT, 0, run.blocks, ttl)
        staging.plan(run.id, run.plan, ttl)
        staging.topology(run.id, run.topology, ttl)
        return staging.parameters(run.id, run.values, ttl)

    def claim(self, run_id: str, request: ClaimRequest) -> Response:
        about = {"owner": request.owner, "token": request.token, "want": wire.wanted(request)}
        return self._call("claim", run_id, about)

    def finish(
        self, run_id: str, claim: Claim, result: TaskResult, owner: str, token: str, request: ClaimRequest | None
    ) -> Response:
        about = wire.done(claim, result, owner, token, request)
        payloads = self._stage_outputs(run_id, claim, result, about)
        verb = "finish"
        if result.failure is not None:
            verb = "fail"
            payloads += [*(b.data for b in result.markers), result.failure]
        answer = self._run(verb, run_id, about, *payloads)
        head, ready, completed = wire.header(answer), list[ReadyStep](), list[Completed]()
        while head.get("more"):
            ready += wire.opened(head)
            completed += wire.completed(head)
            about["from"] = head["more"]
            answer = self._run(verb, run_id, about, *payloads)
            head = wire.header(answer)
        response = wire.response(answer, head)
        if not ready and not completed:
            return response
        return replace(response, opened=[*ready, *response.opened], completed=[*completed, *response.completed])

    def _stage_outputs(self, run_id: str, claim: Claim, result: TaskResult, about: dict[str, Any]) -> list[bytes]:
        """Write what is large ahead; the rest is named in the request, and its bytes are answered."""
        payloads: list[bytes] = []
        home = claim.scope.parent if claim.step == CLOSE else claim.scope.id
        if result.values:
            # What closes a scope writes in the parent, where it must not meet what attempts there have staged.
            attempt = f"{claim.attempt}c" if claim.step == CLOSE else claim.attempt
            values = self._staging.values(run_id, home, attempt, result.values)
            about["tokens"] = list(values)
            payloads += values.values()
        if result.blocks:
            blocks, rest = wire.few(result.blocks)
            # Results of items stand beside those of other attempts, the latest wins; a list belongs to one attempt.
            of_items = claim.step == CLOSE or claim.lo >= 0
            self._staging.blocks(run_id, home, 0 if of_items else claim.attempt, rest)
            about["blocks"] = [(b.token, b.lo, b.hi, b.attempt) for b in blocks]
            payloads += [b.data for b in blocks]
        return payloads

    def delegate(
        self, run_id: str, claim: Claim, children: Sequence[Child], owner: str, token: str, request: ClaimRequest | None
    ) -> Response:
        about = wire.piece(claim) | {"owner": owner, "token": token}
        if request is not None:
            about["want"] = wire.wanted(request)
        ready: list[ReadyStep] = []
        start = 0
        while True:
            described, payloads = self._describe(run_id, claim, children[start:])
            last = start + len(described) == len(children)
            portion = about | {"children": described, "from": start, "last": last}
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
            values = self._staging.values(run_id, scope, claim.attempt, child.values)
            blocks, rest = wire.few(child.blocks)
            left -= sum(map(len, values.values())) + sum(len(b.data) for b in blocks)
            if left < 0 and described:
                break
            self._staging.blocks(run_id, scope, claim.attempt, rest)
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

    def release(self, run_id: str, claim: Claim, owner: str) -> None:
        self._run("release", run_id, wire.piece(claim) | {"owner": owner})

    def wake_ups(self, run_id: str, queue: str, slots: int) -> int:
        request = {"queue": queue, "slots": slots, "token": uuid.uuid4().hex}
        return int(json.loads(self._run("wake_ups", run_id, request)[0])["wake_ups"])

    def sweep(self, run_id: str, lost: Lost, wait_seconds: float, deaths: int = 3) -> Swept:
        request = wire.lost(lost, wait_seconds, deaths)
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

    def admit(self, run_id: str, still: str = "") -> Response:
        return self._call("admit", run_id, {"still": still or None})

    def block(self, run_id: str, claim: Claim, owner: str, seconds: float) -> None:
        self._run("block", run_id, wire.piece(claim) | {"owner": owner, "seconds": seconds})

    def unblock(self, run_id: str, step: str) -> Response:
        return self._call("unblock", run_id, {"step": step})

    def resume(self, run_id: str, deadline_seconds: float | None = None) -> bool:
        request = {"token": uuid.uuid4().hex, "deadline": deadline_seconds}
        look(self._server, {"run": run_id, "delay": 60})
        while True:
            answer = json.loads(self._run("resume", run_id, request)[0])
            if answer.get("clearing"):
                self.clear(run_id, ())
            elif not answer.get("more"):
                break
        if answer.get("resumed"):
            self.expire(run_id, 0)
        look(self._server, {"run": run_id, "delay": 0})
        return bool(answer.get("resumed"))

    def clear(self, run_id: str, steps: Sequence[int]) -> bool:
        with self._server.reachable():
            return clearing.clear(self._server, run_id, steps)

    def collect_garbage(self, run_id: str) -> None:
        with self._server.reachable():
            clearing.collect_garbage(self._server, run_id)

    def expire(self, run_id: str, ttl_seconds: int) -> None:
        """0 seconds: as long as at first. The record comes last, which says that it was done."""
        registry = key(run_id, "k")
        with self._server.reachable():
            first, reservation = self._server.client.hmget(key(run_id), "ttl", "reservation")
            ttl = ttl_seconds or int(first or 0)
            for portion in wire.portions(self._server.client.sscan_iter(registry, count=500), 500):
                pipeline = self._server.client.pipeline(transaction=False)
                for name in portion:
                    pipeline.expire(key(run_id, name.decode()), ttl)
                pipeline.execute()
            if (
                reservation
                and self._server.client.get(kept := reservation_key(reservation.decode())) == run_id.encode()
            ):
                self._server.client.expire(kept, ttl)
            self._server.client.expire(registry, ttl)
            self._server.client.expire(key(run_id), ttl)

    def end(self, run_id: str, state: str, reason: str) -> Response:
        return self._call("end", run_id, {"final": state, "reason": reason})

    def delete(self, run_id: str) -> None:
        registry, waited = key(run_id, "k"), key(run_id, "w")
        with self._server.reachable():
            name = self._server.client.hget(key(run_id), "name")
            # From here on there is no such run, and those that wait for it are told.
            first = self._server.client.pipeline().unlink(key(run_id)).xadd(waited, {"state": "gone"})
            first.expire(waited, 60).execute()
            for portion in wire.portions(self._server.client.sscan_iter(registry, count=500), 500):
                self._server.client.unlink(*(key(run_id, name.decode()) for name in portion))
            self._server.client.unlink(registry, waited)
            self._server.client.zrem(ACTIVE, run_id)
            for names in {runs_key(), runs_key(name.decode() if name else "")}:
                self._server.client.zrem(names, run_id)

    # -- how a verb is called ---------------------------------------------------------------------
    def _is_there(self, run_id: str) -> bool:
        with self._server.reachable():
            return bool(self._server.client.exists(key(run_id)))

    def _run(self, verb: str, run_id: str, request: Mapping[str, Any], *payloads: bytes) -> Any:
        with self._server.reachable():
            return self._server.run(verb, key(run_id), request, *payloads)

    def _call(self, verb: str, run_id: str, request: Mapping[str, Any], *payloads: bytes) -> Response:
        return wire.response(self._run(verb, run_id, request, *payloads))
