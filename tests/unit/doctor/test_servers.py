"""Each disease of a server is found on a server that has it, and comes with its remedy."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
import redis
from contract.test_refusals import stuck

from checkout import ROOT
from dagcelery.client import Client
from dagcelery.doctor import CheckContext, checks, run_checks
from dagcelery.doctor.checks import OF_SERVERS
from dagcelery.local import Server
from dagcelery.settings import Settings

from .conftest import Make, found

CONFIG = ROOT / "worker_config"


def test_a_store_that_does_not_answer_is_serious_and_found_once(context: Make, server: Server) -> None:
    with Server() as other:
        broken = context(store=other.url)
        other.stop()
        ((severity, told),) = found(broken, checks.check_store)
    assert severity == "serious"
    assert re.fullmatch(r"the store at redis://:\*\*\*@\S+ does not answer: .*; start it, or point .* that runs", told)


def test_a_broker_that_does_not_answer_is_serious(context: Make, server: Server) -> None:
    ((severity, told),) = found(context("redis://:secret@127.0.0.1:1/0", store=server.url), checks.check_broker)
    assert severity == "serious"
    assert told.startswith("the broker at redis://:***@127.0.0.1:1/0 does not answer: ")
    assert "secret" not in told


def test_no_broker_at_all_is_serious(server: Server) -> None:
    empty = CheckContext(Client(Settings(store_url=server.url)).app_context)
    assert found(empty, checks.check_broker) == [
        (
            "serious",
            "no broker is configured, so workers do not hear of runs; "
            "set DAGCELERY_BROKER_URL, or name an app that has one: dagcelery -A shop doctor",
        )
    ]
    empty.close()


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("0?socket_timeout=soon", "an option that cannot be: Invalid value for 'socket_timeout'"),
        ("0?sockt_timeout=5", "an option that cannot be: .*'sockt_timeout'; leave the options behind its"),
        ("99", "/99 refuses a command: DB index is out of range; name a database that it has"),
    ],
)
def test_an_address_that_reaches_no_store_is_serious_and_found_once(
    context: Make, server: Server, option: str, told: str
) -> None:
    (finding,) = run_checks(
        context(server.url, store=server.url.removesuffix("0") + option), [checks.check_store, *OF_SERVERS]
    )
    assert (finding.check, finding.severity) == ("store", "serious")
    assert re.search(told, str(finding))


def test_a_server_that_forgets_when_it_is_full_is_serious(context: Make, admin: redis.Redis) -> None:
    broken = context()
    assert found(broken, checks.check_eviction) == []
    admin.config_set("maxmemory-policy", "volatile-lru")
    assert [severity for severity, _ in found(context(), checks.check_eviction)] == ["warning"]
    admin.config_set("maxmemory", "1gb")
    ((severity, told),) = found(context(), checks.check_eviction)
    assert severity == "serious"
    assert told == (
        "the server of store and broker has maxmemory-policy volatile-lru: when it is full, it evicts parts of runs, "
        "and messages; set maxmemory-policy noeviction"
    )


def test_the_broker_s_server_is_examined_as_the_store_s_is(context: Make, server: Server) -> None:
    with Server() as broker, redis.Redis.from_url(broker.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        ((_, told),) = found(context(broker.url, store=server.url), checks.check_eviction)
    assert told.startswith("the broker has maxmemory-policy allkeys-lru")


def test_a_server_without_room_is_serious(context: Make, admin: redis.Redis) -> None:
    assert found(context(), checks.check_memory) == []
    admin.config_set("maxmemory", int(admin.info("memory")["used_memory"] * 1.01))
    ((severity, told),) = found(context(), checks.check_memory)
    assert severity == "serious"
    assert re.search(r"uses \d+% of its maxmemory, and refuses writes when that is reached; give it more", told)


def test_a_server_that_writes_nothing_down_is_a_warning(context: Make, admin: redis.Redis) -> None:
    assert found(context(), checks.check_persistence) == []
    admin.config_set("appendonly", "no")
    ((severity, told),) = found(context(), checks.check_persistence)
    assert severity == "warning"
    assert told.endswith("since its last snapshot is lost if it dies; set appendonly yes")


def test_a_replica_is_serious(context: Make, server: Server) -> None:
    with Server() as replica, redis.Redis.from_url(replica.url) as client:
        client.replicaof("127.0.0.1", 1)
        ((severity, told),) = found(context(store=replica.url), checks.check_persistence)
        client.replicaof("NO", "ONE")
    assert severity == "serious"
    assert "the store is a replica, which refuses writes" in told


@pytest.mark.parametrize(
    ("kind", "version", "has_hole"),
    [
        ("redis", (7, 2, 10), True),
        ("redis", (7, 2, 11), False),
        ("redis", (7, 0, 15), True),
        ("redis", (8, 2, 1), True),
        ("redis", (8, 4, 0), False),
        ("valkey", (8, 1, 3), True),
        ("valkey", (9, 0, 0), False),
    ],
)
def test_versions_with_a_known_hole_are_known(kind: str, version: tuple[int, ...], has_hole: bool) -> None:
    assert checks._is_vulnerable(version, checks.FIXED[kind]) is has_hole


def test_an_old_server_is_found(context: Make, old_redis: str) -> None:
    ((severity, told),) = found(context(old_redis), checks.check_version)
    assert severity == "warning"
    assert re.match(r"the server of store and broker is Redis 7\.0\.\d+, in which scripts can run", told)


def test_a_server_without_a_password_is_a_warning(context: Make, old_redis: str) -> None:
    ((severity, told),) = found(context(old_redis), checks.check_rights)
    assert severity == "warning"
    assert "can be reached without a password; set requirepass" in told


def test_a_user_that_lacks_a_right_is_serious(context: Make, admin: redis.Redis, server: Server) -> None:
    admin.execute_command("ACL", "SETUSER", "meek", "on", ">secret", "~*", "&*", "+@all", "-evalsha", "-xadd")
    try:
        url = re.sub("//:.*@", "//meek:secret@", server.url)
        ((severity, told),) = found(context(url), checks.check_rights)
    finally:
        admin.acl_deluser("meek")
    assert severity == "serious"
    assert told == (
        "the server of store and broker denies 2 of the commands that are needed to its user 'meek'; "
        "ACL SETUSER meek +xadd +evalsha"
    )


def test_the_rights_that_are_looked_for_are_those_of_our_redis_conf() -> None:
    (rules,) = re.findall(r"^user dagcelery (.*)$", (CONFIG / "redis.conf").read_text(), re.M)
    assert set(checks.RIGHTS.split()) == set(re.findall(r"\+(\S+)", rules))


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ("~* &* +@all -eval", "refuses a command: .*'eval'.*the user's rights"),
        ("~* &* +@all -evalsha", "refuses a command: .*'evalsha'.*the user's rights"),
        ("~* &* +@all -multi", r"refuses a command: EXEC without MULTI; .*\+multi"),
        ("~* &* +@all -exec", "refuses a command: .*'exec'.*the user's rights"),
        ("~* &* +@all -zrem", r"this user may not send zrem; .*\+zrem"),
        ("~shop:* &* +@all", "key.*; set DAGCELERY_KEY_PREFIX to what .* such as shop: for ~shop:"),
    ],
)
def test_a_user_for_whom_no_script_would_run_is_serious(
    context: Make, admin: redis.Redis, server: Server, rules: str, told: str
) -> None:
    admin.execute_command("ACL", "SETUSER", "meek", "reset", "on", ">secret", *rules.split())
    try:
        ((severity, found_there),) = found(context(re.sub("//:.*@", "//meek:secret@", server.url)), checks.check_store)
    finally:
        admin.acl_deluser("meek")
    assert severity == "serious"
    assert re.search(told, found_there)


def test_a_prefix_that_the_broker_on_a_redis_lacks_is_a_warning(context: Make) -> None:
    ((severity, told),) = found(context(dagcelery_key_prefix="shop:"), checks.check_key_prefix)
    assert severity == "warning"
    assert told.startswith(
        "keys of the store begin with shop:, and those of the broker do not: others take its messages"
    )
    own = context(dagcelery_key_prefix="shop:", broker_transport_options={"global_keyprefix": "shop:"})
    assert found(own, checks.check_key_prefix) == found(context(), checks.check_key_prefix) == []


def test_a_node_of_a_cluster_that_is_used_as_one_server_is_serious(context: Make) -> None:
    class Node:
        def info(self) -> dict[str, str]:
            return {"cluster_enabled": "1"}

        def close(self) -> None:
            """Nothing is open."""

    nodes: dict[str, Any] = {"the store": Node(), "the broker": Node()}
    broken = context()
    broken.servers = nodes
    (_, store), (_, broker) = found(broken, checks.check_cluster)
    assert store.startswith("the store is a node of a cluster, and is used as one server; write redis+cluster://")
    assert broker.endswith("Celery cannot use a cluster")
    known = context(dagcelery_store_url="redis+cluster://127.0.0.1:6379", store="redis+cluster://127.0.0.1:6379")
    known.servers = {"the store (127.0.0.1:6379)": nodes["the store"]}
    assert found(known, checks.check_cluster) == []


def test_every_check_bears_a_server_that_is_busy_with_a_script_of_others(context: Make, server: Server) -> None:
    with stuck(server.url):
        findings = run_checks(context())
    assert {"broker", "store"} <= {finding.check for finding in findings}
    assert any("busy running a script" in finding.what and "SCRIPT KILL" in finding.remedy for finding in findings)


def test_what_a_user_may_not_ask_is_said(context: Make, admin: redis.Redis, server: Server) -> None:
    rights = [f"+{each}" for each in checks.RIGHTS.split()]
    admin.execute_command("ACL", "SETUSER", "few", "on", ">secret", "~*", "&*", "-@all", *rights)
    try:
        broken = context(re.sub("//:.*@", "//few:secret@", server.url))
        ((severity, told),) = found(broken, checks.check_openness)
        assert severity == "note"
        assert "were not checked: its user may not call INFO" in told
        ((severity, told),) = found(broken, checks.check_keys)
        assert severity == "note"
        assert found(broken, checks.check_rights) == []
    finally:
        admin.acl_deluser("few")


def test_clocks_that_differ_are_a_warning(context: Make) -> None:
    broken = context()
    assert found(broken, checks.check_clock) == []
    broken.clock = lambda: time.time() - 60
    ((severity, told),) = found(broken, checks.check_clock)
    assert severity == "warning"
    assert re.match(r"the clock of the server of store and broker is (59|60|61) s ahead of this machine's", told)


def test_keys_that_would_stay_for_ever_are_a_warning(context: Make, admin: redis.Redis) -> None:
    broken = context()
    admin.set("dagcelery:good", "", ex=100)
    admin.set("somebody else's", "")
    assert found(broken, checks.check_keys) == []
    admin.set("dagcelery:odd", "")
    ((severity, told),) = found(broken, checks.check_keys)
    assert severity == "warning"
    assert "has 1 keys without a time to live among the first 10,000: dagcelery:odd" in told


def test_a_broker_whose_sentinels_have_no_service_keeps_nobody_from_looking_at_the_store(
    context: Make, server: Server
) -> None:
    assert list(context("sentinel://a:1", store=server.url).servers) == ["the store"]
