"""The traceback of a user's mistake ends at the user's own line: frames of dagcelery are cut off below it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final, ParamSpec, TypeVar

from dagcelery.errors import DagceleryError, InvalidDag, InvalidParameters

P = ParamSpec("P")

R = TypeVar("R")

_HERE: Final = f"{os.path.dirname(__file__)}{os.sep}"

_LIBRARY: Final = f"{os.path.dirname(os.__file__)}{os.sep}"


class Shortened:
    """Cut our own frames off errors that a block raises, unless they are our mistake, and drop causes with no others.

    `contextlib` is not used, since it would put frames of its own into the traceback.
    """

    __slots__ = ()

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, Exception):
            _shorten(error)


def shortened(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function that users call raise errors as `Shortened` leaves them."""

    @functools.wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        with Shortened():
            return function(*args, **kwargs)

    return inner


def _shorten(error: Exception) -> None:
    theirs, is_theirs = _without_ours(error.__traceback__)
    if is_theirs or isinstance(error, DagceleryError):
        error.__traceback__ = theirs
    cause = error.__cause__
    if cause is None or cause is error:
        is_told = False
    else:
        theirs, is_theirs = _without_ours(cause.__traceback__)
        cause.__traceback__, is_told = theirs or cause.__traceback__, theirs is not None
    if isinstance(error, InvalidDag | InvalidParameters) and not is_told:
        error.__cause__ = None
        error.__suppress_context__ = True


def _without_ours(traceback: TracebackType | None) -> tuple[TracebackType | None, bool]:
    """Return the frames that are not ours, nor of what ours called in Python's library; and whether the last is one."""
    kept, is_below_ours = [], False
    for each in _frames(traceback):
        file = each.tb_frame.f_code.co_filename
        is_below_ours = file.startswith(_HERE) or (is_below_ours and _is_of_python(file))
        if not is_below_ours:
            kept.append(each)
    shown = None
    for each in reversed(kept):
        shown = TracebackType(shown, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return shown, not is_below_ours


def _is_of_python(file: str) -> bool:
    # Code that dataclasses generate has no file; installed packages are in a folder of the standard library.
    return file == "<string>" or (file.startswith(_LIBRARY) and "site-packages" not in file)


def _frames(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next
