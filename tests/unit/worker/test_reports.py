"""A worker's log says what failed, what is tried again, and when a node or a run has ended: a line each."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest

from dagcelery import Retry, current, dag, task, when
from dagcelery.client import lifecycle
from dagcelery.client.following import end_if_late
from dagcelery.engine.worker_loop import Engine
from dagcelery.errors import NodeFailed
from dagcelery.store.keys import Keys
from dagcelery.worker.signals import Announcer, OwnMessages
from unit.engine import flows
from unit.engine.worlds import World, celery_app

DAY = 86400.0


@pytest.fixture
def world(caplog: pytest.LogCaptureFixture) -> World:
    caplog.set_level(logging.INFO, "dagcelery")
    return World(listener=Announcer(celery_app()))


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, Any]]:
    """Level, action and node of what dagcelery logged (other libraries' threads may log at the same time)."""
    own = [record for record in caplog.records if record.name.split(".")[0] == "dagcelery"]
    return [(record.levelname, vars(record)["action"], vars(record).get("node")) for record in own]


def test_a_failure_is_an_error_with_its_traceback(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(NodeFailed):
        world.run(flows.fail_on, x=1, bad=1)
    assert lines(caplog) == [("ERROR", "failed", "fail_on"), ("INFO", "run_ended", None)]
    failed = caplog.records[0]
    assert "raise ValueError" in (caplog.handler.format(failed))
    about = {name: vars(failed)[name] for name in ("dag", "item", "index", "attempt", "queue")}
    expected = {"dag": "unit.engine.flows:fail_on", "item": None, "index": None, "attempt": 1, "queue": "celery"}
    assert about == expected
    assert vars(failed)["run"] in failed.getMessage()
    assert vars(caplog.records[1])["state"] == "failed"


@task(retry=Retry(3, wait=0))
def third_time() -> int:
    if current().attempt < 3:
        raise ValueError("not yet")
    return current().attempt


def test_a_retry_is_a_warning_that_says_when_and_which_attempt_is_next(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    assert world.run(third_time) == 3
    assert lines(caplog) == [
        ("WARNING", "retried", "third_time"),
        ("WARNING", "retried", "third_time"),
        ("INFO", "node_done", "third_time"),
        ("INFO", "run_ended", None),
    ]
    assert "failed in attempt 1 (ValueError: not yet); attempt 2 is due in 0.0 s" in caplog.records[0].getMessage()


@task(on_item_failure="skip")
def odd_only(x: int) -> int:
    if x % 2 == 0:
        raise ValueError
    return x


@dag
def odds(n: int) -> list[int]:
    return [odd_only(x) for x in flows.numbers(n)]


def test_a_fan_out_is_one_line_with_its_counts(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.run(odds, n=5)
    assert lines(caplog) == [
        ("INFO", "node_done", "numbers"),
        *[("WARNING", "skipped", f"odd_only[{n}]") for n in (0, 2, 4)],
        ("INFO", "node_done", "odd_only"),
        ("INFO", "run_ended", None),
    ]
    assert "5 items, 3 left out" in caplog.text
    assert [vars(record)["item"] for record in caplog.records[1:4]] == [0, 2, 4]


@dag
def inner(x: int) -> int:
    return flows.add(flows.square(x), 1)


@dag
def nested(n: int) -> int:
    return flows.total([inner(x) for x in flows.numbers(n)])


@task(dynamic=True)
def grows(n: int) -> Any:
    return flows.total([flows.square(x) for x in range(n)])


@dag
def branching(n: int) -> int:
    return when(flows.square(n), then=lambda: flows.add(n, 1), otherwise=lambda: flows.add(n, 2))


@pytest.mark.parametrize(
    ("node", "nodes"),
    [
        (nested, ["inner", "numbers", "total"]),
        (grows, ["grows", "grows/square-1", "grows/square-2", "grows/square-3", "grows/total"]),
        (branching, ["square", "when/then/add"]),
    ],
    ids=["mapped", "grown", "branch"],
)
def test_each_node_is_told_once_and_no_item(
    world: World, caplog: pytest.LogCaptureFixture, node: Any, nodes: list[str]
) -> None:
    world.run(node, n=3)
    told = sorted(found for _, action, found in lines(caplog) if action == "node_done")
    assert told == sorted(set(told)), "each once"
    assert not [found for found in told if "[" in found]
    assert set(nodes) - {"grows/square-1", "grows/square-2", "grows/square-3"} <= set(told)


def test_what_is_inside_of_items_is_told_at_debug(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "dagcelery")
    world.run(nested, n=2)
    found = sorted(node for level, _, node in lines(caplog) if level == "DEBUG")
    assert found == ["inner[0]/add", "inner[0]/square", "inner[1]/add", "inner[1]/square"]


def engine_of(world: World) -> Engine:
    return world.workers[0]


def test_whoever_ends_a_run_says_so_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    cancelled = world.submit(flows.map_reduce, n=3)
    assert lifecycle.cancel(engine_of(world), cancelled, "enough", terminate=False) == "cancelled"
    assert lifecycle.cancel(engine_of(world), cancelled, "again", terminate=False) == "cancelled"
    world.settle()
    assert lines(caplog) == [("INFO", "run_ended", None)]
    assert f"run {cancelled} of unit.engine.flows:map_reduce ended as cancelled" in caplog.text
    caplog.clear()
    late = world.submit(flows.map_reduce, n=3)
    world.store.server.client.hset(Keys().run(late), "deadline", str(time.time() - DAY))
    end_if_late(engine_of(world), late)
    end_if_late(engine_of(world), late)
    assert lines(caplog) == [("INFO", "run_ended", None)]
    assert "ended as timed out" in caplog.text


def test_no_line_shows_an_argument(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "dagcelery")
    world.run(flows.echo, x="a secret")
    assert "a secret" not in caplog.text


def test_in_process_nothing_is_logged_that_invoke_raises(caplog: pytest.LogCaptureFixture) -> None:
    from dagcelery import invoke

    with pytest.raises(NodeFailed):
        invoke(flows.fail_on, {"x": 1, "bad": 1})
    assert lines(caplog) == []


@pytest.mark.parametrize(
    ("name", "level", "shown", "becomes"),
    [
        ("dagcelery.work", logging.INFO, logging.INFO, None),
        ("dagcelery.link", logging.INFO, logging.DEBUG, "DEBUG"),
        ("dagcelery.work", logging.ERROR, logging.INFO, "ERROR"),
        ("their.task", logging.INFO, logging.INFO, "INFO"),
    ],
)
def test_only_celery_s_lines_on_our_messages_are_lowered(
    name: str, level: int, shown: int, becomes: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("tests.of.lowering")
    filtering = OwnMessages()
    logger.addFilter(filtering)
    caplog.set_level(shown, logger.name)
    about = {"name": name, "id": "1"}
    logger.log(level, "Task %(name)s[%(id)s] received", about, extra={"data": about})
    logger.info("a line of another kind")
    logger.removeFilter(filtering)
    assert [record.levelname for record in caplog.records[:-1]] == ([] if becomes is None else [becomes])
