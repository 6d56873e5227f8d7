"""Flower starts with a login or not at all, and is heard on the loopback only."""

from __future__ import annotations

import base64
import os
import runpy
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress

import pytest

from checkout import ROOT
from dagcelery.local import Server
from dagcelery.local.guard import tail
from dagcelery.local.server import free_ports

from .installation import BOOT_SECONDS, CONFIG

COMMAND = [
    *(sys.executable, "-m", "celery", "-A", "dagcelery", "--config", "worker_config.celeryconfig"),
    *("flower", f"--conf={CONFIG / 'flowerconfig.py'}"),
]


def environment(server: Server, **given: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLOWER_")}
    urls = {"DAGCELERY_BROKER_URL": server.url, "DAGCELERY_STORE_URL": server.url}
    return kept | urls | {"PYTHONPATH": str(ROOT)} | given


@pytest.mark.parametrize("login", ["", "ops", "ops:secret,guest:"])
def test_a_login_is_required_and_has_a_name_and_a_password(monkeypatch: pytest.MonkeyPatch, login: str) -> None:
    monkeypatch.setenv("FLOWER_BASIC_AUTH", login)
    with pytest.raises(SystemExit, match="FLOWER_BASIC_AUTH") as refused:
        runpy.run_path(str(CONFIG / "flowerconfig.py"))
    assert "secret" not in str(refused.value)


def test_it_does_not_start_without_a_login(server: Server) -> None:
    given = environment(server, FLOWER_UNAUTHENTICATED_API="true")
    refused = subprocess.run(COMMAND, env=given, capture_output=True, text=True, cwd=ROOT, timeout=BOOT_SECONDS)
    assert refused.returncode != 0
    assert "FLOWER_BASIC_AUTH is not set" in refused.stderr


@pytest.fixture(scope="module")
def flower(session_server: Server) -> Iterator[int]:
    """Flower's port, once it answers."""
    server = session_server
    server.start()
    (port,) = free_ports(1)
    log = server.guard.directory / "flower.log"
    given = environment(server, FLOWER_BASIC_AUTH="ops:secret, second:other", FLOWER_PORT=str(port))
    process = server.guard.start(COMMAND, log=log, environment=given)
    until = time.monotonic() + BOOT_SECONDS
    while status(port, "/healthcheck") != 200:
        assert process.is_alive, tail(log)
        assert time.monotonic() < until, tail(log)
        time.sleep(0.05)
    yield port
    process.stop()


def status(port: int, path: str, login: str = "") -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
    if login:
        request.add_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
    with suppress(urllib.error.URLError):
        try:
            with urllib.request.urlopen(request, timeout=30) as page:
                return int(page.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
    return 0


def test_pages_and_interface_are_for_who_logs_in(flower: int) -> None:
    for path in ("/", "/workers", "/tasks", "/api/tasks", "/api/workers"):
        assert status(flower, path) == 401
        assert status(flower, path, "ops:wrong") == 401
        assert status(flower, path, "ops:secret") == 200
        assert status(flower, path, "second:other") == 200


def test_it_is_heard_on_the_loopback_only(flower: int) -> None:
    with open("/proc/net/tcp") as four, open("/proc/net/tcp6") as six:
        sockets = [line.split() for line in [*four, *six] if f":{flower:04X} " in line]
    listening = [words[1].partition(":")[0] for words in sockets if words[3] == "0A"]
    assert listening == ["0100007F"]
