"""What a worker lacks it leaves to others, and only what it lacks: an error of a function fails its piece as ever."""

from __future__ import annotations

import pickle
import random
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, BinaryIO

import pytest

from dagcelery import AsPickle, dag, task
from dagcelery.client import following
from dagcelery.engine import worker_loop
from dagcelery.engine.program import Program
from dagcelery.engine.refusals import is_refusal, words
from dagcelery.engine.worker_loop import Engine
from dagcelery.errors import (
    BadSignature,
    CodeMismatch,
    DagceleryError,
    DeserializationError,
    FunctionNotAllowed,
    FunctionNotFound,
    NodeFailed,
    PlanVersionUnsupported,
    StoreUnavailable,
    UnknownKey,
)
from dagcelery.planner.plan import FunctionSpec
from dagcelery.store.records import Lost

from . import flows
from .worlds import World, shuffled


@pytest.mark.parametrize("seed", range(6))
def test_a_worker_without_the_newest_key_does_what_it_can_read_and_leaves_the_rest(seed: int) -> None:
    world = World(workers=0, key="old")
    world.workers = [world.engine("before", key="old"), world.engine("after", key="new,old")]
    world.client = world.engine("client", key="old")
    for name in ("before", "after"):
        world.store.fleet.heartbeat(name, ["celery"], 1)
    run_id = world.submit(flows.map_reduce, n=30)
    world.settle(shuffled(seed))
    assert world.store.reader.record(run_id).state == "done"  # type: ignore[union-attr]
    reader = world.engine("reader", key="new,old")
    assert not world.store.reader.failures(run_id)
    assert following.result(reader, run_id, 0) == flows.map_reduce(30)


@task
def looks_elsewhere() -> None:
    raise FunctionNotFound("elsewhere", "f") from ModuleNotFoundError("No module named 'elsewhere'")


def test_what_a_function_raises_is_a_failure_whatever_it_is() -> None:
    with pytest.raises(NodeFailed, match="FunctionNotFound"):
        World().run(looks_elsewhere)


@dataclass
class AsParquet:
    """A serializer that imports its library late."""

    extension = "parquet"

    def serialize(self, value: Any, writer: BinaryIO) -> None:
        raise ImportError("No module named 'no_such_library'")

    def deserialize(self, reader: BinaryIO) -> Any:
        raise NotImplementedError


paid: list[int] = []


@task(serializer=AsParquet())
def pay(amount: int) -> int:
    paid.append(amount)
    return amount


@dag
def pays_once(n: int) -> int:
    return pay(n)


@dag
def pays_each(n: int) -> list[int]:
    return [pay(amount) for amount in flows.numbers(n)]


@pytest.mark.parametrize(("node", "most"), [(pays_once, 1), (pays_each, 3)])
def test_what_was_called_is_not_left_to_others_that_would_call_it_again(node: Any, most: int) -> None:
    paid.clear()
    world = World(workers=2)
    run_id = world.submit(node, n=3)
    for _ in range(3):
        world.settle()
        world.post.wake_up(run_id, "celery", 2)
    assert world.client.record(run_id).state == "failed"
    assert 1 <= len(paid) <= most


class Gone:
    """A class that is to be removed where it is read."""


@task(serializer=AsPickle())
def make() -> list[Gone]:
    return [Gone()]


@task
def count(xs: list[Gone]) -> int:
    return len(xs)


@dag(serializer=AsPickle())
def counted() -> int:
    return count(make())


def test_a_value_of_a_class_that_the_worker_does_not_have_is_left_to_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(workers=1, slice_seconds=1e-9)
    run_id = world.submit(counted)
    world.deliver(world.post.waiting.pop())
    with monkeypatch.context() as patched:
        patched.delattr(f"{__name__}.Gone")
        world.settle()
    assert "node 'count' of run" in caplog.text
    assert not world.client.record(run_id).is_over
    world.post.wake_up(run_id, "celery", 1)
    world.workers = [world.engine("another")]
    world.settle()
    assert world.result(run_id) == 1


def chained(error: DagceleryError, cause: BaseException) -> DagceleryError:
    error.__cause__ = cause
    return error


def no_such_class() -> AttributeError:
    try:
        pickle.loads(b"cos\nNothingSuch\n.")
    except AttributeError as error:
        return error
    raise AssertionError


def not_found(module: str) -> DagceleryError:
    error = ModuleNotFoundError(f"No module named '{module}'", name=module)
    return chained(FunctionNotFound("shop.pipeline", "f", "importing shop.pipeline raised"), error)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            not_found("shop"),
            "lacks module 'shop.pipeline' (ModuleNotFoundError: No module named 'shop')",
        ),
        (
            not_found("numpy"),
            "cannot import module 'shop.pipeline' (ModuleNotFoundError: No module named 'numpy')",
        ),
        (FunctionNotFound("shop", "f", "it has no 'f' here"), "lacks function shop:f (it has no 'f' here)"),
        (FunctionNotAllowed("shop", "f"), "may not import module 'shop' for a run that is not signed"),
        (CodeMismatch("m:f", "a", "b"), "has other code of function m:f than the run was planned with"),
        (PlanVersionUnsupported(3, 2), "reads plans of version 2, and this run's has version 3"),
        (UnknownKey("value", "reason"), "lacks a signing key that this was sealed with"),
        (chained(DeserializationError("it", "cannot be read", ""), ImportError()), "cannot read what this needs"),
        (chained(DeserializationError("it", "cannot be read", ""), no_such_class()), "cannot read what this needs"),
    ],
)
def test_what_a_worker_lacks_is_told_in_a_few_words(error: DagceleryError, told: str) -> None:
    assert is_refusal(PROGRAM, error)
    assert words(error).startswith(told)


PROGRAM = Program.__new__(Program)
PROGRAM._lacks_codecs = False


@pytest.mark.parametrize(
    "error",
    [
        BadSignature("value", "it was changed"),
        chained(DeserializationError("it", "is not JSON", ""), ValueError()),
        chained(DeserializationError("it", "has no x", ""), AttributeError("x")),
        StoreUnavailable("away", "redis://"),
        ModuleNotFoundError("No module named 'x'"),
    ],
)
def test_what_is_wrong_for_every_worker_is_a_failure(error: BaseException) -> None:
    assert not is_refusal(PROGRAM, error)


# -- old workers beside a new one ------------------------------------------------------------------
class Lacking(Program):
    """A program in a process that does not have some functions."""

    names: Collection[str] = ()

    def _loaded(self, spec: FunctionSpec) -> Any:
        if spec.qualname in self.names:
            raise FunctionNotFound(spec.module, spec.qualname, f"it has no '{spec.qualname}' here")
        return super()._loaded(spec)


def old_worker(world: World, name: str, lacks: Collection[str]) -> Engine:
    """A worker that lacks these functions."""
    engine = world.engine(name)
    read = engine._program

    def program(run_id: str) -> tuple[Program, str]:
        made, key = read(run_id)
        made.__class__ = type("LackingSome", (Lacking,), {"names": lacks})
        return made, key

    engine._program = program  # type: ignore[method-assign]
    return engine


def alive(world: World) -> Lost:
    """What a sweep knows of the workers that live."""
    words = world.store.fleet.workers()
    since = {name: word["since"] for name, word in words.items()}
    return Lost(alive={name: (word["at"] + 1, None) for name, word in words.items()}, since=since)


@pytest.mark.parametrize("seed", range(40))
def test_a_run_that_only_old_workers_have_seen_goes_on_at_once_when_a_new_one_comes(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_loop, "_PAUSE_SECONDS", 0)
    monkeypatch.setattr(worker_loop, "_REFUSAL_SECONDS", 0)
    chance = random.Random(seed)
    node, n = chance.choice(flows.MANY), chance.choice([0, 1, 3, 9])
    world = World(workers=0, slots=chance.randint(1, 4), slice_seconds=chance.choice([1e-9, 0.4]))
    queues = ["celery", "gpu", "ssd"]
    run_id = world.submit(node, n=n)
    specs = world.client.view(run_id).program.function_specs
    names = [spec.qualname for spec in specs]
    for number in range(chance.randint(1, 3)):
        lacks = chance.sample(names, chance.randint(1, len(names)))
        world.workers.append(old_worker(world, f"old{number}", lacks))
        world.store.fleet.heartbeat(f"old{number}", queues, 1)
    for _ in range(3):
        world.settle(shuffled(seed), copies=chance.choice([1, 2]))
        for queue in queues:  # each of them hears of what is ready
            world.post.wake_up(run_id, queue, 2 * len(world.workers))
        world.store.machine.sweep(run_id, alive(world), 60)
    world.settle()
    assert not world.store.reader.failures(run_id)
    world.workers.append(world.engine("new"))
    world.store.fleet.heartbeat("new", queues, 1)
    for _ in range(3):  # one for each queue that a step changes to
        for queue in world.store.machine.sweep(run_id, alive(world), 60).wake_ups:
            world.post.wake_up(run_id, queue, 1)
        world.settle(shuffled(seed))
    assert world.result(run_id) == node(n)
    assert len(world.committed(run_id)) == len(set(world.committed(run_id)))
