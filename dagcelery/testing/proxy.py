"""A TCP proxy in front of a server whose connections can be cut, held or refused for a while."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress


class Proxy:
    """Forwards a port of this machine's loopback to another one, in a thread of its own."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._loop = asyncio.new_event_loop()
        self._pairs: set[asyncio.StreamWriter] = set()
        self._carriers: set[asyncio.Task[None]] = set()
        self._cut_until = 0.0
        self._listening = threading.Event()
        self.port = 0
        self._thread = threading.Thread(target=self._serve, name="dagcelery-proxy", daemon=True)
        self._thread.start()
        self._listening.wait()

    def cut(self, seconds: float) -> int:
        """Hang up on everybody, whatever is under way, and refuse calls for some seconds; answer how many were cut."""
        self._cut_until = time.monotonic() + seconds
        return asyncio.run_coroutine_threadsafe(self._hang_up(), self._loop).result()

    def close(self) -> None:
        """Hang up on everybody for good."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join()

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._listen())

    async def _listen(self) -> None:
        self._over = asyncio.Event()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._over.wait()
        server.close()
        await self._hang_up()
        await asyncio.gather(*self._carriers)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        carrier = asyncio.ensure_future(self._carry(reader, writer))
        self._carriers.add(carrier)
        carrier.add_done_callback(self._carriers.discard)

    async def _hang_up(self) -> int:
        """End every connection at once: what was asked may have been done, and its reply is lost."""
        cut, self._pairs = self._pairs, set()
        for writer in cut:
            writer.transport.abort()
        return len(cut) // 2

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pair = [writer]
        with suppress(OSError):
            if time.monotonic() >= self._cut_until:
                answers, requests = await asyncio.open_connection("127.0.0.1", self._target)
                pair.append(requests)
                self._pairs.update(pair)
                await asyncio.gather(_forward(reader, requests), _forward(answers, writer))
        self._pairs.difference_update(pair)
        for end in pair:
            end.transport.abort()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes one way until either end hangs up, then hang up the other one."""
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    with suppress(OSError):
        writer.close()
