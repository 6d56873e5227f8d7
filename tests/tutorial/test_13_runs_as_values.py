"""A run is a value: it may be kept, sent to another process, and given to a task."""

from __future__ import annotations

import copy
import pickle
from typing import Annotated, Any

import pytest
from celery import Celery

import dagcelery
from dagcelery import AsPickle, Client, Run, dag, task
from dagcelery.errors import NodeFailed
from dagcelery.settings import Settings


@task
def called(run: Annotated[Run[int], AsPickle()]) -> str:
    return run.id


@task
def one() -> int:
    return 1


@dag
def both(run: Annotated[Run[int], AsPickle()]) -> Any:
    return [called(run), called(Run("of yesterday"))]


def test_a_run_is_pickled_as_its_id(eager: Celery) -> None:
    run = one.submit()

    again = pickle.loads(pickle.dumps(run))

    assert again == run
    assert len(pickle.dumps(run)) < 150, "neither the client nor its keys travel"


def test_a_run_that_was_pickled_belongs_to_the_client_of_the_process_that_reads_it() -> None:
    other = Client(Settings(broker_url="memory://", store_url="redis://nowhere", signing_key="secret"))

    data = pickle.dumps(Run("r", client=other))

    assert b"secret" not in data
    assert b"nowhere" not in data
    assert pickle.loads(data)._client is None


def test_a_copy_of_a_run_is_that_run(eager: Celery) -> None:
    run = one.submit()

    assert copy.copy(run).result() == 1
    assert copy.deepcopy({"run": run})["run"].result() == 1


def test_a_run_may_be_a_parameter(eager: Celery) -> None:
    run = one.submit()

    assert called.submit(run).result() == run.id
    assert both.invoke(run) == both(run) == [run.id, "of yesterday"]


def test_json_has_no_runs() -> None:
    @task
    def plain(run: Any) -> Any:
        return run

    with pytest.raises(dagcelery.errors.SerializationError, match=r"'run': is of type .*Run, .*use AsPickle"):
        plain.invoke(Run("r"))
    with pytest.raises(NodeFailed, match=r"is of type .*Run"):
        task(lambda: Run("r")).invoke()


def test_what_a_list_of_runs_shows_may_be_pickled(eager: Celery) -> None:
    summary = dagcelery.client.RunSummary("r", "m:d", dagcelery.RunState.DONE, 1.0, 2.0, 3.0, 1.0, Run("r"))

    assert pickle.loads(pickle.dumps(summary)) == summary
