"""A branch is a mapped DAG with one item or none; with none it is skipped, and what waits for it goes on."""

from __future__ import annotations

from dagcelery.store.protocol import Store
from dagcelery.store.records import CLOSE, Counts

from .moves import Worker, begun, body, drain, state_after, step, whole

TOPOLOGY = [body([0], step(s=[1, 2]), step(1, [3], x="0.0", b=1, br=1), step(1, [3], x="0.1", b=2, br=1), step(2))]
TOPOLOGY += [body([0], step()), body([0], step())]


def decided(store: Store, taken: int) -> tuple[str, Worker]:
    run_id, worker = begun(store, TOPOLOGY)
    worker.finish(worker.claim(), lists={"0.0": int(taken == 0), "0.1": int(taken == 1)})
    return run_id, worker


def counts(store: Store, run_id: str) -> dict[tuple[int, int], Counts]:
    return dict(store.reader.progress(run_id).counts)


def test_the_branch_that_is_not_taken_is_counted_when_that_is_decided(store: Store) -> None:
    for taken in (0, 1):
        run_id, _ = decided(store, taken)
        found = counts(store, run_id)
        assert [found[0, 1 + side].skipped for side in (0, 1)] == [int(taken == 1), int(taken == 0)]
        assert [found[0, 1 + side].total for side in (0, 1)] == [int(taken == 0), int(taken == 1)]


def test_a_run_is_done_with_one_of_its_branches(store: Store) -> None:
    run_id, _ = decided(store, 1)
    granted = drain(store, run_id, TOPOLOGY)
    assert sorted(granted) == sorted(["1[0:0]", "2[0:1]", "0", "close", "3"])
    assert state_after(store, run_id) == "done"
    found = counts(store, run_id)
    assert (1, 0) not in found
    assert (found[0, 1].done, found[0, 1].skipped, found[2, 0].done) == (0, 1, 1)


def test_a_worker_that_dies_with_a_branch_in_its_hands_has_decided_nothing_twice(store: Store) -> None:
    run_id, worker = decided(store, 0)
    for _ in range(3):
        claim = worker.claim(focus="0/2")
        assert (claim.step, claim.lo, claim.hi) == (2, 0, 0)
        store.machine.release(run_id, claim, worker.owner)
    assert counts(store, run_id)[0, 2].skipped == 1
    drain(store, run_id, TOPOLOGY)
    assert counts(store, run_id)[0, 2].skipped == 1


def test_clearing_takes_the_decision_back(store: Store) -> None:
    run_id, _ = decided(store, 0)
    drain(store, run_id, TOPOLOGY)
    assert store.machine.clear(run_id, whole(0))
    assert store.machine.resume(run_id)
    worker = Worker(store, run_id)
    worker.finish(worker.claim(), lists={"0.0": 0, "0.1": 1})
    assert [counts(store, run_id)[0, 1 + side].skipped for side in (0, 1)] == [1, 0]
    assert CLOSE not in [claim.step for claim in worker.pieces(TOPOLOGY, lambda claim: {}) if claim.scope.body == 1]
    assert state_after(store, run_id) == "done"
