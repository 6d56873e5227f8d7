"""redis.conf lets dagcelery do what it does, as a user with no right more, and keeps what it was given."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hardships
import pipelines
import pytest
import quotas
import redis

from checkout import ROOT
from dagcelery import Run, RunState
from dagcelery.client import Client, default_client, set_default
from dagcelery.errors import NodeFailed, RunCancelled
from dagcelery.local.guard import Guard
from dagcelery.local.server import find_binary
from dagcelery.settings import Settings

from .installation import CONFIG, Redis, await_ready, private_redis, worker

SECONDS = 60.0
PASSWORD = "a-password-of-shop"

# What is allowed and not every run of these tests comes upon: it is sent when something is lost, grows or ends.
RARE = {
    "select": "redis-py, where a URL names another database",
    "watch": "kombu, which gives a message back",
    "unwatch": "the same, when somebody else did",
    "rpush": "the same",
    "lset": "items of which a part was lost with its worker",
    "lindex": "the same",
    "lrem": "items that are taken back from a list of what may be claimed",
    "xrevrange": "a sweep, of a run that no live worker can do anything for",
    "mget": "Celery, when who waits for results connects again",
    "incr": "Celery's chords that grow while they run",
    "pexpire": "kombu's queues that expire, such as those of replies to remote control",
    "unsubscribe": "Celery and kombu, when a consumer leaves",
    "punsubscribe": "the same",
    "smembers": "kombu, to find the bindings of an exchange",
}


@pytest.fixture(scope="module")
def private() -> Iterator[Redis]:
    """A server with worker_config/redis.conf."""
    with private_redis() as made:
        yield made


@pytest.fixture(scope="module")
def at(private: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """The server with two workers, whose default client is the user dagcelery."""
    settings = Settings(broker_url=private.url, store_url=private.url, signing_key="a key")
    environment = {
        "DAGCELERY_BROKER_URL": private.url,
        "DAGCELERY_STORE_URL": private.url,
        "DAGCELERY_SIGNING_KEY": "a key",
        "DAGCELERY_HEARTBEAT_SECONDS": "0.2",
        "DAGCELERY_DEAD_SECONDS": "1",
        "NOTICES": str(tmp_path_factory.mktemp("noticed") / "notices"),
    }
    with Guard() as guard:
        workers = [
            worker(guard, "worker_config.celeryconfig", "-c", "2", "-Q", "celery,solo", "-E", environment=environment),
            worker(guard, "worker_config.celeryconfig", "-c", "1", "-Q", "gpu", environment=environment),
        ]
        for each in workers:
            await_ready(*each)
        replaced = set_default(Client(settings))
        yield private
        set_default(replaced)
        for process, _ in workers:  # both at once
            process.ask()


def denials(at: Redis) -> list[str]:
    """What the server refused to the user dagcelery."""
    return [str(entry) for entry in at.admin.acl_log() if entry["username"] == "dagcelery"]


def allowed() -> set[str]:
    """The commands that redis.conf allows."""
    (rules,) = re.findall(r"^user dagcelery (.*)$", (CONFIG / "redis.conf").read_text(), re.M)
    return set(re.findall(r"\+(\S+)", rules))


CASES: list[tuple[Any, dict[str, Any]]] = [
    (pipelines.map_reduce, {"n": 300}),
    (pipelines.map_reduce_gpu, {"n": 20}),
    (pipelines.map_in_map, {"n": 4}),
    (pipelines.map_in_map_inline, {"n": 4}),
    (pipelines.zigzag, {"x": 1}),
    (pipelines.element_chain, {"n": 20}),
    (pipelines.two_consumers, {"n": 20}),
    (pipelines.nested_outputs, {"x": 1}),
    (pipelines.big, {"length": 3_000_000}),
]


@pytest.mark.parametrize(("node", "params"), CASES, ids=[node.__name__ for node, _ in CASES])
def test_dags_run_as_that_user(at: Redis, node: Any, params: dict[str, Any]) -> None:
    assert node.submit(**params).result(timeout=SECONDS) == node(**params)
    assert not denials(at)


def test_what_fails_is_retried_resumed_and_read_as_that_user(at: Redis, tmp_path: Path) -> None:
    assert hardships.third_time.submit(folder=str(tmp_path)).result(timeout=SECONDS) == 3
    assert hardships.shaky_items.submit(folder=str(tmp_path), n=6).result(timeout=SECONDS) == list(range(6))
    run = hardships.nested_journey.submit(folder=str(tmp_path), n=5)
    with pytest.raises(NodeFailed):
        run.result(timeout=SECONDS)
    assert [each.address for each in run.errors()] == ["inner[3]/fixable"]
    (tmp_path / "fixed").touch()
    assert run.resume().result(timeout=SECONDS) == [x * x for x in range(5)]
    assert run.retry_from("inner").result(timeout=SECONDS) == [x * x for x in range(5)]
    assert all(node.done == node.total for node in run.status().nodes)
    assert not denials(at)


def test_deaths_limits_and_hooks_are_looked_after_as_that_user(at: Redis, tmp_path: Path) -> None:
    assert hardships.survivors.submit(n=6).result(timeout=SECONDS)[0] == 0
    assert quotas.one_by_one.submit(4, str(tmp_path)).result(timeout=SECONDS) == 6
    runs = [quotas.one_run.submit(str(tmp_path)) for _ in range(3)]
    assert [run.result(timeout=SECONDS) for run in runs] == [1, 1, 1]
    (tmp_path / "fixed").touch()
    assert hardships.noticed.submit(folder=str(tmp_path)).result(timeout=SECONDS) == 9
    assert not denials(at)


def test_runs_are_named_cancelled_awaited_and_deleted_as_that_user(at: Redis, tmp_path: Path) -> None:
    keyed = pipelines.map_reduce.options(key="order-42", deadline=3600)
    first = keyed.submit(n=10)
    assert keyed.submit(n=10) == first
    assert first.result(timeout=SECONDS) == 285
    held = hardships.held_items.submit(folder=str(tmp_path), n=4)
    until = time.monotonic() + SECONDS
    while not hardships.traces(tmp_path):
        assert time.monotonic() < until
        time.sleep(0.01)
    assert held.cancel("enough", terminate=True) is RunState.CANCELLED
    with pytest.raises(RunCancelled):
        held.result(timeout=SECONDS)
    for run in (first, held):
        run.delete()
        assert not at.admin.keys(f"*{run.id}*")
    assert Run(pipelines.map_reduce.submit(n=3).id).result(timeout=SECONDS) == 5
    assert not denials(at)


def test_workers_are_asked_queues_counted_and_events_read_as_that_user(at: Redis) -> None:
    app = default_client().app_context.app
    replies = app.control.ping(timeout=SECONDS, limit=2)
    assert len(replies) == 2
    with redis.Redis.from_url(at.url) as flower:
        until = time.monotonic() + SECONDS
        while flower.llen("celery"):  # wake-ups of the runs before
            assert time.monotonic() < until
            time.sleep(0.01)
    run = pipelines.map_reduce.submit(n=3)
    run.result(timeout=SECONDS)
    assert default_client().store.reader.events(run.id, "", 100)
    assert not denials(at)


def documented() -> str:
    """The rights that docs/howto/shared_redis.md gives a team."""
    text = (ROOT / "docs" / "howto" / "shared_redis.md").read_text()
    (rules,) = re.findall(r"^ACL SETUSER shop on >secret (.*)$", text, re.M)
    return str(rules)


@pytest.fixture(scope="module")
def managed(private: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A team with the documented rights on keys that begin with shop:, and a worker of it; in the store it may not even
    send CLIENT and SCRIPT, as on some managed services.
    """
    for user, but in (("shop", "-client -script"), ("shop-broker", "")):
        rules = f"reset on >{PASSWORD} {documented()} {but}"
        private.admin.execute_command("ACL", "SETUSER", user, *rules.split())
    store, broker = (private.url_of(user, PASSWORD) for user in ("shop", "shop-broker"))
    settings = Settings(broker_url=broker, store_url=store, signing_key="a key", key_prefix="shop:")
    environment = {
        "DAGCELERY_BROKER_URL": broker,
        "DAGCELERY_STORE_URL": store,
        "DAGCELERY_KEY_PREFIX": "shop:",
        "DAGCELERY_SIGNING_KEY": "a key",
        "DAGCELERY_HEARTBEAT_SECONDS": "0.2",
        "DAGCELERY_DEAD_SECONDS": "1",
    }
    with Guard() as guard:
        process, log = worker(guard, "worker_config.celeryconfig", "-Q", "celery,gpu", "-c2", environment=environment)
        await_ready(process, log)
        replaced = set_default(Client(settings))
        yield settings
        set_default(replaced)


def test_a_team_with_keys_of_its_own_and_few_rights_does_it_all(
    private: Redis, managed: Settings, tmp_path: Path
) -> None:
    before = {*private.admin.scan_iter()}
    private.admin.script_flush()
    for node, params in CASES[:4]:
        assert node.submit(**params).result(timeout=SECONDS) == node(**params)
    assert hardships.shaky_items.submit(folder=str(tmp_path), n=6).result(timeout=SECONDS) == list(range(6))
    assert quotas.one_by_one.submit(4, str(tmp_path)).result(timeout=SECONDS) == 6
    keyed = pipelines.map_reduce.options(key="order-42")
    first = keyed.submit(n=10)
    assert keyed.submit(n=10) == first
    assert first.result(timeout=SECONDS) == 285
    assert [listed.run for listed in default_client().runs(limit=1)] == [first]
    assert first.status().state is RunState.DONE
    first.delete()
    assert not private.admin.keys(f"*{first.id}*")
    assert all(name.startswith("shop:") for name in {*private.admin.scan_iter()} - before)
    refused = {entry["object"] for entry in private.admin.acl_log() if entry["username"].startswith("shop")}
    assert refused <= {"info", "client|setinfo", "script|load"}  # the last one by Celery's result backend


def test_a_worker_does_not_start_where_it_could_not_work(private: Redis, managed: Settings) -> None:
    private.admin.execute_command("ACL", "SETUSER", "shop-broker", "-zrem")
    broker = {"DAGCELERY_BROKER_URL": managed.broker_url, "DAGCELERY_STORE_URL": managed.broker_url}
    with Guard() as guard:
        environment = {**broker, "DAGCELERY_KEY_PREFIX": "shop:", "DAGCELERY_SIGNING_KEY": "a key"}
        process, log = worker(guard, "worker_config.celeryconfig", "-c", "1", environment=environment)
        until = time.monotonic() + SECONDS
        while process.is_alive:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert "this user may not send zrem; give it the right to: ACL SETUSER ... +zrem" in log.read_text()
    private.admin.execute_command("ACL", "SETUSER", "shop-broker", "+zrem")


def test_it_may_do_nothing_that_nobody_needs(at: Redis) -> None:
    used = at.commands()
    if not used >= {"xrange", "hscan", "brpop"}:
        pytest.skip("counts what the other tests of this module did")
    unneeded = allowed() - used - set(RARE)
    assert not unneeded, f"drop {sorted(unneeded)} from redis.conf, or say when they are needed"


def test_all_that_our_scripts_call_is_allowed() -> None:
    scripts = (ROOT / "dagcelery" / "store" / "lua").glob("*.lua")
    called = {word.lower() for file in scripts for word in re.findall(r"call\('(\w+)'", file.read_text())}
    assert called
    assert called <= allowed()
    probed = (ROOT / "dagcelery" / "store" / "lua" / "probe.lua").read_text()
    assert called <= {word.lower() for word in re.findall(r"\b([A-Z]+) @|\bTIME\b", probed)} | {"time"}


HARMFUL = ["FLUSHALL", "FLUSHDB", "KEYS *", "SCAN 0", "CONFIG GET *", "CONFIG SET dir /", "SHUTDOWN", "SAVE", "INFO"]
HARMFUL += ["MONITOR", "ACL WHOAMI", "CLIENT LIST", "REPLICAOF NO ONE", "FUNCTION LIST", "SCRIPT FLUSH"]


@pytest.mark.parametrize("command", HARMFUL)
def test_it_may_not_do_what_would_harm_others(private: Redis, command: str) -> None:
    with redis.Redis.from_url(private.url) as user, pytest.raises(redis.exceptions.NoPermissionError):
        user.execute_command(*command.split())


def test_who_has_no_name_gets_nothing(private: Redis) -> None:
    with redis.Redis.from_url(private.nobodys_url) as nobody, pytest.raises(redis.exceptions.AuthenticationError):
        nobody.ping()


def test_it_keeps_what_it_was_given_and_is_heard_on_the_loopback_only(private: Redis) -> None:
    wanted = {"appendonly": "yes", "maxmemory-policy": "noeviction", "bind": "127.0.0.1 -::1", "save": ""}
    assert {name: private.admin.config_get(name)[name] for name in wanted} == wanted


def test_nobody_can_be_the_user_as_whom_redis_reads_its_file_but_it_may_do_all(private: Redis) -> None:
    """Without its rights a Redis, other than a Valkey, starts without what scripts and transactions wrote."""
    default = private.admin.acl_getuser("default")
    assert "on" not in default["flags"]
    assert not default["passwords"]
    assert "nopass" not in default["flags"]
    assert default["categories"] == ["+@all"]


def test_scripts_and_transactions_are_still_there_after_a_restart() -> None:
    with private_redis() as made, redis.Redis.from_url(made.url, decode_responses=True) as user:
        user.set("plainly", "kept")
        user.eval("redis.call('SET', KEYS[1], 'kept'); redis.call('SADD', KEYS[2], 'kept')", 2, "script", "set")
        user.pipeline(transaction=True).set("one", "kept").set("two", "kept").execute()
        made.restart()
        assert user.mget("plainly", "script", "one", "two") == ["kept"] * 4
        assert user.smembers("set") == {"kept"}


def test_it_does_not_start_without_a_password(tmp_path: Path) -> None:
    with Guard() as guard:
        log = tmp_path / "log"
        process = guard.start([str(find_binary()), str(CONFIG / "redis.conf"), "--dir", str(tmp_path)], log=log)
        until = time.monotonic() + SECONDS
        while process.is_alive:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert process.exit_code != 0
        assert "SHA256_OF_THE_PASSWORD" in log.read_text()
