"""A proxy in front of the server that can swallow one reply: the verb is done, and its caller never hears of it."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path


class Proxy:
    """Forwards a Unix socket to another; with `swallow()` the next reply is dropped with its connection."""

    def __init__(self, folder: Path, target: Path) -> None:
        self.path = folder / "proxy.sock"
        self.swallowed = 0
        self._target = target
        self._armed = b""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"unix://{self.path}?db=0"

    def swallow(self, command: bytes = b"EVALSHA") -> None:
        """Drop the reply to the next request that contains this command."""
        self._armed = command

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(self._target))
                deaf = threading.Event()
                threading.Thread(target=self._forward, args=[client, server, deaf], daemon=True).start()
                threading.Thread(target=self._answer, args=[client, server, deaf], daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket, deaf: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 20):
                if self._armed and self._armed in data:
                    self._armed = b""
                    deaf.set()
                server.sendall(data)

    def _answer(self, client: socket.socket, server: socket.socket, deaf: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 20):
                if deaf.is_set():
                    # The verb has run when its reply begins; nobody is told.
                    self.swallowed += 1
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(data)
