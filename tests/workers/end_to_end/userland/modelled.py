"""Tasks that take and give dataclasses and pydantic models."""

from __future__ import annotations

import dataclasses
import datetime
from decimal import Decimal

import pydantic

from dagcelery import dag, task


@dataclasses.dataclass(frozen=True)
class Order:
    number: int
    prices: tuple[Decimal, ...]
    when: datetime.date


class Receipt(pydantic.BaseModel):
    order: Order
    total: Decimal


@task
def bill(order: Order) -> Receipt:
    assert type(order) is Order
    return Receipt(order=order, total=sum(order.prices, Decimal(0)))


@task
def largest(receipts: list[Receipt]) -> Receipt:
    return max(receipts, key=lambda receipt: receipt.total)


@dag
def best(orders: list[Order]) -> Receipt:
    return largest([bill(order) for order in orders])
