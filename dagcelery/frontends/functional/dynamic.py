"""A dynamic task is called with real values; the calls of tasks and DAGs that it makes are a graph that follows it.

What such a call returns is a promise. It may be given to other calls, and returned, in lists, tuples, sets and dicts
too. The body runs once, so its loops and branches are Python's own. Graphs that differ only in values have one shape,
and share one DAG.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping
from typing import Any, Final, NoReturn, cast

from dagcelery import bounded
from dagcelery.errors import InvalidDagType
from dagcelery.frontends.functional.definition import name_of
from dagcelery.frontends.functional.lowering import wishes_of
from dagcelery.frontends.functional.outputs import REFUSED, Output, title, trace_of
from dagcelery.frontends.functional.questions import check_questions_of_task
from dagcelery.frontends.functional.recorded import Call, CalledTask, Ref, Result, leaves, mapped
from dagcelery.frontends.functional.sample_runs import SampleLengths, ValueTable
from dagcelery.frontends.functional.trace import Trace
from dagcelery.model.graph import DAG, Node, Task
from dagcelery.model.names import UniqueNames
from dagcelery.model.nodes import FromReturnValue
from dagcelery.model.serializers import Serializer, serializer_at
from dagcelery.model.sources import DictOf, FromNodeOutput, ListOf, Literal, Open, SetOf, Source, TupleOf
from dagcelery.objects import identity

_NO_SAMPLES: Final = SampleLengths("real values", 1)


def drive(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call a dynamic task's function; return its value, or its graph if it called tasks or DAGs."""
    check_questions_of_task(function, arguments)
    with DynamicTrace(name_of(function)) as trace:
        returned = function(**arguments)
        if not inspect.isawaitable(returned) or isinstance(returned, Output):
            return trace.ended(returned)
    return _awaited(trace, returned)


async def _awaited(trace: DynamicTrace, returned: Awaitable[Any]) -> Any:
    # The loop may run in another thread than the call.
    with trace.resumed():
        return trace.ended(await returned)


class Promise(Output):
    """What a call in a running dynamic task returns: the value that will be there, for others to take."""

    __slots__ = ()

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(f"{title(self)} has no attribute {name!r}")
        _refuse(self, f"cannot be asked for its property {name!r}")

    def __getitem__(self, key: Any) -> NoReturn:
        _refuse(self, "cannot be asked for what lies in it")

    def __iter__(self) -> Iterator[Output]:
        _refuse(self, "cannot be iterated or taken apart")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        _refuse(self, f"cannot be given the property {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        _refuse(self, f"cannot lose the property {name!r}")


def _refuse(promise: Output, problem: str, *, is_final: bool = True) -> NoReturn:
    error = InvalidDagType(title(promise), f"{problem}: it has no value yet in the task that called for it", _PASS_ON)
    if is_final:  # it holds even if the task catches it
        trace_of(promise).refused = trace_of(promise).refused or error
    raise error


_PASS_ON: Final = "pass it on to a task, as an argument or in a list, tuple, set or dict: there it is the value"


def _refusal(name: str) -> Callable[..., NoReturn]:
    def refuse(self: Promise, *_: object, **__: object) -> NoReturn:
        # Python itself asks for a length, and goes on without one.
        _refuse(self, REFUSED[name], is_final=name != "len")

    return refuse


for _name in REFUSED:
    setattr(Promise, f"__{_name}__", _refusal(_name))


class DynamicTrace(Trace):
    """The calls of a running dynamic task, in their order; `name` is what its graph is called."""

    is_dynamic = True

    def __init__(self, name: str) -> None:
        super().__init__(_NO_SAMPLES, {}, ValueTable())
        self.name = name
        self.place = "the running task"
        self.home = name.rpartition(":")[2]

    def __enter__(self) -> DynamicTrace:
        super().__enter__()
        return self

    def output(self, ref: Ref) -> Output:
        """Return the promise of a call."""
        return Promise(self, ref)

    def hash_of(self, ref: Ref) -> int:
        """Return the hash of a promise: each is itself only."""
        return hash(ref)

    def title(self, ref: Ref) -> str:
        """Return what to call a promise in an error."""
        assert isinstance(ref.base, Result), "a running task has values, not parameters and elements"
        return f"the promise of {self.calls[ref.base.call].callee.name!r}"

    def resumed(self) -> DynamicTrace:
        """Go on in the thread that this is called in."""
        self.thread = threading.get_ident()
        return self

    def ended(self, returned: Any) -> Any:
        """Return what the task returned, or the graph that it stands for if there were calls."""
        # Whatever an iterator calls, it calls now; and it may give one object again and again, changed.
        source = self.source_of_returned(returned) if isinstance(returned, Iterator) else None
        if self.refused is not None:
            raise self.refused
        if not self.calls:
            return source.value if isinstance(source, Literal) else returned
        returns = source or self.source_of_returned(returned)
        self.settle()
        return DynamicGraph(self.name, self.calls, returns)


_VALUE: Final = "return_value"

_MOST_SHAPES: Final = 256

_shapes: dict[Hashable, tuple[DAG, list[Call]]] = {}
"""DAGs by shape. The calls that they were made of are remembered, since a shape names functions by their ids."""


class DynamicGraph:
    """A graph that a running task made: all that it called, and what it returned."""

    def __init__(self, name: str, calls: list[Call], returns: Source) -> None:
        self._name = name
        self._calls = calls
        self._returns = returns

    def __dag__(self) -> DAG:
        """Return the graph as a DAG without parameters. Raises InvalidDag."""
        return _dag(self._name, self._calls, self._returns)

    def __shape__(self) -> tuple[DAG, list[object]] | None:
        """Return a DAG where each value is left open, one object for all graphs of this shape, and the values; None
        if a DAG is called, which values may shape.
        """
        if not all(isinstance(call.callee, CalledTask) for call in self._calls):
            return None
        values: list[object] = []
        shape = self._name, tuple([_call_shape(call, values) for call in self._calls]), _shape(self._returns, values)
        opened = _shapes.get(shape)
        if opened is None:
            opened = bounded.put(_shapes, shape, (self._opened(), self._calls), _MOST_SHAPES)
        return opened[0], values

    def _opened(self) -> DAG:
        count = 0

        def opened(source: Source) -> Source:
            nonlocal count
            if isinstance(source, Literal):
                count += 1
                return Literal(Open(count - 1))
            return mapped(source, opened)

        calls = [
            Call(call.callee, {name: opened(source) for name, source in call.arguments.items()}, call.after, ())
            for call in self._calls
        ]
        return _dag(self._name, calls, opened(self._returns))


def _dag(name: str, calls: list[Call], returns: Source) -> DAG:
    unique = UniqueNames()
    names = [(unique.fix if call.callee.name_is_fixed else unique.give)(call.callee.name) for call in calls]

    def placed(source: Source) -> Source:
        if isinstance(source, Ref):
            return FromNodeOutput(names[_call_of(source)], _VALUE)
        return mapped(source, placed)

    inputs = [{key: placed(source) for key, source in call.arguments.items()} for call in calls]
    wanted: dict[str, Serializer] = {}
    for call, sources in zip(calls, inputs, strict=True):
        read = {key: source.node for key, source in sources.items() if isinstance(source, FromNodeOutput)}
        for key, serializer in wishes_of(call.callee).items() if read else ():
            if key in read:
                wanted.setdefault(read[key], serializer)
    nodes = {
        title: _node(call, sources, [names[_call_of(ref)] for ref in leaves(call.after)], wanted.get(title))
        for title, call, sources in zip(names, calls, inputs, strict=True)
    }
    return DAG(nodes, name=name, returns=placed(returns))


def _call_of(ref: Ref) -> int:
    return cast(Result, ref.base).call


def _node(call: Call, inputs: Mapping[str, Source], after: list[str], wanted: Serializer | None) -> Node:
    callee = call.callee
    if isinstance(callee, CalledTask):
        serializer = serializer_at(callee.options.serializer, callee.returns, ()) or wanted
        output = FromReturnValue(serializer)
        return Task(callee.func, inputs, {_VALUE: output}, options=callee.options, after=dict.fromkeys(after))
    dag = callee.dag
    outputs = {_VALUE: dag.returns or Literal(None)}
    return DAG(dag.nodes, inputs, outputs, name=dag.name, options=dag.options, after=dict.fromkeys(after))


def _call_shape(call: Call, values: list[object]) -> Hashable:
    callee = cast(CalledTask, call.callee)
    task = callee.name, callee.name_is_fixed, id(callee.func), id(callee.options)
    arguments = tuple([(name, _shape(source, values)) for name, source in call.arguments.items()])
    return task, arguments, _shape(call.after, [])


def _shape(source: Source, values: list[object]) -> Hashable:
    """Return what distinguishes a source from others but for its values, which are put into `values` in their order."""
    if isinstance(source, Literal):
        values.append(source.value)
        return None
    if isinstance(source, Ref):
        return _call_of(source)
    if isinstance(source, DictOf):
        return "dict", tuple([(identity(key) or object(), _shape(value, values)) for key, value in source.pairs])
    assert isinstance(source, ListOf | TupleOf | SetOf)
    return type(source), tuple([_shape(item, values) for item in source.items if isinstance(item, Source)])
