"""Each disease of settings and workers is found where it is, and comes with its remedy."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner

from dagcelery.cli import dag
from dagcelery.client import Client, set_default
from dagcelery.doctor import CHECKS, Patient, configuration, examine, workers
from dagcelery.local import Cluster, Server, cluster
from dagcelery.settings import Settings

from .conftest import Check, Make, found

SECONDS = 60.0


# -- settings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "imports", "expected"),
    [
        ("0123456789abcdef", (), None),
        ("0123456789abcdef, short", (), ("warning", "a signing key has fewer than 16 characters")),
        ("", ("shop",), ("warning", "there is no signing key: who can write to the store may change values")),
        ("", (), ("serious", "there is neither a signing key nor DAGCELERY_IMPORTS, so workers may execute nothing")),
    ],
)
def test_a_key_that_signs_nothing_or_can_be_guessed(
    patient: Make, key: str, imports: tuple[str, ...], expected: tuple[str, str] | None
) -> None:
    told = found(patient(key=key, dagcelery_imports=imports), configuration.check_signing_key)
    assert [(severity, text.partition(",")[0]) for severity, text in told] == (
        [] if expected is None else [(expected[0], expected[1].partition(",")[0])]
    )


def test_visibility_timeouts_that_are_short_or_differ_are_warnings(patient: Make) -> None:
    check = configuration.check_visibility
    assert found(patient(), check) == []
    assert found(patient(broker_transport_options={"visibility_timeout": 3600}), check) == []
    differing = patient(visibility_timeout=7200, broker_transport_options={"visibility_timeout": 60})
    assert [text for _, text in found(differing, check)] == [
        "visibility timeouts differ: broker_transport_options says 60, visibility_timeout says 7200; "
        "say the same in all three places",
        "the broker delivers a message again after 60 s, also to tasks of your own that take longer; "
        "make visibility_timeout longer than your longest task, in all apps that share the broker",
    ]


def test_rabbitmq_s_consumer_timeout_cannot_be_asked_and_is_always_said(patient: Make, server: Server) -> None:
    check = configuration.check_consumer_timeout
    assert found(patient(), check) == []
    rabbit = patient("amqp://nobody@127.0.0.1:1//", store=server.url)
    assert [severity for severity, _ in found(rabbit, check)] == ["note"]
    assert found(rabbit, configuration.check_visibility) == []


def test_a_multiplier_that_lets_work_wait_is_a_warning(patient: Make) -> None:
    assert found(patient(), configuration.check_prefetch) == []
    ((severity, told),) = found(patient(worker_prefetch_multiplier=4), configuration.check_prefetch)
    assert severity == "warning"
    assert told.endswith("start workers with --prefetch-multiplier 1")


# -- workers ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hospital() -> Iterator[Cluster]:
    """A server and a worker of a team's app, which takes four messages ahead."""
    with cluster(workers=1, app="doctor.doctored") as made:
        set_default(None)
        yield made


def soon(patient: Patient, check: Check, times: int = 1) -> list[tuple[str, str]]:
    """What a check finds once the workers listen, which they do soon after they are ready."""
    until = time.monotonic() + SECONDS
    while len(patient.asked("active_queues")) < times:
        assert time.monotonic() < until
    return found(patient, check)


@pytest.fixture
def ill(hospital: Cluster) -> Iterator[Patient]:
    """The app of that worker, as a client has it."""
    made = Patient(hospital.client.binding, patience_seconds=4.0)
    yield made
    made.close()


def test_a_worker_that_takes_more_than_it_can_do_is_a_warning(ill: Patient) -> None:
    ((severity, told),) = soon(ill, workers.check_hoarders)
    assert severity == "warning"
    assert re.match(r"worker worker-1@\S+ takes 4 messages for 1 processes, and work waits in its hands", told)


def test_a_queue_that_a_run_needs_and_nobody_consumes_is_serious(ill: Patient, hospital: Cluster) -> None:
    from . import doctored

    assert found(ill, workers.check_queues) == []
    run = hospital.client.submit(doctored.both)
    ((severity, told),) = found(ill, workers.check_queues)
    assert severity == "serious"
    assert told == (
        f"no worker consumes the queue 'gpu', which 1 unfinished runs need, such as {run.id}; "
        "start one: dagcelery worker --include-queue gpu"
    )
    run.cancel()
    assert found(ill, workers.check_queues) == []


def test_a_worker_that_consumes_nothing_is_a_warning(ill: Patient, hospital: Cluster) -> None:
    assert soon(ill, workers.check_idle_workers) == []
    control = ill.app.control
    control.cancel_consumer("celery", reply=True, timeout=SECONDS, limit=1)
    try:
        ((severity, told),) = found(ill, workers.check_idle_workers)
    finally:
        control.add_consumer("celery", reply=True, timeout=SECONDS, limit=1)
    assert severity == "warning"
    assert re.match(r"worker worker-1@\S+ consumes no queue", told)


def test_an_installation_without_workers_is_a_warning(patient: Make) -> None:
    ((severity, told),) = found(patient(), workers.check_queues)
    assert severity == "warning"
    assert "no worker has said within the last seconds that it is alive; start one" in told


def test_workers_with_different_code_are_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "shelf.py").write_text("AGE = 1")
    with cluster(workers=1, environment={"DAGCELERY_IMPORTS": "shelf,json"}) as local:
        ill = Patient(local.client.binding, patience_seconds=4.0)
        (tmp_path / "shelf.py").write_text("AGE = 22")
        assert soon(ill, workers.check_code) == []
        local.start_worker(1, queues=["other"])
        ((severity, told),) = soon(ill, workers.check_code, times=2)
        ill.close()
    assert severity == "warning"
    assert re.match(r"workers have different code of shelf: worker-\d@\S+ has \w{12}, worker-\d@\S+ has \w{12}; ", told)


# -- as a whole ------------------------------------------------------------------------------------------


def test_the_worst_comes_first_and_what_does_not_answer_is_said_once(patient: Make) -> None:
    sick = patient("redis://127.0.0.1:1/0", worker_prefetch_multiplier=4)
    assert [(each.check, str(each.severity)) for each in examine(sick)] == [
        ("broker", "serious"),
        ("store", "serious"),
        ("prefetch", "warning"),
    ]


def test_an_app_without_anything_is_told_what_it_lacks() -> None:
    empty = Patient(Client(Settings(broker_url="redis://127.0.0.1:1/0")).binding)
    told = {each.check: each.remedy for each in examine(empty)}
    assert told["store"] == "set DAGCELERY_STORE_URL to a Redis or Valkey"


@pytest.fixture
def environment(hospital: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The hospital's addresses, in this process's environment."""
    for name, value in hospital.environment.items():
        monkeypatch.setenv(name, value)
    for name in [each for each in sys.modules if each in ("doctor.sound", "dagcelery.runtime.own")]:
        monkeypatch.delitem(sys.modules, name)
    replaced = set_default(None)
    yield
    set_default(replaced)


@pytest.mark.usefixtures("environment")
def test_doctor_prints_findings_and_its_exit_code_is_for_probes(hospital: Cluster) -> None:
    healthy = CliRunner().invoke(dag, ["doctor", "-A", "doctor.sound"], prog_name="dagcelery")
    assert healthy.exit_code == 0, healthy.output
    assert f"{len(CHECKS)} checks, " in healthy.stderr
    assert " 0 of them serious" in healthy.stderr
    assert "warning: prefetch: worker worker-1@" in healthy.stdout
    with redis.Redis.from_url(hospital.server.url) as admin:
        admin.config_set("maxmemory-policy", "allkeys-lru")
        admin.config_set("maxmemory", "1gb")
        try:
            ill = CliRunner().invoke(dag, ["doctor", "-A", "doctor.sound", "--json"], prog_name="dagcelery")
        finally:
            admin.config_set("maxmemory-policy", "noeviction")
            admin.config_set("maxmemory", "0")
    assert ill.exit_code == 1
    told = json.loads(ill.stdout)
    assert told["serious"] == 1
    assert told["findings"][0]["check"] == "eviction"
    assert told["findings"][0]["remedy"] == "set maxmemory-policy noeviction"


def test_a_starting_worker_says_what_is_serious(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    with cluster(workers=0, log=str(log)) as local:
        with redis.Redis.from_url(local.server.url) as admin:
            admin.config_set("maxmemory-policy", "allkeys-lru")
            admin.config_set("maxmemory", "1gb")
        local.start_worker()
        until = time.monotonic() + SECONDS
        while "it forgets parts of runs, and messages; set maxmemory-policy noeviction" not in log.read_text():
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
    assert "start workers with --prefetch-multiplier" not in log.read_text()
