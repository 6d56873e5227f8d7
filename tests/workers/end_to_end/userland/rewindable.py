"""A user's module of DAGs whose tasks read a file, which no DAG knows of: the same call may give something else."""

from __future__ import annotations

import time
from pathlib import Path

from dagcelery import dag, task


def outside(folder: str) -> int:
    return int(Path(folder, "outside").read_text())


@task
def rows(folder: str) -> list[int]:
    return list(range(outside(folder)))


@task
def scaled(x: int, folder: str) -> int:
    while Path(folder, "hold").exists():
        time.sleep(0.005)
    return x * outside(folder)


@task
def plus(x: int) -> int:
    return x + 1


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@dag
def inner(x: int, folder: str) -> int:
    return plus(scaled(x, folder))


@dag
def nested(folder: str) -> int:
    return total([inner(x, folder) for x in rows(folder)])


@dag(keep="outputs")
def lean(folder: str) -> int:
    return total([inner(x, folder) for x in rows(folder)])
