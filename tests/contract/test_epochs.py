"""A run that is over and not done may be resumed: what failed is ready again, and what was done stays done."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dagcelery.store.protocol import Store
from dagcelery.store.records import Lost

from .moves import Worker, begun, body, chain, drain, hooked, new_run, outliving, pass_time, retry, state_after, step
from .test_retries import counts, kinds

FAN = [body([0], step(x="$xs", s=[1]), step(1))]


def epoch(store: Store, run_id: str) -> tuple[str, int]:
    record = store.reader.record(run_id)
    return record.state, record.epoch


def test_what_failed_is_ready_again_and_what_was_done_stays_done(store: Store) -> None:
    topology = [body([0, 1], step(s=[2]), step(s=[2]), step(2))]
    run_id, worker = begun(store, topology)
    worker.finish(worker.claim(focus="0/0"), values={"0.0": b"kept"})
    worker.fail(worker.claim(focus="0/1"))
    assert store.machine.resume(run_id)
    record = store.reader.record(run_id)
    assert (record.state, record.epoch, record.failed, record.reason, record.ended) == ("running", 2, "", "", 0.0)
    assert counts(store, run_id, 1) == (0, 0, 0, 0, 0)
    assert store.reader.failures(run_id) == {"0/1@1": b"boom"}
    claim = worker.claim()
    assert (claim.step, claim.attempt) == (1, 2)
    worker.finish(claim)
    assert drain(store, run_id, topology) == ["2"]
    assert epoch(store, run_id) == ("done", 2)
    assert store.reader.values(run_id, "0", ["0.0"]) == [b"kept"]
    assert [k for k, _, _ in kinds(store, run_id)] == [
        *("created", "done", "failed", "failed", "resumed", "done", "done", "done")
    ]


def test_only_a_run_that_is_over_and_not_done_can_be_resumed(store: Store) -> None:
    run_id = new_run(store, chain(1))
    assert not store.machine.resume(run_id)
    worker = Worker(store, run_id)
    claim = worker.claim()
    assert not store.machine.resume(run_id)
    worker.finish(claim)
    assert not store.machine.resume(run_id)
    assert not store.machine.resume("nobody")
    assert epoch(store, run_id) == ("done", 1)


def test_a_run_that_cannot_be_resumed_is_swept_as_before(store: Store) -> None:
    run_id = new_run(store, chain(1))
    assert not store.machine.resume(run_id)
    assert not store.machine.resume("nobody")
    assert list(store.fleet.due(10, 0)) == [run_id]
    store.machine.end(run_id, "cancelled", "enough")
    assert list(store.fleet.due(10, 0)) == []
    store.machine.resume(run_id)
    assert list(store.fleet.due(10, 0)) == [run_id]


@pytest.mark.parametrize("state", ["failed", "cancelled", "timed_out"])
def test_a_run_that_was_ended_goes_on_where_it_stopped(store: Store, state: str) -> None:
    run_id, worker = begun(store, FAN, lists={"$xs": 6})
    worker.finish(worker.claim(ranges={"0.0": 2}))
    store.machine.end(run_id, state, "enough")
    assert worker.nothing()
    assert store.machine.resume(run_id)
    assert drain(store, run_id, FAN)[-1] == "1"
    assert counts(store, run_id) == (0, 6, 0, 0, 0)
    assert epoch(store, run_id) == ("done", 2)


def test_the_time_between_an_end_and_the_next_epoch_is_not_part_of_what_a_run_took(store: Store) -> None:
    run_id, worker = begun(store, chain(2))
    worker.finish(worker.claim())
    for _ in range(3):
        store.machine.end(run_id, "cancelled", "enough")
        ended = store.reader.record(run_id).ended
        time.sleep(0.01)
        store.machine.resume(run_id)
    record = store.reader.record(run_id)
    assert (len(record.pauses), record.pauses[-1][0]) == (3, ended)
    lasted = worker.finish(worker.claim()).lasted
    record = store.reader.record(run_id)
    pause = record.paused(record.started, record.ended)
    assert 0.03 <= pause < record.ended - record.started
    assert lasted == pytest.approx(record.ended - record.started - pause, abs=1e-4)


def test_claims_whose_owners_died_come_back_also_when_the_run_is_over(store: Store) -> None:
    run_id, worker = begun(store, [body([0, 1], step(), step())])
    Worker(store, run_id, "worker-d:1").claim(focus="0/1")
    worker.fail(worker.claim())
    assert store.machine.sweep(run_id, Lost(["worker-d"]), 1).released == 1
    assert worker.nothing(), "the run is over"
    store.machine.resume(run_id)
    assert drain(store, run_id, [body([0, 1], step(), step())]) == ["0", "1"]


def test_a_run_whose_last_live_pieces_committed_after_its_cancellation_ends_as_done(store: Store) -> None:
    for ended in ("cancelled", "timed_out"):
        run_id, worker = begun(store, FAN, lists={"$xs": 0})
        worker.finish(worker.claim())
        live = worker.claim()
        store.machine.end(run_id, ended, "enough")
        assert worker.finish(live).run == ended
        assert store.machine.resume(run_id)
        assert epoch(store, run_id) == ("done", 2)
        assert state_after(store, run_id) == "done"
        assert not store.machine.resume(run_id)


def test_a_resumed_run_that_is_done_at_once_calls_its_hooks(store: Store) -> None:
    run_id, worker = begun(store, hooked(*chain(1)))
    live = worker.claim()
    store.machine.end(run_id, "cancelled", "enough")
    worker.finish(live)
    store.machine.resume(run_id)
    assert store.machine.sweep(run_id, Lost(), 1).wake_ups == ["cpu"]
    assert worker.claim().step == -3


def test_a_run_resumed_twice_at_once_opens_one_epoch(store: Store) -> None:
    for _ in range(2):
        run_id, worker = begun(store, outliving(body([0], step(x="$xs"))), lists={"$xs": 250})
        while (claim := worker.ask().claim) is not None:
            worker.fail(claim)
        with ThreadPoolExecutor(3) as threads:
            answers = list(threads.map(store.machine.resume, [run_id] * 3))
        assert sorted(answers) == [False, False, True]
        assert epoch(store, run_id) == ("running", 2)
        assert counts(store, run_id) == (0, 0, 0, 0, 0)
        seen = [g.lo for g in worker.pieces(FAN, lambda claim: {}, ranges={"0.0": 50})]
        assert sorted(seen) == list(range(250))


def test_each_epoch_has_a_budget_of_tries_and_deaths_of_its_own(store: Store) -> None:
    run_id, worker = begun(store, [body([0, 1], step(r=retry(2)), step())])
    for turn in (1, 2):
        assert worker.fail(worker.claim(focus="0/0"), retryable=True).state == "retried"
        for dying in ("b1", "b2"):
            Worker(store, run_id, f"{dying}:1").claim(focus="0/1")
            assert store.machine.sweep(run_id, Lost([dying]), 1).poisoned == []
        assert worker.fail(worker.claim(focus="0/0"), retryable=True).run == "failed"
        assert store.machine.resume(run_id), turn
    assert worker.claim(focus="0/0").attempt == 5


def test_a_retry_that_waited_at_the_end_is_made_in_the_next_epoch(store: Store) -> None:
    run_id, worker = begun(store, [body([0, 1], step(r=retry(2, 30.0)), step())])
    worker.fail(worker.claim(focus="0/0"), retryable=True)
    worker.fail(worker.claim(focus="0/1"))
    pass_time(store, run_id, 31)
    assert worker.nothing()
    assert store.machine.sweep(run_id, Lost(), 1).wake_ups == []
    store.machine.resume(run_id)
    assert sorted((g.step, g.attempt) for g in worker.pieces([{}], lambda claim: {})) == [(0, 2), (1, 2)]
    assert epoch(store, run_id) == ("done", 2)


def test_the_time_to_start_does_not_pass_while_a_run_is_over(store: Store) -> None:
    run_id = new_run(store, [body([0], step(sw=30.0))])
    store.machine.end(run_id, "cancelled", "enough")
    pass_time(store, run_id, 31)
    store.machine.resume(run_id)
    assert not store.machine.sweep(run_id, Lost(), 1).poisoned
    pass_time(store, run_id, 31)
    assert store.machine.sweep(run_id, Lost(), 1).poisoned == [("cpu", "0/0")]


def test_a_resumed_run_has_as_much_time_as_before_or_as_it_is_given(store: Store) -> None:
    run_id = new_run(store, chain(1), deadline_seconds=100.0)

    def left(deadline_seconds: float | None) -> float:
        store.machine.end(run_id, "timed_out", "late")
        store.machine.resume(run_id, deadline_seconds)
        record = store.reader.record(run_id)
        return record.deadline - time.time() if record.deadline else 0.0

    assert left(None) == pytest.approx(100, abs=1)
    assert left(50) == pytest.approx(50, abs=1)
    assert left(None) == pytest.approx(50, abs=1)
    assert left(0) == 0.0
    assert left(None) == 0.0
    assert store.machine.sweep(run_id, Lost(), 1).run == "running"


def test_a_run_that_was_resumed_before_it_began_has_begun(store: Store) -> None:
    run_id = new_run(store, chain(1))
    store.machine.end(run_id, "cancelled", "enough")
    store.machine.resume(run_id)
    assert store.reader.record(run_id).started == pytest.approx(time.time(), abs=1)


def test_who_waits_for_a_resumed_run_waits_for_its_next_end(store: Store) -> None:
    run_id, worker = begun(store, chain(1))
    worker.fail(worker.claim())
    store.machine.resume(run_id)
    assert state_after(store, run_id, 0.01) == "running"
    finisher = threading.Timer(0.05, lambda: worker.finish(worker.claim()))
    finisher.start()
    assert state_after(store, run_id, 5) == "done"
    finisher.join()


def test_a_zombie_of_the_last_epoch_does_not_take_back_what_has_failed_since(store: Store) -> None:
    for over in ("", "$xs"):
        run_id = new_run(store, [body([0], step(x=over))], lists={"$xs": 1})
        zombie, worker = Worker(store, run_id, "worker-z:1"), Worker(store, run_id)
        old = zombie.claim()
        store.machine.sweep(run_id, Lost(["worker-z"]), 1)
        newer = zombie.claim()
        store.machine.sweep(run_id, Lost(["worker-z"]), 1)
        newest = zombie.claim()
        zombie.fail(newest)
        store.machine.resume(run_id)
        for claim in (old, newer, newest):
            assert zombie.finish(claim, values={"0.0": b"old"}).state == "stale"
        again = worker.claim()
        assert again.attempt == 4
        assert worker.finish(again).run == "done"


def test_attempts_never_fall_for_a_piece_that_may_have_a_zombie(store: Store) -> None:
    for over in ("", "$xs"):
        run_id = new_run(store, [body([0], step(x=over))], lists={"$xs": 1})
        zombie, worker = Worker(store, run_id, "worker-z:1"), Worker(store, run_id)
        lost = zombie.claim()
        store.machine.sweep(run_id, Lost(["worker-z"]), 1)
        for _ in range(3):
            claim = worker.claim()
            assert claim.attempt == lost.attempt + 1
            store.machine.release(run_id, claim, worker.owner)
            store.machine.release(run_id, claim, worker.owner)
            store.machine.release(run_id, lost, zombie.owner)
        claim = worker.claim()
        assert claim.attempt == lost.attempt + 1
        store.machine.release(run_id, lost, zombie.owner)
        assert zombie.finish(lost).state == "stale"
        assert worker.finish(claim).run == "done"
        assert zombie.finish(lost).state == "stale"


def test_what_is_given_back_of_a_range_is_fenced_against_those_that_had_it_before(store: Store) -> None:
    run_id = new_run(store, FAN, lists={"$xs": 8})
    zombie, worker = Worker(store, run_id, "worker-z:1"), Worker(store, run_id)
    lost = zombie.claim(ranges={"0.0": 4})
    store.machine.sweep(run_id, Lost(["worker-z"]), 1)
    while (claim := worker.claim(ranges={"0.0": 2})).lo != 0:
        worker.finish(claim)
    assert (claim.hi, claim.attempt) == (2, 2)
    worker.finish(claim, done=0)
    assert zombie.finish(lost).state == "stale", "its range was claimed since, and is cut in other parts"
    seen: dict[int, int] = {}
    for rest in worker.pieces(FAN, lambda _: {}, ranges={"0.0": 2}):
        seen |= dict.fromkeys(range(rest.lo, rest.hi), rest.attempt) if rest.lo >= 0 else {}
    assert {seen[0], seen[1]} == {2}
    assert counts(store, run_id) == (0, 8, 0, 0, 0)


def test_of_several_that_found_a_run_failed_one_resumes_it(store: Store) -> None:
    run_id, worker = begun(store, chain(1))
    worker.fail(worker.claim())
    assert [store.machine.resume(run_id, epoch=1) for _ in range(2)] == [True, False]
    worker.fail(worker.claim())
    assert not store.machine.resume(run_id, epoch=1), "it has failed again since"
    assert store.machine.resume(run_id, epoch=2)
