"""A tainted task runs only where its queue is consumed."""

from __future__ import annotations

from typing import Any

import pipelines
import pytest

from dagcelery import dag

from .site import Site

SECONDS = 60.0


@pytest.fixture(scope="module")
def _placed() -> dict[str, Any]:
    return {}


@pytest.fixture
def placed(at: Site, _placed: dict[str, Any]) -> dict[str, Any]:
    """Where each piece of `places` ran: the worker's process and its child's."""
    if not _placed:
        _placed.update(pipelines.places.submit(n=40).result(timeout=SECONDS))
    return _placed


def workers(found: list[list[int]]) -> set[int]:
    return {worker for worker, _ in found}


def test_untainted_tasks_run_on_the_worker_of_the_default_queue(at: Site, placed: dict[str, Any]) -> None:
    assert workers(placed["untainted"]) == {at.workers["cpu"].pid}


def test_gpu_tasks_run_only_on_the_worker_that_consumes_gpu(at: Site, placed: dict[str, Any]) -> None:
    assert workers(placed["gpu"]) == {at.workers["gpu"].pid}
    assert len({child for _, child in placed["gpu"]}) == 1


def test_a_task_with_several_taints_waits_on_the_queue_that_joins_their_names(at: Site, placed: dict[str, Any]) -> None:
    assert workers([placed["gpu+ssd"]]) == {at.workers["cpu"].pid}


def test_a_task_with_a_queue_runs_where_that_queue_is_consumed(at: Site, placed: dict[str, Any]) -> None:
    assert workers([placed["bulk"]]) == {at.workers["cpu"].pid}


def test_a_task_may_be_sent_elsewhere_for_one_use(at: Site) -> None:
    @dag
    def once() -> list[list[int]]:
        return [pipelines.place.options(taint="gpu")(), pipelines.gpu_place.options(queue="bulk")()]

    gpu, bulk = once.submit().result(timeout=SECONDS)
    assert (gpu[0], bulk[0]) == (at.workers["gpu"].pid, at.workers["cpu"].pid)


def test_work_that_no_worker_consumes_waits_and_the_rest_goes_on(at: Site) -> None:
    @dag
    def stuck(n: int) -> list[Any]:
        return [pipelines.place.options(queue="nobody")(), pipelines.total(pipelines.numbers(n))]

    run = stuck.submit(n=4)
    with pytest.raises(TimeoutError):
        run.result(timeout=0.5)
    waiting = {node.name: (node.state, node.queue) for node in run.status().nodes}
    assert waiting["place"] == ("waiting", "nobody")
    assert waiting["total"][0] == "done"
    run.delete()
