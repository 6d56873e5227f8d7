"""A fan-out's items are claimed in ranges, committed together, and counted one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dagcelery.store.protocol import Store
from dagcelery.store.records import CELL, RANGE_ITEMS, Block, Claim, Lost

from .moves import Worker, begun, body, drain, elements, new_run, results, state_after, step


def fan_out(size: int, **options: Any) -> list[dict[str, Any]]:
    return [body([0], step(s=[1], x="$xs", each=["$xs"], **options), step(1, needs=["0.0"]))]


def produce(claim: Claim) -> Mapping[str, Any]:
    return {"blocks": results(claim)} if claim.lo >= 0 else {}


def collect(store: Store, run_id: str, token: str, size: int) -> bytes:
    """The elements of a list, of which the highest attempt holds; each is one byte here."""
    found = bytearray(size)
    made = [-1] * size
    for block in store.reader.blocks(run_id, "0", token, 0, size):
        for i in range(block.lo, block.hi):
            if block.attempt >= made[i]:
                found[i], made[i] = block.data[i - block.lo], block.attempt
    return bytes(found)


def test_items_are_granted_in_ranges_with_their_elements(store: Store) -> None:
    data = [b"%03d" % i for i in range(600)]
    _, worker = begun(store, fan_out(600), lists={"$xs": 600}, blocks=elements("$xs", data))
    first = worker.claim(ranges={"0.0": 300})
    assert (first.lo, first.hi, first.items) == (0, 300, 600)
    assert [(b.lo, b.hi, b.attempt) for b in first.blocks["$xs"]] == [(0, 256, 0), (256, 512, 0)]
    assert b"".join(b.data for b in first.blocks["$xs"]) == b"".join(data[:512])
    second = worker.claim()
    assert (second.lo, second.hi) == (300, 301), "one item, where nothing is said"


def test_ranges_shrink_towards_the_end(store: Store) -> None:
    run_id = new_run(store, fan_out(100), lists={"$xs": 100}, blocks=elements("$xs", [b"."] * 100))
    sizes = [
        claim.hi - claim.lo
        for claim in Worker(store, run_id).pieces(fan_out(100), produce, ranges={"0.0": 100}, slots=4)
        if claim.lo >= 0
    ]
    assert sum(sizes) == 100
    assert sizes[0] == 13
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 1


def test_a_hundred_thousand_items_are_committed_range_by_range(store: Store) -> None:
    size = 100_000
    run_id = new_run(store, fan_out(size), lists={"$xs": size}, blocks=elements("$xs", [b"x"] * size))
    pieces = drain(store, run_id, fan_out(size), produce=produce, ranges={"0.0": 10_000})
    assert len(pieces) < size / RANGE_ITEMS * 1.2 + 20
    assert collect(store, run_id, "0.0", size) == b"." * size
    progress = store.reader.progress(run_id)
    assert (progress.counts[0, 0].total, progress.counts[0, 0].done) == (size, size)


def test_a_partial_commit_gives_the_rest_back(store: Store) -> None:
    run_id, worker = begun(store, fan_out(10), lists={"$xs": 10})
    claim = worker.claim(ranges={"0.0": 5})
    worker.finish(claim, done=2, blocks=results(claim, 2))
    rest = worker.claim(ranges={"0.0": 5})
    assert (rest.lo, rest.hi, rest.attempt) == (2, 5, 1), "what was not begun spent no attempt"
    worker.finish(rest, blocks=results(rest))
    assert drain(store, run_id, fan_out(10), produce=produce, ranges={"0.0": 5})[-1] == "1"
    assert collect(store, run_id, "0.0", 10) == b"." * 10


def test_the_failure_of_an_item_keeps_what_came_before_it(store: Store) -> None:
    run_id, worker = begun(store, fan_out(10), lists={"$xs": 10})
    claim = worker.claim(ranges={"0.0": 5})
    reply = worker.finish(claim, worker.want(), done=3, blocks=results(claim, 3), failure=b"boom")
    assert (reply.state, reply.run, reply.claim) == ("committed", "failed", None)
    assert store.reader.failures(run_id) == {"0/0/3": b"boom"}
    progress = store.reader.progress(run_id)
    count = progress.counts[0, 0]
    assert (count.done, count.failed, count.running) == (3, 1, 0)
    assert progress.record.failed == "0/0/3"


def element_wise(need: int = 1, gate: int = 0) -> list[dict[str, Any]]:
    """Fan-outs 0 and 1 over one list, step 2 item by item after `need` of them, step 3 a gate, step 4 a join."""
    gated = [2] if gate else []
    return [
        body(
            [0, 1, 3],
            step(x="$xs", se=[2]),
            step(x="$xs", se=[2] if need == 2 else []),
            step(gate, [4], x="$xs", e=need, each=["0.0"]),
            step(s=gated, q="gate"),
            step(1, needs=["2.0"]),
        )
    ]


def test_an_item_follows_its_item_without_a_barrier(store: Store) -> None:
    _, worker = begun(store, element_wise(), lists={"$xs": 3})
    items = [worker.claim(focus="0/0") for _ in range(3)]
    reply = worker.finish(items[1], blocks=results(items[1]))
    assert [(o.step, o.items) for o in reply.opened] == [(2, 3)]
    after = worker.claim(focus="0/2", only=True)
    assert (after.lo, after.hi) == (1, 2)
    assert [(b.lo, b.hi) for b in after.blocks["0.0"]] == [(1, 2)]
    assert worker.nothing(focus="0/2", only=True)
    worker.finish(items[0], blocks=results(items[0]))
    assert worker.claim(focus="0/2", only=True).lo == 0


def test_a_step_that_ran_out_of_items_is_told_of_again_when_more_arrive(store: Store) -> None:
    """Else nobody would come: those who came for its first items, on another queue perhaps, have gone."""
    _, worker = begun(store, element_wise(), lists={"$xs": 4})
    items = [worker.claim(focus="0/0") for _ in range(4)]
    opened = []
    for item in items[:3]:
        opened.append([(o.step, o.items) for o in worker.finish(item, blocks=results(item)).opened])
        if item is items[0]:
            worker.claim(focus="0/2", only=True)
    assert opened == [[(2, 4)], [(2, -1)], []]


def test_a_gate_holds_items_back_until_it_opens(store: Store) -> None:
    run_id, worker = begun(store, element_wise(gate=1), lists={"$xs": 2})
    keeper = Worker(store, run_id, "worker-k:1", "gate")
    first = worker.claim(focus="0/0")
    worker.finish(first, blocks=results(first))
    assert worker.nothing(focus="0/2", only=True)
    assert [(o.step, o.items) for o in keeper.finish(keeper.claim()).opened] == [(2, 2)]
    assert worker.claim(focus="0/2", only=True).lo == 0
    assert worker.nothing(focus="0/2", only=True)


def test_empty_fan_outs_follow_each_other(store: Store) -> None:
    for need, gate in ((1, 0), (2, 0), (1, 1), (2, 1)):
        run_id = new_run(store, element_wise(need, gate), lists={"$xs": 0})
        done = drain(store, run_id, element_wise(need, gate), produce=produce)
        assert sorted(done) == ["0[0:0]", "1[0:0]", "2[0:0]", "3", "4"]
        assert state_after(store, run_id) == "done"


def test_one_output_may_be_both_split_and_whole(store: Store) -> None:
    topology = [body([0], step(s=[1, 2]), step(1, [3], x="0.0", each=["0.0"]), step(1, [3], needs=["0.0"]), step(2))]
    _, worker = begun(store, topology)
    split = elements("0.0", [b"a", b"b", b"c"], attempt=1)
    worker.finish(worker.claim(), values={"0.0": b"abc"}, lists={"0.0": 3}, blocks=split)
    items = worker.claim(focus="0/1", ranges={"0.1": 9})
    assert (items.items, items.blocks["0.0"]) == (3, split)
    assert worker.claim(focus="0/2").values == {"0.0": b"abc"}


def test_a_range_committed_again_overrides_by_its_attempt(store: Store) -> None:
    run_id = new_run(store, fan_out(4), lists={"$xs": 4})
    dead, alive = Worker(store, run_id, "worker-d:1"), Worker(store, run_id)
    lost = dead.claim(ranges={"0.0": 4})
    store.machine.sweep(run_id, Lost(["worker-d"]), 1)
    for claim in alive.pieces(fan_out(4), lambda g: {"blocks": results(g, data=b"2")} if g.lo >= 0 else {}):
        assert claim.attempt == (2 if 0 <= claim.lo < lost.hi else 1)
    assert dead.finish(lost, blocks=results(lost, data=b"1")).state == "stale"
    assert collect(store, run_id, "0.0", 4) == b"2222"


def test_results_of_items_are_read_in_any_part(store: Store) -> None:
    size = 3 * CELL
    run_id = new_run(store, fan_out(size), lists={"$xs": size})
    drain(store, run_id, fan_out(size), produce=produce, ranges={"0.0": 500})
    for lo, hi in ((0, 1), (CELL - 1, CELL + 1), (CELL, 2 * CELL), (size - 1, size), (5, 5)):
        blocks = list(store.reader.blocks(run_id, "0", "0.0", lo, hi))
        assert all(b.lo < hi and b.hi > lo for b in blocks)
        assert set(range(lo, hi)) <= {i for b in blocks for i in range(b.lo, b.hi)}


def test_blocks_that_nobody_wrote_are_not_there(store: Store) -> None:
    run_id = new_run(store, fan_out(3), lists={"$xs": 3}, blocks=[Block("$xs", 1, 2, 0, b"b")])
    assert [b.lo for b in store.reader.blocks(run_id, "0", "$xs", 0, 3)] == [1]
    assert list(store.reader.blocks(run_id, "0", "$none", 0, 3)) == []
