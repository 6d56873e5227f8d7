"""What is to be called at a run's end is a piece of its own, claimed once the run is over."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dagcelery.store.protocol import Store
from dagcelery.store.records import HOOK, ROOT, Lost, Spot

from .moves import Worker, begun, body, chain, drain, hooked, new_run, outliving, state_after, step

ENDS: dict[str, Callable[[Store, str, Worker], object]] = {
    "done": lambda store, run_id, worker: worker.finish(worker.claim()),
    "failed": lambda store, run_id, worker: worker.fail(worker.claim()),
    "cancelled": lambda store, run_id, worker: store.machine.end(run_id, "cancelled", "enough"),
}


def hook_of(store: Store, run_id: str) -> str:
    return store.reader.record(run_id).hook


@pytest.mark.parametrize("state", ENDS)
def test_the_hook_is_claimed_after_any_end(store: Store, state: str) -> None:
    run_id, worker = begun(store, hooked(*chain(1), queue="gpu"))
    caller = Worker(store, run_id, queue="gpu")
    assert caller.nothing()
    ENDS[state](store, run_id, worker)
    assert hook_of(store, run_id) == "gpu"
    assert worker.nothing()
    claim = caller.claim()
    assert (claim.step, claim.lo, claim.attempt, claim.items, claim.poisoned) == (HOOK, -1, 1, -1, "")
    assert caller.nothing()
    reply = caller.finish(claim, caller.want())
    assert (reply.state, reply.run, reply.claim) == ("committed", state, None)
    assert hook_of(store, run_id) == ""
    assert caller.nothing()


def test_the_call_that_ends_a_run_opens_its_hook_and_may_claim_it(store: Store) -> None:
    run_id, worker = begun(store, hooked(*chain(1)))
    reply = worker.finish(worker.claim(), worker.want())
    assert (reply.run, [(o.step, o.queue, o.items) for o in reply.opened]) == ("done", [(HOOK, "cpu", -1)])
    assert reply.claim.step == HOOK
    run_id = new_run(store, hooked(*chain(1)))
    assert [o.step for o in store.machine.end(run_id, "cancelled", "enough").opened] == [HOOK]
    assert not store.machine.end(run_id, "cancelled", "enough").opened


def test_a_hook_that_fails_changes_nothing(store: Store) -> None:
    run_id, worker = begun(store, hooked(*chain(1)))
    worker.finish(worker.claim())
    reply = worker.fail(worker.claim(), retryable=True)
    assert (reply.state, reply.run) == ("committed", "done")
    assert store.reader.failures(run_id) == {}
    assert hook_of(store, run_id) == ""


def test_a_run_with_an_uncalled_hook_is_still_looked_after(store: Store) -> None:
    run_id, worker = begun(store, hooked(*chain(1)))
    worker.finish(worker.claim())
    assert list(store.fleet.due(10, 0)) == [run_id]
    assert store.machine.sweep(run_id, Lost(), 60).wake_ups == ["cpu"]
    claim = Worker(store, run_id, "worker-d:1").claim()
    assert store.machine.sweep(run_id, Lost(["worker-d"]), 60).released == 1
    again = worker.claim()
    assert (again.step, again.attempt) == (HOOK, claim.attempt + 1)
    worker.finish(again)
    assert list(store.fleet.due(10, 0)) == []


def test_what_was_not_begun_before_the_end_deserves_no_hint(store: Store) -> None:
    run_id = new_run(store, hooked(body([0, 1], step(), step(q="gpu"))))
    store.machine.end(run_id, "cancelled", "enough")
    assert store.machine.sweep(run_id, Lost(), 60).wake_ups == ["cpu"]
    Worker(store, run_id).claim()
    assert Worker(store, run_id, queue="gpu").nothing()


def test_a_hook_of_a_run_that_a_sweep_ended_is_hinted_at(store: Store) -> None:
    run_id = new_run(store, hooked(*chain(1)), deadline_seconds=0.0)
    swept = store.machine.sweep(run_id, Lost(), 60)
    assert (swept.run, swept.wake_ups) == ("timed_out", ["cpu"])


def test_each_end_has_a_hook_of_its_own(store: Store) -> None:
    topology = hooked(*chain(1))
    run_id, worker = begun(store, topology)
    for _ in range(2):
        worker.fail(worker.claim())
        worker.finish(worker.claim())
        store.machine.resume(run_id)
    assert drain(store, run_id, topology) == ["0", "-3"]
    assert state_after(store, run_id) == "done"


def test_an_uncalled_hook_is_not_called_once_the_run_goes_on(store: Store) -> None:
    topology = hooked(*chain(2))
    run_id, worker = begun(store, topology)
    worker.fail(worker.claim())
    store.machine.resume(run_id)
    assert drain(store, run_id, topology) == ["0", "1", "-3"]


@pytest.mark.parametrize("takes_back", ["resume", "clear"])
def test_ends_that_were_taken_back_are_counted_until_one_is_called_at(store: Store, takes_back: str) -> None:
    run_id, worker = begun(store, hooked(*chain(1)))

    def go_on() -> int:
        if takes_back == "clear":
            store.machine.clear(run_id, [Spot(ROOT, 0)])
        store.machine.resume(run_id)
        return store.reader.record(run_id).untold

    worker.fail(worker.claim())
    assert go_on() == 1
    worker.fail(worker.claim())
    assert go_on() == 2
    worker.fail(worker.claim())
    worker.finish(worker.claim())
    assert go_on() == 2
    worker.fail(worker.claim())
    assert go_on() == 2


@pytest.mark.parametrize("when", ["running", "over", "claimed"])
@pytest.mark.parametrize("lost", [False, True])
def test_whoever_calls_the_last_ends_hook_leaves_the_next_alone(store: Store, when: str, *, lost: bool) -> None:
    run_id, worker = begun(store, hooked(*chain(1)))
    caller = Worker(store, run_id, "worker-c:1")
    worker.fail(worker.claim())
    old = caller.claim()
    if lost:
        store.machine.sweep(run_id, Lost(["worker-c"]), 1)
    store.machine.resume(run_id)
    again = worker.claim()
    if when == "running":
        assert caller.finish(old).state == "stale"
    assert worker.finish(again).run == "done"
    if when == "over":
        assert caller.finish(old).state == "stale"
    claim = worker.claim()
    assert (claim.step, claim.attempt) == (HOOK, 2)
    if when == "claimed":
        assert caller.finish(old).state == "stale"
    assert worker.finish(claim).state == "committed"
    assert hook_of(store, run_id) == ""
    assert store.machine.wake_ups(run_id, "cpu", 1) == 0


def test_a_claimed_hook_of_the_last_end_does_not_keep_a_run_open(store: Store) -> None:
    run_id, worker = begun(store, hooked(*outliving(body([0], step()))))
    worker.fail(worker.claim())
    Worker(store, run_id, "worker-c:1").claim()
    store.machine.resume(run_id)
    assert store.machine.wake_ups(run_id, "cpu", 1) == 1, "no claim is left"
    assert worker.fail(worker.claim()).run == "failed"
