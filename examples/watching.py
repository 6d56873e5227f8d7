"""Watch a run while it goes on: event by event, from an event loop, and from any earlier position.

Notice that `aevents` takes no thread while it waits, so one process can watch many runs; that an event has a position,
from which any process can continue later; and that the status says why a node waits.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from dagcelery import Run, dag, runs, task
from dagcelery.local import cluster


@task
def shards(n: int) -> list[int]:
    return list(range(n))


@task
def count(shard: int) -> int:
    return 100 + shard


@task(taint="gpu")
def rank(counts: list[int]) -> int:
    return max(counts)


@dag
def census(n: int) -> int:
    """Find the largest of some counts."""
    return rank([count(shard) for shard in shards(n)])


async def watch(run: Run[int], until: str, after: str = "") -> str:
    """Print events until a node is done; return the position to continue from."""
    async with aclosing(run.aevents(after)) as events:
        async for event in events:
            print(event.kind, event.address or event.state)
            if event.address == until:
                return event.position
    return ""


if __name__ == "__main__":
    with cluster(workers=1) as local:  # this worker does not tolerate gpu
        run = census.submit(n=3)
        left_at = asyncio.run(watch(run, until="count[2]"))
        print(run.status().nodes[-1].why)
        local.start_worker(queues=["gpu"])
        asyncio.run(watch(run, until="", after=left_at))
        print(run.result(timeout=60), [(each.name, str(each.state)) for each in runs(census, limit=1)])
