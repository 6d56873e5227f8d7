"""Taints send work to queues, and tolerations say which of them a worker consumes."""

from __future__ import annotations

from dagcelery.model import TaskOptions
from dagcelery.planner.compile import plan
from dagcelery.planner.plan import queue_for, queues_of

from .graphs import graph, nothing, task


def test_a_named_queue_wins() -> None:
    assert queue_for((), "big") == "big"


def test_a_task_with_no_taint_waits_on_the_default_queue() -> None:
    assert queue_for(()) == "celery"
    assert queue_for((), default="work") == "work"


def test_taints_name_the_queue_sorted_and_joined() -> None:
    assert queue_for(("ssd", "gpu")) == "gpu+ssd"


def test_a_plan_knows_all_its_queues() -> None:
    dag = graph({"a": task(nothing, TaskOptions(taints=("gpu",))), "b": task(nothing, TaskOptions(queue="big"))}, "b")
    assert queues_of(plan(dag, queue="work")) == {"gpu", "big"}
    assert queues_of(plan(graph({"a": task(nothing)}, "a"), queue="work")) == {"work"}
