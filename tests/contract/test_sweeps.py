"""What was lost is found: dead claims come back, ready work is hinted at, active runs are looked at in turn."""

from __future__ import annotations

import itertools
import time

import pytest

from dagcelery.store import fleet
from dagcelery.store.protocol import Store
from dagcelery.store.records import Lost

from .moves import Worker, begun, body, chain, name, new_run, nothing, step

FAN = [body([0], step(s=[1], x="$xs"), step(1))]
PAIR = [body([0, 1], step(), step())]


def test_a_dead_workers_claims_come_back_as_higher_attempts(store: Store) -> None:
    run_id = new_run(store, [body([0, 1, 2], step(), step(), step())])
    dead = [Worker(store, run_id, f"worker-d:{pid}") for pid in (1, 2)]
    alive = Worker(store, run_id, "worker-dd:1")
    for worker in (*dead, alive):
        worker.claim()
    assert store.machine.sweep(run_id, Lost(["worker-d", "worker-x"]), 1).released == 2
    assert store.machine.sweep(run_id, Lost(["worker-d"]), 1).released == 0
    claims = [alive.claim(), alive.claim()]
    assert [(g.step, g.attempt) for g in claims] == [(0, 2), (1, 2)]
    assert alive.nothing()


def test_a_dead_range_comes_back_in_halves_until_a_fatal_item_is_alone(store: Store) -> None:
    run_id = new_run(store, FAN, lists={"$xs": 32})
    worker, keeper = Worker(store, run_id, "worker-d:1"), Worker(store, run_id)
    seen = [worker.claim(ranges={"0.0": 16})]
    while (rest := keeper.ask(ranges={"0.0": 99}).claim) is not None:
        keeper.finish(rest)
    while seen[-1].hi > 1:
        store.machine.sweep(run_id, Lost(["worker-d"]), 1)
        seen.append(worker.claim(ranges={"0.0": 16}))
        while (half := keeper.ask(ranges={"0.0": 99}).claim) is not None:
            keeper.finish(half)
    # Guided sizes make some of them smaller than half of what was lost.
    assert [(g.lo, g.attempt) for g in seen] == [(0, attempt) for attempt in range(1, len(seen) + 1)]
    assert all(later.hi <= (earlier.hi + 1) // 2 for earlier, later in itertools.pairwise(seen))
    worker.finish(seen[-1])
    assert [name(g) for g in worker.pieces(FAN, nothing)] == ["1"]


def test_ready_work_is_hinted_at_once_a_queue_with_a_growing_wait(store: Store) -> None:
    run_id = new_run(store, [body([0, 1, 2], step(), step(), step(q="gpu"))])
    assert sorted(store.machine.sweep(run_id, Lost(), 0.05).wake_ups) == ["cpu", "gpu"]
    assert store.machine.sweep(run_id, Lost(), 0.05).wake_ups == []
    time.sleep(0.06)
    assert sorted(store.machine.sweep(run_id, Lost(), 0.05).wake_ups) == ["cpu", "gpu"]
    time.sleep(0.06)
    assert store.machine.sweep(run_id, Lost(), 0.05).wake_ups == [], "the wait has doubled"
    time.sleep(0.06)
    assert sorted(store.machine.sweep(run_id, Lost(), 0.05).wake_ups) == ["cpu", "gpu"]


def test_what_came_back_is_hinted_at_at_once(store: Store) -> None:
    run_id = new_run(store, [body([0, 1], step(), step())])
    store.machine.sweep(run_id, Lost(), 60)
    Worker(store, run_id, "worker-d:1").claim()
    assert store.machine.sweep(run_id, Lost(), 60).wake_ups == []
    assert store.machine.sweep(run_id, Lost(["worker-d"]), 60).wake_ups == ["cpu"]


def test_a_queue_without_ready_work_deserves_no_hint(store: Store) -> None:
    run_id, worker = begun(store, chain(2))
    store.machine.sweep(run_id, Lost(), 60)
    claim = worker.claim()
    assert store.machine.sweep(run_id, Lost(), 60).wake_ups == []
    worker.finish(claim)
    assert store.machine.sweep(run_id, Lost(), 60).wake_ups == ["cpu"], "what became ready later starts anew"


def test_claims_of_one_dead_process_come_back_and_those_of_its_worker_stay(store: Store) -> None:
    run_id = new_run(store, PAIR)
    for pid in (1, 2):
        Worker(store, run_id, f"worker:{pid}:77").claim()
    assert store.machine.sweep(run_id, Lost(["worker:1"]), 1).released == 1
    assert Worker(store, run_id).claim().attempt == 2


def test_old_claims_of_a_worker_that_is_not_known_come_back_and_are_no_deaths(store: Store) -> None:
    run_id = new_run(store, PAIR)
    Worker(store, run_id, "unknown:1").claim()
    Worker(store, run_id, "known:1").claim()
    swept = [store.machine.sweep(run_id, Lost(alive={"known": (0.0, None)}), age, 1) for age in (3600, 0)]
    assert [(each.released, each.poisoned) for each in swept] == [(0, []), (1, [])]


def test_a_run_past_its_deadline_ends_as_timed_out_at_the_next_sweep(store: Store) -> None:
    late, early = (new_run(store, PAIR, deadline_seconds=seconds) for seconds in (0.0, 3600.0))
    assert [store.machine.sweep(run_id, Lost(), 1).run for run_id in (late, early)] == ["timed_out", "pending"]
    assert store.reader.record(late).reason == "its deadline has passed"
    assert Worker(store, late).nothing()


def test_a_sweep_says_how_the_run_is(store: Store) -> None:
    run_id = new_run(store, chain(1))
    assert store.machine.sweep(run_id, Lost(), 1).run == "pending"
    store.machine.end(run_id, "cancelled", "enough")
    assert store.machine.sweep(run_id, Lost(), 1).run == "cancelled"
    assert store.machine.sweep("nobody", Lost(), 1).run == "gone"


def test_a_queue_deserves_as_many_messages_as_pieces_and_free_slots(store: Store) -> None:
    run_id = new_run(store, [body(range(3), *(step() for _ in range(3)))])
    assert store.machine.wake_ups(run_id, "cpu", 8) == 3
    assert store.machine.wake_ups(run_id, "gpu", 8) == 0
    run_id = new_run(store, [body(range(3), *(step() for _ in range(3)))])
    assert store.machine.wake_ups(run_id, "cpu", 2) == 2
    assert store.machine.wake_ups(run_id, "cpu", 2) == 0, "two messages are under way"


def test_claims_and_messages_under_way_are_counted(store: Store) -> None:
    run_id, worker = begun(store, [body(range(9), *(step() for _ in range(9)))])
    worker.claim()
    assert store.machine.wake_ups(run_id, "cpu", 4) == 3
    assert store.machine.wake_ups(run_id, "cpu", 5) == 1
    other = Worker(store, run_id, "worker-b:1")
    claim = other.claim(arrived=True)
    assert store.machine.wake_ups(run_id, "cpu", 5) == 0, "what arrived has claimed"
    other.finish(claim)
    assert store.machine.wake_ups(run_id, "cpu", 5) == 1


def test_a_message_that_does_not_arrive_counts_for_a_second(store: Store) -> None:
    run_id = new_run(store, chain(1))
    assert store.machine.wake_ups(run_id, "cpu", 1) == 1
    assert store.machine.wake_ups(run_id, "cpu", 1) == 0
    time.sleep(1.05)
    assert store.machine.wake_ups(run_id, "cpu", 1) == 1


def test_items_of_a_fan_out_count_as_pieces(store: Store) -> None:
    run_id = new_run(store, FAN, lists={"$xs": 3})
    assert store.machine.wake_ups(run_id, "cpu", 16) == 3
    run_id = new_run(store, FAN, lists={"$xs": 0})
    assert store.machine.wake_ups(run_id, "cpu", 16) == 1, "an empty fan-out is one piece"


def test_only_items_that_may_be_claimed_count(store: Store) -> None:
    topology = [body([0], step(x="$xs", se=[1]), step(x="$xs", e=1, q="gpu"))]
    run_id, worker = begun(store, topology, lists={"$xs": 100})
    worker.finish(worker.claim(ranges={"0.0": 2}))
    assert store.machine.wake_ups(run_id, "gpu", 16) == 2


def test_active_runs_are_looked_at_in_turn(store: Store) -> None:
    runs = [new_run(store, chain(1)) for _ in range(3)]
    assert set(store.fleet.due(10, 0)) == set(runs)
    assert store.fleet.due(10, 60) == []
    assert len(store.fleet.due(2, 0)) == 2
    store.machine.end(runs[0], "cancelled", "enough")
    store.machine.delete(runs[1])
    assert list(store.fleet.due(10, 0)) == [runs[2]]


def test_those_not_looked_at_longest_come_first(store: Store) -> None:
    runs = [new_run(store, chain(1)) for _ in range(4)]
    assert [next(iter(store.fleet.due(1, 0))) for _ in range(8)] == runs * 2


def test_workers_are_known_by_their_signs_of_life(store: Store) -> None:
    assert store.fleet.workers() == {}
    store.fleet.heartbeat("worker-a", ["cpu", "gpu"], 4)
    store.fleet.heartbeat("worker-b", ["cpu"], 1)
    found = store.fleet.workers()
    assert (found["worker-a"]["queues"], found["worker-a"]["slots"]) == (["cpu", "gpu"], 4)
    assert 0 <= found["worker-b"]["age"] < 5
    time.sleep(0.05)
    store.fleet.heartbeat("worker-b", ["cpu"], 1)
    found = store.fleet.workers()
    assert found["worker-b"]["age"] < found["worker-a"]["age"]
    store.fleet.retire("worker-a")
    store.fleet.retire("worker-a")
    assert set(store.fleet.workers()) == {"worker-b"}


def test_announced_queues_are_known_as_long_as_they_are_among_the_newest(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "_ANNOUNCED_QUEUES", 2)
    assert list(store.fleet.announced()) == []
    for queues in (["old"], ["new"], ["newer", "new"]):
        store.fleet.announce(queues)
        time.sleep(0.001)  # the store's clock orders them
    assert sorted(store.fleet.announced()) == ["new", "newer"]
