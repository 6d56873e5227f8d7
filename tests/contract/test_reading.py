"""What a run looks like from outside, while it lasts and afterwards."""

from __future__ import annotations

import threading
import time

import pytest

from dagcelery.store.protocol import Store
from dagcelery.store.records import Claim, Scope, TaskResult

from .moves import Worker, begun, body, chain, drain, new_run, state_after, step


def test_a_record_tells_a_runs_life(store: Store) -> None:
    run_id = new_run(store, chain(1), name="mine")
    record = store.reader.record(run_id)
    assert (record.id, record.name, record.state) == (run_id, "mine", "pending")
    assert (record.started, record.ended, record.epoch) == (0, 0, 1)
    drain(store, run_id, chain(1))
    record = store.reader.record(run_id)
    assert record.state == "done"
    assert time.time() - 60 < record.created <= record.started <= record.ended < time.time() + 60


def test_the_plan_is_given_back(store: Store) -> None:
    plan = bytes(range(256)) * 8000
    assert store.reader.plan(new_run(store, chain(1), plan=plan)) == plan


def test_an_unknown_run_is_gone(store: Store) -> None:
    worker = Worker(store, "nobody")
    claim = Claim(Scope("0"), 0, -1, -1, 1, -1)
    assert (worker.ask().state, worker.ask().run) == ("none", "gone")
    assert (worker.finish(claim).state, worker.finish(claim).run) == ("stale", "gone")
    assert (worker.delegate(claim).state, worker.delegate(claim).run) == ("stale", "gone")
    store.machine.release("nobody", claim, worker.owner)
    assert store.reader.record("nobody") is None
    assert store.reader.plan("nobody") is None
    assert store.reader.progress("nobody") is None
    assert store.reader.scope("nobody", "x") is None
    assert list(store.reader.values("nobody", "0", ["0.0", "^0.0"])) == [None, None]
    assert list(store.reader.blocks("nobody", "0", "0.0", 0, 10)) == []
    assert store.reader.failures("nobody") == {}
    assert store.reader.events("nobody", "", 10) == []
    assert store.machine.wake_ups("nobody", "cpu", 4) == 0
    assert store.machine.end("nobody", "cancelled", "").run == state_after(store, "nobody", 1) == "gone"
    store.machine.delete("nobody")


def test_events_come_in_order_and_resume_after_any(store: Store) -> None:
    run_id, worker = begun(store, [body([0], step(s=[1]), step(1, x="$xs"))], lists={"$xs": 2})
    worker.finish(worker.claim(), started=12.5, seconds=0.25)
    worker.finish(worker.claim(), started=13.0, seconds=0.5)
    worker.finish(worker.claim(), failure=b"boom", done=1)
    events = list(store.reader.events(run_id, "", 100))
    assert [(e.kind, e.piece, e.hi, e.attempt) for e in events] == [
        ("created", "", -1, 0),
        ("done", "0/0", -1, 1),
        ("done", "0/1/0", 1, 1),
        ("failed", "0/1/1", 2, 1),
        ("failed", "", -1, 0),
    ]
    assert (events[1].started, events[1].seconds) == (12.5, 0.25)
    for i, event in enumerate(events):
        assert list(store.reader.events(run_id, event.id, 100)) == events[i + 1 :]
    assert list(store.reader.events(run_id, "", 2)) == events[:2]


def test_items_of_large_fan_outs_share_an_event_a_range(store: Store) -> None:
    run_id, worker = begun(store, [body([0], step(x="$xs"))], lists={"$xs": 1001})
    worker.finish(worker.claim(ranges={"0.0": 100}))
    assert [(e.piece, e.hi) for e in store.reader.events(run_id, "", 100)][1:] == [("0/0/0", 100)]


def test_waiting_ends_with_the_run(store: Store) -> None:
    run_id, worker = begun(store, chain(1))
    claim = worker.claim()
    heard: list[tuple[str, float]] = []
    waiting = threading.Thread(target=lambda: heard.append((state_after(store, run_id, 30), time.monotonic())))
    waiting.start()
    time.sleep(0.1)
    ended = time.monotonic()
    worker.finish(claim)
    waiting.join(10)
    assert heard[0][0] == "done"
    assert heard[0][1] - ended < 15


@pytest.mark.parametrize("state", ["cancelled", "timed_out"])
def test_waiting_ends_when_the_run_is_ended(store: Store, state: str) -> None:
    run_id = new_run(store, chain(1))
    ending = threading.Timer(0.1, store.machine.end, [run_id, state, "because"])
    ending.start()
    assert state_after(store, run_id, 30) == state
    ending.join()
    record = store.reader.record(run_id)
    assert (record.state, record.reason) == (state, "because")


def test_waiting_ends_when_the_run_is_deleted(store: Store) -> None:
    run_id = new_run(store, chain(1))
    deleting = threading.Timer(0.1, store.machine.delete, [run_id])
    began = time.monotonic()
    deleting.start()
    assert state_after(store, run_id, 30) == "gone"
    assert time.monotonic() - began < 15
    deleting.join()


def test_waiting_is_over_when_the_time_is(store: Store) -> None:
    run_id = new_run(store, chain(1))
    began = time.monotonic()
    assert state_after(store, run_id, 0.2) == "pending"
    assert time.monotonic() - began > 0.15


def test_an_ended_run_grants_nothing_and_keeps_its_state(store: Store) -> None:
    run_id, worker = begun(store, chain(2))
    claim = worker.claim()
    assert store.machine.end(run_id, "cancelled", "enough").run == "cancelled"
    assert worker.nothing()
    reply = store.machine.finish(run_id, [(claim, TaskResult(failure=b"late"))], worker.owner, "t", worker.want())
    assert (reply.state, reply.run, reply.claim) == ("committed", "cancelled", None)
    record = store.reader.record(run_id)
    assert (record.state, record.reason, record.failed) == ("cancelled", "enough", "")
