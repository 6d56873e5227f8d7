"""An item of a mapped DAG that fails is left out, whatever it is made of: the rest is as plain Python makes it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagcelery import AsPickle, Skipped, dag, invoke, present, task, when
from dagcelery.client import lifecycle
from dagcelery.client.status import run_status
from dagcelery.errors import InvalidDag, NodeFailed

from .worlds import World, shuffled

failing: set[tuple[str, int]] = set()
"""Calls that fail, by the task's name and its argument."""


def tried(name: str, x: int) -> int:
    if (name, x) in failing:
        raise ValueError(f"{name} refuses {x}")
    return x


@task
def below(x: int) -> list[int]:
    return list(range(tried("below", x) % 4))


@task
def step(x: int) -> int:
    return tried("step", x) + 10


@task(min_success=0.5)
def part(x: int, of: int) -> int:
    return tried("part", x * 7 + of % 10)


@task
def is_odd(x: int) -> bool:
    return bool(tried("is_odd", x) % 2)


@task
def total(xs: list[Any]) -> int:
    return sum(x for x in xs if not isinstance(x, Skipped)) + tried("total", len(xs))


@task(dynamic=True)
def grown(x: int) -> Any:
    return step(step(tried("grown", x))) if x % 3 else tried("grown", x)


@dag(min_success=0.5)
def inner(x: int, y: int) -> int:
    return total([part(z, y) for z in below(x)])


@dag(on_item_failure="skip")
def outer(x: int) -> list[int]:
    inners = [inner(y, x) for y in below(x)]
    chosen = when(is_odd(x), lambda: total([part(z, x) for z in below(x)]), lambda: step(x))
    return [total(inners), total(present(inners)), chosen, grown(x)]


@dag(on_item_failure="skip")
def once_more(rows: list[int]) -> int:
    return total(rows)


@task
def shown(xs: list[Any]) -> list[Any]:
    return [None if isinstance(x, Skipped) else x for x in xs]


@dag
def everything(xs: list[int]) -> list[Any]:
    rows = [outer(x) for x in xs]
    return [shown(rows), present(rows), shown([once_more(row) for row in rows])]


# -- the same as plain Python --------------------------------------------------------------------
LEFT_OUT = Skipped("", "", "")


def mapped(call: Callable[..., Any], several: list[Any], share: float, *more: Any) -> list[Any]:
    results: list[Any] = []
    for each in several:
        try:
            results.append(LEFT_OUT if each is LEFT_OUT else call(each, *more))
        except ValueError:
            results.append(LEFT_OUT)
    failed = [each for each, result in zip(several, results, strict=True) if result is LEFT_OUT is not each]
    if len(several) - len(failed) < share * len(several):
        raise ValueError("too many")
    return results


def plain_inner(x: int, y: int) -> int:
    return total.fn(mapped(part.fn, below.fn(x), 0.5, y))


def plain_outer(x: int) -> list[int]:
    inners = mapped(plain_inner, below.fn(x), 0.5, x)
    chosen = total.fn(mapped(part.fn, below.fn(x), 0.5, x)) if is_odd.fn(x) else step.fn(x)
    tried("grown", x)
    grown = step.fn(step.fn(x)) if x % 3 else x
    return [total.fn(inners), total.fn(present(inners)), chosen, grown]


def plain_everything(xs: list[int]) -> list[Any]:
    rows = mapped(plain_outer, xs, 0.0)
    return [shown.fn(rows), present(rows), shown.fn(mapped(total.fn, rows, 0.0))]


@pytest.fixture(autouse=True)
def _nothing_fails() -> Iterator[None]:
    failing.clear()
    yield
    failing.clear()


@given(st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_what_is_left_is_what_plain_python_makes_of_it(seed: int) -> None:
    choice = random.Random(seed)
    failing.clear()
    names, rate = ("below", "step", "part", "is_odd", "total", "grown"), choice.choice([0.02, 0.1, 0.3])
    failing.update((name, x) for name in names for x in range(60) if choice.random() < rate)
    xs = [choice.randrange(12) for _ in range(choice.choice([0, 1, 5, 9]))]
    world = World(slice_seconds=choice.choice([1e-9, 0.4]))
    run_id = world.submit(everything, xs=xs)
    world.settle(shuffled(seed), copies=choice.choice([1, 1, 2]))
    try:
        expected = plain_everything(xs)
    except ValueError:
        with pytest.raises(NodeFailed):
            world.result(run_id)
        return
    assert world.result(run_id) == expected
    check(world, run_id, expected)
    counted = numbers(world, run_id)
    for address in choice.sample(addresses(world, run_id), k=min(3, len(addresses(world, run_id)))):
        lifecycle.retry_from(world.client, run_id, address, None, allow_code_change=False)
        world.settle(shuffled(seed))
        assert world.result(run_id) == expected, f"again from {address}"
        check(world, run_id, expected)
        assert numbers(world, run_id) == counted, f"again from {address}"


def check(world: World, run_id: str, expected: list[Any]) -> None:
    """Nothing is left to be done, or counted as if it were."""
    status = run_status(world.client, run_id)
    for node in status.nodes:
        assert node.running == node.retrying == node.failed == node.waiting == 0, node.name
    assert status.nodes[0].skipped == expected[0].count(None)
    assert world.store.reader.outstanding(run_id).claimed == []


def numbers(world: World, run_id: str) -> dict[str, tuple[int, int]]:
    """Of nodes that are in no item: which piece of an item fails first, and what was done before, is left to chance."""
    nodes = run_status(world.client, run_id).nodes
    return {node.name: (node.done, node.skipped) for node in nodes if "[" not in node.name}


def addresses(world: World, run_id: str) -> list[str]:
    """What was done, or skipped, in the run."""
    view = world.client.view(run_id)
    pieces = [event.piece for event in world.events(run_id) if event.kind in ("done", "skipped") and event.piece]
    found = [view.piece_address(piece) for piece in pieces if not piece.endswith(("/-1", "/-2"))]
    return sorted(set(found))


def test_what_was_skipped_says_which_node_failed_and_why() -> None:
    @dag
    def d(xs: list[int]) -> list[Any]:
        return [outer(x) for x in xs]

    failing.add(("is_odd", 2))
    skipped = Skipped("outer[1]/is_odd", "ValueError", "is_odd refuses 2")
    assert invoke(d, {"xs": [4, 2]}) == [[0, 0, 14, 24], skipped]


def test_an_item_is_skipped_as_a_whole_whatever_its_dag_gives_back() -> None:
    @dag(on_item_failure="skip")
    def pair(x: int) -> dict[str, Any]:
        return {"a": step(x), "b": [x, "literal"]}

    @dag(on_item_failure="skip")
    def silent(x: int) -> None:
        step(x)

    @dag
    def d(xs: list[int]) -> list[Any]:
        pairs = [pair(x) for x in xs]
        return [shown(pairs), shown([step(each["a"]) for each in pairs]), shown([silent(x) for x in xs])]

    failing.add(("step", 1))
    pairs, steps, silence = d.invoke([0, 1])
    assert (pairs, steps, silence) == ([{"a": 10, "b": [0, "literal"]}, None], [20, None], [None, None])


def test_what_is_left_travels_in_the_bytes_that_it_came_in() -> None:
    @task(on_item_failure="skip")
    def made(x: int) -> Annotated[complex, AsPickle()]:
        return complex(tried("made", x))

    @task
    def added(xs: list[complex]) -> float:
        return sum(xs).real

    @dag
    def d(xs: list[int]) -> float:
        return added(present([made(x) for x in xs]))

    failing.add(("made", 2))
    assert d.invoke([1, 2, 3]) == 4


def test_a_running_task_leaves_out_what_was_skipped_at_once() -> None:
    @task(dynamic=True)
    def grows(xs: list[int]) -> Any:
        there = present(xs)
        return total([step(x) for x in there])

    @task(on_item_failure="skip")
    def made(x: int) -> int:
        return tried("made", x)

    @dag
    def d(xs: list[int]) -> int:
        return grows([made(x) for x in xs])

    failing.add(("made", 2))
    assert d.invoke([1, 2, 3]) == 11 + 13 + 2
    assert present(x for x in (1, Skipped("", "", ""), 2)) == [1, 2]


def refused(called: Any, *, mapped: bool = False) -> Any:
    @dag
    def d(xs: list[int], x: int) -> Any:
        return [called(x) for x in xs] if mapped else called(x)

    return d


@dag
def takes_one(x: int) -> int:
    return step.options(on_item_failure="skip")(x)


@pytest.mark.parametrize(
    ("node", "option"),
    [
        (lambda: refused(step.options(min_success=0.5)), "min_success=0.5 of task 'step'"),
        (lambda: refused(outer), "on_item_failure='skip' of DAG "),
        (lambda: refused(outer.options(min_success=0.25)), "min_success=0.25 of DAG "),
        (lambda: refused(takes_one, mapped=True), "on_item_failure='skip' of task 'step'"),
        (lambda: outer, "on_item_failure='skip' of DAG "),
        (lambda: refused(takes_one.options(deadline=5)), "deadline= of takes_one.options()"),
        (lambda: refused(takes_one.options(key="k"), mapped=True), "key= of takes_one.options()"),
    ],
)
def test_an_option_that_would_have_no_effect_is_refused(node: Callable[[], Any], option: str) -> None:
    with pytest.raises(InvalidDag, match="has no effect") as refusal:
        node().invoke(**{"x": 1} if node() is outer else {"xs": [1], "x": 1})
    assert str(refusal.value).startswith(option)


def test_one_item_of_a_dag_that_skips_may_be_run_by_itself() -> None:
    assert outer.options(on_item_failure="fail").invoke(4) == [0, 0, 14, 24]
