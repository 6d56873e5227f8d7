"""DAGs that are exported; containers find them in this module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dagcelery import DAG, AsPickle, FromNodeOutput, FromParam, FromReturnValue, Retry, Task, dag, task, when
from dagcelery.model import Literal


@dataclass
class Point:
    x: int
    y: int


@task
def numbers(n: int) -> list[int]:
    return list(range(n))


@task
def plus(x: int, y: int = 1) -> int:
    return x + y


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@task
def same(x: Any) -> Any:
    return x


@task
def is_large(x: int) -> bool:
    return x > 1


@task
def point(n: int) -> Point:
    return Point(n, n + 1)


@task
def norm(p):  # type: ignore[no-untyped-def]  # what it gets is known to its maker only
    return p.x + p.y


@dag
def typed(n: int) -> list[int]:
    return [norm(point(x)) for x in numbers(n)]


@dag
def chosen(x: int) -> int:
    return when(is_large(x), then=lambda: plus(x, 10), otherwise=lambda: plus(x, 20))


@dag
def join_of_a_branch_and_a_map(n: int) -> int:
    return total([chosen(x) for x in numbers(n)])


@dag
def map_in_a_branch(n: int) -> Any:
    return when(
        is_large(n), then=lambda: total([plus(x) for x in numbers(n)]), otherwise=lambda: [plus(x) for x in numbers(n)]
    )


@dag
def behind_a_branch(n: int) -> Any:
    made = when(is_large(n), then=lambda: plus(n))
    return [same.after(made)(1), same(made), same([made, 2])]


@dag
def one_more(x: int) -> int:
    return plus(x)


@dag
def names(x: int) -> list[int]:
    """Nodes whose names are one name to Argo, or those of its own tasks, or none of a task."""
    nested = [one_more.options(name=name)(x) for name in ("a", "a-plus", "größe", "gr__e")]
    return nested + [plus.options(name=name)(x) for name in ("a-b", "a_plus", "inputs", "outputs", "2nd")]


@dag
def folders(n: int) -> Any:
    """An item of a mapped DAG that has the name of another node."""
    return [[chosen.options(name="row")(x) for x in numbers(n)], chosen.options(name="row-1")(5)]


@dag
def texts(text: str, nested: Any, default: str = "{{workflow.uid}}") -> list[Any]:
    return [same(text), same(nested), same(default)]


@dag(static=("word", "count"))
def static(word: str, count: int) -> list[str]:
    return [same(word) for _ in range(count)]


@task(on_item_failure="skip", retry=Retry(max_attempts=2, wait=0, on=KeyError))
def even(x: int) -> int:
    if x % 2:
        raise ValueError(f"odd {x}")
    return x


@task
def shown(xs: list[Any]) -> list[str]:
    return [str(x) for x in xs]


@dag
def skipping(n: int) -> list[Any]:
    found = [even(x) for x in numbers(n)]
    return [shown(found), shown([plus(x) for x in found])]


@dag
def skipping_in_items(n: int) -> list[Any]:
    return [skipping(x) for x in numbers(n)]


@dag
def mapped(n: int) -> list[int]:
    return [plus(x) for x in numbers(n)]


@dag
def lists_of_lists(n: int) -> list[Any]:
    made, passed = [mapped(x) for x in numbers(n)], [numbers(x) for x in numbers(n)]
    sums = [total(xs) for xs in made], [total(xs) for xs in passed]
    return [made, passed, *sums, [plus(x) for x in mapped(n)], total(mapped(n)), same(made)]


@dag
def returned(n: int) -> dict[str, Any]:
    xs = numbers(n)
    ys = [plus(x) for x in xs]
    pairs = [plus(x, y) for x, y in zip(xs, ys, strict=True)]
    sums = [total([x, plus(x), n]) for x in xs]
    return {"pairs": pairs, "xs": xs, "again": xs, "ys": ys, "sums": sums, "both": (n, 3), "literal": "x"}


@dag
def one_by_one(xs: list[int]) -> list[int]:
    return [plus(x) for x in xs]


@dag
def literals(n: int) -> Any:
    return [one_by_one([1, 2, 3]), one_by_one([]), one_by_one([n, n])]


@dag(serializer=AsPickle())
def pickled(word: str, default: Any = frozenset({1})) -> Any:
    return shown([word, default])


def pair(a: Any, b: Any) -> Any:
    return [a, b]


def seven() -> int:
    return 7


WHOLE, SPLIT = FromReturnValue(), FromReturnValue(is_partitioned=True)

declared = DAG(
    {
        "made": Task(
            pair, {"a": FromParam("x"), "b": FromParam("y", default_value=[7])}, {"all": SPLIT, "whole": WHOLE}
        ),
        "each": Task(
            pair,
            {"a": FromNodeOutput("made", "all"), "b": FromNodeOutput("made", "all")},
            {"it": WHOLE},
            partition_by_input="a",
        ),
        "over": Task(seven, over=FromNodeOutput("made", "all"), outputs={"it": WHOLE}, after=("each",)),
        "param": Task(same.fn, {"x": FromParam("x")}, {"it": WHOLE}, partition_by_input="x"),
    },
    {"x": FromParam(default_value=[1, 2])},
    {
        "each": FromNodeOutput("each", "it"),
        "whole": FromNodeOutput("made", "whole"),
        "all": FromNodeOutput("made", "all"),
        "param": FromNodeOutput("param", "it"),
        "over": FromNodeOutput("over", "it"),
    },
    name="declared",
)


as_it_is_used = DAG(
    {"one": Task(plus.fn, {"x": FromParam("x"), "y": FromParam("y")}, {"it": WHOLE})},
    {"x": Literal(3), "y": FromNodeOutput("elsewhere", "out")},
    {"it": FromNodeOutput("one", "it")},
    name="as_it_is_used",
)
"""A DAG with the sources that its inputs have where it is a node."""


CALLS = 0


@task(retry=Retry(max_attempts=3, on=OSError))
def third_time(x: int) -> int:
    global CALLS
    CALLS += 1
    if CALLS % 3:
        raise OSError("not yet")
    return x


@task(retry=Retry(max_attempts=3, on=OSError))
def hopeless(x: int) -> int:
    raise ValueError(f"{x} will not do")


@dag
def patient(x: int) -> int:
    return third_time(x)


@dag
def impatient(x: int) -> int:
    return hopeless(x)


EXPORTED: list[tuple[Any, dict[str, Any]]] = [
    (typed, {"n": 2}),
    (join_of_a_branch_and_a_map, {"n": 4}),
    (map_in_a_branch, {"n": 0}),
    (map_in_a_branch, {"n": 3}),
    (behind_a_branch, {"n": 0}),
    (behind_a_branch, {"n": 3}),
    (names, {"x": 1}),
    (folders, {"n": 3}),
    (texts, {"text": 'a"b\n{{x}} ü \\', "nested": {"{{a}}": [{"b": {}}]}}),
    (static, {"word": 'it\'s "x" 3', "count": 2}),
    (skipping, {"n": 4}),
    (skipping_in_items, {"n": 3}),
    (lists_of_lists, {"n": 0}),
    (lists_of_lists, {"n": 3}),
    (returned, {"n": 0}),
    (returned, {"n": 3}),
    (literals, {"n": 1}),
    (pickled, {"word": "x"}),
    (declared, {}),
    (declared, {"x": []}),
    (as_it_is_used, {"y": 1}),
    (as_it_is_used, {"x": 5, "y": 1}),
    (plus, {"x": 1}),
]
"""DAGs, and parameters for them."""
