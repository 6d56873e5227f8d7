"""A workflow is a class: its decorated methods are nodes that call each other while the run goes on.

Its object travels with the nodes: by the name that it was registered with, else by value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from dagcelery.errors import InvalidDag
from dagcelery.frontends.functional.decorators import DagFunction, TaskFunction, task
from dagcelery.frontends.functional.definition import Definition
from dagcelery.frontends.functional.dynamic import drive
from dagcelery.frontends.functional.outputs import nothing_traced
from dagcelery.model.graph import DAG
from dagcelery.model.serializers import Serializer

if TYPE_CHECKING:
    from dagcelery.client import Run


T = TypeVar("T")

_MARK: Final = "dagcelery definition"

REGISTERED: Final[dict[str, Any]] = {}


def register_definition(definition: T, name: str | None = None) -> T:
    """Let nodes of `definition` name it instead of carrying it; every worker must register it where it is imported.

    It is called like its class, ``module:qualname``, unless a `name` tells several of one class apart. Returns it.

    Raises InvalidDag if another object has the name.
    """
    own_name = f"{type(definition).__module__}:{type(definition).__qualname__}"
    registered = REGISTERED.setdefault(name or own_name, definition)
    if registered is definition:
        return definition
    if type(registered).__qualname__ != type(definition).__qualname__:
        raise InvalidDag(f"definition {name or own_name!r}", f"is registered as {registered!r}", "give another name")
    if name is None and vars(registered) != vars(definition):
        raise InvalidDag(f"definition {own_name!r}", "is registered with another state", "give each a name")
    return definition


def drive_method(method: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call a workflow's method with its object; calls of other methods in it make a graph."""
    return drive(method, {name: found(value) for name, value in arguments.items()})


def found(value: object) -> object:
    """Return the registered object that a node names in its place, or the value itself."""
    if type(value) is not dict or value.keys() != {_MARK}:
        return value
    name = value[_MARK]
    if name not in REGISTERED:
        raise InvalidDag(
            f"definition {name!r}",
            "is not registered in this worker",
            "call register_definition(...) in a module that workers import, such as that of its class",
        )
    return REGISTERED[name]


class Workflow:
    """A graph that grows while it runs. Methods decorated with `task` become nodes when other decorated methods, or
    the entrypoint, call them in a run; all others are plain methods.

    ``class Crawl(Workflow, name="crawl", serializer=AsPickle())`` names the runs, and says how values travel that no
    task's own `serializer` carries. An object is in every node as its constructor made it; a change that a node makes
    stays in that node.
    """

    workflow_name: ClassVar[str] = ""
    workflow_serializer: ClassVar[Serializer | None] = None
    workflow_driver: ClassVar[Callable[..., Any]] = staticmethod(drive_method)
    """What workers call for each method, with the method and its arguments."""
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
        """Return this object as an argument of nodes: a mark with its name if it was registered, else itself."""
        name = next((name for name, registered in REGISTERED.items() if registered is self), None)
        return self if name is None else {_MARK: name}

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
            remedy = "define a method entrypoint(self, ...), whose arguments are those of submit"
            raise InvalidDag(f"workflow {type(self).__qualname__}", "has no entrypoint", remedy)
        return begin  # type: ignore[return-value]

    def _prepared(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], method: Definition[..., Any] | None = None
    ) -> tuple[DAG, dict[str, Any]]:
        """Return the DAG whose only node is a method, by default the entrypoint, and its parameters."""
        node, params = (method or self._begin)._prepared(args, kwargs)
        return self._named(node if isinstance(node, DAG) else node.__dag__()), params

    def _named(self, dag: DAG) -> DAG:
        options = dag.options
        if self.workflow_serializer is not None and options.serializer is None:
            options = replace(options, serializer=self.workflow_serializer)
        name = self.workflow_name
        return DAG(dag.nodes, dag.inputs, dag.outputs, name=name, options=options, returns=dag.returns)


def _make_nodes(cls: type[Workflow], base: type) -> None:
    """Make the decorated methods of a base class dynamic; other classes may not be workflows: theirs are copied."""
    for name, method in list(vars(base).items()):
        if name == "entrypoint" and callable(method) and not isinstance(method, Definition) and base is cls:
            method = task(method)
            setattr(cls, name, method)
        if not isinstance(method, TaskFunction) or method is not getattr(cls, name):
            continue
        if method._options.driver is not cls.workflow_driver:
            options = replace(method._options, driver=cls.workflow_driver)
            if base is cls:
                method._options = options
            else:
                setattr(cls, name, method._changed(_options=options, _dags={}))
