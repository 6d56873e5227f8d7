"""No script writes more than 1 MB or 1,000 fields; what is larger is staged in portions, and read back in portions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from dagcelery.store.keys import Keys
from dagcelery.store.protocol import Store
from dagcelery.store.records import CELL, Block, Child, Lost, scope_id
from dagcelery.store.run_adapters import Stager

from .between import between
from .moves import Worker, begun, body, chain, drain, elements, new_run, outliving, results, retry, state_after, step
from .test_skipped_scopes import claimed, fail, mapped, open_items, opened

WRITES = ("hset", "hsetnx", "hincrby", "hdel", "zadd", "zrem", "rpush", "lpush", "lpop", "lrem", "sadd", "xadd", "set")
"""Commands that write one field, but for `hset` of a few."""


class Measures:
    """Knows what each script was sent, what it wrote and what it answered."""

    def __init__(self, raw: redis.Redis) -> None:
        self.raw = raw
        self.most_bytes = self.most_writes = self.most_answered = 0

    def __call__(self, call: Callable[[], Any], verb: str, key: str, request: Any, *payloads: bytes) -> Any:
        before = self._writes()
        answer = call()
        self.most_writes = max(self.most_writes, self._writes() - before)
        self.most_bytes = max(self.most_bytes, len(repr(request)) + sum(map(len, payloads)))
        self.most_answered = max(self.most_answered, _size(answer))
        return answer

    def _writes(self) -> int:
        stats: dict[str, Any] = self.raw.info("commandstats")
        return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in WRITES)


def _size(answer: Any) -> int:
    if isinstance(answer, list):
        return sum(map(_size, answer))
    return len(answer) if isinstance(answer, bytes) else 8


@pytest.fixture
def measured(redis_store: Store, raw: redis.Redis) -> Iterator[Store]:
    measures = Measures(raw)
    yield between(redis_store, measures)
    assert measures.most_bytes <= 1_150_000
    assert measures.most_writes <= 1_100
    assert measures.most_answered <= 2_200_000


def test_large_parameters_and_outputs_are_read_back(store: Store) -> None:
    large = bytes(range(256)) * 20_000
    topology = [body([0], step(s=[1], needs=["$p", "$q"]), step(1, needs=["0.0", "0.1", "$p"]))]
    run_id, worker = begun(store, topology, values={"$p": large, "$q": b"small"})
    claim = worker.claim()
    assert claim.values == {"$p": None, "$q": b"small"}
    assert list(store.reader.values(run_id, "0", ["$q", "$p", "none"])) == [b"small", large, None]
    reply = worker.finish(claim, worker.want(), values={"0.0": large[::-1], "0.1": b"v" * 65_536, "0.2": b""})
    assert reply.claim.values == {"0.0": None, "0.1": b"v" * 65_536, "$p": None}
    assert list(store.reader.values(run_id, "0", ["0.0"])) == [large[::-1]]


def test_inputs_travel_along_up_to_a_size(store: Store) -> None:
    needs = ["$a", "$b", "$c", "$d"]
    values = {"$a": b"a" * 40_000, "$b": b"b" * 40_000, "$c": b"c" * 20_000, "$d": b"d" * 6_000}
    run_id = new_run(store, [body([0], step(needs=needs))], values=values)
    found = Worker(store, run_id).claim().values
    assert [token for token, data in found.items() if data is None] == ["$b", "$d"]
    assert list(store.reader.values(run_id, "0", needs)) == list(values.values())


def test_large_blocks_do_not_travel_along(store: Store) -> None:
    run_id = new_run(
        store,
        [body([0], step(x="$xs", each=["$xs", "$ys"]))],
        lists={"$xs": 4, "$ys": 4},
        blocks=[*elements("$xs", [b"x" * 30_000] * 4, cell=1), *elements("$ys", [b"y" * 100] * 4)],
    )
    worker = Worker(store, run_id)
    assert set(worker.claim(ranges={"0.0": 1}).blocks) == {"$xs", "$ys"}
    run_id = new_run(
        store,
        [body([0], step(x="$xs", each=["$xs", "$ys"]))],
        lists={"$xs": 6, "$ys": 6},
        blocks=[*elements("$xs", [b"x" * 30_000] * 6, cell=1), *elements("$ys", [b"y" * 100] * 6)],
    )
    claim = Worker(store, run_id).claim(ranges={"0.0": 3})
    assert set(claim.blocks) == {"$ys"}
    assert [b.data for b in store.reader.blocks(run_id, "0", "$xs", claim.lo, claim.hi)] == [b"x" * 30_000] * 3


def test_a_list_of_a_thousand_blocks_is_staged_and_read_in_portions(measured: Store) -> None:
    size = 1000 * CELL
    run_id, worker = begun(measured, [body([0], step(s=[1]), step(1, x="0.0"))])
    split = elements("0.0", [b"12345678"] * size, attempt=1)
    worker.finish(worker.claim(), lists={"0.0": size}, blocks=iter(split))
    assert list(measured.reader.blocks(run_id, "0", "0.0", 0, size)) == split
    assert worker.claim().items == size


def test_elements_larger_than_a_script_are_staged_in_chunks(measured: Store) -> None:
    data = [bytes([65 + i]) * 1_700_000 for i in range(3)]
    nested = [body([0, 1, 2], step(s=[3]), step(x="$xs", each=["$xs"]), step(x="$xs", b=1), step(1)), body([0], step())]
    run_id, worker = begun(measured, nested, lists={"$xs": 3}, blocks=elements("$xs", data, cell=1))
    worker.finish(worker.claim(focus="0/0"), lists={"0.0": 3}, blocks=elements("0.0", data, attempt=1, cell=1))
    claim = worker.claim(focus="0/1")
    assert claim.blocks == {}
    worker.finish(claim, blocks=[Block("1.0", claim.lo, claim.hi, 1, data[2])])
    claim = worker.claim(focus="0/2")
    assert measured.machine.delegate(run_id, claim, _children(claim.lo, data), worker.owner, "t", None).opened[
        0
    ].scope == scope_id(run_id, "0", 2, 0)
    for scope, token in (("0", "$xs"), ("0", "0.0"), (scope_id(run_id, "0", 2, 0), "$l")):
        found = list(measured.reader.blocks(run_id, scope, token, 0, 3))
        assert [b.data for b in found] == data
        assert [(b.lo, b.hi) for b in found] == [(0, 1), (1, 2), (2, 3)]
    assert [b.data for b in measured.reader.blocks(run_id, "0", "1.0", 0, 3)] == [data[2]]


def _children(index: int, data: list[bytes]) -> list[Child]:
    return [Child(index, {"$v": data[0]}, {"$l": 3}, elements("$l", data, attempt=1, cell=1))]


def test_what_a_dead_worker_staged_is_overridden(measured: Store) -> None:
    run_id, worker = begun(measured, [body([0], step(s=[1]), step(1, x="0.0"))])
    dead = Worker(measured, run_id, "worker-d:1")
    lost = dead.claim()
    stager = Stager(lambda verb, run_id, *rest: measured.server.run(verb, Keys().run(run_id), *rest))
    stager.blocks(run_id, "0", 1, elements("0.0", [b"old"] * 1000, attempt=1))
    stager.values(run_id, "0", 1, {"0.1": b"old" * 1_000_000})
    measured.machine.sweep(run_id, Lost(["worker-d"]), 1)
    claim = worker.claim()
    assert claim.attempt == 2
    new = elements("0.0", [b"new"] * 600, attempt=2)
    worker.finish(claim, values={"0.1": b"new" * 1_000_000}, lists={"0.0": 600}, blocks=new)
    dead.finish(lost, values={"0.1": b"old" * 1_000_000}, lists={"0.0": 1000})
    assert list(measured.reader.blocks(run_id, "0", "0.0", 0, 1000)) == new
    assert list(measured.reader.values(run_id, "0", ["0.1"])) == [b"new" * 1_000_000]
    assert worker.claim().items == 600


def test_many_successors_roots_and_items_are_bounded(measured: Store) -> None:
    width = 3000
    topology = [
        body(
            [0, *range(2, 1102)],
            step(s=range(1102, 1102 + width)),
            step(width, needs=[]),
            *(step() for _ in range(1100)),
            *(step(1, [1]) for _ in range(width)),
        )
    ]
    run_id, worker = begun(measured, topology)
    worker.finish(worker.claim())
    worker.finish(worker.claim(focus="0/0"))
    fan = [body([0, 1], step(x="$xs", se=[2, 3]), step(x="$xs", se=[2, 3]), step(x="$xs", e=2), step(x="$xs", e=2))]
    for size in (900, 5000):
        run_id = new_run(measured, fan, lists={"$xs": size})
        drain(
            measured,
            run_id,
            fan,
            produce=lambda claim: {"blocks": results(claim)},
            ranges={f"0.{i}": 10_000 for i in range(4)},
        )
        assert state_after(measured, run_id) == "done"


def test_many_scopes_are_opened_in_bounded_portions(measured: Store) -> None:
    nested = [body([0], step(x="$xs", b=1)), body(range(30), *(step() for _ in range(30)))]
    _, worker = begun(measured, nested, lists={"$xs": 1000})
    claim = worker.claim(ranges={"0.0": 500})
    assert len(worker.delegate(claim).opened) == 500 * 30


def test_many_inputs_are_read_in_portions(measured: Store) -> None:
    tokens = [f"$p{i}" for i in range(2500)]
    run_id = new_run(
        measured, [body([0], step(needs=tokens))], values={token: token.encode() * 100 for token in tokens}
    )
    assert Worker(measured, run_id).claim().values == {}
    assert list(measured.reader.values(run_id, "0", tokens)) == [token.encode() * 100 for token in tokens]
    middling = {f"$m{i}": b"m" * 300_000 for i in range(12)}
    run_id = new_run(measured, chain(1), values=middling)
    assert list(measured.reader.values(run_id, "0", list(middling))) == list(middling.values())


def test_a_large_item_is_skipped_in_bounded_portions(measured: Store) -> None:
    size, items = 150, 300
    steps = [step() if at % 2 else step(x="^$xs", r=retry(2, 60.0)) for at in range(size)]
    topology = mapped(*steps, step(x="^$ys", b=2), starts=tuple(range(size + 1)))
    run_id, worker = opened(measured, [*topology, body([0], step())], **{"$ys": items})
    open_items(worker, f"{scope_id(run_id, '0', 0, 3)}/{size}")
    assert fail(*claimed(measured, run_id, 3, 7)).state == "skipped"
    found = measured.reader.progress(run_id).counts
    assert {found[1, at].skipped for at in range(size)} == {1, 4}
    assert found[1, size].skipped == found[2, 0].skipped == items


def test_many_failures_are_taken_back_in_bounded_portions(measured: Store) -> None:
    size = 600
    topology = outliving(body([0], step(x="$xs", s=[1], ms=0.998, r=retry(2), sw=60.0), step(1)))
    run_id, worker = begun(measured, topology, lists={"$xs": size})
    claim = worker.ask(ranges={"0.0": 500}).claim
    while claim is not None:
        marker = [Block("0.0", claim.lo, claim.lo + 1, claim.attempt, b"-")]
        want = worker.want(ranges={"0.0": 500})
        claim = worker.fail(claim, want, failure=b"boom" * 100, markers={"0": marker}, retryable=True).claim
    assert state_after(measured, run_id) == "failed"
    assert measured.machine.resume(run_id)
    progress = measured.reader.progress(run_id)
    found = progress.counts[0, 0]
    assert (progress.record.epoch, found.failed, found.skipped, found.done) == (2, 0, 1, 0)
    assert drain(measured, run_id, topology, ranges={"0.0": 500})[-1] == "1"
    assert state_after(measured, run_id) == "done"


def test_a_failure_behind_many_items_is_bounded(measured: Store) -> None:
    topology = [body([0], step(x="$xs", r=retry(2)))]
    run_id, worker = begun(measured, topology, lists={"$xs": 1000})
    claim = worker.claim(ranges={"0.0": 512})
    assert claim.hi == 500
    worker.fail(claim, at=499, blocks=results(claim, 499), retryable=True)
    drain(measured, run_id, topology, ranges={"0.0": 512})
    assert state_after(measured, run_id) == "done"


def test_many_deaths_and_retries_that_are_due_at_once_are_bounded(measured: Store) -> None:
    for limited in (False, True):
        topology = [body([0], step(x="$xs", tl=1.0, r=retry(2, limit=True)))]
        run_id = new_run(measured, topology, lists={"$xs": 300})
        dead, worker = Worker(measured, run_id, "worker-d:1"), Worker(measured, run_id)
        for _ in range(300):
            dead.claim()
        swept = measured.machine.sweep(run_id, Lost(["worker-d"], limited=limited), 1, 1)
        assert swept.released == 300
        while (claim := worker.ask().claim) is not None:
            assert claim.poisoned == ("" if limited else "died")
            worker.finish(claim)
        assert state_after(measured, run_id) == "done"
