"""Steps start when all that they wait for is done, and only then."""

from __future__ import annotations

import pytest
import redis

from dagcelery.store.protocol import Store
from dagcelery.store.records import START, SUCCESSORS, NewRun

from .moves import Body, Worker, begun, body, chain, drain, entries, new_run, nothing, state_after, step


def test_values_travel_from_step_to_step(store: Store) -> None:
    run_id = new_run(
        store, [body([0], step(s=[1], needs=["$n"]), step(1, needs=["0.0", "$n", "0.1"]))], values={"$n": b"5"}
    )
    worker = Worker(store, run_id)
    first = worker.claim()
    assert first.values == {"$n": b"5"}
    second = worker.finish(first, worker.want(), values={"0.0": b"six"}).claim
    assert second.values == {"0.0": b"six", "$n": b"5", "0.1": None}


def test_a_join_opens_at_its_last_arrival_only(store: Store) -> None:
    _, worker = begun(store, [body(range(4), *(step(s=[4]) for _ in range(4)), step(4))])
    claims = [worker.claim() for _ in range(4)]
    for claim in claims[:-1]:
        reply = worker.finish(claim)
        assert reply.opened == []
        assert worker.nothing()
    (opened,) = worker.finish(claims[-1]).opened
    assert (opened.step, opened.queue, opened.items) == (4, "cpu", -1)
    assert worker.claim().step == 4


def test_steps_on_other_queues_are_not_granted(store: Store) -> None:
    run_id, worker = begun(store, [body([0, 1], step(q="gpu"), step())])
    gpu = Worker(store, run_id, "worker-g:1", "gpu")
    assert worker.claim().step == 1
    assert worker.nothing()
    assert gpu.claim().step == 0


def test_a_focus_is_preferred_and_can_be_all_that_is_wanted(store: Store) -> None:
    _, worker = begun(store, [body([0, 1, 2], step(), step(), step())])
    assert worker.claim(focus="0/2").step == 2
    assert worker.nothing(focus="0/2", only=True)
    assert worker.claim(focus="0/2").step == 0


def test_many_first_steps_are_announced_by_a_start_piece(store: Store) -> None:
    topology = [body(range(1200), *(step() for _ in range(1200)))]
    run_id, worker = begun(store, topology)
    start = worker.claim()
    assert start.step == START
    reply = worker.finish(start, worker.want())
    assert len(reply.opened) == 1200
    assert reply.ready == 1199
    assert reply.claim is not None
    worker.finish(reply.claim)
    assert drain(store, run_id, topology) == [str(i) for i in range(1, 1200)]
    assert state_after(store, run_id) == "done"


def wide(width: int) -> list[Body]:
    """One step, `width` after it, and one after all of those."""
    middle = (step(1, [width + 1]) for _ in range(width))
    needs = [f"{i}.0" for i in range(1, width + 1)]
    return [body([0], step(s=range(1, width + 1)), *middle, step(width, needs=needs))]


def test_thousands_of_successors_are_announced_in_portions(store: Store) -> None:
    width = 5_000
    _, worker = begun(store, wide(width))
    reply = worker.finish(worker.claim(), worker.want())
    assert len(reply.opened) == width
    assert reply.ready == width - 1
    assert reply.claim.step == 1


@pytest.mark.parametrize("width", [2, SUCCESSORS, SUCCESSORS + 1])
def test_a_join_opens_once_however_wide(store: Store, width: int) -> None:
    run_id = new_run(store, wide(width))
    *others, join = Worker(store, run_id).pieces(wide(width), nothing)
    assert [claim.step for claim in others] == list(range(width + 1))
    assert join.step == width + 1
    assert bool(join.values) == (width <= SUCCESSORS), "so many inputs are read apart"
    assert state_after(store, run_id) == "done"


def test_an_arrival_costs_the_same_however_wide_the_join(redis_store: Store, raw: redis.Redis) -> None:
    def calls(width: int) -> int:
        _, worker = begun(redis_store, wide(width))
        worker.finish(worker.claim())
        claim = worker.claim()
        raw.config_resetstat()
        worker.finish(claim)
        stats = raw.info("commandstats")
        return sum(count["calls"] for name, count in stats.items() if "config" not in name)

    assert calls(10) == calls(1000)


def test_a_run_without_steps_is_done_at_once(store: Store) -> None:
    assert state_after(store, new_run(store, [body([])]), 0) == "done"


def test_creating_a_run_again_changes_nothing(store: Store) -> None:
    run = NewRun("again", "test", b"plan", entries(chain(2)), values={"$n": b"1"})
    first = store.machine.create(run)
    Worker(store, "again").claim()
    second = store.machine.create(run)
    assert (first.run, second.run) == ("pending", "running")
    assert Worker(store, "again", "worker-b:1").nothing()
