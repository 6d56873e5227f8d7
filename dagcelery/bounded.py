"""Dicts that hold their newest items only: what a process remembers must not grow for as long as it lives.

A room of its own, since engine, client and frontends all have such dicts. (kombu has a class for it, which takes 110 ms
to import; `lru_cache` forgets nothing by its key.)
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def put(
    items: dict[K, V],
    key: K,
    value: V,
    most: int,
    *,
    size: Callable[[Collection[V]], int] | None = None,
    most_size: int = 0,
) -> V:
    """Set an item of a dict that holds the `most` newest ones, while other threads do so, too; return the value.

    If they have a `size` together, it holds no more than `most_size` of it, but the newest one in any case.
    """
    items[key] = value
    while len(items) > most or (size and len(items) > 1 and size(list(items.values())) > most_size):
        items.pop(next(iter(list(items))), None)  # another thread may have dropped it
    return value
