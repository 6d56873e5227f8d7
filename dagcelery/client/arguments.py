"""What is said of arguments that make no sense, before anything is asked of the store."""

from __future__ import annotations

import math
import re
from typing import Final, get_args

from dagcelery.engine.pieces import is_executing
from dagcelery.errors import InvalidParameters, NotConfigured
from dagcelery.model.options import MOST_SECONDS, IfFailed, is_number
from dagcelery.text import choices, shown

_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def check_wait(verb: str, timeout: object) -> None:
    """Refuse a time that cannot be waited for, and to wait inside a task."""
    if is_executing():
        raise NotConfigured(
            f"{verb} was called inside a task",
            "a task that waits for a run blocks the process that could execute it; take the output as an argument",
        )
    if timeout is not None and not (is_number(timeout) and 0 <= timeout <= math.inf):
        raise InvalidParameters(f"timeout={shown(timeout)}", "is not a time", "give seconds, or None to wait for ever")


def check_text(culprit: str, text: object, remedy: str) -> None:
    """Refuse what is not a text, and what the store could not hold, such as a byte of a shell's that is not UTF-8."""
    if not isinstance(text, str):
        raise InvalidParameters(culprit, "is not a str", remedy)
    if not text.isascii() and _SURROGATE.search(text):
        raise InvalidParameters(culprit, "has a lone surrogate, which UTF-8 cannot hold", remedy)


def check_key(key: object, if_failed: object) -> None:
    """Refuse a key that is none, and what is asked for of a key where there is none."""
    if key is not None and (not isinstance(key, str) or not key):
        raise InvalidParameters(f"key={shown(key)}", "is not a non-empty str", "give a str such as 'order-42'")
    if if_failed not in (answers := get_args(IfFailed)):
        problem = "does not say what a key gives whose run has failed"
        raise InvalidParameters(f"if_failed={shown(if_failed)}", problem, choices(if_failed, answers))
    if key is None and if_failed != "return":
        problem = "has no effect without a key: each submission starts a run"
        raise InvalidParameters(f"if_failed={shown(if_failed)}", problem, "give key= too, or leave if_failed= out")


def check_number(name: str, number: object) -> None:
    """Refuse what does not say how many."""
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise InvalidParameters(f"{name}={shown(number)}", "does not say how many", "give an int, at least 1")


def check_deadline(deadline: object) -> None:
    """Refuse a deadline that is no time."""
    if deadline is not None and not (is_number(deadline) and 0 < deadline <= MOST_SECONDS):
        raise InvalidParameters(f"deadline={shown(deadline)}", "is not a time", f"give seconds, up to {MOST_SECONDS:,}")
