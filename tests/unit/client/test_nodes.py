"""A run says what it is: its parameters, its key, and the result and the state of each place in it."""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from dagcelery import Retry, Run, Skipped, dag, errors, task, when
from dagcelery.client.following import events
from dagcelery.client.node import RunNode
from dagcelery.store.records import ROOT, Outstanding, Spot
from dagcelery.testing.lending import eager_client

from ..engine.worlds import World


@task
def count(n: int) -> list[int]:
    return list(range(n))


@task
def double(x: int) -> int:
    if x < 0:
        raise ValueError(f"{x} is negative")
    return 2 * x


@task(on_item_failure="skip")
def invert(x: int) -> float:
    return 1 / x


@task
def total(xs: Sequence[Any]) -> float:
    return sum(x for x in xs if not isinstance(x, Skipped))


@task
def both(x: int) -> tuple[int, int]:
    return x, -x


@task
def note(x: int) -> None:
    """Nobody reads what this returns."""


@dag
def one(x: int) -> int:
    return double(double(x))


@task(dynamic=True)
def grown(x: int) -> Any:
    return total([double(x), double(x + 1)])


@dag
def everything(n: int, xs: list[int], unread: str = "") -> Any:
    ys = [double(x) for x in xs]
    first, _ = both(n)
    note(n)
    zs = [one(x) for x in count(n)]
    chosen = when(n, then=lambda: double(10), otherwise=lambda: double(20))
    return total(ys), first, total(zs), chosen, total([invert(x) for x in xs]), grown(n)


def nodes(world: World, run_id: str) -> Callable[[str], RunNode]:
    """The places of a run, as a process sees them that has only the store."""
    reader = world.engine("reader")
    return lambda address: RunNode(lambda: reader, run_id, address)


def test_each_place_has_the_result_that_its_function_gave_back() -> None:
    world = World()
    node = nodes(world, world.ended(everything, n=3, xs=[4, 0, 6]))
    expected = {
        "double": [8, 0, 12],
        "double[2]": 12,
        "double[0:2]": [8, 0],
        "count": [0, 1, 2],
        "one": [0, 4, 8],
        "one[2]": 8,
        "one[2]/double": 4,
        "one[2]/double-2": 8,
        "when/then": 20,
        "when/then/double": 20,
        "invert[0]": 0.25,
        "grown": 14,
        "grown/double-2": 8,
        "total": 20,
    }
    assert {address: node(address).result() for address in expected} == expected
    assert {address: node(address).state for address in expected} == dict.fromkeys(expected, "done")


@pytest.mark.parametrize(
    ("address", "error", "text"),
    [
        ("duoble", errors.InvalidParameters, "did you mean 'double'"),
        ("double[3]", errors.InvalidParameters, "its items are 0 to 2"),
        ("invert[1]", errors.NodeSkipped, "node invert[1] was skipped: invert[1] failed with ZeroDivisionError"),
        ("when/otherwise", errors.NodeSkipped, "its branch was not taken"),
        ("when/otherwise/double", errors.NodeSkipped, "its branch was not taken"),
        ("note", errors.ValueFreed, "was never stored"),
        ("both", errors.ValueFreed, "of its parts are stored: [0]; return all of it"),
    ],
)
def test_a_place_without_a_result_says_why(address: str, error: type[Exception], text: str) -> None:
    world = World()
    with pytest.raises(error, match=text.replace("[", r"\[")):
        nodes(world, world.ended(everything, n=3, xs=[4, 0, 6]))(address).result()


def test_what_failed_raises_its_own_failure_and_what_was_not_begun_says_so() -> None:
    world = World(workers=1)

    @dag
    def fails(xs: list[int]) -> float:
        return total([one(x) for x in xs])

    node = nodes(world, world.ended(fails, xs=[-1]))
    for address in ("one", "one[0]", "one[0]/double"):
        with pytest.raises(errors.NodeFailed, match=r"one\[0\]/double failed with ValueError: -1 is negative"):
            node(address).result()
        assert [each.address for each in node(address).errors()] == ["one[0]/double"]
    for address in ("total", "one[0]/double-2"):
        assert node(address).state == "stopped"
        with pytest.raises(errors.NodeNotDone, match="it is stopped; resume the run"):
            node(address).result()


def test_errors_are_found_by_place_and_not_by_how_the_place_is_written() -> None:
    world = World(workers=1)

    @dag(fail_fast=False)
    def fails(xs: list[int]) -> float:
        return total([one(x) for x in xs])

    node = nodes(world, world.ended(fails, xs=[-1, 1, -1]))
    found = {
        "one[0:2]": ["one[0]/double"],
        "one[02]": ["one[2]/double"],
        "one[1]": [],
        "one": ["one[0]/double", "one[2]/double"],
        "one[00]/double": ["one[0]/double"],
        "total": [],
    }
    assert {address: [each.address for each in node(address).errors()] for address in found} == found
    with pytest.raises(errors.InvalidParameters, match="does not exist"):
        node("ones").errors()


SEEN: list[Any] = []


@task(retry=Retry(2, wait=60))
def watched(x: int) -> int:
    SEEN[0]()
    if x == 2:
        raise ValueError
    return x


@dag
def watches(xs: list[int]) -> float:
    return total([watched(x) for x in xs])


def test_a_place_tells_how_far_it_is_while_its_run_goes_on() -> None:
    world = World(workers=1)
    run_id = world.submit(watches, xs=[0, 1, 2, 3])
    node = nodes(world, run_id)
    assert node("total").state == node("watched[0]").state == "waiting"
    seen: list[Any] = []
    SEEN[:] = [lambda: seen.append([node(each).status() for each in ("watched", "watched[1]", "watched[3]")])]
    for message in world.post.waiting[:]:
        world.deliver(message)
    all_of_it, second, last = seen[1]
    assert (all_of_it.state, second.state, last.state) == ("running", "running", "waiting")
    assert (second.attempt, second.pieces[0].address, last.worker) == (1, "watched[1]", "")
    assert second.worker.startswith("worker0 pid ")
    assert second.started
    assert [node(f"watched[{item}]").state for item in range(4)] == ["done", "done", "retrying", "done"]
    done = node("watched[1]").status()
    assert done.worker == second.worker
    assert done.ended >= done.started > 0
    assert node("watched[2]").errors()[0].type_name == "ValueError"
    assert node("watched").state == "retrying"


def test_a_freed_result_is_an_error_and_what_the_dag_returns_is_not() -> None:
    @dag(keep="outputs")
    def frees(xs: list[int]) -> float:
        return total([double(x) for x in xs])

    world = World()
    node = nodes(world, world.ended(frees, xs=[1, 2]))
    assert node("total").result() == 6
    for address in ("double", "double[1]"):
        with pytest.raises(errors.ValueFreed, match="was freed"):
            node(address).result()


def test_a_long_list_is_read_as_it_is_asked_for() -> None:
    @dag
    def wide(n: int) -> float:
        return total([double(x) for x in count(n)])

    world = World()
    found = nodes(world, world.ended(wide, n=1_500))("double").result()
    assert not isinstance(found, list)
    assert (len(found), found[1_499], found[3:5]) == (1_500, 2_998, [6, 8])


def test_a_run_has_its_parameters_and_shows_them_shortened() -> None:
    @dag
    def takes(url: str, xs: list[int], rows: list[int], n: int = 3) -> Any:
        return total([double(x) for x in xs]), total(rows), double(n), note(url)

    run = eager_client().submit(takes, {"url": "redis://me:secret@host/0", "xs": [1, 2], "rows": [3] * 500})
    assert run.params == {"url": "redis://me:secret@host/0", "xs": [1, 2], "rows": [3] * 500, "n": 3}
    shown = run.status().params
    assert shown["url"] == "'redis://me:***@host/0'"
    assert (shown["xs"], shown["n"], len(shown["rows"]) <= 200) == ("[1, 2]", "3", True)
    assert repr(run.params) == "{" + ", ".join(f"{name!r}: {text}" for name, text in shown.items()) + "}"
    assert repr(copy.deepcopy(run.params)) == repr(run.params)
    assert asyncio.run(run.aparams()) == run.params
    assert run.key is None


@pytest.mark.parametrize("seed", range(5))
def test_each_start_is_told_once_in_front_of_its_end(seed: int) -> None:
    world = World(workers=3)
    run_id = world.submit(everything, n=3, xs=[4, 0, 6])
    world.settle(random.Random(seed).randrange)
    told = list(events(world.engine("reader"), run_id, "", follow=False, started=True))
    assert [event for event in told if event.kind != "started"] == list(
        events(world.engine("reader"), run_id, "", follow=False)
    )
    begun: list[str] = []
    for event in told:
        if event.kind == "started":
            assert event.worker.startswith("worker")
            assert event.at == event.started
            begun.append(event.address)
        elif event.address and event.address not in ("one[0]", "one[1]", "one[2]", "when/then"):
            begun.remove(event.address)
    assert begun == []


def test_no_start_is_told_of_a_claim_whose_piece_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    run_id, engine = world.submit(squares, xs=[1]), world.engine("reader")
    claims = [Spot(ROOT, step, 0, 1, 1.0, "w:1", is_committed, 1) for step, is_committed in ((0, False), (1, True))]
    monkeypatch.setattr(engine.store.reader, "outstanding", lambda run_id: Outstanding(claims))
    told = [event.address for event in events(engine, run_id, "", follow=False, started=True) if event.address]
    assert told == ["note[0]"]


def test_starts_are_told_of_tasks_and_not_of_items_and_branches_that_are_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    run_id, engine = world.submit(everything, n=3, xs=[4]), world.engine("reader")
    steps = engine.view(run_id).body(ROOT).steps
    claims = [Spot(ROOT, at, *([0, 1] if step.over else ()), at=1.0) for at, step in enumerate(steps)]
    monkeypatch.setattr(engine.store.reader, "outstanding", lambda run_id: Outstanding(claims))
    told = events(engine, run_id, "", follow=False, started=True)
    expected = [step.name for step in steps if step.kind != "dag"]
    assert {"one", "when/then", "when/otherwise"} == {step.name for step in steps} - set(expected)
    assert [event.node for event in told if event.kind == "started"] == expected


def test_the_handle_of_a_run_and_of_a_node_need_no_store() -> None:
    assert repr(Run[Any]("7").node("read[3]")) == "RunNode('7', 'read[3]')"


@task
def at_least_zero(x: int) -> int:
    return double(x)


@dag(on_item_failure="skip")
def careful(x: int) -> int:
    return double(at_least_zero(x))


@dag
def left_out(xs: list[int]) -> float:
    return total([careful(x) for x in xs])


def test_an_item_that_was_left_out_was_skipped_and_so_was_what_is_in_it() -> None:
    world = World()
    node = nodes(world, world.ended(left_out, xs=[1, -1]))
    assert node("careful[0]").result() == 4
    assert isinstance(node("careful").result()[1], Skipped)
    for address in ("careful[1]", "careful[1]/double"):
        with pytest.raises(errors.NodeSkipped):
            node(address).result()
    assert node("careful[1]/at_least_zero").errors()[0].type_name == "ValueError"


@task
def square(x: int) -> int:
    return x * x


@dag
def squares(xs: list[int]) -> float:
    for x in xs:
        note(x)
    return total([square(x) for x in xs])


@pytest.mark.parametrize("name", ["square", "note"])
def test_an_item_that_was_cleared_is_not_done_though_its_result_lies_beside_that_of_another(name: str) -> None:
    world = World()
    run_id = world.ended(squares, xs=list(range(40)))
    step = world.engine("reader").view(run_id).program.plan.bodies[0].steps
    number = next(at for at, each in enumerate(step) if each.name == name)
    world.store.machine.end(run_id, "cancelled", "")
    assert world.store.machine.clear(run_id, [Spot(ROOT, number, 30, 31)])
    node = nodes(world, run_id)
    cleared = node(f"{name}[30]")
    assert cleared.state == "stopped"
    with pytest.raises(errors.NodeNotDone):
        cleared.result()
    assert [node(f"{name}[{item}]").state for item in (29, 31)] == ["done", "done"]
    assert node(f"{name}[29:32]").status().done == 2


def test_the_result_of_an_item_is_read_without_the_events_of_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    run_id, reader = world.ended(squares, xs=[1, 2]), world.engine("reader")
    read: list[str] = []
    told = reader.store.reader.events
    monkeypatch.setattr(reader.store.reader, "events", lambda *about: read.append(about[0]) or told(*about))
    node = RunNode(lambda: reader, run_id, "square[1]")
    assert (node.result(), read) == (4, [])
    assert (node.status().worker != "", read) == (True, [run_id])


def test_what_is_done_does_not_run_though_its_claim_was_read_before(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    run_id, reader = world.ended(squares, xs=[1, 2]), world.engine("reader")
    read = reader.store.reader.progress(run_id)
    assert read is not None
    steps = range(len(reader.view(run_id).program.plan.bodies[0].steps))
    before = Outstanding([Spot(ROOT, step, at=read.now, owner="w:1", attempt=1) for step in steps])
    monkeypatch.setattr(reader.store.reader, "progress", lambda run_id, **_: replace(read, outstanding=before))
    for address in ("square", "total"):
        assert RunNode(lambda: reader, run_id, address).status().running == 0
