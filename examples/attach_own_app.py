"""Run DAGs on a Celery app that you already have.

Notice that `attach` adds tasks to the app and changes none of its settings: its workers still execute `add`, and work
on DAGs as well. The store is the app's Redis result backend. Start a worker with
`celery -A examples.attach_own_app worker`.
"""

from __future__ import annotations

import os

from celery import Celery

from dagcelery import attach, dag, task

URL = os.environ.get("DAGCELERY_STORE_URL", "redis://localhost:6379/0")

app = Celery("team", broker=URL, backend=URL)
app.conf.task_default_queue = "team"
client = attach(app)


@app.task(name="team.add")
def add(a: int, b: int) -> int:
    """An ordinary Celery task of the app."""
    return a + b


@task
def square(x: int) -> int:
    """A task of a DAG."""
    return x * x


@dag
def squares(xs: list[int]) -> list[int]:
    """Square numbers; its pieces wait on the app's own default queue."""
    return [square(x) for x in xs]


if __name__ == "__main__":
    print(squares.invoke(xs=[1, 2, 3]))
