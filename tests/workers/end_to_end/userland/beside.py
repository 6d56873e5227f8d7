"""Tasks that fail, log, and leave in their context what the next ones must not find."""

from __future__ import annotations

import decimal
import logging
import threading
from contextvars import ContextVar
from typing import Any

import sentry_sdk
import structlog
from celery.utils.log import get_task_logger

from dagcelery import Retry, current, dag, task

SECRET = "4242-4242"
told: ContextVar[str] = ContextVar("told", default="")
alone = logging.getLogger("alone")
alone.addHandler(logging.StreamHandler())
alone.handlers[0].setFormatter(logging.Formatter("%(message)s of %(run)s, %(queue)s"))
alone.propagate = False


@task
def numbers(n: int) -> list[int]:
    return list(range(n))


@task
def breaks(x: int) -> int:
    raise ValueError(f"no {x}")


@task(retry=Retry(2, wait=0))
def flaky(last: int) -> int:
    if current().attempt < last:
        raise ConnectionError("not yet")
    return last


@task(on_item_failure="skip")
def odd(x: int) -> int:
    if x == 1:
        raise ValueError("left out")
    return x


@task(sensitive=True)
def charge(card: str) -> int:
    raise ValueError(f"refused {card}")


@task
def logs(x: int) -> int:
    for logger in (logging.getLogger("shop.orders"), get_task_logger(__name__), alone):
        logger.warning("item %d by %s", x, logger.name, extra={"queue": "theirs"} if logger is alone else None)
    return x


@task
def marks() -> int:
    sentry_sdk.set_tag("mark", "left")
    sentry_sdk.add_breadcrumb(message="a mark")
    return 1


@task
def reports(x: int) -> int:
    sentry_sdk.capture_message("reported")
    return x


met = threading.Barrier(2)


@task(queue="threads")
def meets(n: int) -> Any:
    """Change all kinds of context, while another item does so in another thread."""
    before = [told.get(), dict(structlog.contextvars.get_contextvars()), decimal.getcontext().prec]
    told.set(f"item {n}")
    structlog.contextvars.bind_contextvars(item=n)
    decimal.getcontext().prec = 5 + n
    met.wait(30)
    mine = [told.get(), structlog.contextvars.get_contextvars()["item"], decimal.getcontext().prec]
    met.wait(30)
    return [before, mine == [f"item {n}", n, 5 + n]]


@task(queue="threads")
def tells(n: int) -> Any:
    return [told.get(), dict(structlog.contextvars.get_contextvars()), decimal.getcontext().prec]


@dag
def each_breaks(n: int) -> list[int]:
    return [breaks(x) for x in numbers(n)]


@dag
def sieve(n: int) -> list[int]:
    return [odd(x) for x in numbers(n)]


@dag
def each_logs(n: int) -> list[int]:
    return [logs(x) for x in numbers(n)]


@dag
def marked() -> int:
    return reports(marks())


@dag
def meeting() -> Any:
    first, second = meets(1), meets(2)
    return [first, second, tells.after(first, second)(1)]
