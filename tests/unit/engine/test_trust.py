"""Nothing is decoded before it was verified: whoever can write to the store, but has no key, gets nothing executed."""

from __future__ import annotations

import logging
import pickle
import re
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from dagcelery import AsPickle, dag, task
from dagcelery.errors import BadSignature, NodeFailed, UnknownKey
from dagcelery.store.keys import Keys
from dagcelery.store.protocol import Store
from dagcelery.worker.sender import WORK

from . import flows
from .worlds import Message, World

OFFSETS = [0, 3, 4, 5, 9, 40, 41, -1]
"""Of the attempt, the flag, the key's id, the MAC and the body."""

exploded: list[str] = []


def explode(word: str) -> None:
    exploded.append(word)


class Bomb:
    """What an attacker stores: unpickling it executes something."""

    def __reduce__(self) -> tuple[Any, ...]:
        return explode, ("boom",)


@task(serializer=AsPickle())
def as_pickle(x: int) -> Any:
    return {x}


@task
def size(x: Any) -> int:
    return len(x)


@dag(serializer=AsPickle())
def everything(x: int, xs: list[int]) -> dict[str, Any]:
    """A graph that stores values, lists and blocks, of parameters and of results, and reads all of them again."""
    found = as_pickle(x)
    return {"x": x, "xs": xs, "set": found, "size": size(found), "all": [size(as_pickle(y)) for y in xs]}


PARAMS: dict[str, Any] = {"x": 3, "xs": [1, 2, 3]}


@pytest.fixture
def world(store: Store) -> World:
    exploded.clear()
    return World(store)


def sealed(raw: redis.Redis, run_id: str) -> Iterator[tuple[str, bytes, bytes]]:
    """Key, field and bytes of all that is sealed in the store."""
    for name in sorted(raw.scan_iter(Keys().run(run_id, "*").replace("{", "[{]"))):
        if name.decode().removeprefix(Keys().run(run_id)).split(":")[1] in ("o", "b", "f"):
            for field, data in raw.hgetall(name).items():
                if not re.fullmatch(rb"-?\d+(:\w+)?", field):  # that is topology, which says no more than where to look
                    yield name.decode(), field, data


def flipped(data: bytes, offset: int) -> bytes:
    at = offset % len(data)
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def forged(data: bytes, body: bytes, *, signed: bool) -> bytes:
    """Another body behind a genuine header, or behind the header of what nobody signed."""
    return data[:41] + body if signed else data[:4] + b"\x10" + body


def refusal(world: World, run_id: str) -> NodeFailed:
    """The failure of the run, which is that of a signature."""
    with pytest.raises(NodeFailed) as caught:
        world.result(run_id)
    assert caught.value.type_name == "dagcelery.errors.BadSignature"
    return caught.value


# -- changed bytes --------------------------------------------------------------------------------
def test_whoever_reads_a_result_whose_bytes_were_changed_gets_a_typed_error(world: World, raw: redis.Redis) -> None:
    run_id = world.ended(everything, **PARAMS)
    expected, refused = world.result(run_id), set()
    for name, field, data in list(sealed(raw, run_id)):
        for offset in OFFSETS:
            raw.hset(name, field, flipped(data, offset))
            try:
                assert world.result(run_id) == expected
            except BadSignature:
                refused.add((name.split(":")[2], name.split(":")[4] if name.count(":") > 3 else field.decode()))
        raw.hset(name, field, data)
    assert {kind for kind, _ in refused} == {"o", "b"}
    assert ("o", "plan:0") in refused
    assert len(refused) >= 6
    assert world.result(run_id) == expected


@pytest.mark.parametrize("number", range(4))
def test_a_piece_whose_input_was_changed_fails_and_calls_nothing(number: int, world: World, raw: redis.Redis) -> None:
    run_id = world.submit(everything, **PARAMS)
    stored = [found for found in sealed(raw, run_id) if not found[1].startswith(b"plan")]
    assert len(stored) == 4, [field for _, field, _ in stored]
    name, field, data = stored[number]
    raw.hset(name, field, flipped(data, -1))
    world.settle()
    if field == b"$xs":  # only the result reads it whole
        with pytest.raises(BadSignature, match=r"[$]xs"):
            world.result(run_id)
    else:
        refusal(world, run_id)


@pytest.mark.parametrize("signed", [True, False], ids=["with a stolen header", "unsigned"])
def test_a_forged_value_is_never_unpickled(signed: bool, world: World, raw: redis.Redis) -> None:
    run_id = world.ended(everything, **PARAMS)
    tried = 0
    for name, field, data in list(sealed(raw, run_id)):
        body = pickle.dumps(Bomb())
        for attack in (body, b"V" + body, len(body).to_bytes(4, "big") + body):
            raw.hset(name, field, forged(data, attack, signed=signed))
            try:
                world.result(run_id)
            except BadSignature:
                tried += 1
        raw.hset(name, field, data)
    assert tried >= 12
    assert exploded == []


def test_a_bomb_would_explode_if_it_were_unpickled() -> None:
    exploded.clear()
    pickle.loads(pickle.dumps(Bomb()))
    assert exploded == ["boom"]


def test_a_changed_failure_is_refused(world: World, raw: redis.Redis) -> None:
    run_id = world.ended(flows.failing, n=5, bad=3)
    ((field, data),) = raw.hgetall(Keys().run(run_id, "f")).items()
    for offset in OFFSETS:
        raw.hset(Keys().run(run_id, "f"), field, flipped(data, offset))
        with pytest.raises(BadSignature, match="failure"):
            world.result(run_id)


@pytest.mark.parametrize("offset", OFFSETS)
def test_a_worker_refuses_a_changed_plan_loudly_and_leaves_the_run_alone(
    offset: int, world: World, raw: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = world.submit(flows.map_reduce, n=3)
    data = raw.hget(Keys().run(run_id, "o", "0"), "plan:0")
    raw.hset(Keys().run(run_id, "o", "0"), "plan:0", flipped(data, offset))
    world.settle()
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert run_id in caplog.text
    assert "refused" in caplog.text
    raw.hset(Keys().run(run_id, "o", "0"), "plan:0", data)
    assert world.client.record(run_id).state == "pending"
    world.deliver(Message(WORK, {"run": run_id, "queue": "celery"}))
    assert world.result(run_id) == flows.map_reduce(3)


# -- moved bytes ----------------------------------------------------------------------------------
def test_a_value_that_was_copied_to_another_address_is_refused(world: World, raw: redis.Redis) -> None:
    run_id = world.submit(flows.add, a=1, b=2)
    values = Keys().run(run_id, "o", "0")
    raw.hset(values, "$b", raw.hget(values, "$a"))
    world.settle()
    assert "[$b]" in refusal(world, run_id).message or "$b" in refusal(world, run_id).message


def test_a_value_that_was_copied_to_another_run_is_refused(world: World, raw: redis.Redis) -> None:
    one, two = world.submit(flows.echo, x="one"), world.submit(flows.echo, x="two")
    raw.hset(Keys().run(two, "o", "0"), "$x", raw.hget(Keys().run(one, "o", "0"), "$x"))
    world.settle()
    assert world.result(one) == "one"
    assert two in refusal(world, two).message


def test_a_plan_that_was_copied_to_another_run_is_refused(
    world: World, raw: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = world.submit(flows.echo, x="one"), world.submit(flows.square, x=2)
    raw.hset(Keys().run(two, "o", "0"), "plan:0", raw.hget(Keys().run(one, "o", "0"), "plan:0"))
    world.settle()
    assert world.client.record(two).state == "pending"
    assert "refused" in caplog.text


def test_an_items_result_that_was_copied_to_another_item_is_refused(store: Store, raw: redis.Redis) -> None:
    world = World(store, workers=1, slots=100)  # so many processes that each claims one item
    run_id = world.ended(flows.squares_of, xs=[1, 2, 3])
    name = Keys().run(run_id, "b", "0", "0.0@0:0")
    assert sorted(raw.hkeys(name)) == [b"0:1:1", b"1:2:1", b"2:3:1"]
    raw.hset(name, "1:2:1", raw.hget(name, "2:3:1"))
    with pytest.raises(BadSignature, match="their signature does not fit"):
        world.result(run_id)


def test_a_block_that_was_stretched_over_other_items_is_refused(store: Store, raw: redis.Redis) -> None:
    world = World(store, workers=1, slots=100)
    run_id = world.ended(flows.squares_of, xs=[1, 2, 3])
    name = Keys().run(run_id, "b", "0", "0.0@0:0")
    first = raw.hget(name, "0:1:1")
    raw.delete(name)
    raw.hset(name, "0:3:1", first)
    with pytest.raises(BadSignature):
        world.result(run_id)


# -- structure ------------------------------------------------------------------------------------
@pytest.mark.parametrize("count", [0, 1, 2, 4, 1_000])
def test_a_changed_item_count_is_refused(count: int, world: World, raw: redis.Redis) -> None:
    run_id = world.submit(flows.map_reduce, n=3)
    visit = world.post.waiting.pop()
    world.settle()
    raw.hset(Keys().run(run_id, "s", "0"), "n:$n", count)  # of no list: nobody asks
    # The list is there with the first step; its count is changed before anybody opens the fan-out.
    other = world.submit(flows.sum_of_squares, xs=[1, 2, 3])
    raw.hset(Keys().run(other, "s", "0"), mapping={"n:$xs": count, "0:n": count})
    raw.delete(Keys().run(other, "q", "0", "0"))
    raw.rpush(Keys().run(other, "q", "0", "0"), f"0:{count}:0")
    world.settle()
    with pytest.raises(NodeFailed, match="the store counts other items than were signed"):
        world.result(other)
    world.deliver(visit)
    assert world.result(run_id) == flows.map_reduce(3)


def opened_scopes(world: World, raw: redis.Redis) -> str:
    """A run whose scopes are open and not yet begun."""
    run_id = world.submit(flows.map_in_map, n=3)
    while raw.hlen(Keys().run(run_id, "sc")) < 3:
        world.deliver(world.post.waiting.pop(0))
    return run_id


@pytest.mark.parametrize(
    ("part", "value"), [(0, "aaaaaaaaaaaaaaaa"), (1, "0"), (2, "7"), (3, "0")], ids=["parent", "step", "item", "body"]
)
def test_a_scope_whose_record_was_changed_is_refused(part: int, value: str, store: Store, raw: redis.Redis) -> None:
    world = World(store, slice_seconds=1e-9)
    run_id = opened_scopes(world, raw)
    for scope, record in raw.hgetall(Keys().run(run_id, "sc")).items():
        parts = record.decode().split("/")
        parts[part] = value
        raw.hset(Keys().run(run_id, "sc"), scope, "/".join(parts))
    world.settle()
    assert world.client.record(run_id).state != "done"
    with pytest.raises(BadSignature, match="its record names another"):
        world.result(run_id)


# -- keys -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("other", ["another key", ""], ids=["with another key", "without a key"])
def test_a_worker_whose_keys_do_not_fit_refuses_the_plan_and_leaves_the_run_to_others(
    other: str, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = world.submit(flows.map_reduce, n=3)
    stranger = world.engine("stranger")
    stranger.keyring = type(stranger.keyring).parse(other)
    (message,) = world.post.waiting
    world.deliver(message, stranger)
    assert "refused" in caplog.text
    assert "DAGCELERY_SIGNING_KEY" in caplog.text
    assert world.client.record(run_id).state == "pending"
    world.settle()
    assert world.result(run_id) == flows.map_reduce(3)


def test_a_key_is_changed_while_runs_go_on(store: Store) -> None:
    old, both, new = (World(store, key=key) for key in ("old", "new,old", "new"))
    begun_with_the_old_key = old.submit(flows.across, n=3)
    for message in old.post.waiting:
        both.deliver(message)
    both.settle()
    assert both.result(begun_with_the_old_key) == flows.across(3)
    begun_with_the_new_key = both.ended(flows.across, n=3)
    assert new.result(begun_with_the_new_key) == flows.across(3)
    with pytest.raises(UnknownKey, match="add it to DAGCELERY_SIGNING_KEY"):
        old.result(begun_with_the_new_key)
