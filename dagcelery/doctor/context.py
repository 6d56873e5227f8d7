"""The context of the doctor's checks: an app with its settings, servers and workers, each asked once; and findings."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from dagcelery.errors import BrokerUnavailable, InvalidSetting, NotConfigured, NotSent, StoreUnavailable
from dagcelery.settings import Settings
from dagcelery.store.redis import Inspection
from dagcelery.store.redis_clients import masters_of
from dagcelery.text import masked
from dagcelery.worker.app import COMMAND, OUR_APP, AppContext
from dagcelery.worker.sender import sending_errors
from dagcelery.worker.server_urls import celerys, for_redis, is_redis, secured

if TYPE_CHECKING:
    from celery import Celery


class Severity(StrEnum):
    """How bad a finding is.

    Serious: runs fail, stall or are lost. Warning: they may one day. Note: something could not be checked.
    """

    SERIOUS = "serious"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong, and the remedy."""

    check: str
    severity: Severity
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}"

    def to_dict(self) -> dict[str, str]:
        """Return the finding as data for JSON."""
        return asdict(self) | {"severity": str(self.severity)}


QUESTIONS: Final = ("active_queues", "stats", COMMAND)
"""Commands of Celery's remote control."""


_ALARM_SECONDS: Final = 0.5
"""How long a RabbitMQ may take to say that it has an alarm."""


@dataclass
class CheckContext:
    """An app that dagcelery is attached to, with its servers and workers.

    `clock` is this machine's, in seconds since the epoch. Workers that do not answer within `timeout_seconds` count as
    absent. `name` is the app's name on Celery's command line.
    """

    app_context: AppContext
    clock: Callable[[], float] = time.time
    timeout_seconds: float = 1.5
    name: str = ""

    @property
    def app(self) -> Celery:
        """The Celery app."""
        return self.app_context.app

    @property
    def is_ours(self) -> bool:
        """Whether it is dagcelery's own app, which the environment configures."""
        return bool(self.app.main == OUR_APP)

    @property
    def shown_name(self) -> str:
        """The app's name for ``-A``, as far as it is known."""
        return self.name or str(self.app.main)

    @property
    def settings(self) -> Settings:
        """The settings of dagcelery."""
        return self.app_context.settings

    @property
    def broker_url(self) -> str:
        """The broker's address in the app's configuration, with its password."""
        conf = self.app.conf
        return secured(str(conf.broker_url or ""), conf.broker_use_ssl)

    @property
    def shown_broker(self) -> str:
        """The broker's address without its password."""
        return masked(self.broker_url)

    @cached_property
    def servers(self) -> Mapping[str, Inspection]:
        """The Redis servers that answer, by their roles: "the store", "the broker", or both in one."""
        servers: dict[str, Inspection] = {}
        with suppress(InvalidSetting):  # another check reports such an address
            if self.settings.store_url:
                servers |= _inspections("the store", for_redis(self.settings.store_url))
        with suppress(InvalidSetting, NotConfigured):
            if is_redis(self.broker_url):
                options = self.app.conf.broker_transport_options
                servers |= _inspections("the broker", celerys(self.broker_url, None, options))
        if list(servers) == ["the store", "the broker"] and len({server.place for server in servers.values()}) == 1:
            servers.pop("the broker").close()
            servers = {"the server of store and broker": servers["the store"]}
        return {name: server for name, server in servers.items() if _answers(server)}

    @cached_property
    def workers(self) -> Mapping[str, Mapping[str, Any]]:
        """The last heartbeats of live workers, by worker."""
        heartbeats = self.app_context.store.fleet.workers()
        return {worker: beat for worker, beat in heartbeats.items() if beat["age"] < self.settings.dead_seconds}

    @cached_property
    def answers(self) -> Mapping[str, Mapping[str, Any]]:
        """The answers of workers to `QUESTIONS`, by worker; empty if the broker does not answer.

        All are asked at once, since only a time-out tells that no other worker answers.
        """
        if self.broker_error:
            return {question: {} for question in QUESTIONS}
        with ThreadPoolExecutor(len(QUESTIONS)) as threads:
            return dict(zip(QUESTIONS, threads.map(self._asked, QUESTIONS), strict=True))

    def _asked(self, command: str) -> Mapping[str, Any]:
        with suppress(Exception):  # the broker's client raises what its transport raises
            inspect: Any = self.app.control.inspect(timeout=self.timeout_seconds)
            return dict(inspect._request(command) or {})
        return {}

    @property
    def broker_error(self) -> str:
        """The cause of `broker_fault` as text; "" without one."""
        fault = self.broker_fault
        return f"{type(fault.__cause__).__name__}: {fault.__cause__}" if fault else ""

    @cached_property
    def broker_fault(self) -> BrokerUnavailable | NotSent | None:
        """The error of a connection to the broker, if any."""
        try:
            with sending_errors(self.app), self.app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, interval_start=0, timeout=3)
        except (BrokerUnavailable, NotSent) as error:
            return error
        return None

    def is_blocked(self) -> bool:
        """Whether the broker, a RabbitMQ, takes no messages now: it says so to whom sends one, which nobody gets."""
        blocked: list[object] = []
        connection: Any = self.app.connection_for_write()
        try:
            connection.connection.on_blocked = blocked.append
            connection.Producer().publish("", routing_key=f"dagcelery.nobody.{uuid.uuid4().hex}")
            with suppress(TimeoutError):
                connection.drain_events(timeout=_ALARM_SECONDS)
        finally:
            connection.collect()  # a broker that reads nothing would not answer to a goodbye
        return bool(blocked)

    def close(self) -> None:
        """Close the connections to servers."""
        for server in self.servers.values():
            server.close()


def _inspections(role: str, url: str) -> dict[str, Inspection]:
    """Return what looks at the server at an address; of a cluster, at each of its masters."""
    with suppress(StoreUnavailable):
        urls = masters_of(url)
        servers = [Inspection(each) for each in urls]
        return {role if urls == [url] else f"{role}, at {each.place}": each for each in servers}
    return {}


def _answers(server: Inspection) -> bool:
    try:
        server.ping()
    except StoreUnavailable:
        server.close()
        return False
    return True
