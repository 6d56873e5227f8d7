"""Tracebacks of users' mistakes, which end at the user's own line: frames of dagcelery below it are removed."""

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
    """Remove our own frames from errors that a block raises, unless they are our mistake, and causes with no others.

    `contextlib` is not used, since it would add frames of its own to the traceback.
    """

    __slots__ = ()

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, Exception):
            _shorten(error)


def shortened(function: Callable[P, R]) -> Callable[P, R]:
    """Shorten the errors that a function raises, as `Shortened` does."""

    @functools.wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        with Shortened():
            return function(*args, **kwargs)

    return inner


def _shorten(error: Exception) -> None:
    theirs, ends_in_theirs = _without_ours(error.__traceback__)
    if ends_in_theirs or isinstance(error, DagceleryError):
        error.__traceback__ = theirs
    cause, has_frames = error.__cause__, False
    if cause is not None and cause is not error:
        theirs, _ = _without_ours(cause.__traceback__)
        cause.__traceback__, has_frames = theirs or cause.__traceback__, theirs is not None
    if isinstance(error, InvalidDag | InvalidParameters) and not has_frames:
        error.__cause__ = None
        error.__suppress_context__ = True


def _without_ours(traceback: TracebackType | None) -> tuple[TracebackType | None, bool]:
    """Return a traceback without our frames and their calls of Python's library, and whether it keeps the last one."""
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
