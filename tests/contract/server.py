"""A Redis-compatible server of our own, on a Unix socket, for as long as the tests run."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from dagcelery.local.server import find_binary


class Server:
    """A server in `folder`; it keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "store.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}?db=0"

    def start(self) -> Server:
        options = ["--port", "0", "--unixsocket", str(self.socket), "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            [str(find_binary()), *options, "--dir", str(self.socket.parent)], stdout=subprocess.DEVNULL
        )
        self._await()
        return self

    def _await(self) -> None:
        until = time.monotonic() + 10
        while time.monotonic() < until:
            try:
                redis.Redis(unix_socket_path=str(self.socket), retry=Retry(NoBackoff(), 0)).ping()
            except redis.exceptions.ConnectionError:
                time.sleep(0.01)
            else:
                return
        raise TimeoutError(f"the server at {self.socket} did not start within 10 seconds")

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
