"""How long a message stays, whom it tells of ready work, and what it hands on."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from dagcelery import current, dag, task
from dagcelery.client import lifecycle
from dagcelery.engine.hooks import Listener, Notice
from dagcelery.engine.interrupts import Watchdog
from dagcelery.engine.worker_loop import Engine
from dagcelery.worker.sender import WORK

from . import flows
from .worlds import Message, World

LONG = 1e6
"""Seconds that no test takes."""
SHORT = 1e-9


@dag
def straight(x: int) -> int:
    for _ in range(5):
        x = flows.echo(x)
    return x


def test_a_message_whose_time_is_over_ends_after_a_piece_and_hands_on() -> None:
    world = World(slice_seconds=SHORT, slots=1)
    run_id = world.submit(straight, x=7)
    done = []
    while world.post.waiting:
        world.deliver(world.post.waiting.pop())
        done.append(len(world.committed(run_id)))
    assert done == [1, 2, 3, 4, 5]
    assert world.result(run_id) == 7


def test_runs_take_turns_when_their_messages_are_short() -> None:
    world = World(slice_seconds=SHORT, slots=1, workers=1)
    first, second = world.submit(flows.map_reduce, n=30), world.submit(flows.echo, x=1)
    done: list[str] = []
    while world.post.waiting:
        world.deliver(world.post.waiting.pop(0))
        done += [run for run in (first, second) if run not in done and _is_done(world, run)]
    assert done == [second, first]


def _is_done(world: World, run_id: str) -> bool:
    return world.store.reader.record(run_id).state == "done"


def test_a_message_carries_on_with_what_it_made_ready_instead_of_sending_it() -> None:
    world = World(slice_seconds=LONG, handoff_seconds=LONG)
    run_id = world.ended(straight, x=7)
    assert len(world.post.sent) == 1
    assert world.result(run_id) == 7


def test_work_for_another_queue_is_sent_there_at_once() -> None:
    world = World(slice_seconds=LONG, handoff_seconds=LONG, slots=1)
    world.submit(flows.diamond, x=3)
    world.deliver(world.post.waiting.pop())
    assert [message.kwargs["queue"] for message in world.post.waiting] == ["gpu"]


# -- telling others -------------------------------------------------------------------------------
hold: dict[str, Callable[[], Any]] = {}
"""What the tasks below do while they run; each test says it."""


@task
def held(x: int) -> int:
    hold["now"]()
    return x


@dag
def held_line(x: int) -> int:
    return held(held(held(x)))


@dag
def held_chain(x: int) -> int:
    return flows.gpu_echo(held(held(x)))


@pytest.mark.parametrize("node", [held_line, held_chain])
def test_no_message_begins_a_piece_behind_one_that_outlasted_it(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    world, clock, now = World(slice_seconds=1.0, handoff_seconds=LONG, slots=1), [0.0], time.perf_counter
    monkeypatch.setattr(time, "perf_counter", lambda: now() + clock[0])
    hold["now"] = lambda: clock.append(clock.pop() + 2.0)
    run_id, done = world.submit(node, x=7), [0]
    while world.post.waiting:
        world.deliver(world.post.waiting.pop(0))
        done.append(len(world.committed(run_id)))
    assert max(after - before for before, after in pairwise(done)) == 1
    assert world.result(run_id) == 7


@dag
def fork(n: int) -> list[int]:
    return [held(flows.echo(0)), held(flows.echo(1)), held(flows.echo(2))]


@dag
def held_map(xs: list[int]) -> list[int]:
    return [held(x) for x in xs]


def known_as(worker: Engine, world: World, run_id: str, step: str, seconds: float) -> None:
    """Let a worker believe that a function takes so long."""
    program = world.client.view(run_id).program
    index = next(i for i, found in enumerate(program.body(0).steps) if found.name == step)
    worker.durations.add(program.clock_key(0, index), seconds)


@pytest.mark.parametrize(
    ("seconds", "handoff", "is_told"),
    [(None, LONG, True), (0.6, 0.5, True), (0.001, LONG, False)],
    ids=["unknown", "long", "short"],
)
def test_before_a_piece_others_are_told_of_what_is_ready_unless_it_is_known_to_be_short(
    seconds: float | None, handoff: float, is_told: bool
) -> None:
    world = World(workers=1, slots=4, handoff_seconds=handoff, slice_seconds=LONG)
    told: list[int] = []
    hold["now"] = lambda: told.append(len(world.post.sent))
    run_id = world.submit(held_map, xs=list(range(100)))
    if seconds is not None:
        known_as(world.workers[0], world, run_id, "held", seconds)
    del world.post.sent[:]
    world.deliver(world.post.waiting.pop())
    assert told[0] > 0 if is_told else told == [0] * 100


def test_a_piece_that_overruns_has_the_watch_tell_others_while_it_runs() -> None:
    told = threading.Event()
    world = World(workers=1, slots=4, handoff_seconds=0.001)
    send = world.post.wake_up

    def tell(run_id: str, queue: str, count: int) -> None:
        send(run_id, queue, count)
        told.set()

    run_id = world.submit(fork, n=0)
    known_as(world.workers[0], world, run_id, "held", 0.0)
    known_as(world.workers[0], world, run_id, "echo", 0.0)
    # Nobody tells at a heartbeat of the visit's own: only the piece that waits for it shows whether the watch does.
    visit = Message(WORK, {"run": run_id, "queue": "celery"})
    world.post.wake_up = tell  # type: ignore[method-assign]
    hold["now"] = lambda: told.wait(10)
    world.deliver(visit)
    assert told.is_set()
    world.settle()
    assert world.result(run_id) == [0, 1, 2]


def test_what_one_visit_was_told_of_another_may_do_while_the_first_is_busy() -> None:
    world = World(workers=2, slots=2)
    barrier = threading.Barrier(2, timeout=10)
    hold["now"] = barrier.wait
    run_id = world.submit(held_map, xs=[1, 2])
    first, second = world.post.waiting[:2]
    world.post.waiting.clear()
    other = threading.Thread(target=world.deliver, args=(second, world.workers[1]))
    other.start()
    world.deliver(first, world.workers[0])
    other.join()
    assert world.result(run_id) == [1, 2]


def test_no_more_messages_are_sent_than_processes_could_use() -> None:
    world = World(workers=1, slots=3, slice_seconds=SHORT)
    run_id = world.submit(flows.squares_of, xs=list(range(200)))
    most = 0
    while world.post.waiting:
        most = max(most, len(world.post.waiting))
        world.deliver(world.post.waiting.pop(0))
    assert world.result(run_id) == [x * x for x in range(200)]
    assert most <= 2 * 3


# -- the watch ------------------------------------------------------------------------------------
def test_the_watch_calls_back_once_for_what_takes_long() -> None:
    watch, calls, called = Watchdog(0.001), list[int](), threading.Event()

    def overran() -> None:
        calls.append(1)
        called.set()

    with watch.over(overran):
        assert called.wait(10)
    with watch.over(called.clear):
        pass
    assert calls == [1]


def test_each_thread_is_watched_for_itself() -> None:
    watch, outer, inner = Watchdog(0.001), threading.Event(), threading.Event()

    def other() -> None:
        with watch.over(inner.set):
            assert inner.wait(10)

    with watch.over(outer.set):
        thread = threading.Thread(target=other)
        thread.start()
        assert outer.wait(10)
        thread.join()
    assert inner.is_set()


@pytest.mark.parametrize("times", [1, 2, 3])
def test_the_watch_goes_on_after_a_callback_that_failed(times: int) -> None:
    watch = Watchdog(0.001)
    for _ in range(times):
        called = threading.Event()

        def failing(called: threading.Event = called) -> None:
            called.set()
            raise ConnectionError("the store is down")

        with watch.over(failing):
            assert called.wait(10)


def test_the_watch_holds_nothing_of_what_has_ended() -> None:
    class Work:
        def __call__(self) -> None:
            called.set()

    called, work, until = threading.Event(), Work(), time.monotonic() + 10
    gone = weakref.ref(work)
    with Watchdog(0.001).over(work):
        assert called.wait(10)
    del work
    while gone() is not None:
        assert time.monotonic() < until
        time.sleep(0.001)


class Ends(Listener):
    """Hears how runs ended."""

    def __init__(self) -> None:
        self.states: list[str] = []

    def run_ended(self, run_id: str, dag: str, state: str, seconds: float) -> None:
        self.states.append(state)


resumed: list[World] = []


def resume(notice: Notice) -> None:
    lifecycle.resume(resumed[0].client, notice.run_id, None, allow_code_change=False)


@task
def mended_by_then() -> int:
    if current().attempt == 1:
        raise ValueError
    return 1


@dag(on_failure=resume)
def resuming() -> int:
    return mended_by_then()


def test_a_run_that_is_resumed_under_a_message_ends_there_as_any_does() -> None:
    ends = Ends()
    world = World(slice_seconds=LONG, workers=1, listener=ends)
    resumed[:] = [world]
    world.submit(resuming)
    world.deliver(world.post.waiting.pop())
    assert ends.states == ["failed", "done"]
