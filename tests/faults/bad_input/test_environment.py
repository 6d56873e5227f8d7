"""A setting that cannot be is refused by the name of its variable; a server that it leads nowhere is named."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery import Celery

from dagcelery import attach, invoke, submit
from dagcelery.client import set_default
from dagcelery.errors import InvalidSetting, NotConfigured, NotSent, StoreUnavailable
from dagcelery.local import Server
from dagcelery.local.cluster import tolerated_queues
from dagcelery.payload.signing import Keyring
from dagcelery.settings import Settings

from .telling import Bad
from .vocabulary import map_reduce

ADDRESS = "redis://localhost:6379/0"

# The variable without DAGCELERY_, its text, what is wrong, what would be right.
REFUSED = [
    ("BROKER_URL", "localhost", "is not a URL", ADDRESS),
    ("BROKER_URL", "redis://localhost:port/0", "not the address of a Redis", ADDRESS),
    ("BROKER_URL", "redis://localhost/0;redis://localhost:port/0", "not the address of a Redis", ADDRESS),
    ("STORE_URL", "localhost", "is not a URL", ADDRESS),
    ("STORE_URL", "amqp://localhost", "not the address of a Redis", ADDRESS),
    ("STORE_URL", "redis+socket:///tmp/store", "not the address of a Redis", ADDRESS),
    ("STORE_URL", "redis://localhost:port/0", "not the address of a Redis", ADDRESS),
    ("STORE_URL", "redis://localhost/none", "not the address of a Redis", ADDRESS),
    ("STORE_URL", "redis://[::1/0", "not the address of a Redis", ADDRESS),
    ("IMPORTS", "shop/tasks.py", "'shop/tasks.py', which is not a module", "shop.tasks,reports"),
    ("IMPORTS", "shop..tasks", "'shop..tasks', which is not a module", "shop.tasks,reports"),
    ("IMPORTS", ".tasks", "'.tasks', which is not a module", "shop.tasks,reports"),
    ("SERIALIZER", "yaml", "is 'yaml'", "json, pickle"),
    ("CODE_MISMATCH", "shrug", "is 'shrug'", "ignore, warn, error"),
    ("LOG_LEVEL", "loud", "is 'LOUD'", "DEBUG, INFO"),
    ("MAX_ITEMS", "many", "is 'many', which is not a whole number", "a whole number"),
    ("MAX_ITEMS", "1.5", "is '1.5', which is not a whole number", "a whole number"),
    ("MAX_ITEMS", "0", "is 0", "above 0"),
    ("MAX_NODES", "-1", "is -1", "above 0"),
    ("MAX_PAYLOAD_BYTES", "512 MB", "is '512 MB', which is not a whole number", "a whole number"),
    ("SPOOL_BYTES", "0", "is 0", "above 0"),
    ("TTL_SECONDS", "7d", "is '7d', which is not a whole number", "a whole number"),
    ("RESULT_TTL_SECONDS", "0", "is 0", "above 0"),
    ("HEARTBEAT_SECONDS", "soon", "is 'soon', which is not a number", "write a number"),
    ("HEARTBEAT_SECONDS", "nan", "is nan", "above 0"),
    ("DEAD_SECONDS", "1", "less than two heartbeats of 3 s", "at least twice heartbeat_seconds"),
    ("SLICE_SECONDS", "inf", "is inf", "above 0"),
    ("HANDOFF_SECONDS", "-0.1", "is -0.1", "above 0"),
]


@pytest.mark.parametrize(("name", "text", "wrong", "right"), REFUSED)
def test_a_bad_variable_is_refused_by_its_name(name: str, text: str, wrong: str, right: str) -> None:
    variable = f"DAGCELERY_{name}"
    Bad(lambda: Settings.from_environment({variable: text}), variable, wrong, right, InvalidSetting).is_refused()


def test_every_number_that_can_be_set_is_refused_where_it_is_none() -> None:
    numbers = [field.name for field in dataclasses.fields(Settings) if isinstance(field.default, int | float)]
    assert len(numbers) >= 10
    for name in numbers:
        with pytest.raises(InvalidSetting, match=f"DAGCELERY_{name.upper()}: is 'none', .*; write a"):
            Settings.from_environment({f"DAGCELERY_{name.upper()}": "none"})


@pytest.mark.parametrize("text", [",", "new,,old", "new,"])
def test_an_empty_signing_key_is_refused_where_keys_are_read(text: str) -> None:
    Bad(lambda: Keyring.parse(text), "DAGCELERY_SIGNING_KEY", "an empty key", '"new,old"', InvalidSetting).is_refused()


# --- where a process first uses what its environment says ---


@pytest.fixture
def environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The variables of a process that is well configured, and has not made its client yet."""
    for name, value in {"BROKER_URL": server.url, "STORE_URL": server.url, "SIGNING_KEY": "key"}.items():
        monkeypatch.setenv(f"DAGCELERY_{name}", value)
    replaced = set_default(None)
    yield monkeypatch
    set_default(replaced)


@pytest.mark.parametrize(("name", "text"), [("MAX_ITEMS", "many"), ("STORE_URL", "amqp://h"), ("SIGNING_KEY", ",")])
def test_a_bad_variable_is_told_when_something_is_submitted(
    environment: pytest.MonkeyPatch, raw: redis.Redis, name: str, text: str
) -> None:
    environment.setenv(f"DAGCELERY_{name}", text)
    with pytest.raises(InvalidSetting, match=f"DAGCELERY_{name}"):
        submit(map_reduce, {"n": 3})
    assert not raw.keys("*")


def test_a_bad_variable_is_told_when_something_is_invoked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGCELERY_MAX_NODES", "few")
    with pytest.raises(InvalidSetting, match="DAGCELERY_MAX_NODES"):
        invoke(map_reduce, {"n": 3})


def test_no_variable_at_all_is_told_with_every_remedy(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("DAGCELERY_BROKER_URL")
    environment.delenv("DAGCELERY_STORE_URL")
    with pytest.raises(NotConfigured, match="no broker and no store is configured") as caught:
        submit(map_reduce, {"n": 3})
    for remedy in ("DAGCELERY_BROKER_URL", "DAGCELERY_STORE_URL", "dagcelery.attach(app)", "dagcelery dev"):
        assert remedy in caught.value.remedy


def test_a_database_that_the_store_does_not_have_is_named(environment: pytest.MonkeyPatch, server: Server) -> None:
    environment.setenv("DAGCELERY_STORE_URL", f"{server.url.rsplit('/', 1)[0]}/99")
    with pytest.raises(
        StoreUnavailable, match=r"/99 refuses a command: .*out of range; name a database.*DAGCELERY_STORE_URL"
    ):
        submit(map_reduce, {"n": 3})


def test_a_wrong_password_is_told_and_none_is_shown(environment: pytest.MonkeyPatch, server: Server) -> None:
    environment.setenv("DAGCELERY_STORE_URL", server.url.replace("redis://:", "redis://:not@this"))
    with pytest.raises(StoreUnavailable, match="invalid username-password pair") as caught:
        submit(map_reduce, {"n": 3})
    assert caught.value.url.startswith("redis://:***@127.0.0.1:")


def test_a_broker_that_celery_cannot_use_is_named_with_the_run_that_was_cancelled(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("DAGCELERY_BROKER_URL", "foo://localhost")
    with pytest.raises(NotSent, match=r"run \w+ was cancelled.*No such transport: foo.*DAGCELERY_BROKER_URL"):
        submit(map_reduce, {"n": 3})


# --- what an app of one's own says ---

APPS: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "a key that is not a str": ({"signing_key": 3}, "signing_key", "of type int", "give a str"),
    "a store that is no Redis": ({"store_url": "amqp://h"}, "store_url", "not the address of a Redis", ADDRESS),
    "a store of the app's that is not a URL": ({"dagcelery_store_url": "h"}, "store_url", "is not a URL", ADDRESS),
    "a key of the app's that is not a str": ({"dagcelery_signing_key": 3}, "signing_key", "of type int", "give a str"),
}


@pytest.mark.parametrize("name", APPS)
def test_a_bad_setting_of_an_app_is_told_when_it_is_attached(name: str) -> None:
    given, *told = APPS[name]
    arguments = {key: value for key, value in given.items() if not key.startswith("dagcelery_")}
    app = Celery("team", broker=ADDRESS, set_as_current=False)
    app.conf.update({key: value for key, value in given.items() if key.startswith("dagcelery_")})
    Bad(lambda: attach(app, **arguments), *told, InvalidSetting).is_refused()


def test_what_is_no_app_cannot_be_attached() -> None:
    Bad(lambda: attach("team"), "app", "'team', which is not a Celery app", "your app", InvalidSetting).is_refused()


def test_more_tolerations_than_queues_are_reasonable_are_refused() -> None:
    many = [f"taint{number}" for number in range(9)]
    Bad(lambda: tolerated_queues(many), "tolerations", "512 queues", "at most 8", InvalidSetting).is_refused()
