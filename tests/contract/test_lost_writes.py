"""A server that takes over may lack the last writes that were acknowledged: no call ends with a part of itself lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest
import redis

from dagcelery.errors import StoreUnavailable
from dagcelery.store.protocol import Store
from dagcelery.store.records import Child, ChildPlan, NewRun, Response, RunState

from .between import between
from .moves import Worker, begun, body, chain, drain, entries, step
from .test_skipped_scopes import mapped

T = TypeVar("T")
LARGE = bytes(range(256)) * 7_000


def losing(store: Store, raw: redis.Redis, at: int) -> Store:
    """The same store, which has lost all that happens from now on when script number `at` comes."""
    kept = {name: (raw.dump(name), max(0, raw.pttl(name))) for name in raw.scan_iter()}
    calls = 0

    def around(call: Callable[[], Any], *_: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            raw.flushdb()
            for name, (dumped, ttl) in kept.items():
                raw.restore(name, ttl, dumped)  # type: ignore[arg-type]
        return call()

    return between(store, around)


def repeated(call: Callable[[], T]) -> T:
    """What a worker does with a commit during an outage."""
    try:
        return call()
    except StoreUnavailable:
        return call()


@pytest.mark.parametrize("lost_at", range(1, 7))
def test_a_large_result_is_whole_or_not_there(redis_store: Store, raw: redis.Redis, lost_at: int) -> None:
    run_id, worker = begun(redis_store, chain(2))
    claim = worker.claim()
    late = Worker(losing(redis_store, raw, lost_at), run_id, worker.owner)
    reply: Response = repeated(lambda: late.finish(claim, token="same", values={"0.0": LARGE, "0.1": LARGE[::-1]}))
    assert reply.state == "committed"
    assert list(redis_store.reader.values(run_id, "0", ["0.0", "0.1"])) == [LARGE, LARGE[::-1]]


@pytest.mark.parametrize("lost_at", range(1, 9))
def test_a_large_run_is_whole_or_not_there(redis_store: Store, raw: redis.Redis, lost_at: int) -> None:
    store = losing(redis_store, raw, lost_at)
    repeated(lambda: store.machine.create(NewRun("large", "large", b"p", entries(chain(1)), values={"$p": LARGE})))
    if lost_at < 8:  # else the whole run was lost after it had been acknowledged
        assert list(redis_store.reader.values("large", "0", ["$p"])) == [LARGE]


@pytest.mark.parametrize("lost_at", range(1, 5))
def test_all_items_are_opened_or_their_claim_stays(redis_store: Store, raw: redis.Redis, lost_at: int) -> None:
    topology = mapped(step())
    run_id, worker = begun(redis_store, topology, lists={"$xs": 500})
    claim = worker.claim(ranges={"0.0": 500})
    assert claim.hi - claim.lo == 250
    late = Worker(losing(redis_store, raw, lost_at), run_id, worker.owner)
    repeated(lambda: late.delegate(claim, token="same"))
    drain(redis_store, run_id, topology)
    record = redis_store.reader.record(run_id)
    assert record is not None
    assert record.state == RunState.DONE


def test_a_number_that_was_lost_and_given_again_serves_one_plan(redis_store: Store) -> None:
    run_id, worker = begun(redis_store, [body([0, 1], step(), step())])
    first, second = worker.claim(), worker.claim()

    def grow(claim: Any) -> Response:
        made = [Child(-1, plan=ChildPlan(1, entries(chain(1)), b"sealed"))]
        return redis_store.machine.delegate(run_id, claim, made, worker.owner, f"grow-{claim.step}", None)

    redis_store.machine.number(run_id, 1)
    assert grow(first).state == "committed"
    with pytest.raises(StoreUnavailable, match="lost the first part"):
        grow(second)
