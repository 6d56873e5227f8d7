"""Every key of a run has a time to live, shares the run's hash tag, is registered, and goes with the run."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import redis

from dagcelery.store.keys import Keys
from dagcelery.store.protocol import Store
from dagcelery.store.records import CLOSE, Block, Claim, Lost, NewRun, Spot
from dagcelery.store.run_adapters import MachineAdapter

from .between import between
from .conftest import check_keys
from .moves import (
    Worker,
    begun,
    body,
    chain,
    drain,
    elements,
    entries,
    hooked,
    new_run,
    outliving,
    results,
    retry,
    state_after,
    step,
)

ALL = [
    body(
        [0, 1, 5],
        step(s=[2], needs=["$big"]),
        step(s=[2], x="$xs", se=[3], each=["$xs"]),
        step(2, x="$xs", b=1),
        step(1, x="$xs", e=2, each=["1.0"]),
        step(q="gpu"),
        step(s=[3], x="$xs", se=[3]),
    ),
    body([0], step(s=[1], needs=["^$big", "$x"]), step(1, x="^$xs", each=["^$xs"])),
]
ALL[0]["start"]["s"] = [0, 1, 4, 5]


def produce(claim: Claim) -> Mapping[str, Any]:
    """Outputs of all sizes."""
    if claim.step == CLOSE:
        scope = claim.scope
        return {"blocks": [Block(f"{scope.step}.0", scope.index, scope.index + 1, claim.attempt, b"r" * 600_000)]}
    if claim.scope.body == 0 and claim.step == 2:
        return {"values": {"$x": b"x" * 600_000}}
    if claim.lo >= 0:
        return {"blocks": [Block(b.token, b.lo, b.hi, b.attempt, b.data * 3000) for b in results(claim)]}
    return {"values": {f"{claim.step}.0": b"v" * 700_000}, "lists": {f"{claim.step}.1": 0}}


class Checks:
    """Looks at all keys after every call of a script."""

    def __init__(self, raw: redis.Redis) -> None:
        self.raw = raw
        self.calls = 0

    def __call__(self, call: Callable[[], Any], *_: Any) -> Any:
        answer = call()
        check_keys(self.raw)
        self.calls += 1
        return answer


@pytest.fixture
def checks(raw: redis.Redis) -> Checks:
    return Checks(raw)


@pytest.fixture
def checked(redis_store: Store, checks: Checks) -> Store:
    return between(redis_store, checks)


def test_every_key_lives_for_a_time_after_every_verb(checked: Store, checks: Checks, raw: redis.Redis) -> None:
    run = {"values": {"$big": b"b" * 1_500_000}, "lists": {"$xs": 5}, "blocks": elements("$xs", [b"e"] * 5)}
    run_id, worker = begun(checked, ALL, **run)
    for focus in ("0/1", "0/5", "0/0"):
        checked.machine.release(run_id, worker.claim(focus=focus), worker.owner)
    Worker(checked, run_id, "worker-d:1").claim(focus="0/1", ranges={"0.1": 4})
    checked.machine.wake_ups(run_id, "cpu", 8)
    checked.machine.sweep(run_id, Lost(["worker-d"]), 1)
    drain(checked, run_id, ALL, produce=produce, ranges={"0.1": 3, "0.2": 2, "0.3": 2})
    assert state_after(checked, run_id) == "done"
    assert checks.calls > 50
    failing = new_run(checked, ALL, **run)
    worker = Worker(checked, failing)
    worker.finish(worker.claim(), failure=b"boom")
    checked.fleet.heartbeat("worker-a", ["cpu"], 1)
    check_keys(raw)


def test_every_key_lives_for_a_time_amid_all_kinds_of_trouble(checked: Store, checks: Checks, raw: redis.Redis) -> None:
    policies: dict[str, Any] = {"r": retry(2, limit=True), "tl": 1.0, "sw": 0.001, "ms": 0.8}
    topology = hooked(*outliving(body([0, 1], step(x="$xs", **policies), step(r=retry(2)))))
    run_id = new_run(checked, topology, lists={"$xs": 5}, held="key", reservation="orders", ttl_seconds=1000)
    checked.machine.reserve("orders", run_id, 1000)
    checked.machine.admit(run_id)
    worker, dead = Worker(checked, run_id), Worker(checked, run_id, "worker-d:1")
    for limited in (False, True, True):
        dead.claim()
        checked.machine.sweep(run_id, Lost(["worker-d"], limited=limited), 1, 1)
    for _ in range(2):
        while (claim := worker.ask().claim) is not None:
            marker = [Block("0.0", claim.lo, claim.lo + 1, claim.attempt, b"-")] if claim.lo >= 0 else []
            worker.fail(claim, markers={"0": marker}, retryable=True)
        assert state_after(checked, run_id) == "failed"
        assert checked.machine.resume(run_id)
    drain(checked, run_id, topology)
    assert state_after(checked, run_id) == "done"
    assert {b"u", b"z", b"y", b"d", b"f"} <= raw.smembers(Keys().run(run_id, "k"))


def test_a_resumed_run_lives_as_long_as_a_new_one(redis_store: Store, raw: redis.Redis) -> None:
    run_id = new_run(redis_store, chain(700), ttl_seconds=1000, reservation="orders")
    redis_store.machine.reserve("orders", run_id, 1000)
    worker = Worker(redis_store, run_id)
    worker.fail(worker.claim())
    redis_store.machine.expire(run_id, 50)
    names = [name for name in raw.scan_iter() if run_id.encode() in name or b"key:" in name]
    assert all(40 < raw.ttl(name) <= 50 for name in names if not name.endswith(b":w"))
    redis_store.machine.resume(run_id)
    assert all(raw.ttl(name) > 990 for name in names if raw.exists(name))


def test_a_run_that_is_done_soon_has_few_keys_and_can_be_taken_up_again(checked: Store, raw: redis.Redis) -> None:
    run_id, worker = begun(checked, chain(1))
    claim = worker.claim()
    reply = worker.finish(claim, worker.want(keep_seconds=1000), values={"0.0": b"v"})
    assert (reply.run, reply.is_settled) == ("done", True)

    def below() -> dict[str, int]:
        return {name.decode().rpartition("}")[2]: raw.ttl(name) for name in raw.scan_iter(f"*{run_id}*")}

    assert sorted(below()) == ["", ":e", ":o:0", ":s:0", ":t", ":w"]
    assert {name for name, seconds in below().items() if seconds <= 60} == {":t", ":w"}
    assert raw.memory_usage(Keys().run(run_id, "e")) < 1000
    raw.delete(Keys().run(run_id, "t"), Keys().run(run_id, "w"))  # as time does
    assert worker.finish(claim, worker.want(), values={"0.0": b"w"}).state == "stale"
    assert below()[":t"] <= 60
    assert checked.machine.clear(run_id, [Spot("0", 0)])
    assert checked.machine.resume(run_id)
    raw.delete(Keys().run(run_id, "w"))
    assert min(below().values()) > 1000
    drain(checked, run_id, chain(1))
    assert state_after(checked, run_id) == "done"


def test_what_the_last_call_counts_lives_for_a_time_too(redis_store: Store, raw: redis.Redis) -> None:
    run_id, worker = begun(redis_store, chain(1))
    worker.finish(worker.claim(), worker.want(keep_seconds=1000), cached=1)
    check_keys(raw)
    assert raw.hget(Keys().run(run_id, "n"), "0.0:c") == b"1"


def test_a_run_that_failed_keeps_what_it_goes_on_with(redis_store: Store, raw: redis.Redis) -> None:
    run_id, worker = begun(redis_store, chain(2))
    worker.fail(worker.claim())
    redis_store.machine.expire(run_id, 1000)
    raw.delete(Keys().run(run_id, "t"))
    assert raw.zcard(Keys().run(run_id, "r", "cpu")) == raw.hlen(Keys().run(run_id, "c")) == 1
    assert redis_store.machine.resume(run_id)
    check_keys(raw)
    drain(redis_store, run_id, chain(2))
    assert state_after(redis_store, run_id) == "done"


def test_a_run_that_lost_its_key_to_another_leaves_it_alone(redis_store: Store, raw: redis.Redis) -> None:
    run_id = new_run(redis_store, chain(1), reservation="orders")
    redis_store.machine.reserve("orders", run_id, 1000)
    redis_store.machine.reserve("orders", "another", 1000, instead_of=run_id)
    redis_store.machine.expire(run_id, 50)
    assert all(raw.ttl(name) > 990 for name in raw.scan_iter("dagcelery:key:*"))


def test_all_keys_of_a_run_share_its_hash_tag_and_are_deleted_with_it(redis_store: Store, raw: redis.Redis) -> None:
    run_id = new_run(redis_store, ALL, values={"$big": b"b" * 1_500_000}, lists={"$xs": 12})
    drain(redis_store, run_id, ALL, produce=produce, ranges={"0.1": 3})
    other = new_run(redis_store, chain(2))
    mine = [name for name in raw.scan_iter() if run_id.encode() in name]
    assert len(mine) > 30
    assert all(name.startswith(b"dagcelery:{%s}" % run_id.encode()) for name in mine)
    before = [name for name in raw.scan_iter() if other.encode() in name]
    redis_store.machine.delete(run_id)
    assert [name for name in raw.scan_iter() if run_id.encode() in name] == []
    assert sorted(name for name in raw.scan_iter() if other.encode() in name) == sorted(before)
    assert raw.zscore("dagcelery:active", run_id) is None


def test_what_is_written_for_a_deleted_run_is_nothing(redis_store: Store, raw: redis.Redis) -> None:
    run_id, worker = begun(redis_store, chain(2))
    claim = worker.claim()
    redis_store.machine.delete(run_id)
    large = elements("0.1", [b"y" * 600_000] * 3, attempt=1)
    reply = worker.finish(claim, worker.want(), values={"0.0": b"x" * 2_000_000}, blocks=large)
    assert (reply.state, reply.run, reply.claim) == ("stale", "gone", None)
    assert [name for name in raw.scan_iter() if run_id.encode() in name] == []


def test_a_sweep_renews_the_time_of_an_unfinished_run(redis_store: Store, raw: redis.Redis) -> None:
    run_id = new_run(redis_store, chain(700), ttl_seconds=1000)
    names = [name for name in raw.scan_iter() if run_id.encode() in name]
    redis_store.machine.sweep(run_id, Lost(), 1)
    for name in names:
        raw.expire(name, 400)
    redis_store.machine.sweep(run_id, Lost(), 1)
    assert all(raw.ttl(name) > 990 for name in names)
    for name in names:
        raw.expire(name, 400)
    redis_store.machine.end(run_id, "cancelled", "enough")
    redis_store.machine.sweep(run_id, Lost(), 1)
    assert all(raw.ttl(name) <= 400 for name in names if not name.endswith(b":w"))


def test_a_run_is_abandoned_when_for_its_ttl_nothing_has_happened_and_nothing_is_to_come(redis_store: Store) -> None:
    machine, ttl = redis_store.machine, 3  # longer than a busy machine stands still

    def failed(base: float) -> str:
        run_id, worker = begun(redis_store, [body([0], step(r=retry(2, base)))], ttl_seconds=ttl)
        worker.fail(worker.claim(), retryable=True)
        return run_id

    idle = new_run(redis_store, chain(2), ttl_seconds=ttl)
    busy, worker = begun(redis_store, chain(2), ttl_seconds=ttl)
    claim = worker.claim()
    blocked, limited = begun(redis_store, chain(1), ttl_seconds=ttl)
    machine.block(blocked, limited.claim(), limited.owner, 60)
    living = [
        busy,
        blocked,
        failed(60),
        came_due := failed(3.9),
        new_run(redis_store, chain(1), ttl_seconds=ttl, held="limit"),
        new_run(redis_store, chain(1), ttl_seconds=ttl, held="key"),
        new_run(redis_store, [body([0], step(q="gpu"))], ttl_seconds=ttl),
    ]
    lost = Lost(alive={"worker-b": (time.time(), [])}, since={"worker-b": {"gpu": 1.0}})
    for _ in range(6):
        time.sleep(0.75)
        assert [run_id for run_id in living if machine.sweep(run_id, lost, 60).run in ("timed_out", "gone")] == []
        machine.sweep(idle, Lost(), 60)  # does not know which workers live
        assert redis_store.reader.record(idle) is not None
    assert machine.sweep(idle, lost, 60).run == "timed_out"
    why = r"nothing happened for \d+ s, DAGCELERY_TTL_SECONDS=3; it waited for a worker of queue cpu"
    assert re.fullmatch(why, redis_store.reader.record(idle).reason)
    assert worker.finish(claim).run == "running"
    for _ in range(5):
        time.sleep(0.75)
        last = machine.sweep(came_due, lost, 60)
    assert last.run == "timed_out", "no worker came for what was due"


def test_an_active_run_that_was_never_created_is_forgotten(redis_store: Store, raw: redis.Redis) -> None:
    raw.zadd("dagcelery:active", {"half-made": 1})
    run_id = new_run(redis_store, chain(1))
    assert list(redis_store.fleet.due(10, 0)) == [run_id]
    assert raw.zscore("dagcelery:active", "half-made") is None


def test_a_run_is_known_as_active_before_it_exists(redis_store: Store, raw: redis.Redis) -> None:
    known: list[bool] = []

    def around(call: Callable[[], Any], verb: str, *_: Any) -> Any:
        if verb == "create":
            known.append(raw.zscore("dagcelery:active", "early") is not None)
        return call()

    between(redis_store, around).machine.create(NewRun("early", "early", b"p", entries(chain(1))))
    assert known == [True]


@pytest.mark.parametrize("lost", ["enroll", "create", "look"])
def test_a_client_that_dies_amid_creating_leaves_nothing_that_is_not_looked_at(
    lost: str, redis_store: Store, raw: redis.Redis
) -> None:
    class Died(Exception):
        pass

    def around(call: Callable[[], Any], verb: str, *_: Any) -> Any:
        if verb == lost:
            raise Died
        return call()

    with pytest.raises(Died):
        between(redis_store, around).machine.create(NewRun("early", "early", b"p", entries(chain(1))))
    check_keys(raw)
    is_there = redis_store.reader.record("early") is not None
    assert (is_there, raw.zscore("dagcelery:active", "early") is not None) == (lost == "look", lost != "enroll")
    if lost != "enroll":
        raw.zincrby("dagcelery:active", -60, "early")  # its minute is over
    assert list(redis_store.fleet.due(10, 0)) == (["early"] if is_there else [])


def test_a_small_run_is_created_with_one_round_trip(redis_store: Store) -> None:
    asked: list[str] = []

    class Seen:
        keys = redis_store.server.keys

        def __getattr__(self, name: str) -> Any:
            asked.append(name)
            return getattr(redis_store.server, name)

    server: Any = Seen()
    MachineAdapter(server).create(NewRun("small", "small", b"p", entries(ALL), values={"$big": b"b"}, lists={"$xs": 0}))
    assert asked == ["run_together"]
