"""A run may be held: it is all there, and nothing of it is claimed until it is admitted."""

from __future__ import annotations

import time

import pytest
import redis

from dagcelery.store.keys import Keys
from dagcelery.store.protocol import Store
from dagcelery.store.records import HOOK, Lost

from .moves import Worker, begun, body, chain, drain, hooked, new_run, pass_time, state_after, step

TOPOLOGY = [body([0, 1, 2], step(s=[3]), step(x="$xs"), step(q="gpu"), step(1))]


def held(store: Store, run_id: str) -> str:
    return store.reader.record(run_id).held


def test_nothing_of_a_held_run_is_claimed_or_hinted_at(store: Store) -> None:
    run_id, worker = begun(store, TOPOLOGY, lists={"$xs": 3}, held="key")
    reply = worker.ask()
    assert (reply.run, reply.claim) == ("pending", None)
    assert store.machine.wake_ups(run_id, "cpu", 8) == 0
    assert store.machine.sweep(run_id, Lost(), 1).wake_ups == []
    assert held(store, run_id) == "key"


def test_what_is_admitted_may_start_and_is_named(store: Store) -> None:
    run_id = new_run(store, TOPOLOGY, lists={"$xs": 3}, held="key")
    reply = store.machine.admit(run_id)
    assert (reply.state, reply.run) == ("none", "pending")
    opened = sorted((o.scope, o.body, o.step, o.queue, o.items) for o in reply.opened)
    assert opened == [("0", 0, 0, "cpu", -1), ("0", 0, 1, "cpu", 3), ("0", 0, 2, "gpu", -1)]
    assert held(store, run_id) == ""
    drain(store, run_id, TOPOLOGY)
    assert state_after(store, run_id) == "done"


def test_admitting_again_answers_alike_until_something_is_claimed(store: Store) -> None:
    run_id = new_run(store, TOPOLOGY, lists={"$xs": 3}, held="key")
    first = store.machine.admit(run_id)
    assert sorted(map(repr, store.machine.admit(run_id).opened)) == sorted(map(repr, first.opened))
    Worker(store, run_id, queue="gpu").claim()
    assert sorted(o.step for o in store.machine.admit(run_id).opened) == [0, 1]


def test_a_run_that_is_over_or_gone_has_nothing_to_start(store: Store) -> None:
    run_id = new_run(store, chain(1), held="key")
    store.machine.end(run_id, "cancelled", "enough")
    reply = store.machine.admit(run_id)
    assert (reply.run, list(reply.opened)) == ("cancelled", [])
    assert store.machine.admit("nobody").run == "gone"


def test_the_end_of_a_held_run_calls_its_hook(store: Store) -> None:
    run_id = new_run(store, hooked(*chain(1)), held="key")
    assert [o.step for o in store.machine.end(run_id, "cancelled", "enough").opened] == [HOOK]
    assert store.machine.sweep(run_id, Lost(), 1).wake_ups == ["cpu"]
    worker = Worker(store, run_id)
    assert worker.finish(worker.claim(), worker.want()).claim is None


def test_a_held_run_may_pass_its_deadline(store: Store) -> None:
    run_id = new_run(store, chain(1), held="key", deadline_seconds=0.0)
    assert store.machine.sweep(run_id, Lost(), 1).run == "timed_out"


def test_the_time_to_start_does_not_pass_while_a_run_is_held(store: Store) -> None:
    run_id = new_run(store, [body([0], step(sw=30.0))], held="key")
    pass_time(store, run_id, 31)
    assert not store.machine.sweep(run_id, Lost(), 1).poisoned
    store.machine.admit(run_id)
    assert not store.machine.sweep(run_id, Lost(), 1).poisoned
    pass_time(store, run_id, 31)
    store.machine.admit(run_id)
    pass_time(store, run_id, 31)
    assert store.machine.sweep(run_id, Lost(), 1).poisoned == [("cpu", "0/0")]


def test_a_run_whose_submitter_went_away_is_started_by_whoever_resumes_it(store: Store) -> None:
    run_id = new_run(store, chain(1), held="key")
    store.machine.end(run_id, "cancelled", "its submitter went away before it could start")
    assert store.machine.resume(run_id)
    assert held(store, run_id) == ""
    assert drain(store, run_id, chain(1)) == ["0"]


def test_a_run_that_is_held_for_another_reason_stays_so_when_resumed(store: Store) -> None:
    run_id = new_run(store, chain(1), held="full")
    store.machine.end(run_id, "cancelled", "enough")
    assert store.machine.resume(run_id)
    assert held(store, run_id) == "full"
    assert Worker(store, run_id).nothing()


@pytest.mark.parametrize("reservation", ["orders", "", "a:b {c}"])
def test_a_key_stands_for_one_run(store: Store, reservation: str) -> None:
    assert [store.machine.reserve(reservation, run, 60) for run in ("a", "b", "a")] == ["a", "a", "a"]
    assert [store.machine.reserve(reservation, "b", 60, instead_of="a") for _ in range(2)] == ["b", "b"]
    assert store.machine.reserve(reservation, "c", 60, instead_of="a") == "b", "another was faster"
    assert store.machine.reserve(reservation, "a", 60) == "b"


def test_a_run_whose_submitter_went_away_an_hour_ago_is_cancelled(redis_store: Store, raw: redis.Redis) -> None:
    for reason, expected in (("key", "cancelled"), ("full", "pending")):
        run_id = new_run(redis_store, chain(1), held=reason)
        raw.hset(Keys().run(run_id), "created", time.time() - 3601)
        assert redis_store.machine.sweep(run_id, Lost(), 1).run == expected
    run_id = new_run(redis_store, chain(1), held="key")
    redis_store.machine.end(run_id, "cancelled", "its submitter went away before it could start")
    redis_store.machine.resume(run_id)
    raw.hset(Keys().run(run_id), "created", time.time() - 3601)
    assert redis_store.machine.sweep(run_id, Lost(), 1).run == "running"
