"""`@task` and `@dag` keep a function what it is, and let it be a node or a graph of nodes as well.

What a call does depends on where it is made. While a DAG is built, in its body, it records a node and returns
an `Output`; in a dynamic task that runs it does so too, and returns a `Promise`. Anywhere else, in any other running
task too, it calls the function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
import typing
from typing import Any, ParamSpec, TypeVar, overload

from dagcelery.errors import InvalidDag, shortened
from dagcelery.frontends.functional.dag_function import DagFunction
from dagcelery.frontends.functional.dynamic import drive
from dagcelery.frontends.functional.task_function import TaskFunction
from dagcelery.model.buildable import Buildable, is_buildable, not_buildable
from dagcelery.model.graph import DAG
from dagcelery.model.options import DagOptions, Hook, TaskOptions, words
from dagcelery.model.policies import Cache, Retry, Timeout
from dagcelery.model.schedules import schedule_of
from dagcelery.model.serializers import Serialize, Serializer
from dagcelery.text import shown

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
    aliases: str | Iterable[str] = (),
    retry: Retry | None = None,
    timeout: Timeout | float | None = None,
    start_within: float | None = None,
    min_success: float | None = None,
    on_item_failure: typing.Literal["fail", "skip"] = "fail",
    max_concurrent: int | None = None,
    cache: Cache | None = None,
    on_success: Hook | None = None,
    on_failure: Hook | None = None,
    on_retry: Hook | None = None,
    dynamic: bool = False,
) -> Callable[[Callable[P, R]], TaskFunction[P, R]]: ...
@shortened
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
    aliases: str | Iterable[str] = (),
    retry: Retry | None = None,
    timeout: Timeout | float | None = None,
    start_within: float | None = None,
    min_success: float | None = None,
    on_item_failure: typing.Literal["fail", "skip"] = "fail",
    max_concurrent: int | None = None,
    cache: Cache | None = None,
    on_success: Hook | None = None,
    on_failure: Hook | None = None,
    on_retry: Hook | None = None,
    dynamic: bool = False,
) -> Any:
    """Make a function a task: plain as ``@task``, or with options as ``@task(taint="gpu")``. Raises InvalidDag.

    `outputs` says how many values it returns, where its annotation does not: ``a, b = split(x)``. `aliases` are names
    that it had, as "module:name", by which older runs find it. Calls of tasks and DAGs in a `dynamic` one that runs
    are nodes that follow it; what they return may only be passed on. The rest is said at `TaskOptions`.
    """
    options = TaskOptions(
        taints=words("taint", taint),
        queue=queue,
        name=name,
        serializer=serializer,
        by_value=words("by_value", by_value),
        retry=retry,
        timeout=timeout,
        start_within=start_within,
        min_success=min_success,
        on_item_failure=on_item_failure,
        max_concurrent=max_concurrent,
        cache=cache,
        on_success=on_success,
        on_failure=on_failure,
        on_retry=on_retry,
        driver=_driver(dynamic),
    )
    if fn is not None:
        return TaskFunction(fn, options, outputs, aliases)
    return shortened(lambda decorated: TaskFunction(decorated, options, outputs, aliases))


def _driver(dynamic: bool) -> Hook | None:
    if not isinstance(dynamic, bool):
        raise InvalidDag(f"dynamic={shown(dynamic)}", "is neither true nor false", "give True or False")
    return drive if dynamic else None


@overload
def dag(fn: Callable[P, R], /) -> DagFunction[P, R]: ...
@overload
def dag(
    *,
    static: str | Iterable[str] = (),
    serializer: Serializer | None = None,
    name: str | None = None,
    deadline: float | None = None,
    fail_fast: bool = True,
    max_active_runs: int | None = None,
    on_success: Hook | None = None,
    on_failure: Hook | None = None,
    keep: typing.Literal["all", "outputs"] = "all",
    schedule: str | None = None,
    timezone: str | None = None,
) -> Callable[[Callable[P, R]], DagFunction[P, R]]: ...
@shortened
def dag(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    static: str | Iterable[str] = (),
    serializer: Serializer | None = None,
    name: str | None = None,
    deadline: float | None = None,
    fail_fast: bool = True,
    max_active_runs: int | None = None,
    on_success: Hook | None = None,
    on_failure: Hook | None = None,
    keep: typing.Literal["all", "outputs"] = "all",
    schedule: str | None = None,
    timezone: str | None = None,
) -> Any:
    """Make a function the body of a DAG: plain as ``@dag``, or with options as ``@dag(static=("folds",))``.

    The body says which tasks there are. It is run several times, so it must be pure, and parameters are
    outputs in it, except `static` ones: they have their values, and every value has a DAG of its own.
    `serializer` is the default of all values in it; `deadline` is in seconds. `schedule` is five fields of cron: beat
    submits the DAG at these times, by the clock of `timezone`, or of the app's where there is none. What else holds for
    a run of it is said at `DagOptions`. Raises InvalidDag, also when built.
    """
    options = DagOptions(
        serializer,
        deadline,
        fail_fast=fail_fast,
        max_active_runs=max_active_runs,
        on_success=on_success,
        on_failure=on_failure,
        keep=keep,
        schedule=schedule_of(schedule, timezone),
    )
    names = words("static", static)
    if fn is not None:
        return DagFunction(fn, options, names, name)
    return shortened(lambda decorated: DagFunction(decorated, options, names, name))


@shortened
def build(fn: Buildable[..., Any], /, **static: object) -> DAG:
    """Return the DAG that a decorated function stands for; `static` are values of its static parameters."""
    if isinstance(fn, DagFunction):
        return fn.__dag__(**static)
    if not is_buildable(fn):
        raise not_buildable(fn, "is not a decorated function", "decorate it with @dag or @task")
    if static:
        raise InvalidDag(f"{shown(next(iter(static)))} of {shown(fn)}", "is not a static parameter", "a task has none")
    return fn.__dag__()
