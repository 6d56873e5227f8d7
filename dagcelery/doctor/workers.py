"""What may be wrong with workers: whether they are there, what they consume, and which code they have."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

from dagcelery.doctor.findings import Finding, Severity
from dagcelery.doctor.patient import Patient
from dagcelery.runtime import results
from dagcelery.runtime.versions import COMMAND
from dagcelery.store.base import TERMINAL

MOST_RUNS: Final = 50
"""How many runs, newest first, are looked at for the queues that they need."""


def check_queues(patient: Patient) -> Iterator[Finding]:
    """Every queue that a run waits on has a worker."""
    served = {queue for word in patient.workers.values() for queue in word["queues"]}
    waiting: dict[str, set[str]] = defaultdict(set)
    store = patient.binding.store
    for listed in store.runs("", time.time() + 86400, MOST_RUNS):
        if listed.record is not None and listed.record.state not in TERMINAL:
            for node in results.status(patient.binding.engine, listed.id).nodes:
                if node.state != "done" and node.queue not in served:
                    waiting[node.queue].add(listed.id)
    for queue, runs in sorted(waiting.items()):
        what = f"no worker consumes the queue {queue!r}, which {len(runs)} unfinished runs need, such as {min(runs)}"
        remedy = f"start one: dagcelery worker --include-queue {queue}"
        yield Finding("queues", Severity.SERIOUS, what, remedy)
    if not patient.workers and not waiting:
        what = "no worker has said within the last seconds that it is alive"
        yield Finding("queues", Severity.WARNING, what, "start one: dagcelery worker")


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
            told = ", ".join(f"{names[0]} has {version}" for version, names in sorted(by_version.items()))
            what = f"workers have different code of {part}: {told}"
            yield Finding("code", Severity.WARNING, what, "deploy the same version everywhere, and start them again")


def _parts(versions: Any) -> Iterator[tuple[str, str]]:
    if isinstance(versions, dict) and "error" not in versions:  # as workers answer that do not know the question
        yield from ((str(part), str(version)) for part, version in versions.items())
