"""A function that `@dag` decorated: a DAG, a nested DAG in the body of another, plain Python elsewhere."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast, overload
from typing import Literal as Choice

from dagcelery.errors import InvalidDag, shortened
from dagcelery.frontends.functional.building import built, recursion_refused
from dagcelery.frontends.functional.calls import CalledDag
from dagcelery.frontends.functional.definition import Definition, name_of, short_name
from dagcelery.frontends.functional.hints import serializer_of
from dagcelery.frontends.functional.naming import valid
from dagcelery.frontends.functional.output import Output, title
from dagcelery.frontends.functional.refs import Path, Ref, Result
from dagcelery.frontends.functional.shapes import rebuilt
from dagcelery.frontends.functional.snapshot import Dags, kept, key_of, read_anew
from dagcelery.frontends.functional.trace import Trace, current
from dagcelery.model.graph import DAG
from dagcelery.model.options import DagOptions, Hook, changed
from dagcelery.model.reprs import constructor_arguments
from dagcelery.model.schedules import Schedule, check_given
from dagcelery.model.serializers import Serializer
from dagcelery.model.sources import EMPTY, FromParam, Literal
from dagcelery.objects import identity
from dagcelery.text import choices

if TYPE_CHECKING:
    from typing import Self

P = ParamSpec("P")
Q = ParamSpec("Q")
S = TypeVar("S")
R_co = TypeVar("R_co", covariant=True)


class DagFunction(Definition[P, R_co]):
    """A DAG that looks like its body, to callers and to type checkers.

    `static` are the names of parameters whose values must be known when the DAG is built.
    """

    def __init__(
        self,
        fn: Callable[P, R_co],
        options: DagOptions,
        static: tuple[str, ...] = (),
        name: str | None = None,
    ) -> None:
        super().__init__(fn)
        self._options = options
        self._static = static
        self._values: Mapping[str, object] = {}
        self._name = name
        self._node_name: str | None = None
        self._submission: dict[str, object] = {}
        self._dags: Dags = {}
        self._check_parameters()

    @property
    def static(self) -> tuple[str, ...]:
        """The names of the parameters whose values must be known when the DAG is built."""
        return self._static

    @property
    def static_values(self) -> Mapping[str, object]:
        """The values of static parameters that this use of it was given."""
        return self._values

    @property
    def schedule(self) -> Schedule | None:
        """When beat submits it; None for a variant made with `options`, so that nothing is submitted twice."""
        return self._options.schedule if self._decorated is self else None

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        trace = current()
        if trace is None:
            return cast(R_co, self._called_plainly(args, kwargs))
        return cast(R_co, self._nested(trace, self._called_with(args, kwargs)))

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
        if not self._bound:
            self._refresh()
        values = self._known({**self._values, **static})
        key = None if self._bound else key_of(values)
        values_key = key if key is not None else identity(values)

        def read() -> DAG:
            with recursion_refused((self._fn, values_key), name_of(self._fn)):
                return self._built(values)

        dag = kept(self._dags, key, (self._fn,), read)
        if dag is not None:
            return dag
        held = (*self._bound, *values.values()) if key is None else ()
        named = id(self._fn), id(self._options), self._name, key, tuple(map(id, held))
        return read_anew(named, (self, held), read)

    @shortened
    def options(
        self,
        *,
        name: str | None = None,
        key: str | None = None,
        deadline: float | None = None,
        client: object = None,
        fail_fast: bool | None = None,
        max_active_runs: int | None = None,
        on_success: Hook | None = None,
        on_failure: Hook | None = None,
        keep: Choice["all", "outputs"] | None = None,
    ) -> Self:
        """Return this DAG with other options, for one use.

        `name` is that of its node in another DAG. `key` makes submitting twice start one run, `client` says
        where to, `deadline` is in seconds from then. The others are said at `DagOptions`; what is left out stays.
        """
        submission = {name: value for name, value in (("key", key), ("client", client)) if value is not None}
        options = changed(
            self._options,
            deadline=deadline,
            fail_fast=fail_fast,
            max_active_runs=max_active_runs,
            on_success=on_success,
            on_failure=on_failure,
            keep=keep,
        )
        return self._changed(
            _node_name=name or self._node_name,
            _submission={**self._submission, **submission},
            _options=options,
            _dags=self._dags if options is self._options else {},
        )

    def _nested(self, trace: Trace, arguments: dict[str, Any]) -> object:
        static = {name: arguments.pop(name) for name in self._static if name in arguments}
        inner = self.__dag__(**static)
        for name in self._object():
            del arguments[name]
        defaults = dict(_defaults(inner))
        arguments = {**defaults, **arguments}
        name = self._node_name or valid(short_name(self._fn))
        callee = CalledDag(name, self._node_name is not None, inner, self._hints().get("return"))
        call = trace.record(callee, arguments, self._checked_upstream())

        def leaf(path: Path) -> Output:
            return trace.output(Ref(Result(call, path)))

        # A DAG that returns nothing still has an end, for others to come after.
        return (
            leaf(())
            if trace.is_growth or inner.returns in (None, Literal(None))
            else rebuilt(inner.returns, arguments, leaf)
        )

    def _built(self, values: Mapping[str, object]) -> DAG:
        known = self._hints()
        parameters = {
            parameter.name: _declared(parameter, known.get(parameter.name))
            for parameter in self._signature.parameters.values()
            if parameter.name not in values
        }
        return built(
            self._fn,
            parameters,
            known,
            known={**self._object(), **values},
            name=self._name or name_of(self._fn),
            options=self._options,
        )

    def _known(self, values: Mapping[str, object]) -> dict[str, object]:
        parameters = self._signature.parameters
        defaults = {n: parameters[n].default for n in self._static if parameters[n].default is not parameters[n].empty}
        known = {**defaults, **values}
        for name in known.keys() - set(self._static):
            wrong = "is not a static parameter"
            raise InvalidDag(f"{name!r} of DAG {short_name(self._fn)!r}", wrong, choices(name, self._static))
        for name in self._static:
            if name not in known or isinstance(known[name], Output):
                found = f"is {title(known[name])}" if name in known else "has no value"
                right = f"give it a plain value: it is used while the DAG is built, as in build(d, {name}=...)"
                raise InvalidDag(f"static parameter {name!r} of DAG {short_name(self._fn)!r}", found, right)
        return known

    def _prepared(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        _, params = super()._prepared(args, kwargs)
        static = {name: params.pop(name) for name in self._static if name in params}
        return self._changed(_values={**self._values, **static}), params

    def _repr_parts(self) -> list[str]:
        own = {"static": self._static, "name": self._node_name or self._name, **self._submission}
        return [f"{name}={value!r}" for name, value in own.items() if value] + constructor_arguments(self._options)

    def _chosen(self) -> dict[str, Any]:
        return self._submission

    def _check_parameters(self) -> None:
        if self._options.schedule is not None:
            parameters = self._signature.parameters.values()
            check_given(short_name(self._fn), [each.name for each in parameters if each.default is each.empty])
        for name in self._static:
            if name not in self._signature.parameters:
                culprit = f"static={name!r} of DAG {short_name(self._fn)!r}"
                raise InvalidDag(culprit, "is none of its parameters", choices(name, self._signature.parameters))
        for parameter in self._signature.parameters.values():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                culprit = f"parameter '**{parameter.name}' of DAG {short_name(self._fn)!r}"
                raise InvalidDag(culprit, "has no names, but a DAG declares its parameters", "name each of them")


def _declared(parameter: inspect.Parameter, hint: object) -> FromParam:
    default = EMPTY if parameter.default is parameter.empty else parameter.default
    serializer = serializer_of(hint)
    return FromParam(None, serializer if isinstance(serializer, Serializer) else None, default)


def _defaults(dag: DAG) -> Iterator[tuple[str, object]]:
    for name, source in dag.inputs.items():
        if isinstance(source, FromParam) and source.default_value is not EMPTY:
            yield name, source.default_value
