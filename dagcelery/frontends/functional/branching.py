"""`when` chooses between two branches of a DAG by a value that only a run will know."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, overload

from dagcelery.errors import InvalidDag, InvalidDagType
from dagcelery.frontends.functional.building import Branch, built_branch
from dagcelery.frontends.functional.calls import CalledDag
from dagcelery.frontends.functional.captures import CONDITION, Captures
from dagcelery.frontends.functional.output import Output
from dagcelery.frontends.functional.refs import Ref, Result
from dagcelery.frontends.functional.trace import Trace, current
from dagcelery.model.graph import DAG
from dagcelery.model.sources import Choice, FromNodeOutput, FromParam, Literal, Source
from dagcelery.text import shown

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


def _recorded(trace: Trace, condition: Output, captures: Captures, branches: dict[str, Branch]) -> Output:
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
