"""What keeps a run from being started twice, or from lasting for ever."""

from __future__ import annotations

from dagcelery.store.protocol import Store
from dagcelery.store.records import Lost

from .moves import Worker, body, new_run, step

PAIR = [body([0, 1], step(), step())]


def test_the_first_run_that_is_reserved_for_a_key_keeps_it(store: Store) -> None:
    assert store.machine.reserve("orders 42", "run-a", 60) == "run-a"
    assert store.machine.reserve("orders 42", "run-b", 60) == "run-a"


def test_a_reservation_passes_on_only_from_the_run_that_is_gone(store: Store) -> None:
    store.machine.reserve("orders 43", "run-a", 60)
    assert store.machine.reserve("orders 43", "run-c", 60, instead_of="run-b") == "run-a"
    assert store.machine.reserve("orders 43", "run-b", 60, instead_of="run-a") == "run-b"


def test_claims_of_one_dead_process_come_back_and_those_of_its_worker_stay(store: Store) -> None:
    run_id = new_run(store, PAIR)
    for pid in (1, 2):
        Worker(store, run_id, f"worker:{pid}:77").claim()
    assert store.machine.sweep(run_id, Lost(["worker:1"]), 1).released == 1
    assert Worker(store, run_id).claim().attempt == 2


def test_old_claims_of_a_worker_that_nobody_knows_come_back(store: Store) -> None:
    run_id = new_run(store, PAIR)
    Worker(store, run_id, "unknown:1").claim()
    Worker(store, run_id, "known:1").claim()
    assert store.machine.sweep(run_id, Lost(alive={"known": (0.0, None)}), 3600).released == 0
    assert store.machine.sweep(run_id, Lost(alive={"known": (0.0, None)}), 0).released == 1


def test_a_run_past_its_deadline_ends_as_timed_out_at_the_next_sweep(store: Store) -> None:
    run_id = new_run(store, PAIR, deadline_seconds=0.0)
    assert store.machine.sweep(run_id, Lost(), 1).run == "timed_out"
    assert store.reader.record(run_id).reason == "its deadline has passed"
    assert Worker(store, run_id).nothing()


def test_a_run_before_its_deadline_goes_on(store: Store) -> None:
    run_id = new_run(store, PAIR, deadline_seconds=3600.0)
    assert store.machine.sweep(run_id, Lost(), 1).run == "pending"
