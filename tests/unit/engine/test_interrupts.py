"""A signal ends the process; an exception that only looks like one is a failure of the piece that raised it."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery.exceptions import WorkerShutdown, WorkerTerminate
from celery.worker import state

from dagcelery import AsPickle, Cache, Retry, current, dag, invoke, task
from dagcelery.engine.interrupts import is_leaving, noted, run_in
from dagcelery.errors import NodeFailed
from dagcelery.worker.process import CeleryProcess

from .worlds import World


class Leaving(BaseException):
    """A class of the user's own."""


class OwnExit(SystemExit):
    """A task's own way to leave."""


RAISED = [
    KeyboardInterrupt,
    SystemExit,
    OwnExit,
    WorkerShutdown,
    WorkerTerminate,
    GeneratorExit,
    StopIteration,
    StopAsyncIteration,
    asyncio.CancelledError,
    Leaving,
]


@task
def raising(number: int) -> int:
    raise RAISED[number]("by the task")


@task
async def araising(number: int) -> int:
    await asyncio.sleep(0)
    raise RAISED[number]("by the task")


@task(retry=Retry(3, wait=0, on=BaseException))
def raising_twice(number: int) -> int:
    if current().attempt < 3:
        raise RAISED[number]
    return current().attempt


@dag
def all_of(numbers: list[int]) -> list[int]:
    return [raising(number) for number in numbers]


@task(on_item_failure="skip")
def tolerated(number: int) -> int:
    if number < 0:
        return number
    raise RAISED[number]


@dag
def some_of(numbers: list[int]) -> list[int]:
    return [tolerated(number) for number in numbers]


def raised(call: Callable[[], Any]) -> type[BaseException] | None:
    """The class of what a node failed with, in process."""
    with pytest.raises(NodeFailed) as found:
        call()
    return type(found.value.__cause__) if found.value.__cause__ else None


@pytest.mark.parametrize("number", range(len(RAISED)), ids=[kind.__name__ for kind in RAISED])
def test_what_a_task_raises_fails_its_piece_whatever_it_is(number: int) -> None:
    assert raised(lambda: invoke(raising, {"number": number})) is RAISED[number]
    assert raised(lambda: invoke(all_of, {"numbers": [number]})) is RAISED[number]
    assert invoke(raising_twice, {"number": number}) == 3
    if RAISED[number] not in (StopIteration, StopAsyncIteration):  # Python itself lets no coroutine raise these
        assert raised(lambda: invoke(araising, {"number": number})) is RAISED[number]


def test_one_item_s_exit_leaves_the_others_alone() -> None:
    world = World()
    assert world.run(some_of, numbers=[-1, *range(len(RAISED)), -2]) is not None
    run_id = world.ended(all_of, numbers=list(range(len(RAISED))))
    assert world.client.record(run_id).state == "failed"


@task
def signalled(name: str) -> None:
    signal.raise_signal(getattr(signal, name))


@task
async def asignalled(name: str) -> None:
    await asyncio.sleep(0)
    signal.raise_signal(getattr(signal, name))
    await asyncio.sleep(60)


@task
def runs_a_loop(name: str) -> None:
    asyncio.run(asignalled.fn(name))


@task
def tidies_up(name: str) -> None:
    try:
        signal.raise_signal(getattr(signal, name))
    finally:
        tidied.append(name)


tidied: list[str] = []


@pytest.fixture
def sigterm() -> Iterator[None]:
    """A program that ends by an exit when it is told to."""

    def leave(signum: int, frame: object) -> None:
        sys.exit(128 + signum)

    replaced = signal.signal(signal.SIGTERM, leave)
    yield
    assert signal.getsignal(signal.SIGTERM) is leave
    signal.signal(signal.SIGTERM, replaced)


@pytest.mark.usefixtures("sigterm")
@pytest.mark.parametrize("node", [signalled, asignalled, runs_a_loop, tidies_up], ids=lambda node: node.__name__)
def test_a_signal_goes_through_to_who_called_invoke(node: Any) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        invoke(node, {"name": "SIGINT"})
    with pytest.raises(SystemExit, match="143"):
        invoke(node, {"name": "SIGTERM"})
    assert signal.getsignal(signal.SIGINT) is before
    assert raised(lambda: invoke(raising, {"number": 0})) is KeyboardInterrupt


def test_a_signal_whose_handler_raises_nothing_is_none_of_the_piece_s_business() -> None:
    seen: list[int] = []
    replaced = signal.signal(signal.SIGINT, lambda signum, frame: seen.append(signum))
    try:
        assert raised(lambda: invoke(both)) is KeyboardInterrupt
    finally:
        signal.signal(signal.SIGINT, replaced)
    assert seen == [signal.SIGINT]


class ToldToStop(Exception):
    """What somebody's handler raises."""


def test_whatever_a_handler_raises_goes_through() -> None:
    def stop(signum: int, frame: object) -> None:
        raise ToldToStop

    replaced = signal.signal(signal.SIGTERM, stop)
    try:
        for node in (signalled, asignalled):
            with pytest.raises(ToldToStop):
                invoke(node, {"name": "SIGTERM"})
    finally:
        signal.signal(signal.SIGTERM, replaced)


@task
def both() -> None:
    signal.raise_signal(signal.SIGINT)
    raise KeyboardInterrupt


@task
def installs() -> None:
    signal.signal(signal.SIGHUP, _own_handler)


def _own_handler(signum: int, frame: object) -> None:
    """A task's own."""


def test_a_handler_that_a_task_installs_stays_as_in_plain_python() -> None:
    replaced = signal.getsignal(signal.SIGHUP)
    try:
        invoke(installs)
        assert signal.getsignal(signal.SIGHUP) is _own_handler
    finally:
        signal.signal(signal.SIGHUP, replaced)


def test_in_a_thread_no_exit_is_a_signal_s() -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(raised(lambda: invoke(raising, {"number": 1}))))
    thread.start()
    thread.join()
    assert found == [SystemExit]


def test_an_exit_that_celery_asked_for_is_told_from_a_task_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    billiard = types.ModuleType("billiard.common")
    billiard._should_have_exited = [False]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "billiard.common", billiard)
    run_in(CeleryProcess())
    with noted():
        assert not any(is_leaving(kind()) for kind in RAISED)
        monkeypatch.setattr(state, "should_terminate", 0)
        assert [kind for kind in RAISED if is_leaving(kind())] == [WorkerShutdown, WorkerTerminate]
        billiard._should_have_exited[0] = True  # type: ignore[attr-defined]
        assert is_leaving(SystemExit(241))
        assert not is_leaving(ValueError())


# -- around the call ------------------------------------------------------------------------------
class Exiting:
    """A value that cannot be pickled, or unpickled, without an exit."""

    def __init__(self, when: str) -> None:
        self.when = when

    def __reduce__(self) -> Any:
        if self.when == "dump":
            raise SystemExit("while it is written")
        return _leave, ()


def _leave() -> None:
    raise KeyboardInterrupt


@task(serializer=AsPickle())
def returns_exiting(when: str) -> Any:
    return Exiting(when)


@task(serializer=AsPickle())
def item_exits(n: int) -> Any:
    return Exiting("dump") if n == 1 else n


@task(serializer=AsPickle())
def reads(x: Any) -> None: ...


@dag
def written(when: str) -> None:
    reads(returns_exiting(when))


@dag
def items_written(ns: list[int]) -> list[Any]:
    return [item_exits(n) for n in ns]


@task
def from_generator() -> Any:
    def elements() -> Iterator[int]:
        yield 1
        raise SystemExit("in a generator")

    return elements()


@task
def leaves_for_key(x: int) -> int:
    return x


def exiting_key(x: int) -> str:
    raise SystemExit(f"no key for {x}")


@task(cache=Cache(ttl=60, key=exiting_key))
def cached(x: int) -> int:
    return x


@dag
def all_cached(xs: list[int]) -> list[int]:
    return [cached(x) for x in xs]


@dag
def elements_of() -> list[int]:
    return [leaves_for_key(x) for x in from_generator()]


@pytest.mark.parametrize(
    ("node", "params", "address", "kind"),
    [
        (written, {"when": "dump"}, "returns_exiting", "SystemExit"),
        (written, {"when": "load"}, "reads", "KeyboardInterrupt"),
        (items_written, {"ns": [0, 1, 2]}, "item_exits[1]", "SystemExit"),
        (elements_of, {}, "from_generator", "SystemExit"),
        (cached, {"x": 1}, "cached", "SystemExit"),
        (all_cached, {"xs": [1, 2]}, "cached[0]", "SystemExit"),
    ],
    ids=["dump", "load", "item", "generator", "key", "key of an item"],
)
def test_an_exit_beside_the_function_fails_its_piece_too(
    node: Any, params: dict[str, Any], address: str, kind: str
) -> None:
    with pytest.raises(NodeFailed) as found:
        invoke(node, params)
    assert (found.value.address, found.value.type_name) == (address, kind)
