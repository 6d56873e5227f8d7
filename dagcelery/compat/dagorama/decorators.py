"""`dagorama.decorators`: methods of a definition that workers execute."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction
from typing import Any, Final, ParamSpec, TypeVar, cast, overload

from dagcelery.compat.dagorama.retry import RetryConfiguration
from dagcelery.errors import InvalidDag
from dagcelery.frontends.functional import TaskFunction
from dagcelery.model import TaskOptions

__all__ = ["dagorama"]

P = ParamSpec("P")
T = TypeVar("T")

QUEUES: Final[dict[str, None]] = {}
"""The queues that decorators of this process named: workers that are told none consume them all."""


class Node(TaskFunction[P, T]):
    """A decorated method. With ``greedy_execution=True`` each call executes the method itself, at once."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        if kwargs.pop("greedy_execution", False):
            return cast(Callable[..., T], self._fn)(*self._bound, *args, **kwargs)
        return super().__call__(*args, **kwargs)


class Decorator:
    """The decorator that ``dagorama(...)`` returns; its methods decorate only async functions, or only others."""

    def __init__(self, options: TaskOptions) -> None:
        self._options = options

    def __call__(self, func: Callable[P, T]) -> TaskFunction[P, T]:
        """Decorate a function, async or not."""
        return Node(func, self._options)

    def syncfn(self, func: Callable[P, T]) -> TaskFunction[P, T]:
        """Decorate a function that is not async.

        Raises InvalidDag, which is a ValueError.
        """
        if iscoroutinefunction(func):
            raise InvalidDag(f"{func.__qualname__}", "is async", "dagorama().asyncfn is required for async functions")
        return self(func)

    def asyncfn(self, func: Callable[P, Awaitable[T]]) -> TaskFunction[P, Awaitable[T]]:
        """Decorate an async function.

        Raises InvalidDag, which is a ValueError.
        """
        if not iscoroutinefunction(func):
            raise InvalidDag(f"{func!r}", "is not async", "dagorama().syncfn is required for sync functions")
        return self(func)


@overload
def dagorama(func: Callable[P, T], /) -> TaskFunction[P, T]: ...
@overload
def dagorama(
    queue_name: str | None = None, taint_name: str | None = None, retry: RetryConfiguration | None = None
) -> Decorator: ...
def dagorama(queue_name: Any = None, taint_name: str | None = None, retry: RetryConfiguration | None = None) -> Any:
    """Decorate a method, as ``@dagorama``, ``@dagorama()`` or ``@dagorama(taint_name="GPU").syncfn``.

    `queue_name` is the queue that it waits on, `taint_name` keeps it to workers that tolerate it: either, not both.

    Raises InvalidDag, which is a ValueError.
    """
    if callable(queue_name):
        return Decorator(TaskOptions())(queue_name)
    if retry is not None and not isinstance(retry, RetryConfiguration):
        raise InvalidDag(f"retry={retry!r}", "does not say how to try again", "give StaticRetry(3, interval=1), say")
    taints = () if taint_name is None else (taint_name,)
    options = TaskOptions(taints, queue_name, retry=None if retry is None else retry.as_retry())
    if queue_name is not None:
        QUEUES[queue_name] = None
    return Decorator(options)
