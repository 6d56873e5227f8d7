"""Some items of a fan-out, or what lies in a scope, are executed again with what depends on them; nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis

from dagcelery.store.protocol import Store
from dagcelery.store.records import CLOSE, ROOT, Block, Claim, Lost, Spot, scope_id

from .between import between
from .moves import Body, Worker, begun, body, drain, results, retry, state_after, step
from .test_child_plans import PAIR, close, grow
from .test_clearing import counts
from .test_sizes import Measures

FOLLOWED = [body([0], step(x="$xs", se=[1], s=[2]), step(x="$xs", e=1, each=["0.0"]), step(1))]
MAPPED = [body([0], step(x="$xs", b=1, s=[1]), step(1)), body([0, 1], step(s=[2]), step(), step(1))]


def again(store: Store, run_id: str, *places: Spot) -> None:
    assert store.machine.clear(run_id, places)
    assert store.machine.resume(run_id)


def marking(data: bytes) -> Callable[[Claim], dict[str, Any]]:
    """Each item's result is one byte."""
    return lambda claim: {"blocks": results(claim, data=data)} if claim.lo >= 0 else {}


def marker(claim: Claim) -> dict[str, list[Block]]:
    """What stands for an item of step 0 that is skipped, alone or with its scope."""
    at = claim.lo if claim.lo >= 0 else claim.scope.index
    return {ROOT: [Block("0.0", at, at + 1, claim.attempt, b"-")]}


def ended(store: Store, topology: list[Body], items: int) -> tuple[str, Worker]:
    """A run that is done, whose ranges were claimed as a whole."""
    run_id, worker = begun(store, topology, lists={"$xs": items})
    drain(store, run_id, topology, produce=marking(b"."), ranges={"0.0": 512, "0.1": 512})
    assert state_after(store, run_id) == "done"
    return run_id, worker


def read(store: Store, run_id: str, token: str, items: int) -> bytes:
    """What a reader makes of blocks: later attempts lie over earlier ones."""
    laid = bytearray(b"?" * items)
    for block in sorted(store.reader.blocks(run_id, ROOT, token, 0, items), key=lambda block: block.attempt):
        laid[block.lo : block.hi] = block.data
    return bytes(laid)


def test_one_item_is_executed_again_with_the_same_item_of_what_follows(store: Store) -> None:
    run_id, worker = ended(store, FOLLOWED, 6)
    before = counts(store, run_id)
    for attempt, mark in ((2, b"!"), (3, b"?")):
        again(store, run_id, Spot(ROOT, 0, 3, 4))
        claims = [(claim.step, claim.lo, claim.hi, claim.attempt) for claim in worker.pieces(FOLLOWED, marking(mark))]
        assert claims == [(0, 3, 4, attempt), (1, 3, 4, attempt), (2, -1, -1, attempt)]
        assert read(store, run_id, "0.0", 6) == read(store, run_id, "1.0", 6) == b"..." + mark + b".."
    assert (counts(store, run_id), state_after(store, run_id)) == (before, "done")


def test_the_items_that_are_done_are_told_while_their_fan_out_is_not(store: Store) -> None:
    run_id, worker = begun(store, FOLLOWED, lists={"$xs": 6})
    assert store.reader.done(run_id, ROOT, 0) == set()
    drain(store, run_id, FOLLOWED, produce=marking(b"."), ranges={"0.0": 512, "0.1": 512})
    assert store.machine.clear(run_id, [Spot(ROOT, 0, 2, 4)])
    assert [store.reader.done(run_id, ROOT, step) for step in (0, 1)] == [{0, 1, 4, 5}] * 2
    assert store.machine.resume(run_id)
    assert worker.claim(ranges={"0.0": 512})
    assert [store.reader.done(run_id, ROOT, step) for step in (0, 1)] == [{0, 1, 4, 5}] * 2
    assert store.reader.done("nobody", ROOT, 0) == store.reader.done(run_id, "nowhere", 0) == set()


def test_items_that_are_cleared_one_after_the_other_are_executed_once(store: Store) -> None:
    run_id, worker = ended(store, FOLLOWED, 6)
    for lo, hi in ((4, 6), (1, 2), (5, 6)):
        assert store.machine.clear(run_id, [Spot(ROOT, 0, lo, hi)])
    assert store.machine.resume(run_id)
    claims = list(worker.pieces(FOLLOWED, marking(b"!")))
    items = sorted((claim.step, item) for claim in claims for item in range(claim.lo, claim.hi))
    assert items == [(step, item) for step in (0, 1) for item in (1, 4, 5)]
    assert read(store, run_id, "0.0", 6) == b".!..!!"


def test_of_a_range_that_is_worked_on_or_was_lost_the_rest_stays(store: Store) -> None:
    """Its worker has read what is made again: what it commits late changes nothing."""
    run_id, worker = begun(store, FOLLOWED, lists={"$xs": 9})
    while (claim := worker.claim(ranges={"0.0": 9})).step == 0:
        worker.finish(claim, blocks=results(claim))
    worker.finish(claim, blocks=results(claim))
    late, dead = Worker(store, run_id, "worker-l:1"), Worker(store, run_id, "worker-d:1")
    held, lost = late.claim(ranges={"0.1": 9}), dead.claim(ranges={"0.1": 9})
    assert (held.lo, held.hi, lost.lo, lost.hi) == (1, 5, 5, 7)
    store.machine.sweep(run_id, Lost(["worker-d"]), 1)
    store.machine.end(run_id, "cancelled", "")
    again(store, run_id, Spot(ROOT, 0, 2, 3), Spot(ROOT, 0, 6, 7))
    assert late.finish(held, blocks=results(held)).state == dead.finish(lost, blocks=results(lost)).state == "stale"
    drained = drain(store, run_id, FOLLOWED, produce=marking(b"!"))
    assert sorted(drained) == ["0[2:3]", "0[6:7]", *(f"1[{item}:{item + 1}]" for item in range(1, 9)), "2"]
    assert state_after(store, run_id) == "done"


def test_an_item_that_was_skipped_or_is_to_be_tried_again_begins_anew(store: Store) -> None:
    topology = [body([0], step(x="$xs", ms=0.5, r=retry(2, 1000.0), s=[1]), step(1))]
    run_id, worker = begun(store, topology, lists={"$xs": 4})
    for retryable in (False, True, False):
        claim = worker.claim(focus="0/0")
        worker.fail(claim, retryable=retryable, markers=marker(claim))
    store.machine.end(run_id, "cancelled", "")
    again(store, run_id, Spot(ROOT, 0, 0, 2))
    found = store.reader.progress(run_id).counts[0, 0]
    assert (found.done, found.skipped, found.retrying) == (0, 1, 0)
    worker.fail(claim := worker.claim(), markers=marker(claim))
    assert sorted(drain(store, run_id, topology, produce=marking(b"."))) == ["0[0:1]", "0[1:2]", "1"]
    found = store.reader.progress(run_id).counts[0, 0]
    assert (found.done, found.skipped, state_after(store, run_id)) == (2, 2, "done")


def test_what_was_skipped_with_its_scope_is_entered_anew_whatever_is_named_in_it(store: Store) -> None:
    topology = [body([0], step(x="$xs", b=1, ms=0.0, s=[1]), step(1)), MAPPED[1]]
    run_id, worker = begun(store, topology, lists={"$xs": 2})
    worker.delegate(worker.claim())
    worker.finish(worker.claim())
    worker.fail(claim := worker.claim(), markers=marker(claim))
    drain(store, run_id, topology)
    found = store.reader.progress(run_id).counts[0, 0]
    assert (found.done, found.skipped, state_after(store, run_id)) == (1, 1, "done")
    again(store, run_id, Spot(claim.scope.id, claim.step))
    assert sorted(drain(store, run_id, topology)) == ["0", "0[0:1]", "1", "1", "2", "close"]
    assert counts(store, run_id) == {(0, 0): (2, 0, 2), (0, 1): (1, 0, 1)} | {(1, at): (2, 0, 2) for at in range(3)}
    assert not any(found.skipped for found in store.reader.progress(run_id).counts.values())


def test_a_scope_that_is_gone_is_not_skipped_with_what_is_around(store: Store) -> None:
    topology = [body([0], step(x="$xs", b=1, ms=0.0)), body([0, 1], step(x="^$xs", b=2), step()), body([0], step())]
    run_id, worker = begun(store, topology, lists={"$xs": 1})
    for _ in range(2):
        worker.delegate(claim := worker.claim())
    store.machine.end(run_id, "cancelled", "")
    again(store, run_id, Spot(claim.scope.id, 0, 0, 1))
    claim = worker.claim(focus=f"{claim.scope.id}/1")
    assert worker.fail(claim, markers=marker(claim)).state == "skipped"
    assert state_after(store, run_id) == "done"


def test_of_a_range_whose_worker_died_telling_what_waits_for_it_the_rest_is_done(redis_store: Store) -> None:
    width = 600
    topology = [body([0], step(x="$xs", s=range(1, width + 1)), *(step(1) for _ in range(width)))]
    run_id, worker = begun(redis_store, topology, lists={"$xs": 3})
    dead = Worker(redis_store, run_id, "worker-d:1")
    claim = dead.claim(ranges={"0.0": 3})
    worker.finish(worker.claim())

    def mortal(call: Callable[[], Any], verb: str, key: str, request: Any, *_: Any) -> Any:
        if request.get("from"):
            raise InterruptedError
        return call()

    with pytest.raises(InterruptedError):
        Worker(between(redis_store, mortal), run_id, dead.owner).finish(claim)
    redis_store.machine.end(run_id, "cancelled", "")
    again(redis_store, run_id, Spot(ROOT, 0, 0, 1))
    assert [name for name in drain(redis_store, run_id, topology) if "[" in name] == ["0[0:1]"]
    assert (redis_store.reader.progress(run_id).counts[0, 0].done, state_after(redis_store, run_id)) == (3, "done")


def test_a_step_within_is_executed_again_with_what_waits_for_the_item(store: Store) -> None:
    run_id, _ = ended(store, MAPPED, 3)
    before = counts(store, run_id)
    again(store, run_id, Spot(scope_id(run_id, ROOT, 0, 1), 0))
    record = counts(store, run_id)
    assert (record[0, 0], record[1, 0]) == ((3, 0, 2), (3, 0, 2)), "the item is not done"
    assert drain(store, run_id, MAPPED) == ["0", "2", "close", "1"]
    assert counts(store, run_id) == before


def test_one_item_of_a_mapped_dag_is_entered_again(store: Store) -> None:
    run_id, _ = ended(store, MAPPED, 3)
    before = counts(store, run_id)
    again(store, run_id, Spot(ROOT, 0, 2, 3))
    assert store.reader.scope(run_id, scope_id(run_id, ROOT, 0, 2)) is None
    assert store.reader.scope(run_id, scope_id(run_id, ROOT, 0, 1)) is not None
    assert sorted(drain(store, run_id, MAPPED)) == ["0", "0[2:3]", "1", "1", "2", "close"]
    assert counts(store, run_id) == before


def test_a_piece_that_made_a_plan_may_return_a_value_the_next_time(store: Store) -> None:
    """What closed its scope wrote a later attempt than the piece had had: the value must be a later one still."""
    topology = [body([0], step(x="$xs"))]
    run_id, worker = begun(store, topology, lists={"$xs": 2})
    grow(worker, worker.claim(), *PAIR)
    for _ in range(2):
        worker.finish(worker.claim(focus=f"{scope_id(run_id, ROOT, 0, 0)}/0"))
    dead = Worker(store, run_id, "worker-d:1")
    for _ in range(3):
        assert dead.claim(focus=f"{scope_id(run_id, ROOT, 0, 0)}/-2").step == CLOSE
        store.machine.sweep(run_id, Lost(["worker-d"]), 1, 9)
    close(worker, worker.claim(focus=f"{scope_id(run_id, ROOT, 0, 0)}/-2"), b"4")
    worker.finish(claim := worker.claim(), blocks=results(claim))
    again(store, run_id, Spot(ROOT, 0, 0, 1))
    claim = worker.claim()
    assert claim.attempt > 4, "a close that comes late may have staged what it had"
    worker.finish(claim, blocks=results(claim, data=b"!"))
    assert read(store, run_id, "0.0", 2) == b"!."
    assert state_after(store, run_id) == "done"


def test_places_that_are_not_there_are_passed_over(store: Store) -> None:
    run_id, _ = ended(store, MAPPED, 2)
    again(store, run_id, Spot("nowhere", 0), Spot(ROOT, 77), Spot(ROOT, 0, 2, 9))
    assert state_after(store, run_id) == "done"
    assert not drain(store, run_id, MAPPED)


def test_who_opens_a_scope_while_its_run_is_cleared_is_late(redis_store: Store) -> None:
    run_id, worker = begun(redis_store, MAPPED, lists={"$xs": 2})
    claim = worker.claim()
    redis_store.machine.end(run_id, "cancelled", "")

    def meanwhile(call: Callable[[], Any], verb: str, key: str, request: Any, *_: Any) -> Any:
        if request.get("act") == "left":
            assert worker.delegate(claim).state == "stale"
        return call()

    assert between(redis_store, meanwhile).machine.clear(run_id, [Spot(ROOT, 1)])
    assert worker.delegate(claim).state == "committed"


def test_the_cost_of_an_item_does_not_grow_with_the_others(redis_store: Store, raw: redis.Redis) -> None:
    run_id, _ = ended(redis_store, FOLLOWED, 10_000)
    measures, calls = Measures(raw), list[str]()

    def counted(call: Callable[[], Any], verb: str, key: str, request: Any, *payloads: bytes) -> Any:
        calls.append(request.get("act", ""))
        return measures(call, verb, key, request, *payloads)

    assert between(redis_store, counted).machine.clear(run_id, [Spot(ROOT, 0, 5000, 5001)])
    assert len(calls) < 20, calls
    assert measures.most_writes < 60
    assert redis_store.machine.resume(run_id)
    assert sorted(drain(redis_store, run_id, FOLLOWED)) == ["0[5000:5001]", "1[5000:5001]", "2"]
