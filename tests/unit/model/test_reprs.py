"""In a shell a task, a DAG or an option shows what its author said of it, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from dagcelery import AsPickle, Cache, Retry, build, dag, task
from dagcelery.model import DAG, FromNodeOutput, FromParam, FromReturnValue, Literal, Task
from dagcelery.model.options import DagOptions, TaskOptions, Timeout
from dagcelery.model.schedules import Schedule


def load(path: str, rows: int = 3) -> list[str]:
    return [path] * rows


class Unlike:
    def __eq__(self, other: object) -> Any:
        raise ValueError("the truth of this is ambiguous")

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "Unlike()"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (TaskOptions(), "TaskOptions()"),
        (TaskOptions(queue="gpu", timeout=3), "TaskOptions(queue='gpu', timeout=Timeout(hard=3.0))"),
        (TaskOptions(on_failure=load), f"TaskOptions(on_failure={__name__}:load)"),
        (DagOptions(), "DagOptions()"),
        (DagOptions(fail_fast=False, serializer=AsPickle()), "DagOptions(serializer=AsPickle(), fail_fast=False)"),
        (Retry(), "Retry()"),
        (Retry(5, give_up_on=OSError), "Retry(max_attempts=5, give_up_on=(<class 'OSError'>,))"),
        (Timeout(soft=1), "Timeout(soft=1.0)"),
        (Cache(ttl=60), "Cache(ttl=60.0)"),
        (Schedule("0 3 * * *"), "Schedule(cron='0 3 * * *')"),
        (FromParam(), "FromParam()"),
        (FromParam("x", 0), "FromParam(name='x', default_value=0)"),
        (FromParam(default_value=Unlike()), "FromParam(default_value=Unlike())"),
        (FromNodeOutput("a", "o"), "FromNodeOutput(node='a', output='o')"),
        (FromReturnValue(), "FromReturnValue()"),
        (FromReturnValue(is_partitioned=True), "FromReturnValue(is_partitioned=True)"),
        (Task(load, {"path": Literal("a")}), f"Task(func={__name__}:load, inputs={{'path': Literal(value='a')}})"),
        (
            Task(load, {"path": FromParam()}, options=TaskOptions(queue="io"), after=("b",)),
            f"Task(func={__name__}:load, inputs={{'path': FromParam()}}, options=TaskOptions(queue='io'), after=('b',))",  # noqa: E501
        ),
        (DAG({"a": Task(load, {"path": FromParam()})}, {"path": FromParam()}), "<DAG: nodes a; inputs path>"),
        (
            DAG({"a": Task(dict)}, outputs={"o": Literal(1)}, name="m:d", options=DagOptions(deadline=3)),
            "<DAG m:d: nodes a; outputs o; options=DagOptions(deadline=3)>",
        ),
        (task(load), f"<TaskFunction {__name__}:load(path, rows=3)>"),
        (
            task(queue="gpu", retry=Retry(2))(load).options(name="mine"),
            f"<TaskFunction {__name__}:load(path, rows=3), name='mine', queue='gpu', retry=Retry(max_attempts=2)>",
        ),
        (
            dag(static="rows", deadline=5)(load).options(key="k"),
            f"<DagFunction {__name__}:load(path, rows=3), static=('rows',), key='k', deadline=5>",
        ),
    ],
)
def test_it_is_shown_as_it_was_written(value: object, text: str) -> None:
    assert repr(value) == text


def test_a_dag_names_its_nodes() -> None:
    @dag
    def twice(path: Any) -> Any:
        return [task(load)(path), task(load)(path)]

    assert "nodes load, load-2; inputs path; outputs" in repr(build(twice))
