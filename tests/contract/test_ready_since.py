"""A claim says for how long its piece was ready, which nobody notes for what is claimed at once."""

from __future__ import annotations

import pytest

from dagcelery.store.protocol import Store
from dagcelery.store.records import ROOT, Lost

from .moves import Body, Worker, begun, body, chain, pass_time, retry, step


def make_older(store: Store, run_id: str, seconds: float) -> None:
    """Let what is ready have been so for longer."""
    server, state = store.server, store.server.keys.run(run_id, "s", ROOT)
    for field, at in server.client.hgetall(state).items():
        if field.endswith(b":r"):
            server.client.hset(state, field.decode(), f"{float(at) - seconds:.6f}")
    ranges = store.server.keys.run(run_id, "q", ROOT, 0)
    for number, text in enumerate(server.client.lrange(ranges, 0, -1)):
        what, _, at = text.decode().partition("@")
        server.command("LSET", ranges, number, f"{what}@{float(at) - seconds:.6f}")


def noted(store: Store, run_id: str) -> list[bytes]:
    """Since when steps are ready, as it is kept."""
    return [
        field for field in store.server.client.hkeys(store.server.keys.run(run_id, "s", ROOT)) if field.endswith(b":r")
    ]


def wide(steps: int, **policies: object) -> list[Body]:
    return [body(range(steps), *(step(**policies) for _ in range(steps)))]


def test_what_is_claimed_by_the_call_that_opens_it_has_waited_for_nothing(store: Store) -> None:
    run_id, worker = begun(store, chain(3))
    reply = worker.finish(worker.claim(), worker.want())
    assert (reply.claim.waited, noted(store, run_id)) == (0.0, [])


def test_what_stays_behind_waits_until_it_is_claimed_alone_or_in_a_batch(store: Store) -> None:
    run_id, worker = begun(store, wide(4, f="f"))
    make_older(store, run_id, 60)
    waited = [worker.claim().waited, *(claim.waited for claim in worker.ask(short={"f": 32}).claims)]
    assert waited == [pytest.approx(60, abs=20)] * 4
    assert noted(store, run_id) == []


def test_a_repeated_claim_is_told_the_same(store: Store) -> None:
    run_id, worker = begun(store, wide(1))
    make_older(store, run_id, 60)
    want = worker.want()
    assert store.machine.claim(run_id, want).claim.waited == store.machine.claim(run_id, want).claim.waited > 30


def test_items_wait_since_their_fan_out_was_opened_and_those_that_come_back_since_then(store: Store) -> None:
    run_id, worker = begun(store, [body([0], step(x="$n"))], lists={"$n": 8})
    make_older(store, run_id, 60)
    first = worker.claim(ranges={"0.0": 4})
    store.machine.release(run_id, first, worker.owner)
    again, rest = worker.claim(ranges={"0.0": 4}), worker.claim()
    assert first.waited == pytest.approx(60, abs=20)
    assert again.waited < 30 < rest.waited


def test_a_retry_waits_since_it_was_due(store: Store) -> None:
    run_id, worker = begun(store, wide(1, r=retry(2, 10.0)))
    worker.fail(worker.claim(), retryable=True)
    pass_time(store, run_id, 70)
    assert worker.claim().waited == pytest.approx(60, abs=20)


@pytest.mark.parametrize("items", [-1, 1])
def test_what_was_lost_waits_since_it_was_found_to_be(store: Store, items: int) -> None:
    topology = wide(1) if items < 0 else [body([0], step(x="$n"))]
    run_id, worker = begun(store, topology, lists={} if items < 0 else {"$n": items})
    make_older(store, run_id, 60)
    worker.claim()
    store.machine.sweep(run_id, Lost([worker.owner]), 0)
    assert Worker(store, run_id, "worker-b:1").claim().waited < 30


def test_a_run_that_was_held_has_let_nothing_wait(store: Store) -> None:
    run_id, worker = begun(store, wide(1), held="limit")
    make_older(store, run_id, 60)
    store.machine.admit(run_id)
    assert worker.claim().waited < 30


def test_a_step_of_an_older_version_tells_nothing(store: Store) -> None:
    run_id, worker = begun(store, wide(1))
    store.server.client.hdel(store.server.keys.run(run_id, "s", ROOT), "0:r")
    assert worker.claim().waited is None
