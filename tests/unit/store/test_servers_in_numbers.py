"""Addresses of Sentinels and clusters, and what is asked of which node; without a server."""

from __future__ import annotations

import re
import socketserver
import threading
from itertools import chain, repeat
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from redis.crc import key_slot
from redis.exceptions import RedisClusterException, ResponseError
from redis.sentinel import MasterNotFoundError

from dagcelery.errors import InvalidSetting, NotConfigured, StoreFull, StoreRefused, StoreUnavailable
from dagcelery.settings import Settings
from dagcelery.store import redis_clients
from dagcelery.store.keys import Keys
from dagcelery.store.redis_clients import Address, FailOverPatience, _ClusterPipeline, _fullness, client_of
from dagcelery.store.redis_errors import meaning
from dagcelery.worker.app import make_app, settings_of
from dagcelery.worker.server_urls import celerys, for_celery, for_redis, tls_options, transport_options

SENTINELS = "redis+sentinel://:p%40@a:1,b:2/dags/3?sentinel_password=s"
CLUSTER = "rediss+cluster://:pw@a:1,b/?ssl_ca_certs=/ca.pem"


# -- addresses ------------------------------------------------------------------------------------
def test_an_address_names_each_host_as_redis_py_has_it() -> None:
    sentinels, nodes = Address.parse(SENTINELS), Address.parse(CLUSTER)
    assert (sentinels.kind, sentinels.hosts, sentinels.service) == ("sentinel", [("a", 1), ("b", 2)], "dags")
    assert sentinels.urls[1] == "redis://:p%40@b:2/3?sentinel_password=s"
    assert (nodes.kind, nodes.hosts, nodes.urls[0]) == (
        "cluster",
        [("a", 1), ("b", 6379)],
        "rediss://:pw@a:1/?ssl_ca_certs=/ca.pem",
    )
    assert sentinels.place == Address.parse("redis+sentinel://b:2,a:1/dags").place != nodes.place


def test_sentinels_and_the_master_have_passwords_and_tls_of_their_own() -> None:
    pool = client_of(SENTINELS.replace("redis", "rediss") + "&ssl_ca_certs=/ca.pem", socket_timeout=9.0).connection_pool
    assert (pool.connection_kwargs["password"], pool.connection_kwargs["db"]) == ("p@", 3)
    assert (pool.connection_kwargs["ssl_ca_certs"], pool.connection_kwargs["socket_timeout"]) == ("/ca.pem", 9.0)
    own = pool.sentinel_manager.sentinel_kwargs
    assert {**own, "socket_timeout": 1.0} == own | {"ssl": True, "ssl_ca_certs": "/ca.pem", "password": "s"}


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis+sentinel://a:26379,b", "does not say what the Sentinels call their master.*sentinel.conf"),
        ("redis+sentinel://a:26379/dags/x", "names 'x', which is no number of a database"),
        ("redis+sentinel://a:26379,/dags", "names '' where a host"),
        ("redis+sentinel://a:b/dags", "names 'a:b' where a host and its port should be"),
        ("redis+cluster://a:6379,b:99999", "names 'b:99999'.*redis[+]cluster://:password@host1:6379,host2:6379"),
        ("redis+cluster://a/1", "a cluster has only number 0; leave it out"),
        ("redis+cluster://a?db=1", "a cluster has only number 0; leave it out"),
        ("redis+clusters://a", "is not the address of a Redis"),
    ],
)
def test_an_address_that_cannot_be_is_refused_with_the_remedy(url: str, told: str) -> None:
    with pytest.raises(InvalidSetting, match=told):
        Settings(store_url=url)


@pytest.mark.parametrize("url", [SENTINELS, CLUSTER, "redis+cluster://a/0", "redis+cluster://[::1]:6379?db=0"])
def test_addresses_of_several_servers_are_settings(url: str) -> None:
    assert Settings(store_url=url).store_url == url


def test_a_cluster_cannot_carry_messages() -> None:
    with pytest.raises(InvalidSetting, match=r"broker_url: is a cluster.*one behind Sentinels, or RabbitMQ"):
        Settings(broker_url="redis+cluster://a")


# -- Celery's spelling ----------------------------------------------------------------------------
def test_celery_has_the_service_beside_the_address() -> None:
    celery, options = for_celery(SENTINELS), transport_options(SENTINELS)
    assert celery == "sentinel://:p%40@a:1/3;sentinel://:p%40@b:2/3"
    assert options == {"master_name": "dags", "sentinel_kwargs": {"password": "s"}}
    assert celerys(celery, None, options) == SENTINELS == for_redis(SENTINELS)
    assert tls_options(SENTINELS) == {}
    assert tls_options(SENTINELS.replace("redis", "rediss")) == {"ssl_cert_reqs": "required"}


@pytest.mark.parametrize("role", ["broker", "result_backend"])
def test_the_store_is_derived_from_an_apps_sentinels(role: str) -> None:
    app = Celery("shop", set_as_current=False)
    app.conf.update({"broker_url": "memory://", "result_backend": None})
    app.conf.update({"broker_url" if role == "broker" else role: "sentinel://:pw@a:1;sentinel://b:2"})
    with pytest.raises(NotConfigured, match="set master_name in broker_transport_options"):
        settings_of(app, store_url=None, signing_key=None)
    app.conf.update({f"{role}_transport_options": {"master_name": "dags"}})
    derived = settings_of(app, store_url=None, signing_key=None)
    assert derived.store_url == "redis+sentinel://:pw@a:1,b:2/dags/0"


def test_our_own_app_tells_celery_of_sentinels_and_has_results_beside_a_cluster() -> None:
    app: Any = make_app(Settings(broker_url=SENTINELS, store_url=CLUSTER))
    assert app.conf.broker_url == app.conf.result_backend == for_celery(SENTINELS)
    assert app.conf.broker_transport_options["master_name"] == "dags"
    assert app.conf.result_backend_transport_options["master_name"] == "dags"
    assert make_app(Settings(broker_url="amqp://h", store_url=CLUSTER)).conf.result_backend is None


# -- nodes ----------------------------------------------------------------------------------------
def test_all_keys_of_a_run_are_at_one_node_and_runs_spread() -> None:
    keys = Keys("shop:")
    names = [keys.run("r", "s", "0"), keys.run("r"), keys.topology("r", 2), keys.run("r", "r", "gpu{x}")]
    assert len({key_slot(name.encode()) for name in names}) == 1
    assert len({key_slot(keys.run(f"r{number}").encode()) % 3 for number in range(30)}) == 3


def test_a_pipeline_is_parted_by_node_in_its_order() -> None:
    pipeline = _ClusterPipeline(SimpleNamespace(get_node_from_key=lambda key: key[0]), transaction=False)
    pipeline.time().hgetall("a1").get("b1").get("a2").get("b2")
    assert pipeline._parted(pipeline.command_stack) == {"a": [0, 1, 3], "b": [2, 4]}


def test_a_script_amid_a_slot_that_is_moved_is_told_so() -> None:
    told = "Attempted to access a non local key in a cluster node script: on @user_script:945."
    error = meaning(ResponseError(told), CLUSTER)
    assert type(error) is StoreUnavailable
    assert "move slots only while no run is active" in str(error)


def test_of_masters_without_limits_the_one_that_uses_most_speaks_for_a_cluster() -> None:
    told = [{"used_memory": 5}, {"used_memory": 9}, {"used_memory": 7}]
    assert max(told, key=_fullness)["used_memory"] == 9
    assert max([*told, {"used_memory": 1, "maxmemory": 2}], key=_fullness)["used_memory"] == 1


NO_NODE = "Redis Cluster cannot be connected. Please provide at least one reachable node: "
NO_MASTER = "No master found for 'dags'"
CLIENT = "<redis.client.Redis(<redis.connection.ConnectionPool(<redis.connection.Connection(db=0)>)>)> - "


@pytest.mark.parametrize(
    ("error", "ours", "remedy"),
    [
        (RedisClusterException(f"{NO_NODE}Error 111 connecting"), StoreUnavailable, "111 connecting; start it"),
        (RedisClusterException(f"{NO_NODE}HELLO must be called"), StoreRefused, "check user and password"),
        (RedisClusterException(f"{NO_NODE}invalid username-password pair"), StoreRefused, "check user and password"),
        (RedisClusterException(f"{NO_NODE}Cluster mode is not enabled"), StoreRefused, "write redis://"),
        (MasterNotFoundError(NO_MASTER), StoreUnavailable, "name the service as the Sentinels do"),
        (MasterNotFoundError(f"{NO_MASTER} : {CLIENT}111"), StoreUnavailable, "'dags' : 111; start the Sentinels"),
        (MasterNotFoundError(f"{NO_MASTER} : AuthenticationError"), StoreUnavailable, "as [?]sentinel_password="),
        (ResponseError("unknown command 'SENTINEL', with"), StoreRefused, "name the port of the Sentinels"),
    ],
)
def test_what_is_wrong_at_a_first_contact_has_a_remedy_of_its_own(error: Any, ours: type, remedy: str) -> None:
    told = meaning(error, SENTINELS)
    assert type(told) is ours
    assert re.search(remedy, str(told))


def test_an_option_that_a_cluster_does_not_have_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="'nonsense'"):
        client_of(f"{CLUSTER}&nonsense=1")
    client_of(f"{CLUSTER}&read_from_replicas=yes&socket_timeout=5")


class _Away(socketserver.BaseRequestHandler):
    """A Sentinel that says nothing to whom it counts."""

    def handle(self) -> None:
        self.server.asked += 1  # type: ignore[attr-defined]


def test_a_sentinel_that_is_away_is_asked_once_before_the_next_one() -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Away) as away:
        away.asked = 0  # type: ignore[attr-defined]
        threading.Thread(target=away.serve_forever, args=[0.01], daemon=True).start()
        port = away.server_address[1]
        manager = client_of(f"redis+sentinel://127.0.0.1:{port},127.0.0.1:{port}/dags").connection_pool.sentinel_manager
        with pytest.raises(MasterNotFoundError):
            manager.discover_master("dags")
        away.shutdown()
        assert away.asked == 2  # type: ignore[attr-defined]


# -- patience -------------------------------------------------------------------------------------
@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> FailOverPatience:
    """That of a store behind Sentinels, for which no time passes."""
    monkeypatch.setattr(redis_clients, "time", SimpleNamespace(monotonic=lambda: 0.0, sleep=lambda _: None))
    return FailOverPatience(SENTINELS)


def raising(*errors: Exception) -> Any:
    """A call that fails a few times, and answers."""
    left = chain(errors, repeat(None))

    def call() -> str:
        if error := next(left):
            raise error
        return "answer"

    return call


def test_a_server_that_takes_over_is_waited_for(patience: FailOverPatience) -> None:
    assert patience.through(raising()) == "answer"
    assert patience.through(raising(StoreUnavailable("down"), StoreUnavailable("down"))) == "answer"


def test_what_has_never_answered_or_refuses_or_is_alone_is_not_waited_for(patience: FailOverPatience) -> None:
    with pytest.raises(StoreUnavailable):
        patience.through(raising(StoreUnavailable("down")))
    patience.through(raising())
    with pytest.raises(StoreFull):
        patience.through(raising(StoreFull("full")))
    alone = FailOverPatience("redis://a")
    alone.through(raising())
    with pytest.raises(StoreUnavailable):
        alone.through(raising(StoreUnavailable("down")))
