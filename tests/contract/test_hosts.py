"""The host in this process answers as a server does: commands, numbers, JSON, keys that expire. It leaks nothing."""

from __future__ import annotations

import gc
import json
import math
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lupa.lua51 import LuaError

from dagcelery import dag, task
from dagcelery.local import Server
from dagcelery.store import in_process
from dagcelery.store.in_process import LocalServer, store_in_process
from dagcelery.store.protocol import Store
from dagcelery.store.redis import store_on_redis

from .moves import begun, chain, drain, new_run

once = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

NAMES = st.sampled_from(["a", "b", "c"])
TEXTS = st.sampled_from([b"", b"x", b"y", b"0", b"7", b"\x00\xff", b"long" * 30])
INTEGERS = st.integers(-6, 6)
SCORES = st.one_of(INTEGERS, st.sampled_from(["+inf", "-inf", 0.1, 2.5, 1e15, 1785304837.123456]))
SECONDS = st.sampled_from([-1, 0, 100, 100_000])


def command(name: str, *arguments: Any) -> st.SearchStrategy[tuple[Any, ...]]:
    """A command with arguments as chance has it; texts stand for themselves."""
    drawn = (st.just(each) if isinstance(each, str | bytes) else each for each in arguments)
    return st.tuples(st.just(name), *drawn)


COMMANDS = st.one_of(
    *(command(name, NAMES) for name in ("EXISTS", "GET", "HLEN", "HKEYS", "HGETALL", "SMEMBERS", "LPOP", "ZCARD")),
    command("UNLINK", NAMES, NAMES),
    command("PTTL", NAMES),
    command("EXPIRE", NAMES, SECONDS),
    command("PEXPIRE", NAMES, SECONDS),
    command("SET", NAMES, TEXTS),
    command("SET", NAMES, TEXTS, "EX", "100"),
    command("SET", NAMES, TEXTS, "PX", "100000"),
    command("MGET", NAMES, NAMES),
    command("HSET", NAMES, TEXTS, TEXTS),
    command("HSET", NAMES, TEXTS, TEXTS, TEXTS, TEXTS),
    command("HSETNX", NAMES, TEXTS, TEXTS),
    command("HINCRBY", NAMES, TEXTS, INTEGERS),
    command("HGET", NAMES, TEXTS),
    command("HMGET", NAMES, TEXTS, TEXTS),
    command("HSTRLEN", NAMES, TEXTS),
    command("HEXISTS", NAMES, TEXTS),
    command("HDEL", NAMES, TEXTS, TEXTS),
    command("SADD", NAMES, TEXTS),
    command("SREM", NAMES, TEXTS, TEXTS),
    command("RPUSH", NAMES, TEXTS),
    command("LPUSH", NAMES, TEXTS),
    command("LINDEX", NAMES, INTEGERS),
    command("LSET", NAMES, INTEGERS, TEXTS),
    command("LRANGE", NAMES, INTEGERS, INTEGERS),
    command("LREM", NAMES, "1", TEXTS),
    command("ZADD", NAMES, SCORES, TEXTS),
    command("ZADD", NAMES, SCORES, TEXTS, SCORES, TEXTS),
    command("ZADD", NAMES, "NX", SCORES, TEXTS),
    command("ZREM", NAMES, TEXTS, TEXTS),
    command("ZSCORE", NAMES, TEXTS),
    command("ZRANGE", NAMES, INTEGERS, INTEGERS),
    command("ZRANGE", NAMES, INTEGERS, INTEGERS, "WITHSCORES"),
    command("ZRANGEBYSCORE", NAMES, SCORES, SCORES, "LIMIT", "0", st.integers(0, 4)),
    command("ZREVRANGEBYSCORE", NAMES, SCORES, "-inf", "WITHSCORES", "LIMIT", "0", st.integers(0, 4)),
    command("ZREMRANGEBYRANK", NAMES, INTEGERS, INTEGERS),
    command("XADD", NAMES, "*", TEXTS, TEXTS),
    command("XADD", NAMES, "MAXLEN", "~", "10000", "*", TEXTS, TEXTS),
    command("XRANGE", NAMES, "-", "+", "COUNT", st.integers(1, 4)),
    command("XREVRANGE", NAMES, "+", "-", "COUNT", "1"),
    command("XLEN", NAMES),
    command("COPY", NAMES, NAMES),
    command("RENAME", NAMES, NAMES),
)


def answered(name: str, answer: Any) -> Any:
    """What must be equal in an answer: no order where there is none, no moment, no spelling of a number."""
    if name == "PTTL":
        return answer if answer < 0 else math.ceil(answer / 10_000)
    if name in ("HKEYS", "SMEMBERS"):
        return sorted(answer)
    if name == "HGETALL":
        return dict(zip(answer[::2], answer[1::2], strict=True))
    if name in ("SET", "LSET", "RENAME"):
        return b"OK" in answer
    if name == "XADD":
        return None
    if name in ("XRANGE", "XREVRANGE"):
        return [fields for _, fields in answer]
    if name == "ZSCORE":
        return None if answer is None else float(answer)
    if name.startswith(("ZRANGE", "ZREVRANGE")) and answer and name != "ZRANGEBYSCORE":
        return [float(each) if is_number(each) else each for each in answer]
    return answer


def is_number(data: bytes) -> bool:
    try:
        float(data)
    except ValueError:
        return False
    return True


def tried(send: Callable[..., Any], *words: Any) -> Any:
    """The answer, or that it is refused."""
    try:
        return answered(words[0], send(*words))
    except (redis.ResponseError, LuaError):
        return "refused"


@given(st.lists(COMMANDS, min_size=1, max_size=40))
@once
def test_commands_answer_alike(server: Server, raw: redis.Redis, commands: list[tuple[Any, ...]]) -> None:
    raw.flushdb()
    plain = redis.Redis.from_url(server.url, protocol=2)  # as scripts are answered
    connection: Any = plain.connection_pool.get_connection()
    host = LocalServer()

    def send(*words: Any) -> Any:
        connection.send_command(*words)
        return connection.read_response()

    try:
        for words in commands:
            assert tried(host.command, *words) == tried(send, *words), words
    finally:
        connection.disconnect()
        plain.close()


def script(raw: redis.Redis, text: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A script on both; it is given one request, and a payload."""
    host = LocalServer()

    def on_host(request: dict[str, Any], payload: bytes) -> Any:
        in_process._host().load("probe", text)
        return host.run("probe", "key", request, payload)

    def on_server(request: dict[str, Any], payload: bytes) -> Any:
        return raw.eval(text, 1, "key", json.dumps(request), payload)

    return on_host, on_server


NUMBER = """
local n = cjson.decode(ARGV[1]).n
redis.call('SET', KEYS[1], n)
return { redis.call('GET', KEYS[1]), tostring(n), n, '' .. n, string.format('%.6f', n), n == math.floor(n) }
"""


@given(st.one_of(st.integers(-(2**53), 2**53), st.floats(-1e15, 1e15), st.sampled_from([0.1, 1e14, 1e16, -0.5])))
@once
def test_numbers_are_spelled_alike(raw: redis.Redis, n: float) -> None:
    in_process, on_server = script(raw, NUMBER)
    (mine, *rest), (theirs, *others) = in_process({"n": n}, b""), on_server({"n": n}, b"")
    assert rest == others
    assert mine == theirs if n and n == int(n) else float(mine) == float(theirs), (
        "of others servers differ among themselves"
    )


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**9), 10**9), st.text(), st.floats(-1e6, 1e6)),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4), st.dictionaries(st.text('ab/"\\é\n', min_size=1), inner, min_size=1)
    ),
    max_leaves=12,
)


@given(VALUES)
@once
def test_requests_and_answers_are_the_same_json(raw: redis.Redis, value: Any) -> None:
    in_process, on_server = script(raw, "return { cjson.encode(cjson.decode(ARGV[1])) }")
    (mine,), (theirs,) = in_process({"v": value}, b""), on_server({"v": value}, b"")
    assert json.loads(mine) == json.loads(theirs)
    (again,), _ = script(raw, "return { cjson.encode(cjson.decode(ARGV[2])) }")[0]({}, mine), None
    assert json.loads(again) == json.loads(mine)


@given(st.binary())
@once
def test_values_are_bytes_of_any_kind(raw: redis.Redis, data: bytes) -> None:
    for run in script(raw, "redis.call('HSET', KEYS[1], ARGV[2], ARGV[2]) return redis.call('HGET', KEYS[1], ARGV[2])"):
        assert run({}, data) == data


def test_what_the_host_has_not_it_says() -> None:
    with pytest.raises(LuaError, match="the host has no command GEOADD"):
        LocalServer().command("GEOADD", "a", 1, 2, "b")


def test_a_key_is_gone_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    server, now = LocalServer(), time.time()
    monkeypatch.setattr(in_process.time, "time", lambda: now)
    server.command("HSET", "a", "f", "v")
    server.command("PEXPIRE", "a", 1500)
    now += 1.4
    assert (server.command("HGET", "a", "f"), server.command("PTTL", "a")) == (b"v", 100)
    now += 0.2
    assert [server.command(name, "a") for name in ("EXISTS", "PTTL", "HLEN")] == [0, -2, 0]
    server.command("HSET", "a", "g", "v")
    assert (server.command("HGET", "a", "f"), server.command("PTTL", "a")) == (None, -1)


def test_a_request_may_be_longer_than_a_call() -> None:
    store = store_in_process()
    run_id, worker = begun(store, chain(1), lists={f"$l{number}": number for number in range(10_000)})
    assert worker.finish(worker.claim(), lists={f"0.{number}": number for number in range(10_000)}).run == "done"
    assert store.server.client.hget(f"dagcelery:{{{run_id}}}:s:0", "n:0.9999") == b"9999"


# -- one process ---------------------------------------------------------------------------------


def _is_apart(store: Store, run_id: str) -> None:
    assert store.reader.record(run_id) is None
    drain(store, new_run(store, chain(2)), chain(2))


@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
def test_a_forked_child_has_a_host_of_its_own_even_if_another_thread_was_in_it() -> None:
    store = store_in_process()
    run_id = new_run(store, chain(2))
    with in_process._host():
        child = multiprocessing.get_context("fork").Process(target=_is_apart, args=[store, run_id])
        child.start()
        child.join(60)
    assert child.exitcode == 0
    drain(store, run_id, chain(2))


@task
def grown(n: int) -> list[int]:
    return list(range(n))


@task
def double(x: int) -> int:
    return 2 * x


@dag
def doubled(n: int) -> list[int]:
    return [double(x) for x in grown(n)]


def test_a_store_that_is_dropped_is_freed() -> None:
    used: list[float] = []
    count = in_process._host().lua.eval("function() collectgarbage('collect') return collectgarbage('count') end")
    for _ in range(3):
        for _ in range(10):
            doubled.invoke(200)
        gc.collect()
        used.append(count())
    assert used[2] < used[0] * 1.2, "kilobytes"


def test_threads_that_have_ended_leave_their_connections_to_others(server: Server) -> None:
    """A pool counts those that it made, whether somebody has them or not."""
    store = store_on_redis(f"{server.url}?max_connections=2")
    for _ in range(4):
        with ThreadPoolExecutor(1) as one:
            one.submit(store.fleet.workers).result()
    store.close()
