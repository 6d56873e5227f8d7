"""The composed installation: submit from this machine, and results in spite of deaths and restarts."""

from __future__ import annotations

import json
import time

import httpx
import pytest
from errands import errands, round_trip, surroundings

from dagcelery import Run, RunState
from dagcelery.client import Client

from .installation import Installation

SECONDS = 60.0
pytestmark = pytest.mark.timeout(600)


def await_progress(run: Run[int], least: int) -> None:
    """Wait until some of a run's items are done."""
    until = time.monotonic() + SECONDS
    while next(node for node in run.status().nodes if node.name == "errand").done < least:
        assert time.monotonic() < until, run.status()
        time.sleep(0.1)


@pytest.mark.parametrize("variable", ["REDIS_PASSWORD", "DAGCELERY_SIGNING_KEY", "FLOWER_BASIC_AUTH"])
def test_nothing_starts_without_its_secrets(variable: str) -> None:
    refused = Installation().compose("config", "--quiet", without=variable)
    assert refused.returncode != 0
    assert variable in refused.stderr


def test_the_file_for_gpus_reserves_them_and_hides_none() -> None:
    """Only read: a machine without GPUs cannot start it."""
    read = Installation().compose("config", "--format", "json", files=("docker-compose.yml", "docker-compose.gpu.yml"))
    worker = json.loads(read.stdout)["services"]["gpu-worker"]
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert "CUDA_VISIBLE_DEVICES" not in worker["environment"]
    assert "DAGCELERY_SIGNING_KEY" in worker["environment"]


def test_what_is_submitted_on_this_machine_runs_in_containers(client: Client) -> None:
    assert errands.submit(n=5, seconds=0).result(timeout=SECONDS) == 30
    assert surroundings.submit().result(timeout=SECONDS) == [10001, "-1"]


def test_nobody_is_root_and_ports_are_open_on_the_loopback_only(installation: Installation, client: Client) -> None:
    for name, container in installation.containers().items():
        assert container["Config"]["User"] not in ("", "0", "root"), name
        assert container["HostConfig"]["ReadonlyRootfs"], name
        open_to = {each["HostIp"] for ports in container["HostConfig"]["PortBindings"].values() for each in ports}
        assert open_to <= {"127.0.0.1"}, name


def test_a_worker_that_is_killed_loses_nothing(installation: Installation, client: Client) -> None:
    run = errands.submit(n=24, seconds=0.2)
    await_progress(run, 2)
    installation.do("kill", "--signal", "KILL", "worker")
    assert run.state is RunState.RUNNING
    installation.do("up", "--detach", "--no-build", "worker")
    assert run.result(timeout=SECONDS) == sum(x * x for x in range(24))


def test_redis_may_be_restarted_and_forgets_nothing(installation: Installation, client: Client) -> None:
    before = errands.submit(n=3, seconds=0)
    assert before.result(timeout=SECONDS) == 5
    run = errands.submit(n=24, seconds=0.2)
    await_progress(run, 2)
    installation.do("restart", "redis")
    assert run.result(timeout=SECONDS) == sum(x * x for x in range(24))
    assert before.result(timeout=SECONDS) == 5


def test_flower_shows_runs_to_who_logs_in_only(installation: Installation, client: Client) -> None:
    installation.await_health()
    run = errands.submit(n=3, seconds=0)
    run.result(timeout=SECONDS)
    for path in ("/", "/tasks", "/api/tasks", "/api/workers"):
        assert installation.flower(path)[0] == 401, path
        assert installation.flower(path, "ops:wrong")[0] == 401, path
    until = time.monotonic() + SECONDS
    while run.id not in (told := installation.flower("/api/tasks", installation.login)[1]):
        assert time.monotonic() < until, told[-1000:]
        time.sleep(0.5)
    assert any("errands.errand" in each["name"] for each in json.loads(told).values() if each["name"])


def test_beat_submits_what_has_a_schedule(client: Client) -> None:
    until = time.monotonic() + 2 * SECONDS  # it is due each minute
    while not (found := client.runs(round_trip)):
        assert time.monotonic() < until
        time.sleep(0.5)
    assert found[-1].run.result(timeout=SECONDS) == 10001


def test_a_web_backend_submits_and_fetches(installation: Installation) -> None:
    installation.await_health()
    with httpx.Client(base_url=f"http://127.0.0.1:{installation.web_port}", timeout=SECONDS) as http:
        accepted = http.post("/estimates", json={"parts": 3, "throws": 100}, headers={"Idempotency-Key": "once"})
        found = http.get(f"{accepted.headers['Location']}/result", params={"wait": 30})
    assert 2 < found.json()["result"] < 4


def test_all_containers_are_well(installation: Installation) -> None:
    installation.await_health()
