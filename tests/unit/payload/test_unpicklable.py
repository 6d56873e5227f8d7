"""What cannot travel with a function is named, and how the function gets to it."""

from __future__ import annotations

import functools
import threading
import types
from collections.abc import Callable
from typing import Any

import pytest

from dagcelery import task
from dagcelery.errors import SerializationError
from dagcelery.payload.functions import pickled
from dagcelery.planner.encoding import encode_plan

SCRIPT = """
import threading
from dagcelery import task

LOCK = threading.Lock()

class Pool:
    def __init__(self): self.held = {"a": [LOCK]}
    def call(self, x): return x

pool = Pool()

def helper(): return LOCK
def again(n): return again(n - 1) if n else LOCK
def fine(x): return x
def direct(x): return LOCK
def through(x): return helper()
def nested(x): return [helper() for _ in range(x)]
def default(x, lock=LOCK): return lock
def by_name(x, *, lock=LOCK): return lock
def of_object(x): return pool.call(x)

@task
def inner(x): return LOCK

def of_task(x): return inner(x)

def captured():
    mine = threading.Lock()
    return lambda x: mine
"""
SHELL = types.ModuleType("__shell__")
exec(SCRIPT, SHELL.__dict__)
LOCK = "of type _thread.lock: TypeError: cannot pickle '_thread.lock' object"


@pytest.mark.parametrize(
    ("function", "way"),
    [
        (SHELL.direct, "with its global 'LOCK' "),
        (SHELL.through, "with its global 'helper', global 'LOCK' "),
        (SHELL.nested, "with its global 'helper', global 'LOCK' "),
        (SHELL.again, "with its global 'LOCK' "),
        (SHELL.default, "with its default of 'lock' "),
        (SHELL.by_name, "with its default of 'lock' "),
        (SHELL.of_object, "with its global 'pool', attribute 'held', key 'a', element 0 "),
        (SHELL.pool.call, "with its object, attribute 'held', key 'a', element 0 "),
        (SHELL.of_task, "with its global 'inner', attribute '__wrapped__', global 'LOCK' "),
        (SHELL.captured(), "with its variable 'mine' "),
        (functools.partial(SHELL.fine, threading.Lock()), "with its argument 0 "),
        (functools.partial(SHELL.through, x=1), "with its function, global 'helper', global 'LOCK' "),
    ],
)
def test_it_is_named(function: Callable[..., Any], way: str) -> None:
    with pytest.raises(SerializationError) as refused:
        pickled(function)

    assert f"cannot travel by value {way}{LOCK}" in str(refused.value)


def test_it_is_named_where_a_run_is_submitted() -> None:
    from dagcelery.payload.signing import Keyring
    from dagcelery.planner.compile import plan

    made = plan(task(SHELL.through).__dag__())

    with pytest.raises(SerializationError, match=r"function through: .*global 'helper', global 'LOCK'"):
        encode_plan(made, signed=Keyring(["key"]).signed)


def test_what_cannot_be_told_is_left_out() -> None:
    class Odd:
        def __reduce__(self) -> Any:
            raise LookupError("odd")

    def function() -> Any:
        return Odd

    Odd.itself = Odd()  # type: ignore[attr-defined]
    with pytest.raises(SerializationError, match=r"function .*function: cannot travel by value.*LookupError: odd"):
        pickled(function)
