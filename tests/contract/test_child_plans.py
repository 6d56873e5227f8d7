"""A piece may make a plan while it runs: it goes on in a scope of its own, and what closes that ends the piece."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from dagcelery.errors import RunNotFound
from dagcelery.store.keys import key
from dagcelery.store.protocol import Store
from dagcelery.store.records import CLOSE, ROOT, Block, Child, ChildPlan, Claim, Lost, Response, Scope, scope_id

from .moves import Body, Worker, body, elements, entries, new_run, retry, state_after, step, whole

GROWING = [body([0], step(s=[1]), step(1, needs=["0.0"]))]
"""Step 0 makes a plan, step 1 reads what came of it."""
MAPPED = [body([0], step(s=[1], x="$xs"), step(1))]
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
    progress = store.reader.progress(run_id)
    assert progress is not None
    counts = progress.counts[at]
    return counts.total, counts.running, counts.done


def test_a_piece_goes_on_as_the_plan_that_it_made(store: Store) -> None:
    run_id = new_run(store, GROWING)
    worker = Worker(store, run_id)
    assert grow(worker, worker.claim(), *PAIR).state == "committed"
    assert state_of(store, run_id, (0, 0)) == (1, 1, 0)
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
    run_id = new_run(store, GROWING)
    worker = Worker(store, run_id)
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


def test_each_item_may_make_a_plan_or_not(store: Store) -> None:
    run_id = new_run(store, MAPPED, lists={"$xs": 3}, blocks=elements("$xs", [b"a", b"b", b"c"]))
    worker = Worker(store, run_id)
    grow(worker, worker.claim(), *PAIR)
    plain = worker.claim(focus="0/0")
    worker.finish(plain, blocks=[Block("0.0", 1, 2, plain.attempt, b"plain")])
    grow(worker, worker.claim(focus="0/0"), *PAIR)
    assert state_of(store, run_id, (0, 0)) == (3, 2, 1)
    while (claim := worker.ask().claim) is not None:
        if claim.step == CLOSE:
            close(worker, claim, f"r{claim.scope.index}".encode())
        else:
            worker.finish(claim)
    assert [b.data for b in store.reader.blocks(run_id, ROOT, "0.0", 0, 3)] == [b"r0", b"plain", b"r2"]
    assert state_after(store, run_id) == "done"


def test_plans_nest_as_deep_as_one_likes(store: Store) -> None:
    run_id = new_run(store, GROWING)
    worker = Worker(store, run_id)
    for _ in range(60):
        grow(worker, worker.claim(), body([0], step()))
    worker.finish(worker.claim())
    for depth in range(60, 0, -1):
        claim = worker.claim()
        assert (claim.step, claim.scope.depth) == (CLOSE, depth)
        close(worker, claim)
    assert worker.finish(worker.claim()).run == "done"


def test_a_plan_may_map_nested_dags(store: Store) -> None:
    run_id = new_run(store, GROWING)
    worker = Worker(store, run_id)
    first = store.machine.number(run_id, 2)
    bodies = [body([0], step(s=[1]), step(1, x="0.0", b=first + 1)), body([0], step())]
    made = Child(-1, plan=ChildPlan(first, entries(bodies), b"sealed"))
    store.machine.delegate(run_id, worker.claim(), [made], worker.owner, "t", None)
    worker.finish(worker.claim(), lists={"0.0": 2}, values={"0.0#": b"2"})
    seen = []
    while (claim := worker.ask().claim) is not None:
        seen.append((claim.scope.body, claim.step))
        if claim.scope.body == first and claim.step == 1:
            worker.delegate(claim)
        elif claim.step == CLOSE:
            close(worker, claim)
        else:
            worker.finish(claim)
    assert seen.count((first + 1, 0)) == 2
    assert state_after(store, run_id) == "done"


def test_queues_that_the_run_did_not_have_come_with_the_plan(store: Store) -> None:
    run_id = new_run(store, GROWING)
    worker, gpu = Worker(store, run_id), Worker(store, run_id, "worker-g:1", "gpu")
    reply = grow(worker, worker.claim(), body([0], step(q="gpu")))
    assert [o.queue for o in reply.opened] == ["gpu"]
    assert worker.nothing()
    assert store.machine.wake_ups(run_id, "gpu", 2) == 1
    gpu.finish(gpu.claim())
    close(worker, worker.claim())
    assert worker.finish(worker.claim()).run == "done"


def test_a_plan_with_many_first_steps_starts_in_portions(store: Store) -> None:
    run_id = new_run(store, GROWING)
    worker = Worker(store, run_id)
    grow(worker, worker.claim(), body(range(1200), *(step() for _ in range(1200))))
    names = []
    while (claim := worker.ask().claim) is not None:
        names.append(claim.step)
        close(worker, claim) if claim.step == CLOSE else worker.finish(claim)
    assert len(names) == 1 + 1200 + 1 + 1
    assert state_after(store, run_id) == "done"


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


def test_a_worker_that_dies_before_it_delegates_leaves_nothing_that_counts(store: Store) -> None:
    run_id = new_run(store, GROWING)
    dying, other = Worker(store, run_id, "worker-d:1"), Worker(store, run_id, "worker-o:1")
    dying.claim()
    store.machine.number(run_id, 5)  # it had asked for numbers, and died
    assert store.machine.sweep(run_id, Lost(["worker-d"]), 1).released == 1
    assert grow(other, other.claim(), *PAIR).state == "committed"
    assert other.claim().scope.body == 6


def test_a_worker_that_dies_after_it_delegated_has_given_its_piece_away(store: Store) -> None:
    run_id = new_run(store, GROWING)
    dying, other = Worker(store, run_id, "worker-d:1"), Worker(store, run_id, "worker-o:1")
    grow(dying, dying.claim(), *PAIR)
    assert store.machine.sweep(run_id, Lost(["worker-d"]), 1).released == 0
    assert other.claim().scope.id == scope_id(run_id, ROOT, 0, -1)


def test_a_call_that_is_repeated_delegates_once(store: Store) -> None:
    run_id = new_run(store, GROWING)
    worker = Worker(store, run_id)
    claim = worker.claim()
    first = store.machine.number(run_id, 1)
    made = [Child(-1, plan=ChildPlan(first, entries([body([0], step())]), b"sealed"))]
    replies = [store.machine.delegate(run_id, claim, made, worker.owner, "same", None) for _ in range(2)]
    assert replies[0] == replies[1]
    progress = store.reader.progress(run_id)
    assert progress is not None
    assert progress.scopes == {0: 1, first: 1}


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


def test_a_result_of_any_size_is_handed_up(store: Store) -> None:
    run_id = new_run(store, GROWING)
    worker = Worker(store, run_id)
    grow(worker, worker.claim(), body([0], step()))
    worker.finish(worker.claim())
    large = bytes(1_500_000)
    close(worker, worker.claim(), large)
    assert list(store.reader.values(run_id, ROOT, ["0.0"])) == [large]


def test_a_failure_within_fails_the_run_and_resume_goes_on_from_there(store: Store) -> None:
    run_id = new_run(store, GROWING)
    worker = Worker(store, run_id)
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


def test_a_step_within_is_tried_again_as_its_task_says(store: Store) -> None:
    run_id = new_run(store, GROWING)
    worker = Worker(store, run_id)
    grow(worker, worker.claim(), body([0], step(r=retry(2))))
    assert worker.fail(worker.claim(), retryable=True).state == "retried"
    worker.finish(worker.claim())
    close(worker, worker.claim())
    assert worker.finish(worker.claim()).run == "done"


def test_a_run_that_is_cancelled_grants_nothing_of_its_plans(store: Store) -> None:
    run_id = new_run(store, GROWING)
    worker = Worker(store, run_id)
    grow(worker, worker.claim(), *PAIR)
    store.machine.end(run_id, "cancelled", "enough")
    assert worker.nothing()
    assert store.machine.resume(run_id)
    assert worker.claim().scope.depth == 1


def test_a_cleared_step_makes_its_plan_anew(store: Store) -> None:
    run_id = new_run(store, GROWING)
    worker = Worker(store, run_id)
    grow(worker, worker.claim(), *PAIR)
    worker.finish(worker.claim())
    deep = worker.claim()
    grow(worker, deep, body([0], step()))
    worker.finish(worker.claim())
    for _ in range(2):
        close(worker, worker.claim())
    assert worker.finish(worker.claim()).run == "done"
    assert store.machine.clear(run_id, whole(0))
    assert store.reader.scope(run_id, deep.scope.id) is None
    assert store.machine.resume(run_id)
    again = worker.claim()
    assert (again.scope.id, again.step, again.attempt) == (ROOT, 0, 2)
    grow(worker, again, body([0], step()))
    worker.finish(worker.claim())
    closing = worker.claim()
    assert closing.attempt == 3
    close(worker, closing, b"new")
    last = worker.claim()
    assert last.values == {"0.0": b"new"}
    assert worker.finish(last).run == "done"


def test_what_lies_in_a_closed_scope_is_freed(store: Store) -> None:
    kept: list[Any] = [GROWING[0] | {"start": GROWING[0]["start"] | {"kp": True}}]
    kept[0]["1"] = kept[0]["1"] | {"rd": [0], "rt": 1}
    run_id = new_run(store, kept)
    worker = Worker(store, run_id)
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
    run_id = new_run(redis_store, GROWING)
    worker = Worker(redis_store, run_id)
    claim = worker.claim()
    redis_store.machine.delete(run_id)
    made = [Child(-1, plan=ChildPlan(1, entries(PAIR), b"sealed"))]
    assert redis_store.machine.delegate(run_id, claim, made, worker.owner, "t", None).run == "gone"
    assert not raw.exists(key(run_id, "g", 1))
