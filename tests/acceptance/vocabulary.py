"""Tasks that the tests use, in a module that workers can import."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from dagcelery import dag, task

__all__ = ["add", "count", "double", "echo", "hold", "identity", "map_reduce", "numbers", "total"]


def identity(x: Any) -> Any:
    """Not decorated."""
    return x


@task
def numbers(n: int) -> list[int]:
    return list(range(n))


@task
def double(x: int) -> int:
    return 2 * x


@task
def add(a: int, b: int) -> int:
    return a + b


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@task
def count(things: Any) -> int:
    return len(things)


@task
def echo(x: Any) -> Any:
    return x


@task
def hold(folder: str) -> int:
    """Leave the id of this process, and wait for a file that lets go."""
    with open(Path(folder, "pids"), "a") as file:
        file.write(f"{os.getpid()}\n")
    while not Path(folder, "go").exists():
        time.sleep(0.005)
    return os.getpid()


@dag
def map_reduce(n: int) -> int:
    return total([double(x) for x in numbers(n)])
