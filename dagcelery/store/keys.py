"""Names of keys: those of a run, and those that belong to no run; texts of users are hashed, and never part of one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of all keys of a store, each of which begins with `prefix`, as it is: nothing is added to it."""

    prefix: str = ""

    @property
    def workers(self) -> str:
        """What workers say of themselves."""
        return f"{self.prefix}dagcelery:workers"

    @property
    def active(self) -> str:
        """Runs that must be looked at."""
        return f"{self.prefix}dagcelery:active"

    @property
    def spilled(self) -> str:
        """Runs that may have files."""
        return f"{self.prefix}dagcelery:spilled"

    @property
    def queues(self) -> str:
        """Queues that were announced."""
        return f"{self.prefix}dagcelery:queues"

    @property
    def counters(self) -> str:
        """What was counted of all runs, for metrics; the tokens of calls that counted are beside it."""
        return f"{self.prefix}dagcelery:{{counters}}"

    def run(self, run_id: str, *parts: object) -> str:
        """Return the name of a key of a run; lua/prelude.lua lists those below a run's key."""
        return ":".join((f"{self.prefix}dagcelery:{{{run_id}}}", *map(str, parts)))

    def topology(self, run_id: str, body: int) -> str:
        """The topology of a body; that of the run's first body is with its values."""
        return self.run(run_id, *(("g", body) if body else ("o", "0")))

    def runs(self, name: str = "") -> str:
        """All runs, or those of one DAG."""
        return f"{self.prefix}dagcelery:runs" + (":" + _hashed(name) if name else "")

    def reservation(self, reservation: str) -> str:
        """The run of a reservation."""
        return f"{self.prefix}dagcelery:key:{_hashed(reservation)}"

    def limit(self, limit: str) -> str:
        """The members of a limit."""
        return f"{self.prefix}dagcelery:{{limit:{_hashed(limit)}}}"

    def cache(self, task: str) -> str:
        """The names of the cached results of a task, which are kept below it."""
        return f"{self.prefix}dagcelery:{{cache:{_hashed(task)}}}"


def stage_value_key(name: str) -> str:
    """Spell the name of the key of a stage's value, below its run's key."""
    return f"kept:{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:40]
