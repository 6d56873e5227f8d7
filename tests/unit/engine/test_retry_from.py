"""A node that is executed again reads the world anew, and so does all that depends on it; nothing else does."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from dagcelery import dag, task
from dagcelery.client import following, lifecycle
from dagcelery.client.status import run_status
from dagcelery.errors import DagceleryError, InvalidParameters, NodeFailed, NotResumable, RunNotFound
from dagcelery.store.protocol import Store

from .worlds import World

outside: dict[str, Any] = {}
"""What tasks read that no DAG knows of."""
called: Counter[str] = Counter()


@pytest.fixture
def world(each_store: Store) -> World:
    outside.clear()
    called.clear()
    return World(each_store)


@task
def sizes() -> list[int]:
    called["sizes"] += 1
    return list(range(outside["n"]))


@task
def scaled(x: int) -> int:
    called["scaled"] += 1
    return x * int(outside["scale"])


@task
def part(x: int) -> int:
    called["part"] += 1
    return x + 1


@task
def beside() -> int:
    called["beside"] += 1
    return 1000


@task
def total(xs: list[int], plus: int) -> int:
    called["total"] += 1
    if outside.get("broken"):
        raise ValueError("it is broken")
    return sum(xs) + plus


@dag
def inner(x: int) -> int:
    return part(scaled(x))


@dag
def around(n: int) -> int:
    return total([scaled(x) for x in sizes()], n)


@dag
def outer() -> int:
    return total([inner(x) for x in sizes()], beside())


@dag
def nested() -> int:
    return around(beside())


def retried(world: World, run_id: str, node: str, **options: Any) -> Any:
    called.clear()
    lifecycle.retry_from(world.client, run_id, node, None, **{"allow_code_change": False} | options)
    world.settle()
    return world.result(run_id)


def test_what_changed_outside_arrives_downstream(world: World) -> None:
    outside.update(n=3, scale=1)
    run_id = world.ended(outer)
    assert world.result(run_id) == 6 + 1000
    outside.update(scale=10)
    assert retried(world, run_id, "inner") == 33 + 1000
    assert called == {"scaled": 3, "part": 3, "total": 1}
    assert retried(world, run_id, "total") == 33 + 1000
    assert called == {"total": 1}


@pytest.mark.parametrize("n", [0, 1, 300])
def test_lists_may_have_other_lengths_than_before(world: World, n: int) -> None:
    outside.update(n=3, scale=1)
    run_id = world.ended(outer)
    assert world.result(run_id) == 6 + 1000
    outside.update(n=n)
    assert retried(world, run_id, "sizes") == n * (n + 1) // 2 + 1000
    assert called == {"sizes": 1, "total": 1} | ({"scaled": n, "part": n} if n else {})
    assert run_status(world.client, run_id).state == "done"
    counts = {node.name: (node.total, node.done) for node in run_status(world.client, run_id).nodes}
    assert counts["inner"] == (n, n)
    assert counts["inner[*]/part"] == (n, n)


def test_who_has_read_a_result_reads_the_new_one(world: World) -> None:
    outside.update(n=3, scale=1)

    @dag
    def listed() -> list[int]:
        return [scaled(x) for x in sizes()]

    run_id = world.ended(listed)
    reader = world.engine("reader")
    assert following.result(reader, run_id, 0) == [0, 1, 2]
    outside.update(n=2, scale=7)
    assert retried(world, run_id, "sizes") == [0, 7]
    assert following.result(reader, run_id, 0) == [0, 7]


def test_a_failed_run_may_begin_before_what_failed(world: World) -> None:
    outside.update(n=3, scale=1, broken=True)
    run_id = world.ended(outer)
    with pytest.raises(NodeFailed, match="it is broken"):
        world.result(run_id)
    outside.update(scale=2, broken=False)
    assert retried(world, run_id, "inner") == 9 + 1000
    assert called == {"scaled": 3, "part": 3, "total": 1}
    assert [failure.stands for failure in following.errors(world.client, run_id)] == [False]
    assert run_status(world.client, run_id).failed == ""


def test_nodes_of_nested_dags_are_named_as_the_status_shows_them(world: World) -> None:
    outside.update(n=3, scale=1)
    run_id = world.ended(nested)
    assert world.result(run_id) == 3 + 1000
    names = [node.name for node in run_status(world.client, run_id).nodes]
    scaling = next(name for name in names if name.endswith("scaled"))
    assert "/" in scaling
    outside.update(scale=2)
    assert retried(world, run_id, scaling) == 6 + 1000
    assert called == {"scaled": 3, "total": 1}


# -- what is refused ------------------------------------------------------------------------------
def refusal(world: World, run_id: str, node: str) -> DagceleryError:
    with pytest.raises(DagceleryError) as caught:
        retried(world, run_id, node)
    return caught.value


def test_a_name_that_there_is_not_gets_the_nearest(world: World) -> None:
    outside.update(n=1, scale=1)
    run_id = world.ended(outer)
    error = refusal(world, run_id, "totla")
    assert isinstance(error, InvalidParameters)
    assert "node 'totla' of '" in str(error)
    assert "did you mean 'total'?" in str(error)
    assert "as status() shows it" in str(refusal(world, run_id, "???"))


@pytest.mark.parametrize(
    ("address", "remedy"),
    [
        ("inner[*]/part", "name one item, such as 'inner[0]/part', or all of 'inner'"),
        ("inner/part", "name one item, such as 'inner[0]/part', or all of 'inner'"),
        ("inner[0:1]/part", "name one item, such as 'inner[0]/part', or all of 'inner'"),
        ("inner[*]", "name 'inner'"),
        ("inner[-1]", "counted from 0; name one of its items, such as 'inner[0]'"),
        ("inner[x]", "name one of its items, such as 'inner[0]'"),
        ("inner[1]", "its items are 0 only"),
        ("inner[1]/part", "its items are 0 only"),
        ("inner[1:1]", "its items are 0 only"),
        ("inner[0]/prat", "'inner[0]' has no such node; did you mean 'part'?"),
        ("inner[0]/part/x", "'inner[0]/part' has no nodes within; name 'inner[0]/part'"),
        ("inner[0]/part[0]", "'inner[0]/part' has no such items; name 'inner[0]/part'"),
        ("inner[0]x", "name 'inner'"),
        ("total[0]", "name 'total'"),
        ("", "as status() shows it"),
        (3, "give the address of a node or of an item"),
    ],
)
def test_an_address_that_names_nothing_is_refused_with_what_to_name(world: World, address: str, remedy: str) -> None:
    outside.update(n=1, scale=1)
    run_id = world.ended(outer)
    error = refusal(world, run_id, address)
    assert isinstance(error, InvalidParameters)
    assert remedy in str(error)
    assert run_status(world.client, run_id).state == "done", "nothing was taken back"


def test_items_that_are_not_known_or_not_entered_yet_are_refused(world: World) -> None:
    run_id = world.submit(outer)
    world.settle()
    assert "how many items 'inner' has; name 'inner', or resume the run" in str(refusal(world, run_id, "inner[0]"))
    outside.update(n=2)
    world.store.machine.resume(run_id)
    world.engine("one").work(run_id, "celery")
    assert "'inner[1]' was not entered yet" in str(refusal(world, run_id, "inner[1]/part"))


def test_a_run_that_goes_on_or_is_not_there_is_refused(world: World) -> None:
    outside.update(n=1, scale=1)
    run_id = world.submit(outer)
    assert isinstance(refusal(world, run_id, "total"), NotResumable)
    assert isinstance(refusal(world, "nobody", "total"), RunNotFound)


# -- beside others --------------------------------------------------------------------------------
def test_what_was_executing_when_the_run_was_taken_back_changes_nothing(world: World) -> None:
    outside.update(n=3, scale=1)
    run_id = world.submit(outer)
    late = world.engine("late")
    begun: list[str] = []
    store, finish = world.store, world.store.machine.finish

    def finish_late(*arguments: Any) -> Any:
        """Somebody ends the run and takes it back just before the first item of `scaled` is committed."""
        if not begun and called["scaled"]:
            begun.append(run_id)
            store.machine.end(run_id, "cancelled", "")
            outside.update(scale=5)
            lifecycle.retry_from(late, run_id, "sizes", None, allow_code_change=False)
        return finish(*arguments)

    store.machine.finish = finish_late  # type: ignore[method-assign]
    world.settle()
    assert begun
    assert world.result(run_id) == 5 + 10 + 3 + 1000
