"""`invoke` runs the engine of the workers in this process: every value, every size, and errors as they are."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from dagcelery import current, dag, invoke, task
from dagcelery.errors import InvalidDagType, NodeFailed

from . import flows

FALSY = [0, False, "", None, [], {}, 0.0]


def test_falsy_items_of_a_fan_out_are_items() -> None:
    @dag
    def each(xs: list[Any]) -> list[Any]:
        return [flows.echo(flows.echo(x)) for x in xs]

    assert invoke(each, {"xs": FALSY}) == FALSY


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


def test_five_hundred_nodes_that_are_joined() -> None:
    @dag
    def wide(x: int) -> int:
        return flows.total([flows.add(x, k) for k in range(500)])

    assert invoke(wide, {"x": 1}) == sum(range(500)) + 500


def test_a_dag_may_be_named_by_module_and_name() -> None:
    assert invoke("unit.engine.flows:map_reduce", {"n": 4}) == 14


@pytest.mark.parametrize("node", [3, "no colon", object], ids=repr)
def test_what_is_no_dag_is_refused(node: Any) -> None:
    with pytest.raises(InvalidDagType):
        invoke(node)


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
    found: list[int] = []
    threads = [threading.Thread(target=lambda n=n: found.append(invoke(flows.map_reduce, {"n": n}))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(flows.map_reduce(n) for n in range(8))


def test_a_run_in_process_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    for _ in range(3):
        assert flows.echo.invoke(x=1) == 1
    assert threading.active_count() == before
