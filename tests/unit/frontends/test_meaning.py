"""A DAG means what its body says: `invoke` gives what calling the body as plain Python gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from dagcelery.frontends.functional import DagFunction, dag

from .vocabulary import (
    add,
    counted,
    numbers,
    same,
    seven,
    square,
    table,
    total,
)

CASES: list[Any] = []


def case(**params: object) -> Callable[[Callable[..., Any]], None]:
    def keep(body: Callable[..., Any]) -> None:
        CASES.append(pytest.param(dag(body), params, id=body.__name__))

    return keep


@case(n=3)
def lists_concatenated_and_zipped(n: int) -> Any:
    xs = numbers(n)
    ys, zs = [square(x) for x in xs], [add(x) for x in xs]
    return same(ys + zs), [add(y, z) for y, z in zip(ys, zs, strict=True)]


@case(n=4)
def a_dict_mapped_and_passed_whole(n: int) -> Any:
    squares = table(n)
    return [same(key) for key in squares], same(squares)


@case(n=3)
def every_item_gets_the_whole_list_too(n: int) -> Any:
    xs = numbers(n)
    ys = [square(x) for x in xs]
    return [same([x, ys]) for x in xs]


@case(rows=[{"a": 1}, {"a": 5}], settings={"seed": 3, "xs": [1, 2]})
def keys_of_parameters(rows: Any, settings: Any) -> Any:
    return [square(row["a"]) for row in rows], add(settings["seed"]), [square(x) for x in settings["xs"]]


@case(n=3)
def three_loops_deep(n: int) -> Any:
    return [[[add(z) for z in numbers(y)] for y in numbers(x)] for x in numbers(n)]


@case(n=4)
def outer_values_in_an_inner_loop(n: int) -> Any:
    k = square(n)
    return [total([add(y, add(x, k)) for y in numbers(x)]) for x in numbers(n)]


@case(n=3)
def an_outer_list_in_an_inner_loop(n: int) -> Any:
    ys = [square(x) for x in numbers(n)]
    return [[same([z, ys, [0, *ys]]) for z in numbers(y)] for y in ys]


@case(n=4)
def an_inner_list_with_more_in_it(n: int) -> Any:
    return [total([0, *[add(y) for y in numbers(x)], x]) for x in numbers(n)]


@case(n=3)
def generators_as_tasks_and_as_arguments(n: int) -> Any:
    return (
        [square(x) for x in counted(n)],
        total(square(x) for x in numbers(n)),
        total(map(square, numbers(n))),
    )


@case(n=3)
def every_shape_returned(n: int) -> Any:
    return {"k": [1, square(n)], "t": (1, [n, {"x": add(n)}])}, 5, None, "x", n


@case(n=3)
def an_order_without_data(n: int) -> Any:
    first = square(n)
    both = [add.after(first)(x) for x in numbers(n)]
    return seven.after(both, first)()


@case(n=3)
def statements_instead_of_comprehensions(n: int) -> Any:
    made = []
    for x in numbers(n):
        y = square(x)
        made.append({"x": x, "y": y, "z": add(y)})
    return made, same(made)


@dag
def inner(x: int, k: int = 5) -> dict[str, Any]:
    ys = [add(y, k) for y in numbers(x)]
    return {"sum": total(ys), "all": ys, "x": x, "literal": [1, 2]}


@case(n=3)
def nested(n: int) -> Any:
    one, other = inner(n), inner(n, k=square(n))
    return one, total(other["all"]), one["x"], [square(v) for v in one["all"]]


@case(n=3)
def nested_for_each(n: int) -> Any:
    made = [inner(x) for x in numbers(n)]
    return total([m["sum"] for m in made]), [m["all"] for m in made], same([total(m["all"]) for m in made])


@pytest.mark.parametrize(("body", "params"), CASES)
def test_invoke_gives_what_plain_python_gives(body: DagFunction[..., Any], params: dict[str, Any]) -> None:
    assert json.dumps(body.invoke(**params)) == json.dumps(body(**params))
