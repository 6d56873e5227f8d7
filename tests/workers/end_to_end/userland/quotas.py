"""A user's module: tasks and DAGs of which only so many may run at once, and hooks that write down what they hear."""

from __future__ import annotations

import os
import time
from pathlib import Path

from dagcelery import Notice, Retry, current, dag, task


def note(folder: str, text: str) -> None:
    with (Path(folder) / "notes").open("a") as notes:
        notes.write(f"{time.time():.6f} {text}\n")


@task
def names(n: int) -> list[int]:
    return list(range(n))


@task(max_concurrent=1)
def alone(x: int, folder: str) -> int:
    note(folder, "begins")
    time.sleep(0.05)
    note(folder, "ends")
    return x


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@dag
def one_by_one(n: int, folder: str) -> int:
    return total([alone(x, folder) for x in names(n)])


@task(max_concurrent=1)
def fatal_at_first(folder: str) -> int:
    if current().attempt == 1:
        os._exit(9)
    return 1


@dag
def survives(folder: str) -> int:
    return fatal_at_first(folder)


@task
def slow(folder: str) -> int:
    note(folder, "begins")
    time.sleep(0.1)
    note(folder, "ends")
    return 1


@dag(max_active_runs=1)
def one_run(folder: str) -> int:
    return slow(folder)


def tell(notice: Notice) -> None:
    folder = notice.name.rpartition("@")[2]
    note(folder, f"{notice.state} {notice.address} {notice.error} {notice.attempt}")


@task(retry=Retry(2, wait=0), on_success=tell, on_failure=tell, on_retry=tell)
def odd(x: int) -> int:
    if x % 2 == 0 and current().attempt == 1:
        raise ValueError("even")
    return x


@task(on_failure=tell)
def broken() -> None:
    raise OSError("gone")
