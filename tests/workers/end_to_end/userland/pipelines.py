"""A user's module: the DAGs that the end-to-end tests run, in process and on workers, and compare with plain Python."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Any

from dagcelery import AsPickle, current, dag, task


@task
def numbers(n: int) -> list[int]:
    return list(range(n))


@task
def power(x: int, exponent: int) -> int:
    return int(x**exponent)


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@task(taint="gpu")
def gpu_total(xs: list[int]) -> int:
    return sum(xs)


@task
def lazy_total(xs: Iterable[int]) -> int:
    return sum(xs)


@task
def add(a: int, b: int) -> int:
    return a + b


@dag
def map_reduce(n: int, exponent: int = 2) -> int:
    return total([power(x=x, exponent=exponent) for x in numbers(n)])


@dag
def map_reduce_gpu(n: int) -> int:
    return gpu_total([power(x=x, exponent=2) for x in numbers(n)])


@dag
def two_consumers(n: int) -> dict[str, Any]:
    xs = numbers(n)
    squares = [power(x, 2) for x in xs]
    return {"a": total(squares), "b": lazy_total(squares), "whole": total(xs), "squares": squares}


@dag
def element_chain(n: int) -> list[int]:
    return [add(power(x, 2), x) for x in numbers(n)]


@dag
def row(k: int) -> int:
    return total([power(x, 2) for x in numbers(k)])


@dag
def map_in_map(n: int) -> int:
    return total([row(k) for k in numbers(n)])


@dag
def map_in_map_inline(n: int) -> list[int]:
    return [total([power(y, 2) for y in numbers(x)]) for x in numbers(n)]


@task
def stage(x: int) -> int:
    return x + 1


@task(taint="gpu")
def gpu_stage(x: int) -> int:
    return x * 2


@dag
def zigzag(x: int) -> int:
    return stage(gpu_stage(stage(gpu_stage(stage(x)))))


@task
def split(x: int) -> dict[str, Any]:
    return {"a": x, "b": {"c": [x, x + 1]}}


@task
def gather(parts: dict[str, Any]) -> list[int]:
    return [parts["first"], *parts["rest"]]


@dag
def nested_outputs(x: int) -> list[int]:
    out = split(x)
    return gather({"first": out["a"], "rest": [out["b"]["c"][0], out["b"]["c"][1], 7]})


@task
def boom(x: int) -> int:
    if x == 3:
        raise ValueError(f"no {x}")
    return x


@dag
def failing(n: int) -> int:
    return total([boom(x) for x in numbers(n)])


@task
def who(x: int) -> list[Any]:
    piece = current()
    return [piece.address, piece.index, piece.attempt, os.getpid()]


@dag
def whoami(n: int) -> list[list[Any]]:
    return [who(x) for x in numbers(n)]


@task
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@dag
def naps(seconds: list[float]) -> list[float]:
    return [nap(s) for s in seconds]


@dag(serializer=AsPickle())
def pickled(n: int) -> set[int]:
    return as_set([power(x, 2) for x in numbers(n)])


@task
def as_set(xs: list[int]) -> set[int]:
    return set(xs)


@task
async def fetch(x: int) -> int:
    return x + 1


@dag
async def asynchronous(x: int) -> int:
    return await fetch(await fetch(x))


@task
def nothing() -> None:
    return None


@task
def falsy(kind: str) -> Any:
    return {"zero": 0, "false": False, "empty": "", "none": None, "list": [], "dict": {}}[kind]


@task
def echo(x: Any) -> Any:
    return x


@dag
def falsies() -> list[Any]:
    return [echo(falsy(kind)) for kind in ("zero", "false", "empty", "none", "list", "dict")]


@dag
def ordered(n: int) -> int:
    first = nothing()
    return total.after(first)(numbers(n))


@task
def place(x: Any = None) -> list[int]:
    """The worker, and its child, where this runs."""
    return [os.getppid(), os.getpid()]


@task(taint="gpu")
def gpu_place(x: Any = None) -> list[int]:
    return [os.getppid(), os.getpid()]


@task(taint=("ssd", "gpu"))
def gpu_ssd_place(x: Any = None) -> list[int]:
    return [os.getppid(), os.getpid()]


@task(queue="bulk")
def bulk_place(x: Any = None) -> list[int]:
    return [os.getppid(), os.getpid()]


@dag
def places(n: int) -> dict[str, Any]:
    return {
        "untainted": [place(x) for x in numbers(n)],
        "gpu": [gpu_place(x) for x in numbers(n)],
        "gpu+ssd": gpu_ssd_place(),
        "bulk": bulk_place(),
    }


@task
def leave(x: int) -> None:
    raise SystemExit(x)


@task
def mark(path: str, x: int) -> int:
    """Leave a trace of having run."""
    with open(path, "a") as trace:
        trace.write(f"{x}\n")
    return x


@dag
def failing_between(path: str, bad: int) -> int:
    return mark(path, boom(mark(path, bad)))


@task
def wait_for(path: str) -> str:
    """Wait until there is such a file, and say what is in it."""
    while not os.path.exists(path) or not os.path.getsize(path):
        time.sleep(0.005)
    with open(path) as file:
        return file.read()


@task
def first_then_fail(x: int) -> int:
    raise ValueError(f"{x} cannot be")


@dag
def failing_beside(path: str) -> list[Any]:
    return [wait_for(path), first_then_fail(7)]


@dag
def patient(path: str) -> str:
    return wait_for(path)


@task(queue="watched")
def watched(x: int) -> int:
    return x


@task(queue="watched")
def watched_boom(x: int) -> int:
    if x == 2:
        raise ValueError("a secret reason")
    return x


@task(queue="watched")
def watched_total(xs: list[int]) -> int:
    return sum(xs)


@dag
def watched_map(start: int) -> int:
    return watched_total([watched(start), watched(start)])


@dag
def watched_fan_out(xs: list[int]) -> int:
    return watched_total([watched(x) for x in xs])


@dag
def watched_failure(xs: list[int]) -> int:
    return watched_total([watched_boom(x) for x in xs])


@dag
def chain_of(n: int) -> int:
    for _ in range(60):
        n = add(n, 1)
    return n


@task
def long_text(length: int) -> str:
    return "x" * length


@dag
def big(length: int) -> list[str]:
    return [echo(long_text(length)), long_text(length)]


@dag
def slow_then_gpu(seconds: list[float]) -> list[float]:
    return [gpu_stage(nap(second)) for second in seconds]
