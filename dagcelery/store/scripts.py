"""The verbs as Lua: one file a verb, each run behind the parts that it uses, atomically, in the store."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import weakref
from functools import cache
from importlib.resources import files
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

encode = json.JSONEncoder(separators=(",", ":")).encode
_OF_CLAIMS = ("claim", "delegate", "release", "resume", "rewind", "sweep", "park", "wake")
_PARTS = {
    **dict.fromkeys(("finish", "fail"), ("prelude", "claims", "committing")),
    **dict.fromkeys(_OF_CLAIMS, ("prelude", "claims")),
    **dict.fromkeys(("look", "reserve", "limit", "memorize", "forget"), ()),
}
"""What stands in front of a verb; where nothing is said, the prelude alone."""


@cache
def source(verb: str) -> tuple[str, str]:
    """The script of a verb and its SHA1, by which the server knows it."""
    folder = files("dagcelery.store") / "lua"
    text = "".join((folder / f"{name}.lua").read_text() for name in (*_PARTS.get(verb, ("prelude",)), verb))
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Scripts:
    """Runs verbs over one connection a thread, kept open: a pool's checks would cost as much as the verb itself.

    A call whose reply is lost is repeated on a new connection, as often as the client's `Retry` says; verbs are made
    to be repeated. A forked child opens connections of its own.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._pool = client.connection_pool
        self._mine = threading.local()
        self._all: weakref.WeakSet[redis.connection.AbstractConnection] = weakref.WeakSet()

    def run(self, verb: str, key: str, request: dict[str, Any], *payloads: bytes) -> Any:
        """Run a verb on the run at `key`. A server that forgot its scripts (restart, flush) is given them again."""
        text, sha = source(verb)
        try:
            return self._call("EVALSHA", sha, 1, key, encode(request), *payloads)
        except redis.exceptions.NoScriptError:
            return self._call("EVAL", text, 1, key, encode(request), *payloads)

    def close(self) -> None:
        """Close the connections of all threads; a later call opens a new one."""
        for connection in list(self._all):
            connection.disconnect()  # type: ignore[no-untyped-call]

    def _call(self, *command: Any) -> Any:
        mine = self._mine
        if getattr(mine, "pid", None) != os.getpid():
            self._open()
        connection: Any = mine.connection
        packed = connection.pack_command(*command)

        def call() -> Any:
            connection.send_packed_command(packed, check_health=False)
            return connection.read_response()

        try:
            return mine.retry.call_with_retry(call, lambda _: connection.disconnect())
        except redis.exceptions.ResponseError:
            raise
        except BaseException:
            # Such as a time limit between request and reply: the next call must not read this one's reply.
            connection.disconnect()
            raise

    def _open(self) -> None:
        connection: Any = self._pool.make_connection()
        # The call as a whole is repeated; a connection that also repeated its connecting would square the wait.
        self._mine.retry, connection.retry = connection.retry, Retry(NoBackoff(), 0)
        self._mine.connection, self._mine.pid = connection, os.getpid()
        self._all.add(connection)
