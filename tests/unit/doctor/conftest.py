"""Apps that are examined, on servers with and without the disease."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import redis
from celery import Celery

from dagcelery import attach
from dagcelery.client import set_default
from dagcelery.doctor import CheckContext, run_checks
from dagcelery.doctor.checks import Check
from dagcelery.local import Server
from dagcelery.local.guard import Guard, tail
from dagcelery.local.server import free_ports
from dagcelery.worker.app import app_context_of

KEY = "0123456789abcdef"
HEALTHY: dict[str, Any] = {"worker_prefetch_multiplier": 1}

Make = Callable[..., CheckContext]


@pytest.fixture
def context(server: Server) -> Iterator[Make]:
    """Make an app whose server is the embedded one, and let it be examined."""
    replaced = set_default(None)
    made: list[CheckContext] = []

    def make(url: str = "", *, store: str = "", key: str = KEY, **conf: Any) -> CheckContext:
        app = Celery("no_module", broker=url or server.url, set_as_current=False)
        app.conf.update(HEALTHY | conf)
        attach(app, store_url=store or url or server.url, signing_key=key)
        made.append(CheckContext(app_context_of(app)))
        return made[-1]

    yield make
    for each in made:
        each.close()
    set_default(replaced)


@pytest.fixture
def admin(server: Server) -> Iterator[redis.Redis]:
    """Who may change the embedded server, which is as before after the test."""
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        before = client.config_get("maxmemory*") | client.config_get("appendonly")
        yield client
        for name in ("maxmemory", "maxmemory-policy", "appendonly"):
            client.config_set(name, before[name])


def found(context: CheckContext, check: Check) -> list[tuple[str, str]]:
    """What one check finds, as severities and sentences."""
    return [(str(each.severity), str(each)) for each in run_checks(context, [check])]


@pytest.fixture(scope="session")
def old_redis() -> Iterator[str]:
    """A Redis of the distribution, as it comes: without a password, and of a series that gets no fixes any more."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server not installed; apt-get install redis-server")
    with Guard() as guard:
        (port,) = free_ports(1)
        log = guard.directory / "redis.log"
        command = [program, "--bind", "127.0.0.1", "--port", str(port), "--appendonly", "yes"]
        process = guard.start([*command, "--dir", str(guard.directory)], log=log)
        url = f"redis://127.0.0.1:{port}/0"
        until = time.monotonic() + 30
        with redis.Redis.from_url(url) as client:
            while True:
                with suppress(redis.exceptions.ConnectionError):
                    client.ping()
                    break
                assert process.is_alive, tail(log)
                assert time.monotonic() < until, tail(log)
                time.sleep(0.01)
            if client.info("server")["redis_version"] >= "7.2":
                pytest.skip("this redis-server is not old")
        yield url
