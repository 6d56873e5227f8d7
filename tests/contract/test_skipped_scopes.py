"""An item that has opened a scope is skipped with it: nothing in there is called, or waited for, any more."""

from __future__ import annotations

from typing import Any

import pytest

from dagcelery.store.protocol import Store
from dagcelery.store.records import CLOSE, ROOT, Block, Claim, Lost, Response, Spot, scope_id

from .between import between
from .moves import Body, Worker, begun, body, drain, outliving, results, retry, step
from .test_retries import counts, kinds


def mapped(*steps: dict[str, Any], starts: tuple[int, ...] = (0,), share: float = 0.0) -> list[Body]:
    """A mapped DAG of these steps, of whose items this share must succeed, and a step that waits for all items."""
    return [body([0], step(x="$xs", b=1, ms=share, s=[1]), step(1)), body(starts, *steps)]


def markers(store: Store, run_id: str, claim: Claim) -> dict[str, list[Block]]:
    """What stands for each item that the piece is or lies in."""
    found, scope = {}, claim.scope
    if claim.lo >= 0:
        found[scope.id] = [Block(f"{claim.step}.0", claim.lo, claim.lo + 1, claim.attempt, b"-")]
    while scope.parent:
        found[scope.parent] = [Block(f"{scope.step}.0", scope.index, scope.index + 1, claim.attempt, b"-")]
        scope = store.reader.scope(run_id, scope.parent)  # type: ignore[assignment]
    return found


def opened(store: Store, topology: list[Body], items: int = 4, **lists: int) -> tuple[str, Worker]:
    """A run whose items are all opened."""
    run_id, worker = begun(store, topology, lists={"$xs": items, **lists})
    open_items(worker, "0/0")
    return run_id, worker


def open_items(worker: Worker, place: str) -> None:
    while (claim := worker.ask(focus=place, only=True).claim) is not None:
        worker.delegate(claim)


def claimed(store: Store, run_id: str, item: int, number: int = 0, **options: Any) -> tuple[Worker, Claim]:
    """A piece of an item, and who claimed it."""
    place = f"{scope_id(run_id, '0', 0, item)}/{number}"
    worker = Worker(store, run_id, f"worker-{item}-{number}:1")
    return worker, worker.claim(focus=place, only=True, **options)


def fail(worker: Worker, claim: Claim) -> Response:
    return worker.fail(claim, markers=markers(worker.store, worker.run_id, claim))


def rest(store: Store, run_id: str, topology: list[Body]) -> list[str]:
    """Do what is left; give back what was called."""
    return drain(store, run_id, topology, produce=lambda c: {"blocks": closing(c)} if c.step == CLOSE else {})


def closing(claim: Claim) -> list[Block]:
    at = claim.scope.index
    return [Block(f"{claim.scope.step}.0", at, at + 1, claim.attempt, b".")]


def state(store: Store, run_id: str) -> str:
    return str(store.reader.record(run_id).state)  # type: ignore[union-attr]


def inside_of(store: Store, run_id: str, number: int = 0) -> tuple[int, int, int, int]:
    """Of a step of the mapped DAG: how many there are, and how many are done, skipped and waiting for a retry."""
    found = store.reader.progress(run_id).counts[1, number]  # type: ignore[union-attr]
    return found.total, found.done, found.skipped, found.retrying


def test_a_failed_item_is_skipped_with_what_is_left_of_it(store: Store) -> None:
    topology = mapped(step(s=[2]), step(s=[2]), step(2), starts=(0, 1))
    run_id, _ = opened(store, topology)
    reply = fail(*claimed(store, run_id, 1))
    assert (reply.state, reply.skipped) == ("skipped", "0/0/1")
    assert sorted(rest(store, run_id, topology)) == sorted([*["0", "1", "2", "close"] * 3, "1"])
    assert state(store, run_id) == "done"
    assert b"".join(block.data for block in store.reader.blocks(run_id, "0", "0.0", 0, 4)) == b".-.."
    assert counts(store, run_id) == (0, 3, 0, 0, 1)
    assert [inside_of(store, run_id, number) for number in range(3)] == [(4, 3, 1, 0)] * 3
    assert [(k, p) for k, p, _ in kinds(store, run_id) if k == "skipped"] == [("skipped", "0/0/1")]


def test_what_is_being_executed_in_a_skipped_item_ends_for_nothing(store: Store) -> None:
    topology = mapped(step(s=[2]), step(s=[2]), step(2), step(x="^$xs", r=retry(9)), starts=(0, 1, 3))
    endings = ("finish", "fail", "release", "block", "die")
    run_id, _ = opened(store, topology, len(endings))
    for item, ending in enumerate(endings):
        other, piece = claimed(store, run_id, item, 3, ranges={"1.3": 2})
        fail(*claimed(store, run_id, item))
        assert piece.hi == 2
        assert store.reader.outstanding(run_id).claimed == []
        if ending == "die":
            store.machine.sweep(run_id, Lost([other.owner.partition(":")[0]]), 1)
        elif ending == "release":
            store.machine.release(run_id, piece, other.owner)
        elif ending == "block":
            store.machine.block(run_id, piece, other.owner, 60.0)
        else:
            said: dict[str, Any] = {"blocks": results(piece)} if ending == "finish" else {"retryable": True}
            assert getattr(other, ending)(piece, **said).state == "stale"
        assert store.reader.outstanding(run_id).claimed == []
        assert store.reader.outstanding(run_id).blocked == []
    assert rest(store, run_id, topology) == ["1"]
    assert state(store, run_id) == "done"
    assert inside_of(store, run_id, 3) == (25, 0, 25, 0)


def test_retries_of_a_skipped_item_are_forgotten(store: Store) -> None:
    policy = retry(3, 3600.0)
    topology = mapped(step(), step(x="^$xs", r=policy), step(r=policy), starts=(0, 1, 2))
    run_id, _ = opened(store, outliving(*topology), 1)
    worker, piece = claimed(store, run_id, 0, 1)
    worker.fail(piece, retryable=True)
    once, single = claimed(store, run_id, 0, 2)
    once.fail(single, retryable=True)
    assert len(store.reader.outstanding(run_id).retrying) == 2
    fail(*claimed(store, run_id, 0))
    assert store.reader.outstanding(run_id).retrying == []
    assert (inside_of(store, run_id, 1), inside_of(store, run_id, 2)) == ((1, 0, 1, 0), (1, 0, 1, 0))
    assert rest(store, run_id, topology) == ["1"]
    assert state(store, run_id) == "done"


def test_too_many_failed_items_fail_the_run_and_resume_retries_just_those(store: Store) -> None:
    topology = mapped(step(s=[1]), step(1), share=0.75)
    run_id, _ = opened(store, topology)
    assert fail(*claimed(store, run_id, 2)).state == "skipped"
    assert fail(*claimed(store, run_id, 0)).run == "failed"
    assert store.machine.resume(run_id)
    assert fail(*claimed(store, run_id, 0)).run == "failed", "the share is of all epochs"
    assert store.machine.resume(run_id)
    rest(store, run_id, topology)
    assert state(store, run_id) == "done"
    assert counts(store, run_id) == (0, 3, 0, 0, 1)


def test_without_its_markers_no_item_is_skipped(store: Store) -> None:
    run_id, _ = opened(store, mapped(step()))
    worker, claim = claimed(store, run_id, 0)
    assert worker.fail(claim).run == "failed"


def test_an_inner_item_is_skipped_before_an_outer_one(store: Store) -> None:
    topology = [*mapped(step(x="^$ys", b=2, ms=0.75)), body([0], step())]
    run_id, worker = opened(store, topology, 2, **{"$ys": 4})
    outer = scope_id(run_id, "0", 0, 1)
    open_items(worker, f"{outer}/0")
    skipped = [
        fail(worker, worker.claim(focus=f"{scope_id(run_id, outer, 0, item)}/0", only=True)).skipped for item in (2, 0)
    ]
    assert skipped == [f"{outer}/0/2", "0/0/1"]
    open_items(worker, f"{scope_id(run_id, '0', 0, 0)}/0")
    assert sorted(rest(store, run_id, topology)) == sorted([*["0", "close"] * 4, "close", "1"])
    assert (inside_of(store, run_id, 0), counts(store, run_id)) == ((8, 4, 4, 0), (0, 1, 0, 0, 1))


def test_the_end_does_not_wait_for_what_is_executed_in_a_skipped_item(store: Store) -> None:
    topology = outliving(body([0, 1], step(x="$xs", b=1, ms=0.0), step(s=[2]), step(1)), body([0, 1], step(), step()))
    run_id, worker = opened(store, topology, 1)
    claimed(store, run_id, 0, 1)
    assert fail(*claimed(store, run_id, 0)).run == "running"
    assert worker.fail(worker.claim()).run == "failed"


@pytest.mark.parametrize("dies", [False, True])
def test_a_large_item_is_skipped_in_portions_that_a_sweep_goes_on_with(store: Store, dies: bool) -> None:
    size, items, calls = 400, 300, []

    def around(call: Any, verb: str, *_: Any) -> Any:
        calls.append(verb)
        if dies and calls.count("fail") == 2:
            raise ConnectionError("died")
        return call()

    topology = mapped(*(step() for _ in range(size)), step(x="^$ys", b=2), starts=tuple(range(size + 1)))
    topology.append(body([0], step()))
    run_id, worker = opened(store, topology, **{"$ys": items})
    open_items(worker, f"{scope_id(run_id, '0', 0, 3)}/{size}")
    failing, claim = claimed(store, run_id, 3, 7)
    failing.store = between(store, around)
    if dies:
        with pytest.raises(ConnectionError):
            fail(failing, claim)
        assert counts(store, run_id)[4] == 1, "it is known which item is skipped"
        store.machine.sweep(run_id, Lost(["worker-3-7"]), 1)
    else:
        assert fail(failing, claim).state == "skipped"
        assert calls.count("fail") > 4
    assert inside_of(store, run_id, 0)[2] == inside_of(store, run_id, size - 1)[2] == 1
    found = store.reader.progress(run_id)
    assert found is not None
    assert (found.counts[1, size].skipped, found.counts[2, 0].skipped) == (items, items)
    assert found.counts[1, size].running == 0
    assert store.reader.outstanding(run_id).claimed == []


@pytest.mark.parametrize("inside", [False, True])
def test_a_skipped_item_that_is_cleared_begins_anew(store: Store, inside: bool) -> None:
    """All of it, wherever in it the place is that is cleared."""
    topology = [*mapped(step(s=[2]), step(x="^$ys", b=2, ms=0.5, s=[2]), step(2), starts=(0, 1)), body([0], step())]
    run_id, worker = opened(store, topology, 2, **{"$ys": 2})
    items = [scope_id(run_id, ROOT, 0, item) for item in (0, 1)]
    open_items(worker, f"{items[0]}/1")
    fail(worker, worker.claim(focus=f"{scope_id(run_id, items[0], 1, 1)}/0", only=True))
    fail(*claimed(store, run_id, 0))
    rest(store, run_id, topology)
    assert (state(store, run_id), counts(store, run_id)) == ("done", (0, 1, 0, 0, 1))
    assert store.machine.clear(run_id, [Spot(items[0], 2) if inside else Spot(ROOT, 0, 0, 1)])
    assert store.machine.resume(run_id)
    called = rest(store, run_id, topology)
    assert sorted(called) == sorted([*["0"] * 3, "0[0:1]", "1[0:1]", "1[1:2]", "2", *["close"] * 3, "1"]), called
    assert (state(store, run_id), counts(store, run_id)) == ("done", (0, 2, 0, 0, 0))
    assert [inside_of(store, run_id, number) for number in range(3)] == [(2, 2, 0, 0), (4, 4, 0, 0), (2, 2, 0, 0)]
    last = max(store.reader.blocks(run_id, ROOT, "0.0", 0, 1), key=lambda block: block.attempt)
    assert last.data == b"."
