"""Each call has a context of its own: what one piece sets, no other one finds, and its caller neither."""

from __future__ import annotations

import asyncio
import decimal
import threading
from collections.abc import Iterator
from contextvars import ContextVar, copy_context
from typing import Any

import pytest

from dagcelery import Cache, Retry, current, dag, invoke, task
from dagcelery.errors import NodeFailed

from .worlds import World

user: ContextVar[str] = ContextVar("user", default="nobody")
threads: list[threading.Thread] = []
seen: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    seen.clear()
    threads.clear()
    yield
    for thread in threads:
        thread.join()


@task
def sets(n: int) -> str:
    before = user.get()
    user.set(f"user {n}")
    decimal.getcontext().prec = n + 1
    return before


@task
async def asets(n: int) -> str:
    await asyncio.sleep(0)
    before = user.get()
    user.set(f"user {n}")
    return before


@task(retry=Retry(3, wait=0))
def sets_again() -> str:
    before = user.get()
    user.set("the attempt before")
    if current().attempt < 3:
        raise ValueError
    return before


@dag
def each(ns: list[int]) -> list[str]:
    return [sets(n) for n in ns]


@dag
def aeach(ns: list[int]) -> list[str]:
    return [asets(n) for n in ns]


@dag
def in_a_row() -> list[str]:
    return [sets(1), sets.after(sets(2))(3), asets.after(sets(4))(5)]


@task(dynamic=True)
def grows() -> Any:
    user.set("whoever grows")
    return [sets(1), asets(2)]


@dag
def reads_precision(ns: list[int]) -> list[int]:
    return [precision.after(sets(9))(n) for n in ns]


@task
def precision(n: int) -> int:
    return decimal.getcontext().prec


@pytest.mark.parametrize(
    ("node", "params", "calls"),
    [
        (each, {"ns": [1, 2, 3]}, 3),
        (aeach, {"ns": [1, 2, 3]}, 3),
        (in_a_row, {}, 3),
        (grows, {}, 2),
        (sets_again, {}, 0),
    ],
    ids=["items", "async items", "nodes", "grown", "attempts"],
)
def test_a_piece_inherits_from_the_process_and_never_from_another_piece(
    node: Any, params: dict[str, Any], calls: int
) -> None:
    nobody = ["nobody"] * calls or "nobody"
    world = World(workers=1)
    assert world.run(node, **params) == nobody
    assert world.run(node, **params) == nobody
    token = user.set("the caller")
    assert invoke(node, params) == (["the caller"] * calls or "the caller")
    assert user.get() == "the caller"
    user.reset(token)


def test_decimal_contexts_are_a_piece_s_own_as_well() -> None:
    before = decimal.getcontext().prec
    assert invoke(reads_precision, {"ns": [1, 2]}) == [before, before]
    assert decimal.getcontext().prec == before


def names_user(n: int, now: float) -> str:
    seen.append(user.get())
    user.set("the key's")
    return f"{n} {now}"


@task(cache=Cache(ttl=60, key=names_user), on_success=lambda notice: seen.append(user.get()))
def keyed(n: int, now: float) -> str:
    before = user.get()
    user.set("the function's")
    return before


@dag(on_success=lambda notice: seen.append(user.get()))
def all_keyed(ns: list[int], now: float) -> list[str]:
    return [keyed(n, now) for n in ns]


def test_hooks_and_cache_keys_leave_nothing_behind_and_find_nothing() -> None:
    import time

    assert invoke(all_keyed, {"ns": [1, 2], "now": time.time()}) == ["nobody", "nobody"]
    assert user.get() == "nobody"
    assert "the function's" not in seen


def await_all() -> None:
    for thread in threads:
        thread.join()


@task
def leaves_a_thread(n: int) -> str:
    mine = copy_context()

    def look() -> None:
        gate.wait()
        seen.append((n, mine.run(current).address))

    threads.append(threading.Thread(target=look))
    threads[-1].start()
    return current().address


@task
async def starts_a_task(n: int) -> str:
    async def look() -> str:
        await asyncio.sleep(0)
        return current().address

    return await asyncio.create_task(look())


gate = threading.Event()


@dag
def all_leave(ns: list[int]) -> list[str]:
    return [leaves_a_thread(n) for n in ns]


@dag
def all_start(ns: list[int]) -> list[str]:
    return [starts_a_task(n) for n in ns]


def test_what_an_item_leaves_running_goes_on_as_that_item() -> None:
    gate.clear()
    count = 40
    assert invoke(all_leave, {"ns": list(range(count))}) == [f"leaves_a_thread[{n}]" for n in range(count)]
    gate.set()
    await_all()
    assert sorted(seen) == [(n, f"leaves_a_thread[{n}]") for n in range(count)]
    assert invoke(all_start, {"ns": list(range(5))}) == [f"starts_a_task[{n}]" for n in range(5)]


def test_a_generator_that_a_task_returns_is_read_as_that_piece() -> None:
    @task
    def addresses() -> Any:
        def read() -> Iterator[str]:
            yield current().address
            yield user.get()

        user.set("the function's")
        return read()

    @task
    def listed(xs: list[str]) -> list[str]:
        return xs

    @dag
    def reads() -> list[str]:
        return [echo(x) for x in addresses()]

    assert invoke(reads) == ["addresses", "the function's"]


@task
def echo(x: str) -> str:
    return x


@task
def invokes() -> list[str]:
    user.set("outer")
    inside = invoke(sets, {"n": 1})
    return [inside, user.get(), current().address]


def test_a_run_inside_of_a_piece_sees_a_copy_of_its_context() -> None:
    assert invoke(invokes) == ["outer", "outer", "invokes"]


def test_a_failed_piece_leaves_nothing_either() -> None:
    @task
    def fails() -> None:
        user.set("who failed")
        raise ValueError

    with pytest.raises(NodeFailed):
        invoke(fails)
    assert user.get() == "nobody"
    with pytest.raises(LookupError):
        current()
