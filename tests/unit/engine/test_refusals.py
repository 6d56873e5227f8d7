"""What a worker lacks it leaves to others, and only what it lacks: an error of a function fails its piece as ever."""

from __future__ import annotations

import pickle

import pytest

from dagcelery import AsPickle, dag, task
from dagcelery.client import following
from dagcelery.engine.program import Program
from dagcelery.engine.refusals import is_refusal, words
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
