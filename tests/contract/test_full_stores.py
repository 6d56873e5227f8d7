"""A store that is full refuses what takes room, as a whole, and nothing that makes room or says that a worker lives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import redis

from dagcelery.errors import StoreFull
from dagcelery.local.server import Server
from dagcelery.store.protocol import Store
from dagcelery.store.records import Lost
from dagcelery.store.redis import store_on_redis

from .moves import Worker, begun, body, chain, hooked, new_run, state_after, step

KEEPING_OUTPUTS = [body([0], step(s=[1]), step(1, needs=["0.0"]))]
KEEPING_OUTPUTS[0]["start"]["kp"] = True


@pytest.fixture
def fill(raw: redis.Redis) -> Iterator[Callable[[int], object]]:
    """Sets how many bytes the server may keep; 1 makes it full, whatever it keeps."""
    yield lambda maximum: raw.config_set("maxmemory", maximum)
    raw.config_set("maxmemory", 0)


def everything(raw: redis.Redis) -> dict[bytes, object]:
    return {name: raw.dump(name) for name in raw.scan_iter()}


def test_what_takes_room_is_refused_as_a_whole_and_done_when_there_is_some(
    redis_store: Store, raw: redis.Redis, fill: Callable[[int], object]
) -> None:
    topology = [body([0, 1], step(x="$xs", s=[2]), step(s=[2]), step(2))]
    run_id, worker = begun(redis_store, topology, lists={"$xs": 9})
    items, single = worker.claim(focus="0/0"), worker.claim(focus="0/1")
    before = everything(raw)
    fill(1)
    for refused in (
        lambda: new_run(redis_store, chain(1)),
        lambda: worker.claim(focus="0/0"),
        lambda: worker.finish(single, values={"1.0": b"v"}),
        lambda: worker.finish(single),
        lambda: worker.fail(items),
        lambda: redis_store.machine.resume(run_id),
        lambda: redis_store.machine.reserve("orders", run_id, 60),
    ):
        with pytest.raises(StoreFull, match=r"is full: .*; delete runs that are over"):
            refused()
    assert everything(raw) == before
    fill(0)
    assert worker.finish(single).state == "committed"


def test_a_full_store_says_so_to_whom_may_ask(
    server: Server, redis_store: Store, raw: redis.Redis, fill: Callable[[int], object]
) -> None:
    assert redis_store.fleet.used_up() is None
    fill(1)
    used, most = redis_store.fleet.used_up() or (0, 0)
    assert used > most == 1
    raw.acl_setuser("curious", enabled=True, nopass=True, keys="*", commands=["+@all", "-info"])
    with closing(store_on_redis(server.url.replace("redis://:", "redis://curious:"))) as store:
        assert store.fleet.used_up() is None
    raw.acl_deluser("curious")


def test_a_run_can_be_ended_and_deleted_in_a_full_store(
    redis_store: Store, raw: redis.Redis, fill: Callable[[int], object]
) -> None:
    late = new_run(redis_store, hooked(*chain(2)), deadline_seconds=0.0)
    run_id, worker = begun(redis_store, KEEPING_OUTPUTS)
    worker.finish(worker.claim(), values={"0.0": b"not needed"})
    worker.finish(worker.claim())
    other, _ = begun(redis_store, chain(1), values={"$x": b"x" * 1_000_000})
    fill(1)
    assert redis_store.machine.end(other, "cancelled", "it is full").run == "cancelled"
    assert redis_store.machine.sweep(late, Lost(), 1).run == "timed_out"
    redis_store.machine.collect_garbage(run_id)
    assert list(redis_store.reader.values(run_id, "0", ["0.0"])) == [None]
    redis_store.machine.expire(run_id, 50)
    with redis_store.reader.listening(other) as listen:
        redis_store.machine.delete(other)
        assert listen(1) == "gone"
    assert [name for name in raw.scan_iter() if other.encode() in name] == []


def test_workers_are_heard_and_give_back_in_a_full_store(
    redis_store: Store, raw: redis.Redis, fill: Callable[[int], object]
) -> None:
    run_id, _ = begun(redis_store, chain(1))
    Worker(redis_store, run_id, "worker-d:1").claim()
    fleet = redis_store.fleet
    fleet.cache.set("m:f", {"kept": b"result"}, 60)
    fleet.enter("limit", "member", "waiter", 1)
    fleet.enter("limit", "other", "waiter", 1)
    fleet.spills(run_id)
    fleet.heartbeat("worker-a", ["cpu"], 1)
    fill(1)
    fleet.heartbeat("worker-a", ["cpu", "gpu"], 2)
    assert fleet.workers()["worker-a"]["queues"] == ["cpu", "gpu"]
    assert list(fleet.due(10, 0)) == [run_id]
    assert redis_store.machine.sweep(run_id, Lost(["worker-d"]), 1).released == 1
    assert fleet.leave("limit", "member", 1) == ["waiter"]
    assert fleet.cache.delete("m:f") == 1
    assert fleet.spilled(10, 0) == [run_id]
    fleet.unspilled(run_id)
    fleet.retire("worker-a")
    assert fleet.workers() == {}


def test_ready_work_is_announced_again_as_soon_as_there_is_room(
    redis_store: Store, fill: Callable[[int], object]
) -> None:
    run_id = new_run(redis_store, chain(1))
    assert [redis_store.machine.sweep(run_id, Lost(), 600).wake_ups for _ in range(2)] == [["cpu"], []]
    fill(1)
    assert redis_store.machine.sweep(run_id, Lost(), 600).wake_ups == [], "a worker could not claim it"
    fill(0)
    assert redis_store.machine.sweep(run_id, Lost(), 600).wake_ups == ["cpu"]
    assert state_after(redis_store, run_id) == "pending"
