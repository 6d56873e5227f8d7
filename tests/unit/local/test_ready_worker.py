"""A worker of a local cluster ends at once, though it waits for messages."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import redis

from dagcelery.local import Server
from dagcelery.local.ready_worker import unblock


def test_a_read_that_waits_for_a_message_is_answered(server: Server) -> None:
    with redis.Redis.from_url(server.url, socket_timeout=30) as client:
        waiting = client.connection_pool.get_connection()
        waiting.send_command("BRPOP", "no messages", 0)
        while not client.info("clients")["blocked_clients"]:
            pass
        channel = SimpleNamespace(_in_poll=waiting, conn_or_acquire=lambda: nullcontext(client))
        unblock(SimpleNamespace(default_channel=channel))
        assert waiting.read_response() is None
        client.connection_pool.release(waiting)


def test_a_connection_that_waits_for_nothing_is_left_alone() -> None:
    unblock(SimpleNamespace(default_channel=SimpleNamespace(_in_poll=None)))
    unblock(None)
