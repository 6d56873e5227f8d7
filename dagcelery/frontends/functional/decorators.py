"""`@task` and `@dag`: decorators that keep a function callable, and make it a node or a graph of nodes as well.

A call in the body of a DAG that is being built records a node and returns an `Output`; in a running dynamic task it
does so too, and returns a `Promise`. Anywhere else, in any other running task too, it calls the function.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar, Unpack, cast, overload

from dagcelery.errors import InvalidDag
from dagcelery.frontends.functional.definition import Definition, name_of
from dagcelery.frontends.functional.outputs import Output, Recorder, title
from dagcelery.model.names import short_name, valid
from dagcelery.model.options import (
    DAG_MEANINGS,
    TASK_MEANINGS,
    DagKeywords,
    DagOptions,
    DagUse,
    TaskKeywords,
    TaskOptions,
    TaskUse,
    changed,
    check_keywords,
    check_sensitive,
    is_sensitive,
    schedule_of,
    tolerance,
    words,
)
from dagcelery.text import choices, constructor_arguments, shown
from dagcelery.tracebacks import shortened

if TYPE_CHECKING:
    from typing import Self

    from dagcelery.frontends.functional.recorded import CalledTask
    from dagcelery.frontends.functional.snapshot import Dags
    from dagcelery.model.buildable import Buildable
    from dagcelery.model.graph import DAG
    from dagcelery.model.schedules import Schedule
    from dagcelery.model.sources import Path


P = ParamSpec("P")

Q = ParamSpec("Q")

S = TypeVar("S")

R_co = TypeVar("R_co", covariant=True)

F = TypeVar("F", bound=Callable[..., Any])

_NOT_GIVEN: Final = {"taint": (), "aliases": (), "static": (), "dynamic": False}
"""The defaults, where they are not None, of options that TaskOptions and DagOptions do not have."""

_OF_A_SUBMISSION: Final = ("key", "if_failed", "client")
_OF_RUNS: Final = ("deadline", "fail_fast", "max_active_runs", "on_success", "on_failure", "keep")


def spelled_out(keywords: Any, lines: Mapping[str, str], defaults: object = None) -> Callable[[F], F]:
    """Let `help` and `inspect.signature` list the options that a function takes, as type checkers and editors do."""

    def spell(function: F) -> F:
        signature = inspect.signature(function)
        fixed = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
        options = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=getattr(defaults, name, _NOT_GIVEN.get(name)),
                annotation=getattr(hint, "__forward_arg__", hint),
            )
            for name, hint in keywords.__annotations__.items()
        ]
        cast(Any, function).__signature__ = signature.replace(parameters=[*fixed, *options])
        if function.__doc__:  # not with python -OO
            text = function.__doc__.rstrip()
            last = text.rpartition("\n")[2]
            margin = f"\n{last[: -len(last.lstrip())]}"
            listed = (f"{margin}- `{name}`: {lines[name]}" for name in lines if name in keywords.__annotations__)
            function.__doc__ = f"{text}\n{margin}Options:\n{''.join(listed)}\n"
        return function

    return spell


class TaskFunction(Definition[P, R_co]):
    """A task that looks like its function, to callers and to type checkers."""

    _callee: CalledTask | None = None
    """What was recorded of it last, the same for its next call: a variant may have other options."""

    def __init__(
        self, fn: Callable[P, R_co], options: TaskOptions, outputs: int | None = None, aliases: str | Iterable[str] = ()
    ) -> None:
        super().__init__(fn)
        if outputs is not None and (type(outputs) is not int or outputs < 1):
            culprit = f"outputs={shown(outputs)} of {short_name(fn)!r}"
            raise InvalidDag(culprit, "is not a number of values", "give 1 or more")
        check_sensitive(f"task {short_name(fn)!r}", options, (), self._signature)
        self._options = options
        self._outputs = outputs
        self._aliases = words("aliases", aliases)
        for alias in self._aliases:
            if not all(alias.partition(":")):
                culprit = f"aliases={shown(alias)} of {short_name(fn)!r}"
                raise InvalidDag(culprit, "is not a former name", "give 'module:name'")
        self._name: str | None = None
        self._dags: Dags = {}

    @overload
    def __get__(self, instance: None, owner: type, /) -> Self: ...
    @overload
    def __get__(
        self: TaskFunction[Concatenate[S, Q], R_co], instance: S, owner: type | None = None, /
    ) -> TaskFunction[Q, R_co]: ...
    def __get__(self, instance: object, owner: type | None = None, /) -> Any:
        return self._bound_at(instance, owner)

    @property
    def __aliases__(self) -> tuple[str, ...]:
        """The former names, as "module:qualname", under which older plans may ask for this task."""
        return self._aliases

    @shortened
    def __dag__(self) -> DAG:
        """Return the DAG whose only node is this task, with its parameters."""
        return self._alone(self._named())

    @spelled_out(TaskUse, TASK_MEANINGS)
    @shortened
    def options(self, **options: Unpack[TaskUse]) -> Self:
        """Return this task with other options, for one use.

        Options that are left out stay as they are, but a place takes the place of another, and so does what becomes
        of items.

        Raises InvalidDag.
        """
        check_keywords(options, TaskUse, f"{self.__name__}.options()")
        name, others = options.get("name"), {key: value for key, value in options.items() if key != "name"}
        return self._changed(_name=name or self._name, _options=changed(self._options, others), _dags={})

    def _repr_parts(self) -> list[str]:
        own = {"name": self._name, "outputs": self._outputs, "aliases": self._aliases}
        return [f"{name}={value!r}" for name, value in own.items() if value] + constructor_arguments(self._options)

    def forget(self) -> int:
        """Drop the results that `cache=` has kept of this task, here and in the default client's store.

        Returns how many they were.
        """
        from dagcelery import client  # imported late: writing a DAG needs no Celery

        return client.forget(self._fn)

    @property
    def _node_name(self) -> str:
        return self._name or self._options.name or valid(short_name(self._fn))

    def _recorded(self, trace: Recorder, arguments: Mapping[str, object]) -> object:
        from dagcelery.frontends.functional.recorded import CalledTask, Ref, Result  # so that decorating is cheap

        name, is_fixed, callee = self._node_name, self._name is not None, self._callee
        is_last = callee is not None and (callee.name, callee.name_is_fixed) == (name, is_fixed)
        if callee is None or not is_last or callee.options is not self._options:
            returns = self._hints().get("return")
            callee = self._callee = CalledTask(name, is_fixed, self._fn, self._options, returns, self._outputs)
        upstream = self._checked_upstream() if self._upstream else ()
        return trace.output(Ref(Result(trace.record(callee, arguments, upstream))))

    def _prepared(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        _, params = super()._prepared(args, kwargs)
        named = self._named()
        extra = params.keys() - named
        # Arguments that **kwargs takes are parameters of this run's DAG only.
        return (self._alone(named | extra) if extra else self), params

    def _named(self) -> frozenset[str]:
        parameters = self._signature.parameters.values()
        return frozenset(each.name for each in parameters if each.kind is not each.VAR_KEYWORD)

    def _alone(self, names: frozenset[str]) -> DAG:
        if not self._bound:
            self._refresh()

        from dagcelery.frontends.functional.declared import dag_of_task  # only for tasks that run by themselves
        from dagcelery.frontends.functional.snapshot import remembered

        def make() -> DAG:
            return dag_of_task(self, self._node_name, self._options, self._named(), sorted(names))

        # A DAG depends on the names, and on the defaults, which are parameters of it.
        return remembered(self._dags, names, self._defaults, make) or make()


class DagFunction(Definition[P, R_co]):
    """A DAG that looks like its body, to callers and to type checkers.

    `static` are the names of parameters whose values must be known when the DAG is built.
    """

    def __init__(
        self, fn: Callable[P, R_co], options: DagOptions, static: tuple[str, ...] = (), name: str | None = None
    ) -> None:
        super().__init__(fn)
        self._options = options
        self._static = static
        self._values: Mapping[str, object] = {}
        self._name = name
        self._node_name: str | None = None
        self._dags: Dags = {}
        self._check_parameters()

    @property
    def static(self) -> tuple[str, ...]:
        """The names of the parameters whose values must be known when the DAG is built."""
        return self._static

    @property
    def static_values(self) -> Mapping[str, object]:
        """The values that this use of it has for static parameters."""
        return self._values

    @property
    def schedule(self) -> Schedule | None:
        """When beat submits it; None for a variant made with `options`, so that nothing is submitted twice."""
        return self._options.schedule if self._decorated is self else None

    @overload
    def __get__(self, instance: None, owner: type, /) -> Self: ...
    @overload
    def __get__(
        self: DagFunction[Concatenate[S, Q], R_co], instance: S, owner: type | None = None, /
    ) -> DagFunction[Q, R_co]: ...
    def __get__(self, instance: object, owner: type | None = None, /) -> Any:
        return self._bound_at(instance, owner)

    @shortened
    def __dag__(self, /, **static: object) -> DAG:
        """Return the DAG; for each combination of values of static parameters it is read once, while that is right."""
        from dagcelery.frontends.functional.building import recursion_refused  # here, so that decorating is cheap
        from dagcelery.frontends.functional.snapshot import key_of, read_anew, remembered
        from dagcelery.objects import identity

        if not self._bound:
            self._refresh()
        values = self._with_defaults({**self._values, **static})
        key = None if self._bound else key_of(values)
        values_key = key if key is not None else identity(values)

        def read() -> DAG:
            with recursion_refused((self._fn, values_key), name_of(self._fn)):
                return self._built(values)

        dag = remembered(self._dags, key, (self._fn,), read)
        if dag is not None:
            return dag
        held = (*self._bound, *values.values()) if key is None else ()
        named = id(self._fn), id(self._options), self._name, key, tuple(map(id, held))
        return read_anew(named, (self, held), read)

    @spelled_out(DagUse, DAG_MEANINGS)
    @shortened
    def options(self, **options: Unpack[DagUse]) -> Self:
        """Return this DAG with other options, for one use.

        Options that are left out stay as they are.

        Raises InvalidDag.
        """
        check_keywords(options, DagUse, f"{self.__name__}.options()")
        submission = {name: options[name] for name in _OF_A_SUBMISSION if options.get(name) is not None}
        of_runs = changed(self._options, options)
        return self._changed(
            _node_name=options.get("name") or self._node_name,
            _submission={**self._submission, **submission},
            _options=of_runs,
            _dags=self._dags if of_runs is self._options else {},
        )

    def _recorded(self, trace: Recorder, arguments: dict[str, Any]) -> object:
        from dagcelery.frontends.functional.declared import defaults_of, returns_nothing
        from dagcelery.frontends.functional.recorded import CalledDag, Ref, Result, rebuilt

        self._check_use()
        static = {name: arguments.pop(name) for name in self._static if name in arguments}
        inner = self.__dag__(**static)
        for name in self._object():
            del arguments[name]
        arguments = {**defaults_of(inner), **arguments}
        name = self._node_name or valid(short_name(self._fn))
        callee = CalledDag(name, self._node_name is not None, inner, self._hints().get("return"))
        call = trace.record(callee, arguments, self._checked_upstream())

        def leaf(path: Path) -> Output:
            return trace.output(Ref(Result(call, path)))

        if trace.is_dynamic or inner.returns is None or returns_nothing(inner):
            return leaf(())  # the end, for others to come after, of a DAG that returns nothing
        if tolerance(inner.options):
            return leaf(())  # where an item is skipped, its value is, and not each part of it
        return rebuilt(inner.returns, arguments, leaf)

    def _check_use(self) -> None:
        """Refuse options that were given for this use of it in another DAG, and say nothing there."""
        own = cast("DagFunction[..., Any]", self._decorated)._options
        changed_here = [name for name in _OF_RUNS if getattr(self._options, name) != getattr(own, name)]
        for name in (*self._submission, *changed_here):
            remedy = "leave it out, or give it to the DAG that is submitted"
            problem = "has no effect on a DAG in another one's body, which makes no run of its own"
            raise InvalidDag(f"{name}= of {self.__name__}.options()", problem, remedy)

    def _built(self, values: Mapping[str, object]) -> DAG:
        from dagcelery.frontends.functional.building import built
        from dagcelery.frontends.functional.declared import parameters_of

        hints = self._hints()
        parameters = parameters_of(self._signature, hints, values)
        arguments, name = {**self._object(), **values}, self._name or name_of(self._fn)
        return built(self._fn, parameters, hints, values=arguments, name=name, options=self._options)

    def _with_defaults(self, static: Mapping[str, object]) -> dict[str, object]:
        parameters = self._signature.parameters
        defaults = {n: parameters[n].default for n in self._static if parameters[n].default is not parameters[n].empty}
        values = {**defaults, **static}
        for name in values.keys() - set(self._static):
            problem = "is not a static parameter"
            raise InvalidDag(f"{name!r} of DAG {short_name(self._fn)!r}", problem, choices(name, self._static))
        for name in self._static:
            if name not in values or isinstance(values[name], Output):
                problem = f"is {title(values[name])}" if name in values else "has no value"
                remedy = f"give it a plain value: it is used while the DAG is built, as in build(d, {name}=...)"
                raise InvalidDag(f"static parameter {name!r} of DAG {short_name(self._fn)!r}", problem, remedy)
        return values

    def _prepared(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        _, params = super()._prepared(args, kwargs)
        static = {name: params.pop(name) for name in self._static if name in params}
        return self._changed(_values={**self._values, **static}), params

    def _repr_parts(self) -> list[str]:
        own = {"static": self._static, "name": self._node_name or self._name, **self._submission}
        return [f"{name}={value!r}" for name, value in own.items() if value] + constructor_arguments(self._options)

    def _check_parameters(self) -> None:
        if self._options.schedule is not None:
            from dagcelery.model.schedules import check_given

            parameters = self._signature.parameters.values()
            check_given(short_name(self._fn), [each.name for each in parameters if each.default is each.empty])
        check_sensitive(f"DAG {short_name(self._fn)!r}", self._options, (), self._signature)
        for name in self._static:
            if name not in self._signature.parameters:
                culprit = f"static={name!r} of DAG {short_name(self._fn)!r}"
                raise InvalidDag(culprit, "is not one of its parameters", choices(name, self._signature.parameters))
            if is_sensitive(self._options, name):  # its value stands in the plan, as whatever the body makes of it
                culprit = f"parameter {name!r} of DAG {short_name(self._fn)!r}"
                remedy = "leave it out of static=, or name in sensitive= the other parameters only"
                raise InvalidDag(culprit, "is both static and sensitive, but its value shapes the DAG", remedy)
        for parameter in self._signature.parameters.values():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                culprit = f"parameter '**{parameter.name}' of DAG {short_name(self._fn)!r}"
                raise InvalidDag(culprit, "has no names, but a DAG declares its parameters", "name each of them")


R = TypeVar("R")


@overload
def task(fn: Callable[P, R], /) -> TaskFunction[P, R]: ...
@overload
def task(**options: Unpack[TaskKeywords]) -> Callable[[Callable[P, R]], TaskFunction[P, R]]: ...
@spelled_out(TaskKeywords, TASK_MEANINGS, TaskOptions())
@shortened
def task(fn: Callable[..., Any] | None = None, /, **options: Unpack[TaskKeywords]) -> Any:
    """Make a function a task: plain as ``@task``, or with options as ``@task(taint="gpu")``.

    What a `dynamic` task gets back of the tasks and DAGs that it calls may only be passed on.

    Raises InvalidDag.
    """
    check_keywords(options, TaskKeywords, "@task")
    dynamic = options.get("dynamic", False)
    if not isinstance(dynamic, bool):
        raise InvalidDag(f"dynamic={shown(dynamic)}", "is neither true nor false", "give True or False")
    chosen = changed(TaskOptions(), {**options, "driver": _driver() if dynamic else None})

    def decorated(fn: Callable[..., Any]) -> TaskFunction[..., Any]:
        return TaskFunction(fn, chosen, options.get("outputs"), options.get("aliases", ()))

    return shortened(decorated) if fn is None else decorated(fn)


def _driver() -> Callable[..., Any]:
    from dagcelery.frontends.functional.dynamic import drive

    return drive


@overload
def dag(fn: Callable[P, R], /) -> DagFunction[P, R]: ...
@overload
def dag(**options: Unpack[DagKeywords]) -> Callable[[Callable[P, R]], DagFunction[P, R]]: ...
@spelled_out(DagKeywords, DAG_MEANINGS, DagOptions())
@shortened
def dag(fn: Callable[..., Any] | None = None, /, **options: Unpack[DagKeywords]) -> Any:
    """Make a function the body of a DAG: plain as ``@dag``, or with options as ``@dag(static=("folds",))``.

    The body says which tasks there are. It is run several times, so it must be pure, and parameters are
    outputs in it, except `static` ones.

    Raises InvalidDag, also when built.
    """
    check_keywords(options, DagKeywords, "@dag")
    schedule = schedule_of(options.get("schedule"), options.get("timezone"))
    chosen = changed(DagOptions(), {**options, "schedule": schedule})
    static = words("static", options.get("static", ()))

    def decorated(fn: Callable[..., Any]) -> DagFunction[..., Any]:
        return DagFunction(fn, chosen, static, options.get("name"))

    return shortened(decorated) if fn is None else decorated(fn)


@shortened
def build(fn: Buildable[..., Any], /, **static: object) -> DAG:
    """Return the DAG of a decorated function; `static` are values of its static parameters."""
    if isinstance(fn, DagFunction):
        return fn.__dag__(**static)
    from dagcelery.model.buildable import is_buildable, not_buildable  # here, so that decorating is cheap

    if not is_buildable(fn):
        raise not_buildable(fn, "is not a decorated function", "decorate it with @dag or @task")
    if static:
        raise InvalidDag(
            f"{shown(next(iter(static)))} of {shown(fn)}",
            "is not a static parameter",
            "leave it out: only a DAG has static parameters",
        )
    return fn.__dag__()
