"""Dynamic tasks and workflows that tests run in process and on workers."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

from dagcelery import AsPickle, Workflow, dag, register_definition, task


@task
def double(x: int) -> int:
    return 2 * x


@task
def add(x: int, y: int) -> int:
    return x + y


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@task
def same(value: Any) -> Any:
    return value


@task
async def later(x: int) -> int:
    await asyncio.sleep(0)
    return x + 1


@dag
def doubled_total(xs: list[int]) -> int:
    return total([double(x) for x in xs])


@task(dynamic=True)
def factorial(n: int) -> int:
    return product(n, factorial(n - 1)) if n else 1


@task
def product(x: int, y: int) -> int:
    return x * y


@task(dynamic=True)
def countdown(n: int) -> int:
    """A call in a call, `n` deep."""
    return countdown(n - 1) if n else 0


@task(dynamic=True)
def spread(n: int) -> list[int]:
    return [double(i) for i in range(n)]


@task(dynamic=True)
def crawl(page: int, pages: int) -> list[int]:
    """Each page links to two others, until there are no more."""
    links = [link for link in (2 * page + 1, 2 * page + 2) if link < pages]
    return united(page, [crawl(link, pages) for link in links]) if links else [page]


@task
def united(page: int, found: list[list[int]]) -> list[int]:
    return sorted([page, *(other for others in found for other in others)])


class Statuses(Workflow, serializer=AsPickle()):
    """The example of the library that workflows come from."""

    def entrypoint(self) -> Counter[int]:
        return self.rollup([self.perform_work(i) for i in range(4)])

    @task
    def perform_work(self, identifier: int) -> int:
        return identifier // 2

    @task
    def rollup(self, responses: list[int]) -> Counter[int]:
        return Counter(responses)


class Tree(Workflow):
    """Grows by its constructor's state; `label` is a plain method."""

    def __init__(self, branches: int) -> None:
        self.branches = branches

    @task
    def entrypoint(self, depth: int) -> list[str]:
        return self.grown("root", depth)

    @task
    def grown(self, name: str, depth: int) -> list[str]:
        if not depth:
            return [name]
        return self.joined([self.grown(self.label(name, i), depth - 1) for i in range(self.branches)])

    @task
    async def joined(self, parts: list[list[str]]) -> list[str]:
        await asyncio.sleep(0)
        return [leaf for part in parts for leaf in part]

    def label(self, name: str, number: int) -> str:
        return f"{name}.{number}"


class Greeter(Workflow, name="greetings"):
    """Is registered, so that nodes name it instead of carrying it."""

    def __init__(self, greeting: str) -> None:
        self.greeting = greeting

    @task
    def entrypoint(self, names: list[str]) -> list[str]:
        return [self.greet(name) for name in names]

    @task
    def greet(self, name: str) -> str:
        return f"{self.greeting}, {name}"


greeter = register_definition(Greeter("hello"))


@task(taint="gpu")
def on_gpu(x: int) -> int:
    return x + 1


@task(dynamic=True)
def piped(x: int) -> list[int]:
    """Its own plan knows one queue only; what it calls is on two."""
    first = on_gpu(add(x, 1))
    return [first, on_gpu(first)]


@task
def checked(folder: str, x: int) -> int:
    """The second one waits for a permission."""
    if x == 2 and not Path(folder, "allowed").exists():
        raise ValueError("not yet")
    with Path(folder, str(x)).open("a") as file:
        file.write(".")
    return x


@task(dynamic=True)
def flaky(folder: str, xs: list[int]) -> list[int]:
    last: int | None = None
    found = []
    for x in xs:
        last = (checked if last is None else checked.after(last))(folder, x)
        found.append(last)
    return found
