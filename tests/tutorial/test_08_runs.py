"""8. Submitting a DAG gives a run: it has an id, a state, the progress of each node, and in the end a result."""

from __future__ import annotations

import asyncio

import pytest
from celery import Celery

from dagcelery import Run, RunState, asubmit, current, dag, invoke, submit, task
from dagcelery.errors import NodeFailed, NotConfigured


@task
def numbers(n: int) -> list[int]:
    return list(range(n))


@task
def invert(x: int) -> float:
    return 1 / x


@task
def where(x: int) -> tuple[str, int | None, int]:
    piece = current()
    return piece.address, piece.index, piece.attempt


@task
def total(xs: list[float]) -> float:
    return sum(xs)


@dag
def summed(n: int) -> float:
    return total([float_of(x) for x in numbers(n)])


@task
def float_of(x: int) -> float:
    return float(x)


@dag
def inverted(n: int) -> list[float]:
    return [invert(x) for x in numbers(n)]


def test_a_dag_is_submitted_with_its_parameters_as_in_a_call(eager: Celery) -> None:
    run = summed.submit(n=4)
    assert run.result(timeout=10) == 6.0


def test_or_by_the_function_with_a_mapping(eager: Celery) -> None:
    assert submit(summed, {"n": 4}).result() == 6.0


def test_or_without_blocking_an_event_loop(eager: Celery) -> None:
    async def main() -> float:
        run = await asubmit(summed, {"n": 4})
        result: float = await run.aresult()
        return result

    assert asyncio.run(main()) == 6.0


def test_a_finished_run_is_done(eager: Celery) -> None:
    run = summed.submit(n=4)
    assert run.state is RunState.DONE
    assert run.state.is_end
    assert run.state == "done"


def test_its_status_tells_how_far_every_node_is(eager: Celery) -> None:
    status = summed.submit(n=4).status()
    assert status.name.endswith(":summed")
    assert [(node.name, node.state, node.done, node.total) for node in status.nodes] == [
        ("numbers", "done", 1, 1),
        ("float_of", "done", 4, 4),
        ("total", "done", 1, 1),
    ]


def test_a_failed_run_says_where_and_raises_when_it_is_asked_for_its_result(eager: Celery) -> None:
    run = inverted.submit(n=2)
    assert run.state is RunState.FAILED
    assert run.status().failed == "invert[0]"
    with pytest.raises(NodeFailed, match=r"invert\[0\] failed with ZeroDivisionError"):
        run.result()


def test_eager_errors_are_raised_at_once_where_celery_is_told_so(eager: Celery) -> None:
    eager.conf.task_eager_propagates = True
    with pytest.raises(ZeroDivisionError):
        inverted.submit(n=2)


def test_a_run_is_its_id() -> None:
    assert Run("abc") == Run("abc")
    assert Run("abc").id == "abc"


def test_without_a_broker_and_a_store_submit_says_how_to_get_them() -> None:
    with pytest.raises(NotConfigured, match=r"DAGCELERY_BROKER_URL.*attach\(app\)"):
        submit(summed, {"n": 4})


def test_a_task_knows_which_piece_of_a_run_it_is() -> None:
    @dag
    def pieces(n: int) -> list[tuple[str, int | None, int]]:
        return [where(x) for x in numbers(n)]

    assert invoke(pieces, {"n": 2}) == [["where[0]", 0, 1], ["where[1]", 1, 1]]


def test_outside_of_a_run_there_is_no_piece() -> None:
    with pytest.raises(LookupError, match="outside of a running piece"):
        current()


def test_a_task_does_not_wait_for_other_runs(eager: Celery) -> None:
    other = summed.submit(n=1)

    @task
    def waits() -> float:
        return other.result()

    with pytest.raises(NodeFailed, match="inside a task"):
        invoke(waits)
