"""`dagorama.runner`: workers on this machine: in this process, or Celery's, with a child for each that is wanted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from dagcelery.compat.dagorama.launching import Launched, launched
from dagcelery.compat.dagorama.queues import served
from dagcelery.compat.dagorama.worker import Inline
from dagcelery.errors import CodeMismatch, InvalidParameters

__all__ = ["CodeMismatchException", "Worker", "execute_worker", "execute_worker_async", "launch_workers"]

CodeMismatchException = CodeMismatch

_GLANCE_SECONDS: Final = 0.1


class Worker:
    """One of the workers that were launched, as `multiprocessing` shows a process; here they are one, with children."""

    def __init__(self, launched: Launched, count: int, exit_on_completion: bool) -> None:
        self._launched, self._count, self._exits = launched, count, exit_on_completion
        self._is_terminated = False

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended: if it exits on completion, that is when there is nothing that it could still do."""
        until = None if timeout is None else time.monotonic() + timeout
        while self.is_alive():
            if self._exits and not self._launched.has_work():
                self._launched.process.stop()
            elif until is not None and time.monotonic() > until:
                return
            else:
                time.sleep(_GLANCE_SECONDS)

    @property
    def pid(self) -> int:
        """The id of the process that it is a child of."""
        return self._launched.process.pid

    @property
    def exitcode(self) -> int | None:
        """That of the process, once it has ended."""
        return self._launched.process.exit_code

    def is_alive(self) -> bool:
        """Whether it runs."""
        return not self._is_terminated and self._launched.process.is_alive

    def terminate(self) -> None:
        """Let it end, in order; they do when all are to."""
        if not self._is_terminated:
            self._is_terminated = True
            self._launched.terminated += 1
            if self._launched.terminated == self._count:
                self._launched.process.stop()


@contextmanager
def launch_workers(n: int = 1, exit_on_completion: bool = False) -> Iterator[list[Worker]]:
    """Run `n` workers for the length of a block: the children of one of Celery's.

    They serve the default queue and those of all functions that this program or the store knows, but for tainted ones.
    With `exit_on_completion` they can be joined.

    Raises InvalidParameters, NotConfigured.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise InvalidParameters(f"n={n!r}", "Must launch at least one worker", "give 1 or more")
    with launched(n, lambda: served((), (), ())) as found:
        yield [Worker(found, n, exit_on_completion) for _ in range(n)]


def execute_worker(
    exclude_queues: Iterable[str] | None = None,
    include_queues: Iterable[str] | None = None,
    queue_tolerations: Iterable[str] | None = None,
    infinite_loop: bool = True,
    catch_exceptions: bool = True,
) -> None:
    """Run a Celery worker with one process for ever; without `infinite_loop`, work in this process while there is work.

    It serves what `launch_workers` says, or `include_queues`. In this process, without `catch_exceptions`, the first
    exception of a node is raised.

    Raises InvalidParameters; CodeMismatchException.
    """
    chosen = [tuple(each or ()) if not isinstance(each, str) else each for each in (include_queues, exclude_queues)]
    queues = [*chosen, queue_tolerations or ()]
    if not infinite_loop:
        Inline(served(*queues), catches=catch_exceptions).run()
        return
    with launched(1, lambda: served(*queues)) as found:
        Worker(found, 1, exit_on_completion=False).join()


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
