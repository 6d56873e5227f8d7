"""A stage is one node of a pipeline: a call of a function with literal arguments, or an object with a `run` method."""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, cast

from dagcelery.errors import InvalidDagType
from dagcelery.model.graph import Task
from dagcelery.model.sources import Literal
from dagcelery.text import shown

if TYPE_CHECKING:
    from typing import Self

P = ParamSpec("P")

_NAMELESS = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)


class Stage(ABC):
    """Derive from it and write `run`, which is called without arguments and whose returned value nobody gets.

    On workers a stage is a copy, which travels with what its constructor put into it: what can be pickled.
    """

    _name: str | None = None
    _preceding: tuple[Stage, ...] = ()

    @abstractmethod
    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Do what this stage is for."""

    @property
    def name(self) -> str:
        """What it is called in a pipeline, where a number tells it from others of that name; by default its class."""
        return self._name or type(self).__name__

    @name.setter
    def name(self, name: str) -> None:
        self._name = name

    @property
    def preceding_stages(self) -> tuple[Stage, ...]:
        """The stages that it comes after, each once."""
        return self._preceding

    def after(self, *stages: Stage) -> Self:
        """Start only when `stages` have finished, and those that were given before; returns the stage itself."""
        known = {id(stage) for stage in self._preceding}
        for stage in stages:
            if id(checked(stage)) not in known:
                self._preceding = (*self._preceding, stage)
                known.add(id(stage))
        return self

    def node(self, after: list[str]) -> Task:
        """Return the task that this stage is in a DAG, which starts after those nodes."""
        return Task(self.run, after=after)

    def __getstate__(self) -> dict[str, Any]:
        # Who comes before is the graph's to know: each stage would carry all others along.
        return {name: value for name, value in self.__dict__.items() if name != "_preceding"}

    def __repr__(self) -> str:
        return f"<stage {self.name}>"


class StageFunction(Generic[P]):
    """A function that `@stage` decorated: each call makes another stage; the function itself is `fn`."""

    def __init__(self, fn: Callable[P, object]) -> None:
        functools.update_wrapper(cast(Any, self), fn)
        self.fn = fn

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Stage:
        """Return a stage that calls the function with these arguments. Raises InvalidDagType if they do not fit."""
        return FunctionStage(self.fn, args, kwargs)

    def __repr__(self) -> str:
        return f"<@stage {self.fn.__module__}:{_name_of(self.fn)}>"


class FunctionStage(Stage):
    """One call of a function; the function travels by its name where it has one, the arguments as literals."""

    def __init__(self, fn: Callable[..., object], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self._name = _name_of(fn)
        for value in (*args, *kwargs.values()):
            if isinstance(value, Stage | StageFunction):
                right = "order them with after(), and hand values over by a RedisStage or a DiskCacheStage"
                raise InvalidDagType(
                    f"the call of {self._name!r}", f"takes {shown(value)}, and stages give no values", right
                )
        self._func, self._arguments = _by_name(fn, args, kwargs)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self._func(**self._arguments)

    def node(self, after: list[str]) -> Task:
        """Return the task: the function with literals, so that workers find it by its name."""
        return Task(self._func, {name: Literal(value) for name, value in self._arguments.items()}, after=after)


def stage(fn: Callable[P, object], /) -> StageFunction[P]:
    """Make stages out of calls of a function: ``first = load("a.csv")``, ``train(epochs=3).after(first)``."""
    if not callable(fn) or isinstance(fn, type):
        raise InvalidDagType(f"{shown(fn)}", "is not a function", "decorate a function, or derive a class from Stage")
    return StageFunction(fn)


def checked(found: object) -> Stage:
    """Return what is a stage; refuse the rest, above all a function that nobody called."""
    if isinstance(found, Stage):
        return found
    right = "call it to make one" if isinstance(found, StageFunction) else "give what a @stage function returned"
    raise InvalidDagType(f"{shown(found)}", "is not a stage", right)


def _by_name(
    fn: Callable[..., object], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Callable[..., object], dict[str, Any]]:
    """Return a call as a function and its arguments by name; what has no names is bound to the function."""
    try:
        signature = inspect.signature(fn)
    except ValueError:
        return functools.partial(fn, *args, **kwargs), {}
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise InvalidDagType(f"the call of {_name_of(fn)!r}", str(error), f"call it as {signature}") from None
    kinds = {name: signature.parameters[name].kind for name in bound.arguments}
    if any(kind in _NAMELESS for kind in kinds.values()):
        return functools.partial(fn, *args, **kwargs), {}
    arguments: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        arguments |= value if kinds[name] is inspect.Parameter.VAR_KEYWORD else {name: value}
    return fn, arguments


def _name_of(fn: Callable[..., object]) -> str:
    return getattr(fn, "__name__", type(fn).__name__).strip("<>")
