"""A user's module with tasks whose results are kept: each call leaves a line in a file, which nothing else knows of."""

from __future__ import annotations

from pathlib import Path

from dagcelery import Cache, dag, task


def note(folder: str, what: object) -> None:
    with Path(folder, "calls").open("a") as calls:
        calls.write(f"{what}\n")


@task
def rows(n: int) -> list[int]:
    return list(range(n))


@task(cache=Cache(ttl=600))
def square(x: int, folder: str) -> int:
    note(folder, x)
    return x * x


@task(taint="gpu", cache=Cache(ttl=600, key=lambda seed, folder: f"{seed} {folder}"))
def table(seed: int, folder: str) -> list[str]:
    note(folder, "table")
    return [str(seed) * 1000] * 1000


@task
def total(xs: list[int], lines: list[str]) -> int:
    return sum(xs) + sum(map(len, lines))


@dag
def measured(n: int, folder: str) -> int:
    return total([square(x, folder) for x in rows(n)], table(7, folder))
