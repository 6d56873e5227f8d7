"""Pieces that a worker awaits side by side: each has its own claim, and comes alone once a process has died of it."""

from __future__ import annotations

from typing import Any

import pytest

from dagcelery.store.protocol import Store
from dagcelery.store.records import Claim, Lost, Response, TaskResult

from .moves import Body, Worker, begun, body, outliving, results, retry, step


def mapped(**policies: Any) -> list[Body]:
    """A list, a fan-out over it that awaits, and one that waits for all of that."""
    return outliving(body([0], step(s=[1]), step(1, [2], x="0.0", aw=True, **policies), step(1)))


def opened(store: Store, items: int, **policies: Any) -> tuple[str, Worker]:
    """A run whose fan-out has just been opened."""
    run_id, worker = begun(store, mapped(**policies))
    worker.finish(worker.claim(), lists={"0.0": items})
    return run_id, worker


def ranges(reply: Response) -> list[tuple[int, int, int, bool]]:
    return [(claim.lo, claim.hi, claim.attempt, claim.is_beside) for claim in reply.claims]


def item(claim: Claim, index: int) -> Claim:
    """The claim of one item of those that were granted as one."""
    return Claim(claim.scope, claim.step, index, index + 1, claim.attempt, claim.items, is_beside=True)


def done(claim: Claim, index: int) -> tuple[Claim, TaskResult]:
    one = item(claim, index)
    return one, TaskResult(blocks=results(one), done=index + 1, started=1.0, seconds=0.1)


@pytest.mark.parametrize(("slots", "lanes", "granted"), [(1, 50, 50), (1, 500, 64), (4, 50, 13), (60, 50, 1)])
def test_a_worker_takes_what_it_can_await_and_leaves_as_much_to_each_process(
    store: Store, slots: int, lanes: int, granted: int
) -> None:
    _, worker = opened(store, 100)
    assert ranges(worker.ask(slots=slots, beside=lanes)) == [(0, granted, 1, True)]


def test_items_are_committed_in_any_order_each_by_itself(store: Store) -> None:
    run_id, worker = opened(store, 3)
    [claim] = worker.ask(beside=3).claims
    for index in (2, 0, 1):
        want = worker.want()
        reply = store.machine.finish(run_id, [done(claim, index)], worker.owner, want.token, want)
        assert reply.states == ["committed"]
    assert [(each.step, each.items) for each in reply.claims] == [(2, -1)]


def test_what_is_short_comes_in_ranges_as_ever(store: Store) -> None:
    _, worker = opened(store, 100)
    assert ranges(worker.ask(beside=50, ranges={"0.1": 50})) == [(0, 50, 1, False)]


def test_a_worker_that_awaits_some_is_granted_nothing_else(store: Store) -> None:
    bodies = [body([0, 1], step(), step(aw=True))]
    _, worker = begun(store, bodies)
    assert [each.step for each in worker.ask(beside=3, has_others=True).claims] == [1]
    assert worker.ask(beside=3, has_others=True).claims == []
    assert [(each.step, each.is_beside) for each in worker.ask(beside=4).claims] == [(0, False)]


def test_steps_and_fan_outs_of_one_queue_come_together(store: Store) -> None:
    _, worker = begun(store, [body([0, 1, 2], step(aw=True), step(aw=True, al=True), step(aw=True))])
    assert [(each.step, each.is_beside) for each in worker.ask(beside=2).claims] == [(0, True), (1, True)]


def test_a_death_is_charged_to_nobody_in_company_and_each_is_claimed_alone_from_then_on(store: Store) -> None:
    run_id, worker = opened(store, 3)
    worker.ask(beside=3)
    store.machine.sweep(run_id, Lost(["worker-a"]), 10, deaths=1)
    for letter, index in (("b", 0), ("c", 1)):
        lonely = Worker(store, run_id, f"worker-{letter}:1")
        assert lonely.ask(beside=3, has_others=True).claims == []
        assert ranges(lonely.ask(beside=3)) == [(index, index + 1, 2, False)]
    store.machine.sweep(run_id, Lost(["worker-c"]), 10, deaths=1)
    poisoned = [Worker(store, run_id, f"worker-{letter}:1").claim(beside=3) for letter in "de"]
    assert [(each.lo, each.poisoned) for each in poisoned] == [(2, ""), (1, "died")]


def test_those_that_went_in_good_order_come_together_again(store: Store) -> None:
    run_id, worker = opened(store, 3)
    worker.ask(beside=3)
    store.machine.sweep(run_id, Lost(left=["worker-a"]), 10)
    other = Worker(store, run_id, "worker-b:1")
    assert ranges(other.ask(beside=3)) == [(0, 1, 2, True), (1, 2, 2, True), (2, 3, 2, True)]


def test_a_time_limit_that_ends_the_process_is_charged_to_nobody_in_company(store: Store) -> None:
    run_id, worker = opened(store, 2, tl=1.0, r=retry(1, limit=True))
    worker.ask(beside=2)
    store.machine.sweep(run_id, Lost(["worker-a"], limited=True), 10)
    other = Worker(store, run_id, "worker-b:1")
    assert ranges(other.ask(beside=2)) == [(0, 1, 2, False)]
    store.machine.sweep(run_id, Lost(["worker-b"], limited=True), 10)
    assert [other.claim(beside=2).poisoned for _ in range(2)] == ["", "timeout"]


def test_what_failed_is_tried_again_beside_others(store: Store) -> None:
    run_id, worker = opened(store, 3, r=retry(3))
    [claim] = worker.ask(beside=2).claims
    assert worker.fail(item(claim, 0), retryable=True, at=0).state == "retried"
    store.machine.sweep(run_id, Lost([]), 10)
    assert ranges(worker.ask(beside=2, has_others=True)) == [(2, 3, 1, True), (0, 1, 2, True)]


def test_a_late_worker_may_still_commit_an_item_that_nobody_has_claimed_again(store: Store) -> None:
    run_id, worker = opened(store, 2)
    [claim] = worker.ask(beside=2).claims
    store.machine.sweep(run_id, Lost(["worker-a"]), 10, deaths=1)
    for index in (1, 0):
        assert worker.finish(item(claim, index), blocks=results(item(claim, index))).state == "committed"
    assert worker.claim().step == 2


def test_a_lost_reply_is_given_again(store: Store) -> None:
    run_id, worker = opened(store, 5)
    want = worker.want(beside=2)
    assert store.machine.claim(run_id, want) == store.machine.claim(run_id, want)
    assert ranges(worker.ask(beside=5)) == [(2, 5, 1, True)]


def test_a_fan_out_without_items_is_done_at_once(store: Store) -> None:
    _, worker = opened(store, 0)
    assert ranges(worker.ask(beside=5)) == [(0, 0, 1, False)]


def test_a_process_that_awaits_many_counts_once_until_the_first_is_done(store: Store) -> None:
    run_id, worker = opened(store, 100)
    worker.ask(beside=10)
    worker.ask(beside=10, has_others=True)
    assert store.machine.wake_ups(run_id, "cpu", 4) == 3
