"""Reduce more than fits into memory: annotate the parameter as an Iterable.

Notice the annotation of `longest`. A parameter annotated `list` gets a real list; one annotated `Iterable`, `Sequence`,
`Collection` or `Iterator` gets results that are read from the store as they are needed.
"""

from __future__ import annotations

from collections.abc import Iterable

from dagcelery import dag, task


@task
def sizes(n: int) -> list[int]:
    """Return the size of each page."""
    return [(7 * i) % 100 for i in range(n)]


@task
def page(size: int) -> str:
    """Make one page; a million of them would not fit into memory."""
    return "x" * size


@task
def longest(pages: Iterable[str]) -> int:
    """Find the longest page, one after the other."""
    return max(len(text) for text in pages)


@dag
def book(n: int) -> int:
    """Write n pages and measure the longest."""
    return longest([page(size) for size in sizes(n)])


if __name__ == "__main__":
    print(book.invoke(n=1000))
