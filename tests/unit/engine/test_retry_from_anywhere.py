"""Whatever is executed again, wherever it stands: the result is as if it had been right at first, and no other call
is made than those of what depends on it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any

import pytest
from contract.between import between
from contract.moves import pass_time
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dagcelery import Skipped, current, dag, task, when
from dagcelery.client import lifecycle
from dagcelery.client.places import find_place
from dagcelery.client.status import run_status
from dagcelery.errors import InvalidParameters
from dagcelery.local import Server
from dagcelery.store import clearing
from dagcelery.store.in_process import store_in_process
from dagcelery.store.protocol import Store
from dagcelery.store.redis import store_on_redis

from .worlds import World, shuffled

WRONG: dict[str, str] = {}
"""Addresses below which calls are wrong, and in what manner."""
CALLED: dict[str, str] = {}
"""What each call gave, by address."""
AGAIN: Counter[str] = Counter()


def is_below(address: str, around: str) -> bool:
    return address.startswith(around) and address[len(around) :][:1] in ("", "[", "/")


def told(*xs: Any) -> str:
    """What a call gives: another text for whatever else it was given, and for each way in which it is wrong."""
    address = current().address
    AGAIN[address] += 1
    ways = [way for around, way in sorted(WRONG.items()) if is_below(address, around)]
    if "raise" in ways:
        CALLED.pop(address, None)
        raise ValueError(address)
    CALLED[address] = f"{random.Random(repr((address, xs, ways))).getrandbits(64):x}"
    return CALLED[address]


@task
def one(x: Any, y: Any = None) -> str:
    return told(x, y)


@task(on_item_failure="skip")
def shaky(x: Any) -> str:
    return told(x)


@task
def several(x: Any, n: int) -> list[str]:
    text = told(x)
    return [f"{text}.{number}" for number in range(n)]


@task
def is_odd(x: Any) -> bool:
    return int(told(x), 16) % 2 == 1


@task
def joined(xs: list[Any], ys: Any = None) -> str:
    return told([type(x).__name__ if isinstance(x, Skipped) else x for x in xs], ys)


@task(dynamic=True)
def grown(x: Any, depth: int = 1) -> Any:
    text = told(x)
    if not depth:
        return text
    parts = [one(text, number) for number in range(2)]
    return joined(parts, grown(parts[0], depth - 1))


@dag
def leaf(x: Any) -> str:
    return joined([one(part, x) for part in several(x, 2)])


@dag
def middle(x: Any) -> str:
    leaves = [leaf.options(on_item_failure="skip")(part) for part in several(x, 2)]
    return joined(leaves, when(is_odd(x), lambda: one(leaf(x)), lambda: grown(x)))


@dag(fail_fast=False)
def top(n: int) -> str:
    rows = several(n, n)
    firsts = [shaky(row) for row in rows]
    seconds = [one(first) for first in firsts]
    mapped = [middle(second) for second in seconds]
    crossed = [one(first, each) for first, each in zip(firsts, mapped, strict=False)]
    return joined([joined(mapped), joined(crossed), joined([grown(row) for row in rows])], one(joined(firsts)))


@dag(keep="outputs", fail_fast=False)
def lean(n: int) -> list[Any]:
    rows = several(n, n)
    seconds = [one(first, row) for first, row in zip([shaky(row) for row in rows], rows, strict=True)]
    return [rows, joined([middle(second) for second in seconds]), joined([one(second) for second in seconds])]


def called(world: World, run_id: str, choice: random.Random) -> dict[str, str]:
    world.settle(shuffled(choice.getrandbits(32)))
    world.store.machine.collect_garbage(run_id)
    return dict(CALLED)


def places(world: World, run_id: str) -> list[str]:
    """The addresses of all nodes, items, and of what they stand in."""
    found = set()
    for address in CALLED:
        parts = address.split("/")
        for depth in range(len(parts)):
            around = "/".join(parts[: depth + 1])
            found |= {around, around.rpartition("[")[0] if around.endswith("]") else around}
    return sorted(address for address in found if is_place(world, run_id, address))


def is_place(world: World, run_id: str, address: str) -> bool:
    """Whether an address is one: a nested DAG that is not mapped has no node of its own."""
    try:
        return bool(find_place(world.client.view(run_id), address))
    except InvalidParameters:
        return False


class Died(Exception):
    """The process that clears is gone."""


def dying(store: Store, choice: random.Random) -> Store:
    """A store whose clearings are cut short now and then, at any script."""
    left = [3]

    def around(call: Callable[[], Any], verb: str, key: str, *_: Any) -> Any:
        dies = verb == "clear" and left[0] > 0 and choice.random() < 0.02
        left[0] -= dies
        answer = None if dies and choice.random() < 0.5 else call()
        if dies:
            pass_time(store, key.partition("{")[2].rstrip("}"), 3600.0)  # until it is taken for dead
            raise Died
        return answer

    return between(store, around)


def again(world: World, run_id: str, place: str, choice: random.Random) -> None:
    """Execute a place again; who dies of it is followed by another, who resumes, or says the same again."""
    while True:
        try:
            return lifecycle.retry_from(world.client, run_id, place, None, allow_code_change=True)
        except (
            Died,
            InvalidParameters,
        ):  # what an item is entered with was freed, and then its nodes are gone at first
            is_begun = world.client.record(run_id).reason.startswith("parts of it")
        if is_begun and choice.random() < 0.5:
            with suppress(Died):
                return lifecycle.resume(world.client, run_id, None, allow_code_change=True)


@pytest.fixture(autouse=True, scope="module")
def small_portions() -> Iterator[None]:
    """Scripts that do little each, so that one may die between any two steps."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(clearing, "_PORTION", 1)
        patched.setattr(clearing, "_STEPS_A_SCRIPT", 1)
        yield


def check(store: Store, seed: int) -> None:
    """Make what is wrong of a run right, one place after the other."""
    choice = random.Random(seed)
    world, which = World(dying(store, choice)), choice.choice([top, top, lean])
    WRONG.clear()
    CALLED.clear()
    fresh_id = world.submit(which, n=2)
    world.settle()
    fresh, result = dict(CALLED), world.result(fresh_id)
    for place in choice.sample(places(world, fresh_id), choice.randint(1, 3)):
        WRONG[place] = choice.choice(["wrong", "wrong", "raise"])
    may_begin_anew = which is lean or "raise" in WRONG.values()
    CALLED.clear()
    run_id = world.submit(which, n=2)
    before = called(world, run_id, choice)
    while WRONG:
        place = choice.choice(sorted(WRONG))
        del WRONG[place]
        if not is_place(world, run_id, place):  # it is in a branch, say, that is not taken as things are
            continue
        AGAIN.clear()
        again(world, run_id, place, choice)
        after = called(world, run_id, choice)
        expected = {
            a for a in after if before.get(a) != after[a] or (is_below(a, place) and is_place(world, run_id, a))
        }
        failing = {a for a in AGAIN if any(way == "raise" and is_below(a, at) for at, way in WRONG.items())}
        assert set(AGAIN.values()) <= {1}
        more = set(AGAIN) - expected - failing
        is_whole = world.client.record(run_id).state == "done"  # else some wait for what fails
        assert not is_whole or set(AGAIN) >= expected - failing
        assert not more or may_begin_anew, "what was freed is made again, and what was skipped with its item"
        before = after
    if world.client.record(run_id).state != "done":
        lifecycle.resume(world.client, run_id, None, allow_code_change=True)
        called(world, run_id, choice)
    assert world.result(run_id) == result
    assert {a: CALLED[a] for a in fresh} == fresh
    assert nodes(world, run_id) == nodes(world, fresh_id)


def nodes(world: World, run_id: str) -> list[Any]:
    return sorted((n.name, n.total, n.done, n.skipped, n.state) for n in run_status(world.client, run_id).nodes)


@given(st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_what_is_wrong_is_made_right_wherever_it_stands(seed: int) -> None:
    check(store_in_process(), seed)


@given(st.integers(0, 2**32))
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_wrong_is_made_right_on_a_server_too(server: Server, seed: int) -> None:
    with closing(store_on_redis(server.url)) as store:
        check(store, seed)
