"""What watchers are told: the next event, what is outstanding, how far scopes are, and which runs there are."""

from __future__ import annotations

import asyncio
import math
import threading

import pytest
import redis

from dagcelery.store import fleet
from dagcelery.store.fleet import enroll
from dagcelery.store.in_process import store_in_process
from dagcelery.store.keys import Keys
from dagcelery.store.protocol import Store
from dagcelery.store.records import NewRun, Spot, scope_id

from .moves import Worker, begun, body, chain, entries, new_run, results, retry, step


def test_a_listener_is_told_of_the_next_event(store: Store) -> None:
    run_id, worker = begun(store, chain(2))
    claim, last = worker.claim(), store.reader.events(run_id, "", 10)[-1].id
    with store.reader.listening(run_id) as listen:
        assert listen(0.01, last) == "running"
        finishing = threading.Timer(0.1, worker.finish, [claim])
        finishing.start()
        assert listen(30, last) == "running"
        finishing.join()
    assert [event.piece for event in store.reader.events(run_id, last, 10)] == ["0/0"]


def test_a_listener_on_an_event_loop_hears_the_same(store: Store) -> None:
    run_id, worker = begun(store, chain(1))
    claim, last = worker.claim(), store.reader.events(run_id, "", 10)[-1].id

    async def heard() -> list[str]:
        async with store.reader.alistening(run_id) as listen:
            waiting = asyncio.create_task(listen(30, last))
            await asyncio.to_thread(worker.finish, claim)
            return [await waiting, await listen(30), await listen(0.01, last)]

    assert asyncio.run(heard())[1:] == ["done", "done"]


def test_an_abandoned_listener_on_an_event_loop_ends(store: Store) -> None:
    run_id = new_run(store, chain(1))

    async def abandoned() -> bool:
        async with store.reader.alistening(run_id) as listen:
            waiting = asyncio.create_task(listen(0.1))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            return waiting.cancelled()

    assert asyncio.run(abandoned())


def test_a_listener_that_is_cancelled_at_each_step_leaves_no_connection(redis_store: Store, raw: redis.Redis) -> None:
    run_id, listened = new_run(redis_store, chain(1)), asyncio.Event()
    before = {each["id"] for each in raw.client_list()}

    async def all_gone() -> None:
        while any(each["id"] not in before and each["cmd"] in ("hget", "xread") for each in raw.client_list()):
            await asyncio.sleep(0.01)

    async def listening() -> None:
        async with redis_store.reader.alistening(run_id) as listen:
            await listen(0.01)
            listened.set()
            await asyncio.Event().wait()

    async def abandoned() -> None:
        task = asyncio.create_task(listening())
        await listened.wait()
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
        await asyncio.wait_for(all_gone(), 5)

    asyncio.run(abandoned())


def test_events_that_are_not_kept_any_more_are_said_to_be_missed(redis_store: Store, raw: redis.Redis) -> None:
    run_id, worker = begun(redis_store, chain(4))
    for _ in range(4):
        worker.finish(worker.claim())
    before = list(redis_store.reader.events(run_id, "", 100))
    raw.xtrim(Keys().run(run_id, "e"), maxlen=2, approximate=False)
    for after in ("", before[1].id):
        found = redis_store.reader.events(run_id, after, 100)
        assert [event.kind for event in found] == ["missed", "done", "done"]
    assert redis_store.reader.events(run_id, before[-2].id, 100) == before[-1:]
    assert redis_store.reader.events(run_id, before[-1].id, 100) == []


def test_what_is_outstanding_is_told_alike_by_both_stores(redis_store: Store) -> None:
    topology = [body([0, 1, 2], step(x="$xs"), step(r=retry(2, 3600.0)), step())]
    seen = []
    for store in (store_in_process(), redis_store):
        run_id, worker = begun(store, topology, lists={"$xs": 3})
        other = Worker(store, run_id, "worker-b:1")
        assert store.reader.outstanding(run_id).claimed == []
        item = worker.claim(focus="0/0", only=True)
        once = other.claim(focus="0/1", only=True)
        claimed = sorted((*spot[:4], spot.owner) for spot in store.reader.outstanding(run_id).claimed)
        other.fail(once, retryable=True)
        store.machine.block(run_id, other.claim(focus="0/2", only=True), other.owner, 3600.0)
        found = store.reader.outstanding(run_id)
        worker.fail(item)
        places = [[spot[:4] for spot in spots] for spots in (found.retrying, found.blocked)]
        are_due = all(spot.at > 0 for spot in (*found.claimed, *found.retrying, *found.blocked))
        seen.append([claimed, *places, are_due, store.reader.outstanding(run_id).failed])
    assert seen[0] == seen[1]
    assert seen[0] == [
        [("0", 0, 0, 1, worker.owner), ("0", 1, -1, -1, other.owner)],
        [("0", 1, -1, -1)],
        [("0", 2, -1, -1)],
        True,
        [Spot("0", 0, 0, 1)],
    ]


def test_how_far_scopes_are_is_told_alike_by_both_stores(redis_store: Store) -> None:
    topology = [body([0], step(s=[1], x="$xs", b=1), step(1)), body([0], step(s=[1]), step(1, x="^$xs"))]
    seen = []
    for store in (store_in_process(), redis_store):
        run_id = new_run(store, topology, lists={"$xs": 2})
        worker, pictures = Worker(store, run_id), []
        scopes = {"0": [0, 1], **{scope_id(run_id, "0", 0, i): [0, 1] for i in (0, 1)}}
        for _ in worker.pieces(topology, lambda g: {"blocks": results(g)} if g.lo >= 0 and g.scope.id != "0" else {}):
            within = store.reader.within(run_id, scopes)
            pictures.append(
                [
                    [(at, c.total, c.done, c.skipped, c.ended > 0) for at, c in within[scope].items()]
                    for scope in scopes
                    if scope in within
                ]
            )
        seen.append(pictures)
    assert seen[0] == seen[1]
    assert seen[0][-1][1:] == [[(-2, 1, 1, 0, False), (0, 1, 1, 0, True), (1, 2, 2, 0, False)]] * 2
    assert len(seen[0][0]) < 3 == len(seen[0][-1])


def test_nothing_is_outstanding_of_an_unknown_run(store: Store) -> None:
    found = store.reader.outstanding("nobody")
    assert [*found.claimed, *found.failed, *found.retrying, *found.blocked] == []
    assert store.reader.within("nobody", {"0": [0]}) == {}


def test_runs_are_listed_newest_first(store: Store) -> None:
    made = [new_run(store, chain(1), name=name) for name in ("a", "b", "a")]
    everything = store.fleet.runs("", math.inf, 10)
    assert [run.id for run in everything] == made[::-1]
    assert [run.record.name for run in everything if run.record] == ["a", "b", "a"]
    assert [run.id for run in store.fleet.runs("a", math.inf, 10)] == [made[2], made[0]]
    assert [run.id for run in store.fleet.runs("", everything[1].created, 1)] == [made[1]]
    store.machine.delete(made[2])
    assert [run.id for run in store.fleet.runs("a", math.inf, 10)] == [made[0]]
    assert store.fleet.runs("c", math.inf, 10) == []


def test_a_run_that_is_created_again_keeps_its_place(store: Store) -> None:
    first, second = new_run(store, chain(1)), new_run(store, chain(1))
    store.machine.create(NewRun(first, "test", b"plan", entries(chain(1))))
    assert [run.id for run in store.fleet.runs("", math.inf, 10)] == [second, first]


def test_lists_of_runs_hold_the_newest_ones(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "_LISTED_RUNS", 2)
    made = [new_run(store, chain(1), name="a") for _ in range(4)]
    for name in ("", "a"):
        assert [run.id for run in store.fleet.runs(name, math.inf, 10)] == made[:1:-1]


def test_who_dies_after_enrolling_a_run_leaves_an_entry_that_goes_by_itself(
    redis_store: Store, raw: redis.Redis
) -> None:
    redis_store.server.run_together([enroll("never-created", "a")])
    assert [run.record for run in redis_store.fleet.runs("", math.inf, 10)] == [None]
    raw.zadd(Keys().runs(), {"never-created": 1.0})
    assert redis_store.fleet.runs("", math.inf, 10)[0].record is None
    assert redis_store.fleet.runs("", math.inf, 10) == []


def test_what_has_expired_is_listed_no_longer_once_others_are_listed(redis_store: Store, raw: redis.Redis) -> None:
    alive = new_run(redis_store, chain(1), name="a")
    redis_store.server.run_together([enroll(f"gone-{number}", "a") for number in range(8)])
    lists = raw.keys(Keys().runs() + "*")
    for name in lists:
        for run_id in raw.zrange(name, 0, -1):
            raw.zincrby(name, -3600, run_id)
    for _ in range(200):
        redis_store.server.run_together([enroll("written-just-now", "a")])
    assert [raw.zrange(name, 0, -1) for name in lists] == [[alive.encode(), b"written-just-now"]] * 2
