"""`dagger.dsl`: tasks and DAGs as decorated functions, with bare and with called decorators."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar, overload

from dagcelery.compat.dagger import old_paths, translation
from dagcelery.compat.dagger.dag import DAG as BuiltDAG
from dagcelery.compat.dagger.old_texts import BrokenRule, WrongType
from dagcelery.compat.dagger.serializer import DefaultSerializer, Serialize
from dagcelery.errors import InvalidDag, InvalidDagType
from dagcelery.frontends.functional import DagFunction, TaskFunction
from dagcelery.frontends.functional import build as build_natively
from dagcelery.frontends.functional.definition import POSITIONAL, name_of
from dagcelery.model import DagOptions, Serializer, TaskOptions
from dagcelery.model.graph import NO_NODES
from dagcelery.signatures import signature

__all__ = ["DAG", "Serialize", "build", "task"]

P = ParamSpec("P")
R = TypeVar("R")

# By the id of a task's function, or of a DAG's options; these are kept so that their ids stay their own. Functions that
# one function makes have one name, so names would not do.
_decorated: dict[int, tuple[object, translation.Decorated]] = {}


NodeOutputSerializer = Serialize


class _Task(TaskFunction[P, R]):
    @property
    def func(self) -> Callable[P, R]:
        """The function itself."""
        return self.fn

    @property
    def runtime_options(self) -> Mapping[str, Any]:
        """What was given for runtimes."""
        return _find(id(self.fn)).runtime_options

    def _called_with(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return super()._called_with(args, kwargs)
        except InvalidDagType as error:
            raise WrongType(
                f"the call of {self.__name__!r}",
                f"You have invoked the task '{self.__name__}' with the following arguments: args={args} "
                f"kwargs={dict(kwargs)}. However, the signature of the function is '{inspect.signature(self.fn)}'. The "
                f"following error was raised as a result of this mismatch: {error.problem}",
            ) from None


class _Dag(DagFunction[P, R]):
    @property
    def func(self) -> Callable[P, R]:
        """The body itself."""
        return self.fn

    @property
    def runtime_options(self) -> Mapping[str, Any]:
        """What was given for runtimes."""
        return _find(id(self._options)).runtime_options


@overload
def task(fn: Callable[P, R], /) -> _Task[P, R]: ...
@overload
def task(
    serializer: Serialize | Serializer | None = None, runtime_options: Mapping[str, Any] | None = None
) -> Callable[[Callable[P, R]], _Task[P, R]]: ...
def task(serializer: Any = None, runtime_options: Mapping[str, Any] | None = None) -> Any:
    """Make a function a task, as ``@task`` or ``@task()``.

    Raises InvalidDag, which is a ValueError.
    """
    is_bare = callable(serializer) and not isinstance(serializer, Serializer)

    def decorated(func: Callable[..., Any]) -> _Task[..., Any]:
        _check_signature(func)
        if runtime_options:
            _decorated[id(func)] = func, translation.Decorated(runtime_options=runtime_options)
        return _Task(func, TaskOptions(serializer=None if is_bare else serializer))

    return decorated(serializer) if is_bare else decorated


@overload
def DAG(fn: Callable[P, R], /) -> _Dag[P, R]: ...
@overload
def DAG(runtime_options: Mapping[str, Any] | None = None) -> Callable[[Callable[P, R]], _Dag[P, R]]: ...
def DAG(runtime_options: Any = None) -> Any:
    """Make a function the body of a DAG, as ``@DAG`` or ``@DAG()``.

    Raises InvalidDag, which is a ValueError.
    """
    is_bare = callable(runtime_options)

    def decorated(func: Callable[..., Any]) -> _Dag[..., Any]:
        parameters = _check_signature(func)
        defaults = {name: each.default for name, each in parameters.items() if each.default is not each.empty}
        options = DagOptions(serializer=DefaultSerializer)
        for_runtimes = {} if is_bare or runtime_options is None else runtime_options
        _decorated[id(options)] = options, translation.Decorated(defaults, for_runtimes)
        return _Dag(func, options)

    return decorated(runtime_options) if is_bare else decorated


def build(dag: DagFunction[..., Any]) -> BuiltDAG:
    """Return the DAG of a decorated function, with py-dagger's names and by its rules.

    Raises InvalidDag, which is a ValueError, or a TypeError as well.
    """
    try:
        native = build_natively(dag)
    except InvalidDag as error:
        if error.remedy == NO_NODES:
            raise BrokenRule(error.culprit, NO_NODES) from None
        raise
    return translation.translated(native, _find)


def _check_signature(func: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    takes = signature(func) if callable(func) else None
    if takes is None:
        return {}  # the decorator says what is wrong
    if wrong := [each for each in takes.parameters.values() if each.kind in POSITIONAL]:
        raise BrokenRule(
            name_of(func),
            f"You have decorated a function with the signature '{takes}'. However, the DSL only accepts parameters "
            f"that can be injected via keyword arguments. Therefore, the parameters '{wrong}' are invalid.",
        )
    return takes.parameters


def _find(key: int) -> translation.Decorated:
    return _decorated[key][1] if key in _decorated else translation.Decorated()


old_paths.register(__name__)
