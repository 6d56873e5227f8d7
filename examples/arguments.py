"""Give tasks any arguments that Python functions take: literals, defaults, keyword-only and extra keywords, containers.

Notice that outputs may be inside lists and dicts, next to literals; a task gets only values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dagcelery import dag, task


@task
def price(item: str, *, discount: float = 0.0) -> float:
    """Use a default, and a keyword-only parameter."""
    return {"pen": 2.0, "book": 20.0}[item] * (1 - discount)


@task
def receipt(lines: Mapping[str, float], **notes: Any) -> str:
    """Format a mapping of prices, and any further keywords."""
    told = ", ".join(f"{item} {cost:.2f}" for item, cost in lines.items())
    return f"{told}; {', '.join(f'{name}: {note}' for name, note in notes.items())}"


@dag
def sale(customer: str = "Ada") -> str:
    """Pass outputs inside a dict, and a parameter and a literal as extra keywords."""
    lines = {"pen": price("pen"), "book": price("book", discount=0.5)}
    return receipt(lines, customer=customer, paid=True)


if __name__ == "__main__":
    print(sale.invoke())
    print(sale.invoke(customer="Grace"))
