"""What a task returned is what it was when it returned it; and whether it is taken does not depend on who reads it."""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

import pandas as pd
import pytest

from dagcelery import AsPickle, Cache, Retry, dag, task
from dagcelery.errors import NodeFailed
from dagcelery.payload.codecs import AsJSON

from .flows import numbers

N = 300
P = AsPickle()


@dataclasses.dataclass
class Box:
    v: Any


LIST: list[Any] = [0]
DICT: dict[str, Any] = {"a": 0, "b": [0]}
BOX = Box(0)
FRAME = pd.DataFrame({"a": [0]})
BYTES = bytearray(4)
NESTED: tuple[Any, ...] = (1, [0])


@task
def a_list(x: int) -> Any:
    LIST[0] = x
    return LIST


@task
def a_dict(x: int) -> Any:
    DICT["a"] = x
    DICT["b"][0] = -x
    return DICT


@task(serializer=P)
def a_box(x: int) -> Any:
    BOX.v = x
    return BOX


@task(serializer=P)
def a_frame(x: int) -> Any:
    FRAME.loc[0, "a"] = x
    return FRAME


@task(serializer=P)
def a_bytearray(x: int) -> Any:
    BYTES[0] = x % 256
    return BYTES


@task(serializer=P)
def a_tuple(x: int) -> Any:
    NESTED[1][0] = x
    return NESTED


@task(cache=Cache(ttl=60))
def a_cached_list(x: int) -> Any:
    LIST[0] = x
    return LIST


@task(retry=Retry(max_attempts=2), timeout=30.0)
def a_limited_list(x: int) -> Any:
    LIST[0] = x
    return LIST


@task
def a_list_or_a_number(x: int) -> Any:
    LIST[0] = x
    return LIST if x % 3 else x


@task
async def a_list_of_a_coroutine(x: int) -> Any:
    LIST[0] = x
    return LIST


REUSING = [a_list, a_dict, a_box, a_frame, a_bytearray, a_tuple, a_cached_list, a_limited_list, a_list_or_a_number]


@task(serializer=P)
def as_text(value: Any) -> str:
    return repr(value)


@pytest.mark.parametrize("reuse", REUSING, ids=lambda reuse: reuse.__name__)
def test_each_item_gives_what_its_function_returned_though_it_returns_one_object(reuse: Callable[[int], Any]) -> None:
    @dag
    def d(n: int) -> Any:
        return [as_text(reuse(x)) for x in numbers(n)]

    found = d.invoke(N)
    assert found == [repr(reuse(x)) for x in range(N)]


def test_each_item_of_a_coroutine_gives_what_it_returned() -> None:
    @dag
    def d(n: int) -> Any:
        return [a_list_of_a_coroutine(x) for x in numbers(n)]

    assert d.invoke(N) == [[x] for x in range(N)]


def test_parts_of_one_returned_object_are_those_of_each_item() -> None:
    @dag
    def d(n: int) -> Any:
        made = [a_dict(x) for x in numbers(n)]
        return [[each["b"] for each in made], [each["a"] for each in made], made]

    assert d.invoke(N) == [[[-x] for x in range(N)], list(range(N)), [{"a": x, "b": [-x]} for x in range(N)]]


def test_items_after_one_that_cannot_be_written_are_not_lost() -> None:
    @task
    def odd(x: int) -> Any:
        LIST[0] = x
        return {1, 2} if x == 3 else LIST

    @dag
    def d(n: int) -> Any:
        return [odd(x) for x in numbers(n)]

    with pytest.raises(NodeFailed, match=r"output 'return_value' of node 'odd\[3\]' at \[3\]: is of type set"):
        d.invoke(5)


def test_a_task_that_changes_what_it_is_given_changes_it_for_nobody_else() -> None:
    @task(serializer=P)
    def boxed(n: int) -> Any:
        return [Box([x]) for x in range(n)]

    @task(serializer=P)
    def spoil(box: Any, shared: Any, known: Any) -> Any:
        for each in (box.v, shared[0].v, known):
            each.append(0)
        return [len(box.v), len(shared[0].v), len(known)]

    @dag(serializer=P)
    def d(n: int) -> Any:
        boxes, known = boxed(n), []
        first = [spoil(box, boxes, known) for box in boxes]
        known.append(1)
        return [first, [spoil(box, boxes, known) for box in boxes], boxes]

    ones = [[2, 2, 1], [2, 2, 1]]
    assert d.invoke(2) == [ones, [[2, 2, 2], [2, 2, 2]], [Box([0]), Box([1])]]


def test_a_function_that_is_given_to_each_item_keeps_nothing_from_one_to_the_next() -> None:
    @task(serializer=P)
    def call(f: Any, x: int) -> Any:
        return f(x)

    @dag(serializer=P)
    def d(n: int) -> Any:
        seen: list[int] = []

        def noted(x: int) -> list[int]:
            seen.append(x)
            return list(seen)

        return [call(noted, x) for x in numbers(n)]

    assert d.invoke(3) == [[0], [1], [2]]


# --- what is taken, whoever reads it ---


def changing(n: int) -> Iterator[Any]:
    """Yield one list again and again."""
    known = [0]
    for k in range(n):
        known[0] = k
        yield known


def plain(n: int) -> Iterator[int]:
    yield from range(n)


def annotated(n: int) -> Generator[int, None, None]:
    yield from range(n)


class Countdown:
    """Can be iterated, again and again."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.n, 0, -1))


def declared(n: int) -> Iterable[int]:
    return Countdown(n)


def undeclared(n: int) -> Countdown:
    return Countdown(n)


def promised_more(n: int) -> list[int]:
    return Countdown(n)  # type: ignore[return-value]


def mapped(n: int) -> Iterator[int]:
    return map(abs, range(n))


def chained(n: int) -> Iterator[int]:
    return itertools.chain(range(n), range(n))


GENERATING = [changing, plain, annotated, mapped, chained, declared]


@task
def gathered(xs: Any) -> Any:
    return list(xs)


@task
def same(x: Any) -> Any:
    return x


@pytest.mark.parametrize("make", GENERATING)
@pytest.mark.parametrize("serializer", [AsJSON(), P], ids=["json", "pickle"])
def test_what_an_iterator_gives_reaches_all_who_read_it(make: Callable[[int], Any], serializer: Any) -> None:
    source = task(make)
    read = [list(each) if isinstance(each, list) else each for each in make(5)]

    @dag(serializer=serializer)
    def whole(n: int) -> Any:
        return gathered(source(n))

    @dag(serializer=serializer)
    def both(n: int) -> Any:
        xs = source(n)
        return [gathered(xs), [same(x) for x in xs], gathered([same(x) for x in xs])]

    @dag(serializer=serializer)
    def returned(n: int) -> Any:
        return {"made": source(n)}

    assert whole.invoke(5) == read
    assert both.invoke(5) == [read, read, read]
    assert list(returned.invoke(5)["made"]) == read
    assert list(source.invoke(5)) == read


def test_items_that_return_generators_give_lists() -> None:
    @task
    def upto(x: int) -> Iterator[Any]:
        yield from changing(x)

    @task
    def parts(x: int) -> Any:
        return {"made": changing(x), "n": x}

    @dag
    def d(n: int) -> Any:
        made = [parts(x) for x in numbers(n)]
        return [[upto(x) for x in numbers(n)], gathered([upto(x) for x in numbers(n)]), [each["made"] for each in made]]

    lists = [[], [[0]], [[0], [1]]]
    assert d.invoke(3) == [lists, lists, lists]


@pytest.mark.parametrize("make", [undeclared, promised_more])
def test_another_iterable_is_refused_whoever_reads_it(make: Callable[[int], Any]) -> None:
    source = task(make)

    @dag
    def whole(n: int) -> Any:
        return gathered(source(n))

    @dag
    def both(n: int) -> Any:
        xs = source(n)
        return [gathered(xs), [same(x) for x in xs]]

    @dag
    def elements(n: int) -> Any:
        return [same(x) for x in source(n)]

    for refused in (whole, both):
        with pytest.raises(NodeFailed, match=r"is of type .*Countdown, which JSON does not have"):
            refused.invoke(3)
    assert elements.invoke(3) == [3, 2, 1]


def test_parameters_may_be_iterators_whoever_reads_them() -> None:
    @dag
    def whole(xs: Any) -> Any:
        return gathered(xs)

    @dag
    def both(xs: Any) -> Any:
        return [gathered(xs), [same(x) for x in xs]]

    assert whole.invoke(changing(2)) == [[0], [1]]
    assert both.invoke(changing(2)) == [[[0], [1]], [[0], [1]]]


class Rows:
    """A serializer that goes through what it is given, and refuses what it finds there when it has it."""

    extension = "txt"

    def serialize(self, value: Any, writer: Any) -> None:
        if isinstance(value, int):
            writer.write(f"={value}".encode())
            return
        for row in value:
            writer.write(f"{int(row)}\n".encode())

    def deserialize(self, reader: Any) -> Any:
        text = reader.read().decode()
        return int(text[1:]) if text.startswith("=") else [int(line) for line in text.split()]


def test_nothing_of_an_iterator_is_lost_to_a_serializer_that_reads_it() -> None:
    source = task(serializer=Rows())(plain)

    @dag
    def d(n: int) -> Any:
        xs = source(n)
        return [gathered(xs), [same(x) for x in xs]]

    @task(serializer=Rows())
    def broken(n: int) -> Iterator[Any]:
        yield from (1, 2, "three", 4)

    @dag
    def refused(n: int) -> Any:
        return gathered(broken(n))

    assert d.invoke(4) == [[0, 1, 2, 3], [0, 1, 2, 3]]
    with pytest.raises(NodeFailed, match="was refused by Rows"):
        refused.invoke(1)


def test_an_iterator_that_its_codec_carries_stays_one() -> None:
    @task(serializer=P)
    def lines(n: int) -> Any:
        return iter(collections.deque(range(n)))

    @task(serializer=P)
    def first(it: Any) -> Any:
        return next(it)

    @dag(serializer=P)
    def d(n: int) -> Any:
        it = lines(n)
        return [first(it), first(it), [same(x) for x in it]]

    assert d.invoke(3) == [0, 0, [0, 1, 2]]
