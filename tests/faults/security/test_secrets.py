"""The signing key and the passwords are where they have to be, and are shown, logged, sent and stored nowhere else."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
import traceback
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import guarded
import pytest
import redis

from checkout import ROOT
from dagcelery import Run, errors
from dagcelery.client import Client
from dagcelery.local import Cluster
from dagcelery.local.guard import tail
from dagcelery.local.server import free_ports
from dagcelery.payload.signing import Keyring
from dagcelery.settings import Settings

SECONDS = 60.0
LOGIN = "ops:a-password-of-flower"


def secrets_of(cluster: Cluster) -> tuple[str, str]:
    """The key and the server's password."""
    return cluster.signing_key, urlsplit(cluster.store_url).password or ""


def is_in(told: str | bytes, cluster: Cluster) -> bool:
    """Whether a text tells a secret."""
    text = told if isinstance(told, bytes) else told.encode()
    found = secrets_of(cluster)
    assert all(len(secret) >= 32 for secret in found)
    return any(secret.encode() in text for secret in found)


@pytest.fixture
def worked(talkative: Cluster) -> tuple[Run[list[int]], Run[int]]:
    """Two runs of the cluster: one is done, one has failed."""
    done, failed = guarded.doubles.submit(xs=[1, 2]), guarded.failing.submit(x=1)
    assert done.result(timeout=SECONDS) == [2, 4]
    with pytest.raises(errors.NodeFailed):
        failed.result(timeout=SECONDS)
    return done, failed


Worked = tuple[Run[list[int]], Run[int]]


def await_true(condition: Callable[[], object]) -> None:
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_worker_logs_none_even_on_the_level_debug(talkative: Cluster, worked: Worked, talkative_log: Path) -> None:
    await_true(lambda: worked[1].id in talkative_log.read_text())
    assert "DEBUG" in talkative_log.read_text()
    assert not is_in(talkative_log.read_bytes(), talkative)


def test_a_server_logs_none(talkative: Cluster, worked: Worked) -> None:
    log = talkative.server.guard.directory / "server.log"
    assert log.stat().st_size
    assert not is_in(log.read_bytes(), talkative)


def test_no_process_has_one_among_its_arguments(talkative: Cluster, worked: Worked) -> None:
    seen = b""
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            seen += process.read_bytes()
    assert b"dagcelery.local.ready_worker" in seen
    assert not is_in(seen, talkative)


def test_a_file_that_holds_one_is_its_owner_s_only(talkative: Cluster) -> None:
    folder = talkative.server.guard.directory
    holding = [path for path in folder.rglob("*") if path.is_file() and is_in(path.read_bytes(), talkative)]
    assert [path.name for path in holding] == ["server.conf"]
    assert all(path.stat().st_mode & 0o077 == 0 for path in (folder, *holding))


def test_what_is_stored_holds_none(talkative: Cluster, worked: Worked) -> None:
    with redis.Redis.from_url(talkative.store_url) as server:
        stored = b"".join(name + (server.dump(name) or b"") for name in server.scan_iter(count=1000))
    assert worked[0].id.encode() in stored
    assert not is_in(stored, talkative)


def test_no_repr_shows_one(talkative: Cluster, worked: Worked) -> None:
    client = talkative.client
    shown = [talkative, talkative.server, client, client.settings, client.app_context, client.app, client.control]
    shown += [client.store, client.control.keyring, Keyring.parse(talkative.signing_key), *worked, worked[0].status()]
    for each in shown:
        assert not is_in(f"{each!r} {each!s}", talkative), type(each)


def test_no_error_tells_one(talkative: Cluster) -> None:
    key, password = secrets_of(talkative)
    (port,) = free_ports(1)
    nowhere = f"redis://:{password}@127.0.0.1:{port}/0"
    forbidden = talkative.store_url.replace(password, f"not-{password}")
    for store, broker in ((nowhere, nowhere), (forbidden, forbidden), (talkative.store_url, nowhere)):
        client = Client(Settings(store_url=store, broker_url=broker, signing_key=key))
        with pytest.raises((errors.StoreUnavailable, errors.BrokerUnavailable)) as told:
            client.submit(guarded.doubles, {"xs": [1]})
        assert not is_in("".join(traceback.format_exception(told.value)), talkative)


@pytest.mark.parametrize("setting", [{"signing_key": 3}, {"heartbeat_seconds": "x"}, {"nonsense": 1}])
def test_an_error_of_a_setting_does_not_tell_the_others(talkative: Cluster, setting: dict[str, object]) -> None:
    with pytest.raises(errors.InvalidSetting) as told:
        Settings.from_environment(talkative.environment, **setting)
    assert not is_in("".join(traceback.format_exception(told.value)), talkative)


def test_the_command_line_prints_none_not_even_with_a_traceback(talkative: Cluster) -> None:
    (port,) = free_ports(1)
    nowhere = talkative.store_url.replace(f":{urlsplit(talkative.store_url).port}/", f":{port}/")
    environment = os.environ | talkative.environment | {"DAGCELERY_STORE_URL": nowhere}
    done = subprocess.run(
        [sys.executable, "-m", "dagcelery.cli", "--traceback", "status", "x"],
        env=environment,
        capture_output=True,
        cwd=ROOT,
        timeout=SECONDS,
    )
    assert b"StoreUnavailable" in done.stderr
    assert not is_in(done.stdout + done.stderr, talkative)


def test_workers_tell_none_to_who_asks_them(talkative: Cluster) -> None:
    """Whoever can write to the broker may ask."""
    control = talkative.client.app_context.app.control
    (worker,) = control.ping(limit=1, timeout=SECONDS)
    inspect = control.inspect(destination=list(worker), timeout=SECONDS)  # it waits for nobody else then
    for question in ("conf", "stats", "report", "registered", "active_queues"):
        answer = getattr(inspect, question)()
        assert answer
        assert not is_in(repr(answer), talkative), question


# -- Flower ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def flower(talkative: Cluster) -> Iterator[Callable[[str], str]]:
    """Flower on the cluster: gives the text of a page to who has logged in."""
    (port,) = free_ports(1)
    log = talkative.server.guard.directory / "flower.log"
    told = {"FLOWER_BASIC_AUTH": LOGIN, "FLOWER_PORT": str(port), "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    process = talkative.server.guard.start(
        [
            *(sys.executable, "-m", "celery", "-A", "dagcelery", "--config", "worker_config.celeryconfig"),
            *("flower", f"--conf={ROOT / 'worker_config' / 'flowerconfig.py'}"),
        ],
        log=log,
        environment=os.environ | talkative.environment | told,
    )

    def page(path: str) -> str:
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
        request.add_header("Authorization", "Basic " + base64.b64encode(LOGIN.encode()).decode())
        with urllib.request.urlopen(request, timeout=30) as answer:
            return str(answer.read().decode())

    def is_there() -> bool:
        assert process.is_alive, tail(log)
        with suppress(OSError):
            return bool(page("/healthcheck"))
        return False

    await_true(is_there)
    yield page
    process.stop()
    assert LOGIN.partition(":")[2] not in log.read_text()
    assert not is_in(log.read_bytes(), talkative)


def test_flower_shows_none_and_no_page_obeys_a_name_or_an_error(
    talkative: Cluster, flower: Callable[[str], str]
) -> None:
    await_true(lambda: json.loads(flower("/api/workers?refresh=1")))
    run = guarded.failing.submit(x=1)
    named = talkative.client.submit(guarded.named, {"x": 1})
    named.result(timeout=SECONDS)
    with pytest.raises(errors.NodeFailed):
        run.result(timeout=SECONDS)
    await_true(lambda: {run.id, named.id} <= {uuid.partition("-")[0] for uuid in json.loads(flower("/api/tasks"))})
    pieces = list(json.loads(flower("/api/tasks")))
    (worker,) = json.loads(flower("/api/workers"))
    pages = ["/", "/workers", f"/worker/{worker}", "/tasks", "/broker", *(f"/task/{uuid}" for uuid in pieces)]
    seen = [flower(path) for path in (*pages, "/api/workers", "/api/tasks", "/metrics")]
    assert not is_in("".join(seen), talkative)
    html = "".join(seen[: len(pages)])
    assert "alert(1)" in html
    assert "<script>alert(1)" not in html
