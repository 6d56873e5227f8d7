"""Both sides of a time limit hold in this process; a limit that nobody could keep is refused where it is written."""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from dagcelery import Cache, Retry, Timeout, dag, exponential, invoke, static, submit, task
from dagcelery.engine.attempts import Limit, limited
from dagcelery.engine.interrupts import run_in
from dagcelery.errors import DagceleryError, NodeFailed
from dagcelery.errors import TimeLimitExceeded as HardLimit
from dagcelery.model.options import MOST_SECONDS
from dagcelery.worker.process import CeleryProcess

seen: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    seen.clear()


def spin() -> None:
    while True:
        time.sleep(0.001)


@task(timeout=Timeout(soft=0.02, hard=0.06))
def stubborn() -> None:
    try:
        spin()
    except SoftTimeLimitExceeded:
        seen.append("soft")
        spin()


@task(timeout=Timeout(soft=0.02, hard=30))
def gives_in() -> str:
    try:
        spin()
    except SoftTimeLimitExceeded:
        return "so far"
    return "all"


@dag
def all_stubborn(xs: list[int]) -> list[Any]:
    return [stubborn_item(x) for x in xs]


@task(timeout=Timeout(soft=0.02, hard=0.06))
def stubborn_item(x: int) -> int:
    if x == 1:
        stubborn.fn()
    return x


def test_the_hard_limit_stands_behind_the_soft_one() -> None:
    for node, params, address in ((stubborn, {}, "stubborn"), (all_stubborn, {"xs": [0, 1]}, "stubborn_item[1]")):
        with pytest.raises(NodeFailed) as found:
            invoke(node, params)
        assert (found.value.address, found.value.type_name) == (address, "dagcelery.errors.TimeLimitExceeded")
    assert seen == ["soft", "soft"]
    assert invoke(gives_in) == "so far"


@pytest.mark.parametrize(
    ("soft", "hard", "expected"),
    [(0.01, None, SoftTimeLimitExceeded), (None, 0.01, HardLimit), (0.01, 60, SoftTimeLimitExceeded)],
)
def test_either_side_may_stand_alone(soft: float | None, hard: float | None, expected: type[Exception]) -> None:
    run_in(CeleryProcess())
    with pytest.raises(expected), limited(Limit(soft, hard)):
        spin()


def test_a_limit_within_a_limit_leaves_the_outer_one_in_force() -> None:
    def leave_another() -> None:
        with limited(Limit(None, 30)):
            pass
        spin()

    with pytest.raises(HardLimit) as found, limited(Limit(None, 0.05)):
        leave_another()
    assert found.value.seconds == 0.05


@task
def within() -> str:
    return invoke(gives_in)


def test_a_run_within_a_limited_piece_has_limits_of_its_own() -> None:
    outer = task(timeout=Timeout(hard=0.1))(lambda: [within.fn(), spin()])

    with pytest.raises(NodeFailed, match="TimeLimitExceeded"):
        invoke(outer)


@pytest.mark.parametrize("seconds", [1e-9, 5e-324, MOST_SECONDS])
def test_the_shortest_and_the_longest_limits_can_be_kept(seconds: float) -> None:
    before = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)[0] > 0
    node = task(timeout=Timeout(hard=seconds))(lambda: sum(range(100_000)))
    if seconds == MOST_SECONDS:
        assert invoke(node) == sum(range(100_000))
    else:
        with pytest.raises(NodeFailed, match="TimeLimitExceeded"):
            invoke(node)
    assert before == (signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)[0] > 0)
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(Timeout(soft=seconds)))
    thread.start()
    thread.join()
    assert found == [Timeout(soft=seconds)]


TOO_MUCH = [10**12, MOST_SECONDS + 1, sys.float_info.max, 10**400, math.inf, -math.inf, math.nan, -1, True, "5", None]


WRITTEN: dict[str, Callable[[Any], Any]] = {
    "hard": lambda value: Timeout(hard=value),
    "soft": lambda value: Timeout(soft=value),
    "timeout": lambda value: task(timeout=[value])(max),
    "start_within": lambda value: task(start_within=[value])(max),
    "deadline": lambda value: dag(deadline=[value])(lambda: None),
    "static": lambda value: static(value),
    "base": lambda value: exponential(base=value, maximum=value),
    "maximum": lambda value: exponential(maximum=value),
    "wait": lambda value: Retry(wait=value),
    "ttl": lambda value: Cache(ttl=value),
    "submitted": lambda value: submit(gives_in, {}, deadline=[value]),
}


@pytest.mark.parametrize("value", TOO_MUCH, ids=lambda value: str(value)[:12])
@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
def test_a_time_that_is_none_is_refused_where_it_is_written(written: Callable[[Any], Any], value: Any) -> None:
    with pytest.raises(DagceleryError):
        written(value)


@pytest.mark.parametrize("name", ["timeout", "start_within"])
@pytest.mark.parametrize("value", [10**12, math.inf, math.nan, -1, True])
def test_options_of_tasks_are_refused_as_well(name: str, value: Any) -> None:
    with pytest.raises(DagceleryError, match=name):
        task(**{name: value})(lambda: None)
    with pytest.raises(DagceleryError, match="deadline"):
        dag(deadline=value)(lambda: None).__dag__()


@pytest.mark.parametrize(
    "raised", ["exit(3)", "raise KeyboardInterrupt", "raise GeneratorExit", "raise ValueError('x')"]
)
def test_a_module_that_cannot_be_imported_is_named(
    raised: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from .worlds import World

    name = f"leaving_{abs(hash(raised))}"
    path = tmp_path / f"{name}.py"
    path.write_text("from dagcelery import task\n\n@task\ndef leaves() -> int:\n    return 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = __import__(name)
    world = World(workers=1)
    run_id = world.submit(module.leaves)
    path.write_text(f"{raised}\n" + " " * 300)
    monkeypatch.delitem(sys.modules, name)
    world.workers = [world.engine("worker-new")]
    world.settle()
    assert f"node 'leaves' of run {run_id} was refused" in caplog.text
    assert f"importing {name} raised" in caplog.text
