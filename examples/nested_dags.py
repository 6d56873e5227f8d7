"""Call a DAG in another DAG's body like a task.

Notice that `clean` is written once and used twice: its nodes become `clean/strip` and `clean-2/strip`, and they run in
parallel with everything that they do not depend on.
"""

from __future__ import annotations

from dagcelery import dag, task


@task
def strip(text: str) -> str:
    """Remove the space around a text."""
    return text.strip()


@task
def lower(text: str) -> str:
    """Convert a text to lower case."""
    return text.lower()


@task
def join(left: str, right: str) -> str:
    """Put two texts together."""
    return f"{left} {right}"


@dag
def clean(text: str) -> str:
    """Clean a text, in two steps."""
    return lower(strip(text))


@dag
def full_name(first: str, last: str) -> str:
    """Clean both parts with the nested DAG, then join them."""
    return join(clean(first), clean(last))


if __name__ == "__main__":
    print(full_name.invoke(first="  ADA ", last=" Lovelace"))
