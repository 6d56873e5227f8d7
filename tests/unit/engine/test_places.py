"""A stored value that cannot be read is called by its node, item and output, or its parameter."""

from __future__ import annotations

from typing import Any

import pytest

from dagcelery import dag, task
from dagcelery.client import following
from dagcelery.engine.io import Reader
from dagcelery.engine.worker_loop import Engine
from dagcelery.errors import BadSignature, DagceleryError, DeserializationError, UnknownKey
from dagcelery.store.records import ROOT, Scope

from .flows import numbers
from .worlds import World

NEW, OLD = "the newer of two keys", "the older of two keys"


@task
def read(x: int) -> int:
    return x


@task
def split(n: int) -> dict[str, int]:
    return {"low": n, "high": n + 1}


@dag
def mapped(n: int) -> list[int]:
    return [read(x) for x in numbers(n)]


@dag
def keyed(n: int) -> int:
    return read(split(n)["high"])


def finished(node: Any, n: int) -> tuple[World, str]:
    """A run whose plan one key signed, and whose values another one."""
    world = World(key=f"{OLD},{NEW}")
    world.workers = [world.engine("worker", key=f"{NEW},{OLD}")]
    run_id = world.ended(node, n=n)
    return world, run_id


@pytest.mark.parametrize(
    ("node", "n", "told"),
    [
        (read, 1, "output 'return_value' of node 'read'"),
        (mapped, 1, "output 'return_value' of node 'read[0]'"),
        (keyed, 1, "output 'return_value' of node 'read'"),
    ],
)
def test_bytes_that_are_refused_are_called_by_their_node(node: Any, n: int, told: str) -> None:
    if node is read:
        node = dag(lambda n: read(n))
    world, run_id = finished(node, n)
    with pytest.raises(BadSignature) as caught:
        following.result(world.engine("reader", key=OLD), run_id, 0)
    assert caught.value.address.startswith((f"{told} of run {run_id} (", "output 'return_value' of node 'numbers'"))
    assert isinstance(caught.value, UnknownKey)


def named(engine: Engine, run_id: str, token: str) -> str:
    with pytest.raises(DagceleryError) as caught:
        Reader(engine.view(run_id), Scope(ROOT)).whole(token)
    return str(caught.value)


def test_a_list_an_item_a_key_and_a_parameter_have_names() -> None:
    world, run_id = finished(keyed, 1)
    reader = world.engine("reader", key=OLD)
    assert "output 'key_high' of node 'split' of run" in named(reader, run_id, "0.0")
    assert "(value 0.0 in scope 0 of run" in named(reader, run_id, "0.0")
    other = world.engine("stranger", key=OLD)
    other.keyring = world.engine("x", key=NEW).keyring
    view = other._keep(run_id, reader.view(run_id).program)  # a process that has the plan, and not its key
    with pytest.raises(UnknownKey, match=r"parameter 'n' of run \w+ \(value \$n in scope 0"):
        Reader(view, Scope(ROOT)).whole("$n")


def test_what_is_not_in_the_store_is_called_by_its_node() -> None:
    world = World()
    run_id = world.submit(mapped, n=3)
    view = world.engine("reader").view(run_id)
    with pytest.raises(
        DeserializationError, match=r"output 'return_value' of node 'numbers' of run .*not in the store"
    ):
        Reader(view, Scope(ROOT)).whole("0.0")
    world.settle()
    with pytest.raises(
        DeserializationError, match=r"output 'return_value' of node 'read\[3\]' of run \w+ \(value 1\.0"
    ):
        Reader(view, Scope(ROOT)).column("1.0", 0, 4)
