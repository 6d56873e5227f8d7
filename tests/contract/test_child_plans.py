"""A piece may make a plan while it runs: it goes on in a scope of its own, and what closes that ends the piece."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from dagcelery.errors import RunNotFound
from dagcelery.store.keys import Keys
from dagcelery.store.protocol import Store
from dagcelery.store.records import CLOSE, ROOT, Block, Child, ChildPlan, Claim, Lost, Response, Scope, scope_id

from .moves import Body, Worker, begun, body, entries, new_run, step

GROWING = [body([0], step(s=[1]), step(1, needs=["0.0"]))]
"""Step 0 makes a plan, step 1 reads what came of it."""
PAIR = [body([0], step(s=[1]), step(1, needs=["0.0"]))]


def grow(worker: Worker, claim: Claim, *bodies: Body, plan: bytes = b"sealed", token: str = "") -> Response:
    """Delegate a piece to a plan with these bodies."""
    first = worker.store.machine.number(worker.run_id, len(bodies))
    made = Child(claim.lo, plan=ChildPlan(first, entries(bodies), plan))
    return worker.store.machine.delegate(worker.run_id, claim, [made], worker.owner, token or f"grow-{first}", None)


def close(worker: Worker, claim: Claim, result: bytes = b"result") -> Response:
    """Commit what closes a scope: the outputs of the piece that made its plan."""
    assert claim.step == CLOSE
    scope = claim.scope
    if scope.index < 0:
        return worker.finish(claim, values={f"{scope.step}.0": result})
    block = Block(f"{scope.step}.0", scope.index, scope.index + 1, claim.attempt, result)
    return worker.finish(claim, blocks=[block])


def state_of(store: Store, run_id: str, at: tuple[int, int]) -> tuple[int, int, int]:
    counts = store.reader.progress(run_id).counts[at]
    return counts.total, counts.running, counts.done


def test_a_piece_goes_on_as_the_plan_that_it_made(store: Store) -> None:
    run_id, worker = begun(store, GROWING)
    assert grow(worker, worker.claim(), *PAIR).state == "committed"
    assert state_of(store, run_id, (0, 0)) == (1, 0, 0)
    scope = scope_id(run_id, ROOT, 0, -1)
    first = worker.claim()
    assert (first.scope, first.step) == (Scope(scope, ROOT, 0, -1, 1, 1), 0)
    worker.finish(first, values={"0.0": b"inner"})
    second = worker.claim()
    assert (second.step, second.values) == (1, {"0.0": b"inner"})
    worker.finish(second)
    reply = close(worker, worker.claim())
    assert [(o.scope, o.step) for o in reply.opened] == [(ROOT, 1)]
    assert state_of(store, run_id, (0, 0)) == (1, 0, 1)
    last = worker.claim()
    assert (last.scope.id, last.step, last.values) == (ROOT, 1, {"0.0": b"result"})
    assert worker.finish(last).run == "done"


def test_a_plan_is_found_by_the_number_of_its_first_body(store: Store) -> None:
    run_id, worker = begun(store, GROWING)
    large = b"p" * 1_200_000
    grow(worker, worker.claim(), *PAIR, *PAIR, plan=large)
    scope = scope_id(run_id, ROOT, 0, -1)
    assert list(store.reader.child_plans(run_id, [1, 2, 0, 99])) == [(scope, large), None, None, None]
    assert list(store.reader.child_plans("nowhere", [1])) == [None]


def test_no_number_is_given_twice(store: Store) -> None:
    run_id = new_run(store, GROWING)
    assert [store.machine.number(run_id, 2), store.machine.number(run_id, 1), store.machine.number(run_id, 1)] == [
        1,
        3,
        4,
    ]
    with pytest.raises(RunNotFound):
        store.machine.number("nowhere", 1)


def test_queues_that_the_run_did_not_have_come_with_the_plan(store: Store) -> None:
    run_id, worker = begun(store, GROWING)
    gpu = Worker(store, run_id, "worker-g:1", "gpu")
    reply = grow(worker, worker.claim(), body([0], step(q="gpu")))
    assert [o.queue for o in reply.opened] == ["gpu"]
    assert worker.nothing()
    assert store.machine.wake_ups(run_id, "gpu", 2) == 1
    gpu.finish(gpu.claim())
    close(worker, worker.claim())
    assert worker.finish(worker.claim()).run == "done"


def test_of_two_attempts_one_delegates(store: Store) -> None:
    run_id = new_run(store, GROWING)
    slow, fast = Worker(store, run_id, "worker-s:1"), Worker(store, run_id, "worker-f:1")
    lost = slow.claim()
    store.machine.sweep(run_id, Lost(["worker-s"]), 1)
    again = fast.claim()
    assert again.attempt == 2
    assert grow(fast, again, *PAIR, plan=b"fast").state == "committed"
    assert grow(slow, lost, *PAIR, plan=b"slow").state == "stale"
    assert slow.finish(lost, values={"0.0": b"late"}).state == "stale"
    found = fast.claim().scope
    plan = store.reader.child_plans(run_id, [found.body])[0]
    assert plan == (found.id, b"fast")


def test_a_call_that_is_repeated_delegates_once(store: Store) -> None:
    run_id, worker = begun(store, GROWING)
    claim = worker.claim()
    first = store.machine.number(run_id, 1)
    made = [Child(-1, plan=ChildPlan(first, entries([body([0], step())]), b"sealed"))]
    replies = [store.machine.delegate(run_id, claim, made, worker.owner, "same", None) for _ in range(2)]
    assert replies[0] == replies[1]
    assert store.reader.progress(run_id).scopes == {0: 1, first: 1}


def test_whoever_dies_while_closing_is_followed_by_another(store: Store) -> None:
    run_id = new_run(store, GROWING)
    dying, other = Worker(store, run_id, "worker-d:1"), Worker(store, run_id, "worker-o:1")
    grow(other, other.claim(), body([0], step()))
    other.finish(other.claim())
    lost = dying.claim()
    store.machine.sweep(run_id, Lost(["worker-d"]), 1)
    closing = other.claim()
    assert (lost.step, closing.step) == (CLOSE, CLOSE)
    # What closes writes in the parent: as later attempts than the one that delegated.
    assert [lost.attempt, closing.attempt] == [2, 3]
    assert close(other, closing, b"kept").state == "committed"
    assert close(dying, lost, b"late").state == "stale"
    assert other.claim().values == {"0.0": b"kept"}


def test_a_failure_within_fails_the_run_and_resume_goes_on_from_there(store: Store) -> None:
    run_id, worker = begun(store, GROWING)
    grow(worker, worker.claim(), *PAIR)
    inner = worker.claim()
    assert worker.fail(inner).run == "failed"
    assert store.reader.failures(run_id) == {f"{inner.scope.id}/0": b"boom"}
    assert store.machine.resume(run_id)
    again = worker.claim()
    assert (again.scope.id, again.step, again.attempt) == (inner.scope.id, 0, 2)
    worker.finish(again)
    worker.finish(worker.claim())
    close(worker, worker.claim())
    assert worker.finish(worker.claim()).run == "done"


def test_what_lies_in_a_closed_scope_is_freed(store: Store) -> None:
    kept: list[Any] = [GROWING[0] | {"start": GROWING[0]["start"] | {"kp": True}}]
    kept[0]["1"] = kept[0]["1"] | {"rd": [0], "rt": 1}
    run_id, worker = begun(store, kept)
    grow(worker, worker.claim(), *PAIR)
    scope = scope_id(run_id, ROOT, 0, -1)
    worker.finish(worker.claim(), values={"0.0": b"inner"})
    store.machine.collect_garbage(run_id)
    assert list(store.reader.values(run_id, scope, ["0.0"])) == [b"inner"]
    worker.finish(worker.claim())
    large = bytes(1_500_000)
    close(worker, worker.claim(), large)
    store.machine.collect_garbage(run_id)
    assert list(store.reader.values(run_id, scope, ["0.0"])) == [None]
    assert list(store.reader.values(run_id, ROOT, ["0.0"])) == [large]
    body_of = store.reader.child_plans(run_id, [1])[0]
    assert body_of == (scope, b"sealed")
    assert worker.finish(worker.claim()).run == "done"
    store.machine.collect_garbage(run_id)
    assert list(store.reader.values(run_id, ROOT, ["0.0"])) == [None]


def test_what_is_staged_for_a_run_that_is_gone_is_not_written(redis_store: Any, raw: redis.Redis) -> None:
    run_id, worker = begun(redis_store, GROWING)
    claim = worker.claim()
    redis_store.machine.delete(run_id)
    made = [Child(-1, plan=ChildPlan(1, entries(PAIR), b"sealed"))]
    assert redis_store.machine.delegate(run_id, claim, made, worker.owner, "t", None).run == "gone"
    assert not raw.exists(Keys().run(run_id, "g", 1))
