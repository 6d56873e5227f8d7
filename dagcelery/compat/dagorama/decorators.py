"""`dagorama.decorators`: methods of a definition that workers execute."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from inspect import Parameter, iscoroutinefunction
from typing import Any, Final, ParamSpec, TypeVar, overload

from dagcelery.compat.dagorama.queues import Place, place_of
from dagcelery.compat.dagorama.retry import RetryConfiguration
from dagcelery.errors import InvalidDag
from dagcelery.frontends.functional import TaskFunction
from dagcelery.frontends.functional.outputs import current
from dagcelery.model import TaskOptions

__all__ = ["dagorama"]

P = ParamSpec("P")
T = TypeVar("T")

_NAMELESS: Final = (Parameter.VAR_POSITIONAL, Parameter.POSITIONAL_ONLY)


class Node(TaskFunction[P, T]):
    """A decorated method; it is called on an instance, by other nodes of it or from outside."""

    def __init__(self, func: Callable[P, T], options: TaskOptions, place: Place) -> None:
        super().__init__(by_name(func), options)
        self.original_fn = func
        self.place = place

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> T:
        if current() is None:
            remedy = "call the definition, or a method of a DAGInstance"
            problem = "A @dagorama() function should only be called as part of a DAGInstance"
            raise InvalidDag(f"the call of {self.__qualname__}", problem, remedy)
        return super().__call__(*args, **kwargs)

    def _arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        if self._fn is self.original_fn:
            return super()._arguments(args, kwargs)
        signature = inspect.signature(self.original_fn)
        parameters = list(signature.parameters.values())[len(self._bound) :]
        arguments = signature.replace(parameters=parameters).bind(*args, **kwargs).arguments
        rest = arguments.pop(self._binding.rest or "", {})
        if both := rest.keys() & arguments.keys():
            raise TypeError(f"got multiple values for argument {both.pop()!r}")
        return {**arguments, **rest}


def by_name(func: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that takes the arguments of `func` by name, as nodes get them; those of ``*args`` as one."""
    signature = inspect.signature(func)
    parameters = signature.parameters
    if not any(each.kind in _NAMELESS for each in parameters.values()):
        return func
    rest = next((each.name for each in parameters.values() if each.kind is Parameter.VAR_KEYWORD), None)

    @wraps(func)
    def adapter(**arguments: Any) -> Any:
        named = {name: arguments.pop(name) for name in parameters if name != rest and name in arguments}
        bound = inspect.BoundArguments(signature, OrderedDict(named | ({rest: arguments} if rest else {})))
        return func(*bound.args, **bound.kwargs)

    shown: Any = adapter
    shown.__signature__ = signature.replace(parameters=sorted(map(_named, parameters.values()), key=_place))
    return adapter


def _named(parameter: Parameter) -> Parameter:
    if parameter.kind is Parameter.VAR_POSITIONAL:
        return parameter.replace(kind=Parameter.KEYWORD_ONLY, default=())
    is_positional = parameter.kind is Parameter.POSITIONAL_ONLY
    return parameter.replace(kind=Parameter.POSITIONAL_OR_KEYWORD) if is_positional else parameter


def _place(parameter: Parameter) -> int:
    return parameter.kind


class Decorator:
    """The decorator that ``dagorama(...)`` returns; its methods decorate only async functions, or only others."""

    def __init__(
        self, queue_name: str | None = None, taint_name: str | None = None, retry: RetryConfiguration | None = None
    ) -> None:
        self._queue, self._taint = queue_name, taint_name
        self._retry = None if retry is None else retry.as_retry()

    def __call__(self, func: Callable[P, T]) -> TaskFunction[P, T]:
        """Decorate a function, async or not."""
        place = place_of(func, self._queue, self._taint)
        if place.taint == place.queue:
            return Node(func, TaskOptions((place.taint,), retry=self._retry), place)
        return Node(func, TaskOptions(queue=place.queue, retry=self._retry), place)

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

    `queue_name` is the queue that it waits on, by default one of its own, called ``module:Class.method``; `taint_name`
    keeps it to workers that tolerate it.

    Raises InvalidDag, which is a ValueError.
    """
    if callable(queue_name):
        return Decorator()(queue_name)
    for name, given in (("queue_name", queue_name), ("taint_name", taint_name)):
        if given is not None and (not isinstance(given, str) or not given.strip()):
            raise InvalidDag(f"{name}={given!r}", "is not the name of a queue", "give a word such as 'gpu'")
    if retry is not None and not isinstance(retry, RetryConfiguration):
        raise InvalidDag(f"retry={retry!r}", "does not say how to try again", "give StaticRetry(3, interval=1), say")
    return Decorator(queue_name, taint_name, retry)
