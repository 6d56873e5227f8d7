"""Backends as processes of their own on a free port of this machine, ended by their process ids."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from dagcelery.local import Cluster, Process
from dagcelery.local.guard import tail

SECONDS = 60.0


@contextmanager
def serving(
    local: Cluster, command: Sequence[str], port: int, *, folder: Path, environment: Mapping[str, str]
) -> Iterator[Process]:
    """Run a command that serves a port, with a cluster's addresses in its environment, until the block ends."""
    log = local.server.guard.directory / f"backend-{secrets.token_hex(4)}.log"
    words = ["env", f"--chdir={folder}", *command]
    process = local.server.guard.start(words, log=log, environment=os.environ | local.environment | environment)
    try:
        await_served(port, lambda: process.is_alive, log)
        yield process
    finally:
        process.stop()


def await_served(port: int, is_alive: Callable[[], bool], log: Path) -> None:
    """Wait until a process serves its port; fail with the end of its log if it has ended."""
    until = time.monotonic() + SECONDS
    while not is_served(port):
        assert is_alive(), tail(log)
        assert time.monotonic() < until, tail(log)
        time.sleep(0.05)


def is_served(port: int) -> bool:
    """Whether somebody listens on a port of this machine."""
    with socket.socket() as asking:
        asking.settimeout(SECONDS)
        return asking.connect_ex(("127.0.0.1", port)) == 0


def eventually(ask: Callable[[], object], expected: object) -> None:
    """Ask until the answer is the one that is expected."""
    until = time.monotonic() + SECONDS
    while (answer := ask()) != expected:
        assert time.monotonic() < until, answer
        time.sleep(0.05)
