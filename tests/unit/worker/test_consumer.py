"""A worker's consumer outlives its broker, whichever of its connections notices first that it is gone."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import kombu
import pytest
from celery.worker.consumer import Consumer

from dagcelery.local.server import Server
from dagcelery.worker import consumer as own
from dagcelery.worker.consumer import lasting


@pytest.fixture
def connection(server: Server) -> Iterator[kombu.Connection]:
    """A connection with a message that is being worked on, a BRPOP for the next one, and a channel for broadcasts."""
    connection = kombu.Connection(server.url)
    connection.Producer().publish({}, routing_key="work", declare=[kombu.Queue("work")])
    connection.Consumer([kombu.Queue("work")], callbacks=[lambda *_: None]).consume()
    connection.drain_events(timeout=5)
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0.01)
    broadcasts = kombu.Queue("control", kombu.Exchange("control", type="fanout"), auto_delete=True)
    channels: list[Any] = [connection.default_channel, connection.channel()]
    connection.Consumer([broadcasts], channel=channels[1]).consume()
    yield connection
    for channel in channels:
        channel.qos._on_collect.cancel()  # else it would give the message back at the end of this process
        channel._close_clients()
        channel._disconnect_pools()


def consumer_of(connection: kombu.Connection, **about: Any) -> Any:
    consumer = object.__new__(lasting(Consumer))
    vars(consumer).update(about, connection=connection)
    return consumer


def test_a_connection_that_cannot_be_closed_in_order_is_given_up(server: Server, connection: kombu.Connection) -> None:
    conf = {
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        "worker_enable_prefetch_count_reduction": False,
    }
    consumer = consumer_of(connection, app=SimpleNamespace(conf=SimpleNamespace(**conf)))
    server.kill()
    consumer.on_connection_error_after_connected(ConnectionError("the broker went away"))
    assert not (consumer.connection and consumer.connection.connected)  # Celery 5.6 keeps the object


def test_what_kombu_raises_over_a_closed_connection_is_a_lost_connection(
    connection: kombu.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []

    def consume(channel: Any) -> None:
        told.append("consume")
        channel.connection = None  # as another thread leaves it
        channel._connparams()

    monkeypatch.setattr(own, "asynloop", consume)
    pool = SimpleNamespace(maintain_pool=lambda: told.append("complete deaths of children"))
    with pytest.raises(ConnectionResetError, match="'NoneType' object has no attribute 'client'"):
        consumer_of(connection, hub=object(), pool=pool).loop(connection.default_channel)
    assert told == ["complete deaths of children", "consume"]
