"""A user's module of tasks that fail, hang, die or wait, and leave a trace of each time that they were executed."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded

from dagcelery import Notice, Retry, Skipped, Timeout, current, dag, present, task
from dagcelery.hooks import mail


def trace(folder: str, word: object) -> int:
    """Leave a trace of an execution; answer how many there are of this word."""
    with open(Path(folder, "trace"), "a") as file:
        file.write(f"{word}\n")
    return traces(folder).count(str(word))


def traces(folder: str | Path) -> list[str]:
    """Every execution that left a trace, in order."""
    file = Path(folder, "trace")
    return file.read_text().splitlines() if file.exists() else []


def wait_for(folder: str, name: str) -> None:
    while not Path(folder, name).exists():
        time.sleep(0.005)


@task
def numbers(n: int) -> list[int]:
    return list(range(n))


@task
def tell(folder: str, x: Any, word: str) -> Any:
    """Hand on what is given, and leave a trace."""
    trace(folder, word)
    return x


# -- retries -----------------------------------------------------------------------------------
@task(retry=Retry(max_attempts=3, wait=0.01))
def third_time(folder: str) -> int:
    if trace(folder, "called") < 3:
        raise OSError("not yet")
    return current().attempt


@task(retry=Retry(max_attempts=3, wait=0.01))
def never(folder: str) -> None:
    raise OSError(f"no {trace(folder, 'called')}")


@task(retry=Retry(max_attempts=9, wait=0.01, on=OSError, give_up_on=PermissionError))
def gives_up(folder: str, kind: str) -> None:
    trace(folder, "called")
    raise {"named": PermissionError, "another": ValueError}[kind]("that is that")


@task(retry=Retry(max_attempts=2, wait=0.01))
def shaky(folder: str, x: int) -> int:
    if trace(folder, x) == 1 and x in (2, 5):
        raise OSError(x)
    return x


@dag
def shaky_items(folder: str, n: int) -> list[int]:
    return [shaky(folder, x) for x in numbers(n)]


@task(retry=Retry(max_attempts=2, wait=60))
def later(x: int) -> int:
    raise OSError(x)


@dag
def put_off(n: int) -> list[int]:
    return [later(x) for x in numbers(n)]


# -- partial success ---------------------------------------------------------------------------
@task(on_item_failure="skip")
def odd_only(x: int) -> int:
    if x % 2 == 0:
        raise ValueError(f"{x} is even")
    return x


@task(min_success=0.5)
def half(x: int, least: int) -> int:
    if x < least:
        raise ValueError(f"{x} is too small")
    return x


@task
def double(folder: str, x: int) -> int:
    trace(folder, x)
    return x * 2


@task
def described(xs: list[int | Skipped]) -> list[Any]:
    return [[x.address, x.type_name, x.message] if isinstance(x, Skipped) else x for x in xs]


@task
def lazily_described(xs: Sequence[int | Skipped]) -> list[Any]:
    return [x.address if isinstance(x, Skipped) else x for x in xs]


@dag(on_item_failure="skip")
def odd_row(folder: str, x: int) -> dict[str, Any]:
    beside = [double(folder, y) for y in numbers(x)]
    return {"beside": beside, "odd": double(folder, odd_only.options(on_item_failure="fail")(x))}


@dag
def odd_rows(folder: str, n: int) -> list[Any]:
    rows = [odd_row(folder, x) for x in numbers(n)]
    return [described(rows), present(rows)]


@dag
def odd_ones(folder: str, n: int) -> dict[str, Any]:
    found = [odd_only(x) for x in numbers(n)]
    return {"all": described(found), "lazy": lazily_described(found), "doubled": [double(folder, x) for x in found]}


@dag
def enough(n: int, least: int) -> list[Any]:
    return described([half(x, least) for x in numbers(n)])


@dag(fail_fast=False)
def independent(folder: str) -> list[Any]:
    return [tell(folder, broken(), "after"), tell(folder, tell(folder, 1, "beside"), "behind it")]


@task
def broken() -> int:
    raise ValueError("broken")


# -- time limits -------------------------------------------------------------------------------
@task(timeout=Timeout(soft=0.05, hard=30))
def tidies_up(folder: str) -> str:
    try:
        time.sleep(30)
    except SoftTimeLimitExceeded:
        return "tidied up"
    return "slept"


@task(timeout=Timeout(soft=0.05))
def sleepy(folder: str) -> None:
    trace(folder, os.getpid())
    time.sleep(30)


@task(timeout=0.2)
def too_slow(folder: str) -> None:
    trace(folder, os.getpid())
    time.sleep(30)


@task(timeout=0.2)
def deaf(folder: str) -> None:
    """One call that does not return to Python, and keeps every other thread of its process from running."""
    trace(folder, os.getpid())
    re.match(r"(a+)+$", "a" * 60 + "b")


@task(timeout=0.2, retry=Retry(max_attempts=2, wait=0.01, on=TimeoutError))
def slow_at_first(folder: str) -> str:
    if trace(folder, "called") == 1:
        time.sleep(30)
    return "in time"


@task(timeout=0.2)
def slow_item(folder: str, x: int) -> int:
    if x == 3:
        time.sleep(30)
    return x


@dag(fail_fast=False)
def slow_among(folder: str, n: int) -> list[int]:
    return [slow_item(folder, x) for x in numbers(n)]


@task(queue="nobody", start_within=0.2)
def unserved() -> None:
    return None


@task(queue="solo", start_within=0.3)
def queued(folder: str) -> None:
    trace(folder, "queued")


@task(queue="solo")
def blocks(folder: str) -> None:
    wait_for(folder, "go")


@dag
def busy(folder: str) -> list[Any]:
    return [blocks(folder), queued(folder)]


# -- deaths ------------------------------------------------------------------------------------
@task
def leaves(folder: str) -> None:
    trace(folder, "called")
    os._exit(1)


@task
def fatal(folder: str, x: int) -> int:
    if x == 5:
        trace(folder, "died")
        os.kill(os.getpid(), signal.SIGKILL)
    return x


@dag(fail_fast=False)
def fatal_among(folder: str, n: int) -> list[int]:
    return [fatal(folder, x) for x in numbers(n)]


# -- cancel and resume -------------------------------------------------------------------------
@task
def held(folder: str, x: int) -> int:
    trace(folder, x)
    wait_for(folder, "go")
    return x


@dag
def held_items(folder: str, n: int) -> list[int]:
    return tell(folder, [held(folder, x) for x in numbers(n)], "last")


@task
def stuck(folder: str) -> None:
    trace(folder, os.getpid())
    time.sleep(60)


@task
def fixable(folder: str, x: int) -> int:
    trace(folder, x)
    if x == 3 and not Path(folder, "fixed").exists():
        raise ValueError("not fixed")
    return x * x


@dag
def journey(folder: str, n: int) -> int:
    xs = tell(folder, numbers(n), "first")
    return tell(folder, [fixable(folder, x) for x in xs], "last")


@dag(fail_fast=False)
def whole_journey(folder: str, n: int) -> int:
    return tell(folder, [fixable(folder, x) for x in tell(folder, numbers(n), "first")], "last")


@dag
def inner(folder: str, x: int) -> int:
    return fixable(folder, tell(folder, x, "inner"))


@dag(fail_fast=False)
def nested_journey(folder: str, n: int) -> list[int]:
    return [inner(folder, x) for x in numbers(n)]


@task(retry=Retry(max_attempts=2, wait=0.01))
def twice(folder: str) -> str:
    trace(folder, "called")
    if not Path(folder, "fixed").exists():
        raise ValueError("not fixed")
    return "fixed"


@dag
def changeable(folder: str) -> int:
    return fixable(folder, 3)


# -- hooks -------------------------------------------------------------------------------------
def ended(notice: Notice) -> None:
    """Write what a hook is told to where the workers' environment says."""
    with open(os.environ["NOTICES"], "a") as file:
        error = notice.error.partition(":")[0]
        file.write(f"{notice.run_id} {notice.state} {notice.epoch} {notice.address or '-'} {error or '-'}\n")


def bad_hook(notice: Notice) -> None:
    ended(notice)
    raise RuntimeError("a hook that fails")


@dag(on_success=ended, on_failure=ended)
def noticed(folder: str) -> int:
    return fixable(folder, 3)


@dag(on_success=bad_hook)
def badly_noticed(folder: str) -> int:
    return tell(folder, 1, "done")


@dag(on_failure=mail(to="ops@example.com"))
def mailed(folder: str) -> int:
    return fixable(folder, 3)


@dag(on_success=ended, on_failure=ended)
def held_and_noticed(folder: str) -> int:
    return held(folder, 1)


@task(timeout=1, on_item_failure="skip")
def perilous(x: int) -> int:
    if x == 1:
        time.sleep(30)
    if x == 4:
        os._exit(3)
    return x


@dag
def survivors(n: int) -> list[Any]:
    return described([perilous(x) for x in numbers(n)])


# -- servers that stand in for each other ------------------------------------------------------
@task
def stamped(folder: str, x: int) -> int:
    trace(folder, f"{x} {time.time():.3f}")
    time.sleep(0.03)
    return x


@dag
def stamped_items(folder: str, n: int) -> list[int]:
    return [stamped(folder, x) for x in numbers(n)]
