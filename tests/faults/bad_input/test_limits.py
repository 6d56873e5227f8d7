"""What is larger than a setting allows is refused with the name of that setting, before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis

from dagcelery import dag, invoke, task
from dagcelery.client import Client
from dagcelery.errors import InvalidDag, LimitExceeded, NodeFailed, PayloadTooLarge

from .telling import Bad, check
from .vocabulary import echo, map_reduce, numbers, power, squares_of

BYTES, ITEMS = "DAGCELERY_MAX_PAYLOAD_BYTES", "DAGCELERY_MAX_ITEMS"

TOO_LARGE: dict[str, tuple[Any, dict[str, Any], str, str, str, type[LimitExceeded]]] = {
    "a parameter": (echo, {"x": "y" * 1_001}, "parameter 'x'", "1,000", BYTES, PayloadTooLarge),
    "an element": (squares_of, {"xs": [1, "y" * 1_001]}, "parameter 'xs'", "1,000", BYTES, PayloadTooLarge),
    "a list as a whole": (squares_of, {"xs": ["y" * 200] * 9}, "parameter 'xs'", "1,000", BYTES, PayloadTooLarge),
    "too many elements": (squares_of, {"xs": [1] * 11}, "parameter 'xs'", "10", ITEMS, LimitExceeded),
    "endlessly many elements": (squares_of, {"xs": iter(int, 1)}, "parameter 'xs'", "10", ITEMS, LimitExceeded),
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_a_parameter_that_is_too_large_is_refused_and_leaves_nothing(
    name: str, client_of: Callable[..., Client], raw: redis.Redis
) -> None:
    node, params, culprit, limit, setting, kind = TOO_LARGE[name]
    client = client_of(max_payload_bytes=1_000, max_items=10)
    Bad(lambda: client.submit(node, params), culprit, limit, setting, kind).is_refused()
    assert not raw.keys("*")


def test_too_many_nodes_are_refused_and_leave_nothing(client_of: Callable[..., Client], raw: redis.Redis) -> None:
    many = dag(lambda: [power(k) for k in range(11)])
    assert client_of(max_nodes=20).submit(many)
    raw.flushall()
    client = client_of(max_nodes=10)
    Bad(lambda: client.submit(many), "DAG", "more than 10 nodes", "raise DAGCELERY_MAX_NODES", InvalidDag).is_refused()
    assert not raw.keys("*")


@task
def long_text(n: int) -> str:
    return "y" * n


def test_a_result_that_is_too_large_fails_its_node_with_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BYTES, "1000")
    with pytest.raises(NodeFailed, match=BYTES) as caught:
        invoke(long_text, {"n": 1_001})
    assert caught.value.address == "long_text"
    check(caught.value.__cause__, "output 'return_value' of node 'long_text'", "1,000", BYTES)


def test_a_result_of_too_many_elements_fails_its_node_with_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ITEMS, "10")
    with pytest.raises(NodeFailed, match=ITEMS) as caught:
        invoke(map_reduce, {"n": 11})
    assert caught.value.address == numbers.__name__
    check(caught.value.__cause__, "node 'numbers'", "10", ITEMS)
