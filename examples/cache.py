"""Look up prices once an hour: results are kept, and the next report uses them instead of calling.

Notice that the second report looks up only the new name, that `exchange` is kept under a key of its own, since the
result does not depend on the caller, and that `forget` starts again.
"""

from __future__ import annotations

from dagcelery import Cache, dag, task

ASKED: list[str] = []
"""A stand-in for a shop that should be asked rarely."""


@task(cache=Cache(ttl=3600))
def price(name: str) -> int:
    """Return a price in cents; it is kept for an hour for each name."""
    ASKED.append(name)
    return 100 * len(name)


@task(cache=Cache(ttl=3600, key=lambda currency, customer: currency))
def exchange(currency: str, customer: str) -> float:
    """Return the rate of a currency, the same for all customers."""
    ASKED.append(currency)
    return {"EUR": 1.0, "USD": 1.25}[currency]


@task
def report(prices: list[int], rate: float) -> float:
    """Format the sum."""
    return sum(prices) * rate / 100


@dag
def bill(names: list[str], customer: str) -> float:
    """Add up prices in dollars."""
    return report([price(name) for name in names], exchange("USD", customer))


if __name__ == "__main__":
    print("Ada pays", bill.invoke(names=["pen", "book"], customer="Ada"), "after asking for", *ASKED)
    ASKED.clear()
    print("Bob pays", bill.invoke(names=["pen", "book", "lamp"], customer="Bob"), "after asking for", *ASKED)
    ASKED.clear()
    print("dropped:", price.forget(), "prices")
    print("Eve pays", bill.invoke(names=["pen"], customer="Eve"), "after asking for", *ASKED)
