"""A user's module that listens to Celery's signals, and whose tasks leave in every way there is."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from celery.signals import task_prerun

from dagcelery import Retry, Timeout, current, dag, task

RAISED: list[type[BaseException]] = [
    KeyboardInterrupt,
    SystemExit,
    GeneratorExit,
    StopIteration,
    asyncio.CancelledError,
]
user: ContextVar[str] = ContextVar("user", default="nobody")


@task_prerun.connect
def seen(**_: Any) -> None:
    """Be there: that is all it takes."""


def trace(folder: str) -> None:
    with Path(folder, "trace").open("a") as file:
        file.write("called\n")


@task
def raising(folder: str, number: int) -> None:
    trace(folder)
    raise RAISED[number]("by the task")


@task(retry=Retry(3, wait=0, on=BaseException))
def interrupts_twice(folder: str) -> int:
    trace(folder)
    if current().attempt < 3:
        raise KeyboardInterrupt
    return current().attempt


@task(timeout=Timeout(hard=0.3))
def overruns() -> None:
    time.sleep(60)


@task
def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@task(queue="nobody", start_within=0.3)
def waits() -> None: ...


@task
def forks(folder: str) -> str:
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        trace(folder)
    return "parent" if child else "child"


@task
async def stops_its_loop() -> str:
    asyncio.get_running_loop().stop()
    return "stopped"


@task
async def sets_user(name: str) -> str:
    await asyncio.sleep(0)
    before = user.get()
    user.set(name)
    return before


@task
def stays(folder: str) -> str:
    """Wait in the first process that runs it, until that is told to leave."""
    trace(folder)
    if len(Path(folder, "trace").read_text().splitlines()) > 1:
        return "done"
    Path(folder, "pid").write_text(str(os.getpid()))
    time.sleep(60)
    return "never"


@dag
def fine(xs: list[int]) -> list[int]:
    return [doubled(x) for x in xs]


@task
def doubled(x: int) -> int:
    return 2 * x
