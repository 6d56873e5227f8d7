"""What awaits is awaited side by side, and each piece is as apart from the others as if it had a process to itself.

A gate that opens only when so many coroutines wait at it shows that they do so at once, whatever the machine's speed.
"""

from __future__ import annotations

import asyncio
import contextvars
import decimal
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from dagcelery import Cache, Retry, Timeout, current, dag, invoke, task
from dagcelery.engine import beside
from dagcelery.errors import NodeFailed, StoreUnavailable
from dagcelery.store.records import Lost

from .worlds import World

LONG = 1e6


@dataclass
class Gate:
    """Lets coroutines pass when `size` of them wait at it."""

    size: int
    waiting: int = 0
    most: int = 0
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def arrive(self) -> None:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        if self.waiting >= self.size:
            self.opened.set()
        await self.opened.wait()
        self.waiting -= 1


acts: dict[str, Callable[..., Any]] = {}
"""What the tasks below do; each test says it."""
called: Counter[Any] = Counter()
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="")


@pytest.fixture(autouse=True)
def _nothing_called() -> None:
    called.clear()
    acts.clear()


@task
async def act(x: int) -> int:
    called[x] += 1
    return await acts["act"](x)  # type: ignore[no-any-return]


@task
def added(xs: list[int]) -> int:
    return sum(xs)


@dag
def each(xs: list[int]) -> list[int]:
    return [act(x) for x in xs]


def world(lanes: int = 50, **options: Any) -> World:
    """One worker that awaits so many pieces, and takes its time."""
    about = {"workers": 1, "slots": 1, "slice_seconds": LONG, "handoff_seconds": LONG, "async_concurrency": lanes}
    return World(**about | options)


def test_fifty_items_are_awaited_at_once_and_their_results_stand_in_order() -> None:
    gate = Gate(50)

    async def wait(x: int) -> int:
        await gate.arrive()
        return -x

    acts["act"] = wait
    assert world().run(each, xs=list(range(120))) == [-x for x in range(120)]
    assert (gate.most, set(called.values())) == (50, {1})


def test_invoke_awaits_them_as_workers_do(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(7)

    async def wait(x: int) -> int:
        await gate.arrive()
        return x

    acts["act"] = wait
    monkeypatch.setenv("DAGCELERY_ASYNC_CONCURRENCY", "7")
    assert invoke(each, {"xs": list(range(7))}) == list(range(7))


def test_unless_it_is_asked_for_one_is_awaited_after_the_other() -> None:
    gate = Gate(1)

    async def wait(x: int) -> int:
        await gate.arrive()
        return x

    acts["act"] = wait
    assert world(1).run(each, xs=[1, 2, 3]) == [1, 2, 3]
    assert gate.most == 1


def test_nodes_and_maps_of_one_queue_are_awaited_together() -> None:
    gate = Gate(5)

    @dag
    def mixed(xs: list[int]) -> int:
        return added([act(10), act(20), added([act(x) for x in xs])])

    async def wait(x: int) -> int:
        await gate.arrive()
        return x

    acts["act"] = wait
    assert world().run(mixed, xs=[1, 2, 3]) == 36


def test_a_slow_one_holds_back_neither_results_nor_places() -> None:
    last = asyncio.Event()
    made = world(2)

    async def wait(x: int) -> int:
        if x == 0:
            await last.wait()
            run = current().run_id
            called["committed before"] = len(made.committed(run))
        elif x == 9:
            last.set()
        else:
            await asyncio.sleep(0)
        return x

    acts["act"] = wait
    assert made.run(each, xs=list(range(10))) == list(range(10))
    assert called["committed before"] >= 8


def test_each_has_its_place_its_variables_its_decimals_and_its_log() -> None:
    gate, seen = Gate(4), {}

    async def look(x: int) -> int:
        variable.set(str(x))
        decimal.getcontext().prec = 10 + x
        await gate.arrive()
        logging.getLogger("test").warning("item %d", x)
        seen[x] = (current().index, current().address, variable.get(), decimal.getcontext().prec)
        return x

    acts["act"] = look
    world().run(each, xs=[0, 1, 2, 3])
    assert seen == {x: (x, f"act[{x}]", str(x), 10 + x) for x in range(4)}
    assert variable.get() == ""


def test_failures_in_the_middle_disturb_no_other_and_are_tried_again_beside_others() -> None:
    gate = Gate(6)

    @dag
    def stubborn(xs: list[int]) -> list[int]:
        again = act.options(retry=Retry(3, wait=0))
        return [again(x) for x in xs]

    async def fail(x: int) -> int:
        if current().attempt == 1:
            await gate.arrive()
        if x % 2 and current().attempt < 3:
            raise ValueError(f"item {x}")
        return x

    acts["act"] = fail
    assert world().run(stubborn, xs=list(range(6))) == list(range(6))
    assert called == {0: 1, 1: 3, 2: 1, 3: 3, 4: 1, 5: 3}


def test_a_final_failure_names_its_item_and_what_was_done_is_kept() -> None:
    gate, made = Gate(4), world()

    async def fail(x: int) -> int:
        await gate.arrive()
        if x == 2:
            raise ValueError("not this one")
        return x

    acts["act"] = fail
    run_id = made.ended(each, xs=[0, 1, 2, 3])
    with pytest.raises(NodeFailed, match=r"act\[2\].*not this one"):
        made.result(run_id)
    assert len(made.committed(run_id)) == 3


def test_a_limit_meets_the_one_that_is_slow() -> None:
    @dag
    def limited(xs: list[int]) -> list[Any]:
        quick = act.options(timeout=Timeout(soft=0.1), min_success=0.5)
        return [quick(x) for x in xs]

    async def wait(x: int) -> int:
        if x == 1:
            await asyncio.sleep(60)
        return x

    acts["act"] = wait
    made = world()
    run_id = made.ended(limited, xs=[0, 1, 2])
    assert [event.kind for event in made.events(run_id) if event.piece].count("skipped") == 1
    assert made.result(run_id)[::2] == [0, 2]


def test_a_hard_limit_ends_a_coroutine_that_does_not_let_itself_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "CANCEL_SECONDS", 0.01)
    monkeypatch.setattr("dagcelery.engine.attempts.CANCEL_SECONDS", 0.01)

    @dag
    def limited(xs: list[int]) -> list[int]:
        quick = act.options(timeout=Timeout(hard=0.05))
        return [quick(x) for x in xs]

    async def resist(x: int) -> int:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                called["cancelled"] += 1

    acts["act"] = resist
    with pytest.raises(NodeFailed, match="TimeLimitExceeded"):
        world().run(limited, xs=[0])
    assert called["cancelled"]


def test_what_a_piece_leaves_running_ends_with_it_and_not_with_the_others() -> None:
    left: dict[int, asyncio.Task[None]] = {}
    ended, kept = asyncio.Event(), list[bool]()

    async def leave(x: int) -> int:
        left[x] = asyncio.create_task(asyncio.sleep(LONG))
        if x == 0:
            return x
        if x == 1:
            while not left[0].done():
                await asyncio.sleep(0)
            kept.append(left[1].done())
            ended.set()
        await ended.wait()
        return x

    acts["act"] = leave
    assert world().run(each, xs=[0, 1, 2]) == [0, 1, 2]
    assert kept == [False]
    assert all(each.cancelled() for each in left.values())


@pytest.mark.parametrize("exit_", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()])
def test_an_exit_fails_the_piece_that_raises_it(exit_: BaseException) -> None:
    gate, made = Gate(3), world()

    async def leave(x: int) -> int:
        await gate.arrive()
        if x == 1:
            raise exit_
        return x

    acts["act"] = leave
    run_id = made.ended(each, xs=[0, 1, 2])
    with pytest.raises(NodeFailed, match=type(exit_).__name__):
        made.result(run_id)
    assert len(made.committed(run_id)) == 2


def test_one_that_blocks_or_stops_the_loop_is_right_as_well() -> None:
    async def stop(x: int) -> int:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0)
        return x

    acts["act"] = stop
    assert world().run(each, xs=[0, 1, 2]) == [0, 1, 2]


def test_kept_results_are_not_computed_again_and_new_ones_are_kept() -> None:
    @dag
    def cached(xs: list[int]) -> list[int]:
        known = act.options(cache=Cache(ttl=60))
        return [known(x) for x in xs]

    async def twice(x: int) -> int:
        await asyncio.sleep(0)
        return 2 * x

    acts["act"] = twice
    made = world()
    assert made.run(cached, xs=[1, 2]) == [2, 4]
    assert made.run(cached, xs=[2, 3]) == [4, 6]
    assert called == {1: 1, 2: 1, 3: 1}


def test_a_run_within_a_coroutine_has_pieces_of_its_own() -> None:
    async def within(x: int) -> int:
        if x < 10:
            return sum(invoke(each, {"xs": [10 + x, 20 + x]}))
        await asyncio.sleep(0)
        return x

    acts["act"] = within
    assert world().run(each, xs=[0, 1, 2]) == [30, 32, 34]


def test_a_worker_that_dies_in_the_middle_is_charged_to_nobody() -> None:
    """The store takes the first worker for dead while it has them in hand; another one does them alone."""
    made, gate = world(workers=2, max_deaths=1), Gate(3)

    async def die(x: int) -> int:
        await gate.arrive()
        if called[x] == 1 and x == 2:
            made.store.machine.sweep(current().run_id, Lost(["worker0"]), 10, deaths=1)
            made.post.wake_up(current().run_id, "celery", 1)
            raise StoreUnavailable("away", made.store.shown_url)
        return x

    acts["act"] = die
    run_id = made.submit(each, xs=[0, 1, 2])
    with pytest.raises(StoreUnavailable):
        made.settle()
    made.settle()
    assert made.result(run_id) == [0, 1, 2]


def test_signals_of_a_piece_are_told_in_its_own_context() -> None:
    from dagcelery.engine.hooks import Listener

    told: list[tuple[str, int, str]] = []

    class Hearing(Listener):
        def hears_calls(self, view: Any, claim: Any) -> bool:
            return True

        def before(self, view: Any, claim: Any, index: int) -> None:
            told.append(("before", index, variable.get()))
            variable.set(str(index))

        def after(self, view: Any, claim: Any, index: int, error: BaseException | None) -> None:
            told.append(("after", index, variable.get()))

    gate = Gate(3)

    async def wait(x: int) -> int:
        await gate.arrive()
        return x

    acts["act"] = wait
    world(listener=Hearing()).run(each, xs=[0, 1, 2])
    mine = [one for one in told if one[2] == str(one[1])]
    assert sorted(mine) == [("after", x, str(x)) for x in range(3)]
    assert told[:3] == [("before", x, "") for x in range(3)]
