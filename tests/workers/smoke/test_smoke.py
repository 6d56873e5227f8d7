"""What must work wherever dagcelery is deployed: a chord, a chain, routing, the death of a worker, restarts.

The same tests run on processes, and in containers with TESTS_DOCKER=1.
"""

from __future__ import annotations

import time

import parcels
import pytest
from pytest_celery import CeleryTestSetup

from dagcelery import Run
from dagcelery.client import Client

SECONDS = 60.0
N = 30
EXPECTED = sum(x * x for x in range(N))

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("client")]


def begun() -> Run[int]:
    """A fan-out of which some items are done and most are not."""
    run = parcels.squares.submit(n=N, seconds=0.05)
    until = time.monotonic() + SECONDS
    while not any(node.name == "square" and node.done >= 2 for node in run.status().nodes):
        assert time.monotonic() < until, run.status()
        time.sleep(0.05)
    return run


def test_a_chord_maps_and_reduces() -> None:
    assert parcels.squares.submit(n=N).result(timeout=SECONDS) == EXPECTED
    assert parcels.squares.submit(n=0).result(timeout=SECONDS) == 0


def test_a_chain_goes_where_its_taints_say_and_back() -> None:
    path, reader, gpu, writer = parcels.there_and_back.submit(path="a.txt").result(timeout=SECONDS)
    assert path == "a.txt"
    assert reader == writer != gpu


def test_what_no_worker_tolerates_waits_until_one_is_back(celery_setup: CeleryTestSetup) -> None:
    _, gpu_worker = celery_setup.worker_cluster
    gpu_worker.kill()
    run = parcels.there_and_back.submit(path="a.txt")
    until = time.monotonic() + SECONDS
    while not any(node.name == "read" and node.done for node in run.status().nodes):
        assert time.monotonic() < until, run.status()
        time.sleep(0.05)
    assert {node.name: node.queue for node in run.status().nodes if not node.done}["infer"] == "gpu"
    gpu_worker.restart()
    assert run.result(timeout=SECONDS)[0] == "a.txt"


def test_a_worker_that_crashes_loses_nothing(celery_setup: CeleryTestSetup) -> None:
    run = begun()
    celery_setup.worker.kill()
    celery_setup.worker.restart()
    assert run.result(timeout=SECONDS) == EXPECTED


def test_a_worker_that_is_restarted_in_order_loses_nothing(celery_setup: CeleryTestSetup) -> None:
    run = begun()
    celery_setup.worker.restart()
    assert run.result(timeout=SECONDS) == EXPECTED


def test_redis_may_be_restarted_and_forgets_nothing(celery_setup: CeleryTestSetup, client: Client) -> None:
    before = parcels.squares.submit(n=3)
    assert before.result(timeout=SECONDS) == 5
    run = begun()
    celery_setup.broker.restart()
    assert run.result(timeout=SECONDS) == EXPECTED
    assert before.result(timeout=SECONDS) == 5
