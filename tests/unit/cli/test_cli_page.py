"""`dagcelery ui` serves the page: it prints how to open it, and no secret stands in what it says afterwards."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from dagcelery.local import Cluster
from dagcelery.local.server import free_ports

from .conftest import SECONDS, Cli

TOKEN = "a token that was chosen"


@contextmanager
def ui(cluster: Cluster, *options: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that serves the page, and the line that it has printed."""
    command = [sys.executable, "-m", "dagcelery.cli", "ui", "--port", "0", *options]
    around = os.environ | cluster.environment | environment
    with subprocess.Popen(command, env=around, stdout=-1, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(SECONDS)


def test_the_printed_token_lets_one_browser_in_and_is_printed_once(cluster: Cluster) -> None:
    with ui(cluster) as (process, line):
        address, _, token = line.partition("#token=")
        with httpx.Client(base_url=address) as browser:
            assert browser.get("api/runs").status_code == 401
            assert browser.get(f"?token={token}").status_code == 200
            assert browser.post("api/login", json={"token": token}).status_code == 204
            assert set(browser.get("api/session").json()["actions"]) == {"cancel", "resume", "retry", "delete"}
        assert httpx.post(f"{address}api/login", json={"token": token}).status_code == 401
        assert httpx.get(f"{address}api/runs", headers={"Host": "evil.example.com"}).status_code == 400
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert token not in process.stdout.read()


def test_a_token_of_the_environment_is_not_printed_and_a_page_may_only_read(cluster: Cluster) -> None:
    with ui(cluster, "--read-only", DAGCELERY_WEB_TOKEN=TOKEN) as (_, line):
        assert TOKEN not in line
        address = re.match(r"http://127\.0\.0\.1:\d+/", line)
        assert address is not None
        for _ in range(2):
            with httpx.Client(base_url=address[0]) as browser:
                assert browser.post("api/login", json={"token": TOKEN}).status_code == 204
                assert browser.get("api/session").json()["actions"] == []


def test_a_port_that_is_taken_is_an_error_in_a_sentence(cluster: Cluster, cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = cli("ui", "--port", str(taken.getsockname()[1]))
    assert result.exit_code == 1
    assert "choose another one with --port" in result.stderr


def test_what_is_not_installed_is_named(cluster: Cluster, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = cli("ui", "--port", str(*free_ports(1)))
    assert "the page needs uvicorn, which is not installed: pip install 'dagcelery[web]'" in result.stderr
