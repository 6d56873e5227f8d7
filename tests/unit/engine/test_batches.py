"""Short steps are executed together, and nobody can tell from what comes of them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest

from dagcelery import Retry, current, dag, task
from dagcelery.engine import batches, worker_loop
from dagcelery.engine.hooks import Listener
from dagcelery.engine.run_view import RunView
from dagcelery.errors import NodeFailed, StoreUnavailable
from dagcelery.planner.compile import plan
from dagcelery.planner.topology import followers, topology
from dagcelery.store.records import Claim, Lost, Response, TaskResult

from .worlds import World

LONG = 1e6
now: dict[str, Callable[[Any], Any]] = {}
"""What the tasks below do with their argument; each test says it."""


@task
def act(x: int) -> int:
    now["act"](x)
    return x + 1


@dag
def beside() -> list[int]:
    return [act(0), act(1), act(2), act(3), act(4), act(5), act(6), act(7)]


@dag
def straight(x: int) -> int:
    for _ in range(5):
        x = act(x)
    return x


@task
def added(xs: list[int]) -> int:
    return sum(xs)


@dag
def rows(x: int) -> int:
    """Two rows, of which the second needs two each of the first."""
    first = [act(x), act(x), act(x), act(x)]
    second = [added([first[n], first[n + 1]]) for n in range(3)]
    return added([*second])


@task
def made(x: str) -> str:
    return now["made"](x)


@task(dynamic=True, retry=Retry(2, wait=0))
def grown(x: int) -> int:
    now["grown"](x)
    return grown(grown(x - 1)) if x > 2 else x  # type: ignore[no-any-return]


@dag
def growing() -> list[int]:
    return [added([grown(0)]), added([grown(1)]), added([grown(2)]), added([grown(3)])]


@dag
def twice_made(x: str) -> str:
    return made(made(x))


def knowing(**options: Any) -> tuple[World, list[list[str]]]:
    """A worker that takes all functions for short, and which pieces each commit of its world has."""
    world = World(**{"workers": 1, "slots": 1, "slice_seconds": LONG, "handoff_seconds": LONG} | options)
    for worker in world.workers:
        worker.durations.usual = lambda function: 1e-6  # type: ignore[method-assign]
    calls: list[list[str]] = []
    finish = world.store.machine.finish

    def told(run_id: str, executed: Any, *rest: Any) -> Any:
        calls.append([claim.piece for claim, _ in executed])
        return finish(run_id, executed, *rest)

    world.store.machine.finish = told  # type: ignore[method-assign]
    return world, calls


@pytest.fixture(autouse=True)
def a_slow_machine_is_as_good_as_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_loop, "BATCH_SECONDS", LONG)
    monkeypatch.setattr(batches, "BATCH_SECONDS", LONG)
    now["act"] = lambda x: None


def test_steps_side_by_side_share_a_call_and_half_of_them_is_left_to_others() -> None:
    world, calls = knowing()
    for worker in world.workers:
        worker.durations.batch_size = lambda function: 8  # type: ignore[method-assign]
    assert world.run(beside) == list(range(1, 9))
    assert calls[:2] == [["0/0", "0/1", "0/2", "0/3"], ["0/4", "0/5"]]


def test_each_piece_of_a_batch_knows_its_own_place() -> None:
    world, _ = knowing()
    places = []
    now["act"] = lambda x: places.append((current().address, current().attempt))
    world.run(beside)
    assert places == [("act" if n == 0 else f"act-{n + 1}", 1) for n in range(8)]


def test_one_that_fails_in_a_batch_leaves_the_others_theirs_and_has_its_own_attempts() -> None:
    attempts: list[tuple[int, int]] = []

    def fail(x: int) -> None:
        attempts.append((x, current().attempt))
        if x == 1 and current().attempt == 1:
            raise ValueError("once")

    now["act"] = fail
    world, calls = knowing()

    @dag
    def again() -> list[int]:
        each = act.options(retry=Retry(2, wait=0))
        return [each(0), each(1), each(2), each(3), each(4), each(5)]

    assert world.run(again) == [1, 2, 3, 4, 5, 6]
    assert calls[:2] == [["0/0", "0/2", "0/3", "0/4", "0/5"], ["0/1"]]
    assert sorted(attempts) == [(0, 1), (1, 1), (1, 2), (2, 1), (3, 1), (4, 1), (5, 1)]


def test_what_waits_behind_a_piece_that_overruns_is_given_to_others() -> None:
    world, calls = knowing(handoff_seconds=0.001, slots=2)
    other, given = world.engine("other"), threading.Event()
    release = world.store.machine.release

    def told(run_id: str, claim: Claim, owner: str) -> None:
        release(run_id, claim, owner)
        if claim.step == 1:  # the last one to go back
            given.set()

    def overrun(x: int) -> None:
        if x == 0 and not calls:
            assert given.wait(10)
            world.deliver(world.post.waiting.pop(), other)
            assert [claim for call in calls for claim in call] == [f"0/{n}" for n in range(1, 8)]

    now["act"] = overrun
    world.store.machine.release = told  # type: ignore[method-assign]
    assert world.run(beside) == list(range(1, 9))


def test_a_straight_run_is_one_call_with_an_event_for_each_step() -> None:
    world, calls = knowing()
    run_id = world.ended(straight, x=1)
    assert world.result(run_id) == 6
    assert calls == [[f"0/{n}" for n in range(5)]]
    assert world.committed(run_id) == calls[0]


def test_a_straight_run_ends_at_the_step_that_fails() -> None:
    def fail(x: int) -> None:
        if x == 3:
            raise ValueError("three")

    now["act"] = fail
    world, calls = knowing()
    run_id = world.ended(straight, x=1)
    assert calls == [["0/0", "0/1"], ["0/2"]]
    with pytest.raises(NodeFailed, match="three"):
        world.result(run_id)


def test_what_a_step_changes_later_is_not_what_the_one_behind_it_reads() -> None:
    kept: list[list[int]] = []

    def grown(xs: list[int]) -> list[int]:
        for each in kept:
            each.append(-1)
        kept.append(xs)
        return xs

    grow = task(grown)

    @dag
    def growing(xs: list[int]) -> list[int]:
        return grow(grow(grow(xs)))

    world, calls = knowing()
    assert world.run(growing, xs=[1]) == [1]
    assert len(calls[0]) == 3


def test_what_is_done_does_not_wait_for_a_piece_that_overruns_behind_it() -> None:
    told: list[tuple[str, str]] = []

    class Heard(Listener):
        def ended(self, view: RunView, claim: Claim, result: TaskResult, response: Response) -> bool:
            told.append((claim.piece, response.state))
            return False

    world, calls = knowing(handoff_seconds=0.001, slots=2, listener=Heard())
    committed = threading.Event()
    finish = world.store.machine.finish

    def noted(*arguments: Any) -> Any:
        response = finish(*arguments)
        committed.set()
        return response

    now["act"] = lambda x: x != 3 or committed.wait(10)
    world.store.machine.finish = noted  # type: ignore[method-assign]
    run_id = world.ended(straight, x=1)
    assert world.result(run_id) == 6
    assert calls[0] == ["0/0", "0/1"]
    assert sorted(told) == [(f"0/{n}", "committed") for n in range(5)]
    assert {event.attempt for event in world.events(run_id) if event.kind == "done" and event.piece} == {1}


def test_what_could_not_be_committed_while_a_piece_overran_is_committed_with_it() -> None:
    world, calls = knowing(handoff_seconds=0.001, slots=2)
    missed = threading.Event()
    finish = world.store.machine.finish

    def miss_once(*arguments: Any) -> Any:
        if not missed.is_set():
            missed.set()
            raise OSError("of the watch's thread")
        return finish(*arguments)

    now["act"] = lambda x: x != 3 or missed.wait(10)
    world.store.machine.finish = miss_once  # type: ignore[method-assign]
    run_id = world.ended(straight, x=1)
    assert world.result(run_id) == 6
    assert sorted(piece for call in calls for piece in call) == [f"0/{n}" for n in range(5)]


def test_a_step_that_fails_behind_another_is_not_called_by_others_in_between() -> None:
    attempts: list[int] = []

    def fail(x: int) -> None:
        if x == 2:
            attempts.append(current().attempt)
            raise ValueError("two")

    now["act"] = fail
    world, _ = knowing(workers=2)
    finish = world.store.machine.finish

    def others_come(*arguments: Any) -> Any:
        response = finish(*arguments)
        world.post.wake_up(arguments[0], "celery", 1)
        world.deliver(world.post.waiting.pop(), world.workers[1])
        return response

    world.store.machine.finish = others_come  # type: ignore[method-assign]
    run_id = world.ended(straight, x=1)
    assert attempts == [1]
    with pytest.raises(NodeFailed, match="two"):
        world.result(run_id)


@pytest.mark.parametrize("size", [1_000, 600_000])
def test_a_late_worker_does_not_touch_what_was_committed_meanwhile(size: int) -> None:
    """It was taken for dead with a step in hand that follows one which another worker has done anew by then."""
    world, _ = knowing(workers=2)
    calls = itertools.count()

    def make(x: str) -> str:
        number = next(calls)
        if number == 1:
            world.store.machine.sweep(run_id, Lost(["worker0"]), 10)
            world.post.wake_up(run_id, "celery", 1)
            world.deliver(world.post.waiting.pop(), world.workers[1])
        return str(number) * size

    now["made"] = make
    run_id = world.submit(twice_made, x="")
    world.settle()
    assert world.result(run_id) == "3" * size


def test_an_outage_in_a_batch_costs_nothing_that_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    world, calls = knowing()
    called: list[int] = []
    now["act"] = called.append
    read, out = worker_loop.Execution.run, iter([False, False, True])

    def run(self: Any) -> TaskResult:
        if next(out, False):
            raise StoreUnavailable("away", "memory")
        return read(self)

    monkeypatch.setattr(worker_loop.Execution, "run", run)
    run_id = world.submit(beside)
    with pytest.raises(StoreUnavailable):
        world.settle()
    assert (calls, called) == ([["0/0", "0/1"]], [0, 1])
    world.store.machine.sweep(run_id, Lost(["worker0"]), 10)
    world.post.wake_up(run_id, "celery", 1)
    world.settle()
    assert world.result(run_id) == list(range(1, 9))
    assert called == list(range(8))


def test_dynamic_steps_come_in_batches_and_what_grows_or_fails_in_one_costs_the_others_nothing() -> None:
    attempts: list[tuple[int, int]] = []

    def fail(x: int) -> None:
        attempts.append((x, current().attempt))
        if attempts[-1] == (1, 1):
            raise ValueError("once")

    now["grown"] = fail
    world, calls = knowing()
    for worker in world.workers:
        worker.durations.batch_size = lambda function: 1000  # type: ignore[method-assign]
    run_id = world.ended(growing)
    assert world.result(run_id) == [0, 1, 2, 2]
    assert sorted(attempts) == [(0, 1), (1, 1), (1, 2), (2, 1), (2, 1), (2, 1), (3, 1)]
    assert len(calls[0]) > 3
    committed = world.committed(run_id)
    assert len(committed) == len(set(committed))


# -- which steps may ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "options",
    [{"taint": "gpu"}, {"timeout": 5}, {"max_concurrent": 1}, {"start_within": 9}],
    ids=lambda options: next(iter(options)),
)
def test_tainted_and_limited_steps_are_never_held_behind_others(options: dict[str, Any]) -> None:
    @dag
    def two(x: int) -> int:
        return act.options(**options)(act(x))

    planned = plan(two.__dag__())
    assert [topology(planned)[0][step].is_alone for step in (0, 1)] == [False, True]
    assert not followers(planned, 0, 0)


@pytest.mark.parametrize("options", [{}, {"timeout": 5}], ids=["unknown", "limited"])
def test_nothing_is_executed_behind_a_piece_for_which_a_death_would_count(options: dict[str, Any]) -> None:
    world, calls = knowing()
    for worker in world.workers:
        worker.durations.usual = lambda function: 1e-6 if options or calls else None  # type: ignore[method-assign]

    @dag
    def two() -> int:
        return act(act.options(**options)(1))

    assert world.run(two) == 3
    assert calls == [["0/0"], ["0/1"]]


def test_what_reads_a_list_by_item_is_not_executed_right_behind_another() -> None:
    @task
    def joined(xs: list[int]) -> int:
        return sum(xs)

    @dag
    def mixed(xs: list[int]) -> int:
        return joined([act(x) for x in xs])

    planned = plan(mixed.__dag__())
    assert not any(followers(planned, 0, step) for step in range(len(planned.bodies[0].steps)))


def test_a_step_is_executed_right_behind_those_that_it_needs_once_all_are_in_the_same_call() -> None:
    world, calls = knowing()
    run_id = world.ended(rows, x=1)
    assert world.result(run_id) == 12
    assert calls == [[f"0/{n}" for n in range(8)]]
    assert world.committed(run_id) == calls[0]


def test_what_needs_a_step_of_another_call_is_left_to_whoever_claims_it() -> None:
    world, calls = knowing()
    for worker in world.workers:
        worker.durations.batch_size = lambda function: 8  # type: ignore[method-assign]
    run_id = world.ended(rows, x=1)
    assert world.result(run_id) == 12
    assert calls[0] == ["0/0", "0/1", "0/4"]
    assert sorted(piece for call in calls for piece in call) == world.committed(run_id)


def test_what_fails_is_committed_last_and_what_was_executed_behind_others_is_not_called_again() -> None:
    attempts: list[tuple[int, int]] = []

    def fail(x: int) -> None:
        attempts.append((x, current().attempt))
        if attempts[-1] == (1, 1):
            raise ValueError("once")

    now["act"] = fail
    world, calls = knowing()

    @dag
    def again() -> int:
        each = act.options(retry=Retry(2, wait=0))
        first = [each(0), each(1), each(2)]
        return added([added([first[0], first[2]]), first[1]])

    assert world.run(again) == 6
    assert calls == [["0/0", "0/2", "0/3"], ["0/1"], ["0/1"], ["0/4"]]
    assert sorted(attempts) == [(0, 1), (1, 1), (1, 2), (2, 1)]


def test_large_results_behind_the_same_piece_are_committed_one_by_one_and_none_is_called_again() -> None:
    @dag
    def large() -> list[str]:
        first = made("")
        return [made(first), made(first), made(first)]

    now["made"] = lambda x: x + "." * 300_000
    world, calls = knowing()
    run_id = world.ended(large)
    assert calls == [["0/0"], ["0/1"], ["0/2"], ["0/3"]]
    assert [len(each) for each in world.result(run_id)] == [600_000] * 3


def test_what_was_executed_behind_a_piece_that_another_worker_has_committed_meanwhile_is_called_again() -> None:
    """Also where its result is too large for the call that still commits others of the batch."""
    world, _ = knowing(workers=2)
    world.workers[0].durations.batch_size = lambda function: 1000  # type: ignore[method-assign]
    numbers = itertools.count()

    @dag
    def large() -> list[Any]:
        return [made(made("")), act(0), act(1), act(2)]

    def make(x: str) -> str:
        number = next(numbers)
        if number == 1:
            world.store.machine.sweep(run_id, Lost(["worker0"]), 10)
            world.workers[1].work_link(run_id, "celery", ["0/0"], "")
        return x + "." * 600_000 if x else f"made by call {number}"

    now["made"] = make
    run_id = world.submit(large)
    world.settle()
    assert world.result(run_id)[0].rstrip(".") == "made by call 2"
