"""`invoke` runs the engine of the workers in this process: every value, every size, and errors as they are."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import Any

import pytest

from dagcelery import current, dag, invoke, submit, task
from dagcelery.errors import InvalidDagType, NodeFailed, NotConfigured
from dagcelery.model import DAG, Task
from dagcelery.model.nodes import FromReturnValue
from dagcelery.model.sources import FromNodeOutput, FromParam

from . import flows

FALSY = [0, False, "", None, [], {}, 0.0]


@pytest.mark.parametrize("value", FALSY, ids=repr)
def test_a_falsy_value_is_a_value(value: Any) -> None:
    @dag
    def passed_on(x: Any) -> Any:
        return flows.echo(flows.echo(x))

    assert invoke(passed_on, {"x": value}) == value
    assert type(invoke(passed_on, {"x": value})) is type(value)


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


def test_a_hundred_thousand_items() -> None:
    assert invoke(flows.map_reduce, {"n": 100_000}) == sum(x * x for x in range(100_000))


def test_a_chain_of_two_thousand_nodes() -> None:
    @dag
    def chain(x: int) -> int:
        for _ in range(2_000):
            x = flows.add(x, 1)
        return x

    assert invoke(chain, {"x": 0}) == 2_000


def test_five_hundred_nodes_that_are_joined() -> None:
    @dag
    def wide(x: int) -> int:
        return flows.total([flows.add(x, k) for k in range(500)])

    assert invoke(wide, {"x": 1}) == sum(range(500)) + 500


def test_a_task_alone_is_a_dag() -> None:
    assert invoke(flows.add, {"a": 1, "b": 2}) == 3


def test_a_declarative_dag_gives_its_outputs_by_name() -> None:
    def twice(x: int) -> int:
        return 2 * x

    node = DAG(
        {
            "double": Task(twice, {"x": FromParam("x")}, {"value": FromReturnValue()}),
            "halve": Task(lambda x: x // 2, {"x": FromNodeOutput("double", "value")}, {"value": FromReturnValue()}),
        },
        inputs={"x": FromParam()},
        outputs={"twice": FromNodeOutput("double", "value"), "same": FromNodeOutput("halve", "value")},
    )
    assert invoke(node, {"x": 3}) == {"twice": 6, "same": 3}


def test_a_declarative_dag_without_outputs_gives_none() -> None:
    node = DAG({"one": Task(lambda: 1)})
    assert invoke(node) is None


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
def fetch_all(n: int) -> list[int]:
    return [fetch(fetch(x)) for x in flows.numbers(n)]


@dag
def ask_where(n: int) -> list[Any]:
    return [where(x) for x in flows.numbers(n)]


def test_async_tasks_are_run_to_their_end() -> None:
    assert invoke(fetch_all, {"n": 5}) == [2, 3, 4, 5, 6]


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


def test_invoke_works_where_an_event_loop_is_running() -> None:
    async def main() -> Any:
        return invoke(fetch_all, {"n": 3})

    assert asyncio.run(main()) == [2, 3, 4]


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
def test_a_failing_node_is_named_with_what_it_raised_and_its_cause() -> None:
    with pytest.raises(NodeFailed) as caught:
        invoke(flows.failing, {"n": 10, "bad": 3})
    error = caught.value
    assert (error.address, error.type_name, error.message) == ("fail_on[3]", "ValueError", "no 3")
    assert 'raise ValueError(f"no {x}")' in error.traceback
    assert isinstance(error.__cause__, ValueError)
    assert error.__cause__.args == ("no 3",)


@pytest.mark.parametrize("bad", [0, 1, 255, 256, 599])
def test_the_item_that_failed_is_named_wherever_it_stands_in_its_range(bad: int) -> None:
    with pytest.raises(NodeFailed) as caught:
        invoke(flows.failing, {"n": 600, "bad": bad})
    assert caught.value.address == f"fail_on[{bad}]"


def test_a_node_in_a_mapped_dag_is_named_with_the_items_around_it() -> None:
    @dag
    def inner(k: int) -> int:
        return flows.total([flows.fail_on(x, 2) for x in flows.numbers(k)])

    @dag
    def outer(n: int) -> list[int]:
        return [inner(k) for k in flows.numbers(n)]

    with pytest.raises(NodeFailed) as caught:
        invoke(outer, {"n": 5})
    assert caught.value.address == "inner[3]/fail_on[2]"


def test_nothing_starts_after_a_failure() -> None:
    calls = []

    @task
    def noted(x: int) -> int:
        calls.append(x)
        return x

    @dag
    def stopped(x: int) -> int:
        return noted(flows.fail_on(noted(x), 1))

    with pytest.raises(NodeFailed):
        invoke(stopped, {"x": 1})
    assert calls == [1]


@pytest.mark.parametrize("code", [None, 0, 1, "stop", 241])
def test_a_task_that_exits_fails_its_node_and_not_the_process(code: Any) -> None:
    @task
    def leaves() -> None:
        raise SystemExit(code)

    with pytest.raises(NodeFailed) as caught:
        invoke(leaves)
    assert caught.value.type_name == "SystemExit"


def test_an_item_that_exits_fails_alone() -> None:
    @task
    def leaves(x: int) -> int:
        if x == 2:
            raise SystemExit(1)
        return x

    @dag
    def each(n: int) -> list[int]:
        return [leaves(x) for x in flows.numbers(n)]

    with pytest.raises(NodeFailed) as caught:
        invoke(each, {"n": 5})
    assert caught.value.address == "leaves[2]"


def test_an_interrupt_is_the_users_and_goes_through() -> None:
    @task
    def interrupted() -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        invoke(interrupted)


def test_an_error_that_cannot_be_shown_still_fails_its_node() -> None:
    class ShyError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    @task
    def shy() -> None:
        raise ShyError

    with pytest.raises(NodeFailed) as caught:
        invoke(shy)
    assert caught.value.type_name.endswith("ShyError")


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
def test_current_tells_a_task_which_piece_it_is() -> None:
    @task
    def who(x: int) -> list[Any]:
        piece = current()
        return [piece.address, piece.index, piece.attempt, len(piece.run_id)]

    @dag
    def each(xs: list[int]) -> list[Any]:
        return [who(x) for x in xs]

    assert invoke(who, {"x": 1}) == ["who", None, 1, 32]
    assert invoke(each, {"xs": [7, 8]}) == [["who[0]", 0, 1, 32], ["who[1]", 1, 1, 32]]


def test_current_is_refused_outside_of_a_piece() -> None:
    invoke(flows.echo, {"x": 1})
    with pytest.raises(LookupError, match="outside of a running piece"):
        current()


def test_waiting_for_a_run_inside_a_task_is_refused() -> None:
    from dagcelery import Run

    @task
    def waits() -> Any:
        return Run("some-run").result()

    with pytest.raises(NodeFailed) as caught:
        invoke(waits)
    assert isinstance(caught.value.__cause__, NotConfigured)
    assert "inside a task" in caught.value.message


def test_a_task_may_invoke_another_dag_in_its_own_process() -> None:
    @task
    def nested(n: int) -> list[Any]:
        before = current().address
        found = invoke(flows.map_reduce, {"n": n})
        return [before, found, current().address]

    assert invoke(nested, {"n": 4}) == ["nested", 14, "nested"]


def test_several_threads_may_invoke_at_once() -> None:
    found: list[int] = []
    threads = [threading.Thread(target=lambda n=n: found.append(invoke(flows.map_reduce, {"n": n}))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(flows.map_reduce(n) for n in range(8))


def test_submit_with_nothing_configured_says_how_to_configure() -> None:
    with pytest.raises(NotConfigured, match=r"DAGCELERY_BROKER_URL.*attach"):
        submit(flows.map_reduce, {"n": 1})


def test_a_run_in_process_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    for _ in range(3):
        assert flows.echo.invoke(x=1) == 1
    assert threading.active_count() == before
