"""Code is deployed while runs go on: workers with the old code and with the new one serve the same queue."""

from __future__ import annotations

import os
import sys
import time
import types
from pathlib import Path

import pytest
import redis

from checkout import ROOT
from dagcelery import DagFunction, TaskFunction
from dagcelery.local import Cluster, cluster
from dagcelery.local.cluster import WorkerOptions
from dagcelery.store.keys import Keys

from .hard import SECONDS, eventually

BEFORE = """
from dagcelery import task

@task
def old(x: int) -> int:
    return x

@task
def numbers(n: int) -> list[int]:
    return list(range(n))

@task
def total(xs: list[int]) -> int:
    return sum(xs)
"""

AFTER = """
from dagcelery import dag, task

@task(aliases="deployed:old")
def renamed(x: int) -> int:
    return x + 1

@task
def added(x: int) -> int:
    return x + 2

@task
def numbers(n: int) -> list[int]:
    return list(range(n))

@task
def total(xs: list[int]) -> int:
    return sum(xs)

@dag
def both(n: int) -> int:
    return total([added(x) for x in numbers(n)])
"""


@pytest.fixture(autouse=True)
def _a_place_for_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)  # workers find modules where this process does
    monkeypatch.delitem(sys.modules, "deployed", raising=False)


def module(source: str) -> types.ModuleType:
    """The module `deployed` as this process has it, whatever the workers have."""
    made = sys.modules["deployed"] = types.ModuleType("deployed")
    exec(source, made.__dict__)
    return made


QUICK = {"DAGCELERY_HEARTBEAT_SECONDS": "0.2", "DAGCELERY_DEAD_SECONDS": "1"}


def workers_of(local: Cluster, *folders: Path, signing_key: str = "") -> Cluster:
    """Workers of the same server that find their own code, and perhaps have another key."""
    paths = os.pathsep.join(map(str, (ROOT, *folders)))
    environment = QUICK | {"DAGCELERY_SIGNING_KEY": signing_key or local.signing_key, "PYTHONPATH": paths}
    return Cluster(
        local.server, local.queues, WorkerOptions(environment=environment, log=local.server.guard.directory / "log")
    )


def folder_with(path: Path, source: str) -> Path:
    """A folder with the module `deployed`."""
    path.mkdir()
    (path / "deployed.py").write_text(source)
    return path


def test_a_run_goes_on_as_soon_as_the_right_worker_has_come_after_wrong_ones(tmp_path: Path) -> None:
    code, former = folder_with(tmp_path / "new", AFTER), folder_with(tmp_path / "old", BEFORE)
    added: TaskFunction[[int], int] = module(AFTER).added
    with cluster(workers=0) as local:
        run = local.client.submit(added, {"x": 1})

        def why() -> str:
            return run.status().nodes[0].why

        for wrong, told in (
            (workers_of(local, code, signing_key="another key than the run has"), "has another signing key"),
            (workers_of(local), "lacks module 'deployed' (ModuleNotFoundError: No module named 'deployed')"),
            (workers_of(local, former), "lacks function deployed:added (it has no 'added' here)"),
        ):
            worker = wrong.start_worker()
            eventually(lambda told=told: why().startswith(f"the only worker of queue celery {told}"))
            eventually(lambda: local.client.store.reader.outstanding(run.id).refused)
            worker.stop()
            with redis.Redis.from_url(local.store_url) as raw:  # what the next wake-up waits for after a day
                raw.hset(Keys().run(run.id), mapping={"h:celery": f"{time.time() + 600:.6f}", "hw:celery": "600"})
        right = workers_of(local, code)
        right.start_worker()
        assert run.result(SECONDS) == 3
        assert list(run.errors()) == []
        said = (local.server.guard.directory / "log").read_text()
        assert said.count("function deployed:added was not found") == 2
        right.stop_workers()


def test_an_old_worker_leaves_what_it_lacks_to_a_new_one_every_time(tmp_path: Path) -> None:
    former, code = folder_with(tmp_path / "old", BEFORE), folder_with(tmp_path / "new", AFTER)
    both: DagFunction[[int], int] = module(AFTER).both
    with cluster(workers=0) as local:
        old, new = workers_of(local, former), workers_of(local, code)
        old.start_worker(2)
        new.start_worker(1)
        for n in (0, 1, 7, 40, 3, 5):
            run = local.client.submit(both, {"n": n})
            assert run.result(SECONDS) == sum(x + 2 for x in range(n))
            assert list(run.errors()) == []
        old.stop_workers()
        new.stop_workers()


def test_a_function_that_moved_is_found_by_runs_of_before(tmp_path: Path) -> None:
    (tmp_path / "deployed.py").write_text(AFTER)
    old: TaskFunction[[int], int] = module(BEFORE).old
    with cluster(workers=0, modules=["deployed"]) as local:
        run = local.client.submit(old, {"x": 1})
        local.start_worker()
        assert run.result(SECONDS) == 2
