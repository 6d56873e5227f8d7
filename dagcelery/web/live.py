"""A run as it goes on, as server-sent events. However many pages look on, one watcher a run asks the store.

A page gets the whole first, and then what has changed. Where a connection is lost the browser comes back by itself, and
gets the whole again: so a page that slept is right, whatever it missed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from dagcelery.client import Client
from dagcelery.client.answers import Json, run_and_nodes
from dagcelery.client.following import statuses
from dagcelery.client.status import RunStatus
from dagcelery.client.structure import structure
from dagcelery.errors import DagceleryError

_BEHIND: Final = 32
"""Changes that wait for a page that does not take them; then it gets the whole instead."""
_SILENCE_SECONDS: Final = 15.0
_RETRY_MS: Final = 2_000

log = logging.getLogger(__name__)


def event(kind: str, data: Json, number: int = 0) -> bytes:
    """Return a server-sent event."""
    return f"event: {kind}\nid: {number}\ndata: {json.dumps(data)}\n\n".encode()


class _Page:
    """One page that looks on: what it has not been sent yet, and None at the end."""

    def __init__(self, *, has_graph: bool) -> None:
        self.has_graph = has_graph
        self.waiting: asyncio.Queue[bytes | None] = asyncio.Queue()

    def change(self, message: bytes, whole: Callable[[_Page], bytes]) -> None:
        """Tell it of a change; one that is far behind gets the whole instead."""
        if self.waiting.qsize() < _BEHIND:
            self.waiting.put_nowait(message)
            return
        while not self.waiting.empty():
            self.waiting.get_nowait()
        self.has_graph = False
        self.waiting.put_nowait(whole(self))


class _Watcher:
    """Watches one run for all its pages."""

    def __init__(self, client: Client, run_id: str) -> None:
        self._client = client
        self._run_id = run_id
        self._status: RunStatus | None = None
        self._graph: Json = {}
        self._number = 0
        self.pages: set[_Page] = set()

    async def watch(self) -> None:
        """Look on until the run is over, or an error says why that cannot be done."""
        try:
            async for status in statuses(self._client.control, self._run_id):
                await self._tell(status)
            self._end(event("end", {"state": str(self._status.state) if self._status else ""}, self._number))
        except DagceleryError as error:
            self._fail(type(error).__name__, str(error))
        except Exception:  # pages that nobody tells would wait for ever, and show what was
            log.exception("run %s cannot be watched", self._run_id)
            self._fail("InternalError", "this went wrong on the server; its log says more")

    async def _tell(self, status: RunStatus) -> None:
        before = self._status
        old, new = _names(before), _names(status)
        if before is None or old != new:
            graph = await asyncio.to_thread(structure, self._client.control, self._run_id)
            self._graph = await asyncio.to_thread(graph.to_dict)
        self._status, self._number = status, self._number + 1
        if before is None or old != new[: len(old)]:  # the first look; or nodes went, and what followed moved up
            for page in self.pages:
                page.has_graph = page.has_graph and before is None
                page.waiting.put_nowait(self.whole(page))
            return
        change = await asyncio.to_thread(_change, before, status)
        if old != new:
            change["graph"] = self._graph
        message = event("change", change, self._number)
        for page in self.pages:
            page.change(message, self.whole)

    def _fail(self, kind: str, message: str) -> None:
        self._end(event("failure", {"type": kind, "message": message}, self._number))

    def _end(self, message: bytes) -> None:
        for page in self.pages:
            page.waiting.put_nowait(message)
            page.waiting.put_nowait(None)

    def join(self, page: _Page) -> None:
        """Let a page look on."""
        self.pages.add(page)
        if self._status is not None:
            page.waiting.put_nowait(self.whole(page))

    def whole(self, page: _Page) -> bytes:
        """Return all of the run as it is known."""
        assert self._status is not None
        graph = {} if page.has_graph else {"graph": self._graph}
        return event("status", {"now": time.time(), **run_and_nodes(self._status), **graph}, self._number)


def _names(status: RunStatus | None) -> list[str]:
    return [] if status is None else [node.name for node in status.nodes]


def _change(before: RunStatus, after: RunStatus) -> Json:
    """Return what differs: of the run its fields, and of nodes by their index theirs."""
    old, new = _run_fields(before), _run_fields(after)
    changed: Json = {name: value for name, value in new.items() if old[name] != value}
    nodes: dict[int, Json] = {}
    for index, node in enumerate(after.nodes):
        if index >= len(before.nodes):
            nodes[index] = node.to_dict()
        elif node != before.nodes[index]:
            last = before.nodes[index].to_dict()
            nodes[index] = {name: value for name, value in node.to_dict().items() if last[name] != value}
    return {"now": time.time(), "run": changed, "nodes": nodes}


def _run_fields(status: RunStatus) -> Json:
    names = [name for name in RunStatus.__slots__ if name != "nodes"]
    told = {name: getattr(status, name) for name in names}
    return (
        told
        | {"params": dict(status.params), "state": str(status.state), "seconds": status.seconds}
        | {"news": status.news}
    )


class Watchers:
    """The watchers of a process: one for each run that a page looks at, in each event loop."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._watchers: dict[tuple[int, str], tuple[_Watcher, asyncio.Task[None]]] = {}

    def __len__(self) -> int:
        return len(self._watchers)

    @asynccontextmanager
    async def joined(self, run_id: str, *, has_graph: bool) -> AsyncIterator[asyncio.Queue[bytes | None]]:
        """Look on at a run; who comes first starts a watcher, and who goes last ends it."""
        key, page = (id(asyncio.get_running_loop()), run_id), _Page(has_graph=has_graph)
        watcher, task = self._watchers.get(key) or self._start(key)
        if task.done():  # it has told its pages the end, and is about to be forgotten
            watcher, task = self._start(key)
        watcher.join(page)
        try:
            yield page.waiting
        finally:
            watcher.pages.discard(page)
            if not watcher.pages:
                self._forget(key, task)
                task.cancel()

    def _start(self, key: tuple[int, str]) -> tuple[_Watcher, asyncio.Task[None]]:
        watcher = _Watcher(self._client, key[1])
        task = asyncio.create_task(watcher.watch())
        task.add_done_callback(lambda done: self._forget(key, done))
        self._watchers[key] = watcher, task
        return self._watchers[key]

    def _forget(self, key: tuple[int, str], task: asyncio.Task[None]) -> None:
        if key in self._watchers and self._watchers[key][1] is task:
            del self._watchers[key]


class EventStream(Response):
    """Sends a run's events until it is over, or the browser is gone."""

    media_type = "text/event-stream"

    def __init__(self, watchers: Watchers, run_id: str, *, has_graph: bool) -> None:
        self._watchers, self._run_id, self._has_graph = watchers, run_id, has_graph
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Be the ASGI application that answers the request."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        gone = asyncio.ensure_future(_gone(receive))
        try:
            async with self._watchers.joined(self._run_id, has_graph=self._has_graph) as waiting:
                message: bytes | None = f"retry: {_RETRY_MS}\n\n".encode()
                while message is not None and not gone.done():
                    await send({"type": "http.response.body", "body": message, "more_body": True})
                    message = await _next(waiting, gone)
            if not gone.done():
                await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _next(waiting: asyncio.Queue[bytes | None], gone: asyncio.Future[None]) -> bytes | None:
    """Return the next message; a comment where nothing happens, so that a connection that is lost is noticed."""
    asking: asyncio.Future[bytes | None] = asyncio.ensure_future(waiting.get())
    both: set[Awaitable[Any]] = {asking, gone}
    await asyncio.wait(both, timeout=_SILENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED)  # type: ignore[type-var]
    if asking.done():
        return asking.result()
    asking.cancel()
    return b": still here\n\n"
