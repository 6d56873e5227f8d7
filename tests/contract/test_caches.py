"""Results that are kept for other runs: whole or not there, for a time, and gone when they are forgotten."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from dagcelery.local import Server
from dagcelery.store.cache import MemoryCache, ServerCache
from dagcelery.store.protocol import Store
from dagcelery.store.redis import store_on_redis
from dagcelery.store.wire import STAGED

from .between import Between
from .moves import begun, body, results, step, whole
from .proxy import Proxy


@pytest.fixture
def task() -> str:
    """The name of a task that no other test knows."""
    return f"shop:{uuid.uuid4().hex}"


def test_what_was_kept_is_found_by_its_name(store: Store, task: str) -> None:
    assert store.fleet.cache.get(task, ["a", "b"]) == [None, None]
    store.fleet.cache.set(task, {"a": b"1", "b": b""}, 60)
    assert store.fleet.cache.get(task, ["b", "c", "a"]) == [b"", None, b"1"]
    assert store.fleet.cache.get(task + "s", ["a"]) == [None]


def test_nothing_is_kept_for_longer_than_it_should_be(store: Store, task: str) -> None:
    store.fleet.cache.set(task, {"short": b"1"}, 0.001)
    store.fleet.cache.set(task, {"long": b"2"}, 60)
    until = time.monotonic() + 30
    while store.fleet.cache.get(task, ["short", "long"]) != [None, b"2"]:
        assert time.monotonic() < until


@pytest.mark.parametrize("count", [1, 1000])
def test_what_is_forgotten_is_gone(store: Store, task: str, count: int) -> None:
    entries = {str(number): b"x" for number in range(count)}
    store.fleet.cache.set(task, entries, 60)
    store.fleet.cache.set(task + "s", {"0": b"another task's"}, 60)
    assert store.fleet.cache.delete(task) == count
    assert set(store.fleet.cache.get(task, list(entries))) == {None}
    assert store.fleet.cache.get(task + "s", ["0"]) == [b"another task's"]
    assert store.fleet.cache.delete(task) == 0


@pytest.mark.parametrize("size", [70_000, 600_000, 3_000_000])
def test_large_results_are_kept_whole(store: Store, task: str, size: int) -> None:
    data = bytes(range(256)) * (size // 256)
    store.fleet.cache.set(task, {"large": data, "small": b"s"}, 60)
    assert store.fleet.cache.get(task, ["large", "small"]) == [data, b"s"]
    assert store.fleet.cache.delete(task) == 2
    assert store.fleet.cache.get(task, ["large"]) == [None]


def test_two_who_keep_a_large_result_at_once_do_not_mix_it(store: Store, task: str) -> None:
    written = [bytes([number]) * 1_200_000 for number in range(4)]
    seen = set()
    with ThreadPoolExecutor(4) as threads:
        writing = [threads.submit(store.fleet.cache.set, task, {"a": data}, 60) for data in written]
        while not all(each.done() for each in writing):
            seen.update(store.fleet.cache.get(task, ["a"]))
    assert seen | set(store.fleet.cache.get(task, ["a"])) <= {None, *written}


def test_a_run_counts_which_pieces_were_not_called(store: Store) -> None:
    topology = [body([0, 1], step(), step(x="$xs", ms=0.5))]
    run_id, worker = begun(store, topology, lists={"$xs": 4})
    worker.finish(worker.claim(), cached=1)
    worker.finish(claim := worker.claim(ranges={"0.1": 2}), blocks=results(claim), cached=2)
    worker.fail(claim := worker.claim(ranges={"0.1": 2}), at=3, blocks=results(claim, 3), cached=1, markers={"0": []})
    progress = store.reader.progress(run_id)
    assert [(c.done, c.cached, c.skipped) for _, c in sorted(progress.counts.items())] == [(1, 1, 0), (3, 3, 1)]
    assert store.machine.clear(run_id, whole(0))
    progress = store.reader.progress(run_id)
    assert (0, 0) not in progress.counts
    assert progress.counts[0, 1].cached == 3


# -- on Redis ------------------------------------------------------------------------------------
def test_every_key_of_a_cache_lives_for_a_time(redis_store: Store, raw: redis.Redis, task: str) -> None:
    redis_store.fleet.cache.set(task, {"small": b"s", "large": b"l" * 700_000}, 1000)
    redis_store.fleet.cache.set(task, {"short": b"s"}, 10)
    names = list(raw.scan_iter("dagcelery:{cache:*"))
    assert len(names) == 5
    lives = {name.rpartition(b":")[2]: raw.ttl(name) for name in names}
    assert lives.pop(b"short") <= 10
    assert all(990 < left <= 1000 for left in lives.values())


def test_names_of_what_has_expired_do_not_pile_up(redis_store: Store, raw: redis.Redis, task: str) -> None:
    redis_store.fleet.cache.set(task, {"still there": b"x"}, 60)
    redis_store.fleet.cache.set(task, {f"old {number}": b"x" for number in range(1000)}, 0.3)
    until = time.monotonic() + 30
    while len(list(raw.scan_iter("dagcelery:{cache:*:*"))) > 1:
        assert time.monotonic() < until
    redis_store.fleet.cache.set(task, {str(number): b"x" for number in range(1000)}, 60)
    assert redis_store.fleet.cache.delete(task) == 1001


def test_a_large_result_of_which_a_part_is_gone_is_not_there(redis_store: Store, raw: redis.Redis, task: str) -> None:
    redis_store.fleet.cache.set(task, {"large": b"l" * 700_000}, 60)
    (chunks,) = raw.scan_iter("dagcelery:{cache:*:x:*")
    raw.hdel(chunks, "0")
    assert redis_store.fleet.cache.get(task, ["large"]) == [None]
    raw.delete(chunks)
    assert redis_store.fleet.cache.get(task, ["large"]) == [None]


def test_a_worker_that_dies_before_a_large_result_has_its_name_has_kept_nothing(
    redis_store: Store, raw: redis.Redis, task: str
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    server: Any = Between(redis_store.server, die)
    with pytest.raises(KeyboardInterrupt):
        ServerCache(server).set(task, {"large": b"l" * 700_000}, 60)
    assert redis_store.fleet.cache.get(task, ["large"]) == [None]
    assert [raw.ttl(name) > 0 for name in raw.scan_iter("dagcelery:{cache:*")] == [True]


def test_a_lost_reply_changes_nothing(server: Server, raw: redis.Redis, task: str) -> None:
    proxy = Proxy(server.url)
    deaf = store_on_redis(proxy.url)
    proxy.swallow()
    deaf.fleet.cache.set(task, {"a": b"1"}, 60)
    proxy.swallow(b"MGET")
    assert deaf.fleet.cache.get(task, ["a"]) == [b"1"]
    proxy.swallow()
    deaf.fleet.cache.delete(task)
    assert deaf.fleet.cache.get(task, ["a"]) == [None]
    assert proxy.swallowed == 3
    deaf.close()
    proxy.close()


def test_what_a_pointer_names_is_read_as_bytes_and_never_trusted(
    redis_store: Store, raw: redis.Redis, task: str
) -> None:
    redis_store.fleet.cache.set(task, {"a": b"1"}, 60)
    (name,) = raw.scan_iter("dagcelery:{cache:*:a")
    raw.set(name, STAGED + b"nowhere", ex=60)
    assert redis_store.fleet.cache.get(task, ["a"]) == [None]


# -- in memory -----------------------------------------------------------------------------------
def test_a_process_keeps_so_many_bytes_and_drops_what_is_oldest() -> None:
    cache = MemoryCache(most_bytes=10)
    for name in "abc":
        cache.set("t", {name: b"1234"}, 60)
    assert cache.get("t", list("abc")) == [None, b"1234", b"1234"]
    cache.set("t", {"d": b"x" * 11}, 60)
    assert cache.get("t", list("bcd")) == [None, None, None]
