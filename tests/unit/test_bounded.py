"""A bounded dict holds its newest items, whichever threads fill it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from dagcelery import bounded


def test_the_oldest_items_go() -> None:
    items: dict[str, int] = {}
    assert [bounded.put(items, name, index, 2) for index, name in enumerate("abc")] == [0, 1, 2]
    assert items == {"b": 1, "c": 2}
    bounded.put(items, "b", 3, 2)
    assert items == {"b": 3, "c": 2}


def test_threads_may_fill_it_together() -> None:
    items: dict[int, int] = {}

    def fill(start: int) -> None:
        for key in range(start, start + 2_000):
            bounded.put(items, key, key, 10)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(fill, range(0, 8_000, 2_000)))
    assert len(items) == 10
