"""Dicts that hold their newest items only: what a process remembers must not grow for as long as it lives.

A room of its own, since engine, client and frontends all have such dicts. (kombu has a class for it, which takes 110 ms
to import; `lru_cache` forgets nothing by its key.)
"""

from __future__ import annotations

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def put(items: dict[K, V], key: K, value: V, most: int) -> V:
    """Set an item of a dict that holds the `most` newest ones, while other threads do so, too; return the value."""
    items[key] = value
    while len(items) > most:
        items.pop(next(iter(list(items))), None)  # another thread may have dropped it
    return value
