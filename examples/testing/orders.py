"""A shop's orders: paid ones are packed on machines with a press, and the day's total is booked."""

from __future__ import annotations

from dagcelery import Retry, dag, task


@task(retry=Retry(max_attempts=3, on=OSError))
def charge(cents: int) -> int:
    if cents <= 0:
        raise ValueError(f"{cents} cents cannot be charged")
    return cents


@task(taint="press")
def pack(cents: int) -> str:
    return f"a parcel for {cents / 100:.2f}"


@task
def book(paid: list[int], parcels: list[str]) -> dict[str, object]:
    return {"total": sum(paid), "parcels": parcels}


@dag
def day(orders: list[int]) -> dict[str, object]:
    paid = [charge(cents) for cents in orders]
    return book(paid, [pack(cents) for cents in paid])


def close_of_business(orders: list[int]) -> str:
    """Submit a DAG and wait for it, as the shop's own code does."""
    booked = day.submit(orders=orders).result(timeout=60)
    return f"{booked['total']} cents"
