"""Building runs a body with symbolic parameters, and turns what it called into a DAG; `when` chooses between branches.

A dynamic task is called for real, with real values; calls of tasks and DAGs in it make a graph that follows it.

What such a call returns is a promise. It may be given to other calls, and returned, in lists, tuples, sets and dicts
too. The body runs once, so its loops and branches are Python's own.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeVar, overload

from dagcelery.errors import InvalidDag, InvalidDagType
from dagcelery.frontends.functional.assembly import Grown, graph, lone
from dagcelery.frontends.functional.captures import CONDITION, Captures
from dagcelery.frontends.functional.definition import name_of
from dagcelery.frontends.functional.lowering import check_agreement, folded
from dagcelery.frontends.functional.outputs import REFUSED, Output, Recorder, current, title, trace_of
from dagcelery.frontends.functional.recorded import CalledDag, Parameter, Ref, Result, hint_of
from dagcelery.frontends.functional.sample_lengths import THREE, Probes, others
from dagcelery.frontends.functional.trace import Trace
from dagcelery.frontends.functional.value_numbering import Table
from dagcelery.model.graph import DAG, Node
from dagcelery.model.options import DagOptions
from dagcelery.model.rules import MOST_NESTED_DAGS
from dagcelery.model.sources import Choice, FromNodeOutput, FromParam, Literal, Source
from dagcelery.text import shown

# What is being built in this context: a DAG that calls itself would never come to an end.
_BUILDING: ContextVar[tuple[object, ...]] = ContextVar("dagcelery_building", default=())


def built(
    body: Callable[..., Any],
    parameters: Mapping[str, FromParam],
    annotations: Mapping[str, object],
    *,
    known: Mapping[str, object],
    name: str,
    options: DagOptions,
) -> DAG:
    """Return the DAG that `body` describes; it gets the values `known`, and an output for each parameter."""
    from dagcelery.frontends.functional.questions import check_questions  # here, since only building needs it

    check_questions(body, parameters, known)
    run = _Body(body, {each: annotations.get(each) for each in parameters}, known, name)
    trace, returned = run.traced(THREE)
    three = folded(trace, returned)
    for probes in others(trace.positions.values()):
        check_agreement(three, *run.traced_again(probes))
    if not three.calls:
        raise InvalidDag(f"DAG {name!r}", "calls no task", "A DAG needs to contain at least one node")
    return graph(three, parameters, run.annotations, name=name, options=options)


@dataclass(frozen=True)
class Branch:
    """What a branch of `when` calls and returns; `inputs` are what it captures, `hint` is what it returns if known."""

    nodes: Mapping[str, Node]
    inputs: Mapping[str, FromParam]
    returns: Source
    hint: object


def built_branch(body: Callable[[], object], captures: Captures, name: str) -> Branch:
    """Return what `body` describes, which stands within another body that is being built."""
    run = _Body(body, {}, {}, name, captures)
    trace, returned = run.traced(THREE)
    three, options = folded(trace, returned), DagOptions()
    for probes in others(trace.positions.values()):
        check_agreement(three, *run.traced_again(probes))
    hint = hint_of(returned, trace.calls, trace.parameters) if isinstance(returned, Ref) else None
    inputs = {each: FromParam() for each in run.annotations}
    if not three.calls:
        return Branch({}, inputs, lone(three, run.annotations, options), hint)
    made = graph(three, inputs, run.annotations, name=name, options=options)
    declared = {each: source for each, source in made.inputs.items() if isinstance(source, FromParam)}
    return Branch(made.nodes, declared, made.returns or Literal(None), hint)


_FLATTER: Final = "use fewer levels: a DAG may call as many others as it likes, one after the other"


@contextmanager
def recursion_refused(identity: object, name: str) -> Iterator[None]:
    """Raise InvalidDag if `identity` is being built already, further up this stack."""
    if identity in _BUILDING.get():
        raise InvalidDag(
            f"DAG {name!r}",
            "calls itself while it is built, which has no end",
            "let a static parameter that gets smaller end it, or loop within a task",
        )
    if len(_BUILDING.get()) >= MOST_NESTED_DAGS:
        raise InvalidDag(f"DAG {name!r}", f"is nested in {MOST_NESTED_DAGS} others", _FLATTER)
    token = _BUILDING.set((*_BUILDING.get(), identity))
    try:
        yield
    except RecursionError as error:
        if len(_BUILDING.get()) > 1:
            raise
        wrong = "nests DAGs or values more deeply than Python can follow, or its body calls itself without end"
        raise InvalidDag(f"DAG {name!r}", wrong, _FLATTER) from error
    finally:
        _BUILDING.reset(token)


class _Body:
    def __init__(
        self,
        body: Callable[..., Any],
        annotations: dict[str, object],
        known: Mapping[str, object],
        name: str,
        captures: Captures | None = None,
    ) -> None:
        self.body = body
        self.annotations = annotations
        self.parameters = tuple(annotations)
        self.captures = captures
        self.known = known
        self.name = name
        self.table = Table()

    def traced(self, probes: Probes) -> tuple[Trace, Source]:
        trace = Trace(probes, self.annotations, self.table, self.captures)
        trace.home = getattr(self.body, "__qualname__", "")
        with trace:
            symbols = {name: trace.output(Ref(Parameter(name))) for name in self.parameters}
            try:
                returned = trace.source(_driven(self.body(**symbols, **self.known)))
            except Exception as error:
                if trace.refused is not None and error is not trace.refused:
                    raise trace.refused from None  # it is what led to this
                explained = _explained(error, trace, self.name)
                if explained is error:
                    raise
                raise explained from error
            if trace.refused is not None:
                raise trace.refused  # the body caught it, and went on as if it knew something
            trace.settle()
        return trace, returned

    def traced_again(self, probes: Probes) -> tuple[Trace, Source]:
        try:
            return self.traced(probes)
        except InvalidDag:
            raise
        except Exception as error:
            raise InvalidDag(
                f"DAG {self.name!r}",
                f"fails while it is built with {probes.told} instead of three: {type(error).__name__}: {error}",
                "indexes, len and slices of lists belong in a task that takes the whole list",
            ) from error


def _driven(returned: object) -> object:
    """Return what a coroutine returns; outputs await to themselves, so that nothing has to wait."""
    if not inspect.iscoroutine(returned):
        return returned
    try:
        returned.send(None)
    except StopIteration as finished:
        return finished.value
    except RuntimeError as error:
        if "event loop" in str(error):
            raise _waits(returned.__name__) from error
        raise
    returned.close()
    raise _waits(returned.__name__)


def _waits(name: str) -> InvalidDag:
    return InvalidDag(
        f"the body of {name!r}",
        "awaits something else than the output of a task",
        "await real events in an async task, and outputs one by one instead of by asyncio.gather: "
        "a body only says which tasks there are",
    )


def _explained(error: Exception, trace: Trace, name: str) -> Exception:
    if isinstance(error, InvalidDag):
        return error
    if isinstance(error, ValueError) and trace.lengths and "values to unpack" in str(error):
        return InvalidDag(
            "an output on the right of 'a, b = ...'",
            f"is taken apart, but is not known to be a tuple of that size ({error})",
            "annotate the task, for example -> tuple[int, str], or say @task(outputs=2)",
        )
    if isinstance(error, TypeError) and Output.__name__ in str(error):
        wrong = f"uses an output as if it had a value: {error}"
        return InvalidDagType(f"DAG {name!r}", wrong, "compute in a task: pass the output to it as an argument")
    return error


T = TypeVar("T")

U = TypeVar("U")


@overload
def when(condition: object, then: Callable[[], T], otherwise: Callable[[], U]) -> T | U: ...


@overload
def when(condition: object, then: Callable[[], T], otherwise: None = None) -> T | None: ...


def when(condition: object, then: Callable[[], Any], otherwise: Callable[[], Any] | None = None) -> Any:
    """Return what `then` returns if the condition is true, else what `otherwise` does, None without one.

    In a DAG's body the condition is an output or a parameter, and a worker decides. Both branches are read, so that it
    is known what they call, and the nodes of one of them are skipped. Give functions without parameters, such as
    ``lambda: train(x)``. A condition that has a value chooses at once, as it does outside of a body. Raises InvalidDag.
    """
    for name, branch in (("then", then), ("otherwise", otherwise)):
        if branch is not None or name == "then":
            _check_branch(name, branch)
    trace = current()
    if trace is None or not isinstance(condition, Output):
        chosen = then if condition else otherwise
        return None if chosen is None else chosen()
    captures = Captures(trace, (then, otherwise))
    branches = {"then": built_branch(then, captures, "the branch then= of when(...)")}
    if otherwise is not None:
        branches["otherwise"] = built_branch(otherwise, captures, "the branch otherwise= of when(...)")
    return _recorded(trace, condition, captures, branches)


def _recorded(trace: Recorder, condition: Output, captures: Captures, branches: dict[str, Branch]) -> Output:
    hints = [branch.hint for branch in branches.values()]
    hint = hints[0] if len(hints) == 2 and hints[0] == hints[1] else None
    callee = CalledDag("when", False, _dag(branches), hint)
    call = trace.record(callee, {CONDITION: condition, **captures.outputs}, captures.upstream)
    return trace.output(Ref(Result(call)))


def _dag(branches: dict[str, Branch]) -> DAG:
    """Return the DAG that a `when` becomes: a node for each branch that calls anything, and what is chosen of them."""
    if not any(branch.nodes for branch in branches.values()):
        raise InvalidDag("when(...)", "calls no task in any branch", "choose between values in a task")
    inputs: dict[str, FromParam] = {CONDITION: FromParam()}
    nodes: dict[str, DAG] = {}
    given: dict[str, Source] = {"then": Literal(None), "otherwise": Literal(None)}
    for name, branch in branches.items():
        inputs |= {each: source for each, source in branch.inputs.items() if source.serializer or each not in inputs}
        given[name] = branch.returns
        if branch.nodes:
            nodes[name] = _node(name, branch)
            if branch.returns != Literal(None):
                given[name] = FromNodeOutput(name, "return_value")
    is_nothing = all(source == Literal(None) for source in given.values())
    returns = Literal(None) if is_nothing else Choice(FromParam(CONDITION), given["then"], given["otherwise"])
    outputs = {} if returns == Literal(None) else {"return_value": returns}
    return DAG(nodes, inputs, outputs, name="when", returns=returns)


def _node(name: str, branch: Branch) -> DAG:
    inputs = {CONDITION: FromParam(CONDITION), **{each: FromParam(each) for each in branch.inputs}}
    outputs = {} if branch.returns == Literal(None) else {"return_value": branch.returns}
    return DAG(branch.nodes, inputs, outputs, name=name, only_if=(CONDITION, name == "then"))


def _check_branch(name: str, branch: object) -> None:
    if isinstance(branch, Output) or not callable(branch):
        wrong = "is a value already, so that its nodes would belong to no branch"
        raise InvalidDagType(f"{name}={shown(branch)} of when(...)", wrong, f"give a function: {name}=lambda: train(x)")
    try:
        inspect.signature(branch).bind()
    except TypeError:
        right = "use what is around it, as lambda: train(x) does"
        raise InvalidDagType(f"{name}= of when(...)", "wants arguments, and gets none", right) from None
    except ValueError:
        return  # a built-in function that does not say what it takes


_NO_PROBES: Final = Probes("real values", 1)


def drive(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call a dynamic task's function; returns its value, or its graph if it called tasks or DAGs."""
    from dagcelery.frontends.functional.questions import check_questions_of_task  # here, as where DAGs are built

    check_questions_of_task(function, arguments)
    with Growth(name_of(function)) as growth:
        returned = function(**arguments)
        if not inspect.isawaitable(returned) or isinstance(returned, Output):
            return growth.ended(returned)
    return _awaited(growth, returned)


async def _awaited(growth: Growth, returned: Awaitable[Any]) -> Any:
    # The loop may run in another thread than the call.
    with growth.resumed():
        return growth.ended(await returned)


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


def _refuse(promise: Output, wrong: str, *, is_final: bool = True) -> NoReturn:
    error = InvalidDagType(title(promise), f"{wrong}: it has no value yet in the task that called for it", _PASS_ON)
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


class Growth(Trace):
    """The calls of a running dynamic task, in their order; `name` is what its graph is called."""

    is_growth = True

    def __init__(self, name: str) -> None:
        super().__init__(_NO_PROBES, {}, Table())
        self.name = name
        self.place = "the running task"
        self.home = name.rpartition(":")[2]
        self._promises: list[Promise] = []

    def __enter__(self) -> Growth:
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

    def resumed(self) -> Growth:
        """Go on in the thread that this is called in."""
        self.thread = threading.get_ident()
        return self

    def ended(self, returned: Any) -> Any:
        """Return what the task returned, or the graph that it stands for if there were calls."""
        # Whatever an iterator calls, it calls now; and it may give one object again and again, changed.
        source = self.source(returned) if isinstance(returned, Iterator) else None
        if self.refused is not None:
            raise self.refused
        if not self.calls:
            return source.value if isinstance(source, Literal) else returned
        returns = source or self.source(returned)
        self.settle()
        return Grown(self.name, self.calls, returns)
