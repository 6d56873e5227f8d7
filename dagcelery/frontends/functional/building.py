"""Building runs a body with a few sample elements for each list, and makes a DAG of what it called.

The way of a body: its source is checked for questions that have no answer yet (`questions`); it runs with three
elements, with outputs for its parameters, and its calls are recorded (`trace`); those are made general: of what is
called for each element of a list, the first stands for all. That is right only if all elements are treated alike, and
if their number does not matter. So runs with lists of other lengths must be consistent with the general body: each
makes the very calls that it says for these lengths. What is left is lowered to nodes (`lowering`). `when` builds its
two branches in the same way, within the body around it.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod
from typing import Any, Final, NamedTuple, TypeVar, overload

from dagcelery import collector
from dagcelery.errors import InvalidDag, InvalidDagType
from dagcelery.frontends.functional.lowering import lowered, lowered_value
from dagcelery.frontends.functional.outputs import Output, Recorder, current
from dagcelery.frontends.functional.questions import check_questions
from dagcelery.frontends.functional.recorded import (
    Call,
    CalledDag,
    Context,
    Element,
    GeneralBody,
    Parameter,
    Ref,
    Result,
    Spliced,
    Unrolled,
    between,
    between_calls,
    mapped,
)
from dagcelery.frontends.functional.sample_runs import THREE, SampleLengths, ValueNumbers, ValueTable, other_samples
from dagcelery.frontends.functional.trace import CONDITION, FreeVariables, Trace
from dagcelery.model.graph import DAG, NO_NODES, Node
from dagcelery.model.options import DagOptions
from dagcelery.model.sources import MOST_NESTED_DAGS, Choice, FromNodeOutput, FromParam, Literal, Source
from dagcelery.text import shown

# What is being built in this context: a DAG that calls itself would never come to an end.
_BUILDING: ContextVar[tuple[object, ...]] = ContextVar("dagcelery_building", default=())


def built(
    body: Callable[..., Any],
    parameters: Mapping[str, FromParam],
    annotations: Mapping[str, object],
    *,
    values: Mapping[str, object],
    name: str,
    options: DagOptions,
) -> DAG:
    """Return the DAG that `body` describes; it gets `values`, and an output for each of the other parameters."""
    check_questions(body, parameters, values)
    samples = _SampleRuns(body, {each: annotations.get(each) for each in parameters}, values, name)
    general = samples.general()
    if not general.calls:
        raise InvalidDag(f"DAG {name!r}", "calls no task", NO_NODES)
    with collector.paused():
        return lowered(general, parameters, name=name, options=options)


class _Branch(NamedTuple):
    """What a branch of `when` calls and returns; `inputs` are its free variables, `hint` annotates what it returns."""

    nodes: Mapping[str, Node]
    inputs: Mapping[str, FromParam]
    returns: Source
    hint: object


def _built_branch(body: Callable[[], object], free_variables: FreeVariables, name: str) -> _Branch:
    """Return what `body` describes, which stands within another body that is being built."""
    general = _SampleRuns(body, {}, {}, name, free_variables).general()
    hint = general.hint(general.returns) if isinstance(general.returns, Ref) else None
    inputs = {each: FromParam() for each in general.parameters}
    if not general.calls:
        return _Branch({}, inputs, lowered_value(general), hint)
    dag = lowered(general, inputs, name=name, options=DagOptions())
    declared = {each: source for each, source in dag.inputs.items() if isinstance(source, FromParam)}
    return _Branch(dag.nodes, declared, dag.returns or Literal(None), hint)


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
        problem = "nests DAGs or values more deeply than Python can follow, or its body calls itself without end"
        raise InvalidDag(f"DAG {name!r}", problem, _FLATTER) from error
    finally:
        _BUILDING.reset(token)


class _SampleRuns:
    """Runs of one body, with lists of different small lengths."""

    def __init__(
        self,
        body: Callable[..., Any],
        annotations: dict[str, object],
        values: Mapping[str, object],
        name: str,
        free_variables: FreeVariables | None = None,
    ) -> None:
        self.body = body
        self.annotations = annotations
        self.parameters = tuple(annotations)
        self.free_variables = free_variables
        self.values = values
        self.name = name
        self.table = ValueTable()

    def general(self) -> GeneralBody:
        """Return what the body says, of lists of any length. Raises InvalidDag."""
        trace, returned = self.traced(THREE)
        if not trace.lengths:
            return GeneralBody(tuple(trace.calls), returned, trace.parameters)  # nothing was iterated: it is general
        body = generalise(trace, returned)
        for samples in other_samples(trace.positions.values()):
            check_consistency(body, *self.traced_again(samples))
        return body

    def traced(self, samples: SampleLengths) -> tuple[Trace, Source]:
        trace = Trace(samples, self.annotations, self.table, self.free_variables)
        trace.home = getattr(self.body, "__qualname__", "")
        with trace:
            symbols = {name: trace.output(Ref(Parameter(name))) for name in self.parameters}
            try:
                returned = trace.source_of_returned(_driven(self.body(**symbols, **self.values)))
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

    def traced_again(self, samples: SampleLengths) -> tuple[Trace, Source]:
        try:
            return self.traced(samples)
        except InvalidDag:
            raise
        except Exception as error:
            raise InvalidDag(
                f"DAG {self.name!r}",
                f"fails while it is built with {samples.text} instead of three: {type(error).__name__}: {error}",
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
        problem = f"uses an output as if it had a value: {error}"
        return InvalidDagType(f"DAG {name!r}", problem, "compute in a task: pass the output to it as an argument")
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
    free_variables = FreeVariables(trace, (then, otherwise))
    branches = {
        name: _built_branch(branch, free_variables, f"the branch {name}= of when(...)")
        for name, branch in (("then", then), ("otherwise", otherwise))
        if branch is not None
    }
    return _recorded(trace, condition, free_variables, branches)


def _recorded(trace: Recorder, condition: Output, free: FreeVariables, branches: dict[str, _Branch]) -> Output:
    hints = [branch.hint for branch in branches.values()]
    hint = hints[0] if len(hints) == 2 and hints[0] == hints[1] else None
    callee = CalledDag("when", False, _dag(branches), hint)
    call = trace.record(callee, {CONDITION: condition, **free.outputs}, free.upstream)
    return trace.output(Ref(Result(call)))


def _dag(branches: dict[str, _Branch]) -> DAG:
    """Return the DAG that a `when` becomes: a node for each branch that calls anything, and what is chosen of them."""
    if not any(branch.nodes for branch in branches.values()):
        raise InvalidDag("when(...)", "calls no task in any branch", "choose between values in a task")
    inputs: dict[str, FromParam] = {CONDITION: FromParam()}
    nodes: dict[str, DAG] = {}
    results: dict[str, Source] = {"then": Literal(None), "otherwise": Literal(None)}
    for name, branch in branches.items():
        inputs |= {each: source for each, source in branch.inputs.items() if source.serializer or each not in inputs}
        results[name] = branch.returns
        if branch.nodes:
            nodes[name] = _node(name, branch)
            if branch.returns != Literal(None):
                results[name] = FromNodeOutput(name, "return_value")
    is_nothing = all(source == Literal(None) for source in results.values())
    returns = Literal(None) if is_nothing else Choice(FromParam(CONDITION), results["then"], results["otherwise"])
    outputs = {} if returns == Literal(None) else {"return_value": returns}
    return DAG(nodes, inputs, outputs, name="when", returns=returns)


def _node(name: str, branch: _Branch) -> DAG:
    inputs = {CONDITION: FromParam(CONDITION), **{each: FromParam(each) for each in branch.inputs}}
    outputs = {} if branch.returns == Literal(None) else {"return_value": branch.returns}
    return DAG(branch.nodes, inputs, outputs, name=name, only_if=(CONDITION, name == "then"))


def _check_branch(name: str, branch: object) -> None:
    if isinstance(branch, Output) or not callable(branch):
        problem = "is a value already, so that its nodes would belong to no branch"
        remedy = f"give a function: {name}=lambda: train(x)"
        raise InvalidDagType(f"{name}={shown(branch)} of when(...)", problem, remedy)
    try:
        inspect.signature(branch).bind()
    except TypeError:
        remedy = "use what is around it, as lambda: train(x) does"
        raise InvalidDagType(f"{name}= of when(...)", "wants arguments, and gets none", remedy) from None
    except ValueError:
        return  # a built-in function that does not say what it takes


def generalise(trace: Trace, returned: Source) -> GeneralBody:
    """Return what a sample run says of lists of any length; raise InvalidDag where elements are not treated alike."""
    generaliser = _Generaliser(trace)
    calls: list[Call] = []
    for number, call in enumerate(trace.calls):
        first = generaliser.first_of[number]
        general = generaliser.call(call, is_checked=first == number)
        if first == number:
            calls.append(general)
        elif difference := between_calls(general, calls[generaliser.numbers[first]]):
            raise generaliser.differs(call.context, difference)
    generaliser.check_numbers()
    return GeneralBody(tuple(calls), generaliser.source(returned, "the returned value"), trace.parameters)


class _Generaliser:
    """Finds the call for first elements that is like each call, `first_of` it; `numbers` are the new ones of those."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.first_of: list[int] = []
        self.numbers: dict[int, int] = {}
        at_place: dict[tuple[Context, int], int] = {}
        calls_in: Counter[Context] = Counter()
        for number, call in enumerate(trace.calls):
            place = tuple(map(self._first, call.context)), calls_in[call.context]
            calls_in[call.context] += 1
            first = at_place.setdefault(place, number)
            self.first_of.append(first)
            if first == number:
                self.numbers[number] = len(self.numbers)
                if not all(map(self._is_first, call.context)):
                    raise self.differs(call.context, f"calls {call.callee.name!r} more often")

    def call(self, call: Call, *, is_checked: bool) -> Call:
        """Return a call with its sources and its context by their new numbers."""
        place = f"the call of {call.callee.name!r}" if is_checked else ""
        arguments = {name: self.source(source, place) for name, source in call.arguments.items()}
        context = tuple([Element(self._ref(element.source), 0) for element in call.context])
        return Call(call.callee, arguments, self.source(call.after, place), context)

    def source(self, source: Source, place: str) -> Source:
        """Return a source by its new numbers, where all elements of a list that stand in another are one `Spliced`.

        If there is a `place` it is an error that the source is of other elements than the first.
        """
        if isinstance(source, Ref):
            if place and not self._is_left(source):
                raise InvalidDag(
                    f"{place} with {self.trace.title(source)}",
                    "needs some of the elements of a list, but not all in their order",
                    "pass the whole list, and choose, sort or pair its elements in the task that takes it",
                )
            return self._ref(source)
        if isinstance(source, Unrolled):
            first, *others = [self.source(item, place if at == 0 else "") for at, item in enumerate(source.items)]
            for other in others:
                if difference := between(other, first):
                    raise self.differs((Element(source.over, 1),), f"puts into a list {difference}")
            return Spliced(first, self._ref(source.over))
        return mapped(source, lambda part: self.source(part, place))

    def check_numbers(self) -> None:
        """Raise InvalidDag if a call is not made for all elements."""
        instances = Counter(self.first_of)
        for number in self.numbers:
            call = self.trace.calls[number]
            if instances[number] != prod([self.trace.length(element.source) for element in call.context]):
                raise self.differs(call.context, f"calls {call.callee.name!r} more often")

    def differs(self, context: Context, difference: str) -> InvalidDag:
        """Return the error that says how the elements of a list in `context` are not treated alike."""
        source = next((element.source for element in context if element.index), context[-1].source)
        return InvalidDag(
            f"what is done for each element of {self.trace.title(source)}",
            f"differs from one to the next: the body {difference}",
            "do the same for every element: decide in a task, number or pair the elements in the task that "
            "returns the list (enumerate, zip), and call before the loop what does not depend on the element",
        )

    def _first(self, element: Element) -> Element:
        source, base = element.source, element.source.base
        if isinstance(base, Result):
            source = Ref(Result(self.first_of[base.call], base.leaf), source.path)
        elif isinstance(base, Element):
            source = Ref(self._first(base), source.path)
        return Element(source, 0)

    def _ref(self, ref: Ref) -> Ref:
        base = ref.base
        if isinstance(base, Result):
            return Ref(Result(self.numbers[self.first_of[base.call]], base.leaf), ref.path)
        return Ref(Element(self._ref(base.source), 0), ref.path) if isinstance(base, Element) else ref

    def _is_left(self, ref: Ref) -> bool:
        if isinstance(ref.base, Element):
            return self._is_first(ref.base)
        return not isinstance(ref.base, Result) or ref.base.call in self.numbers

    def _is_first(self, element: Element) -> bool:
        return element.index == 0 and self._is_left(element.source)


def check_consistency(body: GeneralBody, trace: Trace, returned: Source) -> None:
    """Raise InvalidDag unless a sample run made the very calls that `body` says for lists of its lengths."""
    actual = trace.numbers.of_calls()
    lengths = {trace.numbers.of(source): length for source, length in trace.lengths.items()}
    general = ValueNumbers(body.calls, trace.table, lengths)
    try:
        difference = _difference(body, general.of_calls(), trace, actual)
        if not difference and general.of(body.returns) != trace.numbers.of(returned):
            difference = "returns something else"
            if isinstance(returned, Literal) and isinstance(body.returns, Literal):
                difference = f"returns {shown(returned.value)} instead of {shown(body.returns.value)}"
    except KeyError:
        difference = "does not iterate all lists"
    if difference:
        lengths_text = f"with {trace.samples.text} instead of three"
        raise InvalidDag(
            "the DAG",
            f"depends on how many elements a list has: {lengths_text} the body {difference}",
            "make it the same for any number: len, slices, range and if belong in a task that takes the "
            "list, and values that change from one time to the next are parameters",
        )


def _difference(
    body: GeneralBody, expected: list[tuple[int, int]], trace: Trace, actual: list[tuple[int, int]]
) -> str | None:
    left = Counter([value for _, value in expected])
    left.subtract([value for _, value in actual])
    extra = [trace.calls[call] for call, value in actual if left[value] < 0]
    missing = [body.calls[call] for call, value in expected if left[value] > 0]
    if not extra:
        return f"calls {missing[0].callee.name!r} less often" if missing else None
    name = extra[0].callee.name
    alike = next((call for call in missing if call.callee.name == name), None)
    if alike is not None:
        return _difference_of_call(extra[0], alike, trace.table)
    return f"calls {name!r}" + (f" instead of {missing[0].callee.name!r}" if missing else " more often")


def _difference_of_call(call: Call, other: Call, table: ValueTable) -> str:
    if table.callee(call.callee) != table.callee(other.callee):
        return f"calls {call.callee.name!r} with other options"
    for name, source in call.arguments.items():
        match source, other.arguments.get(name):
            case Literal(value=one), Literal(value=two) if table.literal(one) != table.literal(two):
                return f"gives {name!r} of {call.callee.name!r} {shown(one)} instead of {shown(two)}"
    return f"gives {call.callee.name!r} other arguments"
