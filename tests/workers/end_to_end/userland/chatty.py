"""Tasks that write to the log."""

from __future__ import annotations

import logging

from dagcelery import Retry, dag, task

log = logging.getLogger(__name__)


@task
def numbers(n: int) -> list[int]:
    return list(range(n))


@task
def told(x: int) -> int:
    log.warning("item %d is told", x)
    return x


@dag
def inner(x: int) -> int:
    return told(x)


@dag
def chat(n: int) -> list[int]:
    return [told(x) for x in numbers(n)]


@dag
def nested(n: int) -> list[int]:
    return [inner(x) for x in numbers(n)]


@task(retry=Retry(2, wait=0))
def unlucky() -> None:
    raise ConnectionError("no route")


@task(on_item_failure="skip")
def small(x: int) -> int:
    if x == 1:
        raise ValueError("too large")
    return x


@dag
def sieved(n: int) -> list[int]:
    return [small(x) for x in numbers(n)]
