"""How long pieces wait for their next attempt, and how often they may be given back: one rule, whatever they met."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytest

from dagcelery.store.protocol import Store
from dagcelery.store.records import RETURNS_A_DEATH, Lost, Spot

from .moves import Worker, begun, body, new_run, outliving, retry, step

SECONDS = 1000.0
ITEMS = 12


def waits(store: Store, run_id: str) -> list[float]:
    """How long the pieces of a run have to wait from now."""
    return [spot.at - time.time() for spot in store.reader.outstanding(run_id).retrying if isinstance(spot, Spot)]


def steps(count: int, **policies: Any) -> list[dict[str, Any]]:
    return outliving(body(range(count), *(step(**policies) for _ in range(count))))


def failed(store: Store, policy: dict[str, Any]) -> list[float]:
    """Let some pieces raise; how long each waits."""
    run_id, worker = begun(store, steps(ITEMS, r=policy))
    for _ in range(ITEMS):
        worker.fail(worker.claim(), retryable=True)
    return waits(store, run_id)


def overran(store: Store, policy: dict[str, Any]) -> list[float]:
    """Let some pieces be killed by a time limit, all in one sweep; how long each waits."""
    run_id = new_run(store, steps(ITEMS, r=policy, tl=5.0))
    for pid in range(ITEMS):
        Worker(store, run_id, f"worker-a:{pid}").claim()
    store.machine.sweep(run_id, Lost(dead=["worker-a"], limited=True), 10)
    return waits(store, run_id)


@pytest.mark.parametrize("happens", [failed, overran])
def test_waits_vary_where_the_policy_says_so(store: Store, happens: Any) -> None:
    policy = retry(5, SECONDS, 1.0, SECONDS, limit=True)
    assert happens(store, policy) == [pytest.approx(SECONDS, abs=60)] * ITEMS
    varied = happens(store, policy | {"jitter": True})
    assert len(varied) == ITEMS
    assert all(SECONDS / 2 - 60 < wait <= SECONDS for wait in varied)
    assert max(varied) - min(varied) > 1  # they would all be alike once in 10^30 times
    assert varied != happens(store, policy | {"jitter": True})


@pytest.mark.parametrize("happens", [failed, overran])
@pytest.mark.parametrize(
    ("base", "factor", "cap", "wait"),
    [(1.0, sys.float_info.max, 900.0, 1.0), (0.0, sys.float_info.max, 900.0, 0.0), (900.0, 2.0, 900.0, 900.0)],
)
def test_waits_stay_in_their_bounds_however_steep_they_are(
    store: Store, happens: Any, base: float, factor: float, cap: float, wait: float
) -> None:
    for found in happens(store, retry(5, base, factor, cap, limit=True)):
        assert found == pytest.approx(wait, abs=60)


def test_a_wait_that_outgrows_all_numbers_is_its_cap(store: Store) -> None:
    run_id = new_run(store, [body([0], step(r=retry(9, 1e-3, sys.float_info.max, 0.002)))])
    worker, found = Worker(store, run_id), []
    for _ in range(4):
        found.append(worker.fail(worker.claim(), retryable=True).retry_seconds)
        time.sleep(0.01)
    assert found == [0.001, 0.002, 0.002, 0.002]


@pytest.mark.parametrize("place", ["once", "item"])
def test_a_piece_that_live_workers_give_back_again_and_again_is_poisoned(store: Store, place: str) -> None:
    shape = step(x="$n") if place == "item" else step()
    run_id = new_run(store, [body([0], shape)], lists={"$n": 1})
    for number in range(2 * RETURNS_A_DEATH):
        claim = Worker(store, run_id, f"worker-{number}:1").claim()
        assert claim.poisoned == ""
        store.machine.sweep(run_id, Lost(left=[f"worker-{number}"]), 10, deaths=2)
    assert Worker(store, run_id).claim().poisoned == "returned"


def test_giving_back_is_counted_apart_from_dying(store: Store) -> None:
    run_id = new_run(store, [body([0], step())])
    for number in range(2 * RETURNS_A_DEATH - 1):
        Worker(store, run_id, f"worker-{number}:1").claim()
        store.machine.sweep(run_id, Lost(left=[f"worker-{number}"]), 10, deaths=2)
    Worker(store, run_id, "worker-x:1").claim()
    store.machine.sweep(run_id, Lost(dead=["worker-x"]), 10, deaths=2)
    claim = Worker(store, run_id).claim()
    assert claim.poisoned == ""


def test_one_process_of_a_worker_may_leave_as_well(store: Store) -> None:
    run_id = new_run(store, [body([0], step())])
    first, other = Worker(store, run_id, "worker-a:1"), Worker(store, run_id, "worker-a:2")
    first.claim()
    assert store.machine.sweep(run_id, Lost(left=["worker-a:2"]), 10, deaths=1).released == 0
    assert store.machine.sweep(run_id, Lost(left=["worker-a:1"]), 10, deaths=1).released == 1
    assert other.claim().poisoned == ""


def test_resume_forgives_what_was_given_back(store: Store) -> None:
    run_id = new_run(store, [body([0], step())])
    for number in range(RETURNS_A_DEATH):
        Worker(store, run_id, f"worker-{number}:1").claim()
        store.machine.sweep(run_id, Lost(left=[f"worker-{number}"]), 10, deaths=1)
    worker = Worker(store, run_id)
    assert worker.fail(worker.claim()).run == "failed"
    assert store.machine.resume(run_id)
    assert worker.claim().poisoned == ""


def test_a_reply_says_which_fan_out_is_complete_and_how_long_the_run_took(store: Store) -> None:
    _, worker = begun(store, [body([0], step(x="$n", s=[1], ms=0.0), step(1))], lists={"$n": 3})
    replies = [
        worker.finish(worker.claim()),
        worker.fail(worker.claim(), markers={"0": []}),
        worker.finish(worker.claim()),
    ]
    assert [list(reply.completed) for reply in replies] == [[], [], [("0", 0, 0, 3, 1)]]
    last = worker.finish(worker.claim())
    assert (last.run, list(last.completed)) == ("done", [])
    assert last.lasted is not None
    assert 0 <= last.lasted < 60
    assert [reply.lasted for reply in replies] == [None] * 3


def test_whoever_ends_a_run_is_told_how_long_it_took_and_nobody_else(store: Store) -> None:
    run_id = new_run(store, [body([0], step())])
    assert store.machine.end(run_id, "cancelled", "enough").lasted is not None
    assert store.machine.end(run_id, "cancelled", "again").lasted is None
    late = new_run(store, [body([0], step())], deadline_seconds=0.01)
    time.sleep(0.02)
    swept = store.machine.sweep(late, Lost(), 10)
    assert (swept.run, swept.lasted is not None) == ("timed_out", True)
    assert store.machine.sweep(late, Lost(), 10).lasted is None
