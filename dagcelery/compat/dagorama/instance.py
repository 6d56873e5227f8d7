"""Instances: what `self` is in a method of a definition, while it is executed for one run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MethodType
from typing import Any
from uuid import UUID
from weakref import WeakSet

from dagcelery import client
from dagcelery.compat.dagorama.inspection import find_promises
from dagcelery.compat.dagorama.models.arguments import DAGArguments
from dagcelery.compat.dagorama.models.promise import DAGPromise
from dagcelery.compat.dagorama.queues import Place, announce, function_to_name
from dagcelery.engine.pieces import executing_view
from dagcelery.errors import InvalidParameters, StoreUnavailable
from dagcelery.frontends.functional import TaskFunction
from dagcelery.frontends.functional.dynamic import drive
from dagcelery.frontends.functional.outputs import current, nothing_traced
from dagcelery.frontends.workflow import Workflow, found

__all__ = ["DAGInstance", "drive_node", "places_of", "promise_of"]

_OWN = ("instance_id", "definition")

_announced = WeakSet[type]()


class DAGInstance:
    """A definition in one run. It has all that the definition has; its decorated methods make nodes."""

    instance_id: UUID
    definition: Workflow

    def __init__(self, instance_id: UUID, definition: Workflow) -> None:
        self.instance_id = instance_id
        self.definition = definition

    def __getattr__(self, name: str) -> Any:
        if name in _OWN or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(name)
        value = getattr(self.definition, name)
        if isinstance(value, TaskFunction):
            return NodeMethod(self, value)
        is_method = isinstance(value, MethodType) and value.__self__ is self.definition
        return MethodType(value.__func__, self) if is_method else value

    def __setattr__(self, name: str, value: Any) -> None:
        target = super() if name in _OWN else self.definition
        target.__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self.definition, name)


class NodeMethod:
    """A decorated method of an instance.

    A call in another method is a node of the run, and one from outside a run of its own, with the method as its
    entrypoint; with ``greedy_execution=True`` the method itself is executed.
    """

    def __init__(self, instance: DAGInstance, node: TaskFunction[..., Any]) -> None:
        self._instance, self._node = instance, node
        self.original_fn: Callable[..., Any] = getattr(node, "original_fn", node.fn)

    def __call__(self, *args: Any, greedy_execution: bool = False, **kwargs: Any) -> Any:
        if greedy_execution:
            return self.original_fn(self._instance, *args, **kwargs)
        if current() is not None:
            return self._node(*args, **kwargs)
        return self._later(args, kwargs) if inspect.iscoroutinefunction(self.original_fn) else self._run(args, kwargs)

    async def _later(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> DAGPromise:
        return self._run(args, kwargs)

    def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> DAGPromise:
        definition = self._instance.definition
        announce(places_of(type(definition)))
        dag, params = definition._prepared(args, kwargs, self._node)
        with nothing_traced():
            return promise_of(client.submit(dag, params).id, self.original_fn, args, kwargs)


def promise_of(run_id: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> DAGPromise:
    """Return what stands for the value of a run that calls a function."""
    return DAGPromise(UUID(run_id), function_to_name(func), DAGArguments(args, kwargs))


def places_of(definition: type) -> list[Place]:
    """Return where the methods of a definition wait."""
    found_here = (getattr(getattr(definition, name, None), "place", None) for name in dir(definition))
    return [place for place in found_here if isinstance(place, Place)]


def check_no_promises(arguments: object) -> None:
    """Refuse promises of other runs, whose values nobody would wait for."""
    for promise in find_promises(arguments):
        problem = "belongs to another run, so its value will not be there"
        raise InvalidParameters(f"{promise.identifier}", problem, "resolve it first, or make both calls in a method")


def drive_node(method: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call a method with the instance as its object; calls of other methods in it make a graph."""
    view, own = executing_view(), next(iter(inspect.signature(method).parameters))
    assert view is not None, "drivers are called by the engine"
    definition: Any = found(arguments[own])
    if type(definition) not in _announced:  # what was submitted in another way than by a call
        with suppress(StoreUnavailable):
            announce(places_of(type(definition)), view.store)
            _announced.add(type(definition))
    instance = DAGInstance(UUID(view.run_id), definition)
    return drive(method, {name: found(value) for name, value in arguments.items()} | {own: instance})
