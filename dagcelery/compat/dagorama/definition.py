"""`dagorama.definition`: classes whose decorated methods are nodes, and the results of their runs."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import Any

from dagcelery.client import Run
from dagcelery.errors import InvalidParameters
from dagcelery.frontends.workflow import Workflow
from dagcelery.payload.codecs import AsPickle

__all__ = ["DAGDefinition", "DAGInstance", "DAGPromise", "resolve"]


@dataclass(frozen=True)
class DAGInstance:
    """One run of a definition."""

    instance_id: str
    definition: DAGDefinition


@dataclass(frozen=True)
class DAGPromise:
    """The value that the entrypoint will return."""

    identifier: str


class DAGDefinition(Workflow, serializer=AsPickle()):
    """The base of definitions: decorate methods, including one called `entrypoint`; values are pickled.

    Calling an object starts a run with the entrypoint's arguments, and returns an instance and a promise; if the
    entrypoint is async, it returns an awaitable of both.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Start a run on the workers, and return at once."""
        if iscoroutinefunction(self.entrypoint.fn):
            return self._acall(args, kwargs)
        return self._started(self.submit(*args, **kwargs))

    async def _acall(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[DAGInstance, DAGPromise]:
        return self._started(await self.asubmit(*args, **kwargs))

    def _started(self, run: Run[Any]) -> tuple[DAGInstance, DAGPromise]:
        return DAGInstance(run.id, self), DAGPromise(run.id)


def resolve(instance: DAGInstance, promise: DAGPromise) -> Any:
    """Return the value of the entrypoint, however many nodes later; None while it is not known.

    Raises NodeFailed, which names the node, if it never will be.
    """
    if not isinstance(promise, DAGPromise):
        remedy = "give both values that the call of a definition returned: resolve(instance, promise)"
        raise InvalidParameters(f"{promise!r}", "is not a promise", remedy)
    run: Run[Any] = Run(promise.identifier)
    return run.result() if run.state.is_end else None
