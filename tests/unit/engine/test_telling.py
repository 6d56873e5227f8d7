"""Telling others of an outcome, by signals, hooks, events or the log, can never change it."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery import signals

from dagcelery import Retry, Timeout, current, dag, invoke, task
from dagcelery.engine.hooks import Listener
from dagcelery.engine.interrupts import quiet_logger
from dagcelery.engine.run_view import RunView
from dagcelery.engine.worker_loop import WorkerLoop
from dagcelery.errors import NodeFailed
from dagcelery.payload import failures
from dagcelery.store.records import Claim, Lost, Response, TaskResult
from dagcelery.worker.signals import Announcer

from . import flows
from .worlds import World, celery_app

KINDS = ("task_prerun", "task_postrun", "task_success", "task_failure", "task_retry")


@contextmanager
def listening(receive: Callable[..., object], *kinds: str) -> Iterator[None]:
    """Connect a listener to all signals of pieces, or some."""
    chosen = [getattr(signals, kind) for kind in kinds or KINDS]
    for each in chosen:
        each.connect(receive, weak=False)
    try:
        yield
    finally:
        for each in chosen:
            each.disconnect(receive)


def observed() -> World:
    return World(listener=Announcer(celery_app()))


@task
def slow() -> str:
    return "done"


@dag(fail_fast=False)
def late() -> str:
    return slow.options(timeout=5)()


def poisoned(world: World, why: str) -> str:
    """A run whose piece was poisoned; its id."""
    run_id = world.submit(late)
    worker = world.workers[0]
    loop = WorkerLoop(worker, worker.view(run_id), "celery", "")
    for _ in range(3 if why == "died" else 1):
        grant = world.store.machine.claim(run_id, loop._request("")).claim
        assert grant is not None
        world.store.machine.sweep(run_id, Lost(dead=["worker0"], limited=why == "timeout"), 10)
    world.settle()
    return run_id


@pytest.mark.parametrize(("why", "said"), [("died", "PieceDied"), ("timeout", "TimeLimitExceeded")])
def test_a_listener_hears_of_a_poisoned_piece_and_leaves_its_error(why: str, said: str) -> None:
    told: list[dict[str, Any]] = []

    def hear(**more: Any) -> None:
        told.append(more)

    world = observed()
    with listening(hear):
        run_id = poisoned(world, why)
    with pytest.raises(NodeFailed, match=said):
        world.result(run_id)
    (heard,) = told
    assert type(heard["exception"]).__name__ == said
    assert said in heard["einfo"].traceback


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_whatever_a_listener_raises_nothing_becomes_of_it(kind: str, error: type[BaseException]) -> None:
    def fail(**_: Any) -> None:
        raise error("in a listener")

    world = observed()
    with listening(fail, kind):
        assert world.run(flows.map_reduce, n=4) == 14
        assert world.run(second_time) == 2
        with pytest.raises(NodeFailed, match="no 1"):
            world.run(flows.fail_on, x=1, bad=1)


@task(retry=Retry(2, wait=0))
def second_time() -> int:
    if current().attempt < 2:
        raise ValueError
    return current().attempt


def test_it_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    def leave(**_: Any) -> None:
        raise SystemExit("a listener leaves")

    with listening(leave, "task_postrun"):
        assert observed().run(flows.echo, x=1) == 1
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [record.action for record in errors] == ["listener_failed"]  # type: ignore[attr-defined]
    assert "a listener leaves" in caplog.text


def test_a_listener_cannot_change_what_is_told_to_others() -> None:
    def meddle(exception: Any = None, reason: Any = None, kwargs: Any = None, **_: Any) -> None:
        for error in filter(None, (exception, reason)):
            error.args = ("changed",)
            error.add_note("changed")
            error.__traceback__ = None
        if kwargs:
            kwargs.clear()

    world = observed()
    with listening(meddle), pytest.raises(NodeFailed) as found:
        world.run(flows.fail_on, x=1, bad=1)
    assert found.value.message == "no 1"
    assert "changed" not in found.value.traceback
    assert "raise ValueError" in found.value.traceback


def test_a_slow_listener_takes_none_of_a_piece_s_time() -> None:
    def dawdle(**_: Any) -> None:
        raised.append(is_unlimited())

    raised: list[bool] = []
    with listening(dawdle):
        assert observed().run(in_time) == 1
    assert raised == [True, True, True]


def is_unlimited() -> bool:
    """Whether the time limit of `in_time` does not run just now; another one, of the test itself, may."""
    return not 0.0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 50.0


@task(timeout=Timeout(hard=50))
def in_time() -> int:
    assert not is_unlimited()
    return 1


class Broken(Listener):
    """Raises at whatever it is told."""

    def __init__(self, error: type[BaseException]) -> None:
        self._error = error

    def hears_calls(self, view: RunView, claim: Claim) -> bool:
        if claim.step % 2:
            raise self._error("not told")
        return True

    def before(self, view: RunView, claim: Claim, index: int) -> None:
        raise self._error("not told")

    def after(self, view: RunView, claim: Claim, index: int, error: BaseException | None) -> None:
        raise self._error("not told")

    def ended(self, view: RunView, claim: Claim, result: TaskResult, response: Response) -> bool:
        raise self._error("not told")

    def run_ended(self, run_id: str, dag: str, state: str, seconds: float) -> None:
        raise self._error("not told")


@pytest.mark.parametrize("error", [OSError, SystemExit])
def test_an_observer_may_fail_as_well(error: type[BaseException]) -> None:
    world = World(listener=Broken(error))
    assert world.run(flows.map_reduce, n=4) == 14
    with pytest.raises(NodeFailed, match="no 1"):
        world.run(flows.fail_on, x=1, bad=1)


def test_a_hook_s_exit_is_its_own() -> None:
    def leave(notice: Any) -> None:
        heard.append(notice.state)
        raise SystemExit("a hook leaves")

    heard: list[str] = []
    hooked = task(on_success=leave)(flows.square.fn)

    @dag(on_success=leave)
    def both(x: int) -> int:
        return hooked(x)

    assert invoke(both, {"x": 3}) == 9
    assert heard == ["done", "done"]


class BrokenHandler(logging.Handler):
    """Does not even catch its own errors."""

    def handle(self, record: logging.LogRecord) -> bool:
        raise OSError("the log is full")


@pytest.fixture
def full_log() -> Iterator[None]:
    """A log that cannot be written to."""
    handler, logger = BrokenHandler(), logging.getLogger("dagcelery")
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.DEBUG)
    yield
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.mark.usefixtures("full_log")
def test_a_log_that_raises_changes_no_outcome() -> None:
    def leave(notice: Any) -> None:
        raise ValueError("a hook")

    world = observed()
    assert world.run(second_time) == 2
    with pytest.raises(NodeFailed, match="no 1"):
        world.run(flows.fail_on, x=1, bad=1)
    assert invoke(task(on_success=leave)(flows.square.fn), {"x": 3}) == 9


def test_a_quiet_logger_says_where_it_was_called(caplog: pytest.LogCaptureFixture) -> None:
    quiet_logger("some.module").warning("%s", "told", extra={"action": "tried"})
    (record,) = caplog.records
    assert (record.name, record.funcName, record.getMessage()) == (
        "some.module",
        "test_a_quiet_logger_says_where_it_was_called",
        "told",
    )
    assert record.action == "tried"  # type: ignore[attr-defined]


def test_nobody_listens_and_nothing_is_fired(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in KINDS:  # a library that another test has imported may listen for as long as this process lives
        monkeypatch.setattr(getattr(signals, kind), "receivers", [])
    world = observed()
    run_id = world.submit(flows.echo, x=1)
    worker = world.workers[0]
    loop = WorkerLoop(worker, worker.view(run_id), "celery", "")
    grant = world.store.machine.claim(run_id, loop._request("")).claim
    assert grant is not None
    assert not worker.listener.hears_calls(worker.view(run_id), grant)
    assert world.client.record(run_id).state == "running"
    assert failures.decode(failures.encode(ValueError("x")))["message"] == "x"
