"""Write tasks and DAGs with `async def`, for clients that need it.

Notice that `await` in the DAG's body only says what depends on what. Tasks are awaited where they run, in an event loop
that a worker keeps from one piece to the next.
"""

from __future__ import annotations

import asyncio

from dagcelery import dag, task


@task
async def fetch(url: str) -> str:
    """Wait for something without blocking the loop."""
    await asyncio.sleep(0.001)
    return f"page at {url}"


@task
def length(text: str) -> int:
    """Mix plain tasks with asynchronous ones."""
    return len(text)


@dag
async def measure(url: str) -> int:
    """Write the body as a coroutine, too."""
    return length(await fetch(url))


if __name__ == "__main__":
    print(measure.invoke(url="example.org"))
