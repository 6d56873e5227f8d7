"""A submission that fails leaves nothing behind: no key in the store, no message in the broker, no reservation."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import redis

from dagcelery import DAG, AsPickle, Task, dag
from dagcelery.client import Client
from dagcelery.errors import InvalidDag, InvalidParameters, NotConfigured, SerializationError

from .vocabulary import echo, map_reduce, power, squares_of


def all_but_the_last() -> Iterator[int]:
    yield from range(50_000)
    raise ZeroDivisionError("the last one")


BAD: dict[str, tuple[Callable[[Client], object], type[Exception]]] = {
    "what is no DAG": (lambda client: client.submit(len), InvalidDag),
    "a DAG that leads nowhere": (lambda client: client.submit("no_such_shop:train"), InvalidDag),
    "a body that cannot be built": (lambda client: client.submit(dag(lambda n: power(n) + 1)), InvalidDag),
    "a missing parameter": (lambda client: client.submit(map_reduce), InvalidParameters),
    "an unknown parameter": (lambda client: client.submit(map_reduce, {"n": 1, "m": 2}), InvalidParameters),
    "a missing parameter of a run with a key": (lambda client: client.submit(map_reduce, key="a"), InvalidParameters),
    "an unserializable one of a run with a key": (
        lambda client: client.submit(echo, {"x": {1}}, key="a"),
        SerializationError,
    ),
    "a bad element after fifty thousand": (
        lambda client: client.submit(squares_of, {"xs": [*range(50_000), {1}]}),
        SerializationError,
    ),
    "a bad parameter after a long one": (
        lambda client: client.submit(dag(lambda xs, y: echo([xs, y])), {"xs": "x" * 3_000_000, "y": {1}}),
        SerializationError,
    ),
    "an iterable that raises late": (
        lambda client: client.submit(squares_of, {"xs": all_but_the_last()}),
        ZeroDivisionError,
    ),
    "a literal that cannot travel": (
        lambda client: client.submit(dag(lambda: echo(all_but_the_last().__next__))),
        SerializationError,
    ),
    "a list for a DAG's name": (lambda client: client.submit(DAG({"a": Task(int)}, name=["d"])), InvalidDag),
    "a number for a key": (lambda client: client.submit(map_reduce, {"n": 3}, key=7), InvalidParameters),
}


@pytest.mark.parametrize("name", BAD)
def test_a_submission_that_fails_leaves_nothing_behind(
    name: str, client_of: Callable[..., Client], raw: redis.Redis
) -> None:
    submit, expected = BAD[name]
    client = client_of()
    with pytest.raises(expected):
        submit(client)
    assert not raw.keys("*")


@pytest.mark.parametrize("key", [None, "a"])
def test_pickle_without_a_key_leaves_nothing_behind(
    key: str | None, client_of: Callable[..., Client], raw: redis.Redis
) -> None:
    node = dag(serializer=AsPickle())(lambda x: echo(x))
    with pytest.raises(NotConfigured, match="DAGCELERY_SIGNING_KEY"):
        client_of(signing_key="").submit(node, {"x": 1}, key=key)
    assert not raw.keys("*")


def test_what_is_put_right_can_be_submitted_again_with_the_same_key(
    client_of: Callable[..., Client], raw: redis.Redis
) -> None:
    client = client_of()
    with pytest.raises(InvalidParameters):
        client.submit(map_reduce, key="a")
    run = client.submit(map_reduce, {"n": 3}, key="a")
    assert client.submit(map_reduce, {"n": 3}, key="a") == run
    assert raw.exists("dagcelery:{" + run.id + "}")
