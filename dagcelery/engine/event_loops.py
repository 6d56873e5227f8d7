"""A thread's event loop: it is kept from piece to piece, with the clients that were opened in it, and without tasks."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from contextvars import Context, copy_context
from typing import Any

from dagcelery.engine.interrupts import is_leaving, quiet_logger

log = quiet_logger(__name__)

_CANCEL_SECONDS = 5.0


def finished(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end; in a thread beside this one if an event loop is running in this one."""
    context = copy_context()
    if asyncio._get_running_loop() is None:
        return _run(coroutine, context)
    loops: list[Loop] = []
    future = _beside().submit(_run, coroutine, context, loops)
    try:
        return future.result()
    except BaseException:
        if not future.done():  # this thread was interrupted, and nothing may run on in the other one
            for loop in loops:
                loop.interrupt()
            wait([future], timeout=_CANCEL_SECONDS)
        raise


class Loop:
    """Runs one coroutine after another. What a coroutine leaves running is cancelled when it ends."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._pid = os.getpid()
        self.task: asyncio.Task[Any] | None = None
        self.is_usable = True

    def __del__(self) -> None:
        if self.can_run:
            with suppress(Exception):
                self._runner.close()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop."""
        return self._runner.get_loop()

    @property
    def can_run(self) -> bool:
        """Whether it may run another coroutine: a task may have closed it, or left what cannot be cancelled."""
        return self.is_usable and not self.loop.is_closed() and self._pid == os.getpid()

    def run(self, coroutine: Coroutine[Any, Any, Any], context: Context) -> Any:
        """Run a coroutine to its end, as `asyncio.run` would."""
        self.task = task = self.loop.create_task(coroutine, context=context)
        task.add_done_callback(self._end)
        try:
            self.loop.run_forever()
            return _result(task)
        except BaseException as error:
            if task.done() or self._pid != os.getpid():
                raise
            return self._cancelled(task, error)
        finally:
            self.task = None
            if self._pid == os.getpid():
                self._tidy(task)

    def _end(self, _: object) -> None:
        self.loop.stop()

    def interrupt(self) -> None:
        """Cancel the coroutine that runs, from another thread."""
        task = self.task
        if task is not None:
            self.loop.call_soon_threadsafe(task.cancel)

    def _cancelled(self, task: asyncio.Task[Any], error: BaseException) -> Any:
        """Cancel a task that a time limit met while it awaited. It may catch its cancelling, as a function may
        catch the limit.
        """
        task.remove_done_callback(self._end)
        task.cancel()
        self.loop.run_until_complete(asyncio.wait([task], timeout=_CANCEL_SECONDS))
        if task.done() and not task.cancelled():
            return task.result()
        raise error

    def _await(self, ends: asyncio.Task[Any]) -> None:
        """Run the loop until tasks have ended, each of which may raise an exit through it, or stop it."""
        while not ends.done():
            try:
                self.loop.run_until_complete(ends)
            except BaseException as error:
                if is_leaving(error) or self.loop.is_closed():
                    raise
                log.warning("a task left in the event loop of a piece raised %r", error, extra={"action": "loop_left"})

    def _drop(self) -> None:
        self.is_usable = False
        with suppress(Exception):
            self.loop.close()

    def _tidy(self, task: asyncio.Task[Any]) -> None:
        """Leave nothing that would go on running, or stop the loop, during the next coroutine."""
        try:
            self.loop.call_soon(self.loop.stop)  # where the task stopped it, the callback of its end still waits
            self.loop.run_forever()
            if task.done() and not task.cancelled():
                task.exception()  # is raised elsewhere; asyncio would log it again
            left = asyncio.all_tasks(self.loop)
            for other in left:
                other.cancel()
            if left:
                self._await(self.loop.create_task(asyncio.wait(left, timeout=_CANCEL_SECONDS)))
            stubborn = [other for other in left if not other.done()]
            if stubborn:
                about = {"action": "loop_left"}
                log.warning(
                    "%d asyncio tasks cannot be cancelled; they are left: %r", len(stubborn), stubborn, extra=about
                )
                self._drop()
        except BaseException as error:
            self._drop()
            if is_leaving(error):
                raise
            log.warning("an event loop is dropped after %r", error, extra={"action": "loop_dropped"})


def _result(task: asyncio.Task[Any]) -> Any:
    if task.done():
        return task.result()
    raise RuntimeError("Event loop stopped before Future completed.")  # as asyncio.run says it


_kept = threading.local()


def _run(coroutine: Coroutine[Any, Any, Any], context: Context, loops: list[Loop] | None = None) -> Any:
    loop: Loop | None = getattr(_kept, "loop", None)
    if loop is None or not loop.can_run:
        loop = _kept.loop = Loop()
    if loops is not None:
        loops.append(loop)
    return loop.run(coroutine, context)


def _beside() -> ThreadPoolExecutor:
    """Return a second thread for coroutines, since an event loop is running in this one; a fork does not inherit it."""
    beside: tuple[int, ThreadPoolExecutor] | None = getattr(_kept, "beside", None)
    if beside is None or beside[0] != os.getpid():
        beside = _kept.beside = os.getpid(), ThreadPoolExecutor(1, "dagcelery-loop")
    return beside[1]
