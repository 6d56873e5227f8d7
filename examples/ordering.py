"""Order tasks that pass no values to each other.

Notice that `after` belongs to the task, before the call: `load.after(emptied)(path)`. A task that comes after a list of
outputs waits for all of them.
"""

from __future__ import annotations

from dagcelery import dag, task

JOURNAL: list[str] = []
"""A record of the calls, in order; only for this example, since workers share no memory."""


@task
def empty(table: str) -> None:
    """Have a side effect, and return nothing."""
    JOURNAL.append(f"empty {table}")


@task
def load(table: str) -> int:
    """Come after the side effect."""
    JOURNAL.append(f"load {table}")
    return len(table)


@task
def announce(text: str) -> str:
    """Come last."""
    JOURNAL.append(text)
    return text


@dag
def refresh() -> str:
    """Empty two tables, then load them, then announce it."""
    emptied = [empty("users"), empty("orders")]
    users = load.after(emptied)("users")
    orders = load.after(emptied)("orders")
    return announce.after(users, orders)("all loaded")


if __name__ == "__main__":
    print(refresh.invoke())
    print(JOURNAL)
