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


def test_the_oldest_items_go_if_all_are_too_large_but_never_the_newest() -> None:
    items: dict[str, int] = {}
    for name, value in zip("abc", (3, 2, 1), strict=True):
        bounded.put(items, name, value, 9, size=sum, most_size=3)
    assert items == {"b": 2, "c": 1}
    bounded.put(items, "d", 4, 9, size=sum, most_size=3)
    assert items == {"d": 4}


def test_threads_may_fill_it_together() -> None:
    items: dict[int, int] = {}

    def fill(start: int) -> None:
        for key in range(start, start + 2_000):
            bounded.put(items, key, key, 10)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(fill, range(0, 8_000, 2_000)))
    assert len(items) == 10
