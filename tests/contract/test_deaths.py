"""Deaths are counted by piece, and poison it; whoever speaks again, or left in good order, has not died."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

import pytest

from dagcelery.store.protocol import Store
from dagcelery.store.records import Claim, Lost

from .moves import Worker, begun, body, new_run, outliving, pass_time, retry, state_after, step
from .test_retries import counts, kinds

ONE = [body([0], step())]


def die(store: Store, run_id: str, *workers: str, deaths: int = 3, limited: bool = False) -> list[tuple[str, str]]:
    """Each worker in turn claims what is first and dies of it; what is poisoned then."""
    for worker in workers:
        Worker(store, run_id, f"{worker}:1").claim()
        swept = store.machine.sweep(run_id, Lost([worker], limited=limited), 1, deaths)
        assert swept.released == 1
    return list(swept.poisoned)


def test_a_piece_is_poisoned_by_its_third_death(store: Store) -> None:
    run_id = new_run(store, ONE)
    assert die(store, run_id, "b1", "b2") == []
    assert die(store, run_id, "b3") == [("cpu", "0/0")]
    worker = Worker(store, run_id)
    claim = worker.claim()
    assert (claim.poisoned, claim.attempt) == ("died", 4)
    assert worker.fail(claim).run == "failed"
    assert not store.machine.sweep(run_id, Lost(), 1).poisoned


def test_what_is_poisoned_is_told_no_inputs(store: Store) -> None:
    run_id = new_run(store, [body([0], step(needs=["$a"]))], values={"$a": b"a"})
    die(store, run_id, "b1", deaths=1)
    claim = Worker(store, run_id).claim()
    assert (claim.poisoned, dict(claim.values)) == ("died", {})


def test_an_item_is_poisoned_once_it_was_alone(store: Store) -> None:
    run_id = new_run(store, outliving(body([0], step(x="$xs"))), lists={"$xs": 4})
    worker, dead = Worker(store, run_id), 0
    done: list[tuple[int, str]] = []
    while (claim := worker.ask(ranges={"0.0": 4}).claim) is not None:
        if claim.poisoned:
            worker.fail(claim)
            done.append((claim.lo, claim.poisoned))
        elif claim.lo <= 2 < claim.hi:
            # Whoever gets item 2 dies.
            dead += 1
            store.machine.release(run_id, claim, worker.owner)
            Worker(store, run_id, f"b{dead}:1").claim(ranges={"0.0": 4})
            store.machine.sweep(run_id, Lost([f"b{dead}"]), 1, 2)
        else:
            worker.finish(claim)
            done += [(item, "") for item in range(claim.lo, claim.hi)]
    assert sorted(done) == [(0, ""), (1, ""), (2, "died"), (3, "")]
    assert state_after(store, run_id) == "failed"
    assert dead <= 4


def test_the_deaths_of_a_range_are_not_those_of_its_first_item(store: Store) -> None:
    run_id = new_run(store, [body([0], step(x="$xs"))], lists={"$xs": 64})
    for worker in ("b1", "b2", "b3"):
        Worker(store, run_id, f"{worker}:1").claim(ranges={"0.0": 30})
        assert store.machine.sweep(run_id, Lost([worker]), 1, 1).poisoned == []


def test_another_items_condemnation_is_its_own(store: Store) -> None:
    run_id = new_run(store, [body([0], step(x="$xs"))], lists={"$xs": 3})
    die(store, run_id, "b1", deaths=1)
    worker = Worker(store, run_id)
    assert sorted((g.lo, g.poisoned) for g in (worker.claim() for _ in range(3))) == [(0, "died"), (1, ""), (2, "")]


def test_two_poisoned_items_are_named_as_one_step(store: Store) -> None:
    run_id = new_run(store, [body([0], step(x="$xs"))], lists={"$xs": 3})
    claims = [Worker(store, run_id, f"b:{pid}").claim() for pid in range(2)]
    assert [g.lo for g in claims] == [0, 1]
    assert store.machine.sweep(run_id, Lost(["b"]), 1, 1).poisoned == [("cpu", "0/0")]


def test_a_pause_that_was_taken_for_a_death_is_forgiven(store: Store) -> None:
    run_id = new_run(store, ONE)
    sleeper = Worker(store, run_id, "s:1")
    paused = sleeper.claim()
    store.machine.sweep(run_id, Lost(["s"]), 1)
    die(store, run_id, "worker-s")
    held = Worker(store, run_id, "other:1").claim()
    assert sleeper.finish(paused).state == "stale", "another attempt has begun since"
    store.machine.release(run_id, held, "other:1")
    assert die(store, run_id, "b3") == [], "two have died"
    assert die(store, run_id, "b4") == [("cpu", "0/0")]


def test_nobody_is_forgiven_for_a_name_that_ends_alike(store: Store) -> None:
    run_id = new_run(store, ONE)
    die(store, run_id, "worker-s")
    speaker, holder = Worker(store, run_id, "s:1"), Worker(store, run_id, "x:1")
    held = holder.claim()
    assert speaker.finish(held).state == "stale"
    store.machine.release(run_id, held, holder.owner)
    assert die(store, run_id, "b2", deaths=2) == [("cpu", "0/0")]


def test_who_wakes_before_anybody_else_claimed_takes_its_condemnation_along(store: Store) -> None:
    for fan_out in (False, True):
        run_id = new_run(store, [body([0], step(x="$xs" if fan_out else "", s=[1]), step(1))], lists={"$xs": 1})
        sleeper = Worker(store, run_id, "b1:1")
        claim = sleeper.claim()
        assert store.machine.sweep(run_id, Lost(["b1"]), 1, 1).poisoned == [("cpu", "0/0")]
        assert sleeper.finish(claim).state == "committed"
        assert not store.machine.sweep(run_id, Lost(), 1).poisoned
        assert sleeper.claim().poisoned == ""


def test_who_left_in_good_order_has_not_died_of_its_piece(store: Store) -> None:
    run_id = new_run(store, ONE)
    for worker in ("b1", "b2", "b3", "b4"):
        Worker(store, run_id, f"{worker}:1").claim()
        swept = store.machine.sweep(run_id, Lost(left=[worker]), 1, 1)
        assert (swept.released, swept.poisoned) == (1, [])
    assert Worker(store, run_id).claim().attempt == 5


@pytest.mark.parametrize(
    ("working", "since", "released"),
    [(None, 2.0, 0), ([], 2.0, 1), (["other"], 2.0, 1), (["message-1"], 2.0, 0), ([], 0.0, 0), ([], -60.0, 0)],
)
def test_a_live_workers_claim_whose_message_is_over_comes_back(
    store: Store, working: Collection[str] | None, since: float, released: int
) -> None:
    run_id = new_run(store, ONE)
    Worker(store, run_id, "b:1").claim(message="message-1-and-more")
    alive = {"b": (time.time() + since, working)}
    swept = store.machine.sweep(run_id, Lost(alive=alive), 3600, 1)
    assert (swept.released, swept.poisoned) == (released, [])


def test_the_messages_that_work_on_a_run_are_known(store: Store) -> None:
    run_id = new_run(store, [body([0, 1, 2, 3], step(), step(), step(), step())])
    workers = [Worker(store, run_id, f"b:{pid}") for pid in range(4)]
    claims = [w.claim(message=m) for w, m in zip(workers, ["m2", "m1", "", "m2"], strict=True)]
    assert list(store.reader.messages(run_id)) == ["m1", "m2"]
    workers[1].finish(claims[1])
    assert list(store.reader.messages(run_id)) == ["m2"]
    assert list(store.reader.messages("nobody")) == []


def test_the_messages_that_a_worker_works_on_are_announced(store: Store) -> None:
    store.fleet.heartbeat("b", ["cpu"], 2, ["0123456789", "x"])
    assert list(store.fleet.workers()["b"]["messages"]) == ["01234567", "x"]


# -- time limits --------------------------------------------------------------------------------------
def test_a_piece_that_reached_its_hard_limit_is_poisoned_at_once(store: Store) -> None:
    run_id = new_run(store, [body([0], step(tl=1.0, r=retry(5)))])
    assert die(store, run_id, "b1", limited=True) == [("cpu", "0/0")]
    worker = Worker(store, run_id)
    claim = worker.claim()
    assert claim.poisoned == "timeout"
    assert worker.fail(claim).run == "failed"


def test_a_policy_may_retry_what_reached_its_hard_limit(store: Store) -> None:
    run_id = new_run(store, [body([0], step(tl=1.0, r=retry(2, 30.0, limit=True)))])
    assert die(store, run_id, "b1", limited=True) == []
    assert counts(store, run_id)[3] == 1
    assert ("retried", "0/0", 1) in kinds(store, run_id)
    assert Worker(store, run_id).nothing()
    pass_time(store, run_id, 31)
    assert die(store, run_id, "b2", limited=True) == [("cpu", "0/0")], "its calls are spent"
    assert Worker(store, run_id).claim().poisoned == "timeout"


def test_calls_that_failed_and_calls_that_were_cut_off_are_counted_together(store: Store) -> None:
    run_id, worker = begun(store, [body([0], step(x="$xs", tl=1.0, r=retry(2, limit=True)))], lists={"$xs": 1})
    assert worker.fail(worker.claim(), retryable=True).state == "retried"
    assert die(store, run_id, "b1", limited=True) == [("cpu", "0/0")]


def test_a_death_before_the_limit_is_a_death(store: Store) -> None:
    run_id = new_run(store, [body([0], step(tl=1.0, r=retry(2, limit=True)))])
    assert die(store, run_id, "b1") == []
    assert die(store, run_id, "b2", deaths=2) == [("cpu", "0/0")]
    assert Worker(store, run_id).claim().poisoned == "died"


def test_the_limit_of_another_step_is_a_death_to_this_one(store: Store) -> None:
    run_id = new_run(store, ONE)
    assert die(store, run_id, "b1", limited=True) == []
    assert die(store, run_id, "b2", deaths=2, limited=True) == [("cpu", "0/0")]
    assert Worker(store, run_id).claim().poisoned == "died"


def test_items_with_a_time_limit_are_claimed_one_by_one(store: Store) -> None:
    run_id = new_run(store, [body([0], step(x="$xs", tl=1.0))], lists={"$xs": 20})
    claim = Worker(store, run_id).claim(ranges={"0.0": 9})
    assert (claim.lo, claim.hi) == (0, 1)


# -- late starts --------------------------------------------------------------------------------------
def late(store: Store, run_id: str) -> Sequence[tuple[str, str]]:
    return store.machine.sweep(run_id, Lost(), 1).poisoned


@pytest.mark.parametrize("over", ["", "$xs"])
def test_what_nobody_began_in_time_is_poisoned(store: Store, over: str) -> None:
    run_id = new_run(store, [body([0], step(x=over, sw=30.0, q="gpu"))], lists={"$xs": 3})
    assert late(store, run_id) == []
    pass_time(store, run_id, 31)
    assert late(store, run_id) == [("gpu", "0/0")]
    worker = Worker(store, run_id, queue="gpu")
    claim = worker.claim(focus="0/0", only=True)
    assert claim.poisoned == "start_within"
    assert worker.fail(claim).run == "failed"


@pytest.mark.parametrize("over", ["", "$xs"])
def test_what_was_begun_in_time_may_take_its_time(store: Store, over: str) -> None:
    run_id, worker = begun(store, [body([0], step(x=over, sw=30.0))], lists={"$xs": 3})
    claim = worker.claim()
    pass_time(store, run_id, 31)
    assert late(store, run_id) == []
    worker.finish(claim)
    done: Claim | None = worker.ask().claim
    while done is not None:
        assert done.poisoned == ""
        worker.finish(done)
        done = worker.ask().claim
    assert state_after(store, run_id) == "done"


def test_the_time_to_start_begins_when_a_step_is_ready(store: Store) -> None:
    run_id, worker = begun(store, [body([0], step(s=[1]), step(1, sw=30.0))])
    claim = worker.claim()
    pass_time(store, run_id, 31)
    worker.finish(claim)
    assert late(store, run_id) == []
    assert worker.claim().poisoned == ""
