"""What is in worker_config, run on this machine: its Redis, its workers, with a user's modules beside them."""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import redis

from checkout import ROOT
from dagcelery.local import Process
from dagcelery.local.guard import Guard, tail
from dagcelery.local.server import find_binary, free_ports

CONFIG = ROOT / "worker_config"
USERLAND = ROOT / "tests" / "workers" / "end_to_end" / "userland"
BOOT_SECONDS = 60.0


class Redis:
    """A server with worker_config/redis.conf, and an administrator who looks at it from outside."""

    def __init__(self, guard: Guard) -> None:
        password, admins = secrets.token_hex(32), secrets.token_hex(32)
        hashed = hashlib.sha256(password.encode()).hexdigest()
        text = (CONFIG / "redis.conf").read_text().replace("SHA256_OF_THE_PASSWORD", hashed)
        self.file = guard.directory / "redis.conf"
        self.file.write_text(f"{text}user admin on >{admins} ~* &* +@all\n")
        (port,) = free_ports(1)
        self.url = f"redis://dagcelery:{password}@127.0.0.1:{port}/0"
        self.nobodys_url = f"redis://127.0.0.1:{port}/0"
        self._guard = guard
        self._command = [str(find_binary()), str(self.file), "--port", str(port), "--dir", str(guard.directory)]
        self.admin = redis.Redis.from_url(f"redis://admin:{admins}@127.0.0.1:{port}/0", decode_responses=True)
        self._start()

    def _start(self) -> None:
        log = self._guard.directory / "redis.log"
        self._process = self._guard.start(self._command, log=log)
        until = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < until:
            with suppress(redis.exceptions.ConnectionError):
                self.admin.ping()
                return
            assert self._process.is_alive, tail(log)
            time.sleep(0.01)

    def url_of(self, user: str, password: str) -> str:
        """The address for another user."""
        return self.nobodys_url.replace("//", f"//{user}:{password}@")

    def restart(self) -> None:
        """Stop the server in order and start it again with what it had."""
        self._process.stop(ask_again_seconds=0.1)
        self._start()

    def commands(self) -> set[str]:
        """Every command that was sent or called by a script since the server started, in lower case."""
        return {name.removeprefix("cmdstat_").lower() for name in self.admin.info("commandstats")}


@contextmanager
def private_redis() -> Iterator[Redis]:
    """Run such a server while a block runs."""
    with Guard() as guard:
        made = Redis(guard)
        try:
            yield made
        finally:
            made.admin.close()


def worker(
    guard: Guard, config: str, *options: str, environment: Mapping[str, str], modules: Path = USERLAND
) -> tuple[Process, Path]:
    """Start a Celery worker with one of worker_config's modules; answer it and its log."""
    name = f"{config.rpartition('.')[2]}-{secrets.token_hex(4)}"
    log = guard.directory / f"{name}.log"
    hidden = ("PYTHONPATH", "DAGCELERY_", "CELERY_", "CUDA_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
    path = {"PYTHONPATH": os.pathsep.join((str(ROOT), str(modules)))}
    command = [sys.executable, "-m", "celery", "-A", "dagcelery", "--config", config, "worker", "-n", f"{name}@%h"]
    process = guard.start(
        [*command, "-l", "INFO", "--without-mingle", *options], log=log, environment={**kept, **path, **environment}
    )
    return process, log


def await_ready(process: Process, log: Path) -> None:
    """Wait until a worker consumes."""
    until = time.monotonic() + BOOT_SECONDS
    while " ready." not in log.read_text():
        assert process.is_alive, tail(log)
        assert time.monotonic() < until, tail(log)
        time.sleep(0.05)
