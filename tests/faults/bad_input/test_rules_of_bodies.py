"""The rules that a DAG keeps which is written as a function: each broken one is told when its body is built."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from dagcelery import build, dag, invoke, task
from dagcelery.errors import InvalidDag, InvalidDagType

from .telling import Bad
from .vocabulary import echo, map_reduce, numbers, power, squares_of, total


def built(body: Callable[..., Any]) -> Callable[[], object]:
    return lambda: build(dag(body))


async def waiting(n: int) -> int:
    await asyncio.sleep(0)
    return power(n)


@dag
def endless(n: int) -> int:
    return endless(power(n))


@dag(static="folds")
def folded(x: int, folds: int) -> list[int]:
    return [power(x, k) for k in range(folds)]


def apart(n: int) -> int:
    first, _second = power(n)
    return echo(first)


REFUSED = {
    "1 a body without a task": Bad(built(lambda n: n), "DAG", "calls no task", "at least one node"),
    "2 a node name with a slash": Bad(
        built(lambda n: power.options(name="a/b")(n)), "node 'a/b'", "not a valid name", "letters, digits"
    ),
    "2 a node name given twice": Bad(
        built(lambda n: [power.options(name="a")(n), power.options(name="a")(n)]), "'a'", "given twice", "become 'a-2'"
    ),
    "18 a DAG that calls itself": Bad(lambda: build(endless), "endless", "calls itself", "loop within a task"),
    "20 *args": Bad(lambda: task(lambda *xs: xs), "'*xs'", "cannot be given by name", "such as a list"),
    "20 a parameter by position": Bad(lambda: dag(lambda x, /: x), "'x'", "cannot be given by name", "use parameters"),
    "20 **kwargs of a DAG": Bad(lambda: dag(lambda **xs: xs), "'**xs'", "has no names", "name each of them"),
    "20 no function": Bad(lambda: task(3), "3", "cannot be called", "decorate a function"),
    "20 a built-in without a signature": Bad(lambda: task(dict), "dict", "which parameters it has", "wrap it"),
    "21 an argument too few": Bad(built(lambda n: power()), "the call of 'power'", "'x'", "call it as (x"),
    "21 an argument too many": Bad(built(lambda n: power(n, n, n)), "'power'", "too many", "call it as (x"),
    "21 an argument of another name": Bad(built(lambda n: power(n, exp=n)), "'power'", "'exp'", "call it as (x"),
    "21 a nested DAG's argument": Bad(built(lambda n: map_reduce(m=n)), "'map_reduce'", "'n'", "call it as (n"),
    "23 two lists in one loop": Bad(
        built(lambda xs, ys: [power(x, y) for x in xs for y in ys]),
        "'power'",
        "two different lists",
        "def inner(x, ys)",
    ),
    "23 a list with itself": Bad(
        built(lambda xs: [power(x, y) for x in xs for y in xs]), "'power'", "every element", "def inner(x, ys)"
    ),
    "26 a name of Python's own": Bad(
        built(lambda n: power(n).__wrapped__), "the output of 'power'", "'__wrapped__'", "read it in a task"
    ),
    "27 one element of a list": Bad(
        built(lambda n: [power(x) for x in numbers(n)][1]), "'power'", "one element of a list", "the list of all"
    ),
    "a condition": Bad(built(lambda n: echo(1) if power(n) else n), "'power'", "true or false", "decide in a task"),
    "a length": Bad(built(lambda n: range(len(numbers(n)))), "'numbers'", "no length", "count in a task"),
    "a range": Bad(
        built(lambda n: [power(k) for k in range(n)]), "parameter 'n'", "not a number", "@dag(static=('n',))"
    ),
    "a text": Bad(built(lambda n: echo(f"{power(n)}")), "'power'", "not text", "write the text in a task"),
    "a sum": Bad(built(lambda n: power(n) + 1), "'power'", "__add__", "compute in a task"),
    "a slice": Bad(built(lambda n: numbers(n)[:2]), "'numbers'", "cannot be sliced", "slice it in a task"),
    "a pair for a key": Bad(built(lambda n: echo(n)[1, 2]), "'echo'", "key (1, 2)", "a word or a number"),
    "an output for a key": Bad(built(lambda n: echo({power(n): 1})), "'power'", "is a key", "build the dict in a task"),
    "a number of elements": Bad(
        built(lambda n: echo(len([power(x) for x in numbers(n)]))), "the DAG", "how many elements", "belong in a task"
    ),
    "a value taken apart": Bad(built(apart), "'a, b = ...'", "not known to be a tuple", "@task(outputs=2)"),
    "a real event": Bad(lambda: build(dag(waiting)), "body of 'waiting'", "awaits something else", "async task"),
    "an order after nothing": Bad(
        built(lambda n: power.after(3)(n)),
        "power.after(3)",
        "not the output of a node",
        "what a task or a DAG returned",
    ),
    "a static parameter without a value": Bad(lambda: build(folded), "'folds'", "has no value", "build(d, folds=...)"),
    "a static parameter that is an output": Bad(
        built(lambda n: folded(n, folds=power(n))), "'folds'", "the output of 'power'", "a plain value"
    ),
    "a static parameter of another name": Bad(
        lambda: build(folded, fold=2), "'fold'", "not a static parameter", "mean 'folds'"
    ),
    "a static parameter of a task": Bad(
        lambda: build(power, x=2), "'x'", "not a static parameter", "only a DAG has static parameters"
    ),
    "a function that is not decorated": Bad(lambda: build(len), "len", "not a decorated function", "@dag or @task"),
}


@pytest.mark.parametrize("rule", REFUSED)
def test_a_body_that_breaks_a_rule_is_refused_when_it_is_built(rule: str) -> None:
    REFUSED[rule].is_refused()


def test_an_attribute_of_pythons_own_is_missed_as_python_expects_it() -> None:
    with pytest.raises(AttributeError):
        REFUSED["26 a name of Python's own"].do()


@pytest.mark.parametrize("rule", ["20 no function", "21 an argument too few", "a range", "a sum"])
def test_what_python_calls_a_type_error_is_one_too(rule: str) -> None:
    with pytest.raises(TypeError) as caught:
        REFUSED[rule].do()
    assert isinstance(caught.value, InvalidDagType)


def test_a_refusal_holds_even_if_the_body_catches_it() -> None:
    @dag
    def careless(n: int) -> int:
        try:
            return power(1) if power(n) else power(2)
        except InvalidDag:
            return power(3)

    with pytest.raises(InvalidDag, match="true or false"):
        build(careless)


def test_what_a_body_raises_itself_arrives_as_it_is() -> None:
    @dag
    def broken(n: int) -> int:
        power(n)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        build(broken)


# --- the rules that fell: a body that may be, its parameters, and what comes out of it ---

ALLOWED: dict[str, tuple[Callable[..., Any], dict[str, Any], Any]] = {
    "22 literals and outputs in one list": (lambda n: total([1, power(n), n]), {"n": 3}, 13),
    "22 outputs of several nodes in one list": (lambda n: total([power(n), power(n, 3)]), {"n": 2}, 12),
    "23 one list's elements twice": (lambda xs: [power(x, x) for x in xs], {"xs": [1, 2, 3]}, [1, 4, 27]),
    "24 a loop over a parameter": (lambda xs: [power(x) for x in xs], {"xs": [1, 2]}, [1, 4]),
    "25 a loop over an element": (lambda xs: [squares_of(x) for x in xs], {"xs": [[1, 2], [3]]}, [[1, 4], [9]]),
    "27 a list": (lambda n: [power(n), 1, n], {"n": 2}, [4, 1, 2]),
    "27 a dict in a list": (lambda n: [{"n": power(n)}], {"n": 2}, [{"n": 4}]),
    "27 a parameter": (lambda n: (power(n), n)[1], {"n": 2}, 2),
    "27 a literal": (lambda n: (power(n), "done")[1], {"n": 2}, "done"),
    "27 nothing": (lambda n: (power(n), None)[1], {"n": 2}, None),
}


@pytest.mark.parametrize("rule", ALLOWED)
def test_a_rule_that_fell_allows_what_it_forbade(rule: str) -> None:
    body, params, expected = ALLOWED[rule]
    assert invoke(dag(body), params) == expected
