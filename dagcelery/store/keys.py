"""Names of keys: those of a run, and those that belong to no run; texts of users are hashed, and never part of one."""

from __future__ import annotations

import hashlib
from typing import Final

WORKERS: Final = "dagcelery:workers"
ACTIVE: Final = "dagcelery:active"
RUNS: Final = "dagcelery:runs"
SPILLED: Final = "dagcelery:spilled"
QUEUES: Final = "dagcelery:queues"


def key(run_id: str, *parts: object) -> str:
    """Spell the name of a key of a run; lua/prelude.lua lists those below a run's key."""
    return ":".join(("dagcelery:{" + run_id + "}", *map(str, parts)))


def topology_key(run_id: str, body: int) -> str:
    """Spell the name of the key that holds the topology of a body; that of the run's first body is with its values."""
    return key(run_id, *(("g", body) if body else ("o", "0")))


def runs_key(name: str = "") -> str:
    """Spell the name of the key that lists all runs, or those of one DAG."""
    return RUNS + (":" + _hashed(name) if name else "")


def reservation_key(reservation: str) -> str:
    """Spell the name of the key that holds the run of a reservation."""
    return "dagcelery:key:" + _hashed(reservation)


def limit_key(limit: str) -> str:
    """Spell the name of the key that holds the members of a limit."""
    return "dagcelery:{limit:" + _hashed(limit) + "}"


def cache_key(task: str) -> str:
    """Spell the name of the key that lists the cached results of a task; they are kept below it."""
    return "dagcelery:{cache:" + _hashed(task) + "}"


def stage_value_key(name: str) -> str:
    """Spell the name of the key of a stage's value, below its run's key."""
    return f"kept:{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:40]
