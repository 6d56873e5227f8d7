"""`when` means in a DAG what `if` means in Python; what it cannot mean is refused when the DAG is built."""

from __future__ import annotations

from typing import Any

import pytest

from dagcelery import AsPickle, DagFunction, dag, invoke, task, when
from dagcelery.errors import InvalidDag

CALLS: list[Any] = []


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    CALLS.clear()


@task
def positive(x: int) -> bool:
    return x > 0


@task
def double(x: int) -> int:
    CALLS.append(("double", x))
    return 2 * x


@task
def negate(x: int) -> int:
    CALLS.append(("negate", x))
    return -x


@task
def upto(n: int) -> list[int]:
    return list(range(n))


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@task(serializer=AsPickle())
def some(x: int) -> Any:
    return {x}


@task
def size(xs: Any) -> int:
    return len(xs)


@task
def noted(what: str) -> None:
    CALLS.append(what)


def same(node: DagFunction[..., Any], **params: Any) -> Any:
    """What a DAG returns, in process and as plain Python, which called the same."""
    found = invoke(node, params)
    called = sorted(map(str, CALLS))
    CALLS.clear()
    assert found == node(**params)
    assert called == sorted(map(str, CALLS))
    return found


# -- what it means -------------------------------------------------------------------------------
@dag
def either(x: int) -> int:
    return when(positive(x), then=lambda: double(x), otherwise=lambda: negate(x))


@dag
def within(x: int, y: int) -> Any:
    return when(
        positive(x),
        lambda: when(positive(y), lambda: double(x), lambda: [negate(y), x]),
        lambda: {"sum": total([double(each) for each in upto(y)])},
    )


@dag
def each(xs: list[int]) -> int:
    return total([when(positive(x), lambda x=x: double(x), lambda x=x: negate(x)) for x in xs])


@dag
def inner(x: int, by: int) -> int:
    return when(positive(x), lambda: total([x, by]), lambda: by)


@dag
def mapped(n: int) -> list[int]:
    by = double(n)
    return [inner(x, by) for x in upto(n)]


@dag
def lists_inside(n: int) -> Any:
    xs = upto(n)
    return when(positive(n), lambda: [double(x) for x in xs] + [total([negate(x) for x in xs])], lambda: xs)


@dag
def structures(x: int) -> Any:
    return when(positive(x), lambda: {"a": double(x), "b": [x, (1, negate(x))]}, lambda: [None, 0, "", x])


@dag
def falsy(x: int) -> Any:
    return [when(upto(x), lambda: double(x), lambda: 0), when(x, lambda: double(x), lambda: None)]


@dag
def pickled(x: int) -> int:
    return size(when(positive(x), lambda: some(x), lambda: [double(x)]))


@dag
def several_rows(n: int) -> Any:
    ys, zs = [double(x) for x in upto(n)], [negate(x) for x in upto(n)]
    return when(
        positive(n),
        lambda: [total(ys), total(zs)],
        lambda: when(n, lambda: [total(zs), total([])], lambda: [zs, ys, []]),
    )


@dag
def rows_of_rows(n: int) -> Any:
    ys = [[double(x), x] for x in upto(n)]
    return when(n, lambda: size(ys), lambda: [size([ys]), ys])


CASES: list[tuple[DagFunction[..., Any], dict[str, Any], Any]] = [
    (either, {"x": 3}, 6),
    (either, {"x": -3}, 3),
    (within, {"x": 1, "y": 1}, 2),
    (within, {"x": 1, "y": -1}, [1, 1]),
    (within, {"x": -1, "y": 3}, {"sum": 6}),
    (each, {"xs": []}, 0),
    (each, {"xs": [3, -1, 0, 2]}, 11),
    (mapped, {"n": 3}, [6, 7, 8]),
    (mapped, {"n": 0}, []),
    (lists_inside, {"n": 3}, [0, 2, 4, -3]),
    (lists_inside, {"n": 0}, []),
    (structures, {"x": 1}, {"a": 2, "b": [1, [1, -1]]}),
    (structures, {"x": 0}, [None, 0, "", 0]),
    (falsy, {"x": 0}, [0, None]),
    (falsy, {"x": 1}, [2, 2]),
    (pickled, {"x": 1}, 1),
    (pickled, {"x": 0}, 1),
    (several_rows, {"n": 3}, [6, -3]),
    (several_rows, {"n": -1}, [0, 0]),
    (several_rows, {"n": 0}, [[], [], []]),
    (rows_of_rows, {"n": 3}, 3),
    (rows_of_rows, {"n": 0}, [1, []]),
]


@pytest.mark.parametrize(("node", "params", "expected"), CASES)
def test_it_means_what_if_means(node: DagFunction[..., Any], params: dict[str, Any], expected: Any) -> None:
    if node is structures and params["x"]:  # a tuple becomes a list, as everywhere in JSON
        assert invoke(node, params) == expected
    else:
        assert same(node, **params) == expected


def test_a_condition_that_is_known_chooses_while_the_dag_is_built() -> None:
    @dag(static=("fast",))
    def chosen(x: int, fast: bool) -> int:
        return when(fast, lambda: double(x), lambda: negate(x))

    assert [*chosen.__dag__(fast=True).nodes] == ["double"]
    assert [*chosen.__dag__(fast=False).nodes] == ["negate"]


def test_a_dag_of_async_tasks_may_branch() -> None:
    @task
    async def slow(x: int) -> int:
        return x + 1

    @dag
    async def d(x: int) -> int:
        return await when(await slow(x), lambda: slow(x), lambda: slow(0))

    assert [invoke(d, {"x": x}) for x in (1, -1)] == [2, 1]


# -- order ---------------------------------------------------------------------------------------


def test_a_node_in_a_branch_may_come_after_one_outside() -> None:
    @dag
    def d(x: int) -> None:
        first = noted("first")
        when(positive(x), lambda: noted.after(first, [first])("inside"), lambda: noted("other"))

    invoke(d, {"x": 1})
    assert CALLS == ["first", "inside"]


def test_a_node_deep_in_a_branch_may_come_after_one_outside_of_all() -> None:
    @dag
    def d(x: int) -> None:
        first = noted("first")
        when(positive(x), lambda: when(x, lambda: noted.after(first)("inside")))

    invoke(d, {"x": 1})
    assert CALLS == ["first", "inside"]


# -- what is refused -----------------------------------------------------------------------------
def refused(culprit: str, wrong: str, right: str, body: Any) -> None:
    with pytest.raises(InvalidDag) as caught:
        dag(body).__dag__()
    told = caught.value
    assert (culprit in told.culprit, wrong in told.problem, right in told.remedy) == (True, True, True), told


def test_a_node_in_a_branch_cannot_be_read_outside_of_it() -> None:
    def direct(x: int) -> int:
        found: list[int] = []
        when(positive(x), lambda: found.append(double(x)))
        return negate(found[0])

    def other_branch(x: int) -> Any:
        found: list[int] = []
        return when(positive(x), lambda: found.append(double(x)), lambda: negate(found[0]))

    def ordered(x: int) -> Any:
        found: list[int] = []
        when(positive(x), lambda: found.append(double(x)))
        return negate.after(found[0])(x)

    for body in (direct, other_branch, ordered):
        refused("the output of 'double'", "within a branch of when", "return it from the branch", body)


def test_a_value_in_the_place_of_a_branch_is_refused() -> None:
    lam = "give a function: then=lambda: train(x)"
    refused("then=<the output of 'double'>", "is a value already", lam, lambda x: when(x, double(x)))
    refused("then=3", "is a value already", lam, lambda x: when(x, 3))
    refused("otherwise=", "is a value already", "otherwise=lambda", lambda x: when(x, lambda: double(x), negate(x)))


def test_a_branch_that_wants_arguments_is_refused() -> None:
    refused("then= of when", "wants arguments", "lambda: train(x)", lambda x: when(x, lambda y: double(y)))


def test_branches_that_call_nothing_are_refused() -> None:
    refused("when(...)", "calls no task", "in a task", lambda x: [double(x), when(x, lambda: 1, lambda: 2)])
