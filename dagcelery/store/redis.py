"""All that knows redis-py: a Redis or Valkey as a server of scripts, what it says of itself, values of stages in it."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from copy import copy
from functools import partial
from itertools import islice
from json import JSONEncoder
from typing import Any, Final, TypeVar, cast

import redis
import redis.asyncio
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry

from dagcelery.errors import InvalidDagType, StoreFull, StoreRefused, StoreUnavailable
from dagcelery.store.cache import ServerCache
from dagcelery.store.keys import Keys, stage_value_key
from dagcelery.store.lua import sha1_of, source
from dagcelery.store.protocol import AsyncListen, Call, Listen, Store
from dagcelery.store.records import TERMINAL
from dagcelery.store.redis_clients import (
    PASSING,
    Address,
    FailOverPatience,
    async_client_of,
    client_of,
    connection_of,
    is_cluster,
)
from dagcelery.store.redis_clients import retry as retry
from dagcelery.store.redis_errors import our_errors
from dagcelery.store.run_adapters import assemble
from dagcelery.store.wire import portions
from dagcelery.text import masked

T = TypeVar("T")

_BLOCK_SECONDS = 5.0
TTL_SECONDS: Final = 7 * 86400
"""How long a stage's value lives in a Redis that knows nothing of its run."""
_encode = JSONEncoder(separators=(",", ":")).encode

Request = Generator[Callable[[Any], Any], Any, str]
"""What to ask of a client, one thing after the other; the caller answers, blocking or not."""


def store_on_redis(url: str, prefix: str = "", **options: Any) -> Store:
    """Return the store on the server at `url`, whose keys begin with `prefix`; `options` are those of its client."""
    server = RedisServer(url, Keys(prefix), **options)
    return assemble(server, ServerCache(server))


class RedisServer:
    """One client, which threads may share."""

    is_in_process = False

    def __init__(self, url: str, keys: Keys, **options: Any) -> None:
        self.url = url
        self.keys = keys
        self.shown_url = masked(url)
        # A host that vanishes without a word must not stop a worker's signs of life.
        timeouts = {"socket_timeout": 5.0, "socket_connect_timeout": 5.0, "socket_keepalive": True}
        if url.startswith("unix"):
            del timeouts["socket_connect_timeout"], timeouts["socket_keepalive"]
        self._options = {"retry": retry()} | timeouts | options
        self._patience = FailOverPatience(url)
        self.client: Any = client_of(url, self._patience, **self._options)
        self._scripts = ClusterScripts(self.client) if is_cluster(self.client) else Scripts(self.client)
        # A blocking read lasts longer than the socket timeout that suits all other calls.
        self._waiting: Any = client_of(url, self._patience, **self._blocking_options())

    def run(self, verb: str, key: str, request: Mapping[str, Any], *payloads: bytes) -> Any:
        return self._patience.through(partial(self._once, self._scripts.run, verb, key, request, *payloads))

    def run_together(self, calls: Sequence[Call]) -> list[Any]:
        return self._patience.through(partial(self._once, self._scripts.run_together, calls))

    def command(self, name: str, *arguments: Any) -> Any:
        return self._patience.through(partial(self._once, self._scripts.command, name, *arguments))

    def _once(self, call: Callable[..., T], *arguments: Any) -> T:
        with our_errors(self.shown_url):
            return call(*arguments)

    def ping(self) -> None:
        key = self.keys.probe
        with suppress(StoreFull):  # who may send MULTI and EXEC gets that
            self.client.pipeline(transaction=True).exists(key).execute()
        self.command("EVAL", source("probe"), 1, key, "{}")  # a server that has it by now may never have let this user
        denied = [name.decode() for name in self.run("probe", key, {})]
        if denied:
            remedy = f"give it the right to: ACL SETUSER ... {' '.join(f'+{name}' for name in denied)}"
            raise StoreRefused(f"this user may not send {', '.join(denied)}", self.shown_url, remedy)

    def close(self) -> None:
        self._scripts.close()
        self.client.close()
        self._waiting.close()

    @contextmanager
    def listening(self, run_id: str) -> Iterator[Listen]:
        def listen(timeout_seconds: float, after: str | None = None) -> str:
            asking, answer = _wait(self.keys.run(run_id), timeout_seconds, after), None
            try:
                while True:
                    answer = asking.send(answer)(self._waiting)
            except StopIteration as over:
                return str(over.value)

        yield listen

    @asynccontextmanager
    async def alistening(self, run_id: str) -> AsyncIterator[AsyncListen]:
        options = self._blocking_options() | {
            "retry": redis.asyncio.retry.Retry(ExponentialBackoff(cap=0.5, base=0.02), 3)
        }
        async with _closing(async_client_of(self.url, **options)) as client:

            async def listen(timeout_seconds: float, after: str | None = None) -> str:
                asking, answer = _wait(self.keys.run(run_id), timeout_seconds, after), None
                try:
                    while True:
                        request = asking.send(answer)
                        answer = await self._patience.athrough(partial(self._aonce, request, client))
                except StopIteration as over:
                    return str(over.value)

            yield listen

    async def _aonce(self, request: Callable[[Any], Any], client: Any) -> Any:
        with our_errors(self.shown_url):
            return await request(client)

    def _blocking_options(self) -> dict[str, Any]:
        return self._options | {"socket_timeout": 2 * _BLOCK_SECONDS}


_being_closed: set[asyncio.Task[None]] = set()


@asynccontextmanager
async def _closing(client: Any) -> AsyncIterator[Any]:
    """Close a client at the end, in a task of its own: a web server whose client went away may cancel again and again,
    at each `await`, and redis-py closes nothing if it is cancelled meanwhile.
    """
    try:
        yield client
    finally:
        closing = asyncio.create_task(_close(client))
        _being_closed.add(closing)  # a loop does not keep its tasks
        closing.add_done_callback(_being_closed.discard)
        await asyncio.shield(closing)


async def _close(client: Any) -> None:
    """Close a client, and the connections to Sentinels that it has."""
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    for each in (client, *(manager.sentinels if manager else ())):
        await each.aclose()


class Scripts:
    """Runs verbs over one connection a thread, kept open: a pool's checks would cost as much as the verb itself.

    A call whose reply is lost is repeated on a new connection, as often as the client's `Retry` says; verbs are made
    to be repeated. A forked child opens connections of its own.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._pool = client.connection_pool
        self._mine = threading.local()
        self._all: weakref.WeakSet[redis.connection.AbstractConnection] = weakref.WeakSet()

    def run(self, verb: str, key: str, request: Mapping[str, Any], *payloads: bytes) -> Any:
        """Run a verb on the run at `key`. A server that forgot its scripts (restart, flush) is given them again."""
        try:
            return self.command("EVALSHA", sha1_of(verb), 1, key, _encode(request), *payloads)
        except redis.exceptions.NoScriptError:
            return self.command("EVAL", source(verb), 1, key, _encode(request), *payloads)

    def run_together(self, calls: Sequence[Call]) -> list[Any]:
        """Run verbs one after the other, in one pipeline.

        A server that forgot its scripts is given all of them with the calls, which are repeated, in their order. It
        could be given them with SCRIPT LOAD, but not every user may send that.
        """
        asked = [(verb, (1, at, _encode(request), *rest)) for verb, at, request, *rest in calls]
        answers = self._send([("EVALSHA", sha1_of(verb), *arguments) for verb, arguments in asked])
        if any(isinstance(answer, redis.exceptions.NoScriptError) for answer in answers):
            answers = self._send([("EVAL", source(verb), *arguments) for verb, arguments in asked])
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def close(self) -> None:
        """Close the connections of all threads; a later call opens a new one."""
        for connection in list(self._all):
            connection.disconnect()  # type: ignore[no-untyped-call]

    def command(self, *command: Any) -> Any:
        """Send one command; an error is raised."""
        (answer,) = self._send([command])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _send(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Send commands together; answers may be errors."""
        mine = self._mine
        if getattr(mine, "pid", None) != os.getpid():
            self._open()
        connection: Any = mine.connection
        packed = connection.pack_commands(commands) if len(commands) > 1 else connection.pack_command(*commands[0])

        def answer() -> Any:
            try:
                return connection.read_response()
            except redis.exceptions.ResponseError as error:
                return error

        def call() -> list[Any]:
            connection.connect()  # where the master is now; a connection that sends would go where it has been
            connection.send_packed_command(packed, check_health=False)
            return [answer() for _ in commands]

        try:
            return cast("list[Any]", mine.retry.call_with_retry(call, lambda _: connection.disconnect()))
        except redis.exceptions.ResponseError:
            raise
        except BaseException:
            # Such as a time limit between request and reply: the next call must not read this one's reply.
            connection.disconnect()
            raise

    def _open(self) -> None:
        connection: Any = connection_of(self._pool)
        # The call as a whole is repeated; a connection that also repeated its connecting would square the wait.
        self._mine.retry, connection.retry = connection.retry, Retry(NoBackoff(), 0)
        self._mine.connection, self._mine.pid = connection, os.getpid()
        self._all.add(connection)


class ClusterScripts(Scripts):
    """The same in a cluster, over one connection a thread and node. What a node cannot answer now goes through
    redis-py's client, which finds out who can, and repeats.
    """

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self._mine = threading.local()
        self._all = weakref.WeakSet()

    def run_together(self, calls: Sequence[Call]) -> list[Any]:
        """Run verbs one after the other: each may be at home on another node, and what comes first must be first."""
        return [self.run(*call) for call in calls]

    def _send(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        (command,) = commands
        try:
            return [self._at_once(command)]
        except PASSING:
            return [self._cluster.execute_command(*command)]

    def _at_once(self, command: tuple[Any, ...]) -> Any:
        at = command[3] if command[0] in ("EVALSHA", "EVAL") else command[1]
        connection = self._connection(self._cluster.get_node_from_key(at))
        try:
            connection.send_packed_command(connection.pack_command(*command), check_health=False)
            return connection.read_response()
        except redis.exceptions.ResponseError:
            raise
        except BaseException:
            connection.disconnect()
            raise

    def _connection(self, node: Any) -> Any:
        mine = self._mine
        if getattr(mine, "pid", None) != os.getpid():
            mine.connections, mine.pid = {}, os.getpid()
        connection = mine.connections.get(node.name)
        if connection is None:
            pool = self._cluster.get_redis_connection(node).connection_pool
            connection = mine.connections[node.name] = connection_of(pool)
            self._all.add(connection)
        return connection


def _wait(at: str, timeout_seconds: float, after: str | None) -> Request:
    """Wait for the end of the run whose key is `at`, or, where `after` names an event, for the next one; its state."""
    until, streams = time.monotonic() + timeout_seconds, {f"{at}:w": "0"}
    if after is not None:
        streams[f"{at}:e"] = after or "0"
    events = f"{at}:e".encode()
    while True:
        state = yield lambda client: client.hget(at, "state")
        left = until - time.monotonic()
        if state is None or state.decode() in TERMINAL or left <= 0:
            return state.decode() if state else "gone"
        milliseconds = max(1, int(min(left, _BLOCK_SECONDS) * 1000))
        entries = yield partial(_read, streams, milliseconds)
        if events in dict(entries):
            return str(state.decode())


def _read(streams: Mapping[str, str], milliseconds: int, client: Any) -> Any:
    return client.xread(streams, count=1, block=milliseconds)


# -- what a server says of itself ---------------------------------------------------------------------
_PORTION = 500
_MOST_ARGUMENTS = 8


class Inspection:
    """Looks at one server. What its user may not ask, or the server does not know, is answered with None."""

    def __init__(self, url: str) -> None:
        self.shown_url = masked(url)
        timeouts: dict[str, Any] = {"socket_timeout": 5.0} | (
            {} if url.startswith("unix") else {"socket_connect_timeout": 3.0}
        )
        self._client: Any = client_of(url, decode_responses=True, **timeouts)
        self.place = Address.parse(url).place

    def ping(self) -> None:
        """Raise StoreUnavailable unless the server answers, and lets this user in."""
        self._client.ping()

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def info(self) -> Mapping[str, Any] | None:
        """Return what INFO says."""
        return cast("Mapping[str, Any] | None", self._ask("info"))

    def seconds(self) -> float | None:
        """Return the server's clock, in seconds since the epoch."""
        moment = self._ask("time")
        return None if moment is None else moment[0] + moment[1] / 1e6

    def user(self) -> str | None:
        """Return the name of this user."""
        return cast("str | None", self._ask("acl_whoami"))

    def rights(self, user: str) -> Mapping[str, Any] | None:
        """Return what ACL GETUSER says of a user."""
        return cast("Mapping[str, Any] | None", self._ask("acl_getuser", user))

    def denied(self, user: str, commands: Sequence[str]) -> list[str] | None:
        """Return those of these commands that a user may not send."""
        refused = []
        for command in commands:
            verdict = self._rehearse(user, command)
            if verdict is None:
                return None
            if "permission" in verdict:
                refused.append(command)
        return refused

    def _rehearse(self, user: str, command: str) -> str | None:
        """Return what the server would say to a command; how many arguments it takes has to be tried."""
        for count in range(_MOST_ARGUMENTS):
            try:
                words = ("ACL", "DRYRUN", user, *command.split("|"), *["0"] * count)
                return str(self._client.execute_command(*words))
            except StoreRefused as error:
                if "number of arg" not in error.reason:
                    return None
        return ""

    def lasting(self, pattern: str, most: int) -> list[str] | None:
        """Name keys without a time to live among the first `most` that there are."""
        try:
            names = list(islice(self._client.scan_iter(pattern, count=_PORTION), most))
            lasting: list[str] = []
            for portion in portions(names, _PORTION):
                with self._client.pipeline(transaction=False) as pipe:
                    for name in portion:
                        pipe.pttl(name)
                    lasting += [name for name, ttl in zip(portion, pipe.execute(), strict=True) if ttl == -1]
        except StoreRefused:
            return None
        return lasting

    def _ask(self, method: str, *arguments: Any) -> Any:
        try:
            return getattr(self._client, method)(*arguments)
        except StoreRefused:
            return None


# -- values of stages, in a Redis of a user's choice --------------------------------------------------
def values_in(client: object) -> ValuesInRedis:
    """Return a place in the Redis that a user's client speaks to; it may travel to other processes."""
    if not isinstance(client, redis.Redis):
        remedy = "pass redis.Redis(...), or leave it out"
        raise InvalidDagType(f"redis_instance={client!r}", "is not a client of a Redis", remedy)
    pool = client.connection_pool
    plain = {
        name: value
        for name, value in pool.connection_kwargs.items()
        if value is None or isinstance(value, str | int | float)
    }
    return ValuesInRedis(pool.connection_class, plain | {"decode_responses": False})


class ValuesInRedis:
    """Keeps bytes in a Redis of a user's choice, each with a time to live."""

    def __init__(self, connection_class: type[Any], arguments: Mapping[str, Any]) -> None:
        self._made_of = connection_class, dict(arguments)
        self._keys = Keys()
        pool = redis.ConnectionPool(connection_class, **self._made_of[1], retry=retry())
        self._client: Any = redis.Redis(connection_pool=pool)

    def __reduce__(self) -> tuple[object, ...]:
        return ValuesInRedis, self._made_of

    def among(self, keys: Keys) -> ValuesInRedis:
        same = copy(self)
        same._keys = keys
        return same

    def put(self, run_id: str, name: str, data: bytes) -> None:
        with _always_unavailable():
            self._client.set(self._keys.run(run_id, stage_value_key(name)), data, ex=TTL_SECONDS)

    def get(self, run_id: str, name: str) -> bytes | None:
        with _always_unavailable():
            return cast("bytes | None", self._client.get(self._keys.run(run_id, stage_value_key(name))))

    def drop(self, run_id: str, name: str) -> None:
        with _always_unavailable():
            self._client.unlink(self._keys.run(run_id, stage_value_key(name)))

    def delete_all(self, run_id: str) -> None:
        """They expire."""


@contextmanager
def _always_unavailable() -> Iterator[None]:
    try:
        yield
    except redis.exceptions.RedisError as error:
        raise StoreUnavailable(str(error)) from error
