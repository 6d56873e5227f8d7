"""A worker that lacks what a piece or a run needs leaves it to others: nothing is spent, and no wake-up is lost."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
import redis

from dagcelery.store.protocol import Store
from dagcelery.store.records import Claim, Lost, Refusal

from .moves import Worker, begun, body, chain, hooked, name, new_run, pass_time, retry, state_after, step

WHY = "lacks module 'm'"
OLD, NEW, THIRD = "worker-old", "worker-new", "worker-third"


def old(store: Store, run_id: str) -> Worker:
    """A process of the worker that lacks something."""
    return Worker(store, run_id, f"{OLD}:1")


def new(store: Store, run_id: str) -> Worker:
    """A process of one that does not."""
    return Worker(store, run_id, f"{NEW}:1")


def refuse(worker: Worker, claim: Claim | None = None, *others: str, why: str = WHY) -> bool:
    """Leave a claim, or with a reason and no claim the run, or without both what is ready, to the others."""
    return worker.store.machine.refuse(worker.run_id, worker.queue, worker.owner, others, why, claim)


def alive(**since: float | None) -> Lost:
    """A sweep that knows of these live workers, and since when they consume `cpu`."""
    names = {short: f"worker-{short}" for short in since}
    return Lost(
        alive={names[short]: (1e12, None) for short in since},
        since={names[short]: {"cpu": at} for short, at in since.items() if at is not None},
    )


def woken(store: Store, run_id: str, lost: Lost, wait: float = 60) -> list[str]:
    """The queues that a sweep names."""
    return list(store.machine.sweep(run_id, lost, wait).wake_ups)


def now(store: Store) -> float:
    """The store's time."""
    store.fleet.heartbeat("clock", [], 1)
    at: float = store.fleet.workers()["clock"]["at"]
    store.fleet.retire("clock")
    return at


def test_a_refused_piece_goes_to_another_worker_and_nothing_was_spent(store: Store) -> None:
    run_id = new_run(store, [body([0], step(r=retry(2)))])
    for number in range(50):  # more than there may be deaths, tries and returns
        worker = Worker(store, run_id, f"worker-{number}:1")
        claim = worker.claim()
        assert (claim.attempt, claim.poisoned) == (1, "")
        refuse(worker, claim)
        assert worker.ask().is_left
    claim = new(store, run_id).claim()
    assert (claim.attempt, claim.poisoned) == (1, "")
    assert new(store, run_id).finish(claim).run == "done"


def test_items_of_a_range_come_back_first_and_the_worker_goes_on_with_what_it_has(store: Store) -> None:
    topology = [body([0, 1], step(x="$xs"), step())]
    run_id = new_run(store, topology, lists={"$xs": 20})
    worker = old(store, run_id)
    claim = worker.claim(ranges={"0.0": 4})
    assert refuse(worker, claim, NEW)
    assert name(worker.claim()) == "1"
    assert worker.ask().is_left
    progress = store.reader.progress(run_id)
    assert progress is not None
    assert progress.counts[0, 0].started == 0
    again = new(store, run_id).claim(ranges={"0.0": 4})
    assert (again.lo, again.hi, again.attempt) == (claim.lo, claim.hi, claim.attempt)


@pytest.mark.parametrize("how", ["refused", "released", "blocked"])
def test_what_was_only_given_back_has_not_begun(store: Store, how: str) -> None:
    topology = [body([0], step(x="$xs", b=1)), body([0], step())]
    run_id = new_run(store, topology, lists={"$xs": 2})
    worker = old(store, run_id)
    give_back = {
        "refused": lambda claim: refuse(worker, claim),
        "released": lambda claim: store.machine.release(run_id, claim, worker.owner),
        "blocked": lambda claim: store.machine.block(run_id, claim, worker.owner, 60),
    }[how]

    def is_begun() -> list[bool]:
        progress = store.reader.progress(run_id)
        assert progress is not None
        return [at in progress.counts and progress.counts[at].started > 0 for at in ((0, 0), (1, 0))]

    first = worker.claim(ranges={"0.0": 1})
    assert is_begun() == [True, False], "it is executed"
    worker.delegate(first)
    assert is_begun() == [True, False]
    claim = worker.claim()
    assert is_begun() == [True, True]
    give_back(claim)
    assert is_begun() == [True, False]


def test_a_fan_out_has_begun_with_its_first_claim_whichever_ends_first(store: Store) -> None:
    run_id, worker = begun(store, [body([0], step(x="$xs"))], lists={"$xs": 3})

    def started() -> float:
        progress = store.reader.progress(run_id)
        assert progress is not None
        return progress.counts[0, 0].started

    first, second = worker.claim(), worker.claim()
    at = started()
    worker.finish(second)
    assert started() == at
    worker.finish(first)
    assert started() == at


def test_a_refusal_that_comes_twice_or_late_gives_back_nothing_more(store: Store) -> None:
    run_id = new_run(store, chain(1))
    claim = old(store, run_id).claim()
    refuse(old(store, run_id), claim)
    taken = new(store, run_id).claim()
    refuse(old(store, run_id), claim)
    assert new(store, run_id).nothing()
    assert new(store, run_id).finish(taken).run == "done"
    assert not refuse(old(store, run_id), claim, NEW), "there is nothing left to do"
    assert not refuse(Worker(store, "gone"), None, NEW)


def test_what_is_ready_is_not_called_left_where_the_step_was_only_taken_by_others(store: Store) -> None:
    run_id = new_run(store, [body([0, 1], step(), step())])
    assert not old(store, run_id).ask(focus="0/7", only=True).is_left
    refuse(old(store, run_id), old(store, run_id).claim(focus="0/1"), NEW)
    assert old(store, run_id).ask(focus="0/1", only=True).is_left
    assert name(old(store, run_id).claim(focus="0/1")) == "0"


def open_scopes(worker: Worker, step: int) -> None:
    """Open a scope in each of a step's items."""
    while claim := worker.ask(focus=f"0/{step}", only=True, ranges={f"0.{step}": 100}).claim:
        worker.delegate(claim)


def test_what_is_ready_behind_many_pieces_that_a_worker_refuses_is_found(store: Store) -> None:
    topology = [body([0, 1], step(x="$xs", b=1), step()), body([0], step())]
    run_id = new_run(store, topology, lists={"$xs": 700})
    open_scopes(new(store, run_id), 0)
    worker = old(store, run_id)
    claim = worker.claim()
    assert claim.scope.body == 1
    refuse(worker, claim)
    assert name(worker.claim()) == "1"
    assert worker.ask().is_left


def test_a_refusal_looks_at_few_fields_whoever_else_refused_what(redis_store: Store, raw: redis.Redis) -> None:
    steps, others = 100, [f"worker-{number}" for number in range(6)]
    run_id = new_run(redis_store, [body(range(steps), *(step() for _ in range(steps)))])
    for other in others:
        for _ in range(steps):
            worker = Worker(redis_store, run_id, f"{other}:1")
            refuse(worker, worker.claim())

    def calls() -> int:
        stats: dict[str, Any] = raw.info("commandstats")
        return sum(said["calls"] for said in stats.values())

    new(redis_store, run_id).claim()  # another step is first: others are asked again
    before = calls()
    refuse(old(redis_store, run_id), old(redis_store, run_id).claim(), *others)
    assert calls() - before < 100


def test_what_is_ready_between_many_pieces_that_a_worker_refuses_is_found_in_time(store: Store) -> None:
    refused = step(x="$xs", b=1)
    topology = [body([0, 1, 2], refused, step(x="$ys", b=2), refused), body([0], step()), body([0], step())]
    run_id = new_run(store, topology, lists={"$xs": 600, "$ys": 100})
    for number in range(3):
        open_scopes(new(store, run_id), number)
    worker = old(store, run_id)
    refuse(worker, worker.claim())
    found = next(reply.claim for _ in range(1_000) if (reply := worker.ask()).claim)
    assert found.scope.body == 2


@pytest.mark.parametrize(
    ("others", "expected"),
    [([], False), ([NEW], True), ([THIRD], False), ([THIRD, NEW], True)],
    ids=["nobody else", "one who may", "one who refused too", "both"],
)
@pytest.mark.parametrize("what", ["step", "run"])
def test_the_message_is_sent_again_if_another_worker_may_do_something(
    store: Store, others: list[str], expected: bool, what: str
) -> None:
    run_id = new_run(store, chain(2))
    for owner in (THIRD, OLD):
        worker = Worker(store, run_id, f"{owner}:1")
        again = refuse(worker, worker.claim() if what == "step" else None, *others)
    assert again is expected
    assert refuse(worker, None, *others, why="") is expected


def test_it_is_sent_again_a_few_times_until_another_worker_may_be_free(store: Store) -> None:
    run_id = new_run(store, [body([0, 1, 2], step(), step(), step())])
    worker = old(store, run_id)
    refuse(worker, worker.claim(), NEW)

    def times() -> int:
        return sum(refuse(worker, None, NEW, why="") for _ in range(100))

    few = 1 + times()
    assert 1 < few < 50
    assert times() == 0
    claim = new(store, run_id).claim()
    assert times() == few, "the first ready step is another one"
    new(store, run_id).finish(claim)
    assert times() == 0
    store.machine.sweep(run_id, Lost(), 60)
    assert times() == few


def test_a_worker_that_leaves_a_run_sends_a_message_though_others_seem_to_be_under_way(store: Store) -> None:
    run_id = new_run(store, [body([0, 1], step(), step())])
    refuse(old(store, run_id), old(store, run_id).claim())
    assert [store.machine.wake_ups(run_id, "cpu", 2) for _ in range(3)] == [1, 1, 0], "one at a time"
    assert old(store, run_id).ask(arrived=True).claim is not None
    assert old(store, run_id).ask(arrived=True).is_left
    assert store.machine.wake_ups(run_id, "cpu", 2) == 0
    assert store.machine.wake_ups(run_id, "cpu", 2, is_leaving=True) == 1
    new(store, run_id).claim()
    assert store.machine.wake_ups(run_id, "cpu", 2, is_leaving=True) == 0, "nothing is ready"


def test_a_message_that_brought_the_wrong_worker_still_counts_as_under_way(store: Store) -> None:
    run_id = new_run(store, chain(1))
    refuse(old(store, run_id), old(store, run_id).claim())
    assert store.machine.wake_ups(run_id, "cpu", 1) == 1
    assert old(store, run_id).ask(arrived=True).ready == 0
    assert store.machine.wake_ups(run_id, "cpu", 1) == 0
    new(store, run_id).claim(arrived=True)


def test_a_poisoned_piece_is_given_to_a_worker_that_refused_it_since_nothing_is_called(store: Store) -> None:
    run_id = new_run(store, [body([0], step(sw=30.0))])
    worker = old(store, run_id)
    refuse(worker, worker.claim())
    pass_time(store, run_id, 31)
    store.machine.sweep(run_id, Lost(), 60)
    assert worker.claim().poisoned == "start_within"


def test_what_is_called_at_the_end_is_left_to_others_too(store: Store) -> None:
    run_id = new_run(store, hooked(*chain(1)))
    worker = old(store, run_id)
    worker.finish(worker.claim())
    assert state_after(store, run_id) == "done"
    assert refuse(worker, worker.claim(), NEW)
    assert worker.nothing()
    assert name(new(store, run_id).claim()) == "-3"


def test_what_was_refused_is_told_as_long_as_the_worker_lives_and_until_the_run_is_resumed(store: Store) -> None:
    run_id = new_run(store, chain(1))
    refuse(old(store, run_id), old(store, run_id).claim())
    refuse(Worker(store, run_id, f"{THIRD}:1"), why="has | no key\n")

    def told() -> Any:
        return sorted(store.reader.outstanding(run_id).refused)

    both = [Refusal(OLD, "cpu", WHY, 0, 0), Refusal(THIRD, "cpu", "has | no key ")]
    store.machine.sweep(run_id, alive(old=None, third=None), 60)
    assert told() == both
    store.machine.sweep(run_id, alive(old=None), 60)
    assert told() == both[:1]
    store.machine.end(run_id, "cancelled", "enough")
    store.machine.resume(run_id)
    assert told() == []
    assert old(store, run_id).claim().attempt == 1


def test_a_worker_that_can_read_the_run_after_all_has_not_refused_it(store: Store) -> None:
    run_id = new_run(store, chain(1))
    refuse(old(store, run_id))
    old(store, run_id).claim()
    assert store.reader.outstanding(run_id).refused == []


def test_refusals_are_bounded(store: Store) -> None:
    run_id = new_run(store, chain(1))
    for number in range(1_001):
        store.machine.refuse(run_id, "cpu", f"worker-{number}:1", [], "x" * 10_000)
    (left,) = store.reader.outstanding(run_id).refused
    assert left.why == "x" * 500


# -- the sweep ------------------------------------------------------------------------------------
def test_the_back_off_begins_anew_when_all_that_may_do_the_work_have_come_since(store: Store) -> None:
    run_id = new_run(store, chain(1))
    early = now(store)
    assert woken(store, run_id, alive()) == ["cpu"]
    assert woken(store, run_id, alive(old=early)) == [], "it was there when the last message was sent"
    late = now(store)
    assert woken(store, run_id, alive(old=early, new=late)) == [], "a backlog does not grow with each worker"
    assert woken(store, run_id, alive(new=late)) == ["cpu"]
    assert woken(store, run_id, alive(new=late)) == []
    refuse(new(store, run_id), new(store, run_id).claim())
    last = now(store)
    assert woken(store, run_id, alive(new=late, third=last)) == ["cpu"], "the early one does not count: it refused"
    assert woken(store, run_id, alive(new=last)) == [], "nor does it when it stays alone"


def test_the_back_off_does_not_double_while_workers_that_may_not_take_the_messages(store: Store) -> None:
    run_id = new_run(store, chain(1))
    both = alive(old=1.0, new=1.0)
    assert woken(store, run_id, both, 0.05) == ["cpu"]
    refuse(old(store, run_id), old(store, run_id).claim(), NEW)
    for _ in range(4):
        time.sleep(0.06)
        assert woken(store, run_id, both, 0.05) == ["cpu"]
        refuse(old(store, run_id), None, NEW, why="")


def test_a_refused_message_is_sent_again_as_soon_as_another_worker_has_a_free_process(store: Store) -> None:
    run_id = new_run(store, chain(1))
    busy = alive(old=1.0, new=1.0)
    free = replace(busy, free={NEW: 1})
    assert woken(store, run_id, busy) == ["cpu"]
    assert woken(store, run_id, free) == [], "nothing was refused: the message is under way"
    refuse(old(store, run_id), old(store, run_id).claim(), NEW)
    assert woken(store, run_id, busy) == []
    assert woken(store, run_id, replace(busy, free={OLD: 1})) == []
    assert woken(store, run_id, free) == ["cpu"]
    assert woken(store, run_id, free) == [], "it is under way"


def test_a_fresh_sweep_names_every_queue_with_ready_work_and_a_worker(store: Store) -> None:
    run_id = new_run(store, [body([0, 1], step(), step(q="gpu"))])
    assert sorted(woken(store, run_id, alive(new=1.0))) == ["cpu", "gpu"]
    for _ in range(2):
        assert store.machine.sweep(run_id, alive(new=1.0), 60, is_fresh=True).wake_ups == ["cpu"]
    assert woken(store, run_id, alive(new=1.0)) == []


def test_a_worker_says_since_when_it_consumes_each_queue(store: Store) -> None:
    store.fleet.heartbeat("w", ["cpu"], 1)
    first = store.fleet.workers()["w"]["since"]
    store.fleet.heartbeat("w", ["cpu", "gpu"], 1)
    word = store.fleet.workers()["w"]
    assert word["since"] == first | {"gpu": word["at"]}
    store.fleet.heartbeat("w", ["gpu"], 1)
    store.fleet.heartbeat("w", ["cpu", "gpu"], 1)
    assert store.fleet.workers()["w"]["since"]["cpu"] > first["cpu"], "it stopped in between"
