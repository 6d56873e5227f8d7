"""Run the smallest DAG: one task, one parameter.

Notice that `greeting` reads like a function that calls a function, and that no server or worker is needed.
"""

from __future__ import annotations

from dagcelery import dag, task


@task
def greet(name: str) -> str:
    """Say hello."""
    return f"hello, {name}!"


@dag
def greeting(name: str = "world") -> str:
    """Greet someone, as a DAG with a single node."""
    return greet(name)


if __name__ == "__main__":
    print(greeting.invoke())
