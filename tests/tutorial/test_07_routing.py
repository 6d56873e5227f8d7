"""7. Taints keep tasks to the workers that tolerate them; a queue may also be named."""

from __future__ import annotations

import pytest
from celery import Celery

from dagcelery import Run, dag, task
from dagcelery.client import plan_of
from dagcelery.errors import InvalidDag
from dagcelery.local.cluster import tolerated_queues
from dagcelery.planner.plan import queue_for, queues_of


@task
def numbers(n: int) -> list[int]:
    return list(range(n))


@task(taint="gpu")
def train(x: int) -> int:
    return x + 1


@task(taint=("ssd", "gpu"))
def index(xs: list[int]) -> int:
    return len(xs)


@task(queue="reports")
def report(x: int) -> str:
    return f"{x} trained"


@dag
def pipeline(n: int) -> str:
    return report(index([train(x) for x in numbers(n)]))


def queues(run: Run[str]) -> dict[str, str]:
    return {node.name: node.queue for node in run.status().nodes}


def test_a_taint_is_the_name_of_a_queue_several_are_joined_in_order(eager: Celery) -> None:
    run = pipeline.submit(n=2)
    assert run.result() == "2 trained"
    assert queues(run) == {"numbers": "celery", "train": "gpu", "index": "gpu+ssd", "report": "reports"}


def test_untainted_work_goes_to_the_default_queue() -> None:
    assert queue_for(()) == "celery"
    assert queue_for((), default="team") == "team"


def test_all_queues_of_a_dag_are_known_before_it_runs() -> None:
    assert queues_of(plan_of(pipeline)) == {"celery", "gpu", "gpu+ssd", "reports"}


def test_a_worker_consumes_what_it_tolerates_and_what_is_not_tainted() -> None:
    assert tolerated_queues(["gpu"]) == ("celery", "gpu")
    assert tolerated_queues(["ssd", "gpu"]) == ("celery", "gpu", "ssd", "gpu+ssd")
    assert tolerated_queues([]) == ("celery",)


def test_one_use_of_a_task_may_go_elsewhere(eager: Celery) -> None:
    @dag
    def moved(x: int) -> list[int]:
        return [train(x), train.options(queue="cpu", name="slowly")(x)]

    assert queues(moved.submit(x=1)) == {"train": "gpu", "slowly": "cpu"}  # type: ignore[arg-type]


def test_a_queue_and_a_taint_exclude_each_other() -> None:
    with pytest.raises(InvalidDag, match="two places"):
        task(queue="reports", taint="gpu")


def test_a_nested_dag_keeps_the_queues_of_its_tasks(eager: Celery) -> None:
    @dag
    def outer(n: int) -> list[str]:
        return [pipeline(k) for k in numbers(n)]

    assert set(queues(outer.submit(n=1)).values()) >= {"celery", "gpu", "gpu+ssd", "reports"}  # type: ignore[arg-type]
