"""The tasks that random DAGs are made of: each turns its arguments into a number that tells them from all others."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from typing import Any

from dagcelery import task


def digest(*values: Any) -> int:
    """A number for values that JSON can carry; tuples and lists count as the same, as they do for JSON."""
    return zlib.crc32(json.dumps(values, sort_keys=True).encode())


@task
def leaf() -> int:
    return 7


@task
def one(x: Any) -> int:
    return digest("one", x)


@task
def two(x: Any, y: Any = 5) -> int:
    return digest("two", x, y)


@task
def keywords(**given: Any) -> int:
    return digest("keywords", given)


@task
def total(xs: list[Any]) -> int:
    return digest("total", list(xs))


@task
def lazy_total(xs: Iterable[Any]) -> int:
    return digest("total", list(xs))


@task
def listed(x: Any) -> list[int]:
    """None to three elements: how many is known only when it has run."""
    number = digest("listed", x)
    return [digest(number, index) for index in range(number % 4)]


@task
def record(x: Any) -> dict[str, Any]:
    number = digest("record", x)
    rows = [{"a": digest(number, index), "rows": [index] * index} for index in range(number % 3)]
    return {"a": number, "rows": rows, "deep": {"b": [number + 1, number + 2]}}


@task
def pair(x: Any) -> tuple[int, list[int]]:
    number = digest("pair", x)
    return number, [number] * (number % 3)
