"""A failure that may be retried is no failure yet: the piece comes back when it is due, as a higher attempt."""

from __future__ import annotations

from typing import Any

import pytest

from dagcelery.store.protocol import Store
from dagcelery.store.records import Lost

from .moves import Worker, begun, body, new_run, outliving, pass_time, results, retry, state_after, step


def counts(store: Store, run_id: str, number: int = 0) -> tuple[int, int, int, int, int]:
    """Of a step of body 0: running, done, failed, retrying, skipped."""
    found = store.reader.progress(run_id).counts[0, number]
    return found.running, found.done, found.failed, found.retrying, found.skipped


def kinds(store: Store, run_id: str) -> list[tuple[str, str, int]]:
    return [(e.kind, e.piece, e.attempt) for e in store.reader.events(run_id, "", 1000)]


def test_a_piece_that_may_be_retried_waits_for_its_time(store: Store) -> None:
    run_id, worker = begun(store, [body([0], step(s=[1], r=retry(3, 30.0)), step(1))])
    reply = worker.fail(worker.claim(), worker.want(), retryable=True)
    assert (reply.state, reply.run, reply.retry_seconds, reply.claim) == ("retried", "running", 30.0, None)
    assert counts(store, run_id) == (0, 0, 0, 1, 0)
    assert worker.nothing()
    pass_time(store, run_id, 31)
    claim = worker.claim()
    assert (claim.step, claim.attempt) == (0, 2)
    assert counts(store, run_id) == (1, 0, 0, 0, 0)
    assert worker.finish(claim).state == "committed"
    assert counts(store, run_id) == (0, 1, 0, 0, 0)
    assert kinds(store, run_id)[1:] == [("retried", "0/0", 1), ("done", "0/0", 2)]


def test_a_piece_is_called_as_often_as_its_policy_says(store: Store) -> None:
    run_id, worker = begun(store, [body([0], step(r=retry(3)))])
    verdicts = [worker.fail(worker.claim(), failure=b"%d" % n, retryable=True) for n in (1, 2, 3)]
    assert [(r.state, r.run) for r in verdicts] == [("retried", "running")] * 2 + [("committed", "failed")]
    assert store.reader.failures(run_id) == {"0/0@1": b"1", "0/0@2": b"2", "0/0": b"3"}


def test_waits_grow_by_the_factor_up_to_the_cap(store: Store) -> None:
    run_id = new_run(store, [body([0], step(r=retry(9, 1.0, 10.0, 50.0)))])
    worker, waits = Worker(store, run_id), []
    for _ in range(4):
        reply = worker.fail(worker.claim(), retryable=True)
        waits.append(reply.retry_seconds)
        pass_time(store, run_id, 51)
    assert waits == [pytest.approx(wait) for wait in (1.0, 10.0, 50.0, 50.0)]


@pytest.mark.parametrize("policy", [{}, {"r": retry(9)}])
def test_an_error_that_the_policy_does_not_cover_stands(store: Store, policy: dict[str, Any]) -> None:
    _, worker = begun(store, [body([0], step(**policy))])
    assert worker.fail(worker.claim(), retryable=not policy).run == "failed"


def test_of_a_range_only_the_failed_item_waits(store: Store) -> None:
    run_id, worker = begun(store, [body([0], step(x="$xs", r=retry(2, 30.0)))], lists={"$xs": 8})
    claim = worker.claim(ranges={"0.0": 4})
    assert worker.fail(claim, at=1, retryable=True, blocks=results(claim, 1)).state == "retried"
    assert counts(store, run_id) == (0, 1, 0, 1, 0)
    done = []
    while (held := worker.ask(ranges={"0.0": 9}).claim) is not None:
        done += [(item, held.attempt) for item in range(held.lo, held.hi)]
        worker.finish(held)
    assert sorted(done) == [(item, 1) for item in range(2, 8)]
    pass_time(store, run_id, 31)
    held = worker.claim(ranges={"0.0": 9})
    assert (held.lo, held.hi, held.attempt) == (1, 2, 2)
    worker.finish(held)
    assert state_after(store, run_id) == "done"
    assert counts(store, run_id) == (0, 8, 0, 0, 0)


def test_what_is_due_is_found_by_a_sweep_that_names_its_queue(store: Store) -> None:
    run_id, worker = begun(store, [body([0], step(r=retry(2, 30.0)))])
    worker.fail(worker.claim(), retryable=True)
    assert store.machine.sweep(run_id, Lost(), 60).wake_ups == []
    pass_time(store, run_id, 31)
    assert store.machine.sweep(run_id, Lost(), 60).wake_ups == ["cpu"]
    assert worker.claim().attempt == 2


def test_a_piece_that_waits_is_nobodys_to_commit(store: Store) -> None:
    for fan_out in (False, True):
        entry = step(x="$xs" if fan_out else "", r=retry(3, 30.0))
        run_id = new_run(store, [body([0], entry)], lists={"$xs": 1})
        sleeper, worker = Worker(store, run_id, "worker-s:1"), Worker(store, run_id)
        lost = sleeper.claim()
        store.machine.sweep(run_id, Lost(["worker-s"]), 1)
        again = sleeper.claim()
        assert (lost.attempt, again.attempt) == (1, 2)
        sleeper.fail(again, retryable=True)
        for claim in (lost, again):
            assert sleeper.finish(claim).state == "stale"
        pass_time(store, run_id, 31)
        assert worker.ask().claim is not None
        run_id = new_run(store, [body([0], entry)], lists={"$xs": 1})
        sleeper = Worker(store, run_id, "worker-s:1")
        sleeper.claim()
        store.machine.sweep(run_id, Lost(["worker-s"]), 1)
        again = sleeper.claim()
        sleeper.fail(again, retryable=True)
        pass_time(store, run_id, 31)
        assert store.machine.sweep(run_id, Lost(), 60).wake_ups == ["cpu"]
        assert sleeper.finish(again).state == "stale", "it is ready again, and who has failed takes nothing back"


def test_a_run_that_outlives_failures_waits_for_its_retries(store: Store) -> None:
    topology = outliving(body([0, 1], step(r=retry(2, 30.0)), step(s=[2]), step(1)))
    run_id, worker = begun(store, topology)
    worker.fail(worker.claim(focus="0/0"), retryable=True)
    assert worker.fail(worker.claim(focus="0/1")).run == "running"
    assert worker.ask().run == "running"
    pass_time(store, run_id, 31)
    assert worker.finish(worker.claim()).run == "failed"
    record = store.reader.record(run_id)
    assert (record.failed, record.reason) == ("0/1", "0/1")


def test_a_run_that_outlives_failures_does_all_that_it_can(store: Store) -> None:
    topology = outliving(
        body([0, 1, 2], step(s=[3]), step(s=[4]), step(x="$xs", s=[5]), step(1), step(1, s=[6]), step(1), step(1))
    )
    run_id = new_run(store, topology, lists={"$xs": 4})
    worker, done = Worker(store, run_id), []
    while (claim := worker.ask().claim) is not None:
        if claim.step == 0 or (claim.step == 2 and claim.lo == 1):
            assert worker.fail(claim).state == "committed"
        else:
            done.append((claim.step, claim.lo))
            worker.finish(claim)
    assert sorted(done) == [(1, -1), (2, 0), (2, 2), (2, 3), (4, -1), (6, -1)]
    assert state_after(store, run_id) == "failed"
    assert set(store.reader.failures(run_id)) == {"0/0", "0/2/1"}


def test_a_live_piece_keeps_a_run_that_outlives_failures_open(store: Store) -> None:
    run_id, worker = begun(store, outliving(body([0, 1], step(), step())))
    other = Worker(store, run_id, "worker-b:1")
    live = other.claim()
    assert worker.fail(worker.claim()).run == "running"
    store.machine.release(run_id, live, other.owner)
    assert worker.ask(only=True, focus="0/9").run == "running", "what was given back is still to be done"
    other.claim()
    assert store.machine.sweep(run_id, Lost(["worker-b"]), 1).run == "running"
    assert worker.finish(worker.claim()).run == "failed"


def test_a_failure_that_comes_after_the_end_is_not_retried_now(store: Store) -> None:
    run_id, worker = begun(store, [body([0], step(r=retry(3)))])
    claim = worker.claim()
    store.machine.end(run_id, "cancelled", "enough")
    reply = worker.fail(claim, retryable=True)
    assert (reply.state, reply.run, reply.retry_seconds) == ("committed", "cancelled", None)
    assert store.reader.record(run_id).failed == ""
