"""Some items of a fan-out, or what lies in a scope, are executed again: they and what depends on them, nothing beside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dagcelery.store.protocol import Store
from dagcelery.store.records import CLOSE, ROOT, Block, Claim, Lost, Spot, scope_id

from .between import between
from .moves import Body, Worker, body, drain, new_run, results, state_after, step
from .test_child_plans import close, grow

FOLLOWED = [body([0], step(x="$xs", se=[1], s=[2]), step(x="$xs", e=1, each=["0.0"]), step(1))]
MAPPED = [body([0], step(x="$xs", b=1, s=[1]), step(1)), body([0, 1], step(s=[2]), step(), step(1))]


def again(store: Store, run_id: str, *places: Spot) -> None:
    assert store.machine.clear(run_id, places)
    assert store.machine.resume(run_id)


def done(store: Store, topology: list[Body], items: int, **ranges: int) -> str:
    """A run that is done, of whose fan-outs each item is a point."""
    run_id = new_run(store, topology, lists={"$xs": items})
    drain(store, run_id, topology, produce=points, ranges=ranges)
    assert state_after(store, run_id) == "done"
    return run_id


def points(claim: Claim) -> dict[str, Any]:
    return {"blocks": results(claim)} if claim.lo >= 0 else {}


def read(store: Store, run_id: str, token: str, items: int) -> bytes:
    """What a reader makes of blocks: later attempts lie over earlier ones."""
    laid = bytearray(b"?" * items)
    for block in sorted(store.reader.blocks(run_id, ROOT, token, 0, items), key=lambda block: block.attempt):
        laid[block.lo : block.hi] = block.data
    return bytes(laid)


def test_one_item_is_executed_again_with_the_same_item_of_what_follows(store: Store) -> None:
    run_id = done(store, FOLLOWED, 6, **{"0.0": 6, "0.1": 6})
    again(store, run_id, Spot(ROOT, 0, 3, 4))
    granted = drain(store, run_id, FOLLOWED, produce=lambda claim: {"blocks": results(claim, data=b"!")} if claim.lo >= 0 else {})
    assert sorted(granted) == ["0[3:4]", "1[3:4]", "2"]
    assert (read(store, run_id, "0.0", 6), read(store, run_id, "1.0", 6)) == (b"...!..", b"...!..")
    assert state_after(store, run_id) == "done"
