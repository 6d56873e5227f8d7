"""`dagorama.definition`: classes whose decorated methods are nodes, and the results of their runs."""

from __future__ import annotations

import asyncio
import builtins
import sys
from collections.abc import Mapping
from inspect import iscoroutinefunction
from typing import Any
from uuid import UUID, uuid4

from dagcelery.client import Run
from dagcelery.compat.dagorama.decorators import dagorama
from dagcelery.compat.dagorama.instance import DAGInstance, check_no_promises, drive_node, places_of, promise_of
from dagcelery.compat.dagorama.models.promise import DAGPromise
from dagcelery.compat.dagorama.queues import announce
from dagcelery.errors import InvalidParameters, NodeFailed
from dagcelery.frontends.functional.definition import Definition
from dagcelery.frontends.workflow import Workflow
from dagcelery.model import DAG
from dagcelery.payload.codecs import AsPickle

__all__ = ["DAGDefinition", "DAGInstance", "DAGPromise", "dagorama", "generate_instance_id", "resolve"]


class DAGDefinition(Workflow, serializer=AsPickle()):
    """The base of definitions: decorate methods, including one called `entrypoint`; values are pickled.

    Calling an object starts a run with the entrypoint's arguments, and returns an instance and a promise; if the
    entrypoint is async, it returns an awaitable of both.
    """

    workflow_driver = staticmethod(drive_node)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Start a run on the workers, and return at once."""
        if iscoroutinefunction(self._entry()):
            return self._acall(args, kwargs)
        return self._started(self.submit(*args, **kwargs), args, kwargs)

    def submit(self, *args: Any, **kwargs: Any) -> Run[Any]:
        """Start a run with the entrypoint's arguments on the workers, and return at once."""
        announce(places_of(type(self)))
        return super().submit(*args, **kwargs)

    async def asubmit(self, *args: Any, **kwargs: Any) -> Run[Any]:
        """`submit` without blocking the event loop."""
        await asyncio.to_thread(announce, places_of(type(self)))
        return await super().asubmit(*args, **kwargs)

    async def _acall(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[DAGInstance, DAGPromise]:
        return self._started(await self.asubmit(*args, **kwargs), args, kwargs)

    def _started(self, run: Run[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[DAGInstance, DAGPromise]:
        return DAGInstance(UUID(run.id), self), promise_of(run.id, self._entry(), args, kwargs)

    def _entry(self) -> Any:
        return getattr(self._begin, "original_fn", self._begin.fn)

    def _prepared(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], method: Definition[..., Any] | None = None
    ) -> tuple[DAG, dict[str, Any]]:
        check_no_promises([args, dict(kwargs)])
        return super()._prepared(args, kwargs, method)


def generate_instance_id() -> UUID:
    """Return an id for a `DAGInstance`."""
    return uuid4()


def resolve(instance: DAGInstance, promise: DAGPromise) -> Any:
    """Return the value of a promise, however many nodes later; None while it is not known.

    Raises NodeFailed, which names the node, if it never will be; it is also an error of the class that the node raised,
    if this process knows that class.
    """
    if not isinstance(promise, DAGPromise):
        remedy = "give both values that the call of a definition returned: resolve(instance, promise)"
        raise InvalidParameters(f"{promise!r}", "is not a promise", remedy)
    run: Run[Any] = Run(promise.identifier.hex)
    try:
        return run.result() if run.state.is_end else None
    except NodeFailed as error:
        raise as_it_was(error) from None


# -- errors of workers, which programs may catch by the class that a node raised --------------------
def as_it_was(error: NodeFailed) -> NodeFailed:
    """Return an error that is also one of the class that the node raised, where this process has that class already.

    None is imported because stored data names it.
    """
    raised = _loaded(error.type_name)
    if raised is None:
        return error
    try:
        told = _both(raised)(error.address, error.type_name, error.message, error.traceback)
    except TypeError:  # a class that cannot be mixed, or made without arguments of its own
        return error
    return told.with_traceback(error.__traceback__)


def _loaded(name: str) -> type[Exception] | None:
    """Return the class of an error by its qualified name; None if no loaded module has it."""
    parts = name.split(".")
    for at in range(len(parts)):
        found: object = sys.modules.get(".".join(parts[:at])) if at else builtins
        for part in parts[at:]:
            found = vars(found).get(part) if hasattr(found, "__dict__") else None
        if isinstance(found, type) and issubclass(found, Exception):
            return found
    return None


def _both(raised: type[Exception]) -> type[NodeFailed]:
    names = {"__module__": raised.__module__, "__qualname__": raised.__qualname__}
    return type(raised.__name__, (NodeFailed, raised), names)
