"""The runtime's small parts: durations, addresses of sockets, parameters, exits, keys of functions."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from dagcelery.client.status import NodeStatus
from dagcelery.engine.durations import Durations
from dagcelery.store.records import RunState
from dagcelery.worker.server_urls import for_celery, for_redis, is_redis, secured


# -- durations ------------------------------------------------------------------------------------
def test_nothing_is_known_of_a_function_that_was_never_called() -> None:
    assert Durations().longest("f") is None
    assert Durations().range_size("f", 512) == 1


def test_the_longest_of_the_last_twenty_calls_counts() -> None:
    durations = Durations()
    durations.add("f", 9.0)
    for _ in range(19):
        durations.add("f", 0.1)
    assert durations.longest("f") == 9.0
    durations.add("f", 0.1)
    assert durations.longest("f") == 0.1


@pytest.mark.parametrize(("seconds", "size"), [(0.0, 512), (0.001, 50), (0.01, 5), (0.04, 1), (3.0, 1)])
def test_a_claim_takes_as_many_items_as_fit_into_fifty_milliseconds(seconds: float, size: int) -> None:
    durations = Durations()
    durations.add("f", seconds)
    assert durations.range_size("f", 512) == pytest.approx(size, abs=1)


def test_functions_are_told_apart() -> None:
    durations = Durations()
    durations.add("f", 1.0)
    assert durations.longest("g") is None


# -- addresses ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("celery", "redis"),
    [
        ("redis://:pw@host:6379/3", "redis://:pw@host:6379/3"),
        ("rediss://host/0?ssl_cert_reqs=none", "rediss://host/0?ssl_cert_reqs=none"),
        ("redis+socket://:pw@/run/redis.sock?virtual_host=2", "unix://:pw@/run/redis.sock?db=2"),
        ("redis+socket:///run/redis.sock?virtual_host=0", "unix:///run/redis.sock?db=0"),
    ],
)
def test_celery_and_redis_spell_sockets_differently(celery: str, redis: str) -> None:
    assert for_redis(celery) == redis
    assert for_celery(redis) == celery


def test_celery_names_a_check_of_certificates_that_redis_py_knows_by_another_name() -> None:
    assert for_redis("rediss://h/0?ssl_cert_reqs=CERT_OPTIONAL&db=1") == "rediss://h/0?ssl_cert_reqs=optional&db=1"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("rediss://h/0", "rediss://h/0?ssl_cert_reqs=required"),
        ("rediss://h?ssl_ca_certs=%2Fa", "rediss://h?ssl_ca_certs=%2Fa&ssl_cert_reqs=required"),
        ("rediss://h?ssl_cert_reqs=CERT_NONE", "rediss://h?ssl_cert_reqs=CERT_NONE"),
        ("amqp://h//", "amqp://h//"),
    ],
)
def test_celery_is_told_to_check_certificates_unless_the_address_says_otherwise(url: str, expected: str) -> None:
    assert for_celery(url) == expected


@pytest.mark.parametrize(
    ("url", "options", "expected"),
    [
        ("redis://h/1", {"ssl_ca_certs": "/a"}, "rediss://h/1?ssl_ca_certs=%2Fa"),
        ("rediss://h?db=1", {"ssl_cert_reqs": ssl.CERT_NONE}, "rediss://h?db=1&ssl_cert_reqs=CERT_NONE"),
        ("redis://h/1", {}, "redis://h/1"),
        ("redis://h/1", None, "redis://h/1"),
        ("redis+socket:///s", {"ssl_ca_certs": "/a"}, "redis+socket:///s"),
    ],
)
def test_what_celery_is_told_of_tls_beside_the_address_goes_into_it(url: str, options: object, expected: str) -> None:
    assert secured(url, options) == expected


@pytest.mark.parametrize(
    ("url", "expected"), [("redis://h", True), ("unix:///s", True), ("amqp://h", False), (None, False)]
)
def test_a_redis_is_known_by_its_scheme(url: str | None, expected: bool) -> None:
    assert is_redis(url) is expected


# -- parameters -----------------------------------------------------------------------------------


# -- states ---------------------------------------------------------------------------------------
def node(**counts: Any) -> NodeStatus:
    zeros = {"total": 0, "done": 0, "running": 0, "failed": 0, "started": None, "ended": None}
    return NodeStatus(name="n", queue="q", is_fan_out=True, **{**zeros, **counts})


@pytest.mark.parametrize(
    ("counts", "state", "waiting"),
    [
        ({"total": 3}, "waiting", 3),
        ({"total": 3, "running": 1, "started": 1.0}, "running", 2),
        ({"total": 3, "done": 1, "started": 1.0}, "waiting", 2),
        ({"total": 3, "done": 3, "started": 1.0, "ended": 2.0}, "done", 0),
        ({"total": 3, "done": 1, "failed": 1, "started": 1.0}, "failed", 1),
        ({"total": 3, "done": 1, "running": 1, "started": 1.0, "is_over": True}, "stopped", 0),
        ({"total": None, "running": 1, "started": 1.0}, "running", None),
        ({"total": 0, "started": 1.0, "ended": 2.0}, "done", 0),
    ],
)
def test_a_nodes_state_is_one_word(counts: dict[str, Any], state: str, waiting: int | None) -> None:
    assert (node(**counts).state, node(**counts).waiting) == (state, waiting)


def test_four_states_are_ends() -> None:
    assert [state for state in RunState if not state.is_end] == [RunState.PENDING, RunState.RUNNING]
