"""What may be wrong with workers: whether they are there, what they consume, and which code they have."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final

from dagcelery.doctor.findings import Finding, Severity
from dagcelery.doctor.patient import Patient
from dagcelery.errors import UnknownKey
from dagcelery.runtime import results
from dagcelery.runtime.reasons import Worker, holds, of_other_keys
from dagcelery.runtime.versions import COMMAND
from dagcelery.store.records import TERMINAL

MOST_RUNS: Final = 50
"""How many runs, newest first, are looked at for the queues that they need."""


def check_queues(patient: Patient) -> Iterator[Finding]:
    """Every queue that a run waits on has a worker."""
    served = {queue for word in patient.workers.values() for queue in word["queues"]}
    waiting: dict[str, set[str]] = defaultdict(set)
    strange: list[str] = []
    store = patient.binding.store
    for listed in store.fleet.runs("", time.time() + 86400, MOST_RUNS):
        if listed.record is not None and listed.record.state not in TERMINAL:
            try:
                nodes = results.status(patient.binding.engine, listed.id).nodes
            except UnknownKey:
                strange.append(listed.id)
                continue
            for node in nodes:
                if node.state != "done" and node.queue not in served:
                    waiting[node.queue].add(listed.id)
    if strange:
        what = f"{len(strange)} unfinished runs were signed with a key that this process lacks, such as {min(strange)}"
        remedy = "look with their DAGCELERY_SIGNING_KEY, or add it behind a comma"
        yield Finding("queues", Severity.WARNING, what, remedy)
    for queue, runs in sorted(waiting.items()):
        need = "1 unfinished run needs" if len(runs) == 1 else f"{len(runs)} unfinished runs need"
        what = f"no worker consumes the queue {queue!r}, which {need}, such as {min(runs)}"
        remedy = f"start one: {_worker(patient, queue)}"
        yield Finding("queues", Severity.SERIOUS, what, remedy)
    if not patient.workers and not waiting:
        what = "no worker has said within the last seconds that it is alive"
        yield Finding("queues", Severity.WARNING, what, f"start one: {_worker(patient)}")


def _worker(patient: Patient, queue: str = "") -> str:
    """Return the command that starts a worker of this app."""
    if patient.is_ours:
        return "dagcelery worker" + (f" --include-queue {queue}" if queue else "")
    return f"celery -A {patient.shown_name} worker" + (f" -Q {queue}" if queue else "")


def check_worker_keys(patient: Patient) -> Iterator[Finding]:
    """Workers can read what this process signs, and it can read what they sign."""
    ring = patient.binding.keyring.ids
    ours: Worker = {"keys": ring}
    telling = [word for word in patient.workers.values() if word.get("keys") is not None]
    for queue in sorted({queue for word in telling for queue in word["queues"]}):
        workers = [word for word in telling if queue in word["queues"]]
        strangers = [word for word in workers if not (holds(word, _first(ring)) and holds(ours, _first(word["keys"])))]
        if strangers:
            who = f"{len(strangers)} of {len(workers)} workers of the queue {queue!r}"
            wrong = of_other_keys(strangers, _first(ring), "this process")
            what = f"{who} {wrong}: they take messages of its runs, and cannot read them"
            remedy = "give all of them the same DAGCELERY_SIGNING_KEY, and start them again"
            yield Finding("worker keys", Severity.SERIOUS, what, remedy)


def _first(keys: Sequence[str]) -> str:
    """The key that seals, "" where there is none."""
    return keys[0] if keys else ""


def check_idle_workers(patient: Patient) -> Iterator[Finding]:
    """Every worker consumes something."""
    for name, queues in sorted(patient.answers["active_queues"].items()):
        if not queues:
            what = f"worker {name} consumes no queue"
            remedy = "start it again, or give it one: celery control add_consumer"
            yield Finding("idle workers", Severity.WARNING, what, remedy)


def check_hoarders(patient: Patient) -> Iterator[Finding]:
    """No worker that runs now takes more messages than it has processes."""
    for name, stats in sorted(patient.answers["stats"].items()):
        slots = (stats.get("pool") or {}).get("max-concurrency") or 1
        if (count := stats.get("prefetch_count") or 0) > slots:
            what = f"worker {name} takes {count} messages for {slots} processes, and work waits in its hands"
            yield Finding("prefetch", Severity.WARNING, what, "start it with --prefetch-multiplier 1")


def check_code(patient: Patient) -> Iterator[Finding]:
    """All workers have the same code: dagcelery's, Python's, and that of their own modules."""
    by_part: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, versions in sorted(patient.answers[COMMAND].items()):
        for part, version in _parts(versions):
            by_part[part][version].append(name)
    for part, by_version in sorted(by_part.items()):
        if len(by_version) > 1:
            wrong = ", ".join(f"{names[0]} has {version}" for version, names in sorted(by_version.items()))
            what = f"workers have different code of {part}: {wrong}"
            yield Finding("code", Severity.WARNING, what, "deploy the same version everywhere, and start them again")


def _parts(versions: Any) -> Iterator[tuple[str, str]]:
    if isinstance(versions, dict) and "error" not in versions:  # as workers answer that do not know the question
        yield from ((str(part), str(version)) for part, version in versions.items())
