"""Tasks that nobody but Celery's autodiscovery has to name."""

from __future__ import annotations

from dagcelery import dag, task


@task
def price(n: int) -> int:
    return 10 * n


@task
def bill(prices: list[int]) -> int:
    return sum(prices)


@dag
def order(ns: list[int]) -> int:
    return bill([price(n) for n in ns])
