"""What a coroutine does to its event loop, or leaves in it, is over when its piece is; what it opened stays usable."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from dagcelery import Timeout, dag, invoke, task
from dagcelery.errors import NodeFailed

seen: list[Any] = []
kept: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_seen() -> Iterator[None]:
    seen.clear()
    yield
    for left in kept:
        if isinstance(left, asyncio.Task) and left.done() and not left.cancelled():
            left.exception()  # else asyncio tells of it at some later time
    kept.clear()


@task
async def fine(x: int) -> int:
    for _ in range(3):
        await asyncio.sleep(0)
    return x


@task
async def others() -> int:
    """How many coroutines there are in the loop beside this one."""
    await asyncio.sleep(0)
    return len(asyncio.all_tasks()) - 1


@task
async def stops_and_returns() -> str:
    asyncio.get_running_loop().stop()
    return "stopped"


@task
async def stops_and_waits() -> None:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(60)


@task
async def closes() -> None:
    asyncio.get_running_loop().close()


@task
async def leaves_running() -> int:
    async def go_on() -> None:
        try:
            while True:
                await asyncio.sleep(0)
        finally:
            seen.append("cancelled")

    kept.append(asyncio.create_task(go_on()))
    await asyncio.sleep(0)
    return 1


@task
async def leaves_failing() -> int:
    async def fail() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise SystemExit("in the background")

    kept.append(asyncio.create_task(fail()))
    await asyncio.sleep(0)
    return 1


@task
async def leaves_exiting() -> int:
    async def leave() -> None:
        raise KeyboardInterrupt

    kept.append(asyncio.create_task(leave()))
    return 1


@task
async def cancels_itself() -> None:
    current = asyncio.current_task()
    current.cancel()
    await asyncio.sleep(60)


@task
async def runs_another() -> int:
    coroutine = fine.fn(1)
    try:
        return asyncio.run(coroutine)
    finally:
        coroutine.close()


@task
def runs_its_own() -> int:
    return asyncio.run(fine.fn(1))


@task
def closes_from_outside() -> None:
    loop = kept[0]
    loop.close()


@task
async def keeps_its_loop() -> None:
    kept.insert(0, asyncio.get_running_loop())


def is_sound() -> None:
    """The next piece finds a loop that works, and nothing in it."""
    assert invoke(fine, {"x": 5}) == 5
    assert invoke(others) == 0


@pytest.mark.parametrize(
    ("node", "result"),
    [(stops_and_returns, "stopped"), (leaves_running, 1), (leaves_failing, 1), (runs_its_own, 1)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_a_coroutine_leaves_breaks_no_other_piece(node: Any, result: Any) -> None:
    assert invoke(node) == result
    is_sound()


@pytest.mark.parametrize(
    ("node", "error"),
    [
        (stops_and_waits, "Event loop stopped before Future completed"),
        (closes, "Cannot close a running event loop"),
        (cancels_itself, "CancelledError"),
        (leaves_exiting, "KeyboardInterrupt"),
        (runs_another, "cannot be called from a running event loop"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_python_refuses_fails_the_piece_and_no_other_one(node: Any, error: str) -> None:
    with pytest.raises(NodeFailed, match=error):
        invoke(node)
    is_sound()


def test_what_is_left_is_cancelled_when_the_piece_ends_and_not_later() -> None:
    invoke(leaves_running)
    assert seen == ["cancelled"]


def test_a_loop_that_was_closed_between_pieces_is_replaced() -> None:
    invoke(keeps_its_loop)
    invoke(closes_from_outside)
    is_sound()


def test_a_task_that_cannot_be_cancelled_is_dropped_with_its_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dagcelery.engine.attempts.CANCEL_SECONDS", 0.05)

    async def stay() -> None:
        while True:
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                seen.append("stays")

    @task
    async def leaves_stubborn() -> int:
        kept.append(asyncio.create_task(stay()))
        kept.append(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return 1

    assert invoke(leaves_stubborn) == 1
    assert seen == ["stays"]
    assert kept[1].is_closed()
    is_sound()
    kept[0]._log_destroy_pending = False  # as asyncio.gather does: else it complains in the log of some later test


class Client:
    """Speaks to a server; it belongs to the loop that it was opened in."""

    def __init__(self) -> None:
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, port: int) -> str:
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", port)
        reader, writer = self.streams
        writer.write(b"hello\n")
        return (await reader.readline()).decode().strip()


client = Client()


@task
async def asks(n: int, port: int) -> str:
    asyncio.create_task(asyncio.sleep(60))  # noqa: RUF006 - left behind on purpose
    return await client.ask(port)


@dag
def asks_often(ns: list[int], port: int) -> list[str]:
    return [asks(n, port) for n in ns]


@pytest.fixture
def echo_port() -> Iterator[int]:
    """A server that says back what it is told."""
    loop, ready = asyncio.new_event_loop(), threading.Event()
    writers: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        while line := await reader.readline():
            writer.write(line)

    def serve() -> None:
        server = loop.run_until_complete(asyncio.start_server(answer, "127.0.0.1", 0))
        kept.append(server)
        ready.set()
        loop.run_forever()
        server.close()

    thread = threading.Thread(target=serve)
    thread.start()
    ready.wait()
    yield kept[-1].sockets[0].getsockname()[1]
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    for writer in writers:  # else some later test is told of a socket that nobody closed
        writer.transport.abort()
    for left in asyncio.all_tasks(loop):
        left.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_a_client_stays_usable_from_piece_to_piece(echo_port: int) -> None:
    assert invoke(asks_often, {"ns": [1, 2, 3], "port": echo_port}) == ["hello"] * 3
    assert invoke(asks, {"n": 4, "port": echo_port}) == "hello"
    client.streams[1].close()
    client.streams = None
    invoke(fine, {"x": 1})


# -- time limits ---------------------------------------------------------------------------------
@task(timeout=Timeout(soft=0.05))
async def careful() -> None:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        seen.append("cleaned up")
        raise


@task(timeout=Timeout(soft=0.05))
async def content() -> str:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        return "so far"
    return "all"


@task(timeout=Timeout(soft=0.05))
async def clumsy() -> None:
    try:
        await asyncio.sleep(60)
    finally:
        raise KeyError("cleaning up failed")


def test_a_coroutine_that_takes_too_long_is_cancelled_and_gone() -> None:
    with pytest.raises(NodeFailed, match="SoftTimeLimitExceeded"):
        invoke(careful)
    assert seen == ["cleaned up"]
    assert invoke(others) == 0


def test_a_coroutine_may_return_what_it_has_when_it_is_cancelled() -> None:
    assert invoke(content) == "so far"
    assert invoke(others) == 0


def test_what_fails_when_it_is_cancelled_fails_with_that() -> None:
    with pytest.raises(NodeFailed, match="cleaning up failed"):
        invoke(clumsy)
    assert invoke(others) == 0


@task(timeout=Timeout(soft=0.05))
async def too_slow() -> None:
    try:
        await asyncio.sleep(60)
    finally:
        seen.append("over")


def test_beside_a_running_loop_a_limit_ends_the_coroutine_in_the_other_thread_as_well() -> None:
    async def within() -> None:
        with pytest.raises(NodeFailed, match="SoftTimeLimitExceeded"):
            invoke(too_slow)
        assert seen == ["over"]
        assert invoke(others) == 0

    replaced = signal.getsignal(signal.SIGALRM)
    asyncio.run(within())
    assert signal.getsignal(signal.SIGALRM) is replaced


def test_a_process_that_ends_with_a_loop_it_never_used_says_nothing() -> None:
    program = "import builtins; from dagcelery.engine.attempts import Loop; builtins.kept = Loop()"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert ended.stderr == ""
