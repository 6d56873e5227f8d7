"""Counters of all runs are added to once for each token, and what waits in a run is found without its workers."""

from __future__ import annotations

import pytest

from dagcelery.store.protocol import Store

from .moves import Worker, begun, body, new_run, step


def test_a_repeated_call_counts_nothing_and_another_one_adds(store: Store) -> None:
    for token in ("a", "a", "b"):
        assert store.fleet.count(token, {"runs": 2, "sum": 10**12}, 10) == []
    assert store.fleet.counted() == {"runs": 4, "sum": 2 * 10**12}


def test_what_is_new_and_does_not_fit_is_refused_and_what_is_known_is_counted(store: Store) -> None:
    store.fleet.count("a", {"x": 1}, 1)
    assert store.fleet.count("b", {"x": 1, "y": 1, "z": 1}, 2) in (["y"], ["z"])
    assert store.fleet.counted()["x"] == 2


def test_very_many_counters_are_added_to_in_portions(store: Store) -> None:
    counts = {f"c{number}": 1 for number in range(1_100)}
    store.fleet.count("a", counts, 5_000)
    assert store.fleet.counted() == counts


def test_what_is_ready_is_told_by_queue_with_the_items_of_fan_outs(store: Store) -> None:
    topology = [body([0, 1, 2], step(x="$n"), step(), step(q="gpu"))]
    run_id, worker = begun(store, topology, lists={"$n": 10}, name="shop")
    worker.claim(focus="0/0", ranges={"0.0": 4})
    found = store.reader.waiting([run_id])[run_id]
    assert found.dag == "shop"
    assert {row.queue: row.pieces for row in found.waiting} == {"cpu": 7, "gpu": 1}
    assert all(0 <= row.seconds < 60 for row in found.waiting)


def test_of_very_many_ready_steps_all_are_counted(store: Store) -> None:
    run_id, _ = begun(store, [body(range(300), *(step() for _ in range(300)))])
    assert [row.pieces for row in store.reader.waiting([run_id])[run_id].waiting] == [300]


@pytest.mark.parametrize("state", ["held", "over", "gone"])
def test_nothing_waits_in_a_run_that_is_held_and_one_that_is_over_or_gone_is_left_out(store: Store, state: str) -> None:
    run_id = new_run(store, [body([0], step())], held="limit" if state == "held" else "")
    if state == "over":
        store.machine.end(run_id, "cancelled", "")
    found = store.reader.waiting([run_id if state != "gone" else "no-run"])
    assert [list(run.waiting) for run in found.values()] == ([[]] if state == "held" else [])


def test_active_runs_are_named_up_to_a_limit_and_counted(store: Store) -> None:
    runs = {new_run(store, [body([0], step())]) for _ in range(3)}
    names, number = store.fleet.active(2)
    assert (len(names), number) == (2, 3)
    assert set(names) < runs
    assert Worker(store, names[0]).claim().step == 0
