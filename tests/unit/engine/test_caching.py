"""A kept result takes the place of a call, in other runs and on other workers, and nothing fails for want of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from dagcelery import AsPickle, Cache, Retry, Skipped, dag, static, task
from dagcelery.client.status import run_status
from dagcelery.errors import NodeFailed, StoreUnavailable
from dagcelery.store.cache import OF_THIS_PROCESS, ServerCache
from dagcelery.store.in_process import LocalServer
from dagcelery.store.protocol import Store
from dagcelery.store.run_adapters import assemble

from .flows import total
from .worlds import World

CALLS: list[Any] = []
BROKEN: list[int] = []


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    OF_THIS_PROCESS.clear()
    CALLS.clear()
    BROKEN.clear()


@task(cache=Cache(ttl=60))
def square(x: int) -> int:
    CALLS.append(x)
    if x in BROKEN:
        raise ValueError(x)
    return x * x


@dag
def squares(xs: list[int]) -> int:
    return total([square(x) for x in xs])


@dag
def one(x: int) -> int:
    return square(x)


@task(cache=Cache(ttl=60), serializer=AsPickle())
def pairs(n: int) -> Any:
    CALLS.append(n)
    return {"all": {(k, k) for k in range(n)}, "first": (0, 0)}


@task
def size(pair: tuple[int, int]) -> int:
    return len(pair)


@dag
def parts(n: int) -> Any:
    found = pairs(n)
    return {"sizes": [size(pair) for pair in found["all"]], "first": found["first"], "whole": found}


@task(cache=Cache(ttl=60))
def counted(n: int) -> Iterator[int]:
    CALLS.append("begun")
    yield from range(n)
    CALLS.append("ended")


@dag
def generated(n: int) -> Any:
    numbers = counted(n)
    return [total([plus(x) for x in numbers]), numbers]


@task(cache=Cache(ttl=60, key="k"), retry=Retry(max_attempts=3, wait=static(0)))
def third_time(x: int) -> int:
    CALLS.append(x)
    if len(CALLS) < 3:
        raise OSError
    return x


def count(world: World, run_id: str, name: str) -> tuple[int, int]:
    """How many pieces of a node are done, and how many of them were not called."""
    node = next(node for node in run_status(world.client, run_id).nodes if node.name == name)
    return node.done, node.cached


def run(world: World, node: Any, **params: Any) -> tuple[Any, str]:
    run_id = world.ended(node, **params)
    return world.result(run_id), run_id


def test_a_fan_out_takes_and_keeps_results_item_by_item() -> None:
    world = World()
    result, run_id = run(world, squares, xs=list(range(40)))
    assert count(world, run_id, "square") == (40, 0)
    result, run_id = run(world, squares, xs=[*range(20, 60), 20])
    assert result == sum(x * x for x in range(20, 60)) + 400
    assert count(world, run_id, "square") == (41, 21)
    assert sorted(CALLS) == list(range(60))


def test_parts_of_a_result_come_back_with_their_own_serializer() -> None:
    world = World()
    first, _ = run(world, parts, n=3)
    again, run_id = run(world, parts, n=3)
    assert first == again == {"sizes": [2, 2, 2], "first": (0, 0), "whole": {"all": {(0, 0), (1, 1), (2, 2)}, **FIRST}}
    assert (CALLS, count(world, run_id, "pairs")) == ([3], (1, 1))


FIRST = {"first": (0, 0)}


def test_what_a_generator_yields_is_kept_as_a_list() -> None:
    world = World()
    assert [run(world, generated, n=4)[0] for _ in range(2)] == [[10, [0, 1, 2, 3]]] * 2
    assert CALLS == ["begun", "ended"]


def test_a_key_that_is_no_text_fails_the_piece_and_says_so() -> None:
    @task(cache=Cache(ttl=60, key=lambda x: x))  # type: ignore[arg-type, return-value]
    def f(x: int) -> int:
        return x

    with pytest.raises(NodeFailed, match=r"the cache key of .*f: is of type int; return a string from the function"):
        World().run(f, x=1)


def test_an_error_of_a_keys_function_is_that_of_its_item() -> None:
    @task(cache=Cache(ttl=60, key=lambda x: f"{x} {1 // x}"), on_item_failure="skip")
    def f(x: int) -> int:
        return x

    @task
    def addresses(xs: list[Any]) -> list[str]:
        return [x.address if isinstance(x, Skipped) else str(x) for x in xs]

    @dag
    def d(xs: list[int]) -> list[str]:
        return addresses([f(x) for x in xs])

    assert World().run(d, xs=[1, 2, 0, 3]) == ["1", "2", "f[2]", "3"]


def test_another_code_is_another_result() -> None:
    def made(by: int) -> Any:
        def f(x: int) -> int:
            CALLS.append(by)
            return x + by

        return task(cache=Cache(ttl=60))(f)

    world = World()
    assert [world.run(made(by), x=1) for by in (1, 2)] == [2, 3]


def test_what_failed_is_not_kept_and_what_was_done_before_it_is() -> None:
    world = World()
    BROKEN.append(2)
    with pytest.raises(NodeFailed):
        run(world, squares, xs=[0, 1, 2])
    BROKEN.clear()
    assert run(world, squares, xs=[0, 1, 2])[0] == 5
    assert CALLS == [0, 1, 2, 2]


def test_a_piece_that_is_tried_again_may_find_what_another_run_kept_meanwhile() -> None:
    world = World()
    assert [world.run(third_time, x=x) for x in (1, 2)] == [1, 1]
    assert CALLS == [1, 1, 1]


# -- what may go wrong ---------------------------------------------------------------------------
class Faulty:
    """A cache that does not work, in one way or another."""

    def __init__(self, reads: Exception | None = None, writes: Exception | None = None) -> None:
        self.reads, self.writes = reads, writes
        self.kept: dict[str, bytes] = {}

    @property
    def store(self) -> Store:
        """A store that has this cache."""
        return assemble(LocalServer(), self)

    def get(self, task: str, entries: Sequence[str]) -> Sequence[bytes | None]:
        if self.reads is not None:
            raise self.reads
        return [self.kept.get(entry) for entry in entries]

    def set(self, task: str, entries: Mapping[str, bytes], ttl_seconds: float) -> None:
        if self.writes is not None:
            raise self.writes
        self.kept.update(entries)

    def delete(self, task: str) -> int:
        return 0


DOWN = StoreUnavailable("it is not there", "memory")


@pytest.mark.parametrize(("reads", "writes"), [(DOWN, None), (None, DOWN), (DOWN, DOWN)])
def test_a_cache_that_does_not_answer_is_done_without(
    reads: Exception | None, writes: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(Faulty(reads, writes).store)
    with caplog.at_level(logging.WARNING, "dagcelery.engine.caching"):
        assert [run(world, squares, xs=[1, 2])[0] for _ in range(2)] == [5, 5]
    assert sorted(CALLS) == [1, 1, 2, 2]
    assert "it is not there" in caplog.text


def test_results_that_were_moved_or_changed_are_not_taken(caplog: pytest.LogCaptureFixture) -> None:
    cache = Faulty()
    world = World(cache.store)
    run(world, squares, xs=[1, 2])
    (a, b), (one_kept, two_kept) = zip(*cache.kept.items(), strict=True)
    for forged in ({a: two_kept, b: one_kept}, {a: one_kept[:-1] + b"7", b: two_kept[:-1]}, {a: b"", b: b"\0" * 100}):
        cache.kept |= forged
        CALLS.clear()
        assert run(world, squares, xs=[1, 2])[0] == 5
        assert sorted(CALLS) == [1, 2]
        assert cache.kept == {a: one_kept, b: two_kept}
    assert "signature" in caplog.text


def test_who_has_another_key_takes_nothing() -> None:
    store = Faulty().store
    run(World(store), one, x=3)
    run(World(store, key="another key"), one, x=3)
    assert CALLS == [3, 3]


def test_without_a_key_results_are_kept_as_everything_else_is() -> None:
    world = World(key=None, imports=(__name__, total.__module__))
    assert [run(world, squares, xs=[1, 2])[0] for _ in range(2)] == [5, 5]
    assert CALLS == [1, 2]


def test_what_is_larger_than_it_may_be_is_not_kept() -> None:
    @task(cache=Cache(ttl=60, key="k", max_bytes=100))
    def text(n: int) -> str:
        CALLS.append(n)
        return "x" * n

    world = World()
    assert [len(world.run(text, n=n)) for n in (99, 98, 97, 96)] == [99, 98, 98, 98]


# -- what it costs -------------------------------------------------------------------------------
class Counting(ServerCache):
    """Counts what workers ask of it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        server = LocalServer()
        super().__init__(server)
        self.store = assemble(server, self)

    def get(self, *args: Any) -> Any:
        self.calls.append("get")
        return super().get(*args)

    def set(self, *args: Any) -> Any:
        self.calls.append("set")
        return super().set(*args)


@task
def plus(x: int) -> int:
    return x + 1


@dag
def mixed(x: int) -> int:
    return plus(square(plus(x)))


def test_only_tasks_that_say_so_pay_for_it_one_read_and_one_write() -> None:
    server = Counting()
    world = World(server.store, workers=1)
    run(world, mixed, x=1)
    assert server.calls == ["get", "set"]
    server.calls.clear()
    run(world, mixed, x=1)
    assert server.calls == ["get"]


def test_a_range_of_items_is_one_read_and_one_write() -> None:
    server = Counting()
    world = World(server.store, workers=1)
    run(world, squares, xs=list(range(500)))
    ranges = server.calls.count("get")
    assert ranges == server.calls.count("set") < 100
