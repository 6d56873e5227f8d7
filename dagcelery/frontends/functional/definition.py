"""What decorated tasks and DAGs have in common: their function's signature, order, and ways to run them."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from operator import is_
from types import FunctionType, MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar, cast, overload

from dagcelery.errors import InvalidDag, InvalidDagType, InvalidParameters
from dagcelery.frontends.functional.outputs import Output, Recorder, check_values, current, flat, nothing_traced
from dagcelery.model.names import short_name
from dagcelery.signatures import Binding, hints, is_named, says, signature
from dagcelery.text import choices, shown
from dagcelery.tracebacks import Shortened, shortened

if TYPE_CHECKING:
    from typing import Self

    from dagcelery.client import Run
    from dagcelery.model.graph import DAG

P = ParamSpec("P")
Q = ParamSpec("Q")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)


class Definition(Generic[P, R_co]):
    """A decorated function; a call outside of a DAG's body is a plain call of it."""

    __wrapped__: Callable[P, R_co]
    __name__: str
    __qualname__: str
    _submission: Mapping[str, Any] = MappingProxyType({})
    """Arguments of `client.submit` that `options` were given."""

    def __init__(self, fn: Callable[P, R_co]) -> None:
        self._binds = _BINDS.get(type(fn), "instance")
        fn = fn.__func__ if isinstance(fn, staticmethod | classmethod) else fn
        self._binding, self._defaults = Binding(_checked_signature(fn)), _defaults_of(fn)
        functools.update_wrapper(cast(Any, self), fn, updated=())
        self._fn = fn
        self._bound: tuple[object, ...] = ()
        self._upstream: tuple[object, ...] = ()
        self._decorated: Definition[..., Any] = self
        self._annotations: dict[str, object] | None = None
        self._rest: Binding | None = None
        # Attributes of the function can be read here too, unless this class has one of the same name.
        self.__dict__ = {**_own_attributes(self, fn), **self.__dict__}
        if not isinstance(fn, FunctionType) or hasattr(fn, "__wrapped__"):
            self.__dict__["__signature__"] = self._signature  # of which `inspect` would read the innermost function's
        self._mark()

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        trace = current()
        if trace is None:
            return cast(R_co, self._called_plainly(args, kwargs))
        return cast(R_co, self._recorded(trace, self._called_with(args, kwargs)))

    def __dag__(self) -> DAG:
        raise NotImplementedError

    def _recorded(self, trace: Recorder, arguments: dict[str, Any]) -> object:
        """Record a call in a body that is being built, and return an output for its value."""
        raise NotImplementedError

    @property
    def fn(self) -> Callable[P, R_co]:
        """The function itself."""
        return self._fn

    def after(self, *upstream: object) -> Self:
        """Return this with an order: its calls start after `upstream`, outputs or lists of them."""
        return self._changed(_upstream=(*self._upstream, *upstream))

    @overload
    def submit(self: Definition[Q, Coroutine[Any, Any, T]], /, *args: Q.args, **kwargs: Q.kwargs) -> Run[T]: ...
    @overload
    def submit(self, /, *args: P.args, **kwargs: P.kwargs) -> Run[R_co]: ...
    @shortened
    def submit(self, /, *args: Any, **kwargs: Any) -> Run[Any]:
        """Start a run with these parameters on the workers, and return at once."""
        from dagcelery import client  # imported late: writing a DAG needs no Celery

        node, params = self._prepared(args, kwargs)
        with nothing_traced():
            return client.submit(node, params, **self._submission)

    @overload
    async def asubmit(self: Definition[Q, Coroutine[Any, Any, T]], /, *args: Q.args, **kwargs: Q.kwargs) -> Run[T]: ...
    @overload
    async def asubmit(self, /, *args: P.args, **kwargs: P.kwargs) -> Run[R_co]: ...
    async def asubmit(self, /, *args: Any, **kwargs: Any) -> Run[Any]:
        """`submit` without blocking the event loop."""
        from dagcelery import client

        with Shortened():
            node, params = self._prepared(args, kwargs)
            return await client.asubmit(node, params, **self._submission)

    @overload
    def invoke(self: Definition[Q, Coroutine[Any, Any, T]], /, *args: Q.args, **kwargs: Q.kwargs) -> T: ...
    @overload
    def invoke(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
    @shortened
    def invoke(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run it with these parameters in this process, and return the value."""
        from dagcelery import client

        node, params = self._prepared(args, kwargs)
        with nothing_traced():
            return client.invoke(node, params)

    def __repr__(self) -> str:
        plain = [each.replace(annotation=each.empty) for each in self._signature.parameters.values()]
        takes = self._signature.replace(parameters=plain, return_annotation=inspect.Signature.empty)
        return f"<{', '.join([f'{type(self).__name__} {name_of(self._fn)}{takes}', *self._repr_parts()])}>"

    def _repr_parts(self) -> list[str]:
        """Return the options that were given, as they are written."""
        return []

    def __reduce__(self) -> str | tuple[Any, ...]:
        # By name where another process can find that name, as functions are; else with the function itself.
        if self._bound:
            return getattr, (self._bound[0], self.__name__)
        if self._decorated is self and _is_importable(self):
            return self.__qualname__
        base: dict[str, Any] = {} if self._decorated is self else self._decorated.__dict__
        own = {n: v for n, v in self.__dict__.items() if n not in _UNPICKLED and base.get(n, self) is not v}
        return _restored, (type(self) if self._decorated is self else self._decorated, own)

    def _refresh(self) -> None:
        """Look at the defaults again, which may have been changed; DAGs that were made of others are dropped."""
        defaults = _defaults_of(self._fn)
        if len(defaults) != len(self._defaults) or not all(map(is_, defaults, self._defaults)):
            binding = Binding(_checked_signature(self._fn))
            self.__dict__.update(_binding=binding, _defaults=defaults, _rest=None, _dags={})

    @property
    def _signature(self) -> inspect.Signature:
        return self._binding.signature

    @property
    def _is_coroutine(self) -> object:
        """The mark that `asyncio.iscoroutinefunction` looks for before Python 3.12; so asyncio is imported."""
        coroutines = sys.modules.get("asyncio.coroutines")
        return getattr(coroutines, "_is_coroutine", None) if inspect.iscoroutinefunction(self._fn) else None

    def _mark(self) -> None:
        """Let `inspect.iscoroutinefunction` answer for this as it does for the function."""
        if sys.version_info >= (3, 12) and inspect.iscoroutinefunction(self._fn):
            inspect.markcoroutinefunction(self)

    def _hints(self) -> dict[str, object]:
        """Return the annotations by name; not earlier than needed, since they may name what comes later."""
        own = self._decorated  # of whose function its variants are, too
        if own._annotations is None:
            own._annotations = hints(own._fn)
        return own._annotations

    def _prepared(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Return the DAG or decorated function to run, and its parameters by name."""
        if not self._bound:
            self._refresh()
        try:
            return self, self._arguments(args, kwargs)
        except TypeError as error:
            names = self._signature.parameters
            unknown = next((name for name in kwargs if name not in names), None)
            problem = f"none is called {shown(unknown)}" if unknown else str(error)
            remedy = choices(unknown, names) if unknown else f"it takes {self._signature}{_hint(self._fn)}"
            raise InvalidParameters(f"parameters of {self.__name__!r}", problem, remedy) from None

    def _arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return arguments by parameter name, keyword ones of ``**kwargs`` among them."""
        arguments = self._binding.arguments(args, kwargs)
        rest = self._binding.rest
        if rest in arguments:
            arguments.update(arguments.pop(rest))
        return arguments

    def _called_with(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call in a DAG's body, those of a method's object among them."""
        if not self._bound:
            self._refresh()
        try:
            arguments = self._arguments(args, kwargs)
        except TypeError as error:
            culprit = f"the call of {short_name(self._fn)!r}"
            raise InvalidDagType(culprit, str(error), f"call it as {self._signature}{_hint(self._fn)}") from None
        return {**self._object(), **arguments} if self._bound else arguments

    def _called_plainly(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Call the function, as is right wherever no graph is made; but not with values of one."""
        check_values(f"the call of {short_name(self._fn)!r}", (*args, *kwargs.values()))
        return cast(Callable[..., Any], self._fn)(*self._bound, *args, **kwargs)

    def _object(self) -> dict[str, object]:
        if not self._bound:
            return {}
        stand_in = getattr(type(self._bound[0]), "__definition__", None)
        held = self._bound if stand_in is None else (stand_in(self._bound[0]),)
        return dict(zip(self._decorated._signature.parameters, held, strict=False))

    def _checked_upstream(self) -> Sequence[object]:
        for upstream in self._upstream:
            if not all(isinstance(each, Output) for each in flat(upstream)):
                raise InvalidDag(
                    f"{self.__name__}.after({shown(upstream)})",
                    "is not the output of a node",
                    "give what a task or a DAG returned in this body, or a list of that",
                )
        return self._upstream

    def _changed(self, **changes: Any) -> Self:
        variant = object.__new__(type(self))
        variant.__dict__.update(self.__dict__, **changes)
        return variant

    def __copy__(self) -> Self:
        return self._changed()

    def _bound_at(self, instance: object, owner: type | None) -> Any:
        """Return the attribute of an object or a class that this is, as with plain functions."""
        if self._binds == "nothing":
            return self
        if self._binds == "class":
            return self._bound_to(owner or type(instance))
        return self if instance is None else self._bound_to(instance)

    def _bound_to(self, instance: object) -> Any:
        # The object may change from one build to the next, so its DAGs are not kept.
        self._refresh()
        rest = self._unbound_rest()
        return self._changed(_bound=(instance,), _dags={}, _binding=rest, __signature__=rest.signature)

    def _unbound_rest(self) -> Binding:
        """Return what binds without the object; a running task asks for it at each call of a method."""
        if self._rest is None:
            names = list(self._signature.parameters.values())[1:]
            self._rest = Binding(self._signature.replace(parameters=names))
        return self._rest


def layers_of(fn: object) -> list[FunctionType]:
    """Return the functions that `fn` consists of: itself, the function that it wraps, and so on."""
    layers: list[FunctionType] = []
    while isinstance(fn, FunctionType) and fn not in layers:
        layers.append(fn)
        fn = fn.__dict__.get("__wrapped__")
    return layers


def _defaults_of(fn: object) -> list[object]:
    if type(fn) is FunctionType and fn.__kwdefaults__ is None and not fn.__dict__:  # as most are, at each call
        return [fn.__defaults__]
    defaults: list[object] = []
    for layer in layers_of(fn):
        named = layer.__kwdefaults__ or {}
        defaults += (layer.__defaults__, *named, *named.values())
    return defaults


def name_of(fn: Callable[..., Any]) -> str:
    """Return ``module:qualname`` of a function."""
    return f"{fn.__module__}:{getattr(fn, '__qualname__', type(fn).__qualname__)}"


def _checked_signature(fn: Callable[..., Any]) -> inspect.Signature:
    if not callable(fn):
        raise InvalidDagType(f"{shown(fn)}", "cannot be called", "decorate a function")
    if inspect.isasyncgenfunction(fn):
        problem = "is an async generator, whose values cannot be stored"
        raise InvalidDag(f"{short_name(fn)!r}", problem, "collect the values, and return them as a list")
    declared = signature(fn)
    if declared is None:
        remedy = "wrap it in a function whose parameters have names"
        raise InvalidDag(f"{shown(fn)}", "does not say which parameters it has", remedy)
    for parameter in declared.parameters.values():
        if parameter.kind in POSITIONAL:
            is_wrapper = parameter.kind is parameter.VAR_POSITIONAL and hasattr(fn, "__wrapped__")
            raise InvalidDag(
                f"parameter {str(parameter)!r} of {short_name(fn)}{declared}",
                "cannot be given by name, but nodes get their arguments by name",
                "let the decorator's function also take **kwargs, and pass them on"
                if is_wrapper
                else "use parameters that can be, such as a list for *args",
            )
    return declared


def _hint(fn: Callable[..., Any]) -> str:
    if says(fn) is fn:
        return ""
    return "; where a decorator gives one of these itself, let its function name the others, or set its __signature__"


def _own_attributes(definition: Definition[..., Any], fn: Callable[..., Any]) -> dict[str, Any]:
    own = getattr(fn, "__dict__", {})
    return {name: value for name, value in own.items() if not hasattr(type(definition), name)}


_BINDS: Final[Mapping[type, str]] = {staticmethod: "nothing", classmethod: "class"}


def _is_importable(definition: Definition[..., Any]) -> bool:
    return definition.__module__ != "__main__" and is_named(definition)


# DAGs are built again, and what a definition is a variant of is pickled beside it.
_UNPICKLED = frozenset({"_dags", "_decorated", "_defaults", "_is_coroutine_mark", "_callee"})


def _restored(base: Definition[..., Any] | type[Definition[..., Any]], state: dict[str, Any]) -> Definition[..., Any]:
    if isinstance(base, Definition):
        return base._changed(**state, _dags={})
    definition = object.__new__(base)
    definition.__dict__.update(state, _decorated=definition, _dags={}, _defaults=_defaults_of(state["_fn"]))
    definition._mark()
    return definition
