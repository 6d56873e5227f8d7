"""Each item of a mapped nested DAG lives in a scope of its own, and closes into its parent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dagcelery.store.protocol import Store
from dagcelery.store.records import CLOSE, ROOT, Block, Child, Claim, Scope, scope_id

from .moves import begun, body, drain, elements, new_run, state_after, step

NESTED = [
    body([0], step(s=[1], x="$xs", b=1), step(1, needs=["0.0"])),
    body([0], step(s=[1], needs=["$x", "^$y"]), step(1)),
]
DEEP = [
    body([0], step(s=[1], x="$xs", b=1), step(1)),
    body([0], step(s=[1], needs=["^$y"]), step(1, x="^$ys", each=["^$ys"], b=2)),
    body([0], step(needs=["^^$y", "^0.0", "$z"])),
]


def produce(claim: Claim) -> Mapping[str, Any]:
    """A scope's CLOSE writes the item's result into the parent."""
    if claim.step != CLOSE:
        return {}
    scope = claim.scope
    return {"blocks": [Block(f"{scope.step}.0", scope.index, scope.index + 1, claim.attempt, b"r")]}


def test_each_item_gets_a_scope_and_the_last_one_closes_the_step(store: Store) -> None:
    run_id, worker = begun(store, NESTED, values={"$y": b"why"}, lists={"$xs": 3})
    claim = worker.claim(ranges={"0.0": 2})
    reply = worker.delegate(claim, values={"$x": b"ex"})
    assert reply.state == "committed"
    scopes = [scope_id(run_id, ROOT, 0, i) for i in range(2)]
    assert [(o.scope, o.step) for o in reply.opened] == [(scopes[0], 0), (scopes[1], 0)]
    assert store.reader.scope(run_id, scopes[1]) == Scope(scopes[1], ROOT, 0, 1, 1, 1)
    first = worker.claim()
    assert first.scope.id == scopes[0]
    assert first.values == {"$x": b"ex", "^$y": b"why"}
    reply = worker.finish(first, worker.want())
    reply = worker.finish(reply.claim, worker.want())
    assert (reply.claim.scope.id, reply.claim.step) == (scopes[0], CLOSE)
    worker.finish(reply.claim, **produce(reply.claim))
    done = drain(store, run_id, NESTED, produce=produce)
    assert done == ["0", "1", "close", "0[2:3]", "0", "1", "close", "1"]
    assert [b.data for b in store.reader.blocks(run_id, ROOT, "0.0", 0, 3)] == [b"r", b"r", b"r"]
    assert state_after(store, run_id) == "done"


def test_scopes_nest_and_see_what_lies_outside(store: Store) -> None:
    run_id = new_run(
        store, DEEP, values={"$y": b"far"}, lists={"$xs": 2, "$ys": 3}, blocks=elements("$ys", [b"a", b"b", b"c"])
    )
    seen: list[Mapping[str, bytes | None]] = []

    def produce_deep(claim: Claim) -> Mapping[str, Any]:
        if claim.scope.body == 2 and claim.step == 0:
            seen.append(claim.values)
        if claim.scope.body == 1 and claim.step == 0:
            return {"values": {"0.0": b"near"}}
        if claim.scope.body == 1 and claim.lo >= 0:
            assert b"".join(b.data for b in claim.blocks["^$ys"]) == b"abc"
            return {"values": {"$z": b"own"}}
        return produce(claim)

    drain(store, run_id, DEEP, produce=produce_deep, ranges={"1.1": 2})
    assert seen == [{"^^$y": b"far", "^0.0": b"near", "$z": b"own"}] * 6
    assert state_after(store, run_id) == "done"
    inner = scope_id(run_id, scope_id(run_id, ROOT, 0, 1), 1, 2)
    found = store.reader.scope(run_id, inner)
    assert (found.depth, found.body, found.index) == (2, 2, 2)
    assert list(store.reader.values(run_id, inner, ["^^$y", "^0.0", "$z", "^none"])) == [b"far", b"near", b"own", None]
    assert [b.lo for b in store.reader.blocks(run_id, inner, "^^$ys", 0, 3)] == [0]


def test_deeper_scopes_go_first_and_older_ones_before_younger_ones(store: Store) -> None:
    _, worker = begun(store, NESTED, lists={"$xs": 4})
    worker.delegate(worker.claim(ranges={"0.0": 2}))
    order = [(claim.scope.index, claim.step) for claim in worker.pieces(NESTED, produce) if claim.scope.id != ROOT]
    assert order == [(i, s) for i in range(4) for s in (0, 1, CLOSE)]


def test_scopes_with_many_first_steps_and_large_inputs_open_in_portions(store: Store) -> None:
    wide = [body([0], step(x="$xs", b=1)), body(range(300), *(step() for _ in range(300)))]
    run_id, worker = begun(store, wide, lists={"$xs": 10})
    claim = worker.claim(ranges={"0.0": 5})
    children = [
        Child(i, {"$x": bytes([i]) * 200_000}, {"$l": 2}, [Block("$l", 0, 2, 1, b"ab")])
        for i in range(claim.lo, claim.hi)
    ]
    reply = store.machine.delegate(run_id, claim, children, worker.owner, "t1", None)
    assert (reply.state, len(reply.opened)) == ("committed", 1500)
    for i in range(5):
        scope = scope_id(run_id, ROOT, 0, i)
        assert list(store.reader.values(run_id, scope, ["$x"])) == [bytes([i]) * 200_000]
        assert [b.data for b in store.reader.blocks(run_id, scope, "$l", 0, 2)] == [b"ab"]


def test_a_scope_without_steps_closes_at_once(store: Store) -> None:
    empty = [body([0], step(x="$xs", b=1)), body([])]
    run_id = new_run(store, empty, lists={"$xs": 2})
    assert drain(store, run_id, empty, produce=produce) == ["0[0:1]", "close", "0[1:2]", "close"]
    assert state_after(store, run_id) == "done"


def test_scope_ids_depend_on_all_that_leads_to_them() -> None:
    ids = {scope_id(r, p, s, i) for r in ("r1", "r2") for p in ("0", "p") for s in (1, 2) for i in (1, 2)}
    assert len(ids) == 16
    assert all(len(found) == 16 and found.isalnum() for found in ids)


def test_the_root_hangs_nowhere_and_unknown_scopes_are_none(store: Store) -> None:
    run_id = new_run(store, NESTED, lists={"$xs": 0})
    assert store.reader.scope(run_id, ROOT) == Scope(ROOT)
    assert store.reader.scope(run_id, "nowhere") is None
