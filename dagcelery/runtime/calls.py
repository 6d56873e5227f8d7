"""A user's function is called here: coroutines are run to their end, and an exit is an error like any other."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import Context, copy_context
from types import CoroutineType
from typing import Any, Protocol

_CANCEL_SECONDS = 5.0


class Listener(Protocol):
    """Is told of the calls of one grant's pieces; `index` is -1 for a step that runs once."""

    def before(self, index: int) -> None:
        """A function is about to be called."""

    def after(self, index: int, error: BaseException | None) -> None:
        """A function has returned, or raised."""

    def failed(self, index: int, error: BaseException) -> None:
        """A piece has failed, be it for an error that `after` was told of."""

    def settled(self, state: str) -> None:
        """What the store said to a failure; told of pieces whose task may try again."""


def heard(listener: Listener | None, index: int, function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """`call` a function where somebody may listen."""
    if listener is None:
        return call(function, arguments)
    listener.before(index)
    try:
        returned = call(function, arguments)
    except BaseException as error:
        listener.after(index, error)
        raise
    listener.after(index, None)
    return returned


def call(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Call a function; a coroutine that it returns is run to its end."""
    returned = function(**arguments)
    return finished(returned) if type(returned) is CoroutineType else returned


def finished(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end; in a thread beside this one if an event loop is running in this one."""
    context = copy_context()
    if asyncio._get_running_loop() is None:
        return _run(coroutine, context)
    return _beside().submit(_run, coroutine, context).result()


def is_leaving(error: BaseException) -> bool:
    """Whether an error ends this process, and not just the piece that it hit: an interrupt by the user, or an exit
    that was asked for by Celery, which stops this worker.
    """
    if not isinstance(error, SystemExit):
        return isinstance(error, KeyboardInterrupt)
    # billiard's handler of SIGTERM raises an ordinary SystemExit, and notes that it did.
    pool = sys.modules.get("billiard.common")
    return type(error).__module__.startswith(("celery.", "billiard.")) or bool(pool and pool._should_have_exited[0])


class _Loop:
    """An event loop that is closed when its thread ends."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()

    def __del__(self) -> None:
        with suppress(Exception):
            self.runner.close()


_kept = threading.local()


def _run(coroutine: Coroutine[Any, Any, Any], context: Context) -> Any:
    """Use one event loop a thread, kept: clients that tasks open in it stay usable from piece to piece."""
    loop: _Loop | None = getattr(_kept, "loop", None)
    if loop is None:
        loop = _kept.loop = _Loop()
    task = loop.runner.get_loop().create_task(coroutine, context=context)
    try:
        return loop.runner.get_loop().run_until_complete(task)
    except BaseException as error:
        if task.done():
            raise
        return loop.runner.run(_cancelled(task, error))


async def _cancelled(task: asyncio.Task[Any], error: BaseException) -> Any:
    """What becomes of a task that a time limit met while it awaited: it may not go on beside the next piece,
    since their loop is kept. It may catch its cancelling, as a function may catch the limit.
    """
    task.cancel()
    await asyncio.wait([task], timeout=_CANCEL_SECONDS)
    if task.done() and not task.cancelled():
        return task.result()
    raise error


def _beside() -> ThreadPoolExecutor:
    thread: ThreadPoolExecutor | None = getattr(_kept, "beside", None)
    if thread is None:
        thread = _kept.beside = ThreadPoolExecutor(1, "dagcelery-loop")
    return thread
