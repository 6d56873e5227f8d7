"""Items that may be skipped: a marker stands where their result would, as long as enough of the others succeed."""

from __future__ import annotations

from dagcelery.store.protocol import Store
from dagcelery.store.records import Block, Claim

from .moves import Worker, begun, body, new_run, outliving, results, retry, step
from .test_retries import counts, kinds


def marker(claim: Claim, item: int, data: bytes = b"-") -> dict[str, list[Block]]:
    return {claim.scope.id: [Block(f"{claim.step}.0", item, item + 1, claim.attempt, data)]}


def play(store: Store, run_id: str, bad: set[int]) -> str:
    """Do every item, those in `bad` fail; what follows is finished. Answers the run's state."""
    worker = Worker(store, run_id)
    state = ""
    while (claim := worker.ask(ranges={"0.0": 2}).claim) is not None:
        failing = sorted(bad & set(range(claim.lo, claim.hi))) if claim.lo >= 0 and claim.step == 0 else []
        if failing:
            at = failing[0]
            reply = worker.fail(claim, at=at, markers=marker(claim, at), blocks=results(claim, at))
        else:
            reply = worker.finish(claim, blocks=results(claim) if claim.lo >= 0 else [])
        state = reply.run
    return state


def read(store: Store, run_id: str, items: int) -> bytes:
    return b"".join(block.data for block in store.reader.blocks(run_id, "0", "0.0", 0, items))


def test_a_skipped_item_counts_as_done_and_its_marker_is_read(store: Store) -> None:
    run_id = new_run(store, [body([0], step(x="$xs", s=[1], ms=0.5), step(1))], lists={"$xs": 8})
    assert play(store, run_id, {1, 2, 7}) == "done"
    assert counts(store, run_id) == (0, 5, 0, 0, 3)
    assert read(store, run_id, 8) == b".--....-"
    assert sorted(store.reader.failures(run_id)) == ["0/0/1", "0/0/2", "0/0/7"], "why they were skipped is kept"
    assert [(k, p) for k, p, _ in kinds(store, run_id) if k == "skipped"] == [
        ("skipped", f"0/0/{i}") for i in (1, 2, 7)
    ]


def test_more_failures_than_are_tolerated_fail_the_run(store: Store) -> None:
    for share, items, most in ((0.5, 8, 4), (0.9, 10, 1), (0.7, 10, 3), (1.0, 5, 0), (0.0, 3, 3), (1 / 3, 3, 2)):
        for failing in {most, most + 1} - {items + 1}:
            run_id = new_run(store, [body([0], step(x="$xs", ms=share))], lists={"$xs": items})
            expected = "done" if failing <= most else "failed"
            assert play(store, run_id, set(range(failing))) == expected, (share, items, failing)


def test_an_item_is_skipped_only_when_its_tries_are_spent(store: Store) -> None:
    run_id, worker = begun(store, [body([0], step(x="$xs", ms=0.0, r=retry(2)))], lists={"$xs": 1})
    states = []
    while (claim := worker.ask().claim) is not None:
        states.append(worker.fail(claim, retryable=True, markers=marker(claim, claim.lo)).state)
    assert states == ["retried", "skipped"]
    assert read(store, run_id, 1) == b"-"


def test_a_marker_outranks_what_an_earlier_attempt_left_behind(store: Store) -> None:
    run_id, worker = begun(store, [body([0], step(x="$xs", ms=0.0, r=retry(2)))], lists={"$xs": 2})
    first = worker.claim()
    worker.fail(first, retryable=True, blocks=[])
    claim = worker.claim()
    while claim.lo != first.lo:
        worker.finish(claim, blocks=results(claim))
        claim = worker.claim()
    assert claim.attempt == 2
    worker.fail(claim, markers=marker(claim, claim.lo))
    while (claim := worker.ask().claim or first) is not first:
        worker.finish(claim, blocks=results(claim))
    assert read(store, run_id, 2) == b"-."


def test_a_step_that_runs_once_is_never_skipped(store: Store) -> None:
    _, worker = begun(store, [body([0], step(ms=0.0))])
    assert worker.fail(worker.claim()).run == "failed"


def test_the_failing_of_an_empty_fan_out_is_not_skipped(store: Store) -> None:
    run_id, worker = begun(store, [body([0], step(x="$xs", ms=0.0))], lists={"$xs": 0})
    assert worker.fail(worker.claim()).run == "failed"
    store.machine.resume(run_id)
    assert worker.finish(worker.claim()).run == "done"


def test_an_item_that_was_skipped_stays_skipped_in_the_next_epoch(store: Store) -> None:
    topology = outliving(body([0], step(x="$xs", ms=0.75, s=[1]), step(1)))
    run_id = new_run(store, topology, lists={"$xs": 4})
    assert play(store, run_id, {1, 2}) == "failed"
    assert counts(store, run_id) == (0, 2, 1, 0, 1)
    for _ in range(2):
        assert store.machine.resume(run_id)
        assert counts(store, run_id) == (0, 2, 0, 0, 1)
        assert play(store, run_id, {2}) == "failed", "the share is of all epochs"
    assert store.machine.resume(run_id)
    assert play(store, run_id, set()) == "done"
    assert counts(store, run_id) == (0, 3, 0, 0, 1)
    assert read(store, run_id, 4) == b".-.."


def test_a_last_item_that_is_skipped_tells_many_successors(store: Store) -> None:
    width = 1200
    topology = [body([0], step(x="$xs", ms=0.0, s=range(1, width + 1)), *(step(1) for _ in range(width)))]
    run_id, worker = begun(store, topology, lists={"$xs": 1})
    claim = worker.claim()
    want = worker.want()
    reply = worker.fail(claim, want, markers=marker(claim, 0))
    assert (reply.state, len(reply.opened), reply.ready) == ("skipped", width, width - 1)
    assert worker.fail(claim, want, markers=marker(claim, 0)).claim == reply.claim
    assert counts(store, run_id) == (0, 0, 0, 0, 1)
