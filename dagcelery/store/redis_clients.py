"""Clients of redis-py for an address: of one server, of the master that Sentinels name, of a cluster; our errors.

`redis+sentinel://:password@host1:26379,host2:26379/service/0?sentinel_password=...` and
`redis+cluster://:password@host1:6379,host2:6379`, with `rediss+` for TLS. Options are those of redis-py; what begins
with `sentinel_` is for the connections to the Sentinels themselves.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import unquote, urlencode

import redis
import redis.asyncio
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from dagcelery.errors import InvalidSetting
from dagcelery.store.redis_errors import our_errors
from dagcelery.text import masked

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


def retry() -> Retry:
    """How often a call is repeated by itself; a client made from a URL repeats nothing."""
    return Retry(ExponentialBackoff(cap=0.5, base=0.02), 3)


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


def client_of(url: str, **options: Any) -> Any:
    """Return a client, which connects when it is used.

    Raises InvalidSetting where the URL says what redis-py cannot read.
    """
    try:
        url = _with_bytes(url)
        address = Address.parse(url)
        client: Any
        if address.kind == "cluster":
            return _LateCluster(partial(_cluster_of, address, masked(url), options), masked(url))
        if address.kind == "sentinel":
            client = _master_of(address, redis.sentinel, _Client, options)
        else:
            client = _Client.from_url(url, **options)
        pool = client.connection_pool
        pool.connection_class(**pool.connection_kwargs)  # an unknown name would be noticed late
    except (TypeError, ValueError) as error:
        remedy = "leave the options behind its ? out, or write them as redis-py has them, such as ?socket_timeout=5"
        raise InvalidSetting("store_url", f"has an option that cannot be: {error}", remedy) from error
    client.shown_url = masked(url)
    return client


def _with_bytes(url: str) -> str:
    """Leave out of a URL what would make texts of answers: what reads them decides that, and options in a URL win."""
    return re.sub(r"(?<=[?&])(decode_responses|encoding|encoding_errors)=[^&]*&?", "", url).rstrip("?&")


def async_client_of(url: str, **options: Any) -> Any:
    """Return a client for an event loop, without our errors."""
    url = _with_bytes(url)
    address = Address.parse(url)
    if address.kind == "sentinel":
        return _master_of(address, redis.asyncio.sentinel, redis.asyncio.Redis, options)
    if address.kind == "cluster":
        from redis.asyncio.cluster import ClusterNode, RedisCluster  # late: few stores are clusters

        others = [ClusterNode(*host) for host in address.hosts[1:]]
        return RedisCluster.from_url(address.urls[0], startup_nodes=others, **options)
    return redis.asyncio.Redis.from_url(url, **options)


# -- one server ---------------------------------------------------------------------------------------
class _Client(redis.Redis):
    """A client of redis-py that raises our errors: all commands pass through `execute_command` or a pipeline."""

    shown_url = ""

    def execute_command(self, *arguments: Any, **options: Any) -> Any:
        with our_errors(self.shown_url):
            return super().execute_command(*arguments, **options)  # type: ignore[no-untyped-call]

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Any:
        pipeline = _Pipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        pipeline.shown_url = self.shown_url
        return pipeline


class _Pipeline(redis.client.Pipeline):
    shown_url = ""

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        with our_errors(self.shown_url):
            return super().execute(raise_on_error)


# -- the master that Sentinels name ---------------------------------------------------------------------
def _master_of(address: Address, module: Any, redis_class: type[Any], options: Mapping[str, Any]) -> Any:
    """Return a client that asks the Sentinels for the master whenever it connects."""
    said = dict(options) | _parse(address.urls[0])
    of_sentinels = {name: str(said.pop(name)) for name in list(said) if name.startswith("sentinel_")}
    named = {name.removeprefix("sentinel_"): value for name, value in of_sentinels.items()}
    is_secured = said.pop("connection_class", None) is not None
    for name in ("host", "port"):
        said.pop(name, None)
    own = {"socket_timeout": _SENTINEL_SECONDS, "socket_connect_timeout": _SENTINEL_SECONDS}
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


def _cluster_of(address: Address, shown_url: str, options: Mapping[str, Any]) -> Any:
    from redis.cluster import ClusterNode, RedisCluster  # late: few stores are clusters

    class Cluster(RedisCluster):
        """Raises our errors; its pipelines are those that the adapters need."""

        def execute_command(self, *arguments: Any, **options: Any) -> Any:
            with our_errors(shown_url):
                return super().execute_command(*arguments, **options)  # type: ignore[no-untyped-call]

        def pipeline(self, transaction: Any = True, shard_hint: Any = None) -> Any:
            """A transaction is about keys of one slot; other pipelines are parted by node, in no order between them."""
            if transaction:
                return _OneSlot(self, shown_url)
            pipeline: Any = super().pipeline()  # type: ignore[no-untyped-call]
            execute = pipeline.execute

            def executed(raise_on_error: bool = True) -> Any:
                with our_errors(shown_url):
                    return execute(raise_on_error)

            pipeline.execute = executed
            return pipeline

        def time(self, **_: Any) -> Any:
            """Each master has a clock. This is that of slot 0, the same one for all that compare times with it."""
            return self.execute_command("TIME", target_nodes=self.nodes_manager.get_node_from_slot(0))

        def info(self, *sections: Any, **_: Any) -> Any:
            """What INFO says of that master which is nearest to its limit of memory."""
            told = self.execute_command("INFO", *sections, target_nodes=self.PRIMARIES)
            return max((each for each in told.values() if isinstance(each, dict)), key=_fullness, default=told)

    node: Any = ClusterNode
    others = [node(*host) for host in address.hosts[1:]]
    with our_errors(shown_url):
        return Cluster.from_url(address.urls[0], startup_nodes=others, **options)


def _fullness(told: Mapping[str, Any]) -> float:
    most = int(told.get("maxmemory", 0))
    return int(told.get("used_memory", 0)) / most if most else 0.0


class _OneSlot(redis.client.Pipeline):
    """Commands on keys of one slot, at the node that has it. redis-py's own transactions in a cluster leave answers as
    the server spells them.
    """

    def __init__(self, cluster: Any, shown_url: str) -> None:
        super().__init__(None, {}, True, None)  # type: ignore[arg-type]
        self._cluster = cluster
        self._shown_url = shown_url

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        asked = list(self.command_stack)
        at = next(arguments[1] for arguments, _ in asked if len(arguments) > 1)

        def execute() -> list[Any]:
            node = self._cluster.get_redis_connection(self._cluster.get_node_from_key(at))
            self.connection_pool, self.response_callbacks = node.connection_pool, node.response_callbacks
            self.command_stack = list(asked)
            return super(_OneSlot, self).execute(raise_on_error)

        def look_again(error: Exception) -> None:
            self._cluster.nodes_manager.initialize()

        repeated = retry()
        repeated.update_supported_errors(PASSING)
        with our_errors(self._shown_url):
            return list(repeated.call_with_retry(execute, look_again))


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
