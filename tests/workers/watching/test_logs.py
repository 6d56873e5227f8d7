"""What tasks print and log on workers is kept with the run, whichever logger they use."""

from __future__ import annotations

import logging
from contextlib import suppress

from celery.utils.log import get_task_logger

from dagcelery import dag, errors, submit, task

from .conftest import SECONDS


@task
def numbers(n: int) -> list[int]:
    print("printed")
    logging.getLogger("shop").warning("logged")
    get_task_logger("shop.tasks").warning("logged as a task of Celery")
    return list(range(n))


@task
def check(x: int) -> int:
    print(f"item {x}")
    if x == 2:
        raise ValueError("two")
    return x


@task(sensitive=["password"])
def secretly(password: str) -> None:
    print(password)


@dag
def talks(n: int) -> list[int]:
    secretly("s3cret")
    return [check(x) for x in numbers(n)]


def test_lines_of_a_worker_are_kept_once_each_with_the_piece_that_wrote_them() -> None:
    run = submit(talks, {"n": 3})
    with suppress(errors.NodeFailed):
        run.result(SECONDS)
    run.resume()
    with suppress(errors.NodeFailed):
        run.result(SECONDS)
    lines = [line.partition("Z ")[2] for line in run.node("numbers").log()]
    assert lines == [
        "WARNING celery.redirected: printed",
        "WARNING shop: logged",
        "WARNING shop.tasks: logged as a task of Celery",
    ]
    assert [line.rpartition(": ")[2] for line in run.node("check[2]").log()] == ["item 2", "item 2"]
    assert [(each.address, each.attempt) for each in run.logs() if each.address == "check[2]"] == [
        ("check[2]", 1),
        ("check[2]", 2),
    ]
    assert "s3cret" not in str(run.logs())
