"""A reply that is lost on its way makes the client repeat the call by itself, and nothing happens twice."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from dagcelery.errors import StoreUnavailable
from dagcelery.local import Server
from dagcelery.store.keys import Keys
from dagcelery.store.protocol import Store
from dagcelery.store.records import Lost, NewRun, scope_id
from dagcelery.store.redis import store_on_redis

from .moves import (
    Worker,
    begun,
    body,
    chain,
    drain,
    elements,
    entries,
    name,
    new_run,
    outliving,
    results,
    retry,
    state_after,
    step,
)
from .proxy import Proxy

TOPOLOGY = [body([0], step(s=[1], x="$xs", se=[2]), step(1), step(x="$xs", e=1, b=1)), body([0], step())]


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    proxy = Proxy(server.url)
    yield proxy
    proxy.close()


@pytest.fixture
def deaf(proxy: Proxy) -> Iterator[Store]:
    """A store that talks through the proxy."""
    store = store_on_redis(proxy.url)
    yield store
    store.close()


def test_each_verbs_lost_reply_is_made_up_for(deaf: Store, proxy: Proxy, redis_store: Store) -> None:
    lose = proxy.swallow
    run = NewRun("r", "r", b"p", entries(TOPOLOGY), lists={"$xs": 8}, blocks=elements("$xs", [b"x"] * 8))
    lose(b'"parts"')
    assert deaf.machine.create(run).run == "pending"
    worker = Worker(deaf, "r")
    lose()
    claim = worker.claim(ranges={"0.0": 2})
    assert (claim.lo, claim.hi) == (0, 2)
    lose()
    reply = worker.finish(claim, worker.want(ranges={"0.0": 2}), blocks=results(claim))
    assert reply.claim is not None
    assert (name(reply.claim), [o.step for o in reply.opened]) == ("0[2:4]", [2])
    lose()
    deaf.machine.release("r", reply.claim, worker.owner)
    lose()
    assert deaf.machine.wake_ups("r", "cpu", 4) == 4
    nested = worker.claim(focus="0/2")
    lose()
    assert len(worker.delegate(nested).opened) == 1
    unfit = Worker(deaf, "r", "worker-b:1")
    refused = unfit.claim()
    lose()
    assert deaf.machine.refuse("r", "cpu", unfit.owner, ["worker-a"], "lacks it", refused)
    lose()
    assert deaf.machine.sweep("r", Lost(["worker-x"]), 1).released == 0
    lose(b"HGETALL")
    assert deaf.reader.record("r") is not None
    assert proxy.swallowed == 9
    drain(redis_store, "r", TOPOLOGY)
    progress = redis_store.reader.progress("r")
    assert {at: (c.total, c.running, c.done) for at, c in progress.counts.items()} == {
        (0, 0): (8, 0, 8),
        (0, 1): (1, 0, 1),
        (0, 2): (8, 0, 8),
        (1, 0): (8, 0, 8),
    }
    lose()
    assert deaf.machine.end("r", "cancelled", "late").run == "done"
    deaf.machine.delete("r")


def test_the_last_calls_lost_reply_is_made_up_for_although_the_run_is_settled(deaf: Store, proxy: Proxy) -> None:
    _, worker = begun(deaf, chain(1))
    claim = worker.claim()
    proxy.swallow()
    reply = worker.finish(claim, worker.want(keep_seconds=1000))
    assert (proxy.swallowed, reply.state, reply.run, reply.is_settled) == (1, "committed", "done", True)
    assert reply.lasted is not None


def test_a_failure_whose_reply_was_lost_is_counted_once(deaf: Store, proxy: Proxy) -> None:
    run_id, worker = begun(deaf, [body([0], step(r=retry(3)))])
    for attempt, expected in ((1, "retried"), (2, "retried"), (3, "committed")):
        claim = worker.claim()
        assert claim.attempt == attempt
        proxy.swallow(b'"retry"')
        assert worker.fail(claim, retryable=True).state == expected
    assert proxy.swallowed == 3
    assert sorted(deaf.reader.failures(run_id)) == ["0/0", "0/0@1", "0/0@2"]
    progress = deaf.reader.progress(run_id)
    assert (progress.counts[0, 0].failed, progress.counts[0, 0].retrying) == (1, 0)


def test_a_resumption_whose_reply_was_lost_opens_one_epoch(deaf: Store, proxy: Proxy) -> None:
    run_id, worker = begun(deaf, outliving(body([0], step(x="$xs"))), lists={"$xs": 150})
    while (claim := worker.ask().claim) is not None:
        worker.fail(claim)
    proxy.swallow(b'"deadline"')
    assert deaf.machine.resume(run_id)
    record = deaf.reader.record(run_id)
    assert (record.state, record.epoch, proxy.swallowed) == ("running", 2, 1)
    assert sum(g.hi - g.lo for g in worker.pieces([{}], lambda _: {}, ranges={"0.0": 50})) == 150


def test_a_resumption_that_is_repeated_after_the_next_end_opens_no_other_epoch(redis_store: Store) -> None:
    run_id = new_run(redis_store, chain(1))
    request = {"token": "t", "deadline": None}
    for _ in range(2):
        redis_store.machine.end(run_id, "cancelled", "enough")
        assert b'"resumed":true' in redis_store.server.run("resume", Keys().run(run_id), request)[0]
    record = redis_store.reader.record(run_id)
    assert (record.state, record.epoch) == ("cancelled", 2)


def test_an_admission_and_a_reservation_whose_replies_were_lost_are_answered_alike(deaf: Store, proxy: Proxy) -> None:
    run_id = new_run(deaf, chain(2), held="key")
    proxy.swallow(b'"still"')
    assert [o.step for o in deaf.machine.admit(run_id).opened] == [0]
    proxy.swallow(b'"instead_of"')
    assert deaf.machine.reserve("orders", "a", 60) == "a"
    proxy.swallow(b'"instead_of"')
    assert deaf.machine.reserve("orders", "b", 60, instead_of="a") == "b"
    proxy.swallow(b'"instead_of"')
    assert deaf.machine.reserve("orders", "c", 60, instead_of="a") == "b"
    assert proxy.swallowed == 4


def test_a_lost_reply_amid_many_successors_loses_none(deaf: Store, proxy: Proxy) -> None:
    width = 1700
    topology = [body([0], step(s=range(1, width + 1)), *(step(1) for _ in range(width)))]
    for number in range(1, 4):
        _, worker = begun(deaf, topology)
        claim = worker.claim()
        proxy.swallow(b'"from":%d' % number)
        reply = worker.finish(claim, worker.want())
        assert len(reply.opened) == width
        assert reply.ready == width - 1
    assert proxy.swallowed == 3


def test_a_caller_that_gave_up_amid_its_successors_may_call_again(redis_store: Store) -> None:
    width = 1700
    run_id, worker = begun(redis_store, [body([0], step(s=range(1, width + 1)), *(step(1) for _ in range(width)))])
    claim, want = worker.claim(), worker.want()
    _first_portion_only(redis_store, run_id, claim.attempt, want.token)
    reply = worker.finish(claim, want)
    assert reply.state == "committed"
    assert reply.ready == width - 1


def test_a_sweep_goes_on_where_a_dead_worker_stopped_telling(redis_store: Store) -> None:
    width = 1700
    run_id, worker = begun(redis_store, [body([0], step(s=range(1, width + 1)), *(step(1) for _ in range(width)))])
    _first_portion_only(redis_store, run_id, worker.claim().attempt, "t")
    assert redis_store.reader.progress(run_id).ready == {"cpu": 500}
    redis_store.machine.sweep(run_id, Lost(["worker-a"]), 1)
    progress = redis_store.reader.progress(run_id)
    assert (progress.ready, progress.counts[0, 0].done) == ({"cpu": width}, 1)
    assert redis_store.machine.wake_ups(run_id, "cpu", 8) == 8, "no claim is left"


def _first_portion_only(store: Store, run_id: str, attempt: int, token: str) -> None:
    """Commit step 0 as `worker-a:1` and die before the second portion of its successors."""
    piece = {"scope": "0", "step": 0, "lo": -1, "hi": -1, "attempt": attempt, "started": 1.0, "seconds": 1.0}
    request = {"owner": "worker-a:1", "token": token, "pieces": [piece], "from": 0}
    store.server.run("finish", Keys().run(run_id), request)


def test_a_delegate_that_stopped_half_way_is_completed_by_the_next_attempt(redis_store: Store) -> None:
    topology = [body([0], step(x="$xs", b=1)), body([0], step())]
    run_id = new_run(redis_store, topology, lists={"$xs": 8})
    dead, alive = Worker(redis_store, run_id, "worker-d:1"), Worker(redis_store, run_id)
    dead.claim(ranges={"0.0": 4})
    request = {"owner": dead.owner, "token": "t", "scope": "0", "step": 0, "lo": 0, "hi": 4, "attempt": 1}
    children = [
        {"id": scope_id(run_id, "0", 0, index), "index": index, "tokens": [], "lists": {}, "blocks": []}
        for index in range(2)
    ]
    redis_store.server.run("delegate", Keys().run(run_id), request | {"children": children, "from": 0, "last": False})
    redis_store.machine.sweep(run_id, Lost(["worker-d"]), 1)
    drain(redis_store, run_id, topology)
    progress = redis_store.reader.progress(run_id)
    assert (progress.record.state, progress.scopes) == ("done", {0: 1, 1: 8})
    assert {at: (c.running, c.done) for at, c in progress.counts.items()} == {(0, 0): (0, 8), (1, 0): (0, 8)}
    assert alive.nothing()


def test_a_server_that_forgot_its_scripts_is_given_them_again(redis_store: Store, raw: redis.Redis) -> None:
    begun(redis_store, chain(1))
    raw.script_flush()
    run_id, worker = begun(redis_store, chain(2))
    assert raw.zscore("dagcelery:active", run_id) is not None
    raw.script_flush()
    claim = worker.claim()
    raw.script_flush()
    assert worker.finish(claim, values={"0.0": b"v"}).state == "committed"
    assert redis_store.reader.values(run_id, "0", ["0.0"]) == [b"v"]


def test_a_store_out_of_reach_is_said_to_be_so_without_its_password(tmp_path: Path) -> None:
    for url, shown in (
        ("redis://:secret@127.0.0.1:1/0", "redis://:***@127.0.0.1:1/0"),
        ("redis://me:secret@127.0.0.1:1/0", "redis://me:***@127.0.0.1:1/0"),
        (f"unix://{tmp_path}/none?password=secret", f"unix://{tmp_path}/none?password=***"),
    ):
        _check_unreachable(store_on_redis(url, retry=None), shown)


def _check_unreachable(store: Store, shown: str) -> None:
    verbs: list[Callable[[], object]] = [
        store.ping,
        lambda: store.reader.record("r"),
        lambda: store.machine.end("r", "cancelled", ""),
        lambda: state_after(store, "r", 1),
        lambda: Worker(store, "r").ask(),
        lambda: store.fleet.due(1, 0),
        store.fleet.workers,
    ]
    for verb in verbs:
        with pytest.raises(StoreUnavailable) as caught:
            verb()
        assert caught.value.url == shown
        assert "secret" not in str(caught.value)


def test_a_store_that_comes_back_is_used_again(server: Server, redis_store: Store) -> None:
    run_id, worker = begun(redis_store, chain(1))
    server.stop()
    for verb in (lambda: redis_store.reader.record(run_id), worker.ask):
        with pytest.raises(StoreUnavailable):
            verb()
    server.start()
    assert worker.finish(worker.claim()).run == "done"


def _finish_in_child(store: Store, run_id: str) -> None:
    worker = Worker(store, run_id, "worker-c:1")
    for _ in range(20):
        worker.finish(worker.claim())


@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
def test_a_forked_child_has_a_connection_of_its_own(redis_store: Store) -> None:
    run_id, worker = begun(redis_store, chain(41))
    worker.finish(worker.claim())
    fork = multiprocessing.get_context("fork")
    for _ in range(2):
        child = fork.Process(target=_finish_in_child, args=[redis_store, run_id])
        child.start()
        # The parent talks all the while.
        while child.is_alive():
            assert redis_store.machine.end("nobody", "cancelled", "").run == "gone"
        child.join()
        assert child.exitcode == 0
    assert state_after(redis_store, run_id) == "done"


class Interrupted(Exception):
    """What a soft time limit raises, anywhere."""


# Redis's client may be interrupted while it connects, and then drops its socket without closing it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_call_that_is_interrupted_leaves_no_reply_behind(redis_store: Store) -> None:
    run_id = new_run(redis_store, chain(1), values={f"$v{i}": b"%d" % i for i in range(9)})
    other = redis.Redis.from_url(redis_store.server.url)

    def interrupt(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for turn in range(9):
            # Interrupted while it waits for the reply, as a soft time limit does; the server answers only later.
            other.client_pause(60)
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            with pytest.raises(Interrupted):
                redis_store.reader.values(run_id, "0", [f"$v{turn}"])
            assert redis_store.reader.values(run_id, "0", [f"$v{8 - turn}"]) == [b"%d" % (8 - turn)]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        other.close()
