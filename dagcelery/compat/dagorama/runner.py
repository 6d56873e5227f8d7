"""`dagorama.runner`: workers on this machine. They are Celery's: one worker, with a child for each that is wanted."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from dagcelery.cli.workers import consumed
from dagcelery.client import Client, Run, default_client, runs
from dagcelery.compat.dagorama.decorators import QUEUES
from dagcelery.errors import CodeMismatch, InvalidParameters
from dagcelery.local.cluster import READY_SECONDS, WorkerOptions, starting
from dagcelery.local.guard import Guard, Process
from dagcelery.model.options import words

__all__ = ["CodeMismatchException", "Worker", "execute_worker", "execute_worker_async", "launch_workers"]

CodeMismatchException = CodeMismatch

_GLANCE_SECONDS: Final = 0.1
_STANDARD_ERROR: Final = 2


class Worker:
    """A worker that was launched, as `multiprocessing` shows a process."""

    def __init__(self, process: Process, client: Client, queues: Iterable[str], exit_on_completion: bool) -> None:
        self._process = process
        self._client = client
        self._queues = frozenset(queues)
        self._exits = exit_on_completion

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended: if it exits on completion, that is when there is nothing that it could still do."""
        until = None if timeout is None else time.monotonic() + timeout
        while self.is_alive():
            if self._exits and not any(self._has_work(each) for each in _unfinished(self._client)):
                self.terminate()
            elif until is not None and time.monotonic() > until:
                return
            else:
                time.sleep(_GLANCE_SECONDS)

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.is_alive

    def terminate(self) -> None:
        """Stop it in order."""
        self._process.stop()

    def _has_work(self, run_id: str) -> bool:
        """Whether something of a run is ready for this worker, or may be soon: it is being done, or tried again."""
        store = self._client.store
        before, pieces = store.reader.progress(run_id), store.reader.outstanding(run_id)
        if before is None or pieces.claimed or pieces.retrying or pieces.blocked:
            return before is not None
        # Nothing became ready if nothing was finished in between.
        is_ready = any(count and queue in self._queues for queue, count in before.ready.items())
        return is_ready or store.reader.progress(run_id) != before


@contextmanager
def launch_workers(n: int = 1, exit_on_completion: bool = False) -> Iterator[list[Worker]]:
    """Run one worker with `n` processes for the length of a block, as a list of one.

    It serves the default queue and those that decorators of this program name. With `exit_on_completion` it can be
    joined.

    Raises InvalidParameters, NotConfigured.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise InvalidParameters(f"n={n!r}", "Must launch at least one worker", "give 1 or more")
    with _launched(n, _served(), exit_on_completion) as worker:
        yield [worker]


def execute_worker(
    exclude_queues: Iterable[str] | None = None,
    include_queues: Iterable[str] | None = None,
    queue_tolerations: Iterable[str] | None = None,
    infinite_loop: bool = True,
    catch_exceptions: bool = True,
) -> None:
    """Run a worker with one process: for ever, or without `infinite_loop` until there is nothing that it could do.

    Without `catch_exceptions` it raises NodeFailed for the first run that fails meanwhile.
    """
    client = default_client()
    watched = list(_unfinished(client))
    queues = _served(include_queues or (), exclude_queues or (), queue_tolerations or ())
    with _launched(1, queues, not infinite_loop) as worker:
        worker.join()
    for run_id in () if catch_exceptions else watched:
        run: Run[object] = Run(run_id, client=client)
        if run.state.is_end:
            run.result()


async def execute_worker_async(
    exclude_queues: Iterable[str] | None = None,
    include_queues: Iterable[str] | None = None,
    queue_tolerations: Iterable[str] | None = None,
    infinite_loop: bool = True,
    catch_exceptions: bool = True,
) -> None:
    """`execute_worker` without blocking the event loop."""
    await asyncio.to_thread(
        execute_worker, exclude_queues, include_queues, queue_tolerations, infinite_loop, catch_exceptions
    )


def _served(include: Iterable[str] = (), exclude: Iterable[str] = (), tolerations: Iterable[str] = ()) -> list[str]:
    """Return the queues of a worker: those that are named, else the default one and those that decorators name."""
    named = words("include_queues", include) or (*consumed((), (), ()), *QUEUES)
    queues = consumed(words("queue_tolerations", tolerations), named, words("exclude_queues", exclude))
    if not queues:
        raise InvalidParameters("the worker", "has no queue left to consume", "exclude fewer")
    return queues


@contextmanager
def _launched(processes: int, queues: Iterable[str], exits: bool) -> Iterator[Worker]:
    client, served = default_client(), list(queues)
    settings = client.settings
    addresses = {
        "DAGCELERY_BROKER_URL": settings.broker_url,
        "DAGCELERY_STORE_URL": settings.store_url,
        "DAGCELERY_SIGNING_KEY": settings.signing_key,
    }
    options, name = WorkerOptions(environment=addresses, log=_STANDARD_ERROR), f"dagorama-{uuid.uuid4().hex[:8]}"
    with Guard() as guard:
        with starting(guard, options, name, processes, served, READY_SECONDS) as process:
            pass
        try:
            yield Worker(process, client, served, exits)
        finally:
            process.stop()


def _unfinished(client: Client) -> Iterator[str]:
    for state in ("pending", "running"):
        yield from (found.id for found in runs(state=state, limit=10_000, client=client))
