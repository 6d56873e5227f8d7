"""DAGs that the tests of the command line name as ``unit.cli.targets:...``."""

from __future__ import annotations

import os
import time

from dagcelery import DAG, Cache, FromNodeOutput, FromParam, FromReturnValue, Retry, Task, dag, task


@task
def numbers(n: int) -> list[int]:
    return list(range(n))


@task
def square(x: int) -> int:
    return x * x


@task(taint="gpu")
def total(xs: list[int]) -> int:
    return sum(xs)


@dag
def squares(n: int) -> int:
    return total([square(x) for x in numbers(n)])


@dag(static=("folds",))
def folded(n: int, folds: int) -> list[list[int]]:
    return [numbers(n) for _ in range(folds)]


@task
def shout(text: str, mark: str | None = None, times: int = 1) -> str:
    return (text.upper() + (mark or "")) * times


@task
def fail(reason: str) -> str:
    raise ValueError(reason)


@task(retry=Retry(max_attempts=2, wait=0))
def needs(path: str) -> str:
    with open(path):
        return os.path.basename(path)


@task(cache=Cache(ttl=600))
def looked_up(x: int) -> int:
    return x


@task
def patient(path: str) -> str:
    while not os.path.exists(path):
        time.sleep(0.01)
    return path


@task(sensitive="password")
def sign_in(url: str, password: str) -> int:
    return len(url + password)


@task
def unprintable() -> object:
    return {1, 2}


def greet(name: str) -> str:
    return f"hello {name}"


alone = Task(greet, inputs={"name": FromParam()}, outputs={"return_value": FromReturnValue()})
declared = DAG(
    {"greet": alone},
    inputs={"name": FromParam()},
    outputs={"return_value": FromNodeOutput("greet", "return_value")},
)
neither = 42


@task
def talks(x: int) -> int:
    print(f"four? {x}")
    return x
