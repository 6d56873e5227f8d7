"""`@task` and `@dag` keep a function what it is, and let it be a node or a graph of nodes as well.

What a call does depends on where it is made. While a DAG is built, in its body, it records a node and returns
an `Output`. Anywhere else, in a running task too, it calls the function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar, overload

from dagcelery.frontends.functional.dag_function import DagFunction
from dagcelery.frontends.functional.task_function import TaskFunction
from dagcelery.model.buildable import Buildable
from dagcelery.model.graph import DAG
from dagcelery.model.options import DagOptions, TaskOptions
from dagcelery.model.serializers import Serialize, Serializer

P = ParamSpec("P")
R = TypeVar("R")


@overload
def task(fn: Callable[P, R], /) -> TaskFunction[P, R]: ...
@overload
def task(
    *,
    taint: str | Iterable[str] = (),
    queue: str | None = None,
    name: str | None = None,
    outputs: int | None = None,
    serializer: Serialize | Serializer | None = None,
    by_value: str | Iterable[str] = (),
) -> Callable[[Callable[P, R]], TaskFunction[P, R]]: ...
def task(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    taint: str | Iterable[str] = (),
    queue: str | None = None,
    name: str | None = None,
    outputs: int | None = None,
    serializer: Serialize | Serializer | None = None,
    by_value: str | Iterable[str] = (),
) -> Any:
    """Make a function a task: plain as ``@task``, or with options as ``@task(taint="gpu")``.

    `taint` keeps it to workers that tolerate it, `queue` sends it to one queue; one excludes the other.
    `outputs` says how many values it returns, where its annotation does not: ``a, b = split(x)``.
    `serializer` carries its returned value, `Serialize(...)` each of its keys. Raises InvalidDag.
    """
    options = TaskOptions(
        taints=words(taint),
        queue=queue,
        name=name,
        serializer=serializer,
        by_value=words(by_value),
    )
    if fn is not None:
        return TaskFunction(fn, options, outputs)
    return lambda decorated: TaskFunction(decorated, options, outputs)


@overload
def dag(fn: Callable[P, R], /) -> DagFunction[P, R]: ...
@overload
def dag(
    *,
    static: str | Iterable[str] = (),
    serializer: Serializer | None = None,
    name: str | None = None,
    deadline: float | None = None,
) -> Callable[[Callable[P, R]], DagFunction[P, R]]: ...
def dag(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    static: str | Iterable[str] = (),
    serializer: Serializer | None = None,
    name: str | None = None,
    deadline: float | None = None,
) -> Any:
    """Make a function the body of a DAG: plain as ``@dag``, or with options as ``@dag(static=("folds",))``.

    The body says which tasks there are. It is run several times, so it must be pure, and parameters are
    outputs in it, except `static` ones: they have their values, and every value has a DAG of its own.
    `serializer` is the default of all values in it; `deadline` is in seconds. Raises InvalidDag when built.
    """
    options = DagOptions(serializer, deadline)
    names = words(static)
    if fn is not None:
        return DagFunction(fn, options, names, name)
    return lambda decorated: DagFunction(decorated, options, names, name)


def build(fn: Buildable[..., Any], /, **static: object) -> DAG:
    """Return the DAG that a decorated function stands for; `static` are values of its static parameters."""
    return fn.__dag__(**static) if isinstance(fn, DagFunction) else fn.__dag__()


def words(given: str | Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)
