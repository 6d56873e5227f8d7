"""Clients of redis-py for an address: of one server, of the master that Sentinels name, of a cluster; our errors.

`redis+sentinel://:password@host1:26379,host2:26379/service/0?sentinel_password=...` and
`redis+cluster://:password@host1:6379,host2:6379`, with `rediss+` for TLS. Options are those of redis-py; what begins
with `sentinel_` is for the connections to the Sentinels themselves.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import unquote, urlencode

import redis
import redis.asyncio
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry

from dagcelery.errors import InvalidSetting, StoreRefused, StoreUnavailable
from dagcelery.store.redis_errors import our_errors
from dagcelery.text import masked

T = TypeVar("T")

PASSING: Final = (
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.AskError,
    redis.exceptions.TryAgainError,
    redis.exceptions.ClusterError,
    redis.exceptions.SlotNotCoveredError,
)
"""What passes in a cluster: another node becomes the one to ask. MOVED is a kind of ASK, CLUSTERDOWN a ClusterError."""
_SENTINEL_SECONDS: Final = 1.0
"""How long one Sentinel may take to answer: there are others."""
_SENTINEL_PORT: Final = 26379
_TAKE_OVER_SECONDS: Final = 40.0
_LOOK_SECONDS: Final = 0.1


def retry() -> Retry:
    """How often a call is repeated by itself; a client made from a URL repeats nothing."""
    return Retry(ExponentialBackoff(cap=0.5, base=0.02), 3)


class FailOverPatience:
    """How long calls wait until one server has taken over from another, as long as that takes with the usual settings:
    a Sentinel calls a master dead after 30 s, nodes of a cluster after 15 s. A server that is alone is not waited for,
    and neither is one that has never answered: its address may be wrong.
    """

    def __init__(self, url: str) -> None:
        self._seconds = _TAKE_OVER_SECONDS if Address.parse(url).kind else 0.0
        self._has_answered = False

    def through(self, call: Callable[[], T]) -> T:
        """Make a call, again and again while nobody answers. Each may be repeated, as after a reply that was lost."""
        until = self._until()
        while True:
            try:
                return self._answered(call())
            except StoreUnavailable as error:
                if isinstance(error, StoreRefused) or time.monotonic() >= until:
                    raise
            time.sleep(_LOOK_SECONDS)

    async def athrough(self, call: Callable[[], Awaitable[T]]) -> T:
        """Do the same on an event loop."""
        until = self._until()
        while True:
            try:
                return self._answered(await call())
            except StoreUnavailable as error:
                if isinstance(error, StoreRefused) or time.monotonic() >= until:
                    raise
            await asyncio.sleep(_LOOK_SECONDS)

    def _until(self) -> float:
        return time.monotonic() + self._seconds if self._has_answered else 0.0

    def _answered(self, answer: T) -> T:
        self._has_answered = True
        return answer


# -- addresses ----------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Address:
    """What a URL says: of which kind it is, "", "sentinel" or "cluster"; its hosts, and the service of Sentinels."""

    kind: str
    hosts: Sequence[tuple[str, int]]
    service: str
    urls: Sequence[str]
    """For each host what redis-py would call it, alone."""

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read a URL; what is wrong with one is said by the settings."""
        scheme, _, rest = url.partition("://")
        scheme, _, kind = scheme.partition("+")
        if not kind:
            return cls("", (), "", [url])
        place, question, query = rest.partition("?")
        user, at, place = place.rpartition("@")
        names, _, path = place.partition("/")
        service, _, path = path.strip("/").partition("/") if kind == "sentinel" else ("", "", path)
        urls = [f"{scheme}://{user}{at}{name}/{path}{question}{query}" for name in names.split(",")]
        parsed = [_parse(each) for each in urls]
        usual = _SENTINEL_PORT if kind == "sentinel" else 6379
        hosts = [(each.get("host", "localhost"), each.get("port", usual)) for each in parsed]
        return cls(kind, hosts, unquote(service), urls)

    @property
    def place(self) -> str:
        """What addresses of the same server have in common."""
        if self.kind:
            return f"{self.kind} {sorted(self.hosts)} {self.service}"
        said = _parse(self.urls[0])
        return str(said.get("path") or f"{said.get('host', 'localhost')}:{said.get('port', 6379)}")


def _parse(url: str) -> dict[str, Any]:
    parse: Any = redis.connection.parse_url
    return dict(parse(url))


def client_of(url: str, patience: FailOverPatience | None = None, **options: Any) -> Any:
    """Return a client, which connects when it is used, and may be patient with servers that stand in for each other.

    Raises InvalidSetting where the URL says what redis-py cannot read.
    """
    try:
        url = _with_bytes(url)
        address = Address.parse(url)
        client: Any
        if address.kind == "cluster":
            _check_options(address.urls[0])
            return _LateCluster(partial(_cluster_of, address, masked(url), patience, options), masked(url))
        if address.kind == "sentinel":
            client = _master_of(address, redis.sentinel, _Client, Retry(NoBackoff(), 0), options)
        else:
            client = _Client.from_url(url, **options)
        connection_of(client.connection_pool)  # an unknown name would be noticed late
    except (TypeError, ValueError) as error:
        remedy = "leave the options behind its ? out, or write them as redis-py has them, such as ?socket_timeout=5"
        raise InvalidSetting("store_url", f"has an option that cannot be: {error}", remedy) from error
    client.shown_url, client.patience = masked(url), patience if address.kind else None
    return client


def _check_options(url: str) -> None:
    """Raise TypeError for an option that neither a cluster nor its connections have: redis-py would leave it out."""
    options = _parse(url)
    of_cluster = inspect.signature(RedisCluster.__init__).parameters
    of_nodes = {name: value for name, value in options.items() if name not in of_cluster}
    of_nodes.pop("connection_class", redis.Connection)(**of_nodes)


def connection_of(pool: Any) -> Any:
    """Return a connection like those of a pool, which it does not count: a thread's ends with the thread, and a pool
    would take it for one that is open for ever, and have none left.
    """
    return pool.connection_class(**pool.connection_kwargs)


def _with_bytes(url: str) -> str:
    """Leave out of a URL what would make texts of answers: what reads them decides that, and options in a URL win."""
    return re.sub(r"(?<=[?&])(decode_responses|encoding|encoding_errors)=[^&]*&?", "", url).rstrip("?&")


def async_client_of(url: str, **options: Any) -> Any:
    """Return a client for an event loop, without our errors."""
    url = _with_bytes(url)
    address = Address.parse(url)
    if address.kind == "sentinel":
        once = redis.asyncio.retry.Retry(NoBackoff(), 0)
        return _master_of(address, redis.asyncio.sentinel, redis.asyncio.Redis, once, options)
    if address.kind == "cluster":
        others = [redis.asyncio.cluster.ClusterNode(*host) for host in address.hosts[1:]]
        return redis.asyncio.RedisCluster.from_url(address.urls[0], startup_nodes=others, **options)
    return redis.asyncio.Redis.from_url(url, **options)


# -- one server ---------------------------------------------------------------------------------------
class _Client(redis.Redis):
    """A client of redis-py that raises our errors: all commands pass through `execute_command` or a pipeline."""

    shown_url = ""
    patience: FailOverPatience | None = None

    def execute_command(self, *arguments: Any, **options: Any) -> Any:
        if self.patience is not None:
            return self.patience.through(lambda: self._once(*arguments, **options))
        return self._once(*arguments, **options)

    def _once(self, *arguments: Any, **options: Any) -> Any:
        with our_errors(self.shown_url):
            return super().execute_command(*arguments, **options)  # type: ignore[no-untyped-call]

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Any:
        pipeline = _Pipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        pipeline.shown_url, pipeline.patience = self.shown_url, self.patience
        return pipeline


class _Pipeline(redis.client.Pipeline):
    shown_url = ""
    patience: FailOverPatience | None = None

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        asked = list(self.command_stack)

        def once() -> list[Any]:
            self.command_stack = list(asked)  # it is empty after each try
            with our_errors(self.shown_url):
                return self._execute(raise_on_error)

        return self.patience.through(once) if self.patience is not None else once()

    def _execute(self, raise_on_error: bool) -> list[Any]:
        return super().execute(raise_on_error)


# -- the master that Sentinels name ---------------------------------------------------------------------
def _master_of(address: Address, module: Any, redis_class: type[Any], once: Any, options: Mapping[str, Any]) -> Any:
    """Return a client that asks the Sentinels for the master whenever it connects, each of them `once`, a `Retry`: by
    itself redis-py would ask one that is away ten times before it asks the next one.
    """
    said = dict(options) | _parse(address.urls[0])
    of_sentinels = {name: str(said.pop(name)) for name in list(said) if name.startswith("sentinel_")}
    named = {name.removeprefix("sentinel_"): value for name, value in of_sentinels.items()}
    is_secured = said.pop("connection_class", None) is not None
    for name in ("host", "port"):
        said.pop(name, None)
    own = {"socket_timeout": _SENTINEL_SECONDS, "socket_connect_timeout": _SENTINEL_SECONDS, "retry": once}
    if is_secured and named.pop("ssl", "true").lower() not in ("0", "no", "false"):
        own |= {"ssl": True} | {name: value for name, value in said.items() if name.startswith("ssl_")}
    own |= {name: value for name, value in _parse(f"redis://?{urlencode(named)}").items() if name != "db"}
    said |= {"ssl": True} if is_secured else {}
    sentinels = module.Sentinel(address.hosts, sentinel_kwargs=own)
    return sentinels.master_for(address.service, redis_class=redis_class, **said)


# -- a cluster ------------------------------------------------------------------------------------------
class _LateCluster:
    """A client of a cluster, which connects when it is used: redis-py asks for the nodes as soon as it is made."""

    def __init__(self, make: Callable[[], Any], shown_url: str) -> None:
        self.shown_url = shown_url
        self._make = make
        self._made: Any = None
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        if self._made is None:
            with self._lock:
                self._made = self._made or self._make()
        return getattr(self._made, name)

    def close(self) -> None:
        """Close all connections, if there are any."""
        if self._made is not None:
            self._made.close()


def is_cluster(client: Any) -> bool:
    """Return whether a client of `client_of` is one of a cluster."""
    return isinstance(client, _LateCluster)


def _cluster_of(address: Address, shown_url: str, patience: FailOverPatience | None, options: Mapping[str, Any]) -> Any:
    class Cluster(RedisCluster):
        """Raises our errors; its pipelines are those that the adapters need."""

        def execute_command(self, *arguments: Any, **options: Any) -> Any:
            if patience is not None:
                return patience.through(lambda: self._once(*arguments, **options))
            return self._once(*arguments, **options)

        def _once(self, *arguments: Any, **options: Any) -> Any:
            with our_errors(shown_url):
                return super().execute_command(*arguments, **options)  # type: ignore[no-untyped-call]

        def pipeline(self, transaction: Any = True, shard_hint: Any = None) -> Any:
            pipeline = _ClusterPipeline(self, transaction=bool(transaction))
            pipeline.shown_url, pipeline.patience = shown_url, patience
            return pipeline

        def time(self, **_: Any) -> Any:
            """Each master has a clock. This is that of slot 0, the same one for all that compare times with it."""
            return self.execute_command("TIME", target_nodes=self.nodes_manager.get_node_from_slot(0))

        def info(self, *sections: Any, **_: Any) -> Any:
            """What INFO says of that master which is nearest to its limit of memory, or, without limits, uses most."""
            told = self.execute_command("INFO", *sections, target_nodes=self.PRIMARIES)
            return max((each for each in told.values() if isinstance(each, dict)), key=_fullness, default=told)

    node: Any = ClusterNode
    others = [node(*host) for host in address.hosts[1:]]
    with our_errors(shown_url):
        return Cluster.from_url(address.urls[0], startup_nodes=others, **options)


def _fullness(told: Mapping[str, Any]) -> tuple[float, int]:
    used, most = int(told.get("used_memory", 0)), int(told.get("maxmemory", 0))
    return used / most if most else 0.0, used


class _ClusterPipeline(_Pipeline):
    """Commands on one key each, parted by the nodes that have the keys: in order at each node, in none between them. A
    transaction is about keys of one slot. redis-py's own pipelines in a cluster leave some answers as they are sent.
    """

    def __init__(self, cluster: Any, *, transaction: bool) -> None:
        super().__init__(None, {}, transaction, None)  # type: ignore[arg-type]
        self._cluster = cluster

    def _execute(self, raise_on_error: bool) -> list[Any]:
        asked = list(self.command_stack)

        def execute() -> list[Any]:
            answers: list[Any] = [None] * len(asked)
            for node, positions in self._parted(asked).items():
                client = self._cluster.get_redis_connection(node)
                self.connection_pool, self.response_callbacks = client.connection_pool, client.response_callbacks
                self.command_stack = [asked[position] for position in positions]
                for position, answer in zip(positions, self._at_node(raise_on_error), strict=True):
                    answers[position] = answer
            return answers

        def look_again(error: Exception) -> None:
            self._cluster.nodes_manager.initialize()

        repeated = retry()
        repeated.update_supported_errors(PASSING)
        return list(repeated.call_with_retry(execute, look_again))

    def _at_node(self, raise_on_error: bool) -> list[Any]:
        return super()._execute(raise_on_error)

    def _parted(self, asked: Sequence[Any]) -> Mapping[Any, list[int]]:
        """Positions by node; a command without a key, such as TIME, goes where the next key is."""
        parts, waiting = dict[Any, list[int]](), list[int]()
        for position, (arguments, _) in enumerate(asked):
            waiting.append(position)
            if len(arguments) > 1:
                parts.setdefault(self._cluster.get_node_from_key(arguments[1]), []).extend(waiting)
                waiting.clear()
        return parts


def masters_of(url: str) -> list[str]:
    """Return an address for each master of a cluster; of another kind of store, its own. Raises StoreUnavailable."""
    address = Address.parse(url)
    if address.kind != "cluster":
        return [url]
    client = client_of(url, socket_timeout=_SENTINEL_SECONDS)
    try:
        at = [f"[{node.host}]" if ":" in node.host else node.host for node in client.get_primaries()]
        ports = [node.port for node in client.get_primaries()]
    finally:
        client.close()
    head, _, tail = address.urls[0].partition("://")
    user, sign, place = tail.partition("?")[0].rpartition("@")
    rest = tail[len(user + sign + place.partition("/")[0]) :]
    return [f"{head}://{user}{sign}{host}:{port}{rest}" for host, port in zip(at, ports, strict=True)]
