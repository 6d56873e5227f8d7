"""Building runs the body of a DAG with symbolic parameters, and turns what it called into a DAG."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from dagcelery.errors import InvalidDag, InvalidDagType
from dagcelery.frontends.functional.agreement import check_agreement
from dagcelery.frontends.functional.calls import hint_of
from dagcelery.frontends.functional.captures import Captures
from dagcelery.frontends.functional.fold import folded
from dagcelery.frontends.functional.graph import graph, lone
from dagcelery.frontends.functional.output import Output
from dagcelery.frontends.functional.probes import THREE, Probes, others
from dagcelery.frontends.functional.refs import Parameter, Ref
from dagcelery.frontends.functional.terms import Table
from dagcelery.frontends.functional.trace import Trace
from dagcelery.model.graph import DAG, Node
from dagcelery.model.options import DagOptions
from dagcelery.model.source_rules import MOST_NESTED_DAGS
from dagcelery.model.sources import FromParam, Literal, Source

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
