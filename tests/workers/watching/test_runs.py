"""Runs are listed newest first, of one DAG or in one state, without a look at anything else in the store."""

from __future__ import annotations

import asyncio

import pytest
import redis

from dagcelery import Run, RunState, aruns, dag, errors, runs, task
from dagcelery.local import Cluster
from dagcelery.store.fleet import enroll
from dagcelery.store.keys import Keys

from .conftest import SECONDS
from .vocabulary import breaks, squares


@task
def one() -> int:
    return 1


@dag(name="listed")
def listed() -> int:
    return one()


@pytest.fixture
def submitted() -> list[Run[int]]:
    """Three runs of a DAG that no other test has, oldest first, all done."""
    for run in runs(listed, limit=1_000):
        run.run.delete()
    made = [listed.submit() for _ in range(3)]
    for run in made:
        run.wait(SECONDS)
    return made


def test_the_newest_run_comes_first(submitted: list[Run[int]]) -> None:
    newest = [run.id for run in reversed(submitted)]
    assert [run.id for run in runs(limit=3)] == newest
    assert [run.id for run in runs(listed)] == newest
    assert [run.id for run in runs("listed", limit=2)] == newest[:2]


def test_a_listed_run_says_what_it_is_and_can_be_held(submitted: list[Run[int]]) -> None:
    (found,) = runs(listed, limit=1)
    assert (found.name, found.state) == ("listed", RunState.DONE)
    assert 0 < found.created <= found.started <= found.ended
    assert found.run == submitted[-1]
    assert found.run.result(SECONDS) == 1
    assert found.to_dict()["state"] == "done"


def test_runs_in_one_state_are_found_behind_others(submitted: list[Run[int]]) -> None:
    failed = breaks.submit(n=3)
    failed.wait(SECONDS)
    squares.submit(n=1).wait(SECONDS)
    assert runs(state="failed", limit=1)[0].run == failed
    assert runs(listed, state=RunState.FAILED) == []
    assert len(runs(listed, state="done")) == 3


def test_there_may_be_more_runs_than_are_read_at_once(cluster: Cluster) -> None:
    store = cluster.client.store
    for number in range(450):
        store.server.run_together([enroll(f"ghost-{number}", "listed-often")])
    run = listed.options(key="behind").submit()
    store.server.run_together([enroll(run.id, "listed-often")])
    for number in range(450, 900):
        store.server.run_together([enroll(f"ghost-{number}", "listed-often")])
    assert [found.id for found in runs("listed-often")] == [run.id]


def test_a_deleted_run_is_listed_no_longer(submitted: list[Run[int]], cluster: Cluster) -> None:
    submitted[1].delete()
    assert [run.id for run in runs(listed)] == [submitted[2].id, submitted[0].id]


def test_what_has_expired_leaves_the_list(cluster: Cluster) -> None:
    with redis.Redis.from_url(cluster.client.settings.store_url) as raw:
        raw.zadd(Keys().runs("expired"), {"long-gone": 1.0})
        raw.expire(Keys().runs("expired"), 60)
        assert runs("expired") == []
        assert raw.zcard(Keys().runs("expired")) == 0


def test_an_event_loop_lists_runs_too(submitted: list[Run[int]]) -> None:
    assert [run.id for run in asyncio.run(aruns(listed, limit=1))] == [submitted[-1].id]


def test_a_dag_that_never_ran_has_no_runs() -> None:
    assert runs("no:such") == []


@pytest.mark.parametrize("state", ["over", 3, ""])
def test_what_is_no_state_is_refused(state: str) -> None:
    with pytest.raises(errors.InvalidParameters, match="pending, running, done"):
        runs(state=state)


@pytest.mark.parametrize("limit", [0, -1, True, "all", 2.5])
def test_what_is_no_number_of_runs_is_refused(limit: int) -> None:
    with pytest.raises(errors.InvalidParameters, match="does not say how many"):
        runs(limit=limit)
