"""One cluster, and one faulty cluster, serve many tests: what a test did to them, the next one does not notice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from checkout import TESTS
from dagcelery import Cache, Run, RunState, dag, invoke, submit, task
from dagcelery.client import default_client, set_default
from dagcelery.errors import NotConfigured, RunNotFound
from dagcelery.local.cluster import import_paths
from dagcelery.testing.lending import (
    SharedCluster,
    SharedFaultyCluster,
    eager_client,
    in_process,
    shared_cluster,
    shared_faulty_cluster,
)

SECONDS = 60.0


@task
def hold(folder: str) -> str:
    """Leave a trace, and wait for a file that nobody makes."""
    Path(folder, "began").touch()
    while not Path(folder, "go").exists():
        time.sleep(0.02)
    return "went"


@dag
def held(folder: str) -> str:
    return hold(folder)


@task
def double(x: int) -> int:
    return 2 * x


def await_true(condition: Callable[[], object]) -> None:
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.fixture(scope="module")
def kept() -> Iterator[SharedCluster]:
    assert str(TESTS) in import_paths(), "workers would not find this module"
    with shared_cluster(workers=1) as made:
        yield made


@pytest.fixture(scope="module")
def faulty_one() -> Iterator[SharedFaultyCluster]:
    with shared_faulty_cluster(workers=1, processes=1) as made:
        yield made


def test_it_is_the_default_clients_while_it_is_lent_only(kept: SharedCluster) -> None:
    mine = eager_client()
    replaced = set_default(mine)
    try:
        with kept.lent() as local:
            assert default_client() is local.client
        assert default_client() is mine
    finally:
        set_default(replaced)


def test_what_still_runs_is_ended_and_forgotten(kept: SharedCluster, tmp_path: Path) -> None:
    with kept.lent():
        run = held.submit(folder=str(tmp_path))
        await_true((tmp_path / "began").exists)
    with kept.lent() as local:
        assert submit(double, {"x": 2}).result(timeout=SECONDS) == 4  # its only process is free again
        with pytest.raises(RunNotFound):
            Run(run.id).status()
        assert local.workers


def test_nothing_is_in_the_server_but_who_is_there(kept: SharedCluster) -> None:
    with kept.lent():
        submit(double, {"x": 2}, key="order-42").result(timeout=SECONDS)
    with kept.lent() as local, redis.Redis.from_url(local.store_url, decode_responses=True) as server:
        left = {name for name in server.scan_iter() if not name.startswith("_kombu.binding.")}
        assert left <= {"dagcelery:workers"}


def test_workers_are_back_and_strangers_gone(kept: SharedCluster) -> None:
    with kept.lent() as local:
        (resident,) = local.workers
        guest = local.start_worker()
        resident.kill()
    with kept.lent() as local:
        (successor,) = local.workers
        assert successor not in (resident, guest)
        assert submit(double, {"x": 2}).result(timeout=SECONDS) == 4


def test_a_server_that_was_stopped_is_up_again(kept: SharedCluster) -> None:
    with kept.lent() as local:
        local.server.stop()
    with kept.lent():
        assert submit(double, {"x": 2}).result(timeout=SECONDS) == 4


def test_a_faulty_cluster_has_its_workers_back_and_its_orders_withdrawn(
    faulty_one: SharedFaultyCluster, tmp_path: Path
) -> None:
    with faulty_one.lent() as faulty:
        run = held.submit(folder=str(tmp_path))
        await_true((tmp_path / "began").exists)
        faulty.start_worker()
        faulty.order_death("before:rewind:7")
        assert faulty.kill_worker()
    with faulty_one.lent() as faulty:
        assert len(faulty.workers) == 1
        assert not list(faulty.ledger.pending())
        assert submit(double, {"x": 2}).result(timeout=SECONDS) == 4
        with pytest.raises(RunNotFound):
            Run(run.id).status()


def test_an_eager_client_ends_runs_in_this_process() -> None:
    run = eager_client().submit(double, {"x": 2})
    assert run.state is RunState.DONE
    assert run.result() == 4


def test_an_eager_client_has_no_store_for_other_runs() -> None:
    with pytest.raises(NotConfigured):
        Run("1234", client=eager_client()).status()


calls: list[int] = []


@task(cache=Cache(ttl=3600))
def counted(x: int) -> int:
    calls.append(x)
    return x


def test_what_tasks_kept_in_this_process_is_gone_for_the_next_test() -> None:
    calls.clear()
    for _ in range(2):
        with in_process():
            assert [invoke(counted, {"x": 1}) for _ in range(2)] == [1, 1]
    assert calls == [1, 1]
