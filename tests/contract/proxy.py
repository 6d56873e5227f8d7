"""A proxy in front of the server that can swallow one reply: the verb is done, and its caller never hears of it."""

from __future__ import annotations

import contextlib
import socket
import threading
from urllib.parse import urlsplit


class Proxy:
    """Forwards connections to a server; with `swallow()` the next reply is dropped with its connection."""

    def __init__(self, url: str) -> None:
        self.swallowed = 0
        self._target = urlsplit(url)
        self._armed = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def url(self) -> str:
        """The server's, but for the port."""
        port = self._listener.getsockname()[1]
        return self._target._replace(netloc=f":{self._target.password}@127.0.0.1:{port}").geturl()

    def swallow(self, command: bytes = b"EVALSHA") -> None:
        """Drop the reply to the next request that contains this command."""
        self._armed = command

    def close(self) -> None:
        """Hang up on everybody."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as pairs:
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection((self._target.hostname, self._target.port))
                pairs.callback(_hang_up, client, server, *self._carry(client, server))

    def _carry(self, client: socket.socket, server: socket.socket) -> list[threading.Thread]:
        deaf = threading.Event()
        threads = [
            threading.Thread(target=carry, args=[client, server, deaf], daemon=True)
            for carry in (self._forward, self._answer)
        ]
        for thread in threads:
            thread.start()
        return threads

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


def _hang_up(client: socket.socket, server: socket.socket, *threads: threading.Thread) -> None:
    for end in (client, server):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join()
    client.close()
    server.close()
