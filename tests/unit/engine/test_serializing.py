"""Which bytes values become, whose they are, and how large they may be."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any, BinaryIO

import pytest
import redis

from dagcelery import dag, invoke, task
from dagcelery.payload.codecs import JsonCodec
from dagcelery.store.protocol import Store
from dagcelery.store.records import CHUNK_BYTES

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


@task
def as_text(rows: Any) -> str:
    return repr(rows)


def test_serializers_carry_the_items_of_a_fan_out_too() -> None:
    @dag
    def tabled(n: int) -> list[Any]:
        return [as_text(table(k)) for k in flows.numbers(n)]

    assert invoke(tabled, {"n": 3}) == ["[]", "[['0', '0']]", "[['0', '0'], ['1', '1']]"]


# -- size -----------------------------------------------------------------------------------------
@pytest.fixture
def redis_world(store: Store) -> World:
    """A world whose store is Redis."""
    return World(store)


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


def test_no_chunk_is_larger_than_one_script_may_write(redis_world: World, raw: redis.Redis) -> None:
    redis_world.run(flows.echo, x=BIG)
    hashes = [name for name in raw.scan_iter("dagcelery:*") if raw.type(name) == b"hash"]
    sizes = [len(value) for name in hashes for value in raw.hvals(name)]
    assert max(sizes) <= CHUNK_BYTES


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


def test_many_elements_of_a_list_are_serialized_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    dumped: list[Any] = []
    dump = JsonCodec.dump
    monkeypatch.setattr(
        JsonCodec, "dump", lambda codec, value, *rest: (dumped.append(value), dump(codec, value, *rest))[1]
    )

    @dag
    def summed(n: int) -> int:
        return flows.total([flows.square(x) for x in flows.numbers(n)])

    assert invoke(summed, {"n": 1_000}) == sum(x * x for x in range(1_000))
    assert len(dumped) <= 2  # the parameter and the sum


def test_a_reader_of_one_large_item_does_not_read_its_neighbours(redis_world: World, raw: redis.Redis) -> None:
    @task
    def large(x: int) -> str:
        return str(x % 10) * 20_000

    @dag
    def each(n: int) -> list[str]:
        return [large(x) for x in flows.numbers(n)]

    assert redis_world.run(each, n=100) == [str(x % 10) * 20_000 for x in range(100)]
    blocks = [value for name in raw.scan_iter("dagcelery:*:b:0:1.0@*") for value in raw.hvals(name)]
    assert max(map(len, blocks)) <= 65 * 1024
