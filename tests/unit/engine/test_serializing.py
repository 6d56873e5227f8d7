"""Which bytes values become, whose they are, and how large they may be."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import pytest
import redis

from dagcelery import AsJSON, AsPickle, Serialize, dag, invoke, task
from dagcelery.errors import LimitExceeded, NodeFailed, PayloadTooLarge, SerializationError
from dagcelery.local import Server
from dagcelery.store.records import CHUNK_BYTES
from dagcelery.store.redis import store_on_redis

from . import flows
from .worlds import World


# -- serializers ----------------------------------------------------------------------------------
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


@pytest.mark.parametrize("value", [{1: "a"}, {1, 2}, float("nan"), 1j], ids=repr)
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


# -- size -----------------------------------------------------------------------------------------
@pytest.fixture
def redis_world(server: Server) -> Iterator[World]:
    """A world whose store is Redis."""
    store = store_on_redis(server.url)
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
    with pytest.raises(PayloadTooLarge, match=r"parameter 'x'.*DAGCELERY_MAX_PAYLOAD_BYTES"):
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
