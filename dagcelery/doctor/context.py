"""What the doctor looks at, an app with settings, servers and workers, each asked once; and what it may find."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from dagcelery.errors import BrokerUnavailable, InvalidSetting, NotSent, StoreUnavailable
from dagcelery.settings import Settings
from dagcelery.store.redis import Inspection
from dagcelery.text import masked
from dagcelery.worker.app_context import COMMAND, OUR_APP, AppContext, for_redis, is_redis, secured
from dagcelery.worker.sender import sending_errors

if TYPE_CHECKING:
    from celery import Celery


class Severity(StrEnum):
    """How bad a finding is: runs fail, stall or are lost; may do so one day; or something could not be looked at."""

    SERIOUS = "serious"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be, and what would help."""

    check: str
    severity: Severity
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}"

    def to_dict(self) -> dict[str, str]:
        """The same as JSON-able data."""
        return asdict(self) | {"severity": str(self.severity)}


QUESTIONS: Final = ("active_queues", "stats", COMMAND)
"""Commands of Celery's remote control."""


@dataclass
class Patient:
    """An app that dagcelery is attached to. `clock` is this machine's, in seconds since the epoch; workers that do not
    answer within `patience_seconds` are taken for absent. `name` is what Celery's command line knows the app by.
    """

    app_context: AppContext
    clock: Callable[[], float] = time.time
    patience_seconds: float = 1.5
    name: str = ""

    @property
    def app(self) -> Celery:
        """The Celery app."""
        return self.app_context.app

    @property
    def is_ours(self) -> bool:
        """Whether it is dagcelery's own app, which the environment makes."""
        return bool(self.app.main == OUR_APP)

    @property
    def shown_name(self) -> str:
        """The app as ``-A`` names it, as far as that is known."""
        return self.name or str(self.app.main)

    @property
    def settings(self) -> Settings:
        """What dagcelery was told."""
        return self.app_context.settings

    @property
    def broker_url(self) -> str:
        """The broker's address as the app has it, password included."""
        conf = self.app.conf
        return secured(str(conf.broker_url or ""), conf.broker_use_ssl)

    @property
    def shown_broker(self) -> str:
        """The broker's address without its password."""
        return masked(self.broker_url)

    @cached_property
    def servers(self) -> Mapping[str, Inspection]:
        """The Redis servers that answer, by what they are: "the store", "the broker", or both in one."""
        found: dict[str, Inspection] = {}
        with suppress(InvalidSetting):  # whoever uses such an address says what is wrong with it
            if self.settings.store_url:
                found["the store"] = Inspection(for_redis(self.settings.store_url))
        with suppress(InvalidSetting):
            if is_redis(self.broker_url):
                found["the broker"] = Inspection(for_redis(self.broker_url))
        if len(found) == 2 and found["the store"].place == found["the broker"].place:
            found.pop("the broker").close()
            found = {"the server of store and broker": found["the store"]}
        return {name: server for name, server in found.items() if _answers(server)}

    @cached_property
    def workers(self) -> Mapping[str, Mapping[str, Any]]:
        """Live workers as they announce themselves in the store."""
        known = self.app_context.store.fleet.workers()
        return {worker_id: word for worker_id, word in known.items() if word["age"] < self.settings.dead_seconds}

    @cached_property
    def answers(self) -> Mapping[str, Mapping[str, Any]]:
        """What workers answer to `QUESTIONS`, by their names; nothing if the broker does not. They are asked all at
        once, since each time it takes patience to know that nobody else answers.
        """
        if self.broker_error:
            return {question: {} for question in QUESTIONS}
        with ThreadPoolExecutor(len(QUESTIONS)) as threads:
            return dict(zip(QUESTIONS, threads.map(self._asked, QUESTIONS), strict=True))

    def _asked(self, command: str) -> Mapping[str, Any]:
        with suppress(Exception):  # the broker's client raises what its transport raises
            inspect: Any = self.app.control.inspect(timeout=self.patience_seconds)
            return dict(inspect._request(command) or {})
        return {}

    @property
    def broker_error(self) -> str:
        """Why there is no connection to the broker, or "" if there is one."""
        fault = self.broker_fault
        return f"{type(fault.__cause__).__name__}: {fault.__cause__}" if fault else ""

    @cached_property
    def broker_fault(self) -> BrokerUnavailable | NotSent | None:
        """What stands between this process and the broker."""
        try:
            with sending_errors(self.app), self.app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, interval_start=0, timeout=3)
        except (BrokerUnavailable, NotSent) as error:
            return error
        return None

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
