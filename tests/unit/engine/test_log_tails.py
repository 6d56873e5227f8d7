"""The last lines that a piece logs are kept with the run; nothing is, of one whose arguments are sensitive."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest

from dagcelery import Retry, dag, errors, task
from dagcelery.client import lifecycle
from dagcelery.client.logs import logs
from dagcelery.client.node import RunNode
from dagcelery.engine.log_tails import LINE_CHARACTERS
from dagcelery.engine.pieces import TailHandler, current, keep_tails_of
from dagcelery.store.keys import Keys

from .worlds import World

log = logging.getLogger("shop.orders")


@pytest.fixture(autouse=True)
def handler() -> Iterator[None]:
    """This process keeps lines, as a worker does."""
    root = logging.getLogger()
    keep_tails_of(root)
    keep_tails_of(root)
    assert sum(isinstance(each, TailHandler) for each in root.handlers) == 1
    log.setLevel(logging.INFO)
    yield
    root.handlers = [each for each in root.handlers if not isinstance(each, TailHandler)]


@task
def numbers(n: int) -> list[int]:
    return list(range(n))


@task
def say(x: int) -> int:
    log.info("item %d", x)
    log.debug("not for this level")
    return x


@task(retry=Retry(max_attempts=2, wait=0))
def stumbles(x: int) -> int:
    log.warning("attempt %d of %d", current().attempt, x)
    if current().attempt == 1:
        try:
            return int("x")
        except ValueError:
            log.exception("no luck")
            raise
    return x


late, go = threading.Event(), threading.Event()


def log_later() -> None:
    go.wait(10)
    log.info("too late")
    late.set()


@task
async def spreads(x: int) -> int:
    await asyncio.to_thread(log.info, "from a thread")
    threading.Thread(target=copy_context().run, args=(log_later,)).start()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(log.info, "from a thread without the context").result()
    return x


@dag
def mapped(n: int) -> list[int]:
    return [say(x) for x in numbers(n)]


@dag
def stumbling(n: int) -> list[int]:
    return [stumbles(x) for x in numbers(n)]


def said(world: World, run: str, address: str = "") -> list[str]:
    """What was logged, without when."""
    lines = RunNode(lambda: world.client, run, address).log() if address else _all(world, run)
    return [line.partition("Z ")[2] or line for line in lines]


def _all(world: World, run: str) -> list[str]:
    return [line for each in logs(world.client, run) for line in each.lines]


def test_lines_are_told_of_each_item_with_time_level_and_logger() -> None:
    world = World()
    run = world.ended(mapped, n=40)
    assert said(world, run, "say[3]") == ["INFO shop.orders: item 3"]
    assert sorted(said(world, run, "say")) == sorted(f"INFO shop.orders: item {x}" for x in range(40))
    assert {(each.address, each.attempt) for each in logs(world.client, run)} == {(f"say[{x}]", 1) for x in range(40)}
    assert said(world, run, "numbers") == []
    assert asyncio.run(RunNode(lambda: world.client, run, "say[3]").alog()) != []


def test_lines_of_each_attempt_are_kept_with_a_short_traceback() -> None:
    world = World()
    run = world.ended(stumbling, n=3)
    first, *lines = said(world, run, "stumbles[1]")
    assert (first, lines[-1]) == ("WARNING shop.orders: attempt 1 of 1", "WARNING shop.orders: attempt 2 of 1")
    assert lines[0] == "ERROR shop.orders: no luck"
    assert "ValueError: invalid literal for int() with base 10: 'x'" in lines
    assert [each.attempt for each in logs(world.client, run) if each.address == "stumbles[1]"] == [1, 2]


def test_attempts_are_in_order_where_the_last_lines_begin_amid_a_traceback() -> None:
    @task(retry=Retry(max_attempts=3, wait=0))
    def falls(x: int) -> int:
        if current().attempt == 2:
            log.info("first\nsecond\nthird")
        log.info("attempt %d", current().attempt)
        if current().attempt < 3:
            raise ValueError
        return x

    world = World(log_tail_lines=2)
    run = world.ended(falls, x=1)
    assert [each.attempt for each in logs(world.client, run)] == [1, 2, 3]
    assert "INFO shop.orders: third" in said(world, run, "falls")


def test_the_last_lines_are_kept_and_long_ones_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    # Not for pytest, whose processes cannot tell each other of half a character.
    monkeypatch.setattr(log, "propagate", False)
    monkeypatch.setattr(log, "handlers", [TailHandler()])

    @task
    def chats(n: int) -> int:
        for number in range(n):
            log.info("%d", number)
        log.info("y" * 5_000)
        log.info("two\n\nlines \ud800")
        return n

    world = World(log_tail_lines=4)
    run = world.ended(chats, n=10)
    last, long, two, lines = said(world, run, "chats")
    assert (last, two, lines) == ("INFO shop.orders: 9", "INFO shop.orders: two", "lines \\ud800")
    assert len(_all(world, run)[1]) == LINE_CHARACTERS
    assert long.endswith("y...")


def test_a_range_that_logs_much_keeps_its_newest_lines() -> None:
    @task
    def much(x: int) -> int:
        for _ in range(50):
            log.info("%d %s", x, "z" * 900)
        return x

    @dag
    def many(n: int) -> list[int]:
        return [much(x) for x in numbers(n)]

    world = World(workers=1, slots=1)
    run = world.ended(many, n=30)
    stored = world.store.server.client.hgetall(Keys().run(run, "lg"))
    texts = [text for name, text in stored.items() if not name.startswith(b"#")]
    assert max(map(len, texts)) < 100_000
    assert said(world, run, "much[29]")[-1].startswith("INFO shop.orders: 29 z")


def test_lines_of_threads_and_tasks_that_have_the_context_belong_to_the_piece_until_it_ends() -> None:
    world = World()
    run = world.ended(spreads, x=1)
    go.set()
    assert late.wait(10)
    log.info("outside of pieces")
    assert said(world, run) == ["INFO shop.orders: from a thread"]


def test_nothing_is_kept_of_a_task_with_sensitive_arguments_nor_where_it_is_turned_off() -> None:
    @task(sensitive=["token"])
    def secret(token: str) -> int:
        log.info("token %s", token)
        return 1

    for node, world, params in (
        (secret, World(), {"token": "s3cret"}),
        (mapped, World(log_tail_lines=0), {"n": 3}),
    ):
        run = world.ended(node, **params)
        assert _all(world, run) == []
        assert not world.store.server.client.exists(Keys().run(run, "lg"))


def test_a_log_call_that_is_wrong_changes_nothing() -> None:
    own = logging.getLogger("shop.own")
    own.propagate = False  # pytest's handler raises
    keep_tails_of(own)

    @task
    def wrong(x: int) -> int:
        own.warning("%d", "no number")
        own.warning("right")
        return x

    world = World()
    run = world.ended(wrong, x=1)
    assert world.result(run) == 1
    assert said(world, run) == ["WARNING shop.own: right"]


def test_a_record_that_cannot_be_written_fails_no_piece() -> None:
    @task
    def timeless(x: int) -> int:
        logging.getLogger().handle(logging.makeLogRecord({"msg": "when?", "created": 1e300, "levelno": 10}))
        return x

    world = World()
    run = world.ended(timeless, x=1)
    assert world.result(run) == 1
    assert said(world, run) == []


def test_lines_of_a_task_that_makes_a_graph_are_kept_too() -> None:
    @task(dynamic=True)
    def grows(n: int) -> Any:
        log.info("growing")
        return [say(x) for x in range(n)]

    world = World()
    run = world.ended(grows, n=2)
    assert said(world, run, "grows")[0] == "INFO shop.orders: growing"
    assert said(world, run, "grows/say") == ["INFO shop.orders: item 0"]
    assert len(said(world, run)) == 3


def test_lines_that_others_have_written_are_refused() -> None:
    world = World()
    run = world.ended(mapped, n=1)
    client, stored = world.store.server.client, Keys().run(run, "lg")
    name = next(name for name in client.hkeys(stored) if not name.startswith(b"#"))
    client.hset(stored, name, client.hget(stored, name).replace(b"item 0", b"item 1"))
    with pytest.raises(errors.BadSignature, match="log 0/"):
        logs(world.client, run)


def test_what_was_taken_back_is_told_as_an_earlier_attempt() -> None:
    world = World()
    run = world.ended(mapped, n=2)
    lifecycle.retry_from(world.client, run, "say[1]", None, allow_code_change=True)
    assert len(said(world, run, "say[1]")) == 1
    world.settle()
    assert [each.attempt for each in logs(world.client, run) if each.address == "say[1]"] == [1, 2]
