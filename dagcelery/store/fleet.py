"""What belongs to no run, or to many, over any server: workers, limits, lists of runs, files, cached results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dagcelery.errors import StoreRefused
from dagcelery.store import wire
from dagcelery.store.keys import ACTIVE, QUEUES, SPILLED, WORKERS, key, limit_key, runs_key
from dagcelery.store.protocol import Call, Fleet, ResultCache, StoreServer
from dagcelery.store.records import TERMINAL, Listed

_TTL_SECONDS = 30 * 86400
_HEARD_SECONDS = 86400
_LISTED_RUNS = 100_000
_RUNS_A_READ = 10_000
_ANNOUNCED_QUEUES = 1_000
_YOUNG_SECONDS = 3600.0


def look(server: StoreServer, request: Mapping[str, Any], among: str = ACTIVE) -> list[bytes]:
    """Name the runs that are due to be looked at, or say when one is."""
    names: list[bytes] = server.run("look", among, {**request, "ttl": _TTL_SECONDS})
    return names


def look_at(run_id: str, delay_seconds: float) -> Call:
    """Return the call by which a run is an active one, and due to be looked at after some seconds."""
    return "look", ACTIVE, {"run": run_id, "delay": delay_seconds, "ttl": _TTL_SECONDS}


def enroll(run_id: str, name: str) -> Call:
    """Return the call that lists a run about to be created: as an active one, among all, and among those of its DAG.

    Who creates it has a minute for that, since a look that finds no run forgets it.
    """
    request = {"run": run_id, "delay": 60, "lists": [runs_key(), runs_key(name)], "most": _LISTED_RUNS}
    return "enroll", ACTIVE, request | {"ttl": _TTL_SECONDS, "around": key(" ").split(" ")}


def _moment(server: StoreServer) -> float:
    seconds, micros = server.client.time()
    return float(seconds + micros / 1e6)


def live_slots(fleet: Fleet, dead_seconds: float) -> tuple[dict[str, int], set[str]]:
    """Count the processes of live workers by queue, and name the queues of those that do not yield."""
    slots: dict[str, int] = {}
    hasty: set[str] = set()
    for queue, worker in live_consumers(fleet, dead_seconds):
        slots[queue] = slots.get(queue, 0) + worker["slots"]
        if not worker.get("yields", True):
            hasty.add(queue)
    return slots, hasty


def live_consumers(fleet: Fleet, dead_seconds: float) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each live worker with each queue that it consumes."""
    for worker in fleet.workers().values():
        if worker["age"] < dead_seconds:
            yield from ((queue, worker) for queue in worker["queues"])


def other_consumers(fleet: Fleet, queue: str, worker_id: str, dead_seconds: float) -> list[str]:
    """Return the ids of live workers that consume a queue, but for one, those that came last first."""
    since = {
        name: word.get("since", {}).get(queue, 0.0)
        for name, word in fleet.workers().items()
        if name != worker_id and word["age"] < dead_seconds and queue in word["queues"]
    }
    return sorted(since, key=lambda name: since[name], reverse=True)


class FleetAdapter:
    """The verbs of `protocol.Fleet`."""

    def __init__(self, server: StoreServer, cache: ResultCache) -> None:
        self._server = server
        self.cache = cache

    # -- workers ----------------------------------------------------------------------------------
    def heartbeat(
        self,
        worker_id: str,
        queues: Sequence[str],
        slots: int,
        messages: Sequence[str] | None = None,
        keys: Sequence[str] | None = None,
        *,
        yields: bool = True,
    ) -> None:
        short = None if messages is None else [name[: wire.MESSAGE_CHARACTERS] for name in messages]
        word = {"queues": list(queues), "slots": slots, "messages": short, "at": _moment(self._server)}
        word |= {"keys": None if keys is None else list(keys), "yields": yields}
        before = self._server.client.hget(WORKERS, worker_id)
        since = json.loads(before).get("since", {}) if before else {}
        word["since"] = {queue: since.get(queue, word["at"]) for queue in queues}
        request = {"worker": worker_id, "word": json.dumps(word), "ttl": _HEARD_SECONDS}
        self._server.run("heartbeat", WORKERS, request)

    def retire(self, worker_id: str) -> None:
        self._server.client.hdel(WORKERS, worker_id)

    def workers(self) -> Mapping[str, Mapping[str, Any]]:
        now = _moment(self._server)
        words = {name.decode(): json.loads(word) for name, word in self._server.client.hgetall(WORKERS).items()}
        return {name: word | {"id": name, "age": now - word["at"]} for name, word in words.items()}

    def announce(self, queues: Sequence[str]) -> None:
        writes = self._server.client.pipeline().zadd(QUEUES, dict.fromkeys(queues, _moment(self._server)))
        writes.zremrangebyrank(QUEUES, 0, -_ANNOUNCED_QUEUES - 1).expire(QUEUES, _TTL_SECONDS).execute()

    def announced(self) -> Sequence[str]:
        return [name.decode() for name in self._server.client.zrange(QUEUES, 0, -1)]

    # -- the server -------------------------------------------------------------------------------
    def used_up(self) -> tuple[int, int] | None:
        if self._server.is_in_process:
            return None
        try:
            told = self._server.client.info("memory")
        except StoreRefused:
            return None
        used, most = (int(told.get(name, 0)) for name in ("used_memory", "maxmemory"))
        is_refusing = told.get("maxmemory_policy") == "noeviction" and 0 < most <= used
        return (used, most) if is_refusing else None

    # -- limits -----------------------------------------------------------------------------------
    def enter(self, limit: str, member: str, waiter: str, most: int, gone: Sequence[str] = ()) -> bool:
        request = {"verb": "enter", "member": member, "waiter": waiter, "most": most, "gone": list(gone)}
        return bool(self._limit(limit, request))

    def leave(self, limit: str, member: str, most: int) -> Sequence[str]:
        return [waiter.decode() for waiter in self._limit(limit, {"verb": "leave", "member": member, "most": most})]

    def inside(self, limit: str) -> Sequence[str]:
        return [member.decode() for member in self._server.client.zrange(limit_key(limit), 0, 999)]

    def _limit(self, limit: str, request: dict[str, Any]) -> Any:
        return self._server.run("limit", limit_key(limit), request | {"ttl": _TTL_SECONDS})

    # -- which runs there are ---------------------------------------------------------------------
    def runs(self, name: str, before: float, limit: int) -> Sequence[Listed]:
        names = runs_key(name)
        entries = self._server.client.zrange(
            names, before, "-inf", desc=True, byscore=True, offset=0, num=limit, withscores=True
        )
        asked = self._server.client.pipeline(transaction=False)
        for run_id, _ in entries:
            asked.hgetall(key(run_id.decode()))
        listed = [
            Listed(run_id.decode(), at, wire.record(run_id.decode(), fields))
            for (run_id, at), fields in zip(entries, asked.execute(), strict=True)
        ]
        # What has expired is listed no longer; a run that is just being written is not there yet.
        missing = [run for run in listed if run.record is None]
        gone = [run.id for run in missing if run.created < _moment(self._server) - _YOUNG_SECONDS]
        if gone:
            self._server.client.zrem(names, *gone)
        return listed

    def find(self, prefix: str, limit: int) -> Sequence[str]:
        found: list[str] = []
        for first in range(0, _LISTED_RUNS, _RUNS_A_READ):
            ids = self._server.client.zrange(runs_key(), -first - _RUNS_A_READ, -first - 1)
            found += [run_id for run_id in map(bytes.decode, reversed(ids)) if run_id.startswith(prefix)]
            if len(found) >= limit or len(ids) < _RUNS_A_READ:
                break
        return found[:limit]

    def due(self, limit: int, wait_seconds: float) -> Sequence[str]:
        while names := look(self._server, {"wait": wait_seconds, "limit": limit}):
            runs = [name.decode() for name in names]
            over = {run_id for run_id in runs if self._is_settled(run_id)}
            if over:
                self._server.client.zrem(ACTIVE, *over)
            if len(over) < len(runs):
                return [run_id for run_id in runs if run_id not in over]
        return []

    def _is_settled(self, run_id: str) -> bool:
        """Whether a run needs no look any more: it is gone; or it is over, and no worker works on it."""
        asked = self._server.client.pipeline(transaction=False)
        (state, hook), claims = asked.hmget(key(run_id), "state", "hook").hlen(key(run_id, "c")).execute()
        return state is None or (state.decode() in TERMINAL and not hook and claims < 2)

    # -- files ------------------------------------------------------------------------------------
    def spills(self, run_id: str) -> None:
        look(self._server, {"run": run_id, "delay": 0}, SPILLED)

    def spilled(self, limit: int, wait_seconds: float) -> Sequence[str]:
        return [run.decode() for run in look(self._server, {"wait": wait_seconds, "limit": limit}, SPILLED)]

    def unspilled(self, run_id: str) -> None:
        self._server.client.zrem(SPILLED, run_id)
