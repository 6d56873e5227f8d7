"""`invoke` runs the engine of the workers in this process: every value, every size, and errors as they are."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dagcelery import current, dag, invoke, task
from dagcelery.errors import NodeFailed

from . import flows


@pytest.mark.parametrize("node", flows.MANY, ids=lambda node: node.__name__)
@pytest.mark.parametrize("n", [0, 1, 2, 300])
def test_fan_outs_of_any_width_give_plain_pythons_result(node: Any, n: int) -> None:
    n = min(n, 25) if node is flows.map_in_map else n
    assert invoke(node, {"n": n}) == node(n)


def test_tens_of_thousands_of_items() -> None:
    assert invoke(flows.map_reduce, {"n": 30_000}) == sum(x * x for x in range(30_000))


def test_a_chain_may_be_longer_than_pythons_stack() -> None:
    @dag
    def chain(x: int) -> int:
        for _ in range(1_100):
            x = flows.add(x, 1)
        return x

    assert invoke(chain, {"x": 0}) == 1_100


# -- async ----------------------------------------------------------------------------------------
@task
async def fetch(x: int) -> int:
    await asyncio.sleep(0)
    return x + 1


@task
async def where(x: int) -> list[Any]:
    before = current().address
    await asyncio.sleep(0)
    return [before, current().address]


@dag
def ask_where(n: int) -> list[Any]:
    return [where(x) for x in flows.numbers(n)]


def test_current_is_the_piece_in_an_async_task_too() -> None:
    assert invoke(ask_where, {"n": 3}) == [[f"where[{i}]"] * 2 for i in range(3)]


def test_an_event_loop_is_kept_from_piece_to_piece() -> None:
    loops = []

    @task
    async def loop(x: int) -> int:
        loops.append(asyncio.get_running_loop())
        return x

    @dag
    def both(x: int) -> int:
        return loop(loop(x))

    invoke(both, {"x": 1})
    assert loops[0] is loops[1]


def test_current_is_the_piece_in_an_async_task_below_a_running_event_loop() -> None:
    async def main() -> Any:
        return invoke(ask_where, {"n": 2})

    assert asyncio.run(main()) == [["where[0]"] * 2, ["where[1]"] * 2]


def test_a_function_that_returns_a_coroutine_is_awaited_in_a_fan_out_too() -> None:
    plain = task(lambda x: fetch(x))

    @dag
    def each(n: int) -> list[int]:
        return [plain(x) for x in flows.numbers(n)]

    assert invoke(each, {"n": 3}) == [1, 2, 3]


# -- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [0, 1, 255, 256, 599])
def test_the_item_that_failed_is_named_wherever_it_stands_in_its_range(bad: int) -> None:
    with pytest.raises(NodeFailed) as caught:
        invoke(flows.failing, {"n": 600, "bad": bad})
    assert caught.value.address == f"fail_on[{bad}]"


def test_an_error_that_is_false_is_the_cause_too() -> None:
    class EmptyError(Exception):
        def __len__(self) -> int:
            return 0

    @task
    def empty() -> None:
        raise EmptyError

    with pytest.raises(NodeFailed) as caught:
        invoke(empty)
    assert isinstance(caught.value.__cause__, EmptyError)


# -- inside a piece -------------------------------------------------------------------------------


def test_several_threads_may_invoke_at_once() -> None:
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda n: invoke(flows.map_reduce, {"n": n}), range(8)))
    assert found == [flows.map_reduce(n) for n in range(8)]


def test_a_run_in_process_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    for _ in range(3):
        assert flows.echo.invoke(x=1) == 1
    assert threading.active_count() == before
