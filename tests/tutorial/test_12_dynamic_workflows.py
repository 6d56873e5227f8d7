"""Chapter 12: tasks that call tasks while they run, and classes of them."""

from __future__ import annotations

import pytest

from dagcelery import RunState, Workflow, dag, errors, task
from dagcelery.local import Cluster


@task
def doubled(x: int) -> int:
    return 2 * x


@task
def summed(xs: list[int]) -> int:
    return sum(xs)


@task(dynamic=True)
def collatz(n: int, steps: int) -> int:
    """How many steps it takes from n to 1: nobody knows before."""
    if n == 1:
        return steps
    return collatz(n // 2 if n % 2 == 0 else 3 * n + 1, steps + 1)


@task(dynamic=True)
def spread(n: int) -> int:
    return summed([doubled(x) for x in range(n)])


@dag
def spread_all(sizes: list[int]) -> list[int]:
    return [spread(size) for size in sizes]


class Draft(Workflow):
    """Writes until it is long enough."""

    def __init__(self, enough: int) -> None:
        self.enough = enough

    @task
    def entrypoint(self, text: str) -> str:
        return self.reviewed(self.extended(text))

    @task
    def reviewed(self, text: str) -> str:
        return text if self.is_long(text) else self.reviewed(self.extended(text))

    @task
    def extended(self, text: str) -> str:
        return text + "!"

    def is_long(self, text: str) -> bool:
        return len(text) >= self.enough


def test_a_dynamic_task_decides_on_real_values_what_is_executed_next() -> None:
    assert collatz.invoke(n=27, steps=0) == 111


def test_what_it_calls_runs_after_it_and_whoever_takes_its_result_waits_for_that() -> None:
    assert spread_all.invoke(sizes=[3, 0, 2]) == [6, 0, 2]


def test_called_as_plain_python_it_gives_the_same() -> None:
    assert collatz(27, 0) == 111
    assert Draft(7)("text") == Draft(7).invoke("text") == "text!!!"


def test_a_promise_may_only_be_passed_on() -> None:
    @task(dynamic=True)
    def asking(x: int) -> str:
        return "much" if doubled(x) > 10 else "little"

    with pytest.raises(errors.NodeFailed, match=r"the promise of 'doubled'.*pass it on to a task"):
        asking.invoke(x=1)


def test_on_workers_the_graph_grows_in_the_same_way(cluster: Cluster) -> None:
    run = Draft(7).submit("text")
    assert run.result(timeout=60) == "text!!!"
    assert run.state is RunState.DONE
    names = [node.name for node in run.status().nodes]
    assert names[:3] == ["entrypoint", "entrypoint/extended", "entrypoint/reviewed"]
    assert len(names) == 7
