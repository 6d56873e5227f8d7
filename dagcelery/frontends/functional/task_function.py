"""A function that `@task` decorated: a node where a DAG is built, the plain function elsewhere."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast, overload
from typing import Literal as Choice

from dagcelery.errors import InvalidDag, shortened
from dagcelery.frontends.functional.calls import CalledTask
from dagcelery.frontends.functional.definition import Definition, name_of, short_name
from dagcelery.frontends.functional.hints import serializer_at, serializer_of
from dagcelery.frontends.functional.naming import valid
from dagcelery.frontends.functional.refs import Ref, Result
from dagcelery.frontends.functional.snapshot import Dags, kept
from dagcelery.frontends.functional.trace import Trace, current
from dagcelery.model.graph import DAG, Task
from dagcelery.model.options import Hook, TaskOptions, changed, words
from dagcelery.model.outputs import FromReturnValue
from dagcelery.model.policies import Cache, Retry, Timeout
from dagcelery.model.reprs import constructor_arguments
from dagcelery.model.serializers import Serializer
from dagcelery.model.sources import EMPTY, FromNodeOutput, FromParam, Literal, Source
from dagcelery.text import shown

if TYPE_CHECKING:
    from typing import Self

P = ParamSpec("P")
Q = ParamSpec("Q")
S = TypeVar("S")
R_co = TypeVar("R_co", covariant=True)


class TaskFunction(Definition[P, R_co]):
    """A task that looks like its function, to callers and to type checkers."""

    def __init__(
        self,
        fn: Callable[P, R_co],
        options: TaskOptions,
        outputs: int | None = None,
        aliases: str | Iterable[str] = (),
    ) -> None:
        super().__init__(fn)
        if outputs is not None and (type(outputs) is not int or outputs < 1):
            raise InvalidDag(
                f"outputs={shown(outputs)} of {short_name(fn)!r}", "is not a number of values", "give 1 or more"
            )
        self._options = options
        self._outputs = outputs
        self._aliases = words("aliases", aliases)
        for alias in self._aliases:
            if not all(alias.partition(":")):
                raise InvalidDag(
                    f"aliases={shown(alias)} of {short_name(fn)!r}", "is not a former name", "give 'module:name'"
                )
        self._name: str | None = None
        self._dags: Dags = {}

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        trace = current()
        if trace is None:
            return cast(R_co, self._called_plainly(args, kwargs))
        return cast(R_co, self._recorded(trace, self._called_with(args, kwargs)))

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
        """The names, as "module:qualname", under which plans of before may ask for this task."""
        return self._aliases

    @shortened
    def __dag__(self) -> DAG:
        """Return the DAG whose only node is this task, with its parameters."""
        return self._alone(self._named())

    @shortened
    def options(
        self,
        *,
        name: str | None = None,
        queue: str | None = None,
        taint: str | Iterable[str] = (),
        retry: Retry | None = None,
        timeout: Timeout | float | None = None,
        start_within: float | None = None,
        min_success: float | None = None,
        on_item_failure: Choice["fail", "skip"] | None = None,
        max_concurrent: int | None = None,
        cache: Cache | None = None,
        on_success: Hook | None = None,
        on_failure: Hook | None = None,
        on_retry: Hook | None = None,
    ) -> Self:
        """Return this task with other options, for one use: a node's `name`, and what is said at `TaskOptions`.

        What is left out stays as it is, but a place takes the place of another, and so does what becomes of items.
        """
        taints = words("taint", taint)
        changes: dict[str, Any] = {}
        if queue is not None or taints:
            changes = {"queue": queue, "taints": taints}
        if min_success is not None or on_item_failure is not None:
            changes |= {"min_success": min_success, "on_item_failure": on_item_failure or "fail"}
        options = changed(
            replace(self._options, **changes),
            retry=retry,
            timeout=timeout,
            start_within=start_within,
            max_concurrent=max_concurrent,
            cache=cache,
            on_success=on_success,
            on_failure=on_failure,
            on_retry=on_retry,
        )
        return self._changed(_name=name or self._name, _options=options, _dags={})

    def _repr_parts(self) -> list[str]:
        own = {"name": self._name, "outputs": self._outputs, "aliases": self._aliases}
        return [f"{name}={value!r}" for name, value in own.items() if value] + constructor_arguments(self._options)

    def forget(self) -> int:
        """Drop the results that `cache=` has kept of this task, here and in the default client's store; how many."""
        from dagcelery import client  # found late: writing a DAG needs no Celery

        return client.forget(self._fn)

    @property
    def _node_name(self) -> str:
        return self._name or self._options.name or valid(short_name(self._fn))

    def _recorded(self, trace: Trace, arguments: Mapping[str, object]) -> object:
        returns = self._hints().get("return")
        callee = CalledTask(self._node_name, self._name is not None, self._fn, self._options, returns, self._outputs)
        return trace.output(Ref(Result(trace.record(callee, arguments, self._checked_upstream()))))

    def _prepared(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        _, params = super()._prepared(args, kwargs)
        named = self._named()
        extra = params.keys() - named
        # What comes in by **kwargs is a parameter of this run's DAG only.
        return (self._alone(named | extra) if extra else self), params

    def _named(self) -> frozenset[str]:
        parameters = self._signature.parameters.values()
        return frozenset(each.name for each in parameters if each.kind is not each.VAR_KEYWORD)

    def _alone(self, names: frozenset[str]) -> DAG:
        if not self._bound:
            self._refresh()

        def make() -> DAG:
            return self._made_alone(sorted(names))

        # Which of its DAGs depends on the names, and on what the defaults hold, which are parameters of it.
        return kept(self._dags, names, self._defaults, make) or make()

    def _made_alone(self, names: Iterable[str]) -> DAG:
        known = self._hints()
        parameters = self._signature.parameters
        own, rest = self._named(), next((p.name for p in parameters.values() if p.kind is p.VAR_KEYWORD), "")
        names = list(names)
        inputs = {
            each: _parameter(parameters[each], known.get(each)) if each in own else _parameter(None, known.get(rest))
            for each in names
        }
        held: dict[str, Source] = {each: Literal(value) for each, value in self._object().items()}
        output = FromReturnValue(serializer_at(self._options.serializer, known.get("return"), ()))
        node = Task(
            self._fn,
            {**held, **{each: FromParam(each) for each in names}},
            {"return_value": output},
            options=self._options,
        )
        result = FromNodeOutput(self._node_name, "return_value")
        return DAG(
            {self._node_name: node},
            inputs,
            {"return_value": result},
            name=name_of(self._fn),
            returns=result,
        )


def _parameter(parameter: inspect.Parameter | None, hint: object) -> FromParam:
    default = EMPTY if parameter is None or parameter.default is parameter.empty else parameter.default
    serializer = serializer_of(hint)
    return FromParam(None, serializer if isinstance(serializer, Serializer) else None, default)
