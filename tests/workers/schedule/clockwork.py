"""DAGs that the clock submits, in a module of their own."""

from __future__ import annotations

from dagcelery import DAG, FromReturnValue, Schedule, Task, dag, task
from dagcelery.model import DagOptions


@task
def answer() -> int:
    return 42


@dag(schedule="0 3 * * *", timezone="Europe/Berlin")
def nightly(extra: int = 0) -> int:
    return answer()


@dag(schedule="*/5 * * * *")
def often() -> int:
    return answer()


@dag
def never() -> int:
    return answer()


variant = nightly.options(deadline=60)

declared = DAG(
    {"answer": Task(answer.fn, {}, {"n": FromReturnValue()})},
    name="declared",
    options=DagOptions(schedule=Schedule("0 0 1 1 *")),
)
