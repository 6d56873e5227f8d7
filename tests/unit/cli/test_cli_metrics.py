"""`dagcelery metrics` serves what Prometheus reads, and says where."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import httpx
import pytest

from dagcelery.local import Cluster

from .conftest import SECONDS, Cli


def test_it_prints_its_address_and_ends_when_it_is_told(cluster: Cluster) -> None:
    command = [sys.executable, "-m", "dagcelery.cli", "metrics", "--port", "0"]
    with subprocess.Popen(command, env=os.environ | cluster.environment, stdout=-1, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        answer = httpx.get(address)
        assert 'dagcelery_worker_processes{queue="celery"} 2.0' in answer.text
        assert answer.headers["content-type"].startswith("text/plain")
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 128 + signal.SIGTERM


def test_a_port_that_is_taken_and_a_package_that_is_missing_are_one_sentence(
    cluster: Cluster, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = cli("metrics", "--port", str(taken.getsockname()[1]))
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "choose another one with --port" in refused.stderr
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    refused = cli("metrics", "--port", "0")
    assert refused.exit_code == 1
    assert "pip install 'dagcelery[metrics]'" in refused.stderr
