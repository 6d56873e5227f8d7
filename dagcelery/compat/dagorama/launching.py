"""A Celery worker of this machine that dagorama's functions get: it consumes further queues as they become known."""

from __future__ import annotations

import logging
import socket
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from dagcelery.client import Client, default_client
from dagcelery.compat.dagorama.logging import get_log_level
from dagcelery.compat.dagorama.worker import unfinished
from dagcelery.local.cluster import READY_SECONDS, WorkerOptions, starting
from dagcelery.local.guard import Guard, Process
from dagcelery.worker.heartbeat import Repeated

__all__ = ["Launched", "launched"]

_LOOK_SECONDS: Final = 1.0
_STANDARD_ERROR: Final = 2
_MODULES: Final = ("dagcelery.compat.dagorama.definition",)
"""What every child needs is imported before they are forked."""

Queues = Callable[[], list[str]]


class Launched:
    """A Celery worker, which consumes further queues as they become known."""

    def __init__(self, process: Process, client: Client, name: str, queues: Queues, served: Iterable[str]) -> None:
        self.process, self._client, self._queues = process, client, queues
        self._name, self._consumed = f"{name}@{socket.gethostname()}", set(served)
        self.looking = Repeated("dagorama-queues", _LOOK_SECONDS, self._look)
        self.terminated = 0

    def _look(self) -> None:
        for queue in sorted(set(self._queues()) - self._consumed):
            self._client.app_context.app.control.add_consumer(queue, destination=[self._name])
            self._consumed.add(queue)

    def has_work(self) -> bool:
        """Whether something of a run is ready for it, or may be soon: it is being done, or tried again."""
        return any(self._has_work(run_id) for run_id in unfinished(self._client))

    def _has_work(self, run_id: str) -> bool:
        store = self._client.store
        before, pieces = store.reader.progress(run_id), store.reader.outstanding(run_id)
        if before is None or pieces.claimed or pieces.retrying or pieces.blocked:
            return before is not None
        # Nothing became ready if nothing was finished in between.
        served = self._consumed.union(self._queues())
        is_ready = any(count and queue in served for queue, count in before.ready.items())
        return is_ready or store.reader.progress(run_id) != before


@contextmanager
def launched(processes: int, queues: Queues) -> Iterator[Launched]:
    """Run a Celery worker for the length of a block."""
    client, first = default_client(), queues()
    settings = client.settings
    environment = {
        "DAGCELERY_BROKER_URL": settings.broker_url,
        "DAGCELERY_STORE_URL": settings.store_url,
        "DAGCELERY_SIGNING_KEY": settings.signing_key,
        "DAGCELERY_CODE_MISMATCH": "error",
    }
    level = logging.getLevelName(get_log_level())
    options = WorkerOptions(environment=environment, modules=_MODULES, log=_STANDARD_ERROR, log_level=level)
    name = f"dagorama-{uuid.uuid4().hex[:8]}"
    with Guard() as guard:
        with starting(guard, options, name, processes, first, READY_SECONDS) as process:
            pass
        found = Launched(process, client, name, queues, first)
        found.looking.start()
        try:
            yield found
        finally:
            found.looking.stop()
            process.stop()
