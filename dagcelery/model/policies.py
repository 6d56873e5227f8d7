"""Policies say what happens where a task fails or takes too long: values, valid once they exist."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeGuard

from dagcelery.errors import InvalidDag
from dagcelery.model.reprs import constructor_repr
from dagcelery.text import shown

MOST_ATTEMPTS: Final = 1000
MOST_SECONDS: Final = 10 * 365 * 86400
"""The longest time that an option may say: the kernel's timers and threads take no time at will."""
CACHED_BYTES: Final = 16 * 1024 * 1024

Errors: TypeAlias = type[BaseException] | tuple[type[BaseException], ...]


def check_seconds(name: str, value: object, *, zero: bool = False) -> float:
    """Return `value` if it is a time in seconds, up to ten years, `zero` if that may be none."""
    if is_number(value) and (0 < value <= MOST_SECONDS or (zero and value == 0)):
        return float(value)
    if is_number(value) and MOST_SECONDS < value <= sys.float_info.max:
        raise InvalidDag(f"{name}={shown(value)}", "is more than ten years", f"give at most {MOST_SECONDS:,} seconds")
    raise InvalidDag(
        f"{name}={shown(value)}", "is not a time", f"give seconds, {'0 or more' if zero else 'more than 0'}"
    )


def check_count(name: str, value: object, most: int | None = None) -> int:
    """Return `value` if it is a whole number from 1 to `most`."""
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= (most or value):
        return value
    right = f"give a whole number, 1 {f'to {most:,}' if most else 'or more'}"
    what = "bytes" if name.endswith("_bytes") else "times"
    raise InvalidDag(f"{name}={shown(value)}", f"is not a number of {what}", right)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether `value` is a number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class Wait:
    """How long a piece that failed waits: `base` seconds, and each time `factor` times as long, up to `maximum`.

    `jitter` varies every wait at random, so that what failed together does not come back together.
    """

    base: float
    factor: float
    maximum: float
    jitter: bool

    def __post_init__(self) -> None:
        for name in ("base", "maximum"):
            object.__setattr__(self, name, check_seconds(name, getattr(self, name), zero=True))
        if not is_number(self.factor) or not 1 <= self.factor <= sys.float_info.max:
            raise InvalidDag(f"factor={shown(self.factor)}", "makes no wait longer", "give a number, 1 or more")
        object.__setattr__(self, "factor", float(self.factor))
        if not isinstance(self.jitter, bool):
            raise InvalidDag(f"jitter={shown(self.jitter)}", "is neither true nor false", "give True or False")
        if self.base > self.maximum:
            wrong = f"is longer than maximum={shown(self.maximum)}"
            raise InvalidDag(
                f"base={shown(self.base)}", wrong, "give a maximum that is not below it, or static(seconds)"
            )


def exponential(base: float = 1.0, maximum: float = 60.0, factor: float = 2.0, jitter: bool = True) -> Wait:
    """Return waits of `base` seconds, then each `factor` times as long as the one before, up to `maximum`."""
    return Wait(base, factor, maximum, jitter)


def static(seconds: float) -> Wait:
    """Return waits that are all `seconds` long; 0 tries again at once."""
    seconds = check_seconds("wait", seconds, zero=True)
    return Wait(seconds, 1.0, seconds, jitter=False)


@dataclass(frozen=True, slots=True, init=False)
class Retry:
    """How often a function that raised is called again, after which waits and which errors.

    `max_attempts` counts the calls of the function that may happen in all: 3 means at most 3 calls, of which 2
    come after an error. A call that was cut off by the death of its worker is counted apart. `wait` is what
    `exponential(...)` or `static(...)` return, and a plain number means `static`. Errors of the classes `on`, and
    of those derived from them, are followed by another call, but for those of `give_up_on`. Classes are compared by
    module and name. A hard time limit counts as a TimeoutError and as Celery's TimeLimitExceeded.
    """

    max_attempts: int
    wait: Wait
    on: tuple[type[BaseException], ...]
    give_up_on: tuple[type[BaseException], ...]

    __repr__ = constructor_repr

    def __init__(
        self,
        max_attempts: int = 3,
        wait: Wait | float = exponential(),  # noqa: B008 - a frozen value
        on: Errors = (Exception,),
        give_up_on: Errors = (),
    ) -> None:
        values = {
            "max_attempts": check_count("max_attempts", max_attempts, MOST_ATTEMPTS),
            "wait": wait if isinstance(wait, Wait) else static(wait),
            "on": _classes("on", on),
            "give_up_on": _classes("give_up_on", give_up_on),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        if not self.on:
            raise InvalidDag("on=()", "names no error, so nothing is ever tried again", "leave it out, or name some")
        for kind in self.on:
            if issubclass(kind, self.give_up_on):
                wrong = "is named by give_up_on as well, itself or a class that it is derived from"
                raise InvalidDag(f"on={kind.__qualname__}", wrong, "name each error in one of them")


@dataclass(frozen=True, slots=True)
class Timeout:
    """How many seconds one call may take.

    After `soft` seconds Celery's SoftTimeLimitExceeded is raised in the function, which may clean up; after
    `hard` seconds its process is ended.
    """

    soft: float | None = None
    hard: float | None = None

    __repr__ = constructor_repr

    def __post_init__(self) -> None:
        for name in ("soft", "hard"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, check_seconds(name, getattr(self, name)))
        if self.soft is None and self.hard is None:
            raise InvalidDag("Timeout()", "sets no limit", "give soft=, hard= or both, in seconds")
        if self.soft is not None and self.hard is not None and self.soft >= self.hard:
            wrong = f"leaves no time before hard={shown(self.hard)}"
            raise InvalidDag(f"soft={shown(self.soft)}", wrong, "give a soft limit that is shorter than the hard one")


@dataclass(frozen=True, slots=True)
class Cache:
    """How long results of a task are kept for other calls, of any run, that would give the same.

    For `ttl` seconds a call is answered with the result of an earlier one if the function's code and all arguments are
    the same; of a fan-out item by item. `key` takes the arguments' place: a text, or a function that is called like
    the task and returns one. Results of more than `max_bytes` are not kept. What the function calls, and what it reads
    elsewhere, does not count: a new key does. Objects count with their data and the code of their class. A call that is
    given code, such as a function, a class or a task, however deep in its arguments, is always made.
    """

    ttl: float
    key: str | Callable[..., str] | None = None
    max_bytes: int = CACHED_BYTES

    __repr__ = constructor_repr

    def __post_init__(self) -> None:
        object.__setattr__(self, "ttl", check_seconds("ttl", self.ttl))
        if self.key is not None and not callable(self.key) and not (isinstance(self.key, str) and self.key):
            wrong, right = "is neither a text nor a function that gives one", "give 'v2', or lambda url: url"
            raise InvalidDag(f"key={shown(self.key)}", wrong, right)
        check_count("max_bytes", self.max_bytes)


def as_timeout(timeout: Timeout | float | None) -> Timeout | None:
    """Return limits as a `Timeout`: a plain number is a hard one."""
    if timeout is None or isinstance(timeout, Timeout):
        return timeout
    return Timeout(hard=check_seconds("timeout", timeout))


def _classes(name: str, given: object) -> tuple[type[BaseException], ...]:
    classes = given if isinstance(given, tuple) else (given,)
    for kind in classes:
        if not isinstance(kind, type) or not issubclass(kind, BaseException):
            wrong = "is not an exception class"
            raise InvalidDag(f"{name}={shown(kind)}", wrong, "give a class such as OSError, or a tuple of them")
    return tuple(dict.fromkeys(classes))
