"""What decorated tasks and DAGs have in common: their function's signature, order, and ways to run them."""

from __future__ import annotations

import copy
import functools
import inspect
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast, overload

from dagcelery.errors import InvalidDag, InvalidDagType, InvalidParameters
from dagcelery.frontends.functional.output import Output, flat
from dagcelery.frontends.functional.trace import nothing_traced
from dagcelery.model.annotations import hints
from dagcelery.model.graph import DAG
from dagcelery.text import choices

if TYPE_CHECKING:
    from typing import Self

    from dagcelery.client import Run

P = ParamSpec("P")
Q = ParamSpec("Q")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)


class Definition(Generic[P, R_co]):
    """A decorated function. Called outside of a DAG's body it is that function, and nothing else."""

    __wrapped__: Callable[P, R_co]
    __name__: str
    __qualname__: str

    def __init__(self, fn: Callable[P, R_co]) -> None:
        self._signature = _checked_signature(fn)
        functools.update_wrapper(cast(Any, self), fn)
        self._fn = fn
        self._bound: tuple[object, ...] = ()
        self._upstream: tuple[object, ...] = ()
        self._decorated: Definition[..., Any] = self
        self._annotations: dict[str, object] | None = None
        self._rest: inspect.Signature | None = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        raise NotImplementedError

    def __dag__(self) -> DAG:
        raise NotImplementedError

    @property
    def fn(self) -> Callable[P, R_co]:
        """The function itself."""
        return self._fn

    def after(self, *upstream: object) -> Self:
        """Return this with an order: its calls start after `upstream`, outputs or lists of them."""
        return self._changed(_upstream=(*self._upstream, *upstream))

    @overload
    def submit(self: Definition[Q, Coroutine[Any, Any, T]], *args: Q.args, **kwargs: Q.kwargs) -> Run[T]: ...
    @overload
    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Run[R_co]: ...
    def submit(self, *args: Any, **kwargs: Any) -> Run[Any]:
        """Start a run with these parameters on the workers, and return at once."""
        from dagcelery import client  # found late: writing a DAG needs no Celery

        node, params = self._prepared(args, kwargs)
        with nothing_traced():
            return client.submit(node, params, **self._chosen())

    @overload
    async def asubmit(self: Definition[Q, Coroutine[Any, Any, T]], *args: Q.args, **kwargs: Q.kwargs) -> Run[T]: ...
    @overload
    async def asubmit(self, *args: P.args, **kwargs: P.kwargs) -> Run[R_co]: ...
    async def asubmit(self, *args: Any, **kwargs: Any) -> Run[Any]:
        """`submit` without blocking the event loop."""
        from dagcelery import client

        node, params = self._prepared(args, kwargs)
        return await client.asubmit(node, params, **self._chosen())

    @overload
    def invoke(self: Definition[Q, Coroutine[Any, Any, T]], *args: Q.args, **kwargs: Q.kwargs) -> T: ...
    @overload
    def invoke(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
    def invoke(self, *args: Any, **kwargs: Any) -> Any:
        """Run it with these parameters in this process, and return the value."""
        from dagcelery import client

        node, params = self._prepared(args, kwargs)
        with nothing_traced():
            return client.invoke(node, params)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {name_of(self._fn)}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        # By name where another process can find that name, as functions are; else with the function itself.
        if self._bound:
            return getattr, (self._bound[0], self.__name__)
        if self._decorated is self and _is_importable(self):
            return self.__qualname__
        base: dict[str, Any] = {} if self._decorated is self else self._decorated.__dict__
        own = {n: v for n, v in self.__dict__.items() if n not in _UNPICKLED and base.get(n, self) is not v}
        return _restored, (type(self) if self._decorated is self else self._decorated, own)

    def _hints(self) -> dict[str, object]:
        """Return the annotations by name; not earlier than needed, since they may name what comes later."""
        if self._annotations is None:
            self._annotations = hints(self._fn)
        return self._annotations

    def _prepared(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Return what is to be run, and its parameters by name."""
        try:
            return self, self._arguments(args, kwargs)
        except TypeError as error:
            known = self._signature.parameters
            unknown = next((name for name in kwargs if name not in known), None)
            wrong = f"there is no {unknown!r}" if unknown else str(error)
            right = choices(unknown, known) if unknown else f"it takes {self._signature}"
            raise InvalidParameters(f"parameters of {self.__name__!r}", wrong, right) from None

    def _chosen(self) -> dict[str, Any]:
        """Return what `options` said about the submission itself."""
        return {}

    def _arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return arguments by parameter name, keyword ones of ``**kwargs`` among them."""
        bound = self._signature.bind(*args, **kwargs)
        rest = next((p.name for p in self._signature.parameters.values() if p.kind is p.VAR_KEYWORD), None)
        arguments = dict(bound.arguments)
        extra = arguments.pop(rest, {}) if rest else {}
        return {**arguments, **extra}

    def _called_with(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call in a DAG's body, those of a method's object among them."""
        try:
            arguments = self._arguments(args, kwargs)
        except TypeError as error:
            culprit = f"the call of {self.__name__!r}"
            raise InvalidDagType(culprit, str(error), f"call it as {self._signature}") from None
        return {**self._object(), **arguments}

    def _object(self) -> dict[str, object]:
        if not self._bound:
            return {}
        stand_in = getattr(type(self._bound[0]), "__definition__", None)
        held = self._bound if stand_in is None else (stand_in(self._bound[0]),)
        return dict(zip(self._decorated._signature.parameters, held, strict=False))

    def _checked_upstream(self) -> list[object]:
        for upstream in self._upstream:
            if not all(isinstance(found, Output) for found in flat(upstream)):
                raise InvalidDag(
                    f"{self.__name__}.after({upstream!r})",
                    "is not the output of a node",
                    "give what a task or a DAG returned in this body, or a list of that",
                )
        return list(self._upstream)

    def _changed(self, **changes: Any) -> Self:
        changed = copy.copy(self)
        changed.__dict__.update(changes)
        return changed

    def __copy__(self) -> Self:
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        return made

    def _bound_to(self, instance: object) -> Any:
        # The object may change from one build to the next, so that no DAG is remembered for it.
        bound = self._changed(_bound=(instance,), _dags={})
        bound._signature = bound.__dict__["__signature__"] = self._unbound_rest()
        return bound

    def _unbound_rest(self) -> inspect.Signature:
        """Return the signature without the object; a running task asks for it at each call of a method."""
        if self._rest is None:
            names = list(self._signature.parameters.values())[1:]
            self._rest = self._signature.replace(parameters=names)
        return self._rest


def name_of(fn: Callable[..., Any]) -> str:
    """Return ``module:qualname`` of a function."""
    return f"{fn.__module__}:{getattr(fn, '__qualname__', type(fn).__qualname__)}"


def short_name(fn: Callable[..., Any]) -> str:
    """Return what nodes of `fn` are called."""
    return getattr(fn, "__name__", type(fn).__name__).strip("<>")


def _checked_signature(fn: Callable[..., Any]) -> inspect.Signature:
    if not callable(fn):
        raise InvalidDagType(f"{fn!r}", "cannot be called", "decorate a function")
    try:
        signature = inspect.signature(fn)
    except ValueError as error:
        right = "wrap it in a function whose parameters have names"
        raise InvalidDag(f"{fn!r}", "does not say which parameters it has", right) from error
    for parameter in signature.parameters.values():
        if parameter.kind in POSITIONAL:
            raise InvalidDag(
                f"parameter {str(parameter)!r} of {short_name(fn)}{signature}",
                "cannot be given by name, but nodes get their arguments by name",
                "use parameters that can be, such as a list for *args",
            )
    return signature


def _is_importable(definition: Definition[..., Any]) -> bool:
    module = definition.__module__
    found: object = sys.modules.get(module) if module != "__main__" else None
    for name in definition.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is definition


# DAGs are built again, and what a definition is a variant of is pickled beside it.
_UNPICKLED = frozenset({"_dags", "_decorated"})


def _restored(base: Definition[..., Any] | type[Definition[..., Any]], state: dict[str, Any]) -> Definition[..., Any]:
    if isinstance(base, Definition):
        return base._changed(**state, _dags={})
    definition = object.__new__(base)
    definition.__dict__.update(state, _decorated=definition, _dags={})
    return definition
