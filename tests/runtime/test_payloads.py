"""What tasks get and give: nobody sees what another task did to a value, and every kind of value finds its way."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, BinaryIO

import pytest
import redis

from dagcelery import AsJSON, AsPickle, Serialize, dag, invoke, task
from dagcelery.errors import LimitExceeded, NodeFailed, PayloadTooLarge, SerializationError
from dagcelery.local import Server
from dagcelery.model import DAG, Task
from dagcelery.model.outputs import FromReturnValue
from dagcelery.model.sources import FromNodeOutput, FromParam
from dagcelery.store.base import CHUNK_BYTES
from dagcelery.store.redis import RedisStore

from . import flows
from .worlds import World


# -- isolation ------------------------------------------------------------------------------------------------------------
@task
def spoil(xs: list[Any], by: int = 0) -> int:
    """Change the argument, as a careless function does."""
    found = len(xs)
    xs.clear()
    xs += [by] * 50
    return found


@task
def lists(n: int) -> list[list[int]]:
    return [[k] * k for k in range(n)]


def test_a_task_that_changes_its_argument_does_not_change_it_for_other_consumers() -> None:
    @dag
    def consumers(n: int) -> list[int]:
        xs = flows.numbers(n)
        return [spoil(xs), spoil(xs), flows.total(xs)]

    assert invoke(consumers, {"n": 4}) == [4, 4, 6]


def test_an_item_that_changes_a_shared_argument_does_not_change_it_for_the_next_item() -> None:
    @dag
    def shared(n: int) -> list[int]:
        xs = flows.numbers(n)
        return [spoil(xs, by=x) for x in xs]

    assert invoke(shared, {"n": 4}) == [4, 4, 4, 4]


def test_an_item_that_changes_its_element_does_not_change_it_for_the_next_step() -> None:
    @dag
    def elements(n: int) -> dict[str, Any]:
        xs = lists(n)
        return {"first": [spoil(x) for x in xs], "second": [spoil(x) for x in xs], "whole": xs}

    assert invoke(elements, {"n": 4}) == {
        "first": [0, 1, 2, 3],
        "second": [0, 1, 2, 3],
        "whole": [[], [1], [2, 2], [3, 3, 3]],
    }


def test_two_arguments_that_take_one_element_get_one_each() -> None:
    @task
    def both(a: list[int], b: list[int]) -> list[int]:
        a.append(99)
        return b

    @dag
    def doubled(n: int) -> list[list[int]]:
        return [both(x, x) for x in lists(n)]

    assert invoke(doubled, {"n": 3}) == [[], [1], [2, 2]]


def test_a_literal_is_new_for_each_item() -> None:
    @task
    def append(x: int, to: list[int]) -> list[int]:
        to.append(x)
        return to

    @dag
    def literal(n: int) -> list[list[int]]:
        return [append(x, [0]) for x in flows.numbers(n)]

    assert invoke(literal, {"n": 3}) == [[0, 0], [0, 1], [0, 2]]


def test_a_parameter_of_the_caller_is_not_changed() -> None:
    mine = [1, 2, 3]
    assert invoke(spoil, {"xs": mine}) == 3
    assert mine == [1, 2, 3]


def test_a_result_is_new_each_time_it_is_asked_for() -> None:
    world = World()
    run_id = world.submit(lists, n=3)
    world.settle()
    world.result(run_id).clear()
    assert world.result(run_id) == [[], [1], [2, 2]]


# -- iterators ------------------------------------------------------------------------------------------------------------
class Countdown:
    """An iterable of one's own; it is no sequence."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.n, 0, -1))


def _generator(n: int) -> Iterator[int]:
    yield from range(n, 0, -1)


SOURCES = [
    _generator,
    Countdown,
    lambda n: iter(range(n, 0, -1)),
    lambda n: tuple(range(n, 0, -1)),
    lambda n: range(n, 0, -1),
    lambda n: {k: None for k in range(n, 0, -1)}.keys(),
]


@pytest.mark.parametrize("make", SOURCES, ids=["generator", "iterable", "iterator", "tuple", "range", "keys"])
@pytest.mark.parametrize("n", [0, 1, 600])
def test_whatever_can_be_iterated_can_be_mapped(make: Any, n: int) -> None:
    source = task(lambda n: make(n))

    @dag
    def mapped(n: int) -> int:
        return flows.total([flows.add(x, 1) for x in source(n)])

    assert invoke(mapped, {"n": n}) == sum(k + 1 for k in range(1, n + 1))


@pytest.mark.parametrize("make", SOURCES[:3], ids=["generator", "iterable", "iterator"])
def test_an_iterator_may_be_both_mapped_and_passed_whole(make: Any) -> None:
    source = task(lambda n: make(n))

    @dag
    def both(n: int) -> list[Any]:
        xs = source(n)
        return [flows.total([flows.square(x) for x in xs]), flows.total(xs)]

    assert invoke(both, {"n": 4}) == [30, 10]


def test_a_declared_iterable_of_ones_own_may_be_passed_whole() -> None:
    node = DAG(
        {
            "source": Task(Countdown, {"n": FromParam("n")}, {"xs": FromReturnValue(is_partitioned=True)}),
            "sum": Task(lambda xs: sum(xs), {"xs": FromNodeOutput("source", "xs")}, {"return_value": FromReturnValue()}),
        },
        inputs={"n": FromParam()},
        outputs={"return_value": FromNodeOutput("sum", "return_value")},
    )
    assert invoke(node, {"n": 4}) == 10


@pytest.mark.parametrize("xs", [iter([1, 2, 3]), (1, 2, 3), range(1, 4), Countdown(3)], ids=lambda xs: type(xs).__name__)
def test_a_parameter_that_is_mapped_may_be_any_iterable(xs: Any) -> None:
    assert sorted(invoke(flows.squares_of, {"xs": xs})) == [1, 4, 9]


def test_what_cannot_be_iterated_is_refused_with_the_nodes_name() -> None:
    @dag
    def mapped(x: Any) -> list[Any]:
        return [flows.echo(y) for y in flows.echo(x)]

    with pytest.raises(NodeFailed, match=r"a fan-out runs over it, but it is a int, which is not iterable"):
        invoke(mapped, {"x": 3})


def test_a_generator_that_raises_fails_its_node() -> None:
    @task
    def broken(n: int) -> Iterator[int]:
        yield n
        raise ValueError("halfway")

    @dag
    def mapped(n: int) -> list[int]:
        return [flows.square(x) for x in broken(n)]

    with pytest.raises(NodeFailed, match="node broken failed with ValueError: halfway"):
        invoke(mapped, {"n": 1})


# -- lazy parameters --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("annotation", [Iterable[int], Sequence[int], Collection[int]], ids=str)
def test_a_reducer_that_asks_for_an_iterable_reads_it_bit_by_bit_and_again(annotation: Any) -> None:
    def twice(xs: Any) -> list[Any]:
        return [type(xs) is list, sum(xs), sum(xs), len(list(xs))]

    twice.__annotations__["xs"] = annotation
    reducer = task(twice)

    @dag
    def reduced(n: int) -> list[Any]:
        return reducer([flows.square(x) for x in flows.numbers(n)])

    expected = sum(x * x for x in range(1_000))
    assert invoke(reduced, {"n": 1_000}) == [False, expected, expected, 1_000]


def test_a_reducer_that_asks_for_a_list_gets_one() -> None:
    @task
    def kind(xs: list[int]) -> str:
        return type(xs).__name__

    @dag
    def reduced(n: int) -> str:
        return kind([flows.square(x) for x in flows.numbers(n)])

    assert invoke(reduced, {"n": 2}) == "list"


def test_a_lazy_list_has_length_and_elements() -> None:
    @task
    def look(xs: Sequence[int]) -> list[Any]:
        return [len(xs), xs[0], xs[-1], list(xs[1:3]), 300 in xs]

    @dag
    def looked(n: int) -> list[Any]:
        return look(flows.numbers(n))

    assert invoke(looked, {"n": 600}) == [600, 0, 599, [1, 2], True]


# -- serializers ------------------------------------------------------------------------------------------------------------
class AsCsv:
    """A serializer of one's own, by protocol."""

    extension = "csv"

    def serialize(self, value: Any, writer: BinaryIO) -> None:
        text = io.StringIO()
        csv.writer(text).writerows(value)
        writer.write(text.getvalue().encode())

    def deserialize(self, reader: BinaryIO) -> Any:
        return [row for row in csv.reader(io.StringIO(reader.read().decode())) if row]


@task(serializer=AsCsv())
def table(n: int) -> list[list[str]]:
    return [[str(k), str(k * k)] for k in range(n)]


@task(serializer=Serialize(rows=AsCsv(), seen=AsPickle()))
def report(n: int) -> dict[str, Any]:
    return {"rows": [[str(n)]], "seen": {n}, "note": "plain"}


@task
def as_text(rows: Any) -> str:
    return repr(rows)


def test_a_serializer_of_ones_own_carries_a_value() -> None:
    @dag
    def tabled(n: int) -> str:
        return as_text(table(n))

    assert invoke(tabled, {"n": 2}) == "[['0', '0'], ['1', '1']]"


def test_each_key_of_a_value_may_have_a_serializer_of_its_own() -> None:
    @dag
    def reported(n: int) -> list[Any]:
        found = report(n)
        return [as_text(found["rows"]), as_text(found["seen"]), as_text(found["note"])]

    assert invoke(reported, {"n": 7}) == ["[['7']]", "{7}", "'plain'"]


def test_serializers_carry_the_items_of_a_fan_out_too() -> None:
    @dag
    def tabled(n: int) -> list[Any]:
        return [as_text(table(k)) for k in flows.numbers(n)]

    assert invoke(tabled, {"n": 3}) == ["[]", "[['0', '0']]", "[['0', '0'], ['1', '1']]"]


def test_a_dags_serializer_is_its_values_default() -> None:
    @task
    def as_set(xs: list[int]) -> set[int]:
        return set(xs)

    @dag(serializer=AsPickle())
    def pickled(n: int) -> set[int]:
        return as_set([flows.square(x) for x in flows.numbers(n)])

    assert invoke(pickled, {"n": 3}) == {0, 1, 4}


def test_the_default_serializer_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGCELERY_SERIALIZER", "pickle")
    assert invoke(flows.echo, {"x": {1, 2}}) == {1, 2}


@pytest.mark.parametrize("value", [{1: "a"}, {1, 2}, float("nan"), object()], ids=repr)
def test_a_result_that_json_would_change_fails_its_node_with_a_remedy(value: Any) -> None:
    @task
    def odd() -> Any:
        return value

    with pytest.raises(NodeFailed, match=r"output 'return_value' of node 'odd'") as caught:
        invoke(odd)
    assert isinstance(caught.value.__cause__, SerializationError)
    assert caught.value.__cause__.remedy


def test_the_item_whose_result_cannot_be_serialized_is_named() -> None:
    @task
    def odd(x: int) -> Any:
        return {x} if x == 37 else x

    @dag
    def each(n: int) -> list[Any]:
        return [odd(x) for x in flows.numbers(n)]

    with pytest.raises(NodeFailed) as caught:
        invoke(each, {"n": 100})
    assert caught.value.address == "odd[37]"


def test_a_parameter_that_cannot_be_serialized_is_refused_before_the_run() -> None:
    with pytest.raises(SerializationError, match="parameter 'x'"):
        invoke(flows.echo, {"x": {1}})


def test_nan_travels_where_it_is_allowed() -> None:
    @task(serializer=AsJSON(allow_nan=True))
    def nan() -> float:
        return float("nan")

    assert str(invoke(nan)) == "nan"


def test_a_key_that_a_result_lacks_is_named_with_those_it_has() -> None:
    @task
    def pair() -> dict[str, int]:
        return {"a": 1, "b": 2}

    @dag
    def keyed() -> Any:
        return flows.echo(pair()["c"])

    with pytest.raises(NodeFailed, match=r"without the key 'c'; it has the keys \['a', 'b'\]"):
        invoke(keyed)


# -- size -----------------------------------------------------------------------------------------------------------------
@pytest.fixture
def redis_world(server: Server) -> Iterator[World]:
    """A world whose store is Redis."""
    store = RedisStore(server.url)
    yield World(store)
    store.close()


BIG = "x" * (5 * CHUNK_BYTES + 17)


def test_values_of_several_megabytes_travel_in_chunks(redis_world: World) -> None:
    @dag
    def big(x: str) -> list[str]:
        return [flows.echo(flows.echo(x)), flows.echo(x)]

    assert redis_world.run(big, x=BIG) == [BIG, BIG]


def test_items_of_several_megabytes_travel_in_chunks(redis_world: World) -> None:
    @dag
    def big(xs: list[str]) -> list[str]:
        return [flows.echo(flows.echo(x)) for x in xs]

    values = [BIG, "", BIG + "y"]
    assert redis_world.run(big, xs=values) == values


def test_no_chunk_is_larger_than_one_script_may_write(redis_world: World, server: Server) -> None:
    redis_world.run(flows.echo, x=BIG)
    with redis.Redis.from_url(server.url) as raw:
        sizes = [
            len(value)
            for name in raw.scan_iter("dagcelery:*")
            if raw.type(name) == b"hash"
            for value in raw.hvals(name)
        ]
    assert max(sizes) <= CHUNK_BYTES


def test_a_parameter_over_the_size_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGCELERY_MAX_PAYLOAD_BYTES", "1000")
    with pytest.raises(PayloadTooLarge, match="parameter 'x'.*DAGCELERY_MAX_PAYLOAD_BYTES"):
        invoke(flows.echo, {"x": "y" * 1_001})


@pytest.mark.parametrize("mapped", [False, True])
def test_a_result_over_the_size_limit_fails_its_node(mapped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGCELERY_MAX_PAYLOAD_BYTES", "1000")

    @task
    def large(x: int) -> str:
        return "y" * 1_001 * x

    @dag
    def each(xs: list[int]) -> list[str]:
        return [large(x) for x in xs]

    with pytest.raises(NodeFailed) as caught:
        invoke(each, {"xs": [0, 0, 1]}) if mapped else invoke(large, {"x": 1})
    assert isinstance(caught.value.__cause__, PayloadTooLarge)
    assert caught.value.address == ("large[2]" if mapped else "large")


def test_many_small_items_may_take_more_together_than_one_value_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGCELERY_MAX_PAYLOAD_BYTES", "4000")

    @task
    def fifty(x: int) -> str:
        return "y" * 50

    @task
    def count(xs: Iterable[str]) -> int:
        return sum(len(x) for x in xs)

    @dag
    def each(n: int) -> int:
        return count([fifty(x) for x in flows.numbers(n)])

    assert invoke(each, {"n": 500}) == 25_000


def test_a_list_over_the_item_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGCELERY_MAX_ITEMS", "10")
    with pytest.raises(LimitExceeded, match="DAGCELERY_MAX_ITEMS"):
        invoke(flows.squares_of, {"xs": list(range(11))})
    with pytest.raises(NodeFailed, match="DAGCELERY_MAX_ITEMS"):
        invoke(flows.map_reduce, {"n": 11})
    assert invoke(flows.map_reduce, {"n": 10}) == 285


def test_a_reader_of_one_large_item_does_not_read_its_neighbours(redis_world: World, server: Server) -> None:
    @task
    def large(x: int) -> str:
        return str(x % 10) * 20_000

    @dag
    def each(n: int) -> list[str]:
        return [large(x) for x in flows.numbers(n)]

    assert redis_world.run(each, n=100) == [str(x % 10) * 20_000 for x in range(100)]
    with redis.Redis.from_url(server.url) as raw:
        blocks = [value for name in raw.scan_iter("dagcelery:*:b:0:1.0@*") for value in raw.hvals(name)]
    assert max(map(len, blocks)) <= 65 * 1024
