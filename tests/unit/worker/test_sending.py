"""What could not be sent is told by its cause: the broker, a setting of the app, or the app's own code."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from celery import Celery, current_app
from kombu.transport.redis import Channel

from dagcelery import Run, RunState, attach, dag, task
from dagcelery.client import Client, set_default
from dagcelery.doctor import CheckContext, run_checks
from dagcelery.doctor.checks import check_broker
from dagcelery.errors import BrokerUnavailable, NotSent, StoreUnavailable
from dagcelery.local import Server
from dagcelery.store.fleet import FleetAdapter
from unit.engine.test_telling import listening

NOBODY = "redis://:SECRET@127.0.0.1:1/0"


class Broken(Celery):
    """A team's class of apps that fails."""

    def send_task(self, *args: Any, **options: Any) -> Any:
        raise RuntimeError("no tenant")


@task
def one(x: int) -> int:
    return x


@dag
def spread(xs: list[int]) -> list[int]:
    return [one(x) for x in xs]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    replaced = set_default(None)
    yield
    set_default(replaced)


def attached(server: Server, broker: str = "memory://", made: type[Celery] = Celery, **conf: Any) -> Client:
    app = made("team", broker=broker, set_as_current=False)
    app.conf.update(conf, task_publish_retry=False, broker_transport_options={"max_retries": 0})
    return attach(app, store_url=server.url, signing_key="0123456789abcdef")


def test_what_listeners_set_in_the_context_before_a_message_is_sent_is_gone_behind_it(server: Server) -> None:
    def trace(**_: Any) -> None:
        traced.append(span.get())
        span.set("of a message")

    span, traced = ContextVar("span", default="the submitter's"), list[str]()
    with listening(trace, "before_task_publish"):
        for _ in range(2):
            attached(server).submit(spread, {"xs": [1]})
    assert (traced, span.get()) == (["the submitter's"] * 2, "the submitter's")


def test_who_hears_of_a_message_finds_its_task_in_the_current_app(server: Server) -> None:
    """OpenTelemetry's instrumentor looks there for the span that it has to end."""

    def look(sender: str, **_: Any) -> None:
        found.append(sender in current_app.tasks)

    found, before = list[bool](), current_app.main
    with listening(look, "before_task_publish"), listening(look, "after_task_publish"):
        attached(server).submit(spread, {"xs": [1]})
    assert (found, current_app.main) == ([True, True], before)


@pytest.mark.parametrize(
    ("given", "cause", "remedy"),
    [
        ({"task_compression": "nope"}, "KeyError: 'nope'", "task_compression is 'nope': install the package"),
        (
            {"broker": "sqla+sqlite:///x"},
            "No module named 'sqlalchemy'",
            "install what provides the module 'sqlalchemy'",
        ),
        ({"broker": "foo://h"}, "No such transport: foo", "write DAGCELERY_BROKER_URL, or broker_url of the app"),
        ({"made": Broken}, "RuntimeError: no tenant", "test_sending.py, line"),
    ],
)
def test_what_is_not_the_brokers_fault_is_not_called_so(
    server: Server, given: dict[str, Any], cause: str, remedy: str
) -> None:
    client = attached(server, **given)
    with pytest.raises(NotSent) as caught:
        client.submit(spread, {"xs": [1, 2]})
    told = str(caught.value)
    assert cause in told
    assert remedy in told
    assert "broker does not take messages" not in told
    (listed,) = client.runs()
    assert listed.state is RunState.CANCELLED


@pytest.mark.parametrize("broker", [NOBODY, "amqp://me:SECRET@127.0.0.1:1//", "redis://:SECRET@nowhere.invalid:1/0"])
def test_a_broker_that_is_not_there_is_called_so_without_its_password(server: Server, broker: str) -> None:
    client = attached(server, broker)
    with pytest.raises(BrokerUnavailable, match="does not take messages") as caught:
        client.submit(spread, {"xs": [1]})
    assert ":***@" in caught.value.url
    assert "SECRET" not in str(caught.value)


def test_a_connection_that_is_torn_while_a_message_is_sent_is_the_brokers(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = attached(server, server.url)
    own = Channel._connparams

    def torn(channel: Channel, **options: Any) -> Any:
        channel.connection = None  # as another thread leaves it
        return own(channel, **options)

    monkeypatch.setattr(Channel, "_connparams", torn)
    with pytest.raises(BrokerUnavailable, match="'NoneType' object has no attribute 'client'"):
        client.submit(spread, {"xs": [1]})


@pytest.mark.parametrize(
    ("given", "expected"), [({"broker": NOBODY}, BrokerUnavailable), ({"task_compression": "nope"}, NotSent)]
)
def test_a_run_that_goes_on_is_told_the_same(server: Server, given: dict[str, Any], expected: type[Exception]) -> None:
    run = attached(server).submit(spread, {"xs": [1]})
    run.cancel()
    with pytest.raises(expected):
        Run[Any](run.id, client=attached(server, **given)).resume()


def test_a_store_that_goes_away_at_sending_is_not_the_broker(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    client = attached(server)

    def gone(store: object) -> Any:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(FleetAdapter, "workers", gone)
    with pytest.raises(StoreUnavailable, match="gone"):
        client.submit(spread, {"xs": [1, 2]})


@pytest.mark.parametrize(
    ("broker", "told"),
    [
        ("sqla+sqlite:///x", "no message can be sent to the broker at sqla+sqlite:///x: ModuleNotFoundError"),
        (NOBODY, "the broker at redis://:***@127.0.0.1:1/0 does not answer: OperationalError"),
    ],
)
def test_the_doctor_says_the_same(server: Server, broker: str, told: str) -> None:
    context = CheckContext(attached(server, broker).app_context)
    (finding,) = run_checks(context, [check_broker])
    context.close()
    assert finding.what.startswith(told)
