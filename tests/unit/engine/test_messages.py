"""Messages are hints: doubled, late or reordered, every run ends right, and each of its pieces is committed once."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from typing import Any

import pytest

from dagcelery import dag, task
from dagcelery.engine.worker_loop import Engine
from dagcelery.store.records import Lost
from dagcelery.worker.sender import LINK, WORK

from . import flows
from .worlds import Message, World, shuffled


def check(world: World, run_id: str, node: Any, n: int) -> None:
    """The result is plain Python's, and no piece was committed twice."""
    assert world.result(run_id) == node(n)
    assert not [piece for piece, times in Counter(world.committed(run_id)).items() if times > 1]


@pytest.mark.parametrize("seed", range(60))
def test_messages_may_be_delivered_in_any_order_and_number_to_any_workers(seed: int) -> None:
    chance = random.Random(seed)
    node = chance.choice(flows.MANY)
    world = World(
        workers=chance.randint(1, 5),
        slots=chance.randint(1, 6),
        slice_seconds=chance.choice([1e-9, 1e-4, 0.4]),
        handoff_seconds=chance.choice([1e-6, 0.01, 1.0]),
    )
    n = chance.choice([0, 1, 2, 5, 9])
    run_id = world.submit(node, n=n)
    world.settle(shuffled(seed), copies=chance.choice([1, 1, 2, 3]))
    check(world, run_id, node, n)


@pytest.mark.parametrize("node", [flows.across, flows.map_in_map], ids=lambda node: node.__name__)
def test_workers_that_run_at_the_same_time_share_a_run(node: Any) -> None:
    world = World(workers=4, slots=4)
    run_id = world.submit(node, n=30)
    crowd(world, run_id)
    check(world, run_id, node, 30)


def crowd(world: World, run_id: str) -> None:
    """Deliver messages from a thread for each worker until the run has ended."""

    def work(worker: Engine) -> None:
        while world.store.reader.record(run_id).state in ("pending", "running"):  # type: ignore[union-attr]
            try:
                message = world.post.waiting.pop()
            except IndexError:
                time.sleep(0.001)
                continue
            world.deliver(message, worker)

    with ThreadPoolExecutor(len(world.workers)) as threads:
        list(threads.map(work, world.workers))


def test_a_late_message_of_a_run_that_is_over_changes_nothing() -> None:
    world = World()
    run_id = world.ended(flows.across, n=5)
    before = world.events(run_id)
    for message in list(world.post.sent):
        world.deliver(message)
    world.settle()
    assert world.events(run_id) == before
    check(world, run_id, flows.across, 5)


@pytest.mark.parametrize("focus", ["", "0/99", "0/0", "nowhere/3"])
def test_a_message_for_an_unknown_run_is_harmless(focus: str) -> None:
    world = World()
    world.deliver(Message(WORK, {"run": "unknown", "queue": "celery", "focus": focus}))
    world.deliver(Message(LINK, {"run": "unknown", "queue": "celery", "steps": ["0/0"], "then": "0/1"}))
    assert not world.post.waiting


@pytest.mark.parametrize("focus", ["0/99", "nowhere/3", "0/1"])
def test_a_message_with_a_focus_that_is_not_ready_does_other_work(focus: str) -> None:
    world = World()
    run_id = world.submit(flows.map_reduce, n=4)
    world.post.waiting.clear()
    world.deliver(Message(WORK, {"run": run_id, "queue": "celery", "focus": focus}))
    assert world.result(run_id) == flows.map_reduce(4)


def test_a_queue_that_ran_out_of_items_is_told_when_more_of_them_arrive() -> None:
    @dag
    def across_queues(xs: list[int]) -> list[int]:
        return [flows.gpu_echo(flows.square(x)) for x in xs]

    world = World(slots=1, slice_seconds=1e-9)
    run_id = world.submit(across_queues, xs=[1, 2, 3])
    while world.post.waiting:
        # The other queue's worker is always the faster one.
        world.post.waiting.sort(key=lambda message: message.kwargs["queue"] != "gpu")
        world.deliver(world.post.waiting.pop(0))
    assert world.result(run_id) == [1, 4, 9]


# -- links ----------------------------------------------------------------------------------------
def chain_of(world: World, node: Any, **params: Any) -> tuple[str, Message]:
    """Submit a straight run; its id and its chain's first message."""
    run_id = world.submit(node, **params)
    (message,) = world.post.waiting
    world.post.waiting.clear()
    assert message.task == LINK
    return run_id, message


def test_a_link_does_its_own_steps_and_nothing_else() -> None:
    world = World()
    run_id, first = chain_of(world, flows.neighbours, x=1)
    world.deliver(first)
    assert world.committed(run_id) == ["0/0", "0/1"]


def test_a_link_leaves_it_to_celery_to_send_the_next_one() -> None:
    world = World()
    _, first = chain_of(world, flows.neighbours, x=1)
    before = len(world.post.sent)
    world.deliver(Message(first.task, first.kwargs))
    assert len(world.post.sent) == before


def test_a_chain_that_ends_before_the_run_is_gone_on_with_by_another() -> None:
    world = World()
    run_id = world.ended(flows.long_zigzag, x=3)
    chains = [message for message in world.post.sent if message.task == LINK and len(message.chain) == 3]
    assert len(chains) > 1
    assert world.result(run_id) == 3


def test_a_doubled_link_finds_its_step_taken_and_returns() -> None:
    world = World()
    run_id, first = chain_of(world, flows.zigzag, x=1)
    world.deliver(first)
    world.deliver(first)
    assert world.committed(run_id) == ["0/0"]
    world.settle(copies=2)
    assert world.result(run_id) == 1


def test_a_link_whose_step_a_visit_took_leaves_the_rest_to_that_visit() -> None:
    world = World()
    run_id, first = chain_of(world, flows.zigzag, x=1)
    world.deliver(Message(WORK, {"run": run_id, "queue": "celery"}))
    sent_by_the_visit = list(world.post.waiting)
    world.deliver(first)
    assert sent_by_the_visit
    world.settle(shuffled(1))
    assert world.result(run_id) == 1
    assert len(world.committed(run_id)) == 5


# -- attempts -------------------------------------------------------------------------------------
entered: Queue[threading.Event] = Queue()


@task
def gate(x: int) -> int:
    """Say that it has begun, and wait until the test opens the gate."""
    opened = threading.Event()
    entered.put(opened)
    assert opened.wait(10)
    return x


def started(world: World, worker: Engine, run_id: str) -> tuple[threading.Thread, threading.Event]:
    """Let a worker begin with the gate; the thread that it runs in, and what opens the gate."""
    visit = Message(WORK, {"run": run_id, "queue": "celery"})
    thread = threading.Thread(target=world.deliver, args=(visit, worker))
    thread.start()
    return thread, entered.get(timeout=10)


def test_a_stale_attempt_changes_nothing() -> None:
    world = World()
    run_id = world.submit(gate, x=5)
    sleeper, wakes = started(world, world.workers[0], run_id)
    world.store.machine.sweep(run_id, Lost(["worker0"]), 0.0)
    second, opens = started(world, world.workers[1], run_id)
    wakes.set()
    sleeper.join()
    assert world.committed(run_id) == []
    assert world.store.reader.record(run_id).state == "running"  # type: ignore[union-attr]
    opens.set()
    second.join()
    assert world.result(run_id) == 5
    assert [(event.piece, event.attempt) for event in world.events(run_id) if event.kind == "done" and event.piece] == [
        ("0/0", 2)
    ]


def test_a_message_that_cannot_be_sent_does_not_cost_the_piece_in_hand(caplog: pytest.LogCaptureFixture) -> None:
    world = World(slots=1)
    run_id = world.submit(flows.diamond, x=3)
    first = world.post.waiting.pop()

    def refuse(*_: object) -> None:
        raise ConnectionError("the broker is down")

    world.post.start = refuse  # type: ignore[method-assign]
    world.deliver(first)
    assert len(world.committed(run_id)) == 2
    assert "could not be sent" in caplog.text
    world.deliver(Message(WORK, {"run": run_id, "queue": "gpu"}))
    world.deliver(Message(WORK, {"run": run_id, "queue": "celery"}))
    assert world.result(run_id) == 12
