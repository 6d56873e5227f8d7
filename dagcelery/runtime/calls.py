"""A user's function is called here: coroutines are run to their end, and an exit is an error like any other."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from types import CoroutineType
from typing import Any, NoReturn, Protocol

from dagcelery.payload import failures
from dagcelery.runtime import limits
from dagcelery.runtime.loops import finished
from dagcelery.runtime.pieces import Place, enter
from dagcelery.runtime.telling import tell, tell_apart


class Listener(Protocol):
    """Is told of the calls of one grant's pieces; `index` is -1 for a step that runs once."""

    def before(self, index: int) -> None:
        """A function is about to be called."""

    def after(self, index: int, error: BaseException | None) -> None:
        """A function has returned, or raised."""

    def failed(self, index: int, error: BaseException) -> None:
        """A piece has failed, be it for an error that `after` was told of."""

    def settled(self, state: str) -> None:
        """What the store said to a failure; told of pieces whose task may try again."""


class Teller:
    """Notifies a listener, whose own errors change nothing; each error is encoded before a listener can change it."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._sealed: tuple[BaseException, bytes] | None = None

    def before(self, index: int) -> None:
        """A function is about to be called, in this context."""
        tell(self._listener.before, index)

    def after(self, index: int, error: BaseException | None) -> None:
        """A function has returned, or raised, in this context."""
        if error is not None:
            self.text(error)
        tell(self._listener.after, index, error)

    def failed(self, index: int, error: BaseException) -> bytes:
        """A piece has failed; answers the error as text."""
        text = self.text(error)
        tell_apart(self._listener.failed, index, error)
        return text

    def text(self, error: BaseException) -> bytes:
        """An error as text, of the time when it was first seen."""
        if self._sealed is None or self._sealed[0] is not error:
            self._sealed = error, failures.encode(error)
        return self._sealed[1]


def heard(
    place: Place,
    teller: Teller | None,
    function: Callable[..., Any],
    arguments: dict[str, Any],
    limit: limits.Limit | None = None,
) -> Any:
    """`call` a function as a piece of this context, within its time limit, and notify listeners.

    Listeners take none of that time.
    """
    enter(place)
    if teller is None:
        return call(function, arguments) if limit is None else _limited(function, arguments, limit)
    teller.before(place[2])
    try:
        returned = call(function, arguments) if limit is None else _limited(function, arguments, limit)
    except BaseException as error:
        teller.after(place[2], error)
        raise
    teller.after(place[2], None)
    return returned


def _limited(function: Callable[..., Any], arguments: dict[str, Any], limit: limits.Limit) -> Any:
    with limits.limited(limit):
        return call(function, arguments)


class _Forks:
    """Identifies this process; a fork changes it. Asking the kernel would cost as much as a small call."""

    self = object()


def _forked() -> None:
    _Forks.self = object()


os.register_at_fork(after_in_child=_forked)


def call(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Call a function; a coroutine that it returns is run to its end.

    Where the function forks and the child returns as well, the child ends here: it holds no claim.
    """
    process = _Forks.self
    try:
        returned = function(**arguments)
        if type(returned) is CoroutineType:
            returned = finished(returned)
    except BaseException as error:
        if _Forks.self is not process:
            leave_child(error)
        raise
    if _Forks.self is not process:
        leave_child()
    return returned


def leave_child(error: BaseException | None = None) -> NoReturn:
    """End a child that a task forked, as Python would end it, but for what it has inherited: that is its parent's."""
    if isinstance(error, SystemExit):
        os._exit(error.code if isinstance(error.code, int) else int(error.code is not None))
    if error is not None:
        traceback.print_exception(error, file=sys.stderr)
        sys.stderr.flush()
    os._exit(int(error is not None))
