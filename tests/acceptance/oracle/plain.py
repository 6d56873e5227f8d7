"""Plain Python that knows nothing of dagcelery: tasks are functions, which share values with callers, or copy them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import cloudpickle

from dagcelery import AsJSON, AsPickle, dag, task, when

from . import exact


def copied(value: Any) -> Any:
    """Return a value as it is now; a function with what it captures, and what goes through a list as one."""
    value = list(value) if isinstance(value, Iterator) else value
    return cloudpickle.loads(cloudpickle.dumps(value))


def isolated(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that shares nothing with its caller."""

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        given = [copied(value) for value in args], {name: copied(value) for name, value in kwargs.items()}
        return copied(function(*given[0], **given[1]))

    called.after = lambda *_: called  # type: ignore[attr-defined]
    return called


def decorating(made: Callable[..., Any]) -> Callable[..., Any]:
    """Return a decorator with or without options, which it ignores."""
    return lambda function=None, **_: made if function is None else made(function)


def shared(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that is called with what it is given itself."""

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    called.after = lambda *_: called  # type: ignore[attr-defined]
    return called


def taken(condition: Any, then: Callable[[], Any], otherwise: Callable[[], Any] = lambda: None) -> Any:
    """`when` for plain Python."""
    return then() if condition else otherwise()


@dataclass(frozen=True)
class Tools:
    """What takes the place of `dag`, `task` and `when`; called with a serializer it gives an empty module's names."""

    make: Callable[[Any], dict[str, Any]]

    def __call__(self, serializer: str) -> dict[str, Any]:
        chosen = {"AsPickle()": AsPickle(), "AsJSON()": AsJSON()}[serializer]
        tools = {**self.make(chosen), "Carried": Annotated[Any, chosen]}
        tasks = {each.__name__: tools["task"](each) for each in exact.FUNCTIONS}
        return {**exact.VALUES, **tools, **tasks, "partial": functools.partial, "__name__": "program"}


REAL = Tools(lambda s: {"dag": partial(dag, serializer=s), "task": partial(task, serializer=s), "when": when})
SHARED = Tools(lambda _: {"dag": decorating(shared), "task": decorating(shared), "when": taken})
ISOLATED = Tools(lambda _: {"dag": decorating(shared), "task": decorating(isolated), "when": taken})
