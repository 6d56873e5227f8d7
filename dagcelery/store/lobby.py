"""What belongs to no run, in memory: reservations, caches, limits, workers."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from dagcelery.store import cached
from dagcelery.store.wire import MESSAGE_CHARACTERS


class Lobby:
    """The verbs of `store.base.Store` that name no run, under the lock that all others use."""

    shown_url = "memory"

    def __init__(self) -> None:
        self._workers: dict[str, dict[str, Any]] = {}
        self._limits: dict[str, tuple[dict[str, None], dict[str, None]]] = defaultdict(lambda: ({}, {}))
        self._spilled: dict[str, float] = {}
        self._reserved: dict[str, str] = {}
        self._changed = threading.Condition(threading.RLock())

    def reserve(self, reservation: str, run_id: str, ttl_seconds: int, instead_of: str = "") -> str:
        with self._changed:
            if self._reserved.get(reservation, instead_of) == instead_of:
                self._reserved[reservation] = run_id
            return self._reserved[reservation]

    # -- results that are kept for other runs -----------------------------------------------------
    def recall(self, task: str, entries: Sequence[str]) -> Sequence[bytes | None]:
        return cached.OF_THIS_PROCESS.recall(task, entries)

    def memorize(self, task: str, entries: Mapping[str, bytes], ttl_seconds: float) -> None:
        cached.OF_THIS_PROCESS.memorize(task, entries, ttl_seconds)

    def forget(self, task: str) -> int:
        return cached.OF_THIS_PROCESS.forget(task)

    # -- limits -----------------------------------------------------------------------------------
    def enter(self, limit: str, member: str, waiter: str, most: int, gone: Sequence[str] = ()) -> bool:
        with self._changed:
            inside, waiting = self._limits[limit]
            for left in gone:
                inside.pop(left, None)
            if member not in inside and len(inside) >= most:
                waiting.setdefault(waiter)
                return False
            inside.setdefault(member)
            waiting.pop(waiter, None)
            return True

    def leave(self, limit: str, member: str, most: int) -> Sequence[str]:
        with self._changed:
            inside, waiting = self._limits[limit]
            inside.pop(member, None)
            first = list(waiting)[: max(0, most - len(inside))]
            for waiter in first:
                del waiting[waiter]
            return first

    def inside(self, limit: str) -> Sequence[str]:
        with self._changed:
            return list(self._limits[limit][0])

    # -- files ------------------------------------------------------------------------------------
    def spills(self, run_id: str) -> None:
        with self._changed:
            self._spilled[run_id] = time.time()

    def spilled(self, limit: int, wait_seconds: float) -> Sequence[str]:
        with self._changed:
            now = time.time()
            oldest = sorted(self._spilled, key=self._spilled.__getitem__)
            found = [run_id for run_id in oldest if self._spilled[run_id] <= now - wait_seconds][:limit]
            self._spilled.update(dict.fromkeys(found, now))
            return found

    def unspilled(self, run_id: str) -> None:
        with self._changed:
            self._spilled.pop(run_id, None)

    # -- workers ----------------------------------------------------------------------------------
    def announce(
        self,
        boot: str,
        queues: Sequence[str],
        slots: int,
        messages: Sequence[str] | None = None,
        keys: Sequence[str] | None = None,
    ) -> None:
        with self._changed:
            short = None if messages is None else [name[:MESSAGE_CHARACTERS] for name in messages]
            word = {"queues": list(queues), "slots": slots, "messages": short, "at": time.time()}
            self._workers[boot] = word | {"keys": None if keys is None else list(keys)}

    def retire(self, boot: str) -> None:
        with self._changed:
            self._workers.pop(boot, None)

    def workers(self) -> Mapping[str, Mapping[str, Any]]:
        with self._changed:
            return {boot: word | {"age": time.time() - word["at"]} for boot, word in self._workers.items()}
