"""`Workflow` is what classes of tasks derive from; each run of one begins with its `entrypoint`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from dagcelery.errors import InvalidDag
from dagcelery.frontends.functional.dag_function import DagFunction
from dagcelery.frontends.functional.decorators import task
from dagcelery.frontends.functional.definition import Definition
from dagcelery.frontends.functional.task_function import TaskFunction
from dagcelery.frontends.functional.trace import nothing_traced
from dagcelery.frontends.workflow.definitions import drive_method, named
from dagcelery.model.graph import DAG
from dagcelery.model.serializers import Serializer

if TYPE_CHECKING:
    from dagcelery.client import Run


class Workflow:
    """A graph that grows while it runs. Methods decorated with `task` become nodes when other decorated methods, or
    the entrypoint, call them in a run; all others are plain methods.

    ``class Crawl(Workflow, name="crawl", serializer=AsPickle())`` names the runs, and says how values travel that no
    task's own `serializer` carries. An object keeps what its constructor gave it, in every node; what a node changes
    in it nobody else sees.
    """

    workflow_name: ClassVar[str] = ""
    workflow_serializer: ClassVar[Serializer | None] = None
    entrypoint: Any

    def __init_subclass__(cls, *, name: str | None = None, serializer: Serializer | None = None, **others: Any) -> None:
        super().__init_subclass__(**others)
        cls.workflow_name = name or f"{cls.__module__}:{cls.__qualname__}"
        cls.workflow_serializer = serializer or cls.workflow_serializer
        for base in reversed(cls.__mro__):
            if base is not Workflow:
                _make_nodes(cls, base)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the entrypoint as plain Python, with all that it calls."""
        return self._begin(*args, **kwargs)

    def __dag__(self) -> DAG:
        """Return the DAG whose only node is the entrypoint."""
        return self._named(self._begin.__dag__())

    def __definition__(self) -> object:
        """Return what stands for this object in a node."""
        return named(self)

    def submit(self, *args: Any, **kwargs: Any) -> Run[Any]:
        """Start a run with the entrypoint's arguments on the workers, and return at once."""
        from dagcelery import client

        dag, params = self._prepared(args, kwargs)
        with nothing_traced():
            return client.submit(dag, params)

    async def asubmit(self, *args: Any, **kwargs: Any) -> Run[Any]:
        """`submit` without blocking the event loop."""
        from dagcelery import client

        return await client.asubmit(*self._prepared(args, kwargs))

    def invoke(self, *args: Any, **kwargs: Any) -> Any:
        """Run it with the entrypoint's arguments in this process, and return the value."""
        from dagcelery import client

        dag, params = self._prepared(args, kwargs)
        with nothing_traced():
            return client.invoke(dag, params)

    @property
    def _begin(self) -> TaskFunction[..., Any] | DagFunction[..., Any]:
        begin: Any = getattr(self, "entrypoint", None)
        if not isinstance(begin, Definition):
            right = "define a method entrypoint(self, ...), whose arguments are those of submit"
            raise InvalidDag(f"workflow {type(self).__qualname__}", "has no entrypoint", right)
        return begin  # type: ignore[return-value]

    def _prepared(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[DAG, dict[str, Any]]:
        node, params = self._begin._prepared(args, kwargs)
        return self._named(node if isinstance(node, DAG) else node.__dag__()), params

    def _named(self, dag: DAG) -> DAG:
        options = dag.options
        if self.workflow_serializer is not None and options.serializer is None:
            options = replace(options, serializer=self.workflow_serializer)
        name = self.workflow_name
        return DAG(dag.nodes, dag.inputs, dag.outputs, name=name, options=options, returns=dag.returns)


def _make_nodes(cls: type[Workflow], base: type) -> None:
    """Make dynamic what a base class decorated; those of other classes, which may be no workflows, are copied."""
    for name, found in list(vars(base).items()):
        if (
            isinstance(found, TaskFunction)
            and found._options.driver is not drive_method
            and found is getattr(cls, name)
        ):
            options = replace(found._options, driver=drive_method)
            if base is cls:
                found._options = options
            else:
                setattr(cls, name, found._changed(_options=options, _dags={}))
        elif name == "entrypoint" and callable(found) and not isinstance(found, Definition) and base is cls:
            entrypoint = task(found)
            entrypoint._options = replace(entrypoint._options, driver=drive_method)
            setattr(cls, name, entrypoint)
