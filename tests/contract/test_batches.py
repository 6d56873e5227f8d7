"""Short pieces share calls: a batch is claimed and committed at once, and each piece of it keeps a state of its own."""

from __future__ import annotations

from typing import Any

import pytest

from dagcelery.store.protocol import Store
from dagcelery.store.records import Claim, Event, Lost, Response, TaskResult

from .moves import Body, Worker, begun, body, name, retry, step

SHORT = {"f": 20}
"""A function of which twenty calls fit into a batch."""


def wide(width: int, **policies: Any) -> list[Body]:
    """Steps side by side, and one that waits for all of them."""
    beside = [step(s=[width], **{"f": "f"} | policies) for _ in range(width)]
    return [body(range(width), *beside, step(width))]


def straight(length: int, **policies: Any) -> list[Body]:
    """Steps one behind the other."""
    last = length - 1
    steps = [step(min(i, 1), [i + 1] if i < last else [], f="f", **policies) for i in range(length)]
    return [body([0], *steps)]


def behind(claim: Claim, steps: int) -> list[Claim]:
    """A claim, and what is executed right behind it without one."""
    last = frozenset({"the one before"})
    return [
        claim,
        *(Claim(claim.scope, claim.step + n, -1, -1, 1, -1, follows=last) for n in range(1, steps + 1)),
    ]


def commit(worker: Worker, claims: list[Claim], token: str = "", **options: Any) -> Response:
    """Commit pieces in one call."""
    want = worker.want(**options)
    executed = [(claim, TaskResult(started=1.0, seconds=0.001)) for claim in claims]
    return worker.store.machine.finish(worker.run_id, executed, worker.owner, token or want.token, want)


def done(store: Store, run_id: str) -> list[Event]:
    """What is told of the ends of pieces."""
    return [event for event in store.reader.events(run_id, "", 100) if event.kind == "done" and event.piece]


def granted(reply: Response) -> list[str]:
    return [name(claim) for claim in reply.claims]


@pytest.mark.parametrize(
    ("width", "slots", "calls", "size"),
    [(40, 1, 20, 20), (40, 4, 20, 5), (40, 1, 3, 3), (3, 1, 20, 2), (200, 1, 99, 32), (8, 4, 900, 8), (40, 2, 900, 20)],
)
def test_a_batch_takes_what_fits_into_its_time_and_leaves_as_much_to_each_process(
    store: Store, width: int, slots: int, calls: int, size: int
) -> None:
    _, worker = begun(store, wide(width))
    assert len(worker.ask(slots=slots, short={"f": calls}).claims) == size


@pytest.mark.parametrize("policies", [{"f": ""}, {"f": "g"}, {"al": True}])
def test_a_step_whose_function_may_not_come_in_a_batch_or_is_not_known_to_be_short_comes_alone(
    store: Store, policies: dict[str, Any]
) -> None:
    _, worker = begun(store, wide(8, **policies))
    assert len(worker.ask(short=SHORT).claims) == 1


@pytest.mark.parametrize("policies", [{"al": True}, {"tl": 9.0}, {}], ids=["alone", "limited", "batched"])
@pytest.mark.parametrize(("short", "wake_ups"), [({}, 3), ({"f": 1}, None)], ids=["unknown", "short"])
def test_others_are_told_of_what_waits_behind_a_function_that_is_not_known_to_be_short(
    store: Store, policies: dict[str, Any], short: dict[str, int], wake_ups: int | None
) -> None:
    _, worker = begun(store, wide(8, **policies))
    assert worker.ask(slots=4, short=short).wake_ups == wake_ups


def test_each_piece_of_a_batch_has_its_own_end_and_the_step_behind_starts_after_the_last(store: Store) -> None:
    run_id, worker = begun(store, wide(8))
    first = worker.ask(short=SHORT)
    assert granted(first) == ["0", "1", "2", "3"]
    second = commit(worker, list(first.claims), short=SHORT)
    assert second.states == ["committed"] * 4
    while (reply := commit(worker, list(second.claims), short=SHORT)).claims:
        assert set(reply.states) == {"committed"}
        second = reply
    assert [event.piece for event in done(store, run_id)] == [f"0/{number}" for number in range(9)]
    assert reply.run == "done"


def test_a_batch_is_one_process_at_work(store: Store) -> None:
    run_id, worker = begun(store, wide(40))
    assert len(worker.ask(slots=4, short=SHORT).claims) == 5
    assert store.machine.wake_ups(run_id, "cpu", 4) == 3


def test_a_repeated_call_gets_the_same_batch_and_commits_nothing_twice(store: Store) -> None:
    run_id, worker = begun(store, wide(40))
    want = worker.want(short=SHORT)
    first = store.machine.claim(run_id, want)
    assert store.machine.claim(run_id, want) == first
    executed = [(claim, TaskResult(started=1.0, seconds=0.001)) for claim in first.claims]
    want = worker.want(short=SHORT)
    second = store.machine.finish(run_id, executed, worker.owner, want.token, want)
    assert store.machine.finish(run_id, executed, worker.owner, want.token, want) == second
    assert store.reader.progress(run_id).counts[0, 0].done == 1


def test_what_died_in_a_batch_comes_back_alone(store: Store) -> None:
    run_id, worker = begun(store, wide(4))
    assert len(worker.ask(short=SHORT).claims) == 2
    store.machine.sweep(run_id, Lost(["worker-a"]), 10)
    other = Worker(store, run_id, "worker-b:1")
    reply = other.ask(short=SHORT)
    assert [(claim.step, claim.attempt) for claim in reply.claims] == [(0, 2)]
    ended = []
    while reply.claims:
        ended += granted(reply)
        reply = commit(other, list(reply.claims), short=SHORT)
    assert (sorted(ended), reply.run) == (["0", "1", "2", "3", "4"], "done")


def test_what_has_not_begun_of_a_batch_goes_back_and_costs_no_attempt(store: Store) -> None:
    run_id, worker = begun(store, wide(4))
    first, rest = worker.ask(short=SHORT).claims
    store.machine.release(run_id, rest, worker.owner)
    assert store.machine.wake_ups(run_id, "cpu", 2) == 1
    again = Worker(store, run_id, "worker-b:1").ask(short=SHORT).claims
    assert [(claim.step, claim.attempt) for claim in again] == [(1, 1), (2, 1)]
    assert commit(worker, [first, rest]).states == ["committed", "stale"]


def test_one_that_is_stale_does_not_keep_the_others_of_its_batch_from_their_end(store: Store) -> None:
    run_id, worker = begun(store, wide(4))
    claims = list(worker.ask(short=SHORT).claims)
    assert worker.finish(claims[0]).state == "committed"
    assert commit(worker, claims).states == ["stale", "committed"]
    assert store.reader.progress(run_id).counts[0, 0].done == 1


# -- straight runs --------------------------------------------------------------------------------
def test_a_straight_run_is_committed_at_once_and_only_its_first_step_was_claimed(store: Store) -> None:
    run_id, worker = begun(store, straight(4))
    reply = commit(worker, behind(worker.claim(), 2))
    assert (reply.states, granted(reply)) == (["committed"] * 3, ["3"])
    assert reply.opened == []  # whoever claims on the same queue finds it
    assert commit(worker, list(reply.claims)).run == "done"
    assert [event.attempt for event in done(store, run_id)] == [1] * 4


def test_behind_a_step_that_was_taken_over_nothing_is_committed(store: Store) -> None:
    run_id, worker = begun(store, straight(3))
    claim = worker.claim()
    store.machine.sweep(run_id, Lost(["worker-a"]), 10)
    other = Worker(store, run_id, "worker-b:1").claim()
    assert commit(worker, behind(claim, 2)).states == ["stale"] * 3
    assert Worker(store, run_id, "worker-b:1").finish(other).state == "committed"


def test_behind_a_run_that_was_cancelled_nothing_is_committed(store: Store) -> None:
    run_id, worker = begun(store, straight(3))
    claim = worker.claim()
    store.machine.end(run_id, "cancelled", "")
    assert commit(worker, behind(claim, 1)).states == ["committed", "stale"]
    assert store.machine.resume(run_id)
    assert worker.claim().step == 1


def test_a_step_that_was_tried_before_is_not_committed_as_its_first_attempt(store: Store) -> None:
    run_id, worker = begun(store, straight(2))
    claim = worker.claim()
    worker.finish(claim)
    assert worker.claim().attempt == 1
    store.machine.sweep(run_id, Lost(["worker-a"]), 10)
    reply = commit(worker, [behind(claim, 1)[1]])
    assert (reply.states, [claim.attempt for claim in reply.claims]) == (["stale"], [2])


def test_behind_a_step_that_another_worker_has_committed_nothing_is_committed(store: Store) -> None:
    run_id, worker = begun(store, straight(3))
    claim = worker.claim()
    store.machine.sweep(run_id, Lost(["worker-a"]), 10)
    other = Worker(store, run_id, "worker-b:1")
    other.finish(other.claim())
    assert commit(worker, behind(claim, 2), queue="none").states == ["stale"] * 3
    assert other.claim().attempt == 1


def test_the_call_that_commits_a_piece_claims_what_was_executed_behind_it_and_failed(store: Store) -> None:
    run_id, worker = begun(store, straight(2, r=retry(2)))
    first, second = behind(worker.claim(), 1)
    assert worker.fail(second).state == "stale"
    reply = commit(worker, [first], focus=second.piece, only=True)
    assert [(claim.piece, claim.attempt) for claim in reply.claims] == [("0/1", 1)]
    assert worker.fail(reply.claims[0], retryable=True).state == "retried"
    store.machine.sweep(run_id, Lost([]), 10)
    again = worker.claim()
    assert again.attempt == 2
    assert worker.fail(again, retryable=True).run == "failed"


@pytest.mark.parametrize("wide_one", [0, 1])
def test_a_step_with_many_successors_comes_alone(store: Store, wide_one: int) -> None:
    beside = [step(f="f", s=range(4, 24) if number == wide_one else []) for number in range(4)]
    _, worker = begun(store, [body(range(4), *beside, *(step(1) for _ in range(20)))])
    assert [name(claim) for claim in worker.ask(slots=1, short=SHORT).claims] == ["0"]


def test_each_piece_of_a_run_that_is_gone_is_stale(store: Store) -> None:
    run_id, worker = begun(store, wide(8))
    claims = list(worker.ask(short=SHORT).claims)
    store.machine.delete(run_id)
    assert commit(worker, claims).states == ["stale"] * 4


def test_a_death_counts_for_no_piece_that_was_claimed_with_others_or_may_have_had_some_behind_it(store: Store) -> None:
    run_id, worker = begun(store, wide(4))
    assert len(worker.ask(short=SHORT).claims) == 2
    store.machine.sweep(run_id, Lost(["worker-a"]), 10, deaths=1)
    first = Worker(store, run_id, "worker-b:1").ask(short=SHORT).claims
    assert [(claim.step, claim.poisoned) for claim in first] == [(0, "")]
    store.machine.sweep(run_id, Lost(["worker-b"]), 10, deaths=1)
    assert Worker(store, run_id, "worker-c:1").claim().poisoned == "died"


def test_a_piece_that_is_poisoned_keeps_no_other_from_being_committed_behind_what_it_follows(store: Store) -> None:
    steps = [step(f="f", s=[1]), step(1, f="f"), step()]
    run_id, worker = begun(store, [body([0, 2], *steps)])
    assert worker.claim(focus="0/2").step == 2
    store.machine.sweep(run_id, Lost(["worker-a"]), 10, deaths=1)
    other = Worker(store, run_id, "worker-b:1")
    reply = commit(other, behind(other.claim(focus="0/0"), 1))
    assert (reply.states, [claim.poisoned for claim in reply.claims]) == (["committed"] * 2, ["died"])


def test_what_follows_two_is_committed_with_both(store: Store) -> None:
    run_id, worker = begun(store, wide(2))
    claims = [worker.claim(), worker.claim()]
    reply = commit(worker, [*claims, behind(claims[1], 1)[1]])
    assert (reply.states, reply.run, reply.opened) == (["committed"] * 3, "done", [])
    assert [event.piece for event in done(store, run_id)] == ["0/0", "0/1", "0/2"]


@pytest.mark.parametrize("late", [0, 1])
def test_what_follows_two_is_not_committed_if_one_of_them_was_overtaken(store: Store, late: int) -> None:
    _, worker = begun(store, wide(2))
    claims = [worker.claim(), worker.claim()]
    worker.finish(claims[late])
    reply = commit(worker, [*claims, behind(claims[1], 1)[1]])
    assert (reply.states[late], reply.states[1 - late], reply.states[2]) == ("stale", "committed", "stale")
    assert granted(reply) == ["2"]
