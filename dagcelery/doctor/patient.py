"""What is examined: an app with its settings, its servers and its workers, each asked once and when it is needed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dagcelery.errors import StoreUnavailable
from dagcelery.runtime import urls
from dagcelery.runtime.binding import Binding
from dagcelery.settings import Settings, masked
from dagcelery.store.inspection import Inspection

if TYPE_CHECKING:
    from celery import Celery


@dataclass
class Patient:
    """An app that dagcelery is attached to. `clock` is this machine's, in seconds since the epoch; workers that do not
    answer within `patience_seconds` are taken for absent.
    """

    binding: Binding
    clock: Callable[[], float] = time.time
    patience_seconds: float = 1.5

    @property
    def app(self) -> Celery:
        """The Celery app."""
        return self.binding.app

    @property
    def settings(self) -> Settings:
        """What dagcelery was told."""
        return self.binding.settings

    @property
    def broker_url(self) -> str:
        """The broker's address as the app has it, password included."""
        conf = self.app.conf
        return urls.secured(str(conf.broker_url or ""), conf.broker_use_ssl)

    @property
    def shown_broker(self) -> str:
        """The broker's address without its password."""
        return masked(self.broker_url)

    @cached_property
    def servers(self) -> Mapping[str, Inspection]:
        """The Redis servers that answer, by what they are: "the store", "the broker", or both in one."""
        found: dict[str, Inspection] = {}
        if self.settings.store_url:
            found["the store"] = Inspection(urls.for_redis(self.settings.store_url))
        if urls.is_redis(self.broker_url):
            broker = Inspection(urls.for_redis(self.broker_url))
            if found and found["the store"].place == broker.place:
                found = {"the server of store and broker": found["the store"]}
                broker.close()
            else:
                found["the broker"] = broker
        return {name: server for name, server in found.items() if _answers(server)}

    @cached_property
    def workers(self) -> Mapping[str, Mapping[str, Any]]:
        """Live workers as they announce themselves in the store."""
        known = self.binding.store.workers()
        return {boot: word for boot, word in known.items() if word["age"] < self.settings.dead_seconds}

    def asked(self, command: str) -> Mapping[str, Any]:
        """What workers answer to a command of Celery's remote control, by name; nothing if the broker does not."""
        if self.broker_error:
            return {}
        with suppress(Exception):  # the broker's client raises what its transport raises
            inspect: Any = self.app.control.inspect(timeout=self.patience_seconds)
            return dict(inspect._request(command) or {})
        return {}

    @cached_property
    def broker_error(self) -> str:
        """Why the broker takes no connection, or "" if it does."""
        try:
            with self.app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, interval_start=0, timeout=3)
        except Exception as error:  # a transport raises what it likes
            return f"{type(error).__name__}: {error}"
        return ""

    def close(self) -> None:
        """Close the connections that were made for this."""
        for server in self.servers.values():
            server.close()


def _answers(server: Inspection) -> bool:
    try:
        server.ping()
    except StoreUnavailable:
        server.close()
        return False
    return True
