"""The web process's view of the pipeline: its name and its parameters.

Notice that the pipeline is imported where this task runs, in a worker. The task is dynamic, so the DAG that it calls
becomes part of the run, with a state for each of its nodes.
"""

from __future__ import annotations

from dagcelery import task


@task(dynamic=True)
def estimate(parts: int, throws: int) -> float:
    from fastapi_backend import darts

    return darts.pi(parts, throws)
