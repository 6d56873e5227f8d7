"""A run as it goes on: every page gets the whole and what changes then, and all of them are one to the store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from dagcelery import dag, task
from dagcelery.client import following
from dagcelery.client.status import run_status
from dagcelery.web import live
from dagcelery.web.live import EventStream, Watchers

from ..client.test_nodes import grown
from ..engine.worlds import World
from .pages import WorldClient


@task
def step(x: int) -> int:
    return x


@dag
def steps(xs: list[int]) -> list[int]:
    return [step(x) for x in xs]


@dag
def growing(x: int) -> Any:
    return grown(step(x))


def read(message: bytes | None) -> tuple[str, Any]:
    assert message is not None
    fields = dict(line.split(": ", 1) for line in message.decode().splitlines() if line)
    return fields["event"], json.loads(fields["data"])


class Reader:
    """What a page knows that takes each message as it comes."""

    def __init__(self) -> None:
        self.known: dict[str, Any] = {}
        self.kinds: list[str] = []

    def take(self, message: bytes | None) -> None:
        """Take a message."""
        kind, told = read(message)
        self.kinds.append(kind)
        if kind == "status":
            usual = told.pop("usual")
            told["nodes"] = [usual | node for node in told["nodes"]]
            self.known = {"graph": self.known.get("graph"), **told}
        elif kind == "change":
            self.known["run"] |= told["run"]
            self.known["graph"] = told.get("graph", self.known["graph"])
            for index, fields in sorted((int(index), fields) for index, fields in told["nodes"].items()):
                if index == len(self.known["nodes"]):
                    self.known["nodes"].append({})
                self.known["nodes"][index] |= fields


def as_told(world: World, run_id: str) -> dict[str, Any]:
    status: dict[str, Any] = json.loads(json.dumps(run_status(world.client, run_id).to_dict()))
    return {"nodes": status.pop("nodes"), "run": status | {"news": ""}}


@pytest.fixture(autouse=True)
def looks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The statuses that were counted; there are no pauses between them."""
    counted: list[str] = []

    def counting(control: Any, run_id: str) -> Any:
        counted.append(run_id)
        return run_status(control, run_id)

    monkeypatch.setattr(following, "run_status", counting)
    monkeypatch.setattr(following, "_SHARE", 0)
    return counted


@pytest.mark.parametrize("graph", [steps, growing])
def test_fifty_pages_are_one_to_the_store_and_all_end_with_what_is_so(graph: Any, looks: list[str]) -> None:
    world = World()
    run_id = world.submit(graph, **{"xs": [1, 2, 3]} if graph is steps else {"x": 2})

    async def look() -> list[Reader]:
        watchers, readers = Watchers(WorldClient(world)), [Reader() for _ in range(50)]
        async with AsyncExitStack() as stack:
            pages = [await stack.enter_async_context(watchers.joined(run_id, has_graph=False)) for _ in readers]
            for reader, waiting in zip(readers, pages, strict=True):
                reader.take(await waiting.get())
            assert (len(watchers), len(looks)) == (1, 1)
            await asyncio.to_thread(world.settle)
            for reader, waiting in zip(readers, pages, strict=True):
                while (message := await waiting.get()) is not None:
                    reader.take(message)
        assert len(watchers) == 0
        return readers

    readers = asyncio.run(look())
    assert {tuple(reader.kinds) for reader in readers} == {tuple(readers[0].kinds)}
    assert (readers[0].kinds[0], readers[0].kinds[-1]) == ("status", "end")
    assert "status" not in readers[0].kinds[1:]
    expected = as_told(world, run_id)
    for reader in readers:
        assert {"run": reader.known["run"], "nodes": reader.known["nodes"]} == expected
        names = {node["address"] for node in reader.known["graph"]["nodes"]}
        assert names == {node["name"] for node in expected["nodes"]}


def test_a_page_that_takes_nothing_gets_the_whole_when_it_does_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    monkeypatch.setattr(live, "_BEHIND", 1)
    run_id = world.submit(steps, xs=[1, 2, 3])

    async def look() -> Reader:
        watchers, reader = Watchers(WorldClient(world)), Reader()
        async with (
            watchers.joined(run_id, has_graph=False) as slow,
            watchers.joined(run_id, has_graph=False) as quick,
        ):
            await quick.get()
            await asyncio.to_thread(world.settle)
            while await quick.get() is not None:
                pass
            while (message := await slow.get()) is not None:
                reader.take(message)
        return reader

    reader = asyncio.run(look())
    assert reader.kinds == ["status", "end"]
    assert {"run": reader.known["run"], "nodes": reader.known["nodes"]} == as_told(world, run_id)


def test_who_goes_last_ends_the_watcher() -> None:
    world = World()
    run_id = world.submit(steps, xs=[1])

    async def look() -> list[Any]:
        watchers, sent = Watchers(WorldClient(world)), list[Any]()
        begun, gone = asyncio.Event(), asyncio.Event()

        async def receive() -> dict[str, str]:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)
            if b"event: status" in message.get("body", b""):
                begun.set()

        stream = EventStream(watchers, run_id, has_graph=False)
        answering = asyncio.create_task(stream({"type": "http"}, receive, send))
        await begun.wait()
        assert len(watchers) == 1
        gone.set()
        await answering
        assert len(watchers) == 0
        return sent

    sent = asyncio.run(look())
    assert sent[1]["body"].startswith(b"retry: ")
    assert (b"content-type", b"text/event-stream; charset=utf-8") in sent[0]["headers"]


def test_a_run_that_is_gone_meanwhile_says_so() -> None:
    world = World()
    run_id = world.submit(steps, xs=[1])

    async def look() -> list[tuple[str, Any]]:
        async with Watchers(WorldClient(world)).joined(run_id, has_graph=True) as waiting:
            found = [read(await waiting.get())]
            await asyncio.to_thread(world.client.delete, run_id)
            while (message := await waiting.get()) is not None:
                found.append(read(message))
            return found

    (first, whole), (last, said) = asyncio.run(look())
    assert (first, last) == ("status", "failure")
    assert "graph" not in whole
    assert said["type"] == "RunNotFound"


def test_pages_are_told_if_what_they_look_at_cannot_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    run_id = world.submit(steps, xs=[1])
    monkeypatch.setattr(live, "structure", lambda control, run_id: [][0])

    async def look() -> list[Any]:
        async with Watchers(WorldClient(world)).joined(run_id, has_graph=False) as waiting:
            return [read(await waiting.get()), await waiting.get()]

    (kind, said), end = asyncio.run(look())
    assert (kind, said["type"], end) == ("failure", "InternalError", None)


def test_who_comes_just_when_a_watcher_ends_gets_another_one() -> None:
    world = World()
    run_id = world.ended(steps, xs=[1])

    async def look() -> list[str]:
        watchers = Watchers(WorldClient(world))
        async with watchers.joined(run_id, has_graph=False) as first:
            ((_, task),) = watchers._watchers.values()
            while not task.done():
                await first.get()
            async with watchers.joined(run_id, has_graph=False) as waiting:
                return [read(await waiting.get())[0], read(await waiting.get())[0]]

    assert asyncio.run(look()) == ["status", "end"]
