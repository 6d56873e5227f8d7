"""A user's module whose tasks await: at a gate in a folder, which opens when enough of them have come."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

from dagcelery import Retry, Timeout, current, dag, task


async def arrive(folder: str, x: int, wanted: int) -> None:
    """Wait until so many have come, each to the gate of its own process."""
    gate = Path(folder, str(os.getpid()))
    gate.mkdir(exist_ok=True)
    (gate / str(x)).touch()
    while len(list(gate.iterdir())) < wanted:
        await asyncio.sleep(0.01)


@task
async def meet(folder: str, x: int, wanted: int) -> int:
    await arrive(folder, x, wanted)
    return 2 * x


@task
async def kill(folder: str, x: int, culprit: int) -> int:
    if current().attempt == 1:
        await arrive(folder, x, 20)
    if x == culprit:
        os.kill(os.getpid(), signal.SIGKILL)
    if current().attempt == 1:
        await asyncio.sleep(60)
    return 2 * x


@task(timeout=Timeout(soft=0.2, hard=0.4), retry=Retry(2, wait=0))
async def linger(x: int, blocks: bool) -> int:
    if x == 3 and blocks:
        time.sleep(60)
    elif x == 3 and current().attempt == 1:
        await asyncio.sleep(60)
    return 2 * x


@dag
def met(folder: str, xs: list[int], wanted: int) -> list[int]:
    return [meet(folder, x, wanted) for x in xs]


@dag
def killed(folder: str, xs: list[int], culprit: int) -> list[int]:
    fragile = kill.options(min_success=0.9)
    return [fragile(folder, x, culprit) for x in xs]


@dag
def lingering(xs: list[int], blocks: bool) -> list[int]:
    fragile = linger.options(min_success=0.5)
    return [fragile(x, blocks) for x in xs]
